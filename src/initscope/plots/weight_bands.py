"""Figures of the bands that the std of the weights moves in: how narrow, and where they end."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from initscope import checks
from initscope.analysis.trajectories import over_layers
from initscope.checks import require
from initscope.errors import shown
from initscope.plots.style import COLORS, INK, ON_MAP, WIDTH, palette, styled
from initscope.plots.weights import (
    above_zero,
    check_roles,
    check_std,
    check_steps,
    legend_below,
    plain_log_axis,
    point,
    role_name,
    roles_of,
)

__all__ = ["bands_through_training", "final_bands", "layer_spreads"]


def layer_spreads(runs: Sequence[pd.DataFrame]) -> Figure:
    """Draw the largest std over the smallest through training, one color a role, one line a seed.

    Parameters
    ----------
    runs
        Results of :func:`initscope.analysis.layer_spread`, one a seed; they may have different
        roles.

    >>> matrices = pd.MultiIndex.from_tuples([("q", 1), ("q", 2)], names=["role", "layer"])
    >>> std = pd.DataFrame([[0.02, 0.03], [0.02, 0.04]], matrices, pd.Index([0, 10], name="step"))
    >>> from initscope.analysis import layer_spread
    >>> layer_spreads([layer_spread(std)]).axes[0].get_xlabel()
    'update'
    """
    runs = checks.items("runs", runs)
    require(len(runs) > 0, "there are no runs: there is nothing to draw.")
    for spread in runs:
        checks.number_table("in runs", spread)
        check_steps("in runs", spread)
        check_roles("in runs", spread.index)
    roles = list(dict.fromkeys(role for spread in runs for role in spread.index))
    require(len(roles) > 0, "the tables of the runs have no rows: there is nothing to draw.")
    colors = dict(zip(roles, palette(len(roles)), strict=True))
    with styled():
        figure = Figure(figsize=(0.8 * WIDTH, 3.3))
        axes = figure.subplots()
        for role, color in colors.items():
            for spread in runs:
                if role in spread.index:
                    places = spread.columns
                    axes.plot(places, spread.loc[role], color=color, lw=1.2, **point(places))
        axes.set_xlabel("update")
        axes.set_ylabel("largest std over smallest")
        axes.set_ylim(1, max(axes.get_ylim()[1], 1.1))
        handles = [
            Line2D([], [], color=color, label=role_name(str(role)))
            for role, color in colors.items()
        ]
        axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def bands_through_training(
    runs: Mapping[str, Mapping[str, tuple[pd.DataFrame, pd.DataFrame]]],
) -> Figure:
    """Draw the extent over the layers of the std of each role, several runs a panel, with theory.

    Parameters
    ----------
    runs
        Title of a row of panels to the runs drawn in it: label to measured and predicted std, with
        the same roles everywhere.

    >>> matrices = pd.MultiIndex.from_tuples([("q", 1), ("q", 2)], names=["role", "layer"])
    >>> std = pd.DataFrame([[0.02, 0.03], [0.02, 0.04]], matrices, pd.Index([0, 10], name="step"))
    >>> len(bands_through_training({"decay 0.1": {"seed 0": (std, std)}}).axes)
    1
    """
    checks.mapping("runs", runs)
    for title, group in runs.items():
        checks.text("a title in runs", title)
        for label, pair in checks.mapping("runs", group).items():
            checks.text("a label in runs", label)
            require(
                isinstance(pair, tuple | list) and len(pair) == 2,
                f"runs must hold pairs of measured and predicted std, not {shown(pair)}.",
            )
            for table in pair:
                check_std("in runs", table)
    require(bool(runs) and all(runs.values()), "there are no runs: there is nothing to draw.")
    first = next(iter(next(iter(runs.values())).values()))[0]
    roles = roles_of(first)
    tables = [table for group in runs.values() for pair in group.values() for table in pair]
    require(
        all(set(roles_of(table)) == set(roles) for table in tables),
        "the runs must have the same roles, measured and predicted.",
    )
    labels = list(dict.fromkeys(label for group in runs.values() for label in group))
    colors = dict(zip(labels, palette(len(labels)), strict=True))
    with styled():
        figure = Figure(figsize=(WIDTH, 0.9 + 2.3 * len(runs)))
        grid = figure.subplots(len(runs), len(roles), sharex=True, sharey=True, squeeze=False)
        for panels, (title, group) in zip(grid, runs.items(), strict=True):
            for axes, role in zip(panels, roles, strict=True):
                for label, (std, predicted) in group.items():
                    color = colors[label]
                    low, median, high = (
                        over_layers(above_zero(std)).loc[(name, role)]
                        for name in ("low", "median", "high")
                    )
                    axes.fill_between(std.columns, low, high, color=color, alpha=0.3, lw=0)
                    axes.plot(median, color=color, **point(std.columns))
                    theory = over_layers(above_zero(predicted)).loc[("mean", role)]
                    axes.plot(theory, color=color, ls="--", lw=1.2)
                axes.set_title(f"{role_name(role)}, {title}")
                plain_log_axis(axes)
            panels[0].set_ylabel("std of the weights")
        for axes in grid[-1]:
            axes.set_xlabel("update")
        handles = [Line2D([], [], color=color, label=label) for label, color in colors.items()]
        handles.append(Line2D([], [], color=INK, ls="--", lw=1.2, label="theory: noise alone"))
        legend_below(figure, handles)
    return figure


def final_bands(bands: pd.DataFrame) -> Figure:
    """Draw where the std of each role ends in each run: extent over the layers, and theory.

    Parameters
    ----------
    bands
        Index the run and the role; columns ``low``, ``median``, ``high``, ``predicted`` and
        ``equilibrium``, stds, the last two NaN where there is none.

    Examples
    --------
    >>> stds = {"low": 0.01, "median": 0.015, "high": 0.02, "predicted": 0.016, "equilibrium": 0.1}
    >>> frame = pd.DataFrame([stds], pd.MultiIndex.from_tuples([("seed 0", "Q")]))
    >>> final_bands(frame).axes[0].get_xlabel()
    'std at the end'
    """
    checks.frame("bands", bands, numbers=("low", "median", "high", "predicted"), rows=False)
    checks.frame("bands", bands, ("equilibrium",), rows=False)
    require(
        bands.index.nlevels == 2 and not bands.index.has_duplicates,
        "the table bands must be indexed by the run and the role, each pair once.",
    )
    for level in (0, 1):
        check_roles("bands", bands.index.get_level_values(level))
    if len(bands):
        with contextlib.suppress(TypeError, ValueError):  # None, where there is no equilibrium
            bands = bands.assign(equilibrium=bands["equilibrium"].astype(float))
        checks.frame("bands", bands, numbers=("equilibrium",))
    runs = list(dict.fromkeys(bands.index.get_level_values(0)))
    roles = list(dict.fromkeys(bands.index.get_level_values(1)))
    require(len(runs) > 0, "the table bands has no rows: there is nothing to draw.")
    with styled():
        figure = Figure(figsize=(WIDTH, 0.9 + 0.33 * len(runs)))
        panels = figure.subplots(1, len(roles), sharey=True, sharex=True, squeeze=False)[0]
        rows = np.arange(len(runs))
        for axes, role in zip(panels, roles, strict=True):
            table = bands.xs(role, level=1).reindex(runs)
            finite = np.isfinite(table["equilibrium"].astype(float))
            axes.hlines(rows, table["low"], table["high"], color=COLORS[0], lw=4)
            axes.plot(table["median"], rows, "o", color=ON_MAP[0], mec=COLORS[0], mew=1.2, ms=5)
            axes.plot(table["predicted"], rows, "D", color=COLORS[1], ms=4, mfc="none", mew=1.4)
            axes.plot(table["equilibrium"][finite], rows[finite], "|", color=INK, ms=11, mew=1.6)
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
            axes.set_title(role_name(str(role)))
            axes.set_xlabel("std at the end")
        panels[0].set_yticks(rows, runs)
        panels[0].invert_yaxis()
        point: dict[str, Any] = {"ls": "none", "ms": 4}
        legend_below(
            figure,
            [
                Line2D([], [], color=COLORS[0], lw=4, label="lowest to highest layer"),
                Line2D(
                    [],
                    [],
                    color=ON_MAP[0],
                    mec=COLORS[0],
                    mew=1.2,
                    marker="o",
                    label="median",
                    **point,
                ),
                Line2D(
                    [],
                    [],
                    color=COLORS[1],
                    marker="D",
                    mfc="none",
                    label="theory: noise alone",
                    **point,
                ),
                Line2D(
                    [],
                    [],
                    color=INK,
                    marker="|",
                    ls="none",
                    ms=11,
                    mew=1.6,
                    label="equilibrium at the peak rate",
                ),
            ],
            fontsize=8.5,
        )
    return figure
