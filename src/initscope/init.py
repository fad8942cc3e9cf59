"""Initialization schemes, in place, in the manner of :mod:`torch.nn.init`.

Every scheme draws from the generator it is given, sets the biases too, and returns the standard
deviation each parameter was asked to have and the one it got, and what it did not set, and why.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.weight_norm import WeightNorm

from initscope import checks
from initscope.checks import require_name
from initscope.errors import UsageError, shown
from initscope.initialization_report import Initialization, by_reason
from initscope.models.parameters import LAYERS, find_parameters
from initscope.models.places import Geometry, Place, behind, conv1d_class
from initscope.theory.rule import (
    DISTRIBUTIONS,
    LARGEST_STD,
    MODES,
    ROLES,
    Draw,
    Rule,
    Weight,
)
from initscope.theory.scheme import Scheme
from initscope.theory.schemes import SCHEMES, check_options, fan, rule_name

__all__ = [
    "DISTRIBUTIONS",
    "MODES",
    "SCHEMES",
    "Initialization",
    "Scheme",
    "fans",
    "initialize_",
    "variance_scaling_",
    "variance_scaling_std",
    "weight_layers",
]


def fans(tensor: torch.Tensor, *, transposed: bool = False) -> tuple[int, int]:
    """Return the number of inputs and of outputs of one unit, ``(fan_in, fan_out)``.

    Parameters
    ----------
    tensor
        Weight of shape ``(out, in, *kernel)`` as in `nn.Linear` and `nn.Conv2d`, or
        ``(in, out, *kernel)`` with `transposed`.
    transposed
        True for transformers' `Conv1D`, which stores its weight as ``(in, out)``.

    Raises
    ------
    UsageError
        If `tensor` has fewer than two dimensions or no elements.

    Examples
    --------
    >>> fans(torch.empty(64, 32, 3, 3))  # kernels of a convolution, (out, in, height, width)
    (288, 576)
    """
    if not isinstance(tensor, torch.Tensor):
        raise UsageError(f"tensor must be a torch.Tensor, not {shown(tensor)}.")
    checks.flag("transposed", transposed)
    if tensor.dim() < 2:
        raise UsageError(
            f"tensor: fan_in and fan_out need a weight of at least two dimensions, not "
            f"{tensor.dim()}."
        )
    if tensor.numel() == 0:
        raise UsageError(f"a weight tensor of shape {tuple(tensor.shape)} has no elements.")
    receptive_field = math.prod(tensor.shape[2:])
    fan_out, fan_in = tensor.shape[0] * receptive_field, tensor.shape[1] * receptive_field
    return (fan_out, fan_in) if transposed else (fan_in, fan_out)


def _check_fillable(name: str, tensor: torch.Tensor) -> None:
    """Raise unless a normal or uniform distribution can be drawn into `tensor`."""
    checks.tensor(name, tensor)
    if tensor.requires_grad and not tensor.is_leaf:
        raise UsageError(f"{name} is the result of a computation: only a parameter can be drawn.")


def _check_range(std: float, dtype: torch.dtype) -> None:
    """Raise if draws of this std are no numbers of this type."""
    if 4 * std > torch.finfo(dtype).max:
        raise UsageError(f"std or scale {std:g} is beyond the range of {dtype}.")


def _fill_(
    tensor: torch.Tensor, std: float, distribution: str, generator: torch.Generator | None
) -> torch.Tensor:
    """Draw `tensor` with mean 0 and standard deviation `std`."""
    require_name("distribution", distribution, DISTRIBUTIONS)
    _check_range(std, tensor.dtype)
    if distribution == "normal":
        return nn.init.normal_(tensor, 0.0, std, generator=generator)
    bound = math.sqrt(3.0) * std  # U(-a, a) has variance a^2 / 3
    return nn.init.uniform_(tensor, -bound, bound, generator=generator)


def variance_scaling_std(
    tensor: torch.Tensor, scale: float, mode: str = "fan_in", *, transposed: bool = False
) -> float:
    """Return the std ``sqrt(scale / fan)`` that :func:`variance_scaling_` draws with.

    >>> variance_scaling_std(torch.empty(20, 50), scale=2.0)  # Kaiming: sqrt(2 / 50)
    0.2
    """
    divisor = fan(mode, *fans(tensor, transposed=transposed))
    return math.sqrt(checks.number("scale", scale, 0, LARGEST_STD) / float(divisor))


def variance_scaling_(
    tensor: torch.Tensor,
    scale: float,
    mode: str = "fan_in",
    distribution: str = "normal",
    *,
    transposed: bool = False,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    r"""Fill `tensor` with independent draws of mean 0 and variance ``scale / fan``.

    LeCun et al. (1998) is ``scale=1, mode="fan_in"``; Glorot & Bengio (2010, eq. 12) is
    ``scale=1, mode="fan_avg"``, that is variance :math:`2 / (n_{in} + n_{out})`; He et al. (2015,
    eq. 10) is ``scale=2, mode="fan_in"``, and their backward form (eq. 14) ``mode="fan_out"``.

    Parameters
    ----------
    tensor
        Weight of at least two dimensions; ``(out, in, *kernel)``.
    scale
        Numerator of the variance, a squared gain.
    mode
        The fan that divides it: ``"fan_in"``, ``"fan_out"`` or ``"fan_avg"``.
    distribution
        ``"normal"``, or ``"uniform"`` on :math:`\pm\sqrt{3\,scale/fan}`.
    transposed
        True for a weight stored as ``(in, out)``, as in transformers' `Conv1D`.
    generator
        Source of the draws; torch's default generator if None.

    Returns
    -------
    torch.Tensor
        `tensor` itself.

    Raises
    ------
    UsageError
        For an unknown mode or distribution, a negative or non-finite scale, or fewer than two
        dimensions.

    Examples
    --------
    >>> weight = torch.empty(256, 784)
    >>> generator = torch.Generator().manual_seed(0)
    >>> round(variance_scaling_(weight, 2.0, generator=generator).std().item(), 4)
    0.0505
    """
    std = variance_scaling_std(tensor, scale, mode, transposed=transposed)
    _check_fillable("tensor", tensor)
    checks.generator("generator", generator)
    return _fill_(tensor, std, distribution, generator)


def weight_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module, bool]]:
    """Yield ``(name, module, transposed)`` for each linear and convolutional layer of `model`.

    `transposed` is True for transformers' `Conv1D`, whose weight is stored as ``(in, out)``.

    >>> from initscope.models import MLP
    >>> [name for name, _, _ in weight_layers(MLP([4, 3, 2]))]
    ['0', '2']
    """
    checks.module("model", model, with_data=False)
    transposed_classes = conv1d_class()
    for name, module in model.named_modules():
        if isinstance(module, transposed_classes):
            yield name, cast(nn.Module, module), True
        elif isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            yield name, module, False


BRANCH_ENDS = {"attention_out": "attention", "mlp_out": "an MLP"}
Fill = Callable[[torch.Tensor, "torch.Generator | None"], object]


class _Assignment(NamedTuple):
    """What one parameter will be given: `fill_` draws it, with this standard deviation."""

    place: Place
    std: float
    fill_: Fill


def _orthogonal_(
    weight: torch.Tensor, gain: float, generator: torch.Generator | None
) -> torch.Tensor:
    """Draw an orthogonal matrix times `gain`."""
    if weight.dtype.itemsize >= 4 and weight.is_contiguous():
        return nn.init.orthogonal_(weight, gain, generator=generator)
    # torch decomposes no matrix of 16 bits, and writes to none that is a transposed view.
    drawn = torch.empty(
        weight.shape, dtype=torch.promote_types(weight.dtype, torch.float32), device=weight.device
    )
    return weight.copy_(nn.init.orthogonal_(drawn, gain, generator=generator))


CUT = 2.0  # standard deviations of the normal distribution, of which so much remains:
REMAINS = math.sqrt(1 - 2 * CUT * math.exp(-(CUT**2) / 2) / math.sqrt(2 * math.pi)
                    / math.erf(CUT / math.sqrt(2)))  # fmt: skip


def _truncated_normal_(
    weight: torch.Tensor, std: float, generator: torch.Generator | None
) -> torch.Tensor:
    """Draw a normal distribution that is cut on both sides, so that `std` is what remains."""
    wide = std / REMAINS
    if not std:
        return weight.zero_()
    # 16 bits are too coarse for the function that torch inverts.
    drawn = torch.empty(
        weight.shape, dtype=torch.promote_types(weight.dtype, torch.float32), device=weight.device
    )
    nn.init.trunc_normal_(drawn, 0.0, 1.0, -CUT, CUT, generator=generator)
    return weight.copy_(drawn.mul_(wide))


def _matrices(weight: torch.Tensor, geometry: Geometry) -> Iterator[torch.Tensor]:
    """Yield the matrices that are stacked in a weight: of experts, or of groups of channels."""
    for matrix in weight.chunk(geometry.stack) if geometry.stack > 1 else (weight,):
        yield matrix[0] if geometry.experts else matrix


def _draw_(
    weight: torch.Tensor, draw: Draw, geometry: Geometry, generator: torch.Generator | None
) -> None:
    if draw.distribution == "truncated":
        _truncated_normal_(weight, float(draw.std), generator)
        return
    if draw.distribution != "orthogonal":
        _fill_(weight, float(draw.std), draw.distribution, generator)
        return
    for matrix in _matrices(weight, geometry):
        gain = float(draw.gain)
        if geometry.receptive_field > 1 and geometry.unit_dim == 1:
            matrix = matrix.transpose(0, 1)  # a transposed convolution's: one row for one output
            rows, columns = matrix.shape[0], matrix[0].numel()
            gain = float(draw.std) * math.sqrt(max(rows, columns))
        _orthogonal_(matrix, gain, generator)


def _weight_fill(place: Place, rule: Rule, options: Mapping[str, Any]) -> tuple[float, Fill]:
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
            _draw_(tensor, draws[0], geometry, generator)
            return
        for (_, units), draw in zip(parts, draws, strict=True):
            part = tensor if units is None else units.of(tensor, geometry.unit_dim)
            _draw_(part, draw, geometry, generator)

    if len(set(stds)) == 1:
        return stds[0], fill_
    squares = math.fsum(size * std**2 for size, std in zip(sizes, stds, strict=True))
    return math.sqrt(squares / sum(sizes)), fill_


# --- Where it is written ---------------------------------------------------------------------


def _older_weight_norm(place: Place) -> WeightNorm | None:
    """Return the hook of torch's older weight_norm that computes a weight."""
    hooks = place.module._forward_pre_hooks.values()
    found = (h for h in hooks if isinstance(h, WeightNorm) and h.name == place.attribute)
    return next(found, None)


