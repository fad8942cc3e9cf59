"""Random networks against closed forms, and against torch's own modules."""

import numpy as np
import pandas as pd
import pytest
import torch

from initscope.errors import UsageError
from initscope.models import MLP
from initscope.monte_carlo import (
    DIRECTIONS,
    against_theory,
    correlation_profiles,
    representable_band,
    variance_profiles,
)
from initscope.theory import (
    NUMBER_FORMATS,
    correlation_map,
    finite_width_interval,
    propagate,
    stability_band,
)


def of(frame, direction, layer):
    return frame[(frame["direction"] == direction) & (frame["layer"] == layer)]["value"]


def test_one_layer_has_the_closed_form_variance():
    frame = variance_profiles([30, 40], "relu", 0.3, 0.5, networks=2000, input_variance=2.0)
    # z_i ~ N(0, 30 * 0.3^2 * 2 + 0.5^2), 40 of them; the gradient at x_j ~ N(0, 40 * 0.3^2).
    for direction, layer, variance, n in (("forward", 1, 5.65, 40), ("backward", 0, 3.6, 30)):
        values = of(frame, direction, layer)
        assert values.mean() == pytest.approx(variance, abs=4 * variance * np.sqrt(2 / n / 2000))
        assert values.var() == pytest.approx(2 * variance**2 / n, rel=0.15)
    np.testing.assert_allclose(of(frame, "forward", 0), 2.0)
    np.testing.assert_allclose(of(frame, "backward", 1), 1.0)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "selu", "identity"])
def test_mean_is_that_of_the_theory_at_large_width(activation):
    widths, std, bias = [300, 200, 400, 300], [0.05, 0.09, 0.06], 0.2
    frame = variance_profiles(widths, activation, std, bias, networks=100)
    table = against_theory(
        frame,
        propagate(widths, activation, std, bias),
        finite_width_interval(widths, activation, std, bias),
    )
    np.testing.assert_allclose(table["ratio"], 1.0, atol=0.06)
    assert table["inside"].min() > 0.85


def test_values_are_those_of_torch_modules():
    """The same weights in an MLP, with autograd for the way back."""
    from initscope.monte_carlo import draws

    widths, std = (5, 7, 6, 3), 0.4
    (chunk,) = draws.draw(widths, 2, 3)
    frame = variance_profiles(widths, "gelu", std, 0.1, networks=2, seed=3)
    for k in range(2):
        model = MLP(widths, "gelu").double()
        with torch.no_grad():
            for layer, weight, bias in zip(
                model.linear_layers, chunk.weights, chunk.biases, strict=True
            ):
                layer.weight.copy_(std * weight[k])
                layer.bias.copy_(0.1 * bias[k, 0])
        x = chunk.inputs[k, 0] / chunk.inputs[k].square().mean().sqrt()
        x.requires_grad_()
        kept = []
        for layer in model.linear_layers:
            layer.register_forward_hook(lambda m, i, out, kept=kept: kept.append(out))
        end = chunk.gradients[k, 0] / chunk.gradients[k].square().mean().sqrt()
        model(x[None]).backward(end[None], inputs=[x], retain_graph=True)
        gradients = torch.autograd.grad(model(x[None]), kept[3:], end[None])
        one = frame[frame["network"] == k]
        for layer, (z, gradient) in enumerate(zip(kept[3:], gradients, strict=True), start=1):
            assert of(one, "forward", layer).item() == pytest.approx(z.square().mean().item())
            assert of(one, "backward", layer).item() == pytest.approx(
                gradient.square().mean().item()
            )
        assert of(one, "backward", 0).item() == pytest.approx(x.grad.square().mean().item())


def test_draws_do_not_depend_on_number_chunks_or_std(monkeypatch):
    many = variance_profiles([6, 8, 4], "relu", 0.5, networks=7, seed=1)
    few = variance_profiles([6, 8, 4], "relu", 0.5, networks=3, seed=1)
    pd.testing.assert_frame_equal(many[: len(few)], few)
    monkeypatch.setattr("initscope.monte_carlo.draws.CHUNK_BYTES", 1)
    pd.testing.assert_frame_equal(
        variance_profiles([6, 8, 4], "relu", 0.5, networks=7, seed=1), many
    )
    # ReLU without biases is homogeneous: twice the std is four times the variance a layer.
    double = variance_profiles([6, 8, 4], "relu", 1.0, networks=7, seed=1)
    np.testing.assert_allclose(of(double, "forward", 2), 16 * of(many, "forward", 2))
    other = variance_profiles([6, 8, 4], "relu", 0.5, networks=7, seed=2)
    assert not np.isclose(of(other, "forward", 2), of(many, "forward", 2)).any()


def test_global_generator_is_left_alone():
    state = torch.get_rng_state()
    variance_profiles([4, 4], networks=2)
    assert torch.equal(state, torch.get_rng_state())


