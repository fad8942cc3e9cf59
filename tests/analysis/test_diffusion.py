"""Noise or drift: on AdamW itself, with gradients whose nature is known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from weight_tables import trajectories

from initscope.analysis.diffusion import (
    baseline_curves,
    curve_distances,
    curve_errors,
    growth_by_rate,
    growth_exponents,
    growth_in_windows,
)
from initscope.errors import UsageError

STEPS, DECAY = 1200, 0.5
RATES = 1e-2 * (0.1 + 0.9 * (1 + np.cos(np.pi * np.arange(STEPS) / STEPS)) / 2)
EDGES = list(range(200, STEPS + 1, 200))


def trained(drift: float, every: int = 10) -> pd.DataFrame:
    """The std of 20,000 weights under AdamW: gradients of noise, and of a drift away from 0."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.nn.Parameter(0.05 * torch.randn(20_000, generator=generator))
    outward = weights.detach().sign()
    optimizer = torch.optim.AdamW([weights], betas=(0.9, 0.95), weight_decay=DECAY)
    stds = [float(weights.detach().square().mean().sqrt())]
    for step, rate in enumerate(RATES, start=1):
        optimizer.param_groups[0]["lr"] = float(rate)
        weights.grad = torch.randn(20_000, generator=generator) - drift * outward
        optimizer.step()
        if step % every == 0:
            stds.append(float(weights.detach().square().mean().sqrt()))
    return trajectories({"q": [stds]}, list(range(0, STEPS + 1, every)))


@pytest.fixture(scope="module")
def noise() -> pd.DataFrame:
    return trained(0.0)


def test_noise_grows_with_the_square_of_the_rate_and_a_drift_with_the_rate(
    noise: pd.DataFrame,
) -> None:
    exponents = {}
    for name, std in (("noise", noise), ("drift", trained(1.0))):
        growth = growth_in_windows(std, RATES, DECAY, EDGES)
        exponents[name] = growth_exponents(growth, RATES)["q"]
    assert exponents["noise"] == pytest.approx(2, abs=0.15)
    assert 0.7 < exponents["drift"] < 1.3


def test_growth_of_noise_is_the_square_of_the_rate(noise: pd.DataFrame) -> None:
    growth = growth_in_windows(noise, RATES, DECAY, EDGES).loc[("q", 1)]
    squares = [np.mean(RATES[after:until] ** 2) for after, until in growth.index]
    np.testing.assert_allclose(growth, squares, rtol=0.1)


def test_growth_is_an_identity() -> None:
    """With every step recorded nothing is interpolated: what was put in comes out."""
    random = np.random.default_rng(0)
    rates, added = random.uniform(0, 0.01, 40), random.uniform(0, 1e-4, 40)
    square = [0.01]
    for rate, more in zip(rates, added, strict=True):
        square.append((1 - rate * 0.7) ** 2 * square[-1] + more)
    std = trajectories({"v": [np.sqrt(square)]}, list(range(41)))
    growth = growth_in_windows(std, rates, 0.7, [5, 9, 40]).loc[("v", 1)]
    assert list(growth.index) == [(5, 9), (9, 40)]
    np.testing.assert_allclose(growth, [added[5:9].mean(), added[9:].mean()], rtol=1e-10)


def test_growth_starts_where_the_record_does() -> None:
    std = trajectories({"v": [[0.1, 0.2, 0.3]]}, [10, 20, 30])
    rates = np.r_[np.full(10, 5.0), np.zeros(20)]  # before the record: not to be used
    growth = growth_in_windows(std, rates, 0.1, [10, 30])
    assert growth.iloc[0, 0] == pytest.approx((0.09 - 0.01) / 20)


def test_exponents_are_slopes_of_the_medians_and_nan_where_there_is_none() -> None:
    rates = np.repeat([0.04, 0.02, 0.01], 10)
    windows = pd.MultiIndex.from_tuples([(0, 10), (10, 20), (20, 30)], names=["after", "until"])
    index = pd.MultiIndex.from_tuples(
        [("k", 1), ("k", 2), ("k", 3), ("q", 1), ("v", 1)], names=["role", "layer"]
    )
    power = np.array([0.04, 0.02, 0.01]) ** 1.5
    rows = [power, 2 * power, [9.0, 1e-9, 9.0], [1.0, -1.0, 1.0], power * 3]
    found = growth_exponents(pd.DataFrame(rows, index, windows), rates)
    assert found["v"] == pytest.approx(1.5)
    assert math.isnan(found["q"])  # pulled back in one of the windows
    medians = np.median(np.array(rows[:3]), axis=0)
    assert found["k"] == pytest.approx(np.polyfit(np.log([4, 2, 1]), np.log(medians), 1)[0])
    assert growth_exponents(pd.DataFrame(rows, index, windows), np.ones(30)).isna().all()


