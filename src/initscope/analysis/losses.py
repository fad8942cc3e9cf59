"""When a language model leaves the plateau of its first updates."""

from __future__ import annotations

import math

import pandas as pd

from initscope import checks
from initscope.checks import require

__all__ = ["first_below"]


def first_below(losses: pd.Series, level: float, window: int = 5) -> float:
    """Return the step at which losses have fallen below a level for the first time.

    Parameters
    ----------
    losses
        Indexed by the step, ascending.
    level
        For example the loss of a model that knows the token before alone, see
        :func:`initscope.data.bigrams.bigram_loss`.
    window
        How many losses are averaged, against the noise of batches.

    Returns
    -------
    float
        The last step of the first such window; NaN if there is none.

    >>> first_below(pd.Series([5.0, 3.0, 2.0, 1.0], [0, 10, 20, 30]), level=2.5, window=2)
    30.0
    """
    require(
        isinstance(losses, pd.Series) and pd.api.types.is_numeric_dtype(losses.dtype),
        "losses must be a Series of numbers, by step.",
    )
    require(
        pd.api.types.is_numeric_dtype(losses.index.dtype) and losses.index.is_monotonic_increasing,
        "losses must be indexed by the step, ascending.",
    )
    level = checks.number("level", level)
    window = checks.whole("window", window)
    below = losses.rolling(window).mean() < level
    return float(below.idxmax()) if below.any() else math.nan
