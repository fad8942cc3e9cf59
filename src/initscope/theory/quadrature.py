"""Gaussian expectations of one function, by Gauss-Legendre panels split at its kinks.

Gauss-Hermite quadrature loses most of its digits at a kink or when the function varies on a
scale far below that of the Gaussian. Here the line is cut at the kinks, at powers of two of the
function's argument (where the activation varies) and at fixed multiples of the Gaussian's
standard deviation (where its density varies); each panel then holds a smooth function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np

from initscope.checks import Array
from initscope.errors import UsageError, shown

__all__: list[str] = []  # for this package alone

Function = Callable[[Array], Array]

ORDER = 16
NODES, WEIGHTS = np.polynomial.legendre.leggauss(ORDER)

REACH = 12.0  # standard deviations beyond which the Gaussian, 5e-32 there, is cut off
GAUSSIAN_EDGES = np.array([0.0, 1.0, 2.0, 3.25, 5.0, 8.0, REACH])
GAUSSIAN_EDGES = np.concatenate([-GAUSSIAN_EDGES[:0:-1], GAUSSIAN_EDGES])

MEMORY = 2**21  # nodes evaluated at once: 16 MiB an array
MAX_PANELS = 20_000
MAX_DEPTH = 44  # halvings of a panel until its width is that of rounding
KINK_DEPTH = 22  # a panel halved this often lies at a kink


def _differentiation_matrix() -> Array:
    """Return the matrix from a polynomial's values at `NODES` to those of its derivative."""
    difference = NODES[:, None] - NODES[None, :]
    np.fill_diagonal(difference, 1.0)
    scale = difference.prod(axis=1)  # inverse barycentric weights
    matrix = scale[:, None] / (scale[None, :] * difference)
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, -matrix.sum(axis=1))
    return matrix


DIFFERENTIATE = _differentiation_matrix()
# Values at the nodes -> coefficients of the Legendre polynomials up to degree ORDER - 1.
_TO_LEGENDRE = (
    np.polynomial.legendre.legvander(NODES, ORDER - 1) * WEIGHTS[:, None] * (np.arange(ORDER) + 0.5)
)
_TAIL = _TO_LEGENDRE[:, -2:]


def legendre_coefficients(values: Array) -> Array:
    """Return Legendre coefficients of the polynomial through `values` at `NODES`, the last axis."""
    return values @ _TO_LEGENDRE


def dyadic_edges(reach: float, kinks: tuple[float, ...] = ()) -> Array:
    """Return panel edges 0, +-1, +-2, +-4, ... up to `reach`, and the `kinks`."""
    powers = 2.0 ** np.arange(max(1, int(np.ceil(np.log2(max(reach, 2.0)))) + 1))
    return np.unique(np.concatenate([-powers, [0.0], powers, np.asarray(kinks, dtype=float)]))


def panels(mean: Array, std: Array, edges: Array) -> tuple[Array, Array, Array, Array]:
    """Return nodes and weights for E f(mean + std z), z ~ N(0, 1).

    Parameters
    ----------
    mean, std
        Shape ``(n,)``; std above 0.
    edges
        Where to cut, in the argument of f; shape ``(k,)``.

    Returns
    -------
    x, z, weight
        Shape ``(n, panels, ORDER)``: the argument of f, the standard normal variable, and the
        weight with the Gaussian density included.
    half_width
        Shape ``(n, panels)``, of each panel in x.
    """
    cut = np.clip((edges - mean[:, None]) / std[:, None], -REACH, REACH)
    fixed = np.broadcast_to(GAUSSIAN_EDGES, (len(mean), len(GAUSSIAN_EDGES)))
    cut = np.sort(np.concatenate([cut, fixed], axis=1), axis=1)
    half = np.diff(cut, axis=1) / 2
    z = (cut[:, :-1] + half)[..., None] + half[..., None] * NODES
    weight = half[..., None] * (WEIGHTS / np.sqrt(2 * np.pi)) * np.exp(-(z**2) / 2)
    return mean[:, None, None] + std[:, None, None] * z, z, weight, half * std[:, None]


def derivative_at_nodes(values: Array, half_width: Array) -> Array:
    """Return the derivative of the polynomial through `values` on each panel; 0 without width."""
    slope = values @ DIFFERENTIATE.T
    # A panel without width has weight 0; dividing by 1 there keeps it finite.
    return slope / np.where(half_width > 0, half_width, 1.0)[..., None]


