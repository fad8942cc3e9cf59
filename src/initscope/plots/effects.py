"""Figures of effects of one scheme against another, with what a law predicts (chapter 06)."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from initscope import checks
from initscope.analysis.sweeps import widths_of
from initscope.plots.schemes import check_measures, not_empty, training_name
from initscope.plots.style import INK, LINE_MAP, PAIR_WIDTH, WIDTH, WRITTEN, palette, styled

__all__ = ["delays_by_rate", "ratios_by_depth"]


def ratios_by_depth(effects: pd.DataFrame, margin: float = 1.05) -> Figure:
    """Draw ratios of two schemes against the depth, with intervals and what a law says.

    One panel a data set, one color a way of training; networks whose hidden widths differ stand
    apart, as "tapered". An arrow stands for an interval without an upper end, a cross for what the
    law says (with its number where that lies beyond the axis, which is made for what is measured),
    the shaded band for ratios that count as level.

    Parameters
    ----------
    effects
        Result of :func:`initscope.analysis.paired_effects`, kind ``"ratio"``, one row a
        configuration, with a further column ``predicted``, NaN where the law says nothing.
    margin
        Ratios from 1 / margin to margin are level; at least 1.

    >>> case = {"dataset": "wine", "widths": "13-8-8-3", "depth": 3, "activation": "relu"}
    >>> case |= {"optimizer": "sgd", "momentum": 0.0, "effect": 1.2, "low": 1.1, "high": 1.3}
    >>> ratios_by_depth(pd.DataFrame(case | {"predicted": 1.25}, [0])).axes[0].get_title()
    'Wine'
    """
    check_measures("effects", effects, "effect", "low", "high", "predicted")
    margin = float(checks.number("margin", margin, 1.0))
    rows = not_empty(effects, "table effects")
    checks.positive("effect of effects", rows["effect"].to_numpy())
    names = [_network(widths) for widths in rows["widths"]]
    rows = rows.assign(network=[label for _, label in names], order=[key for key, _ in names])
    trainings = [training_name(*key) for key in rows[["optimizer", "momentum"]].to_numpy()]
    rows = rows.assign(training=trainings)
    kinds = list(dict.fromkeys(trainings))
    colors = dict(zip(kinds, palette(len(kinds)), strict=True))
    shift = dict(zip(kinds, 0.2 * (np.arange(len(kinds)) - (len(kinds) - 1) / 2), strict=True))
    datasets = list(rows["dataset"].unique())
    # What is measured fills the axis: a law that goes far beyond would press it flat.
    ends = rows[["effect", "low", "high"]].where(lambda ends: np.isfinite(ends) & (ends > 0))
    bottom, top = 0.8 * ends.min(axis=None), 5 * ends.max(axis=None)
    with styled():
        figure = Figure(figsize=(WIDTH, 3.9))
        panels = figure.subplots(1, len(datasets), sharey=True, squeeze=False)[0]
        for axes, dataset in zip(panels, datasets, strict=True):
            here = rows[rows["dataset"] == dataset]
            networks = list(here.sort_values("order")["network"].unique())
            axes.axhspan(1 / margin, margin, color=INK, alpha=0.18, lw=0)
            axes.axhline(1, color=INK, lw=1)
            axes.set_yscale("log")
            axes.set_ylim(bottom, top)
            for case in here.itertuples():
                at = networks.index(case.network) + shift[case.training]
                _ratio(axes, at, case, colors[case.training])
            axes.set_xticks(range(len(networks)), networks)
            axes.set_xlim(-0.6, len(networks) - 0.4)
            axes.set_xlabel("weight layers")
            axes.set_title(WRITTEN.get(dataset, dataset))
        ticks = mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}")
        panels[0].yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
        panels[0].yaxis.set_major_formatter(ticks)
        panels[0].yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
        panels[0].set_ylabel("updates, Xavier over Kaiming")
        handles: list[Any] = [
            Line2D([], [], color=color, marker="o", ms=5.5, ls="none", label=kind)
            for kind, color in colors.items()
        ]
        handles.append(Line2D([], [], color=INK, marker="x", ms=7, mew=1.8, ls="none", label="law"))
        handles.append(Patch(color=INK, alpha=0.18, lw=0, label=f"level, within {margin - 1:.0%}"))
        figure.legend(handles=handles, loc="outside upper center", ncols=(len(handles) + 1) // 2)
    return figure


def _network(widths: str) -> tuple[tuple[int, bool], str]:
    """Return where networks of these widths stand on the axis, and what stands below them."""
    sizes = widths_of(widths)
    tapered = len(set(sizes[1:-1])) > 1
    depth = len(sizes) - 1
    return (depth, tapered), f"{depth},\ntapered" if tapered else f"{depth}"


def _ratio(axes: Axes, at: float, case: Any, color: Any) -> None:
    low = case.low if case.low > 0 else case.effect
    high = case.high if np.isfinite(case.high) else case.effect
    axes.vlines(at, low, high, color=color, lw=1.8)
    axes.plot(at, case.effect, marker="o", ms=5.5, color=color)
    arrow = {"arrowstyle": "->", "color": color}
    open_end: dict[str, Any] = {"xytext": (at, case.effect), "arrowprops": arrow}
    if not np.isfinite(case.high):
        axes.annotate("", (at, case.effect * 1.5), **open_end)
    if case.low <= 0:
        axes.annotate("", (at, case.effect / 1.5), **open_end)
    if np.isfinite(case.predicted):
        at_most = 0.9 * axes.get_ylim()[1]
        look: dict[str, Any] = {"marker": "x", "ms": 7, "mew": 1.8, "color": color, "ls": "none"}
        axes.plot(at, min(case.predicted, at_most), **look)
        if case.predicted > at_most:
            below: dict[str, Any] = {"xytext": (0, -6), "textcoords": "offset points"}
            below |= {"ha": "center", "va": "top", "rotation": 90, "fontsize": 8}
            axes.annotate(f"{case.predicted:,.0f}", (at, at_most), **below)


def delays_by_rate(effects: pd.DataFrame) -> Figure:
    """Draw how many updates Xavier is behind, against the learning rate, with what a law says.

    One panel a data set, one color a depth. Points are measured, with their intervals, lines the
    law; hollow points are bounds from below, for runs that did not arrive. Networks whose hidden
    widths differ are drawn as squares.

    Parameters
    ----------
    effects
        Result of :func:`initscope.analysis.paired_effects`, kind ``"difference"``, with a further
        column ``law``.

    >>> case = {"dataset": "wine", "widths": "13-8-8-3", "depth": 3, "activation": "relu"}
    >>> case |= {"optimizer": "sgd", "momentum": 0.0, "first_rate": 0.1, "effect": 12.0}
    >>> case |= {"low": 10.0, "high": 14.0, "law": 11.0}
    >>> delays_by_rate(pd.DataFrame(case, [0])).axes[0].get_xlabel()
    'learning rate'
    """
    check_measures("effects", effects, "effect", "low", "high", "first_rate", "law")
    rows = not_empty(effects, "table effects")
    checks.positive("law of effects", rows["law"].to_numpy())
    order = {widths: _network(widths) for widths in rows["widths"].unique()}
    depths = sorted({key[0] for key, _ in order.values()})
    colors = dict(zip(depths, LINE_MAP(np.linspace(0, 1, len(depths))), strict=True))
    datasets = list(rows["dataset"].unique())
    with styled():
        figure = Figure(figsize=(PAIR_WIDTH, 3.9))
        panels = figure.subplots(1, len(datasets), sharey=True, squeeze=False)[0]
        for axes, dataset in zip(panels, datasets, strict=True):
            here = rows[rows["dataset"] == dataset]
            for widths, line in here.groupby("widths", sort=False):
                (depth, tapered), _ = order[str(widths)]
                line = line.sort_values("first_rate")
                color, marker = colors[depth], "s" if tapered else "o"
                axes.plot(line["first_rate"], line["law"], color=color, ls=":" if tapered else "-")
                for case in line[line["effect"] > 0].itertuples():
                    bound = not np.isfinite(case.high)
                    look: dict[str, Any] = {"color": color, "mfc": "none" if bound else color}
                    axes.plot(case.first_rate, case.effect, marker=marker, ms=5.5, **look)
                    if not bound and case.low > 0:
                        axes.vlines(case.first_rate, case.low, case.high, color=color, lw=1.6)
            axes.set_xscale("log")
            axes.set_yscale("log")
            rates = sorted(here["first_rate"].unique())
            axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
            axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
            axes.set_xlabel("learning rate")
            axes.set_title(WRITTEN.get(dataset, dataset))
        panels[0].set_ylabel("updates that Xavier is behind")
        handles = [
            Line2D([], [], color=color, label=f"{depth} layers") for depth, color in colors.items()
        ]
        looks = (("measured", "o", INK), ("at least", "o", "none"), ("tapered", "s", INK))
        for name, marker, fill in looks:
            end: dict[str, Any] = {"color": INK, "mfc": fill, "label": name}
            handles.append(Line2D([], [], ls="none", marker=marker, ms=5.5, **end))
        figure.legend(handles=handles, loc="outside upper center", ncols=(len(handles) + 1) // 2)
    return figure
