"""Figures of AdamW as noise and drift (chapter 08): a grid, parts of growth, schedules, epsilon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, NullLocator

from initscope import checks
from initscope.checks import require
from initscope.plots.style import COLORS, INK, LINE_MAP, PAPER_COLOR, WIDTH, palette, styled
from initscope.plots.weights import grid_of, panels_of, role_name

__all__ = ["growth_by_part", "shrinkage_by_epsilon", "std_by_rate", "std_by_schedule"]

PART_NAMES = {"growth": "growth", "shadow": "shadow", "memory": "memory", "rest": "rest"}
MARKERS = ("o", "s", "^", "D", "v", "P")


def std_by_rate(runs: pd.DataFrame, tolerance: float = 0.15) -> Figure:
    """Draw the std at rest against that of noise, a panel a role.

    Parameters
    ----------
    runs
        Columns ``role, rate, decay``, measured ``std`` and the ``noise`` law's, a row a run (or the
        mean of several).
    tolerance
        Half-width of the shaded range round equality, as a share.

    >>> rows = {"role": "q", "rate": [1e-3, 2e-3], "decay": 0.1, "std": [0.1, 0.11]}
    >>> len(std_by_rate(pd.DataFrame(rows).assign(noise=[0.07, 0.1])).axes)
    1
    """
    numbers = ("rate", "decay", "std", "noise")
    table = checks.frame("runs", runs, numbers=numbers, texts=("role",))
    tolerance = checks.number("tolerance", tolerance, 0.0)
    roles = list(dict.fromkeys(table["role"]))
    decays = sorted(table["decay"].unique())
    colors = LINE_MAP(np.linspace(0, 1, len(decays)))
    drawn = table[(table["std"] > 0) & (table["noise"] > 0)]
    ends = drawn[["std", "noise"]].to_numpy()
    low, high = (ends.min() / 1.2, ends.max() * 1.2) if ends.size else (0.1, 1.0)
    line = np.array([low, high])
    with styled():
        shape = grid_of(len(roles))
        figure = Figure(figsize=(WIDTH, 0.8 + 2.9 * shape[0]))
        for axes, role in zip(panels_of(figure, len(roles), shape), roles, strict=True):
            axes.fill_between(
                line,
                line * (1 - tolerance),
                line * (1 + tolerance),
                color=PAPER_COLOR,
                alpha=0.2,
                lw=0,
            )
            axes.plot(line, line, color=INK, lw=1.2)
            for place, (decay, color) in enumerate(zip(decays, colors, strict=True)):
                rows = drawn[(drawn["role"] == role) & (drawn["decay"] == decay)]
                rows = rows.sort_values("noise")
                marker = MARKERS[place % len(MARKERS)]
                axes.plot(rows["noise"], rows["std"], marker=marker, ms=4.5, lw=1.2, color=color)
            axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
            axes.set_title(role_name(role))
            _plain(axes)
        figure.supxlabel("std by the noise law", color=INK, fontsize=10)
        figure.supylabel("measured std", color=INK, fontsize=10)
        handles = [
            Line2D(
                [],
                [],
                color=color,
                marker=MARKERS[k % len(MARKERS)],
                ms=4.5,
                label=f"decay {decay:g}",
            )
            for k, (decay, color) in enumerate(zip(decays, colors, strict=True))
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=min(4, len(handles)))
    return figure


def growth_by_part(parts: Sequence[pd.DataFrame], roles: Sequence[str]) -> Figure:
    """Draw growth and its parts by layer, and over the updates, a column a role.

    Parameters
    ----------
    parts
        Results of :func:`initscope.analysis.growth_parts`, one a seed.
    roles
        Those drawn.

    Returns
    -------
    matplotlib.figure.Figure
        Above, mean over windows and seeds by layer; below, median over layers by window, mean over
        seeds.

    >>> names = ["role", "layer", "until"]
    >>> index = pd.MultiIndex.from_product([["q"], [1, 2], [10, 20]], names=names)
    >>> columns = {"growth": 2.0, "shadow": 0.8, "memory": 0.2, "rest": 1.0}
    >>> len(growth_by_part([pd.DataFrame(columns, index)], ["q"]).axes)
    2
    """
    tables = [
        checks.number_table("parts", table, levels=("role", "layer", "until"), rows=True)
        for table in checks.items("parts", parts, 1)
    ]
    for table in tables:
        checks.frame("parts", table, numbers=tuple(PART_NAMES))
    together = pd.concat(tables)
    known = together.index.get_level_values("role").unique()
    roles = checks.known_names("role", roles, list(map(str, known)))
    by_layer = together.groupby(level=["role", "layer"]).mean()
    medians = [table.groupby(level=["role", "until"]).median() for table in tables]
    by_window = pd.concat(medians).groupby(level=["role", "until"]).mean()
    colors = dict(zip(PART_NAMES, (INK, *COLORS), strict=False))
    with styled():
        figure = Figure(figsize=(WIDTH, 5.4))
        grid = np.atleast_2d(figure.subplots(2, len(roles), sharey="row", squeeze=False))
        for column, role in enumerate(roles):
            above, below = grid[:, column]
            for axes, rows in ((above, by_layer.loc[role]), (below, by_window.loc[role])):
                axes.axhline(0, color=INK, lw=0.8)
                for part, color in colors.items():
                    look = {"color": color, "marker": "o", "ms": 3.2}
                    look |= {"lw": 2.0} if part == "growth" else {"lw": 1.2}
                    axes.plot(rows.index, rows[part], **look)
            above.set_title(role_name(role))
            above.set_xlabel("layer")
            below.set_xlabel("update")
        grid[0, 0].set_ylabel("by layer, over rate²")
        grid[1, 0].set_ylabel("by update, over rate²")
        handles = [
            Line2D([], [], color=color, marker="o", ms=3.2, label=PART_NAMES[part])
            for part, color in colors.items()
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return figure


def std_by_schedule(
    stds: Mapping[str, pd.DataFrame], noise: Mapping[str, pd.DataFrame], roles: Sequence[str]
) -> Figure:
    """Draw the std through training under several schedules, a panel a role, that of noise dashed.

    Parameters
    ----------
    stds
        Median over layers by schedule: a row a role, a column a step.
    noise
        The same by the noise law.
    roles
        Those drawn.

    >>> std = pd.DataFrame([[0.02, 0.03]], index=["v"], columns=[0, 10])
    >>> len(std_by_schedule({"linear": std}, {"linear": std}, ["v"]).axes)
    1
    """
    stds, noise = checks.mapping("stds", stds), checks.mapping("noise", noise)
    require(list(stds) == list(noise), "stds and noise must have the same schedules.")
    for name, table in [*stds.items(), *noise.items()]:
        checks.number_table(f"std under {name}", table, rows=True)
        roles = checks.known_names("role", roles, list(map(str, table.index)))
    with styled():
        figure = Figure(figsize=(WIDTH, 3.9))
        panels = np.atleast_1d(figure.subplots(1, len(roles), sharey=True, squeeze=False)[0])
        for axes, role in zip(panels, roles, strict=True):
            for name, color in zip(stds, palette(len(stds)), strict=True):
                axes.plot(noise[name].columns, noise[name].loc[role], color=color, lw=1.1, ls="--")
                axes.plot(stds[name].columns, stds[name].loc[role], color=color, lw=1.8, label=name)
            axes.set_title(role_name(role))
            axes.set_yscale("log")
            axes.set_xlabel("update")
            _plain(axes)
        panels[0].set_ylabel("std of the weights")
        handles = [
            *panels[0].get_legend_handles_labels()[0],
            Line2D([], [], color=INK, lw=1.1, ls="--", label="noise law"),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=min(5, len(handles)))
    return figure


def shrinkage_by_epsilon(ratios: pd.DataFrame, tolerance: float = 0.15) -> Figure:
    """Draw the std with epsilon over that without, measured against predicted, a color a role.

    Parameters
    ----------
    ratios
        Columns ``role, epsilon``, ``measured`` and ``predicted`` ratio.
    tolerance
        Half-width of the shaded range round equality, as a share.

    >>> rows = {"role": ["q", "v"], "epsilon": 1e-4, "measured": 0.5, "predicted": [0.5, 0.6]}
    >>> len(shrinkage_by_epsilon(pd.DataFrame(rows)).axes)
    1
    """
    numbers = ("epsilon", "measured", "predicted")
    table = checks.frame("ratios", ratios, numbers=numbers, texts=("role",))
    tolerance = checks.number("tolerance", tolerance, 0.0)
    roles, epsilons = list(dict.fromkeys(table["role"])), sorted(table["epsilon"].unique())
    positive = table[["measured", "predicted"]].to_numpy()
    positive = positive[positive > 0]
    low, high = (positive.min() / 1.2, positive.max() * 1.2) if positive.size else (0.1, 1.0)
    line = np.array([low, high])
    with styled():
        figure = Figure(figsize=(WIDTH, 4.6))
        axes = figure.subplots()
        axes.fill_between(
            line, line * (1 - tolerance), line * (1 + tolerance), color=PAPER_COLOR, alpha=0.2, lw=0
        )
        axes.plot(line, line, color=INK, lw=1.2)
        handles = []
        for role, color in zip(roles, palette(len(roles)), strict=True):
            for place, epsilon in enumerate(epsilons):
                rows = table[(table["role"] == role) & (table["epsilon"] == epsilon)]
                marker = MARKERS[place % len(MARKERS)]
                axes.plot(
                    rows["predicted"], rows["measured"], ls="none", marker=marker, ms=6, color=color
                )
            handles.append(Line2D([], [], color=color, lw=5, label=role_name(role)))
        handles += [
            Line2D(
                [],
                [],
                color=INK,
                ls="none",
                marker=MARKERS[k % len(MARKERS)],
                label=f"ε = {epsilon:g}",
            )
            for k, epsilon in enumerate(epsilons)
        ]
        axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
        axes.set(xlabel="predicted: std with ε over without", ylabel="measured")
        _plain(axes)
        figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def _plain(axes: Axes) -> None:
    """Give logarithmic axes a few plain numbers."""
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() != "log":
            continue
        low, high = axis.get_view_interval()
        ticks = [
            digit * 10.0**power
            for power in range(-6, 4)
            for digit in (1, 2, 3, 5, 7)
            if low <= digit * 10.0**power <= high
        ]
        while len(ticks) > 5:
            ticks = ticks[::2]
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())
