"""The table of a training run on disk: appended step by step, whole after a kill.

While the run goes on, the rows are in ``<name>.arrows``, an Arrow stream to which each recorded
step adds one batch with its checksum; what is cut off by a kill, or damaged, is left out when it is
read. When the run has ended they are in ``<name>.parquet``. Numbers are rounded to single
precision, which halves the files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from initscope import checks
from initscope.checks import require
from initscope.errors import UsageError
from initscope.files import atomic_write
from initscope.records import CHECKSUM, content_digest, read_table, schema_violation, write_table
from initscope.schema import (
    COLUMNS,
    HISTOGRAM_COLUMNS,
    HISTOGRAMS,
    TRACKING_KEYS,
    TRACKING_SCHEMAS,
    VARIANCES,
)

__all__ = ["COLUMNS", "HISTOGRAM_COLUMNS", "read_histograms", "read_variances"]

NOTE = b"tracking"
"""Key, in the metadata of a file, of what is to be known of its rows, as JSON."""

# Waking threads for the few kilobytes of a step takes longer than compressing them.
COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)


def read_variances(folder: str | Path) -> pd.DataFrame:
    """Return the statistics recorded in `folder`, of a run that has ended or is under way.

    Returns
    -------
    pandas.DataFrame
        Columns ``step, layer, role, kind, stat, value``; its `attrs` are those of
        :meth:`initscope.tracking.VarianceTracker.to_frame`.

    Raises
    ------
    UsageError
        If nothing was recorded there.

    Examples
    --------
    >>> from initscope.models import MLP
    >>> from initscope.tracking import VarianceTracker
    >>> with VarianceTracker(MLP([4, 3, 2]), quantities=["weight"], out_folder="variances"):
    ...     pass
    >>> len(read_variances("variances"))
    26
    """
    checks.file_path("folder", folder)
    return _read_frame(Path(folder), VARIANCES)


def read_histograms(folder: str | Path) -> pd.DataFrame:
    """Return the histograms recorded in `folder`: ``step, layer, role, low, high, counts``.

    >>> from initscope.models import MLP
    >>> from initscope.tracking import VarianceTracker
    >>> with VarianceTracker(MLP([4, 3, 2]), quantities=["weight"], out_folder="variances"):
    ...     pass
    >>> len(read_histograms("variances"))
    2
    """
    checks.file_path("folder", folder)
    return _read_frame(Path(folder), HISTOGRAMS)


def _read_frame(folder: Path, name: str) -> pd.DataFrame:
    table = VarianceTable(folder, name).read()
    if table is None:
        raise UsageError(
            f"the folder {folder} holds no {name}.parquet and no {name}.arrows: nothing was "
            "recorded there."
        )
    return noted_frame(table)


def noted_frame(table: pa.Table) -> pd.DataFrame:
    """Return a table's rows, and what was noted of them in `attrs`."""
    frame = table.replace_schema_metadata(None).to_pandas()
    frame.attrs |= json.loads((table.schema.metadata or {}).get(NOTE, b"{}"))
    return frame


