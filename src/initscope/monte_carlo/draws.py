"""Draw many random networks at once and send a signal forward and a gradient back.

All networks of a call go through one batched product a layer. Network k of a seed has the same
standard-normal draws whatever its std and however many networks follow it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
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
from initscope.models.batched_mlp import BatchedMLP
from initscope.models.mlp import ACTIVATIONS
from initscope.theory.scheme_stds import layer_stds

__all__ = ["CHUNK_BYTES", "DIRECTIONS"]

CHUNK_BYTES = 64_000_000
"""Most bytes of weights of the networks that are computed at once."""

LARGEST_STD = 1e30
"""Beyond it the variance of a few layers leaves the range of floats."""

DIRECTIONS = ("forward", "backward")
"""Directions in which variance is followed: that of the signal, and that of the gradient."""

FloatArray = npt.NDArray[np.float64]


class Networks(NamedTuple):
    """Standard-normal draws of a few networks; the first axis counts the networks.

    Of each layer the weights, shape ``(chunk, n_l, n_{l-1})``, and the biases, ``(chunk, 1, n_l)``;
    inputs of shape ``(chunk, vectors, n_0)``, gradients ``(chunk, 1, n_L)``.
    """

    weights: list[torch.Tensor]
    biases: list[torch.Tensor]
    inputs: torch.Tensor
    gradients: torch.Tensor

    def with_stds(
        self, weight_std: Sequence[float], bias_std: Sequence[float], activation: str
    ) -> BatchedMLP:
        """Scale the draws, in place, to the stds of each layer; return the networks."""
        # Not into new tensors: that would take a tenth of the time of a wide network.
        for std, drawn in zip((*weight_std, *bias_std), (*self.weights, *self.biases), strict=True):
            drawn.mul_(std)
        return BatchedMLP(self.weights, self.biases, activation)


def draw(sizes: Sequence[int], networks: int, seed: int, vectors: int = 1) -> Iterator[Networks]:
    """Draw `networks` networks and yield them in chunks of at most `CHUNK_BYTES`."""
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
        yield Networks(
            rest[: len(weights)],
            [bias.mT for bias in rest[len(weights) :]],
            inputs.mT.contiguous(),
            gradients.mT,
        )


def with_mean_square(vectors: torch.Tensor, mean_square: float) -> torch.Tensor:
    """Scale `vectors`, along the last axis, to a mean square."""
    return vectors * (mean_square / vectors.square().mean(-1, keepdim=True)).sqrt()


def mean_squares(tensors: Sequence[torch.Tensor]) -> FloatArray:
    """Return the mean squares over units and vectors, shape ``(chunk, len(tensors))``."""
    return torch.stack([t.square().mean((1, 2)) for t in tensors], 1).numpy()


def checked_arguments(
    widths: Sequence[int],
    activation: str,
    weight_std: npt.ArrayLike | str,
    bias_std: npt.ArrayLike,
    networks: int,
    seed: int,
) -> tuple[tuple[int, ...], list[float], list[float]]:
    """Return the widths, and the std of the weights and of the biases of every layer."""
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
