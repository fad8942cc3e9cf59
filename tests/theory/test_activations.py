"""Gaussian moments against closed forms, adaptive quadrature and published tables."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.integrate import quad

from initscope.errors import UsageError
from initscope.theory import ACTIVATIONS, activation_moments, gain
from initscope.theory.activations import Activation, resolve
from initscope.theory.expectations import INTEGRANDS, expectation


def density(z: float) -> float:
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def integral(function, points=(-1.0, 0.0, 1.0)) -> float:
    """E f(z), by scipy's adaptive quadrature over pieces."""
    edges = [-14.0, *points, 14.0]
    return sum(
        quad(lambda z: density(z) * float(function(z)), low, high, epsabs=1e-14, epsrel=1e-12)[0]
        for low, high in itertools.pairwise(edges)
    )


@pytest.mark.parametrize("middle", [0.76029, 1.52058, 3.04116, 1.0])
@pytest.mark.parametrize("speed", [20, 40, 60])
def test_a_fast_wave_is_resolved_even_where_a_piece_sees_it_as_even(speed, middle):
    """In closed form; about the middle of a piece half of the coefficients of a cosine vanish."""
    wave = resolve(lambda x: np.cos(speed * (x - middle)))
    q = np.array([1e-3, 1.0, 9.0])
    mean, second = expectation(wave, q, ("mean", "second"))
    damped = np.exp(-(speed**2) * q / 2)
    np.testing.assert_allclose(mean, damped * np.cos(speed * middle), atol=1e-12)
    expected = (1 + damped**4 * np.cos(2 * speed * middle)) / 2
    np.testing.assert_allclose(second, expected, rtol=1e-12)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_moments_of_named_activations_agree_with_adaptive_quadrature(name):
    known = ACTIVATIONS[name]
    moments = activation_moments(name)
    phi = lambda z: known.function(np.float64(z))  # noqa: E731
    dphi = lambda z: known.derivative(np.float64(z))  # noqa: E731
    assert moments.mean == pytest.approx(integral(phi), abs=1e-11)
    assert moments.second == pytest.approx(integral(lambda z: phi(z) ** 2), abs=1e-11)
    assert moments.derivative_second == pytest.approx(integral(lambda z: dphi(z) ** 2), abs=1e-11)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_closed_forms_agree_with_panels_at_any_variance(name):
    known = ACTIVATIONS[name]
    bare = Activation(name, known.function, known.derivative, known.kinks)
    q = np.geomspace(1e-6, 1e6, 25)
    names = ("second", "slope", "derivative_second")
    known_values, bare_values = expectation(known, q, names), expectation(bare, q, names)
    for closed, panels in zip(known_values, bare_values, strict=True):
        np.testing.assert_allclose(closed, panels, rtol=1e-10)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_derivatives_and_slopes_agree_with_differences(name):
    known = ACTIVATIONS[name]
    x = np.array([-3.1, -1.3, -0.4, 0.3, 0.7, 2.2])
    difference = (known.function(x + 1e-6) - known.function(x - 1e-6)) / 2e-6
    np.testing.assert_allclose(known.derivative(x), difference, atol=1e-8)
    up, down = expectation(known, np.array([1.7 + 1e-5, 1.7 - 1e-5]), ("second",))[0]
    assert expectation(known, np.array(1.7), ("slope",))[0] == pytest.approx(
        (up - down) / 2e-5, rel=1e-8
    )


def test_table_of_gains():
    # E[phi^2], forward and backward gain to five places; ReLU is He et al. (2015), SELU's fixed
    # point at mean 0 and variance 1 is Klambauer et al. (2017).
    table = {
        "relu": (0.50000, 1.41421, 1.41421),
        "leaky_relu": (0.50005, 1.41414, 1.41414),
        "gelu": (0.42522, 1.53353, 1.48111),
        "silu": (0.35578, 1.67653, 1.62332),
        "tanh": (0.39429, 1.59254, 1.46741),
        "selu": (1.00000, 1.00000, 0.96603),
        "identity": (1.00000, 1.00000, 1.00000),
    }
    for name, (second, forward, backward) in table.items():
        assert activation_moments(name).second == pytest.approx(second, abs=6e-6)
        assert gain(name) == pytest.approx(forward, abs=6e-6)
        assert gain(name, "backward") == pytest.approx(backward, abs=6e-6)
    assert activation_moments("selu").mean == pytest.approx(0, abs=1e-7)


