"""Figures of sweeps of the initial std (chapter 05)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from initscope import checks
from initscope.analysis.seeds import divergence_share, median_grid, over_seeds
from initscope.analysis.stability import PAPER_BAND
from initscope.analysis.sweeps import check_sweep, short_widths, widths_of
from initscope.checks import require
from initscope.plots.style import (
    COLOR_MAP,
    INK,
    ON_MAP,
    PAIR_WIDTH,
    PAPER_COLOR,
    WIDTH,
    WRITTEN,
    cell_edges,
    palette,
    styled,
)
from initscope.theory import critical_std

__all__ = [
    "accuracy_against_std",
    "accuracy_map",
    "bands",
    "divergence",
]


def with_std(table: pd.DataFrame, lists: Sequence[str] = ()) -> pd.DataFrame:
    """Return the runs that have a place on a log axis of stds, or raise `UsageError`."""
    needed = ["std", "seed", "widths", "depth", "optimizer", "learning_rate"]
    needed += ["momentum", "test_accuracy"]
    check_sweep(table, [*needed, "train_loss", "diverged_step"], lists)
    runs = table[table["std"] > 0]
    require(len(runs) > 0, "the table has no runs with a std above 0: there is nothing to draw.")
    return runs


def trainings_of(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return title and runs of each optimizer with each learning rate, in the table's order."""
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


def accuracy_against_std(table: pd.DataFrame) -> Figure:
    """Draw final test accuracy and training loss against the std, one column an optimizer.

    Lines are medians over seeds, shaded from the 10th to the 90th percentile. Runs that diverged
    have no loss; their accuracy is 0.

    Parameters
    ----------
    table
        Result of :func:`initscope.sweep.run_sweep`.

    >>> from initscope.sweep import SweepSpec, run_sweep
    >>> spec = SweepSpec(stds=(0.01, 0.3), seeds=2, epochs=2)
    >>> table = run_sweep(spec, progress=False)
    >>> accuracy_against_std(table).axes[0].get_ylabel()
    'test accuracy'
    """
    table = with_std(table)
    optimizers = list(table["optimizer"].unique())
    with styled():
        figure = Figure(figsize=(PAIR_WIDTH, 5.4))
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
                seeds = over_seeds(group, column)
                axes.plot(seeds["median"], color=color, marker=".", ms=4, label=_rate(rate))
                axes.fill_between(
                    seeds.index, seeds["low"], seeds["high"], color=color, alpha=0.22, lw=0
                )
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


def accuracy_map(table: pd.DataFrame, by: str = "depth") -> Figure:
    """Draw the median test accuracy over std and depth, or std and hidden width.

    One panel an optimizer and learning rate. The black line is the std that leaves the variance
    unchanged (:func:`initscope.theory.critical_std`), the dotted ones the paper's band.

    Parameters
    ----------
    table
        Result of :func:`initscope.sweep.run_sweep`.
    by
        What the vertical axis is: ``"depth"`` or ``"width"``.

    >>> from initscope.sweep import SweepSpec, run_sweep
    >>> spec = SweepSpec(stds=(0.01, 0.3), seeds=2, epochs=2)
    >>> table = run_sweep(spec, progress=False)
    >>> accuracy_map(table).axes[0].get_xlabel()
    'initial std of the weights'
    """
    checks.choice("by", by, ("depth", "width"))
    table = with_std(table)
    table = table.assign(width=[widths_of(name)[1] for name in table["widths"]])
    trainings = trainings_of(table)
    labels = {"depth": "weight layers", "width": "hidden width"}
    with styled():
        figure = Figure(figsize=(WIDTH, 3.5))
        panels = figure.subplots(1, len(trainings), sharey=True, squeeze=False)
        for axes, (title, group) in zip(panels[0], trainings, strict=True):
            grid = median_grid(group, by, "std", "test_accuracy")
            rows = np.arange(len(grid) + 1) - 0.5
            mesh = axes.pcolormesh(
                cell_edges(grid.columns.to_numpy(float)),
                rows,
                grid.to_numpy(),
                cmap=COLOR_MAP,
                vmin=0,
                vmax=1,
                rasterized=True,  # an image is a tenth of as many paths
            )
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
    """Draw the share of runs that diverge, and the step at which they do, against the std.

    Parameters
    ----------
    table
        Result of :func:`initscope.sweep.run_sweep`.

    >>> from initscope.sweep import SweepSpec, run_sweep
    >>> spec = SweepSpec(stds=(0.01, 0.3), seeds=2, epochs=2)
    >>> table = run_sweep(spec, progress=False)
    >>> len(divergence(table).axes)
    2
    """
    table = with_std(table, ["loss"])
    with styled():
        figure = Figure(figsize=(WIDTH, 4.6))
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.5))
        trainings = trainings_of(table)
        for color, (label, group) in zip(palette(len(trainings)), trainings, strict=True):
            above.plot(divergence_share(group), color=color, marker=".", ms=4, label=label)
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
    """Draw the measured stability band of each configuration as a bar, the paper's behind them.

    An arrow marks a band that reaches the end of the grid, a thin line the 95% interval of an edge,
    a cross a configuration in which nothing trains, a dot the best std, a dash ``sqrt(2/n)``.

    Parameters
    ----------
    frame
        Result of :func:`initscope.analysis.stability_bands`.

    >>> from initscope.sweep import SweepSpec, run_sweep
    >>> spec = SweepSpec(stds=(0.01, 0.3), seeds=2, epochs=2)
    >>> table = run_sweep(spec, progress=False)
    >>> from initscope.analysis import stability_bands
    >>> bands(stability_bands(table)).axes[0].get_xlabel()
    'initial std of the weights'
    """
    checks.frame(
        "frame",
        frame,
        ("open_low", "open_high"),
        numbers=(
            *("learning_rate", "low", "high", "best_std"),
            *("low_from", "low_to", "high_from", "high_to"),
        ),
        texts=("dataset", "widths", "optimizer"),
    )
    require(
        bool(frame["widths"].str.fullmatch(r"[1-9][0-9]{0,8}(-[1-9][0-9]{0,8})+").all()),
        "the column widths of the table frame must hold text like '784-256-10'.",
    )
    with styled():
        figure = Figure(figsize=(WIDTH, 0.245 * len(frame) + 1.4))
        axes = figure.subplots()
        labels = []
        optimizers = frame["optimizer"].unique()
        colors = dict(zip(optimizers, palette(len(optimizers)), strict=True))
        for row, band in enumerate(frame.itertuples()):
            dataset = WRITTEN.get(band.dataset, band.dataset)
            labels.append(
                f"{dataset} {short_widths(band.widths)}, {_optimizer(band.optimizer)} "
                f"{_rate(band.learning_rate)}"
            )
            color = colors[band.optimizer]
            if np.isfinite(band.low):
                axes.plot(
                    [band.low, band.high], [row, row], color=color, lw=6, solid_capstyle="butt"
                )
                for ends in ((band.low_from, band.low_to), (band.high_from, band.high_to)):
                    axes.plot(ends, (row, row), color=INK, lw=1.2, zorder=3)
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
            Line2D([], [], color=INK, lw=1.2, label="95% interval of an edge"),
            Line2D([], [], color=INK, marker="x", ls="none", label="nothing trains"),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return figure
