"""Numbers as text, to the letter as ``lib/format.mjs`` writes them in the browser."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Decimal

__all__: list[str] = []  # for this package alone


def short(value: float, digits: int = 3) -> str:
    """A number of at least 0 with `digits` significant digits: 0.0123, 1.2e-9, 4,500."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinity"
    if value == 0:
        return "0"
    rounded = _rounded(value, Decimal(value).adjusted() - digits + 1)
    if value < 1e-3 or value >= 1e5:
        mantissa = rounded.scaleb(-rounded.adjusted()).normalize()
        return f"{mantissa:f}e{rounded.adjusted()}"
    return f"{rounded.normalize():,f}"


def percent(value: float, digits: int = 0) -> str:
    """A share as a percentage."""
    return f"{_rounded(100 * value, -digits)}%"


def _rounded(value: float, exponent: int) -> Decimal:
    """Rounded half up, as JavaScript does."""
    return Decimal(value).quantize(Decimal(1).scaleb(exponent), ROUND_HALF_UP)
