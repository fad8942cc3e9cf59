"""Decide by written rules what runs say of the claims on Q, K and V, and of predictions.

An outcome is True where the rule finds support, False where it finds a contradiction, and None
where it decides nothing. An interval is a tuple ``(mean, low, high)``, of
:func:`initscope.analysis.mean_interval` or :func:`initscope.analysis.difference_interval`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from initscope import checks
from initscope.analysis.interval_rules import as_range
from initscope.analysis.intervals import mean_interval
from initscope.analysis.trajectories import (
    check_std,
    depth_correlation,
    expansion_rates,
    layer_spread,
    order_of_layers,
)
from initscope.checks import require
from initscope.errors import shown

__all__ = [
    "bad_ends_foretold",
    "bands_at_rest",
    "driven_exponent",
    "expected_order",
    "late_changes",
    "narrow_bands",
    "narrow_but_for_first",
    "noise_curve_loses",
    "shallow_first",
    "without_first_layer",
]

NOISE_EXPONENT = 2.0


def without_first_layer(std: pd.DataFrame) -> pd.DataFrame:
    """Return the matrices of all layers but the first.

    >>> matrices = pd.MultiIndex.from_tuples([("q", 1), ("q", 2)], names=["role", "layer"])
    >>> std = pd.DataFrame([[0.02, 0.03], [0.02, 0.04]], matrices, pd.Index([0, 10], name="step"))
    >>> without_first_layer(std).index.to_list()
    [('q', 2)]
    """
    check_std(std)
    layers = std.index.get_level_values("layer")
    rest = std[layers > layers.min()]
    require(len(rest) > 0, "the table std has one layer alone: without it nothing is left.")
    return rest


def shallow_first(stds: Sequence[pd.DataFrame], until: int) -> pd.DataFrame:
    """Return whether shallow layers of each role expand first, with and without the first one.

    Parameters
    ----------
    stds, until
        As in :func:`initscope.analysis.order_of_layers`.

    Returns
    -------
    pandas.DataFrame
        Indexed by role: ``order``, ``low``, ``high`` of all layers, ``order_of_rest``,
        ``low_of_rest``, ``high_of_rest`` without the first; ``outcome``: True if both intervals
        lie below 0, False if one lies above 0, None otherwise.

    >>> matrices = pd.MultiIndex.from_product([["q"], [1, 2, 3]], names=["role", "layer"])
    >>> steps = pd.Index([0, 10], name="step")
    >>> std = pd.DataFrame([[0.1, 0.4], [0.1, 0.3], [0.1, 0.2]], matrices, steps)
    >>> shallow_first([std, std], until=10)["outcome"].to_dict()
    {'q': True}
    """
    stds = checks.items("stds", stds, 1)
    found = order_of_layers(stds, until)
    rest = order_of_layers([without_first_layer(std) for std in stds], until)
    both_below = (found["high"] < 0) & (rest["high"] < 0)
    one_above = (found["low"] > 0) | (rest["low"] > 0)
    return found.join(rest.add_suffix("_of_rest")).assign(outcome=_outcomes(both_below, one_above))


def narrow_bands(stds: Sequence[pd.DataFrame], ratio: float) -> pd.DataFrame:
    """Return whether the stds of the layers of each role end in a narrow band.

    Parameters
    ----------
    stds
        One result of :func:`initscope.analysis.weight_std` a seed.
    ratio
        A band is narrow if its largest std is at most so many times its smallest.

    Returns
    -------
    pandas.DataFrame
        Indexed by role: ``low`` and ``high``, the smallest and the largest spread of a seed at the
        end; ``outcome``: True if every seed is narrow, False if none is, None if they differ or
        one has no spread.

    >>> matrices = pd.MultiIndex.from_tuples([("q", 1), ("q", 2)], names=["role", "layer"])
    >>> std = pd.DataFrame([[0.02, 0.03], [0.02, 0.04]], matrices, pd.Index([0, 10], name="step"))
    >>> narrow_bands([std], ratio=1.5)["outcome"].to_dict()
    {'q': True}
    """
    ratio = checks.number("ratio", ratio, 1.0)
    stds = checks.items("stds", stds, 1)
    return _at_most(
        pd.DataFrame({n: layer_spread(std).iloc[:, -1] for n, std in enumerate(stds)}), ratio
    )


def late_changes(std: pd.DataFrame, since: int) -> pd.Series:
    """Return the largest change of the std of a layer after a step, for each role.

    Parameters
    ----------
    std
        Result of :func:`initscope.analysis.weight_std`.
    since
        A recorded step before the last.

    Returns
    -------
    pandas.Series
        Indexed by role: largest std over the smallest, at the steps from `since` on, less 1, of the
        layer where that is largest. NaN where a layer diverged.

    >>> matrices = pd.MultiIndex.from_tuples([("q", 1), ("q", 2)], names=["role", "layer"])
    >>> std = pd.DataFrame([[0.02, 0.03], [0.02, 0.04]], matrices, pd.Index([0, 10], name="step"))
    >>> late_changes(std, since=0).round(2).to_dict()
    {'q': 1.0}
    """
    check_std(std)
    first, last = std.columns[0], std.columns[-1]
    since = checks.whole("since", since, 0)
    require(
        since in std.columns and since < last,
        f"since = {shown(since)} was not recorded before the last step: take one of the steps from "
        f"{first} to below {last}.",
    )
    late = std.loc[:, std.columns >= since]
    with np.errstate(divide="ignore", invalid="ignore"):
        change = late.max(axis=1, skipna=False) / late.min(axis=1, skipna=False) - 1
    by_role = change.groupby(level="role", sort=False)
    return by_role.agg(lambda layers: layers.max(skipna=False)).rename("late_change")


def bands_at_rest(stds: Sequence[pd.DataFrame], since: int, tolerance: float) -> pd.DataFrame:
    """Return whether the stds of all layers of each role have come to rest.

    Parameters
    ----------
    stds, since
        As in :func:`narrow_bands` and :func:`late_changes`.
    tolerance
        A matrix rests if its std changes by at most this share from `since` on.

    Returns
    -------
    pandas.DataFrame
        As of :func:`narrow_bands`, of the changes: True if all rest in every seed, False if in
        none, None otherwise.

    >>> matrices = pd.MultiIndex.from_tuples([("q", 1), ("q", 2)], names=["role", "layer"])
    >>> std = pd.DataFrame([[0.02, 0.03], [0.02, 0.04]], matrices, pd.Index([0, 10], name="step"))
    >>> bands_at_rest([std], since=0, tolerance=0.05)["outcome"].to_dict()
    {'q': False}
    """
    tolerance = checks.number("tolerance", tolerance, 0.0)
    stds = checks.items("stds", stds, 1)
    return _at_most(
        pd.DataFrame({n: late_changes(std, since) for n, std in enumerate(stds)}), tolerance
    )


def bad_ends_foretold(
    stds: Mapping[str, pd.DataFrame], losses: Mapping[str, pd.Series], until: int
) -> pd.Series:
    """Return whether a std stood out before, for each run that ends badly.

    A run ends badly if it diverges (its last loss is not finite), or if its loss at the end is
    above that at the last evaluation up to `until`. A std stands out if it is below that of the
    same matrix at the same step in every other run, or above.

    Parameters
    ----------
    stds
        Results of :func:`initscope.analysis.weight_std`, by run, of the same matrices.
    losses
        Validation losses by run, indexed by the step.
    until
        Step up to which the first loss counts.

    Returns
    -------
    pandas.Series
        Indexed by the runs that end badly: True if a std stood out at a step before the first
        loss, after `until`, that is above that of `until` or not finite. Empty if none does.

    >>> matrices = pd.MultiIndex.from_tuples([("q", 1)], names=["role", "layer"])
    >>> std = pd.DataFrame([[0.02, 0.03, 0.03]], matrices, pd.Index([0, 10, 20], name="step"))
    >>> losses = pd.Series([5.0, 3.0, 2.0], [0, 10, 20])
    >>> worse = pd.Series([5.0, 3.0, 4.0], [0, 10, 20])
    >>> stds = {"a": std, "b": std, "c": std + 0.01}
    >>> bad_ends_foretold(stds, {"a": losses, "b": losses, "c": worse}, until=10).to_dict()
    {'c': True}
    """
    stds = dict(checks.mapping("stds", stds))
    losses = dict(checks.mapping("losses", losses))
    until = checks.whole("until", until, 0)
    require(stds.keys() == losses.keys(), "stds and losses must be of the same runs.")
    for std in stds.values():
        check_std(std)
    found = {}
    for name, loss in losses.items():
        bad_at = _turns_bad_at(name, loss, until)
        if bad_at is not None:
            others = [std for other, std in stds.items() if other != name]
            found[name] = any(
                _stands_out(stds[name], others, step)
                for step in stds[name].columns[stds[name].columns < bad_at]
            )
    return pd.Series(found, dtype=object, name="foretold")


def driven_exponent(
    exponents: ArrayLike, low: float, high: float, noise: float = NOISE_EXPONENT
) -> bool | None:
    """Return whether powers of the learning rate are those of matrices that the loss drives.

    Parameters
    ----------
    exponents
        Of :func:`initscope.analysis.growth_exponents`, or slopes of the std from
        :func:`initscope.analysis.power_slopes`: one a seed, or one a seed and setting.
    low, high
        Where their mean is expected.
    noise
        The power of noise: 2 for growth, .5 for a std at rest.

    Returns
    -------
    bool or None
        False if Student's 95% interval of the mean reaches that of noise, or the mean lies
        outside; None for a single seed, or if one has no exponent.

    >>> driven_exponent([1.3, 1.4, 1.35], 0.8, 1.6), driven_exponent([1.9, 2.1, 2.0], 0.8, 1.6)
    (True, False)
    """
    low, high = as_range(low, high)
    mean, _, above = mean_interval(exponents)
    if not math.isfinite(above):
        return None
    return above < checks.number("noise", noise) and low <= mean <= high


def noise_curve_loses(distances: Sequence[pd.DataFrame]) -> pd.Series:
    """Return whether the curve of noise is farther from the std of a role than no change is.

    Parameters
    ----------
    distances
        Results of :func:`initscope.analysis.curve_distances`, one a seed, with the columns
        ``noise`` and ``no change``.

    Returns
    -------
    pandas.Series
        Indexed by role: True if it is, in the mean over seeds; None if a distance is not finite,
        or both are the same.

    >>> table = pd.DataFrame({"noise": [0.3, 0.1], "no change": [0.1, 0.4]}, index=["v", "mlp_in"])
    >>> noise_curve_loses([table, table]).to_dict()
    {'v': True, 'mlp_in': False}
    """
    tables = [
        checks.frame("a table in distances", table, numbers=("noise", "no change"), rows=False)
        for table in checks.items("distances", distances, 1)
    ]
    require(
        all(table.index.equals(tables[0].index) for table in tables),
        "the tables in distances must have the same rows.",
    )
    excess = sum(table["noise"] - table["no change"] for table in tables)
    return _outcomes(excess > 0, excess < 0)


def narrow_but_for_first(stds: Sequence[pd.DataFrame], ratio: float, wide: str) -> pd.Series:
    """Return whether bands are narrow but for the first layer, and one role wide with it.

    Parameters
    ----------
    stds, ratio
        As in :func:`narrow_bands`.
    wide
        The role whose band is expected to be wider than `ratio` with the first layer.

    Returns
    -------
    pandas.Series
        Indexed by role, and ``"<wide> with the first layer"``: True if every seed is as expected,
        False otherwise; None where a seed has no spread.

    >>> matrices = pd.MultiIndex.from_product([["q"], [1, 2, 3]], names=["role", "layer"])
    >>> std = pd.DataFrame({0: [0.1, 0.1, 0.1], 10: [0.4, 0.2, 0.2]}, matrices)
    >>> narrow_but_for_first([std], ratio=1.5, wide="q").to_dict()
    {'q': True, 'q with the first layer': True}
    """
    stds = checks.items("stds", stds, 1)
    rest = narrow_bands([without_first_layer(std) for std in stds], ratio)
    whole = narrow_bands(stds, ratio)
    wide = checks.choice("wide", wide, list(whole.index))
    high, low = (
        rest["high"],
        whole.loc[[wide], "low"].rename(lambda _: f"{wide} with the first layer"),
    )
    return pd.concat([_outcomes(high <= ratio, high > ratio), _outcomes(low > ratio, low <= ratio)])


def expected_order(
    stds: Sequence[pd.DataFrame],
    until: int,
    above: Mapping[str, float] | None = None,
    below: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Return whether all layers but the first expand in the expected order.

    Parameters
    ----------
    stds, until
        As in :func:`initscope.analysis.order_of_layers`.
    above, below
        By role what the rank correlation of expansion with the layer is to exceed, or to stay
        below, in the mean over seeds.

    Returns
    -------
    pandas.DataFrame
        Indexed by those roles: ``order``, ``bound``, ``outcome``: True on the expected side, None
        where there is no correlation.

    >>> matrices = pd.MultiIndex.from_product([["q"], [1, 2, 3]], names=["role", "layer"])
    >>> std = pd.DataFrame({0: [0.1, 0.1, 0.1], 10: [0.4, 0.2, 0.3]}, matrices)
    >>> expected_order([std], 10, above={"q": 0.5})["outcome"].to_dict()
    {'q': True}
    """
    stds = checks.items("stds", stds, 1)
    rates = [expansion_rates(without_first_layer(std), until) for std in stds]
    order = pd.DataFrame({n: depth_correlation(rate) for n, rate in enumerate(rates)})
    order = order.mean(axis=1, skipna=False)
    rows = {}
    for side, name, bounds in ((1, "above", above), (-1, "below", below)):
        for role, bound in checks.mapping(name, {} if bounds is None else bounds).items():
            checks.choice(f"a role in {name}", role, list(order.index))
            require(role not in rows, f"{role} cannot be both in above and in below.")
            beyond = side * (order[role] - checks.number(f"{name}[{role!r}]", bound))
            outcome = None if math.isnan(beyond) else bool(beyond > 0)
            rows[role] = {"order": order[role], "bound": bound, "outcome": outcome}
    columns = ["order", "bound", "outcome"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).astype({"outcome": object})


