"""From comparisons to a verdict: who is ahead, and where there is a race.

The tables are those of :mod:`initscope.analysis.comparison`.
"""

from __future__ import annotations

import pandas as pd

from initscope import checks
from initscope.analysis.sweeps import COMPARED
from initscope.checks import require_name

__all__ = ["ahead", "count_ahead", "where_one_trains"]


def ahead(differences: pd.DataFrame, better: str = "highest") -> pd.Series[str]:
    """Return which of two schemes is ahead in each row of a comparison.

    Parameters
    ----------
    differences
        Result of :func:`initscope.analysis.compare`.
    better
        ``"highest"`` if more of the measure is better, ``"lowest"`` if less is.

    Returns
    -------
    pandas.Series
        ``"first"``, ``"second"``, or ``"level"`` where the interval covers 0.

    >>> comparison = pd.DataFrame({"difference": [0.2, -0.1, 0.1], "covers_zero": [0, 0, 1]})
    >>> list(ahead(comparison)), list(ahead(comparison, "lowest"))
    (['first', 'second', 'level'], ['second', 'first', 'level'])
    """
    require_name("better", better, ("highest", "lowest"))
    rows = checks.frame(
        "differences", differences, rows=False, numbers=("difference", "covers_zero")
    )
    first = rows["difference"] > 0 if better == "highest" else rows["difference"] < 0
    who = first.map({True: "first", False: "second"})
    return who.mask(rows["covers_zero"].astype(bool), "level").rename("ahead")


def count_ahead(differences: pd.DataFrame, better: str = "highest") -> dict[str, int]:
    """Return in how many rows of a comparison each scheme is ahead, as :func:`ahead` says.

    >>> comparison = pd.DataFrame({"difference": [0.2, -0.1, 0.1], "covers_zero": [0, 0, 1]})
    >>> count_ahead(comparison)
    {'first': 1, 'level': 1, 'second': 1}
    """
    who = ahead(differences, better)
    return {side: int((who == side).sum()) for side in ("first", "level", "second")}


def where_one_trains(measures: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of cells in which at most half of the seeds of some scheme fail.

    A cell is a configuration at one learning rate.

    Parameters
    ----------
    measures
        Result of :func:`initscope.analysis.run_measures`.

    Examples
    --------
    >>> from initscope.sweep import SweepSpec, run_sweep
    >>> spec = SweepSpec(schemes=("xavier", "kaiming"), seeds=2, epochs=2)
    >>> table = run_sweep(spec, progress=False)
    >>> from initscope.analysis import run_measures
    >>> len(where_one_trains(run_measures(table)))
    4
    """
    by = [*COMPARED, "learning_rate"]
    checks.frame("measures", measures, (*by, "scheme"), numbers=("failed",), texts=("scheme",))
    of_scheme = measures.groupby([*by, "scheme"])["failed"].mean()
    least = of_scheme.groupby(by).min()
    return measures[measures.set_index(by).index.map(least) <= 0.5]
