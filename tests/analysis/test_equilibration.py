"""What became of the layers: order, spread and shape, from tables made by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from initscope.analysis import equilibration, order_of_layers, tail_shape
from initscope.errors import UsageError

LAYERS = 4


def run_of(growth, noise=0.0, seed=0):
    """A run whose layers grow by these factors over 10 updates and stay there: role -> factors."""
    rows = {}
    jitter = np.random.default_rng(seed)
    for role, factors in growth.items():
        for layer, factor in enumerate(factors, 1):
            end = 0.02 * factor * np.exp(noise * jitter.standard_normal())
            rows[role, layer] = [0.02, end, end]
    index = pd.MultiIndex.from_tuples(rows, names=["role", "layer"])
    return pd.DataFrame(list(rows.values()), index, pd.Index([0, 10, 20], name="step"))


GROWTH = {"q": [2.0, 1.8, 1.6, 1.4], "k": [1.1, 1.2, 1.3, 1.4], "v": [1.3, 1.3001, 1.3002, 1.3]}


def test_shallow_first_and_narrow_are_said_of_each_role():
    found = equilibration([run_of(GROWTH)] * 3, 10, narrow=1.3)
    assert list(found.index) == ["q", "k", "v"]
    assert found["order"].to_list() == pytest.approx([-1.0, 1.0, found["order"]["v"]])
    assert found["shallow_first"].to_list() == [True, False, False]
    assert found["spread"].to_list() == pytest.approx([2.0 / 1.4, 1.4 / 1.1, 1.3002 / 1.3])
    assert found["narrow"].to_list() == [False, True, True]


def test_one_seed_of_many_makes_a_band_wide():
    wide = run_of(GROWTH | {"k": [1.0, 1.2, 1.3, 1.4]})
    found = equilibration([run_of(GROWTH), wide], 10, narrow=1.3)
    assert not found.loc["k", "narrow"]
    assert found.loc["k", "spread"] == pytest.approx((1.4 / 1.1 + 1.4) / 2)


def test_the_interval_is_students_over_the_seeds():
    seeds = [run_of(GROWTH, noise=0.2, seed=seed) for seed in range(4)]
    found = order_of_layers(seeds, 10)
    of_q = [
        stats.spearmanr(range(LAYERS), np.log(run.loc["q", 10] / run.loc["q", 0])).statistic
        for run in seeds
    ]
    low, high = stats.t.interval(0.95, 3, np.mean(of_q), stats.sem(of_q))
    assert found.loc["q"].to_list() == pytest.approx([np.mean(of_q), low, high])


def test_a_single_seed_proves_nothing():
    found = equilibration([run_of(GROWTH)], 10, narrow=1.3)
    assert not found["shallow_first"].any()


def variances_of(samples):
    """Rows as a tracker writes them, of weights at each step."""
    rows = []
    for step, sample in samples.items():
        statistics = {
            "kurtosis": stats.kurtosis(sample, fisher=False),
            "quantile_0.001": np.quantile(sample, 0.001),
            "quantile_0.999": np.quantile(sample, 0.999),
            "std": sample.std(),
        }
        rows += [(step, 7, "q", "weight", name, value) for name, value in statistics.items()]
    return pd.DataFrame(rows, columns=["step", "layer", "role", "kind", "stat", "value"])


def test_tails_are_those_of_the_distribution():
    quantiles = (np.arange(200_000) + 0.5) / 200_000
    normal, laplace = stats.norm.ppf(quantiles), stats.laplace.ppf(quantiles)
    found = tail_shape(variances_of({0: 0.3 * normal, 50: laplace}), "q", 7)
    assert list(found.index) == [0, 50]
    assert found["kurtosis"].to_list() == pytest.approx([3.0, 6.0], rel=5e-3)
    expected = stats.laplace.ppf(0.999) / np.sqrt(2) / stats.norm.ppf(0.999)
    assert found["tail"].to_list() == pytest.approx([1.0, expected], rel=1e-3)


def test_what_is_not_there_is_said():
    table = variances_of({0: np.arange(10.0)})
    with pytest.raises(UsageError, match="layer must be one of '7'"):
        tail_shape(table, "q", 3)
    with pytest.raises(UsageError, match="stds must hold at least 1"):
        order_of_layers([], 10)
    with pytest.raises(UsageError, match="narrow"):
        equilibration([run_of(GROWTH)], 10, narrow=0.5)
