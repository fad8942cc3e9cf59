"""Check single values: numbers, words, paths, mappings, without numpy.

Each returns the value as it is used, or raises `UsageError`. :mod:`initscope.checks` has these too,
and those of arrays, tables and tensors; what only builds the book comes without numpy.
"""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from initscope.errors import UsageError, given, shown, unknown_name

__all__: list[str] = []  # for this package alone

LARGEST_WHOLE = 2**63 - 1
"""Largest whole number that tables and torch can hold."""

LARGEST_FLOAT = 2**1023
"""About; a whole number above it is no finite number as a float."""


def require(condition: bool, message: str) -> None:
    """Raise `UsageError` with `message` unless `condition` holds."""
    if not condition:
        raise UsageError(message)


def is_number(value: object, low: float, *, whole: bool = False) -> bool:
    """Return whether `value` is a finite (or `whole`) number of at least `low`; a bool is none."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    if isinstance(value, numbers.Integral):  # compared as it is: it may be too large for a float
        return int(value) >= low and (whole or abs(int(value)) < LARGEST_FLOAT)
    if whole:
        return False
    try:
        number = float(value)
    except OverflowError:
        return False
    return math.isfinite(number) and number >= low


def number(name: str, value: object, low: float = -math.inf, high: float = math.inf) -> float:
    """Return `value` as a finite float from `low` to `high`; no array, no text, no bool."""
    if not is_number(value, low):
        least = f" of at least {low:g}" if math.isfinite(low) else ""
        raise UsageError(f"{name} must be a finite number{least}, not {given(value)}")
    found = float(value)  # type: ignore[arg-type]
    if found > high:
        raise UsageError(f"{name} must be at most {high:g}, not {shown(value)}.")
    return found


def whole(name: str, value: object, at_least: int = 1, at_most: int = LARGEST_WHOLE) -> int:
    """Return `value` as an int from `at_least` to `at_most`; no 3.0, no bool, no array.

    >>> whole("depth", 3)
    3
    """
    return _whole(name, value, at_least, at_most, "")


def whole_or_none(name: str, value: object, at_least: int = 1) -> int | None:
    """Return `value` as :func:`whole` does, or None."""
    return None if value is None else _whole(name, value, at_least, LARGEST_WHOLE, ", or None")


def _whole(name: str, value: object, at_least: int, at_most: int, otherwise: str) -> int:
    """Return `value` as an int in a range, or raise; `otherwise` ends the list of what is valid."""
    if is_number(value, at_least, whole=True):
        found = int(value)  # type: ignore[call-overload]
        if found <= at_most:
            return found
        if at_most < LARGEST_WHOLE:
            raise UsageError(f"{name} must be at most {at_most:,}, not {shown(value)}.")
        otherwise = f" and below 2**63{otherwise}"
    raise UsageError(
        f"{name} must be a whole number of at least {at_least}{otherwise}, not "
        f"{given(value, whole=True)}"
    )


def require_name(kind: str, name: object, valid: Iterable[str]) -> str:
    """Return `name` if it is one of `valid`, or raise :func:`~initscope.errors.unknown_name`.

    What is no text never is one.
    """
    choices = set(valid)
    if not isinstance(name, str) or name not in choices:
        raise unknown_name(kind, name, choices)
    return name


def choice(name: str, value: object, among: Sequence[str]) -> str:
    """Return `value` if it is one of a few words, which are listed otherwise."""
    if not isinstance(value, str) or value not in among:
        listed = ", ".join(repr(word) for word in among)
        raise UsageError(f"{name} must be one of {listed}, not {shown(value)}.")
    return value


def text(name: str, value: object) -> str:
    """Return `value` if it is text, and not empty."""
    if not isinstance(value, str) or not value:
        raise UsageError(f"{name} must be text, not {shown(value)}.")
    return value


def file_path(name: str, value: object) -> Path:
    """Return `value` as a path if it can name a file or a folder."""
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise UsageError(f"{name} must be a path, not {shown(value)}.")
    return Path(os.fsdecode(value))


def mapping(name: str, value: object, of: str = "values by name") -> Mapping[Any, Any]:
    """Return `value` if it is a mapping that is not empty."""
    if not isinstance(value, Mapping):
        raise UsageError(f"{name} must be a mapping of {of}, not {shown(value)}.")
    return value


def function(name: str, value: object) -> Callable[..., Any]:
    """Return `value` if it can be called."""
    if not callable(value):
        raise UsageError(f"{name} must be a function, not {shown(value)}.")
    return value


def listed(name: str, value: object) -> list[Any]:
    """Return the items of anything that gives one after the other; not of text or a mapping."""
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        try:
            return list(value)
        except TypeError:  # an array of no dimension
            pass
    raise UsageError(f"{name} must be a list, not {shown(value)}.")
