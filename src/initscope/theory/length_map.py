"""The length map of wide random networks and its fixed points: the variance layer by layer.

Poole et al. (2016), Exponential expressivity in deep neural networks through transient chaos,
arXiv:1606.05340; Schoenholz et al. (2017), Deep information propagation, arXiv:1611.01232. A
layer is z' = W phi(z) + b with W_ij ~ N(0, sigma_w^2 / n) and b_i ~ N(0, sigma_b^2).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import scipy  # its parts when they are asked for: a specification needs names alone

from initscope.checks import (
    Array,
    ArrayLike,
    items,
    nonnegative,
    one,
    plain,
    positive,
    require,
    require_name,
    together,
    within,
)
from initscope.errors import UsageError, shown
from initscope.theory.activations import Activation, ActivationLike, resolve
from initscope.theory.expectations import expectation

__all__ = ["fixed_point", "length_map"]

Q_RANGE = (1e-10, 1e10)
"""Variances between which fixed points are looked for."""

TABLE = 512
CHUNK = 8192
MARGINAL = 1e-12  # relative change of the variance below which every variance is a fixed point


def length_map(
    q: ArrayLike, activation: ActivationLike, sigma_w2: ArrayLike, sigma_b2: ArrayLike = 0.0
) -> Array:
    r"""Return the variance of the pre-activations one layer on.

    .. math:: V(q) = \sigma_w^2 \, E[\phi(\sqrt q z)^2] + \sigma_b^2, \qquad z \sim N(0, 1)

    (Poole et al. 2016, section 2).

    Parameters
    ----------
    q
        Variance of the pre-activations per element.
    activation
        Name or callable.
    sigma_w2, sigma_b2
        Variance of a weight times the fan-in, and of a bias. All broadcast.

    Raises
    ------
    UsageError
        Unknown activation; negative or NaN variances.

    Examples
    --------
    >>> print(length_map(np.array([0.5, 3.0]), "relu", 2.0, 0.1))
    [0.6 3.1]
    """
    length = nonnegative("q", q)
    weight, bias = variances(sigma_w2, sigma_b2)
    together(q=length, sigma_w2=weight, sigma_b2=bias)
    (second,) = expectation(resolve(activation), length, ("second",))
    return plain(weight * second + bias)


def variances(sigma_w2: ArrayLike, sigma_b2: ArrayLike) -> tuple[Array, Array]:
    weight, bias = nonnegative("sigma_w2", sigma_w2), nonnegative("sigma_b2", sigma_b2)
    together(sigma_w2=weight, sigma_b2=bias)
    return weight, bias


@lru_cache(maxsize=32)
def table(activation: Activation, low: float, high: float) -> tuple[Array, Array, Array, Array]:
    """Return a logarithmic grid of q, and E[phi^2], its slope and E[phi'^2] there."""
    q = np.geomspace(low, high, TABLE)
    second, slope, derivative_second = expectation(
        activation, q, ("second", "slope", "derivative_second")
    )
    return q, second, slope, derivative_second


def check_range(q_range: tuple[float, float]) -> tuple[float, float]:
    ends = items("q_range", q_range)
    require(len(ends) == 2, f"q_range must be a pair of variances, not {shown(q_range)}.")
    low, high = (one("q_range", positive("q_range", end)) for end in ends)
    if not low < high:
        raise UsageError(
            f"q_range must go from a lower to a higher variance, not {shown(q_range)}."
        )
    return low, high


def check_missing(missing: object) -> None:
    require_name("value of missing", missing, ("raise", "nan"))


def _homogeneous_fixed_point(second: float, weight: Array, bias: Array, start: Array) -> Array:
    """Return the fixed point where E[phi^2] = second * q; NaN where it grows without bound."""
    factor = weight * second
    with np.errstate(divide="ignore", invalid="ignore"):
        solution = np.where(factor < 1, bias / (1 - factor), np.nan)
    marginal = np.abs(factor - 1) < MARGINAL
    return np.where(marginal, np.where(bias == 0, start, np.nan), solution)


def fixed_point(
    activation: ActivationLike | Activation,
    sigma_w2: ArrayLike,
    sigma_b2: ArrayLike = 0.0,
    *,
    q0: ArrayLike = 1.0,
    q_range: tuple[float, float] = Q_RANGE,
    missing: Literal["raise", "nan"] = "raise",
) -> Array:
    r"""Return the variance q* that the length map leaves as it is: V(q*) = q*.

    Of several fixed points it is the one that repeated layers lead to from `q0`: the next above
    it if V(q0) > q0, the next below it otherwise (Poole et al. 2016; V increases with
    q for the named activations).

    Parameters
    ----------
    activation
        Name or callable.
    sigma_w2, sigma_b2
        Variance of a weight times the fan-in, and of a bias; numbers or arrays, broadcast.
    q0
        Variance to start from, above 0.
    q_range
        Where to look. Fixed points below it are found as well, those above it are not.
    missing
        What to do where the variance leaves the range without reaching a fixed point:
        ``"raise"``, or return ``"nan"`` there.

    Returns
    -------
    numpy.ndarray
        q*, a variance per element. 0 where the variance vanishes with depth. Where every q is a
        fixed point (ReLU at sigma_w2 = 2, sigma_b2 = 0) it is `q0`.

    Raises
    ------
    UsageError
        No fixed point, with the range searched; negative or NaN variances; unknown activation.

    Examples
    --------
    >>> print(f"{fixed_point('tanh', 2.0, 0.05):.6f}")
    0.721762
    >>> fixed_point("relu", 3.0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    initscope.errors.UsageError: the length map of 'relu' ... between 1 and 1e+10: ...
    """
    check_missing(missing)
    known = resolve(activation)
    low, high = check_range(q_range)
    weight, bias = variances(sigma_w2, sigma_b2)
    start = within("q0", q0, low, high)
    together(sigma_w2=weight, sigma_b2=bias, q0=start)
    weight, bias, start = np.broadcast_arrays(weight, bias, start)
    flat = [np.ascontiguousarray(array).ravel() for array in (weight, bias, start)]
    if known.slopes is not None:
        second = (known.slopes[0] ** 2 + known.slopes[1] ** 2) / 2
        result = _homogeneous_fixed_point(second, *flat)
    else:
        result = np.empty(weight.size)
        for begin in range(0, weight.size, CHUNK):
            part = slice(begin, begin + CHUNK)
            result[part] = _search(known, flat[0][part], flat[1][part], flat[2][part], low, high)
    lost = np.isnan(result)
    if missing == "raise" and lost.any():
        first = int(np.argmax(lost))
        more = f" ({lost.sum()} of {lost.size} such points.)" if lost.size > 1 else ""
        raise UsageError(
            f"the length map of {known.name!r} with sigma_w2 = {flat[0][first]:g} and "
            f"sigma_b2 = {flat[1][first]:g} has no fixed point between {flat[2][first]:g} and "
            f"{high:g}: from q0 = {flat[2][first]:g} the variance grows without bound.{more}"
        )
    return plain(result.reshape(weight.shape))


def _search(
    activation: Activation, weight: Array, bias: Array, start: Array, low: float, high: float
) -> Array:
    """Find the fixed points for arrays of one axis; NaN where there is none."""
    grid, second, slope, _ = table(activation, low, high)
    rises = weight[:, None] * second + bias[:, None] > grid
    (second_start,) = expectation(activation, start, ("second",))
    upward = weight * second_start + bias > start
    first_above = np.searchsorted(grid, start)  # grid[first_above - 1] < start <= grid[...]
    index = np.arange(len(grid))

    # Upward: the first point at or above the start where V(q) <= q. Downward: the last point
    # below it where V(q) > q. The fixed point lies just before the one, just after the other.
    stop = np.where(~rises & (index >= first_above[:, None]), index, len(grid)).min(axis=1)
    last = np.where(rises & (index < first_above[:, None]), index, -1).max(axis=1)
    left = np.where(upward, np.maximum(stop - 1, first_above - 1), last)
    lost = upward & (stop == len(grid))
    bottom = ~upward & (last < 0)
    clipped = np.clip(left, 0, len(grid) - 2)
    lower, upper = np.log(grid[clipped]), np.log(grid[clipped + 1])
    lower = np.where(upward, np.maximum(lower, np.log(start)), lower)
    upper = np.where(upward, upper, np.minimum(upper, np.log(start)))

    u = (lower + upper) / 2
    interpolate = _log_interpolant(grid, second, slope)
    active = ~(lost | bottom)
    # By hand: the signs at the ends are those of the map itself, and beside a fixed point those of
    # its interpolant may be equal. There bisection ends at the nearer end, and find_root fails.
    for _ in range(22):
        above = weight * np.exp(interpolate(u)) + bias > np.exp(u)
        lower, upper = np.where(above, u, lower), np.where(above, upper, u)
        u = (lower + upper) / 2
    for _ in range(2):  # Newton steps on the map itself take the interpolation's 1e-9 away
        q = np.exp(u[active])
        exact, exact_slope = expectation(activation, q, ("second", "slope"))
        image = weight[active] * exact + bias[active]
        curve = weight[active] * exact_slope * q / image - 1
        with np.errstate(divide="ignore", invalid="ignore"):
            change = -np.log(image / q) / curve
        # Near a tangency Newton's step is rounding over nearly nothing: keep what there is.
        u[active] += np.where(np.abs(change) < 1e-4, change, 0.0)
    result = np.exp(u)

    # Below the table V is linear in q.
    (at_zero,) = expectation(activation, np.zeros(1), ("second",))
    offset = weight * at_zero[0] + bias
    steepness = (weight * second[0] + bias - offset) / grid[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        tiny = np.where(offset == 0, 0.0, offset / (1 - steepness))
    result = np.where(bottom, tiny, result)
    result[lost] = np.nan
    return result


def _log_interpolant(
    grid: Array, value: Array, slope: Array
) -> scipy.interpolate.CubicHermiteSpline:
    """Log of `value` as a function of log grid, given the slope d value / d grid."""
    safe = np.maximum(value, 1e-300)
    return scipy.interpolate.CubicHermiteSpline(np.log(grid), np.log(safe), slope * grid / safe)


def at_fixed_point(
    activation: Activation, weight: Array, bias: Array, q: ArrayLike | None, missing: str
) -> tuple[Array, Array, Array]:
    """Return weight and bias variances and the variance to evaluate at, broadcast."""
    if q is not None:
        length = nonnegative("q", q)
        together(sigma_w2=weight, sigma_b2=bias, q=length)
    elif activation.slopes is not None:  # homogeneous: without a bias nothing depends on q
        without = bias == 0
        found = fixed_point(activation, np.where(without, 0.0, weight), bias, missing=missing)  # type: ignore[arg-type]
        length = np.where(without, 1.0, found)
    else:
        length = fixed_point(activation, weight, bias, missing=missing)  # type: ignore[arg-type]
    weight, bias, length = np.broadcast_arrays(weight, bias, length)
    return weight, bias, length
