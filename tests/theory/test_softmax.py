"""Softmax over random logits, against simulation and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from initscope.errors import UsageError
from initscope.monte_carlo import draw_participation
from initscope.theory import (
    attention_logit_variance,
    attention_participation,
    critical_logit_std,
    initial_loss,
)


@pytest.mark.parametrize("std", [0.1, 1.0, 4.0, 20.0])
def test_two_keys_in_closed_form(std):
    """With two keys p is a logistic function of the difference of two logits."""

    def integrand(u):
        return (1 + np.tanh(std * u / 2**0.5) ** 2) / 2 * np.exp(-u * u / 2) / (2 * np.pi) ** 0.5

    expected = quad(integrand, -12, 12, points=[0], limit=200)[0]
    assert attention_participation(2, std) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("keys", [5, 64, 700])
@pytest.mark.parametrize("std", [0.5, 1.5, 3.0, 8.0])
def test_as_simulated(keys, std):
    found = draw_participation(keys, std, 4000, seed=keys)
    error = found.std() / np.sqrt(len(found))
    assert abs(found.mean() - attention_participation(keys, std)) < 4 * error


def test_ends_and_limits():
    assert attention_participation(7, 0.0) == pytest.approx(1 / 7)
    assert attention_participation(1, 2.0) == 1
    keys = 10**6
    assert critical_logit_std(keys) == pytest.approx(np.sqrt(12 * np.log(10)))
    for std in (0.3, 1.0, 1.5):
        limit = attention_participation(keys, std, limit=True)
        assert limit == pytest.approx(np.exp(std**2) / keys)
        assert attention_participation(keys, std) == pytest.approx(limit, rel=0.01)
    assert np.isnan(attention_participation(keys, 4.0, limit=True))
    # The frozen limit is approached slowly, as ln ln T / ln T.
    frozen = [attention_participation(k, 4 * critical_logit_std(k)) for k in (10, 1000, 10**9)]
    off = np.abs(np.array(frozen) - 0.75)
    assert (np.diff(off) < 0).all()
    assert off[-1] < 0.03


def test_a_head_of_many_channels_has_independent_logits_and_one_of_few_has_not():
    """Logits q.k / sqrt(d_h), here by hand from queries and keys."""
    rng = np.random.default_rng(0)
    query, key = rng.standard_normal((4000, 1, 4)), rng.standard_normal((4000, 20, 4))
    logits = 1.5 * (query * key).sum(-1) / 2
    weights = np.exp(logits)
    squares = ((weights / weights.sum(1, keepdims=True)) ** 2).sum(1)
    of_head, alone = (
        draw_participation(20, 1.5, 20_000, head_dim=channels) for channels in (4, None)
    )
    assert of_head.mean() == pytest.approx(squares.mean(), rel=0.04)
    assert alone.mean() != pytest.approx(squares.mean(), rel=0.04)
    many = draw_participation(20, 1.5, 20_000, head_dim=10**6, seed=1)
    assert many.mean() == pytest.approx(alone.mean(), rel=0.02)


def test_the_initial_loss_is_that_of_random_logits():
    rng = np.random.default_rng(0)
    z = 0.8 * rng.standard_normal((4000, 100))
    loss = (np.log(np.exp(z).sum(1)) - z.mean(1)).mean()
    assert initial_loss(100, 64, 0.1) == pytest.approx(loss, abs=0.005)
    # Channels of mean square 1/4 and weights of twice the std: the same logits.
    assert initial_loss(100, 64, 0.2, input_variance=0.25) == initial_loss(100, 64, 0.1)
    assert initial_loss(100, 64, 0.0) == pytest.approx(np.log(100))
    assert attention_logit_variance(64, 0.1) == pytest.approx(0.64**2)
    with pytest.raises(UsageError, match="a few tokens carry"):
        initial_loss(100, 64, 0.2)


@pytest.mark.parametrize(("keys", "std"), [(0, 1.0), (4, -1.0), (4, 31.0), (2.5, 1.0)])
def test_what_is_refused(keys, std):
    with pytest.raises(UsageError):
        attention_participation(keys, std)


def test_a_billion_keys_are_the_most():
    assert critical_logit_std(10**9) == pytest.approx(np.sqrt(18 * np.log(10)))
    for compute in (critical_logit_std, lambda keys: attention_participation(keys, 1.0)):
        with pytest.raises(UsageError, match=r"1(e\+09|,000,000,000), not 1000000001"):
            compute(10**9 + 1)