class VarianceTable:
    """Rows of one schema, in memory or in files of a folder.

    Parameters
    ----------
    folder
        Where the files are; None keeps the rows in memory.
    name
        One of :data:`initscope.schema.TRACKING_SCHEMAS`.
    note
        What is to be known of its rows, kept with them if there is anything.
    """

    def __init__(
        self, folder: Path | None, name: str, note: Mapping[str, Any] | None = None
    ) -> None:
        self.folder, self.name, self.schema = folder, name, TRACKING_SCHEMAS[name]
        self._note = {NOTE: json.dumps(note).encode()} if note else None
        self._memory: list[pa.RecordBatch] = []
        self._writer: pa.ipc.RecordBatchStreamWriter | None = None
        self._sink: pa.NativeFile | None = None
        self._written = hashlib.sha256()

    @property
    def stream_path(self) -> Path:
        """The rows of a run under way."""
        assert self.folder is not None
        return self.folder / f"{self.name}.arrows"

    @property
    def final_path(self) -> Path:
        """The rows of a run that has ended."""
        assert self.folder is not None
        return self.folder / f"{self.name}.parquet"

    def read(self) -> pa.Table | None:
        """Return all rows so far; None if there is no file."""
        if self.folder is None:
            table = pa.Table.from_batches(self._memory, self.schema)
            return table.replace_schema_metadata(self._note)
        batches = self._batches()
        if batches is None:
            return None
        stored = _in_single_precision(self.schema)
        table = pa.Table.from_batches(batches, stored).cast(self.schema)
        return table.replace_schema_metadata(self._note)

    def digest(self) -> str:
        """Return the checksum of all that was appended, in hexadecimal."""
        return self._written.hexdigest()

    def digests(self) -> dict[int, str]:
        """Return what :meth:`digest` was at each step that is whole in the files; -1 before any."""
        digest = hashlib.sha256()
        found = {-1: digest.hexdigest()}
        for batch in self._batches(silent=True) or []:
            digest.update(_checksum(batch).encode())
            found[batch["step"][0].as_py()] = digest.hexdigest()
        return found

    def _batches(self, silent: bool = False) -> list[pa.RecordBatch] | None:
        """Return all rows in the files, in batches of one step; None without a file."""
        # A run that ends or begins replaces one by the other: neither may be missed in between.
        for read in (self._read_final, self._read_stream, self._read_final):
            try:
                return read(silent)
            except (FileNotFoundError, NotADirectoryError):
                continue
        return None

    def _read_final(self, _: bool) -> list[pa.RecordBatch]:
        try:
            table = read_table(self.final_path)
            if wrong := schema_violation(table, self.schema, TRACKING_KEYS[self.name]):
                raise OSError(wrong)
        except (FileNotFoundError, NotADirectoryError):
            raise
        except (OSError, pa.ArrowException) as error:
            raise UsageError(
                f"{self.final_path} is damaged ({error}). Remove it, or name another folder."
            ) from error
        self._take_note(table.schema)
        return list(_by_step(table.cast(_in_single_precision(self.schema))))

    def _read_stream(self, silent: bool) -> list[pa.RecordBatch]:
        batches, written, wrong = _whole_batches(self.stream_path, self.schema)
        self._take_note(written)
        if wrong and not silent:
            whole = f"up to step {batches[-1]['step'][-1]}" if batches else "nothing of it"
            tqdm.write(f"{self.stream_path} {wrong}; what is whole: {whole}.")
        return batches

    def _take_note(self, written: pa.Schema | None) -> None:
        """Keep what is noted in a file that is read, unless one is being written."""
        if self._writer is None and self._note is None and written is not None:
            note = (written.metadata or {}).get(NOTE)
            self._note = {NOTE: note} if note else None

    def open(self, step: int) -> int | None:
        """Get ready to append after `step`; drop the rows of later steps.

        Returns the last step that was kept, or None.
        """
        if self.folder is None:
            return None
        own = self._note
        kept = [b for b in self._batches() or [] if b["step"][0].as_py() <= step]
        if not kept:
            self._note = own  # nothing is left of what an earlier run has noted
        with atomic_write(self.stream_path) as new:
            self._sink = pa.OSFile(str(new), "wb")
            stored = _in_single_precision(self.schema).with_metadata(self._note)
            self._writer = pa.ipc.new_stream(self._sink, stored, options=COMPRESSED)
            self._written = hashlib.sha256()
            for batch in kept:
                self._write(batch)
        self.final_path.unlink(missing_ok=True)
        return kept[-1]["step"][-1].as_py() if kept else None

    def append(self, batch: pa.RecordBatch) -> None:
        """Add the rows of one step; they are in the file when this returns."""
        if self.folder is None:
            self._memory.append(batch)
            return
        try:
            self._write(batch.cast(_in_single_precision(self.schema)))
        except OSError as error:
            raise UsageError(
                f"{self.stream_path} could not be written ({error}). What was recorded before is "
                f"kept in it."
            ) from error

    def _write(self, batch: pa.RecordBatch) -> None:
        assert self._writer is not None
        checksum = _checksum(batch)
        self._writer.write_batch(batch, custom_metadata={CHECKSUM: checksum})
        self._written.update(checksum.encode())

    def close(self) -> None:
        """End the run: the rows become one parquet file."""
        if self._writer is None or self._sink is None:
            return
        self._writer.close()
        self._sink.close()
        self._writer = self._sink = None
        table = self.read()
        assert table is not None
        stored = _in_single_precision(self.schema).with_metadata(table.schema.metadata)
        write_table(self.final_path, table.cast(stored))
        self.stream_path.unlink()


