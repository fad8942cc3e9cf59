"""How far one network of finite width strays from the infinitely wide one.

Given the layer before, the pre-activations of a layer are independent Gaussians of one variance
Q, so that Q alone is a Markov chain from layer to layer: exact at any width for Gaussian weights
(Hanin & Nica 2020, arXiv:1812.05994). Its logarithm does a random walk with steps of variance
of order 1/n, which is followed here to that order, and exactly for ReLU and the identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy  # its parts when they are asked for: a specification needs names alone

from initscope.checks import (
    Array,
    ArrayLike,
    flag,
    layer_widths,
    nonnegative,
    one,
    plain,
    within,
)
from initscope.errors import UsageError, shown
from initscope.theory.activations import Activation, ActivationLike, resolve
from initscope.theory.expectations import LARGEST_Q, SMALLEST_Q, expectation
from initscope.theory.propagation import Propagation, propagate
from initscope.theory.scheme_stds import layer_stds

__all__ = ["LogNormMoments", "WidthInterval", "finite_width_interval", "log_norm_moments"]

EXACT_SLOPES = ((0.0, 1.0), (1.0, 1.0))
"""Slopes below and above 0 of ReLU and the identity: their averages over units are exact."""

LARGEST_WIDTH = 10**9
"""Wider layers stray less from the infinitely wide one than what is summed here is rounded."""


class LogNormMoments(NamedTuple):
    """Mean and variance of the natural log of a squared norm, over draws of the weights."""

    mean: Array
    variance: Array


class WidthInterval(NamedTuple):
    """Bounds on the variances of one network; last axis the layers 0 to L.

    Attributes
    ----------
    low, high
        The lower and the upper bounds, each a :class:`Propagation`.
    """

    low: Propagation
    high: Propagation


class _RandomWalk(NamedTuple):
    """The random walk of x_l = ln Q_l - ln q_l; arrays of shape ``(..., L + 1)``, by layer.

    Attributes
    ----------
    mean, variance
        Of x_l.
    noise_mean, noise_variance
        Of e_l = ln mean(phi^2) - ln E[phi^2], the average over the units of layer l.
    slope
        d ln E[phi^2] / d ln q at layer l.
    share
        Share of q_{l+1} that comes from the weights, the rest being the bias's.
    backward_slope
        d ln E[phi'^2] / d ln q.
    backward_noise_mean, backward_noise, covariance
        Mean and variance of f_l = ln mean(phi'^2 g^2) - ln E[phi'^2], with g a Gaussian gradient,
        and its covariance with e_l.
    """

    mean: Array
    variance: Array
    noise_mean: Array
    noise_variance: Array
    slope: Array
    share: Array
    backward_slope: Array
    backward_noise_mean: Array
    backward_noise: Array
    covariance: Array


def _finite_widths(widths: Sequence[int]) -> tuple[int, ...]:
    sizes = layer_widths(widths)
    if max(sizes) > LARGEST_WIDTH:
        raise UsageError(
            f"widths {shown(widths)} must be at most {LARGEST_WIDTH:,}: wider is as good as "
            "infinite, see propagate."
        )
    return sizes


def _relu_noise(width: int) -> tuple[float, float]:
    """Return mean and variance of ln(2/n sum relu(g_i)^2), given that some g_i is above 0.

    The sum is chi-squared with as many degrees of freedom as there are g_i above 0.
    """
    spread = 12 * np.sqrt(width) + 1
    positive = np.arange(max(1, int(width / 2 - spread)), min(width, int(width / 2 + spread)) + 1)
    weight = scipy.stats.binom.pmf(positive, width, 0.5)
    weight /= weight.sum()
    mean = scipy.special.psi(positive / 2) + np.log(4 / width)
    average = float(weight @ mean)
    return average, float(
        weight @ (scipy.special.polygamma(1, positive / 2) + (mean - average) ** 2)
    )


def _average_noise(activation: Activation, width: int, spread: Array) -> tuple[Array, Array]:
    """Return mean and variance of ln mean(phi^2) - ln E[phi^2] over `width` units.

    `spread` is the relative variance of phi^2 of one unit. Exact for ReLU and the identity.
    """
    if activation.slopes == (0.0, 1.0):
        mean, variance = _relu_noise(width)
    elif activation.slopes == (1.0, 1.0):
        mean, variance = (
            float(scipy.special.psi(width / 2) + np.log(2 / width)),
            float(scipy.special.polygamma(1, width / 2)),
        )
    else:
        return -spread / width / 2, spread / width
    return np.full_like(spread, mean), np.full_like(spread, variance)


def _random_walk(
    activation: Activation, sizes: tuple[int, ...], bias: Array, q: Array
) -> _RandomWalk:
    """Follow the walk through layers of bias variances `bias` and wide-limit lengths `q`."""
    n_layers = len(sizes) - 1
    if (q[..., 1:n_layers] <= 0).any() or np.isinf(q).any():
        raise UsageError(
            "the forward variance is 0 or infinite with these weight_std, bias_std and "
            "input_variance: at finite width no spread is defined."
        )
    walk = _RandomWalk(*(np.zeros(q.shape) for _ in _RandomWalk._fields))
    for layer in range(1, n_layers + 1):
        # All that is taken from here is a ratio of moments, constant beyond this range.
        here = np.clip(q[..., layer], SMALLEST_Q, LARGEST_Q)
        second, slope, fourth = expectation(activation, here, ("second", "slope", "fourth"))
        derivative, derivative_rate, derivative_fourth, mixed = expectation(
            activation,
            here,
            ("derivative_second", "derivative_rate", "derivative_fourth", "mixed"),
        )
        width = sizes[layer]
        mean, variance = _average_noise(activation, width, fourth / second**2 - 1)
        walk.noise_mean[..., layer], walk.noise_variance[..., layer] = mean, variance
        walk.slope[..., layer] = here * slope / second
        safe = np.where(derivative > 0, derivative, 1.0)
        walk.backward_slope[..., layer] = derivative_rate / safe
        if activation.slopes in EXACT_SLOPES:
            # phi' is 0 or 1 by the toss of a coin: f_l has the law of e_l, to every order.
            back_mean, back_variance = mean, variance
        else:
            back_variance = (3 * derivative_fourth / safe**2 - 1) / width
            back_mean = -back_variance / 2
        walk.backward_noise_mean[..., layer] = back_mean
        walk.backward_noise[..., layer] = back_variance
        walk.covariance[..., layer] = (mixed / (second * safe) - 1) / width
        if layer == n_layers:
            break
        share = 1 - bias[..., layer] / q[..., layer + 1]
        walk.share[..., layer] = share
        # ln mean(phi^2) = curve(x_l) + e_l, to second order in x_l and e_l.
        step = 1e-3
        above, below = (
            (scaled * s / v)
            for scaled in (here * np.exp(step), here * np.exp(-step))
            for v, s in [expectation(activation, scaled, ("second", "slope"))]
        )
        curvature = (above - below) / (2 * step)
        rate = walk.slope[..., layer]
        log_mean = rate * walk.mean[..., layer] + curvature * walk.variance[..., layer] / 2 + mean
        log_variance = rate**2 * walk.variance[..., layer] + variance
        walk.mean[..., layer + 1] = share * log_mean + share * (1 - share) * log_variance / 2
        walk.variance[..., layer + 1] = share**2 * log_variance
    return walk


def log_norm_moments(
    widths: Sequence[int],
    activation: ActivationLike = "relu",
    weight_std: ArrayLike | str | None = None,
    bias_std: ArrayLike = 0.0,
    *,
    input_variance: ArrayLike = 1.0,
    per_layer: bool = False,
) -> LogNormMoments:
    r"""Return mean and variance of the log squared norm of activations, over draws of the weights.

    They are those of :math:`\ln (|h_l|^2 / E_\infty |h_l|^2)` with :math:`h_l = \phi(z_l)`, every
    layer followed by the activation, and :math:`E_\infty` the value at infinite width
    (:func:`propagate`). For ReLU and any std

    .. math:: \mathrm{Var} \approx 5 \sum_l 1/n_l, \qquad
              \mathrm{mean} \approx -\tfrac52 \sum_l 1/n_l,

    the sum over the layers after the input, while the mean square is the same as at infinite
    width and :math:`E|h|^4 / (E|h|^2)^2 = \prod_l (1 + 5/n_l)` (Hanin & Rolnick 2018,
    arXiv:1803.01719, for the sum of 1/n; Hanin & Nica 2020, arXiv:1812.05994, for the log-normal
    limit).

    Parameters
    ----------
    widths
        Inputs and the width of each layer.
    activation
        Name or callable.
    weight_std
        As in :func:`propagate`. If None, every layer keeps variance 1: the forward gain over
        sqrt(fan_in). A homogeneous activation without biases gives the same result for any std.
    bias_std, input_variance
        As in :func:`propagate`.
    per_layer
        Return the moments after layers 0 (the input: 0) to L along a last axis.

    Returns
    -------
    LogNormMoments
        `mean` and `variance`, natural logarithm; at the last layer unless `per_layer`.

    Raises
    ------
    UsageError
        As :func:`propagate`; no signal at all.

    Notes
    -----
    For ReLU and the identity without biases the result is exact at any width (for ReLU given that
    no layer is dead, which has probability 2^-n a layer); otherwise it is of first order in 1/n.

    Examples
    --------
    >>> moments = log_norm_moments([100] * 51)
    >>> print(f"{moments.mean:.2f} {moments.variance:.2f}")
    -1.27 2.60
    """
    sizes = _finite_widths(widths)
    known = resolve(activation)
    flag("per_layer", per_layer)
    if weight_std is None:
        (second,) = expectation(known, np.ones(1), ("second",))
        if second[0] <= 0:
            raise UsageError(f"activation {known.name!r} has no forward gain: it is 0 everywhere.")
        fans = np.array(sizes[:-1], dtype=float)
        factors = np.concatenate([[1.0], np.full(len(fans) - 1, 1 / second[0])])
        weight_std = np.sqrt(factors / fans)
    profile = propagate(sizes, known, weight_std, bias_std, input_variance=input_variance)
    bias = nonnegative("bias_std", layer_stds(bias_std, sizes)) ** 2
    walk = _random_walk(known, sizes, bias, np.asarray(profile.forward))
    mean = walk.slope * walk.mean + walk.noise_mean
    variance = walk.slope**2 * walk.variance + walk.noise_variance
    if not per_layer:
        mean, variance = mean[..., -1], variance[..., -1]
    return LogNormMoments(plain(mean), plain(variance))


def finite_width_interval(
    widths: Sequence[int],
    activation: ActivationLike,
    weight_std: ArrayLike | str,
    bias_std: ArrayLike = 0.0,
    *,
    coverage: float = 0.95,
    input_variance: ArrayLike = 1.0,
    output_gradient_variance: ArrayLike = 1.0,
) -> WidthInterval:
    r"""Return the range in which the variances of one random network lie, layer by layer.

    The variances of :func:`propagate` are those of infinite width. In one network the mean square
    over the units of a layer is close to log-normal around them (Hanin & Nica 2020,
    arXiv:1812.05994): the logarithm of the length does a random walk over the layers, to which
    the average over the layer's own units adds 2/n. Going back, each layer adds
    (3 E[phi'^4] / E[phi'^2]^2 - 1)/n, which for ReLU is 5/n as it is going forward, and the
    spread of the lengths moves E[phi'^2] with it. The gradient is taken to meet weights
    independent of those of the forward pass; for ReLU that changes nothing, since turning the
    sign of a unit's weights turns the unit on or off and leaves the laws of all weights alone.

    Parameters
    ----------
    widths, activation, weight_std, bias_std, input_variance, output_gradient_variance
        As in :func:`propagate`. Weights are Gaussian, and the input and the gradient at the
        output are fixed vectors with these mean squares.
    coverage
        Probability that a variance lies inside, for each layer and direction by itself.

    Returns
    -------
    WidthInterval
        `low` and `high`, each with `forward` and `backward` of shape ``(..., L + 1)``.

    Raises
    ------
    UsageError
        As :func:`propagate`; a coverage outside [0, 1); no signal at all.

    Notes
    -----
    For ReLU and the identity each layer's factor has its exact mean and variance, in both
    directions (going forward if there are no biases); what is left is that the logarithm is taken
    as normal, and that a ReLU network in which a whole layer is off, of probability at most
    ``sum(2**-n)`` over the hidden layers, lies in no band. Otherwise of first order in 1/n: good
    where the sum of 5/n over the layers is below about 1 and no layer is narrower than about 10.

    Examples
    --------
    >>> interval = finite_width_interval([100] * 21, "relu", "kaiming")
    >>> print(f"{interval.low.forward[-1]:.2f} to {interval.high.forward[-1]:.2f}")
    0.17 to 8.73
    """
    sizes = _finite_widths(widths)
    known = resolve(activation)
    share_inside = one("coverage", within("coverage", coverage, 0.0, 1.0))
    if share_inside == 1:
        raise UsageError("coverage must be below 1: no finite interval holds every network.")
    profile = propagate(
        sizes,
        known,
        weight_std,
        bias_std,
        input_variance=input_variance,
        output_gradient_variance=output_gradient_variance,
    )
    bias = nonnegative("bias_std", layer_stds(bias_std, sizes)) ** 2
    forward, backward = (np.asarray(part) for part in profile)
    walk = _random_walk(known, sizes, bias, forward)
    width = np.array(sizes, dtype=float)
    n_layers = len(sizes) - 1

    own_mean, own_variance = (
        scipy.special.psi(width / 2) + np.log(2 / width),
        scipy.special.polygamma(1, width / 2),
    )
    forward_mean, forward_variance = walk.mean + own_mean, walk.variance + own_variance
    forward_mean[..., 0] = forward_variance[..., 0] = 0.0

    backward_mean, backward_variance = np.zeros(backward.shape), np.zeros(backward.shape)
    for layer in range(n_layers):
        mean, variance = _backward_spread(walk, max(layer, 1), n_layers)
        backward_mean[..., layer], backward_variance[..., layer] = mean, variance
    backward_mean[..., 0] += own_mean[0]
    backward_variance[..., 0] += own_variance[0]

    deviation = float(scipy.special.ndtri(0.5 + share_inside / 2))
    bounds = []
    for sign in (-1, 1):
        with np.errstate(over="ignore", under="ignore"):
            bounds.append(
                Propagation(
                    forward * np.exp(forward_mean + sign * deviation * np.sqrt(forward_variance)),
                    backward
                    * np.exp(backward_mean + sign * deviation * np.sqrt(backward_variance)),
                )
            )
    return WidthInterval(*bounds)


def _backward_spread(walk: _RandomWalk, layer: int, n_layers: int) -> tuple[Array, Array]:
    """Return mean and variance of ln |gradient|^2 at `layer`, a sum over `layer` to L - 1.

    Each term is backward_slope x_k + f_k. The walk makes x_k a sum of the e_j before it; going
    through the layers from the end collects the coefficient of every e_j.
    """
    mean = np.zeros(walk.mean.shape[:-1])
    variance = np.zeros(walk.mean.shape[:-1])
    pull = np.zeros(walk.mean.shape[:-1])  # coefficient of x_{k + 1} in the sum
    for k in range(n_layers - 1, 0, -1):
        on_noise = walk.share[..., k] * pull  # coefficient of e_k
        variance = variance + on_noise**2 * walk.noise_variance[..., k]
        pull = on_noise * walk.slope[..., k]
        if k >= layer:
            pull = pull + walk.backward_slope[..., k]
            variance = variance + walk.backward_noise[..., k]
            variance = variance + 2 * on_noise * walk.covariance[..., k]
            mean = mean + walk.backward_slope[..., k] * walk.mean[..., k]
            mean = mean + walk.backward_noise_mean[..., k]
    return mean, np.maximum(variance, 0.0)
