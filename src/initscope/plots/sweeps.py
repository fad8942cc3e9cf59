"""Figures of sweeps of the initial std (chapter 05)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from initscope import checks
from initscope.analysis.stability import PAPER_BAND
from initscope.analysis.sweeps import check_sweep, to_tidy
from initscope.checks import require
from initscope.errors import UsageError, shown
from initscope.plots.style import (
    COLOR_MAP,
    INK,
    ON_MAP,
    PAPER_COLOR,
    WIDTH,
    cell_edges,
    palette,
    styled,
)
from initscope.schema import LAYER_STATISTICS
from initscope.theory import critical_std

__all__ = [
    "accuracy_against_std",
    "accuracy_map",
    "bands",
    "divergence",
    "loss_curves",
    "nearest",
    "short_widths",
    "variance_through_layers",
    "variance_through_training",
    "widths_of",
]


def widths_of(name: str) -> list[int]:
    """Layer widths from the column ``widths`` of a sweep: ``"784-256-128-10"``."""
    checks.text("name", name)
    try:
        return [int(width) for width in name.split("-")]
    except ValueError:
        raise UsageError(
            f"the name of widths is like '784-256-128-10', not {shown(name)}."
        ) from None


def _with_std(table: pd.DataFrame, lists: Sequence[str] = ()) -> pd.DataFrame:
    """Runs that have a place on a log axis of stds; raises `UsageError` if there are none."""
    needed = ["std", "seed", "widths", "depth", "optimizer", "learning_rate"]
    needed += ["momentum", "test_accuracy"]
    check_sweep(table, [*needed, "train_loss", "diverged_step"], lists)
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
    with styled():
        figure = Figure(figsize=(WIDTH, 5.4))
        panels = figure.subplots(2, len(optimizers), sharex=True, sharey="row", squeeze=False)
        critical = critical_std(widths_of(table["widths"].iloc[0]))
        for (row, (column, name)), (k, optimizer) in itertools.product(
            enumerate((("test_accuracy", "test accuracy"), ("train_loss", "training loss"))),
            enumerate(optimizers),
        ):
            axes = panels[row, k]
            of_optimizer = table[table["optimizer"] == optimizer]
            colors = palette(of_optimizer["learning_rate"].nunique())
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
    require(
        isinstance(values, pd.Series) and pd.api.types.is_numeric_dtype(values.dtype),
        f"values must be a Series of numbers, not {shown(values)}.",
    )
    stds = checks.positive("the stds wanted", wanted)
    require(stds.ndim == 1 and stds.size > 0, "the stds wanted must be a list of numbers.")
    grid = np.sort(values.unique())
    require(len(grid) > 0 and grid[0] > 0, "values must be stds above 0, at least one.")
    each = (float(grid[np.abs(np.log(grid / w)).argmin()]) for w in stds.tolist())
    return list(dict.fromkeys(each))


def variance_through_layers(table: pd.DataFrame, stds: Sequence[float]) -> Figure:
    """Forward and backward variance at initialization, layer by layer, for a few stds.

    `table` holds one architecture. Every seed is a line; a line ends where float32 holds nothing
    but zeros or is no longer finite. Variances at initialization do not depend on the optimizer
    and its learning rate: the first is shown.
    """
    training = ["optimizer", "learning_rate", "momentum"]
    table = _with_std(table, LAYER_STATISTICS)
    first = table[(table[training] == table[training].iloc[0]).all(axis=1)]
    chosen = nearest(first["std"], stds)
    tidy = to_tidy(first[first["std"].isin(chosen)])
    with styled():
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
            for color, std in zip(palette(len(chosen)), chosen, strict=True):
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
    table = _with_std(table, ["loss"])
    require(
        len(table["loss_step"].map(len).unique()) == 1,
        "the runs of the table have different loss_step.",
    )
    chosen = nearest(table["std"], stds)
    trainings = _trainings(table)
    with styled():
        figure = Figure(figsize=(WIDTH, 3.4))
        panels = figure.subplots(1, len(trainings), sharey=True, squeeze=False)
        for axes, (title, runs) in zip(panels[0], trainings, strict=True):
            for color, std in zip(palette(len(chosen)), chosen, strict=True):
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
            # Below: wherever in the panel, it would lie on one curve or the other.
            axes.legend(title="std", loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)
            axes.get_legend().get_title().set_color(INK)
        panels[0, 0].set_ylabel("training loss")
    return figure


def accuracy_map(table: pd.DataFrame, by: str = "depth") -> Figure:
    """Median test accuracy over std and depth, or std and hidden width.

    One panel an optimizer and learning rate. The black line is the std that leaves the variance
    unchanged, the dotted ones the paper's band. `by` is ``"depth"`` or ``"width"``.
    """
    checks.choice("by", by, ("depth", "width"))
    table = _with_std(table)
    table = table.assign(width=[widths_of(name)[1] for name in table["widths"]])
    trainings = _trainings(table)
    labels = {"depth": "weight layers", "width": "hidden width"}
    with styled():
        figure = Figure(figsize=(WIDTH, 3.5))
        panels = figure.subplots(1, len(trainings), sharey=True, squeeze=False)
        for axes, (title, group) in zip(panels[0], trainings, strict=True):
            grid = group.pivot_table(
                index=by, columns="std", values="test_accuracy", aggfunc="median"
            )
            rows = np.arange(len(grid) + 1) - 0.5
            mesh = axes.pcolormesh(
                cell_edges(grid.columns.to_numpy(float)),
                rows,
                grid.to_numpy(),
                cmap=COLOR_MAP,
                vmin=0,
                vmax=1,
            )
            mesh.set_edgecolor("face")
            critical = group.groupby(by)["widths"].first().map(lambda n: critical_std(widths_of(n)))
            for row, std in enumerate(critical):
                axes.plot([std, std], [row - 0.5, row + 0.5], color=ON_MAP[0], lw=3.2)
                axes.plot([std, std], [row - 0.5, row + 0.5], color=ON_MAP[1], lw=1.4)
            for edge in PAPER_BAND:
                axes.axvline(edge, color=ON_MAP[1], lw=2.2)
                axes.axvline(edge, color=ON_MAP[0], ls=":", lw=1.6)
            axes.set_xscale("log")
            axes.grid(False)
            axes.set_yticks(np.arange(len(grid)), [str(value) for value in grid.index])
            axes.set_title(title)
            axes.set_xlabel("initial std of the weights")
        panels[0, 0].set_ylabel(labels[by])
        bar = figure.colorbar(mesh, ax=panels, label="median test accuracy", shrink=0.9)
        bar.outline.set_edgecolor("none")
    return figure


def divergence(table: pd.DataFrame) -> Figure:
    """Share of runs that diverge, and the step at which they do, against the std."""
    table = _with_std(table, ["loss"])
    with styled():
        figure = Figure(figsize=(WIDTH, 4.6))
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.5))
        trainings = _trainings(table)
        for color, (label, group) in zip(palette(len(trainings)), trainings, strict=True):
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
                ms=3,
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

    `frame` is the result of :func:`initscope.analysis.stability_bands`. An arrow marks a band that
    reaches the end of the grid, a cross a configuration in which nothing trains, a dot the best
    std, a dash ``sqrt(2/n)``.
    """
    checks.frame(
        "frame",
        frame,
        ("open_low", "open_high"),
        numbers=("learning_rate", "low", "high", "best_std"),
        texts=("dataset", "widths", "optimizer"),
    )
    require(
        bool(frame["widths"].str.fullmatch(r"[1-9][0-9]{0,8}(-[1-9][0-9]{0,8})+").all()),
        "the column widths of the table frame must hold text like '784-256-10'.",
    )
    with styled():
        figure = Figure(figsize=(WIDTH, 0.245 * len(frame) + 1.2))
        axes = figure.subplots()
        labels = []
        optimizers = frame["optimizer"].unique()
        colors = dict(zip(optimizers, palette(len(optimizers)), strict=True))
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
    sizes = checks.text("widths", widths).split("-")
    require(len(sizes) > 1, f"widths are like '784-256-128-10', not {shown(widths)}.")
    runs = [(size, len(list(same))) for size, same in itertools.groupby(sizes[1:-1])]
    hidden = [f"{size}×{count}" if count > 1 else size for size, count in runs]
    return "-".join([sizes[0], *hidden, sizes[-1]])


def variance_through_training(table: pd.DataFrame, stds: Sequence[float]) -> Figure:
    """Forward variance and weight std of each layer over training, one column a std.

    `table` holds one architecture, optimizer and learning rate. Median over the seeds.
    """
    table = _with_std(table, LAYER_STATISTICS)
    chosen = nearest(table["std"], stds)
    tidy = to_tidy(table[table["std"].isin(chosen)])
    with styled():
        figure = Figure(figsize=(WIDTH, 4.6))
        panels = figure.subplots(2, len(chosen), sharex=True, sharey="row", squeeze=False)
        stats = (("forward_variance", "forward variance"), ("std", "weight std"))
        for (row, (stat, name)), (k, std) in itertools.product(enumerate(stats), enumerate(chosen)):
            axes = panels[row, k]
            group = tidy[(tidy["stat"] == stat) & (tidy["std"] == std)]
            colors = palette(group["layer"].nunique())
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
