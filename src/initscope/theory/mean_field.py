"""Mean-field theory of wide random networks: length and correlation maps and their fixed points.

Poole et al. (2016), Exponential expressivity in deep neural networks through transient chaos,
arXiv:1606.05340; Schoenholz et al. (2017), Deep information propagation, arXiv:1611.01232. A
layer is z' = W phi(z) + b with W_ij ~ N(0, sigma_w^2 / n) and b_i ~ N(0, sigma_b^2).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from scipy.interpolate import CubicHermiteSpline
from scipy.optimize import brentq

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
from initscope.theory.activations import (
    SMALLEST_Q,
    Activation,
    ActivationLike,
    expectation,
    resolve,
)
from initscope.theory.kernels import CorrelatedMoments

__all__ = [
    "CriticalPoint",
    "chi",
    "correlation_fixed_point",
    "correlation_map",
    "critical_point",
    "depth_scale",
    "fixed_point",
    "length_map",
]

Q_RANGE = (1e-10, 1e10)
"""Variances between which fixed points are looked for."""

TABLE = 512
CHUNK = 8192
MARGINAL = 1e-12  # relative change of the variance below which every variance is a fixed point


def length_map(
    q: ArrayLike, activation: ActivationLike, sigma_w2: ArrayLike, sigma_b2: ArrayLike = 0.0
) -> Array:
    r"""Variance of the preactivations one layer on.

    .. math:: V(q) = \sigma_w^2 \, E[\phi(\sqrt q z)^2] + \sigma_b^2, \qquad z \sim N(0, 1)

    (Poole et al. 2016, section 2).

    Parameters
    ----------
    q
        Variance of the preactivations per element.
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
    weight, bias = _variances(sigma_w2, sigma_b2)
    together(q=length, sigma_w2=weight, sigma_b2=bias)
    (second,) = expectation(resolve(activation), length, ("second",))
    return plain(weight * second + bias)


def _variances(sigma_w2: ArrayLike, sigma_b2: ArrayLike) -> tuple[Array, Array]:
    weight, bias = nonnegative("sigma_w2", sigma_w2), nonnegative("sigma_b2", sigma_b2)
    together(sigma_w2=weight, sigma_b2=bias)
    return weight, bias


@lru_cache(maxsize=32)
def _table(activation: Activation, low: float, high: float) -> tuple[Array, Array, Array, Array]:
    """Logarithmic grid of q, and E[phi^2], its slope and E[phi'^2] there."""
    q = np.geomspace(low, high, TABLE)
    second, slope, derivative_second = expectation(
        activation, q, ("second", "slope", "derivative_second")
    )
    return q, second, slope, derivative_second


def _check_range(q_range: tuple[float, float]) -> tuple[float, float]:
    ends = items("q_range", q_range)
    require(len(ends) == 2, f"q_range must be a pair of variances, not {shown(q_range)}.")
    low, high = (one("q_range", positive("q_range", end)) for end in ends)
    if not low < high:
        raise UsageError(
            f"q_range must go from a lower to a higher variance, not {shown(q_range)}."
        )
    return low, high


def _check_missing(missing: object) -> None:
    require_name("value of missing", missing, ("raise", "nan"))


