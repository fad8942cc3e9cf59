from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import tiny_transformers as tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from initscope.errors import UsageError
from initscope.tracking import variance_budget, weight_matrices

TOKENS = torch.arange(40).reshape(4, 10)

OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {
    "adamw": lambda p: AdamW(p, lr=0.03, betas=(0.9, 0.95), weight_decay=0.3),
    "adamw, fused": lambda p: AdamW(p, lr=0.03, weight_decay=0.3, fused=True),
    "adamw, amsgrad": lambda p: AdamW(p, lr=0.03, weight_decay=0.3, amsgrad=True),
    "adamw, maximize": lambda p: AdamW(p, lr=0.03, weight_decay=0.3, maximize=True),
    "adamw, no decay": lambda p: AdamW(p, lr=0.03, weight_decay=0.0),
    "adam": lambda p: Adam(p, lr=0.03),
    "adam, decay in the gradient": lambda p: Adam(p, lr=0.03, weight_decay=0.1),
    "sgd": lambda p: SGD(p, lr=0.3, weight_decay=0.1),
    "sgd, momentum": lambda p: SGD(p, lr=0.3, momentum=0.9, weight_decay=0.1),
    "sgd, maximize": lambda p: SGD(p, lr=0.3, weight_decay=0.1, maximize=True),
}


def pivoted(frame: pd.DataFrame) -> pd.DataFrame:
    assert set(frame["kind"]) == {"update"}
    return frame.pivot(index=["layer", "role"], columns="stat", values="value")  # noqa: PD010


def train(model: nn.Module, optimizer: Optimizer, steps: int, observe: Callable) -> None:
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] *= 0.9  # a schedule: each step has a learning rate of its own
        optimizer.zero_grad()
        model(input_ids=TOKENS, labels=TOKENS).loss.backward()
        before = [(layer, role, view.clone()) for layer, role, view in weight_matrices(model)]
        optimizer.step()
        observe(step, before)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_terms_add_up_to_the_measured_change_to_rounding(name: str, family: str) -> None:
    torch.manual_seed(0)
    model = tiny.FAMILIES[family]().double()
    decayed = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = OPTIMIZERS[name]([{"params": decayed}, {"params": rest, "weight_decay": 0.0}])

    def observe(step: int, before: list) -> None:
        found = pivoted(variance_budget(optimizer, model, step))
        after = list(weight_matrices(model))
        assert len(found) == len(after) == len(before)
        for (layer, role, new), (_, _, old) in zip(after, before, strict=True):
            row = found.loc[layer, role]
            old_square, new_square = (w.square().mean().item() for w in (old, new))
            total = row["decay"] + row["alignment"] + row["step"]
            assert total == pytest.approx(new_square - old_square, abs=1e-12 * old_square)
            assert row["mean_square"] == pytest.approx(new_square, rel=1e-12)
            assert row["step"] >= 0
            # The terms one by one, from the weights before and after alone.
            rate = optimizer.param_groups[0]["lr"]
            coupled = not isinstance(optimizer, AdamW) and name not in ("sgd", "sgd, maximize")
            decay = 0.0 if coupled else optimizer.param_groups[0]["weight_decay"]
            moved = new - (1 - rate * decay) * old  # -lr u
            tolerance = {"abs": 1e-12 * old_square}
            assert row["decay"] == pytest.approx(
                ((1 - rate * decay) ** 2 - 1) * old_square, **tolerance
            )
            assert row["alignment"] == pytest.approx(
                2 * (1 - rate * decay) * (old * moved).mean().item(), **tolerance
            )
            assert row["step"] == pytest.approx(moved.square().mean().item(), **tolerance)
            assert row["rms"] == pytest.approx(
                moved.square().mean().sqrt().item() / rate, rel=1e-9, abs=1e-12
            )
            cosine = (old * new).sum() / (old.norm() * new.norm())
            assert math.cos(row["rotation"]) == pytest.approx(cosine.item(), abs=1e-12)

    train(model, optimizer, 4, observe)


@settings(max_examples=25)
@given(
    shape=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    lr=st.floats(1e-6, 0.5),
    weight_decay=st.floats(0, 1),
    beta1=st.floats(0, 0.99),
    seed=st.integers(0, 2**16),
)
def test_any_shape_and_setting(
    shape: tuple, lr: float, weight_decay: float, beta1: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64))
    optimizer = AdamW([weight], lr=lr, weight_decay=weight_decay, betas=(beta1, 0.99))
    for _ in range(3):
        weight.grad = torch.randn(shape, generator=generator, dtype=torch.float64)
        before = weight.detach().clone()
        optimizer.step()
    row = variance_budget(optimizer).set_index("stat")["value"]
    scale = before.square().mean().item() + weight.square().mean().item()
    change = weight.square().mean().item() - before.square().mean().item()
    assert row[["decay", "alignment", "step"]].sum() == pytest.approx(change, abs=1e-12 * scale)


