"""Schedules of the learning rate."""

from __future__ import annotations

import numpy as np
import pytest

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


def test_a_pretraining_has_the_cosine() -> None:
    spec = PretrainSpec(
        text="stdlib", steps=50, warmup_steps=7, learning_rate=3e-3, final_learning_rate=3e-4
    )
    expected = learning_rates(3e-3, "cosine", 50, warmup=7, final=0.1)
    np.testing.assert_allclose(spec.learning_rates(), expected, rtol=1e-12)


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(UsageError, match=r"unknown schedule 'cosin'. Did you mean 'cosine'"):
        learning_rates(1.0, "cosin", 10)
