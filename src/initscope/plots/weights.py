"""Figures of weight matrices through training (chapter 07).

The tables are those of :mod:`initscope.analysis.trajectories`: a row for each role and layer, a
column for each recorded step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from initscope import checks
from initscope.analysis.intervals import mean_interval
from initscope.analysis.trajectories import over_layers
from initscope.checks import require
from initscope.plots.style import COLORS, INK, LINE_MAP, WIDTH, line_looks, styled

__all__ = [
    "by_layer",
    "role_name",
    "weight_distribution",
    "weights_through_training",
]

ROLE_NAMES: Mapping[str, str] = {
    "q": "Q",
    "k": "K",
    "v": "V",
    "attention_out": "attention output",
    "mlp_in": "MLP in",
    "mlp_gate": "MLP gate",
    "mlp_out": "MLP out",
    "token_embedding": "token embedding",
    "position_embedding": "position embedding",
    "output": "output",
}
"""Roles of weight matrices as the figures name them."""


def role_name(role: str) -> str:
    """Return a role as the figures name it.

    >>> role_name("mlp_in")
    'MLP in'
    """
    checks.text("role", role)
    return ROLE_NAMES.get(role, role.replace("_", " "))


def roles_of(table: pd.DataFrame | pd.Series) -> list[str]:
    require(len(table) > 0, "the table has no rows: there is nothing to draw.")
    return list(dict.fromkeys(table.index.get_level_values("role")))


def check_std(name: str, table: object, *, steps: bool = True) -> pd.DataFrame:
    """Return `table` if its rows are roles and layers, and its columns steps (or seeds)."""
    found = checks.number_table(name, table, levels=("role", "layer"), rows=True)
    check_layers(name, found.index.get_level_values("layer"))
    check_roles(name, found.index.get_level_values("role"))
    require(found.shape[1] > 0, f"the table {name} has no columns: there is nothing to draw.")
    if steps:
        check_steps(name, found)
    return found


def check_layers(name: str, layers: pd.Index) -> None:
    require(
        pd.api.types.is_integer_dtype(layers.dtype),
        f"the layers of the table {name} must be numbers.",
    )


def check_roles(name: str, roles: pd.Index) -> None:
    require(
        all(isinstance(role, str) for role in roles), f"the roles of the table {name} must be text."
    )


def check_steps(name: str, table: pd.DataFrame) -> None:
    require(
        pd.api.types.is_numeric_dtype(table.columns.dtype),
        f"the columns of the table {name} must be steps.",
    )


def grid_of(n: int) -> tuple[int, int]:
    """Return rows and columns of `n` panels, three in a row at most."""
    rows = -(-n // 3)
    return rows, -(-n // rows)


def panels_of(figure: Figure, n: int, shape: tuple[int, int], **options: Any) -> list[Axes]:
    """Return the first `n` panels of a grid, row by row, and hide the rest."""
    panels = figure.subplots(*shape, squeeze=False, **options).ravel()
    for axes in panels[n:]:
        axes.set_visible(False)
    for axes in panels[:n][-shape[1] :]:  # with no panel below
        axes.tick_params(labelbottom=True)
    return list(panels[:n])


def point(places: Any) -> dict[str, Any]:
    """Return how to draw a line that must be seen even if it is a single point."""
    return {"marker": "o"} if len(places) == 1 else {}


def above_zero(table: pd.DataFrame) -> pd.DataFrame:
    """Return what has a place on a logarithmic axis; with none at all, the axis would warn."""
    return table.where(table > 0)


def plain_log_axis(axes: Axes) -> None:
    """Set a logarithmic vertical axis with numbers such as 0.02."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())


