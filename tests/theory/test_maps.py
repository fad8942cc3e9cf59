"""Length and correlation maps, their fixed points, and the edge of chaos."""

from __future__ import annotations

import numpy as np
import pytest

from initscope.errors import UsageError
from initscope.theory import (
    ACTIVATIONS,
    activation_moments,
    chi,
    correlation_fixed_point,
    correlation_map,
    critical_point,
    depth_scale,
    fixed_point,
    gain,
    length_map,
)
from initscope.theory.activations import Activation, resolve
from initscope.theory.kernels import CorrelatedMoments


def sample(n: int, c: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    z = np.random.default_rng(seed).standard_normal((2, n))
    return z[0], c * z[0] + np.sqrt(1 - c**2) * z[1]


def test_he_relu_is_critical():
    assert chi("relu", 2.0) == 1.0
    assert chi("relu", gain("relu") ** 2) == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(length_map(np.array([0.1, 1.0, 7.0]), "relu", 2.0), [0.1, 1, 7])
    assert depth_scale("relu", 2.0) == np.inf
    # Tanh is critical at weight variance 1 without bias, for all three depth scales.
    for kind in ("correlation", "length", "gradient"):
        assert depth_scale("tanh", 1.0, 0.0, kind) == np.inf


@pytest.mark.parametrize(
    ("name", "expected"),
    list(
        zip(
            ["relu", "leaky_relu", "gelu", "silu", "tanh", "selu"],
            [1, 1, 1.0720, 1.0666, 1.1778, 1.0716],
            strict=True,
        )
    ),
)
def test_only_homogeneous_activations_meet_both_directions(name, expected):
    assert chi(name, gain(name) ** 2, q=1.0) == pytest.approx(expected, abs=6e-5)


def test_critical_points_of_the_literature():
    # Roberts, Yaida & Hanin (2022), section 5.3: tanh in the universality class of K* = 0,
    # SWISH and GELU half-stable, GELU at K* = (3 + sqrt(17)) / 2.
    assert critical_point("relu")[:2] == pytest.approx((2.0, 0.0))
    assert critical_point("tanh")[:2] == pytest.approx((1.0, 0.0), abs=1e-9)
    weight, bias, q = critical_point("gelu")
    assert (weight, bias) == pytest.approx((1.98305826, 0.17292239), abs=2e-8)
    assert q == pytest.approx((3 + np.sqrt(17)) / 2, abs=1e-8)
    weight, bias, q = critical_point("silu")
    assert (weight, bias, q) == pytest.approx((1.98800468, 0.55514317, 14.32017362), abs=2e-8)


@pytest.mark.parametrize("name", ["tanh", "gelu", "silu", "selu", "erf", "hardtanh"])
def test_the_edge_of_chaos_has_chi_one_at_a_fixed_point(name):
    bias = np.array([0.01, 0.05, 0.4])
    weight, given, q = critical_point(name, bias)
    np.testing.assert_array_equal(given, bias)
    np.testing.assert_allclose(length_map(q, name, weight, bias), q, rtol=1e-9)
    np.testing.assert_allclose(chi(name, weight, bias, q=q), 1, rtol=1e-9)


@pytest.mark.parametrize("name", ["tanh", "gelu", "selu", "softplus", "relu", np.tanh])
def test_fixed_points_are_where_repeated_layers_lead(name):
    weight = np.array([0.5, 1.2, 1.7])
    bias = np.array([0.0, 0.05, 0.5])[:, None]
    if name == "softplus":
        weight = weight / 2
    found = fixed_point(name, weight, bias)
    q = np.ones((3, 3))
    for _ in range(3000):
        q = length_map(q, name, weight, bias)
    np.testing.assert_allclose(found, q, rtol=1e-6, atol=1e-6)
    again = length_map(found, name, weight, bias)
    np.testing.assert_allclose(again, found, rtol=1e-12, atol=1e-300)


def test_a_phase_diagram_is_the_same_as_its_points():
    weight, bias = np.meshgrid(np.linspace(0.2, 9, 60), np.linspace(0, 2, 50))
    whole = fixed_point("tanh", weight, bias)
    for i, j in [(0, 0), (0, 59), (20, 5), (49, 59), (33, 33)]:
        assert whole[i, j] == pytest.approx(fixed_point("tanh", weight[i, j], bias[i, j]), 1e-12)
    assert whole[0, 0] == 0


def test_signals_that_vanish_explode_or_stay():
    assert fixed_point("tanh", 0.9) == 0
    assert fixed_point("relu", 1.0) == 0
    assert fixed_point("relu", 2.0, q0=3.0) == 3.0
    assert fixed_point("relu", 1.0, 0.25) == 0.5
    assert np.isnan(fixed_point("gelu", 5.0, 0.1, missing="nan"))
    # From below GELU's unstable fixed point the variance vanishes, from above it explodes.
    assert fixed_point("gelu", 3.0, q0=0.01) == 0
    assert np.isnan(fixed_point("gelu", 3.0, q0=10.0, missing="nan"))
    # Close to 0 the map is linear: q* = sigma_b2 / (1 - sigma_w2).
    assert fixed_point("tanh", 0.5, 1e-14) == pytest.approx(2e-14)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fixed_point("relu", 2.5), r"no fixed point between 1 and 1e\+10"),
        (lambda: fixed_point("gelu", 2.5, 0.3, q_range=(1e-4, 1e4)), r"between 1 and 10000"),
        (lambda: fixed_point("relu", [1.0, 3.0, 4.0]), r"2 of 3 such points"),
        (lambda: fixed_point("relu", 2.0, 0.1), "no fixed point"),
        (lambda: chi("gelu", 4.0, 0.3), "no fixed point"),
        (lambda: fixed_point("tanh", -1.0), "sigma_w2 must be finite and at least 0, not -1"),
        (lambda: fixed_point("tanh", 1.0, -0.1), "sigma_b2 must be"),
        (lambda: fixed_point("tanh", np.nan), "sigma_w2 must not be NaN"),
        (lambda: fixed_point("tanh", 1.0, q_range=(1.0,)), "must be a pair"),
        (lambda: fixed_point("tanh", 1.0, q_range=(2.0, 1.0)), "lower to a higher"),
        (lambda: fixed_point("tanh", 1.0, q0=-1.0), "q0 must be between"),
        (lambda: fixed_point("tahn", 1.0), "Did you mean 'tanh'"),
        (lambda: fixed_point("tanh", 1.0, missing="skip"), "missing"),
        (lambda: length_map(-1.0, "relu", 2.0), "q must be finite"),
        (lambda: correlation_map(1.01, "relu", 2.0), "c must be between -1 and 1"),
        (lambda: correlation_map(0.5, "relu", [0.0, 1.0]), "no correlation is defined"),
        (lambda: correlation_map([0.5] * 3, "relu", [1.0, 2.0]), "do not broadcast"),
        (lambda: depth_scale("tanh", 1.0, kind="lenght"), "Did you mean 'length'"),
        (lambda: critical_point("softplus"), r"no critical point at a variance q of 0 or between"),
        (lambda: critical_point("relu", 0.1), "no critical point with sigma_b2 = 0.1"),
        (lambda: critical_point("tanh", -0.1), "sigma_b2 must be"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "erf", "tanh", "gelu", "selu", "hardtanh"])
