"""Panels of a figure one below the other, from the figure's own file, for a narrow screen.

A figure of several panels is as wide as a column of text. On a phone the page shows each panel by
itself, through windows on the one picture: no further file is needed. A panel that shares the axis
of its neighbor gets a window on that axis beside it. :func:`stack_of` finds out which figures can
be shown so.
"""

from dataclasses import dataclass

from figure_picture import Box, Part, Picture, around, overlap

MARGIN = 2.0
"""Points kept free round what a window shows: half of a thick line, and the rounding of pixels."""


@dataclass(frozen=True)
class Window:
    """A part of the figure, and where its left upper corner stands in its strip, in points."""

    box: Box
    left: float = 0.0
    top: float = 0.0


@dataclass(frozen=True)
class Strip:
    """What stands together: a panel with its axes, or an entry of a legend."""

    windows: tuple[Window, ...]
    is_panel: bool  # and no entry of a legend, no title
    letter: float
    """Size of its smallest letter, exponents and indices included, in points."""

    @property
    def width(self) -> float:
        """Width in points."""
        return max(window.left + window.box.width for window in self.windows)

    @property
    def height(self) -> float:
        """Height in points."""
        return max(window.top + window.box.height for window in self.windows)

    def least(self, letter: float) -> float:
        """Return how wide it has to be for its smallest letter to be so high, in the same unit."""
        return self.width * letter / self.letter


def stack_of(svg: str) -> list[Strip] | None:
    """Return a figure's panels with their axes, its legends and titles, in reading order.

    None of a figure that has less than two panels, or text that is no outline: how wide that is
    only the reader's machine knows.

    Raises
    ------
    ValueError
        If it has something in it that is not understood.
    """
    if "<text" in svg:
        return None
    picture = Picture(svg)
    parts = _merged(picture.parts)
    panels = [part for part in parts if part.is_panel]
    if len(panels) < 2:
        return None
    # The title of an axis that all panels share stands upright left of them: each is shown with it.
    titles = [
        part
        for part in parts
        if part.is_upright and part.box.right <= min(panel.box.left for panel in panels)
    ]
    strips = []
    for part in _in_order([part for part in parts if part not in titles]):
        if part.is_panel:
            box = _grown(part.box, [one.box for one in parts])
            strips.append(_strip(_panel(part, box, panels, titles), True, picture))
        else:
            for piece in part.pieces or [part.box]:
                box = _grown(piece, part.pieces)
                strips.append(_strip([Window(box)], False, picture))
    return strips


def _merged(parts: list[Part]) -> list[Part]:
    """Put parts together that overlap, as axes at the same place do."""
    merged: list[Part] = []
    for part in parts:
        overlapping = [one for one in merged if overlap(one.box, part.box)]
        for one in overlapping:
            merged.remove(one)
            box = around([one.box, part.box])
            part = Part(box, one.frames + part.frames, one.axes | part.axes)
        merged.append(part)
    return merged


def _grown(box: Box, others: list[Box]) -> Box:
    """Return a box with free room round it, at most half of what parts it from the others."""
    return box.grown(min([MARGIN, *(_gap(box, one) / 2 for one in others if one != box)]))


def _gap(one: Box, other: Box) -> float:
    """Return how far apart two boxes are, zero if they overlap."""
    across = max(one.left, other.left) - min(one.right, other.right)
    down = max(one.top, other.top) - min(one.bottom, other.bottom)
    return max(across, down, 0.0)


def _in_order(parts: list[Part]) -> list[Part]:
    """Return parts row by row, each row from left to right."""
    rows: list[list[Part]] = []
    for part in sorted(parts, key=lambda part: part.box.top):
        row = next((row for row in rows if _side_by_side(row[0].box, part.box)), None)
        if row is None:
            rows.append([part])
        else:
            row.append(part)
    return [part for row in rows for part in sorted(row, key=lambda part: part.box.left)]


def _side_by_side(one: Box, other: Box) -> bool:
    """Return whether they have more than half of the lower one's height in common."""
    common = min(one.bottom, other.bottom) - max(one.top, other.top)
    return common > 0.5 * min(one.height, other.height)


def _strip(windows: list[Window], is_panel: bool, picture: Picture) -> Strip:
    """Return windows as a strip that begins at its left upper corner."""
    left, top = (min(getattr(window, side) for window in windows) for side in ("left", "top"))
    letters = [
        size
        for box, size in picture.letters
        if any(overlap(box, window.box, 0.0) for window in windows)
    ]
    moved = [Window(one.box, one.left - left, one.top - top) for one in windows]
    return Strip(tuple(moved), is_panel, min(letters, default=10.0))


def _panel(part: Part, box: Box, panels: list[Part], titles: list[Part]) -> list[Window]:
    """Return the windows on a panel, on the axes and titles it shares, and on titles of all."""
    windows = [Window(box, box.left, box.top)]
    below, above, left = (_lent(part, panels, axis) for axis in ("x", "title", "y"))
    if below is not None:
        under = below.grown(MARGIN)
        windows.append(Window(under, under.left, box.bottom))
    if above is not None:
        over = above.grown(MARGIN)
        windows.append(Window(over, over.left, box.top - over.height))
    if left is not None:
        beside = left.grown(MARGIN)
        edge = min(window.left for window in windows)
        windows.append(Window(beside, edge - beside.width, beside.top))
    for title in titles:
        beside = title.box.grown(MARGIN)
        edge = min(window.left for window in windows)
        middle = (box.top + box.bottom - beside.height) / 2
        windows.append(Window(beside, edge - beside.width, middle))
    return windows


def _lent(part: Part, panels: list[Part], axis: str) -> Box | None:
    """Return where labels of an axis, or a title, are that a panel has in common with another.

    Those of y stand left of the row, those of x below the column, and its title above. None if it
    has its own.
    """
    if axis in part.axes:
        return None
    frame = part.frames[0]
    ends = ("top", "bottom") if axis == "y" else ("left", "right")
    found = [
        panel.axes[axis]
        for panel in panels
        if axis in panel.axes
        and all(abs(getattr(panel.frames[0], end) - getattr(frame, end)) < 0.5 for end in ends)
    ]
    if axis == "x":
        after = [box for box in found if box.top >= frame.bottom]
        return min(after, key=lambda box: box.top, default=None)
    before = [box for box in found if box.right <= frame.left or box.bottom <= frame.top]
    return max(before, key=lambda box: (box.left, box.top), default=None)
