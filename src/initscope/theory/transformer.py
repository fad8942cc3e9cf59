"""Variance of the residual stream of a transformer at initialization."""

from __future__ import annotations

import numpy as np

from initscope.checks import (
    Array,
    ArrayLike,
    flag,
    one,
    plain,
    together,
    within,
)
from initscope.errors import UsageError
from initscope.theory.activations import ActivationLike, resolve
from initscope.theory.transformer_blocks import (
    Blocks,
    check_logits,
    check_ratio,
    check_std,
    follow_stream,
    sizes,
)

__all__ = ["residual_stream_variance"]


def residual_stream_variance(
    n_layer: int,
    n_embd: int,
    seq_len: int,
    std: ArrayLike = 0.02,
    *,
    residual_std: ArrayLike | None = None,
    position_std: ArrayLike | None = None,
    activation: ActivationLike = "gelu_tanh",
    mlp_ratio: float = 4.0,
    layer_norm_epsilon: float = 1e-5,
    token_repeat: float = 0.0,
    gated: bool = False,
    attention_ratio: float = 1.0,
    per_position: bool = False,
) -> Array:
    r"""Return the variance of a GPT-2's residual stream at initialization, after each block.

    Each block adds attention and an MLP, both of the LayerNorm of the stream x. With d = `n_embd`,
    s = `std`, sigma_p = `residual_std`, r = `mlp_ratio`, y = LN(x) of variance v / (v + epsilon),
    and K(t, t') the covariance over channels of positions t and t', they add

    .. math::
        K_{attn}(t, t') &= d^2 s^2 \sigma_p^2
            \sum_{j \le t, \, k \le t'} p_{tj} p_{t'k} K_y(j, k), \\
        K_{mlp}(t, t') &= r d \, \sigma_p^2 \, E[\phi(u_t) \phi(u_{t'})], \qquad
            \mathrm{Cov}(u_t, u_{t'}) = d s^2 K_y(t, t'),

    because the weights are independent of each other and of what they multiply. Attention p is
    uniform, 1/t, but for the spread of the logits, of variance :math:`d^2 s^4`, which raises
    :math:`\sum p^2`. Averaging over j would shrink attention as 1/t (the text-book
    estimate) if tokens were uncorrelated; but the MLP's activation has a mean, shared by all
    tokens, so that covariance between tokens builds up and attention keeps it.

    The scaling of residual branches by :math:`1/\sqrt{2L}` is that of Radford et al. (2019),
    section 2.3. An MLP with a gate (Shazeer 2020, arXiv:2002.05202) multiplies :math:`\phi(u)` by
    a second projection of the same variance, independent of u, and its covariance is the product of
    both: that of Llama, whose RMSNorm does what LayerNorm does to a stream of mean 0.

    Parameters
    ----------
    n_layer, n_embd, seq_len
        Blocks, channels and tokens.
    std
        Std of the embeddings and of the matrices that read the stream: a number or array.
    residual_std
        Std of the two matrices of a block that write to the stream; ``std / sqrt(2 n_layer)`` if
        None, as in GPT-2. Broadcast with `std`.
    position_std
        Std of the position embeddings; `std` if None.
    activation
        Of the MLP; GPT-2's is the tanh approximation of GELU.
    mlp_ratio
        Width of the MLP over `n_embd`.
    layer_norm_epsilon
        Added to the variance inside LayerNorm: 1e-5 is 1% of GPT-2's variance at the embedding.
    token_repeat
        Probability that two positions hold the same token, and so the same embedding: about 0
        for random tokens, some percent for text.
    gated
        Whether the MLP has a gate, `activation` being that of the gate.
    attention_ratio
        Width of all query heads together over `n_embd`; 1 in most models.
    per_position
        Keep a last axis of positions instead of averaging over them.

    Returns
    -------
    numpy.ndarray
        Variance per element of the stream, shape ``(..., n_layer + 1)``: entry 0 that of the
        embeddings, entry l after block l; with `per_position` ``(..., n_layer + 1, seq_len)``.
        Leading axes are those of the stds.

    Raises
    ------
    UsageError
        Counts that are not whole numbers above 0; negative or NaN stds; unknown activation;
        embeddings of variance 0.

    Notes
    -----
    For wide models: a network of finite width strays from it by about sqrt(2/d), 5% for
    d = 768, mostly in the part that all tokens share. The logits of one query are taken as
    independent but for what the keys have in common, and those of different queries as unrelated.

    Examples
    --------
    >>> variance = residual_stream_variance(12, 768, 64)
    >>> print(f"{variance[0]:.1e} to {variance[-1]:.1e}")
    8.0e-04 to 9.0e-02
    """
    depth, channels, length = sizes(n_layer, n_embd, seq_len)
    width = one("mlp_ratio", within("mlp_ratio", mlp_ratio, 1e-9, 1e9)) * channels
    epsilon = one("layer_norm_epsilon", within("layer_norm_epsilon", layer_norm_epsilon, 0, 1e9))
    repeat = one("token_repeat", within("token_repeat", token_repeat, 0.0, 1.0))
    heads = check_ratio(attention_ratio)
    flag("gated", gated)
    flag("per_position", per_position)
    known = resolve(activation)
    base = check_std("std", std)
    check_logits(channels, base)
    out = base / np.sqrt(2 * depth)
    if residual_std is not None:
        out = check_std("residual_std", residual_std)
    position = base
    if position_std is not None:
        position = check_std("position_std", position_std)
    together(std=base, residual_std=out, position_std=position)
    base, out, position = np.broadcast_arrays(base, out, position)
    if ((base == 0) & (position == 0)).any():
        raise UsageError("the embeddings have variance 0: LayerNorm has nothing to normalize.")
    result = np.empty((*base.shape, depth + 1, length))
    for index in np.ndindex(base.shape):
        weight, write, place = (float(each[index]) ** 2 for each in (base, out, position))
        blocks = Blocks(
            depth, channels, weight, write, heads, width, epsilon, known, bool(gated), "pre"
        )
        stream = np.full((length, length), weight * repeat)
        np.fill_diagonal(stream, weight + place)
        result[index][0] = stream.diagonal()
        for block, (_, mlp) in enumerate(follow_stream(blocks, stream), start=1):
            result[index][block] = mlp.stream.diagonal()
    return plain(result if per_position else result.mean(axis=-1))