def test_correlated_moments_by_simulation(name):
    known = ACTIVATIONS[name]
    for c in (-0.6, 0.3, 0.95):
        first, second = sample(1_000_000, c)
        root = np.sqrt(1.7)
        moments = CorrelatedMoments(known, np.array([1.7]))
        product = known.function(root * first) * known.function(root * second)
        error = product.std() / 1000
        assert moments.moment(np.array([c]))[0] == pytest.approx(product.mean(), abs=5 * error)
        product = known.derivative(root * first) * known.derivative(root * second)
        error = product.std() / 1000
        assert moments.derivative_moment(np.array([c]))[0] == pytest.approx(
            product.mean(), abs=5 * error + 1e-12
        )


@pytest.mark.parametrize("name", ["relu", "erf", "gelu", "tanh", "silu"])
def test_series_closed_forms_and_double_integrals_agree(name):
    known = ACTIVATIONS[name]
    # A kink where the function is smooth forces the double integral.
    forced = Activation(name + "!", known.function, known.derivative, (known.kinks or (0.5,)))
    c = np.array([-0.9, 0.0, 0.5, 0.99, 0.9999])
    for q in (0.1, 2.0):
        fast = CorrelatedMoments(known, np.full(5, q))
        slow = CorrelatedMoments(forced, np.full(5, q))
        np.testing.assert_allclose(fast.moment(c), slow.moment(c), atol=1e-12)
        np.testing.assert_allclose(fast.derivative_moment(c), slow.derivative_moment(c), atol=1e-11)


