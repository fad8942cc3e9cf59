"""`layer_variances` of convolutions, torch's attention, dictionaries and outputs with a loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny_transformers as tiny
import torch
from architectures import ARCHITECTURES, resnet
from torch import nn
from torch.nn import functional

from initscope.errors import UsageError
from initscope.tracking import layer_variances


def table(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.assign(name=frame["kind"] + "." + frame["stat"])
    return frame.pivot(index="role", columns="name", values="value")  # noqa: PD010


def test_a_convolution_is_a_layer_whose_units_are_channels() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.ConvTranspose2d(6, 4, 2, 2), nn.ReLU(), nn.Flatten(),
        nn.Linear(4 * 144, 5),
    )  # fmt: skip
    with torch.no_grad():
        model[0].bias[:2] = -100.0  # two of six channels are dead
    x, labels = torch.randn(2, 3, 8, 8), torch.tensor([1, 2])
    found = table(layer_variances(model, x, labels))
    assert found.index.tolist() == ["0", "2", "5"]
    first = model[0](x).detach().double()
    assert found.loc["0", "activation.forward_variance"] == pytest.approx(
        first.var(correction=0).item()
    )
    assert found.loc["0", "activation.dead_fraction"] == pytest.approx(2 / 6)
    assert found.loc["2", "weight.std"] == pytest.approx(model[2].weight.std(correction=0).item())
    functional.cross_entropy(model(x), labels).backward()
    for role, layer in (("0", model[0]), ("2", model[2]), ("5", model[5])):
        assert found.loc[role, "gradient.norm"] == pytest.approx(layer.weight.grad.norm().item())


def test_every_convolution_of_a_resnet_is_measured() -> None:
    model = resnet()
    found = layer_variances(model, torch.randn(2, 3, 16, 16), torch.tensor([0, 1]))
    layers = [name for name, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert set(found["role"]) == set(layers)
    assert len(found.query("stat == 'norm'")) == len(layers) == 7


class Attends(nn.Module):
    """Self-attention, then attention to something else, as a decoder has them."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.own = nn.MultiheadAttention(16, 4, batch_first=True)
        self.cross = nn.MultiheadAttention(16, 4, batch_first=True, **options)
        self.width = options.get("kdim", 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.own(x, x, x)[0]
        other = x.flip(1)[..., : self.width]
        return self.cross(x, other, other)[0]


@pytest.mark.parametrize("options", [{}, {"kdim": 8, "vdim": 8}], ids=str)
def test_projections_of_torch_s_attention_are_layers(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model, x = Attends(**options).double(), torch.randn(2, 5, 16, dtype=torch.float64)
    linear = functional.linear
    found = table(layer_variances(model, x, torch.zeros(1), lambda y, _: y.square().mean()))
    assert functional.linear is linear
    assert sorted(found.index) == sorted(
        f"{part}.{role}" for part in ("own", "cross") for role in ("q", "k", "v", "out_proj")
    )
    weight, bias = model.own.in_proj_weight.detach(), model.own.in_proj_bias.detach()
    model(x).square().mean().backward()
    for k, role in enumerate("qkv"):
        rows = slice(16 * k, 16 * (k + 1))
        row = found.loc[f"own.{role}"]
        outputs = x @ weight[rows].T + bias[rows]
        assert row["activation.forward_variance"] == pytest.approx(outputs.var(correction=0).item())
        assert row["weight.std"] == pytest.approx(weight[rows].std(correction=0).item())
        gradient = model.own.in_proj_weight.grad[rows]
        assert row["gradient.norm"] == pytest.approx(gradient.norm().item())
    weights = [f"{role}_proj_weight" for role in "qkv"]
    for k, role in enumerate("qkv"):
        held = getattr(model.cross, weights[k])
        gradient = held.grad if held is not None else model.cross.in_proj_weight.grad.chunk(3)[k]
        assert found.loc[f"cross.{role}", "gradient.norm"] == pytest.approx(gradient.norm().item())
    assert found["gradient.backward_mean_square"].gt(1e-12).all()
    hooked = torch.nn.functional.linear(x, weight, bias).requires_grad_()
    parts = [part.unflatten(-1, (4, 4)).transpose(1, 2) for part in hooked.chunk(3, -1)]
    mixed = functional.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)
    y = functional.linear(mixed, model.own.out_proj.weight, model.own.out_proj.bias)
    other = y.flip(1)[..., : model.width]
    model.cross(y, other, other)[0].square().mean().backward()
    for k, role in enumerate("qkv"):
        expected = hooked.grad.chunk(3, -1)[k].square().mean().item()
        assert found.loc[f"own.{role}", "gradient.backward_mean_square"] == pytest.approx(expected)


def test_the_layers_of_torch_s_transformer() -> None:
    architecture = ARCHITECTURES["Transformer"]
    model = architecture.build().eval()
    found = layer_variances(model, architecture.batch(), torch.zeros(1), lambda y, _: y.mean())
    roles = set(found["role"])
    for stack, part in (
        ("encoder", "self_attn"),
        ("decoder", "self_attn"),
        ("decoder", "multihead_attn"),
    ):
        assert {f"{stack}.layers.0.{part}.{role}" for role in "qkv"} < roles


def test_an_exception_inside_attention_leaves_nothing() -> None:
    linear = functional.linear
    with pytest.raises(AssertionError, match="embed"):
        layer_variances(Attends(), torch.randn(2, 5, 3))
    assert functional.linear is linear


@pytest.mark.parametrize("name", ["GPT-2", "Llama", "T5", "BART", "Whisper", "ViT", "Swin", "CLIP"])
def test_a_dictionary_and_the_loss_in_the_output(name: str) -> None:
    torch.manual_seed(0)
    architecture = ARCHITECTURES[name]
    model, batch = architecture.build().eval(), architecture.batch()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    found = table(layer_variances(model, batch))
    model(**batch).loss.backward()
    modules = dict(model.named_modules())
    seen = 0
    for role, row in found.iterrows():
        weight = modules[role].weight
        if (found.index == role).sum() == 1 and not np.isnan(row.get("gradient.norm", np.nan)):
            if any(
                m.weight is weight for n, m in modules.items() if n != role and hasattr(m, "weight")
            ):
                continue  # tied: its gradient is that of both
            assert row["gradient.norm"] == pytest.approx(
                weight.grad.norm().item(), rel=1e-4, abs=1e-9
            )
            seen += 1
    assert seen >= 6
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    if "labels" in batch:
        del batch["labels"]
        if name != "T5" and name != "BART" and name != "Whisper":
            assert "gradient" not in set(layer_variances(model, batch)["kind"])


@pytest.mark.parametrize("inputs", [{}, {"input_ids": 3}, {3: torch.ones(2, 3)}, "tokens"])
def test_what_is_no_batch_is_one_clear_error(inputs: Any) -> None:
    with pytest.raises(UsageError, match="inputs must be a batch"):
        layer_variances(tiny.gpt2(), inputs)
    with pytest.raises(UsageError, match="the batch is empty"):
        layer_variances(tiny.gpt2(), {"input_ids": torch.ones(0, 3, dtype=torch.long)})
