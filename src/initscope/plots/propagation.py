"""Figures of variance propagation: theory against random networks (chapter 01)."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import matplotlib.ticker
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from initscope import checks
from initscope.checks import require, require_name
from initscope.plots.style import INK, PAIR_WIDTH, WIDTH, palette, styled
from initscope.theory import NUMBER_FORMATS

__all__ = ["number_format_bands", "theory_against_networks"]


def theory_against_networks(
    tables: Mapping[str, pd.DataFrame],
) -> Figure:
    """Draw variance by layer: theory, random networks and the finite-width band on one axis.

    Lines are the theory at infinite width, shades the finite-width band, dots the mean over
    networks, and bars reach from the 2.5th to the 97.5th percentile of the networks.

    Parameters
    ----------
    tables
        Label to a result of :func:`initscope.monte_carlo.against_theory`.

    >>> from initscope import monte_carlo, theory
    >>> profiles = monte_carlo.variance_profiles([8] * 4, networks=10)
    >>> network = ([8] * 4, "relu", "kaiming")
    >>> limit, interval = theory.propagate(*network), theory.finite_width_interval(*network)
    >>> table = monte_carlo.against_theory(profiles, limit, interval)
    >>> len(theory_against_networks({"Kaiming": table}).axes)
    2
    """
    checks.mapping("tables", tables)
    require(len(tables) > 0, "tables is empty: there is nothing to draw.")
    columns = ("layer", "theory", "low", "high", "p2.5", "p97.5", "mean")
    for table in tables.values():
        checks.frame("in tables", table, numbers=columns, texts=("direction",))
    panels = (
        ("forward", "pre-activations, forward"),
        ("backward", "gradients, backward"),
    )
    with styled():
        figure = Figure(figsize=(PAIR_WIDTH, 4.0))
        both = figure.subplots(1, 2, sharex=True)
        for axes, (direction, name) in zip(both, panels, strict=True):
            colors = palette(len(tables))
            for k, (color, (label, table)) in enumerate(zip(colors, tables.items(), strict=True)):
                rows = table[table["direction"] == direction]
                axes.plot(rows["layer"], rows["theory"], color=color, lw=1.4, label=label)
                axes.fill_between(
                    rows["layer"],
                    rows["low"],
                    rows["high"],
                    color=color,
                    alpha=0.2,
                    lw=0,
                )
                # Few enough dots that they can be told apart, and those of two labels beside
                # each other.
                every = max(1, len(rows) // 12)
                shown = rows.iloc[k % every :: every]
                axes.vlines(
                    shown["layer"],
                    shown["p2.5"],
                    shown["p97.5"],
                    color=color,
                    lw=1,
                )
                axes.plot(
                    shown["layer"],
                    shown["mean"],
                    color=color,
                    ls="none",
                    marker="o",
                    ms=4,
                )
            axes.set_yscale("log")
            axes.set_xlabel("layer (0: the input)")
            axes.set_title(name)
            axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
            if axes.get_ylim()[1] / axes.get_ylim()[0] < 50:  # decades alone would leave one tick
                axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
                axes.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
                axes.yaxis.set_minor_locator(mpl.ticker.NullLocator())
        both[0].set_ylabel("mean square per element")
        lines, labels = both[0].get_legend_handles_labels()
        figure.legend(lines, labels, loc="outside upper center", ncols=len(tables))
        key = [
            Line2D([], [], color=INK, lw=1.4, label="infinite width"),
            Patch(color=INK, alpha=0.3, lw=0, label="95% band, finite width"),
            Line2D([], [], color=INK, ls="none", marker="o", ms=4, label="mean of networks"),
            Line2D([], [], color=INK, ls="none", marker="|", ms=9, label="95% of networks"),
        ]
        figure.legend(handles=key, loc="outside lower center", ncols=4)
    return figure


def number_format_bands(theory: pd.DataFrame, measured: pd.DataFrame, critical: float) -> Figure:
    """Draw the stds that a number format can hold by depth: theory as lines, networks as dots.

    Parameters
    ----------
    theory
        Columns ``format``, ``depth``, ``low`` and ``high``: stds.
    measured
        The same columns, one row a network.
    critical
        The std that keeps the variance, drawn dashed.

    >>> theory = pd.DataFrame({"depth": [4, 8], "low": [0.01, 0.1], "high": 1.0})
    >>> theory["format"] = "float16"
    >>> number_format_bands(theory, theory, critical=0.3).axes[0].get_ylabel()
    'std of the weights'
    """
    for name, table in (("theory", theory), ("measured", measured)):
        checks.frame(name, table, numbers=("depth", "low", "high"), texts=("format",))
    for name in theory["format"].unique():
        require_name("format in the table theory", name, NUMBER_FORMATS)
    critical = checks.one("critical", checks.positive("critical", critical))
    with styled():
        figure = Figure(figsize=(WIDTH, 3.9))
        axes = figure.subplots()
        markers = {"float32": "o", "bfloat16": "x", "float16": "s"}
        for color, (name, rows) in zip(
            palette(theory["format"].nunique()),
            theory.groupby("format", sort=False),
            strict=True,
        ):
            for edge in ("low", "high"):
                label = name if edge == "low" else None
                axes.plot(
                    rows["depth"],
                    rows[edge],
                    color=color,
                    ls="--" if name == "bfloat16" else "-",
                    label=label,
                )
                of_format = measured[measured["format"] == name]
                axes.plot(
                    of_format["depth"],
                    of_format[edge],
                    color=color,
                    ls="none",
                    marker=markers[name],
                    ms=7 if name == "float32" else 4,
                    fillstyle="none" if name == "float32" else "full",
                )
            if name == "float16":
                axes.fill_between(
                    rows["depth"], rows["low"], rows["high"], color=color, alpha=0.15, lw=0
                )
        axes.axhline(critical, color=INK, ls=":", lw=1.1, label=r"$\sqrt{2/n}$")
        axes.set_xscale("log")
        axes.set_yscale("log")
        ticks = sorted(measured["depth"].unique())
        axes.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
        axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
        axes.set_xlabel("weight layers")
        axes.set_ylabel("std of the weights")
        axes.legend(loc="upper right")
    return figure