def test_a_large_signal_makes_relu_of_gelu():
    c = np.array([-0.9, 0.0, 0.5, 0.97, 0.9999, 1.0])
    for q in (1e8, 1e15):
        moments, relu = (CorrelatedMoments(ACTIVATIONS[n], np.full(6, q)) for n in ("gelu", "relu"))
        np.testing.assert_allclose(moments.moment(c) / q, relu.moment(c) / q, atol=1e-7)
        expected = relu.derivative_moment(c)
        np.testing.assert_allclose(moments.derivative_moment(c), expected, atol=1e-4)


def test_a_callable_with_a_kink_has_the_kernel_of_relu():
    c = np.array([-0.5, 0.2, 0.99])
    found = correlation_map(c, lambda x: np.maximum(x, 0.0), 1.5, 0.1)
    np.testing.assert_allclose(found, correlation_map(c, "relu", 1.5, 0.1), atol=1e-9)


def test_arc_cosine_kernel():
    # Cho & Saul (2009): orthogonal inputs leave a ReLU layer with correlation 1 / pi.
    assert correlation_map(0.0, "relu", 2.0) == pytest.approx(1 / np.pi, rel=1e-14)
    assert correlation_map(1.0, "relu", 2.0) == pytest.approx(1.0, rel=1e-14)
    assert correlation_map(-1.0, "relu", 2.0) == pytest.approx(0.0, abs=1e-14)


@pytest.mark.parametrize("name", ["tanh", "erf", "hardtanh"])
def test_correlations_end_where_repeated_maps_lead(name):
    weight = critical_point(name, 0.05).sigma_w2 * np.array([0.7, 1.3, 2.0])
    found = correlation_fixed_point(name, weight, 0.05)
    c = np.full(3, 0.1)
    for _ in range(160):
        c = correlation_map(c, name, weight, 0.05)
    assert found[0] == 1.0
    np.testing.assert_allclose(found, c, atol=1e-4)
    np.testing.assert_allclose(correlation_map(found, name, weight, 0.05), found, atol=1e-10)


@pytest.mark.parametrize("weight", [0.9, 1.4, 2.2, 3.0])
def test_depth_scales_are_the_rates_of_the_maps(weight):
    bias = 0.05
    q = fixed_point("tanh", weight, bias)
    step = 1e-6 * q
    rate = (length_map(q + step, "tanh", weight, bias) - q) / step
    assert depth_scale("tanh", weight, bias, "length") == pytest.approx(-1 / np.log(rate), rel=1e-4)
    c = correlation_fixed_point("tanh", weight, bias)
    step = 1e-5
    rate = (c - correlation_map(c - step, "tanh", weight, bias)) / step
    assert depth_scale("tanh", weight, bias) == pytest.approx(-1 / np.log(rate), rel=1e-3)
    chi_1 = chi("tanh", weight, bias)
    found = depth_scale("tanh", weight, bias, "gradient")
    assert found == pytest.approx(1 / abs(np.log(chi_1)))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_chi_is_the_slope_of_the_correlation_map(name):
    correlation, step = np.array([-0.6, 0.0, 0.3, 0.8]), 1e-5
    for weight, bias in ((0.5, 0.3), (1.2, 0.05)):
        if np.isnan(fixed_point(name, weight, bias, missing="nan")):
            continue
        ends = [correlation_map(correlation + sign * step, name, weight, bias) for sign in (-1, 1)]
        slope = (ends[1] - ends[0]) / (2 * step)
        np.testing.assert_allclose(chi(name, weight, bias, c=correlation), slope, rtol=1e-5)


