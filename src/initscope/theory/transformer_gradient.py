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
    whole,
    within,
)
from initscope.memory import require_memory
from initscope.theory.activations import Activation, ActivationLike, resolve
from initscope.theory.attention_gradient import (
    gram_fluctuations,
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

__all__ = [
    "GatedWeightGradients",
    "WeightGradients",
    "residual_gradient_variance",
    "weight_gradient_variance",
]

NORMS = ("pre", "post")
HEAD = 64  # channels of a head unless the caller says how many heads there are
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
    the values that attention P averages over the positions up to its own,

    .. math::
        r d^2 s^2 \sigma_p^2 \, E[\phi'(u_t) \phi'(u_{t'})] \, G(t, t')
        \qquad\text{and}\qquad
        d^2 s^2 \sigma_p^2 \, (P^T G P)(t, t') ,

    and through the logits of attention, by the queries and by the keys,

    .. math::
        d^2 s^6 \sigma_p^2 \Bigl[ G(t, t') \operatorname{tr}(C_t C_{t'})
        + d^2 \sum_{\tau \ge t, \tau' \ge t'} p_{\tau t} p_{\tau' t'} \, (G \circ K_y)(\tau, \tau')
        \operatorname{Cov}(y_t - \bar y_\tau, y_{t'} - \bar y_{\tau'}) \Bigr] ,

    each about :math:`d^2 s^4`, the variance of the logits, times what comes by the values (C_t is
    that of :func:`weight_gradient_variance`). All are divided by :math:`\sqrt{v_t v_{t'}}` if
    LayerNorm stands inside the branch (``"pre"``). If it stands after the sum (``"post"``), all of
    G is, first. Xiong et al. (2020), arXiv:2002.04745, compare the two.

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
    in size at all positions after the last block, and there unrelated between positions. The logits
    of different queries are taken as unrelated.

    Examples
    --------
    >>> print(f"{residual_gradient_variance(12, 768, 64)[0]:.0f}")
    112
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
    n_head: int | None = None,
    n_kv_head: int | None = None,
) -> WeightGradients | GatedWeightGradients:
    r"""Return the mean square of weight gradients of a GPT-2 at initialization, block by block.

    With G and K_y the covariances over channels, between positions, of the gradient of the stream
    and of what LayerNorm passes on, and P the uniform attention, a sequence adds

    .. math::
        \text{value: } d \sigma_p^2 \sum_{t t'} G \circ P K_y P^T, \qquad
        \text{query, key: } d \sigma_p^2 s^4 \sum_{t t'} G \circ K_y \circ \mathrm{tr}(C_t C_{t'}),

    where C_t is the covariance matrix, over the positions up to t, of the inputs: what the Jacobian
    of softmax leaves of them. Its traces are averages over draws of squared inner products of
    differences between positions, and so feel how much these products stray from their mean: more
    with each block, by what attention and MLP make of those that come in. With unrelated positions
    and gradients query and key have about that of value times :math:`d^2 s^4`, the variance of the
    attention logits; less where positions are alike, of which softmax passes the differences alone.

    Parameters
    ----------
    n_layer, n_embd, seq_len, std, residual_std, activation, mlp_ratio, layer_norm_epsilon
        As in :func:`residual_gradient_variance`, of which this is the pre-LN case.
    position_std, gated, attention_ratio
        Likewise.
    n_head
        Query heads; heads of 64 channels, as GPT-2's, if None.
    n_kv_head
        Heads of keys and values, of which each gathers the gradients of a group of query heads;
        `n_head` if None.

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
    Under the assumptions of :func:`residual_gradient_variance`. Measured on 8 models each of
    widths 64 to 512, 2 to 8 blocks, 2 to 8 heads and 32 to 128 positions, up to a logit variance of
    1, queries and keys are within 15% in mean square of it; the mean of the models alone is
    known to 3 to 8%.

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
    attention_width, mlp_width = passed.width_ratios
    heads = max(1, round(d * attention_width / HEAD))
    if n_head is not None:
        heads = whole("n_head", n_head, at_most=10**9)
    key_heads = heads if n_kv_head is None else whole("n_kv_head", n_kv_head, at_most=heads)
    group = heads / key_heads
    fluctuations = gram_fluctuations(
        passed.streams,
        passed.softmaxes,
        passed.slopes,
        channels=d,
        heads=heads,
        strength=passed.strength,
        width_ratios=(attention_width / group, mlp_width),
    )
    rows = []
    for block in range(passed.depth):
        inputs, mlp_inputs = passed.inputs[2 * block : 2 * block + 2]
        after_attention, after_mlp = passed.gradients[2 * block + 1 : 2 * block + 3]
        softmax = passed.softmaxes[block]
        averaged = attention_covariance(inputs, softmax)
        traces = jacobian_traces(inputs, softmax, d, fluctuations[block])
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
                group * logit,
                group * d * out * average,
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
            slopes = _slopes(known, hidden)
            if gated:
                slopes = slopes * hidden + activation_covariance(known, hidden)
            slopes = width * channels * weight * out * slopes
            all_slopes.append(slopes * scale if norm == "pre" else slopes)
            added = slopes * gradient
        gradient = gradient + (added * scale if norm == "pre" else added)
        gradients.append(gradient)
    return _Pass(
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
