"""Train chunks as jobs of Slurm, through submitit: an executor as any other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from initscope import extras
from initscope.errors import UsageError, shown

__all__: list[str] = []  # for this package alone

LOOK_EVERY = 0.5
"""Seconds between looks at the jobs; submitit itself asks Slurm no more than once a minute."""


class SlurmExecutor(Executor):
    """Jobs of a cluster as futures.

    Parameters
    ----------
    folder
        That all machines see; specifications, results and logs of the jobs go there.
    jobs
        How many may be in the queue at once.
    cluster
        ``"slurm"``, or ``"local"`` for processes of this machine, to try it out.
    parameters
        Of submitit: ``timeout_min``, ``slurm_partition``, ``mem_gb``, ``gpus_per_node``, ....
    """

    def __init__(
        self,
        folder: Path,
        jobs: int,
        cluster: str = "slurm",
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        with extras.named("the executor slurm"):
            import submitit
        try:
            self._submit = submitit.AutoExecutor(folder=folder, cluster=cluster)
            self._submit.update_parameters(**{"timeout_min": 60, **(parameters or {})})
        except Exception as error:  # without Slurm on this machine, or of an unknown parameter
            raise UsageError(f"submitit starts no jobs: {shown(str(error))}.") from None
        self._jobs = jobs
        self._waiting: list[tuple[Future[Any], Callable[[], Any]]] = []
        self._running: dict[Future[Any], Any] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Put a call into the queue; it becomes a job when there is room."""
        future: Future[Any] = Future()
        with self._lock:
            self._waiting.append((future, lambda: self._submit.submit(fn, *args, **kwargs)))
        return future

    def _watch(self) -> None:
        """Start jobs while there is room, and hand over what has ended."""
        while not self._stop.wait(LOOK_EVERY):
            with self._lock:
                while self._waiting and len(self._running) < self._jobs:
                    future, start = self._waiting.pop(0)
                    if not future.set_running_or_notify_cancel():
                        continue
                    try:
                        self._running[future] = start()
                    except Exception as error:
                        future.set_exception(error)
                ended = [(f, job) for f, job in self._running.items() if job.done()]
                for future, _ in ended:
                    del self._running[future]
            for future, job in ended:
                try:
                    future.set_result(job.result())
                except Exception as error:
                    future.set_exception(error)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take back what has not ended."""
        self._stop.set()
        self._thread.join()
        with self._lock:
            for future, _ in self._waiting:
                future.cancel()
            for job in self._running.values():
                job.cancel()
