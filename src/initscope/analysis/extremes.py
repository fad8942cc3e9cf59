"""One row of a table, by its values or its largest: a value and its name from one place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from initscope import checks
from initscope.checks import is_number, require
from initscope.errors import shown, unknown_name


def row_of_largest(
    table: pd.DataFrame | pd.Series[Any], column: str = "value", *, of_size: bool = False
) -> pd.Series[Any]:
    """Return the row of a table in which a column is largest.

    A sentence that says how large something is at most, and where, takes both from this row. Two
    maxima of two columns may come from two rows.

    Parameters
    ----------
    table
        A frame, or a series, whose values are then the column ``"value"``. NaN is left out; of
        equal rows the first is taken.
    column
        The column, of numbers.
    of_size
        Whether numbers are compared without their sign. The row keeps it.

    Returns
    -------
    pandas.Series
        The row, with the levels of the index among its entries: under their names, or as
        ``"index"`` or ``"level_0"``, ``"level_1"`` and so on where they have none.

    Raises
    ------
    UsageError
        If there is no such column, or it holds no number.

    Examples
    --------
    >>> losses = pd.DataFrame({"loss": [2.0, 1.5, 3.0], "layers": [2, 4, 8]}, ["a", "b", "c"])
    >>> worst = row_of_largest(losses.rename_axis("run"), "loss")
    >>> f"{worst['run']} ends highest, at {worst['loss']:g}, with {worst['layers']} layers"
    'c ends highest, at 3, with 8 layers'
    """
    return _row(table, column, 1, of_size)


def row_of_smallest(
    table: pd.DataFrame | pd.Series[Any], column: str = "value", *, of_size: bool = False
) -> pd.Series[Any]:
    """Return the row of a table in which a column is smallest, as :func:`row_of_largest` does.

    Examples
    --------
    >>> best = row_of_smallest(pd.Series({"a": 2.0, "b": 1.5}, name="loss"))
    >>> print(best["index"], best["value"])
    b 1.5
    """
    return _row(table, column, -1, of_size)


def one_row(table: pd.DataFrame, **values: Any) -> pd.Series[Any]:
    """Return the only row of a table that has these values.

    Parameters
    ----------
    table
        A frame.
    **values
        Values of the row, by column.

    Raises
    ------
    UsageError
        If there is no such column, or not exactly one such row.

    Examples
    --------
    >>> losses = pd.DataFrame({"scheme": ["lecun", "kaiming"], "loss": [2.0, 1.5]})
    >>> one_row(losses, scheme="kaiming")["loss"]
    np.float64(1.5)
    """
    checks.frame("table", table, rows=False)
    has = np.ones(len(table), dtype=bool)
    for column, value in values.items():
        if column not in table.columns:
            raise unknown_name("column", column, map(str, table.columns))
        require(
            isinstance(value, str | bool | np.bool_) or is_number(value, -np.inf),
            f"{column} must be a number or text to find in the table, not {shown(value)}.",
        )
        has &= (table[column] == value).to_numpy(dtype=bool)
    wanted = " and ".join(f"{column} = {shown(value)}" for column, value in values.items())
    require(
        has.sum() == 1,
        f"one row of the table must have {wanted or 'these values'}, and {has.sum()} do.",
    )
    return table.iloc[int(np.flatnonzero(has)[0])]


def _row(
    table: pd.DataFrame | pd.Series[Any], column: str, sign: int, of_size: bool
) -> pd.Series[Any]:
    checks.flag("of_size", of_size)
    if isinstance(table, pd.Series):
        table = table.rename("value").to_frame()
    checks.frame("table", table, rows=False)
    unnamed = isinstance(table.index, pd.RangeIndex) and table.index.name is None
    rows = table if unnamed else table.reset_index()
    if not isinstance(column, str) or column not in rows.columns:
        raise unknown_name("column", column, map(str, rows.columns))
    try:
        numbers = pd.to_numeric(rows[column], errors="coerce").to_numpy(dtype=float)
    except (TypeError, ValueError):  # of lists and the like
        numbers = np.full(len(rows), np.nan)
    require(bool((~np.isnan(numbers)).any()), f"the column {column!r} holds no number.")
    size = np.abs(numbers) if of_size else numbers
    return rows.iloc[int(np.nanargmax(sign * size))]
