"""The MLP: its shape, its function, and what it refuses."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from initscope.checks import layer_widths
from initscope.errors import UsageError
from initscope.models import (
    ACTIVATIONS,
    GPT2_PRESETS,
    MLP,
    gpt2,
)

FUNCTIONS = {
    "relu": lambda z: z * (z > 0),
    "leaky_relu": lambda z: torch.where(z > 0, z, 0.01 * z),
    "gelu": lambda z: z * torch.special.ndtr(z),
    "silu": lambda z: z * torch.sigmoid(z),
    "tanh": lambda z: (z.exp() - (-z).exp()) / (z.exp() + (-z).exp()),
    "selu": lambda z: (
        1.0507009873554805 * torch.where(z > 0, z, 1.6732632423543772 * torch.expm1(z.clamp(max=0)))
    ),
    "identity": lambda z: z,
}


@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.integers(1, 5))
def test_shapes(widths: list[int], batch: int) -> None:
    model = MLP(widths)
    shapes = [tuple(layer.weight.shape) for layer in model.linear_layers]
    assert shapes == [(o, i) for i, o in itertools.pairwise(widths)]
    assert model.widths == tuple(widths)
    assert all(layer.bias is not None for layer in model.linear_layers)
    assert model(torch.zeros(batch, widths[0])).shape == (batch, widths[-1])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_activation_stands_between_the_layers_and_not_after_the_last(activation: str) -> None:
    torch.manual_seed(0)
    model = MLP([6, 5, 4, 3], activation).double()
    inputs = 3 * torch.randn(50, 6, dtype=torch.double)
    hidden = inputs
    for k, layer in enumerate(model.linear_layers):
        hidden = hidden if k == 0 else FUNCTIONS[activation](hidden)
        hidden = F.linear(hidden, layer.weight, layer.bias)
    torch.testing.assert_close(model(inputs), hidden, rtol=1e-9, atol=1e-9)
    assert isinstance(model[-1], nn.Linear)


def test_images_are_flattened() -> None:
    model = MLP([12, 3])
    images = torch.randn(5, 3, 4)
    assert torch.equal(model(images), model(images.reshape(5, 12)))


def test_one_layer_of_width_one() -> None:
    model = MLP([1, 1])
    assert len(model) == 1
    assert model(torch.zeros(2, 1)).shape == (2, 1)


@pytest.mark.parametrize("widths", [(4, 3), np.array([4, 3]), [np.int64(4), 3], iter([4, 3])])
def test_whole_numbers_of_any_kind_are_widths(widths: object) -> None:
    checked = layer_widths(widths)
    assert checked == (4, 3)
    assert all(type(width) is int for width in checked)


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ([], "describe no layer"),
        ([4], "describe no layer"),
        ([4, 0, 2], "must be whole numbers of at least 1"),
        ([4, -3, 2], "must be whole numbers of at least 1"),
        ([4, 3.0], "must be whole numbers of at least 1"),
        ([4, 2.5], "must be whole numbers of at least 1"),
        ([4, float("nan")], "must be whole numbers of at least 1"),
        ([4, float("inf")], "must be whole numbers of at least 1"),
        ([4, True], "must be whole numbers of at least 1"),
        ([4, "3"], "must be whole numbers of at least 1"),
        ([4, None], "must be whole numbers of at least 1"),
        ([[4, 3], 2], "must be whole numbers of at least 1"),
        ("784-10", "must be a list"),
        (784, "must be a list"),
        (None, "must be a list"),
    ],
    ids=repr,
)
def test_bad_widths_are_refused(widths: object, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        MLP(widths)
    shown = tuple(widths) if isinstance(widths, list) else widths
    assert repr(shown) in str(caught.value)


@pytest.mark.parametrize(
    ("activation", "hint"),
    [("rellu", "Did you mean 'relu'"), ("ReLU", "Did you mean 'relu'"), (["relu"], "Valid: gelu")],
)
def test_an_unknown_activation_names_the_nearest(activation: object, hint: str) -> None:
    with pytest.raises(UsageError, match="unknown activation") as caught:
        MLP([4, 3], activation)
    assert hint in str(caught.value)


# --- GPT-2 ---------------------------------------------------------------------------------


def test_gpt2_is_a_causal_model_of_the_given_size() -> None:
    model = gpt2("nano12", n_layer=2, vocab_size=65)
    tokens = torch.randint(65, (3, 20), generator=torch.Generator().manual_seed(0))
    logits = model(tokens).logits
    assert logits.shape == (3, 20, 65)
    changed = tokens.clone()
    changed[:, 10:] = 0
    torch.testing.assert_close(model(changed).logits[:, :10], logits[:, :10])
    assert model.config.n_layer == 2
    assert len(model.transformer.h) == 2
    assert not [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout) and m.p]


@pytest.mark.parametrize(("preset", "millions"), [("124m", 124.4), ("nano12", 1.4)])
def test_presets_have_the_sizes_their_names_say(preset: str, millions: float) -> None:
    with torch.device("meta"):
        model = gpt2(preset)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
    assert GPT2_PRESETS[preset]["n_layer"] == 12


@pytest.mark.parametrize(
    ("preset", "overrides", "message"),
    [
        ("124M", {}, "unknown preset '124M'. Did you mean '124m'"),
        (None, {}, "unknown preset None"),
        ("nano12", {"n_layers": 3}, "unknown field of GPT2Config 'n_layers'. Did you mean"),
        ("nano12", {"n_layer": 0}, "n_layer must be a whole number of at least 1, not 0"),
        ("nano12", {"n_embd": 96.5}, "n_embd must be a whole number of at least 1, not 96.5"),
        ("nano12", {"n_head": 5}, "n_embd 96 is no multiple of n_head 5"),
    ],
)
def test_bad_sizes_of_gpt2_are_refused(
    preset: object, overrides: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        gpt2(preset, **overrides)
