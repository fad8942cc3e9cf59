"""What became of the layers of a transformer by the end of training: order, spread, shape."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from scipy.stats import norm

from initscope import checks
from initscope.analysis.intervals import mean_interval
from initscope.analysis.trajectories import (
    depth_correlation,
    expansion_rates,
    layer_spread,
    statistic_table,
)

__all__ = ["equilibration", "order_of_layers", "tail_shape"]


def order_of_layers(stds: Sequence[pd.DataFrame], until: int) -> pd.DataFrame:
    """Return how the rate of early expansion is ordered by depth, with its interval over seeds.

    Parameters
    ----------
    stds
        One result of :func:`initscope.analysis.weight_std` a seed.
    until
        The step up to which expansion counts as early, one of those recorded.

    Returns
    -------
    pandas.DataFrame
        Indexed by role; ``order``, the mean over seeds of the rank correlation of the rate with
        the number of the layer (-1 if the shallow expand first), ``low`` and ``high``, the ends of
        its 95% interval.

    >>> std = pd.DataFrame({("q", 1): [0.1, 0.2, 0.2], ("q", 2): [0.1, 0.1, 0.3]}, [0, 50, 100]).T
    >>> std = std.rename_axis(["role", "layer"])
    >>> order_of_layers([std, std], until=100)["order"].round(6).to_dict()
    {'q': 1.0}
    """
    stds = checks.items("stds", stds, 1)
    orders = pd.DataFrame(
        {seed: depth_correlation(expansion_rates(std, until)) for seed, std in enumerate(stds)}
    )
    intervals = {role: mean_interval(values) for role, values in orders.T.items()}
    return pd.DataFrame.from_dict(intervals, orient="index", columns=["order", "low", "high"])


def equilibration(stds: Sequence[pd.DataFrame], until: int, narrow: float) -> pd.DataFrame:
    """Return by role whether shallow layers expand first, and whether all end in a narrow band.

    Parameters
    ----------
    stds, until
        As in :func:`order_of_layers`.
    narrow
        A band is narrow if its largest std is at most so many times its smallest.

    Returns
    -------
    pandas.DataFrame
        Indexed by role: the columns of :func:`order_of_layers`; ``shallow_first``, whether the
        whole interval lies below 0; ``spread``, the largest std over the smallest at the end, mean
        over seeds; ``narrow``, whether it is narrow in every seed.

    >>> std = pd.DataFrame({("q", 1): [0.1, 0.2, 0.2], ("q", 2): [0.1, 0.1, 0.3]}, [0, 50, 100]).T
    >>> std = std.rename_axis(["role", "layer"])
    >>> found = equilibration([std, std], until=100, narrow=1.6)
    >>> found["narrow"].to_dict()
    {'q': True}
    """
    found = order_of_layers(stds, until)
    narrow = checks.number("narrow", narrow, 1.0)
    spreads = pd.DataFrame({seed: layer_spread(std).iloc[:, -1] for seed, std in enumerate(stds)})
    return found.assign(
        shallow_first=found["high"] < 0,
        spread=spreads.mean(axis=1),
        narrow=spreads.max(axis=1) <= narrow,
    )


def tail_shape(variances: pd.DataFrame, role: str, layer: int) -> pd.DataFrame:
    """Return how far the weights of one matrix are from normal, at each step it was recorded at.

    Parameters
    ----------
    variances
        As in :func:`initscope.analysis.statistic_table`.
    role, layer
        The matrix.

    Returns
    -------
    pandas.DataFrame
        Indexed by step: ``kurtosis`` (3 for a normal distribution), and ``tail``, the distance of
        the 0.1% quantiles over what it is in a normal distribution of the same std.

    Examples
    --------
    >>> stats = {"kurtosis": 3.0, "quantile_0.001": -1.5, "quantile_0.999": 1.5, "std": 0.5}
    >>> matrix = {"step": 0, "layer": 1, "role": "q", "kind": "weight"}
    >>> variances = pd.DataFrame([matrix | {"stat": s, "value": v} for s, v in stats.items()])
    >>> tail_shape(variances, "q", 1).loc[0].round(2).to_dict()
    {'kurtosis': 3.0, 'tail': 0.97}
    """
    layer = checks.whole("layer", layer)
    names = ("kurtosis", "quantile_0.001", "quantile_0.999", "std")
    tables = [statistic_table(variances, "weight", name, [role]) for name in names]
    for table in tables:
        checks.choice("layer", str(layer), [str(n) for n in table.index.unique("layer")])
    kurtosis, low, high, spread = (table.loc[(role, layer)] for table in tables)
    tail = (high - low) / (norm.ppf(0.999) - norm.ppf(0.001)) / spread[kurtosis.index]
    return pd.DataFrame({"kurtosis": kurtosis, "tail": tail}).dropna()
