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
from initscope.theory.transformer_blocks import (
    CORRELATIONS,
    LARGEST_STD,
    AttentionBranch,
    Blocks,
    MLPBranch,
    activation_covariance,
    check_logits,
    check_ratio,
    check_std,
    follow_stream,
    sizes,
)

__all__: list[str] = []  # for this package alone

SMALLEST_STD = 1e-100  # the logarithm of the variances between is taken


class Pass(NamedTuple):
    """A forward and a backward pass, in covariances between positions.

    Attributes
    ----------
    forward
        The two branches of each block.
    streams
        Of the stream before each branch and after the last.
    slopes
        Of the derivative of what each MLP adds by the covariance of the stream.
    gradients
        Of the gradient of the stream, before the first branch and after each.
    """

    blocks: Blocks
    forward: list[tuple[AttentionBranch, MLPBranch]]
    streams: list[Array]
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
    require_memory(8.0 * 10 * depth * length**2, f"seq_len = {length:,} and n_layer = {depth:,}")
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
    blocks = Blocks(depth, channels, weight, out, heads, width, epsilon, known, gated, norm)
    embeddings = (weight + position) * np.eye(length)
    forward = list(follow_stream(blocks, embeddings))
    streams = [embeddings, *(branch.stream for block in forward for branch in block)]

    # Back: covariance over channels of the gradients at two positions.
    gradients, all_slopes = [np.eye(length)], []

    def enter(gradient: Array, divisor: Array) -> tuple[Array, Array]:
        """Return the gradient of what a branch adds, and the factor of what leaves it."""
        root = 1 / np.sqrt(divisor)
        scale = root[:, None] * root[None, :]
        return (gradient * scale, np.ones(())) if norm == "post" else (gradient, scale)

    for attention, mlp in reversed(forward):
        gradient, scale = enter(gradients[-1], mlp.divisor)
        slopes = activation_slopes(known, mlp.hidden)
        if gated:
            slopes = slopes * mlp.hidden + activation_covariance(known, mlp.hidden)
        all_slopes.append(width * channels * weight * out * slopes * scale)
        gradients.append(gradient + all_slopes[-1] * gradient)

        gradient, scale = enter(gradients[-1], attention.divisor)
        inputs, softmax = attention.inputs, attention.softmax
        traces = jacobian_traces(inputs, softmax, channels, np.ones_like(inputs))
        logits = through_logits(gradient, inputs, softmax, traces, channels)
        added = blocks.strength * (through_values(gradient, softmax) + weight**2 * logits)
        gradients.append(gradient + added * scale)
    return Pass(blocks, forward, streams, all_slopes[::-1], gradients[::-1])


def activation_slopes(activation: Activation, covariance: Array) -> Array:
    """Return E[phi'(u_t) phi'(u_t')] for Gaussian u with this covariance."""
    q = np.maximum(covariance.diagonal(), np.finfo(float).tiny)  # of weights near 0 it underflows
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
