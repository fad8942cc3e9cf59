"""Initialization schemes, in place, in the manner of :mod:`torch.nn.init`.

Every scheme draws from the generator it is given, sets the biases too, and returns the standard
deviation each parameter was given, so that what was meant can be compared with what was drawn.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import nn

from initscope import checks
from initscope.checks import require_name
from initscope.errors import UsageError, shown, unknown_name
from initscope.scheme import Scheme

__all__ = [
    "DISTRIBUTIONS",
    "MODES",
    "SCHEMES",
    "WHOLE_MODEL",
    "Scheme",
    "check_options",
    "fans",
    "initialize_",
    "scheme_options",
    "variance_scaling_",
    "variance_scaling_std",
    "weight_layers",
]

MODES = ("fan_in", "fan_out", "fan_avg")
LARGEST = 1e150  # its square is a float
DISTRIBUTIONS = ("normal", "uniform")


def fans(tensor: torch.Tensor, *, transposed: bool = False) -> tuple[int, int]:
    """Number of inputs and of outputs of one unit, ``(fan_in, fan_out)``.

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


def _fill_(
    tensor: torch.Tensor, std: float, distribution: str, generator: torch.Generator | None
) -> torch.Tensor:
    """Draw `tensor` with mean 0 and standard deviation `std`."""
    require_name("distribution", distribution, DISTRIBUTIONS)
    if 4 * std > torch.finfo(tensor.dtype).max:
        raise UsageError(f"std or scale {std:g} is beyond the range of {tensor.dtype}.")
    if distribution == "normal":
        return nn.init.normal_(tensor, 0.0, std, generator=generator)
    bound = math.sqrt(3.0) * std  # U(-a, a) has variance a^2 / 3
    return nn.init.uniform_(tensor, -bound, bound, generator=generator)


def variance_scaling_std(
    tensor: torch.Tensor, scale: float, mode: str = "fan_in", *, transposed: bool = False
) -> float:
    """Standard deviation ``sqrt(scale / fan)`` that :func:`variance_scaling_` draws with."""
    fan_in, fan_out = fans(tensor, transposed=transposed)
    by_mode = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
    require_name("mode", mode, MODES)
    return math.sqrt(checks.number("scale", scale, 0, LARGEST) / by_mode[mode])


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


class Place(NamedTuple):
    """Where a weight stands in its model: all that a scheme knows besides the weight itself.

    Attributes
    ----------
    transposed
        Whether it is stored as ``(in, out)``.
    branches
        For a weight that ends a residual branch, how many such weights the model has, 2 a block
        in GPT-2; otherwise 1.
    """

    transposed: bool = False
    branches: int = 1


# A scheme takes a weight, its place, and a generator, then its own options; it fills the weight
# and returns the standard deviation per element that it meant.


def _normal(
    weight: torch.Tensor, place: Place, generator: torch.Generator | None, *, std: float
) -> float:
    _fill_(weight, checks.number("std", std, 0, LARGEST), "normal", generator)
    return float(std)


def _variance_scaling(
    weight: torch.Tensor,
    place: Place,
    generator: torch.Generator | None,
    gain: float,
    mode: str,
    distribution: str,
) -> float:
    scale = checks.number("gain", gain, 0, LARGEST) ** 2
    variance_scaling_(
        weight, scale, mode, distribution, transposed=place.transposed, generator=generator
    )
    return variance_scaling_std(weight, scale, mode, transposed=place.transposed)


def _lecun(
    weight: torch.Tensor,
    place: Place,
    generator: torch.Generator | None,
    *,
    gain: float = 1.0,
    distribution: str = "normal",
) -> float:
    return _variance_scaling(weight, place, generator, gain, "fan_in", distribution)


def _xavier(
    weight: torch.Tensor,
    place: Place,
    generator: torch.Generator | None,
    *,
    gain: float = 1.0,
    distribution: str = "normal",
) -> float:
    return _variance_scaling(weight, place, generator, gain, "fan_avg", distribution)


