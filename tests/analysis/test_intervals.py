"""Intervals: those of scipy, and as often right as they say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from initscope.analysis import (
    Z_95,
    bootstrap_interval,
    central_range,
    mean_error,
    mean_interval,
    pooled_mean,
    variance_error,
)
from initscope.errors import UsageError

pytestmark = pytest.mark.filterwarnings("error")

SAMPLES = np.random.default_rng(0).normal(3.0, 2.0, (2000, 60))
SQUARES = SAMPLES[0] ** 2


@settings(max_examples=15)
@given(
    values=st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=10),
    level=st.floats(0.01, 0.999),
)
def test_the_interval_is_that_of_scipy(values: list[float], level: float) -> None:
    mean, low, high = mean_interval(values, level)
    assert mean == pytest.approx(np.mean(values), abs=1e-9)
    error = stats.sem(values)
    if error < 1e-9:  # scipy has no interval for values that are all the same
        assert (low, high) == pytest.approx((mean, mean), abs=1e-6)
        return
    expected = stats.t.interval(level, len(values) - 1, mean, error)
    assert (low, high) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    samples = np.random.default_rng(0).normal(3.0, 2.0, (1000, 3))
    covered = [low <= 3.0 <= high for _, low, high in map(mean_interval, samples)]
    assert np.mean(covered) == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 1000))


def test_the_interval_of_one_value_and_of_a_run_that_diverged() -> None:
    assert mean_interval([3]) == (3, -math.inf, math.inf)
    assert mean_interval([2.0, 2.0, 2.0]) == (2, 2, 2)
    np.testing.assert_equal(mean_interval([1, math.nan]), (math.nan,) * 3)
    np.testing.assert_equal(mean_interval([1, math.inf]), (math.inf, math.nan, math.nan))


@pytest.mark.parametrize(
    ("values", "level", "message"),
    [
        ([], 0.95, "values must hold at least one value"),
        (1.0, 0.95, "values must be a list of numbers, not 1.0"),
        ([[1.0, 2.0]], 0.95, "values must be a list of numbers"),
        ([1.0, 2.0], 1, "level must lie between 0 and 1, not 1"),
        ([1.0, 2.0], 0, "level must lie between 0 and 1, not 0"),
        ([1.0, 2.0], "95%", "level must lie between 0 and 1, not '95%'"),
        ([1.0], math.nan, "level must lie between 0 and 1, not nan"),
    ],
)
def test_an_interval_that_cannot_be(values: Any, level: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        mean_interval(values, level)


# --- Errors of large samples ---------------------------------------------------------------


def coverage(estimates: Any, errors: Any, truth: float) -> float:
    return float(np.mean(np.abs(np.asarray(estimates) - truth) <= np.asarray(errors)))


def test_the_error_of_a_mean_is_half_of_a_normal_interval() -> None:
    found = mean_error(SQUARES)
    low, high = stats.norm.interval(0.95, SQUARES.mean(), stats.sem(SQUARES))
    assert found == pytest.approx((high - low) / 2, rel=1e-12)
    assert stats.norm.cdf(Z_95) == pytest.approx(0.975, abs=1e-12)
    assert coverage(SAMPLES.mean(axis=1), [*map(mean_error, SAMPLES)], 3.0) == pytest.approx(
        0.95, abs=0.02
    )
    assert mean_error([2.0, 2.0]) == 0


def test_the_error_of_a_variance_covers_as_often_as_it_says() -> None:
    variances = SAMPLES.var(axis=1, ddof=1)
    found = variance_error(variances, SAMPLES.shape[1])
    assert coverage(variances, found, 4.0) == pytest.approx(0.94, abs=0.02)
    assert variance_error(variances[0], 60) == found[0]
    assert isinstance(variance_error(1.0, 2), float)
    # For large n the bounds of chi-square become symmetric.
    n = 10**6
    low, high = (n - 1) / stats.chi2.ppf([0.975, 0.025], n - 1)
    assert variance_error(1.0, n) == pytest.approx((high - low) / 2, rel=1e-3)


@settings(max_examples=30)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_the_central_range_holds_the_middle_of_a_sample(values: list[float]) -> None:
    low, high = central_range(values)
    assert low <= np.median(values) <= high
    # At most 2.5% lie below, and as many above, however few there are.
    assert sum(value < low for value in values) <= max(1, math.ceil(0.025 * len(values)))
    assert sum(value > high for value in values) <= max(1, math.ceil(0.025 * len(values)))
    assert central_range([-value for value in values]) == pytest.approx((-high, -low), abs=1e-9)


def test_the_central_range_of_many_normal_values_is_that_of_the_distribution() -> None:
    quantiles = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    assert central_range(quantiles) == pytest.approx((-Z_95, Z_95), abs=1e-3)


# --- Bootstrap -----------------------------------------------------------------------------


def resampled_means(sample: np.ndarray, resamples: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).integers(0, len(sample), (resamples, len(sample)))
    return sample[drawn].mean(axis=1)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_bootstrap_interval_of_a_mean_is_nearly_student_s(level: float) -> None:
    for sample in SAMPLES[:5, :12]:
        found = bootstrap_interval(resampled_means(sample, 40_000), 12, level)
        _, *expected = mean_interval(sample, level)
        width = expected[1] - expected[0]
        assert found == pytest.approx(tuple(expected), abs=0.08 * width)


def test_the_bootstrap_interval_covers_as_often_as_it_says() -> None:
    of_means = [bootstrap_interval(resampled_means(s, 1000), 8) for s in SAMPLES[:800, :8]]
    assert np.mean([low <= 3.0 <= high for low, high in of_means]) == pytest.approx(0.95, abs=0.025)


def test_with_many_values_it_is_the_percentile_interval_of_scipy() -> None:
    sample = (np.arange(2000.0),)
    found = stats.bootstrap(sample, np.mean, n_resamples=999, method="percentile", batch=100)
    assert bootstrap_interval(found.bootstrap_distribution, 2000) == pytest.approx(
        tuple(found.confidence_interval), rel=1e-3
    )


def test_the_ends_of_a_bootstrap_interval_are_values_of_its_distribution() -> None:
    assert bootstrap_interval([1.0], 2) == (1.0, 1.0)
    assert bootstrap_interval([-math.inf, 0.0, math.inf], 9) == (-math.inf, math.inf)
    assert bootstrap_interval([0.0] * 99 + [math.inf], 9, 0.5) == (0.0, 0.0)
    np.testing.assert_equal(bootstrap_interval([1.0, math.nan], 9), (math.nan, math.nan))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_error([1.0]), "values must be a list of at least 2 numbers"),
        (lambda: mean_error([1.0, math.inf]), "values must be finite"),
        (lambda: central_range([]), "values must be a list of at least 1 numbers"),
        (lambda: central_range([[1.0, 2.0]]), "values must be a list of at least 1 numbers"),
        (lambda: variance_error(1.0, 1), "n must be a whole number of at least 2"),
        (lambda: variance_error(-1.0, 9), "variance must be finite and at least 0"),
        (lambda: bootstrap_interval([1.0], 1), "n must be a whole number of at least 2"),
        (lambda: bootstrap_interval([], 9), "resampled must hold at least one value"),
        (lambda: bootstrap_interval([[1.0]], 9), "resampled must be a list of numbers"),
        (lambda: bootstrap_interval("12", 9), "resampled must be a list of numbers, not '12'"),
        (lambda: bootstrap_interval([1.0], 9, 1.0), "level must lie between 0 and 1, not 1"),
    ],
)
def test_what_has_no_interval_is_refused(call: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


def test_measurements_of_one_number_are_pooled_and_others_told_apart() -> None:
    assert pooled_mean([2.0, 4.0], [1.0, 1.0])[:2] == pytest.approx((3, 0.5**0.5))
    mean, error, p_value = pooled_mean([5.0, 5.0, 9.0], [0.1, 0.1, 1e6])
    assert (mean, error) == pytest.approx((5, 0.1 / 2**0.5))
    assert p_value == pytest.approx(1)
    assert pooled_mean([1.0, 2.0], [0.1, 0.1])[2] < 1e-10
    # Two values differ by sqrt(2) z standard errors: the p-value is that of a normal variable.
    apart = 1.5 * np.sqrt(2)
    assert pooled_mean([0, apart], [1, 1])[2] == pytest.approx(2 * stats.norm.sf(1.5))
    generator = np.random.default_rng(0)
    errors = np.array([0.1, 1.0, 3.0])
    p_values = [pooled_mean(generator.normal(7, errors), errors)[2] for _ in range(500)]
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    for errors in ([1.0], [1.0, 0.0], [1.0, -1.0]):
        with pytest.raises(UsageError, match="errors must"):
            pooled_mean([1.0, 2.0], errors)
