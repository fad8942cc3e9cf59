r"""What one step of the optimizer did to the mean square of each weight matrix.

With :math:`\theta_t = (1 - \eta\lambda)\,\theta_{t-1} - \eta\,u_t` and
:math:`\rho = \langle\theta, \theta\rangle / N`, the mean square of a matrix changes by

.. math:: \rho_t - \rho_{t-1} = [(1 - \eta\lambda)^2 - 1]\,\rho_{t-1}
          - 2\eta(1 - \eta\lambda)\,\langle\theta_{t-1}, u_t\rangle / N
          + \eta^2\,\langle u_t, u_t\rangle / N,

the terms of decay, of alignment and of the step: an identity, whatever the network. All of it is
found after the step: :math:`u_t` from the optimizer's state, and
:math:`\theta_{t-1} = (\theta_t + \eta u_t) / (1 - \eta\lambda)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from initscope import checks
from initscope.checks import require
from initscope.schema import COLUMNS
from initscope.tracking.matrices import WeightMatrix, find_weight_matrices
from initscope.tracking.statistics import (
    DeviceToHostCopy,
    MatrixGroup,
    MatrixStatistics,
    at_least_float32,
    group_by_parameter,
    widest_dtype,
)

__all__ = ["OPTIMIZERS", "STATS", "variance_budget"]

OPTIMIZERS = (AdamW, Adam, SGD)
"""Those whose step can be read from their state."""

STATS = ("rms", "rotation", "decay", "alignment", "step")
"""Statistics of kind `update`."""


class OptimizerStep(NamedTuple):
    """The last step of one parameter: its direction u, learning rate and decoupled decay."""

    direction: torch.Tensor
    lr: float
    weight_decay: float


def variance_budget(
    optimizer: Optimizer, model: nn.Module | None = None, step: int = 0
) -> pd.DataFrame:
    r"""Return the decay, alignment and step terms of the last step of each weight matrix.

    Called after ``optimizer.step()``, before the learning rate changes, and for SGD without
    momentum before the gradients are cleared. Nothing is changed or kept. The rows of each matrix,
    all of kind `update`, are

    ================ ============================================================================
    stat             value
    ================ ============================================================================
    ``rms``          root mean square of u: the step per unit of learning rate, decay left out
    ``rotation``     angle between the matrix before and after the step, in radians
    ``decay``        change of the mean square by weight decay
    ``alignment``    change by the part of the step along the matrix
    ``step``         change by the square of the step, at least 0
    ``mean_square``  mean square of the elements after the step
    ================ ============================================================================

    `decay`, `alignment` and `step` add up to the change of the mean square (about 0, not about the
    mean), to within the rounding of the parameters. Decay that the optimizer adds to the gradient
    (`Adam`, `SGD` with momentum) is part of u, and so of the alignment.

    Parameters
    ----------
    optimizer
        torch's `AdamW`, `Adam`, or `SGD` without Nesterov momentum or dampening.
    model
        Any model, whose matrices are named as by :func:`initscope.tracking.weight_matrices`.
        Without a model, every parameter of two dimensions or more is a matrix of role ``weight``,
        numbered from 1 as layers.
    step
        What stands in the column `step`.

    Returns
    -------
    pandas.DataFrame
        Columns ``step, layer, role, kind, stat, value``. Matrices that were never stepped (frozen,
        or without a gradient) have no rows.

    Raises
    ------
    UsageError
        Another optimizer, none of whose steps can be read, or one that holds no weight matrix of
        the model, or that has not made a step.

    Examples
    --------
    >>> weight = nn.Parameter(torch.ones(4, 3, dtype=torch.float64))
    >>> optimizer = torch.optim.AdamW([weight], lr=0.1, weight_decay=0.5)
    >>> weight.sum().backward()
    >>> optimizer.step()
    >>> frame = variance_budget(optimizer).set_index("stat")["value"]
    >>> frame[["decay", "alignment", "step", "mean_square"]].round(4).to_dict()
    {'decay': -0.0975, 'alignment': -0.19, 'step': 0.01, 'mean_square': 0.7225}
    """
    optimizer = unwrap_optimizer(optimizer)
    check_optimizer(optimizer)
    checks.whole("step", step, at_least=0)
    matrices = _matrices_of(optimizer) if model is None else find_weight_matrices(model)
    stepped = select_optimized(optimizer, group_by_parameter(matrices))
    measured = measure_update(optimizer, stepped, with_mean_square=True)
    require(
        measured is not None,
        "the optimizer has not made a step yet: call variance_budget after optimizer.step().",
    )
    assert measured is not None
    (values,) = DeviceToHostCopy([measured]).values()
    rows = [
        (step, matrix.layer, matrix.role, kind, stat, value)
        for matrix, row in zip(measured.matrices, values.tolist(), strict=True)
        for (kind, stat), value in zip(measured.labels, row, strict=True)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def unwrap_optimizer(optimizer: Any) -> Any:
    """Return torch's optimizer inside the one that accelerate makes of it."""
    while isinstance(inner := getattr(optimizer, "optimizer", None), Optimizer):
        optimizer = inner
    return optimizer


