"""Figures of what finite width does (chapter 03)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from initscope import checks
from initscope.analysis.intervals import Z_95
from initscope.checks import require
from initscope.errors import shown as printed
from initscope.plots.style import COLORS, INK, PAIR_WIDTH, WIDTH, WRITTEN, styled

__all__ = [
    "fan_of_networks",
    "jacobian_spread",
    "log_norm_histograms",
    "log_spread_by_depth",
    "singular_values",
]


def fan_of_networks(
    profiles: Mapping[int, pd.DataFrame], tables: Mapping[int, pd.DataFrame], shown: int = 40
) -> Figure:
    """Draw forward and backward variance of many networks of one kind, one row a width.

    A line ends where a network has died.

    Parameters
    ----------
    profiles
        Width to a result of :func:`initscope.monte_carlo.variance_profiles`.
    tables
        Width to a result of :func:`initscope.monte_carlo.against_theory` with a finite-width band.
    shown
        Number of networks drawn as thin lines: the first.

    >>> from initscope import monte_carlo, theory
    >>> profiles = monte_carlo.variance_profiles([8] * 4, networks=10)
    >>> network = ([8] * 4, "relu", "kaiming")
    >>> limit, interval = theory.propagate(*network), theory.finite_width_interval(*network)
    >>> table = monte_carlo.against_theory(profiles, limit, interval)
    >>> len(fan_of_networks({8: profiles}, {8: table}).axes)
    2
    """
    checks.mapping("profiles", profiles)
    checks.mapping("tables", tables)
    require(len(tables) > 0, "tables is empty: there is nothing to draw.")
    for width, table in tables.items():
        columns = ("layer", "low", "high", "theory", "median", "mean")
        checks.frame("in tables", table, numbers=columns, texts=("direction",))
        require(width in profiles, f"profiles has no table of width {width!s:.40}, as tables has.")
        checks.frame("in profiles", profiles[width], numbers=("network", "layer", "value"),
                     texts=("direction",))  # fmt: skip
    checks.whole("shown", shown, at_least=0)
    titles = {"forward": "activations, forward", "backward": "gradients, backward"}
    with styled():
        figure = Figure(figsize=(PAIR_WIDTH, 2.5 * len(tables) + 0.6))
        panels = figure.subplots(len(tables), 2, sharex=True, sharey="row", squeeze=False)
        for (row, (width, table)), (k, direction) in itertools.product(
            enumerate(tables.items()), enumerate(titles)
        ):
            axes = panels[row, k]
            frame = profiles[width]
            frame = frame[(frame["direction"] == direction) & (frame["network"] < shown)]
            lines = frame.pivot_table(index="layer", columns="network", values="value")
            axes.plot(lines.where(lines > 0), color=COLORS[0], lw=0.35)
            of_direction = table[table["direction"] == direction].set_index("layer")
            axes.fill_between(
                of_direction.index,
                of_direction["low"],
                of_direction["high"],
                color=COLORS[1],
                alpha=0.2,
                lw=0,
            )
            for column, color, style in (
                ("theory", INK, "--"),
                ("median", COLORS[0], "-"),
                ("mean", COLORS[2], "-"),
            ):
                values = of_direction[column].where(of_direction[column] > 0)
                axes.plot(values, color=color, ls=style, lw=1.8)
            axes.set_yscale("log")
            axes.set_title(f"width {width}: {titles[direction]}")
        for axes in panels[-1]:
            axes.set_xlabel("weight layer")
        for axes in panels[:, 0]:
            axes.set_ylabel("mean square")
        handles = [
            Line2D([], [], color=COLORS[0], lw=0.35, label="one network"),
            Line2D([], [], color=COLORS[0], label="median"),
            Line2D([], [], color=COLORS[2], label="mean"),
            Line2D([], [], color=INK, ls="--", label="infinite width"),
            Patch(color=COLORS[1], alpha=0.35, lw=0, label="predicted 95% of networks"),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=5)
    return figure


def _histogram(
    axes: Axes, heights: np.ndarray, edges: np.ndarray, color: str, opacity: float
) -> None:
    """Draw an area with an outline, which is seen where the area is pale."""
    axes.stairs(heights, edges, fill=True, facecolor=(color, opacity), edgecolor=color, lw=0.7)


def _normal_density(x: np.ndarray, mean: float, variance: float) -> np.ndarray:
    return np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


def log_norm_histograms(
    samples: Mapping[int, np.ndarray], moments: pd.DataFrame, depth: int
) -> Figure:
    """Draw the distribution of ln of the last variance over that of infinite width, by width.

    Parameters
    ----------
    samples
        Width to one value a living network.
    moments
        Columns ``width``, ``mean``, ``variance`` (exact) and ``first_mean``, ``first_variance`` (of
        order 1/n).
    depth
        Number of layers, said in the titles.

    >>> samples = {10: np.random.default_rng(0).normal(-3, 3, 100)}
    >>> columns = {"width": [10], "mean": -3, "variance": 9, "first_mean": -2, "first_variance": 7}
    >>> len(log_norm_histograms(samples, pd.DataFrame(columns), depth=50).axes)
    1
    """
    checks.mapping("samples", samples)
    checks.frame(
        "moments", moments, numbers=("width", "mean", "variance", "first_mean", "first_variance")
    )
    checks.whole("depth", depth)
    require(
        list(moments["width"]) == list(samples) or sorted(moments["width"]) == sorted(samples),
        f"samples and moments must be of the same widths, not {printed(list(samples))} and "
        f"{printed(moments['width'].tolist())}.",
    )
    for values in samples.values():
        array = checks.finite("samples", values)
        require(array.ndim == 1 and array.size > 0, "samples must have a list of numbers a width.")
    with styled():
        figure = Figure(figsize=(WIDTH, 3.0))
        panels = figure.subplots(1, len(samples), squeeze=False)[0]
        for axes, row in zip(panels, moments.itertuples(), strict=True):
            values = samples[row.width]
            _histogram(axes, *np.histogram(values, bins=40, density=True), COLORS[0], 0.45)
            x = np.linspace(values.min(), values.max(), 300)
            for mean, variance, color, style in (
                (row.mean, row.variance, COLORS[1], "-"),
                (row.first_mean, row.first_variance, COLORS[2], ":"),
            ):
                axes.plot(x, _normal_density(x, mean, variance), color=color, ls=style)
            axes.axvline(0, color=INK, ls="--", lw=1.1)
            axes.set_title(f"width {row.width}, depth {depth}")
            axes.set_xlabel(r"$\ln(q_L / q_L^\infty)$")
        panels[0].set_ylabel("density")
        handles = [
            Patch(color=COLORS[0], alpha=0.45, lw=0, label="networks"),
            Line2D([], [], color=COLORS[1], label="log-normal, exact moments"),
            Line2D([], [], color=COLORS[2], ls=":", label="log-normal, to order 1/n"),
            Line2D([], [], color=INK, ls="--", label="infinite width"),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return figure


def _check_spread(table: object, panel: str) -> None:
    """Raise unless `table` can be drawn by :func:`_by_activation`, one panel a value of `panel`."""
    columns = ("layer", "measured", "error", "predicted")
    frame = checks.frame("table", table, (panel,), numbers=columns, texts=("activation",))
    require(bool(frame[panel].notna().all()), f"the table has no {panel} in some rows.")
    require(bool((frame["error"] >= 0).all()), "the column error of the table must be at least 0.")
    if "wide" in frame:
        checks.frame("table", frame, numbers=("wide",))


def _by_activation(axes: Axes, table: pd.DataFrame) -> None:
    """Draw theory as lines, of infinite width dotted where given; measurements with intervals."""
    for color, (name, group) in zip(COLORS, table.groupby("activation", sort=False), strict=False):
        axes.plot(group["layer"], group["predicted"], color=color, label=WRITTEN.get(name, name))
        if "wide" in group:
            axes.plot(group["layer"], group["wide"], color=color, ls=":", lw=1.2)
        axes.errorbar(
            group["layer"],
            group["measured"],
            group["error"],
            color=color,
            ls="none",
            marker="o",
            ms=3.5,
            lw=0.9,
        )


def log_spread_by_depth(table: pd.DataFrame) -> Figure:
    """Draw the variance of the log of the forward variance by depth, one color an activation.

    One panel a width.

    Parameters
    ----------
    table
        Columns ``activation``, ``width``, ``layer``, ``measured``, ``error`` (half the 95%
        interval) and ``predicted``.

    >>> columns = {"layer": [1, 2], "measured": [0.1, 0.2], "error": 0.01, "predicted": [0.1, 0.2]}
    >>> table = pd.DataFrame(columns).assign(activation="relu", width=100)
    >>> log_spread_by_depth(table).axes[0].get_title()
    'width 100'
    """
    _check_spread(table, "width")
    with styled():
        figure = Figure(figsize=(PAIR_WIDTH, 3.1))
        widths = sorted(table["width"].unique())
        panels = figure.subplots(1, len(widths), squeeze=False)[0]
        for axes, width in zip(panels, widths, strict=True):
            of_width = table[table["width"] == width]
            _by_activation(axes, of_width)
            axes.set_title(f"width {width}")
            axes.set_xlabel("weight layer")
        panels[0].set_ylabel(r"variance of $\ln q_l$")
        panels[0].legend(title="activation")
        panels[0].get_legend().get_title().set_color(INK)
    return figure


def singular_values(spectra: Mapping[tuple[str, str], np.ndarray], floor: float = 1e-4) -> Figure:
    """Draw histograms of singular values, one column an activation, one row a weight ensemble.

    Parameters
    ----------
    spectra
        (activation, weights) to an array of singular values.
    floor
        Those below are counted in the first bin.

    >>> values = np.array([0.5, 1.0])
    >>> spectra = {("ReLU", weights): values for weights in ("Gaussian", "orthogonal")}
    >>> len(singular_values(spectra).axes)
    2
    """
    checks.mapping("spectra", spectra)
    require(
        len(spectra) > 0 and all(isinstance(key, tuple) and len(key) == 2 for key in spectra),
        f"spectra must have a pair of names to an array, not {printed(spectra)}.",
    )
    floor = checks.one("floor", checks.positive("floor", floor))
    for values in spectra.values():
        require(
            isinstance(values, np.ndarray) and checks.nonnegative("spectra", values).size > 0,
            "spectra must hold arrays of singular values, none of them empty.",
        )
    activations = list(dict.fromkeys(activation for activation, _ in spectra))
    ensembles = list(dict.fromkeys(weights for _, weights in spectra))
    require(
        len(spectra) == len(activations) * len(ensembles),
        "spectra must have every activation with all weights.",
    )
    largest = max(values.max() for values in spectra.values())
    require(floor < largest, f"floor must be below the largest singular value, {largest:g}.")
    bins = np.geomspace(floor, 1.3 * largest, 46)
    with styled():
        figure = Figure(figsize=(WIDTH, 4.2))
        panels = figure.subplots(
            len(ensembles), len(activations), sharex=True, sharey=True, squeeze=False
        )
        for (row, weights), (k, activation) in itertools.product(
            enumerate(ensembles), enumerate(activations)
        ):
            axes = panels[row, k]
            values = spectra[activation, weights].ravel()
            counts, edges = np.histogram(np.maximum(values, floor * 1.001), bins)
            _histogram(axes, counts / len(values), edges, COLORS[row], 0.7)
            axes.axvline(1, color=INK, ls="--", lw=1.1)
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_ylim(1e-4, 2)
            axes.set_title(f"{activation}, {weights}")
            if row == len(ensembles) - 1:
                axes.set_xlabel("singular value")
            if k == 0:
                axes.set_ylabel("share")
    return figure


def jacobian_spread(table: pd.DataFrame) -> Figure:
    """Draw the variance of the squared singular values by depth, one panel a weight ensemble.

    Parameters
    ----------
    table
        Columns ``weights``, ``activation``, ``layer``, ``measured``, ``error`` (half the 95%
        interval), ``predicted`` and ``wide`` (of infinite width).

    >>> columns = {"layer": [1, 2], "measured": [1.0, 2.0], "error": 0.1, "predicted": [1.0, 2.0]}
    >>> table = pd.DataFrame(columns).assign(activation="ReLU", weights="Gaussian", wide=[1.0, 2.0])
    >>> jacobian_spread(table).axes[0].get_title()
    'Gaussian weights'
    """
    _check_spread(table, "weights")
    checks.frame("table", table, numbers=("wide",))
    with styled():
        figure = Figure(figsize=(WIDTH, 3.2))
        ensembles = list(table["weights"].unique())
        panels = figure.subplots(1, len(ensembles), sharex=True, squeeze=False)[0]
        for axes, weights in zip(panels, ensembles, strict=True):
            of_weights = table[table["weights"] == weights]
            _by_activation(axes, of_weights)
            axes.set_title(f"{weights} weights")
            axes.set_xlabel("layer")
            axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
        panels[0].set_ylabel("variance of squared\nsingular values")
        handles, _ = panels[0].get_legend_handles_labels()
        handles += [
            Line2D([], [], color=INK, ls=":", lw=1.2, label="infinite width"),
            Line2D([], [], color=INK, ls="none", marker="o", ms=3.5, label="measured"),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=5)
    return figure


def walks_and_histogram(logs: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> Figure:
    """Draw the log of a signal by layer in many networks, and the histogram of its ends.

    Parameters
    ----------
    logs
        Shape ``(networks, layers + 1)``; -inf where a network is dead.
    mean, variance
        By theory, by layer.
    """
    layers, std = np.arange(len(mean)), np.sqrt(variance)
    ends = logs[np.isfinite(logs[:, -1]), -1]
    low, high = mean[-1] - 4 * std[-1], max(mean[-1] + 4 * std[-1], 0.3)
    with styled():
        figure = Figure(figsize=(WIDTH, 3.6))
        left, right = figure.subplots(1, 2)
        left.axhline(0, color=INK, ls="--", lw=1, label="infinite width")
        band = (mean - Z_95 * std, mean + Z_95 * std)
        left.fill_between(layers, *band, color=COLORS[2], alpha=0.2, lw=0, label="95% by theory")
        for k, path in enumerate(logs):
            shown = np.where(np.isfinite(path), path, np.nan)
            label = None if k else "networks"
            left.plot(layers, shown, color=COLORS[0], lw=0.6, alpha=0.9, label=label)
        left.plot(layers, mean, color=COLORS[2], lw=2, label="mean by theory")
        left.set(xlabel="layer", ylabel="ln of what is left of the signal")
        left.set(xlim=(0, len(mean) - 1), ylim=(low, high))
        counts, edges = np.histogram(np.clip(ends, low, high), 24, (low, high))
        _histogram(right, counts, edges, COLORS[0], 0.45)
        grid = np.linspace(low, high, 200)
        density = _normal_density(grid, mean[-1], variance[-1])
        right.plot(grid, max(1, len(ends)) * (edges[1] - edges[0]) * density, color=COLORS[2])
        right.axvline(0, color=INK, ls="--", lw=1)
        right.set(xlabel="ln of what is left of the signal", ylabel="networks", xlim=(low, high))
        figure.legend(loc="outside upper center", ncols=4)
    return figure
