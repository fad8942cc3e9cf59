"""Moments and spreads of logarithms, held against samples whose distribution is known."""

import itertools

import numpy as np
import pytest

from initscope.analysis.log_norms import (
    fourth_moment,
    log_band_moments,
    log_moments,
    pair_factor,
    share_held,
)
from initscope.errors import UsageError
from initscope.theory import finite_width_interval, log_norm_moments

SAMPLES = np.random.default_rng(0).standard_normal((4000, 60))


def coverage(estimates, errors, truth):
    return np.mean(np.abs(np.array(estimates) - truth) <= np.array(errors))


def test_intervals_of_mean_and_variance_cover_as_often_as_they_say():
    found = [log_moments(3 + 2 * sample) for sample in SAMPLES]
    assert coverage([m.mean for m in found], [m.mean_error for m in found], 3) > 0.93
    of_variance = coverage([m.variance for m in found], [m.variance_error for m in found], 4)
    assert 0.9 < of_variance < 0.97
    assert found[0].variance == pytest.approx(np.var(3 + 2 * SAMPLES[0], ddof=1))


def test_the_fourth_moment_of_chi_square_is_covered():
    # For the mean of n squared normal variables E[q^2] / E[q]^2 = 1 + 2 / n.
    draws = np.random.default_rng(1).chisquare(20, (2000, 400)) / 20
    found = [fourth_moment(sample) for sample in draws]
    assert 0.92 < coverage(*zip(*found, strict=True), 1 + 2 / 20) < 0.97


def test_the_band_is_made_of_the_exact_moments():
    widths = [40] * 8
    mean, variance = log_band_moments(finite_width_interval(widths, "relu", "kaiming"))
    exact = log_norm_moments(widths[:-1])
    assert np.isfinite(mean).all()
    # The band adds the last layer, which is linear in what goes in.
    assert variance[-1] > exact.variance
    assert variance[-1] == pytest.approx(exact.variance + 2 / 40, rel=0.02)


def test_the_band_has_moments_in_both_directions():
    # In equal ReLU layers a gradient has gone through as many factors as a signal, but for the
    # average over the last layer's own units.
    interval = finite_width_interval([12] * 6, "relu", "kaiming")
    forward, backward = (log_band_moments(interval, way)[1] for way in ("forward", "backward"))
    np.testing.assert_allclose(backward[1:], forward[:0:-1] - forward[1])


def test_the_share_held_is_that_of_the_normal_law():
    sample = np.random.default_rng(2).normal(3.0, 2.0, 20_000)
    assert share_held(sample, 3.0, 4.0) == pytest.approx(0.95, abs=0.006)
    assert share_held(sample, 3.0, 1.0) == pytest.approx(0.6729, abs=0.015)  # of half the width
    assert share_held([5.0], 5.0, 0.0) == 1.0


def test_the_factor_of_pairs_is_a_quantile_over_all_of_them():
    logs = np.log([1.0, 3.0, 7.0, 20.0])
    factors = sorted(max(a, b) / min(a, b) for a, b in itertools.combinations(np.exp(logs), 2))
    assert pair_factor(logs, 0.0) == pytest.approx(factors[0])
    assert pair_factor(logs, 1.0) == pytest.approx(factors[-1])
    assert pair_factor(logs, 0.2) == pytest.approx(factors[1])


@pytest.mark.parametrize("bad", [[], [1.0], [1.0, np.nan], [[1.0, 2.0]]])
def test_what_is_no_sample_is_refused(bad):
    for function in (log_moments, fourth_moment, pair_factor):
        with pytest.raises(UsageError):
            function(bad)
