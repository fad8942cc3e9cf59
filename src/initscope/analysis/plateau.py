"""Hold the edges of measured stability bands against the law of the plateau.

The law is that of :mod:`initscope.theory.escape`; here is what it says of a table of bands.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from initscope import checks
from initscope.analysis.sweeps import check_sweep, widths_of
from initscope.checks import require
from initscope.errors import shown
from initscope.theory.escape import escape_rate, escape_ratio
from initscope.theory.stability import critical_std

__all__ = [
    "band_constants",
    "decades_off",
    "left_edges_of_law",
    "right_edges_of_law",
    "within_decades",
]

_OF_BANDS = ["widths", "depth", "learning_rate", "batch_size", "n_train", "epochs"]


def _checked(bands: pd.DataFrame, edge: str) -> pd.DataFrame:
    """Return the bands with ``critical`` and ``updates`` beside what the law needs."""
    rows = check_sweep(bands, [*_OF_BANDS, edge])[[*_OF_BANDS, edge]]
    critical = [critical_std(widths_of(widths)) for widths in rows["widths"]]
    updates = rows["epochs"] * (rows["n_train"] // rows["batch_size"])
    return rows.assign(critical=critical, updates=updates)


def _taken(rows: pd.DataFrame, fit: pd.Series) -> pd.Series:
    """Return `fit` as one True or False a row; raise unless it is that."""
    require(
        isinstance(fit, pd.Series) and fit.index.equals(rows.index) and fit.dtype == bool,
        "fit must be a Series of True and False, one for each band.",
    )
    require(bool(fit.any()), "fit must be True for at least one band.")
    return fit


def left_edges_of_law(
    bands: pd.DataFrame, fit: pd.Series, *, by: str | None = None
) -> pd.Series[float]:
    """Return the left edges by the law of the plateau, fitted to those of some of the bands.

    The rate of escape is that of the bands in `fit` (where there are several, the geometric mean
    of theirs); all the others follow from depth, learning rate and number of updates alone.

    Parameters
    ----------
    bands
        Result of :func:`initscope.analysis.stability_bands`, of plain networks and SGD.
    fit
        Which rows the rate of escape is taken from.
    by
        Column, for example ``"depth"``: each of its values has a rate of escape of its own. None
        for one rate in all.

    Returns
    -------
    pandas.Series
        Stds, one a band; NaN where no band gives a rate or its edge is at least Kaiming's std, and
        for two layers, which have no plateau.

    >>> bands = pd.DataFrame({"depth": [3, 4], "widths": ["64-64-64-10", "64-64-64-64-10"]})
    >>> bands = bands.assign(learning_rate=0.1, batch_size=10, n_train=1000, epochs=1, low=0.01)
    >>> left_edges_of_law(bands, bands["depth"] == 3).round(4).tolist()
    [0.01, 0.0302]
    """
    rows = _checked(bands, "low")
    taken = _taken(rows, fit)
    key = pd.Series(0, index=rows.index)
    if by is not None:
        key = checks.frame("bands", bands, (checks.text("by", by),))[by]
    ratio = rows["low"] / rows["critical"]
    usable = taken & (ratio > 0) & (ratio < 1) & (rows["depth"] > 2)
    rates = pd.Series(
        [
            float(np.log(escape_rate(r, int(row.depth), row.learning_rate, row.updates)))
            for r, row in zip(ratio[usable], rows[usable].itertuples(), strict=True)
        ],
        index=rows.index[usable],
        dtype=float,
    )
    of_key = rates.groupby(key[usable]).mean()
    found = []
    for row, log_rate in zip(rows.itertuples(), key.map(of_key), strict=True):
        if row.depth <= 2 or np.isnan(log_rate):
            found.append(np.nan)
            continue
        rate = float(np.exp(log_rate))
        reached = escape_ratio(row.updates, int(row.depth), row.learning_rate, rate)
        found.append(row.critical * float(reached))
    return pd.Series(found, index=rows.index, name="low")


def right_edges_of_law(bands: pd.DataFrame, fit: pd.Series) -> pd.Series[float]:
    r"""Return the right edges by the law :math:`\eta\, r^{L-2} = C`, with C from some of the bands.

    In a network of r times Kaiming's std, gradients are :math:`r^{L-1}` times as large, and weights
    r times, so that :math:`\eta r^{L-2}` says how far a step goes in units of the weights.

    Parameters
    ----------
    bands, fit
        As in :func:`left_edges_of_law`.

    Returns
    -------
    pandas.Series
        Stds, one a band; NaN for two layers, and where there is none to take the constant from.

    >>> bands = pd.DataFrame({"depth": [3, 4], "widths": ["64-64-64-10", "64-64-64-64-10"]})
    >>> bands = bands.assign(learning_rate=0.1, batch_size=10, n_train=1000, epochs=1, high=0.707)
    >>> right_edges_of_law(bands, bands["depth"] == 3).round(3).tolist()
    [0.707, 0.354]
    """
    rows = _checked(bands, "high")
    taken = _taken(rows, fit)
    ratio, power = rows["high"] / rows["critical"], rows["depth"] - 2
    usable = taken & (ratio > 0) & (power > 0)
    if not usable.any():
        return pd.Series(np.nan, index=rows.index, name="high")
    constant = (np.log(rows["learning_rate"]) + power * np.log(ratio))[usable].mean()
    with np.errstate(divide="ignore"):
        logs = (constant - np.log(rows["learning_rate"])) / power.where(power > 0)
    return (rows["critical"] * np.exp(logs)).rename("high")


def decades_off(measured: pd.Series, predicted: pd.Series) -> pd.Series[float]:
    """Return by how many decades measured values lie above predicted ones.

    >>> decades_off(pd.Series([0.1]), pd.Series([0.01])).tolist()
    [1.0]
    """
    for name, values in (("measured", measured), ("predicted", predicted)):
        require(
            isinstance(values, pd.Series) and pd.api.types.is_numeric_dtype(values.dtype),
            f"{name} must be a Series of numbers.",
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log10(measured / predicted)


def band_constants(bands: pd.DataFrame) -> pd.Series[float]:
    """Return the width of each band in decades, times its depth less 2.

    It is the same for all bands by the law of the plateau, :math:`c / T < \\eta r^{L-2} < C`. NaN
    where an edge lies beyond the grid.

    >>> bands = pd.DataFrame({"depth": [4, 6], "decades": [1.0, 0.5]})
    >>> band_constants(bands.assign(open_low=False, open_high=[False, True])).tolist()
    [2.0, nan]
    """
    rows = checks.frame(
        "bands", bands, ("open_low", "open_high"), rows=False, numbers=("depth", "decades")
    )
    known = ~(rows["open_low"].astype(bool) | rows["open_high"].astype(bool))
    return ((rows["depth"] - 2) * rows["decades"]).where(known)


def within_decades(off: pd.Series, margin: float) -> list[bool | None]:
    """Return whether each distance is at most `margin` in size; None where it is NaN.

    >>> within_decades(pd.Series([0.05, -0.2, float("nan")]), 0.1)
    [True, False, None]
    """
    require(
        isinstance(off, pd.Series) and pd.api.types.is_numeric_dtype(off.dtype),
        f"off must be a Series of numbers, not {shown(off)}.",
    )
    margin = checks.number("margin", margin, 0)
    return [None if np.isnan(value) else bool(abs(value) <= margin) for value in off]