def _homogeneous_fixed_point(second: float, weight: Array, bias: Array, start: Array) -> Array:
    """Fixed point where E[phi^2] = second * q; NaN where the variance grows without bound."""
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
    r"""Variance q* that the length map leaves as it is: V(q*) = q*.

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
        ``"raise"``, or give ``"nan"`` there.

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
    _check_missing(missing)
    known = resolve(activation)
    low, high = _check_range(q_range)
    weight, bias = _variances(sigma_w2, sigma_b2)
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
    """Fixed points for arrays of one axis; NaN where there is none."""
    grid, second, slope, _ = _table(activation, low, high)
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


def _log_interpolant(grid: Array, value: Array, slope: Array) -> CubicHermiteSpline:
    """Log of `value` as a function of log grid, given the slope d value / d grid."""
    safe = np.maximum(value, 1e-300)
    return CubicHermiteSpline(np.log(grid), np.log(safe), slope * grid / safe)


def _at_fixed_point(
    activation: Activation, weight: Array, bias: Array, q: ArrayLike | None, missing: str
) -> tuple[Array, Array, Array]:
    """Weight and bias variances and the variance to evaluate at, broadcast."""
    if q is not None:
        length = nonnegative("q", q)
        together(sigma_w2=weight, sigma_b2=bias, q=length)
    elif activation.slopes is not None and not bias.any():
        length = np.ones(())  # homogeneous and no bias: nothing depends on q
    else:
        length = fixed_point(activation, weight, bias, missing=missing)  # type: ignore[arg-type]
    weight, bias, length = np.broadcast_arrays(weight, bias, length)
    return weight, bias, length


def chi(
    activation: ActivationLike,
    sigma_w2: ArrayLike,
    sigma_b2: ArrayLike = 0.0,
    *,
    q: ArrayLike | None = None,
    c: ArrayLike = 1.0,
    missing: Literal["raise", "nan"] = "raise",
) -> Array:
    r"""Factor by which a layer multiplies the variance of the gradient.

    .. math:: \chi = \sigma_w^2 \, E[\phi'(u_1) \phi'(u_2)]

    with u_1, u_2 of variance q and correlation c; at c = 1 this is chi_1 of Poole et al. (2016).
    chi_1 < 1 is the ordered phase, chi_1 > 1 the chaotic one, chi_1 = 1 the edge of chaos.

    Parameters
    ----------
    activation
        Name or callable.
    sigma_w2, sigma_b2
        Variance of a weight times the fan-in, and of a bias; all arrays broadcast.
    q
        Variance of the preactivations; the fixed point of the length map if None.
    c
        Correlation of the two inputs, between -1 and 1.
    missing
        Where there is no fixed point: ``"raise"``, or give ``"nan"``. A homogeneous activation
        (ReLU, leaky ReLU, identity) needs none: its chi does not depend on q.

    Raises
    ------
    UsageError
        As :func:`fixed_point`; correlations outside [-1, 1].

    Examples
    --------
    >>> print(f"{chi('relu', 2.0):.1f} {chi('tanh', 1.5, 0.05):.4f}")
    1.0 0.9386
    """
    known = resolve(activation)
    weight, bias = _variances(sigma_w2, sigma_b2)
    correlation = within("c", c, -1.0, 1.0)
    _check_missing(missing)
    if known.slopes is not None and q is None:
        q = 1.0
    weight, _, length = _at_fixed_point(known, weight, bias, q, missing)
    together(q=length, c=correlation)
    if (correlation == 1).all():
        (slope,) = expectation(known, np.nan_to_num(length), ("derivative_second",))
    else:
        length, correlation = np.broadcast_arrays(length, correlation)
        moments = CorrelatedMoments(known, np.maximum(np.nan_to_num(length).ravel(), SMALLEST_Q))
        slope = moments.derivative_moment(correlation.ravel()).reshape(length.shape)
    return plain(np.where(np.isnan(length), np.nan, weight * slope))


def correlation_map(
    c: ArrayLike,
    activation: ActivationLike,
    sigma_w2: ArrayLike,
    sigma_b2: ArrayLike = 0.0,
    *,
    q: ArrayLike | None = None,
) -> Array:
    r"""Correlation of two inputs one layer on.

    .. math:: C(c) = \frac{\sigma_w^2 \, E[\phi(u_1) \phi(u_2)] + \sigma_b^2}{V(q)}

    with u_1, u_2 of variance q and correlation c (Poole et al. 2016, section 2, for two inputs of
    one length).

    Parameters
    ----------
    c
        Correlation, between -1 and 1; all arrays broadcast.
    activation
        Name or callable.
    sigma_w2, sigma_b2
        Variance of a weight times the fan-in, and of a bias.
    q
        Variance of both preactivations; the fixed point of the length map if None.

    Raises
    ------
    UsageError
        As :func:`fixed_point`; correlations outside [-1, 1]; V(q) = 0.

    Examples
    --------
    >>> print(f"{correlation_map(0.0, 'relu', 2.0):.4f} = 1/pi")
    0.3183 = 1/pi
    """
    known = resolve(activation)
    weight, bias = _variances(sigma_w2, sigma_b2)
    correlation = within("c", c, -1.0, 1.0)
    weight, bias, length = _at_fixed_point(known, weight, bias, q, "raise")
    together(q=length, c=correlation)
    weight, bias, length, correlation = np.broadcast_arrays(weight, bias, length, correlation)
    # At q* = 0 the map is that of the linear part of phi, reached as q goes to 0.
    positive_q = np.maximum(length, SMALLEST_Q).ravel()
    moments = CorrelatedMoments(known, positive_q)
    (second,) = expectation(known, positive_q, ("second",))
    image = weight.ravel() * second + bias.ravel()
    if (image == 0).any():
        raise UsageError("the variance after the layer is 0: no correlation is defined.")
    after = weight.ravel() * moments.moment(correlation.ravel()) + bias.ravel()
    return plain((after / image).reshape(length.shape))


def correlation_fixed_point(
    activation: ActivationLike,
    sigma_w2: ArrayLike,
    sigma_b2: ArrayLike = 0.0,
    *,
    missing: Literal["raise", "nan"] = "raise",
) -> Array:
    r"""Correlation c* that two inputs approach with depth, at the fixed point of the length map.

    c* = 1 where chi_1 <= 1; in the chaotic phase it is the one solution of C(c) = c below 1
    (Poole et al. 2016). C is a power series with coefficients of at least 0, hence
    convex on [0, 1], so that Newton's method from 0 rises to c* without passing it.

    Parameters
    ----------
    activation, sigma_w2, sigma_b2, missing
        As in :func:`fixed_point`.

    Raises
    ------
    UsageError
        As :func:`fixed_point`.

    Examples
    --------
    >>> print(f"{correlation_fixed_point('tanh', 2.5, 0.05):.4f}")
    0.4468
    """
    known = resolve(activation)
    _check_missing(missing)
    weight, bias = _variances(sigma_w2, sigma_b2)
    weight, bias, length = _at_fixed_point(known, weight, bias, None, missing)
    return plain(_solve_correlation(known, weight, bias, length)[0])


def _solve_correlation(
    activation: Activation, weight: Array, bias: Array, length: Array
) -> tuple[Array, Array]:
    """c*, and chi at c*; NaN where `length` is."""
    (slope,) = expectation(activation, np.nan_to_num(length), ("derivative_second",))
    chi_1 = weight * slope
    solution = np.where(np.isnan(length), np.nan, 1.0)
    chi_star = np.where(np.isnan(length), np.nan, chi_1)
    chaotic = ~np.isnan(length) & (chi_1 > 1 + 1e-9) & (length > 0)
    if chaotic.any() and not (activation.slopes is not None and not bias.any()):
        w, b, q = weight[chaotic], bias[chaotic], length[chaotic]
        moments = CorrelatedMoments(activation, q)
        c, rate = np.zeros(len(q)), np.zeros(len(q))
        moving = np.arange(len(q))
        for _ in range(60):
            here = moments.subset(moving)
            now = c[moving]
            rate[moving] = w[moving] * here.derivative_moment(now)
            gap = (w[moving] * here.moment(now) + b[moving]) / q[moving] - now
            # Rounding may put the first iterate of an odd activation a hair below 0.
            change = np.maximum(gap / np.maximum(1 - rate[moving], 1e-12), -now)
            c[moving] = np.minimum(now + change, 1.0)
            moving = moving[np.abs(change) > 1e-10]
            if not len(moving):
                break
        solution[chaotic], chi_star[chaotic] = c, rate
    return solution, chi_star


def depth_scale(
    activation: ActivationLike,
    sigma_w2: ArrayLike,
    sigma_b2: ArrayLike = 0.0,
    kind: Literal["correlation", "length", "gradient"] = "correlation",
    *,
    missing: Literal["raise", "nan"] = "raise",
) -> Array:
    r"""Number of layers over which a signal is forgotten by a factor e.

    Schoenholz et al. (2017): ``"correlation"`` is :math:`\xi_c = -1 / \ln \chi(c^*)`,
    over which two inputs approach their common correlation; ``"length"`` is
    :math:`\xi_q = -1 / \ln(\chi_1 + \sigma_w^2 E[\phi'' \phi])`, over which the variance
    approaches q*; ``"gradient"`` is :math:`\xi_\nabla = 1 / |\ln \chi_1|`, over which
    the variance of the gradient changes by a factor e.

    Parameters
    ----------
    activation, sigma_w2, sigma_b2, missing
        As in :func:`fixed_point`. For a smooth activation a 200 x 200 diagram takes about ten
        seconds; with a kink (SELU, hardtanh) each point of the chaotic phase takes 50 ms.
    kind
        ``"correlation"``, ``"length"`` or ``"gradient"``.

    Returns
    -------
    numpy.ndarray
        Layers; `inf` at criticality, where the approach is slower than exponential.

    Raises
    ------
    UsageError
        As :func:`fixed_point`; an unknown kind.

    Examples
    --------
    >>> print(f"{depth_scale('tanh', 1.5, 0.05):.2f} {depth_scale('tanh', 2.0, 0.05):.2f}")
    15.79 25.21
    """
    require_name("kind", kind, ("correlation", "length", "gradient"))
    _check_missing(missing)
    known = resolve(activation)
    weight, bias = _variances(sigma_w2, sigma_b2)
    if kind == "gradient":
        factor = np.asarray(chi(activation, weight, bias, missing=missing))
    else:
        weight, bias, length = _at_fixed_point(known, weight, bias, None, missing)
        if kind == "length":
            factor = weight * expectation(known, np.nan_to_num(length), ("slope",))[0]
            factor = np.where(np.isnan(length), np.nan, factor)
        else:
            factor = _solve_correlation(known, weight, bias, length)[1]
    # A fixed point at 0 is found as a small number, and rounding at criticality is criticality:
    # ten thousand million layers and more are as good as infinitely many.
    factor = np.where(np.abs(factor - 1) < 1e-10, 1.0, factor)
    with np.errstate(divide="ignore"):
        return plain(1 / np.abs(np.log(np.abs(factor))))


class CriticalPoint(NamedTuple):
    """Variances at which chi_1 = 1, and the fixed point q* there."""

    sigma_w2: Array
    sigma_b2: Array
    q: Array


def critical_point(
    activation: ActivationLike,
    sigma_b2: ArrayLike | None = None,
    *,
    q_range: tuple[float, float] = Q_RANGE,
) -> CriticalPoint:
    r"""Weight and bias variance at the edge of chaos.

    Every q gives one point of the edge, sigma_w^2 = 1 / E[phi'^2] and
    sigma_b^2 = q - sigma_w^2 E[phi^2]. With `sigma_b2` given it is the point with that bias
    variance (Poole et al. 2016, fig. 1; Schoenholz et al. 2017, fig. 1).

    With `sigma_b2` None it is the point where in addition the variance itself is marginal,
    dV/dq = 1, so that forward and backward signals both change slower than exponentially
    (Roberts, Yaida & Hanin 2022, arXiv:2106.10165, chapter 5): (2, 0) for ReLU, (1, 0) for tanh,
    and for GELU and SiLU a point with a bias.

    Parameters
    ----------
    activation
        Name or callable.
    sigma_b2
        Variance of a bias: a number or array, or None.
    q_range
        Variances between which the fixed point is looked for; q = 0 is looked at as well.

    Returns
    -------
    CriticalPoint
        `sigma_w2`, `sigma_b2`, `q`, of the shape of `sigma_b2`. q is NaN for a homogeneous
        activation, for which every q is a fixed point.

    Raises
    ------
    UsageError
        No critical point in the range; negative variances; unknown activation.

    Notes
    -----
    A fixed point with dV/dq > 1 is reached from no other variance: GELU without a bias has its
    edge at sigma_w^2 = 4, q = 0, from which any variance above 0 grows.

    Examples
    --------
    >>> print("sigma_w2 = %.4f, sigma_b2 = %.4f, q = %.4f" % critical_point("gelu"))
    sigma_w2 = 1.9831, sigma_b2 = 0.1729, q = 3.5616
    >>> print("sigma_w2 = %.4f, sigma_b2 = %.4f, q = %.4f" % critical_point("tanh", 0.05))
    sigma_w2 = 1.7610, sigma_b2 = 0.0500, q = 0.5700
    """
    known = resolve(activation)
    low, high = _check_range(q_range)
    target = None if sigma_b2 is None else nonnegative("sigma_b2", sigma_b2)
    if known.slopes is not None:
        if target is not None and target.any():
            raise _no_critical_point(known, target[target > 0].flat[0], low, high)
        zero = np.zeros(() if target is None else target.shape)
        weight = zero + 2 / (known.slopes[0] ** 2 + known.slopes[1] ** 2)
        return CriticalPoint(*map(plain, (weight, zero, zero + np.nan)))
    grid, _, slope, derivative_second = _table(known, low, high)
    if not (derivative_second > 0).all():
        raise _no_critical_point(known, target if target is None else target.flat[0], low, high)
    (at_zero,) = expectation(known, np.zeros(1), ("second",))
    if target is None:
        marginal = _marginal_length(known, grid, slope / derivative_second)
        if marginal is None and at_zero[0] > 0:
            raise _no_critical_point(known, None, low, high)
        length = np.asarray(0.0 if marginal is None else marginal)
    else:
        length = np.empty(target.shape)
        for i, wanted in np.ndenumerate(target):
            if wanted == 0 and at_zero[0] == 0:
                length[i] = 0.0
                continue

            def surplus(q: Array, wanted: float = wanted) -> Array:
                return _edge_of_chaos(known, q)[1] - wanted

            offset = surplus(grid)
            crossings = np.flatnonzero((offset[:-1] <= 0) & (offset[1:] > 0))
            if not len(crossings):
                raise _no_critical_point(known, wanted, low, high)
            length[i] = _root(surplus, grid[crossings[0]], grid[crossings[0] + 1])
    weight, bias = _edge_of_chaos(known, length)
    if target is not None:
        bias = target
    return CriticalPoint(*map(plain, (weight, np.where(length == 0, 0.0, bias), length)))


def _edge_of_chaos(activation: Activation, q: Array) -> tuple[Array, Array]:
    """Weight and bias variance at which q is a fixed point with chi_1 = 1."""
    second, derivative_second = expectation(
        activation, np.asarray(q, dtype=float), ("second", "derivative_second")
    )
    return 1 / derivative_second, q - second / derivative_second


def _marginal_length(activation: Activation, grid: Array, chi_q: Array) -> float | None:
    """q on the edge of chaos at which dV/dq falls through 1, if there is one."""
    falls = np.flatnonzero((chi_q[:-1] > 1 + 1e-9) & (chi_q[1:] <= 1))
    for k in falls:

        def excess(q: Array) -> Array:
            slope, derivative_second = expectation(activation, q, ("slope", "derivative_second"))
            return slope / derivative_second - 1

        q = _root(excess, grid[k], grid[k + 1])
        if _edge_of_chaos(activation, np.array(q))[1] >= 0:
            return q
    return None


def _root(function: Callable[[Array], Array], low: float, high: float) -> float:
    return float(brentq(lambda q: float(function(np.asarray(q))), low, high, xtol=1e-300))


def _no_critical_point(
    activation: Activation, sigma_b2: float | None, low: float, high: float
) -> UsageError:
    given = "" if sigma_b2 is None else f" with sigma_b2 = {sigma_b2:g}"
    return UsageError(
        f"{activation.name!r} has no critical point{given} at a variance q of 0 or between "
        f"{low:g} and {high:g}."
    )
