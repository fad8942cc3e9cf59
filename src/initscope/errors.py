"""One clear error for bad input: what was wrong, and what to do."""

from __future__ import annotations

import difflib
import errno
import math
import numbers
import re
from collections.abc import Iterable


class UsageError(ValueError):
    """Bad input from the caller.

    The message says what was wrong and what to do; the command line prints it without a
    traceback.
    """


class Terminated(KeyboardInterrupt):
    """SIGTERM, where it is handled as Ctrl-C is; the message says what is kept."""


class OutOfResources(RuntimeError):
    """Memory, disk or processes of this machine that did not suffice; the message is a sentence."""


_MEMORY = "there is not enough memory for this, or a limit (ulimit -v) leaves too little of it."
_FULL = "the disk is full: free some space."
_FILE = "a file became larger than a limit of this system allows (ulimit -f)."
_WRITING = f"a file could not be written to its end: the disk is full, or {_FILE}"
_PROCESSES = "no more processes or threads may be started (ulimit -u)."

_BY_NUMBER = {
    errno.ENOMEM: _MEMORY,
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FILE,
    errno.EAGAIN: _PROCESSES,
}

# What libraries say that have no errors of their own for it, the first that is found.
_BY_WORDS = {
    r"No space left on device|os error 28\b": _FULL,
    r"File too large|os error 27\b": _FILE,
    r"inline_container\.cc|PytorchStreamWriter failed|iostream error": _WRITING,
    r"start new thread|Resource temporarily unavailable|pthread_create": _PROCESSES,
    r"not enough memory|can't allocate memory|annot allocate memory|bad_alloc|out of memory"
    r"|failed to map segment|[mr]e?alloc of size|nable to allocate": _MEMORY,
}


def lack_of_resources(error: BaseException) -> str:
    """What this machine ran out of, as a sentence, if `error` comes from that; empty if not.

    >>> lack_of_resources(OSError(errno.ENOSPC, "No space left on device"))
    'the disk is full: free some space.'
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OutOfResources):
            return str(seen)
        if isinstance(seen, MemoryError):
            return _MEMORY
        if isinstance(seen, OSError) and seen.errno in _BY_NUMBER:
            return _BY_NUMBER[seen.errno]
        # Our own errors say themselves what they are about.
        if isinstance(seen, RuntimeError | ImportError | OSError) or "safetensors" in str(
            type(seen)
        ):
            for words, sentence in _BY_WORDS.items():
                if re.search(words, str(seen)):
                    return sentence
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return ""


def unknown_name(kind: str, name: object, valid: Iterable[str]) -> UsageError:
    """Error for a name that is not one of `valid`, the nearest names first.

    Parameters
    ----------
    kind
        What the name stands for, for example ``"activation"``.
    name
        What was given.
    valid
        The names that exist.
    """
    choices = sorted(valid)
    by_lower = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(str(name).lower(), by_lower, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(by_lower[n]) for n in near)}?" if near else ""
    return UsageError(f"unknown {kind} {name!r}.{hint} Valid: {', '.join(choices)}.")


def require_name(kind: str, name: object, valid: Iterable[str]) -> None:
    """Raise :func:`unknown_name` unless `name` is one of `valid`; what is no text never is."""
    choices = set(valid)
    if not isinstance(name, str) or name not in choices:
        raise unknown_name(kind, name, choices)


def require(condition: bool, message: str) -> None:
    """Raise `UsageError` with `message` unless `condition` holds."""
    if not condition:
        raise UsageError(message)


def is_number(value: object, low: float, *, whole: bool = False) -> bool:
    """Whether `value` is a finite real (or `whole`) number of at least `low`; a bool is none."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    if whole and not isinstance(value, numbers.Integral):
        return False
    return math.isfinite(float(value)) and float(value) >= low