def _in_single_precision(schema: pa.Schema) -> pa.Schema:
    return pa.schema(
        [f.with_type(pa.float32()) if pa.types.is_floating(f.type) else f for f in schema]
    )


def _by_step(table: pa.Table) -> Iterator[pa.RecordBatch]:
    """Yield the rows of each step in a batch of their own, as they were appended."""
    steps = table["step"].combine_chunks()
    if len(steps) == 0:
        return
    begins = [0, *(pc.indices_nonzero(pc.not_equal(steps[1:], steps[:-1])).to_numpy() + 1).tolist()]
    for begin, end in zip(begins, [*begins[1:], len(steps)], strict=True):
        yield from table.slice(begin, end - begin).combine_chunks().to_batches()


def _checksum(batch: pa.RecordBatch) -> str:
    return content_digest(pa.Table.from_batches([batch]))


def _whole_batches(
    path: Path, schema: pa.Schema
) -> tuple[list[pa.RecordBatch], pa.Schema | None, str]:
    """Return the batches of a stream up to where it is whole, its schema, what is wrong after."""
    stored = _in_single_precision(schema)
    batches: list[pa.RecordBatch] = []
    written: pa.Schema | None = None
    # Of the whole file: a length that is damaged then asks for no more memory than there is of it.
    source = pa.BufferReader(path.read_bytes())
    try:
        with pa.ipc.open_stream(source) as reader:
            written = reader.schema
            if not reader.schema.equals(stored) and not reader.schema.equals(schema):
                return [], None, "is damaged (its columns are not those of the table)"
            while True:
                batch, metadata = reader.read_next_batch_with_custom_metadata()
                batch.validate(full=True)
                batch = batch.replace_schema_metadata(None)
                if reader.schema.equals(stored):
                    checksum = (metadata or {}).get(CHECKSUM, b"").decode(errors="replace")
                    if checksum != _checksum(batch):
                        return batches, written, "is damaged"
                    batches.append(batch)
                else:  # written by an older version: without checksums, several steps at once
                    batches += _by_step(pa.Table.from_batches([batch]).cast(stored))
    except StopIteration:
        return batches, written, "" if source.tell() == source.size() else "is damaged"
    except (pa.ArrowException, OSError, ValueError) as error:
        cut = source.tell() == source.size()
        wrong = "ends within a batch" if cut else f"is damaged ({error})"
        return batches, written, wrong


def open_table(table: VarianceTable, step: int) -> int | None:
    """Open a table for what comes after `step`; `UsageError` if it cannot be written."""
    try:
        if table.folder is not None:
            table.folder.mkdir(parents=True, exist_ok=True)
        return table.open(step)
    except OSError as error:
        raise UsageError(
            f"the folder {table.folder} for the variances cannot be written "
            f"({error.strerror or error}). Name another one."
        ) from error


def refuse_another_run(table: VarianceTable) -> None:
    """Raise `UsageError` if a table holds steps of a run, which one from the start would drop."""
    rows = table.read()
    last = 0 if rows is None or len(rows) == 0 else pc.max(rows["step"]).as_py()
    require(
        last == 0,
        f"{table.folder} holds the {table.name} of an earlier run, up to step {last}, and training "
        f"starts from step 0. Name another folder, go on from a checkpoint, or pass "
        f"overwrite=True.",
    )
