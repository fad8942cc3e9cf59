"""Figure of the edges of stability bands beside the law of the plateau."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from initscope import checks
from initscope.analysis.stability import PAPER_BAND
from initscope.analysis.sweeps import widths_of
from initscope.plots.schemes import depth_axis
from initscope.plots.style import COLORS, INK, PAPER_COLOR, WIDTH, line_looks, palette, styled
from initscope.theory.stability import critical_std

__all__ = ["edges_against_law", "escape_times"]

_EDGES = ("low", "low_from", "low_to", "high", "high_from", "high_to")
_LAWS = ("law_low", "law_high", "law_low_of_depth")


def edges_against_law(bands: pd.DataFrame) -> Figure:
    """Draw measured edges by depth and by number of epochs, and what the law makes of a few.

    Parameters
    ----------
    bands
        Result of :func:`initscope.analysis.stability_bands` for several depths and numbers of
        epochs, with the laws beside it: ``law_low`` and ``law_high``, drawn against the depth for
        the smallest number of epochs, and ``law_low_of_depth``, drawn against the epochs.

    Returns
    -------
    matplotlib.figure.Figure
        Points with 95% intervals are measured, lines are the law. An arrow marks an edge beyond
        the grid.

    >>> bands = pd.DataFrame({"depth": [3, 4], "widths": ["64-64-64-10", "64-64-64-64-10"]})
    >>> bands = bands.assign(epochs=1, law_low=0.01, law_high=0.3, law_low_of_depth=0.01)
    >>> bands = bands.assign(low=0.01, low_from=0.009, low_to=0.02)
    >>> bands = bands.assign(high=0.3, high_from=0.2, high_to=0.4)
    >>> bands = bands.assign(open_low=False, open_high=False)
    >>> len(edges_against_law(bands).axes)
    2
    """
    numbers = ("depth", "epochs", *_EDGES, *_LAWS)
    checks.frame("bands", bands, ("open_low", "open_high"), numbers=numbers, texts=("widths",))
    with styled():
        figure = Figure(figsize=(WIDTH, 3.9))
        left, right = figure.subplots(1, 2, sharey=True)
        shortest = bands[bands["epochs"] == bands["epochs"].min()].sort_values("depth")
        places = np.arange(len(shortest))
        for edge, law, color in (
            ("low", "law_low", COLORS[0]),
            ("high", "law_high", COLORS[1]),
        ):
            left.plot(places, shortest[law], color=color, lw=1.6)
            _measured(left, places, shortest, edge, color)
        critical = [critical_std(widths_of(widths)) for widths in shortest["widths"]]
        left.plot(places, critical, color=INK, ls="--", lw=1.2)
        depth_axis(left, [int(depth) for depth in shortest["depth"]])
        left.set_title(f"after {_epochs(shortest['epochs'].iloc[0])}")
        left.set_ylabel("std at the edge of the band")
        looks = line_looks(sorted(bands["depth"].unique()))
        for depth, look in looks.items():
            group = bands[bands["depth"] == depth].sort_values("epochs")
            right.plot(group["epochs"], group["law_low_of_depth"], **look)
            _measured(right, group["epochs"].to_numpy(), group, "low", look["color"])
        right.set_xscale("log")
        ticks = sorted(bands["epochs"].unique())
        right.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        right.minorticks_off()
        right.set_xlabel("epochs of training")
        right.set_title("left edges, later")
        for axes in (left, right):
            axes.axhspan(*PAPER_BAND, color=PAPER_COLOR, alpha=0.15, lw=0)
            axes.set_yscale("log")
        handles = [
            Line2D([], [], color=COLORS[0], marker="o", label="left edge"),
            Line2D([], [], color=COLORS[1], marker="o", label="right edge"),
            Line2D([], [], color=INK, ls="--", label=r"$\sqrt{2/n}$"),
            *(
                Line2D([], [], **{**look, "marker": "o"}, label=f"{depth} layers")
                for depth, look in looks.items()
            ),
        ]
        figure.legend(handles=handles, loc="outside right center", title="line: law")
    return figure


def _measured(axes: Axes, at: np.ndarray, rows: pd.DataFrame, edge: str, color: str) -> None:
    """Draw points with their intervals."""
    below = (rows[edge] - rows[f"{edge}_from"]).clip(lower=0)
    above = (rows[f"{edge}_to"] - rows[edge]).clip(lower=0)
    is_open = rows[f"open_{edge}"].to_numpy(bool)
    beyond = {"low": "v", "high": "^"}[edge]
    for here, marker in ((~is_open, "o"), (is_open, beyond)):
        if here.any():
            axes.errorbar(
                at[here],
                rows[edge][here],
                np.stack([below, above])[:, here],
                color=color,
                marker=marker,
                ms=4 if marker == "o" else 6,
                ls="none",
                lw=1.2,
            )


def _epochs(epochs: float) -> str:
    return f"{epochs:g} epoch{'s' * int(epochs != 1)}"


def escape_times(escapes: pd.DataFrame) -> Figure:
    """Draw how many updates networks take to leave the plateau, without and with biases.

    Parameters
    ----------
    escapes
        A row a network: ``depth``, ``ratio`` of its std to Kaiming's, ``bias_factor`` (0 where the
        biases stay at 0) and ``updates``, NaN for one that did not leave.

    Returns
    -------
    matplotlib.figure.Figure
        A panel for each ``bias_factor``; lines are medians over the rows of one place, dashed is
        the slope of the law, ``-(depth - 2)``, through the median at the middle ratio.

    >>> escapes = pd.DataFrame({"ratio": [0.5, 0.7], "updates": [40.0, 20.0], "depth": 4})
    >>> len(escape_times(escapes.assign(bias_factor=0.0)).axes)
    1
    """
    checks.frame("escapes", escapes, numbers=("depth", "ratio", "bias_factor", "updates"))
    factors = sorted(escapes["bias_factor"].unique())
    depths = sorted(escapes["depth"].unique())
    with styled():
        figure = Figure(figsize=(WIDTH, 3.4))
        panels = figure.subplots(1, len(factors), sharey=True, squeeze=False)[0]
        for axes, factor in zip(panels, factors, strict=True):
            for depth, color in zip(depths, palette(len(depths)), strict=True):
                which = (escapes["bias_factor"] == factor) & (escapes["depth"] == depth)
                runs = escapes[which]
                medians = runs.groupby("ratio")["updates"].median()
                axes.plot(medians.index, medians, color=color, lw=1.6, label=f"{depth} layers")
                axes.plot(runs["ratio"], runs["updates"], color=color, marker="o", ms=3, ls="none")
                middle = medians.index[len(medians) // 2]
                law = medians[middle] * (medians.index / middle) ** -(depth - 2.0)
                axes.plot(medians.index, law, color=color, lw=1.0, ls="--")
            axes.set_xscale("log")
            axes.set_yscale("log")
            ratios = sorted(escapes["ratio"].unique())
            axes.set_xticks(ratios, [f"{ratio:g}" for ratio in ratios])
            axes.minorticks_off()
            axes.set_xlabel("initial std over Kaiming's")
            axes.set_title("with biases" if factor else "without biases")
        panels[0].set_ylabel("updates")
        handles = [
            *panels[0].get_legend_handles_labels()[0],
            Line2D([], [], color=INK, ls="--", lw=1.0, label="slope of the law"),
        ]
        figure.legend(handles=handles, loc="outside right center")
    return figure
