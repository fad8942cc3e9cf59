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

Everything is verified when it is read, by SHA-256: a checkpoint's files and the rows up to its step
by its mark, tables by their own and, of a run that has ended, by those in ``run.json``. What was
written before there were checksums is read without, and checked by sizes, columns and types.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from initscope.devices import peak_flops
from initscope.errors import UsageError
from initscope.files import atomic_write, file_digest
from initscope.pretrain.spec import PRETRAIN_ACTIVATIONS
from initscope.records import (
    read_table,
    schema_violation,
    verify_checksum,
    with_checksum,
    write_table,
)
from initscope.schema import EVALUATION_COLUMNS, TRACKING_SCHEMAS, TRAINING_COLUMNS
from initscope.tracking import read_histograms, read_variances

RECORD_FORMAT = 1

IMPLEMENTATION: Mapping[str, str] = {
    "activation": "tanh_gelu",
    "optimizer": "adamw_torch_fused",
}
"""How what differs by rounding alone is computed in a new run: the GELU, one of
:data:`initscope.pretrain.spec.PRETRAIN_ACTIVATIONS`, and AdamW, by its name in transformers."""

FIRST_IMPLEMENTATION: Mapping[str, str] = {**IMPLEMENTATION, "activation": "gelu_new"}
"""The same of the runs whose record does not say it yet."""

TABLES = ("training", "evaluation", *TRACKING_SCHEMAS)
ENDED = ("stopped", "finished", "diverged")

RUN_FIELDS: dict[str, type | tuple[type, ...]] = {
    "spec": dict,
    "digest": str,
    "text": dict,
    "model": dict,
    "environments": list,
    "status": str,
    "step": int,
    "diverged_step": (int, type(None)),
    "seconds": (int, float),
}
"""What ``run.json`` holds beside its format and, of a run that has ended, the checksums of the
tables."""


