"""Find what every parameter of a model is: a weight with its fans and role, a bias, a gain."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrize

from initscope.errors import UsageError
from initscope.models.architectures import (
    BRANCH_LISTS,
    EXPERT_ROLES,
    INTERLEAVED_EXPERTS,
    ON_PURPOSE,
    OWN_ROLES,
    STEP_SIZES,
    VECTORS,
    WRAPPERS,
    ZERO_CENTRED_NORMS,
    UnitRange,
    block_roles,
)

__all__: list[str] = []  # for this package alone

Kind = Literal["layer", "embedding", "gain", "norm bias", "bias", "zero", "kept", "unknown"]

VECTOR_KINDS: tuple[Kind, ...] = ("gain", "norm bias", "bias")
"""What is no weight."""

LAYERS = (nn.Linear, _ConvNd, nn.MultiheadAttention, nn.RNNBase)
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, _NormBase)
BRANCH_ENDS = ("attention_out", "mlp_out")
ADAPTER = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B")


class Geometry(NamedTuple):
    """How the matrices in a weight are stored.

    Attributes
    ----------
    unit_dim
        Dimension along which the output units run.
    fan_in, fan_out
        Inputs and outputs of one unit, kernel included; of several in one weight, their sum.
    receptive_field
        Elements of a kernel.
    stack
        Matrices one after the other along dimension 0: experts, or groups of a convolution.
    experts
        Whether the stack is a dimension of its own.
    """

    unit_dim: int
    fan_in: float
    fan_out: float
    receptive_field: int = 1
    stack: int = 1
    experts: bool = False


class Position(NamedTuple):
    """Where a weight stands among the residual blocks, as `initscope.theory.rule.Weight` has it."""

    layer: int = 0
    n_layer: int = 0
    n_branches: int = 0
    n_embd: int = 0


NOWHERE = Position()

Part = tuple[str, UnitRange | None]


@dataclass(frozen=True, eq=False)
class Place:
    """One parameter of a model, or what a parametrization makes of several.

    Attributes
    ----------
    name
        Name of the module's attribute in the model.
    module, attribute
        Where it is.
    kind
        What it is.
    tensors
        The parameters themselves: more than one behind a parametrization.
    geometry
        Of a layer's or an embedding's weight.
    parts
        Roles of the matrices in it, and the units of each; all of them if None.
    separate
        Whether the parts are layers of their own, whatever the scheme.
    position
        Where it stands among the blocks.
    reason
        Why it is kept, or not known.
    named
        Roles that the names on the way to a layer tell, wherever it stands; empty if none do.
    unnamed
        Why they do not tell them.
    block
        Path of the residual block that it is in; empty outside of blocks.
    """

    name: str
    module: nn.Module
    attribute: str
    kind: Kind
    tensors: tuple[torch.Tensor, ...]
    geometry: Geometry | None = None
    parts: tuple[Part, ...] = (("hidden", None),)
    separate: bool = False
    position: Position = NOWHERE
    reason: str = ""
    named: tuple[Part, ...] = ()
    unnamed: str = ""
    block: tuple[str, ...] = ()

    @property
    def value(self) -> torch.Tensor:
        """What the module computes with."""
        return cast(torch.Tensor, value_of(self.module, self.attribute))

    @property
    def neutral_gain(self) -> float:
        """The weight with which a norm changes nothing."""
        return 0.0 if type(self.module).__name__ in ZERO_CENTRED_NORMS else 1.0

    @property
    def path(self) -> list[str]:
        """Names on the way to the matrix: the module's, or that of one of its parameters."""
        *above, leaf = self.name.split(".")
        skipped = (*WRAPPERS, "base_layer", "module")
        path = [part for part in above if part not in skipped]
        if leaf in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            return [*path, leaf.removesuffix("_weight")]
        return path if leaf == "weight" else [*path, leaf]


def conv1d_class() -> tuple[type, ...]:
    """Return transformers' `Conv1D`, if that is imported; otherwise no model holds one."""
    module = sys.modules.get("transformers.pytorch_utils")
    return (module.Conv1D,) if module is not None else ()


def behind(module: nn.Module, attribute: str) -> tuple[torch.Tensor, ...]:
    """Return the parameters that a module's weight is computed from: mostly that weight."""
    parameter = module._parameters.get(attribute)
    if parameter is not None:
        return (parameter,)
    if parametrize.is_parametrized(module, attribute):
        held = cast(nn.ModuleDict, module.parametrizations)[attribute]
        return tuple(p for name, p in held.named_parameters(recurse=False) if "original" in name)
    ends = ("_g", "_v", "_orig")  # torch's older weight_norm, spectral_norm and pruning
    found = [module._parameters.get(attribute + end) for end in ends]
    return tuple(p for p in found if p is not None)


