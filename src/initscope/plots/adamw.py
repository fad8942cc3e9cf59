"""The still picture of the std of a weight matrix under AdamW (chapter 08)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from initscope.plots.style import COLORS, INK, WIDTH, styled

__all__: list[str] = []  # for this package alone


def adamw_run(
    run: pd.DataFrame,
    std0: float,
    peak_lr: float,
    *,
    equilibrium: float | None,
    time_constant: float | None,
    log_steps: bool = False,
    log_std: bool = False,
) -> Figure:
    """Draw the std of the weights and the learning rate against the step.

    Parameters
    ----------
    run
        Columns ``step``, ``lr``, predicted ``std``, ``initial`` (the std of what is left of the
        initialization) and ``equilibrium`` (at the rate of the step).
    std0, peak_lr
        Std at initialization, and the largest learning rate.
    equilibrium, time_constant
        At the peak rate, the std, and the steps in which the distance of the variance from its
        equilibrium falls by a factor e; None for a run that heads for none.
    log_steps, log_std
        Whether the axes are logarithmic.
    """
    step, lr, std, initial = (run[name].to_numpy() for name in ("step", "lr", "std", "initial"))
    with styled(), np.errstate(over="ignore", invalid="ignore"):
        figure = Figure(figsize=(WIDTH, 4.8))
        above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
        rest = np.maximum(0, std**2 - initial**2)
        for factor in (0.5, 2):
            label = "from half or twice the initial std" if factor == 2 else None
            other = np.sqrt(rest + (factor * initial) ** 2)
            above.plot(step, other, color=COLORS[0], linewidth=0.7, label=label)
        above.plot(step, initial, ":", color=COLORS[3], label="left of the initialization")
        if equilibrium is not None and time_constant is not None:
            _mark_times(above, step, initial < 0.1 * std, time_constant, log_steps)
            if equilibrium < 6 * max(std0, std.max()):
                label = "equilibrium of the peak rate"
                above.axhline(equilibrium, color=COLORS[1], linewidth=1, label=label)
            label = "equilibrium of the rate at the step"
            above.plot(step, run["equilibrium"], "--", color=COLORS[1], label=label)
        above.plot(step, std, color=COLORS[0], linewidth=2.4, label="predicted std")
        above.set_ylabel("std of the weights")
        highest = max(2 * std0, *std[np.isfinite(std)])
        if log_std:
            above.set_yscale("log")
            lowest = min(std0 / 2, *std[std > 0])
            above.set_ylim(max(lowest / 1.3, 1e-9 * highest), 1.7 * highest)
        else:
            if equilibrium is not None and equilibrium < 6 * highest:
                highest = max(highest, equilibrium)
            above.set_ylim(0, 1.22 * highest)  # room for the labels of the marks
        if log_steps:
            above.set_xscale("log")
        above.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
        below.plot(step, lr, color=COLORS[1])
        below.set(xlabel="step", ylabel="learning rate", ylim=(0, 1.1 * max(peak_lr, 1e-12)))
        below.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
        if not log_steps:
            below.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        for axes in (above, below):
            axes.spines["left"].set_color(INK)
    return figure


def _mark_times(
    axes: Any, step: np.ndarray, forgotten: np.ndarray, time_constant: float, log_steps: bool
) -> None:
    """Mark one time constant, and the step from which on the initialization is forgotten."""
    marks = [(time_constant, "one time constant", INK)]
    if forgotten.any():
        marks += [(step[forgotten.argmax()], "initialization forgotten", COLORS[3])]
    marks = [mark for mark in marks if mark[0] <= step[-1]]
    left = not log_steps and all(at < 0.6 * step[-1] for at, *_ in marks)
    # Each line ends at its label, and the one above is not below another label.
    for row, (at, label, color) in enumerate(sorted(marks, reverse=not left)):
        top = 0.97 - 0.08 * row
        axes.axvline(at, ymax=top, color=color, linestyle=":", linewidth=1)
        axes.annotate(
            f" {label} ",
            (at, top),
            xycoords=("data", "axes fraction"),
            verticalalignment="top",
            horizontalalignment="left" if left else "right",
            fontsize=9,
        )
