"""Figures of language models in training: losses, and signals by layer (chapter 07)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from initscope import checks
from initscope.checks import require
from initscope.plots.style import COLORS, INK, WIDTH, line_looks, styled
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


def signals_through_training(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw statistics of one role against the step, one panel a statistic, colored by layer.

    `tables` has the title of a panel to a frame with one row a layer and one column a step; what is
    not above 0 has no place on the logarithmic axis.

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
    training: Mapping[str, pd.DataFrame], evaluation: Mapping[str, pd.DataFrame]
) -> Figure:
    """Draw the training loss of every run, and its validation loss, against the step.

    Both have the run to its table with the columns ``step`` and ``loss``; runs of one table and
    not of the other are drawn where they are. The first of `training` stands out.

    >>> losses = pd.DataFrame({"step": [0, 10], "loss": [5.0, 3.0]})
    >>> training_losses({"seed 0": losses}, {"seed 0": losses}).axes[0].get_ylabel()
    'loss, nats a token'
    """
    for name, tables in (("training", training), ("evaluation", evaluation)):
        for run, table in checks.mapping(name, tables).items():
            checks.text(f"a run in {name}", run)
            checks.frame(f"in {name}", table, numbers=("step", "loss"), rows=False)
    require(len(training) > 0, "there are no runs in training: there is nothing to draw.")
    first = next(iter(training))
    with styled():
        figure = Figure(figsize=(WIDTH, 3.2))
        left, right = figure.subplots(1, 2, sharey=True)
        for tables, axes in ((training, left), (evaluation, right)):
            for name, table in tables.items():
                look: dict[str, Any] = {"color": INK, "lw": 0.5, "zorder": 2}
                if name == first:
                    look = {"color": COLORS[1], "lw": 1.7, "zorder": 3}
                axes.plot(table["step"], table["loss"], **look, **point(table))
            axes.set_xlabel("update")
        left.set_title("training")
        right.set_title("validation")
        left.set_ylabel("loss, nats a token")
        handles = [Line2D([], [], color=COLORS[1], label=first)]
        if len({*training, *evaluation}) > 1:
            handles.append(Line2D([], [], color=INK, lw=0.5, label="other runs"))
        left.legend(handles=handles, loc="upper right")
    return figure
