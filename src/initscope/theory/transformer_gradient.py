"""Variance of gradients of a transformer at initialization: along the stream, and of weights."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from initscope.checks import (
    Array,
    plain,
    require_name,
    whole,
)
from initscope.theory.activations import ActivationLike
from initscope.theory.attention_gradient import (
    gram_fluctuations,
    jacobian_traces,
)
from initscope.theory.transformer_blocks import (
    activation_covariance,
    attention_covariance,
    mlp_covariance,
)
from initscope.theory.transformer_pass import activation_slopes, follow

__all__ = [
    "GatedWeightGradients",
    "WeightGradients",
    "residual_gradient_variance",
    "weight_gradient_variance",
]

NORMS = ("pre", "post")
HEAD = 64  # channels of a head unless the caller says how many heads there are


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

    With G(t, t') the covariance over channels of the gradients at two positions, v_t the variance
    that a LayerNorm divides by, and d, s, sigma_p, r and K as in
    :func:`~initscope.theory.residual_stream_variance`, a block adds to G, going back through the
    MLP and through the values that attention P averages over the positions up to its own,

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
    that of :func:`weight_gradient_variance`). If LayerNorm stands inside the branch (``"pre"``),
    these terms are divided by :math:`\sqrt{v_t v_{t'}}`; if it stands after the sum (``"post"``),
    all of G is, before they are added. Xiong et al. (2020), arXiv:2002.04745, compare the two.

    Parameters
    ----------
    n_layer, n_embd, seq_len, std, residual_std, activation, mlp_ratio, layer_norm_epsilon
        As in :func:`~initscope.theory.residual_stream_variance`; stds are numbers.
    position_std, gated, attention_ratio
        As there.
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
    Assumed: the gradient meets weights independent of those of the forward pass; after the last
    block it has the same size at all positions and is unrelated between them; the logits of
    different queries are unrelated.

    Examples
    --------
    >>> print(f"{residual_gradient_variance(12, 768, 64)[0]:.0f}")
    112
    """
    require_name("norm", norm, NORMS)
    passed = follow(
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
    found = [float(gradient.trace()) / len(gradient) for gradient in passed.gradients[::2]]
    return plain(found)


class WeightGradients(NamedTuple):
    """Mean square per element of the gradient of each matrix, arrays with one value a block."""

    query: Array
    key: Array
    value: Array
    attention_output: Array
    mlp_input: Array
    mlp_output: Array


class GatedWeightGradients(NamedTuple):
    """:class:`WeightGradients` of blocks whose MLP has a gate."""

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
    and gradients, query and key have about the mean square of value times :math:`d^2 s^4`, the
    variance of the attention logits; less where positions are alike, since softmax passes only
    their differences.

    Parameters
    ----------
    n_layer, n_embd, seq_len, std, residual_std, activation, mlp_ratio, layer_norm_epsilon
        As in :func:`~initscope.theory.residual_stream_variance`; stds are numbers, the model is
        pre-LN.
    position_std, gated, attention_ratio
        As there.
    n_head
        Number of query heads; if None, so many that each has 64 channels, as in GPT-2.
    n_kv_head
        Number of heads of keys and values, each shared by a group of query heads; `n_head` if
        None.

    Returns
    -------
    WeightGradients or GatedWeightGradients
        Mean squares per element, for one token whose gradient of the stream has mean square 1 after
        the last block. With a loss summed over N tokens and mean square g there, multiply by N g.

    Raises
    ------
    UsageError
        As :func:`residual_gradient_variance`.

    Notes
    -----
    The assumptions are those of :func:`residual_gradient_variance`. In models of widths 64 to 512,
    2 to 8 blocks, 2 to 8 heads and 32 to 128 positions, up to a logit variance of 1, the measured
    mean squares of queries and keys are within 15% of it. The means over 8 models of each kind
    have errors of 3 to 8% themselves.

    Examples
    --------
    >>> found = weight_gradient_variance(12, 768, 64)
    >>> print(f"{found.query[0] / found.value[0]:.3f}")
    0.024
    """
    passed = follow(
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
    blocks = passed.blocks
    d, weight, out, phi = blocks.channels, blocks.weight, blocks.out, blocks.activation
    length = len(passed.streams[0])
    heads = max(1, round(d * blocks.heads / HEAD))
    if n_head is not None:
        heads = whole("n_head", n_head, at_most=10**9)
    key_heads = heads if n_kv_head is None else whole("n_kv_head", n_kv_head, at_most=heads)
    group = heads / key_heads
    fluctuations = gram_fluctuations(
        passed.streams,
        [attention.softmax for attention, _ in passed.forward],
        passed.slopes,
        channels=d,
        heads=heads,
        strength=blocks.strength,
        width_ratios=(blocks.heads / group, blocks.width / d),
    )
    rows = []
    for block, (attention, mlp) in enumerate(passed.forward):
        inputs, softmax, hidden = attention.inputs, attention.softmax, mlp.hidden
        after_attention, after_mlp = passed.gradients[2 * block + 1 : 2 * block + 3]
        averaged = attention_covariance(inputs, softmax)
        traces = jacobian_traces(inputs, softmax, d, fluctuations[block])
        logit = d * out * weight**2 * (after_attention * inputs * traces).sum()
        average = (after_attention * averaged).sum()
        slopes = activation_slopes(phi, hidden)
        activated = activation_covariance(phi, hidden)
        # Of two factors, the gradient of one is that of the product times the other.
        by_input, by_gate = (activated, slopes * hidden) if blocks.gated else (slopes, slopes)
        rows.append(
            (
                logit,
                group * logit,
                group * d * out * average,
                d * weight * average,
                d * out * (after_mlp * by_input * mlp.inputs).sum(),
                (after_mlp * mlp_covariance(phi, hidden, blocks.gated)).sum(),
                d * out * (after_mlp * by_gate * mlp.inputs).sum(),
            )
        )
    columns = [plain(column / length) for column in np.array(rows).T]
    return GatedWeightGradients(*columns) if blocks.gated else WeightGradients(*columns[:-1])
