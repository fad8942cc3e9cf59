r"""How long a network stays on the plateau that small initial weights put it on.

A plain network of L weight layers whose weights are all r times those of Kaiming has an output, and
gradients of its weights, that are small like :math:`r^L` and :math:`r^{L-1}`. The layers grow
alike, for gradient descent conserves the differences of their squared norms (Saxe et al. 2014,
arXiv:1312.6120; Jacot et al. 2021, arXiv:2106.15933 for the plateau), so that

.. math:: \frac{dr}{dt} = \eta\, s\, r^{L-1},

with t in updates, the learning rate :math:`\eta` and one constant s for data and architecture, the
rate of escape. Integrated up to r = 1 it gives every function here.
"""

from __future__ import annotations

import numpy as np

from initscope import checks
from initscope.checks import Array, ArrayLike, plain, positive, require
from initscope.errors import shown

__all__ = ["escape_rate", "escape_ratio", "escape_updates"]


def _check_ratio(ratio: ArrayLike) -> Array:
    """Return `ratio`; raise unless it lies above 0 and is at most 1."""
    values = positive("ratio", ratio)
    require(
        bool(np.all(values <= 1)),
        f"ratio must be at most 1, where there is no plateau, not {shown(ratio)}.",
    )
    return values


def _plateau_integral(ratio: Array, depth: int) -> Array:
    """Return the integral of r^-(L-1) from `ratio` to 1: eta times s times the updates."""
    power, log = depth - 2, -np.log(ratio)
    with np.errstate(over="ignore"):
        return np.expm1(power * log) / power if power else log


def _integral_over(ratio: ArrayLike, depth: int, **factors: ArrayLike) -> Array:
    """Return the integral of the plateau over the product of two factors, all checked."""
    values, depth = _check_ratio(ratio), checks.whole("depth", depth, 2)
    arrays = {name: positive(name, factor) for name, factor in factors.items()}
    checks.together(ratio=values, **arrays)
    first, second = arrays.values()
    with np.errstate(over="ignore"):
        return plain(_plateau_integral(values, depth) / (first * second))


def escape_updates(ratio: ArrayLike, depth: int, lr: ArrayLike, rate: ArrayLike) -> Array:
    r"""Return after how many updates of gradient descent a network has left the plateau.

    :math:`T = (r^{-(L-2)} - 1) / ((L-2)\, \eta\, s)`; for two layers
    :math:`\ln(1/r) / (\eta s)`. Both integrate :math:`dr/dt = \eta s\, r^{L-1}` up to r = 1, with s
    one constant of data and architecture (for the plateau see Saxe et al. 2014, arXiv:1312.6120;
    Jacot et al. 2021, arXiv:2106.15933).

    Parameters
    ----------
    ratio
        r, the initial std over that of Kaiming (where layers differ, the geometric mean of their
        ratios), above 0 and at most 1.
    depth
        L, weight layers, at least 2.
    lr
        Learning rate, above 0.
    rate
        s, the rate of escape, above 0: :func:`escape_rate` of one run.

    Raises
    ------
    UsageError
        A value outside these ranges.

    Examples
    --------
    Starting from a tenth of Kaiming's std, deeper networks stay longer:

    >>> [round(float(escape_updates(0.1, depth, lr=0.1, rate=1.0))) for depth in (2, 3, 4)]
    [23, 90, 495]
    """
    return _integral_over(ratio, depth, lr=lr, rate=rate)


def escape_rate(ratio: ArrayLike, depth: int, lr: ArrayLike, updates: ArrayLike) -> Array:
    """Return the rate of escape s of a network that left the plateau after so many updates.

    It solves :func:`escape_updates` for s, which other depths and stds can then be given.

    Parameters
    ----------
    ratio, depth, lr
        As in :func:`escape_updates`; `ratio` below 1.
    updates
        T, the updates after which it had left, above 0.

    Raises
    ------
    UsageError
        A value outside these ranges.

    Examples
    --------
    >>> print(f"{escape_rate(0.1, 3, lr=0.1, updates=90):.3f}")
    1.000
    """
    require(
        bool(np.all(_check_ratio(ratio) < 1)),
        "ratio must be below 1: there is no plateau to leave.",
    )
    return _integral_over(ratio, depth, lr=lr, updates=updates)


def escape_ratio(updates: ArrayLike, depth: int, lr: ArrayLike, rate: ArrayLike) -> Array:
    r"""Return the smallest std, over Kaiming's, that leaves the plateau within so many updates.

    It is the left edge of the band of stds that train: the inverse of :func:`escape_updates`,
    :math:`r = (1 + (L-2)\, \eta s T)^{-1/(L-2)}`. More depth moves it toward 1, more updates
    away from it, by ever less the deeper the network is.

    Parameters
    ----------
    updates
        T, how many updates there are, at least 0.
    depth, lr, rate
        As in :func:`escape_updates`.

    Raises
    ------
    UsageError
        A value outside these ranges.

    Examples
    --------
    >>> [round(float(escape_ratio(1000, depth, lr=0.1, rate=0.3)), 3) for depth in (3, 8, 16)]
    [0.032, 0.42, 0.649]
    """
    depth = checks.whole("depth", depth, 2)
    times, rates = checks.nonnegative("updates", updates), positive("lr", lr)
    speeds = positive("rate", rate)
    checks.together(updates=times, lr=rates, rate=speeds)
    time, power = times * rates * speeds, depth - 2
    return plain(np.exp(-(np.log1p(power * time) / power if power else time)))
