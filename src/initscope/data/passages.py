"""Cut tokens into passages of one length, in order or shuffled."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import numpy as np
import torch

from initscope import checks
from initscope.checks import require
from initscope.errors import shown

__all__ = ["Passages", "ShuffledPassages"]


class Passages(torch.utils.data.Dataset):
    """Non-overlapping passages of `context` tokens; what is left at the end of a source is unused.

    An item is ``{"input_ids": tokens, "labels": tokens}``, int64, shape ``(context,)``, as
    transformers' language models take it: they shift the labels themselves.

    Parameters
    ----------
    sources
        Arrays of tokens, whole numbers, each of one dimension.
    context
        Tokens of a passage.
    what
        Name of the sources in an error.

    Raises
    ------
    UsageError
        A source with fewer tokens than one passage.

    >>> passages = Passages((np.arange(7, dtype=np.uint16),), 3)
    >>> [item["input_ids"].tolist() for item in passages]
    [[0, 1, 2], [3, 4, 5]]
    """

    def __init__(self, sources: Sequence[np.ndarray], context: int, what: str = "the text") -> None:
        checks.whole("context", context)
        checks.text("what", what)
        require(
            isinstance(sources, Sequence)
            and len(sources) > 0
            and all(
                isinstance(tokens, np.ndarray) and tokens.ndim == 1 and tokens.dtype.kind in "iu"
                for tokens in sources
            ),
            f"sources must be arrays of tokens, at least one, not {shown(sources)}.",
        )
        shortest = min(map(len, sources))
        require(
            shortest >= context,
            f"the context is {context:,} tokens, but {what} has a source of only {shortest:,}: "
            f"choose a shorter context or a longer text.",
        )
        self._sources = sources
        self._context = context
        self._ends = list(itertools.accumulate(len(tokens) // context for tokens in sources))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        source = int(np.searchsorted(self._ends, index, side="right"))
        start = (index - (self._ends[source - 1] if source else 0)) * self._context
        tokens = self._sources[source][start : start + self._context].astype(np.int64)
        return {"input_ids": torch.from_numpy(tokens), "labels": torch.from_numpy(tokens)}


class ShuffledPassages(torch.utils.data.Dataset):
    """`n` passages in random order, pass after pass: each passage once before any a second time.

    Item `i` depends on the passages, `seed` and `i` alone, however many processes ask for it and
    wherever training was interrupted.

    Parameters
    ----------
    passages
        What is shuffled.
    n
        Number of items.
    seed
        Seed of the order.

    >>> from initscope.data import Passages
    >>> text = Passages([np.arange(40)], 8)
    >>> len(ShuffledPassages(text, n=3, seed=0))
    3
    """

    def __init__(self, passages: Passages, n: int, seed: int) -> None:
        require(
            isinstance(passages, Passages), f"passages must be Passages, not {shown(passages)}."
        )
        checks.whole("n", n)
        checks.whole("seed", seed, 0)
        self._passages = passages
        self._n = n
        self._seed = seed
        self._order = functools.lru_cache(maxsize=2)(self._order_of_pass)

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if not 0 <= index < self._n:
            raise IndexError(index)
        number, place = divmod(index, len(self._passages))
        return self._passages[int(self._order(number)[place])]

    def _order_of_pass(self, number: int) -> np.ndarray:
        """Draw the order of the passages in one pass over all of them."""
        generator = np.random.default_rng([self._seed, number])
        return generator.permutation(len(self._passages))
