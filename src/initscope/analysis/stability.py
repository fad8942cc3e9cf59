"""Find the stds that train in a sweep, and hold them against the band that the paper states."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from initscope.analysis.sweeps import CONFIGURATION, check_sweep
from initscope.checks import is_number, require
from initscope.errors import shown

__all__ = ["PAPER_BAND", "stability_bands"]

PAPER_BAND = (1e-2, 1e-1)
"""Stds between which ReLU networks train stably, as the paper states it (Han 2025, abstract)."""


def stability_bands(
    table: pd.DataFrame, tolerance: float = 0.1, share: float = 0.8
) -> pd.DataFrame:
    """Return the band of stds that train, measured, for each configuration of a sweep.

    A run *trains* if its final test accuracy has gone at least ``1 - tolerance`` of the way from
    chance, ``1 / n_classes``, to the best of its configuration: the highest median over seeds of
    any std (of equal medians, the one with the highest mean). A std is in the band if at least
    `share` of its seeds train; the band is the unbroken stretch of such stds around the best of
    them. A configuration whose best is less than half way from chance to 1 has no band: nothing
    trains in it.

    Parameters
    ----------
    table
        Result of :func:`initscope.sweep.run_sweep`; only runs of scheme ``"normal"`` count.
    tolerance
        Between 0 and 1.
    share
        Above 0, at most 1.

    Returns
    -------
    pandas.DataFrame
        One row a configuration: its columns, then ``best_std``, ``best_accuracy``, ``low`` and
        ``high`` (std, NaN without a band), ``decades`` (``log10(high / low)``), ``open_low`` and
        ``open_high`` (the band reaches the end of the grid: the true edge lies beyond), and
        ``paper_share``, the share of the stds of the grid inside the paper's band that are in the
        measured one (NaN if the grid has none there).

    >>> runs = pd.DataFrame({"std": [0.01, 0.1, 1.0], "test_accuracy": [0.1, 0.9, 0.85]})
    >>> runs = runs.assign(dataset="digits", widths="64-8-10", depth=2, activation="relu", seed=0)
    >>> runs = runs.assign(optimizer="sgd", learning_rate=0.1, momentum=0.0, batch_size=32)
    >>> runs = runs.assign(n_train=1347, epochs=3, scheme="normal")
    >>> stability_bands(runs)[["low", "high", "best_std"]].to_dict("records")
    [{'low': 0.1, 'high': 1.0, 'best_std': 0.1}]
    """
    require(
        is_number(tolerance, 0) and 0 < tolerance < 1,
        f"tolerance must lie between 0 and 1, not {shown(tolerance)}.",
    )
    require(
        is_number(share, 0) and 0 < share <= 1,
        f"share must be above 0 and at most 1, not {shown(share)}.",
    )
    check_sweep(table, ["scheme", *CONFIGURATION, "std", "seed", "test_accuracy"])
    runs = table.loc[table["scheme"] == "normal", [*CONFIGURATION, "std", "seed", "test_accuracy"]]
    runs.attrs = {}  # pandas copies all of it, the specification too, in every operation
    require(len(runs) > 0, "the table has no runs of scheme 'normal': nothing to find a band in.")
    require(bool((runs["std"] >= 0).all()), "the stds of the table must be at least 0.")
    rows = []
    for key, group in runs.groupby(CONFIGURATION, sort=False):
        rows.append(dict(zip(CONFIGURATION, key, strict=True)) | _band(group, tolerance, share))
    return pd.DataFrame(rows)


def _band(group: pd.DataFrame, tolerance: float, share: float) -> dict[str, Any]:
    accuracy = group.pivot_table(index="std", columns="seed", values="test_accuracy")
    n_classes = int(str(group["widths"].iloc[0]).rsplit("-", 1)[-1])
    median = accuracy.median(axis=1)
    chance = 1 / n_classes
    ranking = np.lexsort((accuracy.mean(axis=1), median))  # the best last
    best = float(median.iloc[ranking[-1]])
    stds = accuracy.index.to_numpy()
    found: dict[str, Any] = {
        "best_std": float(stds[ranking[-1]]),
        "best_accuracy": best,
        "low": math.nan,
        "high": math.nan,
        "decades": math.nan,
        "open_low": False,
        "open_high": False,
        "paper_share": math.nan,
    }
    inside = np.zeros(len(stds), dtype=bool)
    if best - chance >= (1 - chance) / 2:
        trains = accuracy >= chance + (1 - tolerance) * (best - chance)
        enough = trains.mean(axis=1).to_numpy() >= share
        if enough.any():
            position = ranking[enough[ranking]][-1]
            failing = np.flatnonzero(~enough)
            first = failing[failing < position].max(initial=-1) + 1
            last = failing[failing > position].min(initial=len(stds)) - 1
            inside[first : last + 1] = True
            found |= {
                "low": float(stds[first]),
                "high": float(stds[last]),
                "decades": math.log10(stds[last] / stds[first]),
                "open_low": bool(first == 0),
                "open_high": bool(last == len(stds) - 1),
            }
    # The grid holds decimal numbers, so an edge of the paper's band may be off by rounding.
    in_paper = (stds > PAPER_BAND[0] * 0.999) & (stds < PAPER_BAND[1] * 1.001)
    if in_paper.any():
        found["paper_share"] = float(inside[in_paper].mean())
    return found
