"""What each parameter of a model is given, and how it is written where the model keeps it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize
from torch.nn.utils.weight_norm import WeightNorm

from initscope.errors import UsageError
from initscope.initialization_draws import check_fillable, draw_
from initscope.models.parameters import LAYERS
from initscope.models.places import Geometry, Place, behind, conv1d_class
from initscope.theory.rule import ROLES, Rule, Weight

Fill = Callable[[torch.Tensor, "torch.Generator | None"], object]

__all__: list[str] = []  # for initialize_ alone


class Assignment(NamedTuple):
    """What one parameter will be given: `fill_` draws it, with this standard deviation."""

    place: Place
    std: float
    fill_: Fill


def weight_fill(place: Place, rule: Rule, options: Mapping[str, Any]) -> tuple[float, Fill]:
    """Return the std that `rule` gives one weight, and what draws it; each part by itself."""
    geometry = cast(Geometry, place.geometry)
    split = place.separate or rule.scope != "layers"  # a fused weight is one layer
    parts = place.parts if split else (("hidden", None),)
    if place.kind == "embedding":
        parts = (("embedding", None),)
    sizes = [
        geometry.fan_out if units is None else units.groups * units.length for _, units in parts
    ]
    names = ["mlp_in" if role == "mlp_gate" else role for role, _ in parts]
    draws = [
        rule(
            Weight(
                geometry.fan_in,
                size,
                role if role in ROLES else "hidden",
                *place.position,
                receptive_field=geometry.receptive_field,
            ),
            **options,
        )
        for role, size in zip(names, sizes, strict=True)
    ]
    stds = [float(draw.std) for draw in draws]
    whole = len(set(draws)) == 1 and draws[0].distribution != "orthogonal"

    def fill_(tensor: torch.Tensor, generator: torch.Generator | None) -> None:
        if whole:
            draw_(tensor, draws[0], geometry, generator)
            return
        for (_, units), draw in zip(parts, draws, strict=True):
            part = tensor if units is None else units.of(tensor, geometry.unit_dim)
            draw_(part, draw, geometry, generator)

    if len(set(stds)) == 1:
        return stds[0], fill_
    squares = math.fsum(size * std**2 for size, std in zip(sizes, stds, strict=True))
    return math.sqrt(squares / sum(sizes)), fill_


def _older_weight_norm(place: Place) -> WeightNorm | None:
    """Return the hook of torch's older weight_norm that computes a weight."""
    hooks = place.module._forward_pre_hooks.values()
    found = (h for h in hooks if isinstance(h, WeightNorm) and h.name == place.attribute)
    return next(found, None)


def _is_direct(place: Place) -> bool:
    """Return whether the module computes with the parameter itself."""
    return place.module._parameters.get(place.attribute) is not None


def unfillable(assignment: Assignment) -> str:
    """Return why a weight that is computed from parameters cannot be given; empty if it can."""
    place, std, fill_ = assignment
    if _is_direct(place):
        return ""
    if any(hasattr(tensor, "full_tensor") for tensor in place.tensors):
        return "parametrized and sharded"
    if not parametrize.is_parametrized(place.module, place.attribute):
        if _older_weight_norm(place) is None:
            return "computed before every pass, by spectral_norm, pruning or another hook"
        return "" if std else "weight_norm holds no weight of zeros"
    held = copy.deepcopy(cast(nn.ModuleDict, place.module.parametrizations)[place.attribute]).eval()
    name = ", ".join(type(one).__name__.lstrip("_") for one in cast(nn.ModuleList, held))
    wanted = torch.empty_like(place.value)
    fill_(wanted, torch.Generator(wanted.device).manual_seed(0))
    try:
        cast(Any, held).right_inverse(wanted)
        error = float((held() - wanted).norm())
    except Exception:  # whatever a parametrization of anyone's says
        return f"its parametrization {name} takes no weight"
    if error <= 0.02 * float(wanted.norm()):
        return ""
    return f"its parametrization {name} makes another weight of the one it is given"


