"""Variance through fully connected networks: theory against real torch networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from initscope.errors import UsageError
from initscope.init import initialize_
from initscope.models import ACTIVATIONS, MLP
from initscope.theory import (
    NUMBER_FORMATS,
    finite_width_interval,
    gain,
    propagate,
    scheme_std,
    stability_band,
)
from initscope.theory.activations import resolve
from initscope.theory.expectations import expectation


def draw(widths, activation, stds, bias_std, generator) -> MLP:
    """A float64 network with weights of the given stds."""
    network = MLP(widths, activation).double()
    with torch.no_grad():
        for layer, std in zip(network.linear_layers, stds, strict=True):
            layer.weight.normal_(0, float(std), generator=generator)
            layer.bias.normal_(0, float(bias_std), generator=generator)
    return network


def unit_vector(width, generator):
    """A random vector of mean square 1."""
    vector = torch.randn(1, width, generator=generator, dtype=torch.float64)
    return vector / vector.square().mean().sqrt()


def measure(network: MLP, generator) -> tuple[np.ndarray, np.ndarray]:
    """Mean squares of the preactivations and of the gradients at them, layers 0 to L."""
    kept = [unit_vector(network.widths[0], generator).requires_grad_()]
    hooks = [
        layer.register_forward_hook(lambda module, inputs, output: kept.append(output))
        for layer in network.linear_layers
    ]
    output = network(kept[0])
    for hook in hooks:
        hook.remove()
    gradients = torch.autograd.grad(output, kept, unit_vector(network.widths[-1], generator))
    return tuple(
        np.array([float(one.detach().square().mean()) for one in some])
        for some in (kept, gradients)
    )


@settings(max_examples=60, derandomize=True)
@given(
    hidden=st.lists(st.integers(32, 160), min_size=1, max_size=7),
    ends=st.tuples(st.integers(16, 200), st.integers(16, 64)),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    scale=st.floats(0.5, 2.0),
    bias_std=st.sampled_from([0.0, 0.1, 0.5]),
    seed=st.integers(0, 2**31),
)
def test_torch_networks_lie_inside_the_finite_width_interval(
    hidden, ends, activation, scale, bias_std, seed
):
    widths = [ends[0], *hidden, ends[1]]
    stds = scale * gain(activation) * scheme_std("lecun", widths[:-1], widths[1:])
    generator = torch.Generator().manual_seed(seed)
    network = draw(widths, activation, stds, bias_std, generator)
    forward, backward = measure(network, generator)
    # Layers and directions are some 2,000 trials in all: 1e-6 for each to be outside.
    low, high = finite_width_interval(widths, activation, stds, bias_std, coverage=1 - 1e-6)
    slack = 1e-9
    assert (forward >= low.forward * (1 - slack)).all()
    assert (forward <= high.forward * (1 + slack)).all()
    assert (backward >= low.backward * (1 - slack)).all()
    assert (backward <= high.backward * (1 + slack)).all()


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "selu"])
def test_wide_torch_networks_have_the_predicted_variances(activation):
    widths, bias_std = [300, 1000, 700, 900, 400], 0.3
    predicted = propagate(widths, activation, "kaiming", bias_std)
    stds = scheme_std("kaiming", widths[:-1], widths[1:])
    generator = torch.Generator().manual_seed(3)
    runs = [
        measure(draw(widths, activation, stds, bias_std, generator), generator) for _ in range(10)
    ]
    # One standard deviation of the logarithm, from the interval that covers 68%.
    interval = finite_width_interval(widths, activation, stds, bias_std, coverage=0.6827)
    for measured, expected, low, high in zip(
        np.log(runs).transpose(1, 0, 2), predicted, *interval, strict=True
    ):
        deviation = np.log(high / low) / 2
        error = measured.mean(axis=0) - np.log(expected)
        assert (np.abs(error) <= 4 * deviation / np.sqrt(10) + deviation**2 + 1e-9).all()
        assert (np.abs(error) < 0.2).all()


def test_he_keeps_variance_and_xavier_halves_it():
    he = propagate([64] * 31, "relu", "kaiming")
    np.testing.assert_allclose(he.forward[1:], 2)
    np.testing.assert_allclose(he.backward[1:], 1)
    xavier = propagate([64] * 31, "relu", "xavier")
    np.testing.assert_allclose(xavier.forward[1:], 0.5 ** np.arange(30))
    assert propagate([64] * 31, "tanh", 0.0).forward[-1] == 0


def test_first_layer_sees_the_input_and_the_last_gradient_is_given():
    profile = propagate([10, 20, 5], "relu", [0.1, 0.2], input_variance=3.0,
                        output_gradient_variance=7.0)  # fmt: skip
    assert profile.forward == pytest.approx([3, 10 * 0.01 * 3, 20 * 0.04 * 0.3 / 2])
    assert profile.backward == pytest.approx([20 * 0.01 * 0.7, 5 * 0.04 * 0.5 * 7, 7])


def test_many_networks_at_once():
    stds = np.geomspace(0.01, 1, 7)
    together = propagate([30, 40, 50, 6], "silu", stds[:, None], 0.1)
    assert together.forward.shape == (7, 4)
    for i, std in enumerate(stds):
        alone = propagate([30, 40, 50, 6], "silu", std, 0.1)
        np.testing.assert_allclose(together.forward[i], alone.forward, rtol=1e-12)
        np.testing.assert_allclose(together.backward[i], alone.backward, rtol=1e-12)


def test_extremes_give_infinity_or_zero_without_a_warning():
    huge = propagate([512] * 101, "relu", 1e3)
    assert huge.forward[-1] == huge.backward[0] == np.inf
    assert propagate([512] * 101, "relu", 1e-6).forward[-1] == 0
    assert np.isfinite(propagate([512] * 101, "tanh", 1e3).forward).all()
    one = propagate([1, 1], "relu", 1.0)
    assert list(one.forward) == [1, 1]


def test_scheme_stds_agree_with_torch():
    weight = torch.empty(300, 500)
    for scheme, fill in {
        "xavier": torch.nn.init.xavier_normal_,
        "kaiming": lambda w: torch.nn.init.kaiming_normal_(w, nonlinearity="relu"),
        "orthogonal": torch.nn.init.orthogonal_,
        "lecun": lambda w: torch.nn.init.kaiming_normal_(w, nonlinearity="linear"),
    }.items():
        torch.manual_seed(0)
        fill(weight)
        assert scheme_std(scheme, 500, 300) == pytest.approx(float(weight.std()), rel=0.01)


def test_band_is_sqrt_two_over_n_and_narrows_with_depth():
    for depth in (5, 20, 80):
        band = stability_band([256] * (depth + 1), "relu", decades=2.0)
        center = np.sqrt(band.low * band.high)
        assert center == pytest.approx(np.sqrt(2 / 256), rel=0.4 / depth)
        half_width = np.log10(band.high / band.low) / 2
        assert half_width == pytest.approx(2 / (2 * depth), rel=0.14)
    narrow = stability_band([64] * 11, "relu")
    wide = stability_band([1024] * 11, "relu")
    assert narrow.low / wide.low == pytest.approx(4, rel=1e-3)


def test_band_edges_are_where_the_variance_leaves_the_bounds():
    widths = [784, 256, 128, 10]
    band = stability_band(widths, "gelu", decades=[1.0, 2.0])
    assert band.low.shape == (2,)
    assert (np.diff(band.low) < 0).all()
    assert (np.diff(band.high) > 0).all()

    def worst(std):
        profile = propagate(widths, "gelu", std)
        return max(np.abs(np.log10(side[1:])).max() for side in profile)

    best = min(worst(std) for std in np.geomspace(1e-3, 1, 2001))
    for decades, low, high in zip([1.0, 2.0], *band, strict=True):
        assert worst(low) == pytest.approx(best + decades, abs=0.01)
        assert worst(high) == pytest.approx(best + decades, abs=0.01)


def test_bands_of_number_formats():
    widths = [512] * 51
    bands = {name: stability_band(widths, "relu", number_format=name) for name in NUMBER_FORMATS}
    half = NUMBER_FORMATS["float16"]
    assert half.largest == float(torch.finfo(torch.float16).max)
    assert half.smallest_normal == torch.finfo(torch.float16).tiny
    assert NUMBER_FORMATS["bfloat16"].largest == torch.finfo(torch.bfloat16).max
    assert NUMBER_FORMATS["float32"].largest == torch.finfo(torch.float32).max
    assert bands["float32"].low < bands["float16"].low < bands["float16"].high
    for name, (low, high) in bands.items():
        for std, limit in ((low, NUMBER_FORMATS[name].smallest_normal),
                           (high, NUMBER_FORMATS[name].largest)):  # fmt: skip
            profile = propagate(widths, "relu", std)
            rms = np.sqrt(np.concatenate([profile.forward[1:], profile.backward[1:]]))
            at_limit = rms.min() if std == low else rms.max()
            assert at_limit == pytest.approx(limit, rel=1e-6)


def test_float16_overflows_where_the_band_ends():
    widths = [256] * 31
    high = stability_band(widths, "relu", number_format="float16").high
    generator = torch.Generator().manual_seed(0)
    for factor, finite in ((0.8, True), (1.2, False)):
        network = draw(widths, "relu", [factor * high] * 30, 0.0, generator)
        x = unit_vector(256, generator)
        stays = True
        for layer in network.linear_layers:
            x = layer(x)
            stays &= bool(torch.isfinite(x.half()).all())
            x = torch.relu(x)
        assert stays is finite


def test_a_format_that_can_hold_no_std_gives_nan():
    band = stability_band([64] * 5, "relu", number_format="float16", input_variance=1e-30,
                          output_gradient_variance=1e30)  # fmt: skip
    assert np.isnan(band.low)
    assert np.isnan(band.high)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: propagate([], "relu", 0.1), "describe no layer"),
        (lambda: propagate([5], "relu", 0.1), "describe no layer"),
        (lambda: propagate([5, 0, 3], "relu", 0.1), "whole numbers of at least 1"),
        (lambda: propagate([5, 2.5], "relu", 0.1), "whole numbers of at least 1"),
        (lambda: propagate(["a", 3], "relu", 0.1), "must be whole numbers of at least 1"),
        (lambda: propagate([5, 3], "rleu", 0.1), "Did you mean 'relu'"),
        (lambda: propagate([5, 3], 7, 0.1), "neither a name nor callable"),
        (lambda: propagate([5, 3], "relu", -0.1), "weight_std must be finite and at least 0"),
        (lambda: propagate([5, 3], "relu", np.nan), "weight_std must not be NaN"),
        (lambda: propagate([5, 3], "relu", "kaimng"), "Did you mean 'kaiming'"),
        (lambda: propagate([5, 3, 2], "relu", [0.1, 0.2, 0.3]), "each of the 2 weight layers"),
        (lambda: propagate([5, 3], "relu", 0.1, "lecun"), "bias_std must be a number"),
        (lambda: propagate([5, 3], "relu", 0.1, input_variance=-1), "input_variance must be"),
        (lambda: stability_band([5, 3], "relu", decades=0.0), "decades must be above 0"),
        (lambda: stability_band([5, 3], "relu", number_format="half"), "unknown number format"),
        (lambda: stability_band([], "relu"), "describe no layer"),
        (lambda: scheme_std("hee", 3, 4), "unknown scheme 'hee'"),
        (lambda: scheme_std("lecun", 0, 4), "fan_in must be above 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()


@pytest.mark.parametrize(
    ("scheme", "options"), [("lecun", {}), ("kaiming", {"mode": "fan_out"}), ("orthogonal", {})]
)
def test_initialize_gives_the_std_that_the_theory_says(scheme, options):
    network = MLP([70, 300, 200, 10])
    given_stds = initialize_(network, scheme, generator=torch.Generator().manual_seed(0), **options)
    for layer, fan_in, fan_out in zip(
        network.linear_layers, [70, 300, 200], [300, 200, 10], strict=True
    ):
        expected = scheme_std(scheme, fan_in, fan_out, **options)
        assert float(layer.weight.detach().std()) == pytest.approx(expected, rel=0.05)
        assert any(std == pytest.approx(expected) for std in given_stds.values())


def test_a_vanishing_signal_goes_on_vanishing():
    """Far below a variance of 1e-12 tanh is linear: a layer of width 1 leaves std**2 of it."""
    variances = propagate([1] * 31, "tanh", 0.01).forward
    np.testing.assert_allclose(variances[6:] / variances[5:-1], 1e-4, rtol=1e-9)
    (fourth,) = expectation(resolve("tanh"), np.array([1e-20]), ("fourth",))
    np.testing.assert_allclose(fourth, 3e-40, rtol=1e-9)
