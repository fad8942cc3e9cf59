"""The weight decay that a trained weight matrix shows."""

from __future__ import annotations

import math

import numpy as np
import scipy  # its parts when they are asked for: a specification needs names alone

from initscope.checks import Array, ArrayLike, nonnegative, plain, positive, together
from initscope.errors import UsageError
from initscope.theory.adamw import Betas, check_betas

__all__ = ["implied_weight_decay"]


def implied_weight_decay(
    std: ArrayLike, std0: ArrayLike, lr: ArrayLike, betas: Betas = (0.9, 0.95)
) -> Array:
    r"""Return the weight decay with which AdamW on noise ends at a std.

    The inverse of :func:`initscope.theory.adamw_variance_trajectory` at its last step, for
    gradients that are noise, independent from step to step, and one decay for all steps. More
    decay makes smaller weights, so there is at most one with :math:`\eta \lambda \leq 1` at every
    step. A std that is known within an interval gives a decay within one: give its ends beside
    it, ``[low, std, high]``, and get the decays from the highest to the lowest.

    Parameters
    ----------
    std
        Standard deviation of the trained weights; above 0.
    std0
        Standard deviation at initialization.
    lr
        Learning rate of each step, along the last axis; other arguments have the axes before it.
    betas
        beta1 and beta2 of AdamW.

    Returns
    -------
    numpy.ndarray
        The decay lambda, to 1e-6 of it. NaN where no decay gives the std: it is larger than
        without any decay, or smaller than with the largest, or it depends on none because every
        rate is 0.

    Raises
    ------
    UsageError
        A std that is not above 0, negative or NaN arguments, betas outside [0, 1); no steps.

    Examples
    --------
    >>> lr = 1e-3 * np.linspace(1, 0.1, 20_000)
    >>> print(implied_weight_decay([0.040, 0.045, 0.050, 0.2], 0.02, lr).round(3))
    [0.145 0.119 0.097   nan]
    """
    measured, start = positive("std", std), nonnegative("std0", std0)
    eta = nonnegative("lr", lr)
    beta1, beta2 = check_betas(betas)
    if not eta.ndim or not eta.shape[-1]:
        raise UsageError("lr must hold one learning rate for each step.")
    shape = together(std=measured, std0=start, beta1=beta1, beta2=beta2, lr=eta[..., 0])
    given = (np.broadcast_to(array, shape).ravel() for array in (measured, start, beta1))
    rates = np.broadcast_to(eta, (*shape, eta.shape[-1])).reshape(-1, eta.shape[-1])
    found = [_solve(*one) for one in zip(*given, rates, strict=True)]
    return plain(np.array(found).reshape(shape))


def _solve(std: float, std0: float, beta1: float, lr: Array) -> float:
    """Return the decay of one run; NaN if there is none.

    The search is in ln(1 + decay x sum of the rates), for decays span many powers of ten.
    """
    peak = lr.max()
    if peak == 0:
        return math.nan
    in_peaks = (lr / peak).sum()

    def decay_of(log_times: float) -> float:
        """Return the decay for which that sum is e^x - 1."""
        return math.expm1(log_times) / in_peaks / peak

    def excess(log_times: float) -> float:
        """Return ln(final std / std)."""
        variance = final_variance(std0, lr, decay_of(log_times), beta1)
        return float(0.5 * np.log(variance) - np.log(std))

    with np.errstate(divide="ignore", over="ignore", under="ignore", invalid="ignore"):
        most = math.log1p(in_peaks)
        if not excess(most) <= 0 <= excess(0.0):
            return math.nan
        return decay_of(scipy.optimize.brentq(excess, 0.0, most, xtol=1e-12, rtol=1e-7))


def final_variance(std0: float, lr: Array, weight_decay: float, beta1: float) -> float:
    """Return the last value of :func:`adamw_variance_trajectory` on noise, and no other.

    The recursion of a step is linear in the mean square and its covariance with momentum. Pairs of
    steps are composed to one, until one is left: a tenth of the work of the whole trajectory.
    """
    powers = beta1 ** np.arange(1, len(lr) + 1)
    noise = (1 - beta1) / (1 + beta1) * (1 - powers**2)
    keep, size = 1 - lr * weight_decay, lr / (1 - powers)
    # rho' = a rho + b c + s, c' = d c + u
    a, b, s = keep**2, -2 * keep * size * beta1, size**2 * noise
    d, u = keep * beta1, -size * noise
    while len(a) > 1:
        if len(a) % 2:  # a step that does nothing makes it even
            a, b, s, d, u = (
                np.insert(values, 0, idle)
                for values, idle in zip((a, b, s, d, u), (1, 0, 0, 1, 0), strict=True)
            )
        (a1, a2), (b1, b2), (s1, s2), (d1, d2), (u1, u2) = (
            (values[::2], values[1::2]) for values in (a, b, s, d, u)
        )
        a, b, s = a1 * a2, a2 * b1 + b2 * d1, a2 * s1 + b2 * u1 + s2
        d, u = d1 * d2, d2 * u1 + u2
    return float(a[0] * std0**2 + s[0])
