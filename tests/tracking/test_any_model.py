"""Models with attention and without: which matrices are found, and what is recorded of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from torch import nn
from torch.optim import SGD, AdamW

from initscope.errors import UsageError
from initscope.models import MLP
from initscope.tracking import VarianceTracker, layer_variances, variance_budget, weight_matrices

ALL = ("weight", "gradient", "update", "activation")


def names(model: nn.Module) -> list[tuple[int, str, tuple[int, ...]]]:
    return [(layer, role, tuple(view.shape)) for layer, role, view in weight_matrices(model)]


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.ConvTranspose2d(4, 5, 2),
        nn.Conv2d(5, 5, 3, groups=5), nn.Flatten(), nn.Linear(5 * 25, 2),
    )  # fmt: skip


class Recurrent(nn.Module):
    def __init__(self, kind: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 3)
        self.rnn = kind(3, 4, 2, batch_first=True)
        self.readout = nn.Linear(4, 7)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.readout(self.rnn(self.embedding(tokens))[0])


class Unet(nn.Module):
    """Attention as in U-Nets: q, k and v are one convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 1)
        attention = nn.ModuleDict({"qkv": nn.Conv2d(4, 12, 1), "proj": nn.Conv2d(4, 4, 1)})
        self.blocks = nn.ModuleList([nn.ModuleDict({"attn": attention})])
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        attention = self.blocks[0]["attn"]
        x = self.stem(x)
        q, k, v = (part.flatten(2) for part in attention["qkv"](x).chunk(3, dim=1))
        mixed = v @ torch.softmax(k.mT @ q, dim=1)
        return self.head(x + attention["proj"](mixed.view_as(x)))


def test_an_mlp_has_the_layers_and_roles_of_layer_variances() -> None:
    model = MLP([6, 5, 4, 3])
    expected = [(1, "0", (5, 6)), (2, "2", (4, 5)), (3, "4", (3, 4))]
    assert names(model) == expected
    seen = layer_variances(model, torch.randn(8, 6)).query("kind == 'weight'")
    assert list(zip(seen["layer"], seen["role"], strict=True)) == [name[:2] for name in expected]


def test_kernels_count_and_norms_do_not() -> None:
    assert names(cnn()) == [
        (1, "0", (4, 3, 3, 3)),
        (2, "3", (4, 5, 2, 2)),
        (3, "4", (5, 1, 3, 3)),
        (4, "6", (2, 125)),
    ]


@pytest.mark.parametrize(("kind", "gates"), [(nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)])
def test_a_recurrent_layer_has_a_role_for_each_of_its_matrices(
    kind: Callable[..., nn.Module], gates: int
) -> None:
    assert names(Recurrent(kind)) == [
        (0, "embedding", (7, 3)),
        (1, "rnn.weight_ih_l0", (4 * gates, 3)),
        (1, "rnn.weight_hh_l0", (4 * gates, 4)),
        (1, "rnn.weight_ih_l1", (4 * gates, 4)),
        (1, "rnn.weight_hh_l1", (4 * gates, 4)),
        (2, "readout", (7, 4)),
    ]


def test_a_single_module_and_a_parameter_of_the_model_itself() -> None:
    assert names(nn.Linear(3, 2)) == [(1, "Linear", (2, 3))]

    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(3, 2))
            self.bias, self.scale = nn.Parameter(torch.ones(1, 2)), nn.Parameter(torch.ones(2))

    assert names(Product()) == [(1, "first", (2, 3)), (1, "second", (3, 2))]


def test_a_shared_weight_appears_once_and_a_frozen_one_too() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    model[1].requires_grad_(False)
    assert names(model) == [(1, "0", (3, 3)), (2, "1", (3, 3))]
    frame = record(model, torch.randn(4, 3))
    assert set(frame.query("kind == 'weight'")["role"]) == {"0", "1"}
    assert set(frame.query("kind == 'update'")["role"]) == {"0"}


def test_vision_transformer_by_layer_and_role() -> None:
    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12,
        image_size=4, patch_size=2,
    )  # fmt: skip
    found = names(transformers.ViTForImageClassification(config))
    roles = {(layer, role) for layer, role, _ in found}
    stem = [(layer, shape) for layer, role, shape in found if "patch" in role]
    assert stem == [(0, (8, 3, 2, 2))]
    assert {(1, role) for role in ("q", "k", "v", "attention_out")} < roles
    assert (2, "classifier") in roles


def test_attention_of_convolutions_is_split_along_their_channels() -> None:
    model = Unet()
    found = names(model)
    assert found[0] == (0, "stem", (4, 2, 1, 1))
    assert found[1:4] == [(1, role, (4, 4, 1, 1)) for role in "qkv"]
    assert found[4:] == [(1, "attention_out", (4, 4, 1, 1)), (2, "head", (2, 4, 1, 1))]
    inputs = torch.randn(2, 2, 3, 3)
    frame = record(model, inputs).query("stat == 'forward_mean_square' and step == 1")
    fused = model.blocks[0]["attn"]["qkv"](model.stem(inputs)).detach()
    for role, part in zip("qkv", fused.chunk(3, dim=1), strict=True):
        (value,) = frame.loc[frame["role"] == role, "value"]
        assert value == pytest.approx(part.square().mean().item(), rel=1e-5)


