"""Read the split of growth: what gradients do alone, for one another, and along the weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from initscope import checks
from initscope.checks import require

__all__ = ["growth_parts", "order_beside_shadow", "outward_rest"]

PARTS = ("shadow", "memory", "rest")


def growth_parts(split: pd.DataFrame, lag: int, since: int = 0) -> pd.DataFrame:
    """Return the parts of the growth of each matrix, over the squared learning rates.

    Parameters
    ----------
    split
        Result of :meth:`initscope.tracking.GrowthSplit.to_frame`.
    lag
        Steps that the rest looks back, one of those recorded.
    since
        Windows that begin before this step are left out.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``role, layer, until``, with the columns ``growth``, ``shadow``, ``memory`` and
        ``rest``, which add up to it: 1 is what noise of constant size adds.

    Raises
    ------
    UsageError
        A lag that was not recorded; no window that late.

    Examples
    --------
    >>> row = {"after": 0, "until": 10, "role": "q", "layer": 1, "rate_squares": 0.5}
    >>> split = pd.DataFrame([{**row, "growth": 0.8, "shadow": 0.4, "rest_64": 0.3}])
    >>> growth_parts(split, lag=64).round(3).loc["q", 1, 10].to_dict()
    {'growth': 1.6, 'shadow': 0.8, 'memory': 0.2, 'rest': 0.6}
    """
    lag, since = checks.whole("lag", lag), checks.whole("since", since, 0)
    rest = f"rest_{lag}"
    require(
        not isinstance(split, pd.DataFrame) or rest in split,
        f"the table split has no rest at a lag of {lag} steps, only "
        f"{[name for name in getattr(split, 'columns', ()) if str(name).startswith('rest_')]}.",
    )
    numbers = ("after", "until", "layer", "rate_squares", "growth", "shadow", rest)
    table = checks.frame("split", split, numbers=numbers, texts=("role",))
    table = table[table["after"] >= since]
    require(len(table) > 0, f"no window begins since step {since}.")
    indexed = table.set_index(["role", "layer", "until"])
    with np.errstate(divide="ignore", invalid="ignore"):
        over = indexed[["growth", "shadow", rest]].div(indexed["rate_squares"], axis=0)
    over = over.rename(columns={rest: "rest"})
    over["memory"] = over["growth"] - over["shadow"] - over["rest"]
    return over[["growth", *PARTS]]


def order_beside_shadow(
    parts: Sequence[pd.DataFrame], roles: Sequence[str], times: float
) -> pd.Series:
    """Return whether layers of a role differ much more in growth than in their shadow.

    Parameters
    ----------
    parts
        Results of :func:`growth_parts`, one a seed.
    roles
        The roles judged.
    times
        At least how many times larger the standard deviation over layers, of the means over
        windows and seeds, is to be.

    >>> index = pd.MultiIndex.from_product([["q"], [1, 2], [10]], names=["role", "layer", "until"])
    >>> parts = pd.DataFrame({"growth": [1.0, 3.0], "shadow": [0.7, 0.8]}, index)
    >>> order_beside_shadow([parts.assign(memory=0.0, rest=0.0)], ["q"], times=3).to_dict()
    {'q': True}
    """
    times = checks.number("times", times, 0.0)
    spread = _layer_means(parts).groupby(level="role").std()
    found = {
        role: bool(spread.loc[role, "growth"] >= times * spread.loc[role, "shadow"])
        for role in _known(roles, spread.index)
    }
    return pd.Series(found, dtype=object, name="apart")


def outward_rest(parts: Sequence[pd.DataFrame], roles: Sequence[str], share: float) -> pd.Series:
    """Return whether the rest pushes a role outward in most layers, and more at the end.

    Parameters
    ----------
    parts
        Results of :func:`growth_parts`, one a seed.
    roles
        The roles judged.
    share
        Of the layers in which the rest has to be above 0, in the mean over windows and seeds.

    Returns
    -------
    pandas.Series
        True where it is in so many layers, and its share of the growth, both summed over layers
        and seeds, is larger in the last window than in the first.

    >>> names = ["role", "layer", "until"]
    >>> index = pd.MultiIndex.from_product([["q"], [1, 2], [10, 20]], names=names)
    >>> parts = pd.DataFrame({"growth": 1.0, "rest": [0.2, 0.4, 0.1, 0.3]}, index)
    >>> outward_rest([parts.assign(shadow=0.0, memory=0.0)], ["q"], share=0.75).to_dict()
    {'q': True}
    """
    share = checks.number("share", share, 0.0)
    means = _layer_means(parts)
    found = {}
    for role in _known(roles, means.index.get_level_values("role").unique()):
        outward = (means.loc[role, "rest"] > 0).mean() >= share
        window = sum(table.loc[role].groupby(level="until").sum() for table in parts)
        shares = window["rest"] / window["growth"]
        found[role] = bool(outward and shares.iloc[-1] > shares.iloc[0])
    return pd.Series(found, dtype=object, name="outward")


def _layer_means(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the mean over windows and seeds of each matrix."""
    tables = [
        checks.number_table("parts", table, levels=("role", "layer", "until"))
        for table in checks.items("parts", parts, 1)
    ]
    for table in tables:
        require(
            {"growth", *PARTS} <= set(table.columns),
            f"parts must be tables of growth_parts, with the columns growth, {', '.join(PARTS)}.",
        )
    return pd.concat(tables).groupby(level=["role", "layer"]).mean()


def _known(roles: Sequence[str], index: pd.Index) -> list[str]:
    return checks.known_names("role", roles, list(map(str, index)))
