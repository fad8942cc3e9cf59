"""Bands of stds that train, on tables made by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from initscope.analysis import PAPER_BAND, stability_bands
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


def band(accuracies: dict[float, list[float]], **options: float) -> pd.Series:
    bands = stability_bands(table(accuracies), **options)
    assert len(bands) == 1
    return bands.iloc[0]


def test_a_band_inside_the_grid() -> None:
    found = band({0.001: [0.1], 0.01: [0.9], 0.1: [0.92], 1.0: [0.91], 10.0: [0.0]})
    assert (found["low"], found["high"], found["best_std"]) == (0.01, 1.0, 0.1)
    assert found["best_accuracy"] == 0.92
    assert found["decades"] == pytest.approx(2)
    assert not found["open_low"]
    assert not found["open_high"]
    assert found["paper_share"] == 1.0


def test_the_edge_is_where_the_tolerance_says() -> None:
    # From chance, 0.1, to the best, 0.9: 95% of the way is 0.86.
    accuracies = {0.01: [0.8599], 0.02: [0.8601], 0.03: [0.9], 0.04: [0.5]}
    found = band(accuracies, tolerance=0.05)
    assert (found["low"], found["high"]) == (0.02, 0.03)
    assert band(accuracies, tolerance=0.06)["low"] == 0.01
    assert band(accuracies, tolerance=0.5)["high"] == 0.04
    assert band(accuracies, tolerance=0.001)["low"] == 0.03


def test_a_gap_ends_the_band_on_the_side_of_the_best() -> None:
    found = band({0.01: [0.9], 0.02: [0.9], 0.03: [0.2], 0.04: [0.95], 0.05: [0.94], 0.06: [0.1]})
    assert (found["low"], found["high"]) == (0.04, 0.05)
    assert found["paper_share"] == pytest.approx(2 / 6)


def test_open_ends() -> None:
    found = band({0.01: [0.9], 0.1: [0.92], 1.0: [0.3]})
    assert (found["open_low"], found["open_high"]) == (True, False)
    found = band({0.01: [0.3], 0.1: [0.92], 1.0: [0.9]})
    assert (found["open_low"], found["open_high"]) == (False, True)
    found = band({0.01: [0.91], 0.1: [0.92], 1.0: [0.9]})
    assert (found["open_low"], found["open_high"]) == (True, True)
    assert (found["low"], found["high"]) == (0.01, 1.0)


@pytest.mark.parametrize("accuracy", [0.0, 0.1, 0.54])
def test_nothing_trains(accuracy: float) -> None:
    found = band({0.01: [0.1], 0.1: [accuracy], 1.0: [0.1]})
    assert np.isnan([found["low"], found["high"], found["decades"]]).all()
    assert found["paper_share"] == 0.0
    assert not found["open_low"]
    assert not found["open_high"]


def test_half_way_from_chance_is_enough_to_have_a_band() -> None:
    assert band({0.01: [0.1], 0.1: [0.5501], 1.0: [0.1]})["low"] == 0.1


def test_the_share_of_seeds() -> None:
    accuracies = {
        0.01: [0.9, 0.9, 0.9, 0.9, 0.1],
        0.1: [0.9] * 5,
        1.0: [0.9, 0.9, 0.9, 0.1, 0.1],
    }
    assert (band(accuracies)["low"], band(accuracies)["high"]) == (0.01, 0.1)
    assert band(accuracies, share=0.6)["high"] == 1.0
    assert band(accuracies, share=1.0)["low"] == 0.1


def test_of_equal_medians_the_best_is_the_one_with_the_highest_mean() -> None:
    # At 0.01 a third of the seeds do not train: it is not in the band, 0.1 is.
    found = band({0.01: [1.0, 1.0, 0.1], 0.1: [1.0, 1.0, 1.0], 1.0: [1.0, 0.2, 0.1]})
    assert (found["best_std"], found["low"], found["high"]) == (0.1, 0.1, 0.1)


def test_the_band_lies_round_the_best_std_in_which_enough_seeds_train() -> None:
    found = band({0.01: [0.9, 0.9, 0.9], 0.1: [0.92, 0.92, 0.1], 1.0: [0.1, 0.1, 0.1]})
    assert found["best_std"] == 0.1
    assert (found["low"], found["high"]) == (0.01, 0.01)


def test_no_std_with_enough_seeds() -> None:
    found = band({0.01: [0.9, 0.9, 0.1], 0.1: [0.9, 0.9, 0.1]})
    assert math.isnan(found["low"])
    assert found["paper_share"] == 0.0


def test_a_single_std() -> None:
    found = band({0.05: [0.9, 0.91]})
    assert (found["low"], found["high"], found["decades"]) == (0.05, 0.05, 0.0)
    assert (found["open_low"], found["open_high"]) == (True, True)
    assert found["paper_share"] == 1.0
    assert math.isnan(band({0.05: [0.1]})["low"])


def test_where_every_std_trains_the_band_is_the_whole_grid() -> None:
    found = band({0.05: [0.97], 0.1: [0.98], 0.2: [0.96]})
    assert (found["low"], found["high"]) == (0.05, 0.2)


def test_the_share_of_the_paper_s_band_counts_its_edges() -> None:
    edges = {PAPER_BAND[0]: [0.9], 0.03: [0.9], PAPER_BAND[1]: [0.1], 0.5: [0.1], 0.005: [0.9]}
    assert band(edges)["paper_share"] == pytest.approx(2 / 3)
    off = {10**-2.0000001: [0.9], 10**-0.9999999: [0.1]}  # as np.logspace gives them
    assert band(off)["paper_share"] == pytest.approx(1 / 2)
    assert math.isnan(band({0.5: [0.9], 0.001: [0.1]})["paper_share"])


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
    st.floats(0.01, 1.0),
)
def test_every_std_of_a_band_trains_and_its_neighbors_do_not(
    accuracies: list[list[float]], tolerance: float, share: float
) -> None:
    stds = np.logspace(-3, 1, len(accuracies))
    found = band(dict(zip(stds, accuracies, strict=True)), tolerance=tolerance, share=share)
    medians = np.median(accuracies, axis=1)
    assert found["best_accuracy"] == medians.max()
    threshold = 0.1 + (1 - tolerance) * (medians.max() - 0.1)
    enough = (np.array(accuracies) >= threshold).mean(axis=1) >= share
    if math.isnan(found["low"]):
        assert medians.max() < 0.55 or not enough.any()
        return
    inside = (stds >= found["low"]) & (stds <= found["high"])
    assert enough[inside].all()
    assert medians[inside].max() == medians[enough].max()
    first, last = np.flatnonzero(inside)[[0, -1]]
    assert found["open_low"] == (first == 0)
    assert found["open_high"] == (last == len(stds) - 1)
    assert first == 0 or not enough[first - 1]
    assert last == len(stds) - 1 or not enough[last + 1]


def test_a_real_sweep_has_a_band() -> None:
    spec = SweepSpec(stds=(1e-4, 0.1, 0.3, 1e4), schemes=("kaiming",), epochs=30)
    found = stability_bands(run_sweep(spec, progress=False)).iloc[0]
    assert (found["low"], found["high"]) == (0.1, 0.3)
    assert found["best_accuracy"] > 0.9


@pytest.mark.parametrize("tolerance", [0, 1, 1.5, -0.1, math.nan])
def test_bad_tolerance(tolerance: float) -> None:
    with pytest.raises(UsageError, match="tolerance must lie between 0 and 1"):
        band({0.1: [0.9]}, tolerance=tolerance)


@pytest.mark.parametrize("share", [0, 1.01, -1, math.nan])
def test_bad_share(share: float) -> None:
    with pytest.raises(UsageError, match="share must be above 0 and at most 1"):
        band({0.1: [0.9]}, share=share)
