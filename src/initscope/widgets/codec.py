"""Arrays packed for the browser, small enough for a page, and read back.

A number becomes a whole number of few digits, as its :class:`Kind` says; along the axes on which
an array is smooth, differences are kept; and all are deflated. ``lib/codec.mjs`` reads the same
bytes: what they hold, in which order and shape, the reader has to know.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

__all__: list[str] = []  # for this package alone

MANTISSA = 12
"""Bits of the mantissa that :data:`FLOAT` keeps: a number is right to within 1 in 8,000."""

_DROPPED = 23 - MANTISSA


class Kind(NamedTuple):
    """A way in which numbers become whole ones, and these become numbers again.

    Both take an array; a number that is not there is NaN.
    """

    to_codes: Callable[[np.ndarray], np.ndarray]
    from_codes: Callable[[np.ndarray], np.ndarray]


def _cut(values: np.ndarray) -> np.ndarray:
    """Return float32 as whole numbers, in the order of their size, rounded to the bits kept."""
    values = np.where(np.isnan(values), np.nan, values)  # rounding might make a number of others
    with np.errstate(over="ignore"):
        bits = values.astype(np.float32).view(np.uint32).astype(np.int64)
    return (bits + (1 << (_DROPPED - 1))) >> _DROPPED


def _uncut(codes: np.ndarray) -> np.ndarray:
    return (codes << _DROPPED).astype(np.uint32).view(np.float32).astype(float)


WHOLE = Kind(np.asarray, np.asarray)
"""Whole numbers, none of them missing."""

FLOAT = Kind(_cut, _uncut)
"""Numbers of any size, to :data:`MANTISSA` bits."""


def even(scale: float, lowest: float = 0.0) -> Kind:
    """Keep numbers from `lowest` on, to 1 / (2 scale)."""
    return Kind(
        lambda values: _or_missing(np.round((values - lowest) * scale) + 1, values),
        lambda codes: np.where(codes == 0, np.nan, (codes - 1) / scale + lowest),
    )


def logarithmic(precision: float) -> Kind:
    """Keep numbers of at least 0, infinity among them, to the relative `precision`."""
    step = 2 * math.log1p(precision)
    middle = 3 + math.ceil(746 / step)  # the smallest float64 is exp(-745)

    def to_codes(values: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.round(np.log(values) / step) + middle
        # 1 is zero, 2 infinity.
        codes = np.where(values == 0, 1, np.where(np.isposinf(values), 2, logs))
        return _or_missing(codes, values)

    def from_codes(codes: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            values = np.exp((codes - middle) * step)
        values = np.where(codes == 1, 0.0, np.where(codes == 2, np.inf, values))
        return np.where(codes == 0, np.nan, values)

    return Kind(to_codes, from_codes)


def _or_missing(codes: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(values), 0, np.nan_to_num(codes)).astype(np.int64)


class Writer:
    """A writer that packs arrays one after the other.

    >>> writer = Writer()
    >>> writer.add(np.array([0.5, np.nan]), even(100))
    >>> Reader(writer.packed()).take((2,), even(100))
    array([0.5, nan])
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def add(self, values: np.ndarray, kind: Kind, along: Sequence[int] = ()) -> None:
        """Add an array that is smooth along the axes `along`."""
        codes = kind.to_codes(values)
        for axis in along:
            codes = np.diff(codes, axis=axis, prepend=0)
        # Those below 0 take turns with the others: 0, -1, 1, -2, ... are 0, 1, 2, 3, ...
        turns = np.where(codes >= 0, 2 * codes, -2 * codes - 1).astype("<u4")
        planes = turns.ravel().view(np.uint8).reshape(-1, 4).T
        # The lowest bytes of all come first: the others are mostly 0, and the highest often all.
        count = int(max((k + 1 for k in range(4) if planes[k].any()), default=0))
        self._parts.append(bytes([count]) + planes[:count].tobytes())

    def packed(self) -> bytes:
        """Return all that was added."""
        return zlib.compress(b"".join(self._parts), 9)


class Reader:
    """A reader of what a :class:`Writer` packed, in the same order."""

    def __init__(self, data: bytes) -> None:
        self._raw = np.frombuffer(zlib.decompress(data), np.uint8)
        self._at = 0

    def take(self, shape: tuple[int, ...], kind: Kind, along: Sequence[int] = ()) -> np.ndarray:
        """Read the next array, which was added with this shape, kind and axes."""
        size, count = math.prod(shape), int(self._raw[self._at])
        start, self._at = self._at + 1, self._at + 1 + count * size
        planes = np.zeros((4, size), np.uint8)
        planes[:count] = self._raw[start : self._at].reshape(count, size)
        turns = planes.T.copy().view("<u4").astype(np.int64).reshape(shape)
        codes = np.where(turns % 2, -(turns + 1) // 2, turns // 2)
        for axis in along:
            codes = np.cumsum(codes, axis=axis)
        return kind.from_codes(codes)
