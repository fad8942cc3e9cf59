"""The weight decay that trained weights show."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from initscope.errors import UsageError
from initscope.theory import adamw_variance_trajectory, implied_weight_decay
from initscope.theory.implied_decay import final_variance
from initscope.theory.learning_rates import SCHEDULES, learning_rates

LR = learning_rates(3e-3, "cosine", 1000, 50, 0.1)


@settings(max_examples=30)
@given(
    steps=st.integers(1, 300),
    decay=st.floats(0, 100),
    std0=st.floats(0, 1),
    beta1=st.floats(0, 0.99),
    seed=st.integers(0, 99),
)
def test_final_variance_is_the_last_of_the_trajectory(steps, decay, std0, beta1, seed):
    lr = np.random.default_rng(seed).uniform(1e-4, 0.01, steps)
    last = adamw_variance_trajectory(std0, lr, decay, (beta1, 0.95))[-1]
    assert final_variance(std0, lr, decay, beta1) == pytest.approx(last, rel=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("std0", [0.0, 0.02, 0.5])
@pytest.mark.parametrize("beta1", [0.0, 0.9])
def test_it_finds_the_decay_that_gave_the_std(schedule, std0, beta1):
    lr = learning_rates(3e-3, schedule, 800, 40, 0.1)
    decays = np.array([1e-4, 0.01, 0.1, 1.0, 10.0, 300.0])
    variance = adamw_variance_trajectory(std0, lr, decays[:, None], (beta1, 0.95))
    found = implied_weight_decay(np.sqrt(variance[:, -1]), std0, lr, (beta1, 0.95))
    np.testing.assert_allclose(found, decays, rtol=1e-5)


def test_it_finds_the_decay_of_torch():
    generator = torch.Generator().manual_seed(0)
    for decay in (0.3, 1.0, 3.0):
        weight = torch.nn.Parameter(0.02 * torch.randn(20_000, generator=generator))
        optimizer = torch.optim.AdamW([weight], betas=(0.9, 0.95), weight_decay=decay, eps=1e-12)
        for rate in LR:
            optimizer.param_groups[0]["lr"] = float(rate)
            weight.grad = torch.randn(20_000, generator=generator)
            optimizer.step()
        std = weight.detach().square().mean().sqrt().item()
        assert implied_weight_decay(std, 0.02, LR) == pytest.approx(decay, rel=0.06)


def test_no_decay_where_there_is_none():
    ends = np.sqrt(adamw_variance_trajectory(0.02, LR, [[0.0], [1 / LR.max()]], (0.9, 0.95)))[:, -1]
    most, least = ends
    assert np.isnan(implied_weight_decay([most * 1.001, least * 0.999], 0.02, LR)).all()
    inside = implied_weight_decay([most * 0.999, least * 1.001], 0.02, LR)
    assert (inside > 0).all()
    assert (inside < 1 / LR.max()).all()
    assert np.isnan(implied_weight_decay(0.02, 0.02, np.zeros(5)))


def test_intervals_turn_round_and_shapes_go_together():
    decays = implied_weight_decay([0.02, 0.03, 0.04], 0.02, LR)
    assert (np.diff(decays) < 0).all()
    both = implied_weight_decay([[0.02], [0.03]], [0.02, 0.1], np.stack([LR, 2 * LR]))
    assert both.shape == (2, 2)
    assert both[1, 0] == pytest.approx(decays[1], rel=1e-6)
    assert both[1, 1] == pytest.approx(implied_weight_decay(0.03, 0.1, 2 * LR), rel=1e-6)
    assert implied_weight_decay(0.03, 0.02, LR).shape == ()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: implied_weight_decay(0.0, 0.02, LR), "std must be above 0"),
        (lambda: implied_weight_decay(np.nan, 0.02, LR), "std must not be NaN"),
        (lambda: implied_weight_decay(0.02, -0.02, LR), "std0 must be finite"),
        (lambda: implied_weight_decay(0.02, 0.02, 1e-3), "one learning rate for each step"),
        (lambda: implied_weight_decay(0.02, 0.02, []), "one learning rate for each step"),
        (lambda: implied_weight_decay(0.02, 0.02, LR, (1.0, 0.9)), "beta1 must be"),
        (lambda: implied_weight_decay([0.02] * 3, [0.02] * 2, LR), "do not broadcast"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()
