"""The still picture of a recorded training run (chapter 07)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from initscope.plots.style import COLORS, INK, WIDTH, styled

__all__: list[str] = []  # for this package alone

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARGIN = 1.08
"""Factor between the outermost curve and the end of the axis."""


def recorded_run(shown: Any) -> Figure:
    """Draw a run over its steps, across its layers, and the histogram of one matrix.

    Parameters
    ----------
    shown
        The runs and what is looked at of them, as :class:`initscope.widgets.QKVTraining` holds
        them: ``runs`` by label, ``roles``, and ``shown``, ``matrices``, ``step``, ``role``,
        ``layer``, ``quantity``, ``show_prediction``.
    """
    with styled():
        figure = Figure(figsize=(WIDTH, 5.6))
        over, across, counted = figure.subplot_mosaic("AA;BC").values()
        _draw_steps(shown, over)
        _draw_layers(shown, across)
        _draw_histogram(shown, counted)
    return figure


def _draw_steps(widget: Any, axes: Axes) -> None:
    steps, found = widget.shown.steps, widget.matrices
    layers = found.layers
    rows, guess = found.curves(widget.quantity)
    chosen = layers.index(widget.layer)
    for k, layer in enumerate(layers):
        color = _depth_color(k, len(layers))
        bold = k == chosen
        named = layer if bold or k in (0, len(layers) - 1) else None
        axes.plot(
            steps, rows[k], color=color, lw=3.2 if bold else 1.8 if named is not None else 0.9,
            ls=":" if k == 0 < len(layers) - 1 else "-", zorder=3 if bold else 2,
            label=None if named is None else f"layer {named}",
        )  # fmt: skip
    if widget.show_prediction and found.predicted is not None:
        axes.plot(
            steps, guess[chosen], color=INK, ls="--", zorder=4,
            label=f"AdamW prediction, layer {widget.layer}",
        )  # fmt: skip
    axes.axvline(widget.step, color=INK, lw=0.8)
    axes.set(xlabel="step")
    ends = [step for run in widget.runs.values() for step in (run.steps[0], run.steps[-1])]
    if max(ends) > min(ends):
        axes.set_xlim(min(ends), max(ends))
    _scale(widget, axes, [widget.role])
    axes.set_title(", ".join(filter(None, [widget.shown.label, found.name, "every layer"])))
    axes.legend()


def _draw_layers(widget: Any, axes: Axes) -> None:
    run = widget.shown
    at = run.steps.index(widget.step)
    for role, found in run.roles.items():
        axes.plot(
            found.layers, found.curves(widget.quantity)[0][:, at], marker="o",
            color=_color(widget, role), lw=2.2 if role == widget.role else 1.0,
            ms=5 if role == widget.role else 3.5, label=found.name,
        )  # fmt: skip
    found = widget.matrices
    if widget.show_prediction and found.predicted is not None:
        axes.plot(
            found.layers, found.curves(widget.quantity)[1][:, at], color=INK, ls="--",
            label="AdamW prediction",
        )  # fmt: skip
    axes.set(xlabel="layer")
    layers = sorted({layer for found in run.roles.values() for layer in found.layers})
    axes.set_xticks(layers[:: math.ceil(len(layers) / 12)])
    _scale(widget, axes, list(run.roles))
    axes.set_title(f"every layer at step {widget.step:,}")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=4, columnspacing=1.0)


def _draw_histogram(widget: Any, axes: Axes) -> None:
    run, found = widget.shown, widget.matrices
    row = found.layers.index(widget.layer)
    known = run.histogram_steps
    at = min(range(len(known)), key=lambda k: abs(known[k] - widget.step), default=None)
    axes.set(xlabel="weight", ylabel="density")
    if at is None or not np.isfinite(found.edges[row, at]).all():
        axes.set_title("no histogram was recorded")
        return
    low, high = found.edges[row, at]
    counts = found.counts[row, at]
    edges = np.linspace(low, high, len(counts) + 1)
    color = _color(widget, widget.role)
    density = counts / max(1, counts.sum()) / np.diff(edges)
    axes.stairs(
        density, edges, fill=True, facecolor=(color, 0.5), edgecolor=color, lw=0.7, label="weights"
    )
    std = found.std[row, run.steps.index(known[at])]
    x = np.linspace(low, high, 161)
    normal = np.exp(-0.5 * (x / std) ** 2) / (std * math.sqrt(2 * math.pi))
    axes.plot(x, normal, color=INK, lw=1.3, label="normal, same std")
    axes.set_title(f"{found.name}, layer {widget.layer}, step {known[at]:,}")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2)


def _color(widget: Any, role: str) -> str:
    return COLORS[widget.recorded["roles"].index(role) % len(COLORS)]


def _scale(widget: Any, axes: Axes, roles: Sequence[str]) -> None:
    """Set a logarithmic axis that is the same whichever run is shown."""
    low, high = _limits(
        curves
        for run in widget.runs.values()
        for role in roles
        if role in run.roles
        for curves in run.roles[role].curves(widget.quantity)
    )
    axes.set(
        yscale="log",
        ylim=(low, high),
        ylabel="std" if widget.quantity == "std" else "std / initial std",
    )
    axes.yaxis.set_major_locator(FixedLocator(_ticks(low, high)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _limits(rows: Iterable[np.ndarray]) -> tuple[float, float]:
    """Return the ends of a logarithmic axis that has room for all that is above 0."""
    every = np.concatenate([values.ravel() for values in rows])
    usable = every[np.isfinite(every) & (every > 0)]
    if not len(usable):
        return 0.01, 1.0
    return usable.min() / MARGIN, usable.max() * MARGIN


def _ticks(low: float, high: float) -> list[float]:
    """Return what to label on a logarithmic axis: 1, 2, 5, or powers of ten, or round numbers."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    if high / low > 1000:
        powers = [10.0**k for k in decades if low <= 10.0**k <= high]
        return powers[:: math.ceil(len(powers) / 8)]
    found = [m * 10.0**k for k in decades for m in (1, 2, 5) if low <= m * 10.0**k <= high]
    if len(found) > 2:
        return found
    return [tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]


def _depth_color(k: int, count: int) -> tuple[float, ...]:
    """Return the color of layer `k` of `count`, as in the browser."""
    stops = np.array([[138, 99, 210], [43, 147, 168], [168, 137, 31]]) / 255
    at = 2 * k / (count - 1) if count > 1 else 0.0
    return tuple(float(np.interp(at, [0, 1, 2], stops[:, c])) for c in range(3))
