"""One parameter of a model: where it is, what it is, and how the matrices in it are stored."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import nn
from torch.nn.utils import parametrize

from initscope.models.architectures import WRAPPERS, ZERO_CENTRED_NORMS, UnitRange

__all__: list[str] = []  # for this package alone

Kind = Literal["layer", "embedding", "gain", "norm bias", "bias", "zero", "kept", "unknown"]

VECTOR_KINDS: tuple[Kind, ...] = ("gain", "norm bias", "bias")
"""What is no weight."""


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
    ends_branch
        Whether it is the last of a residual branch that scales it, if that was asked for: a weight,
        the gain of a norm or a layer scale behind it.
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
    ends_branch: bool = False

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


ADAPTER = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B")
