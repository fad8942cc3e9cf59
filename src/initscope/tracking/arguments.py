"""Check what a caller asks a tracker to record: steps, kinds, roles, quantiles, the model."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from torch import nn

from initscope import checks
from initscope.checks import is_number, require, require_name
from initscope.errors import UsageError, shown, unknown_name
from initscope.models.architectures import is_attention_input
from initscope.schema import (
    QUANTITIES,
)
from initscope.tracking.matrices import WeightMatrix

__all__: list[str] = []  # for this package alone

StepSchedule = int | Collection[int] | Callable[[int], bool]
"""Every so many steps, a set of steps, or a function that says of a step whether it is one."""

COARSER = 10
"""Steps at least from one measurement of a large vocabulary to the next, by default."""


def select_roles(
    matrices: Sequence[WeightMatrix], roles: Sequence[str] | None, name: str = "histograms"
) -> list[WeightMatrix]:
    """Return the matrices of these roles, in a stack or not; refuse a role that none has.

    By default those of q, k and v, or all if there is no attention.
    """

    def is_one(matrix: WeightMatrix, role: str) -> bool:
        return matrix.role == role or matrix.role.endswith(f"_{role}")

    if roles is None:
        attention = [matrix for matrix in matrices if is_attention_input(matrix.role)]
        return attention or list(matrices)
    for role in checks.items(name, roles, 0 if name == "histograms" else 1):
        if not isinstance(role, str) or not any(is_one(matrix, role) for matrix in matrices):
            raise unknown_name(f"role of {name}", role, {matrix.role for matrix in matrices})
    return [matrix for matrix in matrices if any(is_one(matrix, role) for role in roles)]


def step_schedule(name: str, given: StepSchedule) -> Callable[[int], bool]:
    """Return a function that says whether a step is due."""
    if is_number(given, 1, whole=True):
        return lambda step: step % given == 0  # type: ignore[operator]
    if callable(given):
        return lambda step: evaluate_schedule(name, given, step)
    if isinstance(given, Collection) and not isinstance(given, str | bytes | Mapping):
        try:
            steps: frozenset[Any] = frozenset(given)
        except (TypeError, RuntimeError):  # what has no hash is no step
            steps = frozenset([None])
        if all(is_number(step, 0, whole=True) for step in steps):
            return lambda step: step in steps
    raise UsageError(
        f"{name} must be a whole number of steps of at least 1, a set of steps, or a function of "
        f"the step, not {shown(given)}."
    )


def are_among(every: StepSchedule, others: StepSchedule | None) -> bool:
    """Return whether the steps of one number are among those of another."""
    if not isinstance(every, numbers.Integral) or not isinstance(others, numbers.Integral):
        return False
    return int(every) % int(others) == 0


def coarser_schedule(every: StepSchedule) -> tuple[int, Callable[[int], bool]] | None:
    """Return every how many steps large vocabularies are due by default, and those; None if as all.

    Of steps that were picked one by one, by a set or a function, all are.
    """
    if not isinstance(every, numbers.Integral) or every >= COARSER:
        return None
    stride = every * -(-COARSER // int(every))
    return int(stride), lambda step: step % stride == 0


def evaluate_schedule(name: str, due: Callable[[int], bool], step: int) -> bool:
    """Return what a function says of a step."""
    try:
        return bool(due(step))
    except Exception as error:
        raise UsageError(
            f"{name} failed on step {step}: {type(error).__name__} {shown(str(error))}."
        ) from error


def checked_quantities(quantities: Sequence[str]) -> tuple[str, ...]:
    """Return `quantities`; raise `UsageError` if one is unknown or there is none."""
    require(
        isinstance(quantities, Sequence | frozenset | set)
        and not isinstance(quantities, str | bytes)
        and len(quantities) > 0,
        f"quantities must be a list of {', '.join(QUANTITIES)}, not {shown(quantities)}.",
    )
    for quantity in quantities:
        require_name("quantity", quantity, QUANTITIES)
    return tuple(quantities)


def checked_quantiles(quantiles: Sequence[float]) -> tuple[float, ...]:
    """Return `quantiles`; raise `UsageError` if one is not between 0 and 1."""
    for quantile in checks.items("quantiles", quantiles):
        require(
            is_number(quantile, 0) and quantile <= 1,
            f"quantiles must be numbers from 0 to 1, not {shown(quantile)}.",
        )
    return tuple(quantiles)


def refuse_compiled(model: nn.Module) -> None:
    """Raise `UsageError` if `model` is compiled: hooks set later are not called in it."""
    compiled = any("_orig_mod" in name for name, _ in model.named_modules())
    compiled |= any(module._compiled_call_impl is not None for module in model.modules())
    require(
        not compiled,
        "the activations of a compiled model cannot be seen from outside: leave 'activation' out "
        "of the quantities, or train it uncompiled.",
    )
