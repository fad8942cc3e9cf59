"""The weight matrices of a transformer by layer and role, fused ones split without a copy."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from initscope import checks
from initscope.errors import UsageError
from initscope.init import weight_layers

__all__ = ["find_weight_matrices", "weight_matrices"]

ATTENTION_INPUTS = {
    "q": ("q_proj", "query", "q", "q_lin", "wq", "Wq", "to_q", "query_proj", "q_attn"),
    "k": ("k_proj", "key", "k", "k_lin", "wk", "Wk", "to_k", "key_proj"),
    "v": ("v_proj", "value", "v", "v_lin", "wv", "Wv", "to_v", "value_proj"),
}
FUSED = ("c_attn", "query_key_value", "qkv_proj", "Wqkv", "qkv", "attn_qkv", "in_proj")
"""Names under which Q, K and V are one matrix."""

INTERLEAVED = ("GPTNeoX", "Bloom", "Persimmon")
"""Families whose `query_key_value` holds q, k and v of one head after the other."""

ATTENTION_OUTPUTS = (
    "c_proj", "o_proj", "out_proj", "dense", "o", "out_lin", "wo", "Wo", "to_out", "proj",
)  # fmt: skip

MLP_ROLES = {
    "mlp_in": (
        "c_fc", "fc_in", "fc1", "dense_h_to_4h", "up_proj", "wi", "wi_1", "lin1", "linear1",
        "intermediate.dense", "ffn",
    ),
    "mlp_gate": ("gate_proj", "wi_0"),
    "mlp_out": (
        "c_proj", "fc_out", "fc2", "dense_4h_to_h", "down_proj", "wo", "Wo", "lin2", "linear2",
        "output.dense", "ffn_output",
    ),
}  # fmt: skip
FUSED_MLP = ("gate_up_proj", "Wi")
"""Names under which the gate and the input of the MLP are one matrix, the gate first."""

EMBEDDINGS = {
    "token_embedding": (
        "wte", "embed_tokens", "word_embeddings", "embed_in", "tokens_embed", "shared", "wt",
        "tok_embeddings",
    ),
    "position_embedding": ("wpe", "position_embeddings", "embed_positions", "positions_embed"),
    "token_type_embedding": ("token_type_embeddings",),
}  # fmt: skip
OUTPUTS = ("lm_head", "embed_out", "output_projection")

WRAPPERS = ("_orig_mod", "_checkpoint_wrapped_module")
"""Names that a wrapper of one block puts into a path."""

CROSS_ATTENTION = ("crossattention", "encoder_attn", "EncDecAttention", "cross_attn")


@dataclass(frozen=True)
class Part:
    """A range of the units of a matrix: those from `start`, `length` of them, in each group.

    The units (rows of `nn.Linear`, columns of `Conv1D`) stand in `groups` equal groups one after
    the other: one group where q, k and v are each in one piece, one for each head where the three
    of a head stand together.
    """

    groups: int
    start: int
    length: int

    def of(self, tensor: torch.Tensor, dim: int) -> torch.Tensor:
        """View of this part of `tensor`, whose units run along `dim`."""
        dim %= tensor.dim()
        if self.groups > 1:
            tensor = tensor.unflatten(dim, (self.groups, -1))
            dim += 1
        return tensor.narrow(dim, self.start, self.length)


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
    units
        Dimension along which the units run: 0, or 1 in transformers' `Conv1D`.
    part
        Which of the units are this matrix; all if None.
    """

    layer: int
    role: str
    name: str
    parameter: nn.Parameter
    module: nn.Module
    units: int
    part: Part | None

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """View of this matrix in `tensor`, of the parameter's shape: its gradient, for example."""
        return tensor if self.part is None else self.part.of(tensor, self.units)

    def of_output(self, output: torch.Tensor) -> torch.Tensor:
        """View of what this matrix computes in an output of the module, units along the last."""
        return output if self.part is None else self.part.of(output, -1)

    @property
    def weight(self) -> torch.Tensor:
        """The matrix, a view without gradient."""
        return self.of(self.parameter.detach())


