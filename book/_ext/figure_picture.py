"""What is where in a figure: the SVG that matplotlib writes, read.

Boxes are in points of the figure, from its left upper corner.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree import ElementTree

SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"
COMMAND = re.compile(r"([A-Za-df-z])([^A-Za-df-z]*)")
"""A command of a path, and its numbers."""

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?")
_FUNCTION = re.compile(r"(\w+)\(([^)]*)\)")
_CLIP = re.compile(r"url\(#([^)]+)\)")

Matrix = tuple[float, float, float, float, float, float]
"""a to f of SVG's ``matrix``."""

UNMOVED: Matrix = (1, 0, 0, 1, 0, 0)


@dataclass(frozen=True)
class Box:
    """A rectangle: its left, top, right and bottom, in points of the figure."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Width."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Height."""
        return self.bottom - self.top

    def grown(self, by: float) -> "Box":
        """Return it with so much more on each side."""
        return Box(self.left - by, self.top - by, self.right + by, self.bottom + by)

    def within(self, other: "Box") -> "Box | None":
        """Return what both have, None if they do not meet."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        right, bottom = min(self.right, other.right), min(self.bottom, other.bottom)
        return Box(left, top, right, bottom) if left <= right and top <= bottom else None


def around(boxes: list[Box]) -> Box:
    """Return the smallest box that has all of these.

    >>> around([Box(0, 0, 1, 1), Box(4, 2, 5, 3)])
    Box(left=0, top=0, right=5, bottom=3)
    """
    return Box(
        min(box.left for box in boxes),
        min(box.top for box in boxes),
        max(box.right for box in boxes),
        max(box.bottom for box in boxes),
    )


def overlap(one: Box, other: Box, more_than: float = 0.5) -> bool:
    """Return whether two boxes have more than so many points in common, both ways."""
    both = one.within(other)
    return both is not None and min(both.width, both.height) > more_than


@dataclass
class Part:
    """What a figure consists of: axes, a legend, a text; or several that overlap."""

    box: Box
    frames: list[Box] = field(default_factory=list)
    """Of axes: where the data are drawn."""
    axes: dict[str, Box] = field(default_factory=dict)
    """Where the labels of the axes "x" and "y" stand, and the "title" above, if there are any."""
    pieces: list[Box] = field(default_factory=list)
    """Of a legend: its entries."""

    @property
    def is_panel(self) -> bool:
        """Whether data are drawn in it, and not what colors mean."""
        return any(frame.width < 8 * frame.height < 64 * frame.width for frame in self.frames)

    @property
    def is_upright(self) -> bool:
        """Whether it is a text from below to above."""
        return not self.frames and not self.pieces and self.box.height > 3 * self.box.width


class Picture:
    """A figure as matplotlib writes it in SVG.

    Raises
    ------
    ValueError
        If it has something in it that is not understood.
    """

    def __init__(self, svg: str) -> None:
        self.root = ElementTree.fromstring(svg)
        self.by_id = {name: element for element in self.root.iter() if (name := element.get("id"))}
        left, top, width, height = numbers(self.root.get("viewBox", ""))
        self.view = Box(left, top, left + width, top + height)
        self.letters: set[tuple[Box, float]] = set()
        """Where there are letters, and their sizes in points."""
        self.parts = [part for group in self.by_id["figure_1"] if (part := self._part(group))]

    def _part(self, group: ElementTree.Element) -> Part | None:
        name = group.get("id", "")
        box = self.extent(group)
        if box is None or name.startswith("patch_"):  # the ground of all
            return None
        part = Part(box)
        if name.startswith("axes_"):
            part.frames.append(self.frame_of(group) or box)
            for axis in group:
                kind, _, number = axis.get("id", "").rpartition("_")
                labels = self._labels(axis) if kind == "matplotlib.axis" else None
                if labels is not None:
                    part.axes["x" if int(number) % 2 else "y"] = labels
            title = self._title(group, part.frames[0])
            if title is not None:
                part.axes["title"] = title
        if name.startswith("legend_"):
            part.pieces = self._entries(group)
        return part

    def frame_of(self, axes: ElementTree.Element) -> Box | None:
        """Return where the data of axes are drawn: their ground comes first."""
        first = axes[0]
        is_ground = first.get("id", "").startswith(("patch_", "guess_")) and len(first) == 1
        return self._path(first[0], UNMOVED) if is_ground else None

    def _title(self, axes: ElementTree.Element, frame: Box) -> Box | None:
        """Return where the title of axes is: text above their frame."""
        texts = [
            box
            for child in axes
            if child.get("id", "").startswith("text_")
            and (box := self.extent(child)) is not None
            and box.bottom <= frame.top
        ]
        return around(texts) if texts else None

    def _labels(self, axis: ElementTree.Element) -> Box | None:
        """Return where the letters of an axis are."""
        texts = [
            box
            for group in axis.iter(f"{SVG}g")
            if group.get("id", "").startswith("text_") and (box := self.extent(group)) is not None
        ]
        return around(texts) if texts else None

    def _entries(self, legend: ElementTree.Element) -> list[Box]:
        """Return where the entries of a legend are."""
        found = [
            [box for child in entry if (box := self.extent(child)) is not None]
            for entry in entries_of(legend)
        ]
        return [around(boxes) for boxes in found if boxes]

    def extent(
        self, element: ElementTree.Element, matrix: Matrix = UNMOVED, clip: Box | None = None
    ) -> Box | None:
        """Return the box of what an element draws; a curve counts with the points that guide it."""
        tag = element.tag.removeprefix(SVG)
        if tag in ("defs", "metadata", "clipPath"):
            return None
        matrix = _times(matrix, matrix_of(element.get("transform", "")))
        cut = _CLIP.search(element.get("clip-path", ""))
        if cut:
            area = _rectangle(self.by_id[cut[1]][0], matrix)
            clip = area if clip is None else clip.within(area)
            if clip is None:
                return None
        boxes: list[Box | None] = []
        if tag == "path":
            boxes.append(self._path(element, matrix, moved=True) if _is_drawn(element) else None)
        elif tag == "use":
            boxes.append(self._use(element, matrix))
        elif tag in ("image", "rect"):
            boxes.append(_rectangle(element, matrix))
        elif tag != "g":
            raise ValueError(f"a figure with <{tag}>")
        boxes += [self.extent(child, matrix, clip) for child in element]
        seen = [box for box in boxes if box is not None]
        if clip is not None:
            seen = [part for box in seen if (part := box.within(clip)) is not None]
        return around(seen) if seen else None

    def _use(self, element: ElementTree.Element, matrix: Matrix) -> Box | None:
        shape = self.by_id[element.get(HREF, "").removeprefix("#")]
        place = (1.0, 0.0, 0.0, 1.0, float(element.get("x", 0)), float(element.get("y", 0)))
        matrix = _times(matrix, place)
        box = self._path(shape, matrix)
        if box is not None and "scale(" in shape.get("transform", ""):
            # A letter: drawn a hundred times as large as its label is scaled down.
            self.letters.add((box, 100 * math.hypot(*matrix[2:4])))
        return box

    @staticmethod
    def _path(element: ElementTree.Element, matrix: Matrix, moved: bool = False) -> Box | None:
        """Return the box of a path; `moved` if the matrix has its own transform already."""
        if not moved:
            matrix = _times(matrix, matrix_of(element.get("transform", "")))
        points = list(_points(element.get("d", "")))
        return _box(points, matrix) if points else None


def entries_of(legend: ElementTree.Element) -> list[list[ElementTree.Element]]:
    """Return the entries of a legend, each of which ends with its text."""
    entries: list[list[ElementTree.Element]] = [[]]
    for child in legend:
        entries[-1].append(child)
        if child.get("id", "").startswith("text_"):
            entries.append([])
    return entries[:-1]


def move(element: ElementTree.Element, across: float, down: float = 0.0) -> None:
    """Move what is drawn by so many points."""
    if element.get("transform"):
        raise ValueError(f"a figure in which {element.get('id')} is moved")
    element.set("transform", f"translate({short(across)} {short(down)})")


def short(number: float) -> str:
    """Write a number to a hundredth of a point.

    >>> short(14.999), short(1e-9)
    ('15', '0')
    """
    return f"{round(number, 2):.10g}"


def _is_drawn(path: ElementTree.Element) -> bool:
    style = path.get("style", "")
    return "fill: none" not in style or "stroke" in style


def numbers(text: str) -> list[float]:
    """Return the numbers in a text.

    >>> numbers("M-1.5.5 2e-3")
    [-1.5, 0.5, 0.002]
    """
    return [float(number) for number in _NUMBER.findall(text)]


def _times(one: Matrix, other: Matrix) -> Matrix:
    """Return the matrix that does the other and then the one."""
    a, b, c, d, e, f = one
    g, h, i, j, k, m = other
    return (a * g + c * h, b * g + d * h, a * i + c * j, b * i + d * j,
            a * k + c * m + e, b * k + d * m + f)  # fmt: skip


def matrix_of(transform: str) -> Matrix:
    """Return the matrix of an attribute ``transform``.

    >>> matrix_of("translate(3 4) scale(2 -2)")
    (2.0, 0.0, 0.0, -2.0, 3.0, 4.0)
    """
    matrix: Matrix = UNMOVED
    for name, arguments in _FUNCTION.findall(transform):
        values = numbers(arguments)
        if name == "translate":
            step = (1.0, 0.0, 0.0, 1.0, values[0], values[1] if len(values) > 1 else 0.0)
        elif name == "scale":
            step = (values[0], 0.0, 0.0, values[-1], 0.0, 0.0)
        elif name == "rotate" and len(values) == 1:
            cos, sin = math.cos(math.radians(values[0])), math.sin(math.radians(values[0]))
            step = (cos, sin, -sin, cos, 0.0, 0.0)
        elif name == "matrix":
            step = tuple(values)  # type: ignore[assignment]
        else:
            raise ValueError(f"a figure with {transform}")
        matrix = _times(matrix, step)
    return matrix


def _box(points: list[tuple[float, float]], matrix: Matrix) -> Box:
    a, b, c, d, e, f = matrix
    xs = [a * x + c * y + e for x, y in points]
    ys = [b * x + d * y + f for x, y in points]
    return Box(min(xs), min(ys), max(xs), max(ys))


def _rectangle(element: ElementTree.Element, matrix: Matrix) -> Box:
    x, y, width, height = (
        numbers(element.get(name, "0"))[0] for name in ("x", "y", "width", "height")
    )
    return _box([(x, y), (x + width, y + height)], matrix)


def _points(path: str) -> Iterator[tuple[float, float]]:
    """Yield the points of a path of absolute commands.

    >>> list(_points("M0 1H4V5z"))
    [(0.0, 1.0), (4.0, 1.0), (4.0, 5.0)]
    """
    x = y = 0.0
    for command, arguments in COMMAND.findall(path):
        values = numbers(arguments)
        if command not in "MLHVCQzZ":
            raise ValueError(f"a path with {command}")
        if command == "H":
            pairs = [(value, y) for value in values]
        elif command == "V":
            pairs = [(x, value) for value in values]
        else:
            pairs = list(zip(values[::2], values[1::2], strict=True))
        for x, y in pairs:
            yield x, y
