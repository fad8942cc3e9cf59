"""Edges of measured bands against the law of the plateau."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from initscope.analysis import (
    band_constants,
    decades_off,
    left_edges_of_law,
    right_edges_of_law,
)
from initscope.errors import UsageError
from initscope.theory import critical_std


def bands(depths: list[int], **changes: object) -> pd.DataFrame:
    """Bands of networks of equal widths, with edges that are to be filled in."""
    widths = ["-".join(["784", *["128"] * (depth - 1), "10"]) for depth in depths]
    table = pd.DataFrame({"depth": depths, "widths": widths, "learning_rate": 0.1})
    table = table.assign(batch_size=128, n_train=55_000, epochs=1, low=0.01, high=0.3)
    return table.assign(**changes)


def critical(table: pd.DataFrame) -> np.ndarray:
    return np.array([critical_std([int(w) for w in name.split("-")]) for name in table["widths"]])


def updates_to_leave(ratio: float, depth: int, rate: float, escape: float) -> float:
    """When dr/dt = rate escape r^(depth - 1) reaches 1, by integrating it."""

    def reached(_: float, r: np.ndarray) -> float:
        return float(r[0]) - 1

    reached.terminal = True
    slope = rate * escape
    found = solve_ivp(
        lambda _, r: slope * r ** (depth - 1), (0, 1e9), [ratio], events=reached, rtol=1e-9,
        atol=1e-12,
    )  # fmt: skip
    return float(found.t_events[0][0])


def test_the_left_edge_is_the_start_that_leaves_the_plateau_at_the_last_update() -> None:
    """An integration of the equation, which the package has in closed form."""
    table = bands([3, 4, 6], low=[0.004, 1.0, 1.0])
    law = left_edges_of_law(table, table["depth"] == 3)
    updates, he = 55_000 // 128, critical(table)
    # The rate of escape with which three layers leave just in time.
    low, high = 1e-3, 10.0
    for _ in range(60):
        escape = math.sqrt(low * high)
        late = updates_to_leave(0.004 / he[0], 3, 0.1, escape) > updates
        low, high = (escape, high) if late else (low, escape)
    assert law[0] == pytest.approx(0.004)
    for row, depth in ((1, 4), (2, 6)):
        time = updates_to_leave(law[row] / he[row], depth, 0.1, escape)
        assert time == pytest.approx(updates, rel=1e-5)


def test_more_updates_or_a_larger_rate_are_one_thing() -> None:
    table = bands([4, 4, 4], epochs=[1, 5, 1], learning_rate=[0.1, 0.1, 0.5], low=[0.02, 1, 1])
    law = left_edges_of_law(table, pd.Series([True, False, False]))
    assert law[1] == pytest.approx(law[2])
    assert law[1] < law[0] == pytest.approx(0.02)


def test_each_depth_may_have_a_rate_of_escape_of_its_own() -> None:
    table = bands([4, 4, 8, 8], epochs=[1, 5, 1, 5], low=[0.02, 1, 0.05, 1])
    fit = table["epochs"] == 1
    law = left_edges_of_law(table, fit, by="depth")
    assert law[fit].tolist() == pytest.approx([0.02, 0.05])
    alone = left_edges_of_law(table[2:], fit[2:], by="depth")
    assert law[3] == pytest.approx(alone[3])
    assert left_edges_of_law(table, fit & (table["depth"] == 4), by="depth")[2:].isna().all()
    # One rate for both lies between theirs.
    both = left_edges_of_law(table, fit)
    assert (both[0] - 0.02) * (both[2] - 0.05) < 0


def test_two_layers_have_no_plateau_and_no_edge_is_taken_from_beyond_kaiming() -> None:
    table = bands([2, 3], low=[0.001, 0.5])
    assert left_edges_of_law(table, pd.Series([True, False])).isna().all()
    assert left_edges_of_law(table, pd.Series([False, True])).isna().all()
    assert right_edges_of_law(table, pd.Series([True, False])).isna().all()
    law = right_edges_of_law(table, pd.Series([False, True]))
    assert math.isnan(law[0])
    assert law[1] == pytest.approx(0.3)


@given(st.integers(3, 20), st.floats(0.01, 1.0))
def test_at_the_right_edge_the_step_over_the_weights_is_one_constant(
    depth: int, rate: float
) -> None:
    table = bands([4, depth], learning_rate=[0.1, rate])
    law = right_edges_of_law(table, pd.Series([True, False]))
    ratio = law / critical(table)
    assert rate * ratio[1] ** (depth - 2) == pytest.approx(0.1 * ratio[0] ** 2)


def test_decades_off_and_the_constant_of_a_band() -> None:
    assert decades_off(pd.Series([1.0, 0.1, np.nan]), pd.Series([0.1, 1.0, 1.0]))[:2].tolist() == [
        pytest.approx(1.0),
        pytest.approx(-1.0),
    ]
    found = band_constants(
        pd.DataFrame({"depth": [2, 4, 16], "decades": [3.0, 1.0, 0.15]}).assign(
            open_low=[True, False, False], open_high=False
        )
    )
    assert math.isnan(found[0])
    assert found[1:].tolist() == pytest.approx([2.0, 2.1])


@pytest.mark.parametrize(
    ("fit", "says"),
    [
        ([True, False], "fit must be a Series"),
        (pd.Series([1, 0]), "fit must be a Series"),
        (pd.Series([True]), "fit must be a Series"),
        (pd.Series([False, False]), "fit must be True for at least one band"),
    ],
)
def test_what_the_rate_is_taken_from_is_said_for_each_band(fit: object, says: str) -> None:
    for law in (left_edges_of_law, right_edges_of_law):
        with pytest.raises(UsageError, match=says):
            law(bands([3, 4]), fit)
