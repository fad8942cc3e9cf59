"""Find the stds that train in a sweep, and hold them against the band that the paper states."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from initscope import checks
from initscope.analysis.intervals import bootstrap_interval
from initscope.analysis.sweeps import CONFIGURATION, check_sweep
from initscope.checks import is_number, require
from initscope.errors import shown

__all__ = ["PAPER_BAND", "after_epoch", "band_cases", "edge_cases", "stability_bands"]

PAPER_BAND = (1e-2, 1e-1)
"""Stds between which ReLU networks train stably, as the paper states it (Han 2025, abstract)."""


def stability_bands(
    table: pd.DataFrame,
    tolerance: float = 0.1,
    choose: str = "validation_accuracy",
    resamples: int = 1000,
) -> pd.DataFrame:
    """Return the band of stds that train, measured, for each configuration of a sweep.

    The best std of a configuration is that with the highest median over seeds of the validation
    accuracy (of equal medians, the one with the highest mean). A run *trains* if its final test
    accuracy has gone at least ``1 - tolerance`` of the way from chance, ``1 / n_classes``, to the
    median test accuracy of the best std. The band of a seed is the unbroken stretch of stds round
    the best in which its runs train; an edge of it is the geometric mean of the two neighbouring
    stds of which one trains and the other does not. The edges of the configuration are the medians
    over its seeds: half of the seeds train at least as far out, whatever their number. A
    configuration whose best is less than half way from chance to 1 has no band: nothing trains.

    Parameters
    ----------
    table
        Result of :func:`initscope.sweep.run_sweep`; only runs of scheme ``"normal"`` count.
    tolerance
        Between 0 and 1.
    choose
        Column by which the best std is chosen. Where the table has no validation accuracies, it
        is the test accuracy.
    resamples
        Of the seeds, for the intervals; 0 for none, which is faster.

    Returns
    -------
    pandas.DataFrame
        One row a configuration: its columns, then ``best_std``, ``best_accuracy``, the edges
        ``low`` and ``high`` (std, NaN without a band) with their 95% intervals over seeds,
        ``low_from``, ``low_to``, ``high_from``, ``high_to`` (bootstrap, the best std chosen anew in
        each resample; NaN for a single seed or without resamples), the same widened by the grid,
        ``low_least``, ``low_most``, ``high_least``, ``high_most``, ``decades``
        (``log10(high / low)``), ``open_low`` and ``open_high`` (the band reaches the end of the
        grid, which stands for the edge: the true one lies beyond), and ``paper_share``, how much of
        the paper's band lies within, in decades
        (NaN if the grid has no std there).

    Notes
    -----
    The edge of a seed is known to lie between two stds of the grid and no better, and where all
    seeds change sides between the same two, no resample of them says otherwise: the interval over
    seeds then has no width. The widened one is that of the median over seeds if each edge may lie
    anywhere between its two stds: for such seeds, from the one std to the other.

    >>> runs = pd.DataFrame({"std": [0.01, 0.1, 1.0], "test_accuracy": [0.1, 0.9, 0.85]})
    >>> runs = runs.assign(dataset="digits", widths="64-8-10", depth=2, activation="relu", seed=0)
    >>> runs = runs.assign(optimizer="sgd", learning_rate=0.1, momentum=0.0, batch_size=32)
    >>> runs = runs.assign(n_train=1347, epochs=3, scheme="normal")
    >>> stability_bands(runs)[["low", "high", "best_std"]].round(4).to_dict("records")
    [{'low': 0.0316, 'high': 1.0, 'best_std': 0.1}]
    """
    require(
        is_number(tolerance, 0) and 0 < tolerance < 1,
        f"tolerance must lie between 0 and 1, not {shown(tolerance)}.",
    )
    checks.choice("choose", choose, ("validation_accuracy", "test_accuracy"))
    resamples = checks.whole("resamples", resamples, 0, 1_000_000)
    columns = ["scheme", *CONFIGURATION, "std", "seed", "test_accuracy"]
    check_sweep(table, columns)
    if choose not in table or bool(table[choose].isna().all()):
        choose = "test_accuracy"
    check_sweep(table, [choose])
    kept = [*CONFIGURATION, "std", "seed", "test_accuracy"]
    runs = table.loc[table["scheme"] == "normal", list(dict.fromkeys([*kept, choose]))]
    runs.attrs = {}  # pandas copies all of it, the specification too, in every operation
    require(len(runs) > 0, "the table has no runs of scheme 'normal': nothing to find a band in.")
    require(bool((runs["std"] >= 0).all()), "the stds of the table must be at least 0.")
    rows = []
    for key, group in runs.groupby(CONFIGURATION, sort=False):
        band = _band(group, tolerance, choose, resamples)
        rows.append(dict(zip(CONFIGURATION, key, strict=True)) | band)
    return pd.DataFrame(rows)


class _Edges(NamedTuple):
    """What resamples of the seeds give; the edges in decades, infinite beyond the grid.

    Of each edge three: with that of every seed half way between its two stds, at the lower of the
    two, and at the upper.
    """

    best: np.ndarray
    accuracy: np.ndarray
    low: np.ndarray
    high: np.ndarray


def _band(group: pd.DataFrame, tolerance: float, choose: str, resamples: int) -> dict[str, Any]:
    """Return the band of one configuration, with the intervals of its edges."""
    tested = group.pivot_table(index="std", columns="seed", values="test_accuracy", sort=True)
    chosen = group.pivot_table(index="std", columns="seed", values=choose, sort=True)
    n_classes = int(str(group["widths"].iloc[0]).rsplit("-", 1)[-1])
    stds, n_seeds = tested.index.to_numpy(float), tested.shape[1]
    arrays = tested.to_numpy(float), chosen.reindex_like(tested).to_numpy(float)
    found = _edges(stds, *arrays, np.arange(n_seeds)[None], 1 / n_classes, tolerance)
    low, high = float(found.low[0, 0]), float(found.high[0, 0])
    row: dict[str, Any] = {
        "best_std": float(stds[found.best[0]]),
        "best_accuracy": float(found.accuracy[0]),
    }
    trains, on_grid = low < high, (stds.min(), stds.max())
    row |= {
        "low": _on_grid(low, on_grid) if trains else math.nan,
        "high": _on_grid(high, on_grid) if trains else math.nan,
    }
    names = [f"{edge}_{end}" for edge in ("low", "high") for end in ("from", "to")]
    names += [f"{edge}_{end}" for edge in ("low", "high") for end in ("least", "most")]
    row |= dict.fromkeys(names, math.nan)
    if trains and n_seeds > 1 and resamples:
        draws = np.random.default_rng(0).integers(n_seeds, size=(resamples, n_seeds))
        resampled = _edges(stds, *arrays, draws, 1 / n_classes, tolerance)
        sides = (resampled.low, resampled.high)
        between = [bootstrap_interval(middle, n_seeds) for middle, _, _ in sides]
        within = [
            (bootstrap_interval(lower, n_seeds)[0], bootstrap_interval(upper, n_seeds)[1])
            for _, lower, upper in sides
        ]
        ends = [end for interval in (*between, *within) for end in interval]
        row |= {name: _on_grid(end, on_grid) for name, end in zip(names, ends, strict=True)}
    row["decades"] = math.log10(row["high"] / row["low"]) if trains and row["low"] else math.nan
    row["open_low"], row["open_high"] = trains and math.isinf(low), trains and math.isinf(high)
    # The grid holds decimal numbers, so an edge of the paper's band may be off by rounding.
    in_paper = (stds > PAPER_BAND[0] * 0.999) & (stds < PAPER_BAND[1] * 1.001)
    first, last = np.log10(PAPER_BAND)
    overlap = max(0.0, min(high, last) - max(low, first)) / (last - first)
    row["paper_share"] = overlap if in_paper.any() else math.nan
    return row


def _on_grid(edge: float, ends: tuple[float, float]) -> float:
    """Return the std of an edge in decades; beyond the grid, the end of the grid."""
    if math.isinf(edge):
        return float(ends[edge > 0])
    return float(10**edge)


def _edges(
    stds: np.ndarray,
    tested: np.ndarray,
    chosen: np.ndarray,
    seeds: np.ndarray,
    chance: float,
    tolerance: float,
) -> _Edges:
    """Return best std and edges for each row of `seeds`; `tested`, `chosen` are stds × seeds.

    The edges are 3 × rows. A row in which nothing trains has its low edge at infinity and its high
    one below all.
    """
    accuracy, chosen = tested[:, seeds], chosen[:, seeds]  # stds, resamples, seeds
    with np.errstate(invalid="ignore"):
        chosen = np.nan_to_num(chosen, nan=-np.inf)
    ranking = np.lexsort((chosen.mean(axis=2), np.median(chosen, axis=2)), axis=0)
    best = ranking[-1]  # of each resample
    rows = np.arange(len(seeds))
    reached = np.median(accuracy, axis=2)[best, rows]
    trains = accuracy >= (chance + (1 - tolerance) * (reached - chance))[None, :, None]
    position = np.arange(len(stds))[:, None, None]
    failing = ~trains
    below = np.where(failing & (position <= best[:, None]), position, -1).max(axis=0)
    above = np.where(failing & (position >= best[:, None]), position, len(stds)).min(axis=0)
    with np.errstate(divide="ignore"):
        decades = np.log10(stds)
    at = np.concatenate([[-np.inf], decades, [np.inf]])
    middle = np.concatenate([[-np.inf], (decades[1:] + decades[:-1]) / 2, [np.inf]])
    places = np.stack([middle, at[:-1], at[1:]])
    # A seed that fails at the best std has no stretch round it: an empty one.
    broken = trains[best, rows] == 0
    low = np.where(broken, np.inf, places[:, np.clip(below + 1, 0, len(stds))])
    high = np.where(broken, -np.inf, places[:, np.clip(above, 0, len(stds))])
    low, high = _median(low), _median(high)
    nothing = reached - chance < (1 - chance) / 2
    return _Edges(best, reached, np.where(nothing, np.inf, low), np.where(nothing, -np.inf, high))


def _median(values: np.ndarray) -> np.ndarray:
    """Return the median along the last axis; between two of which one is infinite, that one."""
    ordered = np.sort(values, axis=-1)
    lower = ordered[..., (values.shape[-1] - 1) // 2]
    upper = ordered[..., values.shape[-1] // 2]
    with np.errstate(invalid="ignore"):
        middle = (lower + upper) / 2
    return np.where(np.isnan(middle), lower, middle)


def after_epoch(table: pd.DataFrame, epoch: int) -> pd.DataFrame:
    """Return a sweep as it was after some epochs of its training, with the accuracies at that time.

    Parameters
    ----------
    table
        Result of :func:`initscope.sweep.run_sweep` with one evaluation an epoch.
    epoch
        From 1 to the number of its epochs.

    Returns
    -------
    pandas.DataFrame
        The table with ``test_accuracy``, ``validation_accuracy`` (where there is one) and
        ``epochs`` of that time; with a constant learning rate this is the sweep of so many epochs.

    >>> runs = pd.DataFrame({"epochs": [2], "accuracy_by_epoch": [[0.1, 0.7, 0.9]]})
    >>> float(after_epoch(runs, 1)["test_accuracy"].iloc[0])
    0.7
    """
    runs = checks.frame("table", table, ("accuracy_by_epoch",), numbers=("epochs",))
    checks.number_lists("table", runs, "accuracy_by_epoch")
    last = int(runs["epochs"].min())
    epoch = checks.whole("epoch", epoch, 1, last)
    require(
        bool((runs["accuracy_by_epoch"].map(len) == runs["epochs"] + 1).all()),
        "the table must have one accuracy before the training and one after each epoch.",
    )
    changed = {"test_accuracy": [run[epoch] for run in runs["accuracy_by_epoch"]], "epochs": epoch}
    by_epoch = "validation_accuracy_by_epoch"
    if by_epoch in runs and bool(runs[by_epoch].notna().all()):
        changed["validation_accuracy"] = [run[epoch] for run in runs[by_epoch]]
    return runs.assign(**changed)


def band_cases(bands: pd.DataFrame) -> list[bool | None]:
    """Return whether each band contains the paper's; None where the seeds leave it open.

    It does not if an edge lies inside the paper's band with all of its interval, or if there is no
    band. If the interval of such an edge reaches out of the paper's band, nothing is decided.

    Parameters
    ----------
    bands
        Result of :func:`stability_bands`.

    >>> edges = {"low": 0.02, "low_from": 0.008, "low_to": 0.03}
    >>> edges |= {"high": 0.5, "high_from": 0.4, "high_to": 0.6}
    >>> band_cases(pd.DataFrame([edges, edges | {"low_from": 0.012}, edges | {"low": 0.005}]))
    [None, False, True]
    """
    columns = ("low", "low_from", "low_to", "high", "high_from", "high_to")
    rows = checks.frame("bands", bands, rows=False, numbers=columns)
    first, last = PAPER_BAND[0] * 1.001, PAPER_BAND[1] * 0.999  # the grid holds decimal numbers
    cases: list[bool | None] = []
    for band in rows[list(columns)].itertuples():
        if math.isnan(band.low):
            cases.append(False)
            continue
        inside = [band.low > first, band.high < last]
        sure = [not band.low_from <= first, not band.high_to >= last]
        if not any(inside):
            cases.append(True)
        elif any(i and s for i, s in zip(inside, sure, strict=True)):
            cases.append(False)
        else:
            cases.append(None)
    return cases


def edge_cases(bands: pd.DataFrame, factor: float = 2.0) -> list[bool]:
    """Return whether both edges of each band lie within a factor of those of the paper's band.

    Parameters
    ----------
    bands
        Result of :func:`stability_bands`. An edge beyond the grid lies beyond any factor.
    factor
        Above 1.

    >>> bands = pd.DataFrame({"low": [0.006, 0.001], "high": [0.15, 0.15]})
    >>> edge_cases(bands.assign(open_low=False, open_high=False))
    [True, False]
    """
    rows = checks.frame(
        "bands", bands, ("open_low", "open_high"), rows=False, numbers=("low", "high")
    )
    require(
        is_number(factor, 1) and factor > 1,
        f"factor must be a number above 1, not {shown(factor)}.",
    )
    near = pd.Series(True, index=rows.index)
    for edge, of_paper in zip(("low", "high"), PAPER_BAND, strict=True):
        distance = np.log(rows[edge] / of_paper).abs()
        near &= (distance <= math.log(factor)) & ~rows[f"open_{edge}"].astype(bool)
    return [bool(value) for value in near]
