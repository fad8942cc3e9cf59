"""Sweeps over the initialization: many networks trained at once, recorded, resumable.

>>> spec = SweepSpec(dataset="wine", stds=(0.01, 0.1), seeds=2, epochs=2)
>>> table = run_sweep(spec, progress=False)
>>> table[["std", "seed", "diverged_step"]].shape
(4, 3)
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Executor, Future
from pathlib import Path

import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from initscope.checks import result_folder, whole_or_none
from initscope.devices import check_device, check_device_name, check_threads
from initscope.errors import OutOfResources, UsageError, lack_of_resources
from initscope.sweep.chunks import Chunk, chunks_of, require_room
from initscope.sweep.records import (
    chunk_folder,
    concatenate_chunks,
    finished_table,
    read_chunk,
    remove_chunks,
    to_frame,
    write_chunk,
    write_finished,
)
from initscope.sweep.spec import SweepSpec
from initscope.sweep.training import run_chunk

SUBMITTED_AT_ONCE = 1000
"""Chunks that an executor holds at most: schedulers of clusters limit the jobs of a user."""


def run_sweep(
    spec: SweepSpec,
    out: str | Path | None = None,
    executor: Executor | None = None,
    device: str | None = None,
    *,
    threads: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Train every network of `spec`; one row a run.

    The networks of a chunk train at once, each exactly as if it were alone (to float32 rounding).
    With `out`, every finished chunk is kept there: killed and started again, a sweep goes on
    where it was and ends with the same table. A finished sweep is read, not run again. Several
    sweeps may run in one folder at once, also of the same name.

    The same specification gives the same numbers to the last bit on the same kind of processor,
    with the same number of `threads` and the same version of torch; elsewhere it gives the same
    to float32 rounding. It makes no difference which process trains a chunk, nor in which order.

    Parameters
    ----------
    spec
        What to train.
    out
        Folder for the table, ``<spec.name>.parquet``, and for the chunks until it is there.
    executor
        Any `concurrent.futures.Executor`; its workers train the chunks, and only this process
        writes to `out`. A chunk that fails does not stop the others. By default this process
        trains the chunks one after another.
    device
        ``"cpu"`` (default), ``"cuda"``, ``"cuda:1"``, ...; on the workers, where they are given.
        Products are those of float32: TF32, bfloat16 and autocast are off while it trains,
        whatever is set outside, so that devices can be compared.
    threads
        Torch threads that train a chunk. By default as many as torch uses in the process that
        trains it: usually one a core here, and 1 on a worker of Dask.
    progress
        Show a progress bar with the time left.

    Returns
    -------
    pandas.DataFrame
        One row a network. Its columns, beside those that say which run it is:

        - ``diverged_step``: number of updates made when the training loss was first not finite;
          missing if it never was. 0 is at initialization.
        - ``train_loss``: the last entry of ``loss``; ``test_loss``, ``test_accuracy`` after the
          last update (cross-entropy in nats; share of right answers, 0 for outputs not finite).
        - ``loss_step``, ``loss``: training loss, each entry the mean over the updates since the
          entry before.
        - ``accuracy_by_epoch``: test accuracy at initialization and ``evaluations_per_epoch``
          times in each epoch. With a `validation_size`, ``validation_accuracy`` and
          ``validation_accuracy_by_epoch`` are the same for the examples held out of training.
        - ``probe_step``, then for each probe step and weight layer, flattened in that order (see
          :func:`initscope.analysis.to_tidy`): ``forward_variance``, of the pre-activations over
          examples and units; ``backward_variance``, of the gradient of one example's loss with
          respect to them; ``gradient_norm``, of the weight's gradient of the mean loss;
          ``dead_fraction``, the share of units that are 0 on all probe examples (NaN for the
          output layer); ``weight_std``, per element.

        ``table.attrs`` holds the specification, the environment and the seconds it took.

    Raises
    ------
    UsageError
        The folder holds a table of the same name and another specification, also one that another
        sweep has written in the meantime (then the chunks are kept); a device that is not there.
    OSError
        The folder cannot be written, or the disk is full; finished chunks are kept.
    OutOfResources
        Not enough memory, here or on a worker; finished chunks are kept, and the message says so.
    Exception
        Another error of a chunk on a worker, after the other chunks have been trained and kept.
    SweepInterrupted
        Ctrl-C; finished chunks are kept.

    Examples
    --------
    >>> table = run_sweep(SweepSpec(stds=(0.01, 0.3), seeds=2, epochs=2), progress=False)
    >>> len(table)
    4
    """
    whole_or_none("threads", threads)
    if executor is None:
        check_threads(threads)
    check_device_name(device)
    folder = None if out is None else Path(out)
    if folder is not None:
        result_folder("out folder", folder)
    if folder is not None and (finished := finished_table(folder, spec)) is not None:
        return to_frame(finished)
    require_room(spec, device, elsewhere=executor is not None)
    if device is not None and executor is None:
        check_device(device)
    chunks = chunks_of(spec)
    tables: dict[str, pa.Table] = {}

    def keep(chunk: Chunk, table: pa.Table) -> None:
        if folder is not None:
            write_chunk(folder, spec, chunk, table)
        tables[chunk.digest] = table

    def state() -> str:
        return _progress_message(folder, len(tables), len(chunks))

    try:
        if folder is not None:
            # Here already, so that a folder that cannot be made costs no training.
            chunk_folder(folder, spec).mkdir(parents=True, exist_ok=True)
            for chunk in chunks:
                if (kept := read_chunk(folder, spec, chunk)) is not None:
                    tables[chunk.digest] = kept
        pending = [chunk for chunk in chunks if chunk.digest not in tables]
        with tqdm(
            total=sum(c.flops for c in chunks),
            initial=sum(c.flops for c in chunks if c.digest in tables),
            desc=f"{spec.name}: {spec.n_runs} networks",
            unit="FLOP",
            unit_scale=True,
            disable=not progress,
        ) as bar:
            if executor is None:
                for chunk in pending:
                    keep(chunk, run_chunk(chunk, device, threads, bar.update))
            else:
                _train_on_workers(pending, executor, device, threads, keep, bar.update)
        whole = concatenate_chunks(spec, [tables[chunk.digest] for chunk in chunks])
        if folder is not None:
            try:
                whole = write_finished(folder, spec, whole)
            except UsageError as error:
                for chunk in chunks:  # the other sweep has tidied away those that both have
                    write_chunk(folder, spec, chunk, tables[chunk.digest])
                raise UsageError(f"{error} {state()}") from error
            remove_chunks(folder, spec, chunks)
    except KeyboardInterrupt:
        raise SweepInterrupted(state()) from None
    except OSError as error:
        if folder is None:
            raise
        hint = "free some space" if error.errno == errno.ENOSPC else "mend this"
        reason = error.strerror or str(error)
        where = f" ({error.filename})" if error.filename else ""
        raise OSError(error.errno, f"{reason}{where}: {hint} first. {state()}") from error
    except UsageError:
        raise
    except Exception as error:
        if not (lacking := lack_of_resources(error)):
            raise
        raise OutOfResources(f"{lacking} {state()}") from error
    return to_frame(whole)


