"""A narrow variant of a figure, from the figure's own file.

A figure of one panel, or of panels one above the other, is as wide as a column of text: on a phone
its letters would be too small. :func:`narrowed` moves what is in the SVG that matplotlib wrote. The
frame of the panels becomes narrower, and with it all that is drawn at numbers of the axis x;
letters, markers and lines keep their size. Labels of the axis that would touch are thinned out, and
the legend stands above the panels, in as many rows as it needs. A figure for which this does not
come out well has no narrow variant.
"""

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from xml.etree import ElementTree

from figure_picture import (
    COMMAND,
    HREF,
    SVG,
    UNMOVED,
    Box,
    Picture,
    around,
    matrix_of,
    move,
    numbers,
    overlap,
    short,
)
from legend_rows import Entry, entries_at, lay

MARGIN = 3.0
"""Points kept free at the edges of the picture."""

APART = 5.0
"""Points between two labels of an axis at least."""

LEAST_FRAME = 1 / 3
"""Share of its width that the frame keeps at least."""

BELOW = 6.0
"""Points from a legend to what is below it."""

_NAMED = re.compile(r'<g id="(text_\d+)">\s*<!-- (.*?) -->')
_NUMBER = re.compile(r"[-+−.,\d]+|\$\\mathdefault\{.*\}\$")

ElementTree.register_namespace("", SVG[1:-1])
ElementTree.register_namespace("xlink", HREF[1:].partition("}")[0])


@dataclass(frozen=True)
class Squeeze:
    """How x changes: the frame from `left` to `right` then reaches to `new`."""

    left: float
    right: float
    new: float

    def along(self, x: float) -> float:
        """Return where a number of the axis comes to stand, beyond the ends of the frame too."""
        return self.left + (x - self.left) * (self.new - self.left) / (self.right - self.left)

    def at(self, x: float) -> float:
        """Return where a place comes to stand: beside the frame the distance to it stays.

        >>> [Squeeze(10, 110, 60).at(x) for x in (4, 20, 115)]
        [4, 15.0, 65]
        """
        if x <= self.left:
            return x
        return self.along(x) if x < self.right else x + self.new - self.right

    def is_of(self, box: Box) -> bool:
        """Return whether a box reaches from the left edge of the frame to the right one."""
        return abs(box.left - self.left) < 0.5 and abs(box.right - self.right) < 0.5


def narrowed(svg: str, width: float) -> str:
    """Return a figure so many points wide, its letters as large as before.

    Raises
    ------
    ValueError
        If it has something in it that is not understood, or would not come out well.
    """
    if "<text" in svg:
        raise ValueError("a figure with text that is no outline")
    picture = Picture(svg)
    written = _written(picture)
    entries = _take_legend(picture)
    content = _content(picture)
    frame = _frame(picture)
    left = content.left - MARGIN
    room = Box(left + MARGIN, content.top, left + width - MARGIN, content.bottom)
    share = _share(picture, frame, room.right, content.right - frame.right)
    if share < LEAST_FRAME:
        raise ValueError("a figure whose frame would be too narrow")
    squeeze = Squeeze(frame.left, frame.right, frame.left + share * frame.width)
    _Squeezing(picture, squeeze, room).do()
    _thin_out(picture, dict(_NAMED.findall(svg)))
    top = content.top
    if entries:
        top = lay(entries, Box(room.left, room.top, room.right, content.top - BELOW))
    view = Box(left, top - MARGIN, left + width, content.bottom + MARGIN)
    _frame_all(picture, view)
    _check(written, _written(picture), view)
    return ElementTree.tostring(picture.root, encoding="unicode")


def squeezed(path: str, change: Callable[[float], float]) -> str:
    """Return a path with other x.

    >>> squeezed("M0 1H4V5Q1 2 3 4z", lambda x: 10 + x / 2)
    'M10 1H12V5Q10.5 2 11.5 4z'
    """
    commands = []
    for command, arguments in COMMAND.findall(path):
        if command not in "MLHVCQzZ":
            raise ValueError(f"a path with {command}")
        values = numbers(arguments)
        if command != "V":
            step = 1 if command == "H" else 2
            values[::step] = [change(x) for x in values[::step]]
        commands.append(command + " ".join(map(short, values)))
    return "".join(commands)


def _kind(element: ElementTree.Element) -> str:
    """Return what a group is: ``xtick`` of ``xtick_3``."""
    return element.get("id", "").rpartition("_")[0]


def _written(picture: Picture) -> dict[str, Box]:
    """Return where texts are, and what stands before those of a legend, by their names."""
    boxes = {}
    for group in picture.by_id["figure_1"]:
        matrix = UNMOVED if _kind(group) == "text" else matrix_of(group.get("transform", ""))
        found = [one for one in group.iter() if _kind(one) == "text"]
        found += [one for legend in group.iter() if _kind(legend) == "legend" for one in legend]
        boxes |= {one.get("id", ""): picture.extent(one, matrix) for one in found}
    return {name: box for name, box in boxes.items() if box is not None}


