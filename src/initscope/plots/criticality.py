"""Figures of length and correlation maps, and of trainability (chapter 02)."""

from __future__ import annotations

import itertools

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

from initscope import checks
from initscope.analysis.seeds import median_grid
from initscope.checks import require
from initscope.plots.style import COLOR_MAP, COLORS, INK, ON_MAP, WIDTH, cell_edges, palette, styled

__all__ = ["correlation_with_depth", "depth_scales", "maps", "phase_diagrams", "trainability_map"]


def maps(
    length: pd.DataFrame, correlation: pd.DataFrame, fixed_points: pd.DataFrame | None = None
) -> Figure:
    """Draw length maps (left) and correlation maps (right), with the diagonal.

    A label has one color in all three.

    Parameters
    ----------
    length
        Columns ``label``, ``q``, ``image``.
    correlation
        Columns ``label``, ``c``, ``image``.
    fixed_points
        Columns ``label``, ``q``, ``c``, drawn as dots.

    >>> q = np.linspace(0, 2, 5)
    >>> length = pd.DataFrame({"label": "tanh", "q": q, "image": np.tanh(q)})
    >>> c = pd.DataFrame({"label": "tanh", "c": q / 2, "image": q / 2})
    >>> len(maps(length, c).axes)
    2
    """
    checks.frame("length", length, numbers=("q", "image"), texts=("label",))
    checks.frame("correlation", correlation, numbers=("c", "image"), texts=("label",))
    tables = {"correlation": correlation}
    if fixed_points is not None:
        tables["fixed_points"] = checks.frame(
            "fixed_points", fixed_points, numbers=("q", "c"), texts=("label",), rows=False
        )
    for name, table in tables.items():
        require(
            set(table["label"]) <= set(length["label"]),
            f"the table {name} has labels that length does not have.",
        )
    with styled():
        figure = Figure(figsize=(WIDTH, 3.7))
        left, right = figure.subplots(1, 2)
        labels = length["label"].unique()
        colors = dict(zip(labels, palette(len(labels)), strict=True))
        for axes, frame, column in ((left, length, "q"), (right, correlation, "c")):
            ends = [frame[column].min(), frame[column].max()]
            axes.plot(ends, ends, color=INK, ls="--", lw=1)
            for label, rows in frame.groupby("label", sort=False):
                axes.plot(rows[column], rows["image"], color=colors[label], label=label)
            if fixed_points is not None:
                for point in fixed_points.itertuples():
                    value = getattr(point, column)
                    axes.plot(value, value, color=colors[point.label], marker="o", ms=5)
            axes.set_aspect("equal")
        left.set_xlabel("variance $q$ of a layer")
        left.set_ylabel("variance of the next layer")
        left.set_title("length map")
        right.set_xlabel("correlation $c$ of two inputs")
        right.set_ylabel("correlation one layer on")
        right.set_title("correlation map")
        figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def correlation_with_depth(theory: pd.DataFrame, networks: pd.DataFrame) -> Figure:
    """Draw the correlation of two inputs by layer: iterated map as lines, networks as dots.

    A label has one color in both.

    Parameters
    ----------
    theory
        Columns ``label``, ``layer``, ``correlation``.
    networks
        Columns ``label``, ``layer``, ``mean``, ``low`` and ``high`` (bars).

    >>> theory = pd.DataFrame({"label": "tanh", "layer": [0, 1], "correlation": [0.5, 0.6]})
    >>> networks = theory.assign(mean=0.6, low=0.5, high=0.7)
    >>> len(correlation_with_depth(theory, networks).axes)
    1
    """
    checks.frame("theory", theory, numbers=("layer", "correlation"), texts=("label",))
    checks.frame("networks", networks, numbers=("layer", "mean", "low", "high"), texts=("label",),
                 rows=False)  # fmt: skip
    with styled():
        figure = Figure(figsize=(WIDTH, 3.7))
        axes = figure.subplots()
        for color, (label, rows) in zip(
            palette(theory["label"].nunique()),
            theory.groupby("label", sort=False),
            strict=True,
        ):
            axes.plot(rows["layer"], rows["correlation"], color=color, label=label, lw=1.4)
            found = networks[networks["label"] == label]
            axes.vlines(found["layer"], found["low"], found["high"], color=color, lw=1)
            axes.plot(found["layer"], found["mean"], color=color, ls="none", marker="o", ms=4)
        axes.set_xlabel("layer (0: the inputs)")
        axes.set_ylabel("correlation of two inputs")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def phase_diagrams(frame: pd.DataFrame, edges: pd.DataFrame) -> Figure:
    """Draw phase diagrams, one panel an activation: gradient growth a layer over both variances.

    Parameters
    ----------
    frame
        Columns ``activation``, ``sigma_w2``, ``sigma_b2`` and ``chi`` on a grid, NaN where the
        variance grows without bound.
    edges
        Columns ``activation``, ``sigma_w2``, ``sigma_b2`` and ``stable``: the points at which chi_1
        is 1, and whether the fixed point is one that layers lead to.

    >>> weight, bias = (grid.ravel() for grid in np.meshgrid([0.5, 1.0, 3.0], [0.1, 0.5]))
    >>> frame = pd.DataFrame({"sigma_w2": weight, "sigma_b2": bias, "chi": weight / 2})
    >>> edges = pd.DataFrame({"sigma_w2": [2.0], "sigma_b2": [0.1], "stable": [True]})
    >>> figure = phase_diagrams(frame.assign(activation="ReLU"), edges.assign(activation="ReLU"))
    >>> figure.axes[0].get_title()
    'ReLU'
    """
    checks.frame("frame", frame, numbers=("sigma_w2", "sigma_b2", "chi"), texts=("activation",))
    checks.frame("edges", edges, ("stable",), numbers=("sigma_w2", "sigma_b2"),
                 texts=("activation",), rows=False)  # fmt: skip
    names = list(frame["activation"].unique())
    for name in names:
        for column in ("sigma_w2", "sigma_b2"):
            require(
                len(frame.loc[frame["activation"] == name, column].unique()) > 1,
                f"the table frame must have several values of {column} for {name}.",
            )
    with styled():
        figure = Figure(figsize=(WIDTH, 3.3))
        panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
        for axes, name in zip(panels, names, strict=True):
            mesh = _phases(
                axes, frame[frame["activation"] == name], edges[edges["activation"] == name]
            )
            axes.set_title(name)
            axes.set_xlabel(r"$\sigma_w^2$")
        panels[0].set_ylabel(r"$\sigma_b^2$")
        bar = figure.colorbar(mesh, ax=panels, label=r"$\ln \chi_1$", shrink=0.9)
        bar.outline.set_edgecolor("none")
    return figure


