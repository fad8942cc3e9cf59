"""Schedules of the learning rate."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from initscope.errors import UsageError
from initscope.pretrain import PretrainSpec
from initscope.theory.learning_rates import SCHEDULES, learning_rates


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_rises_to_its_peak_and_ends_where_it_says(schedule: str) -> None:
    rates = learning_rates(2.0, schedule, 1000, warmup=10, final=0.1)
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) / 5, rtol=1e-2)
    assert rates.max() == pytest.approx(2.0, rel=1e-5)
    assert rates[-1] == pytest.approx(2.0 if schedule == "constant" else 0.2)
    assert (np.diff(rates[10:]) <= 0).all()
    assert rates[799] == pytest.approx(
        2.0 if schedule in ("constant", "wsd") else rates[799], rel=1e-12
    )


def test_each_schedule_in_its_formula() -> None:
    """After a warm-up: 80% of the run at the peak, or all of it on the way down."""
    step = np.array([10, 250, 505, 800, 900, 990, 1000])
    done = (step - 10) / 990
    formulas = {
        "constant": np.ones(7),
        "cosine": (1 + np.cos(np.pi * done)) / 2,
        "linear": 1 - done,
        "wsd": np.array([1, 1, 1, 1, 0.5, 0.05, 0]),
    }
    assert set(formulas) == set(SCHEDULES)
    for schedule, left in formulas.items():
        rates = learning_rates(3.0, schedule, 1000, warmup=10, final=0.2)
        np.testing.assert_allclose(rates[step - 1], 3 * (0.2 + 0.8 * left), rtol=1e-12)


@given(st.integers(1, 400), st.integers(0, 400), st.floats(1e-6, 1.0), st.floats(0.0, 2.0))
def test_a_pretraining_has_to_the_bit_the_cosine_of_the_recorded_runs(
    steps: int, warmup: int, peak: float, last: float
) -> None:
    warmup = min(warmup, steps)
    spec = PretrainSpec(
        text="stdlib",
        steps=steps,
        warmup_steps=warmup,
        learning_rate=peak,
        final_learning_rate=peak * min(last, 1.0),
    )
    share = spec.final_learning_rate / peak

    def recorded(step: int) -> float:
        """As the runs of chapter 07 were trained."""
        if step <= warmup:
            return step / warmup
        done = min(1.0, (step - warmup) / max(1, steps - warmup))
        return share + (1 - share) * (1 + math.cos(math.pi * done)) / 2

    factors = [recorded(step) for step in range(1, steps + 2)]
    assert spec.learning_rates().tolist() == [peak * factor for factor in factors[:steps]]
    # The trainer asks for one at a time, and once more after the last.
    assert [spec.learning_rate_factor(k) for k in range(steps + 1)] == factors


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(UsageError, match=r"unknown schedule 'cosin'. Did you mean 'cosine'"):
        learning_rates(1.0, "cosin", 10)
