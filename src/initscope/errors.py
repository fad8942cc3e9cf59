"""One clear error for bad input: what was wrong, and what to do."""

from __future__ import annotations

import difflib
import math
import numbers
import reprlib
from collections.abc import Iterable

LONGEST = 200
"""Characters of a text of the caller's that a message repeats."""


class UsageError(ValueError):
    """Bad input from the caller.

    The message says what was wrong and what to do; the command line prints it without a
    traceback.
    """


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
    text = name.lower() if isinstance(name, str) and len(name) <= LONGEST else ""
    near = difflib.get_close_matches(text, by_lower, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(by_lower[n]) for n in near)}?" if near else ""
    return UsageError(f"unknown {kind} {shown(name)}.{hint} Valid: {', '.join(choices)}.")


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
    if isinstance(value, numbers.Integral):  # compared as it is: it may be too large for a float
        return int(value) >= low and (whole or abs(int(value)) < LARGEST_FLOAT)
    if whole:
        return False
    try:
        return math.isfinite(float(value)) and float(value) >= low
    except OverflowError:
        return False


LARGEST_FLOAT = 2**1023
"""About; a whole number above it is no finite number as a float."""


class _Short(reprlib.Repr):
    """Repeats what was given in a line that stays short, however much it was."""

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
    """`value` as it stands in a message: its `repr` in one line, shortened where it is long.

    >>> shown([0.1, "1e-3"]), shown("a" * 1000)[-20:]
    ("[0.1, '1e-3']", "aaaaaaaaaaaaaaaaaaa'")
    """
    text = _Short().repr(value)
    return text if len(text) <= 3 * LONGEST else f"{text[: 2 * LONGEST]} ... {text[-LONGEST:]}"


def given(value: object, *, whole: bool = False) -> str:
    """The end of a sentence "... must be a number, not": what was given, and how to write it.

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
    """How to write a number that YAML took for text; empty if `value` is and holds none."""
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
