"""Sum up a recorded run in a row a role, and two runs side by side."""

from __future__ import annotations

import numpy as np
import pandas as pd

from initscope import checks
from initscope.analysis.trajectories import weight_std
from initscope.checks import require
from initscope.schema import COLUMNS

__all__ = ["compared_runs", "run_summary"]

LATEST = {"rotation": ("update", "rotation"), "gradient_rms": ("gradient", "rms")}
"""Columns that hold the newest value of a statistic."""


def run_summary(variances: pd.DataFrame) -> pd.DataFrame:
    """Return how the weight matrices of each role changed in a run, medians over layers.

    Parameters
    ----------
    variances
        Columns ``step, layer, role, kind, stat, value``, of one run.

    Returns
    -------
    pandas.DataFrame
        One row a role, in the order of the table: ``layers``, how many; ``std_start`` and
        ``std_end``, std per element at the first and the last recorded step; ``growth``, the one
        over the other; ``spread``, largest over smallest std of the layers at the end; ``rotation``
        (radians an update) and ``gradient_rms``, newest values, NaN where none was recorded.

    Raises
    ------
    UsageError
        A frame without these columns, or without the std of a weight.

    Examples
    --------
    >>> rows = {"step": [0, 0, 9, 9], "layer": [1, 2, 1, 2], "value": [0.1, 0.1, 0.2, 0.4]}
    >>> table = pd.DataFrame(rows).assign(role="q", kind="weight", stat="std")
    >>> run_summary(table).loc["q", ["layers", "std_end", "growth", "spread"]].round(3).to_dict()
    {'layers': 2.0, 'std_end': 0.3, 'growth': 3.0, 'spread': 2.0}
    """
    std = weight_std(variances)
    roles = std.index.get_level_values("role")
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = std.iloc[:, -1] / std.iloc[:, 0]
        by_role = std.iloc[:, -1].groupby(roles, sort=False)
        table = pd.DataFrame(
            {
                "layers": by_role.size(),
                "std_start": std.iloc[:, 0].groupby(roles, sort=False).median(),
                "std_end": by_role.median(),
                "growth": growth.groupby(roles, sort=False).median(),
                "spread": by_role.max() / by_role.min(),
            }
        )
    for name, (kind, stat) in LATEST.items():
        rows = variances[(variances["kind"] == kind) & (variances["stat"] == stat)]
        newest = rows[rows["step"] == rows["step"].max()]
        table[name] = newest.groupby("role")["value"].median().reindex(table.index)
    order = [role for role in variances["role"].unique() if role in table.index]
    return table.loc[order].rename_axis(index="role")


def compared_runs(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Return the std of each role in two runs, at the last step that both recorded.

    Parameters
    ----------
    first, second
        As in :func:`run_summary`.

    Returns
    -------
    pandas.DataFrame
        One row a role that both have: ``first`` and ``second``, median std of the layers;
        ``ratio``, the second over the first; ``attrs["step"]`` is the step.

    Raises
    ------
    UsageError
        As :func:`run_summary`; two runs without a role or a recorded step in common.

    Examples
    --------
    >>> rows = {"step": [0, 9], "layer": 1, "role": "q", "value": [0.1, 0.2]}
    >>> table = pd.DataFrame(rows).assign(kind="weight", stat="std")
    >>> compared_runs(table, table.assign(value=[0.1, 0.3])).loc["q"].round(2).to_list()
    [0.2, 0.3, 1.5]
    """
    both = []
    for name, frame in (("first", first), ("second", second)):
        checks.frame(name, frame, COLUMNS, rows=False)
        both.append(weight_std(frame))
    steps = both[0].columns.intersection(both[1].columns)
    require(len(steps) > 0, "the two runs have no recorded step in common.")
    step = int(steps[-1])
    medians = [std[step].groupby(level="role", sort=False).median() for std in both]
    roles = [role for role in first["role"].unique() if all(role in one.index for one in medians)]
    require(bool(roles), "the two runs have no role in common.")
    table = pd.DataFrame({"first": medians[0][roles], "second": medians[1][roles]})
    with np.errstate(divide="ignore", invalid="ignore"):
        table["ratio"] = table["second"] / table["first"]
    table.attrs["step"] = step
    return table
