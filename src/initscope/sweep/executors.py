"""Executors by name, for the command line; from Python give `run_sweep` any executor itself.

What a worker needs is this package in the same version, the data, and nothing of the folder that
the results go to.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import torch

from initscope.devices import check_executor
from initscope.errors import UsageError

# What the training of a chunk needs, the first optimizer of a process and its data included.
IMPORTED_ONCE = (
    "initscope.sweep.training",
    "torch._dynamo",
    "sklearn.datasets",
    "sklearn.model_selection",
)


@contextlib.contextmanager
def open_executor(
    kind: str,
    workers: int | None = None,
    scheduler: str | None = None,
    *,
    folder: Path | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Iterator[Executor]:
    """Open an executor for :func:`initscope.sweep.run_sweep`; shut it down at the end.

    Parameters
    ----------
    kind
        ``"processes"``, on this machine, ``"dask"``, or ``"slurm"``: a job a chunk.
    workers
        How many processes to start; by default one for each core. Of Slurm, how many jobs may be in
        the queue at once; 32 by default.
    scheduler
        Address of a running Dask scheduler, for example ``"tcp://10.0.0.1:8786"``. Without one,
        a Dask cluster of `workers` is started on this machine. Of Slurm ``"local"``: processes of
        this machine in place of jobs, to try it out.
    folder, parameters
        Of Slurm: a folder that all machines see, and what submitit asks for with a job.

    Raises
    ------
    UsageError
        For an unknown kind, or where the package that it needs is not installed.
    """
    check_executor(kind, workers, scheduler)
    number = workers or os.cpu_count() or 1
    if kind == "processes":
        with processes(number) as pool:
            yield pool
    elif kind == "slurm":
        from initscope.sweep.slurm import SlurmExecutor

        if scheduler not in (None, "local"):
            raise UsageError("the scheduler of slurm is Slurm's own, or local to try it out.")
        place = folder or Path("slurm")
        with SlurmExecutor(place, workers or 32, scheduler or "slurm", parameters) as executor:
            yield executor
    else:
        with _dask(number, scheduler) as client:
            yield client


# Not by loky, which would take a third of this code: after Ctrl-C its manager prints a traceback
# over futures that are cancelled already, its workers outlive a parent that is killed, and each of
# them imports torch for itself (loky 3.7).
@contextlib.contextmanager
def processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Open a pool of processes that know nothing of what happened in this one.

    None outlives this process, however it ends, and an error or Ctrl-C here ends them at once.
    """
    context = _context()
    workers_end, our_end = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(
        workers,
        mp_context=context,
        initializer=_begin_worker,
        initargs=(workers_end, dict(os.environ)),
    )
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        # Until the pool has let go of what is cancelled: Python 3.11 prints an error otherwise.
        time.sleep(0.2)
        our_end.close()
        raise
    finally:
        pool.shutdown()
        our_end.close()
        workers_end.close()


def _context() -> BaseContext:
    """Choose how processes start: each by itself, or all from one that has imported torch.

    The latter takes one import for all of them, and its memory once. Torch itself does not survive
    a fork where it has started threads or looked for a GPU; that process does neither. It ends with
    this one, or a few seconds later if its imports are not made by then.
    """
    if sys.platform != "linux" or torch.cuda.is_available():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*IMPORTED_ONCE])
    # Ctrl-C goes to all processes of a terminal. This one is to leave it to us, and its start is
    # long enough to be hit by it.
    resource_tracker.ensure_running()  # or it is started below, and unblocks what is blocked
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    # Interrupted in its imports we would be gone when it starts the workers, and they would fail.
    first = context.Process(target=_do_nothing)
    first.start()
    first.join()
    return context


def _do_nothing() -> None:
    """Do nothing in the first process: by then the imports are made."""


def _begin_worker(pipe: Connection, environment: dict[str, str]) -> None:
    """End this process as soon as the other end of the pipe is closed; leave Ctrl-C to it.

    The process that it was started from may be older than the environment of the pool.
    """
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait() -> None:
        with contextlib.suppress(EOFError, OSError):
            pipe.recv()  # nothing is ever sent
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextlib.contextmanager
def _dask(workers: int, scheduler: str | None) -> Iterator[Executor]:
    """Connect to a Dask scheduler, or start a cluster on this machine."""
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise UsageError(
            "the executor dask needs the package distributed: pip install 'initscope[dask]'."
        ) from error
    with contextlib.ExitStack() as opened:
        address: object = scheduler
        if scheduler is None:
            address = opened.enter_context(
                LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
            )
        try:
            client = opened.enter_context(Client(address))
        except (OSError, ValueError) as error:
            raise UsageError(f"no Dask scheduler answers at {scheduler} ({error}).") from error
        yield client.get_executor()
