"""Trajectories of weight matrices: closed forms, plain loops, and training on noise."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from weight_tables import ANY_STD, STD, rows, tables, trajectories

from initscope.analysis.trajectories import (
    depth_correlation,
    expansion_rates,
    growth_since_start,
    layer_spread,
    order_of_layers,
    over_layers,
    settling_steps,
    statistic_table,
    tail_shape,
    weight_std,
)
from initscope.errors import UsageError
from initscope.schema import COLUMNS

# What an earlier test left unclosed may come to light here, whenever Python tidies up.
pytestmark = pytest.mark.filterwarnings("error", "default::pytest.PytestUnraisableExceptionWarning")

BETAS = (0.9, 0.999)


# --- From the table of a tracker -----------------------------------------------------------


def test_a_table_in_any_order() -> None:
    steps = [0, 3, 10]
    values = {"q": [[1, 2, 3], [4, 5, 6]], "v": [[7, 8, 9], [10, 11, 12]]}
    others = rows(values, steps, stat="rms"), rows(values, steps, kind="gradient")
    shuffled = pd.concat([rows(values, steps), *others]).sample(frac=1, random_state=0)
    found = weight_std(shuffled)
    assert list(found.columns) == steps
    assert list(found.index) == [("q", 1), ("q", 2), ("v", 1), ("v", 2)]
    assert found.index.names == ["role", "layer"]
    assert found.loc["v"].to_numpy().tolist() == values["v"]
    assert list(weight_std(shuffled, ["v", "q"]).index) == [("v", 1), ("v", 2), ("q", 1), ("q", 2)]
    pd.testing.assert_frame_equal(weight_std(shuffled, ["v"]), found.loc[["v"]])
    pd.testing.assert_frame_equal(statistic_table(shuffled, "gradient", "std"), found)


def test_layers_are_in_the_order_of_their_numbers() -> None:
    found = weight_std(rows({"q": [[float(n)] for n in range(1, 13)]}, [0]))
    assert list(found.index.get_level_values("layer")) == list(range(1, 13))


def test_embeddings_are_layer_0_and_what_was_not_recorded_is_nan() -> None:
    embedding = rows({"token_embedding": [[1.0, 2.0]]}, [0, 5]).assign(layer=0)
    found = weight_std(pd.concat([rows({"q": [[1.0]]}, [5]), embedding]))
    assert found.loc[("token_embedding", 0)].tolist() == [1, 2]
    assert np.isnan(found.loc[("q", 1), 0])
    assert found.loc[("q", 1), 5] == 1


ONE = rows({"q": [[1.0]], "mlp_in": [[1.0]]}, [0])


@pytest.mark.parametrize(
    ("table", "roles", "message"),
    [
        (ONE.drop(columns="layer"), None, "the table variances has no column layer"),
        (pd.DataFrame(), None, "no column step, layer, role, kind, stat, value"),
        (ONE.head(0), None, "no rows of kind 'weight' and stat 'std'"),
        (ONE.assign(kind="gradient"), None, "no rows of kind 'weight' and stat 'std'"),
        (ONE.assign(stat="rms"), None, "no rows of kind 'weight' and stat 'std'"),
        (ONE, ["q", "k"], "unknown role 'k'.*Valid: mlp_in, q"),
        (ONE, ["mlp_im"], "Did you mean 'mlp_in'"),
        (ONE, [], "roles is empty"),
        (pd.concat([ONE, ONE]), None, "several rows .* give the table of one run"),
    ],
)
def test_a_table_that_cannot_be_used(table: pd.DataFrame, roles: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        weight_std(table, roles)


# --- Expansion -----------------------------------------------------------------------------


@settings(max_examples=15)
@given(start=STD, rate=st.floats(-0.5, 0.5), first=st.integers(0, 1000), length=st.integers(1, 500))
def test_the_rate_of_an_exponential(start: float, rate: float, first: int, length: int) -> None:
    steps = [first, first + length, first + 2 * length]
    std = [start * math.exp(rate * (step - first) / 100) for step in steps]
    found = trajectories({"q": [std]}, steps)
    for until in steps[1:]:
        assert expansion_rates(found, until)["q", 1] == pytest.approx(rate, abs=1e-9)


def test_rates_of_unlikely_matrices() -> None:
    std = [[0, 1], [0, 0], [1, 0], [1, math.nan], [math.nan, 1], [1, math.inf], [1, 1]]
    found = expansion_rates(trajectories({"q": std}, [0, 100]), 100)
    expected = [math.inf, math.nan, -math.inf, math.nan, math.nan, math.inf, 0.0]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("until", [0, 50, 300, -100, 100.5, "100"])
def test_a_rate_up_to_a_step_that_was_not_recorded(until: Any) -> None:
    table = trajectories({"q": [[1.0, 2.0, 3.0]]}, [0, 100, 200])
    with pytest.raises(UsageError, match=r"not recorded after step 0.* 3 steps up to 200"):
        expansion_rates(table, until)
    with pytest.raises(UsageError, match="not recorded after step 0"):
        expansion_rates(table[[0]], 0)


# --- Settling ------------------------------------------------------------------------------


@settings(max_examples=15)
@given(std=tables(), tolerance=st.floats(0, 0.99))
def test_settling_is_what_a_loop_finds(std: pd.DataFrame, tolerance: float) -> None:
    found = settling_steps(std, tolerance)
    assert list(found.index) == list(std.index)
    for matrix, curve in zip(std.index, std.to_numpy().tolist(), strict=True):
        expected = math.nan
        for place in reversed(range(len(curve))):  # backwards, as long as it is near
            if not abs(curve[place] - curve[-1]) <= tolerance * curve[-1]:
                break
            expected = std.columns[place]
        if math.isinf(curve[-1]):
            expected = math.nan
        np.testing.assert_equal(found[matrix], expected)


def test_settling_of_an_exponential() -> None:
    # exp(-t/20) is 0.05 at t = 59.9.
    steps = list(range(0, 1001, 10))
    table = trajectories({"q": [[1 - math.exp(-t / 20) for t in steps], [2.0] * 101]}, steps)
    assert settling_steps(table).tolist() == [60, 0]
    assert settling_steps(table, 0.5).tolist() == [20, 0]


@pytest.mark.parametrize("tolerance", [-0.1, 1, math.nan, True, "0.1", None])
def test_a_tolerance_that_is_no_share(tolerance: Any) -> None:
    with pytest.raises(UsageError, match="tolerance must be a number from 0 to below 1"):
        settling_steps(trajectories({"q": [[1.0]]}, [0]), tolerance)


# --- Spread and order over the layers ------------------------------------------------------


@settings(max_examples=15)
@given(std=tables())
def test_spread_is_largest_over_smallest(std: pd.DataFrame) -> None:
    found = layer_spread(std)
    assert list(found.columns) == list(std.columns)
    assert list(found.index) == list(dict.fromkeys(std.index.get_level_values("role")))
    for role, step in itertools.product(found.index, found.columns):
        values = std.loc[role][step].tolist()
        low, high = min(values), max(values)
        if any(map(math.isnan, values)) or low == high in (0, math.inf):
            expected = math.nan
        else:
            expected = math.inf if low == 0 else high / low
        np.testing.assert_equal(found.loc[role, step], expected)


def ranks(values: Any) -> np.ndarray:
    """1 for the smallest; what is the same shares the mean of its ranks."""
    return np.array(
        [sum(v < value for v in values) + (sum(v == value for v in values) + 1) / 2
         for value in values]
    )  # fmt: skip


@settings(max_examples=15)
@given(values=st.lists(ANY_STD | st.integers(0, 3).map(float), min_size=1, max_size=12))
def test_depth_correlation_is_that_of_the_ranks(values: list[float]) -> None:
    table = trajectories({"v": [[value] for value in values], "q": [[1.0], [2.0]]}, [0])
    found = depth_correlation(table[0])
    assert list(found.index) == ["v", "q"]
    assert found["q"] == pytest.approx(1)
    if any(map(math.isnan, values)) or len(set(values)) == 1:
        assert math.isnan(found["v"])
        return
    layer, value = (r - r.mean() for r in (np.arange(len(values)), ranks(values)))
    expected = layer @ value / math.sqrt((layer @ layer) * (value @ value))
    assert found["v"] == pytest.approx(expected, abs=1e-12)


def test_depth_correlation_of_rows_in_any_order() -> None:
    falling = trajectories({"q": [[9.0 - n] for n in range(8)], "k": [[1.0]] * 8}, [0])[0]
    found = depth_correlation(falling.sample(frac=1, random_state=1))
    assert found["q"] == pytest.approx(-1)
    assert math.isnan(found["k"])


# --- Over the layers, and since the start --------------------------------------------------


@settings(max_examples=25)
@given(std=tables(STD))
def test_over_layers_is_what_numpy_finds_of_each_role(std: pd.DataFrame) -> None:
    found = over_layers(std)
    for role, table in std.groupby(level="role"):
        values = table.to_numpy()
        for name, reduce in (("low", np.min), ("median", np.median), ("high", np.max),
                             ("mean", np.mean)):  # fmt: skip
            assert found.loc[(name, role)].to_list() == pytest.approx(list(reduce(values, axis=0)))
    assert list(found.columns) == list(std.columns)
    assert list(found.loc["low"].index) == list(dict.fromkeys(std.index.get_level_values("role")))


def test_layers_without_a_std_do_not_count() -> None:
    found = over_layers(trajectories({"q": [[0.1], [math.nan], [0.3]], "k": [[math.nan]] * 3}, [0]))
    assert found[0]["low", "q"] == 0.1
    assert found[0]["mean", "q"] == pytest.approx(0.2)
    assert found.xs("k", level="role").isna().all(axis=None)


@settings(max_examples=25)
@given(std=tables(STD))
def test_growth_since_the_start(std: pd.DataFrame) -> None:
    found = growth_since_start(std)
    assert (found.iloc[:, 0] == 1).all()
    again = found.mul(std.iloc[:, 0], axis=0)
    pd.testing.assert_frame_equal(again, std)


def test_growth_from_zero_is_no_number() -> None:
    found = growth_since_start(trajectories({"q": [[0.0, 1.0], [0.0, 0.0]]}, [0, 5]))
    np.testing.assert_equal(found[5].to_numpy(), [math.inf, math.nan])


@pytest.mark.parametrize("function", [over_layers, growth_since_start])
def test_what_is_no_table_of_stds_is_refused(function: Any) -> None:
    good = trajectories({"q": [[0.1, 0.2]]}, [0, 5])
    for bad, message in (
        (good.reset_index(), "must be indexed by role and layer"),
        (good.iloc[:0], "has no rows"),
        (good.astype(str), "must hold numbers"),
        (pd.concat([good, good]), "two rows or columns of one name"),
    ):
        with pytest.raises(UsageError, match=message):
            function(bad)
    with pytest.raises(UsageError, match="has no columns"):
        growth_since_start(good.iloc[:, :0])


# --- Order by depth, over seeds ------------------------------------------------------------

GROWTH = {"q": [2.0, 1.8, 1.6, 1.4], "k": [1.1, 1.2, 1.3, 1.4]}
"""By what factors the layers grow in the first 10 updates."""


def run_of(seed: int, noise: float = 0.2) -> pd.DataFrame:
    """A run whose layers grow over 10 updates, more or less by `GROWTH`, and stay there."""
    jitter = np.random.default_rng(seed)
    ends = {
        role: 0.02 * np.multiply(factors, np.exp(noise * jitter.standard_normal(4)))
        for role, factors in GROWTH.items()
    }
    return trajectories(
        {role: [[0.02, end, end] for end in ends[role]] for role in ends}, [0, 10, 20]
    )


def test_the_order_is_that_of_the_ranks() -> None:
    assert order_of_layers([run_of(0, noise=0.0)] * 3, 10)["order"].to_dict() == {
        "q": pytest.approx(-1.0),
        "k": pytest.approx(1.0),
    }


def test_the_interval_of_an_order_is_students_over_the_seeds() -> None:
    seeds = [run_of(seed) for seed in range(4)]
    of_q = [
        stats.spearmanr(range(4), np.log(run.loc["q", 10] / run.loc["q", 0])).statistic
        for run in seeds
    ]
    low, high = stats.t.interval(0.95, 3, np.mean(of_q), stats.sem(of_q))
    found = order_of_layers(seeds, 10).loc["q"]
    assert found.to_list() == pytest.approx([np.mean(of_q), low, high])
    with pytest.raises(UsageError, match="stds must hold at least 1"):
        order_of_layers([], 10)


# --- Tails -----------------------------------------------------------------------------------


def variances_of(samples: dict[int, np.ndarray]) -> pd.DataFrame:
    """Rows as a tracker writes them, of weights at each step."""
    found = []
    for step, sample in samples.items():
        statistics = {
            "kurtosis": stats.kurtosis(sample, fisher=False),
            "quantile_0.001": np.quantile(sample, 0.001),
            "quantile_0.999": np.quantile(sample, 0.999),
            "std": sample.std(),
        }
        found += [(step, 7, "q", "weight", name, value) for name, value in statistics.items()]
    return pd.DataFrame(found, columns=list(COLUMNS))


def test_tails_are_those_of_the_distribution() -> None:
    quantiles = (np.arange(200_000) + 0.5) / 200_000
    normal, laplace = stats.norm.ppf(quantiles), stats.laplace.ppf(quantiles)
    found = tail_shape(variances_of({0: 0.3 * normal, 50: laplace}), "q", 7)
    assert list(found.index) == [0, 50]
    assert found["kurtosis"].to_list() == pytest.approx([3.0, 6.0], rel=5e-3)
    expected = stats.laplace.ppf(0.999) / np.sqrt(2) / stats.norm.ppf(0.999)
    assert found["tail"].to_list() == pytest.approx([1.0, expected], rel=1e-3)


def test_tails_of_a_matrix_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="layer must be one of '7'"):
        tail_shape(variances_of({0: np.arange(10.0)}), "q", 3)