def check_optimizer(optimizer: Any) -> None:
    """Raise `UsageError` unless the steps of `optimizer` can be read from its state."""
    names = ", ".join(kind.__name__ for kind in OPTIMIZERS)
    require(
        type(optimizer) in OPTIMIZERS,
        f"the update of {type(optimizer).__name__} cannot be read from its state. Known are "
        f"torch's {names}; with another optimizer leave 'update' out of the quantities.",
    )
    if isinstance(optimizer, SGD):
        plain = all(not g["nesterov"] and not g["dampening"] for g in optimizer.param_groups)
        require(
            plain,
            "the update of SGD with Nesterov momentum or dampening cannot be read from its state. "
            "Leave 'update' out of the quantities.",
        )


def select_optimized(optimizer: Optimizer, groups: Sequence[MatrixGroup]) -> list[MatrixGroup]:
    """Return the matrices that `optimizer` trains; raise `UsageError` if there is none."""
    held = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    found = [group for group in groups if group.parameter in held]
    require(
        bool(found),
        f"none of the {len(groups)} weight matrices is in a parameter group of the optimizer: "
        f"it was made for another model, or for the norms and biases alone.",
    )
    return found


def measure_update(
    optimizer: Optimizer, groups: Sequence[MatrixGroup], *, with_mean_square: bool = False
) -> MatrixStatistics | None:
    """Return :data:`STATS` of the matrices that were stepped; None if there is none."""
    settings = {p: group for group in optimizer.param_groups for p in group["params"]}
    matrices: list[WeightMatrix] = []
    raws: list[torch.Tensor] = []
    rates: list[tuple[float, float]] = []
    for group in groups:
        last = last_optimizer_step(optimizer, group.parameter, settings[group.parameter])
        if last is None:
            continue
        views = group.views(at_least_float32(group.parameter))
        directions = group.views(at_least_float32(last.direction))
        for (weight, dims), (direction, _) in zip(views, directions, strict=True):
            pairs = [(weight, weight), (weight, direction), (direction, direction)]
            dtype = widest_dtype(weight.device)
            products = [(a * b).mean(dims, dtype=dtype).reshape(-1) for a, b in pairs]
            raws.append(torch.stack(products, dim=1))
        matrices += group.matrices
        rates += [(last.lr, last.weight_decay)] * len(group.matrices)
    if not raws:
        return None
    eta, decay = np.array(rates).T

    def finish(raw: np.ndarray) -> np.ndarray:
        after, aligned_after, u2 = raw.T
        kept = 1 - eta * decay
        before = (after + 2 * eta * aligned_after + eta**2 * u2) / kept**2
        aligned = (aligned_after + eta * u2) / kept
        # The angle by its sine: the cosine of a small one is 1 to within rounding.
        sine = eta * np.sqrt(np.maximum(after * u2 - aligned_after**2, 0))
        columns = [
            np.sqrt(u2),
            np.arctan2(sine, after + eta * aligned_after),
            (kept**2 - 1) * before,
            -2 * eta * kept * aligned,
            eta**2 * u2,
        ]
        return np.stack([*columns, after] if with_mean_square else columns, axis=1)

    stats = (*STATS, "mean_square") if with_mean_square else STATS
    return MatrixStatistics(matrices, torch.cat(raws), [("update", stat) for stat in stats], finish)


def last_optimizer_step(
    optimizer: Optimizer, parameter: nn.Parameter, settings: dict[str, Any]
) -> OptimizerStep | None:
    """Return the step just made, read from the optimizer's state; None if there was none."""
    state = optimizer.state.get(parameter, {})
    lr, weight_decay = float(settings["lr"]), float(settings["weight_decay"])
    if isinstance(optimizer, SGD):
        if settings["momentum"]:
            buffer = state.get("momentum_buffer")
            return None if buffer is None else OptimizerStep(buffer, lr, 0.0)
        if parameter.grad is None:
            return None
        gradient = -parameter.grad if settings["maximize"] else parameter.grad
        return OptimizerStep(gradient, lr, weight_decay)
    if "exp_avg" not in state:
        return None
    beta1, beta2 = settings["betas"]
    step = state["step"]
    if not step.is_cuda:  # on a GPU it stays there
        step = step.item()
    first = at_least_float32(state["exp_avg"])
    second = at_least_float32(state["max_exp_avg_sq" if settings["amsgrad"] else "exp_avg_sq"])
    denominator = (second.sqrt() / (1 - beta2**step) ** 0.5).add_(settings["eps"])
    direction = (first / denominator).div_(1 - beta1**step)
    decoupled = isinstance(optimizer, AdamW) or settings.get("decoupled_weight_decay", False)
    return OptimizerStep(direction, lr, weight_decay if decoupled else 0.0)


def _matrices_of(optimizer: Optimizer) -> list[WeightMatrix]:
    """Return every parameter of two dimensions or more, in order."""
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.dim() >= 2]
    require(bool(parameters), "the optimizer holds no parameter of two dimensions: no matrix.")
    return [
        WeightMatrix(number, "weight", "", parameter, nn.Identity(), 0, None)
        for number, parameter in enumerate(parameters, start=1)
    ]
