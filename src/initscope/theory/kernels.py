"""Averages over two correlated Gaussians: E[phi(u1) phi(u2)] and E[phi'(u1) phi'(u2)].

u1 and u2 have mean 0, variance q and correlation c. By Price's theorem the second average,
times q, is the derivative of the first in c.
"""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt

from initscope.checks import Array
from initscope.theory import quadrature
from initscope.theory.activations import Activation
from initscope.theory.expectations import expectation, panel_edges, panel_kinks

__all__: list[str] = []  # for this package alone

TERMS = 256  # of the Hermite series
Z = np.arange(-192, 193) / 16  # nodes of the trapezoidal rule
# Up to here the rule is exact to rounding: of the named smooth activations the nearest singularity
# to the real line is that of tanh at i pi/2, and the error exp(-2 pi (pi/2) / (sqrt(q) / 16)).
LARGEST_TRAPEZOIDAL_Q = 25.0


def _weighted_hermite(z: Array, weight: Array) -> Array:
    """Return normalized Hermite polynomials times a weight, ``(nodes, TERMS)``."""
    table = np.empty((TERMS, len(z)))
    table[0] = weight
    table[1] = z * table[0]
    for k in range(1, TERMS - 1):
        table[k + 1] = (z * table[k] - np.sqrt(k) * table[k - 1]) / np.sqrt(k + 1)
    return table.T


HERMITE = _weighted_hermite(Z, np.exp(-(Z**2) / 2) / np.sqrt(2 * np.pi) * (Z[1] - Z[0]))


def _squared_coefficients(activation: Activation, q: Array) -> Array:
    """Return squared Hermite coefficients of phi(sqrt(q) z), ``(len(q), TERMS)``."""
    squares = np.empty((len(q), TERMS))
    smooth = np.flatnonzero((q <= LARGEST_TRAPEZOIDAL_Q) & (activation.kinks == ()))
    for part in quadrature.chunks(len(smooth), len(Z)):
        index = smooth[part]
        values = activation.function(np.sqrt(q[index])[:, None] * Z)
        squares[index] = (values @ HERMITE) ** 2
    # A step so wide that it hides what phi does near 0, or a kink, needs panels.
    rest = np.delete(np.arange(len(q)), smooth)
    different, which = np.unique(q[rest], return_inverse=True)
    found = np.empty((len(different), TERMS))
    for i, one in enumerate(different):
        std = np.array([np.sqrt(one)])
        edges = panel_edges(activation, quadrature.REACH * float(std[0]))
        x, z, weight, _ = quadrature.panels(np.zeros(1), std, edges)
        values = quadrature.evaluate(activation.function, x).ravel()
        found[i] = (values @ _weighted_hermite(z.ravel(), weight.ravel())) ** 2
    squares[rest] = found[which]
    return squares


class CorrelatedMoments:
    """The two averages for one activation and an array of variances, at any correlations.

    Homogeneous activations (Cho & Saul 2009, eqs. 3 to 6), erf (Rasmussen & Williams 2006,
    eq. 4.29) and GELU (by Stein's lemma) have closed forms. Others are summed as a power
    series in c, whose coefficients are the squared Hermite coefficients of phi (the dual activation
    of Daniely et al. 2016, arXiv:1602.05897); where 256 terms are not enough, close to c = 1 and
    c = -1, the double integral is done panel by panel. Both are right to 1e-11 of E[phi^2] or
    E[phi'^2] for variances from 1e-8 to 1e8.

    Parameters
    ----------
    activation
        What is averaged.
    q
        Variances, shape ``(n,)``, above 0.
    """

    def __init__(self, activation: Activation, q: Array) -> None:
        self.activation = activation
        self.q = q
        self.closed = activation.slopes is not None or activation.name in ("erf", "gelu")
        if self.closed:
            return
        self.second, self.derivative_second = expectation(
            activation, q, ("second", "derivative_second")
        )
        self.squares = _squared_coefficients(activation, q)
        missing = np.abs(self.second - self.squares.sum(axis=1))
        self.tail = missing / np.maximum(self.second, 1e-300)

    def subset(self, index: npt.NDArray[np.intp]) -> CorrelatedMoments:
        """Return the same for some of the variances."""
        part = copy.copy(self)
        part.q = self.q[index]
        if not self.closed:
            for name in ("second", "derivative_second", "tail", "squares"):
                setattr(part, name, getattr(self, name)[index])
        return part

    def moment(self, c: Array) -> Array:
        """Return E[phi(u1) phi(u2)] at correlations `c`, shape ``(n,)``."""
        if self.closed:
            return _closed_moment(self.activation, self.q, c)
        return self._moment(c, 0)

    def derivative_moment(self, c: Array) -> Array:
        """Return E[phi'(u1) phi'(u2)] at correlations `c`, shape ``(n,)``."""
        if self.closed:
            return _closed_derivative_moment(self.activation, self.q, c)
        return self._moment(c, 1)

    def _moment(self, c: Array, order: int) -> Array:
        result = np.where(c == 1, self.derivative_second if order else self.second, np.nan)
        with np.errstate(under="ignore", divide="ignore"):
            series = (c != 1) & (np.abs(c) ** TERMS < 1e-11 / TERMS / self.tail)
        if series.any():
            coefficients = self.squares[series]
            if order:
                coefficients = coefficients[:, 1:] * np.arange(1, TERMS)
            total = np.zeros(len(coefficients))
            for k in range(coefficients.shape[1] - 1, -1, -1):
                total = total * c[series] + coefficients[:, k]
            result[series] = total / self.q[series] if order else total
        for i in np.flatnonzero((c != 1) & ~series):
            result[i] = _double_integral(self.activation, self.q[i], c[i], order)
        return result


