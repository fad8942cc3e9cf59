"""The figures of the book, one function a figure; each takes a table and returns the figure.

Colors and backgrounds are chosen to read on a light and on a dark page.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from initscope.claims import PAPER_BAND
from initscope.errors import require
from initscope.sweep import to_tidy

INK = "#7a7a7a"
"""Text, ticks and axes: contrast of at least 4:1 on a white and on a dark page."""

COLORS = ("#3f83c9", "#d9772b", "#2f9e73", "#b065c0", "#cc4f5c", "#8a8f2a")
"""Categories, in this order."""

PAPER_COLOR = "#c9a227"
"""The band that the paper states."""

_MAP = LinearSegmentedColormap.from_list(
    "initscope", ["#4a2f7a", "#3b6fb6", "#2fa3a0", "#7cc36a", "#f2d648"]
)

STYLE: dict[str, Any] = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "savefig.bbox": "tight",
    "figure.constrained_layout.use": True,
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.labelsize": 10.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "legend.title_fontsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.22,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.7,
    "axes.prop_cycle": cycler(color=COLORS),
    # The same figure gives the same file: no random ids in the SVG.
    "svg.hashsalt": "initscope",
}

WIDTH = 7.6
"""Width of a figure in inches: the text column of the book."""


def use_in_notebook() -> None:
    """Show figures as SVG, in the book's style, the same file for the same figure."""
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    mpl.rcParams.update(STYLE)  # type: ignore[arg-type]
    set_matplotlib_formats("svg", metadata={"Date": None})


@contextlib.contextmanager
def _style() -> Iterator[None]:
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        yield


def critical_std(widths: Sequence[int]) -> float:
    r"""Std, the same in all layers, that leaves the variance of a ReLU network unchanged.

    Layer l multiplies it by :math:`n_l \sigma^2 / 2` (He et al. 2015, eq. 9), n_l its fan-in; the
    product is 1 at :math:`\sigma = \sqrt{2 / n}` with n the geometric mean of the fan-ins.
    """
    return float(np.sqrt(2.0) * np.exp(-0.5 * np.mean(np.log(widths[:-1]))))


def widths_of(name: str) -> list[int]:
    """Layer widths from the column ``widths`` of a sweep: ``"784-256-128-10"``."""
    return [int(width) for width in name.split("-")]


def _colors(n: int) -> list[Any]:
    """Colors of `n` categories: :data:`COLORS`, or where these are too few, a ramp."""
    return list(COLORS[:n]) if n <= len(COLORS) else list(_MAP(np.linspace(0, 1, n)))


def _with_std(table: pd.DataFrame) -> pd.DataFrame:
    """Runs that have a place on a log axis of stds; raises `UsageError` if there are none."""
    runs = table[table["std"] > 0]
    require(len(runs) > 0, "the table has no runs with a std above 0: there is nothing to draw.")
    return runs


