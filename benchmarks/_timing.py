"""Wall-clock times, each side of a comparison at its own best number of threads."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from threadpoolctl import threadpool_limits


def seconds(function: Callable[[], object]) -> float:
    """Return the wall-clock time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def thread_counts() -> list[int]:
    """Return 1 and as many threads as there are: cores, or what OMP_NUM_THREADS says."""
    return sorted({1, int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)})


def set_threads(threads: int) -> None:
    """Let numpy's and torch's products use as many threads."""
    threadpool_limits(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def seconds_at_best(function: Callable[[], object]) -> float:
    """Return the wall-clock time of a call with one thread or all, whichever is faster.

    A second thread halves the speed of a loop over small networks: to give each side of a
    comparison its own best number is the only fair one.
    """
    times = []
    for threads in thread_counts():
        set_threads(threads)
        times.append(seconds(function))
    return min(times)
