"""Variance of what weight matrices compute, and of its gradient, in a batch of a training step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from initscope.tracking.matrices import WeightMatrix
from initscope.tracking.statistics import Measured, mean_and_variance, widened

__all__: list[str] = []  # for this package alone


class SignalWatch:
    """Hooks on the modules of some matrices, set for one forward and backward pass.

    Outputs and gradients are the same, bit by bit, as without them.
    """

    def __init__(self, matrices: Sequence[WeightMatrix]) -> None:
        self._by_module: dict[nn.Module, list[WeightMatrix]] = {}
        for matrix in matrices:
            # What a module with several weights (an RNN cell) gives is the output of none of them.
            if getattr(matrix.module, "weight", None) is not matrix.parameter:
                continue
            self._by_module.setdefault(matrix.module, []).append(matrix)
        self._seen: dict[str, dict[WeightMatrix, torch.Tensor]] = {}
        self._handles: list[Any] = []

    def start(self) -> None:
        """Watch the next pass."""
        self.stop()
        self._seen = {"activation": {}, "gradient": {}}
        for module, matrices in self._by_module.items():
            hook = partial(self._after_forward, matrices)
            self._handles.append(module.register_forward_hook(hook))

    def stop(self) -> None:
        """Remove the hooks; what was seen is kept."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def measured(self) -> list[Measured]:
        """Variance and mean square of the outputs, and of their gradients, as far as seen."""
        found = []
        for kind, direction in (("activation", "forward"), ("gradient", "backward")):
            if seen := self._seen.get(kind):
                raw = torch.stack(list(seen.values()))
                labels = [(kind, f"{direction}_{stat}") for stat in ("variance", "mean_square")]
                found.append(Measured(list(seen), raw, labels, lambda raw: raw))
        self._seen = {}
        return found

    def _after_forward(
        self, matrices: list[WeightMatrix], module: nn.Module, inputs: Any, output: Any
    ) -> None:
        # Without gradients it is an evaluation, or the first pass of checkpointing, which makes
        # the same pass again with them.
        if not torch.is_grad_enabled() or not isinstance(output, torch.Tensor):
            return
        if matrices[0] in self._seen["activation"]:
            return  # a pass that checkpointing makes again, or a later batch of the step
        self._keep("activation", matrices, output)
        if output.requires_grad:
            hook = partial(self._keep, "gradient", matrices)
            self._handles.append(output.register_hook(hook))

    @torch.no_grad()
    def _keep(self, kind: str, matrices: list[WeightMatrix], signal: torch.Tensor) -> None:
        for matrix in matrices:
            part = widened(matrix.of_output(signal))
            mean, variance = mean_and_variance(part, tuple(range(part.dim())))
            self._seen[kind][matrix] = torch.stack([variance, variance + mean.square()])
