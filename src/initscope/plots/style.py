"""What all figures share: colors, sizes, and the way they are shown in a notebook."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
from cycler import cycler
from matplotlib.colors import LinearSegmentedColormap

INK = "#7a7a7a"
"""Text, ticks and axes: contrast of at least 4:1 on a white and on a dark page."""

COLORS = ("#3f83c9", "#d9772b", "#2f9e73", "#b065c0", "#cc4f5c", "#8a8f2a")
"""Categories, in this order."""

PAPER_COLOR = "#c9a227"
"""The band that the paper states."""

COLOR_MAP = LinearSegmentedColormap.from_list(
    "initscope", ["#4a2f7a", "#3b6fb6", "#2fa3a0", "#7cc36a", "#f2d648"]
)

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

WIDTH = 7.6
"""Width of a figure in inches: the text column of the book."""


def use_in_notebook() -> None:
    """Show figures as SVG, in the book's style, the same file for the same figure."""
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    mpl.rcParams.update(STYLE)  # type: ignore[arg-type]
    set_matplotlib_formats("svg", metadata={"Date": None})


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Draw in the book's style and leave the reader's own settings as they are."""
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        yield


def palette(n: int) -> list[Any]:
    """Colors of `n` categories: :data:`COLORS`, or where these are too few, a ramp."""
    return list(COLORS[:n]) if n <= len(COLORS) else list(COLOR_MAP(np.linspace(0, 1, n)))


def cell_edges(centers: np.ndarray) -> np.ndarray:
    """Edges of cells round `centers`, which are evenly spaced on a log axis."""
    logs = np.log(centers)
    middle = (logs[1:] + logs[:-1]) / 2
    half = (logs[1] - logs[0]) / 2 if len(logs) > 1 else 0.1
    return np.exp([logs[0] - half, *middle, logs[-1] + half])


def source_note(chapter: str, profile: str, *files: str | Path) -> Any:
    """The way from a figure to its data and to the command that makes it, as Markdown output.

    Files of one name, in a folder each, are told apart by the names of the folders.
    """
    from IPython.display import Markdown

    paths = [Path(file) for file in files]
    names, before = [path.name for path in paths], ""
    if len(set(paths)) > 1 and len(set(names)) == 1:
        before = f"{names[0]} of "
        shared = len(Path(os.path.commonpath(paths)).parts)
        names = [path.parts[shared] for path in paths]
    links = ", ".join(
        f"[{name}]({path.as_posix()})" for name, path in zip(names, paths, strict=True)
    )
    command = f"python -m initscope reproduce {chapter} --profile {profile}"
    return Markdown(f"*Data:* {before}{links}. *Made by:* `{command}`")
