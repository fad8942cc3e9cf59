"""Read the distribution of many numbers from a histogram instead of sorting them.

The bins are those of numbers that agree in sign, exponent and the first seven bits behind the
point: 65,536, each 1/128 of its own numbers wide at most, so that one pass serves any scale.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

__all__: list[str] = []  # for this package alone

N_BINS = 2**16
CHUNK = 2**18  # numbers at a time, which stay in the cache
RELATIVE_WIDTH = 2.0**-7


def _order_and_edges() -> tuple[np.ndarray, np.ndarray]:
    """Return the upper 16 bits of numbers from the lowest up, and the lower edges of their bins."""
    places = np.arange(N_BINS, dtype=np.int64) - N_BINS // 2
    bits = np.where(places < 0, places ^ 0x7FFF, places) & 0xFFFF
    # Below 0 the last bits lead away from 0.
    whole = (bits << 16 | np.where(places < 0, 0xFFFF, 0)).astype(np.uint32)
    with np.errstate(invalid="ignore"):  # bits that stand for no number
        return bits, whole.view(np.float32).astype(np.float64)


class BinnedValues:
    """Counts of numbers in bins of a relative width of 1/128.

    >>> values = BinnedValues(np.linspace(1, 2, 2**16, dtype=np.float32))
    >>> bool(abs(values.quantiles([0.25])[0] - 1.25) < 1.25 / 128)
    True
    """

    def __init__(self, values: np.ndarray) -> None:
        self.counts = np.zeros(N_BINS, dtype=np.int64)
        flat = np.ascontiguousarray(values, dtype=np.float32).reshape(-1)
        upper = flat.view(np.uint16)[int(sys.byteorder == "little") :: 2]
        for start in range(0, len(upper), CHUNK):
            self.counts += np.bincount(upper[start : start + CHUNK], minlength=N_BINS)
        self.n = len(flat)
        order, self._low = _order_and_edges()
        self.counts = self.counts[order]
        finite = np.isfinite(self._low)
        self.has_nan = bool(self.counts[np.isnan(self._low)].sum())
        self._used = np.flatnonzero((self.counts > 0) & ~np.isnan(self._low))
        high = np.append(self._low[1:], np.nan)
        self._high = np.where(np.isfinite(high) & finite, high, self._low)

    def quantiles(self, quantiles: Sequence[float]) -> np.ndarray:
        """Return quantiles, each to within 1/128 of itself; NaN if any number is."""
        if self.has_nan:
            return np.full(len(quantiles), np.nan)
        counts = self.counts[self._used]
        until = np.cumsum(counts)
        rank = np.asarray(quantiles) * (self.n - 1)
        at = np.minimum(np.searchsorted(until, rank, side="right"), len(until) - 1)
        share = np.clip((rank - (until - counts)[at] + 0.5) / counts[at], 0, 1)
        low, high = self._low[self._used][at], self._high[self._used][at]
        with np.errstate(invalid="ignore"):
            return np.where(np.isinf(low), low, low + share * (high - low))

    def moments(self) -> tuple[float, float, float]:
        """Return mean, std and kurtosis, the last to within a thousandth of itself."""
        if self.has_nan:
            return (np.nan,) * 3
        centers = (self._low[self._used] + self._high[self._used]) / 2
        weights = self.counts[self._used] / self.n
        with np.errstate(all="ignore"):
            mean = weights @ centers
            deviations = centers - mean
            variance = weights @ deviations**2
            kurtosis = weights @ (deviations / np.sqrt(variance)) ** 4
        return float(mean), float(np.sqrt(variance)), float(kurtosis)

    def histogram(self, edges: np.ndarray) -> np.ndarray:
        """Return whole counts between `edges`; what is beyond is in the outermost bins."""
        if self.has_nan:
            return np.zeros(len(edges) - 1)
        low, high = self._low[self._used], self._high[self._used]
        counts = self.counts[self._used]
        places = np.column_stack([low, np.maximum(high, np.nextafter(low, np.inf))]).ravel()
        until = np.cumsum(counts)
        below = np.interp(edges, places, np.column_stack([until - counts, until]).ravel())
        below[0], below[-1] = 0, self.n
        return np.diff(np.rint(below))
