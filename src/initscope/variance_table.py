"""The table of a training run on disk: appended step by step, whole after a kill.

While the run goes on, the rows are in ``<name>.arrows``, an Arrow stream to which each recorded
step adds one batch; a batch cut off by a kill is left out when it is read. When the run has ended
they are in ``<name>.parquet``, numbers rounded to single precision, which halves the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from initscope.errors import UsageError
from initscope.records import read_table, write_table

VARIANCES, HISTOGRAMS = "variances", "histograms"

SCHEMAS = {
    VARIANCES: pa.schema(
        [
            ("step", pa.int64()),
            ("layer", pa.int64()),
            ("role", pa.string()),
            ("kind", pa.string()),
            ("stat", pa.string()),
            ("value", pa.float64()),
        ]
    ),
    HISTOGRAMS: pa.schema(
        [
            ("step", pa.int64()),
            ("layer", pa.int64()),
            ("role", pa.string()),
            ("low", pa.float64()),
            ("high", pa.float64()),
            ("counts", pa.list_(pa.int64())),
        ]
    ),
}
COLUMNS = tuple(SCHEMAS[VARIANCES].names)
"""Of every table of what was measured in a model: one row for each number."""

HISTOGRAM_COLUMNS = tuple(SCHEMAS[HISTOGRAMS].names)
"""Of every table of histograms: one row for each matrix and step."""

# Waking threads for the few kilobytes of a step takes longer than compressing them.
COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)


def read_variances(folder: str | Path) -> pd.DataFrame:
    """What was recorded in `folder`, of a run that has ended or is under way.

    Returns
    -------
    pandas.DataFrame
        Columns ``step, layer, role, kind, stat, value``.

    Raises
    ------
    UsageError
        If nothing was recorded there.
    """
    return _read_frame(Path(folder), VARIANCES)


def read_histograms(folder: str | Path) -> pd.DataFrame:
    """The histograms recorded in `folder`: columns ``step, layer, role, low, high, counts``."""
    return _read_frame(Path(folder), HISTOGRAMS)


def _read_frame(folder: Path, name: str) -> pd.DataFrame:
    table = VarianceTable(folder, name).read()
    if table is None:
        raise UsageError(
            f"{folder} holds no {name}.parquet and no {name}.arrows: nothing was recorded there."
        )
    return table.to_pandas()


class VarianceTable:
    """Rows of one schema, in memory or in files of a folder.

    Parameters
    ----------
    folder
        Where the files are; None keeps the rows in memory.
    name
        One of :data:`SCHEMAS`.
    """

    def __init__(self, folder: Path | None, name: str) -> None:
        self.folder, self.name, self.schema = folder, name, SCHEMAS[name]
        self._memory: list[pa.RecordBatch] = []
        self._writer: pa.ipc.RecordBatchStreamWriter | None = None
        self._sink: pa.NativeFile | None = None

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
        """All rows so far; None if there is no file."""
        if self.folder is None:
            return pa.Table.from_batches(self._memory, self.schema)
        if self.final_path.exists():
            try:
                return read_table(self.final_path).select(self.schema.names).cast(self.schema)
            except (OSError, pa.ArrowException, KeyError) as error:
                raise UsageError(
                    f"{self.final_path} is damaged ({error}). Remove it, or name another folder."
                ) from error
        if self.stream_path.exists():
            return pa.Table.from_batches(_whole_batches(self.stream_path), self.schema)
        return None

    def open(self, step: int) -> int | None:
        """Be ready to append after `step`: rows of later steps are dropped.

        Returns the last step that was kept, or None.
        """
        if self.folder is None:
            return None
        kept = self.read()
        if kept is None:
            kept = self.schema.empty_table()
        kept = kept.filter(pc.less_equal(kept["step"], step))
        new = self.stream_path.with_name(f".{self.stream_path.name}.new")
        self._sink = pa.OSFile(str(new), "wb")
        self._writer = pa.ipc.new_stream(self._sink, self.schema, options=COMPRESSED)
        for batch in kept.combine_chunks().to_batches():
            self._writer.write_batch(batch)
        os.replace(new, self.stream_path)
        self.final_path.unlink(missing_ok=True)
        return pc.max(kept["step"]).as_py()

    def append(self, batch: pa.RecordBatch) -> None:
        """Add the rows of one step; they are in the file when this returns."""
        if self.folder is None:
            self._memory.append(batch)
            return
        assert self._writer is not None
        try:
            self._writer.write_batch(batch)
        except OSError as error:
            raise UsageError(
                f"{self.stream_path} could not be written ({error}). What was recorded before is "
                f"kept in it."
            ) from error

    def close(self) -> None:
        """End the run: the rows become one parquet file."""
        if self._writer is None or self._sink is None:
            return
        self._writer.close()
        self._sink.close()
        self._writer = self._sink = None
        table = self.read()
        assert table is not None
        write_table(self.final_path, table.cast(_in_single_precision(table.schema)))
        self.stream_path.unlink()


def _in_single_precision(schema: pa.Schema) -> pa.Schema:
    return pa.schema(
        [f.with_type(pa.float32()) if pa.types.is_floating(f.type) else f for f in schema]
    )


def _whole_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Batches of a stream up to its end, or to where it was cut off."""
    with pa.OSFile(str(path), "rb") as source:
        try:
            reader = pa.ipc.open_stream(source)
            while True:
                yield reader.read_next_batch()
        except (StopIteration, pa.ArrowInvalid, OSError):
            return
