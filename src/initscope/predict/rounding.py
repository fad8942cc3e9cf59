"""What rounding leaves of an update."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from initscope import checks
from initscope.checks import require_name
from initscope.theory import (
    NUMBER_FORMATS,
)

__all__ = ["unchanged_share"]

SIGNIFICANT_BITS = {"float32": 24, "bfloat16": 8, "float16": 11}


def unchanged_share(std: float, step: float, dtype: str) -> float:
    r"""Return the share of weights that an update leaves as they are, by rounding alone.

    For weights :math:`N(0, \sigma^2)` and updates :math:`N(0, s^2)`: between
    :math:`2^e` and :math:`2^{e+1}` numbers of p significant bits are :math:`2^{e-p+1}` apart, and
    a step of less than half of that is rounded away. Denormal numbers are left out.

    Parameters
    ----------
    std
        Of the weights.
    step
        Rms of the update, learning rate included.
    dtype
        One of :data:`initscope.theory.NUMBER_FORMATS`.

    Raises
    ------
    UsageError
        A negative std or step; an unknown format.

    Examples
    --------
    >>> print(f"{unchanged_share(0.02, 3e-6, 'bfloat16'):.2f}")
    0.96
    """
    require_name("number format", dtype, NUMBER_FORMATS)
    std, step = checks.weight_std("std", std), checks.weight_std("step", step)
    if not std or not step:
        return 0.0 if step else 1.0
    exponent = np.arange(-60, 3) + math.floor(math.log2(std)) + 1
    inside = 2 * np.diff(stats.norm.cdf(2.0**exponent / std))
    half_gap = 2.0 ** (exponent[:-1] - SIGNIFICANT_BITS[dtype])
    return float((inside * (2 * stats.norm.cdf(half_gap / step) - 1)).sum())
