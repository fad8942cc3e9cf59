"""Ends of residual branches: by the sums of a convolutional network, by roles elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from architectures import ARCHITECTURES
from torch import nn
from torch.nn import functional

from initscope.models.branch_ends import branch_ends
from initscope.models.parameters import find_parameters

STAGE = "resnet.encoder.stages"
EXPECTED = {
    "ResNet": [
        f"{STAGE}.{stage}.layers.0.layer.1.{part}.weight"
        for stage in (0, 1)
        for part in ("convolution", "normalization")
    ],
    "ConvNeXt": [
        f"convnext.encoder.stages.{stage}.layers.0.{part}"
        for stage in (0, 1)
        for part in ("layer_scale_parameter", "pwconv2.weight")
    ],
    "resnet": [f"{n}.inner.{k}.weight" for n in (3, 5) for k in (3, 4)],
    "efficientnet": [f"{n}.inner.{k}.weight" for n in (3, 4) for k in (7, 8)],
    "convnext": [f"{n}.{part}" for n in (2, 3) for part in ("gamma", "mlp.fc2.weight")],
    "mixer": [f"blocks.{n}.mlp_{of}.fc2.weight" for n in (0, 1) for of in ("channels", "tokens")],
    "vgg": [],
    "U-Net": [],
    "autoencoder": [],
    "ViT": [],  # its roles say it
}


@pytest.mark.parametrize("name", EXPECTED)
def test_ends_of_architectures(name: str) -> None:
    assert sorted(branch_ends(ARCHITECTURES[name].build())) == EXPECTED[name]


class Bottleneck(nn.Module):
    """As in torchvision: with a stride and a projection, or without."""

    def __init__(self, n_in: int, n: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(n_in, n, 1, bias=False), nn.BatchNorm2d(n)
        self.conv2, self.bn2 = nn.Conv2d(n, n, 3, stride, 1, bias=False), nn.BatchNorm2d(n)
        self.conv3, self.bn3 = nn.Conv2d(n, 4 * n, 1, bias=False), nn.BatchNorm2d(4 * n)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride > 1 or n_in != 4 * n:
            projection = nn.Conv2d(n_in, 4 * n, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(4 * n))
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        identity = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += identity
        return self.relu(y)


class Preactivated(nn.Module):
    """Norms before the convolutions, and a scale behind them that depends on the branch."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.norm, self.first = nn.GroupNorm(1, n), nn.Conv2d(n, n, 3, padding=1)
        self.last, self.gate = nn.Conv2d(n, n, 3, padding=1), nn.Conv2d(n, n, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.last(functional.relu(self.first(functional.relu(self.norm(x)))))
        return torch.add(functional.dropout(x, 0.0), y * torch.sigmoid(self.gate(y)))


class NoStream(nn.Module):
    """Sums that are none of a stream and a branch."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.c, self.place = nn.Conv2d(3, 3, 5, padding=2), nn.Parameter(torch.zeros(3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a(x)
        x = x + functional.dropout(x)  # no weight is between the two
        x = x + self.place + 1.0
        x = x + self.b(x) * self.c(x)  # neither ends the branch alone
        return self.c(x) + self.b(self.a(x))  # two branches, neither a stream


class DependsOnData(nn.Module):
    """A pass that cannot be traced, around blocks that can."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Bottleneck(8, 4, 2), Bottleneck(16, 4)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x) if x.sum() > 0 else x
        return x


def test_a_bottleneck_ends_in_its_third_convolution_and_the_gain_behind_it() -> None:
    model = DependsOnData()
    seen: list[Any] = []
    model.blocks[0].downsample.register_forward_hook(lambda *_: seen.append(1))
    state = torch.get_rng_state()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = {place.name for place in find_parameters(model, with_ends=True) if place.ends_branch}
    assert found == {f"blocks.{n}.{part}.weight" for n in (0, 1) for part in ("conv3", "bn3")}
    # Nothing of the model is touched by the pass of a copy.
    assert [block.calls for block in model.blocks] == [0, 0]
    assert seen == []
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(place.ends_branch for place in find_parameters(model))


def test_norms_before_the_convolutions_and_gates_behind_them_end_nothing() -> None:
    assert branch_ends(nn.Sequential(Preactivated(4))) == {"0.last.weight"}


def test_sums_without_a_stream_have_no_branch() -> None:
    assert branch_ends(NoStream()) == set()


@pytest.mark.parametrize("name", ["GPT-2", "ViT"])
def test_the_roles_of_a_transformer_say_what_ends_its_branches(name: str) -> None:
    model = ARCHITECTURES[name].build()
    found = [place.name for place in find_parameters(model, with_ends=True) if place.ends_branch]
    assert len(found) == 4  # of two blocks
    ends = ("c_proj.weight", "dense.weight", "o_proj.weight", "fc2.weight")
    assert all(name.endswith(ends) for name in found)
