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
    start_left: float,
    half_of_memory: int,
    equilibrium: float | None,
    time_constant: float | None,
    log_steps: bool = False,
    log_std: bool = False,
) -> Figure:
    """Draw the std of the weights, the learning rate and the memory of updates against the step.

    Parameters
    ----------
    run
        Columns ``step``, ``lr``, predicted ``std``, ``initial`` (the std of what is left of the
        initialization), ``equilibrium`` (at the rate of the step) and ``weight`` of the update
        in the last weights, over the mean.
    std0, peak_lr
        Std at initialization, and the largest learning rate.
    start_left
        What is left of each initial weight in the end, as a share.
    half_of_memory
        How many of the last updates have half of the weight of all; 0 for no mark.
    equilibrium, time_constant
        At the peak rate, the std, and the steps in which the distance of the variance from its
        equilibrium falls by a factor e; None for a run that heads for none.
    log_steps, log_std
        Whether the axes are logarithmic.
    """
    step, lr, std, initial = (run[name].to_numpy() for name in ("step", "lr", "std", "initial"))
    with styled(), np.errstate(over="ignore", invalid="ignore"):
        figure = Figure(figsize=(WIDTH, 5.2))
        panels = figure.subplot_mosaic(
            [["above", "above"], ["rate", "memory"]], height_ratios=(3, 1.2)
        )
        above, rates, memory = panels.values()
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
        above.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
        rates.plot(step, lr, color=COLORS[1])
        rates.set(ylabel="learning rate", ylim=(0, 1.1 * max(peak_lr, 1e-12)))
        rates.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
        _draw_memory(memory, run, half_of_memory, start_left)
        memory.sharex(rates)  # also where no update has any weight
        for axes in panels.values():
            axes.set_xlabel("step")
            if log_steps:
                axes.set_xscale("log")
            else:
                axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
                axes.locator_params(axis="x", nbins=8 if axes is above else 4)
            axes.spines["left"].set_color(INK)
    return figure


def _draw_memory(axes: Any, run: pd.DataFrame, half: int, start_left: float) -> None:
    """Draw the weight of each update in the last weights, and mark the end that has half of it."""
    step, weight = run["step"].to_numpy(), run["weight"].to_numpy()
    axes.plot(step, weight, color=COLORS[4])
    axes.axhline(1, color=INK, linewidth=0.7, linestyle="--")
    axes.set_ylabel("weight / mean")
    axes.set_ylim(min(0, np.nanmin(weight, initial=0)), 1.4 * np.nanmax(weight, initial=1))
    if half:
        axes.axvspan(step[-1] - half + 0.5, step[-1], color=COLORS[4], alpha=0.15, linewidth=0)
    text = f"half of the weight: the last {half:,} updates\n" if half else ""
    share = f"{start_left:.{0 if abs(start_left) >= 0.1 else 1}%}"
    share = f"{start_left:.3g} times" if abs(start_left) > 10 else share
    text += f"left of the start: {share}"
    axes.set_title(text, fontsize=9, fontweight="normal", loc="left")


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
