"""Gaussian expectations of activation functions, in closed form or by quadrature."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from initscope.checks import Array
from initscope.theory import quadrature
from initscope.theory.activations import Activation

__all__: list[str] = []  # for this package alone

# What is averaged: phi, phi', the standard normal variable z and the variance q go in.
Integrand = Callable[[Array, Array, Array, Array], Array]

INTEGRANDS: dict[str, Integrand] = {
    "mean": lambda phi, dphi, z, q: phi,
    "second": lambda phi, dphi, z, q: phi**2,
    # dE[phi(sqrt(q) z)^2]/dq; equal to E[phi'^2 + phi phi''] without needing phi''.
    "slope": lambda phi, dphi, z, q: phi * dphi * z / np.sqrt(q),
    "derivative_second": lambda phi, dphi, z, q: dphi**2,
    "fourth": lambda phi, dphi, z, q: phi**4,
    "derivative_fourth": lambda phi, dphi, z, q: dphi**4,
    "mixed": lambda phi, dphi, z, q: phi**2 * dphi**2,
    # q dE[phi'^2]/dq
    "derivative_rate": lambda phi, dphi, z, q: dphi**2 * (z**2 - 1) / 2,
}

SMALLEST_Q = 1e-12  # below it a derivative in q is that at 0, to rounding
LARGEST_Q = 1e140


def panel_edges(activation: Activation, reach: float) -> Array:
    """Return where to cut the line for `activation`: its kinks, or what resolves a callable."""
    if activation.kinks is None:
        return quadrature.resolved_edges(activation.function, _power_of_2(reach))[0]
    return quadrature.dyadic_edges(reach, activation.kinks)


def panel_kinks(activation: Activation, reach: float) -> tuple[float, ...]:
    """Return the kinks of `activation` within `reach`: known, or found in a callable."""
    if activation.kinks is None:
        return quadrature.resolved_edges(activation.function, _power_of_2(reach))[1]
    return activation.kinks


def _power_of_2(reach: float) -> float:
    return float(2.0 ** np.ceil(np.log2(max(reach, 1.0))))


def expectation(activation: Activation, q: Array, names: tuple[str, ...]) -> tuple[Array, ...]:
    """Return Gaussian expectations of the `INTEGRANDS` called `names` at input variance `q`.

    Closed forms are used where the activation has them. Shapes as `q`.
    """
    results: dict[str, Array] = {}
    given, q = q, (q if activation.slopes else np.minimum(q, LARGEST_Q))
    for name in names:
        closed_form = getattr(activation, name, None)
        if closed_form is not None:
            results[name] = closed_form(q)
    missing = tuple(name for name in names if name not in results)
    if missing:
        flat = np.maximum(q.ravel(), SMALLEST_Q)
        many = q.size > MANY and flat.max() < LARGEST_TABLED_Q
        sums = (_interpolate if many else _integrate)(activation, flat, missing)
        results |= {name: values.reshape(q.shape) for name, values in sums.items()}
        if (q < SMALLEST_Q).any():
            at_zero = quadrature.evaluate(activation.function, np.zeros(1))[0]
            for name, power in (("mean", 1), ("second", 2), ("fourth", 4)):
                if name in missing:
                    results[name] = np.where(q == 0, at_zero**power, results[name])
                    if at_zero == 0 and power > 1:  # there the activation grows in proportion
                        share = np.minimum(q / SMALLEST_Q, 1.0)
                        results[name] = results[name] * share ** (power / 2)
    if "second" in names and not activation.slopes and (given > LARGEST_Q).any():
        # So far out an unbounded activation is taken to grow in proportion.
        growth = np.where(results["second"] > np.sqrt(LARGEST_Q), given / q, 1.0)
        results["second"] = results["second"] * growth
    return tuple(results[name] for name in names)


def _integrate(activation: Activation, q: Array, names: tuple[str, ...]) -> dict[str, Array]:
    """Compute the expectations `names` by quadrature; `q` has one axis."""
    sums = {name: np.empty(q.shape) for name in names}
    # Variances of like size share panels, so that none is cut more often than it needs.
    order = np.argsort(q)
    start = 0
    while start < len(q):
        smallest = q[order[start]]
        stop = int(np.searchsorted(q, 16 * smallest, side="right", sorter=order))
        edges = panel_edges(activation, quadrature.REACH * float(np.sqrt(q[order[stop - 1]])))
        nodes_each = (len(edges) + len(quadrature.GAUSSIAN_EDGES)) * quadrature.ORDER
        for part in quadrature.chunks(stop - start, nodes_each):
            index = order[start:stop][part]
            for name, values in _panel_sums(activation, q[index], edges, names).items():
                sums[name][index] = values
        start = stop
    return sums


def _panel_sums(
    activation: Activation, q: Array, edges: Array, names: tuple[str, ...]
) -> dict[str, Array]:
    """Compute the expectations `names` over one set of panels."""
    x, z, weight, half_width = quadrature.panels(np.zeros_like(q), np.sqrt(q), edges)
    phi = quadrature.evaluate(activation.function, x)
    if set(names) <= {"mean", "second", "fourth"}:
        dphi = phi  # not used
    elif activation.derivative is not None:
        dphi = activation.derivative(x)
    else:
        dphi = quadrature.derivative_at_nodes(phi, half_width)
    return {
        name: np.einsum("npk,npk->n", INTEGRANDS[name](phi, dphi, z, q[:, None, None]), weight)
        for name in names
    }


MANY = 2000  # variances from which on a table is faster than one quadrature for each
LARGEST_TABLED_Q = 1e13


@lru_cache(maxsize=4096)
def _piece(activation: Activation, name: str, octave: int) -> Array:
    """Return Legendre coefficients of one expectation, in log q between octave and octave + 1.

    The expectations are analytic in log q within a distance of pi or more of the real line, so
    that degree 15 on a piece of length 1 is exact to rounding.
    """
    q = np.exp(octave + (quadrature.NODES + 1) / 2)
    return quadrature.legendre_coefficients(_integrate(activation, q, (name,))[name])


def _interpolate(activation: Activation, q: Array, names: tuple[str, ...]) -> dict[str, Array]:
    """Interpolate the expectations `names` in tables; `q` has one axis."""
    log_q = np.log(q)
    octave = np.floor(log_q).astype(int)
    local = 2 * (log_q - octave) - 1
    present, index = np.unique(octave, return_inverse=True)
    sums = {}
    for name in names:
        table = np.stack([_piece(activation, name, int(one)) for one in present])
        sums[name] = np.polynomial.legendre.legval(local, table.T[:, index], tensor=False)
    return sums
