"""Initialization schemes, in place, in the manner of :mod:`torch.nn.init`.

Every scheme draws from the generator it is given, sets the biases too, and returns the standard
deviation each parameter was given, so that what was meant can be compared with what was drawn.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import nn

from initscope import checks
from initscope.checks import require_name
from initscope.errors import UsageError, shown
from initscope.theory.rule import (
    ATTENTION_INPUTS,
    BRANCH_ENDS,
    DISTRIBUTIONS,
    LARGEST_STD,
    MODES,
    Draw,
    Rule,
    Weight,
)
from initscope.theory.scheme import Scheme
from initscope.theory.schemes import SCHEMES, check_options, fan

__all__ = [
    "DISTRIBUTIONS",
    "MODES",
    "SCHEMES",
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


NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def _conv1d_class() -> tuple[type, ...]:
    """Return transformers' `Conv1D`, if that is imported; otherwise no model holds one."""
    module = sys.modules.get("transformers.pytorch_utils")
    return (module.Conv1D,) if module is not None else ()


def weight_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module, bool]]:
    """Yield ``(name, module, transposed)`` for each linear and convolutional layer of `model`.

    `transposed` is True for transformers' `Conv1D`, whose weight is stored as ``(in, out)``.

    >>> from initscope.models import MLP
    >>> [name for name, _, _ in weight_layers(MLP([4, 3, 2]))]
    ['0', '2']
    """
    checks.module("model", model, with_data=False)
    transposed_classes = _conv1d_class()
    for name, module in model.named_modules():
        if isinstance(module, transposed_classes):
            yield name, cast(nn.Module, module), True
        elif isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            yield name, module, False


class _Assignment(NamedTuple):
    """What one parameter will be given: `fill_` sets it, to this standard deviation."""

    name: str
    parameter: torch.Tensor
    std: float
    fill_: Callable[[], object]


class _Layout(NamedTuple):
    """The residual blocks of a model that has the names of GPT-2."""

    roles: dict[str, tuple[str, ...]]  # layer's name to what it is, or to its parts
    blocks: dict[str, int]  # layer's name to its block, from 1
    n_branches: int
    n_embd: int


def _block(name: str) -> str:
    """Return the path of a layer's block: up to the last number, or all but two names."""
    path = name.split(".")
    numbers = [i for i, part in enumerate(path) if part.isdigit()]
    return ".".join(path[: numbers[-1] + 1] if numbers else path[:-2])