def test_dumb_curves_start_where_the_matrix_does() -> None:
    std = trajectories({"q": [[0.1, 0.3, 0.2], [0.2, 0.2, 0.2]]}, [1, 2, 4])
    curves = baseline_curves(std, [9.0, 0.1, 0.2, 0.2])
    assert curves["no change"].loc[("q", 1)].tolist() == [0.1] * 3
    expected = np.sqrt(np.array([0.04, 0.05, 0.13]))
    np.testing.assert_allclose(curves["no decay"].loc[("q", 2)], expected)


def test_distances_are_of_logarithms_and_leave_out_the_start() -> None:
    std = trajectories({"q": [[7.0, 1.0, 2.0], [1.0, 1.0, 1.0]]}, [0, 1, 2])
    ones = pd.DataFrame(1.0, std.index, std.columns)
    found = curve_distances(std, {"one": ones, "two": 2 * ones})
    assert found.loc["q", "one"] == pytest.approx(np.log(2) / 4)
    assert found.loc["q", "two"] == pytest.approx((np.log(2) + 2 * np.log(2)) / 4)
    std.iloc[0, 1] = np.nan
    assert math.isnan(curve_distances(std, {"one": ones}).loc["q", "one"])


@pytest.mark.parametrize("edges", [[0, 5], [10, 0], [0], [0, 10, 10]])
def test_windows_lie_between_recorded_steps(edges: list[int]) -> None:
    std = trajectories({"q": [[0.1, 0.1, 0.1]]}, [0, 10, 20])
    with pytest.raises(UsageError, match="edges"):
        growth_in_windows(std, np.ones(20), 0.1, edges)


def test_what_does_not_fit_is_refused() -> None:
    std = trajectories({"q": [[0.1, 0.1, 0.1]]}, [0, 10, 20])
    with pytest.raises(UsageError, match="lr holds 5 learning rates"):
        growth_in_windows(std, np.ones(5), 0.1, [0, 10])
    one_window = growth_in_windows(std, np.ones(20), 0.1, [0, 10])
    with pytest.raises(UsageError, match="at least two windows"):
        growth_exponents(one_window, np.ones(20))
    with pytest.raises(UsageError, match="the curve 'x' must have the rows and columns of std"):
        curve_distances(std, {"x": std.iloc[:, :2]})


def test_errors_at_each_step_are_means_over_layers_and_distances_their_means() -> None:
    std = trajectories({"q": [[0.1, 0.2, 0.4], [0.1, 0.1, 0.1]]}, [0, 10, 20])
    flat = std * 0 + 0.1
    errors = curve_errors(std, flat)
    np.testing.assert_allclose(errors.loc["q"], np.log([1, 2, 4]) / 2, atol=1e-12)
    assert curve_distances(std, {"flat": flat})["flat"]["q"] == pytest.approx(
        errors.loc["q"].iloc[1:].mean()
    )
    with pytest.raises(UsageError, match="rows and columns of std"):
        curve_errors(std, flat.iloc[:, 1:])


def test_growth_is_named_by_the_rms_rate_of_its_window() -> None:
    rates = np.array([0.001, 0.003, 0.002, 0.002])
    windows = pd.MultiIndex.from_tuples([(0, 2), (2, 4)], names=["after", "until"])
    layers = pd.MultiIndex.from_product([["q"], [1, 2, 3]], names=["role", "layer"])
    growth = pd.DataFrame([[1.0, 2.0], [5.0, 4.0], [2.0, 9.0]], layers, windows)
    found = growth_by_rate(growth, rates)
    assert list(found.columns) == pytest.approx([math.sqrt(5e-6), 0.002])
    assert found.loc["q"].to_list() == [2.0, 4.0]
