"""GPT-2's GELU: its values and gradient, wherever it is computed by the sigmoid."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import gelu
from transformers.activations import ACT2FN

from initscope.models.gelu import BLOCK, TanhGELU

INPUTS = torch.cat([torch.linspace(-12, 12, 4801), torch.tensor([-1e15, -1e4, 1e-30, 1e4, 1e15])])


def value_and_slope(function: object, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = inputs.clone().requires_grad_()
    value = function(inputs)  # type: ignore[operator]
    (slope,) = torch.autograd.grad(value.sum(), inputs)
    return value.detach(), slope


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("theirs", ["gelu_new", "gelu_pytorch_tanh"])
def test_it_is_gpt2s_gelu_to_rounding(theirs: str, dtype: torch.dtype) -> None:
    """Near to the exact values and slopes, and to the other ways to compute them."""
    exact = value_and_slope(ACT2FN["gelu_pytorch_tanh"], INPUTS.double())
    inputs = INPUTS.to(dtype)
    found = value_and_slope(TanhGELU(), inputs)
    other = value_and_slope(ACT2FN[theirs], inputs)
    rounding = torch.finfo(dtype).eps
    scale = torch.maximum(inputs.abs(), torch.ones(())).double()
    for mine, its, truth in zip(found, other, exact, strict=True):
        assert mine.dtype == dtype
        finite = torch.isfinite(its)  # the slope of gelu_new overflows
        assert ((mine - truth).abs() / scale).max() < 16 * rounding
        assert ((mine - its).abs() / scale)[finite].max() < 16 * rounding


@pytest.mark.parametrize("n", [1, BLOCK, 2 * BLOCK + 5])
def test_each_block_has_the_values_and_slopes_of_its_own_inputs(n: int) -> None:
    inputs = torch.randn(n, 3, generator=torch.Generator().manual_seed(n))
    exact = value_and_slope(ACT2FN["gelu_pytorch_tanh"], inputs.T)
    for mine, truth in zip(value_and_slope(TanhGELU(), inputs.T), exact, strict=True):
        torch.testing.assert_close(mine, truth, rtol=1e-5, atol=1e-6)


def test_without_gradients_it_is_the_same() -> None:
    inputs = torch.randn(BLOCK + 1, requires_grad=True)
    with torch.no_grad():
        values = TanhGELU()(inputs)
    assert not values.requires_grad
    assert torch.equal(values, TanhGELU()(inputs).detach())


def test_its_gradient_is_the_derivative_of_its_values() -> None:
    inputs = torch.linspace(-4, 4, 60, dtype=torch.float64).reshape(3, 4, 5).requires_grad_()
    assert torch.autograd.gradcheck(TanhGELU(), inputs.transpose(0, 2))


def test_what_is_not_finite_stays_so() -> None:
    values = TanhGELU()(torch.tensor([math.nan, math.inf]))
    assert values[0].isnan()
    assert values[1] == math.inf


def test_half_precision_is_left_to_torch() -> None:
    inputs = INPUTS[:4801].bfloat16()
    assert torch.equal(TanhGELU()(inputs), gelu(inputs, approximate="tanh"))


def test_the_inputs_stay_as_they_are() -> None:
    inputs = torch.randn(50, requires_grad=True)
    before, gradient = inputs.detach().clone(), torch.randn(50)
    given = gradient.clone()
    TanhGELU()(inputs).backward(gradient)
    assert torch.equal(inputs, before)
    assert torch.equal(gradient, given)
