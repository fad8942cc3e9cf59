"""What a pretraining run keeps: a small record, and beside it the checkpoints.

::

    out/record/run.json             specification, text, versions, hardware, seconds, outcome
    out/record/training.parquet     step, loss, learning_rate, gradient_norm, tokens_per_second
    out/record/evaluation.parquet   step, loss
    out/record/variances.parquet    step, layer, role, kind, stat, value
    out/record/histograms.parquet   step, layer, role, low, high, counts
    out/checkpoints/checkpoint-<step>/

The record is small and can be committed; git is told to leave the checkpoints alone. Variances and
histograms are in files ``.arrows`` until the run has ended.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from initscope.errors import UsageError
from initscope.records import read_table, write_table
from initscope.tracking import read_histograms, read_variances

RECORD_FORMAT = 1
MARK = "initscope.json"
"""File that a checkpoint gets last, so that one without it is not whole."""

CHECKPOINTS_KEPT = 2
BYTES_PER_PARAMETER = 12
"""In a checkpoint: the weight and the two moments of Adam, float32."""

IMPLEMENTATION: Mapping[str, str] = {
    "activation": "tanh_gelu",
    "optimizer": "adamw_torch_fused",
}
"""How what differs by rounding alone is computed in a new run: the GELU, one of
:data:`initscope.pretrain_spec.PRETRAIN_ACTIVATIONS`, and AdamW, by its name in transformers."""

FIRST_IMPLEMENTATION: Mapping[str, str] = {**IMPLEMENTATION, "activation": "gelu_new"}
"""The same of the runs whose record does not say it yet."""

TRAINING_COLUMNS = {
    "step": "int64",
    "loss": "float64",
    "learning_rate": "float64",
    "gradient_norm": "float64",
    "tokens_per_second": "float64",
}
EVALUATION_COLUMNS = {"step": "int64", "loss": "float64"}


@dataclass(frozen=True, eq=False)
class PretrainRecord:
    """What :func:`initscope.pretrain.pretrain` recorded.

    Attributes
    ----------
    run
        Content of ``run.json``: ``status`` (``"running"``, ``"stopped"``, ``"finished"`` or
        ``"diverged"``), ``step``, ``diverged_step`` (updates made when the loss was first not
        finite, or None), ``seconds`` of training, ``spec``, ``text``, ``model``,
        ``implementation`` (:data:`IMPLEMENTATION`), ``environments``.
    training
        Columns ``step``; ``loss``, the mean over the updates since the row before, in nats a
        token; ``learning_rate`` and ``gradient_norm``, before clipping, of the update of that
        step; ``tokens_per_second`` since the row before.
    evaluation
        Columns ``step`` and ``loss`` on the validation passages, in nats a token.
    variances
        Columns ``step, layer, role, kind, stat, value``.
    histograms
        Columns ``step, layer, role, low, high, counts``.
    """

    run: dict[str, Any]
    training: pd.DataFrame
    evaluation: pd.DataFrame
    variances: pd.DataFrame
    histograms: pd.DataFrame


def record_folder(out: Path) -> Path:
    """Where the record of a run is."""
    return out / "record"


def checkpoint_folder(out: Path) -> Path:
    """Where the checkpoints of a run are."""
    return out / "checkpoints"


def read_record(out: str | Path) -> PretrainRecord:
    """The record of a run that has ended or is under way.

    Parameters
    ----------
    out
        The folder given to :func:`initscope.pretrain.pretrain`, or the folder ``record`` in it.

    Raises
    ------
    UsageError
        If there is none, or a part of it is missing or damaged.
    """
    folder = Path(out)
    if not (folder / "run.json").exists():
        folder = record_folder(folder)
    run = read_run(folder)
    if run is None:
        raise UsageError(f"{out} holds no record of a pretraining run.")
    return PretrainRecord(
        run=run,
        training=_read(folder / "training.parquet", TRAINING_COLUMNS),
        evaluation=_read(folder / "evaluation.parquet", EVALUATION_COLUMNS),
        variances=read_variances(folder),
        histograms=read_histograms(folder),
    )


def _read(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    if not path.exists():  # nothing was logged yet
        return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in columns.items()})
    try:
        return read_table(path).to_pandas()
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{path} is damaged ({error}).") from error


def read_run(folder: Path) -> dict[str, Any] | None:
    """``run.json`` of a record; None if there is none, `UsageError` if it is damaged."""
    path = folder / "run.json"
    try:
        run = dict(json.loads(path.read_text()))
        if run["format"] != RECORD_FORMAT:
            raise ValueError("of another version of initscope")
        run.setdefault("implementation", dict(FIRST_IMPLEMENTATION))
        return run
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(
            f"{path} cannot be read ({error}). Remove {folder.parent} to train again, or name "
            f"another out folder."
        ) from error


def write_run(folder: Path, run: Mapping[str, Any]) -> None:
    """Write ``run.json`` whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".run.json.{uuid.uuid4().hex}"
    try:
        part.write_text(json.dumps(run, indent=2) + "\n")
        os.replace(part, folder / "run.json")
    finally:
        part.unlink(missing_ok=True)


