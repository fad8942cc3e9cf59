"""What an initialization rule is: a function from a weight to the distribution it is drawn from."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from initscope.checks import Array, number, require, require_name, whole
from initscope.errors import shown

__all__: list[str] = []  # for this package alone

Number = float | Array
Mode = Literal["fan_in", "fan_out", "fan_avg"]
Distribution = Literal["normal", "uniform"]
Scope = Literal["layers", "model", "blocks"]

MODES: tuple[str, ...] = get_args(Mode)
"""Fans that a variance may be divided by: ``"fan_in"``, ``"fan_out"``, ``"fan_avg"``."""
DISTRIBUTIONS: tuple[str, ...] = get_args(Distribution)
"""Distributions of the rules that go by the fan: ``"normal"``, ``"uniform"``."""

LARGEST_STD = 1e150  # its square is a float

BRANCH_ENDS = ("attention_out", "mlp_out", "branch_out")
"""Roles of the weights that write to the residual stream."""

ROLES = ("q", "k", "v", "mlp_in", *BRANCH_ENDS, "embedding", "output", "outside")
"""Roles that rules tell apart; all others are ``"hidden"``."""


class Weight(NamedTuple):
    """What a rule may know of a weight.

    Attributes
    ----------
    fan_in, fan_out
        Inputs and outputs of one unit, kernel included: numbers or arrays. Those of an embedding
        are its channels and its rows.
    role
        ``"q"``, ``"k"``, ``"v"``, ``"attention_out"``, ``"mlp_in"`` or ``"mlp_out"`` in a
        transformer's block (the gate of an MLP counts as ``"mlp_in"``), ``"branch_out"`` where a
        branch of a convolutional network ends, ``"embedding"``,
        ``"output"`` for the last layer outside of the blocks, ``"outside"`` for another one there,
        otherwise ``"hidden"``.
    layer
        Number of the block it stands in, from 1; 0 outside of the blocks.
    n_layer
        Blocks of the model; 0 without residual blocks.
    n_branches
        Weights in the model that end a residual branch, 2 a block in GPT-2.
    n_embd
        Channels of the residual stream; 0 without residual blocks.
    receptive_field
        Elements of a convolution's kernel.
    """

    fan_in: Number
    fan_out: Number
    role: str = "hidden"
    layer: Any = 0
    n_layer: int = 0
    n_branches: int = 0
    n_embd: int = 0
    receptive_field: int = 1


class Draw(NamedTuple):
    """What a rule gives a weight.

    Attributes
    ----------
    std
        Standard deviation per element; a number, or an array where a `Weight` holds arrays.
    distribution
        ``"normal"``, ``"uniform"``, or ``"orthogonal"``: `gain` times a matrix whose shorter side
        is orthonormal, or ``"truncated"``: normal, without what is beyond two standard deviations
        of the whole normal distribution; `std` is that of what remains.
    gain
        Of an orthogonal matrix.
    """

    std: Number
    distribution: str = "normal"
    gain: Number = 1.0


@dataclass(frozen=True)
class Rule:
    """A rule by name, called with a :class:`Weight` and its options.

    Attributes
    ----------
    name
        What it is called everywhere.
    function
        `Weight` and options to :class:`Draw`.
    scope
        ``"layers"``: linear and convolutional layers, one at a time. ``"model"``: embeddings and
        norms as well. ``"blocks"``: as ``"model"``, for a model with residual blocks.
    stream_multiplier, branch_multiplier
        What the rule asks of the model's forward pass, from `n_layer` and the options: with f a
        branch, ``x * stream_multiplier + f(x) * branch_multiplier``.
    """

    name: str
    function: Callable[..., Draw]
    scope: Scope = "layers"
    stream_multiplier: Callable[..., float] = lambda n_layer, **options: 1.0
    branch_multiplier: Callable[..., float] = lambda n_layer, **options: 1.0

    def __call__(self, weight: Weight, **options: Any) -> Draw:
        """Return what this rule gives a weight."""
        return self.function(weight, **options)

    @property
    def options(self) -> Mapping[str, Any]:
        """Options by name, with their defaults; None for one that must be given."""
        parameters = inspect.signature(self.function).parameters.values()
        return {
            p.name: None if p.default is p.empty else p.default
            for p in parameters
            if p.kind is p.KEYWORD_ONLY
        }

    @property
    def needs(self) -> list[str]:
        """Options that have no default."""
        return [name for name, default in self.options.items() if default is None]

    def check_option(self, name: str, value: object) -> Any:
        """Return one option's value as it is used, or raise `UsageError`."""
        kind = get_type_hints(self.function)[name]
        if get_origin(kind) is Literal:
            require_name(name, value, get_args(kind))
            return value
        if kind is bool:
            require(isinstance(value, bool), f"{name} must be true or false, not {shown(value)}.")
            return value
        if kind is int:
            return whole(name, value)
        return number(name, value, 0, LARGEST_STD)


RULES: dict[str, Rule] = {}


def rule(scope: Scope = "layers", **multipliers: Any) -> Callable[[Callable[..., Draw]], Rule]:
    """Enter a function into the table under its own name."""

    def register(function: Callable[..., Draw]) -> Rule:
        name = function.__name__
        RULES[name] = Rule(name, function, scope, **multipliers)
        return RULES[name]

    return register
