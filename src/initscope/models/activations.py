"""Name the activation functions that networks can have; known without torch."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ACTIVATION_MODULES"]

ACTIVATION_MODULES: Mapping[str, str] = {
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU",
    "gelu": "GELU",
    "silu": "SiLU",
    "tanh": "Tanh",
    "selu": "SELU",
    "identity": "Identity",
}
"""Name of the module in `torch.nn`, by the name of the activation function."""
