"""The loss of a language model that knows the token before alone."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from initscope import checks
from initscope.checks import require

__all__ = ["bigram_loss"]

LARGEST_VOCABULARY = 4096
"""Of a table of all pairs that is small: that of GPT-2's tokens would take 20 GB."""

AT_ONCE = 2**22


def bigram_loss(
    train: Iterable[np.ndarray], validation: Iterable[np.ndarray], vocab_size: int
) -> float:
    """Return the loss of a bigram model, which predicts a token from the one before it alone.

    It predicts by how often one follows the other in the training text, each pair counted once
    more than it occurs. A model whose loss is lower has learned to use earlier tokens as well.

    Parameters
    ----------
    train, validation
        Tokens, one array a source, as in :class:`~initscope.data.Text`.
    vocab_size
        Number of different tokens, at most 4,096.

    Returns
    -------
    float
        Mean cross-entropy over the validation tokens, in nats a token.

    Raises
    ------
    UsageError
        Tokens that are no whole numbers from 0 to below `vocab_size`; no pair to measure on.

    >>> text = np.array([0, 1, 0, 1, 0, 1, 0, 1])
    >>> round(bigram_loss([text], [text], vocab_size=2), 3)  # -(4 ln 5/6 + 3 ln 4/5) / 7
    0.2
    """
    vocab_size = checks.whole("vocab_size", vocab_size, 2, LARGEST_VOCABULARY)
    counts = np.ones((vocab_size, vocab_size))
    for before, after in _pairs("train", train, vocab_size):
        pairs = np.bincount(before * vocab_size + after, minlength=vocab_size**2)
        counts += pairs.reshape(counts.shape)
    losses = -np.log(counts / counts.sum(axis=1, keepdims=True))
    total, seen = 0.0, 0
    for before, after in _pairs("validation", validation, vocab_size):
        total += math.fsum(losses[before, after])
        seen += len(before)
    require(seen > 0, "validation must hold at least two tokens in a row.")
    return total / seen


def _pairs(
    name: str, sources: Iterable[np.ndarray], vocab_size: int
) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Yield neighboring tokens as two arrays, some at a time."""
    message = f"{name} must hold arrays of whole numbers from 0 to {vocab_size - 1}, one a source."
    for source in checks.items(name, sources):
        tokens = isinstance(source, np.ndarray) and np.issubdtype(source.dtype, np.integer)
        require(tokens and source.ndim == 1, message)
        for start in range(0, len(source) - 1, AT_ONCE):
            part = np.asarray(source[start : start + AT_ONCE + 1])
            require(int(part.min()) >= 0 and int(part.max()) < vocab_size, message)
            part = part.astype(np.int64)
            yield part[:-1], part[1:]
