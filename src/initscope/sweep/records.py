"""What a sweep keeps in its folder: one parquet a chunk while it is under way, then one table.

Several sweeps may work in one folder at once. Every file appears whole, under a name that says
what is in it; what one sweep tidies away while another is about to write there is written again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from initscope.errors import UsageError
from initscope.records import read_table, schema_violation, write_table
from initscope.schema import SWEEP_KEYS, sweep_schema
from initscope.sweep.chunks import RECORD_FORMAT, Chunk

if TYPE_CHECKING:
    from initscope.sweep.spec import SweepSpec

WRITING_ATTEMPTS = 100
"""A sweep that finishes tidies once, so that this many would have to finish in between."""


def table_path(folder: Path, spec: SweepSpec) -> Path:
    """Return where the table of a finished sweep is."""
    return folder / f"{spec.name}.parquet"


def chunk_folder(folder: Path, spec: SweepSpec) -> Path:
    """Return where the chunks are until then."""
    return folder / f"{spec.name}.chunks"


def _chunk_path(folder: Path, spec: SweepSpec, chunk: Chunk) -> Path:
    """Return the file of a chunk, named by its digest."""
    return chunk_folder(folder, spec) / f"{chunk.digest}.parquet"


def finished_table(folder: Path, spec: SweepSpec) -> pa.Table | None:
    """Read the table of an earlier call; `UsageError` if damaged or of another specification."""
    path = table_path(folder, spec)
    if not path.exists():
        return None
    try:
        table = read_table(path)
        keys = {"spec": dict, "seconds": float, "environments": list}
        metadata = _metadata(table, keys, int("validation_accuracy" in table.column_names))
        found = dict(metadata["spec"])
    except (OSError, pa.ArrowException, TypeError, ValueError) as error:
        raise UsageError(
            f"{path} is not a readable table of a sweep ({error}). Name another out folder or "
            f"another spec.name; or move it away to run the sweep again."
        ) from error
    # A field that an older table does not name had no other value than its default then.
    defaults = {f.name: f.default for f in dataclasses.fields(spec)}
    found, wanted = defaults | found, defaults | spec.to_dict()
    if wanted["dataset_digest"] and wanted["dataset_digest"] == found["dataset_digest"]:
        found["dataset"] = wanted["dataset"]  # wherever it lay
    different = sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k))
    if metadata.get("format", 1) != RECORD_FORMAT:
        different.append("the version of initscope, which records something else now")
    different = [
        f"the contents of {Path(spec.dataset).name}" if name == "dataset_digest" else name
        for name in different
    ]
    if different:
        raise UsageError(
            f"{path} holds the results of another specification (different: "
            f"{', '.join(different)}). Name another out folder or another spec.name, or remove "
            f"the file."
        )
    if len(table) != spec.n_runs:
        raise UsageError(
            f"{path} has {len(table)} rows instead of {spec.n_runs}. Remove it to run the sweep "
            f"again, or name another out folder."
        )
    return table


def write_finished(folder: Path, spec: SweepSpec, table: pa.Table) -> pa.Table:
    """Write the table of a finished sweep; returns the one that is there then.

    Where another sweep has finished in the meantime, its table stays: if it is of the same
    specification it is the same table, and otherwise this raises `UsageError`.
    """
    while True:
        try:
            write_table(table_path(folder, spec), table, overwrite=False)
            return table
        except FileExistsError:
            if (other := finished_table(folder, spec)) is not None:
                return other


def read_chunk(folder: Path, spec: SweepSpec, chunk: Chunk) -> pa.Table | None:
    """Read a chunk that is kept; None, after a line that says why, if it is damaged."""
    path = _chunk_path(folder, spec, chunk)
    try:
        table = read_table(path)
        keys = {"seconds": float, "environment": dict}
        metadata = _metadata(table, keys, chunk.validation_size)
        if metadata.get("chunk", chunk.digest) != chunk.digest:
            raise ValueError("it is another one")
        if len(table) != chunk.n_runs:
            raise ValueError(f"{len(table)} rows instead of {chunk.n_runs}")
        return table
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException, TypeError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        tqdm.write(f"{path.name} is damaged ({reason}): its runs are trained again.")
        return None


def write_chunk(folder: Path, spec: SweepSpec, chunk: Chunk, table: pa.Table) -> None:
    """Keep a chunk; it says which one it is."""
    metadata = _metadata(table, {"seconds": float, "environment": dict}, chunk.validation_size)
    named = json.dumps(metadata | {"chunk": chunk.digest})
    table = table.replace_schema_metadata({"initscope": named})
    for attempts_left in reversed(range(WRITING_ATTEMPTS)):
        try:
            return write_table(_chunk_path(folder, spec, chunk), table)
        # Another sweep tidied away the folder, or our half-written file; `mkdir` calls it existing
        # if that happens as it looks.
        except (FileNotFoundError, FileExistsError):
            if not attempts_left:
                raise


def remove_chunks(folder: Path, spec: SweepSpec, chunks: Sequence[Chunk]) -> None:
    """Remove the chunks that the finished table holds, and what a kill left of writing them."""
    place = chunk_folder(folder, spec)
    for chunk in chunks:
        for path in place.glob(f"*{chunk.digest}.parquet*"):
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # it holds chunks of another specification: they stay
        place.rmdir()


def concatenate_chunks(spec: SweepSpec, tables: Sequence[pa.Table]) -> pa.Table:
    """Return the table of a sweep from those of its chunks, with what the metadata say."""
    records = [json.loads(t.schema.metadata[b"initscope"]) for t in tables]
    environments = []
    for record in records:
        if record["environment"] not in environments:
            environments.append(record["environment"])
    metadata = {
        "format": RECORD_FORMAT,
        "spec": spec.to_dict(),
        "seconds": sum(record["seconds"] for record in records),
        "environments": environments,
    }
    table = pa.concat_tables([t.replace_schema_metadata(None) for t in tables])
    return table.replace_schema_metadata({"initscope": json.dumps(metadata)})


def to_frame(table: pa.Table) -> pd.DataFrame:
    """Return the data frame of a sweep's table, its metadata in ``attrs``."""
    metadata = json.loads(table.schema.metadata[b"initscope"])
    frame = table.replace_schema_metadata(None).to_pandas()
    frame["diverged_step"] = pd.array(table["diverged_step"].to_pylist(), dtype="Int64")
    frame.attrs = metadata
    return frame


def _metadata(table: pa.Table, keys: Mapping[str, type], validation_size: int) -> dict[str, Any]:
    """Return the metadata of a table; `ValueError` unless they and the columns are right.

    A table of an older version has no checksum of its names, types and metadata.
    """
    schema = sweep_schema(validation_size)
    if not table.schema.equals(schema):
        raise ValueError("its columns are not those of a sweep")
    if wrong := schema_violation(table, schema, SWEEP_KEYS, ("std", "diverged_step")):
        raise ValueError(wrong)
    metadata = dict(json.loads((table.schema.metadata or {}).get(b"initscope", "{}")))
    if missing := [k for k, kind in keys.items() if not isinstance(metadata.get(k), kind)]:
        raise ValueError(f"its metadata lack {' and '.join(missing)}")
    return metadata