def write_logs(folder: Path, log_history: Sequence[Mapping[str, Any]]) -> None:
    """Write the tables of what the Trainer logged."""
    training = [
        (e["step"], e["loss"], e["learning_rate"], e.get("grad_norm"), e.get("tokens_per_second"))
        for e in log_history
        if "loss" in e
    ]
    evaluation = [(e["step"], e["eval_loss"]) for e in log_history if "eval_loss" in e]
    for name, rows, columns in (
        ("training", training, TRAINING_COLUMNS),
        ("evaluation", evaluation, EVALUATION_COLUMNS),
    ):
        frame = pd.DataFrame(rows, columns=list(columns)).astype(columns)
        write_table(folder / f"{name}.parquet", pa.Table.from_pandas(frame, preserve_index=False))


def refuse_another(out: Path, wanted: Mapping[str, Any], text_digest: str | None = None) -> None:
    """Raise `UsageError` if `out` holds a run of another specification or of another text."""
    run = read_run(record_folder(out))
    if run is None:
        if any(checkpoint_folder(out).glob("checkpoint-*")):
            raise UsageError(
                f"{checkpoint_folder(out)} holds checkpoints, but {record_folder(out)} no record "
                f"of the run they are of. Name another out folder, or remove them."
            )
        return
    found = run["spec"]
    different = sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k))
    if different:
        raise UsageError(
            f"{out} holds a run of another specification (different: {', '.join(different)}). Name "
            f"another out folder, or remove that one."
        )
    if text_digest is not None and run["text"]["digest"] != text_digest:
        raise UsageError(
            f"the text {run['text']['name']!r} or its tokenizer is not the same as when the run "
            f"in {out} was started. Name another out folder, or remove that one."
        )


def implementation(run: Mapping[str, Any] | None, kept: Sequence[Path]) -> dict[str, str]:
    """How training is computed: a run that goes on from a checkpoint, in the way it was begun.

    Otherwise it would not end exactly as it would have ended undisturbed.
    """
    return dict(run["implementation"] if run is not None and kept else IMPLEMENTATION)


# --- Checkpoints ---------------------------------------------------------------------------


def mark_checkpoint(folder: Path, digest: str) -> None:
    """Declare a checkpoint whole; called when all its files are there."""
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
    sizes.pop(MARK, None)
    part = folder / f"{MARK}.part"
    part.write_text(json.dumps({"digest": digest, "sizes": sizes}))
    os.replace(part, folder / MARK)


def checkpoints(out: Path, digest: str) -> list[Path]:
    """Whole checkpoints of a specification, the newest first."""
    found = []
    for folder in checkpoint_folder(out).glob("checkpoint-*"):
        try:
            mark = json.loads((folder / MARK).read_text())
            whole = mark["digest"] == digest and all(
                (folder / name).stat().st_size == size for name, size in mark["sizes"].items()
            )
            step = int(folder.name.partition("-")[2])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        if whole:
            found.append((step, folder))
    return [folder for _, folder in sorted(found, reverse=True)]


def remove_broken_checkpoints(out: Path, digest: str) -> None:
    """Remove what a kill left of a checkpoint; they would count among those that are kept."""
    whole = set(checkpoints(out, digest))
    for folder in checkpoint_folder(out).glob("checkpoint-*"):
        if folder not in whole:
            shutil.rmtree(folder, ignore_errors=True)


def require_space(out: Path, n_parameters: int, n_kept: int) -> None:
    """Raise `UsageError` unless there is room for the checkpoints.

    At most one more than :data:`CHECKPOINTS_KEPT` are there at once; `n_kept` are there already.
    """
    each = BYTES_PER_PARAMETER * n_parameters
    needed = each * max(1, CHECKPOINTS_KEPT + 1 - n_kept)
    place = out.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise UsageError(
            f"no space for the checkpoints: one takes {_size(each)}, and {_size(needed)} are "
            f"needed in {out}, where {_size(free)} are free. Free some space, or name another out "
            f"folder."
        )


def _size(n_bytes: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:,.4g} TB"
