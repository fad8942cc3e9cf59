"""Figures of two schemes compared run by run (chapter 06).

The tables are those of :mod:`initscope.analysis.comparison`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from initscope import checks
from initscope.analysis.rates import accuracy_of_schemes
from initscope.analysis.sweeps import short_widths
from initscope.checks import require
from initscope.plots.style import COLORS, INK, PAIR_WIDTH, WIDTH, WRITTEN, palette, styled

__all__ = [
    "differences_by_depth",
    "scheme_accuracies",
    "training_name",
    "variance_ratios",
]

# As in the race of Train it here.
SCHEME_COLORS = {"xavier": COLORS[0], "kaiming": COLORS[1]}

TRAINING = ["optimizer", "momentum"]


def training_name(optimizer: str, momentum: float) -> str:
    """Return how a sweep trained, as the figures name it: ``"SGD, momentum"``.

    >>> training_name("sgd", 0.9)
    'SGD, momentum'
    """
    checks.text("optimizer", optimizer)
    checks.number("momentum", momentum)
    name = {"sgd": "SGD", "adam": "Adam"}.get(optimizer, optimizer)
    return f"{name}, momentum" if optimizer == "sgd" and momentum else name


def scheme_color(scheme: str, position: int) -> str:
    return SCHEME_COLORS.get(scheme, COLORS[2 + position % 4])


def not_empty(frame: pd.DataFrame, name: str = "table") -> pd.DataFrame:
    require(len(frame) > 0, f"the {name} has no rows: there is nothing to draw.")
    return frame


def check_schemes(table: pd.DataFrame, *schemes: str) -> None:
    """Raise unless `table` has runs of these schemes."""
    for name, scheme in zip(("first", "second"), schemes, strict=True):
        checks.text(f"the scheme {name}", scheme)
    require(schemes[0] != schemes[1], f"the schemes first and second are both {schemes[0]!r}.")


def check_measures(name: str, table: object, *numbers: str) -> pd.DataFrame:
    """Return `table` if it is a result of :func:`initscope.analysis.run_measures`."""
    found = checks.frame(
        name,
        table,
        numbers=("depth", "momentum", *numbers),
        texts=("dataset", "widths", "activation", "optimizer"),
    )
    require(
        bool(found[["depth", "momentum"]].notna().all(axis=None)),
        f"the table {name} must have a depth and a momentum in every row.",
    )
    return found


def depth_axis(axes: Axes, depths: Sequence[int], *, label: bool = True) -> None:
    axes.set_xticks(range(len(depths)), [str(depth) for depth in depths])
    axes.set_xlim(-0.5, len(depths) - 0.5)
    if label:
        axes.set_xlabel("weight layers")


def variance_ratios(ratios: pd.DataFrame, predictions: Mapping[str, Sequence[float]]) -> Figure:
    """Draw forward variance under one scheme over that under another, by layer, with theory.

    Drawn is the first probe, one point a pair of runs.

    Parameters
    ----------
    ratios
        Result of :func:`initscope.analysis.layer_ratios` for the stat ``"forward_variance"``.
    predictions
        For each value of the column ``widths`` of `ratios` the ratio at each weight layer.

    >>> from initscope.sweep import SweepSpec, run_sweep
    >>> spec = SweepSpec(schemes=("xavier", "kaiming"), seeds=2, epochs=2)
    >>> table = run_sweep(spec, progress=False)
    >>> from initscope.analysis import layer_ratios
    >>> ratios = layer_ratios(table, "xavier", "kaiming", "forward_variance")
    >>> variance_ratios(ratios, {"13-64-32-3": [0.2, 0.1, 0.1]}).axes[0].get_title()
    '13-64-32-3'
    """
    checks.frame("ratios", ratios, numbers=("step", "layer", "ratio"), texts=("widths",))
    checks.mapping("predictions", predictions)
    for widths in ratios["widths"].unique():
        require(widths in predictions, f"predictions has no ratios for the widths {widths!s:.80}.")
        values = checks.real("predictions", predictions[widths])
        require(values.ndim == 1, "predictions must have a list of ratios for each widths.")
    start = not_empty(ratios[ratios["step"] == ratios["step"].min()])
    groups = list(start.groupby("widths", sort=False))
    with styled():
        figure = Figure(figsize=(PAIR_WIDTH, 3.1))
        panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)
        for axes, (widths, group) in zip(panels[0], groups, strict=True):
            predicted = np.asarray(predictions[str(widths)], float)
            layers = np.arange(1, len(predicted) + 1)
            axes.plot(layers, predicted, color=INK, lw=1.4, label="from the fans alone")
            axes.plot(
                group["layer"],
                group["ratio"],
                color=COLORS[0],
                ls="none",
                marker="o",
                ms=4.5,
                mfc="none",
                label="measured, every pair",
            )
            axes.set_yscale("log", base=2)
            axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
            axes.set_xlabel("weight layer")
            axes.set_title(short_widths(str(widths)))
        panels[0, 0].set_ylabel("variance, Xavier over Kaiming")
        panels[0, 0].legend(loc="lower left")
    return figure


def differences_by_depth(rows: Mapping[str, pd.DataFrame], by: str = "training") -> Figure:
    """Draw differences between two schemes against the depth, with their intervals.

    One column a data set. A hollow point is a difference whose interval covers zero.

    Parameters
    ----------
    rows
        One row of panels each: label of its axis to a result of :func:`initscope.analysis.compare`.
    by
        What colors tell apart: ways of training (``"training"``) or activations (``"activation"``).

    >>> from initscope.sweep import SweepSpec, run_sweep
    >>> spec = SweepSpec(schemes=("xavier", "kaiming"), seeds=2, epochs=2)
    >>> table = run_sweep(spec, progress=False)
    >>> from initscope.analysis import compare, run_measures
    >>> rows = compare(run_measures(table), "kaiming", "xavier", "test_accuracy", resamples=20)
    >>> len(differences_by_depth({"accuracy": rows}).axes)
    1
    """
    checks.choice("by", by, ("training", "activation"))
    checks.mapping("rows", rows)
    require(len(rows) > 0, "rows is empty: there is nothing to draw.")
    for label, frame in rows.items():
        checks.text("a label in rows", label)
        check_measures("in rows", frame, "difference", "low", "high")
        checks.frame("in rows", frame, ("covers_zero",))
        require(
            frame["covers_zero"].map(lambda one: isinstance(one, bool | np.bool_)).all(),
            "the column covers_zero of the table in rows must hold True or False.",
        )
    everything = not_empty(pd.concat(rows.values(), ignore_index=True))
    datasets = list(everything["dataset"].unique())
    depths = sorted(everything["depth"].unique())
    kinds = list(dict.fromkeys(_kinds(everything, by)))
    colors = dict(zip(kinds, palette(len(kinds)), strict=True))
    offsets = dict(zip(kinds, 0.13 * (np.arange(len(kinds)) - (len(kinds) - 1) / 2), strict=True))
    with styled():
        figure = Figure(figsize=(WIDTH, 0.7 + 2.3 * len(rows)))
        panels = figure.subplots(len(rows), len(datasets), sharex=True, sharey="row", squeeze=False)
        for row, (line, (label, frame)) in enumerate(zip(panels, rows.items(), strict=True)):
            for axes, dataset in zip(line, datasets, strict=True):
                axes.axhline(0, color=INK, lw=1)
                here = frame[frame["dataset"] == dataset]
                for kind, group in here.groupby(np.array(_kinds(here, by)), sort=False):
                    group = group.sort_values("depth")
                    at = [depths.index(depth) + offsets[kind] for depth in group["depth"]]
                    axes.plot(at, group["difference"], color=colors[kind], lw=0.8)
                    axes.vlines(at, group["low"], group["high"], color=colors[kind], lw=1.6)
                    for x, y, covers in zip(
                        at, group["difference"], group["covers_zero"], strict=True
                    ):
                        axes.plot(
                            x,
                            y,
                            marker="o",
                            ms=5.5,
                            color=colors[kind],
                            mfc="none" if covers else colors[kind],
                        )
                depth_axis(axes, depths, label=row == len(panels) - 1)
            line[0].set_ylabel(label)
        for axes, dataset in zip(panels[0], datasets, strict=True):
            axes.set_title(WRITTEN.get(dataset, dataset))
        figure.legend(
            handles=[
                *(
                    Line2D([], [], color=color, marker="o", ms=5.5, label=kind)
                    for kind, color in colors.items()
                ),
                Line2D(
                    [],
                    [],
                    color=INK,
                    marker="o",
                    ms=5.5,
                    mfc="none",
                    ls="none",
                    label="interval covers zero",
                ),
            ],
            loc="outside upper center",
            ncols=len(kinds) + 1,
        )
    return figure


def _kinds(frame: pd.DataFrame, by: str) -> list[str]:
    if by == "activation":
        return [WRITTEN.get(name, name) for name in frame["activation"]]
    return [training_name(*key) for key in frame[TRAINING].itertuples(index=False)]


def scheme_accuracies(measures: pd.DataFrame, labels: Mapping[str, str]) -> Figure:
    """Draw the test accuracy of many schemes, one panel a depth, one color a way of training.

    Points are means over seeds, bars reach two standard errors to either side.

    Parameters
    ----------
    measures
        Result of :func:`initscope.analysis.run_measures`.
    labels
        Scheme to its name in the figure, in their order from the top.

    >>> from initscope.sweep import SweepSpec, run_sweep
    >>> spec = SweepSpec(schemes=("xavier", "kaiming"), seeds=2, epochs=2)
    >>> table = run_sweep(spec, progress=False)
    >>> from initscope.analysis import run_measures
    >>> labels = {"kaiming": "Kaiming", "xavier": "Xavier"}
    >>> axes = scheme_accuracies(run_measures(table), labels).axes[0]
    >>> [label.get_text() for label in axes.get_yticklabels()]
    ['Kaiming', 'Xavier']
    """
    check_measures("measures", measures, "test_accuracy")
    checks.frame("measures", measures, texts=("scheme",))
    checks.mapping("labels", labels)
    for scheme, label in labels.items():
        checks.text("a scheme in labels", scheme)
        checks.text("a label in labels", label)
    runs = not_empty(
        measures[measures["scheme"].isin(list(labels))], "table measures, of the labels,"
    )
    depths = sorted(runs["depth"].unique())
    trainings = list(runs[TRAINING].drop_duplicates().itertuples(index=False))
    names = list(labels)
    with styled():
        figure = Figure(figsize=(WIDTH, 1.2 + 0.3 * len(names)))
        panels = figure.subplots(1, len(depths), sharey=True, squeeze=False)
        for axes, depth in zip(panels[0], depths, strict=True):
            for k, (training, color) in enumerate(
                zip(trainings, palette(len(trainings)), strict=True)
            ):
                same = (runs[TRAINING] == list(training)).all(axis=1) & (runs["depth"] == depth)
                found = accuracy_of_schemes(runs[same])
                at = [names.index(scheme) + 0.2 * (k - 1) for scheme in found.index]
                axes.errorbar(
                    found["mean"],
                    at,
                    xerr=2 * found["error"].fillna(0),
                    color=color,
                    ls="none",
                    marker="o",
                    ms=4,
                    lw=1.4,
                    label=training_name(*training),
                )
            axes.set_yticks(range(len(names)), list(labels.values()))
            axes.set_title(f"{depth} weight layers")
            axes.set_xlabel("test accuracy")
        panels[0, 0].invert_yaxis()
        figure.legend(
            *panels[0, 0].get_legend_handles_labels(),
            loc="outside upper center",
            ncols=len(trainings),
        )
    return figure
