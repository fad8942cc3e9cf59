"""How weight matrices move through a training run: expansion, its order, settling, spread, tails.

The tables are those of :mod:`initscope.tracking`; "matrix" means one role in one layer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from initscope import checks
from initscope.analysis.intervals import mean_interval
from initscope.checks import is_number, require, require_name
from initscope.errors import shown
from initscope.schema import COLUMNS

__all__ = [
    "depth_correlation",
    "expansion_rates",
    "growth_since_start",
    "layer_spread",
    "order_of_layers",
    "over_layers",
    "settling_steps",
    "spread_over_growth",
    "statistic_table",
    "tail_shape",
    "weight_std",
]


def check_std(std: object) -> None:
    """Raise unless `std` is a table as :func:`weight_std` makes it."""
    table = checks.number_table("std", std, levels=("role", "layer"))
    require(table.size > 0, "the table std is empty: there is nothing to draw or to compute.")
    steps = list(table.columns)
    require(
        all(is_number(step, 0, whole=True) for step in steps)
        and all(before < after for before, after in itertools.pairwise(steps)),
        f"the columns of the table std must be steps, ascending, not {shown(steps)}.",
    )


def weight_std(variances: pd.DataFrame, roles: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the std of each weight matrix at each recorded step.

    Parameters
    ----------
    variances
        Columns ``step, layer, role, kind, stat, value``; the rows with kind `weight` and stat
        `std` are used.
    roles
        Those wanted, in this order; by default all.

    Returns
    -------
    pandas.DataFrame
        One row a matrix, indexed by role and layer; one column a step, ascending; std per element.

    Raises
    ------
    UsageError
        A frame without these columns or rows, without one of the roles, or of several runs.

    >>> rows = {"step": [0, 0, 9, 9], "layer": [1, 2, 1, 2], "value": [0.1, 0.2, 0.3, 0.4]}
    >>> table = pd.DataFrame(rows).assign(role="q", kind="weight", stat="std")
    >>> weight_std(table).loc[("q", 2)].to_dict()
    {0: 0.2, 9: 0.4}
    """
    return statistic_table(variances, "weight", "std", roles)


