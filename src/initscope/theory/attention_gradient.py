r"""What goes back through attention at initialization: through the values, and through the logits.

With :math:`y_j` what LayerNorm passes on at position j, of covariance :math:`K_y(j, k)` over the d
channels, and :math:`\omega_t` what the output matrix hands back to a head at position t, of
covariance :math:`d \sigma_p^2 G(t, t')`, the gradient of the logit of t and j is

.. math::
    \frac{\partial \mathcal{L}}{\partial \ell_{tj}} = p_{tj} \, \omega_t \cdot W_V (y_j - \bar y_t),
    \qquad \bar y_t = \sum_k p_{tk} y_k .

With the keys :math:`W_K y_j / \sqrt{d_h}` it becomes that of the query,
:math:`W_K C_t W_V^T \omega_t / \sqrt{d_h}` with :math:`C_t = \sum_j p_{tj} (y_j - \bar y_t) (y_j -
\bar y_t)^T`, and with the queries that of the keys. Three independent matrices of variance
:math:`s^2` stand between the gradient of the stream and what a query or key hands back to it.

**The traces.** Between positions the products are averages over the draws of

.. math::
    \operatorname{tr}(C_t C_{t'}) = \sum_{j \le t, k \le t'} p_{tj} p_{t'k}
    \bigl[ (y_j - \bar y_t) \cdot (y_k - \bar y_{t'}) \bigr]^2 .

For uniform attention the mean of a product is :math:`d` times the entry of H K_y H', with H
the projection that takes out the mean of the first t positions, H' that of t'. A sum of squares of
such a matrix is a difference of prefix sums:

.. math::
    \|H K H'\|^2 = \sum_{jk} K_{jk}^2 - \frac{1}{t} \sum_k \Bigl( \sum_j K_{jk} \Bigr)^2
    - \frac{1}{t'} \sum_j \Bigl( \sum_k K_{jk} \Bigr)^2
    + \frac{1}{t t'} \Bigl( \sum_{jk} K_{jk} \Bigr)^2 .

To it come the products' fluctuations from draw to draw. Of normal vectors with independent channels
they are :math:`d (D_{jj} D_{kk} + D_{jk}^2)`. Deeper down they are more, because the network
hands them on: :func:`gram_fluctuations`. Unequal weights p, independent for different queries,
matter for t = t' alone, where the positions' differences give :math:`d^2 \operatorname{tr} J^2`, J
the Jacobian of softmax, in place of :math:`d^2 (t - 1) / t^2`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from initscope.checks import Array
from initscope.theory.transformer_blocks import Softmax, prefix_sums

__all__: list[str] = []  # for this package alone


def suffix_sums(matrix: Array) -> Array:
    """Return sums over all entries from each one on in rows and columns."""
    return prefix_sums(matrix[::-1, ::-1])[::-1, ::-1]


def through_values(gradient: Array, softmax: Softmax) -> Array:
    """Return the covariance of P^T g for gradients g with this one, P the attention weights."""
    count = np.arange(1, len(gradient) + 1)
    found = suffix_sums(gradient / np.outer(count, count))
    # What p^2 has beyond 1/t^2 is taken from the products of weights of different positions.
    excess = gradient.diagonal() * (softmax.squares / count - 1 / count**2)
    taken = suffix_sums(np.diag(-excess / np.maximum(count - 1, 1)))
    np.fill_diagonal(taken, suffix_sums(np.diag(excess)).diagonal())
    return np.asarray(found + taken)


def jacobian_traces(inputs: Array, softmax: Softmax, channels: int, excess: Array) -> Array:
    """Return E tr(C_t C_t') of inputs with this covariance, ``(seq_len, seq_len)``.

    `excess` is by what factor the inputs' products fluctuate more than those of normal vectors.
    """
    count = np.arange(1, len(inputs) + 1)
    pairs = np.outer(count, count)
    rows, columns, both = inputs.cumsum(axis=0), inputs.cumsum(axis=1), prefix_sums(inputs)
    squares = prefix_sums(inputs**2) + both**2 / pairs
    squares -= (rows**2).cumsum(axis=1) / count[:, None]
    squares -= (columns**2).cumsum(axis=0) / count[None, :]
    own = inputs.diagonal().cumsum() - both.diagonal() / count
    traces = channels**2 * squares + channels * excess * (squares + np.outer(own, own))
    traces = traces / pairs
    unequal = softmax.jacobian - (count - 1) / count**2
    traces[np.diag_indices_from(traces)] += channels**2 * unequal * softmax.different**2
    return np.asarray(traces)


def through_logits(
    gradient: Array, inputs: Array, softmax: Softmax, traces: Array, channels: int
) -> Array:
    r"""Return the covariance of what goes back through queries and keys, over :math:`s^4`.

    In units of what goes back through the values. By the queries G(t, t') tr(C_t C_t'); by the keys

    .. math::
        d^2 \sum_{t \ge j, t' \ge j'} p_{tj} p_{t'j'} G(t, t') K_y(t, t') \;
            \mathrm{Cov}(y_j - \bar y_t, y_{j'} - \bar y_{t'}) .
    """
    count = np.arange(1, len(inputs) + 1)
    received = gradient * inputs / np.outer(count, count)
    means = inputs.cumsum(axis=0) / count[:, None]  # of y_k with the mean up to t
    of_means = prefix_sums(inputs) / np.outer(count, count)
    mixed = means * received[:, ::-1].cumsum(axis=1)[:, ::-1]
    mixed = mixed[::-1].cumsum(axis=0)[::-1]
    keys = inputs * suffix_sums(received) - mixed - mixed.T + suffix_sums(received * of_means)
    unequal = received.diagonal() * count * (softmax.jacobian - (count - 1) / count**2)
    keys[np.diag_indices_from(keys)] += (unequal * softmax.different)[::-1].cumsum()[::-1]
    return np.asarray(gradient * traces + channels**2 * keys)


def gram_fluctuations(
    streams: Sequence[Array],
    softmaxes: Sequence[Softmax],
    slopes: Sequence[Array],
    *,
    channels: int,
    heads: int,
    strength: float,
    width_ratios: tuple[float, float],
) -> list[Array]:
    r"""Return by what factor inner products at each attention fluctuate more than at the first.

    The product :math:`x_j \cdot x_k / d` of two positions of the stream has a variance
    V(j, k) / d over draws of the weights. Embeddings are normal, of V = K_jj K_kk + K_jk^2, and a
    branch b that adds the covariance B to K adds to V

    - :math:`B_{jj} B_{kk} + B_{jk}^2` for its last matrix and as much, times d over its width, for
      what it multiplies, and :math:`K_{jj} B_{kk} + B_{jj} K_{kk} + 2 K_{jk} B_{jk}` for the
      products of stream and branch;
    - attention, the variance of :math:`\sum_j p_{tj} p_{t'j}` over the logits, by the number of
      heads;
    - the MLP, which makes more of a product that is large by chance, in the stream as well as in
      the branch: V is multiplied by :math:`(1 + \partial B_{jk} / \partial K_{jk})^2`.

    What all positions share takes no part: it is taken out of K and B.

    Parameters
    ----------
    streams
        Covariances of the stream before each branch and after the last.
    softmaxes
        One for each attention.
    slopes
        :math:`\partial B / \partial K` of each MLP.
    channels, heads
        Channels d, and query heads.
    strength
        What attention makes of a variance of 1 at a single position.
    width_ratios
        Widths of all heads of values together and of the MLP, over the channels.

    Returns
    -------
    list
        For each attention a factor for every pair (t, t'), averaged over the positions up to these.
    """
    length = len(streams[0])
    count = np.arange(1, length + 1)
    pairs = np.outer(count, count)
    fewer = np.minimum(count[:, None], count[None, :])
    different = 1 - np.eye(length)

    def apart(covariance: Array) -> Array:
        shared = (covariance * different).sum() / max(length**2 - length, 1)
        return np.asarray(covariance - shared)

    def products(left: Array, right: Array) -> Array:
        return np.asarray(np.outer(left.diagonal(), right.diagonal()) + left * right)

    stream = apart(streams[0])
    variance = products(stream, stream)
    found = []
    for branch, (before, after) in enumerate(pairwise(streams)):
        stream, added = apart(before), apart(after - before)
        if branch % 2 == 0:
            normal = np.outer(stream.diagonal(), stream.diagonal()) * different
            total, usual = prefix_sums(variance * different), prefix_sums(normal)
            found.append(np.divide(total, usual, out=np.ones_like(total), where=usual > 0))
            softmax = softmaxes[branch // 2]
            squares = softmax.squares / count  # E p_j^2, and E p_j p_k:
            mixed = (1 - softmax.squares) / (count * np.maximum(count - 1, 1))
            overlap = np.outer(squares, squares) + (fewer - 1) * np.outer(mixed, mixed)
            overlap = np.maximum(fewer * overlap - (fewer / pairs) ** 2, 0.0) * different
            scale = strength * softmax.different
            variance = variance + channels / heads * np.outer(scale, scale) * overlap
        else:
            variance = variance * (1 + slopes[branch // 2]) ** 2
        ratio = width_ratios[branch % 2]
        variance = variance + (1 + 1 / ratio) * products(added, added)
        variance = variance + products(stream, added) + products(added, stream)
    return found
