"""Errors whose message is a sentence: what was wrong, and what to do."""

from __future__ import annotations

import difflib
import errno
import math
import re
import reprlib
from collections.abc import Iterable

__all__ = ["OutOfResources", "Terminated", "UsageError"]

LONGEST = 200
"""Characters of a text of the caller's that a message repeats."""

MOST_NAMES = 40
"""Of the names that exist, a message lists so many at most."""


class UsageError(ValueError):
    """Bad input from the caller; a `ValueError`.

    The message says what was wrong and what to do; the command line prints it without a
    traceback.
    """


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled like Ctrl-C: a `KeyboardInterrupt` whose message says what is kept."""


class OutOfResources(RuntimeError):
    """Memory, disk space or processes of this machine that did not suffice."""


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
    """Return what this machine ran out of, as a sentence, if `error` comes from that, or "".

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
    """Return the error for a name that is not one of `valid`, the nearest names first.

    Parameters
    ----------
    kind
        What the name stands for, for example ``"activation"``.
    name
        What was given.
    valid
        The names that exist.
    """
    choices = sorted(map(str, valid))
    by_lower = {choice.lower(): choice for choice in choices}
    text = name.lower() if isinstance(name, str) and len(name) <= LONGEST else ""
    near = difflib.get_close_matches(text, by_lower, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(by_lower[n]) for n in near)}?" if near else ""
    more = f" and {len(choices) - MOST_NAMES} others" if len(choices) > MOST_NAMES else ""
    return UsageError(
        f"unknown {kind} {shown(name)}.{hint} Valid: {', '.join(choices[:MOST_NAMES])}{more}."
    )


class _Short(reprlib.Repr):
    """A `repr` in one line that stays short, however much was given."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxarray = 12
        self.maxlevel = 3
        self.maxstring = self.maxother = self.maxlong = LONGEST

    def repr_int(self, x: int, level: int) -> str:
        if x.bit_length() > 1000:  # Python refuses to write very long ones
            return f"a whole number of {x.bit_length():,} bits"
        return super().repr_int(x, level)

    def repr_instance(self, x: object, level: int) -> str:
        return " ".join(super().repr_instance(x, level).split())


def shown(value: object) -> str:
    """Return the `repr` of `value` for a message: in one line, shortened where it is long.

    >>> shown([0.1, "1e-3"]), shown("a" * 1000)[-20:]
    ("[0.1, '1e-3']", "aaaaaaaaaaaaaaaaaaa'")
    """
    text = _Short().repr(value)
    return text if len(text) <= 3 * LONGEST else f"{text[: 2 * LONGEST]} ... {text[-LONGEST:]}"


def given(value: object, *, whole: bool = False) -> str:
    """Return the end of a sentence "... must be a number, not": what was given, how to write it.

    A number such as 1e-3 is text in YAML, without a word; here is the place to say so.

    >>> given("1e-3")
    "'1e-3'. In YAML, write 1.0e-3."

    Parameters
    ----------
    value
        What was given; in a list, its first number that is text is meant.
    whole
        Whether a whole number is wanted.
    """
    return f"{shown(value)}.{yaml_hint(value, whole=whole)}"


def yaml_hint(value: object, *, whole: bool = False) -> str:
    """Return how to write a number that YAML took for text; empty if `value` is and holds none."""
    if isinstance(value, list | tuple):
        inner = (yaml_hint(item, whole=whole) for item in value[:100] if item is not value)
        return next(filter(None, inner), "")
    if not isinstance(value, str) or len(value) > 30 or not value.isascii():
        return ""
    try:
        number = float(value)
    except ValueError:
        return ""
    if not math.isfinite(number):
        return ""
    mantissa, _, exponent = value.strip().lower().partition("e")
    if whole and number.is_integer() and abs(number) < 2**53:
        return f" Write {int(number)}, without quotes."
    if not exponent:
        return " Leave out the quotes."
    mantissa += "" if "." in mantissa else ".0"
    exponent = exponent if exponent[0] in "+-" else f"+{exponent}"
    return f" In YAML, write {mantissa}e{exponent}."