class SweepInterrupted(KeyboardInterrupt):
    """Ctrl-C during a sweep; the message says what is kept."""


def _train_on_workers(
    pending: Sequence[Chunk],
    executor: Executor,
    device: str | None,
    threads: int | None,
    keep: Callable[[Chunk, pa.Table], object],
    advance: Callable[[int], object],
) -> None:
    """Train chunks on the workers of an executor; `keep` each as soon as it is there.

    A chunk that fails does not stop the others: its error is raised when they are through.
    """
    waiting = iter(pending)
    submitted: dict[Future[pa.Table], Chunk] = {}
    done: queue.SimpleQueue[Future[pa.Table]] = queue.SimpleQueue()
    failures: list[Exception] = []
    try:
        while True:
            for chunk in itertools.islice(waiting, SUBMITTED_AT_ONCE - len(submitted)):
                future = executor.submit(run_chunk, chunk, device, threads)
                submitted[future] = chunk
                future.add_done_callback(done.put)
            if not submitted:
                break
            future = done.get()
            chunk = submitted[future]
            error = CancelledError() if future.cancelled() else future.exception()
            if error is None:
                keep(chunk, future.result())
                advance(chunk.flops)
            elif not isinstance(error, Exception):  # Ctrl-C on the worker
                raise error
            else:
                failures.append(error)
                if len(failures) == 1:
                    said = str(error) or type(error).__name__
                    reason = lack_of_resources(error).rstrip(".") or said.splitlines()[0]
                    tqdm.write(f"A chunk failed on a worker ({reason}); the others go on.")
            del submitted[future]
    finally:  # nothing is left unless an error or Ctrl-C came in between
        for future in submitted:
            future.cancel()
        for future, chunk in submitted.items():
            if future.done() and not future.cancelled() and future.exception() is None:
                with contextlib.suppress(OSError):
                    keep(chunk, future.result())
    if failures:
        failures[0].add_note(f"{len(failures)} of {len(pending)} chunks failed on the workers.")
        raise failures[0]


def _progress_message(folder: Path | None, done: int, total: int) -> str:
    """Say how many chunks are done, and what is kept of them."""
    if folder is None:
        return f"Stopped after {done} of {total} chunks; nothing is kept without an out folder."
    kept = f"those {done} are kept in {folder}, and the same call goes on from there"
    again = "the same call starts again"
    return f"Stopped after {done} of {total} chunks: {kept if done else again}."
