"""Q, K and V through training: a recorded run, step by step, with the AdamW prediction over it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import traitlets
from matplotlib.figure import Figure

from initscope import checks
from initscope.checks import is_number, require, require_name
from initscope.errors import shown
from initscope.plots.recorded_run import recorded_run as recorded_run_figure
from initscope.widgets.base import BookWidget
from initscope.widgets.qkv_training.pretrained_runs import pretrained_run
from initscope.widgets.qkv_training.runs import (
    Matrices,
    RecordedRun,
    pack,
    recorded_run,
    std_table,
    unpack,
)

__all__ = ["QKVTraining"]

QUANTITIES = ("std", "ratio")


class QKVTraining(BookWidget):
    """The std of Q, K and V in every layer of a run, its histograms, and what AdamW theory says.

    Made by :meth:`from_folder` or :meth:`from_folders` from runs of
    :func:`initscope.pretrain.pretrain`, or by :meth:`from_record` from tables.

    Attributes
    ----------
    run
        Label of the run that is looked at. When it changes, the settings below that it does not
        have go to the nearest or first that it has.
    step
        The step that is looked at, one of those shown of the run.
    role
        The matrix: `q`, `k`, `v`, or another role of the record.
    layer
        The layer drawn in bold, and of the histogram; blocks are counted from 1, and 0 is that of
        the embeddings.
    quantity
        `std` of the weights, or `ratio`, std over initial std.
    show_prediction
        Whether the prediction is drawn and told, where there is one.
    recorded, numbers
        What is shown: descriptions of the runs, and their numbers, packed.
    """

    module: ClassVar[str] = "qkv_training/widget.mjs"

    recorded = traitlets.Dict().tag(sync=True)
    numbers = traitlets.Bytes().tag(sync=True)
    run = traitlets.Unicode().tag(sync=True)
    step = traitlets.Int().tag(sync=True)
    role = traitlets.Unicode().tag(sync=True)
    layer = traitlets.Int().tag(sync=True)
    quantity = traitlets.Unicode("std").tag(sync=True)
    show_prediction = traitlets.Bool(True).tag(sync=True)

    def __init__(
        self, recorded: Mapping[str, Any] | None = None, numbers: bytes = b"", **settings: Any
    ) -> None:
        require(
            isinstance(recorded, Mapping) and "runs" in recorded,
            "QKVTraining shows records: make it with from_folder, from_folders or from_record.",
        )
        assert recorded is not None
        self.runs = {run.label: run for run in unpack(recorded["runs"], numbers)}
        run = self.runs.get(settings.get("run", ""), next(iter(self.runs.values())))
        role = settings.get("role")
        layers = run.roles.get(str(role), next(iter(run.roles.values()))).layers
        start = {
            "run": run.label,
            "step": run.steps[-1],
            "role": next(iter(run.roles)),
            "layer": layers[len(layers) // 2],
        }
        super().__init__(recorded=dict(recorded), numbers=numbers, **(start | settings))
        self.observe(self._settle, ["run", "step", "role", "layer", "quantity", "show_prediction"])
        self._settle()

    @classmethod
    def from_folder(
        cls, folder: str | Path, *, roles: Sequence[str] = ("q", "k", "v"), **settings: Any
    ) -> QKVTraining:
        """Make the widget over one run of :func:`initscope.pretrain.pretrain`.

        Parameters and errors are those of :meth:`from_folders`.
        """
        return cls.from_folders({"": folder}, roles=roles, **settings)

    @classmethod
    def from_folders(
        cls,
        folders: Mapping[str, str | Path],
        *,
        roles: Sequence[str] = ("q", "k", "v"),
        points: int = 61,
        histogram_points: int = 4,
        **settings: Any,
    ) -> QKVTraining:
        """Make the widget over several runs of :func:`initscope.pretrain.pretrain`.

        Each comes with the AdamW prediction for its own learning rates, weight decay and betas,
        from its own std at the start. A run that diverged, was stopped or is under way is shown
        as far as it came.

        Parameters
        ----------
        folders
            Folder of each run, as given to :func:`initscope.pretrain.pretrain`, or the folder
            ``record`` in it, by the label of the run that the reader chooses. The code shown to the
            reader names the folder as it is here.
        roles
            Those shown, in this order, of :func:`initscope.tracking.weight_matrices`.
        points, histogram_points
            So many steps of a run are shown, or a few more: those nearest to even ones.
        **settings
            The controls at the start: `run` (the first if not given), `step` (the last), `role`
            (the first), `layer` (the middle one), `quantity`, `show_prediction`.

        Raises
        ------
        UsageError
            No runs; a folder without a record, or one of a run whose weights were not tracked; a
            role that no run has, or a run without any of the roles.
        """
        from initscope.pretrain.records import read_record

        require(
            isinstance(folders, Mapping) and len(folders) > 0,
            f"folders must be labels and the folders of runs, at least one, not {shown(folders)}.",
        )
        for label, folder in folders.items():
            require(
                isinstance(label, str), f"the label of a run must be a text, not {shown(label)}."
            )
            checks.file_path("a folder in folders", folder)
        records = [read_record(folder) for folder in folders.values()]
        _check_roles(roles, [record.variances for record in records])
        runs = [
            pretrained_run(label, Path(folder), record, roles)
            for (label, folder), record in zip(folders.items(), records, strict=True)
        ]
        return cls._of(runs, roles, points, histogram_points, settings)

    @classmethod
    def from_record(
        cls,
        frame: pd.DataFrame,
        histograms: pd.DataFrame | None = None,
        predictions: pd.DataFrame | None = None,
        *,
        roles: Sequence[str] = ("q", "k", "v"),
        points: int = 61,
        histogram_points: int = 4,
        **settings: Any,
    ) -> QKVTraining:
        """Make the widget over the tables of a run of your own.

        Parameters
        ----------
        frame
            Columns ``step, layer, role, kind, stat, value``; the rows with kind `weight` and stat
            `std` are shown. What was not recorded stays blank, and so does what is not finite.
        histograms
            Columns ``step, layer, role, low, high, counts``: the weights counted in even bins
            between `low` and `high`, at some of the recorded steps.
        predictions
            A table like `frame`, for example from
            :meth:`initscope.predict.ModelPrediction.variances`.
        roles, points, histogram_points, **settings
            As in :meth:`from_folders`.

        Raises
        ------
        UsageError
            A frame without these columns or rows, with a row twice, without one of the roles, or
            histograms at steps that were not recorded.

        Examples
        --------
        >>> rows = [
        ...     (step, layer, role, "weight", "std", 0.02 * (1 + step / 10))
        ...     for step in (0, 10) for layer in (1, 2) for role in "qkv"
        ... ]
        >>> columns = ["step", "layer", "role", "kind", "stat", "value"]
        >>> widget = QKVTraining.from_record(pd.DataFrame(rows, columns=columns))
        >>> print(widget.step, round(widget.summary()["growth"], 3))
        10 2.0
        """
        std_table(frame)  # complains of a table that is none of these
        _check_roles(roles, [frame])
        run = recorded_run(frame, histograms, predictions, roles=roles)
        return cls._of([run], roles, points, histogram_points, settings)

    @classmethod
    def of_runs(cls, runs: Sequence[RecordedRun], roles: Sequence[str]) -> QKVTraining:
        """Make the widget over runs that have been read, whatever recorded them."""
        return cls._of(runs, roles, 61, 4, {})

    @classmethod
    def _of(
        cls,
        runs: Sequence[RecordedRun],
        roles: Sequence[str],
        points: int,
        histogram_points: int,
        settings: Mapping[str, Any],
    ) -> QKVTraining:
        for run in runs:
            require(
                bool(run.roles), f"the run {run.label!r} has none of the roles {', '.join(roles)}."
            )
        for name, value in (("points", points), ("histogram_points", histogram_points)):
            require(
                is_number(value, 2, whole=True), f"{name} must be at least 2, not {shown(value)}."
            )
        last = max(run.steps[-1] for run in runs)
        thinned = [run.thinned(last, points, histogram_points) for run in runs]
        described, numbers = pack(thinned)
        return cls({"runs": described, "roles": list(roles)}, numbers, **settings)

    # --- Settings ------------------------------------------------------------------------------

    @property
    def shown(self) -> RecordedRun:
        """The run that `run` names, with its tables."""
        return self.runs[self.run]

    @property
    def matrices(self) -> Matrices:
        """The matrices of the role that `role` names."""
        return self.shown.roles[self.role]

    @traitlets.validate("run")
    def _known_run(self, proposal: Any) -> str:
        if proposal.value not in self.runs:
            known = " or ".join(map(repr, self.runs))
            raise traitlets.TraitError(f"run must be {known}, not {proposal.value!r}.")
        return proposal.value

    @traitlets.validate("quantity")
    def _known_quantity(self, proposal: Any) -> str:
        if proposal.value not in QUANTITIES:
            known = " or ".join(map(repr, QUANTITIES))
            raise traitlets.TraitError(f"quantity must be {known}, not {proposal.value!r}.")
        return proposal.value

    @traitlets.validate("step", "layer", "role")
    def _recorded(self, proposal: Any) -> Any:
        """Refuse a setting that is not known of the run."""
        name, value = proposal.trait.name, proposal.value
        if self.run not in self.runs or (name == "layer" and self.role not in self.shown.roles):
            return value  # that is refused in a moment
        known = self._offered(name)
        if value not in known:
            if name == "step":
                near = min(known, key=lambda step: abs(step - value))
                allowed = f"one of the {len(known)} steps shown, {known[0]} to {known[-1]}"
                allowed += f"; the nearest is {near}"
            elif name == "layer":
                allowed = f"a recorded layer, {known[0]} to {known[-1]}"
            else:
                allowed = " or ".join(map(repr, known))
            raise traitlets.TraitError(f"{name} must be {allowed}, not {value!r}.")
        return value

    def _offered(self, name: str) -> list[Any]:
        """Return what a setting can be in the run that is shown."""
        if name == "step":
            return self.shown.steps
        return list(self.shown.roles) if name == "role" else self.matrices.layers

    def _settle(self, _: Any = None) -> None:
        """Move settings that the run does not have to the nearest or first that it has."""
        with self.hold_trait_notifications():  # until all are of the new run
            if self.role not in self.shown.roles:
                self.role = self._offered("role")[0]
            for name in ("step", "layer"):
                setattr(self, name, _nearest(self._offered(name), getattr(self, name)))

    # --- What is shown ---------------------------------------------------------------------------

    def summary(self) -> dict[str, Any]:
        """Return the numbers of the sentence under the picture, at the current settings.

        Returns
        -------
        dict
            low, high: extremes over the layers of the quantity, ``(value, layer)``, or None where
            nothing is finite; growth: mean over layers of std / initial std; spread,
            spread_at_start: largest std over smallest; measured, predicted: the quantity in the
            layer; off, off_at_end: mean over layers of the size of measured / predicted - 1, at
            the step and at the last one; missing: layers without a finite std. NaN where there
            is none.
        """
        found = self.matrices
        layers = np.array(found.layers)
        at = self.shown.steps.index(self.step)
        row = found.layers.index(self.layer)
        std = found.std
        measured, guess = found.curves(self.quantity)
        shown = measured[:, at]
        finite = np.flatnonzero(np.isfinite(shown))
        with np.errstate(divide="ignore", invalid="ignore"):
            off = _finite_mean(np.abs(std / found.curves("std")[1] - 1))
            growth = _finite_mean(std / std[:, :1])
            spread = [_ratio(std[:, k]) for k in (at, 0)]
        low, high = (
            (finite[np.argmin(shown[finite])], finite[np.argmax(shown[finite])])
            if len(finite)
            else (None, None)
        )
        return {
            "step": self.step,
            "low": None if low is None else (float(shown[low]), int(layers[low])),
            "high": None if high is None else (float(shown[high]), int(layers[high])),
            "growth": float(growth[at]),
            "spread": spread[0],
            "spread_at_start": spread[1],
            "measured": float(measured[row, at]),
            "predicted": float(guess[row, at]),
            "off": float(off[at]),
            "off_at_end": float(off[-1]),
            "missing": [int(layer) for layer in layers[~np.isfinite(std[:, at])]],
        }

    def figure(self) -> Figure:
        """Draw the same three pictures: over the steps, across the layers, and the histogram."""
        return recorded_run_figure(self)


def _check_roles(roles: Sequence[str], frames: Sequence[pd.DataFrame]) -> None:
    require(
        isinstance(roles, list | tuple) and len(roles) > 0,
        f"roles must be a list such as ('q', 'k', 'v'), not {shown(roles)}.",
    )
    recorded = {role for frame in frames for role in frame["role"].unique()}
    for role in roles:
        require_name("role", role, recorded)


def _nearest(numbers: Sequence[int], value: float) -> int:
    """Return the one that a slider of the browser goes to."""
    return min(numbers, key=lambda number: abs(math.log((number + 1e-12) / (value + 1e-12))))


def _finite_mean(rows: np.ndarray) -> np.ndarray:
    """Return the mean over the first axis of what is finite; NaN where nothing is."""
    finite = np.isfinite(rows)
    count = finite.sum(axis=0)
    total = np.where(finite, rows, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _ratio(values: np.ndarray) -> float:
    """Return the largest over the smallest of what is finite."""
    finite = values[np.isfinite(values)]
    return float(finite.max() / finite.min()) if len(finite) else math.nan
