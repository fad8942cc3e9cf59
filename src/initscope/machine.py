"""What this machine can hold: asked before anything is allocated or started, and without torch.

What is refused here certainly does not fit: needs are counted from below.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from numbers import Integral
from pathlib import Path
from typing import cast

from initscope.errors import UsageError, given, is_number, require, require_name, shown

LARGEST_WHOLE = 2**63 - 1
"""Largest whole number that tables and torch can hold."""

LARGEST_SEED = 2**32 - 1
"""Largest seed of scikit-learn's splits and of transformers."""

LARGEST_STD = 2.0**125
"""Largest std or gain of float32 weights: several times it still is a float32."""

LEAST_THREADS = 64
"""So many threads are allowed everywhere; what more cores than that have, beyond it."""

ADDRESS_SPACE = {"sweep": 990_000_000, "pretrain": 1_030_000_000, "reproduce": 350_000_000}
"""Bytes of address space without which a command cannot even load its libraries, by the name of the
command. To import them takes a little more, with one thread and torch for CPUs, and what is not
trained again needs 1.03e9 (sweep) and 1.06e9 (pretrain); the smallest chapter needs 0.39e9."""

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory() -> int:
    """Bytes of memory that a process can have here at most: the machine's, or its share of it."""
    import psutil

    limits = [psutil.virtual_memory().total + psutil.swap_memory().total]
    for name in _CGROUP_LIMITS:  # of a container; "max" where there is none
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(Path(name).read_text()))
    with contextlib.suppress(ImportError):  # not on Windows
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        limits += [limit] if limit != resource.RLIM_INFINITY else []
    return min(limits)


def require_memory(needed: int, what: str, advice: str) -> None:
    """Raise `UsageError` if `needed` bytes are more than this machine has.

    Parameters
    ----------
    needed
        A lower bound.
    what
        What they are needed for, to follow "needs about ... for".
    advice
        What to change, an imperative.
    """
    if needed > (available := memory()):
        raise UsageError(
            f"this needs about {size(needed)} of memory for {what}, and this machine has "
            f"{size(available)}: {advice}."
        )


def require_address_space(command: str) -> None:
    """Raise `UsageError` if a limit leaves `command` too little to load its libraries.

    They do not all end with an error then: some abort the process, and some wait for a thread that
    could not be started. Only Linux keeps such a limit.

    Parameters
    ----------
    command
        A key of :data:`ADDRESS_SPACE`.

    >>> require_address_space("sweep")
    """
    if sys.platform != "linux":
        return
    import resource

    limit, needed = resource.getrlimit(resource.RLIMIT_AS)[0], ADDRESS_SPACE[command]
    if limit == resource.RLIM_INFINITY or limit >= needed:
        return
    raise UsageError(
        f"{command} needs at least {size(needed)} of memory for its libraries, and a limit leaves "
        f"it {size(limit)}: raise the limit, by `ulimit -v unlimited` for example."
    )


