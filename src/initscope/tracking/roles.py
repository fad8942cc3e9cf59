"""Say of every parameter of a model which matrices it holds: their layers, roles and units."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import UninitializedParameter

from initscope.checks import require
from initscope.errors import UsageError
from initscope.models.architectures import (
    TOWER_ENDS,
    block_number,
    in_attention,
    outside_role,
    stack_prefix,
)
from initscope.models.parameters import find_parameters
from initscope.models.places import ADAPTER, VECTOR_KINDS, Part, Place
from initscope.tracking.shards import FlatPiece

__all__: list[str] = []  # for this package alone


class Weight(NamedTuple):
    """A parameter that holds one matrix or several, and what it is."""

    name: str
    parameter: nn.Parameter
    module: nn.Module
    place: Place
    piece: FlatPiece | None = None

    @property
    def leaf(self) -> str:
        return self.name.rpartition(".")[2]

    @property
    def is_computed_from(self) -> bool:
        """Whether the weight is computed from this parameter, by weight_norm or the like."""
        held = self.place.module._parameters.get(self.place.attribute)
        return held is not self.parameter

    @property
    def path(self) -> list[str]:
        """Names on the way to the matrix, without wrappers."""
        return [*self.place.path, *([self.leaf] if self.is_computed_from else [])]

    @property
    def is_adapted(self) -> bool:
        """Whether an adapter stands beside it."""
        return "base_layer" in self.name.split(".")

    @property
    def unit_dim(self) -> int:
        """Dimension of the units, as `WeightMatrix` has it."""
        geometry = self.place.geometry
        if geometry is None or self.place.kind not in ("layer", "zero") or self.is_computed_from:
            return 0
        return geometry.unit_dim - geometry.experts

    @property
    def n_experts(self) -> int:
        """Experts that stand one after the other; groups of a convolution are none."""
        geometry = self.place.geometry
        if geometry is None or isinstance(self.module, _ConvNd) or self.is_computed_from:
            return 0
        return geometry.stack if geometry.stack > 1 or geometry.experts else 0

    @property
    def is_stem(self) -> bool:
        """Whether it stands before the blocks, if it does not stand in one."""
        return isinstance(self.module, nn.Embedding) or self.place.kind == "embedding"

    def is_weight(self, everything: bool, vectors: bool) -> bool:
        """Return whether it is among those that are asked for."""
        if everything:
            return vectors or self.place.kind not in VECTOR_KINDS
        if self.leaf.startswith("bias"):
            return False
        n_dims = len(self.piece.shape if self.piece else self.parameter.shape)
        return n_dims == 2 or (isinstance(self.module, _ConvNd) and self.leaf == "weight")

    def parts(self, within: Sequence[str]) -> list[Part]:
        """Return its roles in a block, `within` being its path from there."""
        place = self.place
        if place.unnamed:
            raise UsageError(place.unnamed)
        named = place.named and place.named[0][0] != "hidden" and not self.is_computed_from
        if named and place.kind == "layer":
            return list(place.named)
        short = in_attention(within) and place.kind not in VECTOR_KINDS
        return [(within[-1] if short else ".".join(within), None)]


def find_weights(model: nn.Module, pieces: Mapping[int, FlatPiece]) -> list[Weight]:
    """Return every parameter that holds numbers, in order of definition; shared ones once.

    `pieces` are those of parameters that FSDP1 has flattened.
    """
    for name, parameter in model.named_parameters():
        require(
            not isinstance(parameter, UninitializedParameter),
            f"{name} has no shape yet: run one batch through the model first.",
        )
        # What a process holds no share of has lost its shape; a layer of no units has one.
        whole = parameter.numel() > 0 or parameter.dim() > 1
        require(
            whole or id(parameter) in pieces or "weight" not in name.split(".")[-1],
            f"this process does not hold all of {name}: weights are sharded, in a way that is not "
            f"known. Known are FSDP, tensor parallelism by DTensor, and DDP.",
        )
    places: dict[int, Place] = {}
    with _whole(model, pieces) as real:
        for place in find_parameters(model):
            for tensor in place.tensors:
                places.setdefault(real.get(id(tensor), id(tensor)), place)
    found = []
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and (parameter.numel() or id(parameter) in pieces):
            module = model.get_submodule(name.rpartition(".")[0])
            key = id(parameter)
            found.append(Weight(name, parameter, module, places[key], pieces.get(key)))
    return found


@contextlib.contextmanager
def _whole(model: nn.Module, pieces: Mapping[int, FlatPiece]) -> Iterator[dict[int, int]]:
    """Put parameters of their whole shapes in the place of pieces; yield the ids of those."""
    replaced: list[tuple[nn.Module, str, nn.Parameter]] = []
    real: dict[int, int] = {}
    stand_ins: dict[int, nn.Parameter] = {}
    try:
        for module in model.modules() if pieces else ():
            for attribute, parameter in list(module._parameters.items()):
                piece = pieces.get(id(parameter))
                if piece is None or parameter is None:
                    continue
                empty = torch.empty(piece.shape, dtype=parameter.dtype, device="meta")
                stand_in = stand_ins.setdefault(id(parameter), nn.Parameter(empty))
                real[id(stand_in)] = id(parameter)
                replaced.append((module, attribute, parameter))
                module._parameters[attribute] = stand_in
        yield real
    finally:
        for module, attribute, parameter in replaced:
            module._parameters[attribute] = parameter


def adapter_at(path: Sequence[str]) -> int:
    """Return where in a path the name of an adapter's matrix stands; 0 if it is none."""
    return next((k for k, part in enumerate(path) if part in ADAPTER), 0)


