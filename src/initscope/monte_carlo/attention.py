"""Softmax attention with logits drawn at random."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from initscope import checks
from initscope.memory import require_memory

__all__ = ["draw_participation"]


def draw_participation(
    n_keys: int,
    logit_std: float,
    draws: int,
    *,
    head_dim: int | None = None,
    seed: int = 0,
) -> npt.NDArray[np.float64]:
    """Draw the attention of many queries, and return sum p^2 of each.

    What to expect is in :func:`initscope.theory.attention_participation`.

    Parameters
    ----------
    n_keys
        Number of keys.
    logit_std
        Std of the logits.
    draws
        Number of queries, each with keys of its own.
    head_dim
        Given, logits are q.k / sqrt(head_dim) of normal queries and keys in so many channels, as in
        a head at initialization; without, independent normal numbers.
    seed
        Of the draws.

    Returns
    -------
    numpy.ndarray
        Shape ``(draws,)``.

    Examples
    --------
    >>> draw_participation(4, 0.0, 2)
    array([0.25, 0.25])
    """
    keys, count = checks.whole("n_keys", n_keys), checks.whole("draws", draws)
    std = checks.number("logit_std", logit_std, 0, 100)
    checks.whole("seed", seed, 0)
    require_memory(32.0 * keys * count, f"draws = {count:,} with n_keys = {keys:,}")
    rng = np.random.default_rng(seed)
    logits = std * rng.standard_normal((count, keys))
    if head_dim is not None:
        channels = checks.whole("head_dim", head_dim, at_most=10**9)
        # Given its query, the logits of independent keys are independent, of std |q| sqrt(b / d_h).
        logits *= np.sqrt(rng.chisquare(channels, (count, 1)) / channels)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray((weights**2).sum(axis=1) / weights.sum(axis=1) ** 2)
