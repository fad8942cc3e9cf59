"""Find the weight matrices of a model by layer and role; split fused ones without a copy."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import UninitializedParameter

from initscope import checks
from initscope.checks import require
from initscope.errors import UsageError
from initscope.init import weight_layers
from initscope.models.architectures import (
    WRAPPERS,
    UnitRange,
    block_number,
    is_attention_input,
    stack_prefix,
    transformer_roles,
)

__all__ = ["find_weight_matrices", "weight_matrices"]


@dataclass(frozen=True, eq=False)
class WeightMatrix:
    """One matrix of :func:`weight_matrices`, and where it is found in its parameter.

    Attributes
    ----------
    layer, role
        As :func:`weight_matrices` yields them.
    name
        Name of the parameter in the model.
    parameter
        The whole parameter, which several matrices share if they are fused.
    module
        The module that holds it.
    unit_dim
        Dimension along which the units (output channels) run: 0, or 1 in transformers' `Conv1D`
        and in transposed convolutions.
    unit_range
        Which of the units are this matrix; all if None.
    """

    layer: int
    role: str
    name: str
    parameter: nn.Parameter
    module: nn.Module
    unit_dim: int
    unit_range: UnitRange | None

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return this matrix in `tensor`, of the parameter's shape: its gradient, for example."""
        return tensor if self.unit_range is None else self.unit_range.of(tensor, self.unit_dim)

    def of_output(self, output: torch.Tensor) -> torch.Tensor:
        """Return what this matrix computes in an output of its module, a view."""
        if self.unit_range is None:
            return output
        n_spatial = self.parameter.dim() - 2  # of a convolution, which stand after the channels
        return self.unit_range.of(output, -1 - n_spatial)

    @property
    def weight(self) -> torch.Tensor:
        """The matrix, a view without gradient."""
        return self.of(self.parameter.detach())


