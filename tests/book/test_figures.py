"""The figures of the committed chapters, as they are in the files: letters, and what is seen."""

from __future__ import annotations

import base64
import functools
import io
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pydata_sphinx_theme
import pytest
import sphinx_book_theme
from matplotlib import image, rc_context
from matplotlib.backend_bases import get_registered_canvas_class, register_backend
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.path import Path as Outline
from matplotlib.transforms import Affine2D
from playwright.sync_api import Browser

from initscope import plots
from initscope.plots.style import line_looks, themed

ROOT = Path(__file__).resolve().parents[2]
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


def pictures() -> dict[str, str]:
    """Every figure of the book: those of the chapters, and those recorded for the first page."""
    found = {
        f"{chapter.stem}, figure {number}": svg
        for chapter in CHAPTERS
        for number, svg in enumerate(figures(chapter), start=1)
    }
    recorded = sorted(ROOT.glob("notebooks/results/*/cpu/*.svg"))
    return found | {str(file.relative_to(ROOT)): file.read_text() for file in recorded}


@functools.cache
def outline(d: str, transform: str) -> Outline | None:
    """The outline of a glyph after its own transform; None of a space."""
    points: list[tuple[float, float]] = []
    codes: list[int] = []
    start = (0.0, 0.0)
    for command, numbers in re.findall(r"([A-Za-z])([^A-Za-z]*)", d):
        code, count = POINTS[command]
        values = [float(number) for number in re.findall(r"-?[\d.]+", numbers)]
        assert len(values) % (2 * count or 1) == 0
        pairs = list(zip(values[::2], values[1::2], strict=True)) or [start]  # z: back there
        start = pairs[0] if command == "M" else start
        points += pairs
        codes += [code, *([Outline.LINETO] if command == "M" else [code]) * (len(pairs) - 1)]
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

    @functools.cache
    def cut(one: tuple[str, Outline, str], other: tuple[str, Outline, str]) -> bool:
        shapes = [affine(place).transform_path(shape) for _, shape, place in (one, other)]
        return shapes[0].intersects_path(shapes[1], filled=False)

    pairs = [pair for label in labels(svg) for pair in itertools.pairwise(label)]
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


def luminance(color: np.ndarray) -> float:
    """Relative luminance of an sRGB color, as WCAG 2.2 defines it."""
    linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def contrast(color: str, ground: str, opacity: float = 1.0) -> float:
    """Contrast of a color, of this opacity, with what is behind it."""
    behind = np.array(to_rgb(ground))
    seen = opacity * np.array(to_rgb(color)) + (1 - opacity) * behind
    lower, higher = sorted((luminance(seen), luminance(behind)))
    return (higher + 0.05) / (lower + 0.05)


def grounds() -> dict[str, set[str]]:
    """Colors of a page's ground, light and dark, from the style sheets of the theme."""
    found: dict[str, set[str]] = {"light": set(), "dark": set()}
    for theme in (pydata_sphinx_theme, sphinx_book_theme):
        for sheet in Path(theme.__file__).parent.rglob("static/styles/*.css"):
            rules = re.findall(r"\[data-theme=(light|dark)\][^{}]*{([^}]*)}", sheet.read_text())
            for scheme, rule in rules:
                found[scheme] |= set(re.findall(r"--pst-color-background:\s*(#\w+)", rule))
    return found


GROUNDS = grounds()


def test_the_grounds_of_the_theme_are_known() -> None:
    assert "#fff" in GROUNDS["light"]
    assert GROUNDS["dark"]
    assert all(luminance(np.array(to_rgb(ground))) < 0.02 for ground in GROUNDS["dark"])


def worst(color: str, opacity: float = 1.0, scheme: str | None = None) -> float:
    """The lowest contrast with any ground, or with those of one scheme."""
    chosen = GROUNDS[scheme] if scheme else GROUNDS["light"] | GROUNDS["dark"]
    return min(contrast(color, ground, opacity) for ground in chosen)


def styled(element: ElementTree.Element) -> dict[str, str]:
    """Properties of an element's own style."""
    return dict(re.findall(r"([\w-]+):\s*([^;]+)", element.get("style", "")))


def drawn(svg: str) -> Iterator[tuple[str, str, float]]:
    """What is seen in a figure: ``"text"``, ``"line"`` or ``"mark"``, its color and opacity.

    Areas and what is on a map are left out, and the lines of the grid.
    """
    root = ElementTree.fromstring(svg)
    shapes = {
        f"#{path.get('id')}": styled(path)
        for path in root.iter(f"{NAMESPACE}path")
        if path.get("id") is not None
    }
    glyphs = {
        f"#{path.get('id')}"
        for path in root.iter(f"{NAMESPACE}path")
        if "scale(" in path.get("transform", "")
    }

    def walk(element: ElementTree.Element, inherited: dict[str, str], faded: float) -> Iterator:
        own = styled(element)
        style = inherited | own | shapes.get(element.get(HREF, ""), {})
        faded *= float(own.get("opacity", 1))
        tag = element.tag.removeprefix(NAMESPACE)
        if tag in ("defs", "clipPath", "metadata"):
            return
        fill, stroke = style.get("fill", "#000000"), style.get("stroke", "none")
        filled = faded * float(style.get("fill-opacity", 1))
        stroked = faded * float(style.get("stroke-opacity", 1))
        if tag == "text" or (tag == "use" and element.get(HREF) in glyphs):
            yield "text", fill, filled
        elif stroke != "none" and (tag == "use" or fill != stroke):
            yield "line", stroke, stroked
        elif tag == "use" and fill != "none" and filled > 0.5:
            yield "mark", fill, filled
        for child in element:
            yield from walk(child, style, faded)

    grid = ("line", plots.INK, plots.STYLE["grid.alpha"])
    for found in walk(root, {}, 1.0):
        if found != grid and found[1] not in plots.ON_MAP:
            yield found