def _phases(axes: Axes, frame: pd.DataFrame, edge: pd.DataFrame) -> AxesImage:
    """Draw one phase diagram with its edge; return the image, for a color bar."""
    cool = LinearSegmentedColormap.from_list(
        "phases", ["#3b6fb6", "#a9c3df", "#ecebe4", "#e9b48a", "#c25b1e"]
    )
    grid = frame.pivot_table(index="sigma_b2", columns="sigma_w2", values="chi", dropna=False)
    axes.set_facecolor("#c4c4c4")
    # An image: thousands of cells as paths would make the page heavy.
    weight, bias = grid.columns.to_numpy(float), grid.index.to_numpy(float)
    mesh = axes.imshow(
        np.log(grid.to_numpy()),
        cmap=cool,
        vmin=-0.7,
        vmax=0.7,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(*_ends(weight), *_ends(bias)),
    )
    for stable, style in ((True, "-"), (False, ":")):
        part = edge[edge["stable"] == stable]
        dot = "o" if len(part) == 1 else None
        axes.plot(
            part["sigma_w2"],
            part["sigma_b2"],
            color=ON_MAP[1],
            ls=style,
            lw=1.8,
            marker=dot,
            # Half of a dot on the lower edge lies outside, on a page that may be dark.
            markeredgecolor=ON_MAP[0],
            clip_on=dot is None,
        )
    axes.set_xlim(weight[0], weight[-1])
    axes.set_ylim(bias[0], bias[-1])
    axes.grid(False)
    return mesh


def phase_and_path(
    diagram: pd.DataFrame,
    edge: pd.DataFrame,
    path: pd.DataFrame,
    *,
    at: tuple[float, float],
    end: float,
    limits: dict[str, float],
    networks: pd.DataFrame | None = None,
) -> Figure:
    """Draw a phase diagram with a point, and the correlation of two inputs by layer there.

    Parameters
    ----------
    diagram, edge
        As `frame` and `edges` of :func:`phase_diagrams`, of one activation.
    path
        Columns ``layer`` and ``correlation``, by theory.
    at
        Variance of the weights and of the biases.
    end
        The correlation that theory leads to; NaN for none.
    limits
        Depths to mark, by name; those beyond the path are left out.
    networks
        Columns ``network``, ``layer`` and ``correlation``.
    """
    if networks is not None:
        checks.frame("networks", networks, numbers=("network", "layer", "correlation"))
    with styled():
        figure = Figure(figsize=(WIDTH, 3.7))
        left, right = figure.subplots(1, 2)
        _phases(left, diagram, edge)
        left.set(xlim=(0, 4), ylim=(0, 1))
        left.set(xlabel=r"weight variance $\sigma_w^2$", ylabel=r"bias variance $\sigma_b^2$")
        for size, color in ((11, ON_MAP[1]), (8.5, COLORS[4])):
            ring = {"marker": "o", "mfc": "none", "mew": 2.4, "ls": "none", "zorder": 5}
            left.plot(*at, ms=size, mec=color, clip_on=False, **ring)
        left.set_title("ordered (blue), chaotic (orange)")
        if networks is not None:
            for k, (_, one) in enumerate(networks.groupby("network")):
                label = None if k else "random networks"
                right.plot(one["layer"], one["correlation"], color=COLORS[2], lw=0.9, label=label)
        right.plot(path["layer"], path["correlation"], color=COLORS[0], lw=2.2, label="theory")
        if np.isfinite(end):
            right.axhline(end, color=COLORS[1], ls="--", lw=1.4, label="where theory leads, c*")
        last = path["layer"].iloc[-1]
        for name, depth in limits.items():
            if depth <= last:
                right.axvline(depth, color=COLORS[3], ls=":", lw=1.5)
                right.text(depth, 1.06, name, color=INK, ha="center", va="bottom", fontsize=9)
        right.set(xlabel="layer (0: the inputs)", ylabel="correlation of two inputs")
        right.set(xlim=(0, last), ylim=(-0.5, 1.05))
        figure.legend(loc="outside upper center", ncols=3)
    return figure


