"""Leaving the plateau: against an ODE, deep linear networks, and real ReLU networks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from initscope import data
from initscope.errors import UsageError
from initscope.init import initialize_
from initscope.models import MLP
from initscope.theory import escape_rate, escape_ratio, escape_updates

RATIOS = st.floats(1e-3, 0.99)
DEPTHS = st.integers(2, 20)
SIZES = st.floats(1e-3, 10)


@pytest.mark.parametrize("depth", [2, 3, 4, 8])
@pytest.mark.parametrize("ratio", [0.05, 0.5, 0.9])
def test_the_updates_are_those_of_the_differential_equation(depth: int, ratio: float) -> None:
    lr, rate = 0.2, 0.7
    updates = float(escape_updates(ratio, depth, lr, rate))

    def growth(_: float, r: np.ndarray) -> np.ndarray:
        return lr * rate * r ** (depth - 1)

    solution = solve_ivp(growth, (0, 0.999 * updates), [ratio], rtol=1e-10, atol=1e-12)
    left = float(escape_updates(solution.y[0, -1], depth, lr, rate))
    assert left == pytest.approx(0.001 * updates, rel=1e-4)


@given(RATIOS, DEPTHS, SIZES, SIZES)
def test_the_three_are_inverse_to_each_other(
    ratio: float, depth: int, lr: float, rate: float
) -> None:
    updates = escape_updates(ratio, depth, lr, rate)
    assert escape_ratio(updates, depth, lr, rate) == pytest.approx(ratio, rel=1e-9)
    assert escape_rate(ratio, depth, lr, updates) == pytest.approx(rate, rel=1e-9)


@given(DEPTHS, SIZES, st.floats(1, 1e6))
def test_depth_and_updates_move_the_edge(depth: int, rate: float, updates: float) -> None:
    """A deeper network needs a larger start, and a longer training forgives a smaller one."""
    edge = escape_ratio(updates, depth, 0.1, rate)
    assert 0 <= edge < escape_ratio(updates, depth + 1, 0.1, rate) < 1
    assert escape_ratio(2 * updates, depth, 0.1, rate) < edge or edge == 0


@pytest.mark.parametrize("depth", [2, 3, 4, 6])
def test_a_deep_linear_network_leaves_when_it_says(depth: int) -> None:
    """A chain of numbers that learns the product 1 grows by s = 1 while the product is small."""
    lr, ratio = 0.01, 0.1 if depth < 5 else 0.3
    weight, updates = ratio, 0
    while weight**depth < 0.5:
        weight += lr * (1 - weight**depth) * weight ** (depth - 1)
        updates += 1
    # What the output takes from the error on the way costs a few more updates, at the end.
    assert 0.95 < updates / float(escape_updates(ratio, depth, lr, 1.0)) < 1.3


def left_the_plateau(depth: int, ratio: float, lr: float) -> int:
    """Return after how many updates the loss of a ReLU network on Wine has come half way."""
    wine = data.load_wine()
    model = MLP([13, *[32] * (depth - 1), 3])
    initialize_(model, "kaiming", generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for layer in model.linear_layers:
            layer.weight *= ratio
    for layer in model.linear_layers:
        layer.bias.requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr)
    for updates in range(20_000):
        loss = torch.nn.functional.cross_entropy(model(wine.train_inputs), wine.train_labels)
        if loss.item() < math.log(3) / 2:
            return updates
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    raise AssertionError("it never left")


@pytest.mark.parametrize(("depth", "ratios"), [(3, (0.1, 0.05, 0.025)), (4, (0.2, 0.1, 0.05))])
def test_one_constant_serves_all_starts_of_a_network(depth: int, ratios: tuple) -> None:
    """Fitted at the largest start, the rate tells the updates of smaller ones."""
    lr = 0.2
    first, *others = (left_the_plateau(depth, ratio, lr) for ratio in ratios)
    rate = escape_rate(ratios[0], depth, lr, first)
    for ratio, updates in zip(ratios[1:], others, strict=True):
        assert escape_updates(ratio, depth, lr, rate) == pytest.approx(updates, rel=0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: escape_updates(1.5, 3, 0.1, 1.0), "ratio must be at most 1, where there is no"),
        (lambda: escape_updates(0.0, 3, 0.1, 1.0), "ratio must"),
        (lambda: escape_updates(0.5, 1, 0.1, 1.0), "depth must be a whole number of at least 2"),
        (lambda: escape_rate(1.0, 3, 0.1, 10), "ratio must be below 1: there is no plateau"),
        (lambda: escape_rate(0.5, 3, 0.1, 0), "updates must"),
        (lambda: escape_ratio(-1, 3, 0.1, 1.0), "updates must"),
        (lambda: escape_ratio(10, 3, 0.0, 1.0), "lr must"),
    ],
)
def test_what_has_no_plateau_is_refused(call, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()