def _layout(layers: list[tuple[str, nn.Module, bool]]) -> _Layout:
    """Find what each layer is by the names that GPT-2 gives them, and in which block it stands."""
    roles: dict[str, tuple[str, ...]] = {}
    n_branches = n_embd = 0
    for name, module, transposed in layers:
        path = name.split(".")
        fan_in, fan_out = fans(cast(torch.Tensor, module.weight), transposed=transposed)
        if path[-1] == "c_proj":
            roles[name] = ("attention_out" if "att" in "".join(path[-2:-1]) else "mlp_out",)
            n_branches, n_embd = n_branches + 1, fan_out
        elif path[-1] == "c_fc":
            roles[name] = ("mlp_in",)
        elif path[-1] == "c_attn" and fan_out in (2 * fan_in, 3 * fan_in):
            roles[name] = ATTENTION_INPUTS[-(fan_out // fan_in) :]  # k and v in cross-attention
        elif path[-1] == "q_attn":
            roles[name] = ("q",)
    paths = dict.fromkeys(_block(name) for name, role in roles.items() if role[0] in BRANCH_ENDS)
    order = {path: i for i, path in enumerate(paths, 1)}
    blocks = {name: order[_block(name)] for name, *_ in layers if _block(name) in order}
    return _Layout(roles, blocks, n_branches, n_embd)


def _orthogonal_(
    weight: torch.Tensor, gain: float, generator: torch.Generator | None
) -> torch.Tensor:
    """Draw an orthogonal matrix times `gain`."""
    if weight.dtype.itemsize >= 4:
        return nn.init.orthogonal_(weight, gain, generator=generator)
    # torch decomposes no matrix of 16 bits.
    drawn = nn.init.orthogonal_(torch.empty_like(weight, dtype=torch.float32), gain,
                                generator=generator)  # fmt: skip
    return weight.copy_(drawn)


def _draw_(weight: torch.Tensor, draw: Draw, generator: torch.Generator | None) -> None:
    if draw.distribution == "orthogonal":
        _orthogonal_(weight, float(draw.gain), generator)
    else:
        _fill_(weight, float(draw.std), draw.distribution, generator)


def _weight_assignment(
    name: str,
    parameter: torch.Tensor,
    rule: Rule,
    options: Mapping[str, Any],
    layout: _Layout,
    generator: torch.Generator | None,
    *,
    transposed: bool = False,
    embedding: bool = False,
) -> _Assignment:
    """Return what `rule` gives one weight; the parts of a fused one each their own std."""
    layer = name.removesuffix(".weight")
    fan_in, fan_out = fans(parameter, transposed=transposed)
    outside = "output" if layout.blocks and layer not in layout.blocks else "hidden"
    roles = ("embedding",) if embedding else layout.roles.get(layer, (outside,))
    if rule.scope == "layers":
        roles = roles[:1]  # a fused weight is one layer
    draws = [
        rule(
            Weight(
                fan_in,
                fan_out // len(roles),
                role,
                layout.blocks.get(layer, 0),
                len(set(layout.blocks.values())),
                layout.n_branches,
                layout.n_embd,
                math.prod(parameter.shape[2:]),
            ),
            **options,
        )
        for role in roles
    ]
    stds = [float(draw.std) for draw in draws]
    _check_range(max(stds), parameter.dtype)
    if len(set(draws)) == 1:
        fill_ = partial(_draw_, parameter, draws[0], generator)
        return _Assignment(name, parameter, stds[0], fill_)
    parts = parameter.chunk(len(draws), 1 if transposed else 0)

    def fill_parts_() -> None:
        for part, draw in zip(parts, draws, strict=True):
            _draw_(part, draw, generator)

    return _Assignment(name, parameter, math.hypot(*stds) / math.sqrt(len(stds)), fill_parts_)


@torch.no_grad()
def initialize_(
    model: nn.Module,
    scheme: str,
    *,
    generator: torch.Generator | None = None,
    bias_std: float = 0.0,
    **options: object,
) -> dict[str, float]:
    """Initialize every linear and convolutional layer of `model` in place.

    Layers are drawn in the order of `model.named_modules()`: of each the weight, then the bias,
    zero or normal with `bias_std`. Other parameters (norms, embeddings) stay as they are, unless
    the scheme is one for a whole model: then embeddings are drawn in their turn, and norms get
    weight 1 and bias 0. Such a scheme tells queries, keys, values and the ends of residual branches
    apart by the names that GPT-2 gives them; what it asks of the forward pass (DeepNorm's factor on
    the stream) is the model's. A weight that several layers share is drawn once; one that a layer
    shares with an embedding counts as the layer's, or, in a whole model, as the embedding's.

    Parameters
    ----------
    model
        Any module with `nn.Linear`, `nn.Conv1d`, `nn.Conv2d`, `nn.Conv3d` or transformers'
        `Conv1D` layers.
    scheme
        One of :data:`initscope.theory.SCHEMES`.
    generator
        Source of the draws; torch's default generator if None.
    bias_std
        Standard deviation of the biases, those of norms excepted.
    **options
        Options of the scheme; see :data:`initscope.theory.SCHEMES`.

    Returns
    -------
    dict[str, float]
        Parameter name to the standard deviation per element that it was given; 0 for one that is
        set to a constant. For queries, keys and values in one parameter it is that of all of them.

    Raises
    ------
    UsageError
        For an unknown scheme or option, a negative or non-finite std or gain, a weight without
        elements, or a model without a layer to initialize or without the residual blocks that the
        scheme is for; the model is left as it was.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> initialize_(nn.Linear(50, 10), "kaiming", generator=generator)
    {'weight': 0.2, 'bias': 0.0}
    """
    options = check_options(scheme, options)
    bias_std = checks.number("bias_std", bias_std, 0, LARGEST_STD)
    checks.generator("generator", generator)
    given = {}
    for assignment in _assignments(model, SCHEMES[scheme], options, bias_std, generator):
        assignment.fill_()
        given[assignment.name] = assignment.std
    return given


def _assignments(
    model: nn.Module,
    rule: Rule,
    options: Mapping[str, Any],
    bias_std: float,
    generator: torch.Generator | None,
) -> list[_Assignment]:
    """Return what every parameter will be given, in the order of draws, before one is drawn."""
    layers = list(weight_layers(model))
    if not layers:
        raise UsageError(
            f"the model {type(model).__name__} has no linear or convolutional layer to initialize."
        )
    for _, module, _ in layers:
        weight = cast(torch.Tensor, module.weight)
        fans(weight)  # all are checked before one is drawn
        _check_fillable("the weight of a layer of the model", weight)
    layout = _layout(layers)
    if rule.scope == "blocks" and not layout.blocks:
        raise UsageError(
            f"scheme {rule.name!r} is for a model with residual blocks, whose layers have the "
            f"names of GPT-2 (c_attn, c_fc, c_proj): {type(model).__name__} has none."
        )
    transposed = {module: flag for _, module, flag in layers}
    found: list[_Assignment] = []
    seen: set[int] = set()

    def constant(value: float) -> Callable[..., _Assignment]:
        return lambda name, p: _Assignment(name, p, 0.0, partial(nn.init.constant_, p, value))

    def weight_of(module: nn.Module) -> Callable[..., _Assignment]:
        return partial(
            _weight_assignment,
            rule=rule,
            options=options,
            layout=layout,
            generator=generator,
            transposed=transposed.get(module, False),
            embedding=module not in transposed,
        )

    def bias(name: str, p: torch.Tensor) -> _Assignment:
        if not bias_std:
            return constant(0.0)(name, p)
        _check_range(bias_std, p.dtype)
        return _Assignment(
            name, p, bias_std, partial(nn.init.normal_, p, 0.0, bias_std, generator=generator)
        )

    def add(name: str, parameter: object, assign: Callable[..., _Assignment]) -> None:
        if isinstance(parameter, torch.Tensor) and id(parameter) not in seen:
            seen.add(id(parameter))
            found.append(assign(name, parameter))

    for prefix, module in model.named_modules():
        prefix = f"{prefix}." if prefix else ""
        if rule.scope != "layers" and isinstance(module, NORMS):
            add(f"{prefix}weight", module.weight, constant(1.0))
            add(f"{prefix}bias", getattr(module, "bias", None), constant(0.0))
        elif module in transposed or (rule.scope != "layers" and isinstance(module, nn.Embedding)):
            add(f"{prefix}weight", module.weight, weight_of(module))
            add(f"{prefix}bias", getattr(module, "bias", None), bias)
    return found
