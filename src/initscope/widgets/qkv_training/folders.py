"""Read the folder of any recorded run: of a tracker, or of pretraining."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from initscope import checks
from initscope.checks import require
from initscope.errors import UsageError
from initscope.schema import HISTOGRAM_COLUMNS
from initscope.tracking.tables import read_histograms, read_variances
from initscope.widgets.qkv_training.pretrained_runs import pretrained_run
from initscope.widgets.qkv_training.runs import recorded_run
from initscope.widgets.qkv_training.widget import QKVTraining

if TYPE_CHECKING:
    from initscope.pretrain.records import PretrainRecord

__all__: list[str] = []  # for this package alone

MOST_ROLES = 12
"""Of a model without q, k and v: the instrument offers so many roles, the first."""


@dataclass(frozen=True, eq=False)
class RunFolder:
    """What is in the folder of a run.

    Attributes
    ----------
    path
        The folder, as it was named.
    variances, histograms
        Its tables.
    status
        ``"running"``, ``"ended"``, or what the record of pretraining says.
    record
        That of pretraining, or None.
    """

    path: Path
    variances: pd.DataFrame
    histograms: pd.DataFrame
    status: str
    record: PretrainRecord | None

    @property
    def ended(self) -> bool:
        """Whether no more is to be expected."""
        return self.status != "running"

    @property
    def newest_step(self) -> int:
        """The last recorded step."""
        return int(self.variances["step"].max())


def read_folder(folder: Path) -> RunFolder:
    """Return what is in the folder of a tracker or of a pretraining run."""
    checks.file_path("folder", folder)
    if any((place / "run.json").is_file() for place in (folder, folder / "record")):
        from initscope.pretrain.records import read_record

        record = read_record(folder)
        require(len(record.variances) > 0, f"{folder} has no variances yet.")
        status = str(record.run["status"])
        return RunFolder(folder, record.variances, record.histograms, status, record)
    variances = read_variances(folder)
    require(len(variances) > 0, f"{folder} has no variances yet.")
    try:
        histograms = read_histograms(folder)
    except UsageError:  # a tracker that keeps none
        histograms = pd.DataFrame(columns=list(HISTOGRAM_COLUMNS))
    status = "running" if (folder / "variances.arrows").exists() else "ended"
    return RunFolder(folder, variances, histograms, status, None)


def folders_widget(runs: Sequence[RunFolder]) -> QKVTraining:
    """Return the instrument over these runs."""
    there = [set(run.variances["role"]) for run in runs]
    usual = [role for role in ("q", "k", "v") if any(role in roles for roles in there)]
    roles = usual or list(runs[0].variances["role"].unique()[:MOST_ROLES])
    shown = []
    for run in runs:
        label = str(run.path) if len(runs) > 1 else ""
        if run.record is not None:
            shown.append(pretrained_run(label, run.path, run.record, roles))
            continue
        std = run.variances.query("kind == 'weight' and stat == 'std'")
        # A table that is being written may have the histograms of a step before its std.
        known = run.histograms[run.histograms["step"].isin(std["step"])]
        ending = "" if run.ended else f"The run is under way, at step {run.newest_step:,}."
        shown.append(recorded_run(run.variances, known, roles=roles, label=label, ending=ending))
    return QKVTraining.of_runs(shown, roles)