# --- what the tracker records of them ----------------------------------------------------------


def record(model: nn.Module, inputs: torch.Tensor, **options) -> pd.DataFrame:
    """One step of no length: the weights after it are those of the forward pass."""
    optimizer = SGD([p for p in model.parameters() if p.requires_grad], lr=0.0)
    options = {"every": 1, "quantities": ALL} | options
    with VarianceTracker(model, optimizer, **options) as tracker:
        model(inputs).square().mean().backward()
        optimizer.step()
    return tracker.to_frame()


MODELS = {
    "mlp": (lambda: MLP([6, 5, 3]), torch.randn(4, 6)),
    "cnn": (cnn, torch.randn(2, 3, 8, 8)),
    "lstm": (lambda: Recurrent(nn.LSTM), torch.arange(6).view(2, 3)),
    "unet": (Unet, torch.randn(2, 2, 3, 3)),
}


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_statistics_are_those_of_numpy(name: str, channels_last: bool) -> None:
    build, inputs = MODELS[name]
    torch.manual_seed(0)
    model = build()
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    frame = record(model, inputs).query("step == 1").set_index(["kind", "stat", "layer", "role"])
    for layer, role, view in weight_matrices(model):
        weights = view.double().numpy()
        for stat, expected in (("std", weights.std()), ("mean", weights.mean())):
            found = frame.loc[("weight", stat, layer, role), "value"]
            assert found == pytest.approx(expected, rel=1e-5, abs=1e-8)
    gradients = {id(p): p.grad for p in model.parameters()}
    whole = [p for p in model.parameters() if p.dim() >= 2]
    squares = frame.sort_index().loc[("gradient", "rms"), "value"] ** 2
    size = {(layer, role): view.numel() for layer, role, view in weight_matrices(model)}
    sizes = [size[key] for key in squares.index]
    total = sum(gradients[id(p)].double().square().sum().item() for p in whole)
    assert float(np.dot(squares, sizes)) == pytest.approx(total, rel=1e-5)


def test_outputs_are_recorded_where_a_module_gives_that_of_the_matrix() -> None:
    build, inputs = MODELS["lstm"]
    frame = record(build(), inputs)
    assert set(frame.query("kind == 'activation'")["role"]) == {"embedding", "readout"}
    cell = nn.RNNCell(3, 4)  # its output is a tensor, and of neither matrix alone
    assert record(cell, torch.randn(2, 3)).query("kind == 'activation'").empty


def test_forward_and_backward_variances_are_those_of_layer_variances() -> None:
    torch.manual_seed(0)
    model, inputs = MLP([6, 5, 3]), torch.randn(4, 6)
    tracked = record(model, inputs).query("step == 1")
    seen = layer_variances(model, inputs, torch.zeros(4, 3), lambda z, _: z.square().mean())
    keys = ["layer", "role", "kind", "stat"]
    both = tracked.merge(seen, on=keys, suffixes=("", "_seen"))
    assert set(both["stat"]) == {
        "std", "forward_variance", "forward_mean_square", "backward_variance",
        "backward_mean_square",
    }  # fmt: skip
    assert len(both) == 10
    np.testing.assert_allclose(both["value"], both["value_seen"], rtol=1e-5)


def test_every_role_has_a_histogram_unless_others_are_asked_for() -> None:
    model = MLP([6, 5, 3])
    with VarianceTracker(model, distribution_every=1) as tracker:
        pass
    assert tracker.histograms_to_frame()["role"].tolist() == ["0", "2"]
    with VarianceTracker(model, distribution_every=1, histograms=["2"]) as tracker:
        pass
    assert tracker.histograms_to_frame()["role"].tolist() == ["2"]
    with pytest.raises(UsageError, match="role"):
        VarianceTracker(model, histograms=["q"])


def test_the_budget_of_a_kernel_adds_up() -> None:
    torch.manual_seed(0)
    model = cnn().double()
    optimizer = AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    before = {role: view.square().mean().item() for _, role, view in weight_matrices(model)}
    model(torch.randn(2, 3, 8, 8, dtype=torch.float64)).square().mean().backward()
    optimizer.step()
    terms = variance_budget(optimizer, model).pivot_table(
        index="role", columns="stat", values="value"
    )
    change = terms["mean_square"] - pd.Series(before)
    np.testing.assert_allclose(terms[["decay", "alignment", "step"]].sum(axis=1), change, rtol=1e-9)


def test_models_without_data_are_one_clear_error() -> None:
    with pytest.raises(UsageError, match="on the device meta: its weights have no data"):
        VarianceTracker(nn.Linear(3, 2, device="meta"))
    with pytest.raises(UsageError, match=r"0\.weight has no shape yet: run one batch"):
        weight_matrices(nn.Sequential(nn.LazyLinear(3)))