def weight_matrices(model: nn.Module) -> Iterator[tuple[int, str, torch.Tensor]]:
    """Yield ``(layer, role, view)`` for each weight matrix and convolution kernel of a model.

    In a transformer, blocks are counted from 1; embeddings are layer 0, and an output layer with a
    weight of its own is in the layer after the last. The roles are

    ============================= ================================================================
    role                          matrix
    ============================= ================================================================
    ``q``, ``k``, ``v``           query, key and value projections
    ``attention_out``             from the heads to the residual stream
    ``mlp_in``, ``mlp_out``       into the MLP, and from it to the residual stream
    ``mlp_gate``                  of a gated MLP
    ``token_embedding``,          embeddings, one row for each token, position or type
    ``position_embedding``,
    ``token_type_embedding``
    ``output``                    to the logits, unless it is the token embedding
    ============================= ================================================================

    A model that reads with an encoder and writes with a decoder has ``encoder_q``, ``decoder_q``,
    ``decoder_cross_q`` and so on; a matrix of another kind has its name in the model as role, and
    a convolution before the first block is in layer 0.

    In a model without attention every weight is a role of its own, the name of its module in the
    model (``features.0``); of a module that holds several, the name of the parameter
    (``lstm.weight_ih_l0``, the gates in one). Modules that hold a weight are the layers, counted
    from 1 in the order of their definition; embeddings are layer 0.

    They come layer by layer. Biases, norms and experts in one tensor of three dimensions are left
    out. A view shares the memory of the parameter and carries no gradient. Its shape is that of the
    parameter, ``(out, in)``, ``(out, in, height, width)`` and the like or, in transformers'
    `Conv1D`, ``(in, out)``, or the part of it that is the matrix; where q, k and v of one head
    stand together (GPT-NeoX), it is ``(heads, head width, in)``. With grouped queries k and v are
    narrower than q. A weight that several modules share appears once, under its first name.

    Parameters
    ----------
    model
        Any model. Attention is found where it names q, k and v separately or fused: in the models
        of transformers, and torch's own `nn.TransformerEncoder`. It may be compiled or wrapped for
        several devices, as long as each process holds whole weights.

    Raises
    ------
    UsageError
        A model without a weight matrix, one that fuses q, k and v in an order that is not known
        here, one whose weights are sharded, or not made yet (lazy modules).

    Examples
    --------
    >>> from initscope.models import MLP, gpt2
    >>> matrices = list(weight_matrices(gpt2("nano12", n_layer=1)))
    >>> [(layer, role, tuple(view.shape)) for layer, role, view in matrices[:4]]
    [(0, 'token_embedding', (256, 96)), (0, 'position_embedding', (128, 96)), (1, 'q', (96, 96)), \
(1, 'k', (96, 96))]
    >>> [(layer, role, tuple(view.shape)) for layer, role, view in weight_matrices(MLP([3, 8, 2]))]
    [(1, '0', (8, 3)), (2, '2', (2, 8))]
    """
    return iter([(m.layer, m.role, m.weight) for m in find_weight_matrices(model)])


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside what `torch.compile` or a wrapper for several devices made of it."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and len(list(model.children())) == 1:
            inner = getattr(model, "module", None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def find_weight_matrices(model: nn.Module) -> list[WeightMatrix]:
    """Return what :func:`weight_matrices` yields, with the place of each in its parameter."""
    model = unwrapped(checks.module("model", model, with_data=False))
    weights = _weights(model)
    require(
        bool(weights),
        f"the model {type(model).__name__} has no weight matrix and no convolution kernel: there "
        f"is nothing to track.",
    )
    found = _of_transformer(model, weights)
    if not any(is_attention_input(matrix.role) for matrix in found):
        found = _one_role_each(weights)
    return sorted(found, key=lambda matrix: matrix.layer)


class _Weight(NamedTuple):
    """A parameter that holds one matrix or several."""

    name: str
    parameter: nn.Parameter
    module: nn.Module
    unit_dim: int

    @property
    def leaf(self) -> str:
        return self.name.rpartition(".")[2]

    def path(self, *, to_parameter: bool = False) -> list[str]:
        """Return the names on the way to the module, or to the parameter, without wrappers."""
        parts = self.name.split(".")
        return [part for part in (parts if to_parameter else parts[:-1]) if part not in WRAPPERS]


def _weights(model: nn.Module) -> list[_Weight]:
    """Return every matrix and convolution kernel, in order of definition; shared ones once."""
    transposed = {module for _, module, is_transposed in weight_layers(model) if is_transposed}
    found = []
    for name, parameter in model.named_parameters():
        place, _, leaf = name.rpartition(".")
        require(
            not isinstance(parameter, UninitializedParameter),
            f"{name} has no shape yet: run one batch through the model first.",
        )
        if "weight" in leaf and (parameter.numel() == 0 or hasattr(parameter, "full_tensor")):
            raise UsageError(
                f"this process does not hold all of {name}: weights are sharded. They are tracked "
                f"where every process holds them whole, as in DDP."
            )
        module = model.get_submodule(place)
        kernel = isinstance(module, _ConvNd) and leaf == "weight"
        if leaf.startswith("bias") or not parameter.is_floating_point():
            continue
        if parameter.dim() == 2 or kernel:
            backwards = module in transposed or (isinstance(module, _ConvNd) and module.transposed)
            found.append(_Weight(name, parameter, module, int(backwards)))
    return found


def _of_transformer(model: nn.Module, weights: Sequence[_Weight]) -> list[WeightMatrix]:
    """Return the matrices by block and role, as far as names tell; fused ones are split."""
    holders = []
    for weight in weights:
        # torch's own attention holds its matrices itself: in_proj_weight, q_proj_weight, ...
        if weight.leaf.endswith("_proj_weight"):
            holders.append((weight, [*weight.path(), weight.leaf.removesuffix("_weight")]))
        elif weight.leaf == "weight" and weight.path():
            holders.append((weight, weight.path()))
    blocks = [block_number(path) for _, path in holders]
    n_layer = max((block for block in blocks if block), default=0)
    first = next((k for k, block in enumerate(blocks) if block), len(blocks))
    inside = {
        part for (_, path), block in zip(holders, blocks, strict=True) if block for part in path
    }
    two_stacks = {"encoder", "decoder"} <= inside
    found = []
    for number, ((weight, path), layer) in enumerate(zip(holders, blocks, strict=True)):
        module, parameter, unit_dim = weight.module, weight.parameter, weight.unit_dim
        *above, holder = ["", *weight.name.split(".")[:-1]]
        parent = model.get_submodule(".".join(above[1:])) if holder == path[-1] else module
        if layer is None:
            is_stem = isinstance(module, _ConvNd) and number < first
            layer = 0 if is_stem or isinstance(module, nn.Embedding) else n_layer + 1
        sizes = parameter.shape[unit_dim], parameter.shape[1 - unit_dim]
        for role, unit_range in transformer_roles(module, parent, path, *sizes):
            role = stack_prefix(path, two_stacks) + role
            found.append(
                WeightMatrix(layer, role, weight.name, parameter, module, unit_dim, unit_range)
            )
    return _distinct(found)


def _one_role_each(weights: Sequence[_Weight]) -> list[WeightMatrix]:
    """Return the matrices of a model without attention: one a parameter."""
    numbers = itertools.count(1)
    layers: dict[nn.Module, int] = {}
    found = []
    for weight in weights:
        module = weight.module
        if module not in layers:
            layers[module] = 0 if isinstance(module, nn.Embedding) else next(numbers)
        role = ".".join(weight.path(to_parameter=weight.leaf != "weight"))
        found.append(
            WeightMatrix(
                layers[module],
                role or type(module).__name__,
                weight.name,
                weight.parameter,
                module,
                weight.unit_dim,
                None,
            )
        )
    return found


def _distinct(matrices: list[WeightMatrix]) -> list[WeightMatrix]:
    """Add the name of the parameter to roles that several matrices of a layer have (experts)."""
    count = Counter((matrix.layer, matrix.role) for matrix in matrices)
    return [
        dataclasses.replace(m, role=f"{m.role}:{m.name}") if count[m.layer, m.role] > 1 else m
        for m in matrices
    ]
