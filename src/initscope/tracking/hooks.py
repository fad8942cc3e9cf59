"""Set hooks on modules and gradients that see what passes, and remove them together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

__all__: list[str] = []  # for this package alone


class Hooks:
    """Hold hooks on modules and on gradients, until :meth:`remove` or the end of a ``with`` block.

    >>> layer = nn.Linear(3, 2)
    >>> with Hooks() as hooks:
    ...     hooks.after_forward(layer, lambda module, inputs, output: print(tuple(output.shape)))
    ...     _ = layer(torch.ones(4, 3))
    (4, 2)
    >>> _ = layer(torch.ones(4, 3))
    """

    def __init__(self) -> None:
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Hooks:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()

    def before_forward(self, module: nn.Module, see: Callable[[nn.Module, Any], None]) -> None:
        """Call ``see(module, inputs)`` before each call of `module`."""
        self._handles.append(module.register_forward_pre_hook(see))

    def after_forward(
        self,
        module: nn.Module,
        see: Callable[[nn.Module, Any, Any], None],
        *,
        always: bool = False,
    ) -> None:
        """Call ``see(module, inputs, output)`` after each call of `module`, or `always`."""
        self._handles.append(module.register_forward_hook(see, always_call=always))

    def on_gradient(self, tensor: torch.Tensor, see: Callable[[torch.Tensor], None]) -> None:
        """Call ``see(gradient)`` when a backward pass has found that of `tensor`, if it does."""
        if tensor.requires_grad:
            self._handles.append(tensor.register_hook(see))

    def remove(self) -> None:
        """Remove them all."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