def _closed_moment(activation: Activation, q: Array, c: Array) -> Array:
    if activation.name == "gelu":
        return _gelu_moments(q, c)[0]
    if activation.slopes is None:
        return 2 / np.pi * np.arcsin(2 * q * c / (1 + 2 * q))
    # left * x + (right - left) * relu(x)
    left, right = activation.slopes
    angle = np.arccos(c)
    relu = (np.sqrt(1 - c**2) + c * (np.pi - angle)) / (2 * np.pi)
    return q * (left * right * c + (right - left) ** 2 * relu)


def _closed_derivative_moment(activation: Activation, q: Array, c: Array) -> Array:
    if activation.name == "gelu":
        return _gelu_moments(q, c)[1]
    if activation.slopes is None:
        ratio = 2 * q / (1 + 2 * q)
        return 4 / np.pi / (1 + 2 * q) / np.sqrt(1 - (ratio * c) ** 2)
    left, right = activation.slopes
    return left * right + (right - left) ** 2 * (np.pi - np.arccos(c)) / (2 * np.pi)


def _gelu_moments(q: Array, c: Array) -> tuple[Array, Array]:
    """Return both averages for GELU, u times the normal distribution function of u.

    Stein's lemma leads from them to the averages of two distribution functions and two densities.
    Written so that no digits cancel where q is large or c close to 1.
    """
    covariance = q * c
    different = q * (1 - c) * (1 + c) * q  # q^2 - covariance^2
    root = np.sqrt((1 + q * (1 - c)) * (1 + q * (1 + c)))
    densities = 1 / (2 * np.pi * root)
    shares = np.arctan2(root, -covariance) / (2 * np.pi)
    part = (q**2 + covariance**2 + q * different) / (1 + q)
    second = densities * part + covariance * shares
    derivative = densities * covariance * (part / root**2 + 2 * (1 - q) / (1 + q) + 1) + shares
    return second, derivative


def _double_integral(activation: Activation, q: float, c: float, order: int) -> float:
    """Compute an average by panels over u1 and, given it, over u2 ~ N(c u1, (1 - c^2) q)."""
    std = np.sqrt(q)
    if c == -1:
        edges = panel_edges(activation, quadrature.REACH * float(std))
        edges = np.unique(np.concatenate([edges, -edges]))
        x, _, weight, half = quadrature.panels(np.zeros(1), np.array([std]), edges)
        both = [_values(activation, side, half, order) for side in (x, -x)]
        return float(np.sum(both[0] * both[1] * weight))
    conditional = max(np.sqrt((1 - c) * (1 + c)), 1e-8) * std
    edges = panel_edges(activation, quadrature.REACH * 2 * float(std))
    # The inner average smooths each kink over `conditional`; the outer panels must resolve that.
    kinks = np.asarray(panel_kinks(activation, quadrature.REACH * 2 * float(std)))
    scale = conditional / max(abs(c), 1e-3) * np.array([-16, -8, -4, -2, -1, 1, 2, 4, 8, 16])
    around = (kinks[:, None] / (c if abs(c) > 1e-3 else 1.0) + scale).ravel()
    outer, _, outer_weight, outer_half = quadrature.panels(
        np.zeros(1), np.array([std]), np.unique(np.concatenate([edges, around]))
    )
    first = _values(activation, outer, outer_half, order)
    used = outer_weight > 0
    mean = c * outer[used]
    inner = np.empty(len(mean))
    nodes_each = (len(edges) + len(quadrature.GAUSSIAN_EDGES)) * quadrature.ORDER
    for part in quadrature.chunks(len(mean), nodes_each):
        x, _, weight, half = quadrature.panels(
            mean[part], np.full(len(mean[part]), conditional), edges
        )
        values = _values(activation, x, half, order)
        inner[part] = np.einsum("npk,npk->n", values, weight)
    return float(np.sum(first[used] * inner * outer_weight[used]))


def _values(activation: Activation, x: Array, half_width: Array, order: int) -> Array:
    """Return phi at the nodes, or phi' for `order` 1."""
    if order and activation.derivative is not None:
        return activation.derivative(x)
    values = quadrature.evaluate(activation.function, x)
    return quadrature.derivative_at_nodes(values, half_width) if order else values
