"""One clear error for bad input: what was wrong, and what to do."""

from __future__ import annotations

import difflib
import math
import numbers
import reprlib
from collections.abc import Iterable

__all__ = ["UsageError"]

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 72
_SHORT.maxlong = 40

MOST_NAMES = 40
"""Of the names that exist, a message lists so many at most."""


class UsageError(ValueError):
    """Bad input from the caller.

    The message says what was wrong and what to do; the command line prints it without a
    traceback.
    """


def shown(value: object) -> str:
    """What was given, for a message: on one line, and cut in the middle if it is long."""
    try:
        text = _SHORT.repr(value)
    except Exception:  # its own repr raises, or it is a number of thousands of digits
        text = f"something of type {type(value).__name__}"
    return " ".join(text.split())


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
    choices = sorted(map(str, valid))
    by_lower = {choice.lower(): choice for choice in choices}
    given = name.lower() if isinstance(name, str) else ""
    near = difflib.get_close_matches(given, by_lower, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(by_lower[n]) for n in near)}?" if near else ""
    more = f" and {len(choices) - MOST_NAMES} others" if len(choices) > MOST_NAMES else ""
    return UsageError(
        f"unknown {kind} {shown(name)}.{hint} Valid: {', '.join(choices[:MOST_NAMES])}{more}."
    )


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
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond the largest float
        return False
    return math.isfinite(number) and number >= low
