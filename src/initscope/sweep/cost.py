"""What a sweep costs, before it is run: networks, operations, memory, time on this machine.

>>> from initscope.sweep.run import SweepSpec
>>> cost = sweep_cost(SweepSpec(dataset="wine", stds=(0.01, 0.1), seeds=2, epochs=2))
>>> cost.n_runs, cost.n_chunks, cost.n_chunks_left
(4, 1, 1)
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from initscope.devices import check_device, plain_float32
from initscope.sweep.records import finished_table, read_chunk, table_path
from initscope.sweep.run import SweepSpec, bytes_per_run, chunks_of
from initscope.sweep.schedule import probe_steps
from initscope.sweep.training import (
    EVALUATION_BATCH,
    Chunk,
    ChunkTraining,
    dataset_of_seed,
)


@dataclass(frozen=True)
class SweepCost:
    """What is left to do of a sweep.

    Attributes
    ----------
    n_runs, n_chunks
        Networks, and parts that they are trained in, of the whole sweep.
    n_runs_left, n_chunks_left
        Those that are not there yet.
    flops
        Floating-point operations of the matrix products that are left: updates and evaluations.
    memory
        Bytes that a worker needs at most for the networks of a chunk, beside Python, torch and
        the data.
    seconds
        Time that is left on `workers` such as this machine; 0 if nothing is.
    workers
        How many train at the same time.
    finished
        Where the finished table is, or None.
    """

    n_runs: int
    n_chunks: int
    n_runs_left: int
    n_chunks_left: int
    flops: float
    memory: float
    seconds: float
    workers: int
    finished: Path | None

    def __str__(self) -> str:
        head = f"{self.n_runs:,} networks in {_counted(self.n_chunks, 'chunk')}"
        if self.finished is not None:
            return f"{head}. All are trained: {self.finished}."
        kept = self.n_chunks - self.n_chunks_left
        lines = [
            f"{head}, {kept:,} of them already there.",
            f"To train: {self.n_runs_left:,} networks, {self.flops / 1e12:.3g} TFLOP, with "
            f"{self.memory / 1e6:.0f} MB a worker beside Python, torch and the data.",
            f"Time: about {duration(self.seconds)} with {_counted(self.workers, 'worker')}, "
            f"as measured here on a few updates.",
        ]
        return "\n".join(lines)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """A time to two digits or more: ``"40 s"``, ``"12 min"``, ``"3.5 h"``."""
    size, unit = (1, "s") if seconds < 99.5 else (60, "min") if seconds < 5970 else (3600, "h")
    return f"{seconds / size:.{0 if seconds >= 10 * size else 1}f} {unit}"


def sweep_cost(
    spec: SweepSpec,
    out: str | Path | None = None,
    device: str | None = None,
    *,
    threads: int | None = None,
    workers: int = 1,
    probe_seconds: float = 2.0,
) -> SweepCost:
    """What is left to do of `spec` where `out` holds what is kept; writes nothing.

    Of every kind of network a few updates are timed, the costliest kinds first, until
    `probe_seconds` have passed; kinds that had no turn are taken to run at the rate of the others.

    Parameters
    ----------
    spec, out, device, threads
        As for :func:`initscope.sweep.run_sweep`.
    workers
        How many chunks train at the same time, each as fast as one does here alone.
    probe_seconds
        About how long to measure; loading the data comes on top.

    Raises
    ------
    UsageError
        As `run_sweep`: a table of another specification, an unknown device.
    """
    if device is not None:
        check_device(device)
    chunks = chunks_of(spec)
    folder = None if out is None else Path(out)
    finished = None
    left: Sequence[Chunk] = chunks
    if folder is not None:
        if finished_table(folder, spec) is not None:
            finished, left = table_path(folder, spec), []
        else:
            left = [chunk for chunk in chunks if read_chunk(folder, spec, chunk) is None]
    return SweepCost(
        n_runs=spec.n_runs,
        n_chunks=len(chunks),
        n_runs_left=sum(chunk.n_runs for chunk in left),
        n_chunks_left=len(left),
        flops=float(sum(_flops(chunk) for chunk in left)),
        memory=max(
            (c.n_runs * bytes_per_run(spec, c.widths, c.optimizer) for c in left), default=0
        ),
        seconds=_seconds(left, device, threads, probe_seconds) / max(1, min(workers, len(left))),
        workers=workers,
        finished=finished,
    )


def _flops(chunk: Chunk) -> int:
    n_test = len(dataset_of_seed(chunk.dataset, chunk.seeds[0]).test_labels)
    products = sum(i * o for i, o in itertools.pairwise(chunk.widths))
    return chunk.flops + chunk.n_runs * chunk.n_evaluations * n_test * 2 * products


def _seconds(
    chunks: Sequence[Chunk], device: str | None, threads: int | None, budget: float
) -> float:
    """Time that `chunks` take one after another."""
    kinds: dict[tuple[object, ...], list[Chunk]] = {}
    for chunk in chunks:
        # The rate of learning makes no difference to the time.
        kind = (chunk.widths, chunk.optimizer.name, bool(chunk.optimizer.momentum))
        kinds.setdefault(kind, []).append(chunk)
    by_cost = sorted(kinds.values(), key=lambda of_kind: -sum(map(_flops, of_kind)))
    end = time.perf_counter() + budget
    measured = measured_flops = rest = 0.0
    for of_kind in by_cost:
        flops = float(sum(map(_flops, of_kind)))
        now = time.perf_counter()
        if measured and now >= end:
            rest += flops
            continue
        largest = max(of_kind, key=lambda chunk: chunk.n_runs)
        seconds = _seconds_of_chunk(largest, device, threads, budget / len(kinds))
        per_run = seconds / largest.n_runs
        measured += per_run * sum(chunk.n_runs for chunk in of_kind)
        measured_flops += flops
    return measured + (measured * rest / measured_flops if rest else 0.0)


def _seconds_of_chunk(
    chunk: Chunk, device: str | None, threads: int | None, budget: float
) -> float:
    """Time that one chunk takes: a few of its updates, one evaluation and one probe are timed."""
    used = torch.device(device or "cpu")

    def seconds(function: Callable[[], object]) -> float:
        if used.type == "cuda":
            torch.cuda.synchronize(used)
        start = time.perf_counter()
        function()
        if used.type == "cuda":
            torch.cuda.synchronize(used)
        return time.perf_counter() - start

    with plain_float32(used, threads):
        training: list[ChunkTraining] = []
        setup = seconds(lambda: training.append(ChunkTraining(chunk, used)))
        (run,) = training
        batches = itertools.chain.from_iterable(run.batches(0) for _ in itertools.count())
        end = time.perf_counter() + budget
        run.update(*next(batches))  # the first allocates
        updates = [seconds(lambda: run.update(*next(batches)))]
        while time.perf_counter() < end and len(updates) < chunk.n_steps:
            updates.append(seconds(lambda: run.update(*next(batches))))
        update = sum(updates) / len(updates)
        n_test = min(run.n_test, EVALUATION_BATCH)
        evaluation = seconds(lambda: run.evaluate(n_test)) * run.n_test / n_test
        probe = seconds(run.statistics)
    n_probes = len(probe_steps(chunk.n_steps, chunk.probes))
    evaluations = chunk.n_evaluations * evaluation
    return setup + chunk.n_steps * update + evaluations + n_probes * probe
