"""Bands of stds that train, on tables made by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from initscope.analysis import (
    PAPER_BAND,
    after_epoch,
    band_cases,
    edge_cases,
    stability_bands,
)
from initscope.analysis.sweeps import CONFIGURATION
from initscope.errors import UsageError
from initscope.sweep import SweepSpec, run_sweep


def table(accuracies: dict[float, list[float]], **changes: object) -> pd.DataFrame:
    """A sweep: for each std the final test accuracies of its seeds, ten classes."""
    configuration = {
        "dataset": "digits",
        "widths": "64-8-10",
        "depth": 2,
        "activation": "relu",
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "momentum": 0.0,
        "batch_size": 32,
        "n_train": 1347,
        "epochs": 3,
        "scheme": "normal",
    }
    return pd.DataFrame(
        [
            configuration | {"std": std, "seed": seed, "test_accuracy": accuracy} | changes
            for std, of_seeds in accuracies.items()
            for seed, accuracy in enumerate(of_seeds)
        ]
    )


def band(accuracies: dict[float, list[float]], **options: object) -> pd.Series:
    bands = stability_bands(table(accuracies), **options)
    assert len(bands) == 1
    return bands.iloc[0]


def between(first: float, second: float) -> float:
    """The edge between two stds, one of which trains: their geometric mean."""
    return pytest.approx(math.sqrt(first * second))


def test_a_band_inside_the_grid() -> None:
    found = band({0.001: [0.1], 0.01: [0.9], 0.1: [0.92], 1.0: [0.91], 10.0: [0.0]})
    assert found["low"] == between(0.001, 0.01)
    assert found["high"] == between(1, 10)
    assert (found["best_std"], found["best_accuracy"]) == (0.1, 0.92)
    assert found["decades"] == pytest.approx(3)
    assert not found["open_low"]
    assert not found["open_high"]
    assert found["paper_share"] == 1.0


def test_the_edge_is_where_the_tolerance_says() -> None:
    # From chance, 0.1, to the best, 0.9: 95% of the way is 0.86.
    accuracies = {0.01: [0.8599], 0.02: [0.8601], 0.03: [0.9], 0.04: [0.5]}
    found = band(accuracies, tolerance=0.05)
    assert (found["low"], found["high"]) == (between(0.01, 0.02), between(0.03, 0.04))
    assert band(accuracies, tolerance=0.06)["open_low"]
    assert band(accuracies, tolerance=0.5)["open_high"]
    assert band(accuracies, tolerance=0.001)["low"] == between(0.02, 0.03)


def test_a_gap_ends_the_band_on_the_side_of_the_best() -> None:
    found = band({0.01: [0.9], 0.02: [0.9], 0.03: [0.2], 0.04: [0.95], 0.05: [0.94], 0.06: [0.1]})
    assert (found["low"], found["high"]) == (between(0.03, 0.04), between(0.05, 0.06))
    share = math.log10(found["high"] / found["low"])
    assert found["paper_share"] == pytest.approx(share)


def test_open_ends() -> None:
    found = band({0.01: [0.9], 0.1: [0.92], 1.0: [0.3]})
    assert (found["open_low"], found["open_high"]) == (True, False)
    found = band({0.01: [0.3], 0.1: [0.92], 1.0: [0.9]})
    assert (found["open_low"], found["open_high"]) == (False, True)
    found = band({0.01: [0.91], 0.1: [0.92], 1.0: [0.9]})
    assert (found["open_low"], found["open_high"]) == (True, True)
    assert (found["low"], found["high"]) == (0.01, 1.0)
    assert band({0.0: [0.91], 0.1: [0.92], 1.0: [0.1]})["low"] == 0.0
    assert band({0.0: [0.11], 0.1: [0.92], 1.0: [0.1]})["low"] == 0.0  # no mean with 0


@pytest.mark.parametrize("accuracy", [0.0, 0.1, 0.54])
def test_nothing_trains(accuracy: float) -> None:
    found = band({0.01: [0.1, 0.1], 0.1: [accuracy] * 2, 1.0: [0.1, 0.1]})
    ends = ["low", "high", "decades", "low_from", "low_to", "high_from", "high_to"]
    assert found[ends].isna().all()
    assert found["paper_share"] == 0.0
    assert not found["open_low"]
    assert not found["open_high"]


def test_half_way_from_chance_is_enough_to_have_a_band() -> None:
    assert band({0.01: [0.1], 0.1: [0.5501], 1.0: [0.1]})["high"] == between(0.1, 1)


def test_an_edge_is_the_median_over_the_seeds_whatever_their_number() -> None:
    """Half of the seeds train at least as far out: the same with 3, 5 and 20 of them."""
    for seeds in (3, 5, 21):
        out = seeds // 2 + 1  # these train from 0.01 on, the others from 0.1
        accuracies = {
            0.001: [0.1] * seeds,
            0.01: [0.9] * out + [0.1] * (seeds - out),
            0.1: [0.9] * seeds,
            1.0: [0.1] * seeds,
        }
        assert band(accuracies)["low"] == between(0.001, 0.01)
        fewer = accuracies | {0.01: [0.9] * (out - 1) + [0.1] * (seeds - out + 1)}
        assert band(fewer)["low"] == between(0.01, 0.1)


def test_half_of_the_seeds_beyond_the_grid_put_the_edge_there() -> None:
    found = band({0.01: [0.9, 0.1], 0.1: [0.9, 0.9], 1.0: [0.1, 0.9]})
    assert (found["open_low"], found["open_high"]) == (True, True)


def test_a_seed_that_fails_at_the_best_std_has_no_band() -> None:
    accuracies = {0.01: [0.9, 0.9, 0.9], 0.1: [0.92, 0.92, 0.1], 1.0: [0.1, 0.1, 0.1]}
    found = band(accuracies)
    assert found["best_std"] == 0.1
    assert (found["open_low"], found["high"]) == (True, between(0.1, 1))
    most = {0.01: [0.1] * 3, 0.1: [0.95, 0.95, 0.1], 1.0: [0.1, 0.1, 0.1]}
    assert band(most)["low"] == between(0.01, 0.1)


def test_of_equal_medians_the_best_is_the_one_with_the_highest_mean() -> None:
    found = band({0.01: [1.0, 1.0, 0.1], 0.1: [1.0, 1.0, 1.0], 1.0: [1.0, 0.2, 0.1]})
    assert found["best_std"] == 0.1


def test_the_best_std_is_chosen_by_validation_where_there_is_one() -> None:
    """And the accuracy that all are held against is that of the test set, at this std."""
    runs = table({0.01: [0.80], 0.1: [0.90], 1.0: [0.78]})
    runs["validation_accuracy"] = [0.8, 0.7, 0.6]
    by_validation = stability_bands(runs).iloc[0]
    assert (by_validation["best_std"], by_validation["best_accuracy"]) == (0.01, 0.8)
    by_test = stability_bands(runs, choose="test_accuracy").iloc[0]
    assert (by_test["best_std"], by_test["best_accuracy"]) == (0.1, 0.9)
    # 0.78 has gone nine tenths of the way to 0.8, and not to 0.9.
    assert (by_validation["open_high"], by_test["open_high"]) == (True, False)
    without = runs.assign(validation_accuracy=math.nan)
    assert stability_bands(without).iloc[0]["best_std"] == 0.1
    diverged = runs.assign(validation_accuracy=[math.nan, 0.7, 0.6])
    assert stability_bands(diverged).iloc[0]["best_std"] == 0.1


def test_the_interval_of_an_edge_is_that_of_its_median_over_seeds() -> None:
    """Seeds drawn at random: about 95 of 100 intervals hold the median of all seeds there are."""
    rng = np.random.default_rng(1)
    stds = np.logspace(-3, 0, 61)
    covered = 0
    for _ in range(100):
        edges = 10 ** rng.normal(-2, 0.2, size=9)
        runs = {std: [0.9 if std > e else 0.1 for e in edges] for std in stds}
        found = band(runs)
        assert found["low_from"] <= found["low"] <= found["low_to"]
        covered += found["low_from"] * 10**-0.05 <= 10**-2 <= found["low_to"] * 10**0.05
    assert 90 <= covered <= 100
    assert math.isnan(band({0.01: [0.1], 0.1: [0.9]})["low_from"])  # one seed has none
    assert math.isnan(band({0.01: [0.1] * 2, 0.1: [0.9] * 2}, resamples=0)["low_from"])


def test_an_interval_is_widened_by_what_the_grid_leaves_open() -> None:
    """All seeds change sides between the same two stds: anywhere between them."""
    runs = {0.01: [0.1] * 3, 0.1: [0.9] * 3, 1.0: [0.9] * 3, 10.0: [0.1] * 3}
    found = band(runs)
    assert found["low_from"] == found["low_to"] == found["low"]
    assert (found["low_least"], found["low_most"]) == pytest.approx((0.01, 0.1))
    assert (found["high_least"], found["high_most"]) == pytest.approx((1.0, 10.0))
    open_low = band({0.1: [0.9] * 3, 1.0: [0.9] * 3, 10.0: [0.1] * 3})
    assert (open_low["low_least"], open_low["low_most"]) == (0.1, 0.1)  # and the sign says more
    for alone in (band({0.01: [0.1], 0.1: [0.9]}), band(runs, resamples=0)):
        assert math.isnan(alone["low_least"])
        assert math.isnan(alone["high_most"])


@pytest.mark.parametrize("step", [1.0, 0.3])
def test_a_widened_interval_holds_the_edge_that_a_coarse_grid_does_not_show(step: float) -> None:
    rng = np.random.default_rng(2)
    stds = 10 ** np.arange(-4, 0.01, step)
    held = {"seeds": 0, "grid": 0}
    for _ in range(100):
        true = rng.uniform(-2.5, -1.5)
        edges = 10 ** rng.normal(true, 0.1, size=9)
        found = band({std: [0.9 if std > e else 0.1 for e in edges] for std in stds})
        assert found["low_least"] <= found["low_from"] <= found["low_to"] <= found["low_most"]
        held["seeds"] += found["low_from"] <= 10**true <= found["low_to"]
        held["grid"] += found["low_least"] <= 10**true <= found["low_most"]
    assert held["grid"] >= 95
    assert held["seeds"] < 70


def test_a_single_std() -> None:
    found = band({0.05: [0.9, 0.91]})
    assert (found["low"], found["high"], found["decades"]) == (0.05, 0.05, 0.0)
    assert (found["open_low"], found["open_high"]) == (True, True)
    assert math.isnan(band({0.05: [0.1]})["low"])


def test_where_every_std_trains_the_band_is_the_whole_grid() -> None:
    found = band({0.05: [0.97], 0.1: [0.98], 0.2: [0.96]})
    assert (found["low"], found["high"]) == (0.05, 0.2)


def test_the_share_of_the_paper_s_band_is_in_decades() -> None:
    edges = {0.005: [0.9], PAPER_BAND[0]: [0.9], 0.03: [0.9], PAPER_BAND[1]: [0.1], 0.5: [0.1]}
    assert band(edges)["paper_share"] == pytest.approx(math.log10(math.sqrt(0.003) / 0.01))
    assert band({0.005: [0.9], 0.05: [0.9], 0.5: [0.9]})["paper_share"] == 1.0
    assert math.isnan(band({0.5: [0.9], 0.001: [0.1]})["paper_share"])


def test_after_an_epoch_a_sweep_has_the_accuracies_of_then() -> None:
    spec = SweepSpec(stds=(0.05, 0.4), seeds=2, epochs=3, validation_size=20)
    whole = run_sweep(spec, progress=False)
    short = run_sweep(dataclasses.replace(spec, epochs=2), progress=False)
    then = after_epoch(whole, 2)
    for name in ("test_accuracy", "validation_accuracy", "epochs"):
        assert then[name].tolist() == pytest.approx(short[name].tolist(), abs=1e-6)  # float32
    last = after_epoch(whole, 3)["test_accuracy"].tolist()
    assert last == pytest.approx(whole["test_accuracy"].tolist(), abs=1e-6)
    assert then["test_accuracy"].tolist() != last
    for epoch in (0, 4, 1.5):
        with pytest.raises(UsageError, match="epoch must be "):
            after_epoch(whole, epoch)
    halves = run_sweep(dataclasses.replace(spec, evaluations_per_epoch=2), progress=False)
    with pytest.raises(UsageError, match="one accuracy before the training and one after each"):
        after_epoch(halves, 1)


def edges(low: float, high: float, *, apart: float = 1.0) -> dict[str, float]:
    """A row of bands, with intervals a factor `apart` to either side."""
    row = {"low": low, "low_from": low / apart, "low_to": low * apart}
    return row | {"high": high, "high_from": high / apart, "high_to": high * apart}


def test_the_whole_of_the_paper_s_band_or_not() -> None:
    nothing = dict.fromkeys(edges(1, 1), math.nan)
    rows = [
        (edges(0.005, 0.5), True),
        (edges(PAPER_BAND[0], PAPER_BAND[1]), True),
        (edges(0.012, 0.5), False),
        (edges(0.012, 0.5, apart=1.3), None),
        (edges(0.005, 0.08), False),
        (edges(0.005, 0.08, apart=1.3), None),
        (edges(0.012, 0.02, apart=1.3), False),  # the one edge is open, the other is not
        (nothing, False),
        (edges(0.012, 0.5) | {"low_from": math.nan, "low_to": math.nan}, False),  # one seed
    ]
    assert band_cases(pd.DataFrame([row for row, _ in rows])) == [case for _, case in rows]


def test_both_edges_near_those_of_the_paper() -> None:
    rows = [
        ({"low": 0.0051, "high": 0.199}, True),
        ({"low": 0.0049, "high": 0.1}, False),
        ({"low": 0.01, "high": 0.0499}, False),
        ({"low": math.nan, "high": math.nan}, False),
    ]
    bands = pd.DataFrame([row for row, _ in rows]).assign(open_low=False, open_high=False)
    assert edge_cases(bands) == [case for _, case in rows]
    assert edge_cases(bands.assign(open_high=True)) == [False] * 4
    assert edge_cases(bands, factor=3) == [True, True, True, False]
    for factor in (1, 0.5, math.nan):
        with pytest.raises(UsageError, match="factor must be"):
            edge_cases(bands, factor=factor)


def test_one_row_a_configuration_in_the_order_of_the_table() -> None:
    healthy, dead = {0.05: [0.9], 0.5: [0.1]}, {0.05: [0.1], 0.5: [0.1]}
    tables = [table(dead, optimizer="sgd")]
    changes = {
        "widths": "64-8-8-10",
        "depth": 3,
        "activation": "tanh",
        "optimizer": "adam",
        "dataset": "mnist",
        "learning_rate": 0.3,
        "momentum": 0.9,
        "batch_size": 64,
        "n_train": 100,
        "epochs": 5,
    }
    assert set(changes) == set(CONFIGURATION)
    tables += [table(healthy, **{name: value}) for name, value in changes.items()]
    bands = stability_bands(pd.concat(tables))
    assert bands["low"].isna().tolist() == [True] + [False] * len(changes)
    for row, (name, value) in enumerate(changes.items(), start=1):
        assert bands.loc[row, name] == value


def test_runs_of_other_schemes_do_not_count() -> None:
    schemes = table({0.3: [0.1]}, scheme="kaiming", std=math.nan)
    runs = pd.concat([table({0.01: [0.1], 0.1: [0.9]}), schemes])
    pd.testing.assert_frame_equal(
        stability_bands(runs), stability_bands(runs[runs["scheme"] == "normal"])
    )
    with pytest.raises(UsageError, match="no runs of scheme 'normal'"):
        stability_bands(schemes)


@settings(max_examples=50)
@given(
    st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=8),
    st.floats(0.01, 0.99),
)
def test_an_edge_of_a_seed_lies_between_one_that_trains_and_one_that_does_not(
    accuracies: list[list[float]], tolerance: float
) -> None:
    stds = np.logspace(-3, 1, len(accuracies))
    found = band(dict(zip(stds, accuracies, strict=True)), tolerance=tolerance, resamples=0)
    medians = np.median(accuracies, axis=1)
    assert found["best_accuracy"] == medians.max()
    trains = np.array(accuracies) >= 0.1 + (1 - tolerance) * (medians.max() - 0.1)
    best = int(np.flatnonzero(stds == found["best_std"])[0])
    lows, highs = [], []
    for seed in trains.T:  # step by step outward from the best
        low = high = best
        while seed[best] and low > 0 and seed[low - 1]:
            low -= 1
        while seed[best] and high < len(stds) - 1 and seed[high + 1]:
            high += 1
        lows.append(math.inf if not seed[best] else low)
        highs.append(-math.inf if not seed[best] else high)
    low, high = np.median(lows), np.median(highs)
    if medians.max() < 0.55:
        assert math.isnan(found["low"])
        return
    assert found["low"] == (stds[0] if low == 0 else between(stds[int(low) - 1], stds[int(low)]))
    last = len(stds) - 1
    assert found["high"] == (
        stds[last] if high == last else between(stds[int(high)], stds[int(high) + 1])
    )
    assert (found["open_low"], found["open_high"]) == (low == 0, high == last)


def test_a_real_sweep_has_a_band() -> None:
    spec = SweepSpec(stds=(1e-4, 0.1, 0.3, 1e4), schemes=("kaiming",), epochs=30)
    found = stability_bands(run_sweep(spec, progress=False)).iloc[0]
    assert (found["low"], found["high"]) == (between(1e-4, 0.1), between(0.3, 1e4))
    assert found["best_accuracy"] > 0.9


@pytest.mark.parametrize("tolerance", [0, 1, 1.5, -0.1, math.nan])
def test_bad_tolerance(tolerance: float) -> None:
    with pytest.raises(UsageError, match="tolerance must lie between 0 and 1"):
        band({0.1: [0.9]}, tolerance=tolerance)