def layer_handles(looks: Mapping[int, Mapping[str, Any]]) -> list[Line2D]:
    layers = list(looks)
    shown = layers if len(layers) < 4 else [layers[0], layers[len(layers) // 2], layers[-1]]
    return [Line2D([], [], **looks[n], label=f"layer {n}") for n in shown]


def legend_below(figure: Figure, handles: Sequence[Artist], **options: Any) -> None:
    """Put one legend under all panels, where it hides nothing."""
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(4, len(handles)), **options
    )


def weights_through_training(std: pd.DataFrame, predicted: pd.DataFrame | None = None) -> Figure:
    """Draw the std of every matrix against the step, one panel a role, colored by layer.

    Parameters
    ----------
    std
        Result of :func:`initscope.analysis.weight_std`.
    predicted
        The same rows; the mean over the layers of a role is drawn dashed.

    >>> matrices = pd.MultiIndex.from_tuples([("q", 1), ("q", 2)], names=["role", "layer"])
    >>> std = pd.DataFrame([[0.02, 0.03], [0.02, 0.04]], matrices, pd.Index([0, 10], name="step"))
    >>> weights_through_training(std).axes[0].get_title()
    'Q'
    """
    check_std("std", std)
    roles = roles_of(std)
    if predicted is not None:
        check_std("predicted", predicted)
        require(set(roles) <= set(roles_of(predicted)), "predicted lacks some of the roles of std.")
    with styled():
        rows, columns = grid_of(len(roles))
        figure = Figure(figsize=(WIDTH, 0.8 + 2.5 * rows))
        panels = panels_of(figure, len(roles), (rows, columns), sharex=True, sharey=True)
        layers = sorted(set(std.index.get_level_values("layer")))
        looks = line_looks(layers)
        for axes, role in zip(panels, roles, strict=True):
            for layer, curve in above_zero(std.loc[role]).iterrows():
                axes.plot(std.columns, curve, **looks[layer], **point(std.columns))
            if predicted is not None:
                mean = over_layers(predicted).loc[("mean", role)]
                axes.plot(mean.index, mean, color=INK, ls="--", lw=1.6)
            axes.set_title(role_name(role))
            plain_log_axis(axes)
        for axes in panels[-columns:]:
            axes.set_xlabel("update")
        for axes in panels[::columns]:
            axes.set_ylabel("std of the weights")
        handles = layer_handles(looks)
        if predicted is not None:
            handles.append(Line2D([], [], color=INK, ls="--", label="theory: noise alone"))
        legend_below(figure, handles)
    return figure


def by_layer(
    seeds: pd.DataFrame, label: str, reference: float | None = None, *, from_zero: bool = True
) -> Figure:
    """Draw a quantity of each matrix by layer: every seed, and the mean with its interval.

    Parameters
    ----------
    seeds
        One row for each role and layer, one column a seed.
    label
        Of the vertical axis.
    reference
        A value drawn as a dashed line, on the axis wherever the seeds are.
    from_zero
        Whether the vertical axis includes 0.

    Examples
    --------
    >>> matrices = pd.MultiIndex.from_tuples([("q", 1), ("q", 2)], names=["role", "layer"])
    >>> seeds = pd.DataFrame({0: [0.1, 0.2], 1: [0.2, 0.3]}, matrices)
    >>> len(by_layer(seeds, "expansion rate").axes)
    1
    """
    check_std("seeds", seeds, steps=False)
    checks.text("label", label)
    checks.flag("from_zero", from_zero)
    if reference is not None:
        reference = checks.one("reference", checks.finite("reference", reference))
    roles = roles_of(seeds)
    with styled():
        rows, columns = grid_of(len(roles))
        figure = Figure(figsize=(WIDTH, 0.5 + 2.2 * rows))
        panels = panels_of(figure, len(roles), (rows, columns), sharex=True, sharey="row")
        for axes, role in zip(panels, roles, strict=True):
            table = seeds.loc[role]
            if reference is not None:
                axes.axhline(reference, color=INK, ls="--", lw=1.2)
            for seed in table.columns:
                axes.plot(table.index, table[seed], "o", color=COLORS[0], ms=3.5, mew=0)
            means = np.array([mean_interval(row) for row in table.to_numpy()])
            axes.plot(table.index, means[:, 0], color=COLORS[1], **point(table))
            if seeds.shape[1] > 2:  # with two seeds the interval is wider than any axis
                axes.fill_between(
                    table.index, means[:, 1], means[:, 2], color=COLORS[1], alpha=0.22, lw=0
                )
            axes.set_title(role_name(role))
            axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(6, integer=True))
        for row in range(rows):
            values = seeds.loc[roles[row * columns : (row + 1) * columns]].to_numpy().ravel()
            limits = np.append(values, [0.0] if from_zero else [])
            limits = np.append(limits, [] if reference is None else [reference])
            limits = limits[np.isfinite(limits)]
            if len(limits):  # the axis shows the seeds, whatever the intervals reach
                low, high = limits.min(), limits.max()
                margin = 0.08 * (high - low) or 0.08 * abs(high) or 1.0
                panels[row * columns].set_ylim(low - margin, high + margin)
        for axes in panels[-columns:]:
            axes.set_xlabel("layer")
        figure.supylabel(label, fontsize=10, color=INK)
    return figure