def test_closed_forms_written_out():
    assert activation_moments("relu").mean == pytest.approx(1 / math.sqrt(2 * math.pi), rel=1e-14)
    assert activation_moments("leaky_relu").second == pytest.approx((1 + 0.01**2) / 2, rel=1e-14)
    erf = activation_moments("erf")
    assert erf.second == pytest.approx(2 / math.pi * math.asin(2 / 3), rel=1e-12)
    assert erf.derivative_second == pytest.approx(4 / math.pi / math.sqrt(5), rel=1e-12)
    assert activation_moments("gelu").mean == pytest.approx(1 / math.sqrt(4 * math.pi), rel=1e-12)


def third(x):
    return np.maximum(x - 1 / 3, 0.0)


@pytest.mark.parametrize(
    ("function", "second", "derivative_second"),
    [
        (np.sin, (1 - math.exp(-2)) / 2, (1 + math.exp(-2)) / 2),
        (np.exp, math.exp(2), math.exp(2)),
        (np.abs, 1.0, 1.0),
        (np.sign, 1.0, 0.0),
        (np.square, 3.0, 4.0),
        (third, integral(lambda z: third(z) ** 2, (1 / 3,)), 0.5 * math.erfc(1 / 3 / 2**0.5)),
        (lambda x: np.maximum(x, 0) ** 2, 1.5, 2.0),
    ],
    ids=["sin", "exp", "abs", "sign", "square", "kink at 1/3", "squared relu"],
)
def test_callables(function, second, derivative_second):
    moments = activation_moments(function)
    assert moments.second == pytest.approx(second, rel=1e-9)
    assert moments.derivative_second == pytest.approx(derivative_second, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_a_callable_has_the_moments_of_its_name(name):
    known = ACTIVATIONS[name]
    q = np.array([0.01, 1.0, 30.0])
    named = activation_moments(name, q)
    found = activation_moments(lambda x: known.function(x), q)
    for one, other in zip(named, found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_large_arrays_go_through_tables_without_losing_digits():
    rng = np.random.default_rng(0)
    q = np.exp(rng.uniform(-20, 20, 3000))
    names = tuple(INTEGRANDS)
    some = slice(0, 3000, 300)
    for name in ("tanh", "silu"):
        tabled = expectation(resolve(name), q, names)
        direct = expectation(resolve(name), q[some], names)
        for key, one, other in zip(names, tabled, direct, strict=True):
            scale = 1.0 if key == "derivative_rate" else np.abs(other)
            assert (np.abs(one[some] - other) <= 1e-11 * scale + 1e-300).all(), (name, key)


def test_variance_zero_is_the_value_at_zero():
    assert activation_moments("tanh", 0.0).second == 0
    assert activation_moments("tanh", 0.0).derivative_second == pytest.approx(1)
    assert activation_moments("sigmoid", 0.0).second == pytest.approx(0.25)
    assert activation_moments("relu", 0.0).derivative_second == 0.5


def test_shapes_follow_the_variance():
    assert activation_moments("tanh", np.ones((2, 3))).second.shape == (2, 3)
    assert activation_moments("tanh", np.ones((0,))).second.shape == (0,)
    assert np.ndim(activation_moments("tanh").second) == 0


def test_aliases_name_the_same_function():
    assert activation_moments("swish") == activation_moments("silu")
    assert activation_moments("linear").second == 1


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        ("rellu", "Did you mean 'relu'"),
        ("", "unknown activation ''"),
        (3, "neither a name nor callable"),
        (None, "neither a name nor callable"),
        (math.tanh, r"numpy\.vectorize"),
        (lambda x: x.sum(), "element by element"),
        (lambda x: 1 / (x - 0.25) ** 2 * np.inf, "not finite"),
        (lambda x: np.sin(1e6 * x), "varies too fast"),
    ],
)
def test_bad_activations_are_refused(activation, message):
    with pytest.raises(UsageError, match=message):
        activation_moments(activation)


def test_bad_variances_directions_and_constants_are_refused():
    with pytest.raises(UsageError, match="q must be finite and at least 0, not -1"):
        activation_moments("relu", -1.0)
    with pytest.raises(UsageError, match="NaN"):
        activation_moments("relu", np.nan)
    with pytest.raises(UsageError, match="'forward'"):
        gain("relu", "foward")
    with pytest.raises(UsageError, match="no backward gain"):
        gain(np.ones_like, "backward")
    with pytest.raises(UsageError, match="no forward gain"):
        gain(np.zeros_like)
