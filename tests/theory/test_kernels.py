"""Averages over two correlated Gaussians, against an integral in other coordinates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from initscope.theory.activations import ACTIVATIONS
from initscope.theory.kernels import CorrelatedMoments

NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)
REACH = 10.0
C = np.array([-1.0, -0.999999, -0.86, 0.0, 0.6, 0.88, 0.97, 0.99999])


def points(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of an average over a standard normal variable, along the last axis."""
    half = np.diff(edges) / 2
    z = edges[..., :-1, None] + half[..., None] * (1 + NODES)
    weight = half[..., None] * WEIGHTS * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    flat = (*edges.shape[:-1], -1)
    return z.reshape(flat), weight.reshape(flat)


EVEN = np.arange(-20, 21) / 2


def graded(smallest: float) -> np.ndarray:
    """Edges 0, +-smallest, +-2 smallest, ..."""
    doubled = smallest * 2.0 ** np.arange(np.ceil(np.log2(REACH / smallest)))
    return np.concatenate([-doubled[::-1], [0.0], doubled])


def reference(
    functions: Sequence[Callable[[np.ndarray], np.ndarray]], q: float, c: float
) -> np.ndarray:
    """E f(u1) f(u2), by their independent sum and difference, cut where either of u1, u2 is 0."""
    std, along, across = np.sqrt(q), np.sqrt((1 + c) / 2), np.sqrt((1 - c) / 2)
    scale = min(1 / max(std * along, 0.1), across / max(along, 1e-3), 1.0) / 8
    x, weight = points(np.unique(np.concatenate([EVEN, graded(scale)])))
    total = np.zeros(len(functions))
    for part in np.array_split(np.arange(len(x)), 1 + len(x) // 300):
        crossing = along * x[part, None] / across
        near = graded(1 / max(std * across, 1.0) / 4)
        edges = [EVEN + 0 * crossing, near + crossing, near - crossing]
        y, inner = points(np.sort(np.clip(np.concatenate(edges, axis=1), -REACH, REACH), axis=1))
        common, different = std * along * x[part, None], std * across * y
        for k, function in enumerate(functions):
            values = function(common + different) * function(common - different)
            total[k] += weight[part] @ (values * inner).sum(axis=1)
    return total


@pytest.mark.parametrize("q", [1e-8, 300.0, 1e8])
@pytest.mark.parametrize("name", ["silu", "mish", "softplus", "gelu", "gelu_tanh", "selu"])
def test_averages_over_correlated_gaussians_at_any_variance(name, q):
    known = ACTIVATIONS[name]
    functions = (known.function, known.derivative)
    expected = np.array([reference(functions, q, c) for c in C]).T
    z, weight = points(np.unique(np.concatenate([EVEN, graded(1 / max(np.sqrt(q), 1) / 4)])))
    moments = CorrelatedMoments(known, np.full(len(C), q))
    for k, average in enumerate((moments.moment, moments.derivative_moment)):
        mean_square = float(weight @ functions[k](np.sqrt(q) * z) ** 2)
        np.testing.assert_allclose(average(C), expected[k], rtol=0, atol=1e-12 * mean_square)
        # At c = -1 nearly all cancels: a part in 1e12 of a ReLU's mean square is left there.
        np.testing.assert_allclose(average(C), expected[k], rtol=1e-7)
        assert average(np.ones(len(C)))[0] == pytest.approx(mean_square, rel=1e-12)


def test_few_correlations_of_many_variances_are_those_of_each():
    q, c = np.geomspace(1e-8, 1e8, 9), np.linspace(-1, 1, 9)
    for name in ("silu", "selu", "tanh"):
        together = CorrelatedMoments(ACTIVATIONS[name], q)
        apart = [
            (CorrelatedMoments(ACTIVATIONS[name], one).moment(other)[0])
            for one, other in zip(q[:, None], c[:, None], strict=True)
        ]
        np.testing.assert_allclose(together.moment(c), apart, rtol=1e-12, atol=1e-30)
        index = np.array([7, 2])
        np.testing.assert_array_equal(
            together.subset(index).moment(c[index]), together.moment(c)[index]
        )
