"""Follow the signal of a transformer forward and the gradient back, as covariances of positions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.polynomial import chebyshev

from initscope.checks import (
    Array,
    flag,
    one,
    positive,
    within,
)
from initscope.memory import require_memory
from initscope.theory.activations import Activation, ActivationLike, resolve
from initscope.theory.attention_gradient import (
    jacobian_traces,
    through_logits,
    through_values,
)
from initscope.theory.expectations import expectation
from initscope.theory.kernels import CorrelatedMoments
from initscope.theory.logits import attention_logit_variance
from initscope.theory.transformer_blocks import (
    CORRELATIONS,
    LARGEST_STD,
    Softmax,
    activation_covariance,
    attention_covariance,
    check_logits,
    check_ratio,
    check_std,
    layer_norm_covariance,
    mlp_covariance,
    sizes,
    softmax_of,
)

__all__: list[str] = []  # for this package alone

SMALLEST_STD = 1e-100  # the logarithm of the variances between is taken


class Pass(NamedTuple):
    """A forward and a backward pass, in covariances between positions.

    Attributes
    ----------
    streams
        Of the stream before each of the 2 `depth` branches and after the last.
    inputs
        Of what enters each branch.
    softmaxes
        Of each attention.
    hiddens
        Of the hidden units of each MLP.
    slopes
        Of the derivative of what each MLP adds by the covariance of the stream.
    gradients
        Of the gradient of the stream, before the first branch and after each.
    """

    depth: int
    channels: int
    length: int
    weight: float
    out: float
    activation: Activation
    gated: bool
    strength: float
    width_ratios: tuple[float, float]
    streams: list[Array]
    inputs: list[Array]
    softmaxes: list[Softmax]
    hiddens: list[Array]
    slopes: list[Array]
    gradients: list[Array]


def follow(
    n_layer: int,
    n_embd: int,
    seq_len: int,
    std: float,
    residual_std: float | None,
    norm: str,
    activation: ActivationLike,
    mlp_ratio: float,
    layer_norm_epsilon: float,
    position_std: float | None,
    gated: bool,
    attention_ratio: float,
) -> Pass:
    """Check the arguments, and follow the signal forward and the gradient back."""
    depth, channels, length = sizes(n_layer, n_embd, seq_len)
    require_memory(8.0 * 8 * depth * length**2, f"seq_len = {length:,} and n_layer = {depth:,}")
    width = one("mlp_ratio", within("mlp_ratio", mlp_ratio, 1e-9, 1e9)) * channels
    epsilon = one("layer_norm_epsilon", within("layer_norm_epsilon", layer_norm_epsilon, 0, 1e9))
    heads, gated = check_ratio(attention_ratio), flag("gated", gated)
    known = resolve(activation)
    base = within("std", positive("std", std), SMALLEST_STD, LARGEST_STD)
    check_logits(channels, base)
    weight = one("std", base) ** 2
    out = weight / (2 * depth)
    if residual_std is not None:
        out = one("residual_std", check_std("residual_std", residual_std)) ** 2
    position = weight
    if position_std is not None:
        position = one("position_std", check_std("position_std", position_std)) ** 2
    logit_variance = float(attention_logit_variance(channels, np.sqrt(weight)))

    strength = heads * channels**2 * weight * out

    # Forward: for each of the 2 n_layer branches, what LayerNorm divides by, and the covariance
    # of the MLP's hidden units between positions.
    covariance = (weight + position) * np.eye(length)
    divisors, hiddens, entered, softmaxes, streams = [], [], [], [], [covariance]
    for branch in range(2 * depth):
        if norm == "pre":
            divisors.append(covariance.diagonal() + epsilon)
            inputs = layer_norm_covariance(covariance, epsilon)
        else:
            inputs = covariance
        entered.append(inputs)
        if branch % 2 == 0:
            softmaxes.append(softmax_of(inputs, logit_variance))
            added = strength * attention_covariance(inputs, softmaxes[-1])
        else:
            hidden = channels * weight * inputs
            hiddens.append(hidden)
            added = width * out * mlp_covariance(known, hidden, gated)
        covariance = covariance + added
        if norm == "post":
            divisors.append(covariance.diagonal() + epsilon)
            covariance = layer_norm_covariance(covariance, epsilon)
        streams.append(covariance)

    # Back: covariance over channels of the gradients at two positions.
    gradient = np.eye(length)
    gradients, all_slopes = [gradient], []
    for branch in range(2 * depth - 1, -1, -1):
        scale = 1 / np.sqrt(divisors[branch])
        scale = scale[:, None] * scale[None, :]
        if norm == "post":
            gradient = gradient * scale
        if branch % 2 == 0:
            inputs, softmax = entered[branch], softmaxes[branch // 2]
            traces = jacobian_traces(inputs, softmax, channels, np.ones_like(inputs))
            logits = through_logits(gradient, inputs, softmax, traces, channels)
            added = strength * (through_values(gradient, softmax) + weight**2 * logits)
        else:
            hidden = hiddens[branch // 2]
            slopes = activation_slopes(known, hidden)
            if gated:
                slopes = slopes * hidden + activation_covariance(known, hidden)
            slopes = width * channels * weight * out * slopes
            all_slopes.append(slopes * scale if norm == "pre" else slopes)
            added = slopes * gradient
        gradient = gradient + (added * scale if norm == "pre" else added)
        gradients.append(gradient)
    return Pass(
        depth,
        channels,
        length,
        weight,
        out,
        known,
        gated,
        strength,
        (heads, width / channels),
        streams,
        entered,
        softmaxes,
        hiddens,
        all_slopes[::-1],
        gradients[::-1],
    )


def activation_slopes(activation: Activation, covariance: Array) -> Array:
    """Return E[phi'(u_t) phi'(u_t')] for Gaussian u with this covariance."""
    q = covariance.diagonal()
    # As in the forward pass: one curve in the correlation, and the mean squares of each position.
    typical = np.exp(np.log(q).mean())
    nodes = chebyshev.chebpts1(CORRELATIONS)
    moments = CorrelatedMoments(activation, np.full(CORRELATIONS, typical))
    curve = chebyshev.chebfit(nodes, moments.derivative_moment(nodes), CORRELATIONS - 1)
    root = np.sqrt(q)
    correlation = np.clip(covariance / (root[:, None] * root[None, :]), -1, 1)
    values = chebyshev.chebval(correlation, curve)
    (second,) = expectation(activation, q, ("derivative_second",))
    np.fill_diagonal(values, second)
    return np.asarray(values)
