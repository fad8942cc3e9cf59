"""What a std at rest owes to learning rate and weight decay: slopes over a grid of runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from initscope import checks
from initscope.analysis.trajectories import check_std
from initscope.checks import require
from initscope.errors import shown

__all__ = ["late_std", "power_slopes"]


def late_std(std: pd.DataFrame, since: int) -> pd.Series:
    """Return the root mean variance of each matrix over the steps after `since`, as a std.

    Parameters
    ----------
    std
        Result of :func:`initscope.analysis.weight_std`.
    since
        A step before the last one.

    Returns
    -------
    pandas.Series
        Indexed as `std`; NaN for a matrix that diverged.

    Raises
    ------
    UsageError
        No recorded step after `since`.

    Examples
    --------
    >>> std = pd.DataFrame({("q", 1): [0.1, 0.3, 0.4]}, [0, 10, 20]).T
    >>> late_std(std.rename_axis(["role", "layer"]), since=5).round(4).to_dict()
    {('q', 1): 0.3536}
    """
    check_std(std)
    since = checks.whole("since", since, 0)
    later = std.loc[:, std.columns > since]
    last = std.columns[-1]
    require(later.shape[1] > 0, f"no step of std was recorded since {since}: the last is {last}.")
    return np.sqrt((later**2).mean(axis=1, skipna=False)).rename("std")


def power_slopes(runs: pd.DataFrame, value: str, over: str, by: Sequence[str]) -> pd.Series:
    r"""Return the power with which a value follows a setting: slopes of logarithms, by groups.

    Parameters
    ----------
    runs
        A row a run (or matrix of it).
    value, over
        Columns of positive numbers: the slope is that of ln `value` on ln `over`, by least
        squares.
    by
        Columns of the groups.

    Returns
    -------
    pandas.Series
        Indexed by the groups; those with fewer than two different settings have none.

    Raises
    ------
    UsageError
        A column that is missing, or not of numbers.

    Examples
    --------
    >>> runs = pd.DataFrame({"rate": [1, 4, 9], "std": [2, 4, 6], "seed": 0})
    >>> power_slopes(runs, "std", over="rate", by=["seed"]).round(6).to_dict()
    {0: 0.5}
    """
    groups = list(checks.items("by", by, 1))
    require(all(isinstance(name, str) for name in groups), f"by must hold names, not {shown(by)}.")
    value, over = checks.text("value", value), checks.text("over", over)
    table = checks.frame("runs", runs, numbers=(value, over), columns=tuple(groups))

    def slope(rows: pd.DataFrame) -> float:
        x, y = np.log(rows[over].to_numpy(float)), np.log(rows[value].to_numpy(float))
        apart = x - x.mean()
        return float(apart @ y / (apart @ apart))

    found = {
        name: slope(rows)
        for name, rows in table.groupby(groups[0] if len(groups) == 1 else groups, sort=False)
        if rows[over].min() < rows[over].max()
    }
    index = (
        pd.MultiIndex.from_tuples(list(found), names=groups)
        if len(groups) > 1
        else pd.Index(list(found), name=groups[0])
    )
    return pd.Series(list(found.values()), index, float, "slope")
