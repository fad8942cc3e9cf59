"""Growth of the mean square, split: an identity, closed forms, and a simulation apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny_transformers as tiny
import torch
from torch import nn
from torch.optim import SGD, AdamW

from initscope.errors import UsageError
from initscope.theory import adamw_variance_trajectory
from initscope.tracking import GrowthSplit, weight_matrices

TOKENS = torch.arange(40).reshape(4, 10)
N, STEPS = 30, 60


def rates(t: int) -> float:
    return 0.01 * (1 + t % 7)


def fed(
    gradients: torch.Tensor, n_copies: int = 1, signs: torch.Tensor | None = None, **options: Any
) -> tuple[pd.DataFrame, np.ndarray]:
    """What is split when AdamW gets these gradients, and the mean square before and after each.

    `signs` of shape (steps, copies) makes as many networks as there are copies of one.
    """
    torch.manual_seed(0)
    start = torch.randn(N, dtype=torch.float64)
    layer = nn.Linear(N, n_copies, bias=False).double()
    layer.weight.data = start.repeat(n_copies, 1)
    optimizer = AdamW(layer.parameters(), betas=(0.9, 0.95), weight_decay=2.0, eps=0.1)
    split = GrowthSplit(layer, optimizer, **{"lags": (5,), "every": 1, **options})
    squares = [layer.weight.square().mean().item()]
    for t, gradient in enumerate(gradients):
        optimizer.param_groups[0]["lr"] = rates(t)
        sign = 1.0 if signs is None else signs[t][:, None]
        layer.weight.grad = gradient.expand(n_copies, N) * sign
        optimizer.step()
        split.after_optimizer_step()
        squares.append(layer.weight.square().mean().item())
    return split.to_frame(), np.array(squares)


@pytest.fixture(scope="module")
def correlated() -> torch.Tensor:
    """Gradients that agree and fall, and differ in size from one weight to the next."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(STEPS, N, dtype=torch.float64, generator=generator)
    sizes = torch.logspace(-1, 1, N, dtype=torch.float64)
    return (noise + 0.3) * sizes * torch.linspace(1, 0.1, STEPS, dtype=torch.float64)[:, None]


def test_growth_is_the_change_that_decay_does_not_explain(correlated: torch.Tensor) -> None:
    found, squares = fed(correlated)
    keep = np.array([1 - 2.0 * rates(t) for t in range(STEPS)])
    np.testing.assert_allclose(
        found["growth"], squares[1:] - keep**2 * squares[:-1], rtol=1e-9, atol=1e-15
    )
    np.testing.assert_allclose(found["rate_squares"], [rates(t) ** 2 for t in range(STEPS)])