def test_a_small_rotation_is_not_lost_to_rounding() -> None:
    # The cosine of 1e-9 is 1 in float64.
    weight = nn.Parameter(torch.tensor([[1.0, 0.0]], dtype=torch.float64))
    optimizer = SGD([weight], lr=1e-9)
    weight.grad = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    optimizer.step()
    row = variance_budget(optimizer).set_index("stat")["value"]
    assert row["rotation"] == pytest.approx(1e-9, rel=1e-6)


@pytest.mark.filterwarnings("ignore:.*are rounded after the step")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_narrow_precisions(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = tiny.gpt2().to(dtype)
    optimizer = AdamW(model.parameters(), lr=0.01, weight_decay=0.1)

    def observe(step: int, before: list) -> None:
        found = pivoted(variance_budget(optimizer, model, step))
        for (layer, role, new), (_, _, old) in zip(weight_matrices(model), before, strict=True):
            old, new = old.double(), new.double()
            change = (new.square().mean() - old.square().mean()).item()
            total = found.loc[layer, role][["decay", "alignment", "step"]].sum()
            # Weights are rounded after the step: to 2^-24 of themselves, or 2^-9.
            rounding = 2.0**-21 if dtype == torch.float32 else 2.0**-9
            size = old.square().mean().item() + new.square().mean().item()
            assert total == pytest.approx(change, abs=rounding * size)

    train(model, optimizer, 3, observe)


def test_nothing_is_changed() -> None:
    torch.manual_seed(0)
    model = tiny.gpt2()
    optimizer = AdamW(model.parameters())
    model(input_ids=TOKENS, labels=TOKENS).loss.backward()
    optimizer.step()
    tensors = [*model.parameters(), *(p.grad for p in model.parameters())]
    tensors += [t for state in optimizer.state.values() for t in state.values()]
    before, random = [t.detach().clone() for t in tensors], torch.get_rng_state()
    variance_budget(optimizer, model)
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))
    assert torch.equal(random, torch.get_rng_state())


def test_the_step_is_what_the_caller_says() -> None:
    model = tiny.gpt2()
    optimizer = SGD(model.parameters(), lr=0.1)
    model(input_ids=TOKENS, labels=TOKENS).loss.backward()
    optimizer.step()
    assert set(variance_budget(optimizer, model)["step"]) == {0}
    assert set(variance_budget(optimizer, model, 7)["step"]) == {7}


def test_frozen_matrices_have_no_rows() -> None:
    model = tiny.gpt2()
    model.transformer.h[0].requires_grad_(False)
    optimizer = AdamW(model.parameters())
    model(input_ids=TOKENS, labels=TOKENS).loss.backward()
    optimizer.step()
    assert set(variance_budget(optimizer, model)["layer"]) == {0, 2}


# --- bad input -------------------------------------------------------------------------------


class Other(AdamW):
    """An optimizer of one's own, whose step may be anything."""


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda p: torch.optim.RMSprop(p), "the update of RMSprop cannot be read"),
        (lambda p: Other(p), "the update of Other cannot be read"),
        (lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True), "SGD with Nesterov momentum"),
        (lambda p: SGD(p, lr=0.1, momentum=0.9, dampening=0.5), "or dampening cannot be read"),
        (lambda p: list(p), "optimizer must be one of torch's optimizers"),
        (lambda p: AdamW(p), "has not made a step yet"),
    ],
)
def test_an_optimizer_whose_step_is_not_known(build: Callable, message: str) -> None:
    model = tiny.gpt2()
    with pytest.raises(UsageError, match=message):
        variance_budget(build(model.parameters()), model)


def test_no_group_of_the_optimizer_holds_a_matrix() -> None:
    model, other = tiny.gpt2(), tiny.gpt2()
    with pytest.raises(UsageError, match="none of the 10 weight matrices is in a parameter group"):
        variance_budget(AdamW(other.parameters()), model)
    norms = [p for p in model.parameters() if p.dim() == 1]
    with pytest.raises(UsageError, match="norms and biases alone"):
        variance_budget(AdamW(norms), model)
    with pytest.raises(UsageError, match="no parameter of two dimensions"):
        variance_budget(AdamW(norms))