def _kaiming(
    weight: torch.Tensor,
    place: Place,
    generator: torch.Generator | None,
    *,
    gain: float = math.sqrt(2.0),
    mode: str = "fan_in",
    distribution: str = "normal",
) -> float:
    return _variance_scaling(weight, place, generator, gain, mode, distribution)


def _orthogonal(
    weight: torch.Tensor,
    place: Place,
    generator: torch.Generator | None,
    *,
    gain: float = 1.0,
) -> float:
    gain = checks.number("gain", gain, 0, LARGEST)
    nn.init.orthogonal_(weight, gain, generator=generator)
    rows, columns = weight.shape[0], weight[0].numel()
    # The shorter side is orthonormal, so its vectors of max(rows, columns) elements have norm 1.
    return gain / math.sqrt(max(rows, columns))


def _gpt2(
    weight: torch.Tensor,
    place: Place,
    generator: torch.Generator | None,
    *,
    std: float = 0.02,
    residual_scaling: bool = True,
) -> float:
    if not isinstance(residual_scaling, bool):
        raise UsageError(f"residual_scaling must be true or false, not {shown(residual_scaling)}.")
    scaled = checks.number("std", std, 0, LARGEST) / math.sqrt(
        place.branches if residual_scaling else 1
    )
    _fill_(weight, scaled, "normal", generator)
    return scaled


SCHEMES: dict[str, Callable[..., float]] = {
    "normal": _normal,
    "lecun": _lecun,
    "xavier": _xavier,
    "kaiming": _kaiming,
    "orthogonal": _orthogonal,
    "gpt2": _gpt2,
}
"""Schemes by name.

================ ========================= =====================================================
scheme           variance of a weight      options (default)
================ ========================= =====================================================
``normal``       ``std ** 2``              `std`
``lecun``        gain² / fan_in            `gain` (1), `distribution` ("normal")
``xavier``       2 gain² / (fan_in +       `gain` (1), `distribution` ("normal")
                 fan_out)
``kaiming``      gain² / fan               `gain` (√2), `mode` ("fan_in"; one of
                                           :data:`MODES`), `distribution` ("normal")
``orthogonal``   gain² / max(rows,         `gain` (1); a convolution's kernel is flattened into
                 columns)                  the columns
``gpt2``         std², or std² / (2        `std` (0.02), `residual_scaling` (True; False leaves the
                 n_layer) where a residual division out). Radford et al. (2019), section 2.3; sets
                 branch ends               embeddings to std² and norms to 1 and 0 as well
================ ========================= =====================================================
"""

WHOLE_MODEL = frozenset({"gpt2"})
"""Schemes that set embeddings and norms too, not the linear and convolutional layers alone."""

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)

BRANCH_END = "c_proj"
"""Name that GPT-2 gives the layers that write to the residual stream."""


def scheme_options(scheme: str) -> dict[str, inspect.Parameter]:
    """Options that `scheme` takes, by name; raises `UsageError` for an unknown scheme."""
    require_name("scheme", scheme, SCHEMES)
    parameters = inspect.signature(SCHEMES[scheme]).parameters
    return {name: p for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}


def check_options(scheme: str, options: Mapping[str, object]) -> None:
    """Raise `UsageError` unless `scheme` takes each of `options`, and needs no other."""
    known = scheme_options(scheme)
    checks.mapping("options", options)
    for name in options:
        if name not in known:
            raise unknown_name(f"option of scheme {scheme!r}", name, known)
    missing = [n for n, p in known.items() if p.default is p.empty and n not in options]
    if missing:
        raise UsageError(
            f"scheme {scheme!r} needs {' and '.join(missing)}: "
            f"initialize_(model, {scheme!r}, {', '.join(f'{n}=...' for n in missing)})."
        )


def _check_values(scheme: str, options: Mapping[str, object], dtype: torch.dtype) -> None:
    """Raise `UsageError` for an option that no layer could be drawn with, before one is."""
    SCHEMES[scheme](torch.empty(1, 1, dtype=dtype), Place(), torch.Generator(), **options)


