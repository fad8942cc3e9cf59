"""Initialize models in place, in the manner of :mod:`torch.nn.init`.

Every scheme draws from the generator it is given and sets the biases too. :func:`initialize_`
returns, for each parameter, the std that was asked for and the one that was drawn, and names those
that it did not set, with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import nn

from initscope import checks
from initscope.errors import UsageError, shown
from initscope.initialization_draws import check_fillable, check_range, draw_independent_, normal_
from initscope.initialization_plan import (
    Assignment,
    check_layers,
    drawn_rms,
    unfillable,
    weight_fill,
    write_,
)
from initscope.initialization_report import Initialization, by_reason
from initscope.models.parameters import find_parameters
from initscope.models.places import Place, Position, conv1d_class
from initscope.theory.rule import (
    DISTRIBUTIONS,
    LARGEST_STD,
    MODES,
    Rule,
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


def variance_scaling_std(
    tensor: torch.Tensor, scale: float, mode: str = "fan_in", *, transposed: bool = False
) -> float:
    """Return the std ``sqrt(scale / fan)`` that :func:`variance_scaling_` draws with.

    Arguments and errors are those of :func:`variance_scaling_`.

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
    check_fillable("tensor", tensor)
    checks.generator("generator", generator)
    return draw_independent_(tensor, std, distribution, generator)


def weight_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module, bool]]:
    """Yield ``(name, module, transposed)`` for each linear and convolutional layer of `model`.

    These are `nn.Linear`, `nn.Conv1d` to `nn.Conv3d`, and transformers' `Conv1D`, for which
    `transposed` is True: its weight is stored as ``(in, out)``.

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
    """Initialize the layers of `model` in place, and report what became of every parameter.

    Layers are linear maps and convolutions: `nn.Linear`, `nn.Conv1d` to `nn.Conv3d` and their
    transposed kin, `nn.MultiheadAttention`, `nn.RNN`, `nn.GRU`, `nn.LSTM`, transformers' `Conv1D`,
    its routers, and its experts in one tensor, each of which is a matrix. They are drawn in the
    order of `model.named_modules()`: of each the weight, then the bias, zero or normal with
    `bias_std`. Norms and embeddings stay as they are, unless the scheme is one for a whole model:
    then embeddings are drawn in their turn, and norms get gain 1 and bias 0.

    A scheme for a whole model tells queries, keys, values and the ends of residual branches apart
    by their names in the models of transformers and in torch's own modules; the blocks of an
    encoder and of a decoder are counted separately. Where no such name is known, ``"gpt2"`` traces
    the forward pass of a convolutional network and finds its branches by the sums: the last weight
    of each branch, and the gain of a norm behind it, are divided by the root of the number of
    branches; layer scales stay. Schemes that need residual blocks refuse such a network. What a
    scheme asks of the forward pass (DeepNorm's factor on the stream) is left to the model. A weight
    that several layers share is drawn once; one that a layer shares with an embedding counts as the
    layer's, or, in a scheme for a whole model, as the embedding's.

    Kept as they are, with the reason: frozen parameters, the layer under an adapter, fixed
    sinusoids, the decay rates and step sizes of state-space models. Rows of padding stay 0, and an
    adapter's ``lora_B`` gets 0. A weight behind weight_norm is drawn as a whole; one whose
    parametrization fixes its scale (spectral_norm) is left and named, as is every parameter that
    is not known here. If a weight is sharded (FSDP2, tensor parallelism), every process draws the
    whole of it and keeps its share, so that the seed alone decides.

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
        A dictionary from the name of each parameter that was set to the standard deviation per
        element that was asked for; its attributes say what was drawn, kept and left.

    Raises
    ------
    UsageError
        For an unknown scheme or option, a negative or non-finite std or gain, a weight without
        elements, a generator on another device, a model without a layer to initialize or without
        the residual blocks that the scheme is for, or, with `strict`, a parameter that would be
        left. The model is then as it was.

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
        drawn = write_(assignment, padding, generator)
        n_zeros = drawn.shape[-1] if id(place.tensors[0]) in padding else 0
        report[place.name] = std
        report.drawn[place.name] = drawn_rms(drawn, n_zeros) if std else 0.0
    return report


def _check_report(
    model: nn.Module,
    assignments: list[Assignment],
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


def _assignments(
    model: nn.Module,
    rule: Rule,
    options: Mapping[str, Any],
    bias_std: float,
    report: Initialization,
) -> list[Assignment]:
    """Return what every parameter will be given, in the order of draws, before one is drawn."""
    checks.module("model", model, with_data=False)
    check_layers(model)
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
        n_branches = 0
        if len(ends) == len(BRANCH_ENDS):
            places, n_branches = _with_convolutional_ends(model)
        if n_branches:
            report.notes.append(
                f"{n_branches} residual branches of {type(model).__name__} are known from the sums "
                f"in its pass: their last weights, and the gains of norms behind them, are divided "
                f"by √{n_branches}"
            )
        elif ends:
            report.notes.append(
                f"no residual branch with {' or '.join(ends)} at its end is known in "
                f"{type(model).__name__}, and none is counted or scaled"
            )
    found: list[Assignment] = []
    seen: set[int] = set()
    others: list[tuple[Place, str, str]] = []
    for place in places:
        ids = {id(tensor) for tensor in place.tensors}
        if ids and ids <= seen:
            continue
        outcome = _outcome(place, rule, options, bias_std)
        if isinstance(outcome, Assignment) and (why := unfillable(outcome)):
            outcome = "left", why
        if isinstance(outcome, Assignment):
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


def _with_convolutional_ends(model: nn.Module) -> tuple[list[Place], int]:
    """Return the places with the branches of a convolutional network counted, and their number."""
    places = find_parameters(model, with_ends=True)
    ends = {place for place in places if place.ends_branch and place.kind in ("layer", "gain")}
    n_branches = len({place.tensors for place in ends if place.kind == "layer"})
    position, parts = Position(n_branches=n_branches), (("branch_out", None),)
    counted = [replace(p, position=position, parts=parts) if p in ends else p for p in places]
    return counted, n_branches


def _outcome(
    place: Place, rule: Rule, options: Mapping[str, Any], bias_std: float
) -> Assignment | tuple[str, str]:
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
        check_range(bias_std, dtype)
        return Assignment(place, bias_std, partial(normal_, bias_std))
    if place.kind in ("bias", "norm bias", "zero", "gain"):
        value = place.neutral_gain if place.kind == "gain" else 0.0
        if place.kind == "gain" and place.ends_branch and place.position.n_branches:
            value /= math.sqrt(place.position.n_branches)  # the norm undoes what the weight got
        return Assignment(place, 0.0, lambda tensor, _: nn.init.constant_(tensor, value))
    if place.reason:
        return "left", place.reason
    check_fillable(place.name, place.tensors[0])
    std, fill_ = weight_fill(place, rule, options)
    check_range(std, dtype)
    return Assignment(place, std, fill_)
