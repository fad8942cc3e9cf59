"""Executors by name, for the command line; from Python give `run_sweep` any executor itself.

What a worker needs is this package in the same version, the data, and nothing of the folder that
the results go to.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing.connection import Connection

from initscope.errors import UsageError, is_number, require, require_name

EXECUTORS = ("processes", "dask")


@contextlib.contextmanager
def open_executor(
    kind: str, workers: int | None = None, scheduler: str | None = None
) -> Iterator[Executor]:
    """An executor for :func:`initscope.sweep.run_sweep`, shut down at the end.

    Parameters
    ----------
    kind
        ``"processes"``, on this machine, or ``"dask"``.
    workers
        How many processes to start; by default one for each core.
    scheduler
        Address of a running Dask scheduler, for example ``"tcp://10.0.0.1:8786"``. Without one,
        a Dask cluster of `workers` is started on this machine.

    Raises
    ------
    UsageError
        For an unknown kind, or where the package that it needs is not installed.
    """
    require_name("executor", kind, EXECUTORS)
    require(
        workers is None or is_number(workers, 1, whole=True),
        f"workers must be a whole number of at least 1, not {workers!r}.",
    )
    require(scheduler is None or kind == "dask", "a scheduler is for the executor dask only.")
    require(
        scheduler is None or workers is None,
        "the scheduler at that address knows its workers: give either scheduler or workers.",
    )
    number = workers or os.cpu_count() or 1
    if kind == "processes":
        with processes(number) as pool:
            yield pool
    else:
        with _dask(number, scheduler) as executor:
            yield executor


@contextlib.contextmanager
def processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes that start afresh, for torch does not survive a fork.

    None outlives this process, however it ends, and an error or Ctrl-C here ends them at once.
    """
    context = multiprocessing.get_context("spawn")
    workers_end, our_end = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_end_with, initargs=(workers_end,)
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


def _end_with(pipe: Connection) -> None:
    """End this process as soon as the other end of the pipe is closed; leave Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait() -> None:
        with contextlib.suppress(EOFError, OSError):
            pipe.recv()  # nothing is ever sent
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextlib.contextmanager
def _dask(workers: int, scheduler: str | None) -> Iterator[Executor]:
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