def value_of(module: nn.Module, attribute: str) -> Any:
    """Return a module's weight; a parametrization's own buffers stay as they are."""
    if not parametrize.is_parametrized(module, attribute):
        return getattr(module, attribute, None)
    held = cast(nn.ModuleDict, module.parametrizations)[attribute]
    training = [(one, one.training) for one in held.modules()]
    try:
        with torch.no_grad():
            return held.eval()()  # spectral_norm takes a step of its iteration in training
    finally:
        for one, mode in training:
            one.training = mode


# --- What a module holds ---------------------------------------------------------------------


def _geometry(module: nn.Module) -> Geometry | None:
    """Return how the weight of a layer is stored; None for what is no layer known here."""
    layers = (_ConvNd, nn.Linear, *conv1d_class())
    if not (isinstance(module, layers) or _is_router(module)):
        return None
    weight = value_of(module, "weight")
    if not isinstance(weight, torch.Tensor):
        return None
    shape = weight.shape
    if isinstance(module, _ConvNd):
        if weight.dim() != 2 + len(module.kernel_size):
            return None
        kernel, groups = math.prod(shape[2:]), module.groups
        if isinstance(module, _ConvTransposeNd):
            # A kernel is laid down at every stride-th place: so many of them overlap.
            overlap = kernel / math.prod(module.stride)
            return Geometry(
                1, shape[0] // groups * overlap, shape[1] * kernel, kernel, stack=groups
            )
        return Geometry(0, shape[1] * kernel, shape[0] // groups * kernel, kernel, stack=groups)
    if weight.dim() == 2 and isinstance(module, conv1d_class()):
        return Geometry(1, shape[0], shape[1])
    if weight.dim() == 2:
        return Geometry(0, shape[1], shape[0])
    return None


def _is_router(module: nn.Module) -> bool:
    """Return whether a module is a linear map to experts without being `nn.Linear`."""
    return type(module).__name__.endswith(("Router", "Gate"))


def _attention(module: nn.MultiheadAttention) -> Iterator[tuple[str, Geometry, tuple[Part, ...]]]:
    """Yield the projections of torch's attention: in one parameter, or one each."""
    d = module.embed_dim
    if module.in_proj_weight is not None:
        thirds = tuple((role, UnitRange(1, k * d, d)) for k, role in enumerate("qkv"))
        yield "in_proj_weight", Geometry(0, d, 3 * d), thirds
    for role, inputs in (("q", d), ("k", module.kdim), ("v", module.vdim)):
        if getattr(module, f"{role}_proj_weight") is not None:
            yield f"{role}_proj_weight", Geometry(0, inputs, d), ((role, None),)


def _recurrent(module: nn.RNNBase) -> Iterator[tuple[str, Geometry, tuple[Part, ...]]]:
    """Yield the matrices of a recurrent layer, each gate one."""
    gates = {"LSTM": 4, "GRU": 3}.get(module.mode, 1)
    for name, parameter in module.named_parameters(recurse=False):
        if name.startswith("weight_"):
            n_out, n_in = parameter.shape
            n = 1 if name.startswith("weight_hr") else gates
            width = n_out // n
            parts = tuple(("hidden", UnitRange(1, k * width, width)) for k in range(n))
            yield name, Geometry(0, n_in, n_out), parts


def _experts(module: Any) -> Iterator[tuple[str, Geometry]]:
    """Yield the weights of experts that are one parameter, each expert a matrix."""
    if "expert" not in type(module).__name__.lower():
        return
    n_inputs = next(
        (
            size
            for name in ("input_size", "hidden_dim", "hidden_size")
            if isinstance(size := getattr(module, name, None), int)
        ),
        None,
    )
    n_experts = getattr(module, "moe_num_experts", 0)
    fused, down = (module._parameters.get(name) for name in ("gate_up_proj", "down_proj"))
    if n_inputs is None and fused is not None and down is not None and fused.dim() == 3:
        # One size of the two is the channels of the stream: that of the inputs and the outputs.
        (_, a, b), (_, c, d) = fused.shape, down.shape
        n_inputs = b if (a, b) == (2 * d, c) else a if (a, b) == (d, 2 * c) else None
    for name, parameter in module.named_parameters(recurse=False):
        writes = name.startswith(("down_proj", "w2", "output_linear"))
        if parameter.dim() == 2 and n_experts and name in ("w1", "v1", "w2"):
            # DBRX: (experts x hidden, channels), the last from the one to the other.
            a, b = parameter.shape[0] // n_experts, parameter.shape[1]
            fans = (a, b) if writes else (b, a)
            yield name, Geometry(int(writes), *fans, stack=n_experts)
        elif parameter.dim() == 3 and not name.endswith("bias"):
            n, a, b = parameter.shape
            transposed = getattr(module, "is_transposed", None)
            if not isinstance(transposed, bool):
                channels = a if writes else b  # where they stand in (out, in)
                if n_inputs is None or n_inputs not in (a, b):
                    continue
                transposed = channels != n_inputs
            fans = (a, b) if transposed else (b, a)
            yield name, Geometry(2 if transposed else 1, *fans, stack=n, experts=True)


def _held(prefix: str, module: nn.Module, parent: nn.Module | None) -> Iterator[Place]:
    """Yield what a module itself holds, the weights before the biases."""

    def place(attribute: str, kind: Kind, **fields: Any) -> Place:
        return Place(
            prefix + attribute, module, attribute, kind, behind(module, attribute), **fields
        )

    seen = {"parametrizations"}
    family = type(module).__name__
    if family in ("ParametrizationList", "FlatParameter"):
        return
    path = prefix.split(".")
    if isinstance(module, nn.ParameterDict) and any(part in ADAPTER for part in path):
        for name, p in module.named_parameters(
            recurse=False
        ):  # of an embedding, with names of peft
            kind: Kind = "zero" if "lora_embedding_A" in path else "embedding"
            yield place(name, kind, geometry=Geometry(1, p.shape[0], p.shape[1]))
        return
    if isinstance(module, nn.ParameterDict) and "ia3_l" in path:
        for name, _ in module.named_parameters(recurse=False):
            yield place(name, "kept", reason="scale of an adapter, 1 at the start")
        return
    if "lora_magnitude_vector" in path:
        for name, _ in module.named_parameters(recurse=False):
            yield place(name, "kept", reason="norm of the base's weight, part of the adapter")
        return
    if isinstance(module, NORMS) or "Norm" in family:
        vectors = [
            name
            for name, p in module._parameters.items()
            if p is not None and (isinstance(module, NORMS) or p.dim() == 1)
        ]
        for attribute in vectors:
            kind = "norm bias" if attribute in ("bias", "beta") else "gain"
            if attribute in ("weight", "bias", "gamma", "beta", "scale"):
                yield place(attribute, kind)
                seen.add(attribute)
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        rows, channels = module.num_embeddings, module.embedding_dim
        fixed = "Sinusoid" in family or (
            type(parent).__name__ == "WhisperEncoder" and prefix.endswith("embed_positions.")
        )
        if fixed:
            yield place("weight", "kept", reason="fixed sinusoids")
        else:
            yield place("weight", "embedding", geometry=Geometry(1, channels, rows))
        seen.add("weight")
    elif isinstance(module, nn.MultiheadAttention):
        for attribute, geometry, parts in _attention(module):
            yield place(attribute, "layer", geometry=geometry, parts=parts, separate=True)
            seen.add(attribute)
        seen |= {"bias_k", "bias_v"}
        for attribute in ("bias_k", "bias_v"):
            if module._parameters.get(attribute) is not None:
                yield place(attribute, "unknown", reason="a key or value of its own, no bias")
    elif isinstance(module, nn.RNNBase):
        for attribute, geometry, parts in _recurrent(module):
            yield place(attribute, "layer", geometry=geometry, parts=parts, separate=True)
            seen.add(attribute)
    elif found := _geometry(module):
        zero = "lora_B" in path
        yield place("weight", "zero" if zero else "layer", geometry=found)
        seen.add("weight")
    for attribute, geometry in _experts(module):
        yield place(attribute, "layer", geometry=geometry)
        seen.add(attribute)
    for attribute, parameter in module._parameters.items():
        if parameter is None or attribute in seen:
            continue
        if attribute in ON_PURPOSE and (attribute != "D" or hasattr(module, "A_log")):
            yield place(attribute, "kept", reason=ON_PURPOSE[attribute])
        elif getattr(parameter, "_no_reinit", False) or (
            attribute == "bias" and prefix.endswith("dt_proj.") and hasattr(parent, "A_log")
        ):
            yield place(attribute, "kept", reason=STEP_SIZES)
        elif attribute in VECTORS:
            rows = parameter.numel() // max(parameter.shape[-1], 1) if parameter.dim() else 0
            fans = (parameter.shape[-1], rows) if rows else (0, 0)
            yield place(attribute, "embedding", geometry=Geometry(0, *fans))
        elif _is_bias(attribute, parameter, family):
            yield place(attribute, "bias")
    parametrized = cast(Any, module).parametrizations if parametrize.is_parametrized(module) else ()
    for attribute in parametrized:
        if attribute not in seen:
            kind = "bias" if attribute == "bias" else "unknown"
            yield place(attribute, kind, reason="parametrized, and not of a layer that is known")


def _is_bias(attribute: str, parameter: torch.Tensor, family: str) -> bool:
    """Return whether a parameter is a bias by its name and shape."""
    named = attribute == "bias" or attribute.endswith("_bias") or attribute.startswith("bias_")
    return named and (parameter.dim() <= 1 or "expert" in family.lower())


def find_parameters(model: nn.Module, *, with_roles: bool = True) -> list[Place]:
    """Return every parameter of a model and what it is, module by module.

    A parameter that several modules share is found in each of them.

    Parameters
    ----------
    model
        Any module.
    with_roles
        Whether to find the roles and positions of weights in residual blocks too.
    """
    modules = dict(model.named_modules())
    found: list[Place] = []
    for name, module in modules.items():
        parent = modules.get(name.rpartition(".")[0]) if name else None
        found += _held(f"{name}." if name else "", module, parent)
    known = {id(tensor) for place in found for tensor in place.tensors}
    for name, parameter in model.named_parameters():
        if id(parameter) not in known:
            owner, _, attribute = name.rpartition(".")
            reason = f"not a parameter that is known of {type(modules[owner]).__name__}"
            place = Place(name, modules[owner], attribute, "unknown", (parameter,), reason=reason)
            found.append(place)
    return _with_roles(found, modules) if with_roles else found


# --- Residual blocks -------------------------------------------------------------------------

Block = tuple[str, ...]


class _Site(NamedTuple):
    """A weight on its way to a role."""

    path: list[str]
    parts: tuple[Part, ...]
    reason: str
    stands_in: bool = False  # for another of that role

    @property
    def role(self) -> str:
        return self.parts[0][0]


def _site(place: Place, modules: dict[str, nn.Module]) -> _Site:
    """Return a layer's path and the roles that its name tells."""
    path = _by_block(place.path)
    if any(part in ADAPTER for part in path):
        return _Site(path, place.parts, "")
    owner = place.name.rpartition(".")[0]
    attributes = place.attribute in ("weight", "original")
    parent = modules[owner.rpartition(".")[0]] if attributes and owner else place.module
    numbers = [k for k, part in enumerate(path) if part.isdecimal()]
    within = path[numbers[0] + 1 :] if numbers else path[-2:]
    if not within:
        return _Site(path, place.parts, "")
    leaf = path[-1]
    if isinstance(parent, nn.MultiheadAttention) or (
        leaf in ("c_attn", "c_proj") and "att" in "".join(path[-2:-1])
    ):
        within = ["attention", *within]
    if leaf == "out_proj" and hasattr(parent, "A_log"):
        return _Site(path, (("attention_out", None),), "", stands_in=True)  # a state space
    expert = [role for role, names in EXPERT_ROLES.items() if leaf in names]
    if expert and "expert" in ".".join((*path, type(place.module).__name__)).lower():
        if any("attention" in part or "attn" in part for part in within):
            expert = ["attention_out" if expert == ["mlp_out"] else "q"]
        return _Site(path, ((expert[0], None),), "")
    own = OWN_ROLES.get(type(parent).__name__, {}).get(leaf)
    if own is not None:
        return _Site(path, ((own, None),), "")
    if place.separate:
        return _Site(path, place.parts, "")
    geometry = cast(Geometry, place.geometry)
    sizes = int(geometry.fan_out), int(geometry.fan_in)
    if leaf == "gate_up_proj" and type(place.module).__name__.startswith(INTERLEAVED_EXPERTS):
        half = sizes[0] // 2
        alternate = ("mlp_gate", UnitRange(half, 0, 1)), ("mlp_in", UnitRange(half, 1, 1))
        return _Site(path, alternate, "")
    try:
        parts = block_roles(parent, path, within, *sizes)
    except UsageError as error:
        return _Site(path, place.parts, str(error))
    covered = sum(units.groups * units.length for _, units in parts if units is not None)
    if covered not in (0, sizes[0]) or (len(parts) > 1 and not covered):
        return _Site(path, place.parts, "")
    return _Site(path, tuple(parts), "")


def _by_block(path: list[str]) -> list[str]:
    """Return the path as if a list of one branch of every block were a list of blocks."""
    if len(path) >= 3 and path[-3] in BRANCH_LISTS and path[-2].isdecimal():
        return [*path[:-3], "blocks", path[-2], BRANCH_LISTS[path[-3]], path[-1]]
    return path


def _block_of(path: Sequence[str], ends: dict[Block, set[str]]) -> Block:
    """Return the block that the end of a branch is in.

    The innermost numbered module that holds the ends of both kinds: the numbers of experts and of
    parts of a block count no blocks, those of the stages of a pyramid not either.
    """
    numbers = [k for k, part in enumerate(path) if part.isdecimal()]
    if not numbers:
        return tuple(path[:-2])
    for k in reversed(numbers):
        if len(ends[tuple(path[: k + 1])]) == 2:
            return tuple(path[: k + 1])
    return tuple(path[: numbers[0] + 1])


def _with_roles(places: list[Place], modules: dict[str, nn.Module]) -> list[Place]:
    """Return the places with the roles and positions of the weights."""
    sites = {place: _site(place, modules) for place in places if place.kind in ("layer", "zero")}
    attends = any(site.role in ("q", "k", "v", "attention_out") for site in sites.values())
    known = {
        place: site
        for place, site in sites.items()
        # Without attention only the names of GPT-2 say that there is a residual stream.
        if site.role in BRANCH_ENDS and (attends or site.path[-1] == "c_proj")
    }
    ends: dict[Block, set[str]] = defaultdict(set)
    for site in known.values():
        for k in range(len(site.path)):
            ends[tuple(site.path[: k + 1])].add(site.role)
    block_of_end = {place: _block_of(site.path, ends) for place, site in known.items()}
    stacks: dict[Block, dict[Block, int]] = defaultdict(dict)  # blocks of each, by their numbers
    for block in block_of_end.values():
        stacks[block[:-1]].setdefault(block, len(stacks[block[:-1]]) + 1)
    positions = {stack: _position(stack, stacks, block_of_end, known) for stack in stacks}
    for module in modules.values():
        if type(module).__name__ == "AlbertTransformer":  # the same layers, one time after another
            config = cast(Any, module).config
            times = config.num_hidden_layers / config.num_hidden_groups / config.inner_group_num
            positions = {
                stack: p._replace(
                    n_layer=round(p.n_layer * times), n_branches=round(p.n_branches * times)
                )
                for stack, p in positions.items()
            }

    def block_of(path: Sequence[str]) -> Block | None:
        """Return the block that a module is in."""
        starts = (tuple(path[:k]) for k in range(len(path), -1, -1))
        return next((b for b in starts if b in stacks.get(b[:-1], ())), None)

    outside = [place for place, site in sites.items() if block_of(site.path) is None]
    result = []
    for place in places:
        position, parts, reason = place.position, place.parts, place.reason
        named: tuple[Part, ...] = ()
        unnamed = ""
        if place in sites:
            named = () if sites[place].stands_in else sites[place].parts
            unnamed = sites[place].reason
        if place.kind == "embedding" and stacks:
            width = cast(Geometry, place.geometry).fan_in
            fitting = [p for p in positions.values() if p.n_embd == width]
            position = (fitting or list(positions.values()))[0]
        elif place in sites and stacks:
            site = sites[place]
            parts, reason = site.parts, site.reason
            inside = block_of(site.path)
            if inside is None:
                last = place is outside[-1] or site.path[-1:] == ["lm_head"]
                parts = tuple(("output" if last else "outside", units) for _, units in parts)
                position = next(iter(positions.values()))
            else:
                position = positions[inside[:-1]]._replace(layer=stacks[inside[:-1]][inside])
        result.append(
            dataclasses.replace(
                place, position=position, parts=parts, reason=reason, named=named, unnamed=unnamed,
                block=block_of(place.path) or (),
            )
        )  # fmt: skip
    return result


def _position(
    stack: Block,
    stacks: dict[Block, dict[Block, int]],
    block_of_end: dict[Place, Block],
    sites: dict[Place, _Site],
) -> Position:
    """Return what is said of a stack of blocks; several experts end one branch."""
    ends = [place for place, block in block_of_end.items() if block[:-1] == stack]
    branches = {
        (block_of_end[place], sites[place].role)
        if any("expert" in part for part in sites[place].path)
        else place
        for place in ends
    }
    shared = [  # experts beside an MLP: in one branch with it
        key
        for key in branches
        if isinstance(key, tuple)
        and any(
            not isinstance(other, tuple)
            and block_of_end[other] == key[0]
            and sites[other].role == key[1]
            for other in branches
        )
    ]
    n_embd = int(cast(Geometry, ends[0].geometry).fan_out)
    return Position(0, len(stacks[stack]), len(branches) - len(shared), n_embd)
