"""Write what a tracker has measured into its tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from initscope.schema import COLUMNS, HISTOGRAMS, TRACKING_SCHEMAS, VARIANCES
from initscope.tracking.statistics import MatrixStatistics
from initscope.tracking.tables import VarianceTable, noted_frame, open_table, refuse_another_run

__all__: list[str] = []  # for this package alone


class Recording:
    """The tables of one run, in memory or in a folder.

    Attributes
    ----------
    newest_step, newest
        The last step whose weights were recorded (-1 before there is one), and the std of each
        matrix then by (layer, role).
    """

    def __init__(self, folder: Path | None, note: Mapping[str, Any], *, writes: bool) -> None:
        self._writes = writes
        self._tables = {name: VarianceTable(folder, name, note) for name in TRACKING_SCHEMAS}
        self._labels: dict[Any, list[pa.Array]] = {}
        self.newest_step = -1
        self.newest: dict[tuple[int, str], float] = {}

    def open(self, step: int, *, overwrite: bool) -> int | None:
        """Open the tables after `step`; return the last step of the statistics there."""
        if step == 0 and not overwrite:
            for table in self._tables.values():
                refuse_another_run(table)
        # From the start nothing is kept of what an earlier run has left: it may be damaged, or
        # have the first step in one table and not in the other.
        kept = step if step or not overwrite else -1
        written = {name: open_table(table, kept) for name, table in self._tables.items()}
        return written[VARIANCES]

    def write(
        self,
        step: int,
        measured: list[MatrixStatistics],
        values: list[np.ndarray],
        see: Callable[[pd.DataFrame], object] | None = None,
    ) -> None:
        """Add the rows of one step, and let `see` see them."""
        value = np.concatenate([np.zeros(0), *(array.ravel() for array in values)])
        if len(value) == 0 or not self._writes:
            return
        # Names repeat from step to step: the columns that hold them are made once.
        key = tuple((*one.labels, *one.matrices) for one in measured)
        if key not in self._labels:
            rows = [
                (matrix.layer, matrix.role, kind, stat)
                for one in measured
                for matrix in one.matrices
                for kind, stat in one.labels
            ]
            types = [TRACKING_SCHEMAS[VARIANCES].field(name).type for name in COLUMNS[1:5]]
            columns = zip(*rows, strict=True)
            self._labels[key] = [pa.array(c, t) for c, t in zip(columns, types, strict=True)]
        batch = [pa.array(np.full(len(value), step)), *self._labels[key], pa.array(value)]
        rows = pa.RecordBatch.from_arrays(batch, schema=TRACKING_SCHEMAS[VARIANCES])
        self._tables[VARIANCES].append(rows)
        if see is not None:
            see(rows.to_pandas())
        for one, array in zip(measured, values, strict=True):
            if ("weight", "std") in one.labels:
                stds = array[:, one.labels.index(("weight", "std"))].tolist()
                names = [(matrix.layer, matrix.role) for matrix in one.matrices]
                if step != self.newest_step:
                    self.newest_step, self.newest = step, {}
                self.newest |= zip(names, stds, strict=True)

    def write_histograms(self, step: int, counts: MatrixStatistics, raw: np.ndarray) -> None:
        """Add the histograms of one step."""
        if not self._writes:
            return
        rows = [
            {
                "step": step, "layer": matrix.layer, "role": matrix.role,
                "low": row[0], "high": row[1], "counts": [int(count) for count in row[2:]],
            }
            for matrix, row in zip(counts.matrices, raw.tolist(), strict=True)
        ]  # fmt: skip
        self._tables[HISTOGRAMS].append(
            pa.RecordBatch.from_pylist(rows, schema=TRACKING_SCHEMAS[HISTOGRAMS])
        )

    def frame(self, name: str) -> pd.DataFrame:
        """Return one table so far."""
        table = self._tables[name].read()
        return noted_frame(TRACKING_SCHEMAS[name].empty_table() if table is None else table)

    def checksums(self) -> dict[str, str]:
        """Return the checksum of each table so far."""
        return {name: table.digest() for name, table in self._tables.items()}

    def close(self) -> None:
        """End the run."""
        for table in self._tables.values():
            table.close()
