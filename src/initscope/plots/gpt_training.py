"""The still picture of a GPT that is pretrained in the page (chapter 07)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullLocator

from initscope import checks
from initscope.plots.style import COLORS, INK, WIDTH, styled

__all__: list[str] = []  # for this package alone

ROLES = {"q": "Q (queries)", "k": "K (keys)", "v": "V (values)"}
POINTS = 36  # of a curve, few enough for a small file
SMOOTHED = 10  # updates, as in the page


def gpt_training(
    table: pd.DataFrame | None,
    predictions: Sequence[np.ndarray | None],
    labels: Sequence[str],
    *,
    steps: int,
    margin: float,
    guessing: float,
) -> Figure:
    """Draw the std of Q, K and V of each layer, and the loss, of one or two runs.

    Parameters
    ----------
    table
        Columns ``run`` (1, 2), ``step``, ``loss`` and ``q_1``, ``k_1``, ...; None before anything
        is trained.
    predictions
        Of each run, the std at the updates 0 to `steps`; None where there is no theory.
    labels
        What each run is called; empty where it is alone.
    margin
        What is shaded about a prediction, as a share of it.
    guessing
        The loss of a model that knows nothing.

    Raises
    ------
    UsageError
        A table that lacks what is drawn.
    """
    if table is not None:
        table = checks.frame("table", table, numbers=("run", "step", "loss", "q_1", "k_1", "v_1"))
        layers = [name for name in table.columns if re.fullmatch(r"[qkv]_\d+", str(name))]
        checks.frame("table", table, numbers=layers)
    with styled():
        figure = Figure(figsize=(WIDTH, 5.4))
        panels = figure.subplots(2, 2)
        for axes, role in zip(panels.flat, ROLES, strict=False):
            for prediction in predictions:
                if prediction is not None:
                    at = np.unique(np.linspace(0, steps, POINTS).round().astype(int))
                    low, high = prediction[at] * (1 - margin), prediction[at] * (1 + margin)
                    axes.fill_between(at, low, high, color=INK, alpha=0.15, lw=0)
                    axes.plot(at, prediction[at], color=INK, ls="--", lw=1.4, zorder=4)
            if table is not None:
                _draw_layers(axes, table, role)
            axes.set(title=ROLES[role], xlabel="update", ylabel="std", yscale="log")
            axes.set_xlim(0, steps)
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_locator(NullLocator())
        _draw_losses(panels[1, 1], table, guessing)
        panels[1, 1].set_xlim(0, steps)
        figure.legend(handles=_handles(labels, margin), loc="outside lower center", ncols=3)
    return figure


def _draw_layers(axes: Any, table: pd.DataFrame, role: str) -> None:
    for color, (_, run) in zip(COLORS, table.groupby("run"), strict=False):
        layers = run.filter(regex=rf"^{role}_\d+$")
        first, *rest = layers.columns
        axes.plot(run["step"], layers[rest], color=color, lw=0.7)
        axes.plot(run["step"], layers[first], color=color, lw=1.2, ls=":")
        axes.plot(run["step"], layers.median(axis=1), color=color, lw=2.4)


def _draw_losses(axes: Any, table: pd.DataFrame | None, guessing: float) -> None:
    axes.axhline(guessing, color=INK, ls=":", lw=1.2)
    axes.annotate(
        "guessing ", (1, guessing), xycoords=("axes fraction", "data"), ha="right", va="bottom",
        fontsize=9,
    )  # fmt: skip
    axes.set(title="Loss", xlabel="update", ylabel="nats a character")
    axes.set_ylim(0, 1.2 * guessing)
    if table is None:
        axes.text(
            0.5, 0.4, "not trained yet", transform=axes.transAxes, ha="center", fontsize=10
        )  # fmt: skip
        return
    for color, (_, run) in zip(COLORS, table.groupby("run"), strict=False):
        rows = max(1, round(SMOOTHED / max(1, run["step"].diff().median())))
        axes.plot(run["step"], run["loss"].rolling(rows, min_periods=1).mean(), color=color)


def _handles(labels: Sequence[str], margin: float) -> list[Any]:
    runs = [
        Line2D([], [], color=color, lw=2.4, label=f"{label or 'median'}{', median' * bool(label)}")
        for color, label in zip(COLORS, labels, strict=False)
    ]
    return [
        *runs,
        Line2D([], [], color=COLORS[0], lw=0.7, label="one layer"),
        Line2D([], [], color=COLORS[0], lw=1.2, ls=":", label="layer 1"),
        Line2D([], [], color=INK, lw=1.4, ls="--", label="AdamW's prediction"),
        Patch(facecolor=INK, alpha=0.15, label=f"within {margin:.0%} of it"),
    ]