def statistic_table(
    variances: pd.DataFrame, kind: str, stat: str, roles: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return one statistic of each matrix at each recorded step, like :func:`weight_std`.

    NaN where a matrix has no row at a step at which others have one.

    Parameters
    ----------
    variances, roles
        As in :func:`weight_std`, which also says what is returned and raised.
    kind, stat
        Which rows, for example ``"gradient"`` and ``"std"``.

    >>> rows = {"step": [0, 9], "layer": 1, "role": "q", "value": [3.0, 2.0]}
    >>> table = pd.DataFrame(rows).assign(kind="gradient", stat="std")
    >>> statistic_table(table, "gradient", "std").loc[("q", 1)].to_dict()
    {0: 3.0, 9: 2.0}
    """
    checks.text("kind", kind)
    checks.text("stat", stat)
    checks.frame("variances", variances, COLUMNS, rows=False)
    rows = variances[(variances["kind"] == kind) & (variances["stat"] == stat)]
    require(len(rows) > 0, f"the table variances has no rows of kind {kind!r} and stat {stat!r}.")
    require(
        not rows.duplicated(["step", "layer", "role"]).any(),
        f"the table variances has several rows of kind {kind!r} and stat {stat!r} for one matrix "
        f"at one step: give the table of one run.",
    )
    checks.frame("variances", rows, numbers=("step", "layer", "value"), texts=("role",))
    table = rows.pivot(index=["role", "layer"], columns="step", values="value")  # noqa: PD010
    if roles is not None:
        roles = checks.items("roles", roles)
        require(len(roles) > 0, "roles is empty: name at least one, or leave it out for all.")
        for role in roles:
            require_name("role", role, set(table.index.get_level_values("role")))
        table = pd.concat([table.loc[[role]] for role in roles])
    return table.sort_index(axis=1)


def expansion_rates(std: pd.DataFrame, until: int) -> pd.Series:
    r"""Return how fast matrices expand at first, :math:`\ln(\sigma_t / \sigma_0) \cdot 100 / t`.

    Step 0 stands for the first recorded one.

    Parameters
    ----------
    std
        Result of :func:`weight_std`.
    until
        The step t, one of the recorded ones.

    Returns
    -------
    pandas.Series
        Growth of ln std per 100 updates, indexed by role and layer: 0.05 is about 5% per 100
        updates. Infinite for a matrix that starts at 0, NaN for one that stays there.

    Raises
    ------
    UsageError
        If `until` was not recorded, or is the first step.

    >>> std = pd.DataFrame({("q", 1): [0.1, 0.2, 0.2], ("q", 2): [0.1, 0.1, 0.3]}, [0, 50, 100]).T
    >>> std = std.rename_axis(["role", "layer"])
    >>> expansion_rates(std, 100).round(2).to_list()
    [0.69, 1.1]
    """
    check_std(std)
    first = std.columns[0]
    require(
        is_number(until, -math.inf) and until in std.columns and until > first,
        f"until = {shown(until)} was not recorded after step {first}: take one of the "
        f"{len(std.columns)} steps up to {std.columns[-1]}.",
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = np.log(std[until] / std[first])
    return (growth * 100 / (until - first)).rename("expansion_rate")


def settling_steps(std: pd.DataFrame, tolerance: float = 0.05) -> pd.Series:
    """Return the recorded step from which on each matrix stays near its final std.

    Parameters
    ----------
    std
        Result of :func:`weight_std`.
    tolerance
        Largest distance from the final std, as a share of it.

    Returns
    -------
    pandas.Series
        Steps, indexed by role and layer; the last recorded step if only that is near, and NaN
        where the final std is not finite.

    >>> std = pd.DataFrame({("q", 1): [0.1, 0.2, 0.2], ("q", 2): [0.1, 0.1, 0.3]}, [0, 50, 100]).T
    >>> std = std.rename_axis(["role", "layer"])
    >>> settling_steps(std).to_list()
    [50.0, 100.0]
    """
    require(
        is_number(tolerance, 0) and tolerance < 1,
        f"tolerance must be a number from 0 to below 1, not {shown(tolerance)}.",
    )
    check_std(std)
    final = std.iloc[:, -1]
    far = ~(std.sub(final, axis=0).abs().le(tolerance * final.abs(), axis=0)).to_numpy()
    steps = np.asarray(std.columns, float)
    after = np.where(far.any(axis=1), far.shape[1] - far[:, ::-1].argmax(axis=1), 0)
    settled = np.array([steps[k] if k < len(steps) else math.nan for k in after])
    return pd.Series(settled, index=std.index, name="settling_step")


def layer_spread(std: pd.DataFrame) -> pd.DataFrame:
    """Return the largest std over the smallest of the layers of a role, at each step.

    Parameters
    ----------
    std
        Result of :func:`weight_std`.

    Returns
    -------
    pandas.DataFrame
        One row a role, one column a step; infinite where one of the layers is at 0, and NaN where
        all are, or where the std of a layer is NaN.

    >>> std = pd.DataFrame({("q", 1): [0.1, 0.2, 0.2], ("q", 2): [0.1, 0.1, 0.3]}, [0, 50, 100]).T
    >>> std = std.rename_axis(["role", "layer"])
    >>> layer_spread(std).loc["q"].round(2).to_dict()
    {0: 1.0, 50: 2.0, 100: 1.5}
    """
    check_std(std)
    by_role = std.groupby(level="role", sort=False)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = by_role.max() / by_role.min()
    # The largest and the smallest leave out the layers that diverged.
    return spread.mask(std.isna().groupby(level="role", sort=False).any())


def spread_over_growth(std: pd.DataFrame) -> pd.Series:
    r"""Return how far the layers end apart, over how far they have gone.

    Parameters
    ----------
    std
        Result of :func:`weight_std`.

    Returns
    -------
    pandas.Series
        Indexed by role: :math:`\ln` of the largest std over the smallest at the end, over the mean
        over the layers of :math:`|\ln(\sigma_T / \sigma_0)|`. Below 1 they have gone further
        together than apart. Infinite where none has moved, NaN where a layer diverged.

    >>> std = pd.DataFrame({("q", 1): [0.1, 0.2], ("q", 2): [0.1, 0.4]}, [0, 100]).T
    >>> std = std.rename_axis(["role", "layer"])
    >>> spread_over_growth(std).round(2).to_dict()
    {'q': 0.67}
    """
    spread = layer_spread(std).iloc[:, -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        gone = np.log(growth_since_start(std).iloc[:, -1]).abs()
        mean = gone.groupby(level="role", sort=False).agg(lambda of: of.mean(skipna=False))
        return (np.log(spread) / mean).rename("spread_over_growth")


def depth_correlation(values: pd.Series) -> pd.Series:
    """Return the rank correlation of a quantity with the number of the layer, by role.

    Parameters
    ----------
    values
        Indexed by role and layer, as :func:`expansion_rates` gives it.

    Returns
    -------
    pandas.Series
        Spearman's coefficient, indexed by role: -1 if it falls from each layer to the next, 1 if
        it rises, NaN if it is constant, a value is NaN, or a role has fewer than two layers.

    >>> index = pd.MultiIndex.from_product([["q"], [1, 2, 3]], names=["role", "layer"])
    >>> depth_correlation(pd.Series([0.4, 0.3, 0.1], index)).round(6).to_dict()
    {'q': -1.0}
    """
    require(
        isinstance(values, pd.Series)
        and set(values.index.names) == {"role", "layer"}
        and pd.api.types.is_float_dtype(values.dtype),
        f"values must be a Series of numbers indexed by role and layer, not {shown(values)}.",
    )

    def coefficient(of_role: pd.Series) -> float:
        layers = of_role.index.get_level_values("layer")
        if of_role.nunique() < 2:
            return math.nan
        return float(stats.spearmanr(layers, of_role.to_numpy()).statistic)

    return values.groupby(level="role", sort=False).apply(coefficient)


def growth_since_start(std: pd.DataFrame) -> pd.DataFrame:
    """Return the std of each matrix at each step over that at the first one.

    Parameters
    ----------
    std
        Result of :func:`weight_std`.

    Returns
    -------
    pandas.DataFrame
        As `std`; infinite or NaN for a matrix that starts at 0.

    >>> std = pd.DataFrame({"role": "q", "layer": [1, 2], 0: [0.1, 0.2], 50: [0.2, 0.1]})
    >>> growth_since_start(std.set_index(["role", "layer"]))[50].to_list()
    [2.0, 0.5]
    """
    checks.number_table("std", std, levels=("role", "layer"), rows=True)
    require(std.shape[1] > 0, "the table std has no columns: there is nothing to compute.")
    with np.errstate(divide="ignore", invalid="ignore"):
        return std.div(std.iloc[:, 0], axis=0)


def over_layers(std: pd.DataFrame) -> pd.DataFrame:
    """Return lowest, highest, median and mean std over the layers of each role, at each step.

    Parameters
    ----------
    std
        Result of :func:`weight_std`, or of :func:`initscope.analysis.predicted_std`.

    Returns
    -------
    pandas.DataFrame
        A row for each of ``"low"``, ``"median"``, ``"high"`` and ``"mean"``, and each role; a
        column a step. Layers whose std is NaN are left out.

    >>> std = pd.DataFrame({"role": "q", "layer": [1, 2, 3], 0: [0.1, 0.2, 0.6]})
    >>> over_layers(std.set_index(["role", "layer"])).loc[("median", "q"), 0]
    np.float64(0.2)
    """
    checks.number_table("std", std, levels=("role", "layer"), rows=True)
    by_role = std.groupby(level="role", sort=False)
    found = {
        "low": by_role.min(),
        "median": by_role.median(),
        "high": by_role.max(),
        "mean": by_role.mean(),
    }
    return pd.concat(found, names=["over_layers"])


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


def tail_shape(variances: pd.DataFrame, role: str, layer: int) -> pd.DataFrame:
    """Return how far the weights of one matrix are from normal, at each recorded step.

    Parameters
    ----------
    variances
        As in :func:`initscope.analysis.statistic_table`.
    role, layer
        The matrix.

    Returns
    -------
    pandas.DataFrame
        Indexed by step: ``kurtosis`` (3 for a normal distribution), and ``tail``, the distance
        between the 0.1% and the 99.9% quantile over that of a normal distribution of the same std.

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
    tail = (high - low) / (stats.norm.ppf(0.999) - stats.norm.ppf(0.001)) / spread[kurtosis.index]
    return pd.DataFrame({"kurtosis": kurtosis, "tail": tail}).dropna()
