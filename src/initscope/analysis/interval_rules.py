"""Decide by an interval: on which side of a bound it lies, or that it decides nothing.

An interval is a tuple ``(mean, low, high)``, of :func:`initscope.analysis.mean_interval` or
:func:`initscope.analysis.difference_interval`.
"""

from __future__ import annotations

import math

from initscope import checks
from initscope.checks import require
from initscope.errors import shown

__all__ = ["difference_within", "improves", "lies_above", "lies_below", "mean_within"]

Interval = tuple[float, float, float]


def lies_below(interval: Interval, bound: float) -> bool | None:
    """Return whether an interval lies below a bound; None if it contains it or is unknown.

    >>> lies_below((0.1, 0.05, 0.15), 0.2), lies_below((0.1, 0.05, 0.15), 0.02)
    (True, False)
    """
    _, low, high = as_interval(interval)
    bound = checks.number("bound", bound)
    return True if high < bound else False if low > bound else None


def lies_above(interval: Interval, bound: float) -> bool | None:
    """Return whether an interval lies above a bound; None if it contains it or is unknown.

    >>> lies_above((0.1, 0.05, 0.15), 0.02)
    True
    """
    below = lies_below(interval, bound)
    return None if below is None else not below


def improves(interval: Interval, margin: float) -> bool | None:
    """Return whether leaving something out raises the loss.

    Parameters
    ----------
    interval
        Interval of the loss without it, less that with it.
    margin
        Smallest difference that would count.

    Returns
    -------
    bool or None
        True if the interval lies above 0; False if it lies below `margin` and reaches down to 0;
        None otherwise.

    >>> improves((0.1, 0.05, 0.15), 0.02), improves((0.0, -0.01, 0.01), 0.02)
    (True, False)
    >>> improves((0.1, -0.1, 0.3), 0.02) is None
    True
    """
    _, low, high = as_interval(interval)
    margin = checks.number("margin", margin, 0.0)
    return True if low > 0 else False if high < margin else None


def difference_within(interval: Interval, low: float, high: float) -> bool | None:
    """Return whether a difference is as expected: not 0, and its mean from `low` to `high`.

    Parameters
    ----------
    interval
        Mean, low and high end of the difference.
    low, high
        Ends of the range in which its mean is expected.

    Returns
    -------
    bool or None
        False if the interval contains 0 or the mean lies outside; None if the interval is unknown.

    >>> difference_within((0.1, 0.08, 0.12), low=0.05, high=0.15)
    True
    >>> difference_within((0.1, -0.2, 0.4), low=0.05, high=0.15)
    False
    """
    mean, least, most = as_interval(interval)
    low, high = as_range(low, high)
    if not (math.isfinite(least) and math.isfinite(most)):
        return None
    return not least <= 0 <= most and low <= mean <= high


def mean_within(interval: Interval, low: float, high: float) -> bool | None:
    """Return whether the mean of an interval lies from `low` to `high`; None without an interval.

    >>> mean_within((0.48, 0.44, 0.52), low=0.45, high=0.55)
    True
    >>> mean_within((0.3, 0.2, 0.5), low=0.45, high=0.55)
    False
    """
    mean, least, most = as_interval(interval)
    low, high = as_range(low, high)
    if not (math.isfinite(least) and math.isfinite(most)):
        return None
    return low <= mean <= high


def as_interval(interval: object) -> Interval:
    """Return an interval as floats, or raise."""
    ends = checks.items("interval", interval, 3)
    message = f"interval must be a mean and its two ends, in order, not {shown(interval)}."
    require(
        len(ends) == 3 and all(checks.is_number(end, -math.inf) or _infinite(end) for end in ends),
        message,
    )
    mean, low, high = map(float, ends)
    require(low <= mean <= high or any(map(math.isnan, (mean, low, high))), message)
    return mean, low, high


def _infinite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def as_range(low: float, high: float) -> tuple[float, float]:
    low, high = checks.number("low", low), checks.number("high", high)
    require(low <= high, f"low = {low:g} is above high = {high:g}.")
    return low, high
