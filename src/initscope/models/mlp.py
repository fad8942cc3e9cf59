"""Build multilayer perceptrons."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn

from initscope.checks import layer_widths, require_name
from initscope.errors import UsageError, shown
from initscope.memory import require_memory
from initscope.models.activations import ACTIVATION_MODULES

__all__ = ["ACTIVATIONS", "MLP"]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    name: getattr(nn, module) for name, module in ACTIVATION_MODULES.items()
}
"""Modules of `torch.nn` by the name of the activation function.

The names are relu, leaky_relu, gelu, silu, tanh, selu and identity.
"""


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
        require_name("activation", activation, ACTIVATIONS)
        self.widths = layer_widths(widths)
        self.activation = activation
        weights = sum(4 * before * after for before, after in itertools.pairwise(self.widths))
        require_memory(weights, f"a network of widths {shown(self.widths)}")
        layers: list[nn.Module] = []
        for fan_in, fan_out in itertools.pairwise(self.widths):
            layers += [nn.Linear(fan_in, fan_out), ACTIVATIONS[activation]()]
        super().__init__(*layers[:-1])

    @property
    def linear_layers(self) -> list[nn.Linear]:
        """The weight layers, from input to output."""
        return [module for module in self if isinstance(module, nn.Linear)]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits, shape ``(batch, widths[-1])``, for ``(batch, widths[0])`` inputs."""
        if inputs.dim() < 2:
            raise UsageError(f"inputs must have shape (batch, ...), not {tuple(inputs.shape)}.")
        return super().forward(inputs.flatten(1))
