"""The still picture of the map of recorded sweeps (chapter 05)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from initscope.analysis.stability import PAPER_BAND
from initscope.plots.style import COLOR_MAP, COLORS, INK, ON_MAP, WIDTH, cell_edges, styled

__all__: list[str] = []  # for this package alone

BOTH_WAYS = LinearSegmentedColormap.from_list(
    "initscope_both_ways", ["#2b5fa8", "#8fb4dc", "#eeeeee", "#e6ab7c", "#a8500f"]
)
"""For powers of ten above and below 0."""

_SELECTED = "#ff5a4f"
_NO_NUMBER = "#6d6d6d"

_POWERS: dict[float, str] = {
    -10: "≤ $10^{-10}$",
    -5: "$10^{-5}$",
    0: "1",
    5: "$10^5$",
    10: "≥ $10^{10}$",
}
_SHARES: dict[float, str] = {0: "0%", 0.25: "25%", 0.5: "50%", 0.75: "75%", 1: "100%"}
_TICKS: dict[str, dict[float, str]] = {
    "accuracy": _SHARES,
    "dead": _SHARES,
    "loss": {-2: "≤ 0.01", -1: "0.1", 0: "1", 1: "≥ 10"},
    "signal": _POWERS,
    "gradient": _POWERS,
    "divergence": {0: "1", 1: "10", 2: "100", 3: "1000", 4: "$10^4$"},
}


def stability_map(
    sweep: Mapping[str, Any],
    quantity: tuple[str, str],
    labels: Sequence[str],
    values: np.ndarray,
    diverged: np.ndarray,
    *,
    networks: Sequence[Mapping[str, Any]],
    selected: tuple[int, float],
    losses: np.ndarray,
    seed: int | None = None,
) -> Figure:
    """Draw a map over the std with the theory band of each row, and the loss curves of one cell.

    Parameters
    ----------
    sweep
        Description of the sweep, as :class:`initscope.widgets.StabilityMap` makes it.
    quantity
        Its name and what it means.
    labels
        Of the rows.
    values, diverged
        Mapped numbers and share of diverged seeds, of shape (rows, stds).
    networks
        Of each row, with ``low``, ``high`` and ``critical`` std.
    selected
        Row and std of the selected cell.
    losses
        Its training losses, of shape (seeds, points of ``sweep["steps"]``).
    seed
        Index of the seed shown; None for the median of all.
    """
    name, meaning = quantity
    with styled():
        figure = Figure(figsize=(WIDTH, 1.9 + 0.27 * max(5, len(labels))))
        axes, below = figure.subplots(
            1, 2, width_ratios=(2.1, 1), gridspec_kw={"wspace": 0.05}, squeeze=True
        )
        stds = np.array(sweep["stds"])
        edges = cell_edges(stds)
        mesh = _cells(axes, edges, len(labels), *_scale(name, values, sweep["last_probe"]))
        _diverged(axes, stds, diverged)
        _bands(axes, networks)
        row, std = selected
        column = int(np.abs(np.log(stds / std)).argmin())
        cell = (edges[column], edges[column + 1], row, 0.5)
        _outline(axes, *cell, color=_SELECTED, lw=2.4, clip_on=False, zorder=5)
        axes.set_xscale("log")
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(-0.5, len(labels) - 0.5)
        axes.grid(False)
        axes.set_yticks(range(len(labels)), labels)
        axes.set_xlabel("initial std of the weights")
        rows_are = {"depth": "weight layers", "width": "hidden width"}
        if len(sweep["networks"]) > 1:
            axes.set_ylabel(rows_are.get(sweep["axis"], "network"))
        axes.set_title(sweep["name"])
        bar = figure.colorbar(mesh, ax=axes, location="top", aspect=45, pad=0.02, extend="neither")
        bar.set_label(meaning, fontsize=9)
        if name in _TICKS:
            highest = mesh.norm.vmax or 1
            ticks = {at: text for at, text in _TICKS[name].items() if at <= highest}
            bar.set_ticks(list(ticks), labels=list(ticks.values()))
        bar.outline.set_edgecolor("none")
        _losses(below, sweep, losses, seed)
        below.set_title(f"selected: std {std:.3g}", color=INK)
        figure.legend(
            handles=[
                Line2D([], [], color=INK, lw=1.0, label="theory band"),
                Line2D([], [], color=INK, lw=2.2, label="√(2/n)"),
                Line2D([], [], color=INK, ls=":", lw=1.6, label="the paper's band"),
                Line2D([], [], color=_SELECTED, lw=2.4, label="selected"),
                Line2D([], [], color=INK, marker="$/$", ls="none", label="some seeds diverge"),
                Line2D([], [], color=INK, marker="x", ls="none", label="all do"),
            ],
            loc="outside lower center",
            ncols=6,
            columnspacing=1.0,
            handlelength=1.3,
            fontsize=8.5,
        )
    return figure


def _cells(
    axes: Any, edges: np.ndarray, n_rows: int, colors: Any, norm: Normalize, numbers: np.ndarray
) -> Any:
    """Draw the colored cells; return them."""
    rows = np.arange(n_rows + 1) - 0.5
    mesh = axes.pcolormesh(edges, rows, np.ma.masked_invalid(numbers), cmap=colors, norm=norm)
    mesh.set_edgecolor("face")
    return mesh


def _diverged(axes: Any, stds: np.ndarray, shares: np.ndarray) -> None:
    """Mark the cells in which some seeds, or all, diverged."""
    for share, marker in ((shares > 0) & (shares < 1), "$/$"), (shares == 1, "x"):
        rows, columns = np.nonzero(share)
        for color, width in ((ON_MAP[1], 2.2), (ON_MAP[0], 0.9)):
            axes.scatter(stds[columns], rows, s=14, marker=marker, color=color, lw=width)


def _bands(axes: Any, networks: Sequence[Mapping[str, Any]]) -> None:
    """Outline the theory band of each row, and the band of the paper through all of them."""
    for row, network in enumerate(networks):
        for color, width in ((ON_MAP[0], 2.6), (ON_MAP[1], 1.0)):
            _outline(axes, network["low"], network["high"], row, 0.38, color=color, lw=width)
            if network["critical"] is not None:
                ends = [row - 0.5, row + 0.5]
                axes.plot([network["critical"]] * 2, ends, color=color, lw=width)
    for edge in PAPER_BAND:
        axes.axvline(edge, color=ON_MAP[1], lw=2.4)
        axes.axvline(edge, color=ON_MAP[0], ls=":", lw=1.6)


def _outline(axes: Any, left: float, right: float, row: int, half: float, **style: Any) -> None:
    """Draw a rectangle of so much above and below the middle of a row."""
    low, high = row - half, row + half
    axes.plot([left, right, right, left, left], [low, low, high, high, low], **style)


def _scale(name: str, values: np.ndarray, last: int) -> tuple[Any, Normalize, np.ndarray]:
    """Return the colors, their range and the numbers on its scale."""
    known = COLOR_MAP.with_extremes(bad=_NO_NUMBER)
    with np.errstate(divide="ignore"):
        if name == "loss":
            return known.reversed(), Normalize(-2, 1), np.clip(np.log10(values), -2, 1)
        if name == "divergence":  # where no seed diverged there is no number, and no color
            highest = max(1, np.ceil(np.log10(last + 1)))
            return COLOR_MAP, Normalize(0, highest), np.log10(values + 1)
    if name in ("signal", "gradient"):
        both_ways = BOTH_WAYS.with_extremes(bad=_NO_NUMBER)
        return both_ways, Normalize(-10, 10), np.clip(values, -10, 10)
    return (known.reversed() if name == "dead" else known), Normalize(0, 1), values


def _losses(axes: Any, sweep: Mapping[str, Any], losses: np.ndarray, seed: int | None) -> None:
    steps = np.array(sweep["steps"])
    for k, curve in enumerate(np.where(np.isfinite(losses) & (losses > 0), losses, np.nan)):
        own = seed is None or k == seed
        axes.plot(steps, curve, color=COLORS[0] if own else INK, lw=1.4 if own else 0.4)
    axes.axhline(-np.log(sweep["chance"]), color=INK, ls="--", lw=1)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5), numticks=7))
    axes.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    axes.set_xlim(0, steps[-1])
    axes.set_xlabel("update")
    axes.set_ylabel("training loss")
