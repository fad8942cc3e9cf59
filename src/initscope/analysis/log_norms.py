"""Variances of many networks on a logarithmic scale: moments with their errors, and spreads."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from initscope import checks
from initscope.analysis.intervals import Z_95, mean_error, sample_of, variance_error
from initscope.checks import require
from initscope.errors import shown
from initscope.theory import WidthInterval

__all__ = [
    "Moments",
    "fourth_moment",
    "log_band_moments",
    "log_moments",
    "pair_factor",
    "share_held",
]


class Moments(NamedTuple):
    """Mean and variance of a sample, with the half-width of the 95% interval of each."""

    mean: float
    mean_error: float
    variance: float
    variance_error: float


def log_moments(logs: ArrayLike) -> Moments:
    """Return mean and variance of a sample of logarithms, as if it were normal.

    >>> moments = log_moments([1.0, 2.0, 3.0])
    >>> moments.mean, moments.variance
    (2.0, 1.0)
    """
    sample = sample_of("logs", logs, 2)
    variance = float(sample.var(ddof=1))
    return Moments(
        float(sample.mean()),
        # With the variance over n, as the published numbers have it: of thousands of networks.
        float(Z_95 * stats.sem(sample, ddof=0)),
        variance,
        float(variance_error(variance, len(sample))),
    )


def log_band_moments(
    interval: WidthInterval, direction: str = "forward"
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of the log of the variance that a 95% band is made of.

    Parameters
    ----------
    interval
        Result of :func:`initscope.theory.finite_width_interval`.
    direction
        ``"forward"`` or ``"backward"``.

    Returns
    -------
    tuple
        Both from the input to the last layer.
    """
    require(
        isinstance(interval, WidthInterval),
        f"interval must be one of finite_width_interval, not {shown(interval)}.",
    )
    checks.require_name("direction", direction, ("forward", "backward"))
    low, high = (np.log(getattr(end, direction)) for end in interval)
    return (low + high) / 2, ((high - low) / (2 * Z_95)) ** 2


def fourth_moment(variances: ArrayLike) -> tuple[float, float]:
    """Return the mean square of a sample over its squared mean, and its 95% half-width.

    The error is that of the delta method: what one value adds to the ratio, to first order.

    >>> fourth_moment([1.0, 1.0, 1.0])
    (1.0, 0.0)
    """
    q = sample_of("variances", variances, 2)
    require(bool(q.mean() != 0), "variances must have a mean other than 0.")
    ratio = (q**2).mean() / q.mean() ** 2
    influence = (q**2 - (q**2).mean()) / q.mean() ** 2 - 2 * ratio * (q / q.mean() - 1)
    return float(ratio), mean_error(influence)


def pair_factor(logs: ArrayLike, share: float = 0.5) -> float:
    """Return the factor by which two networks differ, as a quantile over all pairs.

    Parameters
    ----------
    logs
        Logarithms of a variance, one a network.
    share
        Of the pairs that differ by less.

    >>> round(pair_factor(np.log([1.0, 2.0, 8.0])), 6)
    4.0
    """
    sample = sample_of("logs", logs, 2)
    share = checks.number("share", share, 0.0, 1.0)
    differences = np.abs(sample[:, None] - sample[None, :])[np.triu_indices(len(sample), 1)]
    return float(np.exp(np.quantile(differences, share)))


def share_held(logs: ArrayLike, mean: float, variance: float) -> float:
    """Return the share of a sample in the middle 95% of a normal law.

    Parameters
    ----------
    logs
        Logarithms of a variance, one a network.
    mean, variance
        Of the normal law.

    >>> share_held([0.0, 0.5, 3.0, -9.0], 0.0, 1.0)
    0.5
    """
    sample = sample_of("logs", logs, 1)
    center = checks.number("mean", mean)
    deviation = np.sqrt(checks.number("variance", variance, 0.0))
    return float((np.abs(sample - center) <= Z_95 * deviation).mean())
