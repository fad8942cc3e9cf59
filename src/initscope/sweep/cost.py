"""What a sweep costs, before it is run: networks, floating-point operations, memory.

>>> from initscope.sweep.spec import SweepSpec
>>> cost = sweep_cost(SweepSpec(dataset="wine", stds=(0.01, 0.1), seeds=2, epochs=2))
>>> cost.n_runs, cost.n_chunks, cost.n_chunks_left
(4, 1, 1)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from initscope.devices import check_device
from initscope.sweep.chunks import bytes_per_run, chunks_of
from initscope.sweep.records import finished_table, read_chunk, table_path
from initscope.sweep.spec import SweepSpec


@dataclass(frozen=True)
class SweepCost:
    """Work that is left of a sweep, and what was recorded of the part that is done.

    Attributes
    ----------
    n_runs, n_chunks
        Networks, and parts that they are trained in, of the whole sweep.
    n_runs_left, n_chunks_left
        Those that are not there yet.
    flops, flops_left
        Floating-point operations of the matrix products of updates, evaluations and layer
        statistics, of the whole sweep and of what is left.
    memory
        Bytes that a worker needs at most for the networks of a chunk that is left, beside Python,
        torch and the data.
    seconds_recorded
        Seconds that the chunks that are there took one after another, as their records say.
    finished
        Where the finished table is, or None.
    """

    n_runs: int
    n_chunks: int
    n_runs_left: int
    n_chunks_left: int
    flops: float
    flops_left: float
    memory: float
    seconds_recorded: float
    finished: Path | None

    def __str__(self) -> str:
        chunks = f"{self.n_chunks:,} chunk{'s' * (self.n_chunks != 1)}"
        head = f"{self.n_runs:,} networks in {chunks}"
        n_kept = self.n_chunks - self.n_chunks_left
        took = f"took {format_duration(self.seconds_recorded)} of a worker"
        if self.finished is not None:
            return (
                f"{head}. All are trained, {format_flops(self.flops)} that {took}: {self.finished}."
            )
        done = format_flops(self.flops - self.flops_left)
        recorded = f"; their {done} {took}" if n_kept else ""
        return (
            f"{head}, {n_kept:,} of them already there{recorded}.\n"
            f"To train: {self.n_runs_left:,} networks, {format_flops(self.flops_left)}, with "
            f"{self.memory / 1e6:.0f} MB a worker beside Python, torch and the data."
        )


def format_flops(flops: float) -> str:
    """Return a number of floating-point operations in words, to three digits.

    >>> format_flops(167.2e12)
    '167 TFLOP'
    """
    for unit in ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"):
        if flops < 999.5:
            return f"{flops:.3g} {unit}"
        flops /= 1000
    return f"{flops:,.0f} EFLOP"


def format_duration(seconds: float) -> str:
    """Return a time in words, to two digits or more: ``"40 s"``, ``"12 min"``, ``"3.5 h"``.

    >>> format_duration(5400)
    '90 min'
    """
    size, unit = (1, "s") if seconds < 99.5 else (60, "min") if seconds < 5970 else (3600, "h")
    return f"{seconds / size:.{0 if seconds >= 10 * size else 1}f} {unit}"


def sweep_cost(
    spec: SweepSpec, out: str | Path | None = None, device: str | None = None
) -> SweepCost:
    """Count what is left to do of `spec` where `out` holds what is kept; write nothing.

    Nothing is trained or timed: the data are loaded, for their sizes decide the work.

    Parameters
    ----------
    spec, out, device
        As for :func:`initscope.sweep.run_sweep`.

    Raises
    ------
    UsageError
        As `run_sweep`: a table of another specification, an unknown device.
    """
    if device is not None:
        check_device(device)
    chunks = chunks_of(spec)
    finished, left, kept = None, chunks, []
    if out is not None:
        folder = Path(out)
        if (table := finished_table(folder, spec)) is not None:
            finished, left, kept = table_path(folder, spec), [], [table]
        else:
            found = [(chunk, read_chunk(folder, spec, chunk)) for chunk in chunks]
            left = [chunk for chunk, table in found if table is None]
            kept = [table for _, table in found if table is not None]
    return SweepCost(
        n_runs=spec.n_runs,
        n_chunks=len(chunks),
        n_runs_left=sum(chunk.n_runs for chunk in left),
        n_chunks_left=len(left),
        flops=float(sum(chunk.flops for chunk in chunks)),
        flops_left=float(sum(chunk.flops for chunk in left)),
        memory=max(
            (c.n_runs * bytes_per_run(spec, c.widths, c.optimizer) for c in left), default=0
        ),
        seconds_recorded=sum(_seconds_recorded(table) for table in kept),
        finished=finished,
    )


def _seconds_recorded(table: pa.Table) -> float:
    """Return the seconds that the metadata of a table state."""
    return float(json.loads(table.schema.metadata[b"initscope"])["seconds"])
