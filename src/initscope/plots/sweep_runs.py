"""Figures of the runs of a sweep of the initial std: by layer, by update (chapter 05)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from initscope.analysis.seeds import layer_medians, losses_over_seeds
from initscope.analysis.sweeps import nearest, to_tidy
from initscope.checks import require
from initscope.plots.style import INK, PAIR_WIDTH, WIDTH, palette, styled
from initscope.plots.sweeps import trainings_of, with_std
from initscope.schema import LAYER_STATISTICS

__all__ = ["loss_curves", "variance_through_layers", "variance_through_training"]


def _at_probe(tidy: pd.DataFrame, stat: str, step: int) -> pd.DataFrame:
    return tidy[(tidy["stat"] == stat) & (tidy["step"] == step)]


def variance_through_layers(table: pd.DataFrame, stds: Sequence[float]) -> Figure:
    """Draw forward and backward variance at initialization, layer by layer, for a few stds.

    Every seed is a line; a line ends where all values are 0 or one is not finite in float32.
    Variances at initialization do not depend on the optimizer and its learning rate: the first is
    shown.

    Parameters
    ----------
    table
        Result of :func:`initscope.sweep.run_sweep` for one architecture.
    stds
        Drawn are the stds of the table that are nearest to these.

    >>> from initscope.sweep import SweepSpec, run_sweep
    >>> spec = SweepSpec(stds=(0.01, 0.3), seeds=2, epochs=2)
    >>> table = run_sweep(spec, progress=False)
    >>> variance_through_layers(table, [0.01, 0.3]).axes[0].get_title()
    'activations, from input to output'
    """
    training = ["optimizer", "learning_rate", "momentum"]
    table = with_std(table, LAYER_STATISTICS)
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
    """Draw training loss over updates for a few stds, one column an optimizer and learning rate.

    Median and range over the seeds, for as long as most of them have a finite loss.

    Parameters
    ----------
    table
        Result of :func:`initscope.sweep.run_sweep`.
    stds
        Drawn are the stds of the table that are nearest to these.

    >>> from initscope.sweep import SweepSpec, run_sweep
    >>> spec = SweepSpec(stds=(0.01, 0.3), seeds=2, epochs=2)
    >>> table = run_sweep(spec, progress=False)
    >>> loss_curves(table, [0.01, 0.3]).axes[0].get_title()
    'SGD, rate 0.1'
    """
    table = with_std(table, ["loss"])
    require(
        len(table["loss_step"].map(len).unique()) == 1,
        "the runs of the table have different loss_step.",
    )
    chosen = nearest(table["std"], stds)
    trainings = trainings_of(table)
    with styled():
        figure = Figure(figsize=(PAIR_WIDTH, 3.6))
        panels = figure.subplots(1, len(trainings), sharey=True, squeeze=False)
        for axes, (title, runs) in zip(panels[0], trainings, strict=True):
            for color, std in zip(palette(len(chosen)), chosen, strict=True):
                seeds = losses_over_seeds(runs[runs["std"] == std])
                if len(seeds):
                    axes.plot(seeds["median"], color=color, label=f"{std:.2g}")
                    axes.fill_between(
                        seeds.index, seeds["low"], seeds["high"], color=color, alpha=0.2, lw=0
                    )
                else:
                    axes.plot([], [], color=color, label=f"{std:.2g} (diverged)")
            axes.set_yscale("log")
            axes.set_title(title)
            axes.set_xlabel("update")
            # Below: wherever in the panel, it would lie on one curve or the other.
            axes.legend(title="std", loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
            axes.get_legend().get_title().set_color(INK)
        panels[0, 0].set_ylabel("training loss")
    return figure


def variance_through_training(table: pd.DataFrame, stds: Sequence[float]) -> Figure:
    """Draw forward variance and weight std of each layer over training, one column a std.

    Lines are medians over the seeds.

    Parameters
    ----------
    table
        Result of :func:`initscope.sweep.run_sweep` for one architecture, optimizer and learning
        rate.
    stds
        Drawn are the stds of the table that are nearest to these.

    >>> from initscope.sweep import SweepSpec, run_sweep
    >>> spec = SweepSpec(stds=(0.01, 0.3), seeds=2, epochs=2)
    >>> table = run_sweep(spec, progress=False)
    >>> variance_through_training(table, [0.3]).axes[0].get_title()
    'std 0.3'
    """
    table = with_std(table, LAYER_STATISTICS)
    chosen = nearest(table["std"], stds)
    medians = layer_medians(to_tidy(table[table["std"].isin(chosen)]))
    with styled():
        figure = Figure(figsize=(WIDTH, 4.6))
        panels = figure.subplots(2, len(chosen), sharex=True, sharey="row", squeeze=False)
        stats = (("forward_variance", "forward variance"), ("std", "weight std"))
        for (row, (stat, name)), (k, std) in itertools.product(enumerate(stats), enumerate(chosen)):
            axes = panels[row, k]
            by_layer = medians[stat, std].unstack("step")  # noqa: PD010, of a Series
            for color, (layer, median) in zip(
                palette(len(by_layer)), by_layer.iterrows(), strict=True
            ):
                usable = median.where(np.isfinite(median) & (median > 0))
                axes.plot(usable, color=color, marker=".", ms=4, label=f"layer {layer}")
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