def test_chi_of_a_homogeneous_activation_needs_no_fixed_point():
    """Half the variance of a weight for ReLU, where the variance grows without bound too."""
    weight = [0.5, 2.0, 3.0]
    for q in (None, 7.0):
        np.testing.assert_allclose(chi("relu", weight, 0.1, q=q), [0.25, 1.0, 1.5], rtol=1e-12)


def test_correlations_of_relu_go_to_one_as_a_power_of_depth():
    # 1 - c shrinks by (2 sqrt 2 / 3 pi) (1 - c)^(3/2) a layer, so that l^2 (1 - c) -> 9 pi^2 / 2.
    weight = np.array([0.3, 1.0, 2.0, 3.7])
    np.testing.assert_array_equal(depth_scale("relu", weight), np.inf)
    c = np.full(4, 0.5)
    for _ in range(3000):
        c = correlation_map(c, "relu", weight)
    np.testing.assert_allclose(3000**2 * (1 - c), 9 * np.pi**2 / 2, rtol=0.02)
    # With biases it is exponential: chi is half the variance of a weight at every correlation.
    biased = depth_scale("relu", [0.3, 1.0, 1.9], 0.2)
    np.testing.assert_allclose(biased, -1 / np.log([0.15, 0.5, 0.95]), rtol=1e-12)
    assert depth_scale("relu", 0.0, 0.1) == 0
    assert depth_scale("relu", 0.5, [0.0, 0.1]) == pytest.approx([np.inf, 1 / np.log(4)])
    # The variance and its gradient do change at a rate.
    for kind in ("length", "gradient"):
        assert depth_scale("relu", 1.5, 0.0, kind) == pytest.approx(-1 / np.log(0.75))


@pytest.mark.parametrize("name", [*ACTIVATIONS, np.tanh])
def test_the_scale_of_a_correlation_is_that_of_its_map(name):
    weight, bias = np.meshgrid([0.3, 0.7, 1.0, 1.4], [0.0, 0.3])
    found = depth_scale(name, weight, bias, missing="nan")
    c = correlation_fixed_point(name, weight, bias, missing="nan")
    np.testing.assert_array_equal(np.isnan(found), np.isnan(c))
    step = 1e-6
    for i in np.flatnonzero(~np.isnan(found)):
        ends = correlation_map([c.flat[i] - step, c.flat[i]], name, weight.flat[i], bias.flat[i])
        slope = float(np.diff(ends)[0]) / step
        # The slope beside a kink's 1 is less by the root of the step.
        tolerance = 2e-3 if resolve(name).kinks != () else 1e-5
        assert np.exp(-1 / found.flat[i]) == pytest.approx(slope, abs=tolerance)
    if resolve(name).slopes is not None or name in ("tanh", "hardtanh"):
        assert np.isinf(found[0, :2]).all()  # the variance keeps no size, or vanishes


def test_slope_of_the_length_map_needs_no_second_derivative():
    # Schoenholz et al. (2017) write it as chi_1 + sigma_w^2 E[phi'' phi].
    q, weight = 0.8, 1.9
    z = np.random.default_rng(1).standard_normal(2_000_000) * np.sqrt(q)
    t = np.tanh(z)
    written_out = weight * np.mean((1 - t**2) ** 2 - 2 * t * (1 - t**2) * t)
    bias = q - weight * activation_moments("tanh", q).second
    if bias < 0:
        pytest.fail("the example has no bias that makes q a fixed point")
    found = np.exp(-1 / depth_scale("tanh", weight, bias, "length"))
    assert found == pytest.approx(written_out, rel=5e-3)


def test_depth_diverges_at_the_edge_of_chaos():
    weight = critical_point("tanh", 0.05).sigma_w2
    near = depth_scale("tanh", weight * np.array([0.99, 1.0, 1.01]), 0.05)
    assert near[1] > 1e4
    assert (near[[0, 2]] > 50).all()
    assert (near[[0, 2]] < 500).all()


def test_resolve_keeps_what_it_is_given():
    assert resolve(ACTIVATIONS["relu"]) is ACTIVATIONS["relu"]