def adapter_parts(names: Sequence[str], parts: Sequence[Part]) -> list[Part]:
    """Return the roles of a matrix of an adapter: one before the inputs, one for each output."""
    kind = names[0].replace("_embedding", "")
    kind = ".".join([kind, *(name for name in names[1:] if name != "default")])
    if kind.startswith("lora_B") and names[0] != "lora_embedding_B":
        return [(f"{role}_{kind}", units) for role, units in parts]
    roles = [role for role, _ in parts]
    together = "".join(roles) if all(role in ("q", "k", "v") for role in roles) else "_".join(roles)
    return [(f"{together}_{kind}", None)]


class Numbered:
    """Layers by the first number in a path: those of one stack of blocks."""

    def __init__(self, weights: Sequence[Weight]) -> None:
        blocks = [block_number(weight.path) for weight in weights]
        self._n_layer = max((block for block in blocks if block), default=0)
        first = next((k for k, block in enumerate(blocks) if block), len(blocks))
        self._before = {id(weight.parameter) for weight in weights[:first]}
        inside = {
            part
            for weight, block in zip(weights, blocks, strict=True)
            if block
            for part in weight.path
        }
        self._two_stacks = {"encoder", "decoder"} <= inside

    def of(self, weight: Weight) -> tuple[int, list[Part]]:
        """Return the layer of a weight, and the roles in it."""
        path = weight.path
        layer = block_number(path)
        if layer is None:
            early = weight.place.kind not in ("layer", "zero") or isinstance(weight.module, _ConvNd)
            stem = weight.is_stem or (early and id(weight.parameter) in self._before)
            layer = 0 if stem else self._n_layer + 1
            parts = outside_parts(weight, path)
        else:
            parts = weight.parts(path[_number_at(path) + 1 :])
        prefix = stack_prefix(path, self._two_stacks)
        return layer, [(prefix + role, units) for role, units in parts]


def _number_at(path: Sequence[str]) -> int:
    return next(k for k, part in enumerate(path) if part.isdecimal())


def outside_parts(weight: Weight, path: Sequence[str]) -> list[Part]:
    """Return the roles of what is in no block; torch's attention is split wherever it stands."""
    if isinstance(weight.module, nn.MultiheadAttention) and weight.place.kind == "layer":
        return [(".".join([*path[:-1], role]), units) for role, units in weight.place.named]
    if path == ["out_proj"] and [role for role, _ in weight.place.named] == ["attention_out"]:
        return list(weight.place.named)  # of torch's attention, the model itself
    return [(outside_role(weight.module, path) or type(weight.module).__name__, None)]


class Towers:
    """Layers by the blocks of several towers, or of the stages of a pyramid."""

    def __init__(self, weights: Sequence[Weight]) -> None:
        self._layers: dict[tuple[str, tuple[str, ...]], int] = {}
        keys: dict[tuple[str, ...], None] = {}
        for weight in weights:
            if block := weight.place.block:
                keys.setdefault(_without_numbers(block[:-1]))
        self._keys = list(keys)
        paired = zip(*self._keys, strict=False)
        self._at = next((k for k, parts in enumerate(paired) if len(set(parts)) > 1), -1)
        self._blocks: dict[str, list[tuple[str, ...]]] = {}
        self._seen: dict[int, int] = {}
        for weight in weights:
            blocks = self._blocks.setdefault(self._tower(weight.path), [])
            if weight.place.block and weight.place.block not in blocks:
                blocks.append(weight.place.block)
            self._seen[id(weight.parameter)] = len(blocks)

    def _tower(self, path: Sequence[str]) -> str:
        """Return the name of the tower that a path is in; empty if there is one, or in none."""
        if len(self._keys) < 2:
            return ""
        here = _without_numbers(path)
        if self._at < 0:  # the one stands in the other
            inside = [key for key in self._keys if here[: len(key)] == key]
            return ".".join(sorted(inside, key=len)[-1]) if inside else ""
        names = {key[self._at] for key in self._keys if here[: self._at] == key[: self._at]}
        name = here[self._at] if len(here) > self._at and here[self._at] in names else ""
        for end in TOWER_ENDS:
            name = name.removesuffix(end)
        return name

    def of(self, weight: Weight) -> tuple[int, list[Part]]:
        """Return the layer of a weight, and the roles in it."""
        path, block = weight.path, weight.place.block
        tower = self._tower(path)
        blocks = self._blocks.get(tower, [])
        if block:
            layer = blocks.index(block) + 1
            parts = weight.parts(path[len(block) :])
            if len(parts) == 1 and "." in parts[0][0]:  # a name, and not from the block on
                parts = [(".".join(path[len(block) :]), None)]
            prefix = f"{tower}_" if tower else ""
            prefix += stack_prefix(path, False)
            return layer, [(prefix + role, units) for role, units in parts]
        before = self._seen[id(weight.parameter)]
        inside = block_number(path) is not None  # of a stage, between its blocks and the next one's
        early = isinstance(weight.module, _ConvNd) or weight.place.kind not in ("layer", "zero")
        if weight.is_stem or (early and not before):
            layer = 0
        else:
            every = max(map(len, self._blocks.values()))
            layer = max(before, 1) if inside else (len(blocks) if tower else every) + 1
        return layer, outside_parts(weight, path)


def _without_numbers(path: Sequence[str]) -> tuple[str, ...]:
    return tuple(part for part in path if not part.isdecimal())
