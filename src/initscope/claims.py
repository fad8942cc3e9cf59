"""A claim of the paper, what was measured, and the verdict."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from initscope import checks
from initscope.checks import is_number, require, require_name
from initscope.errors import UsageError, shown
from initscope.records import atomic_write

__all__ = ["CONFIGURATION", "OUTCOMES", "PAPER_BAND", "Verdict", "outcome_of", "stability_bands"]

PAPER_BAND = (1e-2, 1e-1)
"""Stds between which ReLU networks train stably, as the paper states it (Han 2025, abstract)."""

OUTCOMES = ("holds", "holds where", "does not hold here")

CONFIGURATION = ["dataset", "widths", "depth", "activation", "optimizer", "learning_rate"]
CONFIGURATION += ["momentum", "batch_size", "n_train", "epochs"]
"""Columns of a sweep that, beside the std and the seed, say which run it is."""


SWEEP_TEXTS = frozenset({"dataset", "widths", "activation", "scheme", "optimizer"})
STEPS_OF = {
    "loss": "loss_step",
    **dict.fromkeys(("forward_variance", "backward_variance", "gradient_norm"), "probe_step"),
    **dict.fromkeys(("dead_fraction", "weight_std"), "probe_step"),
}
"""Columns with a list in each row, to the column that says of which steps it is."""


def check_sweep(table: object, columns: Sequence[str], lists: Sequence[str] = ()) -> pd.DataFrame:
    """Return `table` if it has `columns` as :func:`initscope.sweep.run_sweep` fills them.

    `lists` are those of :data:`STEPS_OF` that are needed too, a list in each row.
    """
    columns = list(dict.fromkeys([*columns, *(["depth"] if set(lists) - {"loss"} else [])]))
    runs = checks.frame(
        "table",
        table,
        [column for column in columns if column == "diverged_step"],
        numbers=[c for c in columns if c not in SWEEP_TEXTS and c != "diverged_step"],
        texts=[column for column in columns if column in SWEEP_TEXTS],
    )
    if "widths" in columns:
        require(
            bool(runs["widths"].str.fullmatch(r"[1-9][0-9]{0,8}(-[1-9][0-9]{0,8})+").all()),
            "the column widths of the table must hold text like '784-256-10'.",
        )
    if "batch_size" in columns and "n_train" in columns:
        require(
            bool((runs["batch_size"] >= 1).all() and (runs["n_train"] >= runs["batch_size"]).all()),
            "the table must have a batch_size of 1 to n_train in every row.",
        )
    if "diverged_step" in columns:
        steps = runs["diverged_step"]
        require(
            pd.api.types.is_numeric_dtype(steps) or bool(steps.isna().all()),
            "the column diverged_step of the table must hold numbers.",
        )
    if lists:
        require(
            runs.index.is_unique,
            "the table has rows of one index twice: put tables together with ignore_index=True.",
        )
    for name in lists:
        checks.number_lists("table", runs, STEPS_OF[name])
        checks.number_lists("table", runs, name)
        each = 1 if name == "loss" else runs["depth"]
        require(
            bool((runs[name].map(len) == runs[STEPS_OF[name]].map(len) * each).all()),
            f"the column {name} of the table must have a number for each step of "
            f"{STEPS_OF[name]}{'' if name == 'loss' else ' and each layer'}.",
        )
    return runs


def stability_bands(
    table: pd.DataFrame, tolerance: float = 0.1, share: float = 0.8
) -> pd.DataFrame:
    """Band of stds that train, measured, for each configuration of a sweep.

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


def outcome_of(cases_for: int, cases_against: int) -> str:
    """Return the outcome of a claim that was tried in several cases.

    It holds if nothing speaks against it and something for it, and does not hold if nothing does.

    Parameters
    ----------
    cases_for, cases_against
        Numbers of cases. One that decides nothing is in neither.

    >>> outcome_of(10, 0), outcome_of(10, 2), outcome_of(0, 12)
    ('holds', 'holds where', 'does not hold here')
    """
    for name, cases in (("cases_for", cases_for), ("cases_against", cases_against)):
        require(
            is_number(cases, 0, whole=True),
            f"{name} must be a whole number of at least 0, not {shown(cases)}.",
        )
    if not cases_for:
        return "does not hold here"
    return "holds where" if cases_against else "holds"


@dataclass(frozen=True)
class Verdict:
    """What became of a claim, as a record that other pages can show.

    Attributes
    ----------
    claim
        Short name, the file name of the record.
    statement
        The claim in a sentence.
    source
        Where the paper makes it.
    outcome
        One of :data:`OUTCOMES`.
    conditions
        Where it holds and where not, in a sentence or two, with figures.
    figure
        Label of the figure it rests on.
    measurements
        The numbers it rests on.
    profile
        Profile of the run that they come from.
    """

    claim: str
    statement: str
    source: str
    outcome: str
    conditions: str
    figure: str
    measurements: Mapping[str, float | int | str | bool] = field(default_factory=dict)
    profile: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("claim", "statement", "source", "outcome", "conditions", "figure", "profile"):
            require(
                isinstance(getattr(self, name), str),
                f"{name} must be text, not {shown(getattr(self, name))}.",
            )
        require_name("outcome", self.outcome, OUTCOMES)
        require(bool(self.claim) and Path(self.claim).name == self.claim, "a claim needs a name.")
        checks.mapping("measurements", self.measurements)

    def write(self, folder: str | Path) -> Path:
        """Write ``<claim>.json`` to `folder`, whole or not at all; returns its path."""
        checks.file_path("folder", folder)
        path = Path(folder) / f"{self.claim}.json"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"the folder {folder} cannot be made ({error.strerror}).") from error
        try:
            text = json.dumps(
                asdict(self), indent=1, ensure_ascii=False, allow_nan=False, default=_plain_number
            )
        except (TypeError, ValueError) as error:
            raise UsageError(f"{self.claim}: a measurement is no finite number: {error}.") from None
        with atomic_write(path) as part:
            part.write_text(text + "\n", encoding="utf8")
        return path

    @classmethod
    def read(cls, path: str | Path) -> Verdict:
        """Read a record; raises `UsageError` if it is not one."""
        checks.file_path("path", path)
        try:
            return cls(**json.loads(Path(path).read_text(encoding="utf8")))
        except (OSError, TypeError, ValueError) as error:
            raise UsageError(
                f"the path {path} is not the record of a verdict ({shown(str(error))})."
            ) from error


def _plain_number(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} is neither a number nor text")
