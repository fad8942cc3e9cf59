"""Order and chaos: chi, the depth scales, and the critical points of wide random networks.

Poole et al. (2016), Exponential expressivity in deep neural networks through transient chaos,
arXiv:1606.05340; Schoenholz et al. (2017), Deep information propagation, arXiv:1611.01232. A
layer is z' = W phi(z) + b with W_ij ~ N(0, sigma_w^2 / n) and b_i ~ N(0, sigma_b^2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from initscope.checks import (
    Array,
    ArrayLike,
    nonnegative,
    plain,
    require_name,
    together,
    within,
)
from initscope.errors import UsageError
from initscope.theory.activations import Activation, ActivationLike, resolve
from initscope.theory.correlation_map import solve_correlation
from initscope.theory.expectations import SMALLEST_Q, expectation
from initscope.theory.kernels import CorrelatedMoments
from initscope.theory.length_map import (
    Q_RANGE,
    at_fixed_point,
    check_missing,
    check_range,
    table,
    variances,
)

__all__ = ["CriticalPoint", "chi", "critical_point", "depth_scale"]


def chi(
    activation: ActivationLike,
    sigma_w2: ArrayLike,
    sigma_b2: ArrayLike = 0.0,
    *,
    q: ArrayLike | None = None,
    c: ArrayLike = 1.0,
    missing: Literal["raise", "nan"] = "raise",
) -> Array:
    r"""Return the factor by which a layer multiplies the variance of the gradient.

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
        Variance of the pre-activations; the fixed point of the length map if None.
    c
        Correlation of the two inputs, between -1 and 1.
    missing
        What to do where there is no fixed point: ``"raise"``, or return ``"nan"`` there. A
        homogeneous activation (ReLU, leaky ReLU, identity) needs none: its chi does not depend on
        q.

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
    weight, bias = variances(sigma_w2, sigma_b2)
    correlation = within("c", c, -1.0, 1.0)
    check_missing(missing)
    if known.slopes is not None and q is None:
        q = 1.0
    weight, _, length = at_fixed_point(known, weight, bias, q, missing)
    together(q=length, c=correlation)
    if (correlation == 1).all():
        (slope,) = expectation(known, np.nan_to_num(length), ("derivative_second",))
    else:
        length, correlation = np.broadcast_arrays(length, correlation)
        moments = CorrelatedMoments(known, np.maximum(np.nan_to_num(length).ravel(), SMALLEST_Q))
        slope = moments.derivative_moment(correlation.ravel()).reshape(length.shape)
    return plain(np.where(np.isnan(length), np.nan, weight * slope))


def depth_scale(
    activation: ActivationLike,
    sigma_w2: ArrayLike,
    sigma_b2: ArrayLike = 0.0,
    kind: Literal["correlation", "length", "gradient"] = "correlation",
    *,
    missing: Literal["raise", "nan"] = "raise",
) -> Array:
    r"""Return the number of layers over which a signal is forgotten by a factor e.

    Schoenholz et al. (2017): ``"correlation"`` is :math:`\xi_c = -1 / \ln C'(c^*)`, with
    :math:`C'(c^*) = \chi(c^*)` at a fixed point of the variance above 0,
    over which two inputs approach their common correlation; ``"length"`` is
    :math:`\xi_q = -1 / \ln(\chi_1 + \sigma_w^2 E[\phi'' \phi])`, over which the variance
    approaches q*; ``"gradient"`` is :math:`\xi_\nabla = 1 / |\ln \chi_1|`, over which
    the variance of the gradient changes by a factor e.

    Parameters
    ----------
    activation, sigma_w2, sigma_b2, missing
        As in :func:`fixed_point`. For a smooth activation a 200 x 200 diagram takes a few
        seconds; with a kink (SELU, hardtanh) a point of the chaotic phase takes up to 10 ms.
    kind
        ``"correlation"``, ``"length"`` or ``"gradient"``.

    Returns
    -------
    numpy.ndarray
        Layers; `inf` at criticality, where the approach is slower than exponential. Where the
        variance vanishes or keeps no size of its own (a homogeneous activation without biases, such
        as ReLU, at every `sigma_w2`) the correlation map has slope 1 and :math:`\xi_c` is `inf`:
        ReLU's correlations go to 1 as a power of the depth, those of tanh stay apart.

    Raises
    ------
    UsageError
        As :func:`fixed_point`; an unknown kind.

    Examples
    --------
    >>> print(f"{depth_scale('tanh', 1.5, 0.05):.2f} {depth_scale('tanh', 2.0, 0.05):.2f}")
    15.79 25.21
    >>> print(depth_scale("relu", [1.5, 2.0, 3.0]))
    [inf inf inf]
    """
    require_name("kind", kind, ("correlation", "length", "gradient"))
    check_missing(missing)
    known = resolve(activation)
    weight, bias = variances(sigma_w2, sigma_b2)
    if kind == "gradient":
        factor = np.asarray(chi(activation, weight, bias, missing=missing))
    else:
        weight, bias, length = at_fixed_point(known, weight, bias, None, missing)
        if kind == "length":
            factor = weight * expectation(known, np.nan_to_num(length), ("slope",))[0]
            factor = np.where(np.isnan(length), np.nan, factor)
        else:
            factor = solve_correlation(known, weight, bias, length)[1]
            # C is w E[phi phi] over V(q), and V(q) is q at a fixed point above 0 alone.
            scale_free = (length == 0) | ((known.slopes is not None) & (bias == 0))
            factor = np.where(scale_free & (weight > 0), 1.0, factor)
    # A fixed point at 0 is found as a small number, and rounding at criticality is criticality:
    # ten thousand million layers and more are as good as infinitely many.
    factor = np.where(np.abs(factor - 1) < 1e-10, 1.0, factor)
    with np.errstate(divide="ignore"):
        return plain(1 / np.abs(np.log(np.abs(factor))))


