"""Figures of AdamW on noise beside the weights of models that others trained (chapter 09)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from initscope import checks
from initscope.plots.style import COLORS, INK, PAIR_WIDTH, PAPER_COLOR, WIDTH, palette, styled
from initscope.theory.published_runs import COMPONENTS, RECIPES

__all__ = [
    "alignment_through_training",
    "decays_by_component",
    "ratios_by_component",
    "std_through_training",
]

GROUPS = {
    "Q, K, V": ("qkv", "q", "k", "v"),
    "attention output": ("o",),
    "MLP in": ("ffn_in", "gate", "up"),
    "MLP out": ("ffn_out", "down"),
}
"""Components that are drawn alike; of several, from left to right."""


def ratios_by_component(ratios: pd.DataFrame) -> Figure:
    """Draw measured over predicted std of every component, as an interval.

    Parameters
    ----------
    ratios
        Result of :func:`initscope.analysis.measured_over_predicted`.

    >>> rows = {"model": "pythia-1b", "component": ["qkv", "o"], "ratio_low": 0.9}
    >>> len(ratios_by_component(pd.DataFrame(rows).assign(ratio_high=1.0)).axes)
    1
    """
    table = _by_component("ratios", ratios, "ratio_low", "ratio_high")
    with styled():
        figure = Figure(figsize=(WIDTH, 4.2))
        axes = figure.subplots()
        axes.axhline(1, color=INK, lw=1.2)
        _intervals(axes, table, "ratio_low", "ratio_high")
        axes.set_ylabel("measured over predicted std")
        _plain_log(axes, (0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 0.85, 1))
        figure.legend(handles=_group_handles(table), loc="outside upper center", ncols=4)
    return figure


def decays_by_component(decays: pd.DataFrame, printed: float | None = None) -> Figure:
    """Draw the weight decay that every component shows, as an interval.

    Parameters
    ----------
    decays
        Result of :func:`initscope.analysis.implied_decays`; its ``configured`` is a line.
    printed
        A decay that a paper states, dashed; none if None.

    >>> rows = {"model": "pythia-1b", "component": ["qkv", "o"], "configured": 0.1, "low": 0.09}
    >>> len(decays_by_component(pd.DataFrame(rows).assign(high=0.11), printed=0.01).axes)
    1
    """
    table = _by_component("decays", decays, "configured", "low", "high")
    if printed is not None:
        printed = checks.number("printed", printed, 0.0)
    with styled():
        figure = Figure(figsize=(WIDTH, 5.0))
        axes = figure.subplots()
        handles = _group_handles(table)
        for decay in table["configured"].unique():
            axes.axhline(decay, color=INK, lw=1.2)
        handles.append(Line2D([], [], color=INK, lw=1.2, label="configured"))
        if printed is not None:
            axes.axhline(printed, color=INK, lw=1.2, ls="--")
            handles.append(Line2D([], [], color=INK, lw=1.2, ls="--", label="printed"))
        _intervals(axes, table, "low", "high")
        axes.set_ylabel("weight decay")
        _plain_log(axes, (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5))
        figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def std_through_training(runs: pd.DataFrame) -> Figure:
    """Draw measured std beside the prediction through training, and one over the other below.

    Parameters
    ----------
    runs
        A ``run``, its name to be shown, beside each row of
        :func:`initscope.analysis.predicted_through_training`.

    >>> rows = {"run": "a", "step": [1, 10], "measured": [0.02, 0.03], "predicted": [0.02, 0.04]}
    >>> len(std_through_training(pd.DataFrame(rows).assign(ratio=[1.0, 0.75])).axes)
    2
    """
    numbers = ("step", "measured", "predicted", "ratio")
    table = checks.frame("runs", runs, numbers=numbers, texts=("run",))
    names = list(dict.fromkeys(table["run"]))
    with styled():
        figure = Figure(figsize=(WIDTH, 5.6))
        above, below = figure.subplots(2, sharex=True, height_ratios=(3, 2))
        below.axhline(1, color=INK, lw=1.2)
        for name, color in zip(names, palette(len(names)), strict=True):
            rows = table[(table["run"] == name) & (table["step"] > 0)].sort_values("step")
            rows = rows[_apart(rows["step"].to_numpy())]
            points = {"color": color, "marker": "o", "ms": 3}
            above.plot(rows["step"], rows["predicted"], color=color, lw=1.4)
            above.plot(rows["step"], rows["measured"], ls="none", **points)
            below.plot(rows["step"], rows["ratio"], lw=1.0, **points, label=name)
        above.set_xscale("log")
        for axes in (above, below):
            axes.set_yscale("log")
        above.set_ylabel("std of the weights")
        below.set(xlabel="update", ylabel="measured over\npredicted")
        _plain_log(above, (0.02, 0.03, 0.05, 0.08))
        _plain_log(below, (0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2))
        handles = [
            *below.get_legend_handles_labels()[0],
            Line2D([], [], color=INK, lw=1.4, label="predicted"),
            Line2D([], [], color=INK, marker="o", ms=3, ls="none", label="measured"),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


def alignment_through_training(
    alignment: pd.DataFrame, stated: tuple[float, float] | None = None
) -> Figure:
    """Draw the weights' alignment with updates beside that of momentum on noise.

    Parameters
    ----------
    alignment
        Result of :func:`initscope.analysis.alignment_in_training`.
    stated
        Share of the three terms between which a paper finds the alignment, shaded.

    Returns
    -------
    matplotlib.figure.Figure
        Left the alignment over the squared length of the update, right its share of the three
        terms. Points are measured, lines are momentum on noise.

    >>> rows = {"run": "a", "step": [1, 10], "over_length": 20.0, "noise": 20.0, "share": 0.9}
    >>> len(alignment_through_training(pd.DataFrame(rows).assign(noise_share=0.9)).axes)
    2
    """
    numbers = ("step", "over_length", "noise", "share", "noise_share")
    table = checks.frame("alignment", alignment, numbers=numbers, texts=("run",))
    if stated is not None:
        ends = [checks.number("stated", end) for end in checks.items("stated", stated)]
        checks.require(len(ends) == 2, "stated must hold two numbers: the ends of a range.")
    names = list(dict.fromkeys(table["run"]))
    with styled():
        figure = Figure(figsize=(PAIR_WIDTH, 3.8))
        left, right = figure.subplots(1, 2, sharex=True)
        if stated is not None:
            right.axhspan(*ends, color=PAPER_COLOR, alpha=0.15, lw=0)
        for noise in table["noise"].unique():
            left.axhline(noise, color=INK, lw=1.4)
        for name, color in zip(names, palette(len(names)), strict=True):
            rows = table[table["run"] == name].sort_values("step")
            rows = rows[_apart(rows["step"].to_numpy(), 1.12)]
            points = {"color": color, "marker": "o", "ms": 3, "ls": "none"}
            left.plot(rows["step"], rows["over_length"], **points, label=name)
            right.plot(rows["step"], rows["share"], **points)
            right.plot(rows["step"], rows["noise_share"], color=color, lw=1.4)
        for axes in (left, right):
            axes.set_xscale("log")
            axes.set_xlabel("update")
        left.set_yscale("log")
        _plain_log(left, (10, 20, 30, 50))
        left.set_title("over the squared length")
        right.set_title("share of the three terms")
        right.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
        handles = [
            *left.get_legend_handles_labels()[0],
            Line2D([], [], color=INK, lw=1.4, label="momentum on noise"),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


def _by_component(name: str, table: object, *numbers: str) -> pd.DataFrame:
    """Return a table of known models and components, narrow models first."""
    checked = checks.frame(name, table, numbers=numbers, texts=("model", "component"))
    for model in checked["model"]:
        checks.require_name(f"model of the table {name}", model, RECIPES)
    for component in checked["component"]:
        checks.require_name(f"component of the table {name}", component, COMPONENTS)
    widths = {name: RECIPES[name].width for name in RECIPES if name in set(checked["model"])}
    models = sorted(widths, key=widths.__getitem__)
    return checked.assign(place=checked["model"].map(models.index)).sort_values("place")


def _intervals(axes: Axes, table: pd.DataFrame, low: str, high: str) -> None:
    """Draw an interval a row, side by side for each model."""
    for place, rows in table.groupby("place"):
        listed = [
            (rows[rows["component"] == component].iloc[0], color)
            for components, color in zip(GROUPS.values(), COLORS, strict=False)
            for component in components
            if component in set(rows["component"])
        ]
        offsets = 0.11 * (np.arange(len(listed)) - (len(listed) - 1) / 2)
        for (row, color), offset in zip(listed, offsets, strict=True):
            at = place + offset
            axes.plot([at, at], [row[low], row[high]], color=color, lw=7, solid_capstyle="butt")
    names = table.drop_duplicates("place")["model"]
    labels = [f"{_model_name(name)}\n({RECIPES[name].width:,})" for name in names]
    axes.set_xticks(range(len(names)), labels)
    axes.tick_params(axis="x", length=0, labelsize=9)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("model (width)")
    axes.set_yscale("log")


def _model_name(model: str) -> str:
    """Return the name of a model in two lines of a label.

    >>> _model_name("pythia-6.9b")
    'Pythia\\n6.9B'
    """
    family, _, size = model.partition("-")
    if family == "olmo":
        generation, _, size = size.partition("-")
        family = f"OLMo {generation}"
    else:
        family = family.capitalize()
    return f"{family}\n{size.upper()}"


def _group_handles(table: pd.DataFrame) -> list[Line2D]:
    """Return what the legend shows of the components of a table."""
    there = set(table["component"])
    return [
        Line2D([], [], color=color, lw=7, solid_capstyle="butt", label=name)
        for (name, components), color in zip(GROUPS.items(), COLORS, strict=False)
        if there & set(components)
    ]


def _apart(steps: np.ndarray, factor: float = 1.04) -> np.ndarray:
    """Return which of rising steps to draw, so that points on a log axis stay apart."""
    kept = np.zeros(len(steps), bool)
    last = 0.0
    for place, step in enumerate(steps):
        if step >= factor * last or place == len(steps) - 1:
            kept[place], last = True, step
    return kept


def _plain_log(axes: Axes, ticks: tuple[float, ...]) -> None:
    """Give a logarithmic axis plain numbers, and room for every mark."""
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()
    low, high = axes.dataLim.intervaly
    if np.isfinite([low, high]).all():
        axes.set_ylim(low / 1.12, high * 1.12)