def _trainings(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Title and runs of each optimizer with each of its learning rates, in the table's order."""
    groups = table.groupby(["optimizer", "learning_rate"], sort=False)
    return [(f"{_optimizer(name)}, rate {_rate(rate)}", runs) for (name, rate), runs in groups]


def _rate(rate: float) -> str:
    return f"{rate:g}"


def _optimizer(name: str) -> str:
    return {"sgd": "SGD", "adam": "Adam"}.get(name, name)


def _std_axis(axes: Axes, *, paper: bool = True, label: bool = True) -> None:
    axes.set_xscale("log")
    if paper:
        axes.axvspan(*PAPER_BAND, color=PAPER_COLOR, alpha=0.16, lw=0, zorder=0)
    if label:
        axes.set_xlabel("initial std of the weights")


def _quantiles(
    group: pd.DataFrame, column: str, by: str = "std"
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sorted values of `by`, with median, 10th and 90th percentile of `column` over the seeds."""
    groups = group.groupby(by)[column]
    low, median, high = (groups.quantile(q) for q in (0.1, 0.5, 0.9))
    return median.index.to_numpy(), median.to_numpy(), low.to_numpy(), high.to_numpy()


def accuracy_against_std(table: pd.DataFrame) -> Figure:
    """Final test accuracy and training loss against the std, one column an optimizer.

    Median over seeds, shaded from the 10th to the 90th percentile. Runs that diverged have no
    loss; their accuracy is 0.
    """
    table = _with_std(table)
    optimizers = list(table["optimizer"].unique())
    with _style():
        figure = Figure(figsize=(WIDTH, 5.4))
        panels = figure.subplots(2, len(optimizers), sharex=True, sharey="row", squeeze=False)
        critical = critical_std(widths_of(table["widths"].iloc[0]))
        for (row, (column, name)), (k, optimizer) in itertools.product(
            enumerate((("test_accuracy", "test accuracy"), ("train_loss", "training loss"))),
            enumerate(optimizers),
        ):
            axes = panels[row, k]
            of_optimizer = table[table["optimizer"] == optimizer]
            colors = _colors(of_optimizer["learning_rate"].nunique())
            for color, (rate, group) in zip(
                colors, of_optimizer.groupby("learning_rate"), strict=True
            ):
                finite = group[np.isfinite(group[column])]
                stds, median, low, high = _quantiles(finite, column)
                axes.plot(stds, median, color=color, marker=".", ms=4, label=_rate(rate))
                axes.fill_between(stds, low, high, color=color, alpha=0.22, lw=0)
            _std_axis(axes, label=row == 1)
            axes.axvline(critical, color=INK, ls="--", lw=1.1)
            if row == 0:
                axes.set_title(_optimizer(optimizer))
                axes.set_ylim(-0.03, 1.03)
            else:
                axes.set_yscale("log")
                axes.legend(title="learning rate", loc="upper left")
            if k == 0:
                axes.set_ylabel(name)
        # A loss of 0 in float32 would stretch the axis over decades that nobody reads.
        panels[1, 0].set_ylim(bottom=max(panels[1, 0].get_ylim()[0], 1e-5))
        _band_legend(figure)
    return figure


def _band_legend(figure: Figure) -> None:
    handles = [
        Patch(color=PAPER_COLOR, alpha=0.35, lw=0, label="the paper's band"),
        Line2D([], [], color=INK, ls="--", lw=1.1, label=r"$\sqrt{2/n}$, n the mean fan-in"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)


def _at_probe(tidy: pd.DataFrame, stat: str, step: int) -> pd.DataFrame:
    return tidy[(tidy["stat"] == stat) & (tidy["step"] == step)]


def nearest(values: pd.Series, wanted: Sequence[float]) -> list[float]:
    """The values of a grid of stds nearest, on a log axis, to those wanted; each once."""
    grid = np.sort(values.unique())
    return list(dict.fromkeys(float(grid[np.abs(np.log(grid / w)).argmin()]) for w in wanted))


def variance_through_layers(table: pd.DataFrame, stds: Sequence[float]) -> Figure:
    """Forward and backward variance at initialization, layer by layer, for a few stds.

    `table` holds one architecture. Every seed is a line; a line ends where float32 holds nothing
    but zeros or is no longer finite. Variances at initialization do not depend on the optimizer
    and its learning rate: the first is shown.
    """
    training = ["optimizer", "learning_rate", "momentum"]
    table = _with_std(table)
    first = table[(table[training] == table[training].iloc[0]).all(axis=1)]
    chosen = nearest(first["std"], stds)
    tidy = to_tidy(first[first["std"].isin(chosen)])
    with _style():
        figure = Figure(figsize=(WIDTH, 3.5))
        panels = figure.subplots(1, 2, sharex=True)
        for axes, (stat, title) in zip(
            panels,
            (
                ("forward_variance", "activations, from input to output"),
                ("backward_variance", "gradients, from output to input"),
            ),
            strict=True,
        ):
            at_start = _at_probe(tidy, stat, 0)
            for color, std in zip(_colors(len(chosen)), chosen, strict=True):
                for seed, group in at_start[at_start["std"] == std].groupby("seed"):
                    values = group["value"].where(
                        (group["value"] > 0) & np.isfinite(group["value"])
                    )
                    label = f"{std:.2g}" if seed == at_start["seed"].min() else None
                    axes.plot(
                        group["layer"], values, color=color, marker=".", ms=4, lw=1, label=label
                    )
            axes.set_yscale("log")
            axes.set_xlabel("weight layer")
            axes.set_title(title)
            axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
        panels[0].set_ylabel("variance per element")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, title="std", loc="outside right center")
        figure.legends[0].get_title().set_color(INK)
    return figure


def loss_curves(table: pd.DataFrame, stds: Sequence[float]) -> Figure:
    """Training loss over updates for a few stds, one column an optimizer and learning rate.

    Median and range over the seeds, for as long as most of them have a finite loss.
    """
    table = _with_std(table)
    chosen = nearest(table["std"], stds)
    trainings = _trainings(table)
    with _style():
        figure = Figure(figsize=(WIDTH, 3.4))
        panels = figure.subplots(1, len(trainings), sharey=True, squeeze=False)
        for axes, (title, runs) in zip(panels[0], trainings, strict=True):
            for color, std in zip(_colors(len(chosen)), chosen, strict=True):
                group = runs[runs["std"] == std]
                steps = group["loss_step"].iloc[0]
                losses = np.stack(group["loss"].to_list()).astype(float)
                losses[~np.isfinite(losses)] = np.nan
                alive = np.isfinite(losses).mean(0) > 0.5
                if alive.any():
                    median = np.nanmedian(losses[:, alive], 0)
                    axes.plot(steps[alive], median, color=color, label=f"{std:.2g}")
                    axes.fill_between(
                        steps[alive],
                        np.nanmin(losses[:, alive], 0),
                        np.nanmax(losses[:, alive], 0),
                        color=color,
                        alpha=0.2,
                        lw=0,
                    )
                else:
                    axes.plot([], [], color=color, label=f"{std:.2g} (diverged)")
            axes.set_yscale("log")
            axes.set_title(title)
            axes.set_xlabel("update")
            axes.legend(title="std")
            axes.get_legend().get_title().set_color(INK)
        panels[0, 0].set_ylabel("training loss")
    return figure


def accuracy_map(table: pd.DataFrame, by: str = "depth") -> Figure:
    """Median test accuracy over std and depth, or std and hidden width.

    One panel an optimizer and learning rate. The black line is the std that leaves the variance
    unchanged, the dotted ones the paper's band. `by` is ``"depth"`` or ``"width"``.
    """
    table = _with_std(table)
    table = table.assign(width=[widths_of(name)[1] for name in table["widths"]])
    trainings = _trainings(table)
    labels = {"depth": "weight layers", "width": "hidden width"}
    with _style():
        figure = Figure(figsize=(WIDTH, 3.5))
        panels = figure.subplots(1, len(trainings), sharey=True, squeeze=False)
        for axes, (title, group) in zip(panels[0], trainings, strict=True):
            grid = group.pivot_table(
                index=by, columns="std", values="test_accuracy", aggfunc="median"
            )
            rows = np.arange(len(grid) + 1) - 0.5
            mesh = axes.pcolormesh(
                _edges(grid.columns.to_numpy(float)),
                rows,
                grid.to_numpy(),
                cmap=_MAP,
                vmin=0,
                vmax=1,
            )
            mesh.set_edgecolor("face")
            critical = group.groupby(by)["widths"].first().map(lambda n: critical_std(widths_of(n)))
            for row, std in enumerate(critical):
                axes.plot([std, std], [row - 0.5, row + 0.5], color="white", lw=3.2)
                axes.plot([std, std], [row - 0.5, row + 0.5], color="black", lw=1.4)
            for edge in PAPER_BAND:
                axes.axvline(edge, color="white", ls=":", lw=1.6)
            axes.set_xscale("log")
            axes.grid(False)
            axes.set_yticks(np.arange(len(grid)), [str(value) for value in grid.index])
            axes.set_title(title)
            axes.set_xlabel("initial std of the weights")
        panels[0, 0].set_ylabel(labels[by])
        bar = figure.colorbar(mesh, ax=panels, label="median test accuracy", shrink=0.9)
        bar.outline.set_edgecolor("none")
    return figure


def _edges(centers: np.ndarray) -> np.ndarray:
    """Edges of cells round `centers`, which are evenly spaced on a log axis."""
    logs = np.log(centers)
    middle = (logs[1:] + logs[:-1]) / 2
    half = (logs[1] - logs[0]) / 2 if len(logs) > 1 else 0.1
    return np.exp([logs[0] - half, *middle, logs[-1] + half])


def divergence(table: pd.DataFrame) -> Figure:
    """Share of runs that diverge, and the step at which they do, against the std."""
    table = _with_std(table)
    with _style():
        figure = Figure(figsize=(WIDTH, 4.6))
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.5))
        trainings = _trainings(table)
        for color, (label, group) in zip(_colors(len(trainings)), trainings, strict=True):
            share = group["diverged_step"].notna().groupby(group["std"]).mean()
            above.plot(share.index, share, color=color, marker=".", ms=4, label=label)
            runs = group[group["diverged_step"].notna()]
            # A step of 0 has no place on a log axis: one is added, and the label says so.
            below.plot(
                runs["std"],
                runs["diverged_step"].astype(float) + 1,
                color=color,
                ls="none",
                marker="o",
                ms=3.5,
                alpha=0.75,
            )
        above.set_ylabel("share diverged")
        above.set_ylim(-0.05, 1.05)
        _std_axis(above, label=False)
        _std_axis(below)
        below.set_yscale("log")
        # To the last update: the axis is there also where nothing diverges.
        below.set_ylim(0.7, 1.5 * (table["loss_step"].map(max).max() + 1))
        below.set_ylabel("updates until divergence + 1")
        figure.legend(*above.get_legend_handles_labels(), loc="outside right center")
    return figure


def bands(frame: pd.DataFrame) -> Figure:
    """Measured stability band of each configuration as a bar, the paper's band behind them.

    `frame` is the result of :func:`initscope.claims.stability_bands`. An arrow marks a band that
    reaches the end of the grid, a cross a configuration in which nothing trains, a dot the best
    std, a dash ``sqrt(2/n)``.
    """
    with _style():
        figure = Figure(figsize=(WIDTH, 0.245 * len(frame) + 1.2))
        axes = figure.subplots()
        labels = []
        optimizers = frame["optimizer"].unique()
        colors = dict(zip(optimizers, _colors(len(optimizers)), strict=True))
        for row, band in enumerate(frame.itertuples()):
            labels.append(
                f"{band.dataset} {short_widths(band.widths)}, {_optimizer(band.optimizer)} "
                f"{_rate(band.learning_rate)}"
            )
            color = colors[band.optimizer]
            if np.isfinite(band.low):
                axes.plot(
                    [band.low, band.high], [row, row], color=color, lw=6, solid_capstyle="butt"
                )
                if band.low == band.high:
                    axes.plot(band.low, row, color=color, marker="s", ms=6)
                for is_open, edge, marker in (
                    (band.open_low, band.low, "<"),
                    (band.open_high, band.high, ">"),
                ):
                    if is_open:
                        axes.plot(edge, row, color=color, marker=marker, ms=8)
                # With a rim, so that it is seen where it stands beside its bar on a white page.
                axes.plot(
                    band.best_std,
                    row,
                    color="white",
                    mec=color,
                    mew=1.2,
                    marker="o",
                    ms=5,
                    zorder=4,
                )
            else:
                axes.plot(band.best_std, row, color=color, marker="x", ms=6)
            axes.plot(
                critical_std(widths_of(band.widths)), row, color=INK, marker="|", ms=11, mew=1.6
            )
        _std_axis(axes)
        axes.set_yticks(range(len(labels)), labels, fontsize=8)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        handles = [
            *(Line2D([], [], color=c, lw=6, label=_optimizer(n)) for n, c in colors.items()),
            Patch(color=PAPER_COLOR, alpha=0.35, lw=0, label="the paper's band"),
            Line2D([], [], color=INK, marker="|", ms=11, mew=1.6, ls="none", label=r"$\sqrt{2/n}$"),
            Line2D([], [], color="white", mec=INK, marker="o", ms=5, ls="none", label="best std"),
            Line2D([], [], color=INK, marker="x", ls="none", label="nothing trains"),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=6)
    return figure


def short_widths(widths: str) -> str:
    """Widths with equal hidden layers counted: ``784-128×6-10``."""
    sizes = widths.split("-")
    runs = [(size, len(list(same))) for size, same in itertools.groupby(sizes[1:-1])]
    hidden = [f"{size}×{count}" if count > 1 else size for size, count in runs]
    return "-".join([sizes[0], *hidden, sizes[-1]])


def variance_through_training(table: pd.DataFrame, stds: Sequence[float]) -> Figure:
    """Forward variance and weight std of each layer over training, one column a std.

    `table` holds one architecture, optimizer and learning rate. Median over the seeds.
    """
    table = _with_std(table)
    chosen = nearest(table["std"], stds)
    tidy = to_tidy(table[table["std"].isin(chosen)])
    with _style():
        figure = Figure(figsize=(WIDTH, 4.6))
        panels = figure.subplots(2, len(chosen), sharex=True, sharey="row", squeeze=False)
        stats = (("forward_variance", "forward variance"), ("std", "weight std"))
        for (row, (stat, name)), (k, std) in itertools.product(enumerate(stats), enumerate(chosen)):
            axes = panels[row, k]
            group = tidy[(tidy["stat"] == stat) & (tidy["std"] == std)]
            colors = _colors(group["layer"].nunique())
            for color, (layer, values) in zip(colors, group.groupby("layer"), strict=True):
                median = values.groupby("step")["value"].median()
                median = median.where(np.isfinite(median) & (median > 0))
                axes.plot(
                    median.index, median, color=color, marker=".", ms=4, label=f"layer {layer}"
                )
            axes.set_xscale("symlog", linthresh=1, linscale=0.4)
            axes.set_yscale("log")
            if row == 0:
                axes.set_title(f"std {std:.2g}")
            else:
                axes.set_xlabel("update")
            if k == 0:
                axes.set_ylabel(name)
        figure.legend(
            *panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=6
        )
    return figure


def source_note(chapter: str, profile: str, *files: str | Path) -> Any:
    """The way from a figure to its data and to the command that makes it, as Markdown output."""
    from IPython.display import Markdown

    links = ", ".join(f"[{Path(f).name}]({Path(f).as_posix()})" for f in files)
    command = f"python -m initscope reproduce {chapter} --profile {profile}"
    return Markdown(f"*Data:* {links}. *Made by:* `{command}`")


# --- Chapters 01 and 02: theory against random networks -----------------------------------------


def theory_against_networks(
    tables: Mapping[str, pd.DataFrame],
) -> Figure:
    """Variance layer by layer: theory, random networks and the finite-width band on one axis.

    `tables` holds results of :func:`initscope.monte_carlo.compare` under their labels. Lines are
    the theory at infinite width, shades the finite-width band, dots the mean over networks, and
    bars reach from the 2.5th to the 97.5th percentile of the networks.
    """
    panels = (
        ("forward", "pre-activations, from input to output"),
        ("backward", "gradients, from output to input"),
    )
    with _style():
        figure = Figure(figsize=(WIDTH, 4.0))
        both = figure.subplots(1, 2, sharex=True)
        for axes, (direction, name) in zip(both, panels, strict=True):
            colors = _colors(len(tables))
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
    """Stds that a number format can hold, against the depth: theory as lines, networks as dots.

    Both tables have columns ``format``, ``depth``, ``low`` and ``high``; `measured` one row a
    network. `critical` is the std that keeps the variance, drawn dashed.
    """
    with _style():
        figure = Figure(figsize=(WIDTH, 3.9))
        axes = figure.subplots()
        markers = {"float32": "o", "bfloat16": "x", "float16": "s"}
        for color, (name, rows) in zip(
            _colors(theory["format"].nunique()), theory.groupby("format", sort=False), strict=True
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
                axes.fill_between(rows["depth"], rows["low"], rows["high"], color=color, alpha=0.15)
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


def maps(
    length: pd.DataFrame, correlation: pd.DataFrame, fixed_points: pd.DataFrame | None = None
) -> Figure:
    """Length maps (left) and correlation maps (right), with the diagonal.

    `length` has columns ``label``, ``q``, ``image``; `correlation` ``label``, ``c``, ``image``;
    `fixed_points` ``label``, ``q``, ``c``, drawn as dots. Labels share colors.
    """
    with _style():
        figure = Figure(figsize=(WIDTH, 3.7))
        left, right = figure.subplots(1, 2)
        labels = length["label"].unique()
        colors = dict(zip(labels, _colors(len(labels)), strict=True))
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
    """Correlation of two inputs against the layer: iterated map as lines, networks as dots.

    `theory` has columns ``label``, ``layer``, ``correlation``; `networks` ``label``, ``layer``,
    ``mean``, ``low`` and ``high`` (bars). Labels of one color, in order of appearance.
    """
    with _style():
        figure = Figure(figsize=(WIDTH, 3.7))
        axes = figure.subplots()
        for color, (label, rows) in zip(
            _colors(theory["label"].nunique()), theory.groupby("label", sort=False), strict=True
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
    """Phase diagrams, one panel an activation: gradient growth a layer over both variances.

    `frame` has columns ``activation``, ``sigma_w2``, ``sigma_b2`` and ``chi`` on a grid, NaN
    where the variance grows without bound; `edges` ``activation``, ``sigma_w2``, ``sigma_b2`` and
    ``stable``: the points at which chi_1 is 1, and whether the fixed point is one that layers
    lead to.
    """
    names = list(frame["activation"].unique())
    cool = LinearSegmentedColormap.from_list(
        "phases", ["#3b6fb6", "#a9c3df", "#ecebe4", "#e9b48a", "#c25b1e"]
    )
    with _style():
        figure = Figure(figsize=(WIDTH, 3.3))
        panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
        for axes, name in zip(panels, names, strict=True):
            grid = frame[frame["activation"] == name].pivot_table(
                index="sigma_b2", columns="sigma_w2", values="chi", dropna=False
            )
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
            edge = edges[edges["activation"] == name]
            for stable, style in ((True, "-"), (False, ":")):
                part = edge[edge["stable"] == stable]
                dot = "o" if len(part) == 1 else None
                axes.plot(
                    part["sigma_w2"],
                    part["sigma_b2"],
                    color="#222222",
                    ls=style,
                    lw=1.8,
                    marker=dot,
                    # Half of a dot on the lower edge lies outside, on a page that may be dark.
                    markeredgecolor="white",
                    clip_on=dot is None,
                )
            axes.set_xlim(weight[0], weight[-1])
            axes.set_ylim(bias[0], bias[-1])
            axes.grid(False)
            axes.set_title(name)
            axes.set_xlabel(r"$\sigma_w^2$")
        panels[0].set_ylabel(r"$\sigma_b^2$")
        bar = figure.colorbar(mesh, ax=panels, label=r"$\ln \chi_1$", shrink=0.9)
        bar.outline.set_edgecolor("none")
    return figure


def _ends(centers: np.ndarray) -> tuple[float, float]:
    """Outer edges of evenly spaced cells round `centers`."""
    half = (centers[1] - centers[0]) / 2
    return float(centers[0] - half), float(centers[-1] + half)


def depth_scales(frame: pd.DataFrame) -> Figure:
    """Depth scales against the weight variance.

    `frame` has columns ``label``, ``sigma_w2`` and ``depth_scale``.
    """
    with _style():
        figure = Figure(figsize=(WIDTH, 3.3))
        axes = figure.subplots()
        for color, (label, rows) in zip(
            _colors(frame["label"].nunique()), frame.groupby("label", sort=False), strict=True
        ):
            axes.plot(rows["sigma_w2"], rows["depth_scale"], color=color, label=label)
        axes.set_yscale("log")
        axes.set_xlabel(r"weight variance $\sigma_w^2$")
        axes.set_ylabel("depth scale, layers")
        axes.legend(loc="upper right")
    return figure


def trainability_map(table: pd.DataFrame, limits: pd.DataFrame) -> Figure:
    """Training accuracy over weight variance and depth, with predicted depth limits as lines.

    `table` has columns ``sigma_w2``, ``depth`` and ``accuracy``, one row a run; the median is
    shown. `limits` has columns ``label``, ``sigma_w2`` and ``depth``.
    """
    with _style():
        figure = Figure(figsize=(WIDTH, 3.9))
        axes = figure.subplots()
        grid = table.pivot_table(
            index="depth", columns="sigma_w2", values="accuracy", aggfunc="median"
        )
        mesh = axes.pcolormesh(
            _edges(grid.columns.to_numpy(float)),
            _edges(grid.index.to_numpy(float)),
            grid.to_numpy(),
            cmap=_MAP,
            vmin=0,
            vmax=1,
        )
        mesh.set_edgecolor("face")
        box = axes.axis()
        styles = itertools.cycle(("-", "--", ":", "-."))
        key = []
        for style, (label, rows) in zip(styles, limits.groupby("label", sort=False), strict=False):
            axes.plot(rows["sigma_w2"], rows["depth"], color="white", lw=3.4, alpha=0.6)
            axes.plot(rows["sigma_w2"], rows["depth"], color="black", lw=1.5, ls=style)
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


# --- Chapters 03 and 04: finite width, transformers ----------------------------------------


def fan_of_networks(
    profiles: Mapping[int, pd.DataFrame], tables: Mapping[int, pd.DataFrame], shown: int = 40
) -> Figure:
    """Forward and backward variance of many networks of one kind, one row a width.

    `profiles` has width to :func:`initscope.monte_carlo.variance_profiles`, `tables` width to
    :func:`initscope.monte_carlo.compare` with a finite-width band. Thin lines are the first
    `shown` networks; a line ends where a network has died.
    """
    titles = {"forward": "activations, forward", "backward": "gradients, backward"}
    with _style():
        figure = Figure(figsize=(WIDTH, 2.5 * len(tables) + 0.6))
        panels = figure.subplots(len(tables), 2, sharex=True, sharey="row", squeeze=False)
        for (row, (width, table)), (k, direction) in itertools.product(
            enumerate(tables.items()), enumerate(titles)
        ):
            axes = panels[row, k]
            frame = profiles[width]
            frame = frame[(frame["direction"] == direction) & (frame["network"] < shown)]
            lines = frame.pivot_table(index="layer", columns="network", values="value")
            axes.plot(lines.where(lines > 0), color=COLORS[0], lw=0.5, alpha=0.35)
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
            Line2D([], [], color=COLORS[0], lw=0.8, alpha=0.6, label="one network"),
            Line2D([], [], color=COLORS[0], label="median"),
            Line2D([], [], color=COLORS[2], label="mean"),
            Line2D([], [], color=INK, ls="--", label="infinite width"),
            Patch(color=COLORS[1], alpha=0.35, lw=0, label="predicted 95% of networks"),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=5)
    return figure


def log_norm_histograms(
    samples: Mapping[int, np.ndarray], moments: pd.DataFrame, depth: int
) -> Figure:
    """Distribution of ln of the last layer's variance over that of infinite width, by width.

    `samples` has width to one value a living network; `moments` has the columns ``width``,
    ``mean``, ``variance`` (exact) and ``first_mean``, ``first_variance`` (of order 1/n).
    """
    with _style():
        figure = Figure(figsize=(WIDTH, 3.0))
        panels = figure.subplots(1, len(samples), squeeze=False)[0]
        for axes, row in zip(panels, moments.itertuples(), strict=True):
            values = samples[row.width]
            axes.hist(values, bins=40, density=True, color=COLORS[0], alpha=0.45, lw=0)
            x = np.linspace(values.min(), values.max(), 300)
            for mean, variance, color, style in (
                (row.mean, row.variance, COLORS[1], "-"),
                (row.first_mean, row.first_variance, COLORS[2], ":"),
            ):
                density = np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(
                    2 * np.pi * variance
                )
                axes.plot(x, density, color=color, ls=style)
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


def log_spread_by_depth(table: pd.DataFrame) -> Figure:
    """Variance of the log of the forward variance against depth, one color an activation.

    `table` has the columns ``activation``, ``width``, ``layer``, ``measured``, ``error`` (half
    the 95% interval) and ``predicted``; one panel a width.
    """
    with _style():
        figure = Figure(figsize=(WIDTH, 3.1))
        widths = sorted(table["width"].unique())
        panels = figure.subplots(1, len(widths), squeeze=False)[0]
        for axes, width in zip(panels, widths, strict=True):
            of_width = table[table["width"] == width]
            for color, (name, group) in zip(
                COLORS, of_width.groupby("activation", sort=False), strict=False
            ):
                axes.plot(group["layer"], group["predicted"], color=color, label=name)
                axes.errorbar(
                    group["layer"],
                    group["measured"],
                    group["error"],
                    color=color,
                    ls="none",
                    marker="o",
                    ms=3,
                    lw=0.9,
                )
            axes.set_title(f"width {width}")
            axes.set_xlabel("weight layer")
        panels[0].set_ylabel(r"variance of $\ln q_l$")
        panels[0].legend(title="activation")
        panels[0].get_legend().get_title().set_color(INK)
    return figure


def singular_values(spectra: Mapping[tuple[str, str], np.ndarray], floor: float = 1e-4) -> Figure:
    """Histograms of singular values, one column an activation, one row an ensemble of weights.

    `spectra` has (activation, weights) to an array of singular values; those below `floor` are
    counted in the first bin.
    """
    activations = list(dict.fromkeys(activation for activation, _ in spectra))
    ensembles = list(dict.fromkeys(weights for _, weights in spectra))
    largest = max(values.max() for values in spectra.values())
    bins = np.geomspace(floor, 1.3 * largest, 46)
    with _style():
        figure = Figure(figsize=(WIDTH, 4.2))
        panels = figure.subplots(
            len(ensembles), len(activations), sharex=True, sharey=True, squeeze=False
        )
        for (row, weights), (k, activation) in itertools.product(
            enumerate(ensembles), enumerate(activations)
        ):
            axes = panels[row, k]
            values = spectra[activation, weights].ravel()
            axes.hist(
                np.maximum(values, floor * 1.001),
                bins,
                weights=np.full(len(values), 1 / len(values)),
                color=COLORS[row],
                alpha=0.7,
                lw=0,
            )
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
    """Variance of the squared singular values against depth, one panel an ensemble of weights.

    `table` has the columns ``weights``, ``activation``, ``layer``, ``measured``, ``error`` (half
    the 95% interval), ``predicted`` and ``wide`` (of infinite width).
    """
    with _style():
        figure = Figure(figsize=(WIDTH, 3.2))
        ensembles = list(table["weights"].unique())
        panels = figure.subplots(1, len(ensembles), sharex=True, squeeze=False)[0]
        for axes, weights in zip(panels, ensembles, strict=True):
            of_weights = table[table["weights"] == weights]
            for color, (name, group) in zip(
                COLORS, of_weights.groupby("activation", sort=False), strict=False
            ):
                axes.plot(group["layer"], group["predicted"], color=color, label=name)
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


def stream_against_theory(table: pd.DataFrame) -> Figure:
    """Variance of a residual stream by depth, and how far it is from its prediction.

    `table` is indexed by the depth, with the columns ``measured``, ``predicted``,
    ``uncorrelated`` (the prediction without covariance between tokens), ``low`` and ``high`` (the
    finite-width band), and ``reduced`` (the mean ratio to theory of narrow models, times theory).
    """
    with _style():
        figure = Figure(figsize=(WIDTH, 3.4))
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
        left.fill_between(
            table.index, table["low"], table["high"], color=COLORS[1], alpha=0.25, lw=0
        )
        left.plot(table["predicted"], color=COLORS[1], label="theory, with finite-width band")
        left.plot(table["uncorrelated"], color=COLORS[2], ls=":", label="theory, tokens unrelated")
        left.plot(table["measured"], color=COLORS[0], ls="none", marker="o", ms=4, label="measured")
        left.set_ylabel("variance of the residual stream")
        left.legend(loc="upper left")
        right.fill_between(
            table.index,
            100 * (table["low"] / table["predicted"] - 1),
            100 * (table["high"] / table["predicted"] - 1),
            color=COLORS[1],
            alpha=0.25,
            lw=0,
        )
        right.axhline(0, color=COLORS[1])
        for column, color, style in (
            ("measured", COLORS[0], {"marker": "o", "ls": "none", "ms": 4}),
            ("uncorrelated", COLORS[2], {"ls": ":"}),
            ("reduced", COLORS[3], {"ls": "--", "lw": 1.2}),
        ):
            values = 100 * (table[column] / table["predicted"] - 1)
            label = "narrow models, mean" if column == "reduced" else None
            right.plot(values, color=color, label=label, **style)
        right.set_ylabel("difference from theory, %")
        right.legend(loc="lower left")
        for axes in (left, right):
            axes.set_xlabel("block")
            axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    return figure


def block_quantities(measured: pd.DataFrame, predicted: Mapping[str, Sequence[float]]) -> Figure:
    """What each block of a transformer computes: dots measured, lines predicted.

    `measured` has the columns ``depth``, ``quantity``, ``value`` of
    :func:`initscope.residual_stream.stream_profile`; `predicted` has quantity to one value a
    block.
    """
    groups = (
        ("query, key, value", ("query", "key", "value")),
        ("attention logits", ("logit",)),
        ("added to the stream", ("attention", "mlp")),
    )
    with _style():
        figure = Figure(figsize=(WIDTH, 3.0))
        for axes, (title, names) in zip(figure.subplots(1, 3), groups, strict=True):
            for color, name in zip(COLORS, names, strict=False):
                of_name = measured[measured["quantity"] == name]
                line = np.asarray(predicted[name])
                axes.plot(range(1, len(line) + 1), line, color=color, lw=1.3)
                axes.plot(
                    of_name["depth"],
                    of_name["value"],
                    color=color,
                    ls="none",
                    marker="o",
                    ms=4,
                    label=name,
                )
            axes.set_ylim(0, 1.08 * axes.dataLim.ymax)
            axes.set_title(title)
            axes.set_xlabel("block")
            axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
            if len(names) > 1:
                axes.legend(loc="lower right")
        figure.axes[0].set_ylabel("mean square")
    return figure


def depth_of_stream(table: pd.DataFrame, lines: pd.DataFrame) -> Figure:
    """Variance of the stream after the last block against the number of blocks.

    Both have the columns ``blocks`` and ``rule``; `lines` has ``predicted``, `table` has
    ``measured``, one row a model.
    """
    with _style():
        figure = Figure(figsize=(0.62 * WIDTH, 3.3))
        axes = figure.subplots()
        for color, (rule, group) in zip(COLORS, lines.groupby("rule", sort=False), strict=False):
            axes.plot(group["blocks"], group["predicted"], color=color, label=rule)
            of_rule = table[table["rule"] == rule]
            axes.plot(
                of_rule["blocks"], of_rule["measured"], color=color, ls="none", marker="o", ms=3.5
            )
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter(mpl.ticker.ScalarFormatter())
        axes.set_xlabel("blocks")
        axes.set_ylabel("variance after the last block")
        axes.legend()
    return figure


def gradients_along_stream(table: pd.DataFrame) -> Figure:
    """Variance of the gradient along the stream, pre-LN and post-LN, one panel a scale.

    `table` has the columns ``scale``, ``norm``, ``depth``, ``measured``, ``low``, ``high`` (range
    over seeds) and ``predicted``, relative to the gradient after the last block.
    """
    with _style():
        figure = Figure(figsize=(WIDTH, 3.3))
        scales = list(table["scale"].unique())
        panels = figure.subplots(1, len(scales), sharey=True, squeeze=False)[0]
        for axes, scale in zip(panels, scales, strict=True):
            of_scale = table[table["scale"] == scale]
            for color, (name, group) in zip(
                COLORS, of_scale.groupby("norm", sort=False), strict=False
            ):
                axes.plot(group["depth"], group["predicted"], color=color, label=name)
                axes.vlines(group["depth"], group["low"], group["high"], color=color, lw=0.9)
                axes.plot(
                    group["depth"], group["measured"], color=color, ls="none", marker="o", ms=3.5
                )
            axes.set_yscale("log")
            axes.set_title(scale)
            axes.set_xlabel("after block")
            axes.legend()
        panels[0].set_ylabel("gradient variance, last block = 1")
    return figure
