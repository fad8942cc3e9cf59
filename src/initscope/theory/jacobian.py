"""Singular values of the input-output Jacobian of a random network: their first two moments."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from initscope.checks import (
    MOST_LAYERS,
    Array,
    ArrayLike,
    nonnegative,
    plain,
    positive,
    require_name,
    together,
    whole,
)
from initscope.theory.activations import ActivationLike, resolve
from initscope.theory.expectations import expectation
from initscope.theory.length_map import length_map

__all__ = ["ENSEMBLES", "JacobianMoments", "jacobian_moments"]

ENSEMBLES = ("gaussian", "orthogonal")


class JacobianMoments(NamedTuple):
    """Moments of the squared singular values after layers 0 to `depth`; last axis the layers.

    Attributes
    ----------
    mean
        Mean over networks of m, the mean squared singular value of one network.
    mean_square
        Mean over networks of m^2, which is at least the square of `mean`.
    fourth
        Mean fourth power of the singular values.
    variance
        ``fourth - mean_square``: how far the squared singular values of one network spread about
        their mean in that network.
    """

    mean: Array
    mean_square: Array
    fourth: Array
    variance: Array


def jacobian_moments(
    depth: int,
    width: int | None,
    activation: ActivationLike,
    weights: str = "gaussian",
    sigma_w2: ArrayLike | None = None,
    sigma_b2: ArrayLike = 0.0,
    *,
    q: ArrayLike = 1.0,
) -> JacobianMoments:
    r"""Return mean and spread of the squared singular values of dh_l/dx, for equal widths.

    The Jacobian is :math:`J_l = D_l W_l J_{l-1}` with D the diagonal of :math:`\phi'(z_l)`. With
    K = J J^T, a = E[(tr K / n)^2], b = E[tr K^2 / n], and :math:`\mu_k = E[\phi'(z)^{2k}]`, one
    more layer gives, in units of :math:`(\sigma_w^2 \mu_1)^2` and with r = mu_2 / mu_1^2,

    .. math::
        \text{Gaussian:} \quad a' &= a + \frac{r - 1}{n} a + \frac{2 r}{n^2} b, &
            b' &= r a + b + \frac{2 r - 1}{n} b, \\
        \text{orthogonal:} \quad a' &= a + \frac{r - 1}{n} c, &
            b' &= b + (r - 1) c, \qquad c = \frac{n a + 2 b}{n + 2}.

    In wide layers, at :math:`\sigma_w^2 \mu_1 = 1`, the variance of the squared singular values
    after d layers is d r for Gaussian and d (r - 1) for orthogonal weights (Pennington,
    Schoenholz & Ganguli 2017, arXiv:1711.04735, eq. 22).

    Parameters
    ----------
    depth, width
        Number of layers, and units of each; width None for infinitely wide ones.
    activation
        Name or callable.
    weights
        ``"gaussian"`` entries of variance sigma_w2 / n, or sqrt(sigma_w2) times a random
        ``"orthogonal"`` matrix.
    sigma_w2, sigma_b2
        Variance of a weight times n, and of a bias. If `sigma_w2` is None, it is 1 / E[phi'^2]
        at q, which keeps the mean at 1 in the first layer.
    q
        Variance of the pre-activations of layer 1. Those of the layers after it follow from
        :func:`length_map`. Variances and q broadcast.

    Returns
    -------
    JacobianMoments
        Each of shape ``(..., depth + 1)``; 1, 1, 1 and 0 for layer 0. Values beyond the range of
        float64 are `inf`.

    Raises
    ------
    UsageError
        Unknown activation or ensemble, counts that are not whole numbers above 0, negative
        variances.

    Notes
    -----
    D is taken to be independent of W, with independent entries. For homogeneous activations (ReLU,
    leaky ReLU, identity) without biases nothing is lost by that, as turning the sign of a row of W
    turns its unit on or off and changes no singular value: there the moments are exact at any
    width. For others they are those of wide layers, and part of the corrections of order 1/n is
    left out.

    Examples
    --------
    >>> for activation in ("relu", "identity"):
    ...     for weights in ("gaussian", "orthogonal"):
    ...         moments = jacobian_moments(50, None, activation, weights)
    ...         print(f"{activation} {weights}: {moments.variance[-1]:.0f}")
    relu gaussian: 100
    relu orthogonal: 50
    identity gaussian: 50
    identity orthogonal: 0
    """
    n_layers = whole("depth", depth, at_most=MOST_LAYERS)
    inverse = 0.0 if width is None else 1 / whole("width", width)
    require_name("weights", weights, ENSEMBLES)
    known = resolve(activation)
    length = positive("q", q)
    if sigma_w2 is None:
        (slope,) = expectation(known, length, ("derivative_second",))
        sigma_w2 = 1 / slope
    weight, bias = nonnegative("sigma_w2", sigma_w2), nonnegative("sigma_b2", sigma_b2)
    together(sigma_w2=weight, sigma_b2=bias, q=length)
    weight, bias, length = np.broadcast_arrays(weight, bias, length)
    shape = (*weight.shape, n_layers + 1)
    mean, square, fourth = np.ones(shape), np.ones(shape), np.ones(shape)
    for layer in range(1, n_layers + 1):
        first, second = expectation(known, length, ("derivative_second", "derivative_fourth"))
        scale = weight * first
        r = second / first**2
        a, b = square[..., layer - 1], fourth[..., layer - 1]
        mean[..., layer] = scale * mean[..., layer - 1]
        if weights == "gaussian":
            square[..., layer] = scale**2 * (a + inverse * ((r - 1) * a + 2 * r * b * inverse))
            fourth[..., layer] = scale**2 * (r * a + b + (2 * r - 1) * b * inverse)
        else:
            c = (a + 2 * b * inverse) / (1 + 2 * inverse)
            square[..., layer] = scale**2 * (a + (r - 1) * c * inverse)
            fourth[..., layer] = scale**2 * (b + (r - 1) * c)
        length = np.asarray(length_map(length, activation, weight, bias))
    with np.errstate(invalid="ignore"):  # the difference of two beyond the range of a float
        variance = np.where(np.isinf(fourth), np.inf, fourth - square)
    return JacobianMoments(*map(plain, (mean, square, fourth, variance)))
