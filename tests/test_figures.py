"""The figures of the committed chapters, as they are in the files: letters, and what is seen."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.path import Path as Outline
from matplotlib.transforms import Affine2D

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = sorted(ROOT.glob("notebooks/[0-9][0-9]_*.ipynb"))
NAMESPACE = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"
POINTS = {"M": (Outline.MOVETO, 1), "L": (Outline.LINETO, 1), "Q": (Outline.CURVE3, 2)}
POINTS |= {"C": (Outline.CURVE4, 3), "z": (Outline.LINETO, 0), "Z": (Outline.LINETO, 0)}


def figures(chapter: Path) -> list[str]:
    """The SVG texts of a notebook, in reading order."""
    cells = json.loads(chapter.read_text(encoding="utf8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    found = [output.get("data", {}).get("image/svg+xml") for output in outputs]
    return ["".join(svg) for svg in found if svg]


@functools.lru_cache(maxsize=None)
def outline(d: str, transform: str) -> Outline | None:
    """The outline of a glyph after its own transform; None of a space."""
    points: list[tuple[float, float]] = []
    codes: list[int] = []
    start = (0.0, 0.0)
    for command, numbers in re.findall(r"([A-Za-z])([^A-Za-z]*)", d):
        code, count = POINTS[command]
        values = [float(number) for number in numbers.split()]
        assert len(values) == 2 * count or (count == 1 and len(values) % 2 == 0)
        pairs = list(zip(values[::2], values[1::2], strict=True)) or [start]  # z: back there
        start = pairs[0] if command == "M" else start
        points += pairs
        codes += [code] * len(pairs)
    return affine(transform).transform_path(Outline(points, codes)) if points else None


def affine(transform: str) -> Affine2D:
    """A ``transform`` of moves and factors."""
    result = Affine2D()
    for name, arguments in reversed(re.findall(r"(\w+)\(([^)]*)\)", transform)):
        values = [float(number) for number in re.split(r"[ ,]+", arguments.strip())]
        if name == "translate":
            result.translate(values[0], values[1] if len(values) > 1 else 0.0)
        else:
            assert name == "scale", transform
            result.scale(values[0], values[-1])
    return result


def labels(svg: str) -> Iterator[list[tuple[str, Outline, str]]]:
    """The glyphs of each label that is drawn in outlines: name, outline and place in the label."""
    root = ElementTree.fromstring(svg)
    glyphs = {
        path.get("id"): (path.get("d", ""), path.get("transform", ""))
        for path in root.iter(f"{NAMESPACE}path")
        if path.get("id") and "scale(" in path.get("transform", "")
    }
    for group in root.iter(f"{NAMESPACE}g"):
        label = []
        for use in group.findall(f"{NAMESPACE}use"):
            name = use.get(HREF, use.get("href", "")).removeprefix("#")
            if name in glyphs and (shape := outline(*glyphs[name])) is not None:
                label.append((name, shape, use.get("transform", "")))
        if label:
            yield label


def overlapping(svg: str) -> tuple[int, list[str]]:
    """How many neighboring glyphs there are, and which of them cut into each other."""

    @functools.lru_cache(maxsize=None)
    def cut(one: tuple[str, Outline, str], other: tuple[str, Outline, str]) -> bool:
        shapes = [affine(place).transform_path(shape) for _, shape, place in (one, other)]
        return shapes[0].intersects_path(shapes[1], filled=False)

    pairs = [pair for label in labels(svg) for pair in zip(label, label[1:], strict=False)]
    return len(pairs), [f"{one[0]} and {other[0]}" for one, other in pairs if cut(one, other)]


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_letters_of_a_label_do_not_overlap(chapter: Path) -> None:
    """Glyphs are placed for their own size: drawn a quarter larger, they run into each other."""
    drawn = 0
    for number, svg in enumerate(figures(chapter), start=1):
        assert "scale(0.02" not in svg, f"figure {number}: the size of its letters was rounded"
        pairs, cut = overlapping(svg)
        drawn += pairs + svg.count("<text ")
        assert not cut, f"figure {number}: {len(cut)} of {pairs} neighbors overlap: {cut[:5]}"
    assert drawn, "no figure has a letter"
