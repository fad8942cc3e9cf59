"""Up to which depth networks train, measured: the border that depth scales are held against."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from initscope import checks
from initscope.checks import require

__all__ = ["trainability_border"]


def trainability_border(runs: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return for each weight variance the depth at which networks still train, and the next.

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