@dataclass(frozen=True, eq=False)
class PretrainRecord:
    """Record of a run of :func:`initscope.pretrain.pretrain`.

    Attributes
    ----------
    run
        Content of ``run.json``: ``status`` (``"running"``, ``"stopped"``, ``"finished"`` or
        ``"diverged"``), ``step``, ``diverged_step`` (updates made when the loss was first not
        finite, or None), ``seconds`` of training, ``spec``, ``text``, ``model``,
        ``implementation`` (how the GELU and AdamW were computed), ``environments``; ``files``, the
        checksums of the tables of a run that has ended.
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
    """Return where the record of a run is."""
    return out / "record"


def checkpoint_folder(out: Path) -> Path:
    """Return where the checkpoints of a run are."""
    return out / "checkpoints"


def read_record(out: str | Path) -> PretrainRecord:
    """Read the record of a run that has ended or is under way.

    Parameters
    ----------
    out
        The folder given to :func:`initscope.pretrain.pretrain`, or the folder ``record`` in it.

    Raises
    ------
    UsageError
        If there is none, or a part of it is missing, damaged, of another run, or no table of its
        columns, with values missing or rows twice.
    """
    folder = Path(out)
    if not (folder / "run.json").exists():
        folder = record_folder(folder)
    run = read_run(folder)
    if run is None:
        raise UsageError(f"{out} holds no record of a pretraining run.")
    for name, digest in run.get("files", {}).items():
        path = folder / name
        try:
            wrong = "" if file_digest(path) == digest else "is damaged, or of another run"
        except FileNotFoundError:
            wrong = "is missing"
        except OSError as error:
            wrong = f"cannot be read ({error})"
        if wrong:
            raise UsageError(f"{path} {wrong}: it is not what was recorded. {_advice(folder)}")
    return PretrainRecord(
        run=run,
        training=_read(folder, "training", TRAINING_COLUMNS, run["status"]),
        evaluation=_read(folder, "evaluation", EVALUATION_COLUMNS, run["status"]),
        variances=read_variances(folder),
        histograms=read_histograms(folder),
    )


def _read(folder: Path, name: str, columns: Mapping[str, str], status: str) -> pd.DataFrame:
    """Read a table of what the Trainer logged; empty if nothing was logged yet."""
    path = folder / f"{name}.parquet"
    schema = pa.schema([(n, pa.from_numpy_dtype(dtype)) for n, dtype in columns.items()])
    # What is not finite is written as missing; a run in which something was has diverged, or will.
    nullable = () if status in ("stopped", "finished") else ("loss", "gradient_norm")
    try:
        table = read_table(path)
        if wrong := schema_violation(table, schema, ("step",), nullable):
            raise OSError(wrong)
        return table.to_pandas()
    except FileNotFoundError as error:
        if status in ENDED:
            raise UsageError(f"{path} is missing. {_advice(folder)}") from error
        # Nothing was logged yet.
        return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in columns.items()})
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{path} is damaged ({error}). {_advice(folder)}") from error


def _advice(folder: Path) -> str:
    """Say what to do about a record that is damaged."""
    return (
        f"Bring a good copy of {folder} back, or name another out folder; or, to train again in "
        f"this one, remove its folders {folder.name} and {checkpoint_folder(folder.parent).name}."
    )


def read_run(folder: Path) -> dict[str, Any] | None:
    """Read ``run.json`` of a record; None if there is none, `UsageError` if it is damaged."""
    path = folder / "run.json"
    try:
        run = verify_checksum(dict(json.loads(path.read_text())))
        if run.get("format") != RECORD_FORMAT:
            raise ValueError("of another version of initscope")
        for name, kind in RUN_FIELDS.items():
            if not isinstance(run.get(name, ...), kind) or isinstance(run[name], bool):
                raise ValueError(f"its {name!r} is missing, or not what it must be")
        if run["status"] not in ("running", *ENDED):
            raise ValueError(f"its status is {run['status']!r}")
        run.setdefault("implementation", dict(FIRST_IMPLEMENTATION))
        return run
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read ({error}). {_advice(folder)}") from error


def write_run(folder: Path, run: Mapping[str, Any]) -> None:
    """Write ``run.json`` whole or not at all; once a run has ended with checksums of the tables."""
    if run["status"] in ENDED:
        files = [f"{name}.parquet" for name in TABLES]
        run = {**run, "files": {name: file_digest(folder / name) for name in files}}
    with atomic_write(folder / "run.json") as part:
        part.write_text(json.dumps(with_checksum(run), indent=2) + "\n")


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


def check_same_run(out: Path, wanted: Mapping[str, Any], text_digest: str | None = None) -> None:
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
            f"another out folder; or, if that run is of no use any more, remove the folders record "
            f"and checkpoints in it."
        )
    if text_digest is not None and run["text"]["digest"] != text_digest:
        raise UsageError(
            f"the text {run['text']['name']!r} or its tokenizer is not the same as when the run "
            f"in {out} was started. Name another out folder; or, if that run is of no use any "
            f"more, remove the folders record and checkpoints in it."
        )


def describe_outcome(record: PretrainRecord) -> str:
    """Describe loss, speed and how a run was computed, in a line; empty before an update."""
    run = record.run
    if record.training.empty:
        return ""
    rate = record.training["tokens_per_second"].median()
    last = record.evaluation["loss"].iloc[-1] if len(record.evaluation) else math.nan
    machine = run["environments"][-1]
    peak = peak_flops(machine["device"], machine["precision"])
    flops = rate * run["model"]["training_flops_per_token"]
    utilization = (
        f"{flops / peak / int(machine['processes']):.1%} MFU"
        if peak is not None
        else f"{flops / 1e9:.3g} GFLOP/s (no MFU: the peak of this device is not known)"
    )
    return (
        f"step {run['step']:,} of {run['spec']['steps']:,}, {run['status']}: validation loss "
        f"{last:.3f}, {rate:,.0f} tokens/s, {utilization}, {run['seconds']:,.0f} s; "
        f"{PRETRAIN_ACTIVATIONS[run['implementation']['activation']]}, "
        f"AdamW by {run['implementation']['optimizer']} of torch"
    )


def implementation(run: Mapping[str, Any] | None, kept: Sequence[Path]) -> dict[str, str]:
    """Return how training is computed: as it was begun, where it goes on from a checkpoint.

    Otherwise it would not end exactly as it would have ended undisturbed.
    """
    return dict(run["implementation"] if run is not None and kept else IMPLEMENTATION)