def _conv1d_class() -> tuple[type, ...]:
    """transformers' `Conv1D`, if transformers has been imported; otherwise no model holds one."""
    module = sys.modules.get("transformers.pytorch_utils")
    return (module.Conv1D,) if module is not None else ()


def weight_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module, bool]]:
    """Yield ``(name, module, transposed)`` for each linear and convolutional layer of `model`.

    `transposed` is True for transformers' `Conv1D`, whose weight is stored as ``(in, out)``.
    """
    checks.module("model", model, with_data=False)
    transposed_classes = _conv1d_class()
    for name, module in model.named_modules():
        if isinstance(module, transposed_classes):
            yield name, cast(nn.Module, module), True
        elif isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            yield name, module, False


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
    the scheme is one for a whole model (:data:`WHOLE_MODEL`): then embeddings are drawn in their
    turn, and norms get weight 1 and bias 0. A weight that several layers share is drawn once; one
    that a layer shares with an embedding counts as the layer's, or, in a whole model, as the
    embedding's.

    Parameters
    ----------
    model
        Any module with `nn.Linear`, `nn.Conv1d`, `nn.Conv2d`, `nn.Conv3d` or transformers'
        `Conv1D` layers.
    scheme
        One of :data:`SCHEMES`.
    generator
        Source of the draws; torch's default generator if None.
    bias_std
        Standard deviation of the biases, those of norms excepted.
    **options
        Options of the scheme; see :data:`SCHEMES`.

    Returns
    -------
    dict[str, float]
        Parameter name to the standard deviation per element that it was given; 0 for one that is
        set to a constant.

    Raises
    ------
    UsageError
        For an unknown scheme or option, a negative or non-finite std or gain, a weight without
        elements, or a model without a layer to initialize; the model is left as it was.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> initialize_(nn.Linear(50, 10), "kaiming", generator=generator)
    {'weight': 0.2, 'bias': 0.0}
    """
    check_options(scheme, options)
    bias_std = checks.number("bias_std", bias_std, 0, LARGEST)
    checks.generator("generator", generator)
    layers = list(weight_layers(model))
    if not layers:
        raise UsageError(
            f"the model {type(model).__name__} has no linear or convolutional layer to initialize."
        )
    for _, module, _ in layers:
        weight = cast(torch.Tensor, module.weight)
        fans(weight)  # all are checked before one is drawn
        _check_fillable("the weight of a layer of the model", weight)
    _check_values(scheme, options, cast(torch.Tensor, layers[0][1].weight).dtype)
    branches = sum(name.endswith(BRANCH_END) for name, _, _ in layers)
    places = {
        module: Place(transposed, branches if name.endswith(BRANCH_END) else 1)
        for name, module, transposed in layers
    }
    given: dict[str, float] = {}
    seen: set[int] = set()

    def set_(name: str, parameter: object, fill: Callable[[torch.Tensor], float]) -> None:
        if isinstance(parameter, torch.Tensor) and id(parameter) not in seen:
            seen.add(id(parameter))
            given[name] = fill(parameter)

    def draw_bias(bias: torch.Tensor) -> float:
        if bias_std:
            nn.init.normal_(bias, 0.0, bias_std, generator=generator)
        else:
            nn.init.zeros_(bias)
        return bias_std

    for prefix, module in model.named_modules():
        prefix = f"{prefix}." if prefix else ""
        if scheme in WHOLE_MODEL and isinstance(module, NORMS):
            set_(f"{prefix}weight", module.weight, partial(_constant, value=1.0))
            set_(f"{prefix}bias", getattr(module, "bias", None), partial(_constant, value=0.0))
        elif module in places or (scheme in WHOLE_MODEL and isinstance(module, nn.Embedding)):
            draw = partial(
                SCHEMES[scheme], place=places.get(module, Place()), generator=generator, **options
            )
            set_(f"{prefix}weight", module.weight, draw)
            set_(f"{prefix}bias", getattr(module, "bias", None), draw_bias)
    return given


def _constant(tensor: torch.Tensor, value: float) -> float:
    nn.init.constant_(tensor, value)
    return 0.0