def weight_matrices(model: nn.Module) -> Iterator[tuple[int, str, torch.Tensor]]:
    """Yield ``(layer, role, view)`` for each weight matrix of a transformer.

    Blocks are counted from 1; embeddings are layer 0, and an output layer with a weight of its own
    is in the layer after the last. The roles are

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

    They come layer by layer. A model that reads with an encoder and writes with a decoder has
    ``encoder_q``, ``decoder_q``, ``decoder_cross_q`` and so on; a matrix of another kind has its
    name in the model as role. Weights of other than two dimensions (norms, biases, convolutions,
    experts in one tensor) are left out.

    A view shares the memory of the parameter and carries no gradient. Its shape is that of the
    parameter, ``(out, in)`` or, in transformers' `Conv1D`, ``(in, out)``, or the part of it that
    is the matrix; where q, k and v of one head stand together (GPT-NeoX), it is
    ``(heads, head width, in)``. With grouped queries k and v are narrower than q. A weight that
    several modules share appears once, under its first name.

    Parameters
    ----------
    model
        Any model whose attention names q, k and v separately or fused: those of transformers, and
        torch's own `nn.TransformerEncoder`. It may be compiled or wrapped for several devices, as
        long as each process holds whole weights.

    Raises
    ------
    UsageError
        A model without attention, one that fuses q, k and v in an order that is not known here,
        or one whose weights are sharded.

    Examples
    --------
    >>> from initscope.models.mlp import gpt2
    >>> matrices = list(weight_matrices(gpt2("nano12", n_layer=1)))
    >>> [(layer, role, tuple(view.shape)) for layer, role, view in matrices[:4]]
    [(0, 'token_embedding', (256, 96)), (0, 'position_embedding', (128, 96)), (1, 'q', (96, 96)), \
(1, 'k', (96, 96))]
    """
    return iter([(m.layer, m.role, m.weight) for m in find_weight_matrices(model)])


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside what `torch.compile` or a wrapper for several devices made of it."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and len(list(model.children())) == 1:
            inner = getattr(model, "module", None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def find_weight_matrices(model: nn.Module) -> list[WeightMatrix]:
    """What :func:`weight_matrices` yields, with the place of each matrix in its parameter."""
    model = unwrapped(checks.module("model", model, with_data=False))
    transposed = {module for _, module, is_transposed in weight_layers(model) if is_transposed}
    holders: list[tuple[str, nn.Parameter, list[str]]] = []
    for name, parameter in model.named_parameters():
        place, _, leaf = name.rpartition(".")
        if leaf != "weight":
            # torch's own attention holds its matrices itself: in_proj_weight, q_proj_weight, ...
            if not leaf.endswith("_proj_weight"):
                continue
            place = f"{place}.{leaf.removesuffix('_weight')}"
        if parameter.numel() == 0 or hasattr(parameter, "full_tensor"):
            raise UsageError(
                f"this process does not hold all of {name}: weights are sharded. They are tracked "
                f"where every process holds them whole, as in DDP."
            )
        if parameter.dim() == 2 and parameter.is_floating_point():
            holders.append((name, parameter, [p for p in place.split(".") if p not in WRAPPERS]))
    inside = {part for *_, path in holders if _block(path) for part in path}
    two_stacks = {"encoder", "decoder"} <= inside
    n_layer = max((_block(path) or 0 for *_, path in holders), default=0)
    found = []
    for name, parameter, path in holders:
        module = model.get_submodule(name.rpartition(".")[0])
        units = int(module in transposed)
        *above, holder = ["", *name.split(".")[:-1]]
        parent = model.get_submodule(".".join(above[1:])) if holder == path[-1] else module
        for role, part in _parts(
            module, parent, path, parameter.shape[units], parameter.shape[1 - units]
        ):
            layer = _block(path)
            if layer is None:
                layer = 0 if isinstance(module, nn.Embedding) else n_layer + 1
            role = _stack(path, two_stacks) + role
            found.append(WeightMatrix(layer, role, name, parameter, module, units, part))
    if not any(matrix.role.rpartition("_")[2] in ATTENTION_INPUTS for matrix in found):
        raise UsageError(
            f"the model {type(model).__name__} has no attention whose query, key and value weights "
            f"can be told by their names: there is nothing to track."
        )
    return sorted(_distinct(found), key=lambda matrix: matrix.layer)


def _block(path: Sequence[str]) -> int | None:
    """Number of the block, from 1, that a module is in."""
    return next((int(part) + 1 for part in path if part.isdecimal()), None)


def _stack(path: Sequence[str], two_stacks: bool) -> str:
    """What tells apart equal roles in a block, or in the encoder and the decoder."""
    stack = next((part for part in path if part in ("encoder", "decoder")), None)
    prefix = f"{stack}_" if two_stacks and stack else ""
    return f"{prefix}cross_" if any(part in CROSS_ATTENTION for part in path) else prefix


def _parts(
    module: nn.Module, parent: nn.Module, path: Sequence[str], n_out: int, n_in: int
) -> list[tuple[str, Part | None]]:
    """Roles of the matrices that one parameter holds, and which part of it each is."""
    leaf = path[-1]
    if _block(path) is None:
        names = EMBEDDINGS if isinstance(module, nn.Embedding) else {"output": OUTPUTS}
        roles = [role for role, known in names.items() if leaf in known]
        return [(roles[0] if roles else ".".join(path), None)]
    within = path[next(k for k, part in enumerate(path) if part.isdecimal()) + 1 :]
    if any("attn" in part.lower() or "attention" in part.lower() for part in within):
        if leaf in FUSED:
            return _fused(parent, path, n_out, n_in)
        roles = [role for role, known in ATTENTION_INPUTS.items() if leaf in known]
        if not roles and leaf in ATTENTION_OUTPUTS:
            roles = ["attention_out"]
        return [(roles[0] if roles else leaf, None)]
    if leaf in FUSED_MLP:
        half = n_out // 2
        return [("mlp_gate", Part(1, 0, half)), ("mlp_in", Part(1, half, half))]
    ends = (leaf, ".".join(path[-2:]))
    roles = [role for role, known in MLP_ROLES.items() if any(end in known for end in ends)]
    return [(roles[0] if roles else ".".join(within), None)]


def _fused(
    attention: Any, path: Sequence[str], n_out: int, n_in: int
) -> list[tuple[str, Part | None]]:
    """Where q, k and v are in a fused matrix."""
    family = type(attention).__name__
    heads = _number(attention, "num_attention_heads", "num_heads", "n_heads", "n_head")
    if path[-1] == "query_key_value" and family.startswith("Falcon"):
        # One pair of k and v for a group of queries, for all of them, or for each.
        groups = _number(attention, "num_kv_heads") if attention.new_decoder_architecture else heads
        groups = 1 if attention.multi_query and not attention.new_decoder_architecture else groups
        width = attention.head_dim
        return _consecutive(groups, n_out // groups - 2 * width, width, width)
    if (path[-1] == "query_key_value" and family.startswith(INTERLEAVED)) or (
        family.startswith("GPTBigCode") and not attention.multi_query
    ):
        return _consecutive(heads, *[n_out // heads // 3] * 3)
    if family.startswith("CodeGen"):
        q, v, k = _consecutive(4, *[n_out // 12] * 3)  # made for four devices, v before k
        return [q, ("k", k[1]), ("v", v[1])]
    if path[-1] == "query_key_value":
        raise UsageError(
            f"{'.'.join(path)} fuses q, k and v, in an order that is not known for {family}. "
            f"Known: {', '.join(INTERLEAVED)}, Falcon, and matrices named "
            f"{', '.join(name for name in FUSED if name != 'query_key_value')}."
        )
    if n_out == 2 * n_in and any(part in CROSS_ATTENTION for part in path):
        return _consecutive(1, 0, n_in, n_in)[1:]  # k and v of what the encoder wrote
    if n_out == 3 * n_in or not heads:
        return _consecutive(1, *[n_out // 3] * 3)
    width = getattr(attention, "head_dim", None) or n_in // heads
    return _consecutive(1, heads * width, *[(n_out - heads * width) // 2] * 2)


def _number(attention: nn.Module, *names: str) -> int:
    """The first of these sizes that an attention module or its configuration has; else 0."""
    for holder in (attention, getattr(attention, "config", None)):
        for name in names:
            if isinstance(value := getattr(holder, name, None), int):
                return value
    return 0


def _consecutive(groups: int, q: int, k: int, v: int) -> list[tuple[str, Part | None]]:
    """Parts of these lengths, one after the other in each group."""
    return [
        ("q", Part(groups, 0, q)),
        ("k", Part(groups, q, k)),
        ("v", Part(groups, q + k, v)),
    ]


def _distinct(matrices: list[WeightMatrix]) -> list[WeightMatrix]:
    """Roles of matrices that share layer and role get the name of their parameter (experts)."""
    count = Counter((matrix.layer, matrix.role) for matrix in matrices)
    return [
        dataclasses.replace(m, role=f"{m.role}:{m.name}") if count[m.layer, m.role] > 1 else m
        for m in matrices
    ]
