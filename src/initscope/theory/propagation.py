"""Variance going forward and backward through a fully connected network of wide layers.

:func:`propagate` is of a plain network; :func:`residual_propagate` of one with residual branches or
LayerNorm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from initscope.checks import (
    MOST_LAYERS,
    Array,
    ArrayLike,
    flag,
    layer_widths,
    nonnegative,
    plain,
    positive,
    together,
    whole,
)
from initscope.errors import UsageError
from initscope.theory.activations import Activation, ActivationLike, resolve
from initscope.theory.expectations import expectation
from initscope.theory.scheme_stds import layer_stds

__all__ = [
    "LAYER_NORM_EPSILON",
    "Propagation",
    "log_variances",
    "propagate",
    "residual_propagate",
]


class Propagation(NamedTuple):
    """Variance at every layer 0 (the input) to L (the output); last axis of length L + 1.

    Attributes
    ----------
    forward
        Mean square per element of the input and of the pre-activations.
    backward
        Mean square per element of the gradient with respect to them.
    """

    forward: Array
    backward: Array


def propagate(
    widths: Sequence[int],
    activation: ActivationLike | Activation,
    weight_std: ArrayLike | str,
    bias_std: ArrayLike = 0.0,
    *,
    input_variance: ArrayLike = 1.0,
    output_gradient_variance: ArrayLike = 1.0,
) -> Propagation:
    r"""Return forward and backward variance of a fully connected network, layer by layer.

    The network is z_1 = W_1 x + b_1, z_l = W_l phi(z_{l-1}) + b_l, with independent entries of
    mean 0 and wide layers; there is no activation after the last layer. Then, with
    :math:`q_l = \mathrm{Var}\, z_l` and :math:`\delta_l` the gradient at z_l,

    .. math::
        q_l &= n_{l-1} \sigma_l^2 \, E[\phi(\sqrt{q_{l-1}} z)^2] + \sigma_b^2, \\
        \mathrm{Var}\, \delta_l &= n_{l+1} \sigma_{l+1}^2 \,
            E[\phi'(\sqrt{q_l} z)^2] \, \mathrm{Var}\, \delta_{l+1}

    (He et al. 2015, eqs. 7 and 12; Poole et al. 2016, arXiv:1606.05340, section 2; Schoenholz et
    al. 2017, arXiv:1611.01232).

    Parameters
    ----------
    widths
        Inputs, hidden layers, outputs: L + 1 whole numbers.
    activation
        Name or callable.
    weight_std
        Std of a weight: one number; one for each layer; or the name of a scheme, see
        :func:`~initscope.theory.scheme_std`. To compute many networks at once give an array
        whose last axis is the layers, or of length 1: ``std[:, None]``.
    bias_std
        Std of a bias, in the same forms (no scheme).
    input_variance
        Mean square of the elements of x.
    output_gradient_variance
        Mean square of the gradient at the output z_L.

    Returns
    -------
    Propagation
        `forward` and `backward`, shape ``(..., L + 1)``: mean squares per element.
        ``forward[..., 0]`` is that of x and ``backward[..., 0]`` that of the gradient at x; both
        arrays are indexed by the layer. Values beyond the range of float64 are `inf` or 0.

    Raises
    ------
    UsageError
        No layers, a width below 1, an unknown activation or scheme, a negative or NaN std.

    Examples
    --------
    Under He's scheme both directions keep their variance where the widths are equal:

    >>> profile = propagate([100] * 51, "relu", "kaiming")
    >>> print(f"{profile.forward[-1]:.3f} {profile.backward[1]:.3f}")
    2.000 1.000

    Half the variance of that loses a factor of 2 in each of the 49 ReLU layers:

    >>> profile = propagate([100] * 51, "relu", "lecun")
    >>> print(f"{np.log2(profile.forward[-1]):.1f} {np.log2(profile.backward[1]):.1f}")
    -49.0 -49.0
    """
    sizes = layer_widths(widths)
    known = resolve(activation)
    weight = nonnegative("weight_std", layer_stds(weight_std, sizes)) ** 2
    if isinstance(bias_std, str):
        raise UsageError("bias_std must be a number or one for each layer, not a scheme's name.")
    bias = nonnegative("bias_std", layer_stds(bias_std, sizes, "bias_std")) ** 2
    first = nonnegative("input_variance", input_variance)
    last = nonnegative("output_gradient_variance", output_gradient_variance)
    n_layers = len(sizes) - 1
    shape = together(
        weight_std=weight[..., 0],
        bias_std=bias[..., 0],
        input_variance=first,
        output_gradient_variance=last,
    )
    forward = np.empty((*shape, n_layers + 1))
    backward = np.empty((*shape, n_layers + 1))
    slope = np.ones((*shape, n_layers + 1))  # E[phi'^2] at each layer; 1 at the input
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        forward[..., 0] = first
        second = forward[..., 0]
        for layer in range(1, n_layers + 1):
            scale = sizes[layer - 1] * weight[..., layer - 1]
            forward[..., layer] = scale * second + bias[..., layer - 1]
            if layer < n_layers:
                second, slope[..., layer] = expectation(
                    known, forward[..., layer], ("second", "derivative_second")
                )
        backward[..., n_layers] = last
        for layer in range(n_layers - 1, -1, -1):
            scale = sizes[layer + 1] * weight[..., layer]
            backward[..., layer] = scale * slope[..., layer] * backward[..., layer + 1]
    return Propagation(plain(forward), plain(backward))


LAYER_NORM_EPSILON = 1e-5
"""What LayerNorm adds to the variance under its root (Ba et al. 2016; torch's default)."""

# An activation is proportional to its input, or saturated, beyond these variances.
SMALLEST, LARGEST = 1e-12, 1e100


def log_variances(
    width: int,
    depth: int,
    activation: ActivationLike,
    weight_std: ArrayLike,
    bias_std: ArrayLike = 0.0,
    *,
    residual: bool = False,
    layer_norm: bool = False,
) -> Propagation:
    """Return the natural logarithms of the forward and backward variance, layer by layer.

    The network and its equations are those of :func:`residual_propagate`. With wide layers a branch
    has mean 0 and is not correlated with what it is added to.

    Parameters
    ----------
    width, depth
        Units of every layer, and number of weight layers.
    activation
        Name or callable.
    weight_std, bias_std
        Std of a weight, above 0, and of a bias; numbers or arrays, broadcast.
    residual, layer_norm
        Which network.

    Returns
    -------
    Propagation
        Of logarithms, shape ``(..., depth + 1)``, by layer, 0 being the input: of the mean square
        of z, and of the gradient with respect to it. No std is out of range.

    Raises
    ------
    UsageError
        Width or depth below 1, an unknown activation, a std that is not above 0.

    Examples
    --------
    >>> logs = log_variances(100, 50, "relu", 1e3)
    >>> print(f"{logs.forward[-1] / np.log(10):.0f} decades")
    385 decades
    """
    n, n_layers = whole("width", width), whole("depth", depth, at_most=MOST_LAYERS)
    flag("residual", residual)
    flag("layer_norm", layer_norm)
    known = resolve(activation)
    weight = 2 * np.log(positive("weight_std", weight_std)) + np.log(n)
    with np.errstate(divide="ignore"):
        bias = 2 * np.log(nonnegative("bias_std", bias_std))
    together(weight_std=weight, bias_std=bias)
    weight, bias = np.broadcast_arrays(weight, bias)
    shape = weight.shape
    forward = np.zeros((*shape, n_layers + 1))
    backward = np.zeros((*shape, n_layers + 1))
    factor = np.zeros((*shape, n_layers + 1))  # of the gradient, through the branch of a layer
    for layer in range(1, n_layers + 1):
        before = forward[..., layer - 1]
        second, derivative = before, np.zeros(shape)
        if layer > 1 or residual:
            scale = np.zeros(shape)
            if layer_norm:
                scale = np.logaddexp(before, np.log(LAYER_NORM_EPSILON))
            second, derivative = _log_moments(known, before - scale)
            derivative = derivative - scale
        forward[..., layer] = np.logaddexp(weight + second, bias)
        if residual:
            forward[..., layer] = np.logaddexp(forward[..., layer], before)
        factor[..., layer] = weight + derivative
    for layer in range(n_layers, 0, -1):
        gain = np.logaddexp(0.0, factor[..., layer]) if residual else factor[..., layer]
        backward[..., layer - 1] = backward[..., layer] + gain
    return Propagation(plain(forward), plain(backward))


def _log_moments(activation: Activation, log_q: Array) -> tuple[Array, Array]:
    """Return logarithms of E[phi^2] and E[phi'^2] at variance exp(log_q), large or small."""
    inside = np.clip(log_q, np.log(SMALLEST), np.log(LARGEST))
    second, derivative = expectation(activation, np.exp(inside), ("second", "derivative_second"))
    with np.errstate(divide="ignore"):
        log_second, log_derivative = np.log(second), np.log(derivative)
    # Beyond the range: in proportion, but for a bounded activation, which is saturated.
    bounded = (second < np.sqrt(LARGEST)) & (log_q > inside)
    log_second = log_second + np.where(bounded, 0.0, log_q - inside)
    log_derivative = log_derivative - np.where(bounded, (log_q - inside) / 2, 0.0)
    return log_second, log_derivative


def residual_propagate(
    width: int,
    depth: int,
    activation: ActivationLike,
    weight_std: ArrayLike,
    bias_std: ArrayLike = 0.0,
    *,
    residual: bool = True,
    layer_norm: bool = False,
) -> Propagation:
    r"""Return forward and backward variance with residual branches or LayerNorm.

    The network has `depth` weight layers of `width` inputs and outputs each,

    .. math::
        \text{plain} \quad & z_1 = W_1 x + b_1, \quad z_l = W_l \phi(z_{l-1}) + b_l, \\
        \text{residual} \quad & z_0 = x, \quad z_l = z_{l-1} + W_l \phi(z_{l-1}) + b_l,

    with :math:`\phi(\mathrm{LN}(z))` in place of :math:`\phi(z)` where there is LayerNorm. In wide
    layers variances add where a branch is added (Yang & Schoenholz 2017, arXiv:1712.08969), and
    LayerNorm divides both z and the gradient by :math:`\sqrt{q + \epsilon}`. With
    :math:`\hat q = q / (q + \epsilon)` under LayerNorm and :math:`\hat q = q` without,

    .. math::
        q_l &= [q_{l-1}] + n \sigma^2 \, E[\phi(\sqrt{\hat q_{l-1}} z)^2] + \sigma_b^2, \\
        \mathrm{Var}\, \delta_{l-1} &= \Bigl([1] + n \sigma^2 \,
            \frac{E[\phi'(\sqrt{\hat q_{l-1}} z)^2]}{q_{l-1} + \epsilon} \Bigr)
            \mathrm{Var}\, \delta_l,

    the terms in brackets with residual branches, the denominator with LayerNorm. Input and
    gradient at the output have mean square 1.

    Parameters
    ----------
    width, depth
        Units of every layer, and number of weight layers.
    activation
        Name or callable.
    weight_std, bias_std
        Std of a weight, above 0, and of a bias; numbers or arrays, broadcast.
    residual, layer_norm
        Whether there are residual branches, and LayerNorm before each activation.

    Returns
    -------
    Propagation
        `forward` and `backward`, mean squares per element, shape ``(..., depth + 1)``. Values
        beyond the range of float64 are `inf` or 0.

    Raises
    ------
    UsageError
        Width or depth below 1, an unknown activation, a weight std that is not above 0.

    Examples
    --------
    Every residual branch of ReLU under He's scheme doubles the variance; LayerNorm before it makes
    the variance grow by the same amount in every layer instead:

    >>> profile = residual_propagate(100, 10, "relu", np.sqrt(2 / 100))
    >>> print(f"{profile.forward[-1]:.0f}")
    1024
    >>> profile = residual_propagate(100, 10, "relu", np.sqrt(2 / 100), layer_norm=True)
    >>> print(f"{profile.forward[-1]:.2f}")
    11.00
    """
    logs = log_variances(
        width, depth, activation, weight_std, bias_std, residual=residual, layer_norm=layer_norm
    )
    with np.errstate(over="ignore", under="ignore"):
        return Propagation(plain(np.exp(logs.forward)), plain(np.exp(logs.backward)))
