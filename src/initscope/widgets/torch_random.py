"""The random numbers of torch without torch, as ``lib/torch_random.mjs`` makes them in the page."""

from __future__ import annotations

import numpy as np

__all__: list[str] = []  # for this package alone


def torch_normals(seed: int, count: int) -> np.ndarray:
    """Return ``torch.randn(count)`` with a generator of this seed, in double precision.

    Parameters
    ----------
    seed
        From 0 to 2^32 - 1.
    count
        A multiple of 16, of which torch makes normal numbers in blocks, by Box and Muller.

    Example
    -------
    >>> torch_normals(0, 16)[:2].round(3).tolist()
    [-1.126, -1.152]
    """
    uniform = np.random.RandomState(seed).randint(
        2**24, size=(count // 16, 2, 8), dtype=np.uint32
    ) / float(2**24)
    radius, angle = np.sqrt(-2 * np.log1p(-uniform[:, 0])), 2 * np.pi * uniform[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).ravel()
