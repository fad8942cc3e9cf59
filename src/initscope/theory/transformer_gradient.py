"""Variance of gradients of a transformer at initialization: along the stream, and of weights."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.polynomial import chebyshev

from initscope.checks import (
    Array,
    flag,
    one,
    plain,
    positive,
    require_name,
    within,
)
from initscope.memory import require_memory
from initscope.theory.activations import Activation, ActivationLike, resolve
from initscope.theory.expectations import expectation
from initscope.theory.kernels import CorrelatedMoments
from initscope.theory.logits import attention_logit_variance
from initscope.theory.transformer_blocks import (
    CORRELATIONS,
    LARGEST_STD,
    activation_covariance,
    attention_covariance,
    check_logits,
    check_ratio,
    check_std,
    layer_norm_covariance,
    mlp_covariance,
    position_differences,
    sizes,
)

__all__ = [
    "GatedWeightGradients",
    "WeightGradients",
    "residual_gradient_variance",
    "weight_gradient_variance",
]

NORMS = ("pre", "post")
SMALLEST_STD = 1e-100  # the logarithm of the variances between is taken


def residual_gradient_variance(
    n_layer: int,
    n_embd: int,
    seq_len: int,
    std: float = 0.02,
    *,
    residual_std: float | None = None,
    norm: str = "pre",
    activation: ActivationLike = "gelu_tanh",
    mlp_ratio: float = 4.0,
    layer_norm_epsilon: float = 1e-5,
    position_std: float | None = None,
    gated: bool = False,
    attention_ratio: float = 1.0,
) -> Array:
    r"""Return the variance of the gradient along the stream, relative to that after all blocks.

    With G(t, t') the covariance over channels of the gradients at two positions, and v_t the
    variance that a LayerNorm divides by, a block adds to G, going back through the MLP and through
    attention P, uniform over the positions up to its own,

    .. math::
        r d^2 s^2 \sigma_p^2 \, E[\phi'(u_t) \phi'(u_{t'})] \, G(t, t')
        \qquad\text{and}\qquad
        d^2 s^2 \sigma_p^2 \, (P^T G P)(t, t') ,

    both divided by :math:`\sqrt{v_t v_{t'}}` if LayerNorm stands inside the branch (``"pre"``).
    If it stands after the sum (``"post"``), all of G is, first. Xiong et al. (2020),
    arXiv:2002.04745, compare the two.

    Parameters
    ----------
    n_layer, n_embd, seq_len, std, residual_std, activation, mlp_ratio, layer_norm_epsilon
        As in :func:`~initscope.theory.residual_stream_variance`; stds are numbers.
    position_std, gated, attention_ratio
        Likewise.
    norm
        ``"pre"``: x + f(LN(x)), as in GPT-2; ``"post"``: LN(x + f(x)), as in GPT and Vaswani et
        al. (2017).

    Returns
    -------
    numpy.ndarray
        Shape ``(n_layer + 1,)``, averaged over positions; 1 in the last place.

    Raises
    ------
    UsageError
        As :func:`~initscope.theory.residual_stream_variance`; an unknown `norm`.

    Notes
    -----
    The gradient is taken to meet weights independent of those of the forward pass, to be the same
    in size at all positions after the last block, and there unrelated between positions. What goes
    back through the attention weights rather than the values is left out; it is small while the
    logits are.

    Examples
    --------
    >>> print(f"{residual_gradient_variance(12, 768, 64)[0]:.0f}")
    107
    """
    require_name("norm", norm, NORMS)
    passed = _pass(
        n_layer,
        n_embd,
        seq_len,
        std,
        residual_std,
        norm,
        activation,
        mlp_ratio,
        layer_norm_epsilon,
        position_std,
        gated,
        attention_ratio,
    )
    found = [float(gradient.trace()) / passed.length for gradient in passed.gradients[::2]]
    return plain(found)


class WeightGradients(NamedTuple):
    """Mean square of the gradient of each matrix of a block; arrays with one value a block."""

    query: Array
    key: Array
    value: Array
    attention_output: Array
    mlp_input: Array
    mlp_output: Array


class GatedWeightGradients(NamedTuple):
    """As :class:`WeightGradients`, of blocks whose MLP has a gate."""

    query: Array
    key: Array
    value: Array
    attention_output: Array
    mlp_input: Array
    mlp_output: Array
    mlp_gate: Array


def weight_gradient_variance(
    n_layer: int,
    n_embd: int,
    seq_len: int,
    std: float = 0.02,
    *,
    residual_std: float | None = None,
    activation: ActivationLike = "gelu_tanh",
    mlp_ratio: float = 4.0,
    layer_norm_epsilon: float = 1e-5,
    position_std: float | None = None,
    gated: bool = False,
    attention_ratio: float = 1.0,
) -> WeightGradients | GatedWeightGradients:
    r"""Return the mean square of weight gradients of a GPT-2 at initialization, block by block.

    With G and K_y the covariances over channels, between positions, of the gradient of the stream
    and of what LayerNorm passes on, and P the uniform attention, a sequence adds

    .. math::
        \text{value: } d \sigma_p^2 \sum_{t t'} G \circ P K_y P^T, \qquad
        \text{query, key: } d \sigma_p^2 s^4 \sum_{t t'} G \circ K_y \circ \mathrm{tr}(C_t C_{t'}),

    where C_t is the covariance matrix, over the positions up to t, of the inputs: the Jacobian of
    softmax. With unrelated positions and gradients query and key have about that of value times
    :math:`d^2 s^4`, the variance of the attention logits; less where positions are alike, of
    which softmax passes the differences alone.

    Parameters
    ----------
    n_layer, n_embd, seq_len, std, residual_std, activation, mlp_ratio, layer_norm_epsilon
        As in :func:`residual_gradient_variance`, of which this is the pre-LN case.
    position_std, gated, attention_ratio
        Likewise.

    Returns
    -------
    WeightGradients or GatedWeightGradients
        Per element and token, for a gradient of the stream of mean square 1 after the last block:
        with a loss summed over N tokens and mean square g there, N g times as much.

    Raises
    ------
    UsageError
        As :func:`residual_gradient_variance`.

    Notes
    -----
    Under the assumptions of :func:`residual_gradient_variance`, softmax taken as uniform.

    Examples
    --------
    >>> found = weight_gradient_variance(12, 768, 64)
    >>> print(f"{found.query[0] / found.value[0]:.3f}")
    0.024
    """
    passed = _pass(
        n_layer,
        n_embd,
        seq_len,
        std,
        residual_std,
        "pre",
        activation,
        mlp_ratio,
        layer_norm_epsilon,
        position_std,
        gated,
        attention_ratio,
    )
    d, weight, out = passed.channels, passed.weight, passed.out
    count = np.arange(1.0, passed.length + 1)
    fewer = np.minimum(count[:, None], count[None, :])
    pairs = count[:, None] * count[None, :]
    rows = []
    for block in range(passed.depth):
        inputs, mlp_inputs = passed.inputs[2 * block : 2 * block + 2]
        after_attention, after_mlp = passed.gradients[2 * block + 1 : 2 * block + 3]
        averaged = inputs.cumsum(axis=0).cumsum(axis=1) / pairs
        # tr(C_t C_t') of normal inputs whose positions share a part and differ in the rest.
        different = position_differences(inputs)
        traces = d * (d + 1) * (fewer - 1) + d * (count[:, None] - 1) * (count[None, :] - 1)
        traces = traces / pairs * different[:, None] * different[None, :]
        logit = d * out * weight**2 * (after_attention * inputs * traces).sum()
        average = (after_attention * averaged).sum()
        hidden = passed.hiddens[block]
        slopes = _slopes(passed.activation, hidden)
        activated = activation_covariance(passed.activation, hidden)
        # Of two factors, the gradient of one is that of the product times the other.
        by_input, by_gate = (activated, slopes * hidden) if passed.gated else (slopes, slopes)
        rows.append(
            (
                logit,
                logit,
                d * out * average,
                d * weight * average,
                d * out * (after_mlp * by_input * mlp_inputs).sum(),
                (after_mlp * mlp_covariance(passed.activation, hidden, passed.gated)).sum(),
                d * out * (after_mlp * by_gate * mlp_inputs).sum(),
            )
        )
    columns = [plain(column / passed.length) for column in np.array(rows).T]
    return GatedWeightGradients(*columns) if passed.gated else WeightGradients(*columns[:-1])


class _Pass(NamedTuple):
    """A forward and a backward pass, in covariances between positions.

    Attributes
    ----------
    inputs
        Of what enters each of the 2 `depth` branches.
    hiddens
        Of the hidden units of each MLP.
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
    inputs: list[Array]
    hiddens: list[Array]
    gradients: list[Array]


def _pass(
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
) -> _Pass:
    """Check the arguments, and follow the signal forward and the gradient back."""
    depth, channels, length = sizes(n_layer, n_embd, seq_len)
    require_memory(8.0 * 5 * depth * length**2, f"seq_len = {length:,} and n_layer = {depth:,}")
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

    # Forward: for each of the 2 n_layer branches, what LayerNorm divides by, and the covariance
    # of the MLP's hidden units between positions.
    covariance = (weight + position) * np.eye(length)
    divisors, hiddens, entered = [], [], []
    for branch in range(2 * depth):
        if norm == "pre":
            divisors.append(covariance.diagonal() + epsilon)
            inputs = layer_norm_covariance(covariance, epsilon)
        else:
            inputs = covariance
        entered.append(inputs)
        if branch % 2 == 0:
            attended = attention_covariance(inputs, logit_variance)
            added = heads * channels**2 * weight * out * attended
        else:
            hidden = channels * weight * inputs
            hiddens.append(hidden)
            added = width * out * mlp_covariance(known, hidden, gated)
        covariance = covariance + added
        if norm == "post":
            divisors.append(covariance.diagonal() + epsilon)
            covariance = layer_norm_covariance(covariance, epsilon)

    # Back: covariance over channels of the gradients at two positions.
    gradient = np.eye(length)
    gradients = [gradient]
    attention = np.tril(np.ones((length, length))) / np.arange(1, length + 1)[:, None]
    for branch in range(2 * depth - 1, -1, -1):
        scale = 1 / np.sqrt(divisors[branch])
        scale = scale[:, None] * scale[None, :]
        if norm == "post":
            gradient = gradient * scale
        if branch % 2 == 0:
            added = heads * channels**2 * weight * out * (attention.T @ gradient @ attention)
        else:
            hidden = hiddens[branch // 2]
            slopes = _slopes(known, hidden)
            if gated:
                slopes = slopes * hidden + activation_covariance(known, hidden)
            added = width * channels * weight * out * slopes * gradient
        gradient = gradient + (added * scale if norm == "pre" else added)
        gradients.append(gradient)
    return _Pass(
        depth, channels, length, weight, out, known, gated, entered, hiddens, gradients[::-1]
    )


def _slopes(activation: Activation, covariance: Array) -> Array:
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