def weight_distribution(
    histograms: pd.DataFrame, shape: pd.DataFrame, shown_steps: Sequence[int]
) -> Figure:
    """Draw the distribution of one matrix through training, and how far it is from normal.

    Parameters
    ----------
    histograms
        Rows of one matrix: ``step, low, high, counts``.
    shape
        Index the step; columns ``kurtosis``, and ``tail``: the distance between the outermost
        recorded quantiles over that of a normal of the same std.
    shown_steps
        Steps whose histograms are drawn, one above the other from the first down: the square root
        of the density, all on one scale. Those without a histogram are left out, and those of
        weights that are all the same or not finite.

    Examples
    --------
    >>> histogram = {"step": 0, "low": -0.1, "high": 0.1, "counts": [1, 5, 9, 5, 1]}
    >>> shape = pd.DataFrame({"kurtosis": [3.0], "tail": [1.0]}, index=[0])
    >>> len(weight_distribution(pd.DataFrame([histogram]), shape, [0]).axes)
    3
    """
    checks.frame("histograms", histograms, ("counts",), numbers=("step", "low", "high"))
    checks.number_lists("histograms", histograms, "counts")
    checks.frame("shape", shape, numbers=("kurtosis", "tail"), rows=False)
    require(
        pd.api.types.is_numeric_dtype(shape.index.dtype),
        "the table shape must be indexed by the step.",
    )
    given = checks.nonnegative("shown_steps", checks.items("shown_steps", shown_steps))
    shown_steps = [int(step) for step in given.ravel()]
    require(bool(histograms["step"].notna().all()), "the table histograms has rows without a step.")
    require(
        not histograms["step"].duplicated().any(),
        "the histograms have several rows at one step: give those of one matrix.",
    )
    width = histograms["high"] - histograms["low"]
    drawable = histograms[np.isfinite(width) & (width > 0)]
    by_step = drawable[drawable["counts"].map(np.sum) > 0].set_index("step")
    steps = [step for step in shown_steps if step in by_step.index]
    require(bool(steps), "none of these steps has a histogram that can be drawn.")
    with styled():
        figure = Figure(figsize=(WIDTH, 3.9))
        left, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
        colors = LINE_MAP(np.linspace(0, 1, len(steps)))
        densities = []
        for step in steps:
            low, high, counts = by_step.loc[step, ["low", "high", "counts"]]
            edges = np.linspace(low, high, len(counts) + 1)
            densities.append((edges, np.asarray(counts) / (np.sum(counts) * (edges[1] - edges[0]))))
        height = max(float(density.max()) for _, density in densities) ** 0.5
        for place, (color, (edges, density)) in enumerate(zip(colors, densities, strict=True)):
            # Square roots, so that late, wide distributions are not flat beside the first.
            line = np.sqrt(density) / height * 1.9
            base = len(steps) - 1 - place
            left.fill_between(
                edges,
                base,
                base + np.append(line, line[-1]),
                step="post",
                facecolor=(*color[:3], 0.6),
                edgecolor=color,
                lw=0.7,
                zorder=place,
            )
        left.set_yticks(range(len(steps)), [f"{step:,}" for step in reversed(steps)])
        left.set_ylabel("update")
        left.set_xlabel("weight")
        handles = []
        for axes, name, color, text, side in (
            (right, "kurtosis", COLORS[0], "kurtosis", "left"),
            (right.twinx(), "tail", COLORS[1], "tail width, normal = 1", "right"),
        ):
            handles += axes.plot(
                shape.index,
                shape[name],
                color=color,
                label=f"{text.split(',')[0]} ({side})",
                **point(shape),
            )
            axes.set_ylabel(text)
            axes.axhline({"kurtosis": 3.0, "tail": 1.0}[name], color=color, ls=":", lw=1.2)
        right.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
        figure.axes[-1].spines["right"].set_visible(True)
        figure.axes[-1].grid(visible=False)
        right.set_xlabel("update")
    return figure