def _is_direct(place: Place) -> bool:
    """Return whether the module computes with the parameter itself."""
    return place.module._parameters.get(place.attribute) is not None


def _unfillable(assignment: _Assignment) -> str:
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


def _write_(
    assignment: _Assignment, padding: Mapping[int, int], generator: torch.Generator | None
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


def _rms(tensor: torch.Tensor, n_zeros: int) -> float:
    """Return the root mean square of the elements but `n_zeros`, which are zero."""
    n = max(tensor.numel() - n_zeros, 1)
    wide = torch.promote_types(tensor.dtype, torch.float32)
    norm = float(torch.linalg.vector_norm(tensor, dtype=wide))
    if not 0 < norm < math.inf:  # squares beyond the range of float32
        norm = float(torch.linalg.vector_norm(tensor.cpu().double()))
    return norm / math.sqrt(n)


@torch.no_grad()
def initialize_(
    model: nn.Module,
    scheme: str,
    *,
    generator: torch.Generator | None = None,
    bias_std: float = 0.0,
    strict: bool = False,
    **options: object,
) -> Initialization:
    """Initialize the layers of `model` in place, and say of every parameter what became of it.

    Layers are linear maps and convolutions: `nn.Linear`, `nn.Conv1d` to `nn.Conv3d` and their
    transposed kin, `nn.MultiheadAttention`, `nn.RNN`, `nn.GRU`, `nn.LSTM`, transformers' `Conv1D`,
    its routers and its experts in one tensor, of which each is a matrix. They are drawn in the
    order of `model.named_modules()`: of each the weight, then the bias, zero or normal with
    `bias_std`. Norms and embeddings stay as they are, unless the scheme is one for a whole model:
    then embeddings are drawn in their turn, and norms get gain 1 and bias 0. Such a scheme tells
    queries, keys, values and the ends of residual branches apart by the names that the models of
    transformers, and torch's own, give them; the blocks of an encoder and of a decoder are counted
    each by themselves. What it asks of the forward pass (DeepNorm's factor on the stream) is the
    model's. A weight that several layers share is drawn once; one that a layer shares with an
    embedding counts as the layer's, or, in a whole model, as the embedding's.

    Kept as they are, with the reason: frozen parameters, the layer under an adapter, fixed
    sinusoids, the decay rates and step sizes of state spaces. Rows of padding stay 0, and an
    adapter's ``lora_B`` gets 0. A weight behind weight_norm is drawn as a whole; one whose
    parametrization fixes its scale (spectral_norm) is left and named, as is every parameter that
    is not known here. Of a weight in shards (FSDP2, tensor parallel) every process draws the whole
    and keeps its share, so that the seed alone decides.

    Parameters
    ----------
    model
        Any module with a layer.
    scheme
        One of :data:`initscope.theory.SCHEMES`, or ``"he"`` or ``"glorot"``.
    generator
        Source of the draws; torch's default generator if None.
    bias_std
        Standard deviation of the biases, those of norms excepted.
    strict
        Whether to raise, before anything is drawn, if a parameter would be left.
    **options
        Options of the scheme; see :data:`initscope.theory.SCHEMES`.

    Returns
    -------
    Initialization
        A dictionary from parameter name to the standard deviation per element that it was given,
        with what was drawn, what was kept and what was left.

    Raises
    ------
    UsageError
        For an unknown scheme or option, a negative or non-finite std or gain, a weight without
        elements, a generator on another device, or a model without a layer to initialize or
        without the residual blocks that the scheme is for; the model is left as it was.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> initialize_(nn.Linear(50, 10), "kaiming", generator=generator)
    2 parameters set, 100.00% of all numbers: {
      weight  std 0.2, drawn 0.2028
      bias    std 0, drawn 0
    }
    """
    options = check_options(scheme, options)
    bias_std = checks.number("bias_std", bias_std, 0, LARGEST_STD)
    checks.generator("generator", generator)
    checks.flag("strict", strict)
    report = Initialization()
    assignments = _assignments(model, SCHEMES[rule_name(scheme)], options, bias_std, report)
    _check_report(model, assignments, report, generator, strict)
    padding = {
        id(module.weight): module.padding_idx
        for module in model.modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.padding_idx is not None
    }
    for assignment in assignments:
        place, std, _ = assignment
        drawn = _write_(assignment, padding, generator)
        n_zeros = drawn.shape[-1] if id(place.tensors[0]) in padding else 0
        report[place.name] = std
        report.drawn[place.name] = _rms(drawn, n_zeros) if std else 0.0
    return report


def _check_report(
    model: nn.Module,
    assignments: list[_Assignment],
    report: Initialization,
    generator: torch.Generator | None,
    strict: bool,
) -> None:
    """Raise if nothing can be set, if something is left that must not, or nothing can be drawn."""
    if not assignments:
        reasons = "; ".join(by_reason(report.kept | report.left))
        raise UsageError(
            f"no parameter of {type(model).__name__} can be set: {reasons}. Unfreeze what is to be "
            f"drawn with requires_grad_(True)."
        )
    if strict and report.left:
        raise UsageError(
            f"strict: {len(report.left)} parameters of {type(model).__name__} would be left as "
            f"they are: {'; '.join(by_reason(report.left))}. Set them by hand and give "
            f"strict=False."
        )
    for place, std, _ in assignments:
        device = place.tensors[0].device
        if std and generator is not None and generator.device.type != device.type:
            raise UsageError(
                f"the generator is on {generator.device} and {place.name} on {device}: make it "
                f"with torch.Generator({str(device)!r})."
            )


def _check_layers(model: nn.Module) -> None:
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
        tensors = behind(module, "weight")
        if isinstance(module, nn.MultiheadAttention | nn.RNNBase):
            tensors = tuple(module.parameters(recurse=False))
        elif not tensors:
            _check_fillable("the weight of a layer of the model", cast(Any, module.weight))
        for tensor in tensors:
            _check_fillable("the weight of a layer of the model", tensor)
            if tensor.numel() == 0:
                raise UsageError(
                    f"a weight tensor of {name or type(model).__name__}, of shape "
                    f"{tuple(tensor.shape)}, has no elements. If this process holds no share of "
                    f"it, initialize the model before it is sharded."
                )
        if len(tensors) == 1 and tensors[0].dim() < 2 and not isinstance(module, nn.RNNBase):
            raise UsageError(
                f"the weight of {name or type(model).__name__} has {tensors[0].dim()} dimension, "
                f"not two or more: this process does not hold it whole. Initialize the model "
                f"before it is sharded, or shard it with fully_shard."
            )


def _assignments(
    model: nn.Module,
    rule: Rule,
    options: Mapping[str, Any],
    bias_std: float,
    report: Initialization,
) -> list[_Assignment]:
    """Return what every parameter will be given, in the order of draws, before one is drawn."""
    checks.module("model", model, with_data=False)
    _check_layers(model)
    places = find_parameters(model, with_roles=rule.scope != "layers")
    if rule.scope == "blocks" and not any(place.position.n_layer for place in places):
        raise UsageError(
            f"scheme {rule.name!r} is for a model with residual blocks, whose attention and MLP "
            f"have names that are known (those of GPT-2, c_attn, c_fc, c_proj, of other models of "
            f"transformers, or of torch's own): {type(model).__name__} has none."
        )
    if options.get("residual_scaling", rule.options.get("residual_scaling")):
        roles = {role for place in places for role, _ in place.parts}
        ends = [name for role, name in BRANCH_ENDS.items() if role not in roles]
        if ends:
            report.notes.append(
                f"no residual branch with {' or '.join(ends)} at its end is known in "
                f"{type(model).__name__}, and none is counted or scaled"
            )
    found: list[_Assignment] = []
    seen: set[int] = set()
    others: list[tuple[Place, str, str]] = []
    for place in places:
        ids = {id(tensor) for tensor in place.tensors}
        if ids and ids <= seen:
            continue
        outcome = _outcome(place, rule, options, bias_std)
        if isinstance(outcome, _Assignment) and (why := _unfillable(outcome)):
            outcome = "left", why
        if isinstance(outcome, _Assignment):
            found.append(outcome)
            seen |= ids
            report.numbers[place.name] = sum(tensor.numel() for tensor in place.tensors)
        else:
            others.append((place, *outcome))
    for place, outcome_name, why in others:
        ids = {id(tensor) for tensor in place.tensors}
        if not ids or not ids <= seen:
            (report.kept if outcome_name == "kept" else report.left)[place.name] = why
            report.numbers[place.name] = sum(tensor.numel() for tensor in place.tensors)
            seen |= ids
    return found


def _outcome(
    place: Place, rule: Rule, options: Mapping[str, Any], bias_std: float
) -> _Assignment | tuple[str, str]:
    """Return what one parameter will be given, or whether it is kept or left, and why."""
    if not any(tensor.requires_grad for tensor in place.tensors):
        return "kept", place.reason if place.kind == "kept" else "frozen: requires_grad is False"
    if "base_layer" in place.name.split("."):
        return "kept", "the layer under an adapter"
    if place.kind == "kept":
        return "kept", place.reason
    if place.kind == "unknown":
        return "left", place.reason
    if rule.scope == "layers" and place.kind in ("gain", "norm bias", "embedding"):
        kind = "embeddings" if place.kind == "embedding" else "norms"
        return "kept", f"scheme {rule.name} is for layers, and leaves {kind} alone"
    dtype = place.tensors[0].dtype
    if place.kind == "bias" and bias_std:
        _check_range(bias_std, dtype)
        return _Assignment(place, bias_std, partial(_normal_, bias_std))
    if place.kind in ("bias", "norm bias", "zero", "gain"):
        value = place.neutral_gain if place.kind == "gain" else 0.0
        return _Assignment(place, 0.0, lambda tensor, _: nn.init.constant_(tensor, value))
    if place.reason:
        return "left", place.reason
    _check_fillable(place.name, place.tensors[0])
    std, fill_ = _weight_fill(place, rule, options)
    _check_range(std, dtype)
    return _Assignment(place, std, fill_)


def _normal_(std: float, tensor: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    return nn.init.normal_(tensor, 0.0, std, generator=generator)
