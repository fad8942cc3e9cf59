r"""Tell noise from drift in the std of weight matrices, and a theory's curve from dumb ones.

The steps of AdamW add to the mean square :math:`\rho` of a matrix what decay does not explain.
Gradients that are noise add :math:`D \eta^2` an update, a steady drift adds in proportion to
:math:`\eta`: the exponent of the growth against the learning rate tells one from the other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from initscope import checks
from initscope.analysis.noise import learning_rates_until
from initscope.analysis.trajectories import check_std
from initscope.checks import is_number, require
from initscope.errors import shown

__all__ = [
    "baseline_curves",
    "curve_distances",
    "curve_errors",
    "growth_by_rate",
    "growth_exponents",
    "growth_in_windows",
]


def growth_in_windows(
    std: pd.DataFrame, lr: ArrayLike, weight_decay: float, edges: Sequence[int]
) -> pd.DataFrame:
    r"""Return what steps add to the mean square of each matrix, per update, in each window.

    .. math::

       \frac{1}{b - a} \Bigl( \rho_b - \rho_a
       + \sum_t \bigl( 1 - (1 - \eta_t \lambda)^2 \bigr) \rho_{t-1} \Bigr)

    is an identity, but for :math:`\rho` between recorded steps, which is interpolated in the term
    of the decay.

    Parameters
    ----------
    std
        Result of :func:`initscope.analysis.weight_std`.
    lr
        Learning rate of updates 1, 2, ....
    weight_decay
        Of AdamW.
    edges
        Recorded steps, ascending, at least two: a window reaches from each to the next.

    Returns
    -------
    pandas.DataFrame
        Indexed by role and layer; one column a window, named by ``after`` and ``until``. Below 0
        where the gradient pulled the weights back; NaN for a matrix that diverged.

    Raises
    ------
    UsageError
        Edges that were not recorded or do not ascend; fewer learning rates than steps.

    Examples
    --------
    >>> matrices = pd.MultiIndex.from_tuples([("q", 1), ("q", 2)], names=["role", "layer"])
    >>> std = pd.DataFrame([[0.02, 0.03], [0.02, 0.04]], matrices, pd.Index([0, 10], name="step"))
    >>> growth = growth_in_windows(std, [0.001] * 10, weight_decay=0.1, edges=[0, 10])
    >>> growth[0, 10].round(6).tolist()
    [5e-05, 0.00012]
    """
    check_std(std)
    decay = checks.number("weight_decay", weight_decay, 0.0)
    edges = checks.items("edges", edges, 2)
    first, last = std.columns[0], std.columns[-1]
    require(
        all(is_number(edge, 0, whole=True) and edge in std.columns for edge in edges)
        and all(a < b for a, b in itertools.pairwise(edges)),
        f"edges must be recorded steps from {first} to {last}, ascending, not {shown(edges)}.",
    )
    rates = learning_rates_until(lr, last)
    steps = np.asarray(std.columns, int)
    between = np.arange(first, last + 1)
    square = std.to_numpy(float) ** 2
    at_each = np.array([np.interp(between, steps, row) for row in square])
    taken = (1 - (1 - rates[first:] * decay) ** 2) * at_each[:, :-1]
    grown = square[:, steps.searchsorted(edges)]
    lost = np.column_stack([np.zeros(len(std)), taken.cumsum(axis=1)])[:, np.subtract(edges, first)]
    growth = np.diff(grown + lost, axis=1) / np.diff(edges)
    windows = pd.MultiIndex.from_arrays([edges[:-1], edges[1:]], names=["after", "until"])
    return pd.DataFrame(growth, std.index, windows)


def growth_exponents(growth: pd.DataFrame, lr: ArrayLike) -> pd.Series:
    r"""Return the power of the learning rate that growth follows, for each role.

    The slope, by least squares, of :math:`\ln` of the median growth over the layers on
    :math:`\ln` of the rms learning rate of the window: 2 for noise, 1 for a steady drift.

    Parameters
    ----------
    growth
        Result of :func:`growth_in_windows`, of at least two windows.
    lr
        Learning rate of updates 1, 2, ....

    Returns
    -------
    pandas.Series
        Indexed by role; NaN where the median of a window is not above 0, or the rate is the same
        in all.

    Raises
    ------
    UsageError
        Fewer than two windows, or fewer learning rates than steps.

    Examples
    --------
    >>> columns = pd.MultiIndex.from_tuples([(0, 10), (10, 20)], names=["after", "until"])
    >>> matrices = pd.MultiIndex.from_tuples([("q", 1)], names=["role", "layer"])
    >>> growth = pd.DataFrame([[4e-6, 1e-6]], matrices, columns)
    >>> print(growth_exponents(growth, [0.002] * 10 + [0.001] * 10)["q"].round(6))
    2.0
    """
    medians = growth_by_rate(growth, lr)
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = np.log(np.asarray(medians.columns, float)), np.log(medians.to_numpy())
        spread = x - x.mean()
        slopes = (y - y.mean(axis=1, keepdims=True)) @ spread / (spread @ spread)
    slopes = np.where(np.isfinite(slopes), slopes, np.nan)
    return pd.Series(slopes, medians.index, name="exponent")


def growth_by_rate(growth: pd.DataFrame, lr: ArrayLike) -> pd.DataFrame:
    """Return the median growth over the layers of each role, by the learning rate of the window.

    Parameters
    ----------
    growth, lr
        As in :func:`growth_exponents`.

    Returns
    -------
    pandas.DataFrame
        Indexed by role, a column a window, named by its rms learning rate, in the order of the
        windows. NaN where a layer has no growth.

    Examples
    --------
    >>> columns = pd.MultiIndex.from_tuples([(0, 10), (10, 20)], names=["after", "until"])
    >>> matrices = pd.MultiIndex.from_tuples([("q", 1)], names=["role", "layer"])
    >>> growth = pd.DataFrame([[4e-6, 1e-6]], matrices, columns)
    >>> growth_by_rate(growth, [0.002] * 10 + [0.001] * 10).loc["q"].to_dict()
    {0.002: 4e-06, 0.001: 1e-06}
    """
    table = checks.number_table("growth", growth, levels=("role", "layer"))
    require(
        list(table.columns.names) == ["after", "until"] and table.shape[1] >= 2,
        "growth must be a table of growth_in_windows with at least two windows.",
    )
    rates = learning_rates_until(lr, int(table.columns[-1][1]))
    rms = [math.sqrt(np.mean(rates[a:b] ** 2)) for a, b in table.columns]
    medians = table.groupby(level="role", sort=False).agg(lambda of: of.median(skipna=False))
    return medians.set_axis(pd.Index(rms, name="learning_rate"), axis=1)


def baseline_curves(std: pd.DataFrame, lr: ArrayLike) -> dict[str, pd.DataFrame]:
    """Return the curves that a theory of the std has to beat: no change, and no decay.

    Parameters
    ----------
    std
        Result of :func:`initscope.analysis.weight_std`; the first column is where it starts.
    lr
        Learning rate of updates 1, 2, ....

    Returns
    -------
    dict
        ``"no change"``, the first std at every step; ``"no decay"``, the square root of its square
        plus the sum of the squares of the learning rates. Tables like `std`.

    Examples
    --------
    >>> matrices = pd.MultiIndex.from_tuples([("q", 1), ("q", 2)], names=["role", "layer"])
    >>> std = pd.DataFrame([[0.02, 0.03], [0.02, 0.04]], matrices, pd.Index([0, 10], name="step"))
    >>> baseline_curves(std, [0.01] * 10)["no decay"].loc["q", 1].round(4).tolist()
    [0.02, 0.0374]
    """
    check_std(std)
    first, last = std.columns[0], std.columns[-1]
    rates = learning_rates_until(lr, last)[first:]
    added = np.concatenate([[0.0], np.cumsum(rates**2)])[np.asarray(std.columns) - first]
    start = std.iloc[:, [0]].to_numpy(float)
    constant = np.repeat(start, std.shape[1], axis=1)
    curves = {"no change": constant, "no decay": np.sqrt(start**2 + added)}
    return {name: pd.DataFrame(c, std.index, std.columns) for name, c in curves.items()}


def curve_distances(std: pd.DataFrame, curves: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    r"""Return how far the std is from each curve, over all steps and layers.

    Parameters
    ----------
    std
        Result of :func:`initscope.analysis.weight_std`.
    curves
        Tables like it, by name: of :func:`initscope.analysis.predicted_std`, of
        :func:`baseline_curves`.

    Returns
    -------
    pandas.DataFrame
        Indexed by role, a column a curve: mean over the steps after the first, and over the
        layers, of :math:`|\ln(\sigma / \text{curve})|`; .1 is about 10%.

    Raises
    ------
    UsageError
        A curve with other rows or columns.

    Examples
    --------
    >>> matrices = pd.MultiIndex.from_tuples([("q", 1), ("q", 2)], names=["role", "layer"])
    >>> std = pd.DataFrame([[0.02, 0.03], [0.02, 0.04]], matrices, pd.Index([0, 10], name="step"))
    >>> curve_distances(std, {"no change": std * 0 + 0.02}).loc["q"].round(3).to_dict()
    {'no change': 0.549}
    """
    check_std(std)
    found = {}
    for name, curve in checks.mapping("curves", curves).items():
        _check_curve(f"curve {shown(name)}", curve, std)
        found[name] = curve_errors(std, curve).iloc[:, 1:].mean(axis=1, skipna=False)
    return pd.DataFrame(found)


def curve_errors(std: pd.DataFrame, curve: pd.DataFrame) -> pd.DataFrame:
    r"""Return how far the std is from a curve at each step, over all layers.

    Parameters
    ----------
    std
        Result of :func:`initscope.analysis.weight_std`.
    curve
        A table like it.

    Returns
    -------
    pandas.DataFrame
        Indexed by role, a column a step: mean over the layers of
        :math:`|\ln(\sigma / \text{curve})|`; NaN where one of them is not known.

    Raises
    ------
    UsageError
        A curve with other rows or columns.

    Examples
    --------
    >>> matrices = pd.MultiIndex.from_tuples([("q", 1), ("q", 2)], names=["role", "layer"])
    >>> std = pd.DataFrame([[0.02, 0.03], [0.02, 0.04]], matrices, pd.Index([0, 10], name="step"))
    >>> curve_errors(std, std * 0 + 0.02).loc["q"].round(3).to_dict()
    {0: 0.0, 10: 0.549}
    """
    check_std(std)
    _check_curve("curve", curve, std)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.log(std / curve).abs()
    by_role = distance.groupby(level="role", sort=False)
    return by_role.agg(lambda layers: layers.mean(skipna=False))


def _check_curve(name: str, curve: pd.DataFrame, std: pd.DataFrame) -> None:
    checks.number_table(name, curve)
    require(
        curve.index.equals(std.index) and curve.columns.equals(std.columns),
        f"the {name} must have the rows and columns of std.",
    )
