"""The still picture of small networks in training (chapters 05 and 06)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from initscope.analysis.seeds import gradient_norm_means
from initscope.analysis.sweeps import check_sweep
from initscope.checks import require
from initscope.plots.style import COLORS, INK, WIDTH, styled

__all__: list[str] = []  # for this package alone

_NAMES = {"normal": "one std", "lecun": "LeCun", "xavier": "Xavier", "kaiming": "Kaiming"}
_LOST = "#cc4f5c"


def training_of_networks(
    table: pd.DataFrame | None, depth: int, *, n_classes: int, learned: float
) -> Figure:
    """Draw the loss of each network, and gradient norms by layer before and after training.

    Parameters
    ----------
    table
        Runs of a sweep, a row each; None before anything is trained.
    depth
        Weight layers of the networks.
    n_classes
        Of the data: guessing has the loss log(n_classes).
    learned
        Test accuracy from which on a network counts as having learned.

    Raises
    ------
    UsageError
        A table that lacks what is drawn, or of networks with another number of layers.
    """
    if table is not None:
        columns = ("scheme", "depth", "test_accuracy", "diverged_step")
        table = check_sweep(table, columns, ("loss", "gradient_norm"))
        require(
            bool((table["depth"] == depth).all()),
            f"the networks of table must have {depth} weight layers, as the widget says.",
        )
    with styled():
        figure = Figure(figsize=(WIDTH, 3.5))
        loss_axes, norm_axes = figure.subplots(1, 2)
        groups = [] if table is None else list(table.groupby("scheme", sort=False))
        told = []
        for color, (scheme, runs) in zip(COLORS, groups, strict=False):
            name = f"{_NAMES.get(str(scheme), str(scheme))}, " if len(groups) > 1 else ""
            _draw_losses(loss_axes, runs, color)
            _draw_norms(norm_axes, runs, color, name)
            count = int((runs["test_accuracy"] >= learned).sum())
            told.append(f"{name}{count} of {len(runs)}")
        loss_axes.axhline(math.log(n_classes), color=INK, ls=":", lw=1.2, label="guessing")
        loss_axes.set(xlabel="step", ylabel="training loss, one line a seed", yscale="log")
        loss_axes.set_title(
            f"test accuracy of {learned:.0%}: {'; '.join(told)}" if told else "not trained yet",
            fontsize=9.5,
        )
        norm_axes.set(xlabel="weight layer", ylabel="gradient norm", yscale="log")
        norm_axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        bottom, top = np.log10(norm_axes.get_ylim())
        norm_axes.set_ylim(10 ** np.floor(bottom), 10 ** np.ceil(top))
        figure.legend(loc="outside lower center", ncols=3)
    return figure


def _draw_losses(axes: Any, runs: pd.DataFrame, color: str) -> None:
    for _, run in runs.iterrows():
        finite = np.isfinite(run["loss"])
        steps, losses = run["loss_step"][finite], run["loss"][finite]
        axes.plot(steps, losses, color=color, lw=1.1)
        if not pd.isna(run["diverged_step"]):
            axes.plot(steps[-1:], losses[-1:], "x", color=_LOST)


def _draw_norms(axes: Any, runs: pd.DataFrame, color: str, name: str) -> None:
    # A diverged run has no gradients at the end, and a dead layer none at all.
    means = gradient_norm_means(runs)
    for style, when in (("--", "before"), ("-", "after")):
        if means[when].notna().any():
            axes.plot(
                means[when],
                style,
                marker="o",
                markersize=3,
                color=color,
                label=f"{name}{when} training",
            )
