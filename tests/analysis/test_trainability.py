"""The border of trainability, on grids whose border is known."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from initscope.analysis import border_interval, trainability_border
from initscope.errors import UsageError

DEPTHS = (4, 8, 16, 32)


def runs_of(medians, sigma_w2=1.0):
    """Three seeds round each median; one of them far off, which a median does not see."""
    return pd.DataFrame(
        [
            {"sigma_w2": sigma_w2, "depth": depth, "accuracy": value}
            for depth, median in zip(DEPTHS, medians, strict=True)
            for value in (median, median - 0.3, median + 0.01)
        ]
    )


@given(st.lists(st.sampled_from([0.1, 0.5, 0.9]), min_size=4, max_size=4))
def test_the_border_lies_before_the_first_depth_that_fails(medians):
    border = trainability_border(runs_of(medians), 0.5).loc[1.0]
    first = next((k for k, median in enumerate(medians) if median < 0.5), None)
    fails = np.nan if first is None else DEPTHS[first]
    last = len(DEPTHS) - 1 if first is None else first - 1
    trains = DEPTHS[last] if last >= 0 else np.nan
    assert border["fails"] == pytest.approx(fails, nan_ok=True)
    assert border["trains"] == pytest.approx(trains, nan_ok=True)
    assert border["depth"] == pytest.approx(np.sqrt(trains * fails), nan_ok=True)
    of_fails = np.nan if first is None else medians[first]
    assert border["accuracy_fails"] == pytest.approx(of_fails, nan_ok=True)
    of_trains = medians[last] if last >= 0 else np.nan
    assert border["accuracy_trains"] == pytest.approx(of_trains, nan_ok=True)


def test_each_weight_variance_has_its_own_border():
    runs = pd.concat([runs_of([0.9, 0.9, 0.1, 0.1], 2.0), runs_of([0.9, 0.1, 0.1, 0.1], 3.0)])
    assert trainability_border(runs, 0.5)["trains"].to_dict() == {2.0: 8.0, 3.0: 4.0}


def runs_by_seed(last_that_trains: dict[float, list[int]]) -> pd.DataFrame:
    """Networks of which each seed trains up to a depth of its own: 0 for none, or one of DEPTHS."""
    return pd.DataFrame(
        [
            {"sigma_w2": w, "depth": d, "seed": seed, "accuracy": 0.9 if d <= until else 0.1}
            for w, of_seeds in last_that_trains.items()
            for seed, until in enumerate(of_seeds)
            for d in DEPTHS
        ]
    )


def test_seeds_that_agree_leave_one_step_of_the_grid():
    found = border_interval(runs_by_seed({1.0: [8] * 5, 2.0: [0] * 5, 3.0: [32] * 5}), 0.5)
    assert found.loc[1.0].to_list() == [8, 16]
    assert found.loc[2.0].to_list() == [0, 4]  # none trains
    assert found.loc[3.0].to_list() == [32, np.inf]  # none fails
    runs = runs_by_seed({1.0: [8] * 5})
    assert border_interval(runs, 0.9).loc[1.0].to_list() == [8, 16]  # "at least" the threshold


def test_with_three_seeds_the_interval_is_all_that_a_resample_may_give():
    assert border_interval(runs_by_seed({1.0: [4, 16, 16]}), 0.5).loc[1.0].to_list() == [4, 32]
    # One seed in seven is the median of one resample in a hundred: 95% allow it, 50% do not.
    runs = runs_by_seed({1.0: [4, *[16] * 6]})
    assert border_interval(runs, 0.5).loc[1.0].to_list() == [4, 32]
    assert border_interval(runs, 0.5, level=0.5).loc[1.0].to_list() == [16, 32]


def test_the_order_of_the_rows_does_not_matter():
    """And one cell that fails in one seed of three may be the border."""
    runs = runs_by_seed({1.0: [16] * 3}).set_index(["depth", "seed"])
    runs.loc[(8, 0), "accuracy"] = 0.1
    found = border_interval(runs.reset_index().sample(frac=1, random_state=0), 0.5)
    assert found.loc[1.0].to_list() == [4, 32]
    assert found.equals(border_interval(runs.reset_index(), 0.5))


@pytest.mark.parametrize("seeds", [5, 20])
def test_the_interval_covers_the_border_as_often_as_it_says(seeds):
    """Borders of single seeds are 4, 8 or 16 with a median of 8."""
    generator = np.random.default_rng(0)
    draws = generator.choice([4, 8, 16], p=[0.2, 0.5, 0.3], size=(150, seeds))
    found = border_interval(
        runs_by_seed({float(k): list(of) for k, of in enumerate(draws, 1)}), 0.5, resamples=300
    )
    assert ((found["low"] <= 8) & (found["high"] >= 16)).mean() >= 0.95


def test_runs_that_are_not_a_whole_grid_are_refused():
    runs = runs_by_seed({1.0: [8, 16]})
    with pytest.raises(UsageError, match="every seed at every depth"):
        border_interval(runs.iloc[1:], 0.5)
    with pytest.raises(UsageError, match="at least two seeds"):
        border_interval(runs[runs["seed"] == 0], 0.5)