def chunks(count: int, nodes_each: int) -> Iterator[slice]:
    """Return slices of ``range(count)`` small enough that their nodes fit in `MEMORY`."""
    size = max(1, MEMORY // max(nodes_each, 1))
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def evaluate(function: Function, x: Array) -> Array:
    """Evaluate `function`; raise `UsageError` if it does not map arrays element by element."""
    try:
        with np.errstate(all="ignore"):
            values = np.asarray(function(x))
            if values.dtype.kind not in "fiub":
                raise TypeError(f"it returned values of type {values.dtype}")
            values = values.astype(np.float64, copy=False)
    except Exception as error:
        raise UsageError(
            f"the activation {shown(function)} failed on a numpy array "
            f"({shown(error)}). It must take a float "
            "array and return one of the same shape; wrap a scalar function in numpy.vectorize, "
            "a torch function in `lambda x: f(torch.as_tensor(x)).numpy()`."
        ) from error
    if values.shape != x.shape:
        raise UsageError(
            f"the activation {shown(function)} returned shape {values.shape} for input of shape "
            f"{x.shape}; it must act element by element."
        )
    if not np.isfinite(values).all():
        where = x[~np.isfinite(values)]
        raise UsageError(
            f"the activation {shown(function)} is not finite at "
            f"{where.flat[np.abs(where).argmin()]:g}; "
            f"values up to {np.abs(x).max():.3g} are needed for the variances asked for."
        )
    return values


def _refine(function: Function, edges: Array) -> tuple[Array, Array]:
    """Halve panels until a polynomial of degree `ORDER - 1` fits on each; edges and depths."""
    left, right = edges[:-1], edges[1:]
    depth = np.zeros(len(left), dtype=int)
    unit = np.abs(evaluate(function, np.linspace(-1, 1, 65))).max()
    done: list[tuple[Array, Array]] = []
    count = 0
    for level in range(MAX_DEPTH + 1):
        half = (right - left) / 2
        values = evaluate(function, (left + half)[:, None] + half[:, None] * NODES)
        tail = np.abs(values @ _TAIL).max(axis=1)
        # The second term allows for rounding inside the function, as in log(1 + exp(-30)).
        fits = tail <= 1e-12 * np.abs(values).max(axis=1) + 1e-14 * unit
        fits |= half < 1e-14 * np.maximum(1.0, np.abs(left))
        if level == MAX_DEPTH:
            fits[:] = True
        done.append((left[fits], depth[fits]))
        left, right, depth = left[~fits], right[~fits], depth[~fits] + 1
        count += len(left)
        if count > MAX_PANELS:
            raise UsageError(
                f"the activation {shown(function)} varies too fast to integrate: over {MAX_PANELS} "
                "pieces do not resolve it. It must be smooth but for a moderate number of kinks."
            )
        if not len(left):
            break
        middle = (left + right) / 2
        left, right = np.concatenate([left, middle]), np.concatenate([middle, right])
        depth = np.concatenate([depth, depth])
    starts = np.concatenate([start for start, _ in done])
    depths = np.concatenate([deep for _, deep in done])
    order = np.argsort(starts)
    return np.append(starts[order], edges[-1]), depths[order]


@lru_cache(maxsize=64)
def resolved_edges(function: Function, reach: float) -> tuple[Array, tuple[float, ...]]:
    """Return panel edges on [-reach, reach] that resolve any function, and its kinks.

    A kink (or jump) shows as a place where halving a panel never suffices; it is located to
    1e-12, and the panels are then laid again with the kink as an edge.
    """
    base = dyadic_edges(reach)
    # First panels whose edges are unlikely to be kinks, so that those at 0 or 1 are found too.
    uneven = base[base != 0] + 0.01372 * np.abs(base[base != 0])
    edges, depths = _refine(function, np.unique(np.clip(uneven, base[0], base[-1])))
    deep = np.flatnonzero(depths >= KINK_DEPTH)
    kinks = []
    for group in np.split(deep, np.flatnonzero(np.diff(deep) > 1) + 1) if len(deep) else []:
        narrowest = group[np.argmax(depths[group])]
        kink = (edges[narrowest] + edges[narrowest + 1]) / 2
        nearest = round(16 * kink) / 16
        kinks.append(nearest if abs(kink - nearest) < 1e-9 else kink)
    if kinks:
        edges, _ = _refine(function, np.unique(np.concatenate([base, kinks])))
    return edges, tuple(kinks)
