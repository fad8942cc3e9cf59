"""The spread between networks of finite width, against simulation of real networks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from initscope.errors import UsageError
from initscope.theory import ACTIVATIONS, finite_width_interval, log_norm_moments, propagate


def simulate(widths, activation, std, count, seed=0, *, draw_weights=True):
    """Mean squares of activations of `count` Gaussian networks on one unit input, per layer.

    Given x, the elements of W x are independent Gaussians of variance std^2 |x|^2. Drawing those
    in place of W gives the same distribution, and a wide network costs no more than its units.
    """
    rng = np.random.default_rng(seed)
    function = ACTIVATIONS[activation].function
    x = np.ones((count, widths[0]))
    squares = [np.ones(count)]
    for fan_in, fan_out in itertools.pairwise(widths):
        if draw_weights:
            z = np.einsum("koi,ki->ko", rng.standard_normal((count, fan_out, fan_in)), x)
        else:
            z = rng.standard_normal((count, fan_out)) * np.linalg.norm(x, axis=1, keepdims=True)
        x = function(z * std(fan_in))
        squares.append((x**2).mean(axis=1))
    return np.array(squares)


def he(fan_in):
    return np.sqrt(2 / fan_in)


def test_second_moment_grows_as_the_product_of_one_plus_five_over_n():
    widths = [24, 24, 16, 30, 24, 40]
    squares = simulate(widths, "relu", he, 40_000)
    ratio = (squares**2).mean(axis=1) / squares.mean(axis=1) ** 2
    expected = np.cumprod([1.0] + [1 + 5 / n for n in widths[1:]])
    np.testing.assert_allclose(squares.mean(axis=1), 1, rtol=0.03)
    np.testing.assert_allclose(ratio, expected, rtol=0.06)


def test_log_norm_of_relu_networks():
    widths = [20] * 13
    logs = np.log(simulate(widths, "relu", he, 8000, seed=1))
    moments = log_norm_moments(widths, per_layer=True)
    error = logs.std(axis=1) / np.sqrt(8000)
    assert (np.abs(logs.mean(axis=1) - moments.mean) <= 4 * error).all()
    np.testing.assert_allclose(logs.var(axis=1), moments.variance, rtol=0.06)


def test_log_norm_of_a_hundred_wide_fifty_deep_network():
    moments = log_norm_moments([100] * 51)
    assert moments.variance == pytest.approx(2.60, abs=0.005)
    assert moments.variance == pytest.approx(5 * 50 / 100, rel=0.05)
    assert moments.mean == pytest.approx(-2.5 * 50 / 100, rel=0.03)
    assert log_norm_moments([3, 10_000, 10_000]).variance == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize("activation", ["tanh", "gelu", "leaky_relu", "identity", "silu"])
def test_log_norm_of_other_activations_to_first_order(activation):
    # At width 50 the next order in 1/n is already a third of the variance of GELU's log norm.
    width, std = 200, 1.5
    widths = [width] * 7
    squares = simulate(
        widths,
        activation,
        lambda fan_in: std / np.sqrt(fan_in),
        10_000,
        seed=2,
        draw_weights=False,
    )
    moments = log_norm_moments(widths, activation, std / np.sqrt(width), per_layer=True)
    wide = propagate([*widths, 1], activation, [std / np.sqrt(width)] * 6 + [1.0]).forward[2:]
    logs = np.log(squares[1:] / (wide * [*([1 / std**2] * 5), 1 / width])[:, None])
    np.testing.assert_allclose(logs.var(axis=1), moments.variance[1:], rtol=0.12)
    np.testing.assert_allclose(logs.mean(axis=1), moments.mean[1:], atol=0.015)


def test_the_std_does_not_matter_to_a_homogeneous_activation():
    usual = log_norm_moments([30] * 6)
    for std in (0.01, 3.0):
        assert log_norm_moments([30] * 6, "relu", std) == pytest.approx(usual)


@pytest.mark.parametrize("coverage", [0.5, 0.95])
def test_intervals_cover_what_they_say(coverage):
    widths = [40] * 9
    squares = simulate(widths[:-1], "relu", he, 4000, seed=3)
    rng = np.random.default_rng(4)
    # The preactivations of layer 8 given the activations of layer 7.
    last = 2 * squares[-1] * rng.chisquare(40, 4000) / 40
    interval = finite_width_interval(widths, "relu", "kaiming", coverage=coverage)
    inside = (last > interval.low.forward[-1]) & (last < interval.high.forward[-1])
    assert inside.mean() == pytest.approx(coverage, abs=0.03)


@pytest.mark.parametrize("bias_std", [0.0, 0.4])
def test_gradients_of_narrow_relu_networks_spread_as_the_exact_moments_say(bias_std):
    """Whole networks, in which forward and backward pass share their weights."""
    widths, count = [6, 9, 5, 8, 12, 7], 40_000
    rng = np.random.default_rng(6)
    h, masks, weights = np.ones((count, widths[0])), [], []
    for fan_in, fan_out in itertools.pairwise(widths):
        weights.append(rng.standard_normal((count, fan_out, fan_in)) * he(fan_in))
        z = np.einsum("koi,ki->ko", weights[-1], h)
        z += bias_std * rng.standard_normal(z.shape)
        h = np.maximum(z, 0)
        masks.append(z > 0)
    gradient = np.ones((count, widths[-1]))
    interval = finite_width_interval(widths, "relu", "kaiming", bias_std)
    low, high = (np.log(part.backward) for part in interval)
    mean, deviation = (low + high) / 2, (high - low) / 2 / 1.959963984540054
    for layer in range(len(widths) - 2, 0, -1):
        gradient = np.einsum("koi,ko->ki", weights[layer], gradient) * masks[layer - 1]
        logs = np.log((gradient**2).mean(axis=1)[(gradient != 0).any(axis=1)])
        assert abs(logs.mean() - mean[layer]) <= 4 * deviation[layer] / np.sqrt(count)
        assert logs.var() == pytest.approx(deviation[layer] ** 2, rel=0.05)
        inside = np.abs(logs - mean[layer]) <= 1.959963984540054 * deviation[layer]
        assert inside.mean() == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("bias_std", [0.0, 0.5])
def test_gradients_of_tanh_networks_spread_to_first_order(bias_std):
    """Saturation ties the size of a gradient to that of the signal: their noise has one source."""
    width, depth, count, std = 50, 6, 6000, 1.8
    rng = np.random.default_rng(8)
    h, slopes, weights = np.ones((count, width)), [], []
    for _ in range(depth):
        weights.append(rng.standard_normal((count, width, width), dtype=np.float32) * std)
        weights[-1] /= np.sqrt(width)
        z = np.einsum("koi,ki->ko", weights[-1], h) + bias_std * rng.standard_normal((count, width))
        h = np.tanh(z)
        slopes.append(1 - h**2)
    gradient = np.ones((count, width))
    interval = finite_width_interval([width] * (depth + 1), "tanh", std / np.sqrt(width), bias_std)
    deviation = np.log(interval.high.backward / interval.low.backward) / 2 / 1.959963984540054
    for layer in range(depth - 1, 0, -1):
        gradient = np.einsum("koi,ko->ki", weights[layer], gradient) * slopes[layer - 1]
        logs = np.log((gradient**2).mean(axis=1))
        assert logs.var() == pytest.approx(deviation[layer] ** 2, rel=0.12), layer


def test_gradients_of_relu_and_of_linear_networks_have_the_log_norms_of_activations():
    """In closed form: trigamma for one layer of chi-squared, as going forward without biases."""
    widths = [4, 4, 4, 4]
    for name in ("relu", "identity"):
        low, high = finite_width_interval(widths, name, 1.0, coverage=0.5)
        spread = (np.log(high.backward / low.backward) / 2 / 0.6744897501960817) ** 2
        one_layer = log_norm_moments([4, 4], name).variance
        assert spread[2] == pytest.approx(one_layer)
        assert spread[1] == pytest.approx(2 * one_layer)
        assert spread[3] == 0
    assert one_layer == pytest.approx(np.pi**2 / 6 - 1)  # psi_1(2)


def test_intervals_close_on_the_wide_limit():
    widths = [100_000] * 4
    interval = finite_width_interval(widths, "gelu", "kaiming", 0.1)
    for low, middle, high in zip(
        interval.low, propagate(widths, "gelu", "kaiming", 0.1), interval.high, strict=True
    ):
        assert (low <= middle).all()
        assert (middle <= high).all()
        np.testing.assert_allclose(low, high, rtol=0.06)


def test_one_layer_of_one_unit():
    moments = log_norm_moments([1, 1], "identity")
    assert moments.variance == pytest.approx(np.pi**2 / 2)  # of ln chi^2 with 1 degree of freedom
    assert log_norm_moments([1, 1], "relu").variance == pytest.approx(np.pi**2 / 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: log_norm_moments([]), "describe no layer"),
        (lambda: log_norm_moments([10]), "describe no layer"),
        (lambda: log_norm_moments([10, -3]), "at least 1"),
        (lambda: log_norm_moments([10, 3], "rel"), "Did you mean 'relu'"),
        (lambda: log_norm_moments([10, 3, 3], "relu", 0.0), "is 0 or infinite"),
        (lambda: log_norm_moments([10, 3], np.zeros_like), "no forward gain"),
        (lambda: finite_width_interval([9, 9], "relu", 0.1, coverage=1.0), "below 1"),
        (lambda: finite_width_interval([9, 9], "relu", 0.1, coverage=-1), "between 0 and 1"),
        (lambda: finite_width_interval([9, 9], "relu", -0.1), "weight_std must be"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()


@pytest.mark.parametrize("activation", ["leaky_relu", "gelu", "relu"])
@pytest.mark.parametrize("std", [1e-3, 1e4])
def test_a_very_small_or_large_signal_has_the_spread_of_a_homogeneous_activation(activation, std):
    """Close to 0 GELU is half the identity, far from it ReLU; the spread does not grow with q."""
    widths = [64] * 12
    interval = finite_width_interval(widths, activation, std)
    like = {"gelu": "identity" if std < 1 else "relu"}.get(activation, activation)
    expected = finite_width_interval(widths, like, 1.0)
    for name in ("forward", "backward"):
        found, same = (
            np.log(getattr(i.high, name) / getattr(i.low, name)) for i in (interval, expected)
        )
        np.testing.assert_allclose(found, same, rtol=0.03, atol=1e-6)
