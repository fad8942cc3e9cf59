"""Recorded training runs as the widget shows them, and as they are packed; see `codec`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from initscope import checks
from initscope.checks import require
from initscope.errors import shown
from initscope.plots.weights import ROLE_NAMES
from initscope.schema import COLUMNS, HISTOGRAM_COLUMNS
from initscope.widgets.codec import FLOAT, WHOLE, Reader, Writer

__all__: list[str] = []  # for this package alone

if TYPE_CHECKING:
    import pandas as pd

NAMES = {**ROLE_NAMES, "output": "output layer"}
"""What the reader reads for a role; others are read as they are."""

MOST_BINS = 20
"""Of a histogram that is sent; neighboring bins are put together until there are no more."""


@dataclass(frozen=True, eq=False)
class Matrices:
    """The matrices of one role in a run.

    Attributes
    ----------
    name
        What the reader reads for the role.
    layers
        The layers that have such a matrix.
    std
        Std of the weights, shape (layers, steps), NaN where none was recorded.
    predicted
        The same as theory has it, or None.
    edges, counts
        Of the histograms: lowest and highest edge, shape (layers, histogram steps, 2), NaN where
        there is no histogram; and how many weights are in each of the even bins between, shape
        (layers, histogram steps, bins).
    """

    name: str
    layers: list[int]
    std: np.ndarray
    predicted: np.ndarray | None
    edges: np.ndarray
    counts: np.ndarray

    def curves(self, quantity: str) -> tuple[np.ndarray, np.ndarray]:
        """Return measured and predicted `std`, or `ratio`, std over that measured at the start.

        Both of shape (layers, steps), NaN where there is none.
        """
        guess = np.full_like(self.std, np.nan) if self.predicted is None else self.predicted
        if quantity == "std":
            return self.std, guess
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.std / self.std[:, :1], guess / self.std[:, :1]

    def at(self, columns: Sequence[int], histograms: Sequence[int]) -> Matrices:
        """Return only these columns of the std, and of the histograms."""
        guess = self.predicted
        return dataclasses.replace(
            self,
            std=self.std[:, columns],
            predicted=None if guess is None else guess[:, columns],
            edges=self.edges[:, histograms],
            counts=self.counts[:, histograms],
        )


@dataclass(frozen=True, eq=False)
class RecordedRun:
    """A training run as the widget shows it.

    Attributes
    ----------
    label
        What the reader chooses it by; empty if it is the only one.
    steps, histogram_steps
        At which the std and the histograms are known; the latter are among the former.
    roles
        Role -> its matrices.
    adamw
        Arguments of the theory that predicts, or None.
    folder
        Of the record that the code shown to the reader names; empty for a run of the reader's own.
    ending
        A sentence on a run that did not come to its end; empty for others.
    """

    label: str
    steps: list[int]
    histogram_steps: list[int]
    roles: dict[str, Matrices]
    adamw: dict[str, Any] | None = None
    folder: str = ""
    ending: str = ""

    def thinned(self, last: int, points: int, histogram_points: int) -> RecordedRun:
        """Return about `points` steps of it, those nearest to even ones from 0 to `last`."""
        known = _thin(self.histogram_steps, last, histogram_points)
        steps = sorted({*_thin(self.steps, last, points), *known})
        columns = [self.steps.index(step) for step in steps]
        histograms = [self.histogram_steps.index(step) for step in known]
        roles = {role: found.at(columns, histograms) for role, found in self.roles.items()}
        return dataclasses.replace(self, steps=steps, histogram_steps=known, roles=roles)


def _thin(steps: list[int], last: int, points: int) -> list[int]:
    """Return all if they are few; else the first, the last, and those nearest to even ones."""
    if len(steps) <= points:
        return steps
    known = np.array(steps)
    near = np.abs(known[:, None] - np.linspace(0, last, points)).argmin(axis=0)
    return sorted({steps[0], steps[-1], *known[near].tolist()})


def recorded_run(
    frame: pd.DataFrame,
    histograms: pd.DataFrame | None = None,
    predictions: pd.DataFrame | None = None,
    *,
    roles: Sequence[str],
    label: str = "",
    folder: str = "",
    ending: str = "",
) -> RecordedRun:
    """Make a run of its tables; see :meth:`initscope.widgets.QKVTraining.from_record`.

    Those of `roles` are kept that it has.

    Raises
    ------
    UsageError
        A table without its columns, without a std of weights, or with a row twice; histograms at
        steps whose std was not recorded, or of different numbers of bins.
    """
    std = std_table(frame)
    steps = [int(step) for step in std.columns]
    guess = None if predictions is None else std_table(predictions, "predictions")
    counted: list[int] = []
    bins: dict[tuple[str, int, int], Any] = {}
    if histograms is not None:
        counted, bins = _histogram_rows(histograms, steps)
    n_bins = max((len(row.counts) for row in bins.values()), default=0)
    present = set(std.index.get_level_values("role"))
    found = {}
    for role in roles:
        if role not in present:
            continue
        rows = std.loc[role]
        layers = [int(layer) for layer in rows.index]
        predicted = None
        if guess is not None and role in guess.index.get_level_values("role"):
            predicted = guess.loc[role].reindex(index=layers, columns=std.columns).to_numpy(float)
        edges = np.full((len(layers), len(counted), 2), np.nan)
        counts = np.zeros((len(layers), len(counted), n_bins), np.int64)
        for place in np.ndindex(edges.shape[:2]):
            row = bins.get((role, layers[place[0]], counted[place[1]]))
            if row is not None:
                edges[place] = row.low, row.high
                counts[place] = row.counts
        name = NAMES.get(role, role)
        found[role] = Matrices(
            name, layers, rows.to_numpy(float), predicted, edges, _merged(counts)
        )
    adamw = None if predictions is None else predictions.attrs.get("adamw")
    return RecordedRun(label, steps, counted, found, adamw, folder, ending)


def std_table(frame: pd.DataFrame, name: str = "frame") -> pd.DataFrame:
    """Return the std of each weight matrix: a row for each (role, layer), a column a step."""
    _require_columns(frame, COLUMNS, name)
    checks.frame(name, frame, numbers=("step", "layer", "value"), texts=("role",), rows=False)
    rows = frame[(frame["kind"] == "weight") & (frame["stat"] == "std")]
    require(len(rows) > 0, f"{name} has no row with kind 'weight' and stat 'std'.")
    twice = rows.duplicated(["step", "layer", "role"])
    require(
        not twice.any(),
        f"{name} has two rows for one step, layer and role: "
        f"{rows.loc[twice, ['step', 'layer', 'role']].head(1).to_dict('records')}.",
    )
    return rows.pivot(index=["role", "layer"], columns="step", values="value")  # noqa: PD010


def _require_columns(frame: pd.DataFrame, columns: Sequence[str], name: str) -> None:
    checks.frame(name, frame, rows=False)
    lacking = [column for column in columns if column not in frame]
    require(not lacking, f"{name} has no column {' or '.join(lacking)}: it needs {columns}.")


def _histogram_rows(
    frame: pd.DataFrame, steps: list[int]
) -> tuple[list[int], dict[tuple[str, int, int], Any]]:
    """Return the steps of the histograms, and (role, layer, step) -> row of the table."""
    _require_columns(frame, HISTOGRAM_COLUMNS, "histograms")
    if len(frame):
        checks.frame("histograms", frame, numbers=("step", "layer", "low", "high"), texts=("role",))
        checks.number_lists("histograms", frame, "counts")
        require(
            bool(frame[["step", "layer"]].notna().all(axis=None)),
            "histograms has rows without a step or a layer.",
        )
    counted = sorted({int(step) for step in frame["step"].unique()})
    unknown = sorted(set(counted) - set(steps))
    require(not unknown, f"histograms are of steps whose std was not recorded: {shown(unknown)}.")
    bins = sorted(set(map(len, frame["counts"])))
    require(len(bins) <= 1, f"histograms must all have the same number of bins, not {bins}.")
    return counted, {(row.role, row.layer, row.step): row for row in frame.itertuples()}


def _merged(counts: np.ndarray) -> np.ndarray:
    """Put neighboring bins together, by the smallest factor that leaves few enough."""
    bins = counts.shape[-1]
    factors = (n for n in range(1, bins + 1) if bins % n == 0 and bins // n <= MOST_BINS)
    factor = next(factors, 1)
    return counts.reshape(*counts.shape[:-1], bins // factor, factor).sum(axis=-1)


# --- Bytes -----------------------------------------------------------------------------------


def pack(runs: Sequence[RecordedRun]) -> tuple[list[dict[str, Any]], bytes]:
    """Return descriptions of the runs, plain values, and the bytes of their numbers."""
    descriptions = []
    writer = Writer()
    for run in runs:
        known = [run.steps.index(step) for step in run.histogram_steps]
        roles = []
        for role, found in run.roles.items():
            writer.add(found.std, FLOAT, (1,))
            if found.predicted is not None:
                writer.add(found.predicted, FLOAT, (1,))
            # In units of the std, the edges of all histograms are about the same.
            with np.errstate(divide="ignore", invalid="ignore"):
                edges = found.edges / found.std[:, known, None]
            writer.add(edges, FLOAT, (0, 1))
            writer.add(found.counts, WHOLE)
            roles.append(
                {
                    "role": role,
                    "name": found.name,
                    "layers": found.layers,
                    "predicted": found.predicted is not None,
                    "bins": found.counts.shape[-1],
                }
            )
        names = ("label", "steps", "histogram_steps", "adamw", "folder", "ending")
        descriptions.append({name: getattr(run, name) for name in names} | {"roles": roles})
    return descriptions, writer.packed()


def unpack(descriptions: Sequence[dict[str, Any]], data: bytes) -> list[RecordedRun]:
    """Return the runs as the browser sees them, of what :func:`pack` returned."""
    reader = Reader(data)
    runs = []
    for described in descriptions:
        run = dict(described)
        steps, counted = run["steps"], run["histogram_steps"]
        known = [steps.index(step) for step in counted]
        roles = {}
        for found in run.pop("roles"):
            layers = found["layers"]
            shape = (len(layers), len(steps))
            std = reader.take(shape, FLOAT, (1,))
            predicted = reader.take(shape, FLOAT, (1,)) if found["predicted"] else None
            edges = reader.take((len(layers), len(counted), 2), FLOAT, (0, 1))
            with np.errstate(invalid="ignore"):
                edges = edges * std[:, known, None]
            counts = reader.take((len(layers), len(counted), found["bins"]), WHOLE)
            roles[found["role"]] = Matrices(found["name"], layers, std, predicted, edges, counts)
        runs.append(RecordedRun(**run, roles=roles))
    return runs
