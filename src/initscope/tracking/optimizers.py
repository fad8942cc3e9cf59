"""Read the last step of an optimizer from its state, and keep what it changes."""

from __future__ import annotations

import copy
import inspect
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from initscope.checks import require
from initscope.errors import UsageError, shown
from initscope.tracking.statistics import MatrixGroup, at_least_float32

__all__: list[str] = []  # for this package alone

logger = logging.getLogger("initscope.tracking")

OPTIMIZERS = (AdamW, Adam, SGD)
"""Those whose step can be read from their state."""


class OptimizerStep(NamedTuple):
    """The last step of one parameter: its direction u, learning rate and decoupled decay.

    The direction is made of the rows that are asked for: of a large matrix it is not held whole.
    """

    direction: Callable[[slice], torch.Tensor]
    lr: float
    weight_decay: float


def unwrap_optimizer(optimizer: Any) -> Any:
    """Return torch's optimizer inside the one that accelerate makes of it."""
    while isinstance(inner := getattr(optimizer, "optimizer", None), Optimizer):
        optimizer = inner
    return optimizer


def reads_state(optimizer: Any) -> bool:
    """Return whether the steps of `optimizer` can be read from its state."""
    if type(optimizer) not in OPTIMIZERS:
        return False
    return type(optimizer) is not SGD or all(
        not g["nesterov"] and not g["dampening"] for g in optimizer.param_groups
    )


def check_optimizer(optimizer: Any, *, known: bool = True) -> None:
    """Raise `UsageError` unless it is an optimizer, whose steps can be read if `known`."""
    require(
        isinstance(optimizer, Optimizer),
        f"optimizer must be one of torch's optimizers, not {shown(optimizer)}.",
    )
    names = ", ".join(kind.__name__ for kind in OPTIMIZERS)
    if known and not reads_state(optimizer):
        how = " with Nesterov momentum or dampening" if type(optimizer) is SGD else ""
        raise UsageError(
            f"the update of {type(optimizer).__name__}{how} cannot be read from its state, as "
            f"those of torch's {names} can: give copies of the weights before the step as before."
        )


def optimizers_of(optimizer: Any) -> list[Optimizer]:
    """Return torch's optimizers in one, in several, or in a wrapper; none if None."""
    if optimizer is None:
        return []
    several = isinstance(optimizer, Sequence | set | frozenset) and not isinstance(optimizer, str)
    found = [unwrap_optimizer(one) for one in (optimizer if several else [optimizer])]
    require(bool(found), "optimizer must be one optimizer or several: the list is empty.")
    for one in found:
        check_optimizer(one, known=False)
    return list(dict.fromkeys(found))


def select_optimized(
    optimizers: Sequence[Optimizer], groups: Sequence[MatrixGroup]
) -> list[MatrixGroup]:
    """Return the matrices that `optimizers` train; raise `UsageError` if there is none."""
    held = {p for one in optimizers for group in one.param_groups for p in group["params"]}
    found = [group for group in groups if group.parameter in held]
    require(
        bool(found),
        f"none of the {len(groups)} weight matrices is in a parameter group of the optimizer: "
        f"it was made for another model, or for the norms and biases alone.",
    )
    return found


@dataclass
class Past:
    """What is kept of the time before a step: the settings, and weights where they are needed.

    Attributes
    ----------
    optimizers
        Those whose settings are taken now.
    settings
        Of the parameter group of each parameter: the learning rate changes when a scheduler steps.
    holder
        Optimizer of each parameter.
    weights
        Copies, of those whose update cannot be found without.
    """

    optimizers: Sequence[Optimizer]
    settings: dict[nn.Parameter, dict[str, Any]] = field(init=False, default_factory=dict)
    holder: dict[nn.Parameter, Optimizer] = field(init=False, default_factory=dict)
    weights: dict[nn.Parameter, torch.Tensor] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for optimizer in self.optimizers:
            self.take_settings(optimizer)

    def take_settings(self, optimizer: Optimizer) -> None:
        """Keep the settings of one optimizer as they are now."""
        for group in optimizer.param_groups:
            kept = {name: value for name, value in group.items() if name != "params"}
            for parameter in group["params"]:
                self.settings[parameter] = kept
                self.holder[parameter] = optimizer

    def take_weights(self, groups: Sequence[MatrixGroup]) -> None:
        """Copy the weights of 16 bits, and of optimizers whose steps cannot be read."""
        for group in groups:
            parameter = group.parameter
            if parameter.dtype.itemsize < 4 or not reads_state(self.holder[parameter]):
                self.weights[parameter] = parameter.detach().clone()


def is_decoupled(optimizer: Optimizer, settings: Mapping[str, Any]) -> bool:
    """Return whether decay shrinks the weights by itself, and is no part of the gradient.

    Of those whose steps are read, they say it. Of any other it is seen from what it does: a copy of
    it steps a weight without a gradient, once for each kind of settings.
    """
    if not settings.get("weight_decay"):
        return False
    if type(optimizer) in OPTIMIZERS:
        return isinstance(optimizer, AdamW) or bool(settings.get("decoupled_weight_decay", False))
    kept = {name: value for name, value in settings.items() if name not in CHANGING}
    known = _SHRINKS.setdefault(optimizer, {})
    if (key := repr(sorted(kept.items()))) not in known:
        known[key] = _shrinks_alone(optimizer, settings)
    return known[key]


