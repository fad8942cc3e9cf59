"""Find the weight matrices of a model by layer and role; split fused ones without a copy."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from initscope import checks
from initscope.checks import require
from initscope.errors import UsageError, shown, unknown_name
from initscope.models.architectures import UnitRange, block_number, is_attention_input
from initscope.models.places import Part
from initscope.tracking.roles import (
    Numbered,
    Towers,
    Weight,
    adapter_at,
    adapter_parts,
    find_weights,
    outside_parts,
)
from initscope.tracking.shards import FlatPiece, flat_pieces, is_sharded

__all__ = ["find_weight_matrices", "weight_matrices"]

Choice = str | Mapping[str, str]
"""Which matrices: "attention", "all", or a regular expression for each role."""

CHOICES = ("attention", "all")


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
        and in transposed convolutions; among experts, of one expert.
    unit_range
        Which of the units are this matrix; all if None.
    piece
        Which elements this process holds, if FSDP1 has flattened the parameter.
    expert, n_experts
        Which of so many experts it belongs to, that stand one after the other in the parameter;
        0 of 0 where it holds none.
    """

    layer: int
    role: str
    name: str
    parameter: nn.Parameter
    module: nn.Module
    unit_dim: int
    unit_range: UnitRange | None
    expert: int = 0
    n_experts: int = 0
    piece: FlatPiece | None = None

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return this matrix in `tensor`, of the parameter's shape: its gradient, for example."""
        if self.n_experts:
            tensor = expert_matrices(tensor, self.n_experts)[self.expert]
        return tensor if self.unit_range is None else self.unit_range.of(tensor, self.unit_dim)

    def of_output(self, output: torch.Tensor) -> torch.Tensor:
        """Return what this matrix computes in an output of its module, a view."""
        if self.unit_range is None:
            return output
        n_spatial = len(self.shape) - 2  # of a convolution, which stand after the channels
        return self.unit_range.of(output, -1 - n_spatial)

    @property
    def shape(self) -> torch.Size:
        """Shape of the whole parameter, whatever this process holds of it."""
        return self.parameter.shape if self.piece is None else self.piece.shape

    @property
    def n_elements(self) -> int:
        """Numbers in the matrix."""
        n = math.prod(self.shape) // max(self.n_experts, 1)
        if self.unit_range is None:
            return n
        dim = self.unit_dim - (2 if self.n_experts else 0)
        n_units = self.shape[dim]
        if self.n_experts and dim == -2 and len(self.shape) == 2:
            n_units //= self.n_experts
        return n // n_units * self.unit_range.groups * self.unit_range.length

    @property
    def weight(self) -> torch.Tensor:
        """The matrix, a view without gradient."""
        return self.of(self.parameter.detach())


def expert_matrices(tensor: torch.Tensor, n_experts: int) -> torch.Tensor:
    """Return a view of shape (experts, rows, columns)."""
    return tensor if tensor.dim() == 3 else tensor.unflatten(0, (n_experts, -1))


