"""Draws of one weight: normal, uniform, truncated, orthogonal, by what a scheme asks for."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn

from initscope import checks
from initscope.checks import require_name
from initscope.errors import UsageError
from initscope.models.places import Geometry
from initscope.theory.rule import DISTRIBUTIONS, Draw

__all__: list[str] = []  # for initialize_ alone


def check_fillable(name: str, tensor: torch.Tensor) -> None:
    """Raise unless a normal or uniform distribution can be drawn into `tensor`."""
    checks.tensor(name, tensor)
    if tensor.requires_grad and not tensor.is_leaf:
        raise UsageError(f"{name} is the result of a computation: only a parameter can be drawn.")


def check_range(std: float, dtype: torch.dtype) -> None:
    """Raise if draws of this std are no numbers of this type."""
    if 4 * std > torch.finfo(dtype).max:
        raise UsageError(f"std or scale {std:g} is beyond the range of {dtype}.")


def draw_independent_(
    tensor: torch.Tensor, std: float, distribution: str, generator: torch.Generator | None
) -> torch.Tensor:
    """Draw `tensor` with mean 0 and standard deviation `std`."""
    require_name("distribution", distribution, DISTRIBUTIONS)
    check_range(std, tensor.dtype)
    if distribution == "normal":
        return nn.init.normal_(tensor, 0.0, std, generator=generator)
    bound = math.sqrt(3.0) * std  # U(-a, a) has variance a^2 / 3
    return nn.init.uniform_(tensor, -bound, bound, generator=generator)


def _orthogonal_(
    weight: torch.Tensor, gain: float, generator: torch.Generator | None
) -> torch.Tensor:
    """Draw an orthogonal matrix times `gain`."""
    if weight.dtype.itemsize >= 4 and weight.is_contiguous():
        return nn.init.orthogonal_(weight, gain, generator=generator)
    # torch decomposes no matrix of 16 bits, and writes to none that is a transposed view.
    drawn = torch.empty(
        weight.shape, dtype=torch.promote_types(weight.dtype, torch.float32), device=weight.device
    )
    return weight.copy_(nn.init.orthogonal_(drawn, gain, generator=generator))


CUT = 2.0  # standard deviations of the normal distribution, of which so much remains:
REMAINS = math.sqrt(1 - 2 * CUT * math.exp(-(CUT**2) / 2) / math.sqrt(2 * math.pi)
                    / math.erf(CUT / math.sqrt(2)))  # fmt: skip


def _truncated_normal_(
    weight: torch.Tensor, std: float, generator: torch.Generator | None
) -> torch.Tensor:
    """Draw a normal distribution that is cut on both sides, so that `std` is what remains."""
    wide = std / REMAINS
    if not std:
        return weight.zero_()
    # 16 bits are too coarse for the function that torch inverts.
    drawn = torch.empty(
        weight.shape, dtype=torch.promote_types(weight.dtype, torch.float32), device=weight.device
    )
    nn.init.trunc_normal_(drawn, 0.0, 1.0, -CUT, CUT, generator=generator)
    return weight.copy_(drawn.mul_(wide))


def _matrices(weight: torch.Tensor, geometry: Geometry) -> Iterator[torch.Tensor]:
    """Yield the matrices that are stacked in a weight: of experts, or of groups of channels."""
    for matrix in weight.chunk(geometry.stack) if geometry.stack > 1 else (weight,):
        yield matrix[0] if geometry.experts else matrix


def draw_(
    weight: torch.Tensor, draw: Draw, geometry: Geometry, generator: torch.Generator | None
) -> None:
    """Draw a weight as a scheme asks, each of the matrices in it by itself where that matters."""
    if draw.distribution == "truncated":
        _truncated_normal_(weight, float(draw.std), generator)
        return
    if draw.distribution != "orthogonal":
        draw_independent_(weight, float(draw.std), draw.distribution, generator)
        return
    for matrix in _matrices(weight, geometry):
        gain = float(draw.gain)
        if geometry.receptive_field > 1 and geometry.unit_dim == 1:
            matrix = matrix.transpose(0, 1)  # a transposed convolution's: one row for one output
            rows, columns = matrix.shape[0], matrix[0].numel()
            gain = float(draw.std) * math.sqrt(max(rows, columns))
        _orthogonal_(matrix, gain, generator)


def normal_(std: float, tensor: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """Draw `tensor` from a normal distribution of mean 0."""
    return nn.init.normal_(tensor, 0.0, std, generator=generator)