def test_the_shadow_is_the_mean_over_all_signs(correlated: torch.Tensor) -> None:
    """Torch's AdamW itself, on 6,000 sequences of signs drawn at random."""
    copies = 6000
    generator = torch.Generator().manual_seed(2)
    signs = torch.randint(0, 2, (STEPS, copies // 2), generator=generator).double() * 2 - 1
    signs = torch.cat([signs, -signs], dim=1)  # what aligns with the start by chance cancels
    shadow = fed(correlated)[0]["shadow"]
    drawn, _ = fed(correlated, copies, signs)
    windows = np.arange(STEPS) // 10
    expected, mean = shadow.groupby(windows).sum(), drawn["growth"].groupby(windows).sum()
    np.testing.assert_allclose(mean, expected, rtol=0.02)
    # The gradients themselves agree, and make weights grow several times as fast.
    assert fed(correlated)[0]["growth"].sum() > 2 * expected.sum()


def test_on_noise_the_shadow_is_the_theory() -> None:
    torch.manual_seed(3)
    gradients = torch.randn(200, N, dtype=torch.float64)
    gradients = gradients.sign()  # of one size, so that v is the same at each step
    found, squares = fed(gradients)
    lr = np.array([rates(t) for t in range(200)])
    keep = 1 - 2.0 * lr
    variance = adamw_variance_trajectory(
        np.sqrt(squares[0]), lr, 2.0, (0.9, 0.95), epsilon=0.1, gradient_rms=1.0
    )
    before = np.concatenate([squares[:1], variance[:-1]])
    np.testing.assert_allclose(found["shadow"], variance - keep**2 * before, rtol=1e-9)


@pytest.mark.parametrize("lags", [(1,), (3, 7), (500,)])
def test_the_rest_is_the_alignment_with_older_weights(
    correlated: torch.Tensor, lags: tuple[int, ...]
) -> None:
    """Again from the weights of every step, kept apart."""
    found, _ = fed(correlated, lags=lags)
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(N, dtype=torch.float64))
    optimizer = AdamW([weight], betas=(0.9, 0.95), weight_decay=2.0, eps=0.1)
    history = [weight.detach().clone()]
    for t, gradient in enumerate(correlated):
        optimizer.param_groups[0]["lr"] = rates(t)
        weight.grad = gradient
        optimizer.step()
        history.append(weight.detach().clone())
        moved = history[-1] - (1 - 2.0 * rates(t)) * history[-2]  # -lr u
        for lag in lags:
            then = max(0, t - lag)
            kept = np.prod([1 - 2.0 * rates(k) for k in range(then, t + 1)])
            expected = 2 * kept * (history[then] * moved).mean().item()
            assert found[f"rest_{lag}"][t] == pytest.approx(expected, rel=1e-9)


def test_windows_are_sums_and_all_matrices_of_a_parameter_are_there() -> None:
    def rows(every: int) -> tuple[pd.DataFrame, nn.Module]:
        torch.manual_seed(0)
        model = tiny.FAMILIES["gpt2"]().double()
        optimizer = AdamW(model.parameters(), lr=0.01, fused=True)
        split = GrowthSplit(model, optimizer, lags=(2,), roles=("q", "mlp_in"), every=every)
        for _ in range(7):
            optimizer.zero_grad()
            model(input_ids=TOKENS, labels=TOKENS).loss.backward()
            optimizer.step()
            split.after_optimizer_step()
        return split.to_frame(), model

    (each, model), (windows, _) = rows(1), rows(3)
    followed = [
        (layer, role)
        for layer, role, _ in weight_matrices(model)
        if role in ("q", "k", "v", "mlp_in")
    ]
    assert sorted(zip(windows["layer"], windows["role"], strict=True)) == sorted(2 * followed)
    assert windows[["after", "until"]].drop_duplicates().to_numpy().tolist() == [[0, 3], [3, 6]]
    numbers = ["rate_squares", "growth", "shadow", "rest_2"]
    for (_, until, layer, role), found in windows.set_index(
        ["after", "until", "layer", "role"]
    ).iterrows():
        inside = each[each["until"].between(until - 2, until)]
        of_one = inside[(inside["layer"] == layer) & (inside["role"] == role)]
        np.testing.assert_allclose(found[numbers], of_one[numbers].sum(), rtol=1e-9)


def test_a_matrix_that_is_never_stepped_grows_by_nothing() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    optimizer = AdamW(model.parameters())
    split = GrowthSplit(model, optimizer, every=1)
    assert split.to_frame().empty
    model[1].weight.grad = torch.ones(3, 3)
    optimizer.step()
    split.after_optimizer_step()
    found = split.to_frame().set_index("role")
    assert (found.loc["0", ["growth", "shadow", "rest_64"]] == 0).all()
    assert found.loc["1", "growth"] != 0


def linear() -> nn.Linear:
    return nn.Linear(3, 3, bias=False)


def stepped() -> GrowthSplit:
    layer = linear()
    optimizer = AdamW(layer.parameters())
    layer.weight.grad = torch.ones(3, 3)
    optimizer.step()
    return GrowthSplit(layer, optimizer)


def without_gradient() -> None:
    layer = linear()
    optimizer = AdamW(layer.parameters())
    split = GrowthSplit(layer, optimizer)
    layer.weight.grad = torch.ones(3, 3)
    optimizer.step()
    optimizer.zero_grad()
    split.after_optimizer_step()


def of(make: Callable[[Any], Any], **options: Any) -> Callable[[], Any]:
    def build() -> GrowthSplit:
        layer = linear()
        return GrowthSplit(layer, make(layer.parameters()), **options)

    return build


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (of(lambda p: SGD(p, lr=0.1)), "torch's AdamW, without amsgrad or maximize, .*not 'SGD'"),
        (of(lambda p: AdamW(p, amsgrad=True)), "without amsgrad or maximize"),
        (of(lambda p: AdamW(p, maximize=True)), "without amsgrad or maximize"),
        (of(AdamW, lags=(4, 2)), "lags must ascend"),
        (of(AdamW, lags=(0,)), "a lag must be a whole number of at least 1"),
        (of(AdamW, every=0), "every must be a whole number of at least 1"),
        (of(AdamW, roles=("q",)), "unknown role"),
        (stepped, "has made steps already|made steps already"),
        (without_gradient, "before zero_grad"),
    ],
)
def test_what_cannot_be_split_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()
