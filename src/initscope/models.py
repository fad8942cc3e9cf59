"""The networks that are measured."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from initscope.errors import UsageError, is_number, require, require_name

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "selu": nn.SELU,
    "identity": nn.Identity,
}
"""Activation functions by name."""


def check_widths(widths: Sequence[int]) -> tuple[int, ...]:
    """Return `widths` as a tuple of at least two positive whole numbers, or raise `UsageError`."""
    if isinstance(widths, str) or not isinstance(widths, Iterable):
        raise UsageError(f"widths must be a list of whole numbers, not {widths!r}.")
    given = tuple(widths)
    require(
        all(is_number(width, 1, whole=True) for width in given),
        f"widths {given} must be whole numbers of at least 1.",
    )
    require(
        len(given) >= 2,
        f"widths {given} describe no layer: give at least the inputs and the outputs.",
    )
    return tuple(int(width) for width in given)


class MLP(nn.Sequential):
    """Fully connected network: linear layers with an activation between them, none after the last.

    Parameters
    ----------
    widths
        Number of inputs, of units in each hidden layer, and of outputs; `len(widths) - 1` weight
        layers.
    activation
        One of :data:`ACTIVATIONS`.

    Input of shape ``(batch, widths[0])``, output of shape ``(batch, widths[-1])``. The weights
    are torch's defaults until :func:`initscope.init.initialize_` sets them.

    >>> MLP([784, 256, 128, 10]).widths
    (784, 256, 128, 10)
    """

    def __init__(self, widths: Sequence[int], activation: str = "relu") -> None:
        self.widths = check_widths(widths)
        self.activation = activation
        require_name("activation", activation, ACTIVATIONS)
        layers: list[nn.Module] = []
        for fan_in, fan_out in itertools.pairwise(self.widths):
            layers += [nn.Linear(fan_in, fan_out), ACTIVATIONS[activation]()]
        super().__init__(*layers[:-1])

    @property
    def linear_layers(self) -> list[nn.Linear]:
        """The weight layers, from input to output."""
        return [module for module in self if isinstance(module, nn.Linear)]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits, shape ``(batch, widths[-1])``, for `inputs` of shape ``(batch, widths[0])``."""
        return super().forward(inputs.flatten(1))
