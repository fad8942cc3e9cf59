"""Figures that can be read on a phone: as wide as their letters need, in a box that scrolls.

A figure is drawn for a column of text. On a narrow screen it stays as wide as its smallest label
needs to be `SMALLEST` pixels high, scrolls in a box of its own, and can be opened to fill the
screen: see scrolling.js.
"""

import re
from math import ceil
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.images import get_image_size

SMALLEST = 10
"""Pixels."""

_FIGURE = re.compile(
    r"""(<figure\b[^>]*>\s*)
        ((?:<div\ class="guess-figure[^"]*">\s*)?
        <img\ (?=[^>]*?src="[./]*/_images/([^"]+\.svg)")[^>]*>
        (?:\s*<span\ class="guess-marks"[^>]*></span>\s*</div>)?)""",
    re.VERBOSE,
)
_GLYPHS = re.compile(r"scale\((0\.\d+) -\1\)")
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


def make_readable(
    app: Sphinx, name: str, template: str, context: dict[str, Any], _: object
) -> None:
    """Put the figures of a page into boxes of their own."""
    sources = {name: source for source, (_, name) in app.env.images.items()}

    def boxed(match: re.Match[str]) -> str:
        path = Path(app.srcdir) / sources[match[3]]
        width, height = get_image_size(str(path)) or (0, 0)
        if not height:
            return match[0]
        least = least_width(path.read_text(encoding="utf8"), width)
        style = f"--least: {least}px; --ratio: {width / height:.3f}"
        return f'{match[1]}<div class="figure-room" style="{style}">{match[2]}</div>{BUTTON}'

    if "body" in context:
        context["body"] = _FIGURE.sub(boxed, context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    # When the pictures have got their sizes: see reserved_room.py.
    app.connect("html-page-context", make_readable, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
