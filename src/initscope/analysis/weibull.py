"""The std of Weibull-distributed weights by their scale, in which published runs report it."""

from __future__ import annotations

from numpy.typing import ArrayLike

from initscope import checks
from initscope.checks import Array

__all__ = ["weibull_std"]

NORMAL_SCALE = 0.88746
"""Weibull scale of a standard normal distribution's absolute values, fitted as described below."""


def weibull_std(scale: ArrayLike, share: ArrayLike = 1.0) -> Array:
    r"""Return the std of weights from the Weibull scale fitted to their absolute values.

    A line through :math:`\ln(-\ln(1 - F))` against :math:`\ln |w|`, by least squares between the
    10th and the 90th percentile, gives normal weights the shape 1.2054 and the scale .88746 std.
    Heavier tails, and layers that differ, add to the std what such a fit does not see.

    Parameters
    ----------
    scale
        Of the fit.
    share
        Share of the std that the fit sees, above 0 and at most 1, as for normal weights; less for
        heavier tails (:func:`share_of_std`).

    Raises
    ------
    UsageError
        A negative scale, a share outside (0, 1].

    Examples
    --------
    >>> print(weibull_std(0.0186).round(4), weibull_std(0.0186, share=0.92).round(4))
    0.021 0.0228
    """
    fitted, seen = checks.nonnegative("scale", scale), checks.positive("share", share)
    checks.within("share", seen, 0.0, 1.0)
    checks.together(scale=fitted, share=seen)
    return checks.plain(fitted / NORMAL_SCALE / seen)
