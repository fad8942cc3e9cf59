"""One clear error for bad input: what was wrong, and what to do."""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Iterable


class UsageError(ValueError):
    """Bad input from the caller.

    The message says what was wrong and what to do; the command line prints it without a
    traceback.
    """


class Terminated(KeyboardInterrupt):
    """SIGTERM, where it is handled as Ctrl-C is; the message says what is kept."""


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
