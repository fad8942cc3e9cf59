"""Figures of learning rates: at which one scheme wins, and at which it trains at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import SymLogNorm, rgb_to_hsv
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from initscope import checks
from initscope.analysis.rates import best_rates, failure_share
from initscope.checks import require
from initscope.plots.schemes import (
    TRAINING,
    check_measures,
    check_schemes,
    depth_axis,
    not_empty,
    scheme_color,
    training_name,
)
from initscope.plots.stability import BOTH_WAYS
from initscope.plots.style import INK, ON_MAP, WIDTH, WRITTEN, styled

__all__ = ["usable_rates", "winners"]


def winners(differences: pd.DataFrame, measures: pd.DataFrame, first: str, second: str) -> Figure:
    """Draw who wins at each learning rate and depth: test accuracy of second minus first.

    A dot marks a cell whose interval covers zero, gray a cell that `differences` does not have. The
    initials of the schemes stand at their best rates. One row a data set, one column a way of
    training.

    Parameters
    ----------
    differences
        Result of ``compare(measures, second, first, "test_accuracy")``, `second` less `first` at
        each rate (see :func:`initscope.analysis.compare`).
    measures
        Result of :func:`initscope.analysis.run_measures`.
    first, second
        Names of the schemes.

    >>> from initscope.sweep import SweepSpec, run_sweep
    >>> spec = SweepSpec(schemes=("xavier", "kaiming"), seeds=2, epochs=2)
    >>> table = run_sweep(spec, progress=False)
    >>> from initscope.analysis import compare, run_measures
    >>> measures = run_measures(table)
    >>> differences = compare(measures, "kaiming", "xavier", "test_accuracy", resamples=20)
    >>> winners(differences, measures, "xavier", "kaiming").axes[-1].get_xlabel()
    'test accuracy, Kaiming minus Xavier'
    """
    check_schemes(measures, first, second)
    check_measures("differences", differences, "learning_rate", "difference")
    checks.frame("differences", differences, ("covers_zero",))
    check_measures("measures", measures, "learning_rate", "test_accuracy", "seed")
    checks.frame("measures", measures, texts=("scheme",))
    require(
        bool(differences["covers_zero"].map(lambda one: isinstance(one, bool | np.bool_)).all()),
        "the column covers_zero of the table differences must hold True or False.",
    )
    which = ["dataset", *TRAINING, "depth", "learning_rate"]
    for scheme in (first, second):
        had = measures.loc[(measures["scheme"] == scheme) & measures["test_accuracy"].notna()]
        both = differences[which].merge(had[which].drop_duplicates(), how="left", indicator=True)
        require(
            bool((both["_merge"] == "both").all()),
            f"measures lacks runs of scheme {scheme!r} for some rows of differences.",
        )
    datasets = list(differences["dataset"].unique())
    trainings = list(differences[TRAINING].drop_duplicates().itertuples(index=False))
    with styled():
        figure = Figure(figsize=(WIDTH, 0.9 + 2.35 * len(datasets)))
        panels = figure.subplots(len(datasets), len(trainings), squeeze=False)
        # Linear up to half a percent, logarithmic beyond: small differences count too.
        norm = SymLogNorm(linthresh=0.005, vmin=-1, vmax=1)
        for row, (line, dataset) in enumerate(zip(panels, datasets, strict=True)):
            for axes, training in zip(line, trainings, strict=True):
                here = differences[_is(differences, dataset, training)]
                runs = measures[_is(measures, dataset, training)]
                mesh = _differences(axes, here, runs, norm)
                _mark_best(axes, mesh, runs, (first, second))
                depths = sorted(runs["depth"].unique())
                depth_axis(axes, depths, label=row == len(panels) - 1)
                axes.set_title(f"{WRITTEN.get(dataset, dataset)}: {training_name(*training)}")
            line[0].set_ylabel("learning rate")
        bar = figure.colorbar(
            mesh, ax=panels, location="top", aspect=36, shrink=0.62, extend="neither"
        )
        bar.set_ticks(
            [-1, -0.1, -0.01, 0, 0.01, 0.1, 1],
            labels=["−1", "−0.1", "−0.01", "0", "0.01", "0.1", "1"],
        )
        bar.ax.minorticks_off()
        bar.set_label(
            f"test accuracy, {second.capitalize()} minus {first.capitalize()}", fontsize=9
        )
        bar.outline.set_edgecolor("none")
    return figure


def _differences(axes: Axes, here: pd.DataFrame, runs: pd.DataFrame, norm: SymLogNorm) -> QuadMesh:
    """Draw the cells of one panel, and a dot where the interval covers zero."""
    rates, depths = (sorted(runs[name].unique()) for name in ("learning_rate", "depth"))
    grid = here.pivot_table(index="learning_rate", columns="depth", values="difference")
    numbers = grid.reindex(index=rates, columns=depths).to_numpy(float)
    mesh = axes.pcolormesh(
        np.arange(len(depths) + 1) - 0.5,
        np.arange(len(rates) + 1) - 0.5,
        np.ma.masked_invalid(numbers),
        cmap=BOTH_WAYS,
        norm=norm,
    )
    mesh.set_edgecolor("face")
    axes.set_facecolor("#9a9a9a66")
    dot: Any = {"color": ON_MAP[1], "mec": ON_MAP[0], "mew": 0.6, "marker": ".", "ms": 7}
    for cell in here[here["covers_zero"]].itertuples():
        axes.plot(depths.index(cell.depth), rates.index(cell.learning_rate), **dot)
    axes.grid(False)
    axes.set_yticks(range(len(rates)), [f"{rate:g}" for rate in rates])
    return mesh


def _mark_best(axes: Axes, mesh: QuadMesh, runs: pd.DataFrame, schemes: tuple[str, str]) -> None:
    """Write the initials of the schemes at the best rate of each, in ink that the cell carries."""
    rates, depths = (sorted(runs[name].unique()) for name in ("learning_rate", "depth"))
    best, colors = best_rates(runs), mesh.to_rgba(np.ma.asarray(mesh.get_array()))
    for scheme, shift in zip(schemes, (-0.27, 0.27), strict=True):
        for column, depth in enumerate(depths):
            row = rates.index(best[scheme, depth])
            light = rgb_to_hsv(colors[row, column, :3])[2] > 0.75
            rim, ink = ON_MAP if light else ON_MAP[::-1]
            axes.annotate(
                scheme[0].upper(),
                (column + shift, row),
                ha="center",
                va="center",
                fontsize=8,
                fontweight="bold",
                color=ink,
                path_effects=[withStroke(linewidth=1.6, foreground=rim)],
            )


def _is(frame: pd.DataFrame, dataset: str, training: Sequence[object]) -> pd.Series:
    same = (frame[TRAINING] == list(training)).all(axis=1)
    return same & (frame["dataset"] == dataset)


def usable_rates(measures: pd.DataFrame, first: str, second: str, share: float = 0.2) -> Figure:
    """Draw the learning rates at which each of two schemes trains, against the depth.

    A filled point is a rate at which `first` or `second` trains, a cross one at which it does not.
    One row a data set, one column a way of training.

    Parameters
    ----------
    measures
        Result of :func:`initscope.analysis.run_measures`.
    first, second
        Names of the schemes.
    share
        A scheme trains at a rate if at most this share of the seeds fails (diverges or stays at
        chance).

    >>> from initscope.sweep import SweepSpec, run_sweep
    >>> spec = SweepSpec(schemes=("xavier", "kaiming"), seeds=2, epochs=2)
    >>> table = run_sweep(spec, progress=False)
    >>> from initscope.analysis import run_measures
    >>> usable_rates(run_measures(table), "kaiming", "xavier").axes[0].get_ylabel()
    'learning rate'
    """
    check_schemes(measures, first, second)
    check_measures("measures", measures, "learning_rate", "failed")
    checks.frame("measures", measures, texts=("scheme",))
    checks.number("share", share, 0.0, 1.0)
    runs = not_empty(
        measures[measures["scheme"].isin([first, second])], "table measures, of first and second,"
    )
    datasets = list(runs["dataset"].unique())
    trainings = list(runs[TRAINING].drop_duplicates().itertuples(index=False))
    with styled():
        figure = Figure(figsize=(WIDTH, 0.6 + 2.2 * len(datasets)))
        panels = figure.subplots(len(datasets), len(trainings), squeeze=False)
        for row, (line, dataset) in enumerate(zip(panels, datasets, strict=True)):
            for axes, training in zip(line, trainings, strict=True):
                here = runs[_is(runs, dataset, training)]
                depths = sorted(here["depth"].unique())
                for (scheme, depth, rate), failing in failure_share(here).items():
                    x = depths.index(depth) + (-0.16 if scheme == first else 0.16)
                    color = scheme_color(scheme, 0)
                    if failing <= share:
                        axes.plot(x, rate, color=color, marker="o", ms=5.5)
                    else:
                        axes.plot(x, rate, color=color, marker="x", ms=4, mew=0.8)
                axes.set_yscale("log")
                depth_axis(axes, depths, label=row == len(panels) - 1)
                axes.set_title(f"{WRITTEN.get(dataset, dataset)}: {training_name(*training)}")
            line[0].set_ylabel("learning rate")
        figure.legend(
            handles=[
                *(
                    Line2D(
                        [],
                        [],
                        color=scheme_color(scheme, 0),
                        marker="o",
                        ls="none",
                        label=f"{scheme.capitalize()} trains",
                    )
                    for scheme in (first, second)
                ),
                Line2D([], [], color=INK, marker="x", ls="none", label="it does not"),
            ],
            loc="outside upper center",
            ncols=3,
        )
    return figure
