"""The optimizers of the networks of a sweep."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from initscope.checks import (
    is_number,
    require,
    require_name,
)
from initscope.errors import (
    UsageError,
    given,
    unknown_name,
)

if TYPE_CHECKING:
    import torch

__all__: list[str] = []  # for this package alone

OPTIMIZERS = ("sgd", "adam")


@dataclass(frozen=True)
class Optimizer:
    """Optimizer of the networks of a sweep.

    Attributes
    ----------
    name
        ``"sgd"`` or ``"adam"``; what is not named here has torch's defaults.
    learning_rate
        Step size, above 0.
    momentum
        For SGD, from 0 to below 1.

    Examples
    --------
    >>> print(Optimizer("sgd", 0.1, momentum=0.9))
    Optimizer(name='sgd', learning_rate=0.1, momentum=0.9)
    """

    name: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.name, str) and self.name == "adamw":
            raise UsageError(
                f"unknown optimizer 'adamw'. Valid: {', '.join(OPTIMIZERS)}. The networks of a "
                f"sweep are trained without weight decay, so that adam is all there is of it."
            )
        require_name("optimizer", self.name, OPTIMIZERS)
        require(
            is_number(self.learning_rate, 0) and self.learning_rate > 0,
            f"learning_rate must be a finite number above 0, not {given(self.learning_rate)}",
        )
        require(
            is_number(self.momentum, 0) and self.momentum < 1,
            f"momentum must be a number from 0 to below 1, not {given(self.momentum)}",
        )
        require(self.name == "sgd" or not self.momentum, "momentum is an option of SGD only.")
        for name in ("learning_rate", "momentum"):
            object.__setattr__(self, name, float(getattr(self, name)))

    @property
    def tensors_per_parameter(self) -> int:
        """Tensors of the size of a parameter kept in training: itself, gradient, state."""
        if self.name == "adam":
            return 4
        return 3 if self.momentum else 1

    def build(self, parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
        """Return the torch optimizer for `parameters`."""
        import torch

        if self.name == "adam":
            return torch.optim.Adam(parameters, lr=self.learning_rate, fused=True)
        return torch.optim.SGD(
            parameters, lr=self.learning_rate, momentum=self.momentum, fused=True
        )


def optimizer_from_dict(mapping: Mapping[str, Any]) -> Optimizer:
    """Return the optimizer of a mapping; `UsageError` for a field that it has not."""
    names = [f.name for f in dataclasses.fields(Optimizer)]
    for key in mapping:
        if key not in names:
            raise unknown_name("key of an optimizer", key, names)
    return Optimizer(**mapping)