def _ends(centers: np.ndarray) -> tuple[float, float]:
    """Return the outer edges of evenly spaced cells round `centers`."""
    half = (centers[1] - centers[0]) / 2
    return float(centers[0] - half), float(centers[-1] + half)


def depth_scales(frame: pd.DataFrame) -> Figure:
    """Draw depth scales against the weight variance.

    Parameters
    ----------
    frame
        Columns ``label``, ``sigma_w2`` and ``depth_scale``, in layers, as
        :func:`initscope.theory.depth_scale` returns it.

    >>> frame = pd.DataFrame({"label": "tanh", "sigma_w2": [0.5, 1.0], "depth_scale": [1.4, 50.0]})
    >>> depth_scales(frame).axes[0].get_ylabel()
    'depth scale, layers'
    """
    checks.frame("frame", frame, numbers=("sigma_w2", "depth_scale"), texts=("label",))
    with styled():
        figure = Figure(figsize=(WIDTH, 3.3))
        axes = figure.subplots()
        for color, (label, rows) in zip(
            palette(frame["label"].nunique()),
            frame.groupby("label", sort=False),
            strict=True,
        ):
            axes.plot(rows["sigma_w2"], rows["depth_scale"], color=color, label=label)
        axes.set_yscale("log")
        axes.set_xlabel(r"weight variance $\sigma_w^2$")
        axes.set_ylabel("depth scale, layers")
        axes.legend(loc="upper right")
    return figure


def trainability_map(table: pd.DataFrame, limits: pd.DataFrame) -> Figure:
    """Draw training accuracy over weight variance and depth, predicted depth limits as lines.

    Parameters
    ----------
    table
        Columns ``sigma_w2``, ``depth`` and ``accuracy``, one row a run; the median is shown.
    limits
        Columns ``label``, ``sigma_w2`` and ``depth``.

    >>> table = pd.DataFrame({"sigma_w2": [0.5, 2.0] * 2, "depth": [4, 4, 8, 8], "accuracy": 0.5})
    >>> limits = pd.DataFrame({"label": "6 depth scales", "sigma_w2": [0.5, 2.0], "depth": [4, 8]})
    >>> trainability_map(table, limits).axes[0].get_ylabel()
    'weight layers'
    """
    checks.frame("table", table, numbers=("sigma_w2", "depth", "accuracy"))
    checks.frame("limits", limits, numbers=("sigma_w2", "depth"), texts=("label",), rows=False)
    require(
        bool((table[["sigma_w2", "depth"]] > 0).all(axis=None)) and table["accuracy"].notna().any(),
        "the table must have sigma_w2 and depth above 0, and an accuracy.",
    )
    with styled():
        figure = Figure(figsize=(WIDTH, 3.9))
        axes = figure.subplots()
        grid = median_grid(table, "depth", "sigma_w2", "accuracy")
        mesh = axes.pcolormesh(
            cell_edges(grid.columns.to_numpy(float)),
            cell_edges(grid.index.to_numpy(float)),
            grid.to_numpy(),
            cmap=COLOR_MAP,
            vmin=0,
            vmax=1,
        )
        mesh.set_edgecolor("face")
        box = axes.axis()
        styles = itertools.cycle(("-", "--", ":", "-."))
        key = []
        for style, (label, rows) in zip(styles, limits.groupby("label", sort=False), strict=False):
            axes.plot(rows["sigma_w2"], rows["depth"], color=ON_MAP[0], lw=3.4, alpha=0.6)
            axes.plot(rows["sigma_w2"], rows["depth"], color=ON_MAP[1], lw=1.5, ls=style)
            key.append(Line2D([], [], color=INK, lw=1.5, ls=style, label=label))
        axes.axis(box)
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis, values in ((axes.xaxis, grid.columns), (axes.yaxis, grid.index)):
            axis.set_major_locator(mpl.ticker.FixedLocator([float(v) for v in values]))
            axis.set_major_formatter(mpl.ticker.FuncFormatter(lambda v, _: f"{v:g}"))
            axis.set_minor_locator(mpl.ticker.NullLocator())
        axes.grid(False)
        axes.set_xlabel(r"weight variance $\sigma_w^2$")
        axes.set_ylabel("weight layers")
        figure.legend(handles=key, loc="outside upper center", ncols=3)
        bar = figure.colorbar(mesh, ax=axes, label="median test accuracy", shrink=0.9)
        bar.outline.set_edgecolor("none")
    return figure
