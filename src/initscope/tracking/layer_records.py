"""Record variances of the layers that a pass calls, forward and backward."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from initscope import checks
from initscope.models.places import behind
from initscope.schema import COLUMNS
from initscope.tracking.hooks import Hooks
from initscope.tracking.projections import Projections

__all__ = ["LayerRecord", "VarianceRecord", "record_variances"]


@dataclass
class LayerRecord:
    """Hold what was measured in one call of one layer.

    Attributes
    ----------
    role
        Name of the module in the model.
    stats
        ``(kind, stat)`` to a scalar tensor.
    """

    role: str
    stats: dict[tuple[str, str], torch.Tensor] = field(default_factory=dict)


@dataclass
class VarianceRecord:
    """Hold what :func:`record_variances` measured, one record a layer, in the order of execution.

    Attributes
    ----------
    layers
        One :class:`LayerRecord` for each call of a layer.
    weights
        Parameters of the layers that were called.

    >>> from initscope.models import MLP
    >>> with record_variances(MLP([4, 3, 2])) as record:
    ...     pass
    >>> record.to_frame().columns.tolist()
    ['step', 'layer', 'role', 'kind', 'stat', 'value']
    """

    layers: list[LayerRecord] = field(default_factory=list)
    weights: list[torch.Tensor] = field(default_factory=list, repr=False)
    """Parameters of the layers that were called."""

    def to_frame(self, step: int = 0) -> pd.DataFrame:
        """Return a table with the columns ``step, layer, role, kind, stat, value``."""
        checks.whole("step", step, at_least=0)
        rows = [
            (step, number, layer.role, kind, stat, value.item())
            for number, layer in enumerate(self.layers, start=1)
            for (kind, stat), value in layer.stats.items()
        ]
        return pd.DataFrame(rows, columns=list(COLUMNS))


@contextlib.contextmanager
def record_variances(model: nn.Module) -> Iterator[VarianceRecord]:
    """Record the variances of one forward and backward pass run inside the ``with`` block.

    The pass may be a step of a training run: outputs and gradients are the same, bit by bit, as
    without it. The hooks are removed at the end of the block, also after an exception. What is
    recorded is listed at :func:`layer_variances`; rows of kind `gradient` appear for what the
    backward pass reaches.

    >>> model = nn.Linear(3, 2)
    >>> with record_variances(model) as record:
    ...     model(torch.ones(4, 3)).sum().backward()
    >>> frame = record.to_frame(step=7)
    >>> frame[frame.kind == "gradient"].value.round(3).tolist()
    [0.0, 1.0, 9.798]
    """
    checks.module("model", model)
    record = VarianceRecord()
    # Weight to the layers that use it, and which of its rows.
    sharing: dict[torch.Tensor, list[tuple[LayerRecord, slice]]] = {}
    last: list[Any] = [None, None, -1]  # output, record and unit dimension of the layer called last

    def after_layer(role: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if not isinstance(output, torch.Tensor):
            return  # a router that is an nn.Linear, and gives what it makes of its product
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        record.weights.extend(behind(module, "weight"))
        is_kernel = isinstance(module, _ConvNd)
        add(role, weight, slice(None), output, 1 if is_kernel and output.dim() > 1 else -1)

    def add(
        role: str,
        weight: torch.Tensor,
        rows: slice,
        output: torch.Tensor,
        unit_dim: int = -1,
        columns: slice = slice(None),
    ) -> None:
        """Record what some rows of a weight computed: those columns of an output.

        The units of the output run along `unit_dim`, the last dimension if it has columns.
        """
        layer = LayerRecord(role)
        record.layers.append(layer)
        record.weights.append(weight)
        last[:] = output, layer, unit_dim
        layer.stats["activation", "forward_variance"] = _variance(output[..., columns])
        layer.stats["activation", "forward_mean_square"] = _mean_square(output[..., columns])
        layer.stats["weight", "std"] = _variance(weight[rows]).sqrt()
        hooks.on_gradient(output, partial(after_output_gradient, layer, columns))
        # One hook a weight: all layers that share it get the norm of its whole gradient.
        if weight not in sharing:
            sharing[weight] = []
            hooks.on_gradient(weight, partial(after_weight_gradient, weight))
        sharing[weight].append((layer, rows))

    def after_activation(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        if inputs and inputs[0] is last[0]:
            zero = (output.detach() == 0).movedim(last[2], -1)
            dead = zero.reshape(-1, zero.shape[-1]).all(dim=0)
            last[1].stats["activation", "dead_fraction"] = dead.double().mean()

    def after_output_gradient(layer: LayerRecord, columns: slice, gradient: torch.Tensor) -> None:
        gradient = gradient[..., columns]
        layer.stats["gradient", "backward_variance"] = _variance(gradient)
        layer.stats["gradient", "backward_mean_square"] = _mean_square(gradient)

    def after_weight_gradient(weight: torch.Tensor, gradient: torch.Tensor) -> None:
        squares = gradient.detach().double().square()
        for layer, rows in sharing[weight]:
            layer.stats["gradient", "norm"] = squares[rows].sum().sqrt()

    with Hooks() as hooks:
        for name, module in model.named_modules():
            if isinstance(module, nn.MultiheadAttention):
                projections = Projections(name, module, add)
                hooks.before_forward(module, projections.start)
                hooks.after_forward(module, projections.stop, always=True)
            elif is_weight_layer(module):
                hooks.after_forward(module, partial(after_layer, name or type(module).__name__))
            elif _is_activation(module):
                hooks.after_forward(module, after_activation)
        yield record


def _variance(tensor: torch.Tensor) -> torch.Tensor:
    """Return the variance of all elements, divided by their number, in float64."""
    return tensor.detach().double().var(correction=0)


def _mean_square(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().double().square().mean()


def is_weight_layer(module: nn.Module) -> bool:
    # A model that holds a Conv1D has imported transformers already; others need not pay for it.
    transformers = sys.modules.get("transformers.pytorch_utils")
    return isinstance(module, nn.Linear | _ConvNd) or (
        transformers is not None and isinstance(module, transformers.Conv1D)
    )


def _is_activation(module: nn.Module) -> bool:
    homes = ("torch.nn.modules.activation", "transformers.activations")
    return any(base.__module__ in homes for base in type(module).__mro__)
