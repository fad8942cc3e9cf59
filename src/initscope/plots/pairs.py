"""Figures of two schemes through training, seed by seed (chapter 06)."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.ticker
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from initscope import checks
from initscope.analysis.seeds import gradient_ratios_over_seeds, median_grid, paired_losses
from initscope.analysis.sweeps import check_sweep
from initscope.checks import require
from initscope.plots.schemes import check_schemes, not_empty, scheme_color
from initscope.plots.style import COLORS, INK, WIDTH, line_looks, styled

__all__ = ["gradients_and_weights", "paired_curves"]


def _check_pairs(runs: pd.DataFrame, first: str, second: str) -> None:
    """Raise unless every depth has one run of each seed under both schemes, of equal length."""
    for depth, of_depth in runs.groupby("depth"):
        seeds = [sorted(of_depth.loc[of_depth["scheme"] == s, "seed"]) for s in (first, second)]
        require(
            bool(seeds[0]) and seeds[0] == seeds[1] and len(set(seeds[0])) == len(seeds[0]),
            f"the table must have one run of each seed under both schemes: at depth {depth} "
            f"{first} has {len(seeds[0])} runs and {second} {len(seeds[1])}. Give those of one "
            "optimizer and learning rate.",
        )
        for column in ("loss_step", "probe_step"):
            require(
                len(of_depth[column].map(len).unique()) == 1,
                f"the runs of the table have different {column}.",
            )


def paired_curves(table: pd.DataFrame, first: str, second: str) -> Figure:
    """Draw the training loss of two schemes, and the paired difference below, one column a depth.

    Thick lines are means over seeds, thin ones single seeds; a curve ends where a loss is no longer
    finite.

    Parameters
    ----------
    table
        Result of :func:`initscope.sweep.run_sweep`, of one optimizer and learning rate.
    first, second
        Names of the schemes; the difference is `second` minus `first`.

    >>> from initscope.sweep import SweepSpec, run_sweep
    >>> spec = SweepSpec(schemes=("xavier", "kaiming"), seeds=2, epochs=2)
    >>> table = run_sweep(spec, progress=False)
    >>> len(paired_curves(table, "xavier", "kaiming").axes)
    2
    """
    check_schemes(table, first, second)
    check_sweep(table, ["scheme", "depth", "seed"], ["loss", "gradient_norm"])
    runs = not_empty(table[table["scheme"].isin([first, second])])
    _check_pairs(runs, first, second)
    depths = sorted(runs["depth"].unique())
    with styled():
        figure = Figure(figsize=(WIDTH, 4.4))
        panels = figure.subplots(2, len(depths), sharex=True, sharey="row", squeeze=False)
        for column, depth in enumerate(depths):
            above, below = panels[:, column]
            of_depth = runs[runs["depth"] == depth]
            curves = paired_losses(of_depth, first, second)
            for axes, name, thin, thick in (
                (above, first, scheme_color(first, 0), scheme_color(first, 0)),
                (above, second, scheme_color(second, 0), scheme_color(second, 0)),
                (below, "difference", INK, COLORS[2]),
            ):
                axes.plot(curves[name].drop(columns="mean"), color=thin, lw=0.5)
                axes.plot(curves[name, "mean"], color=thick, lw=2)
            below.axhline(0, color=INK, lw=1)
            above.set_title(f"{depth} weight layers" if len(depths) < 4 else f"{depth} layers")
            above.set_yscale("log")
            below.set_xlabel("update")
        for axes in panels[0]:
            axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
        panels[0, 0].set_ylabel("training loss")
        panels[1, 0].set_ylabel("difference in loss")
        figure.legend(
            handles=[
                *(
                    Line2D([], [], color=scheme_color(scheme, 0), lw=2, label=scheme.capitalize())
                    for scheme in (first, second)
                ),
                Line2D(
                    [],
                    [],
                    color=COLORS[2],
                    lw=2,
                    label=f"{second.capitalize()} minus {first.capitalize()}",
                ),
            ],
            loc="outside upper center",
            ncols=3,
        )
    return figure


def gradients_and_weights(
    table: pd.DataFrame, weights: pd.DataFrame, first: str, second: str
) -> Figure:
    """Draw gradient norm of the first layer over the last, and the ratio of weight stds, by update.

    Above, a line a scheme: median over seeds, shaded over their range. Below, a line a layer: the
    weight std of `first` over that of `second`, median over seeds. One column a depth.

    Parameters
    ----------
    table
        Result of :func:`initscope.sweep.run_sweep`, of one optimizer and learning rate.
    weights
        Result of :func:`initscope.analysis.layer_ratios` for ``"weight_std"``.
    first, second
        Names of the schemes.

    >>> from initscope.sweep import SweepSpec, run_sweep
    >>> spec = SweepSpec(schemes=("xavier", "kaiming"), seeds=2, epochs=2)
    >>> table = run_sweep(spec, progress=False)
    >>> from initscope.analysis import layer_ratios
    >>> weights = layer_ratios(table, "xavier", "kaiming", "weight_std")
    >>> len(gradients_and_weights(table, weights, "xavier", "kaiming").axes)
    2
    """
    check_schemes(table, first, second)
    check_sweep(table, ["scheme", "depth", "seed"], ["loss", "gradient_norm"])
    checks.frame("weights", weights, numbers=("depth", "layer", "step", "ratio"))
    runs = not_empty(table[table["scheme"].isin([first, second])])
    _check_pairs(runs, first, second)
    depths = sorted(runs["depth"].unique())
    require(
        set(depths) <= set(weights["depth"]),
        "the table weights must have rows of each depth that table has.",
    )
    with styled():
        figure = Figure(figsize=(WIDTH, 4.6))
        panels = figure.subplots(2, len(depths), sharex=True, sharey="row", squeeze=False)
        for column, depth in enumerate(depths):
            above, below = panels[:, column]
            of_depth = runs[runs["depth"] == depth]
            for scheme in (first, second):
                ratio = gradient_ratios_over_seeds(of_depth[of_depth["scheme"] == scheme])
                color, at = scheme_color(scheme, 0), ratio.index + 1
                if len(at):
                    above.plot(at, ratio["median"], color=color, marker=".")
                    above.fill_between(
                        at, ratio["low"], ratio["high"], color=color, alpha=0.22, lw=0
                    )
            of_weights = median_grid(weights[weights["depth"] == depth], "layer", "step", "ratio")
            for layer, look in line_looks(list(of_weights.index)).items():
                line = of_weights.loc[layer]
                below.plot(line.index + 1, line, **look, marker=".", ms=4)
            below.axhline(1, color=INK, lw=1)
            above.axhline(1, color=INK, lw=1)
            above.set_xscale("log")
            above.set_yscale("log")
            above.set_title(f"{depth} weight layers")
            below.set_xlabel("update + 1")
        panels[0, 0].yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
        panels[0, 0].yaxis.set_major_formatter(
            mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}")
        )
        panels[0, 0].yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
        panels[0, 0].set_ylabel("gradient norm,\nfirst layer over last")
        panels[1, 0].set_ylabel(f"weight std,\n{first.capitalize()} over {second.capitalize()}")
        figure.legend(
            handles=[
                *(
                    Line2D(
                        [],
                        [],
                        color=scheme_color(scheme, 0),
                        marker=".",
                        label=scheme.capitalize(),
                    )
                    for scheme in (first, second)
                ),
                *(
                    Line2D([], [], **look, label=f"{name} layer (below)")
                    for name, look in line_looks(["first", "last"]).items()
                ),
            ],
            loc="outside upper center",
            ncols=4,
        )
    return figure
