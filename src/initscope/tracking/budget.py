r"""What one step of the optimizer did to the mean square of each weight matrix.

With :math:`\theta_t = (1 - \eta\lambda)\,\theta_{t-1} - \eta\,u_t` and
:math:`\rho = \langle\theta, \theta\rangle / N`, the mean square of a matrix changes by

.. math:: \rho_t - \rho_{t-1} = [(1 - \eta\lambda)^2 - 1]\,\rho_{t-1}
          - 2\eta(1 - \eta\lambda)\,\langle\theta_{t-1}, u_t\rangle / N
          + \eta^2\,\langle u_t, u_t\rangle / N,

the terms of decay, of alignment and of the step: an identity, whatever the network. Of Adam, AdamW
and plain SGD all of it is found after the step: :math:`u_t` from the optimizer's state, and
:math:`\theta_{t-1} = (\theta_t + \eta u_t) / (1 - \eta\lambda)`. Of any other optimizer
:math:`u_t` is the difference of the weights, decay taken off. Weights of 16 bits are rounded after
the step, most of them to what they were: a term of its own, found with the weights before.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.optim import SGD, Optimizer

from initscope import checks
from initscope.checks import require
from initscope.errors import shown
from initscope.schema import COLUMNS
from initscope.tracking.matrices import WeightMatrix, find_weight_matrices
from initscope.tracking.optimizers import (
    OptimizerStep,
    Past,
    check_optimizer,
    is_decoupled,
    last_optimizer_step,
    reads_state,
    rows_of,
    select_optimized,
    unwrap_optimizer,
)
from initscope.tracking.shards import local_part
from initscope.tracking.statistics import (
    DeviceToHostCopy,
    Factors,
    MatrixGroup,
    MatrixStatistics,
    at_least_float32,
    group_by_parameter,
    mean_products,
)

__all__ = ["STATS", "variance_budget"]


STATS = ("rms", "rotation", "decay", "alignment", "step")
"""Statistics of kind `update`."""


def variance_budget(
    optimizer: Optimizer,
    model: nn.Module | None = None,
    step: int = 0,
    *,
    before: Mapping[nn.Parameter, torch.Tensor] | None = None,
) -> pd.DataFrame:
    r"""Return the decay, alignment and step terms of the last step of each weight matrix.

    Call it after ``optimizer.step()``, before the learning rate changes and the gradients are
    cleared. Nothing is changed or kept. The rows of each matrix, all of kind `update`, are

    ================ ============================================================================
    stat             value
    ================ ============================================================================
    ``rms``          root mean square of u: the step per unit of learning rate, decay left out
    ``rotation``     angle between the matrix before and after the step, in radians
    ``decay``        change of the mean square by weight decay
    ``alignment``    change of the mean square by the part of the step along the matrix
    ``step``         change of the mean square by the square of the step, at least 0
    ``rounding``     change of the mean square by rounding to 16 bits, with `before`, where u can
                     be read
    ``unchanged``    share of elements of 16 bits that the step left as they were, with `before`
    ``mean_square``  mean square of the elements after the step
    ================ ============================================================================

    `decay`, `alignment`, `step` and `rounding` add up to the change of the mean square (about 0,
    not about the mean), to within the rounding of float32. Decay that the optimizer adds to the
    gradient (`Adam`, `SGD` with momentum), or in a way that is not known, is part of u, and so of
    the alignment.

    Parameters
    ----------
    optimizer
        torch's `AdamW`, `Adam`, or `SGD` without Nesterov momentum or dampening; with `before` any.
    model
        Any model, whose matrices are named as by :func:`initscope.tracking.weight_matrices`.
        Without a model, every parameter of two dimensions or more is a matrix of role ``weight``,
        numbered from 1 as layers.
    step
        What stands in the column `step`.
    before
        Copies of the weights before the step,
        ``{p: p.detach().clone() for p in model.parameters()}``. Needed for any other optimizer, and
        for weights of 16 bits, which keep nothing of a step smaller than their spacing: without
        copies their terms are those of the step that was asked for, with a warning.

    Returns
    -------
    pandas.DataFrame
        Columns ``step, layer, role, kind, stat, value``. Matrices that were not stepped (frozen,
        or without a gradient) have no rows.

    Raises
    ------
    UsageError
        Another optimizer without `before`; one that holds no weight matrix of the model, that has
        not made a step, or whose state and learning rate are not those of the step that led from
        `before` to the weights: after a scheduler's step, for example.

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
    check_optimizer(optimizer, known=before is None)
    checks.whole("step", step, at_least=0)
    matrices = _matrices_of(optimizer) if model is None else find_weight_matrices(model)
    optimized = select_optimized([optimizer], group_by_parameter(matrices))
    past = Past([optimizer])
    if before is not None:
        _check_before(before, optimized)
        past.weights = dict(before)
    stepped = [group for group in optimized if _was_stepped(optimizer, group.parameter)]
    narrow = [g for g in stepped if g.parameter.dtype.itemsize < 4]
    if before is None and narrow:
        warnings.warn(
            f"{len(narrow)} weights of {narrow[0].parameter.dtype} are rounded after the step, and "
            f"most may not have moved: the terms are those of the step that was asked for. Give "
            f"copies of the weights as before to see what became of it.",
            stacklevel=2,
        )
    measured = measure_update([optimizer], stepped, past, with_mean_square=True)
    require(
        bool(measured),
        "the optimizer has not made a step yet: call variance_budget after optimizer.step().",
    )
    if before is not None:
        _check_consistent(optimizer, stepped, past)
    rows = [
        (step, matrix.layer, matrix.role, kind, stat, value)
        for one, values in zip(measured, DeviceToHostCopy(measured).values(), strict=True)
        for matrix, row in zip(one.matrices, values.tolist(), strict=True)
        for (kind, stat), value in zip(one.labels, row, strict=True)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _check_before(before: Any, groups: Sequence[MatrixGroup]) -> None:
    """Raise `UsageError` unless `before` holds a copy of every matrix."""
    require(
        isinstance(before, Mapping)
        and all(
            isinstance(old := before.get(group.parameter), torch.Tensor)
            and old.shape == group.parameter.shape
            and old.dtype == group.parameter.dtype
            for group in groups
        ),
        f"before must be a dictionary from each parameter to a copy of what it was before the "
        f"step, not {shown(before)}.",
    )


def _was_stepped(optimizer: Optimizer, parameter: nn.Parameter) -> bool:
    """Return whether the last step was one of this parameter, as far as gradients tell.

    The state of one that is frozen, or got no gradient this time, is that of an earlier step. Where
    all gradients are cleared already, nothing tells.
    """
    if not parameter.requires_grad:
        return False
    if parameter.grad is not None:
        return True
    return all(p.grad is None for group in optimizer.param_groups for p in group["params"])


def _check_consistent(optimizer: Optimizer, groups: Sequence[MatrixGroup], past: Past) -> None:
    """Raise `UsageError` if the state does not lead from the weights before to those after."""
    if not reads_state(optimizer):
        return
    for group in groups:
        parameter = group.parameter
        last = last_optimizer_step(optimizer, parameter, past.settings[parameter])
        if last is None:
            continue
        both = (past.weights[parameter], parameter)
        old, new = (at_least_float32(local_part(tensor)) for tensor in both)
        if not new.numel():
            continue
        direction = at_least_float32(local_part(last.direction(slice(None))))
        expected = (1 - last.lr * last.weight_decay) * old - last.lr * direction
        error = (new - expected).abs().max()
        # Of the number format, of a step fused in it, and of the optimizer's own arithmetic.
        spacing = torch.finfo(parameter.dtype).eps * torch.maximum(old.abs(), new.abs()).max()
        moved = last.lr * direction.abs().max()
        require(
            not bool(error > 1.1 * spacing + 1e-3 * moved),
            "the state and the learning rate of the optimizer are not those of the step that led "
            "from before to the weights: copy the weights right before optimizer.step(), and call "
            "variance_budget right after it, before a scheduler's step.",
        )


def measure_update(
    optimizers: Sequence[Optimizer],
    groups: Sequence[MatrixGroup],
    past: Past | None = None,
    *,
    with_mean_square: bool = False,
) -> list[MatrixStatistics]:
    """Return the statistics of the matrices that were stepped; none if there is none."""
    past = past or Past(optimizers)
    read: list[tuple[MatrixGroup, OptimizerStep]] = []
    compared: list[tuple[MatrixGroup, OptimizerStep | None]] = []
    for group in groups:
        parameter = group.parameter
        optimizer = past.holder[parameter]
        known, settings = reads_state(optimizer), past.settings[parameter]
        last = last_optimizer_step(optimizer, parameter, settings) if known else None
        if known and last is None and group.layout is not None and not parameter.numel():
            # This process holds nothing of it; its settings still count.
            plain = isinstance(optimizer, SGD) and not settings["momentum"]
            decay = settings["weight_decay"] if plain or is_decoupled(optimizer, settings) else 0.0
            nothing = rows_of(torch.zeros_like(parameter))
            last = OptimizerStep(nothing, float(settings["lr"]), float(decay))
        if parameter in past.weights and (not known or parameter.dtype.itemsize < 4):
            if last is not None or not known:
                compared.append((group, last))
        elif last is not None:
            read.append((group, last))
    found = []
    for sharded in (False, True):
        whole = [one for one in read if (one[0].layout is not None) == sharded]
        found += [_read_update(whole, with_mean_square)] if whole else []
        for narrow, known in ((True, True), (True, False), (False, False)):
            alike = [
                (group, last)
                for group, last in compared
                if (group.layout is not None) == sharded
                and (group.parameter.dtype.itemsize < 4, last is not None) == (narrow, known)
            ]
            found += [_compared_update(alike, past, with_mean_square)] if alike else []
    return found


def _read_update(
    steps: Sequence[tuple[MatrixGroup, OptimizerStep]], with_mean_square: bool
) -> MatrixStatistics:
    """Return :data:`STATS`, from the weights after the step and its direction."""
    matrices: list[WeightMatrix] = []
    rates: list[tuple[float, float]] = []
    for group, last in steps:
        matrices += group.matrices
        rates += [(last.lr, last.weight_decay)] * len(group.matrices)
    eta, decay = np.array(rates).T

    def factors(group: MatrixGroup, last: OptimizerStep) -> Factors:
        weight = rows_of(local_part(group.parameter))
        return lambda rows: [
            at_least_float32(tensor) for tensor in (weight(rows), local_part(last.direction(rows)))
        ]

    groups = [group for group, _ in steps]
    raw = mean_products(groups, [factors(*one) for one in steps], [(0, 0), (0, 1), (1, 1)])

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
    return MatrixStatistics(matrices, raw, [("update", stat) for stat in stats], finish)


def _compared_update(
    steps: Sequence[tuple[MatrixGroup, OptimizerStep | None]], past: Past, with_mean_square: bool
) -> MatrixStatistics:
    """Return the statistics from the weights before and after, all of one precision.

    The step is what the state says where it can be read, and the rest of the change is rounding;
    otherwise it is the whole change but for the decay.
    """
    matrices: list[WeightMatrix] = []
    factors: list[Factors] = []
    rates: list[tuple[float, float]] = []
    for group, last in steps:
        parameter = group.parameter
        settings = past.settings[parameter]
        rate = settings.get("lr")
        eta = float(rate) if rate is not None else float("nan")
        if last is None:
            decoupled = is_decoupled(past.holder[parameter], settings)
            shrinks = decoupled and rate is not None
            decay = float(settings.get("weight_decay") or 0.0) if shrinks else 0.0
        else:
            decay = last.weight_decay
        shrunk = eta * decay if decay else 0.0
        factors.append(_before_and_after(past.weights[parameter], parameter, last, eta, shrunk))
        matrices += group.matrices
        rates += [(eta, shrunk)] * len(group.matrices)
    eta, shrunk = np.array(rates).T
    narrow = steps[0][0].parameter.dtype.itemsize < 4
    known = steps[0][1] is not None
    pairs = [(0, 0), (0, 3), (3, 3), (1, 1), (0, 2), (2, 2), (4, 4)]
    raw = mean_products([group for group, _ in steps], factors, pairs)

    def finish(raw: np.ndarray) -> np.ndarray:
        before, aligned, m2, after, turned, d2, unchanged = raw.T
        kept = 1 - shrunk
        sine = np.sqrt(np.maximum(before * d2 - turned**2, 0))
        terms = [(kept**2 - 1) * before, 2 * kept * aligned, m2]
        columns = [np.sqrt(m2) / eta, np.arctan2(sine, before + turned), *terms]
        columns += [after - before - sum(terms)] if known else []
        columns += [unchanged] if narrow else []
        return np.stack([*columns, after] if with_mean_square else columns, axis=1)

    stats = [*STATS, *["rounding"] * known, *["unchanged"] * narrow]
    stats += ["mean_square"] * with_mean_square
    return MatrixStatistics(matrices, raw, [("update", stat) for stat in stats], finish)


def _matrices_of(optimizer: Optimizer) -> list[WeightMatrix]:
    """Return every parameter of two dimensions or more, in order."""
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.dim() >= 2]
    require(bool(parameters), "the optimizer holds no parameter of two dimensions: no matrix.")
    return [
        WeightMatrix(number, "weight", "", parameter, nn.Identity(), 0, None)
        for number, parameter in enumerate(parameters, start=1)
    ]


def _before_and_after(
    before: torch.Tensor,
    parameter: nn.Parameter,
    last: OptimizerStep | None,
    eta: float,
    shrunk: float,
) -> Factors:
    """Return what makes weights before and after, their difference, the step, what stayed."""
    both = rows_of(local_part(before)), rows_of(local_part(parameter))

    def factors(rows: slice) -> list[torch.Tensor]:
        old, new = (at_least_float32(of(rows)) for of in both)
        moved = new - old
        if last is None:
            step = moved + shrunk * old
        else:
            step = local_part(last.direction(rows)).to(old.dtype) * -eta
        return [old, new, moved, step, (moved == 0).to(old.dtype)]

    return factors