def _take_legend(picture: Picture) -> list[Entry]:
    """Return the entries of the legend, which then stands beside the axes, not in them."""
    figure = picture.by_id["figure_1"]
    panels = [one for one in figure if _kind(one) == "axes"]
    legends = [
        (legend, parent)
        for parent in [figure, *panels]
        for legend in parent
        if _kind(legend) == "legend"
    ]
    if not legends:
        return []
    if len(legends) > 1 or (len(panels) > 1 and legends[0][1] is not figure):
        raise ValueError("a figure with a legend of one panel alone")
    legend, parent = legends[0]
    parent.remove(legend)
    figure.append(legend)
    return entries_at(picture, legend)


def _content(picture: Picture) -> Box:
    """Return where anything is but the ground and the legend."""
    return around(
        [
            box
            for group in picture.by_id["figure_1"]
            if _kind(group) not in ("patch", "legend")
            and (box := picture.extent(group)) is not None
        ]
    )


def _frame(picture: Picture) -> Box:
    """Return the widest frame of axes."""
    axes = [one for one in picture.by_id["figure_1"] if _kind(one) == "axes"]
    frames = [frame for one in axes if (frame := picture.frame_of(one)) is not None]
    if not frames:
        raise ValueError("a figure without a panel")
    return max(frames, key=lambda frame: frame.width)


def _share(picture: Picture, frame: Box, edge: float, beside: float) -> float:
    """Return how much of its width a frame can keep if all is to end at an edge.

    That is what stands beside the frame, and the labels of the axis, each below its tick.
    """
    share = (edge - beside - frame.left) / frame.width
    for _, label in _labels(picture.root):
        box = picture.extent(label)
        if box is not None and frame.left < (middle := (box.left + box.right) / 2) <= frame.right:
            share = min(share, (edge - box.width / 2 - frame.left) / (middle - frame.left))
    return share


class _Squeezing:
    """What moves in a picture as its frame becomes narrower; texts stay in the room for them."""

    def __init__(self, picture: Picture, squeeze: Squeeze, room: Box) -> None:
        self.picture = picture
        self.squeeze = squeeze
        self.room = room
        self.shapes: set[str] = set()

    def do(self) -> None:
        """Move all but the ground and the legend."""
        for group in self.picture.by_id["figure_1"]:
            kind = _kind(group)
            if kind == "axes":
                self.axes(group)
            elif kind == "text":
                self.text(group)
            elif kind not in ("patch", "legend"):
                raise ValueError(f"a figure with {kind}")
        for clip in self.picture.root.iter(f"{SVG}clipPath"):
            self.clip(clip[0])

    def axes(self, axes: ElementTree.Element) -> None:
        """Squeeze a panel, or move what stands right of it, as a bar of colors does."""
        frame, box = self.picture.frame_of(axes), self.picture.extent(axes)
        if frame is not None and self.squeeze.is_of(frame):
            for child in axes:
                if _kind(child) == "text":
                    self.title(child, frame)
                else:
                    self.drawn(child, is_clipped=False)
        elif box is None or box.left < self.squeeze.right:
            raise ValueError("a figure of panels side by side")
        else:
            move(axes, self.squeeze.new - self.squeeze.right)

    def drawn(self, element: ElementTree.Element, is_clipped: bool) -> None:
        """Squeeze what is drawn in a panel or at its axes; what is clipped belongs to its data."""
        tag = element.tag.removeprefix(SVG)
        if _kind(element) == "text":
            self.text(element)
            return
        if element.get("transform") and tag != "image":
            raise ValueError(f"a figure with {element.get('transform')}")
        is_clipped = is_clipped or "clip-path" in element.attrib
        change = self.squeeze.along if is_clipped else self.squeeze.at
        if tag == "path":
            element.set("d", squeezed(element.get("d", ""), change))
        elif tag == "use":
            self.used(element, change)
        elif tag == "image":
            self.image(element)
        elif tag == "g":
            if _kind(element) == "xtick":
                self.tick(element)
            for child in element:
                self.drawn(child, is_clipped)
        elif tag != "defs":
            raise ValueError(f"a figure with <{tag}>")

    def used(self, element: ElementTree.Element, change: Callable[[float], float]) -> None:
        """Move a marker; an area is drawn as one at 0, with the numbers in its shape."""
        x = float(element.get("x", 0))
        if x:
            element.set("x", short(change(x)))
            return
        name = element.get(HREF, "").removeprefix("#")
        if name not in self.shapes:
            shape = self.picture.by_id[name]
            shape.set("d", squeezed(shape.get("d", ""), change))
            self.shapes.add(name)

    def image(self, element: ElementTree.Element) -> None:
        """Squeeze a picture among the data, upside down as matplotlib writes it."""
        if not re.match(r"scale\(1 -1\) translate\(0 \S+\)$", element.get("transform", "")):
            raise ValueError("a figure with an image that is turned")
        left, width = (float(element.get(name, 0)) for name in ("x", "width"))
        start, end = self.squeeze.along(left), self.squeeze.along(left + width)
        element.set("x", short(start))
        element.set("width", short(end - start))
        element.set("preserveAspectRatio", "none")

    def text(self, element: ElementTree.Element) -> None:
        """Move a text by its middle, as far as there is room."""
        box = self.picture.extent(element)
        if box is not None:
            middle = (box.left + box.right) / 2
            across = self.squeeze.at(middle) - middle
            most, least = self.room.right - box.right, self.room.left - box.left
            move(element, max(min(across, most), least))

    def title(self, element: ElementTree.Element, frame: Box) -> None:
        """Move the title of a panel, which stays if it begins where the frame does."""
        box = self.picture.extent(element)
        if box is not None and overlap(box, frame):
            raise ValueError("a figure with a text among its data")
        if box is None or abs(box.left - frame.left) > 2:
            self.text(element)

    def tick(self, tick: ElementTree.Element) -> None:
        """Raise an error if a label does not stand in the middle below its tick."""
        places = [float(use.get("x", 0)) for use in tick.iter(f"{SVG}use") if use.get("x")]
        boxes = [self.picture.extent(one) for one in tick if _kind(one) == "text"]
        for box in boxes:
            if box and any(abs((box.left + box.right) / 2 - place) > 3 for place in places):
                raise ValueError("a figure with labels beside their ticks")

    def clip(self, area: ElementTree.Element) -> None:
        """Squeeze what the data of a panel are clipped by."""
        if area.tag != f"{SVG}rect":
            raise ValueError("a figure with something that is clipped by more than a rectangle")
        left, width = (float(area.get(name, 0)) for name in ("x", "width"))
        if self.squeeze.is_of(Box(left, 0, left + width, 0)):
            area.set("width", short(self.squeeze.new - self.squeeze.left))
        elif left < self.squeeze.right:
            raise ValueError("a figure in which a part of a panel is clipped")


