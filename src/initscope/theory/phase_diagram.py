"""Lines in a phase diagram, and the correlation of two inputs from layer to layer."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from initscope.checks import Array, ArrayLike, number, positive, require, whole
from initscope.theory.activations import ActivationLike
from initscope.theory.correlation_map import correlation_map
from initscope.theory.gains import activation_moments

__all__ = ["CriticalLine", "correlation_path", "critical_line"]


class CriticalLine(NamedTuple):
    """Weight and bias variances at which gradients keep their variance, by the fixed point.

    Attributes
    ----------
    q
        Fixed points of the length map, variances per element.
    sigma_w2, sigma_b2
        Variance of a weight times the fan-in, and of a bias, that have this fixed point and
        chi_1 = 1. A `sigma_b2` below 0 is none that a network can have.
    stable
        Whether repeated layers lead to the fixed point.
    """

    q: Array
    sigma_w2: Array
    sigma_b2: Array
    stable: npt.NDArray[np.bool_]


def critical_line(activation: ActivationLike, q: ArrayLike) -> CriticalLine:
    r"""Return the line of a phase diagram on which :math:`\chi_1 = 1`, as a curve in q.

    With :math:`z \sim N(0, q)` it is :math:`\sigma_w^2 = 1 / E[\phi'(z)^2]` and
    :math:`\sigma_b^2 = q - \sigma_w^2 E[\phi(z)^2]`.

    Parameters
    ----------
    activation
        A name, or a function of an array.
    q
        Variances above 0, ascending. With a single one, the slope of the length map, which says
        whether it is stable, is taken for that of a positively homogeneous function.

    Raises
    ------
    UsageError
        An unknown activation; variances that are not above 0 or do not ascend.

    Examples
    --------
    >>> line = critical_line("relu", [1.0])
    >>> line.sigma_w2, line.sigma_b2
    (array([2.]), array([0.]))
    """
    q = positive("q", q)
    require(q.ndim == 1 and q.size > 0, "q must be a list of variances.")
    require(bool((np.diff(q) > 0).all()), "q must ascend.")
    moments = activation_moments(activation, q)
    sigma_w2 = 1 / moments.derivative_second
    slope = np.gradient(moments.second, q) if len(q) > 1 else moments.second / q
    return CriticalLine(q, sigma_w2, q - sigma_w2 * moments.second, sigma_w2 * slope <= 1 + 1e-9)


def correlation_path(
    correlation: float,
    depth: int,
    activation: ActivationLike,
    sigma_w2: float,
    sigma_b2: float = 0.0,
    *,
    q: float,
) -> Array:
    """Return the correlation of two inputs at each layer, at a fixed point of the variance.

    Parameters
    ----------
    correlation
        Correlation of the inputs, from -1 to 1. Their variance is that which gives layer 1 `q`.
    depth
        Number of weight layers.
    activation, sigma_w2, sigma_b2
        As in :func:`initscope.theory.correlation_map`.
    q
        Variance of the pre-activations, a fixed point of the length map.

    Returns
    -------
    numpy.ndarray
        Shape ``(depth + 1,)``, from the inputs to the last pre-activations. Layer 1 is linear in
        the input; from there on the correlation map is iterated.

    Raises
    ------
    UsageError
        A correlation outside of -1 to 1, a depth that is no whole number of at least 1, variances
        below 0, an unknown activation.

    Examples
    --------
    >>> correlation_path(0.5, 2, "relu", 2.0, q=1.0).round(3)
    array([0.5  , 0.5  , 0.609])
    """
    correlation = number("correlation", correlation, -1.0, 1.0)
    depth = whole("depth", depth, 1, 10_000)
    sigma_w2 = number("sigma_w2", sigma_w2, 0.0)
    sigma_b2 = number("sigma_b2", sigma_b2, 0.0)
    q = number("q", q)
    require(q > 0 and q >= sigma_b2, "q must be above 0 and at least sigma_b2.")
    path = [correlation, ((q - sigma_b2) * correlation + sigma_b2) / q]
    while len(path) <= depth:
        image = correlation_map(path[-1], activation, sigma_w2, sigma_b2, q=q)
        path.append(float(np.clip(image, -1.0, 1.0)))  # rounding may lead beyond
    return np.array(path)
