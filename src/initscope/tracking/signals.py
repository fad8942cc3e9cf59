"""Measure what matrices compute in one pass of training, and the gradient of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from initscope.checks import require
from initscope.tracking.hooks import Hooks
from initscope.tracking.matrices import WeightMatrix
from initscope.tracking.shards import is_dtensor
from initscope.tracking.statistics import MatrixStatistics, at_least_float32, mean_and_variance

__all__: list[str] = []  # for this package alone


class MatrixSignals:
    """Measure what some matrices compute in one pass, and the gradient of it."""

    def __init__(self, matrices: Sequence[WeightMatrix]) -> None:
        self._by_module: dict[nn.Module, list[WeightMatrix]] = {}
        for matrix in matrices:
            # What a module with several weights (an RNN cell) gives is the output of none of them.
            if getattr(matrix.module, "weight", None) is not matrix.parameter:
                continue
            # Torch's attention takes the weight of its last linear map and never calls the map.
            if isinstance(matrix.module, NonDynamicallyQuantizableLinear):
                continue
            self._by_module.setdefault(matrix.module, []).append(matrix)
        self._seen: dict[str, dict[WeightMatrix, torch.Tensor]] = {}
        self._hooks = Hooks()
        self.n_calls: int | None = None
        """Calls of modules in the pass that is watched; None before :meth:`start`."""

    @property
    def watches(self) -> bool:
        """Whether there is a module whose output is that of a matrix."""
        return bool(self._by_module)

    def start(self) -> None:
        """Watch the next pass."""
        self.stop()
        self.n_calls = 0
        self._seen = {"activation": {}, "gradient": {}}
        for module, matrices in self._by_module.items():
            self._hooks.after_forward(module, partial(self._after_forward, matrices))

    def stop(self) -> None:
        """Remove the hooks; what was seen is kept."""
        self._hooks.remove()

    def statistics(self) -> list[MatrixStatistics]:
        """Return variance and mean square of the outputs and of their gradients, as far as seen."""
        found = []
        for kind, direction in (("activation", "forward"), ("gradient", "backward")):
            if seen := self._seen.get(kind):
                raw = torch.stack(list(seen.values()))
                labels = [(kind, f"{direction}_{stat}") for stat in ("variance", "mean_square")]
                found.append(MatrixStatistics(list(seen), raw, labels, lambda raw: raw))
        self._seen, self.n_calls = {}, None
        return found

    def _after_forward(
        self, matrices: list[WeightMatrix], module: nn.Module, inputs: Any, output: Any
    ) -> None:
        if self.n_calls is None or "activation" not in self._seen:
            return  # a compiled pass that goes on to call hooks which are gone
        self.n_calls += 1
        # Without gradients it is an evaluation, or the first pass of checkpointing, which makes
        # the same pass again with them.
        if not torch.is_grad_enabled() or not isinstance(output, torch.Tensor):
            return
        first = matrices[0]
        if is_dtensor(first.parameter):
            channels = -1 - (len(first.shape) - 2)
            whole = (
                first.shape[1] if isinstance(module, nn.Embedding) else first.shape[first.unit_dim]
            )
            require(
                not is_dtensor(output) and output.shape[channels] == whole,
                f"{first.name} is cut so that its module gives a part of its outputs in this "
                f"process: leave 'activation' out of the quantities.",
            )
        if first in self._seen["activation"]:
            return  # a pass that checkpointing makes again, or a later batch of the step
        self._keep("activation", matrices, output)
        self._hooks.on_gradient(output, partial(self._keep, "gradient", matrices))

    @torch.no_grad()
    def _keep(self, kind: str, matrices: list[WeightMatrix], signal: torch.Tensor) -> None:
        for matrix in matrices:
            part = at_least_float32(matrix.of_output(signal))
            mean, variance = mean_and_variance(part, tuple(range(part.dim())))
            self._seen[kind][matrix] = torch.stack([variance, variance + mean.square()])