def _outcomes(support: pd.Series, contradiction: pd.Series) -> pd.Series:
    """Return True, False or None by row; a comparison with NaN is neither."""
    found = [
        True if yes else False if no else None
        for yes, no in zip(support, contradiction, strict=True)
    ]
    return pd.Series(found, support.index, object, name="outcome")


def _at_most(values: pd.DataFrame, bound: float) -> pd.DataFrame:
    """Return by row whether the values of all seeds are at most `bound`, or none is."""
    low, high = values.min(axis=1, skipna=False), values.max(axis=1, skipna=False)
    return pd.DataFrame(
        {"low": low, "high": high, "outcome": _outcomes(high <= bound, low > bound)}
    )


def _turns_bad_at(name: str, loss: pd.Series, until: int) -> float | None:
    """Return the first step after `until` with a loss above that of `until`, if it ends so."""
    require(
        isinstance(loss, pd.Series) and pd.api.types.is_numeric_dtype(loss.dtype) and len(loss) > 0,
        f"the losses of {name} must be a Series of numbers, by step.",
    )
    early, late = loss[loss.index <= until], loss[loss.index > until]
    require(len(early) > 0, f"the losses of {name} begin after step {until}.")
    worse = late[~(late <= early.iloc[-1])]
    ends_badly = len(worse) > 0 and worse.index[-1] == loss.index[-1]
    return float(worse.index[0]) if ends_badly else None


def _stands_out(std: pd.DataFrame, others: Sequence[pd.DataFrame], step: int) -> bool:
    """Return whether a std at a step is outside of what all others have there."""
    there = [other[step].reindex(std.index) for other in others if step in other.columns]
    if not there:
        return False
    table = pd.concat(there, axis=1)
    outside = (std[step] < table.min(axis=1)) | (std[step] > table.max(axis=1))
    return bool(outside.any())
