"""The row of the largest and of the smallest value: name and value from one place."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from initscope.analysis.extremes import one_row, row_of_largest, row_of_smallest
from initscope.errors import UsageError

TABLE = pd.DataFrame(
    {
        "off": [0.075, -0.139, np.nan, 0.02],
        "errors": [2.6, 1.8, 9.0, 0.1],
        "direction": ["forward", "backward", "forward", "backward"],
    },
    index=pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1), ("b", 2)], names=["net", "at"]),
)


def test_all_of_a_row_comes_from_one_row() -> None:
    worst = row_of_largest(TABLE, "off", of_size=True)
    # The pair of maxima, .139 and 2.6 or 9.0, is of no row.
    assert worst.to_dict() == {
        "net": "a",
        "at": 2,
        "off": -0.139,
        "errors": 1.8,
        "direction": "backward",
    }
    assert row_of_largest(TABLE, "off")["errors"] == 2.6
    assert row_of_smallest(TABLE, "off")["errors"] == 1.8
    assert row_of_smallest(TABLE, "off", of_size=True)["errors"] == 0.1
    assert row_of_largest(TABLE, "errors")["net"] == "b"


def test_a_series_and_an_index_without_a_name() -> None:
    ends = pd.Series([3.0, 1.0, 2.0], index=["x", "y", "z"], name="loss")
    assert row_of_smallest(ends).to_dict() == {"index": "y", "value": 1.0}
    assert row_of_largest(ends.rename_axis("run")).to_dict() == {"run": "x", "value": 3.0}
    of_pairs = pd.Series({("q", 1): 1, ("k", 2): 5})
    assert row_of_largest(of_pairs)["level_1"] == 2
    plain = row_of_largest(pd.DataFrame({"n": [1, 4, 4], "which": list("abc")}), "n")
    assert plain["which"] == "b"  # the first of equals


@pytest.mark.parametrize(
    ("table", "column", "message"),
    [
        (TABLE, "of", "unknown column 'of'.*Did you mean 'off'"),
        (TABLE, "direction", "holds no number"),
        (TABLE.iloc[:0], "off", "holds no number"),
        (pd.Series([np.nan, None]), "value", "holds no number"),
    ],
)
def test_where_there_is_no_largest(table, column: str, message: str) -> None:
    for row_of in (row_of_largest, row_of_smallest):
        with pytest.raises(UsageError, match=message):
            row_of(table, column)


@given(st.lists(st.tuples(st.integers(-99, 99), st.integers(0, 9)), min_size=1))
def test_the_row_is_one_of_the_table_and_none_exceeds_it(rows: list[tuple[int, int]]) -> None:
    table = pd.DataFrame(rows, columns=["a", "b"])
    assert tuple(row_of_largest(table, "a")) == next(r for r in rows if r[0] == max(rows)[0])
    assert tuple(row_of_smallest(table, "b"))[1] == min(b for _, b in rows)
    assert abs(row_of_largest(table, "a", of_size=True)["a"]) == max(abs(a) for a, _ in rows)
    assert tuple(row_of_largest(table, "a", of_size=True)) in rows


def test_the_one_row_with_some_values() -> None:
    found = one_row(TABLE, direction="forward", errors=0.1 + 2.5)
    assert found.name == ("a", 1)
    assert found["off"] == 0.075
    with pytest.raises(UsageError, match="must have direction = 'forward', and 2 do"):
        one_row(TABLE, direction="forward")
    with pytest.raises(UsageError, match="and 0 do"):
        one_row(TABLE, direction="sideways")
    with pytest.raises(UsageError, match="unknown column 'where'"):
        one_row(TABLE, where="here")
