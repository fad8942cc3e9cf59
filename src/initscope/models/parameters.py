"""Find what every parameter of a model is: a weight with its fans and role, a bias, a gain."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrize

from initscope.models.architectures import (
    ON_PURPOSE,
    STEP_SIZES,
    VECTORS,
    UnitRange,
)
from initscope.models.blocks import BRANCH_ENDS, add_roles
from initscope.models.branch_ends import branch_ends
from initscope.models.places import (
    ADAPTER,
    Geometry,
    Kind,
    Part,
    Place,
    behind,
    conv1d_class,
    value_of,
)

__all__: list[str] = []  # for this package alone


LAYERS = (nn.Linear, _ConvNd, nn.MultiheadAttention, nn.RNNBase)
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, _NormBase)


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
    if (of_adapter := _of_adapter(module, path, place)) is not None:
        yield from of_adapter
        return
    if isinstance(module, NORMS) or "Norm" in family:
        vectors = [
            name
            for name, p in module._parameters.items()
            if p is not None and (isinstance(module, NORMS) or p.dim() == 1)
        ]
        for attribute in vectors:
            kind: Kind = "norm bias" if attribute in ("bias", "beta") else "gain"
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


def _of_adapter(
    module: nn.Module, path: list[str], place: Callable[..., Place]
) -> list[Place] | None:
    """Return what peft holds in a module beside the model's own layers; None of any other."""
    vectors = module.named_parameters(recurse=False)
    if isinstance(module, nn.ParameterDict) and any(part in ADAPTER for part in path):
        # Of an embedding, with names of peft.
        kind: Kind = "zero" if "lora_embedding_A" in path else "embedding"
        return [place(n, kind, geometry=Geometry(1, p.shape[0], p.shape[1])) for n, p in vectors]
    if isinstance(module, nn.ParameterDict) and "ia3_l" in path:
        reason = "scale of an adapter, 1 at the start"
    elif "lora_magnitude_vector" in path:
        reason = "norm of the base's weight, part of the adapter"
    else:
        return None
    return [place(name, "kept", reason=reason) for name, _ in vectors]


def _is_bias(attribute: str, parameter: torch.Tensor, family: str) -> bool:
    """Return whether a parameter is a bias by its name and shape."""
    named = attribute == "bias" or attribute.endswith("_bias") or attribute.startswith("bias_")
    return named and (parameter.dim() <= 1 or "expert" in family.lower())


def find_parameters(
    model: nn.Module, *, with_roles: bool = True, with_ends: bool = False
) -> list[Place]:
    """Return every parameter of a model and what it is, module by module.

    A parameter that several modules share is found in each of them.

    Parameters
    ----------
    model
        Any module.
    with_roles
        Whether to find the roles and positions of weights in residual blocks too.
    with_ends
        Whether to find what ends residual branches, by these roles, and in convolutional networks
        by the sums in a traced pass.
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
    found = add_roles(found, modules) if with_roles else found
    if not with_ends:
        return found
    ends = branch_ends(model)
    return [
        dataclasses.replace(place, ends_branch=True)
        if place.name in ends or (place.block and place.parts[0][0] in BRANCH_ENDS)
        else place
        for place in found
    ]
