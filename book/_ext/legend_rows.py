"""A legend in rows as long as there is room for."""

import itertools
from dataclasses import dataclass
from math import ceil
from xml.etree import ElementTree

from figure_picture import Box, Picture, around, entries_of, move, overlap

LINE = 13.5
"""Points from one row of a legend to the next, as matplotlib sets letters of 9 points."""

BETWEEN = 14.0
"""Points from one column of a legend to the next."""


@dataclass(frozen=True)
class Entry:
    """An entry of a legend: where it is, and the middle of the mark before its text."""

    elements: list[ElementTree.Element]
    box: Box
    x: float
    y: float


def entries_at(picture: Picture, legend: ElementTree.Element) -> list[Entry]:
    """Return the entries of a legend.

    Raises
    ------
    ValueError
        If it has more than entries: a title, or a frame.
    """
    entries: list[Entry] = []
    if not len(legend) or not legend[-1].get("id", "").startswith("text_"):
        raise ValueError("a legend with marks after its texts")
    for *marks, text in entries_of(legend):
        before = [box for mark in marks if (box := picture.extent(mark)) is not None]
        said = picture.extent(text)
        if not before or said is None:
            raise ValueError("a legend with a title")
        mark = around(before)
        middle = ((mark.left + mark.right) / 2, (mark.top + mark.bottom) / 2)
        entries.append(Entry([*marks, text], around([mark, said]), *middle))
    if any(overlap(one.box, other.box) for one, other in itertools.combinations(entries, 2)):
        raise ValueError("a legend with a frame")
    return entries


def lay(entries: list[Entry], room: Box) -> float:
    """Lay the entries of a legend so that it ends at the bottom of a room; return its top."""
    columns = _columns(entries, room.width)
    rows = list(itertools.zip_longest(*columns))
    heights = [_reach([one for one in row if one is not None]) for row in rows]
    top = room.bottom - sum(above + below for above, below in heights)
    left = room.left + (room.width - _width(columns)) / 2
    for column in columns:
        before, after = _sides(column)
        y = top
        for one, (above, below) in zip(column, heights, strict=False):
            for element in one.elements:
                move(element, left + before - one.x, y + above - one.y)
            y += above + below
        left += before + after + BETWEEN
    return top


def _columns(entries: list[Entry], width: float) -> list[list[Entry]]:
    """Return entries in as many columns as there were; of one column, in as many as fit."""
    before = len({round(entry.x) for entry in entries})
    for count in range(before if before > 1 else len(entries), 0, -1):
        rows = ceil(len(entries) / count)
        columns = [entries[i : i + rows] for i in range(0, len(entries), rows)]
        if _width(columns) <= width:
            return columns
    raise ValueError("a figure with a legend that is too wide")


def _width(columns: list[list[Entry]]) -> float:
    return sum(sum(_sides(column)) for column in columns) + BETWEEN * (len(columns) - 1)


def _sides(column: list[Entry]) -> tuple[float, float]:
    """Return how far entries reach to the left and to the right of the middle of their marks."""
    return max(one.x - one.box.left for one in column), max(one.box.right - one.x for one in column)


def _reach(row: list[Entry]) -> tuple[float, float]:
    """Return how far entries reach above and below the middle of their marks, with some room."""
    above = max(one.y - one.box.top for one in row) + 1
    below = max(one.box.bottom - one.y for one in row) + 1
    return max(above, LINE / 2), max(below, LINE / 2)
