"""Intervals of means, variances and resampled statistics, and the middle of a sample."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from initscope import checks
from initscope.checks import is_number, require
from initscope.errors import shown

__all__ = [
    "Z_95",
    "bootstrap_interval",
    "central_range",
    "difference_interval",
    "mean_error",
    "mean_interval",
    "pooled_mean",
    "variance_error",
]

Z_95 = float(stats.norm.ppf(0.975))
"""Half of a 95% interval of a normal distribution, in standard deviations: 1.96."""


def sample_of(name: str, values: ArrayLike, at_least: int) -> np.ndarray:
    """Return `values` as an array of one dimension, or raise `UsageError`."""
    sample = np.asarray(checks.finite(name, values), float)
    require(
        sample.ndim == 1 and len(sample) >= at_least,
        f"{name} must be a list of at least {at_least} numbers, not {shown(values)}.",
    )
    return sample


def _numbers(name: str, values: ArrayLike) -> np.ndarray:
    """Return `values` as an array of one dimension; numbers that are not finite may be among it."""
    try:
        numbers = np.asarray(values, float)
    except Exception:  # whatever numpy, torch or the object itself says
        numbers = np.empty(())
    require(numbers.ndim == 1, f"{name} must be a list of numbers, not {shown(values)}.")
    require(len(numbers) > 0, f"{name} must hold at least one value.")
    return numbers


def check_level(level: float) -> None:
    """Raise unless `level` is the probability of an interval."""
    require(
        is_number(level, 0) and 0 < level < 1,
        f"level must lie between 0 and 1, not {shown(level)}.",
    )


def mean_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float, float]:
    """Return the mean of independent values with Student's interval, for example over seeds.

    Parameters
    ----------
    values
        The sample, of one dimension.
    level
        Probability with which such an interval covers the mean, if the values are normal.

    Returns
    -------
    tuple
        mean, low, high; the ends are infinite for a single value, and NaN if a value of several
        is not finite.

    Raises
    ------
    UsageError
        No values, or a level that is not between 0 and 1.

    >>> mean, low, high = mean_interval([1.0, 2.0, 3.0])
    >>> print(f"{mean:.2f} from {low:.2f} to {high:.2f}")
    2.00 from -0.48 to 4.48
    """
    sample = _numbers("values", values)
    check_level(level)
    with np.errstate(invalid="ignore"):  # of values that are not finite
        mean = float(sample.mean())
        if len(sample) == 1:
            return mean, -math.inf, math.inf
        error = float(stats.sem(sample))
    # Not stats.t.interval, which is NaN for values that are all the same.
    half = float(stats.t.ppf((1 + level) / 2, len(sample) - 1)) * error
    return mean, mean - half, mean + half


def difference_interval(
    first: ArrayLike, second: ArrayLike, level: float = 0.95
) -> tuple[float, float, float]:
    """Return the difference of two means, first less second, with Welch's interval.

    Parameters
    ----------
    first, second
        Independent samples, each of one dimension; their variances may differ.
    level
        Probability with which such an interval covers the difference, if the values are normal.

    Returns
    -------
    tuple
        difference, low, high; the ends are infinite if a sample has a single value, and NaN if a
        value is not finite.

    Raises
    ------
    UsageError
        An empty sample, or a level that is not between 0 and 1.

    >>> difference, low, high = difference_interval([1.0, 2.0, 3.0], [0.0, 0.1, 0.2])
    >>> print(f"{difference:.2f} from {low:.2f} to {high:.2f}")
    1.90 from -0.55 to 4.35
    """
    a, b = _numbers("first", first), _numbers("second", second)
    check_level(level)
    with np.errstate(invalid="ignore"):  # of values that are not finite
        difference = float(a.mean() - b.mean())
        if not math.isfinite(difference):
            return difference, math.nan, math.nan
        if min(len(a), len(b)) == 1:
            return difference, -math.inf, math.inf
        if np.ptp(a) == 0 and np.ptp(b) == 0:  # scipy's interval is NaN then
            return difference, difference, difference
        interval = stats.ttest_ind(a, b, equal_var=False).confidence_interval(level)
    return difference, float(interval.low), float(interval.high)


def mean_error(values: ArrayLike) -> float:
    """Return half of the 95% interval of the mean of many independent values.

    >>> round(mean_error([1.0, 3.0] * 50), 4)
    0.197
    """
    return Z_95 * float(stats.sem(sample_of("values", values, 2)))


def pooled_mean(values: ArrayLike, errors: ArrayLike) -> tuple[float, float, float]:
    r"""Return the mean that fits several measurements best, its error, and whether one fits all.

    Parameters
    ----------
    values
        Independent measurements of what may be one and the same number.
    errors
        Their standard errors, above 0.

    Returns
    -------
    tuple
        The mean, weighted by :math:`1 / e_i^2`; its standard error; and the p-value of Cochran's
        test: the probability of measurements so far apart, if they are normal and do measure one
        number, from the chi-square distribution with one degree of freedom less than values.

    Raises
    ------
    UsageError
        Fewer than two values, or not as many errors, all above 0.

    >>> mean, error, p_value = pooled_mean([1.0, 2.0], [0.5, 1.0])
    >>> print(f"{mean:.2f} with standard error {error:.2f}, p = {p_value:.2f}")
    1.20 with standard error 0.45, p = 0.37
    """
    sample = sample_of("values", values, 2)
    spread = sample_of("errors", errors, 2)
    require(
        len(spread) == len(sample) and bool((spread > 0).all()),
        f"errors must be {len(sample)} numbers above 0, one for each value, not {shown(errors)}.",
    )
    # Relative to the smallest, so that no weight exceeds what a float holds.
    smallest = spread.min()
    weights = (smallest / spread) ** 2
    mean = float((weights * sample).sum() / weights.sum())
    error = float(smallest / np.sqrt(weights.sum()))
    distance = float((((sample - mean) / spread) ** 2).sum())
    return mean, error, float(stats.chi2.sf(distance, len(sample) - 1))


def variance_error(variance: ArrayLike, n: int) -> float | np.ndarray:
    """Return half of the 95% interval of the variance of `n` normal values, for large `n`.

    Parameters
    ----------
    variance
        Of the sample, or several of them.
    n
        Size of the sample, at least 2. The variance then has the standard error
        ``variance * sqrt(2 / (n - 1))``.

    >>> round(variance_error(2.0, 201), 4)
    0.392
    """
    square = checks.nonnegative("variance", variance)
    n = checks.whole("n", n, 2)
    # scipy's bounds of a variance are those of chi-square, not symmetric: nothing to draw as ±.
    error = Z_95 * square * np.sqrt(2 / (n - 1))
    return float(error) if error.ndim == 0 else error


def central_range(values: ArrayLike) -> tuple[float, float]:
    """Return the two ends between which the middle 95% of the values lie.

    These are quantiles of the sample, not bounds of its mean.

    >>> central_range(range(1001))
    (25.0, 975.0)
    """
    low, high = np.quantile(sample_of("values", values, 1), [0.025, 0.975])
    return float(low), float(high)


def bootstrap_interval(resampled: ArrayLike, n: int, level: float = 0.95) -> tuple[float, float]:
    r"""Return the expanded percentile interval of a statistic from its bootstrap distribution.

    The ends are quantiles of the resampled statistic, not at :math:`\alpha/2` but farther out, as
    Student's t distribution asks for with n values (Hesterberg 2015): the variance of the resampled
    mean is (n - 1) / n of the unbiased one, and its tails are normal where Student's are due. Both
    are corrected for.

    Parameters
    ----------
    resampled
        The statistic in each resample; it may be infinite. The ends are NaN if one is.
    n
        Size of the sample, at least 2.
    level
        Of the interval, between 0 and 1.

    >>> bootstrap_interval(range(1, 1001), n=10)
    (9.0, 992.0)
    """
    check_level(level)
    n = checks.whole("n", n, 2)
    distribution = _numbers("resampled", resampled)
    at = stats.t.ppf((1 + level) / 2, n - 1) * np.sqrt(n / (n - 1))
    tail = float(stats.norm.cdf(-at))
    # Not the percentiles of scipy.stats.bootstrap: they are not expanded, and the line from an
    # infinite value to the next is NaN.
    low, high = np.quantile(distribution, (tail, 1 - tail), method="inverted_cdf")
    return float(low), float(high)
