"""What the parts of a transformer's block make of the covariance between positions.

Covariances are over channels, shape ``(seq_len, seq_len)``, of a wide model with random weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.polynomial import chebyshev

from initscope.checks import Array, ArrayLike, nonnegative, one, whole, within
from initscope.errors import UsageError
from initscope.memory import require_memory
from initscope.theory.activations import Activation
from initscope.theory.expectations import expectation
from initscope.theory.kernels import CorrelatedMoments
from initscope.theory.logits import attention_logit_variance

__all__: list[str] = []  # for this package alone

CORRELATIONS = 65  # Chebyshev nodes over [-1, 1] for the covariance of activations
LOGIT_NODES = 12  # the same for the variance of attention logits
LARGEST_LOGIT_VARIANCE = 300.0  # beyond it the square of exp of a logit overflows
LARGEST_STD = 1e50
MOST_BLOCKS = 100_000
STEP = 0.25  # of the trapezoidal rule in log x; exact to rounding


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
    """Raise where the averages of :func:`_softmax_moments` leave the range of floats."""
    largest = np.max(attention_logit_variance(channels, std), initial=0.0)
    if largest > LARGEST_LOGIT_VARIANCE:
        raise UsageError(
            f"std = {std.max():g} with n_embd = {channels} gives attention logits of variance "
            f"{largest:g}; up to {LARGEST_LOGIT_VARIANCE:g} is known what softmax makes of them: "
            "choose a smaller std."
        )


def layer_norm_covariance(covariance: Array, epsilon: float) -> Array:
    """Return the covariance of what LayerNorm passes on, or RMSNorm of a stream of mean 0."""
    scale = 1 / np.sqrt(covariance.diagonal() + epsilon)
    return covariance * scale[:, None] * scale[None, :]


class Softmax(NamedTuple):
    r"""Attention at initialization: over the positions up to each one, shape ``(seq_len,)``.

    Attributes
    ----------
    different
        Part of the variance in which the positions differ, on average.
    squares
        :math:`E \sum_j p_j^2`; 1/t where all weights are equal.
    jacobian
        :math:`E \operatorname{tr} J^2` of softmax's Jacobian
        :math:`J = \operatorname{diag}(p) - p p^T`; (t - 1)/t^2 where all weights are equal.
    """

    different: Array
    squares: Array
    jacobian: Array


def softmax_of(covariance: Array, logit_variance: float) -> Softmax:
    """Return what softmax makes of the logits of inputs with this covariance."""
    count = np.arange(1, len(covariance) + 1)
    different = position_differences(covariance)
    # Logits are as alike as the keys: what all share drops out of the softmax.
    spread = logit_variance * covariance.diagonal() * different
    return Softmax(different, *_softmax_moments(count, spread))


def attention_covariance(covariance: Array, softmax: Softmax) -> Array:
    """Return the covariance of causal attention averages of vectors with this covariance.

    Uniform averages, and on the diagonal the sum over p^2 in excess of 1/t that the spread of the
    logits brings, times the part of the variance in which the positions differ.
    """
    count = np.arange(1, len(covariance) + 1)
    average = prefix_sums(covariance) / np.outer(count, count)
    excess = softmax.squares - 1 / count
    average[np.diag_indices_from(average)] += excess * softmax.different
    return average


def prefix_sums(matrix: Array) -> Array:
    """Return sums over all entries up to each one in rows and columns."""
    return matrix.cumsum(axis=0).cumsum(axis=1)


def position_differences(covariance: Array) -> Array:
    """Return the part of the variance in which the positions up to each one differ, on average."""
    count = np.arange(1, len(covariance) + 1)
    common = prefix_sums(covariance).diagonal() / count
    total = covariance.diagonal().cumsum() - common
    return np.asarray(np.maximum(total, 0.0) / np.maximum(count - 1, 1))


def _softmax_moments(count: npt.NDArray[np.intp], spread: Array) -> tuple[Array, Array]:
    r"""Return E sum p^2 and E tr J^2 for a softmax over `count` logits N(0, `spread`).

    With L(x) = E exp(-x e^a), the Laplace transform of one weight before normalization, and its
    derivatives,

    .. math::
        E \sum p^n &= \frac{t}{(n-1)!} \int_0^\infty x^{n-1} |L^{(n)}(x)| L(x)^{t-1} dx, \\
        E \sum_{j \ne k} p_j^2 p_k^2 &= \frac{t (t - 1)}{3!} \int_0^\infty x^3 L''(x)^2
            L(x)^{t-2} dx,

    and tr J^2 is :math:`\sum p^2 - 2 \sum p^3 + (\sum p^2)^2`; tabulated in the variance.
    """
    largest = max(float(spread.max()), 1e-12)
    nodes = (chebyshev.chebpts1(LOGIT_NODES) + 1) / 2 * largest
    z, weight = np.polynomial.hermite_e.hermegauss(96)
    weight = weight / weight.sum()
    low, high = -np.log(count.max()) - 25 - 3 * largest, 6 + 9 * np.sqrt(largest)
    x = np.exp(np.arange(low, high, STEP))
    values = np.empty((2, LOGIT_NODES, len(count)))
    for i, variance in enumerate(nodes):
        scaled = np.minimum(x[:, None] * np.exp(np.sqrt(variance) * z), 800.0)
        decay = np.exp(-scaled) * weight
        with np.errstate(under="ignore", divide="ignore"):
            log_transform = np.maximum(np.log(decay.sum(axis=1)), -800)
            second, third, fourth = ((decay * scaled**n).sum(axis=1) * STEP for n in (2, 3, 4))
            others = np.exp(np.outer(count - 1, log_transform))
            rest = np.exp(np.outer(np.maximum(count - 2, 0), log_transform))
        squares = count * (others @ second)
        of_two = count * (count - 1) * (rest @ second**2) / (6 * STEP)
        values[0, i] = squares
        values[1, i] = squares - count * (others @ (third - fourth / 6)) + of_two
    position = 2 * spread / largest - 1
    fits = (chebyshev.chebfit(2 * nodes / largest - 1, one, LOGIT_NODES - 1) for one in values)
    squares, jacobian = (chebyshev.chebval(position, fit, tensor=False) for fit in fits)
    return np.asarray(squares), np.maximum(jacobian, 0.0)


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


class Blocks(NamedTuple):
    """A stack of equal blocks, each of an attention and an MLP: sizes, and variances of weights.

    Attributes
    ----------
    weight, out
        Of the matrices that read the stream, and of the two that write to it.
    heads, width
        Width of all heads together over that of the stream, and hidden units of the MLP.
    norm
        ``"pre"``: x + f(LN(x)); ``"post"``: LN(x + f(x)).
    """

    depth: int
    channels: int
    weight: float
    out: float
    heads: float
    width: float
    epsilon: float
    activation: Activation
    gated: bool
    norm: str

    @property
    def strength(self) -> float:
        """Variance that attention adds for each of what it averages."""
        return self.heads * self.channels**2 * self.weight * self.out


class AttentionBranch(NamedTuple):
    """What the attention of a block makes of the stream, in covariances between positions.

    Attributes
    ----------
    inputs
        Of what enters it.
    softmax
        Of its logits.
    added
        Of what it adds to the stream.
    divisor
        What its LayerNorm divides by, squared, position by position.
    stream
        Of the stream after it.
    """

    inputs: Array
    softmax: Softmax
    added: Array
    divisor: Array
    stream: Array


class MLPBranch(NamedTuple):
    """The same of its MLP, `hidden` being that of its hidden units before the activation."""

    inputs: Array
    hidden: Array
    added: Array
    divisor: Array
    stream: Array


def follow_stream(blocks: Blocks, stream: Array) -> Iterator[tuple[AttentionBranch, MLPBranch]]:
    """Yield the branches of each block, from the covariance of the embeddings on."""
    logit_variance = float(attention_logit_variance(blocks.channels, np.sqrt(blocks.weight)))
    epsilon, post = blocks.epsilon, blocks.norm == "post"

    def enter(stream: Array) -> Array:
        return stream if post else layer_norm_covariance(stream, epsilon)

    def leave(stream: Array, added: Array) -> tuple[Array, Array]:
        after = stream + added
        divided = after if post else stream
        return divided.diagonal() + epsilon, (
            layer_norm_covariance(after, epsilon) if post else after
        )

    for _ in range(blocks.depth):
        inputs = enter(stream)
        softmax = softmax_of(inputs, logit_variance)
        added = blocks.strength * attention_covariance(inputs, softmax)
        divisor, stream = leave(stream, added)
        attention = AttentionBranch(inputs, softmax, added, divisor, stream)
        inputs = enter(stream)
        hidden = blocks.channels * blocks.weight * inputs
        activated = mlp_covariance(blocks.activation, hidden, blocks.gated)
        added = blocks.width * blocks.out * activated
        divisor, stream = leave(stream, added)
        yield attention, MLPBranch(inputs, hidden, added, divisor, stream)
