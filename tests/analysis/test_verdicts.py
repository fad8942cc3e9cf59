"""Who is ahead, and where there is a race."""

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from initscope.analysis import ahead, count_ahead, where_one_trains

BETTER = st.sampled_from(["highest", "lowest"])
ROWS = st.lists(st.tuples(st.floats(-1, 1), st.booleans()), min_size=1, max_size=9)


def comparison(rows):
    """A comparison as `compare` makes it; an interval round 0 decides nothing."""
    return pd.DataFrame(rows, columns=["difference", "covers_zero"])


def who(difference, covers_zero, better):
    if covers_zero:
        return "level"
    return "first" if (difference > 0 if better == "highest" else difference < 0) else "second"


@given(ROWS, BETTER)
def test_ahead_is_the_side_that_the_interval_does_not_cover(rows, better):
    table = comparison(rows)
    expected = [who(difference, covers, better) for difference, covers in rows]
    assert list(ahead(table, better)) == expected
    counts = count_ahead(table, better)
    assert counts == {side: expected.count(side) for side in ("first", "level", "second")}


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


def test_where_nothing_was_compared_nobody_is_ahead() -> None:
    nothing = pd.DataFrame({"difference": [], "covers_zero": []}, dtype=float)
    assert len(ahead(nothing)) == 0
    assert count_ahead(nothing) == {"first": 0, "level": 0, "second": 0}
