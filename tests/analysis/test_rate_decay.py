"""Std at rest over a grid of rates and decays."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from initscope.analysis import late_std, power_slopes
from initscope.errors import UsageError


def std_table(rows: dict, steps: list[int]) -> pd.DataFrame:
    return pd.DataFrame(rows, steps).T.rename_axis(["role", "layer"])


def test_late_std_is_of_the_variance_and_leaves_the_step_itself_out() -> None:
    std = std_table({("q", 1): [9.0, 9.0, 1.0, 7.0], ("q", 2): [1, 1, np.nan, 1]}, [0, 10, 20, 30])
    found = late_std(std, 10)
    assert found["q", 1] == pytest.approx(5.0)
    assert np.isnan(found["q", 2])
    assert late_std(std, 9)["q", 1] == pytest.approx(np.sqrt((81 + 1 + 49) / 3))


def test_nothing_after_the_last_step_is_refused() -> None:
    with pytest.raises(UsageError, match="no step of std was recorded since 30: the last is 30"):
        late_std(std_table({("q", 1): [1.0, 2.0]}, [0, 30]), 30)


@given(
    st.lists(st.floats(0.001, 10), min_size=2, max_size=6, unique_by=lambda x: round(x, 3)),
    st.floats(-2, 2),
    st.floats(0.1, 10),
)
def test_a_power_is_found_whatever_its_factor(rates: list, power: float, factor: float) -> None:
    runs = pd.DataFrame({"rate": rates, "role": "v"})
    runs["std"] = factor * runs["rate"] ** power
    found = power_slopes(runs, "std", over="rate", by=["role"])
    assert found.to_dict() == pytest.approx({"v": power}, abs=1e-6)


def test_each_group_has_its_own_slope_and_one_setting_has_none() -> None:
    runs = pd.DataFrame(
        {
            "rate": [1, 2, 4, 1, 2, 4, 3],
            "std": [1, 2, 4, 1, 4, 16, 1],
            "role": [*"vvvqqqk"],
            "seed": 0,
        }
    )
    found = power_slopes(runs, "std", over="rate", by=["role", "seed"])
    assert found.to_dict() == pytest.approx({("v", 0): 1.0, ("q", 0): 2.0})
    assert list(found.index.names) == ["role", "seed"]


def test_a_slope_is_that_of_least_squares() -> None:
    generator = np.random.default_rng(0)
    runs = pd.DataFrame({"rate": np.geomspace(1, 8, 5), "std": generator.uniform(1, 2, 5), "s": 0})
    expected = np.polyfit(np.log(runs["rate"]), np.log(runs["std"]), 1)[0]
    assert power_slopes(runs, "std", "rate", ["s"]).iloc[0] == pytest.approx(expected)
