"""Figures that can be read on a phone: as wide as their letters need, in a box that scrolls.

A figure is drawn for a column of text. On a narrow screen its panels stand one below the other, if
then each fits the screen with letters `SMALLEST` pixels high: see figure_panels.py. Of others there
is a narrow variant: see narrow_figures.py. Any other figure stays as wide as its smallest label
needs to be that high, and scrolls in a box of its own. Each can be opened to fill the screen: see
scrolling.js.
"""

import contextlib
import re
from math import ceil
from pathlib import Path
from typing import Any

from figure_panels import Strip, stack_of
from figure_picture import Box
from narrow_figures import narrowed
from sphinx.application import Sphinx
from sphinx.util.images import get_image_size

SMALLEST = 10
"""Pixels."""

PHONE = 374
"""Pixels that a figure has on a screen of 390: see .figure-stack in book.css."""

SMALL_PHONE = 342
"""Pixels that it has on a screen of 360 at least."""

NARROW = "screen and (max-width: 600px)"
"""Where the narrow variant of a figure is shown: as .of-narrow in book.css."""

LARGEST = 1.6
"""Pixels a point of a figure at most: letters of panels that are small would be shouted."""

_FIGURE = re.compile(
    r"""(<figure\b[^>]*>\s*)
        (<img\ (?=[^>]*?src="([./]*/_images/([^"]+\.svg))")[^>]*>)""",
    re.VERBOSE,
)
_GLYPHS = re.compile(r"scale\((0\.\d+) -\1\)")
_VIEW = re.compile(r'viewBox="([-\d.]+) ([-\d.]+) ([-\d.]+) ([-\d.]+)"')
_TEXT = re.compile(r'<text [^>]*?style="[^"]*?font-size: ([\d.]+)px')

BUTTON = '<p class="figure-open"><button type="button">Full screen</button></p>'


def smallest_label(svg: str) -> float:
    """Return the size of the smallest label of a figure of matplotlib's, in points.

    Exponents and indices count with the label that they stand at.

    >>> smallest_label('<g transform="translate(9 9) scale(0.09 -0.09)"/>')
    9.0
    >>> smallest_label('<text x="1" style="font-size: 10px"><tspan style="font-size: 7px"/></text>')
    10.0
    """
    sizes = [100 * float(scale) for scale in _GLYPHS.findall(svg)]
    return min([*sizes, *map(float, _TEXT.findall(svg))], default=10.0)


def least_width(svg: str, width: int) -> int:
    """Return how wide a figure has to be for its smallest label, `width` being its own, in pixels.

    A pixel more than that: its own width is a fraction that has been left off.

    >>> least_width('<g transform="scale(0.1 -0.1)"/>', 800)
    601
    """
    return ceil(width * SMALLEST / (smallest_label(svg) * 96 / 72)) + 1


def stacked(svg: str, source: str) -> str:
    """Return the markup of a figure's panels one below the other, of a picture at `source`.

    Empty if the panels would not fit a phone, or if there is one alone.
    """
    try:
        strips = stack_of(svg)
    except ValueError:  # something that matplotlib has not written so far: it stays as it is
        return ""
    if strips is None or any(_least(strip) > PHONE for strip in strips):
        return ""
    panels = [strip for strip in strips if strip.is_panel]
    left, top, width, height = map(float, _VIEW.findall(svg)[0])
    figure = Box(left, top, left + width, top + height)
    wide = max(panel.width for panel in panels)
    parts, pieces = [], ""
    for strip in strips:
        drawn = _strip(strip, wide, figure, source)
        if strip.is_panel:
            parts += [f'<div class="figure-pieces">{pieces}</div>' if pieces else "", drawn]
            pieces = ""
        else:
            pieces += drawn
    parts += [f'<div class="figure-pieces">{pieces}</div>' if pieces else ""]
    least = ceil(max(_least(panel) for panel in panels))
    most = ceil(max(least, LARGEST * wide))
    style = f"--cell: {least}px; --most: {most}px; --fw: {figure.width:g}; --fh: {figure.height:g}"
    return f'<div class="figure-stack" style="{style}">{"".join(parts)}</div>'


def _least(strip: Strip) -> float:
    """Return how many pixels wide a strip has to be.

    A legend is shown as large as on a wide screen if there is room.
    """
    least = strip.width * SMALLEST / strip.letter
    return least if strip.is_panel else max(least, min(PHONE, strip.width * 96 / 72))


def _strip(strip: Strip, wide: float, figure: Box, source: str) -> str:
    """Return the markup of a strip; `wide` is the width of the widest in points."""
    windows = "".join(
        f'<span style="--l: {one.left:.4g}; --t: {one.top:.4g}; --a: {one.box.width:.4g}; '
        f"--b: {one.box.height:.4g}; --x: {one.box.left - figure.left:.4g}; "
        f'--y: {one.box.top - figure.top:.4g}"><span><img src="{source}" alt=""></span></span>'
        for one in strip.windows
    )
    size = f"--w: {strip.width:.4g}; --h: {strip.height:.4g}; --least: {ceil(_least(strip))}px"
    share = f"; --share: {strip.width / wide:.3g}" if strip.is_panel else ""
    return f'<div class="figure-strip" style="{size}{share}">{windows}</div>'


def narrow(svg: str) -> tuple[str, int] | None:
    """Return the narrow variant of a figure and how many pixels wide it has to be; None if none."""
    for width in (SMALL_PHONE, PHONE):
        with contextlib.suppress(ValueError):  # then it stays as it is
            return narrowed(svg, width * smallest_label(svg) / SMALLEST), width
    return None


def _picture(image: str, source: str, narrow: str) -> str:
    """Return the markup of a figure with a narrow variant, which is stored beside it."""
    width, height = (round(float(length) * 96 / 72) for length in _VIEW.findall(narrow)[0][2:])
    address = source.removesuffix(".svg") + "-narrow.svg"
    return (
        f'<picture><source media="{NARROW}" srcset="{address}" width="{width}" '
        f'height="{height}" />{image}</picture>'
    )


def make_readable(
    app: Sphinx, name: str, template: str, context: dict[str, Any], _: object
) -> None:
    """Put the figures of a page into boxes of their own."""
    sources = {name: source for source, (_, name) in app.env.images.items()}

    def boxed(match: re.Match[str]) -> str:
        path = Path(app.srcdir) / sources[match[4]]
        width, height = get_image_size(str(path)) or (0, 0)
        if not height:
            return match[0]
        svg = path.read_text(encoding="utf8")
        style = f"--least: {least_width(svg, width)}px; --ratio: {width / height:.3f}"
        image, stack = match[2], stacked(svg, match[3])
        variant = narrow(svg) if not stack and least_width(svg, width) > PHONE else None
        if variant:
            text, least = variant
            image = _picture(image, match[3], text)
            style += f"; --narrow: {least}px"
            store = Path(app.outdir) / "_images" / f"{Path(match[4]).stem}-narrow.svg"
            store.parent.mkdir(exist_ok=True)
            store.write_text(text, encoding="utf8")
        return f'{match[1]}<div class="figure-room" style="{style}">{image}{stack}</div>{BUTTON}'

    if "body" in context:
        context["body"] = _FIGURE.sub(boxed, context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    # When the pictures have got their sizes: see reserved_room.py.
    app.connect("html-page-context", make_readable, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
