"""Products of many pairs of matrices of equal shapes, with no thread left idle by the last pair.

A processor gives each thread whole products. Where the number of pairs is no multiple of that of
the threads, some wait while the last products are made: a tenth of the time of nine large ones on
two threads. Those left over are made one after another instead, each by all threads.
"""

from __future__ import annotations

import torch

__all__: list[str] = []  # for this package alone

LARGE_PRODUCT = 4_000_000
"""Floating-point operations from which a product is worth a call of its own."""


def _left_over(a: torch.Tensor, b: torch.Tensor) -> int:
    """Return how many pairs, at the end, all threads share; of a few threads only."""
    threads = torch.get_num_threads()
    n, rows, inner = a.shape
    left = n % threads
    large = 2 * rows * inner * b.shape[2] >= LARGE_PRODUCT
    return left if large and left < n and left <= threads // 2 and a.device.type == "cpu" else 0


def product(
    a: torch.Tensor,
    b: torch.Tensor,
    out: torch.Tensor | None = None,
    add: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return ``a[r] @ b[r]``, and what is to be added, for each `r`.

    Parameters
    ----------
    a, b
        Shapes ``(n, rows, inner)`` and ``(n, inner, columns)``.
    out
        Where the result goes, shape ``(n, rows, columns)``. Without it, all products are one call,
        through which autograd finds its way.
    add
        Added to the product, of a shape that broadcasts to its own in all but the first dimension.

    Examples
    --------
    >>> a, b = torch.ones(3, 2, 4), torch.ones(3, 4, 5)
    >>> product(a, b, add=torch.ones(3, 1, 5))[2, 0]
    tensor([5., 5., 5., 5., 5.])
    """
    if out is None or not (left := _left_over(a, b)):
        return torch.bmm(a, b, out=out) if add is None else torch.baddbmm(add, a, b, out=out)
    many = len(a) - left
    product(a[:many], b[:many], out[:many], None if add is None else add[:many])
    for r in range(many, len(a)):
        if add is None:
            torch.mm(a[r], b[r], out=out[r])
        else:
            torch.addmm(add[r], a[r], b[r], out=out[r])
    return out


def add_product_(to: torch.Tensor, a: torch.Tensor, b: torch.Tensor, factor: float) -> None:
    """Add ``factor * a[r] @ b[r]`` to ``to[r]`` for each `r`; the product is never stored.

    >>> to = torch.ones(3, 2, 5)
    >>> add_product_(to, torch.ones(3, 2, 4), torch.ones(3, 4, 5), -0.25)
    >>> to.abs().max()
    tensor(0.)
    """
    left = _left_over(a, b)
    many = len(a) - left
    if not left:
        to.baddbmm_(a, b, alpha=factor)
        return
    add_product_(to[:many], a[:many], b[:many], factor)
    for r in range(many, len(a)):
        to[r].addmm_(a[r], b[r], alpha=factor)