def test_correlation_follows_the_map():
    widths = [400] * 4
    frame = correlation_profiles(widths, "tanh", 1.5 / 20, 0.3, correlation=0.2, networks=60)
    means = frame.groupby("layer").mean()
    assert means.loc[0, "correlation"] == pytest.approx(0.2, abs=1e-12)
    assert means.loc[0, "length"] == pytest.approx(1.0)
    first = (2.25 * 0.2 + 0.09) / (2.25 + 0.09)  # layer 1 is linear in the input
    assert means.loc[1, "correlation"] == pytest.approx(first, abs=0.02)
    second = correlation_map(first, "tanh", 2.25, 0.09, q=2.34)
    assert means.loc[2, "correlation"] == pytest.approx(second, abs=0.02)


@pytest.mark.parametrize("correlation", [-1.0, 1.0])
def test_equal_and_opposite_inputs_stay_so_in_an_odd_network(correlation):
    frame = correlation_profiles([20] * 6, "tanh", 0.3, correlation=correlation, networks=3)
    np.testing.assert_allclose(frame["correlation"], correlation)


@pytest.mark.parametrize("number_format", sorted(NUMBER_FORMATS))
def test_representable_band_lies_where_the_theory_says(number_format):
    widths = [64] * 13
    found = representable_band(widths, "relu", number_format=number_format, networks=6)
    theory = stability_band(widths, "relu", number_format=number_format)
    assert (found["low"] < found["high"]).all()
    # Single elements leave the range before the rms: the measured band is a little narrower.
    assert np.log(found["low"].median() / theory.low) == pytest.approx(0.05, abs=0.12)
    assert np.log(found["high"].median() / theory.high) == pytest.approx(-0.06, abs=0.12)


def test_representable_edges_are_edges():
    """A std just outside a measured edge leaves float16, one just inside does not."""
    from initscope.monte_carlo import draws

    widths = (16, 16, 16, 16)
    found = representable_band(widths, number_format="float16", networks=1, precision=1e-4)
    (chunk,) = draws.draw(widths, 1, 0)
    for edge, outside, inside in (("high", 1.01, 0.99), ("low", 0.99, 1.01)):
        for factor, expected in ((outside, False), (inside, True)):
            std = found[edge].item() * factor
            x = (chunk.inputs / chunk.inputs.square().mean().sqrt()).half()
            end = (chunk.gradients / chunk.gradients.square().mean().sqrt()).half()
            layers, masks, h = [], [], x
            weights = [(w * std).half() for w in chunk.weights]
            for w in weights:
                layers.append(torch.bmm(h, w.mT))
                masks.append(layers[-1] > 0)
                h = layers[-1].relu()
            for k in (2, 1):  # the gradient at the input is no gradient at a layer
                end = torch.bmm(end, weights[k]) * masks[k - 1]
                layers.append(end)
            rms = torch.stack([t.double().square().mean().sqrt() for t in layers])
            ok = bool(torch.isfinite(rms).all() and (rms >= 2.0**-14).all())
            assert ok is expected, (edge, factor)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (([4],), "no layer"),
        (([4, 4], "rleu"), "relu"),
        (([4, 4], "relu", "hee"), "scheme"),
        (([4, 4], "relu", -1.0), "at least 0"),
        (([4, 4], "relu", [0.1, 0.2]), "weight_std"),
        (([4, 4], "relu", np.ones((3, 1))), "one number"),
    ],
)
def test_bad_input_is_refused(arguments, match):
    with pytest.raises(UsageError, match=match):
        variance_profiles(*arguments, networks=2)


def test_bad_options_are_refused():
    with pytest.raises(UsageError, match="networks"):
        variance_profiles([4, 4], networks=0)
    with pytest.raises(UsageError, match="between -1 and 1"):
        correlation_profiles([4, 4], correlation=1.5)
    with pytest.raises(UsageError, match="angle"):
        correlation_profiles([1, 4])
    with pytest.raises(UsageError, match="float16"):
        representable_band([4, 4], number_format="float61")
    with pytest.raises(UsageError, match="std_range"):
        representable_band([4, 4], number_format="float16", std_range=(1.0, 1.0))


def test_width_one_and_a_single_layer():
    frame = variance_profiles([1, 1], "tanh", 1.0, networks=5)
    assert set(frame["direction"]) == set(DIRECTIONS)
    # One weight serves both ways: w^2 forward and backward.
    np.testing.assert_allclose(of(frame, "forward", 1), of(frame, "backward", 0))


def test_compare_orders_and_counts():
    widths = [50] * 3
    frame = variance_profiles(widths, networks=20)
    table = against_theory(frame, propagate(widths, "relu", "kaiming"))
    assert table[["direction", "layer"]].to_numpy().tolist() == [
        [direction, layer] for direction in DIRECTIONS for layer in range(3)
    ]
    assert "inside" not in table
    np.testing.assert_allclose(table["ratio"], table["mean"] / table["theory"])