def weight_matrices(
    model: nn.Module, matrices: Choice = "attention", *, vectors: bool = False
) -> Iterator[tuple[int, str, torch.Tensor]]:
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
    ``token_embedding``           embedding, one row for each token
    ``position_embedding``        embedding, one row for each position
    ``token_type_embedding``      embedding, one row for each type of token
    ``output``                    to the logits, unless it is the token embedding
    ============================= ================================================================

    A model with an encoder and a decoder has ``encoder_q``, ``decoder_q``, ``decoder_cross_q`` and
    so on, one of several towers ``text_q`` and ``vision_q`` (CLIP), with layers counted in each. A
    matrix of another kind has its name in the model as role, and a convolution before the first
    block is in layer 0. The two matrices of an adapter on q are ``q_lora_A`` and ``q_lora_B``.

    In a model without attention every weight is a role of its own, the name of its module in the
    model (``features.0``); in a module that holds several, the name of the parameter
    (``lstm.weight_ih_l0``, all gates together). Modules that hold a weight are the layers, counted
    from 1 in the order of their definition; embeddings are layer 0.

    Matrices come layer by layer. A view shares the memory of the parameter and carries no gradient.
    Its shape is that of the parameter, ``(out, in)``, ``(out, in, height, width)`` and the like or,
    in transformers' `Conv1D`, ``(in, out)``, or the part of it that is the matrix; where q, k and v
    of one head stand together (GPT-NeoX), it is ``(heads, head width, in)``. With grouped queries k
    and v are narrower than q. A weight that several modules share appears once, under its first
    name.

    Parameters
    ----------
    model
        Any model. Attention is found where it names q, k and v separately or fused: in the models
        of transformers, and torch's own `nn.MultiheadAttention`. It may be compiled or wrapped for
        several devices.
    matrices
        ``"attention"``: what has the roles above, and every other matrix and kernel beside it.
        ``"all"``: every weight there is, including experts in one tensor (``mlp_in:expert_3``),
        positions and class tokens that are parameters, low-rank projections of latent attention
        (``q_a``, ``q_b``, ``kv_a``, ``k_b``, ``v_b``), and parameters of another form (rates of a
        state-space model, a bilinear form), under their names; blocks of a state-space model are
        layers. Or a dictionary from a role to a regular expression that the names of its parameters
        contain; each parameter is then a matrix, and the first number in its name, plus 1, its
        layer.
    vectors
        Whether gains of norms and biases are among them too, under their names; with ``"all"``.

    Raises
    ------
    UsageError
        A model without a weight matrix, one that fuses q, k and v in an order that is not known
        here, one whose weights are not made yet (lazy modules) or sharded, or an expression that
        no name contains.

    Examples
    --------
    >>> from initscope.models import MLP, gpt2
    >>> matrices = list(weight_matrices(gpt2("nano12", n_layer=1)))
    >>> [(layer, role, tuple(view.shape)) for layer, role, view in matrices[:4]]
    [(0, 'token_embedding', (256, 96)), (0, 'position_embedding', (128, 96)), (1, 'q', (96, 96)), \
(1, 'k', (96, 96))]
    >>> [(layer, role, tuple(view.shape)) for layer, role, view in weight_matrices(MLP([3, 8, 2]))]
    [(1, '0', (8, 3)), (2, '2', (2, 8))]
    >>> [(layer, role) for layer, role, _ in weight_matrices(MLP([3, 8, 2]), {"last": "^2.w"})]
    [(3, 'last')]
    """
    found = find_weight_matrices(model, matrices, vectors=vectors)
    if is_sharded(found):
        raise UsageError(
            f"this process does not hold all of {found[0].name}: weights are sharded, and there is "
            f"no view of a matrix. VarianceTracker measures them in all processes together."
        )
    return iter([(m.layer, m.role, m.weight) for m in found])


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside what `torch.compile` or a wrapper for several devices made of it."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and len(list(model.children())) == 1:
            inner = getattr(model, "module", None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def check_choice(matrices: Any) -> None:
    """Raise `UsageError` unless `matrices` says which are to be followed."""
    if isinstance(matrices, Mapping):
        require(bool(matrices), "matrices must name a role at least: the dictionary is empty.")
        for role, pattern in matrices.items():
            require(
                isinstance(role, str) and bool(role) and isinstance(pattern, str),
                f"matrices must map roles to regular expressions, not {shown(role)} to "
                f"{shown(pattern)}.",
            )
            try:
                re.compile(pattern)
            except re.error as error:
                raise UsageError(
                    f"matrices: {shown(pattern)} of role {shown(role)} is no regular expression "
                    f"({error})."
                ) from error
        return
    if not isinstance(matrices, str) or matrices not in CHOICES:
        raise unknown_name("matrices", matrices, CHOICES)


def find_weight_matrices(
    model: nn.Module, matrices: Choice = "attention", *, vectors: bool = False
) -> list[WeightMatrix]:
    """Return what :func:`weight_matrices` yields, with the place of each in its parameter."""
    pieces = flat_pieces(checks.module("model", model, with_data=False))
    model = unwrapped(model)
    check_choice(matrices)
    checks.flag("vectors", vectors)
    weights = find_weights(model, pieces)
    if isinstance(matrices, Mapping):
        found = _by_expression(model, weights, matrices)
    else:
        everything = matrices == "all"
        kept = [w for w in weights if w.is_weight(everything, vectors)]
        require(
            bool(kept),
            f"the model {type(model).__name__} has no weight matrix and no convolution kernel: "
            f"there is nothing to track.",
        )
        found = _by_block(kept, everything)
        blocks = everything and any(weight.place.block for weight in kept)
        if not blocks and not any(is_attention_input(matrix.role) for matrix in found):
            found = _one_role_each(kept)
    return sorted(found, key=lambda matrix: matrix.layer)


def _matrices(weight: Weight, layer: int, parts: Sequence[Part]) -> list[WeightMatrix]:
    """Return the matrices of one parameter: its parts, of each expert."""
    n = weight.n_experts
    return [
        WeightMatrix(
            layer, f"{role}:expert_{expert}" if n else role, weight.name, weight.parameter,
            weight.module, weight.unit_dim, units, expert, n, weight.piece,
        )
        for expert in range(max(n, 1))
        for role, units in parts
    ]  # fmt: skip


def _by_block(weights: Sequence[Weight], everything: bool) -> list[WeightMatrix]:
    """Return the matrices by block and role, as far as names tell; fused ones are split."""
    ends = ("weight", "in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
    held = [w for w in weights if everything or w.leaf in ends or adapter_at(w.path)]
    names = Numbered(held)
    found = _named(held, names)
    count = Counter((m.layer, m.role) for m in found if is_attention_input(m.role))
    if any(n > 1 for n in count.values()) and any(weight.place.block for weight in held):
        found = _named(held, Towers(held))
    return _distinct(found)


def _named(weights: Sequence[Weight], names: Numbered | Towers) -> list[WeightMatrix]:
    """Return the matrices with the layers and roles that `names` gives; adapters after a base."""
    layers: dict[tuple[str, ...], tuple[int, list[Part]]] = {}
    for weight in weights:
        if not adapter_at(weight.path):
            layers[tuple(weight.path)] = names.of(weight)
    found = []
    for weight in weights:
        path = weight.path
        k = adapter_at(path)
        layer, parts = layers.get(tuple(path[:k] if k else path)) or names.of(weight)
        found += _matrices(weight, layer, adapter_parts(path[k:], parts) if k else parts)
    return found


def _one_role_each(weights: Sequence[Weight]) -> list[WeightMatrix]:
    """Return the matrices of a model without attention: one a parameter, or an expert."""
    numbers = itertools.count(1)
    layers: dict[Any, int] = {}
    found = []
    for weight in weights:
        module, path = weight.module, weight.path
        k = adapter_at(path)
        holder = tuple(path[:k]) if k else tuple(path) if weight.is_adapted else module
        if holder not in layers:
            layers[holder] = 0 if isinstance(module, nn.Embedding) else next(numbers)
        parts: list[Part] = [(".".join(path) or type(module).__name__, None)]
        if k:
            parts = adapter_parts(path[k:], [(".".join(path[:k]), None)])
        elif isinstance(module, nn.MultiheadAttention):
            parts = outside_parts(weight, path)
        found += _matrices(weight, layers[holder], parts)
    return _distinct(found)


def _by_expression(
    model: nn.Module, weights: Sequence[Weight], expressions: Mapping[str, str]
) -> list[WeightMatrix]:
    """Return the parameters whose names contain an expression, under its role."""
    found = []
    taken: dict[str, str] = {}
    for role, pattern in expressions.items():
        named = [weight for weight in weights if re.search(pattern, weight.name)]
        require(
            bool(named),
            f"matrices: no parameter of {type(model).__name__} has a name with {shown(pattern)}, "
            f"of role {shown(role)}; its first are {', '.join(w.name for w in weights[:3])}.",
        )
        for weight in named:
            require(
                weight.name not in taken,
                f"matrices: {weight.name} is both of role {shown(taken.get(weight.name))} and "
                f"{shown(role)}: make the expressions narrower.",
            )
            taken[weight.name] = role
            found += _matrices(weight, block_number(weight.path) or 0, [(role, None)])
    return _distinct(found)


def _distinct(matrices: list[WeightMatrix]) -> list[WeightMatrix]:
    """Add the name of the parameter to roles that several matrices of a layer have (experts)."""
    count = Counter((matrix.layer, matrix.role) for matrix in matrices)
    return [
        dataclasses.replace(m, role=f"{m.role}:{m.name}") if count[m.layer, m.role] > 1 else m
        for m in matrices
    ]
