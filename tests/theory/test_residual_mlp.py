"""Residual branches and LayerNorm: against the plain theory, closed forms and random networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from initscope.errors import UsageError
from initscope.monte_carlo import residual_profiles
from initscope.theory import propagate, residual_propagate
from initscope.theory.propagation import LAYER_NORM_EPSILON, log_variances

ACTIVATIONS = ["relu", "leaky_relu", "gelu", "tanh", "identity"]


@settings(max_examples=30)
@given(
    st.sampled_from(ACTIVATIONS),
    st.integers(1, 40),
    st.integers(1, 300),
    st.floats(-2, 1),
    st.floats(0, 1),
)
def test_without_branches_it_is_the_plain_theory(activation, depth, width, log_std, bias_std):
    std = 10**log_std
    plain = propagate([width] * (depth + 1), activation, std, bias_std)
    logs = log_variances(width, depth, activation, std, bias_std)
    for part, expected in zip(logs, plain, strict=True):
        inside = (expected > 1e-290) & (expected < 1e290)
        np.testing.assert_allclose(part[inside], np.log(expected[inside]), atol=1e-9)


def test_closed_forms():
    # ReLU: a branch multiplies both variances by 1 + n std^2 / 2; LayerNorm makes the input 1.
    r = 100 * 0.1**2 / 2
    profile = residual_propagate(100, 8, "relu", 0.1)
    np.testing.assert_allclose(profile.forward, (1 + r) ** np.arange(9.0))
    np.testing.assert_allclose(profile.backward, (1 + r) ** np.arange(8.0, -1, -1))
    assert torch.nn.LayerNorm(1).eps == LAYER_NORM_EPSILON
    q = [1.0]
    for _ in range(8):
        q.append(q[-1] + r * q[-1] / (q[-1] + LAYER_NORM_EPSILON) + 0.25)
    profile = residual_propagate(100, 8, "relu", 0.1, 0.5, layer_norm=True)
    np.testing.assert_allclose(profile.forward, q)
    factors = 1 + r / (np.array(q[:-1]) + LAYER_NORM_EPSILON)
    np.testing.assert_allclose(profile.backward[0], factors.prod())


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("residual", "layer_norm"), [(True, False), (False, True), (True, True)])
def test_random_networks_have_this_variance(activation, residual, layer_norm):
    options = {"residual": residual, "layer_norm": layer_norm}
    frame = residual_profiles(256, 6, activation, 0.07, 0.1, networks=60, seed=1, **options)
    theory = residual_propagate(256, 6, activation, 0.07, 0.1, **options)
    groups = frame.groupby(["direction", "layer"])["value"]
    expected = np.concatenate([theory.backward, theory.forward])  # in the order of the groups
    # LayerNorm takes the mean and one direction from the gradient: 2/n a layer.
    allowed = 4 * groups.std() / np.sqrt(60) + 0.05 * expected
    assert (np.abs(groups.mean() - expected) < allowed).all()


def test_no_std_is_out_of_range():
    logs = log_variances(512, 100, "gelu", 1e3)
    assert np.isfinite(logs.forward).all()
    # Far from 0 GELU is ReLU: a factor of n std^2 / 2 a layer.
    assert np.diff(logs.forward)[5:] == pytest.approx(np.log(512e6 / 2), rel=1e-6)
    assert residual_propagate(512, 100, "relu", 1e3).forward[-1] == np.inf
    saturated = log_variances(512, 100, "tanh", 1e3)
    assert np.exp(saturated.forward[-1]) == pytest.approx(512e6, rel=1e-3)
    assert np.isfinite(saturated.backward).all()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((0, 3, "relu", 0.1), "width"),
        ((8, 0, "relu", 0.1), "depth"),
        ((8, 3, "rel", 0.1), "unknown activation"),
        ((8, 3, "relu", 0.0), "above 0"),
        ((8, 3, "relu", float("nan")), "NaN"),
        ((8, 3, "relu", 0.1, -1.0), "at least 0"),
    ],
)
def test_bad_input_is_refused(arguments, match):
    with pytest.raises(UsageError, match=match):
        residual_propagate(*arguments)