def size(n_bytes: float) -> str:
    """A number of bytes to three digits: ``"512 bytes"``, ``"1.49 GB"``, ``"3,200 TB"``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:,.0f} TB" if 100 <= n_bytes < 1e6 else f"{n_bytes:.3g} TB"


def check_std(name: str, value: object) -> None:
    """Raise `UsageError` unless `value` is a number that float32 weights can be drawn with.

    >>> check_std("std", 0.02)
    """
    require(
        is_number(value, 0), f"{name} must be a finite number of at least 0, not {given(value)}"
    )
    require(
        cast(float, value) <= LARGEST_STD,
        f"{name} must be at most {LARGEST_STD:.3g}, for weights are float32, not {shown(value)}.",
    )


def check_whole(name: str, value: object, least: int = 1, *, none: bool = False) -> None:
    """Raise `UsageError` unless `value` is a whole number from `least` to `LARGEST_WHOLE`."""
    if none and value is None:
        return
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    number = int(value) if is_whole else least - 1  # type: ignore[call-overload]
    high = " and below 2**63" if number > LARGEST_WHOLE else ""
    otherwise = ", or None" if none else ""
    require(
        least <= number <= LARGEST_WHOLE,
        f"{name} must be a whole number of at least {least}{high}{otherwise}, not "
        f"{given(value, whole=True)}",
    )


def largest_number_of_threads() -> int:
    """How many threads and processes may be asked for: 4 a core, or :data:`LEAST_THREADS`."""
    return max(LEAST_THREADS, 4 * (os.cpu_count() or 1))


def check_threads(threads: int | None = None, workers: int | None = None) -> None:
    """Raise `UsageError` for more threads and processes than can be of use on this machine.

    Each worker is a process that has so many threads; None is one.
    """
    for name, value in (("threads", threads), ("workers", workers)):
        check_whole(name, value, none=True)
    largest, together = largest_number_of_threads(), int(threads or 1) * int(workers or 1)
    if together <= largest:
        return
    asked = " x ".join(
        f"{value:,} {name}"
        for name, value in (("workers", workers), ("threads", threads))
        if value is not None and value > 1
    )
    cores = os.cpu_count() or 1
    raise UsageError(
        f"{asked} would start more than this machine with its {cores} core"
        f"{'s' * (cores != 1)} can use: give at most {largest} (workers times threads)."
    )


EXECUTORS = ("processes", "dask")


def check_executor(kind: object, workers: object = None, scheduler: object = None) -> None:
    """Raise `UsageError` unless :func:`initscope.executors.open_executor` can take these."""
    require_name("executor", kind, EXECUTORS)
    if workers is not None:
        check_whole("workers", workers)
    require(scheduler is None or kind == "dask", "a scheduler is for the executor dask only.")
    require(
        scheduler is None or workers is None,
        "the scheduler at that address knows its workers: give either scheduler or workers.",
    )
    check_threads(workers=cast("int | None", workers))


_DEVICE = re.compile(r"cpu|cuda(:\d{1,3})?")


def check_device_name(device: object, *, numbered: bool = True) -> None:
    """Raise `UsageError` unless `device` can be one to compute on; whether it is there, torch says.

    Parameters
    ----------
    device
        ``"cpu"``, ``"cuda"`` or, if `numbered`, ``"cuda:1"``, ...; None is always right.
    numbered
        Whether one GPU of several may be named.
    """
    if device is None or (
        isinstance(device, str) and _DEVICE.fullmatch(device) and (numbered or ":" not in device)
    ):
        return
    why = ""
    if isinstance(device, str) and device.lower().startswith("mps"):
        why = " Apple's GPUs (mps) compute no float64, in which variances are taken."
    elif isinstance(device, str) and device.lower() in ("gpu", "nvidia", "auto"):
        why = " A GPU is called cuda."
    elif isinstance(device, str) and _DEVICE.fullmatch(device):
        why = " To choose one of several GPUs, set the environment variable CUDA_VISIBLE_DEVICES."
    valid = "cpu, cuda, or cuda:N for one of several GPUs" if numbered else "cpu or cuda"
    raise UsageError(f"device {shown(device)} is not to be had here: give {valid}.{why}")


def check_out(folder: Path, what: str = "out folder") -> None:
    """Raise `UsageError` if `folder` cannot be a folder for results: a file stands in its way."""
    place = folder.absolute()
    while not _is_there(place, what) and place != place.parent:
        place = place.parent
    is_folder = place.is_dir()
    require(
        is_folder,
        f"the {what} {shown(str(folder))} cannot be made: {shown(str(place))} is a file. "
        f"Name another {what}.",
    )


def _is_there(path: Path, what: str) -> bool:
    """Whether something has this name; `UsageError` for what cannot be a name."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"the {what} {shown(str(path))} cannot be used: {reason}.") from None
    return True