def write_(
    assignment: Assignment, padding: Mapping[int, int], generator: torch.Generator | None
) -> torch.Tensor:
    """Draw one parameter and return the whole of it."""
    place, _, fill_ = assignment
    if _is_direct(place):
        parameter = place.tensors[0]
        sharded = hasattr(parameter, "full_tensor")
        target = _whole(parameter) if sharded else parameter
        fill_(target, generator)
        row = padding.get(id(parameter))
        if row is not None:
            target[row] = 0.0
        if sharded:
            _distribute_(parameter, target)
        return target
    drawn = torch.empty_like(place.value)
    fill_(drawn, generator)
    hook = _older_weight_norm(place)
    if hook is None:
        setattr(place.module, place.attribute, drawn)
        return place.value
    length, direction = place.tensors
    direction.copy_(drawn)
    length.copy_(torch.norm_except_dim(drawn, 2, hook.dim))
    setattr(place.module, place.attribute, hook.compute_weight(place.module))
    return drawn


def _whole(parameter: Any) -> torch.Tensor:
    """Return an empty tensor of the shape that a sharded parameter has on all devices together."""
    local = parameter.to_local()
    return torch.empty(parameter.shape, dtype=local.dtype, device=local.device)


def _distribute_(parameter: Any, whole: torch.Tensor) -> None:
    """Write this process's share of `whole`; what counts is what the first process has drawn."""
    from torch.distributed.tensor import distribute_tensor

    shares = distribute_tensor(whole, parameter.device_mesh, parameter.placements)
    parameter.to_local().copy_(shares.to_local())


def drawn_rms(tensor: torch.Tensor, n_zeros: int) -> float:
    """Return the root mean square of the elements but `n_zeros`, which are zero."""
    n = max(tensor.numel() - n_zeros, 1)
    wide = torch.promote_types(tensor.dtype, torch.float32)
    norm = float(torch.linalg.vector_norm(tensor, dtype=wide))
    if not 0 < norm < math.inf:  # squares beyond the range of float32
        norm = float(torch.linalg.vector_norm(tensor.cpu().double()))
    return norm / math.sqrt(n)


def check_layers(model: nn.Module) -> None:
    """Raise unless `model` has layers, each with a weight that can be drawn."""
    layers = [
        (name, cast(nn.Module, module))
        for name, module in model.named_modules()
        if isinstance(module, (*LAYERS, *conv1d_class()))
    ]
    if not layers:
        raise UsageError(
            f"the model {type(model).__name__} has no linear or convolutional layer to initialize."
        )
    for name, module in layers:
        where = name or type(model).__name__
        if any(is_lazy(p) for p in module.parameters(recurse=False)):
            raise UsageError(
                f"{where} has no shape yet: call the model once, with a "
                f"batch, before it is initialized."
            )
        tensors = behind(module, "weight")
        if isinstance(module, nn.MultiheadAttention | nn.RNNBase):
            tensors = tuple(module.parameters(recurse=False))
        if not tensors:
            check_fillable(f"the weight of {where}", cast(Any, module.weight))
        for tensor in tensors:
            if tensor.is_meta:
                raise UsageError(
                    f"the weight of {where} has no data, on the device meta: call "
                    f"model.to_empty(device='cpu') first."
                )
            check_fillable(f"the weight of {where}", tensor)
            if tensor.element_size() == 1:
                raise UsageError(
                    f"the weight of {where} is of {tensor.dtype}, of which "
                    f"torch draws no numbers: initialize the model in bfloat16, then convert it."
                )
            if tensor.numel() == 0:
                todo = (
                    "give the layer at least one input and one output (AdaptiveLogSoftmaxWithLoss: "
                    "by a smaller div_value)."
                    if tensor.dim() > 1  # a share that is missing has lost its shape
                    else "this process holds no share of it. Initialize the model before it is "
                    "sharded."
                )
                raise UsageError(
                    f"a weight tensor of {where}, of shape {tuple(tensor.shape)}, has no elements: "
                    f"{todo}"
                )
        if len(tensors) == 1 and tensors[0].dim() < 2 and not isinstance(module, nn.RNNBase):
            raise UsageError(
                f"the weight of {where} has {tensors[0].dim()} dimension, "
                f"not two or more: this process does not hold it whole. Initialize the model "
                f"before it is sharded, or shard it with fully_shard."
            )
