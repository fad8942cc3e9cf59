"""What all figures share: colors, sizes, and the way they are shown in a notebook."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
from cycler import cycler
from matplotlib.backend_bases import register_backend
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.cbook import file_requires_unicode, open_file_cm
from matplotlib.colors import LinearSegmentedColormap

from initscope import checks

__all__ = ["COLORS", "COLOR_MAP", "INK", "INK_ON_DARK", "LINE_MAP", "ON_MAP"]
__all__ += ["PAPER_COLOR", "STYLE", "WIDTH", "themed", "use_in_notebook"]

INK = "#6e6e6e"
"""Text, ticks and axes, with a contrast of 5:1 on a white page and above 3:1 on a dark one."""

INK_ON_DARK = "#8f8f8f"
"""What text in `INK` becomes on a dark page: a contrast of 5:1 there, above 3:1 on a white one.

No gray has 4.5:1 on both. With these two, a figure on the wrong page can still be read.
"""

ON_MAP = ("#ffffff", "#14181e")
"""Colors of lines and letters on a map: the one that is seen, or one as the rim of the other."""

COLORS = ("#3f83c9", "#d9772b", "#2f9e73", "#b065c0", "#cc4f5c", "#8a8f2a")
"""Colors of categories, in this order: at least 3:1 on a white and on a dark page."""

WRITTEN = {"mnist": "MNIST", "wine": "Wine", "digits": "digits", "mlp": "MLP", "identity": "linear"}
WRITTEN |= {"relu": "ReLU", "gelu": "GELU", "silu": "SiLU", "selu": "SELU"}
"""How data sets and functions are written, by their names in the code."""

PAPER_COLOR = "#c9a227"
"""Color of the band that the paper states."""

COLOR_MAP = LinearSegmentedColormap.from_list(
    "initscope", ["#4a2f7a", "#3b6fb6", "#2fa3a0", "#7cc36a", "#f2d648"]
)
"""Color map of the values of a map, from purple to yellow."""

LINE_MAP = LinearSegmentedColormap.from_list(
    "initscope_lines", ["#7a4ecf", "#3b73cf", "#1d8c9c", "#3c9650", "#8c8f2a", "#cf7d2a"]
)
"""Color map of ordered lines, such as layers: at least 3:1 on a white and on a dark page."""

STYLE: dict[str, Any] = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "savefig.bbox": "tight",
    "figure.constrained_layout.use": True,
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.labelsize": 10.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "legend.title_fontsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.22,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.7,
    "axes.prop_cycle": cycler(color=COLORS),
    # The same figure gives the same file: no random ids in the SVG.
    "svg.hashsalt": "initscope",
}
"""Settings of matplotlib that every figure is drawn with: no background, mid-tone lines."""

WIDTH = 7.6
"""Width of a figure in inches: the text column of the book."""

PAIR_WIDTH = 6.5
"""Width in inches of a figure of two panels that have powers of ten along their axes.

On a phone each stands by itself, and the exponents are to be read: see ``book/_ext``.
"""


def use_in_notebook() -> None:
    """Show figures in notebooks as SVG, in the book's style; the same figure gives the same file.

    Their text changes with the color of the page, see :data:`INK_ON_DARK`. Figures that are saved
    as SVG from then on are written in the same way.

    >>> use_in_notebook()
    """
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    mpl.rcParams.update(STYLE)  # type: ignore[arg-type]
    set_matplotlib_formats("svg", metadata={"Date": None})
    register_backend("svg", _ThemedSVG)


def themed(svg: str) -> str:
    """Return the SVG text of a figure with text that is lighter on a dark page.

    A picture in a page sees the color scheme of the element that shows it, and of the reader's
    system where there is none: ``prefers-color-scheme`` holds for both. Text in another color than
    `INK` stays as it is.

    Example
    -------
    >>> "prefers-color-scheme: dark" in themed("<svg><style>*{stroke-linecap: butt}</style></svg>")
    True
    """
    checks.text("svg", svg)
    if "prefers-color-scheme" in svg:
        return svg
    text = f'[id^="text_"] [style*="{INK}"]'
    rule = f"@media (prefers-color-scheme: dark){{{text}{{fill: {INK_ON_DARK} !important}}}}"
    return svg.replace("</style>", f"{rule}</style>", 1)


class _ThemedSVG(FigureCanvasSVG):
    """The canvas of figures in SVG once :func:`use_in_notebook` was called: see :func:`themed`."""

    def print_svg(
        self, filename: Any, *, bbox_inches_restore: Any = None, metadata: Any = None, **_: Any
    ) -> None:
        # Resolution and the like, which are asked of every format, mean nothing here.
        picture = io.StringIO()
        super().print_svg(picture, bbox_inches_restore=bbox_inches_restore, metadata=metadata)
        text = themed(picture.getvalue())
        with open_file_cm(filename, "w", encoding="utf8") as file:
            file.write(text if file_requires_unicode(file) else text.encode())


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Draw in the book's style and leave the reader's own settings as they are."""
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        yield


def palette(n: int) -> list[Any]:
    """Return colors of `n` categories: :data:`COLORS`, or where these are too few, a ramp."""
    return list(COLORS[:n]) if n <= len(COLORS) else list(LINE_MAP(np.linspace(0, 1, n)))


def line_looks(names: Sequence[Any]) -> dict[Any, dict[str, Any]]:
    """Return keywords for lines in an order, such as layers: a ramp of colors, both ends in bold.

    The first is dotted, so that the ends are told apart without color.
    """
    last = len(names) - 1
    colors = LINE_MAP(np.linspace(0, 1, len(names)))
    return {
        name: {
            "color": color,
            "lw": 2.2 if place in (0, last) else 1.0,
            "ls": ":" if place == 0 < last else "-",
        }
        for place, (name, color) in enumerate(zip(names, colors, strict=True))
    }


def cell_edges(centers: np.ndarray) -> np.ndarray:
    """Return the edges of cells round `centers`, which are evenly spaced on a log axis."""
    logs = np.log(centers)
    middle = (logs[1:] + logs[:-1]) / 2
    half = (logs[1] - logs[0]) / 2 if len(logs) > 1 else 0.1
    return np.exp([logs[0] - half, *middle, logs[-1] + half])
