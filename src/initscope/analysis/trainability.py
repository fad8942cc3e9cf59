"""Up to which depth networks train, measured: the border that depth scales are held against."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from initscope import checks
from initscope.analysis.intervals import bootstrap_interval, check_level
from initscope.checks import require
from initscope.memory import require_memory

__all__ = ["border_interval", "trainability_border"]


def trainability_border(runs: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return the largest depth at which networks train, and the next, by weight variance.

    Parameters
    ----------
    runs
        A row a trained network: ``sigma_w2``, ``depth``, ``accuracy``.
    threshold
        Networks of a depth train if their median accuracy is at least this.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``sigma_w2``: ``fails``, the smallest depth that does not train; ``trains``, the
        largest below it (of all if none fails); ``accuracy_trains`` and ``accuracy_fails``, the
        median accuracies there; ``depth``, the geometric mean of the two depths, between which the
        border lies. NaN where there is no such depth.

    >>> runs = pd.DataFrame({"sigma_w2": 1.0, "depth": [4, 16, 64], "accuracy": [0.9, 0.8, 0.1]})
    >>> trainability_border(runs, 0.5).loc[1.0, ["trains", "fails", "depth"]].to_list()
    [16.0, 64.0, 32.0]
    """
    checks.frame("runs", runs, numbers=("sigma_w2", "depth", "accuracy"))
    threshold = checks.number("threshold", threshold)
    medians = runs.groupby(["sigma_w2", "depth"])["accuracy"].median()
    require(len(medians) > 0, "the table runs holds no number.")
    rows = {}
    for sigma_w2, of_depth in medians.groupby(level="sigma_w2"):
        by_depth = of_depth.droplevel("sigma_w2")
        failing = by_depth[by_depth < threshold]
        fails = failing.index[0] if len(failing) else math.inf
        training = by_depth[by_depth.index < fails]
        rows[sigma_w2] = {
            "trains": training.index[-1] if len(training) else math.nan,
            "fails": fails if len(failing) else math.nan,
            "accuracy_trains": training.iloc[-1] if len(training) else math.nan,
            "accuracy_fails": failing.iloc[0] if len(failing) else math.nan,
        }
    border = pd.DataFrame.from_dict(rows, orient="index").rename_axis("sigma_w2")
    return border.assign(depth=np.sqrt(border["trains"] * border["fails"]))


def border_interval(
    runs: pd.DataFrame,
    threshold: float,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the depths between which the border of trainability lies, as sure as few seeds allow.

    The seeds are resampled with replacement, the same ones at every depth and weight variance,
    since a seed is one set of draws and one order of the examples. Each resample has a border as
    :func:`trainability_border` finds it; the ends are those of the expanded percentile interval,
    :func:`~initscope.analysis.bootstrap_interval`. An interval is never narrower than the step of
    the grid of depths.

    Parameters
    ----------
    runs
        A row a trained network: ``sigma_w2``, ``depth``, ``seed``, ``accuracy``; every seed at
        every depth and weight variance.
    threshold
        Networks of a depth train if their median accuracy is at least this.
    level
        Of the interval, between 0 and 1.
    resamples, seed
        How many, and the seed of their draws.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``sigma_w2``: ``low``, the lower end of the interval of the largest depth that
        trains, 0 if possibly none does; ``high``, the upper end of that of the smallest depth that
        fails, infinite if possibly none does.

    >>> cells = [(d, s) for d in (4, 8, 16) for s in range(3)]
    >>> runs = pd.DataFrame(cells, columns=["depth", "seed"]).assign(sigma_w2=1.0)
    >>> runs["accuracy"] = [0.9, 0.9, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1]
    >>> border_interval(runs, 0.5).loc[1.0].to_dict()  # at depth 8 one seed of three fails
    {'low': 4.0, 'high': 16.0}
    """
    checks.frame("runs", runs, numbers=("sigma_w2", "depth", "seed", "accuracy"))
    threshold = checks.number("threshold", threshold)
    check_level(level)
    resamples = checks.whole("resamples", resamples, 1)
    require_memory(100 * resamples, f"resamples = {resamples}")
    generator = np.random.default_rng(checks.whole("seed", seed, 0))
    table = runs.pivot_table(
        index=["sigma_w2", "depth"], columns="seed", values="accuracy", dropna=False
    )
    count = table.shape[1]
    weights, depths = (table.index.unique(name) for name in ("sigma_w2", "depth"))
    require(
        len(table) == len(weights) * len(depths) and bool(table.notna().all(axis=None)),
        "the table runs must have every seed at every depth and weight variance.",
    )
    require(count > 1, "the table runs must have at least two seeds.")
    accuracies = table.to_numpy().reshape(len(weights), len(depths), count)
    fails = np.empty((len(weights), resamples), int)  # which depth, or none: one past the last
    for number in range(resamples):
        drawn = generator.integers(count, size=count)
        failing = np.median(accuracies[:, :, drawn], axis=2) < threshold
        fails[:, number] = np.where(failing.any(axis=1), failing.argmax(axis=1), len(depths))
    last_that_trains = np.array([0.0, *depths])[fails]
    first_that_fails = np.array([*depths, math.inf])[fails]
    rows = {
        sigma_w2: {
            "low": bootstrap_interval(trains, count, level)[0],
            "high": bootstrap_interval(fail, count, level)[1],
        }
        for sigma_w2, trains, fail in zip(weights, last_that_trains, first_that_fails, strict=True)
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("sigma_w2")