def _labels(group: ElementTree.Element) -> list[tuple[ElementTree.Element, ElementTree.Element]]:
    """Return the ticks of axes x in a group that have labels, and these."""
    ticks = [one for one in group.iter() if _kind(one) == "xtick"]
    return [(tick, text) for tick in ticks for text in tick if _kind(text) == "text"]


def _thin_out(picture: Picture, names: dict[str, str]) -> None:
    """Take out every other label of an axis x as long as one is close to the next."""
    for axis in [one for one in picture.root.iter() if _kind(one) == "matplotlib.axis"]:
        labels = [
            (box, text, tick)
            for tick, text in _labels(axis)
            if (box := picture.extent(text)) is not None
        ]
        labels.sort(key=lambda label: label[0].left)
        while any(b[0].left - a[0].right < APART for a, b in itertools.pairwise(labels)):
            if not all(
                _NUMBER.fullmatch(names.get(text.get("id", ""), "")) for _, text, _ in labels
            ):
                raise ValueError("a figure with names at its axis that would touch")
            for _, text, tick in labels[1::2]:
                tick.remove(text)
                picture.root.extend(text.iter(f"{SVG}defs"))  # others are written with its letters
            labels = labels[::2]


def _frame_all(picture: Picture, view: Box) -> None:
    """Make the picture as large as what is in it, and its ground as large."""
    sizes = [short(number) for number in (view.left, view.top, view.width, view.height)]
    picture.root.set("viewBox", " ".join(sizes))
    picture.root.set("width", f"{sizes[2]}pt")
    picture.root.set("height", f"{sizes[3]}pt")
    for metadata in picture.root.findall(f"{SVG}metadata"):
        picture.root.remove(metadata)
    ground = picture.by_id["figure_1"][0]
    if _kind(ground) == "patch":
        left, top, right, bottom = map(short, (view.left, view.top, view.right, view.bottom))
        ground[0].set("d", f"M{left} {top}H{right}V{bottom}H{left}z")


def _check(before: dict[str, Box], after: dict[str, Box], view: Box) -> None:
    """Raise an error if texts overlap that did not before, or if one is cut off."""
    for name, box in after.items():
        if box.within(view) != box:
            raise ValueError(f"a figure in which {name} would be cut off")
    for one, other in itertools.combinations(after, 2):
        if overlap(after[one], after[other]) and not overlap(before[one], before[other]):
            raise ValueError(f"a figure in which {one} and {other} would overlap")
