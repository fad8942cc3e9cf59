"""Who is ahead, from which depth on, and how deep the paper's band trains."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from initscope.analysis import (
    ahead,
    ahead_from,
    count_ahead,
    deepest_whole_band,
    where_one_trains,
)

BETTER = st.sampled_from(["highest", "lowest"])
ROWS = st.lists(
    st.tuples(st.sampled_from([2, 4, 8]), st.floats(-1, 1), st.booleans()), min_size=1, max_size=9
)


def comparison(rows):
    """A comparison as `compare` makes it; an interval round 0 decides nothing."""
    return pd.DataFrame(rows, columns=["depth", "difference", "covers_zero"])


def who(difference, covers_zero, better):
    if covers_zero:
        return "level"
    return "first" if (difference > 0 if better == "highest" else difference < 0) else "second"


@given(ROWS, BETTER)
def test_ahead_is_the_side_that_the_interval_does_not_cover(rows, better):
    table = comparison(rows)
    expected = [who(difference, covers, better) for _, difference, covers in rows]
    assert list(ahead(table, better)) == expected
    counts = count_ahead(table, better)
    assert counts == {side: expected.count(side) for side in ("first", "level", "second")}


@given(ROWS, BETTER)
def test_ahead_from_a_depth_is_ahead_in_every_deeper_row(rows, better):
    found = ahead_from(comparison(rows), better)
    depths = sorted({depth for depth, _, _ in rows})
    everywhere = {
        start: all(who(d, c, better) == "first" for depth, d, c in rows if depth >= start)
        for start in depths
    }
    assert found == next((start for start in depths if everywhere[start]), None)


def test_a_cell_counts_where_one_scheme_mostly_trains():
    cell = {"dataset": "wine", "widths": "13-8-3", "depth": 2, "activation": "relu"}
    cell |= {"optimizer": "sgd", "momentum": 0.0}
    rows = [
        cell | {"learning_rate": rate, "scheme": scheme, "seed": seed, "failed": failed}
        for rate, of_schemes in {
            0.1: {"xavier": (1, 1), "kaiming": (1, 0)},  # half of the seeds train: it counts
            1.0: {"xavier": (1, 1), "kaiming": (1, 1)},
            0.01: {"xavier": (0, 0), "kaiming": (0, 0)},
        }.items()
        for scheme, fails in of_schemes.items()
        for seed, failed in enumerate(fails)
    ]
    kept = where_one_trains(pd.DataFrame(rows))
    assert set(kept["learning_rate"]) == {0.1, 0.01}
    assert len(kept) == 8


@pytest.mark.parametrize(
    ("shares", "depth"),
    [
        ({2: 1.0, 4: 1.0, 8: 1.0}, 8),
        ({8: 1.0, 2: 1.0, 4: 0.9}, 2),  # 8 is past a gap; the order of the rows does not count
        ({2: 0.9, 4: 1.0}, None),
        ({2: np.nan, 4: 1.0}, None),
    ],
)
def test_the_deepest_whole_band_is_reached_without_a_gap(shares, depth):
    bands = pd.DataFrame({"depth": list(shares), "paper_share": list(shares.values())})
    assert deepest_whole_band(bands) == depth


def test_where_nothing_was_compared_nobody_is_ahead() -> None:
    nothing = pd.DataFrame({"difference": [], "covers_zero": [], "depth": []}, dtype=float)
    assert len(ahead(nothing)) == 0
    assert count_ahead(nothing) == {"first": 0, "level": 0, "second": 0}
    assert ahead_from(nothing) is None
    assert deepest_whole_band(pd.DataFrame({"depth": [], "paper_share": []}, dtype=float)) is None
