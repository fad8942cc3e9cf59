"""Variance of the logits of attention, and the loss that those of the vocabulary start with."""

from __future__ import annotations

import numpy as np

from initscope.checks import Array, ArrayLike, nonnegative, plain, positive, together, within
from initscope.errors import UsageError

__all__ = ["attention_logit_variance", "initial_loss"]


def attention_logit_variance(
    n_embd: ArrayLike,
    std: ArrayLike = 0.02,
    *,
    key_std: ArrayLike | None = None,
    input_variance: ArrayLike = 1.0,
    head_dim: ArrayLike | None = None,
) -> Array:
    r"""Return the variance of the attention logit q.k / sqrt(d_head) at initialization.

    With inputs of mean square v (1 after LayerNorm), q and k have variance :math:`d s^2 v`, and

    .. math:: \mathrm{Var}\!\left( \frac{q \cdot k}{\sqrt{d_{head}}} \right)
              = d^2 \, s_q^2 s_k^2 \, v^2

    over draws of the weights, whatever the width of a head and how alike the two tokens are.
    Vaswani et al. (2017), section 3.2.1, divide by sqrt(d_head) for q and k of variance 1. With
    1/d_head instead (muP; Yang et al. 2022, table 8) it is smaller by d_head.

    Parameters
    ----------
    n_embd
        Channels d.
    std
        Std of the query matrix, and of the key matrix unless given. All arrays broadcast.
    key_std
        Std of the key matrix.
    input_variance
        Mean square v of what the matrices are applied to.
    head_dim
        Given for logits q.k / d_head instead.

    Returns
    -------
    numpy.ndarray
        Variance over draws of the weights. Over the keys of one query it is smaller by 1 - c,
        with c the correlation between tokens.

    Raises
    ------
    UsageError
        Negative or NaN values; `n_embd` or `head_dim` not above 0.

    Examples
    --------
    >>> print(f"{attention_logit_variance(768):.4f}")
    0.0944
    """
    query = nonnegative("std", std)
    key = query if key_std is None else nonnegative("key_std", key_std)
    channels, square = positive("n_embd", n_embd), nonnegative("input_variance", input_variance)
    head = np.ones(()) if head_dim is None else positive("head_dim", head_dim)
    together(n_embd=channels, std=query, key_std=key, input_variance=square, head_dim=head)
    with np.errstate(over="ignore"):
        return plain((channels * query * key * square) ** 2 / head)


def initial_loss(
    vocab_size: ArrayLike,
    n_embd: ArrayLike,
    std: ArrayLike = 0.02,
    *,
    input_variance: ArrayLike = 1.0,
) -> Array:
    r"""Return the cross-entropy of a GPT-2 at initialization, for labels drawn at random.

    The logits over a vocabulary of V are products of what the last LayerNorm passes on, of mean
    square v, with the rows of the embedding: normal, of variance :math:`b^2 = d s^2 v`. So

    .. math:: E\Bigl[\ln \sum_i e^{z_i} - z_y\Bigr] \approx \ln V + \frac{b^2}{2}
              - \frac{e^{b^2} - 1}{2 V} ,

    as long as b is well below :math:`\sqrt{2 \ln V}`, and never below :math:`\ln V`.

    Parameters
    ----------
    vocab_size
        Number of tokens V, at least 1. All arrays broadcast.
    n_embd, std
        Channels d, and std s of the token embedding, which is the output matrix too.
    input_variance
        Mean square v.

    Raises
    ------
    UsageError
        Values out of range; logits of a std of sqrt(2 ln V)/2 or more, where few tokens carry the
        sum.

    Examples
    --------
    >>> print(f"{initial_loss(50257, 768):.3f}")
    10.979
    """
    tokens = within("vocab_size", vocab_size, 1, 1e15)
    channels, scale = positive("n_embd", n_embd), nonnegative("std", std)
    square = nonnegative("input_variance", input_variance)
    together(vocab_size=tokens, n_embd=channels, std=scale, input_variance=square)
    with np.errstate(over="ignore"):
        variance = channels * scale**2 * square
    if (variance > np.log(tokens) / 2).any():
        raise UsageError(
            "std, n_embd and input_variance give output logits of a variance above "
            "ln(vocab_size) / 2: a few tokens carry the sum there, and no loss is known; choose a "
            "smaller std."
        )
    return plain(np.log(tokens) + variance / 2 - np.expm1(variance) / (2 * tokens))