class CriticalPoint(NamedTuple):
    """Variances at which chi_1 = 1, and the fixed point q* there.

    Attributes
    ----------
    sigma_w2, sigma_b2
        Variance of a weight times the fan-in, and of a bias.
    q
        Fixed point of the length map, a variance per element; NaN where every q is one.
    """

    sigma_w2: Array
    sigma_b2: Array
    q: Array


def critical_point(
    activation: ActivationLike,
    sigma_b2: ArrayLike | None = None,
    *,
    q_range: tuple[float, float] = Q_RANGE,
) -> CriticalPoint:
    r"""Return weight and bias variance at the edge of chaos.

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
    low, high = check_range(q_range)
    target = None if sigma_b2 is None else nonnegative("sigma_b2", sigma_b2)
    if known.slopes is not None:
        if target is not None and target.any():
            raise _no_critical_point(known, target[target > 0].flat[0], low, high)
        zero = np.zeros(() if target is None else target.shape)
        weight = zero + 2 / (known.slopes[0] ** 2 + known.slopes[1] ** 2)
        return CriticalPoint(*map(plain, (weight, zero, zero + np.nan)))
    grid, _, slope, derivative_second = table(known, low, high)
    if not (derivative_second > 0).all():
        raise _no_critical_point(known, target if target is None else target.flat[0], low, high)
    (at_zero,) = expectation(known, np.zeros(1), ("second",))
    if target is None:
        marginal = _marginal_length(known, grid, slope / derivative_second)
        if marginal is None and at_zero[0] > 0:
            raise _no_critical_point(known, None, low, high)
        length = np.asarray(0.0 if marginal is None else marginal)
    else:
        offset = _edge_of_chaos(known, grid)[1] - target[..., None]
        crosses = (offset[..., :-1] <= 0) & (offset[..., 1:] > 0)
        at_origin = (target == 0) & (at_zero[0] == 0)
        lost = ~crosses.any(axis=-1) & ~at_origin
        if lost.any():
            raise _no_critical_point(known, target[lost].flat[0], low, high)
        first = crosses.argmax(axis=-1)
        length = _root(
            lambda q, wanted: _edge_of_chaos(known, q)[1] - wanted,
            grid[first],
            grid[first + 1],
            (target,),
        )
        length = np.where(at_origin, 0.0, length)
    weight, bias = _edge_of_chaos(known, length)
    if target is not None:
        bias = target
    return CriticalPoint(*map(plain, (weight, np.where(length == 0, 0.0, bias), length)))


def _edge_of_chaos(activation: Activation, q: Array) -> tuple[Array, Array]:
    """Return weight and bias variance at which q is a fixed point with chi_1 = 1."""
    second, derivative_second = expectation(
        activation, np.asarray(q, dtype=float), ("second", "derivative_second")
    )
    return 1 / derivative_second, q - second / derivative_second


def _marginal_length(activation: Activation, grid: Array, chi_q: Array) -> float | None:
    """Return q on the edge of chaos at which dV/dq falls through 1, if there is one."""
    falls = np.flatnonzero((chi_q[:-1] > 1 + 1e-9) & (chi_q[1:] <= 1))
    for k in falls:

        def excess(q: Array) -> Array:
            slope, derivative_second = expectation(activation, q, ("slope", "derivative_second"))
            return slope / derivative_second - 1

        q = float(_root(excess, grid[k], grid[k + 1]))
        if _edge_of_chaos(activation, np.array(q))[1] >= 0:
            return q
    return None


def _root(
    function: Callable[..., Array], low: ArrayLike, high: ArrayLike, args: tuple[Array, ...] = ()
) -> Array:
    """Return where `function` changes its sign between `low` and `high`."""
    from scipy.optimize import elementwise  # not with the module: a specification needs names alone

    return elementwise.find_root(function, (low, high), args=args).x


def _no_critical_point(
    activation: Activation, sigma_b2: float | None, low: float, high: float
) -> UsageError:
    given = "" if sigma_b2 is None else f" with sigma_b2 = {sigma_b2:g}"
    return UsageError(
        f"{activation.name!r} has no critical point{given} at a variance q of 0 or between "
        f"{low:g} and {high:g}."
    )
