"""One writer a folder: a lock that says who holds it, and ends with its process however it ends."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from initscope.errors import UsageError

try:
    import fcntl
except ImportError:  # Windows: what stands in the file has to do
    fcntl = None  # type: ignore[assignment]

LOCK = ".initscope.lock"
"""File in a folder that is being written."""


@contextlib.contextmanager
def write_lock(folder: Path, what: str) -> Iterator[None]:
    """Be the only one that writes to `folder`, which is made if it is not there.

    The lock is the operating system's, so that it ends with this process even if it is killed.
    Where a file system has no locks, the owner that the file names decides: a process of this
    machine that is gone holds nothing. Readers are not kept out.

    Parameters
    ----------
    folder
        What is to be written. If it was made here and nothing was put in it, it is removed again.
    what
        What is going on there, for whoever finds it locked.

    Raises
    ------
    UsageError
        Another process holds the lock, or the folder cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with write_lock(Path(folder), "an example"):
    ...         (Path(folder) / LOCK).exists()
    True
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = _acquire(folder, what)
        except OSError as error:
            raise UsageError(
                f"the folder {folder} cannot be written ({error.strerror or error}). Name another "
                f"one."
            ) from error
        try:
            yield
        finally:
            # Removed while it is held: who has opened it in the meantime finds it without a name.
            with contextlib.suppress(OSError):
                (folder / LOCK).unlink()
            file.close()
    finally:
        with contextlib.suppress(OSError):  # something was written there
            for each in made:
                each.rmdir()


def _acquire(folder: Path, what: str) -> IO[str]:
    """Open the lock file of a folder and lock it; `UsageError` if another process holds it."""
    path = folder / LOCK
    while True:
        file = path.open("a+")
        try:
            locked = _lock(file)
            if os.fstat(file.fileno()).st_nlink == 0:  # its owner has removed it since
                file.close()
                continue
            file.seek(0)
            owner = _parse_owner(file.read())
            if locked is False or (locked is None and _owner_may_be_alive(owner)):
                raise UsageError(
                    f"{folder} is being written by {_describe_owner(owner)}. Wait until it has "
                    f"ended, or name another folder."
                )
            with contextlib.suppress(OSError):  # no space to say it: the lock holds all the same
                file.truncate(0)
                json.dump(_this_process() | {"what": what}, file)
                file.flush()
            return file
        except BaseException:
            file.close()
            raise


def _lock(file: IO[str]) -> bool | None:
    """Return whether the lock was to be had; None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _this_process() -> dict[str, Any]:
    """Return what the lock file says of its owner."""
    return {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "began": _process_start(os.getpid()),
        "since": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
    }


def _process_start(process: int) -> str | None:
    """Return when a process of this machine began; numbers of processes are given again."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[19]  # in clock ticks since the machine was started


def _parse_owner(text: str) -> dict[str, Any]:
    """Return what a lock file says of its owner; empty if it is not written yet."""
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError):
        return {}  # not yet written


def _owner_may_be_alive(owner: dict[str, Any]) -> bool:
    """Return whether an owner can still be at work, as far as this machine can know."""
    process = owner.get("process")
    if not isinstance(process, int):
        return False
    if owner.get("host") != socket.gethostname() or os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    return owner.get("began") in (None, _process_start(process))


def _describe_owner(owner: dict[str, Any]) -> str:
    """Describe the owner of a lock for a message."""
    if not owner:
        return "another process"
    what, process, host, since = (owner.get(k) for k in ("what", "process", "host", "since"))
    return f"{what}, process {process} on {host}, since {since}"
