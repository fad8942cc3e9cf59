"""The loss of a predictor that sees the token before alone."""

import itertools

import numpy as np
import pytest

from initscope.data import bigram_loss, bigrams
from initscope.errors import UsageError


def test_it_is_the_entropy_of_a_chain_whose_steps_depend_on_the_step_before() -> None:
    random = np.random.default_rng(0)
    chances = np.array([[0.9, 0.1, 0.0], [0.0, 0.5, 0.5], [0.2, 0.2, 0.6]])
    chain = [0]
    for draw in random.random(200_000):
        chain.append(int(np.searchsorted(chances[chain[-1]].cumsum(), draw)))
    tokens = np.array(chain, np.uint16)
    stationary = np.bincount(tokens) / len(tokens)
    entropy = -(stationary @ (chances * np.log(np.where(chances, chances, 1))).sum(axis=1))
    found = bigram_loss([tokens[:150_000]], [tokens[150_000:]], 3)
    assert found == pytest.approx(entropy, abs=0.01)
    assert found < -(stationary * np.log(stationary)).sum() - 0.1


def test_sources_and_parts_are_counted_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    first, second = random.integers(0, 5, 100), random.integers(0, 5, 63)
    whole = bigram_loss([first, second], [second, first], 5)
    monkeypatch.setattr(bigrams, "AT_ONCE", 7)
    assert bigram_loss([first, second], [second, first], 5) == pytest.approx(whole)
    counts = np.ones((5, 5))
    for source in (first, second):
        np.add.at(counts, (source[:-1], source[1:]), 1)
    losses = -np.log(counts / counts.sum(axis=1, keepdims=True))
    pairs = [losses[a, b] for s in (first, second) for a, b in itertools.pairwise(s)]
    assert whole == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize("tokens", [np.array([0, 3]), np.array([-1, 0]), np.array([0.0, 1.0]), [0]])
def test_what_is_no_token_is_refused(tokens) -> None:
    with pytest.raises(UsageError, match="arrays of whole numbers from 0 to 2"):
        bigram_loss([tokens], [np.array([0, 1])], 3)


def test_there_must_be_something_to_measure_on_and_room_for_the_pairs() -> None:
    with pytest.raises(UsageError, match="two tokens in a row"):
        bigram_loss([np.array([0, 1])], [np.array([0])], 2)
    with pytest.raises(UsageError, match="vocab_size"):
        bigram_loss([np.array([0, 1])], [np.array([0, 1])], 50257)