def unreadable(svg: str) -> set[str]:
    """What has less contrast than 4.5 (text) or 3 with a light or a dark page."""
    dark = re.search(r"dark\)\{\[id\^=.text_.\] \[style\*=.(#\w+).\]\{fill: (#\w+) !important", svg)
    found = set()
    for kind, color, opacity in set(drawn(svg)):
        for scheme in ("light", "dark"):
            shown = color
            if dark and scheme == "dark" and kind == "text" and color == dark[1]:
                shown = dark[2]
            reached = worst(shown, opacity, scheme)
            if reached < (4.5 if kind == "text" else 3):
                found.add(f"{kind} {color}, opacity {opacity:g}: {reached:.1f} on {scheme}")
    return found


def test_text_that_is_kept_as_text_is_in_a_font_of_the_page() -> None:
    """Letters of matplotlib's own fonts for formulas are empty boxes in a browser."""
    for name, svg in pictures().items():
        fonts = set(re.findall(r"font-family: '([^']*)'|font: [^;]*?'([^']*)'", svg))
        assert {"".join(font) for font in fonts} <= {"DejaVu Sans"}, name


@pytest.mark.parametrize("name", pictures())
def test_lines_and_text_are_seen_on_a_light_and_on_a_dark_page(name: str) -> None:
    svg = pictures()[name]
    assert list(drawn(svg))
    assert unreadable(svg) == set()


def test_colors_of_figures_and_widgets_are_seen_on_a_light_and_on_a_dark_page() -> None:
    ramp = [plots.LINE_MAP(place)[:3] for place in np.linspace(0, 1, 65)]
    for color in [*plots.COLORS, plots.INK, plots.INK_ON_DARK, *ramp]:
        assert worst(color) >= 3, color
    assert worst(plots.INK, scheme="light") >= 4.5
    assert worst(plots.INK_ON_DARK, scheme="dark") >= 4.5
    assert contrast(*plots.ON_MAP) >= 4.5


@pytest.fixture
def in_notebook() -> Iterator[None]:
    """As after the first cell of a chapter; afterwards as before."""
    before = get_registered_canvas_class("svg")
    with rc_context():
        plots.use_in_notebook()
        yield
    register_backend("svg", before)


def square(color: str | None = None) -> str:
    """The SVG of a figure that is one letter, a black square, as a chapter saves it."""
    figure = Figure(figsize=(2, 2))
    figure.text(0.5, 0.5, "\N{BLACK SQUARE}", size=90, ha="center", va="center", color=color)
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None}, dpi=72)
    return out.getvalue().decode()


@pytest.mark.usefixtures("in_notebook")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("system", ["light", "dark"])
def test_text_takes_the_shade_of_the_page_it_is_on(
    browser: Browser, scheme: str, system: str
) -> None:
    """Whichever the reader has chosen on the page, and whatever the system prefers."""
    theme = Path(pydata_sphinx_theme.__file__).parent
    sheets = [*theme.rglob("pydata-sphinx-theme.css"), ROOT / "book" / "_static" / "book.css"]
    page = browser.new_page(color_scheme=system)
    shown = []
    try:
        for svg in (square(), square("#cc4f5c")):
            data = base64.b64encode(svg.encode()).decode()
            page.set_content(
                f'<!DOCTYPE html><html data-theme="{scheme}"><body style="margin: 0">'
                '<div class="bd-content"><article class="bd-article">'
                f'<img src="data:image/svg+xml;base64,{data}"></article></div></body></html>'
            )
            for sheet in sheets:
                page.add_style_tag(path=sheet)
            page.wait_for_function("document.images[0].complete")
            picture = page.locator("img").screenshot()
            pixels = image.imread(io.BytesIO(picture), format="png")
            shown.append(to_hex(pixels[pixels.shape[0] // 2, pixels.shape[1] // 2, :3]))
    finally:
        page.close()
    assert shown == [plots.INK if scheme == "light" else plots.INK_ON_DARK, "#cc4f5c"]


@pytest.mark.usefixtures("in_notebook")
def test_a_figure_is_themed_once_wherever_it_is_saved(tmp_path: Path) -> None:
    figure = Figure()
    figure.text(0.5, 0.5, "text")
    figure.savefig(tmp_path / "a.svg", metadata={"Date": None})
    svg = (tmp_path / "a.svg").read_text()
    assert svg.count("prefers-color-scheme") == 1
    assert themed(svg) == svg
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    assert text.getvalue() == svg
    assert unreadable(svg) == set()


def test_lines_in_an_order_differ_in_more_than_color() -> None:
    looks = line_looks(range(12))
    assert len({to_hex(look["color"]) for look in looks.values()}) == 12
    assert [look["ls"] for look in looks.values()] == [":", *["-"] * 11]
    assert {n for n, look in looks.items() if look["lw"] > 2} == {0, 11}
    assert line_looks(["only"])["only"]["ls"] == "-"
    assert line_looks([]) == {}
