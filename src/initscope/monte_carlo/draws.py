"""Draw many random networks at once and send a signal forward and a gradient back.

All networks of a call go through one batched product a layer. Network k of a seed has the same
standard-normal draws whatever its std and however many networks follow it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from initscope import checks
from initscope.checks import (
    is_number,
    layer_widths,
    nonnegative,
    require,
    require_name,
)
from initscope.errors import UsageError, shown
from initscope.memory import require_memory
from initscope.models.mlp import ACTIVATIONS
from initscope.theory.schemes import layer_stds

__all__ = ["CHUNK_BYTES", "DIRECTIONS"]

CHUNK_BYTES = 64_000_000
"""Memory for the weights of the networks that are computed at once."""

LARGEST_STD = 1e30
"""Beyond it the variance of a few layers leaves the range of floats."""

DIRECTIONS = ("forward", "backward")

FloatArray = npt.NDArray[np.float64]


class Networks(NamedTuple):
    """Standard-normal draws of a few networks; the first axis counts the networks."""

    weights: list[torch.Tensor]
    biases: list[torch.Tensor]
    inputs: torch.Tensor
    gradients: torch.Tensor


def draw(sizes: Sequence[int], networks: int, seed: int, vectors: int = 1) -> Iterator[Networks]:
    """Draw `networks` networks and send them in chunks of at most `CHUNK_BYTES`.

    Inputs have shape ``(chunk, n_0, vectors)``, gradients ``(chunk, n_L, 1)``.
    """
    generator = torch.Generator().manual_seed(int(seed))
    weights = [(after, before) for before, after in itertools.pairwise(sizes)]
    biases = [(after, 1) for after, _ in weights]
    shapes = [(sizes[0], vectors), (sizes[-1], 1), *weights, *biases]
    numbers = [math.prod(shape) for shape in shapes]
    at_once = max(1, CHUNK_BYTES // (8 * sum(numbers)))
    for first in range(0, networks, at_once):
        # To draw takes most of the time, and in float32 a quarter of that in float64.
        drawn = torch.empty(min(at_once, networks - first), sum(numbers))
        for network in drawn:
            torch.randn(len(network), generator=generator, out=network)
        inputs, gradients, *rest = (
            part.unflatten(1, shape).double()
            for part, shape in zip(drawn.split(numbers, 1), shapes, strict=True)
        )
        yield Networks(rest[: len(weights)], rest[len(weights) :], inputs, gradients)


def with_mean_square(vectors: torch.Tensor, mean_square: float) -> torch.Tensor:
    """`vectors`, along the second axis, scaled to a mean square."""
    return vectors * (mean_square / vectors.square().mean(1, keepdim=True)).sqrt()


def _product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Products of matrices, added up in float32 at least and rounded to their format.

    A processor's own product of bfloat16 matrices may take subnormal numbers for 0, or may not.
    """
    if left.dtype.itemsize >= 4:
        return torch.bmm(left, right)
    return torch.bmm(left.float(), right.float()).to(left.dtype)


def forward_pass(
    chunk: Networks,
    weight_std: Sequence[float] | torch.Tensor,
    bias_std: Sequence[float],
    activate: Callable[[torch.Tensor], torch.Tensor],
    inputs: torch.Tensor,
) -> list[torch.Tensor]:
    """The pre-activations z_1 to z_L for `inputs` of shape ``(chunk, n_0, vectors)``."""
    found = []
    hidden = inputs
    for weight, bias, scale, bias_scale in zip(
        chunk.weights, chunk.biases, weight_std, bias_std, strict=True
    ):
        z = _product(weight, hidden) * scale
        if bias_scale:
            z = z + bias_scale * bias
        found.append(z)
        hidden = activate(z)
    return found


def backward_pass(
    chunk: Networks,
    weight_std: Sequence[float] | torch.Tensor,
    activate: Callable[[torch.Tensor], torch.Tensor],
    pre_activations: list[torch.Tensor],
    gradient: torch.Tensor,
) -> list[torch.Tensor]:
    """Gradients at x and at z_1 to z_L for `gradient` at z_L."""
    found = [gradient]
    for k in range(len(chunk.weights) - 1, -1, -1):
        gradient = _product(chunk.weights[k].mT, gradient) * weight_std[k]
        if k:
            with torch.enable_grad():
                z = pre_activations[k - 1].detach().requires_grad_()
                (gradient,) = torch.autograd.grad(activate(z), z, gradient)
        found.append(gradient)
    return found[::-1]


def mean_squares(tensors: Sequence[torch.Tensor]) -> FloatArray:
    """Mean squares over the units, shape ``(chunk, len(tensors))``; vectors averaged too."""
    return torch.stack([t.square().mean((1, 2)) for t in tensors], 1).numpy()


def checked_arguments(
    widths: Sequence[int],
    activation: str,
    weight_std: npt.ArrayLike | str,
    bias_std: npt.ArrayLike,
    networks: int,
    seed: int,
) -> tuple[tuple[int, ...], list[float], list[float]]:
    """Widths, and the std of the weights and of the biases of every layer."""
    sizes = layer_widths(widths)
    require(
        is_number(networks, 1, whole=True), f"networks must be at least 1, not {shown(networks)}."
    )
    checks.whole("seed", seed, 0)
    # One network with all that is computed for it, and what is returned of each of them.
    weights = sum(after * (before + 1) for before, after in itertools.pairwise(sizes))
    require_memory(24 * weights, f"one network of widths {shown(sizes)}")
    require_memory(50 * networks * len(sizes), f"networks = {shown(networks)}")
    require_name("activation", activation, ACTIVATIONS)
    weight = nonnegative("weight_std", layer_stds(weight_std, sizes))
    if isinstance(bias_std, str):
        raise UsageError("bias_std must be a number or one for each layer, not a scheme's name.")
    bias = nonnegative("bias_std", layer_stds(bias_std, sizes, "bias_std"))
    for name, std in (("weight_std", weight), ("bias_std", bias)):
        if std.ndim != 1:
            raise UsageError(f"{name} must be one number, or one for each layer.")
        if std.max() > LARGEST_STD:
            raise UsageError(f"{name} must be at most {LARGEST_STD:g}, not {std.max():g}.")
    return sizes, weight.tolist(), bias.tolist()
