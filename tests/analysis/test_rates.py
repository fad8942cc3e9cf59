"""Rates that are best, and rates that fail, on tables made by hand."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from scipy import stats

from initscope.analysis import accuracy_of_schemes, best_rates, failure_share
from initscope.errors import UsageError


def measures(rows: list[tuple[str, int, float, float, float]]) -> pd.DataFrame:
    names = ["scheme", "depth", "learning_rate", "test_accuracy", "failed"]
    return pd.DataFrame(rows, columns=names)


RUNS = measures(
    [
        ("xavier", 2, 0.1, 0.6, 0),
        ("xavier", 2, 0.1, 0.8, 0),
        ("xavier", 2, 0.3, 0.9, 0),
        ("xavier", 2, 0.3, 0.1, 1),
        ("xavier", 4, 0.1, 0.2, 1),
        ("xavier", 4, 0.3, 0.9, 0),
        ("kaiming", 4, 0.1, 0.5, 0),
        ("kaiming", 4, 0.3, math.nan, 1),
    ]
)


def test_the_best_rate_is_that_of_the_highest_mean() -> None:
    assert best_rates(RUNS).to_dict() == {
        ("kaiming", 4): 0.1,
        ("xavier", 2): 0.1,
        ("xavier", 4): 0.3,
    }


def test_of_equal_means_the_lowest_rate_is_best() -> None:
    equal = RUNS.assign(test_accuracy=0.5).sort_values("learning_rate", ascending=False)
    assert set(best_rates(equal)) == {0.1}


def test_the_share_of_seeds_that_fail() -> None:
    shares = failure_share(RUNS)
    assert shares["xavier", 2, 0.1] == 0
    assert shares["xavier", 2, 0.3] == 0.5
    assert shares["kaiming", 4, 0.3] == 1
    assert len(shares) == 6


def test_the_error_of_a_scheme_is_that_of_its_mean() -> None:
    found = accuracy_of_schemes(RUNS)
    values = RUNS.loc[RUNS["scheme"] == "xavier", "test_accuracy"]
    assert found.loc["xavier", "mean"] == pytest.approx(values.mean())
    assert found.loc["xavier", "error"] == pytest.approx(stats.sem(values))
    assert math.isnan(found.loc["kaiming", "error"])


@pytest.mark.parametrize("function", [best_rates, failure_share, accuracy_of_schemes])
def test_a_table_of_something_else_is_refused(function: object) -> None:
    with pytest.raises(UsageError, match="has no column"):
        function(RUNS[["depth"]])
    with pytest.raises(UsageError, match="has no rows"):
        function(RUNS.iloc[:0])
