"""The std that theory has for weight matrices whose gradients are noise."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weight_tables import trajectories

from initscope.analysis.noise import predicted_std
from initscope.errors import UsageError
from initscope.theory import adamw_variance_trajectory

# What an earlier test left unclosed may come to light here, whenever Python tidies up.
pytestmark = pytest.mark.filterwarnings("error", "default::pytest.PytestUnraisableExceptionWarning")

BETAS = (0.9, 0.999)


@settings(max_examples=15)
@given(
    starts=st.lists(st.floats(0, 1), min_size=1, max_size=4),
    steps=st.lists(st.integers(0, 60), min_size=1, max_size=5, unique=True).map(sorted),
    decay=st.floats(0, 1),
    beta1=st.floats(0, 0.99),
    seed=st.integers(0, 99),
)
def test_prediction_is_that_of_the_theory_for_each_matrix(
    starts: list[float], steps: list[int], decay: float, beta1: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    rates, diffusion = random.uniform(0, 0.01, 70), random.uniform(0, 3, len(starts))
    # All but the first column is to be ignored.
    std = {"q": [[start] + [math.nan] * (len(steps) - 1) for start in starts]}
    found = predicted_std(trajectories(std, steps), rates, decay, (beta1, 0.95), diffusion)
    assert list(found.columns) == steps
    first = steps[0]
    for layer, (start, of_matrix) in enumerate(zip(starts, diffusion, strict=True), start=1):
        curve = [start]
        if steps[-1] > first:
            variance = adamw_variance_trajectory(
                start, rates[first : steps[-1]], decay, (beta1, 0.95), diffusion=of_matrix
            )
            curve += list(np.sqrt(variance))
        expected = [curve[step - first] for step in steps]
        assert found.loc[("q", layer)].tolist() == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_steps_of_an_index_of_objects_are_steps_too() -> None:
    std = trajectories({"q": [[0.1, 0.2]]}, [0, 3])
    objects = std.set_axis(pd.Index([0, 3], dtype=object), axis=1)
    found = predicted_std(objects, [0.01] * 3, 0.1, BETAS)
    assert (found.to_numpy() == predicted_std(std, [0.01] * 3, 0.1, BETAS).to_numpy()).all()


def test_prediction_by_hand() -> None:
    # Without momentum each update adds eta^2, and decay takes its share.
    rates, std = [0.1, 0.2, 0.4], trajectories({"q": [[1.0, 9.0, 9.0]]}, [0, 1, 3])
    first = (1 - 0.1 * 0.5) ** 2 + 0.1**2
    third = ((first * 0.9**2) + 0.2**2) * 0.8**2 + 0.4**2
    found = predicted_std(std, rates, 0.5, (0.0, 0.9))
    assert found.loc[("q", 1)].tolist() == pytest.approx([1, first**0.5, third**0.5])
    # Learning rates are those of updates 1, 2, ..., wherever the table begins.
    found = predicted_std(std[[1, 3]] / 9, rates, 0.0, (0.0, 0.9))
    assert found.loc[("q", 1)].tolist() == pytest.approx([1, (1 + 0.2**2 + 0.4**2) ** 0.5])


def test_diffusion_finds_its_matrix() -> None:
    std = trajectories({"v": [[0.0, 1.0]], "q": [[0.0, 1.0]]}, [0, 1])
    growth = pd.Series([4.0, 9.0], pd.MultiIndex.from_tuples([("q", 1), ("v", 1)]))
    found = predicted_std(std, [0.1], 0.0, BETAS, growth)[1]
    assert (found["q", 1], found["v", 1]) == pytest.approx((0.2, 0.3))


def test_prediction_of_matrices_that_start_at_zero_or_diverged() -> None:
    std = trajectories({"q": [[0.0, 1.0], [math.nan, 1.0], [math.inf, 1.0]]}, [0, 1])
    found = predicted_std(std, [0.1], 0.1, BETAS).to_numpy()
    np.testing.assert_allclose(found, [[0, 0.1], [math.nan] * 2, [math.nan] * 2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": [0.1] * 4}, "lr holds 4 learning rates, but .* up to step 5"),
        ({"lr": 0.1}, "lr must hold the learning rate of each update"),
        ({"lr": []}, "lr holds 0 learning rates"),
        ({"lr": [-0.1] * 5}, "lr must be finite and at least 0"),
        ({"weight_decay": -1}, "weight_decay must be"),
        ({"betas": (1.0, 0.9)}, "beta1 must be"),
        ({"diffusion": -1.0}, "diffusion must be"),
        ({"diffusion": pd.Series({("k", 1): 1.0})}, "diffusion must not be NaN"),
    ],
)
def test_a_prediction_that_cannot_be_made(changes: dict, message: str) -> None:
    options = {"lr": [0.1] * 5, "weight_decay": 0.1, "betas": BETAS} | changes
    with pytest.raises(UsageError, match=message):
        predicted_std(trajectories({"q": [[1.0, 1.0]]}, [0, 5]), **options)


def test_the_gradients_of_a_run_shrink_its_steps_matrix_by_matrix() -> None:
    steps = [0, 50, 100]
    index = pd.MultiIndex.from_tuples([("q", 1), ("v", 1)], names=["role", "layer"])
    std = pd.DataFrame([[0.02, 0.03, 0.04], [0.05, 0.06, 0.07]], index, steps)
    # In another order, and one matrix more.
    gradients = pd.DataFrame(
        {("v", 1): [2.0, 4.0], ("k", 1): [9.0, 9.0], ("q", 1): [1.0, 1.0]}, [20, 60]
    ).T.rename_axis(["role", "layer"])
    lr = np.linspace(1e-2, 1e-3, 100)
    found = predicted_std(std, lr, 0.1, (0.9, 0.95), epsilon=1.0, gradient_rms=gradients)
    q = adamw_variance_trajectory(0.02, lr, 0.1, (0.9, 0.95), epsilon=1.0, gradient_rms=1.0)
    of_v = np.interp(np.arange(1, 101), [20, 60], [2.0, 4.0])
    v = adamw_variance_trajectory(0.05, lr, 0.1, (0.9, 0.95), epsilon=1.0, gradient_rms=of_v)
    np.testing.assert_allclose(found.loc["q", 1], [0.02, *np.sqrt(q[[49, 99]])], rtol=1e-12)
    np.testing.assert_allclose(found.loc["v", 1], [0.05, *np.sqrt(v[[49, 99]])], rtol=1e-12)
    with pytest.raises(UsageError, match="a row for each matrix"):
        predicted_std(std, lr, 0.1, (0.9, 0.95), gradient_rms=gradients.loc[["v"]])
    with pytest.raises(UsageError, match="give gradient_rms"):
        predicted_std(std, lr, 0.1, (0.9, 0.95), epsilon=1.0)
