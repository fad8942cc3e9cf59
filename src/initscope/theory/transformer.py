"""Variance of the residual stream of a transformer at initialization, and of attention logits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numpy.polynomial import chebyshev

from initscope.checks import (
    Array,
    ArrayLike,
    flag,
    nonnegative,
    one,
    plain,
    positive,
    together,
    whole,
    within,
)
from initscope.errors import UsageError
from initscope.memory import require_memory
from initscope.theory.activations import Activation, ActivationLike, resolve
from initscope.theory.expectations import expectation
from initscope.theory.kernels import CorrelatedMoments

__all__ = ["attention_logit_variance", "initial_loss", "residual_stream_variance"]

CORRELATIONS = 65  # Chebyshev nodes over [-1, 1] for the covariance of activations
LOGIT_NODES = 12  # the same for the variance of attention logits
LARGEST_LOGIT_VARIANCE = 300.0  # beyond it the square of exp of a logit overflows
LARGEST_STD = 1e50
MOST_BLOCKS = 100_000
STEP = 0.25  # of the trapezoidal rule in log x; exact to rounding


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
    s = `std`, sigma_p = `residual_std`, y = LN(x) of variance v / (v + epsilon), and K(t, t') the
    covariance over channels of positions t and t', they add

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
        result[index] = _stream(
            known,
            depth,
            channels,
            width,
            length,
            float(base[index]) ** 2,
            float(out[index]) ** 2,
            float(position[index]) ** 2,
            epsilon,
            repeat,
            heads,
            bool(gated),
        )
    return plain(result if per_position else result.mean(axis=-1))


def sizes(n_layer: object, n_embd: object, seq_len: object) -> tuple[int, int, int]:
    """Return blocks, channels and tokens, checked."""
    depth = whole("n_layer", n_layer, at_most=MOST_BLOCKS)
    channels = whole("n_embd", n_embd, at_most=10**9)
    length = whole("seq_len", seq_len)
    # A few matrices of positions by positions, of which one stays, and a row a block.
    require_memory(64.0 * length**2 + 8.0 * length * depth, f"seq_len = {length:,}")
    return depth, channels, length


def check_std(name: str, std: ArrayLike) -> Array:
    """Return stds whose squares, and some products of them, are in the range of a float."""
    return within(name, nonnegative(name, std), 0.0, LARGEST_STD)


def check_ratio(attention_ratio: float) -> float:
    """Return the width of all heads over that of the stream, checked."""
    return one("attention_ratio", within("attention_ratio", attention_ratio, 1e-9, 1e9))


def check_logits(channels: int, std: Array) -> None:
    """Raise where the averages of :func:`_sum_of_squares` leave the range of floats."""
    largest = np.max(attention_logit_variance(channels, std), initial=0.0)
    if largest > LARGEST_LOGIT_VARIANCE:
        raise UsageError(
            f"std = {std.max():g} with n_embd = {channels} gives attention logits of variance "
            f"{largest:g}; up to {LARGEST_LOGIT_VARIANCE:g} is known what softmax makes of them: "
            "choose a smaller std."
        )


def _stream(
    activation: Activation,
    depth: int,
    channels: int,
    width: float,
    length: int,
    weight: float,
    out: float,
    position: float,
    epsilon: float,
    repeat: float,
    heads: float,
    gated: bool,
) -> Array:
    """Return the variance of each position after each block, ``(depth + 1, length)``."""
    covariance = np.full((length, length), weight * repeat)
    np.fill_diagonal(covariance, weight + position)
    logit_variance = float(attention_logit_variance(channels, np.sqrt(weight)))
    variances = [covariance.diagonal().copy()]
    for _ in range(depth):
        attended = attention_covariance(layer_norm_covariance(covariance, epsilon), logit_variance)
        covariance = covariance + heads * channels**2 * weight * out * attended
        hidden = channels * weight * layer_norm_covariance(covariance, epsilon)
        covariance = covariance + width * out * mlp_covariance(activation, hidden, gated)
        variances.append(covariance.diagonal().copy())
    return np.array(variances)


def layer_norm_covariance(covariance: Array, epsilon: float) -> Array:
    scale = 1 / np.sqrt(covariance.diagonal() + epsilon)
    return covariance * scale[:, None] * scale[None, :]


def attention_covariance(covariance: Array, logit_variance: float) -> Array:
    """Return the covariance of causal attention averages of vectors with this covariance.

    Uniform averages, and on the diagonal the sum over p^2 in excess of 1/t that the spread of the
    logits brings, times the part of the variance in which the positions differ.
    """
    count = np.arange(1, len(covariance) + 1)
    average = covariance.cumsum(axis=0).cumsum(axis=1) / (count[:, None] * count[None, :])
    different = position_differences(covariance)
    # Logits are as alike as the keys: what all share drops out of the softmax.
    spread = logit_variance * covariance.diagonal() * different
    excess = _sum_of_squares(count, spread) - 1 / count
    average[np.diag_indices_from(average)] += excess * different
    return average


def position_differences(covariance: Array) -> Array:
    """Return the part of the variance in which the positions up to each one differ, on average."""
    count = np.arange(1, len(covariance) + 1)
    common = covariance.cumsum(axis=0).cumsum(axis=1).diagonal() / count
    total = covariance.diagonal().cumsum() - common
    return np.asarray(np.maximum(total, 0.0) / np.maximum(count - 1, 1))


def _sum_of_squares(count: npt.NDArray[np.intp], spread: Array) -> Array:
    r"""Return E sum p^2 for a softmax over `count` independent logits N(0, `spread`).

    With L(x) = E exp(-x e^a), the Laplace transform of one weight before normalization, it is
    :math:`t \int_0^\infty x L''(x) L(x)^{t-1} dx`; tabulated in the variance.
    """
    largest = max(float(spread.max()), 1e-12)
    nodes = (chebyshev.chebpts1(LOGIT_NODES) + 1) / 2 * largest
    z, weight = np.polynomial.hermite_e.hermegauss(96)
    weight = weight / weight.sum()
    low, high = -np.log(count.max()) - 25 - 3 * largest, 6 + 9 * np.sqrt(largest)
    x = np.exp(np.arange(low, high, STEP))
    values = np.empty((LOGIT_NODES, len(count)))
    for i, variance in enumerate(nodes):
        weights = np.exp(np.sqrt(variance) * z)
        decay = np.exp(-x[:, None] * weights) * weight
        with np.errstate(under="ignore", divide="ignore"):
            log_transform = np.log(decay.sum(axis=1))
            density = x**2 * (decay @ weights**2) * STEP
            power = np.exp(np.outer(count - 1, np.maximum(log_transform, -800)))
        values[i] = count * (power @ density)
    fit = chebyshev.chebfit(2 * nodes / largest - 1, values, LOGIT_NODES - 1)
    return np.asarray(chebyshev.chebval(2 * spread / largest - 1, fit, tensor=False))


def mlp_covariance(activation: Activation, covariance: Array, gated: bool) -> Array:
    """Return the covariance of what the last matrix of an MLP reads, by that of what comes in."""
    activated = activation_covariance(activation, covariance)
    return activated * covariance if gated else activated


def activation_covariance(activation: Activation, covariance: Array) -> Array:
    """Return the covariance of phi(u) for Gaussian u with this covariance."""
    q = covariance.diagonal()
    (second,) = expectation(activation, q, ("second",))
    if not q.min() > 0:
        (mean,) = expectation(activation, q, ("mean",))
        return np.outer(mean, mean) + np.diag(second - mean**2)
    # LayerNorm makes all variances nearly equal: one curve in the correlation serves all pairs,
    # and the mean square of each position corrects it.
    typical = np.exp(np.log(q).mean())
    nodes = chebyshev.chebpts1(CORRELATIONS)
    moments = CorrelatedMoments(activation, np.full(CORRELATIONS, typical)).moment(nodes)
    curve = chebyshev.chebfit(nodes, moments, CORRELATIONS - 1)
    used = np.flatnonzero(np.abs(curve) > 1e-13 * np.abs(curve).max())[-1] + 1
    root = np.sqrt(q)
    correlation = np.clip(covariance / (root[:, None] * root[None, :]), -1, 1)
    values = chebyshev.chebval(correlation, curve[:used])
    scale = np.sqrt(second / expectation(activation, np.array(typical), ("second",))[0])
    values = values * scale[:, None] * scale[None, :]
    np.fill_diagonal(values, second)
    return values


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
