"""Figures of language models in training: losses, and signals by layer (chapter 07)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from initscope import checks
from initscope.checks import require
from initscope.plots.style import INK, WIDTH, line_looks, palette, styled
from initscope.plots.weights import (
    above_zero,
    check_layers,
    check_steps,
    layer_handles,
    legend_below,
    panels_of,
    point,
)

__all__ = ["signals_through_training", "training_losses"]

EMPTY = pd.DataFrame({"step": [], "loss": []}, dtype=float)


def signals_through_training(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw statistics of one role against the step, one panel a statistic, colored by layer.

    Parameters
    ----------
    tables
        Title of a panel to a frame with one row a layer and one column a step; what is not above 0
        has no place on the logarithmic axis.

    >>> table = pd.DataFrame([[1.0, 2.0], [1.0, 3.0]], [1, 2], [0, 10])  # a row a layer
    >>> signals_through_training({"activation": table}).axes[0].get_title()
    'activation'
    """
    checks.mapping("tables", tables)
    for label, table in tables.items():
        checks.text("a label in tables", label)
        checks.number_table("in tables", table)
        check_steps("in tables", table)
        if len(table):
            check_layers("in tables", table.index)
    require(len(tables) > 0, "there are no tables: there is nothing to draw.")
    layers = sorted({layer for table in tables.values() for layer in table.index})
    require(len(layers) > 0, "the tables have no rows: there is nothing to draw.")
    looks = line_looks(layers)
    with styled():
        figure = Figure(figsize=(WIDTH, 3.3))
        panels = panels_of(figure, len(tables), (1, len(tables)))
        for axes, (label, table) in zip(panels, tables.items(), strict=True):
            places = table.columns
            for layer, curve in above_zero(table).iterrows():
                axes.plot(places, curve, **looks[layer], **point(places))
            axes.set_yscale("log")
            axes.set_title(label)
            axes.set_xlabel("update")
        legend_below(figure, layer_handles(looks))
    return figure


def training_losses(
    groups: Mapping[str, Sequence[pd.DataFrame]],
    ends: Mapping[str, pd.DataFrame],
    level: float | None = None,
) -> Figure:
    """Draw the training loss of groups of runs, and where each ended against when it got under way.

    Parameters
    ----------
    groups
        Label to the runs of a group, tables with the columns ``step`` and ``loss``.
    ends
        Label to a row a run: ``left``, the update at which it left the plateau, and ``loss`` at
        the end. Runs that never did are left out. Labels that are not in `groups` are drawn gray.
    level
        Loss of the plateau, drawn as a dashed line.

    Examples
    --------
    >>> losses = pd.DataFrame({"step": [1, 10], "loss": [5.0, 3.0]})
    >>> ends = pd.DataFrame({"left": [10.0], "loss": [3.0]})
    >>> training_losses({"seed 0": [losses]}, {"seed 0": ends}, 4.0).axes[0].get_ylabel()
    'training loss, nats a token'
    """
    for label, tables in checks.mapping("groups", groups).items():
        checks.text("a label in groups", label)
        for table in checks.items(f"groups[{label!r}]", tables):
            checks.frame(f"in groups[{label!r}]", table, numbers=("step", "loss"), rows=False)
    for label, table in checks.mapping("ends", ends).items():
        checks.text("a label in ends", label)
        checks.frame(f"ends[{label!r}]", table, numbers=("left", "loss"), rows=False)
    if level is not None:
        level = checks.one("level", checks.finite("level", level))
    require(len(groups) > 0, "there are no runs in groups: there is nothing to draw.")
    colors = dict(zip(groups, palette(len(groups)), strict=True))
    with styled():
        figure = Figure(figsize=(WIDTH, 3.7))
        left, right = figure.subplots(1, 2, width_ratios=(1.3, 1))
        for label, tables in groups.items():
            for table in tables:
                shown = table[table["step"] > 0]
                left.plot(shown["step"], shown["loss"], color=colors[label], lw=1, **point(shown))
        if level is not None:
            left.axhline(level, color=INK, ls="--", lw=1.2)
        every = pd.concat([table for tables in groups.values() for table in tables] or [EMPTY])
        if bool(np.isfinite(every["loss"][every["step"] > 0]).any()):  # a logarithm needs a place
            left.set_xscale("log")
            left.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        left.set_xlabel("update")
        left.set_ylabel("training loss, nats a token")
        for label, table in ends.items():
            color, size = (colors[label], 6) if label in colors else (INK, 4)
            right.plot(table["left"], table["loss"], "o", color=color, ms=size, mew=0)
        right.set_xlabel("update at which it left the plateau")
        right.set_ylabel("validation loss at the end")
        handles = [Line2D([], [], color=color, label=label) for label, color in colors.items()]
        others = [label for label in ends if label not in colors]
        handles += [Line2D([], [], color=INK, marker="o", ls="none", ms=4, label=n) for n in others]
        if level is not None:
            handles.append(Line2D([], [], color=INK, ls="--", lw=1.2, label="plateau"))
        legend_below(figure, handles)
    return figure