CHANGING = ("lr", "initial_lr", "weight_decay")
"""Settings that change in training, and do not say what is done with them."""

_SHRINKS: WeakKeyDictionary[Optimizer, dict[str, bool]] = WeakKeyDictionary()


def _shrinks_alone(optimizer: Optimizer, settings: Mapping[str, Any]) -> bool:
    """Return whether three steps of no gradient leave (1 - lr decay)^3 of a weight.

    Decay that is part of the gradient passes through momentum, or is normalized. The random numbers
    that the steps may draw are put back.
    """
    rate, decay = 0.125, 0.25
    held = next(p for group in optimizer.param_groups for p in group["params"])
    start = torch.linspace(0.5, 2.0, 16, device=held.device).reshape(4, 4)
    failed: Exception | None = None
    with torch.random.fork_rng(devices=[held.device] if held.is_cuda else []), torch.no_grad():
        for alike in (_copy_of, _made_like):
            weight = nn.Parameter(start.clone())
            group = {**settings, "params": [weight], "lr": rate, "weight_decay": decay}
            try:
                probe = alike(optimizer, group)
                for _ in range(3):
                    weight.grad = torch.zeros_like(weight)
                    type(optimizer).step(probe)
            except Exception as error:  # whatever an optimizer of anyone's needs
                failed = failed or error
                continue
            left = (weight / start).double()
            return bool(((left - (1 - rate * decay) ** 3).abs() < 1e-4).all())
    logger.warning(
        "whether %s decays the weights by themselves cannot be seen (%s: %s): decay counts as a "
        "part of its update.",
        type(optimizer).__name__, type(failed).__name__, str(failed)[:100],
    )  # fmt: skip
    return False


def _copy_of(optimizer: Optimizer, group: dict[str, Any]) -> Optimizer:
    """Return a copy with a group of its own, without state, hooks and the parameters."""
    kind = type(optimizer)
    probe = kind.__new__(kind)
    memo: dict[int, Any] = {
        id(optimizer.state): defaultdict(dict), id(optimizer.param_groups): [group],
    }  # fmt: skip
    for name, value in vars(optimizer).items():
        # A scheduler puts a step that counts in the place of the class's.
        if not callable(getattr(kind, name, None)):
            vars(probe)[name] = type(value)() if "hook" in name else copy.deepcopy(value, memo)
    return probe


def _made_like(optimizer: Optimizer, group: dict[str, Any]) -> Optimizer:
    """Return a new one of its class, of those that have their state before the first step."""
    make: Any = type(optimizer)
    named = inspect.signature(make).parameters
    probe: Optimizer = make(**{name: value for name, value in group.items() if name in named})
    probe.param_groups[0].update(group)
    return probe


def last_optimizer_step(
    optimizer: Optimizer, parameter: nn.Parameter, settings: Mapping[str, Any]
) -> OptimizerStep | None:
    """Return the step just made, read from the optimizer's state; None if there was none."""
    state = optimizer.state.get(parameter, {})
    lr, weight_decay = float(settings["lr"]), float(settings["weight_decay"])
    if isinstance(optimizer, SGD):
        if settings["momentum"]:
            buffer = state.get("momentum_buffer")
            return None if buffer is None else OptimizerStep(rows_of(buffer), lr, 0.0)
        if parameter.grad is None:
            return None
        gradient = -parameter.grad if settings["maximize"] else parameter.grad
        return OptimizerStep(rows_of(gradient), lr, weight_decay)
    if "exp_avg" not in state:
        return None
    beta1, beta2 = settings["betas"]
    step = state["step"]
    if not step.is_cuda:  # on a GPU it stays there
        step = step.item()

    def direction(rows: slice) -> torch.Tensor:
        name = "max_exp_avg_sq" if settings["amsgrad"] else "exp_avg_sq"
        first, second = (at_least_float32(rows_of(state[n])(rows)) for n in ("exp_avg", name))
        denominator = (second.sqrt() / (1 - beta2**step) ** 0.5).add_(settings["eps"])
        return (first / denominator).div_(1 - beta1**step)

    decoupled = is_decoupled(optimizer, settings)
    return OptimizerStep(direction, lr, weight_decay if decoupled else 0.0)


def rows_of(tensor: torch.Tensor) -> Callable[[slice], torch.Tensor]:
    """Return what gives rows of a tensor; all of them as they are, spread over devices or not."""
    return lambda rows: tensor if rows == slice(None) else tensor[rows]


def say_what_is_not_read(
    optimizers: Sequence[Optimizer],
    groups: Sequence[MatrixGroup],
    optimized: Sequence[MatrixGroup],
) -> None:
    """Warn of optimizers whose update is a difference, and of matrices that none trains."""
    others = {type(one).__name__ for one in optimizers if not reads_state(one)}
    if others:
        logger.warning(
            "the update of %s is not read from its state: it is the difference of the weights, "
            "of which each due step copies those that are followed.",
            " and ".join(sorted(others)),
        )
    trained_here = {group.parameter for group in optimized}
    left = [g for g in groups if g.parameter not in trained_here]
    trained = [g.matrices[0].name for g in left if g.parameter.requires_grad]
    if trained:
        logger.warning(
            "%d followed parameters are in no parameter group of the optimizer, and have no "
            "update: %s%s.",
            len(trained),
            ", ".join(trained[:3]),
            " and more" if len(trained) > 3 else "",
        )
