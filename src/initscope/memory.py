"""How much memory this machine has: asked before anything is allocated, and without torch.

What is refused here certainly does not fit: needs are counted from below.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from initscope.errors import UsageError

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def available_memory() -> int:
    """Return the bytes that a process can have here at most: the machine's, or its share."""
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


def require_memory(needed: float, what: str, advice: str = "give less") -> None:
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
    if needed > (available := available_memory()):
        raise UsageError(
            f"this needs about {format_bytes(needed)} of memory for {what}, and this machine has "
            f"{format_bytes(available)}: {advice}."
        )


def format_bytes(n_bytes: float) -> str:
    """Format a number of bytes to three digits: ``"512 bytes"``, ``"1.49 GB"``, ``"3,200 TB"``."""
    if n_bytes > 1e300:
        return "more than can be counted"
    for unit in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:,.0f} TB" if 100 <= n_bytes < 1e6 else f"{n_bytes:.3g} TB"


ADDRESS_SPACE = {
    "sweep": 1_400_000_000,
    "pretrain": 1_800_000_000,
    "reproduce": 1_500_000_000,
}
"""Bytes of address space that a command is refused below, by the name of the command. Measured with
torch for CPUs on two cores: smallest sweep, ``nano12``, smallest chapter end well from there on.
Below, libraries may load and then abort, or wait for ever for a thread that could not start."""


def require_address_space(command: str) -> None:
    """Raise `UsageError` if a limit leaves `command` too little for libraries and their threads.

    Only Linux keeps such a limit.

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
        f"{command} needs at least {format_bytes(needed)} of memory for its libraries, and a limit "
        f"leaves it {format_bytes(limit)}: raise the limit, by `ulimit -v unlimited` for example."
    )
