"""Comparisons of schemes: closed forms, simulated differences, and real sweeps."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweeps import run

from initscope.analysis import COMPARED
from initscope.analysis.comparison import (
    _accuracy_curve,
    _area,
    compare,
    first_below,
    layer_ratios,
    loss_curve,
    run_measures,
)
from initscope.errors import UsageError
from initscope.sweep import Optimizer, SweepSpec

RATES = (0.01, 0.1)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return run(
        SweepSpec(
            hidden=((32, 16), (24,) * 4),
            stds=(1e6,),
            schemes=("xavier", "kaiming"),
            optimizers=tuple(Optimizer("sgd", rate) for rate in RATES),
            seeds=4,
            epochs=8,
            evaluations_per_epoch=2,
        )
    )


@pytest.fixture(scope="module")
def measures(table: pd.DataFrame) -> pd.DataFrame:
    return run_measures(table, losses=(0.8,), accuracies=(0.6, 0.99))


# --- What a run achieved -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "threshold", "expected"),
    [
        ([4, 2, 0], 3, 5),
        ([4, 2, 0], 2, 10),
        ([4, 2, 0], 0, 20),
        ([4, 2, 0], 9, 0),
        ([4, 2, 0], -1, math.inf),
        ([4, 2, 8, 0], 3, 5),  # the first time counts
        ([4, math.nan, 1], 2, 20),
        ([math.inf, 1], 2, 10),
        ([math.nan, math.nan], 2, math.inf),
        ([], 2, math.inf),
    ],
)
def test_the_first_time_below(values: list[float], threshold: float, expected: float) -> None:
    steps = 10.0 * np.arange(len(values))
    assert first_below(steps, np.array(values, float), threshold) == expected


@given(st.floats(0.01, 2), st.floats(0.05, 0.95))
def test_steps_to_a_loss_of_an_exponential_decay(rate: float, threshold: float) -> None:
    steps = np.linspace(0, 400, 40_001)
    found = first_below(steps, np.exp(-rate * steps), threshold)
    assert found == pytest.approx(-math.log(threshold) / rate, abs=0.01)


def test_points_of_the_loss_stand_in_the_middle_of_their_stretch() -> None:
    losses = 3.0 - 0.1 * np.arange(12)  # before update number 0, 1, ..., 11
    ends = np.array([2, 5, 12])
    means = [losses[a:b].mean() for a, b in itertools.pairwise([0, *ends])]
    record = SimpleNamespace(loss_step=ends, loss=means)
    steps, values = loss_curve(record)
    assert 3.0 - 0.1 * steps == pytest.approx(values)
    assert _area(record) == pytest.approx(losses.sum())
    record.loss = [1.0, math.nan, math.nan]
    assert _area(record) == math.inf


def test_accuracies_stand_where_they_were_taken(table: pd.DataFrame) -> None:
    (record,) = table[:1].itertuples()
    steps, values = _accuracy_curve(record)
    assert steps.tolist() == list(range(0, 33, 2))
    assert values[-1] == pytest.approx(record.test_accuracy, abs=1e-6)


def test_every_run_has_its_measures(table: pd.DataFrame, measures: pd.DataFrame) -> None:
    assert len(measures) == len(table) == 48
    assert set(measures["scheme"]) == {"normal(std=1000000.0)", "xavier", "kaiming"}
    assert (measures["n_steps"] == 32).all()
    huge = measures["scheme"].str.startswith("normal")
    assert (measures.loc[huge, "failed"] == 1).all()
    assert (measures.loc[~huge, "diverged"] == 0).all()
    assert set(measures.loc[~huge, "failed"]) == {0.0, 1.0}  # a small rate is too slow
    learned = measures[measures["test_accuracy"] >= 0.6]
    assert len(learned) > 10
    assert (learned["steps_to_accuracy_0.6"] <= 32).all()
    assert np.isfinite(measures.loc[~huge, "loss_area"]).all()
    assert np.isinf(measures.loc[huge & (measures["diverged"] == 1), "loss_area"]).all()
    for (_, record), (_, found) in zip(table.iterrows(), measures.iterrows(), strict=True):
        norms = record["gradient_norm"].reshape(-1, record["depth"])
        for name, at in (("start", 0), ("end", -1)):
            ratio = found[f"log10_gradient_ratio_{name}"]
            if not math.isnan(ratio):
                assert 10**ratio == pytest.approx(norms[at, 0] / norms[at, -1])


def test_only_unlearned_runs_are_at_chance(table: pd.DataFrame) -> None:
    made = table[table["scheme"] == "kaiming"][:3].copy()
    made["test_accuracy"] = [0.49, 0.51, 0.2]
    made["diverged_step"] = pd.array([None, None, 7], dtype="Int64")
    found = run_measures(made)
    assert found["at_chance"].tolist() == [1, 0, 0]  # a quarter of the way from 1/3 is 1/2
    assert found["diverged"].tolist() == [0, 0, 1]
    assert found["failed"].tolist() == [1, 0, 1]


def test_ratios_of_weight_stds_start_at_the_textbook_ratio(table: pd.DataFrame) -> None:
    ratios = layer_ratios(table, "kaiming", "xavier", "weight_std")
    assert len(ratios) == 2 * 4 * 6 * (3 + 5)
    for widths, group in ratios[ratios["step"] == 0].groupby("widths"):
        sizes = list(map(int, widths.split("-")))
        for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes), 1):
            expected = math.sqrt((fan_in + fan_out) / fan_in)
            found = group.loc[group["layer"] == layer, "ratio"]
            assert len(found) == 2 * 4
            assert found.to_numpy() == pytest.approx(expected, rel=1e-5)
    with pytest.raises(UsageError, match="no runs of scheme 'lecun'"):
        layer_ratios(table, "lecun", "xavier", "weight_std")


# --- Differences ---------------------------------------------------------------------------


def simulated(first: np.ndarray, second: np.ndarray) -> pd.DataFrame:
    """Measures of shape ``(rates, seeds)`` of two schemes in one configuration."""
    rows = []
    for scheme, values in (("a", first), ("b", second)):
        for (rate, seed), value in np.ndenumerate(np.atleast_2d(values)):
            configuration = dict.fromkeys(COMPARED, "x")
            rows.append(
                configuration
                | {"learning_rate": 10.0**rate, "scheme": scheme, "seed": seed, "score": value}
            )
    return pd.DataFrame(rows)


@pytest.mark.parametrize("n", [8, 10, 50])
def test_intervals_cover_the_mean_of_normal_differences_as_often_as_they_say(n: int) -> None:
    generator = np.random.default_rng(n)
    trials, covered = 150, 0
    for trial in range(trials):
        shared = generator.normal(0, 10, n)  # pairing removes what a seed does to both
        frame = simulated(shared + generator.normal(0.3, 1, n), shared)
        (row,) = compare(frame, "a", "b", "score", resamples=600, seed=trial).itertuples()
        covered += row.low <= 0.3 <= row.high
        assert row.high - row.low < 6 / math.sqrt(n) * 1.6
        assert row.covers_zero == (row.low <= 0 <= row.high)
    # Four standard errors of a share of 95% in so many trials.
    assert abs(covered / trials - 0.95) < 4 * math.sqrt(0.95 * 0.05 / trials)


def test_the_difference_is_the_mean_of_the_paired_differences() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, 12))
    (row,) = compare(simulated(a, b), "a", "b", "score").itertuples()
    (turned,) = compare(simulated(a, b), "b", "a", "score").itertuples()
    assert row.difference == pytest.approx((a - b).mean())
    assert (turned.difference, turned.low, turned.high) == pytest.approx(
        (-row.difference, -row.high, -row.low), abs=0.05
    )
    assert row.low < row.difference < row.high
    again = compare(simulated(a, b), "a", "b", "score")
    assert again.equals(compare(simulated(a, b), "a", "b", "score"))


def test_a_constant_difference_has_an_interval_of_no_width() -> None:
    b = np.random.default_rng(0).normal(size=9)
    (row,) = compare(simulated(b + 0.5, b), "a", "b", "score").itertuples()
    assert (row.low, row.high) == pytest.approx((0.5, 0.5))
    assert not row.covers_zero
    (row,) = compare(simulated(b, b), "a", "b", "score").itertuples()
    assert row.difference == row.low == row.high == 0
    assert row.covers_zero


def test_spreads_are_compared_as_stds() -> None:
    generator = np.random.default_rng(1)
    a, b = 3 * generator.normal(size=200), generator.normal(size=200)
    (row,) = compare(simulated(a, b), "a", "b", "score", statistic="std").itertuples()
    assert row.difference == pytest.approx(a.std(ddof=1) - b.std(ddof=1))
    assert 1.5 < row.low < 2 < row.high < 2.5


def test_each_scheme_at_its_own_best_rate() -> None:
    generator = np.random.default_rng(2)
    noise = generator.normal(0, 0.01, (2, 3, 20))
    a = np.array([[0.5], [0.9], [0.7]]) + noise[0]
    b = np.array([[0.8], [0.6], [0.1]]) + noise[1]
    frame = simulated(a, b)
    (row,) = compare(frame, "a", "b", "score", best_rate="highest").itertuples()
    assert (row.first_rate, row.second_rate) == (10.0, 1.0)
    assert row.difference == pytest.approx(a[1].mean() - b[0].mean())
    assert 0.09 < row.low < 0.1 < row.high < 0.11
    (row,) = compare(frame, "a", "b", "score", best_rate="lowest").itertuples()
    assert (row.first_rate, row.second_rate) == (1.0, 100.0)
    assert len(compare(frame, "a", "b", "score")) == 3


def test_what_is_not_finite_is_compared_by_medians_only() -> None:
    a = np.array([1.0, 2, 3, math.inf, 5])
    b = np.array([2.0, 3, 4, math.inf, 6])
    with pytest.raises(UsageError, match="take statistic='median'"):
        compare(simulated(a, b), "a", "b", "score")
    (row,) = compare(simulated(a, b), "a", "b", "score", statistic="median").itertuples()
    assert row.difference == -1
    assert row.low <= -1 <= row.high
    never = np.full(5, math.inf)
    (row,) = compare(simulated(never, never), "a", "b", "score", statistic="median").itertuples()
    assert (row.difference, row.low, row.high) == (0, 0, 0)


def test_a_real_sweep(measures: pd.DataFrame) -> None:
    found = compare(measures, "kaiming", "xavier", "loss_area")
    assert len(found) == 2 * len(RATES)
    assert (found["n_seeds"] == 4).all()
    steps = compare(measures, "kaiming", "xavier", "steps_to_accuracy_0.99")
    assert np.isfinite(steps["difference"]).all()
    assert (steps["first"] <= 32).all()
    # Each weight layer of equal width costs Xavier half of the variance, forward and backward.
    start = compare(measures, "kaiming", "xavier", "test_accuracy", best_rate="highest")
    assert set(start["first_rate"]) | set(start["second_rate"]) <= set(RATES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"first": "kaimin"}, "unknown scheme 'kaimin'. Did you mean 'kaiming'"),
        ({"measure": "loss"}, "unknown measure 'loss'"),
        ({"statistic": "mode"}, "unknown statistic 'mode'"),
        ({"best_rate": "best"}, "best_rate is 'highest', 'lowest' or None"),
        ({"level": 95}, "level must lie between 0 and 1, not 95"),
    ],
)
def test_bad_comparisons_are_one_clear_error(
    changes: dict, message: str, measures: pd.DataFrame
) -> None:
    arguments = {"first": "kaiming", "second": "xavier", "measure": "test_accuracy"} | changes
    with pytest.raises(UsageError, match=message):
        compare(measures, **arguments)


def test_seeds_that_have_no_partner(measures: pd.DataFrame) -> None:
    alone = measures[(measures["scheme"] != "xavier") | (measures["seed"] != 2)]
    with pytest.raises(UsageError, match="need the same seeds, at least two"):
        compare(alone, "kaiming", "xavier", "test_accuracy")
    with pytest.raises(UsageError, match="need the same seeds, at least two"):
        compare(measures[measures["seed"] == 0], "kaiming", "xavier", "test_accuracy")
