"""The correlation map of wide random networks: how two inputs grow alike or apart.

Poole et al. (2016), Exponential expressivity in deep neural networks through transient chaos,
arXiv:1606.05340; Schoenholz et al. (2017), Deep information propagation, arXiv:1611.01232. A
layer is z' = W phi(z) + b with W_ij ~ N(0, sigma_w^2 / n) and b_i ~ N(0, sigma_b^2).
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from initscope.checks import (
    Array,
    ArrayLike,
    plain,
    together,
    within,
)
from initscope.errors import UsageError
from initscope.theory.activations import Activation, ActivationLike, resolve
from initscope.theory.expectations import SMALLEST_Q, expectation
from initscope.theory.kernels import CorrelatedMoments
from initscope.theory.length_map import (
    at_fixed_point,
    check_missing,
    variances,
)

__all__ = ["correlation_fixed_point", "correlation_map"]


def correlation_map(
    c: ArrayLike,
    activation: ActivationLike,
    sigma_w2: ArrayLike,
    sigma_b2: ArrayLike = 0.0,
    *,
    q: ArrayLike | None = None,
) -> Array:
    r"""Return the correlation of two inputs one layer on.

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
        Variance of both pre-activations; the fixed point of the length map if None.

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
    weight, bias = variances(sigma_w2, sigma_b2)
    correlation = within("c", c, -1.0, 1.0)
    weight, bias, length = at_fixed_point(known, weight, bias, q, "raise")
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
    r"""Return the correlation c* that two inputs approach with depth.

    The variance is taken to be at its fixed point, see :func:`fixed_point`.
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
    check_missing(missing)
    weight, bias = variances(sigma_w2, sigma_b2)
    weight, bias, length = at_fixed_point(known, weight, bias, None, missing)
    return plain(solve_correlation(known, weight, bias, length)[0])


def solve_correlation(
    activation: Activation, weight: Array, bias: Array, length: Array
) -> tuple[Array, Array]:
    """Return c*, and chi at c*; NaN where `length` is."""
    (slope,) = expectation(activation, np.nan_to_num(length), ("derivative_second",))
    chi_1 = weight * slope
    solution = np.where(np.isnan(length), np.nan, 1.0)
    chi_star = np.where(np.isnan(length), np.nan, chi_1)
    chaotic = ~np.isnan(length) & (chi_1 > 1 + 1e-9) & (length > 0)
    if activation.slopes is not None:
        chaotic &= bias > 0
    if chaotic.any():
        w, b, q = weight[chaotic], bias[chaotic], length[chaotic]
        moments = CorrelatedMoments(activation, q)
        c, rate = np.zeros(len(q)), np.zeros(len(q))
        moving = np.arange(len(q))
        # By hand: from 0 Newton's method cannot pass c*, where find_root would need an end of its
        # bracket between c* and the root that is always at 1, however close the two are.
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
