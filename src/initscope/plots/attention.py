"""The still picture of attention that saturates (chapter 04)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from initscope.plots.style import COLORS, INK, WIDTH, styled

__all__: list[str] = []  # for this package alone


def row_and_mean(
    weights: np.ndarray,
    lines: pd.DataFrame,
    found: Mapping[str, float],
    *,
    at: float,
    no_limit: tuple[float, float],
) -> Figure:
    """Draw one row of attention, and the sum of squares against the std of the logits.

    Parameters
    ----------
    weights
        Of the row, largest first.
    lines
        Columns ``logit_std``, ``predicted`` and ``limit``, which is nan where there is none.
    found
        The sum of squares of the row (``row``), the ``mean`` of many and its ``error``.
    at
        The std of the logits of these.
    no_limit
        Between which stds no limit holds; the second is the critical one.
    """
    with styled():
        figure = Figure(figsize=(WIDTH, 3.8))
        left, right = figure.subplots(1, 2)
        start = np.cumsum(weights) - weights
        left.bar(start, weights, weights, align="edge", color=COLORS[0], alpha=0.8, lw=0)
        left.set(xlabel="attention, largest weight first", ylabel="weight of the key")
        left.set(xlim=(0, 1), ylim=(0, 1))
        left.set_title("the area is Σp²")
        right.axvspan(*no_limit, color=INK, alpha=0.12, lw=0, label="neither limit holds")
        right.axvline(no_limit[1], color=INK, ls=":", lw=1)
        right.text(no_limit[1], 0.03, " $b_c$", transform=right.get_xaxis_transform())
        std = lines["logit_std"]
        right.plot(std, lines["predicted"], color=COLORS[0], label="mean by theory")
        right.plot(std, lines["limit"], "--", color=COLORS[1], label="limits of many keys")
        dot = {"color": COLORS[2], "marker": "o", "ms": 6, "ls": "none"}
        right.errorbar(at, found["mean"], found["error"], **dot, label="mean of many rows")
        right.plot(at, found["row"], "x", color=COLORS[3], ms=7, mew=2, label="the row shown")
        right.set(xlabel="std of the logits, b", ylabel="Σp²", yscale="log")
        right.set(xlim=(-0.2, 8.2), ylim=(0.7 / len(weights), 1.4))
        figure.legend(loc="outside upper center", ncols=3)
    return figure
