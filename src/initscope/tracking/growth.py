r"""Split what the steps of AdamW add to the mean square of a matrix by where it comes from.

With :math:`a_t = 1 - \eta_t \lambda`, a step adds to the mean square what decay does not take away,

.. math:: \rho_t - a_t^2 \rho_{t-1} = -2 a_t \eta_t \langle \theta_{t-1}, u_t \rangle / N
          + \eta_t^2 \langle u_t, u_t \rangle / N.

The weights are what all updates so far have left, so this *growth* is a sum over pairs of
gradients: each with itself, each with those shortly before, and each with the older weights. An
identity, in these three parts.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.optim import AdamW

from initscope import checks
from initscope.checks import require
from initscope.errors import shown
from initscope.tracking.arguments import select_roles
from initscope.tracking.matrices import find_weight_matrices
from initscope.tracking.optimizers import (
    last_optimizer_step,
    select_optimized,
    unwrap_optimizer,
)
from initscope.tracking.statistics import MatrixGroup, group_by_parameter

__all__ = ["GrowthSplit"]

SUMS = ("growth", "shadow")


@dataclass
class _Past:
    """What is kept of one parameter: earlier weights, and momentum if each gradient had a sign."""

    weights: deque[torch.Tensor]
    kept: deque[float]  # 1 - lr decay of the step after each of the weights
    momentum_square: torch.Tensor
    covariance: torch.Tensor


@dataclass
class _Window:
    """Sums over the steps since the last row."""

    after: int
    rate_squares: np.ndarray
    sums: dict[str, np.ndarray] = field(default_factory=dict)


class GrowthSplit:
    r"""Split the growth of weight matrices under AdamW, step by step, in a training loop.

    Call :meth:`after_optimizer_step` after each step, with the gradients still there. The columns
    of :meth:`to_frame` are sums over a window of steps, per element:

    ================ ============================================================================
    column           value
    ================ ============================================================================
    `rate_squares`   sum of the squared learning rates
    `growth`         what the steps added to the mean square, decay added back: an identity
    `shadow`         mean growth if each gradient had a random sign: sizes, tails, momentum, epsilon
                     and the lag of v are those of the run, but gradients are not correlated with
                     each other or with the weights
    `rest_64`, ...   :math:`-2 a_t \eta_t \langle \theta_{t-1-64} \prod a, u_t \rangle / N`: the
                     part by alignment with the weights of 64 steps ago, above 0 where the gradient
                     pushes them outward; one column for each of `lags`
    ================ ============================================================================

    What is left, ``growth - shadow - rest_64``, is the *memory*: correlation between the gradients
    of the last 64 steps. The mean over random signs is computed, not drawn. Signs do not change v,
    so that


    .. math::
        q_t &= \beta_1^2 q_{t-1} + (1 - \beta_1)^2 g_t^2, \qquad
        e_t = \frac{\eta_t}{1 - \beta_1^t} \Big/ (\sqrt{\hat v_t} + \epsilon) \\
        \text{shadow}_t &= e_t^2 q_t - 2 a_t e_t \beta_1 c_{t-1}, \qquad
        c_t = a_t \beta_1 c_{t-1} - e_t q_t

    element by element: the recursion of :func:`initscope.theory.adamw_variance_trajectory`, fed
    with the gradients of the run.

    Parameters
    ----------
    model
        Any model; its matrices are those of :func:`initscope.tracking.weight_matrices`.
    optimizer
        torch's `AdamW`, before its first step. Not amsgrad, not maximize.
    lags
        Numbers of steps that the rest looks back, ascending. The weights of as many steps as the
        largest are kept.
    roles
        Roles of the matrices to follow; by default q, k and v, or all in a model without attention.
        Where one matrix of a parameter is followed, all of them are.
    every
        Steps in a window.

    Raises
    ------
    UsageError
        Another optimizer, one that has made a step already, no such role, lags that do not ascend.

    Examples
    --------
    >>> weight = nn.Linear(4, 3, bias=False)
    >>> optimizer = AdamW(weight.parameters(), lr=0.1)
    >>> split = GrowthSplit(weight, optimizer, lags=(2,), every=5)
    >>> for _ in range(10):
    ...     optimizer.zero_grad()
    ...     weight(torch.ones(4)).sum().backward()
    ...     optimizer.step()
    ...     split.after_optimizer_step()
    >>> split.to_frame()[["after", "until", "role"]].to_numpy().tolist()
    [[0, 5, 'Linear'], [5, 10, 'Linear']]
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        lags: Sequence[int] = (64,),
        roles: Sequence[str] | None = None,
        every: int = 100,
    ) -> None:
        optimizer = unwrap_optimizer(optimizer)
        require(
            type(optimizer) is AdamW
            and not any(g["amsgrad"] or g["maximize"] for g in optimizer.param_groups),
            f"the optimizer must be torch's AdamW, without amsgrad or maximize, for growth to be "
            f"split, not {shown(type(optimizer).__name__)}.",
        )
        matrices = select_roles(find_weight_matrices(model), roles, "roles")
        parameters = {matrix.parameter for matrix in matrices}
        groups = group_by_parameter(
            [matrix for matrix in find_weight_matrices(model) if matrix.parameter in parameters]
        )
        self._groups: list[MatrixGroup] = select_optimized([optimizer], groups)
        require(
            not any(optimizer.state.get(group.parameter) for group in self._groups),
            "the optimizer has made steps already: split the growth from the first one on.",
        )
        self._optimizer = optimizer
        self._lags = tuple(checks.whole("a lag", lag) for lag in checks.items("lags", lags, 1))
        require(
            list(self._lags) == sorted(set(self._lags)), f"lags must ascend, not {shown(lags)}."
        )
        self._every = checks.whole("every", every)
        self._step = 0
        self._rows: list[pd.DataFrame] = []
        self._past = {
            group.parameter: _Past(
                deque([group.parameter.detach().clone()], maxlen=self._lags[-1] + 1),
                deque(maxlen=self._lags[-1]),
                torch.zeros_like(group.parameter),
                torch.zeros_like(group.parameter),
            )
            for group in self._groups
        }
        n_matrices = sum(len(group.matrices) for group in self._groups)
        self._window = _Window(0, np.zeros(n_matrices))

    @torch.no_grad()
    def after_optimizer_step(self) -> None:
        """Measure the step just made; its gradients have to be there."""
        settings = {p: group for group in self._optimizer.param_groups for p in group["params"]}
        found: dict[str, list[torch.Tensor]] = {}
        squares = []
        for group in self._groups:
            rate = float(settings[group.parameter]["lr"])
            squares += [rate**2] * len(group.matrices)
            for name, product in self._products(group, settings[group.parameter]).items():
                means = [view.mean(dims, dtype=torch.float64).reshape(-1)
                         for view, dims in group.views(product)]  # fmt: skip
                found.setdefault(name, []).extend(means)
        self._step += 1
        self._window.rate_squares += squares
        for name, means in found.items():
            total = torch.cat(means).cpu().numpy()
            self._window.sums[name] = self._window.sums.get(name, 0.0) + total
        if self._step % self._every == 0:
            self._close_window()

    def _products(self, group: MatrixGroup, settings: dict) -> dict[str, torch.Tensor]:
        """Return element by element what the last step added, in all and by parts."""
        parameter, past = group.parameter, self._past[group.parameter]
        last = last_optimizer_step(self._optimizer, parameter, settings)
        if last is None or parameter.grad is None:
            require(
                last is None,
                "a gradient is missing: call after_optimizer_step before zero_grad.",
            )
            zero = torch.zeros_like(parameter)
            return dict.fromkeys((*SUMS, *(f"rest_{lag}" for lag in self._lags)), zero)
        eta, decay = last.lr, last.weight_decay
        keep, update = 1 - eta * decay, last.direction(slice(None))
        before = past.weights[-1]
        found = {"growth": update * (eta**2 * update - 2 * keep * eta * before)}

        (beta1, beta2), state = settings["betas"], self._optimizer.state[parameter]
        step = float(state["step"])
        size = state["exp_avg_sq"].sqrt().div_(math.sqrt(1 - beta2**step)).add_(settings["eps"])
        size = (eta / (1 - beta1**step)) / size
        fresh = ((1 - beta1) ** 2) * parameter.grad.square()
        past.momentum_square.mul_(beta1**2).add_(fresh)
        moved, carried = size * past.momentum_square, keep * beta1 * past.covariance
        found["shadow"] = size * (moved - 2 * carried)
        past.covariance = carried - moved

        for lag in self._lags:
            back = min(lag, len(past.weights) - 1)
            kept = math.prod(list(past.kept)[len(past.kept) - back :])
            found[f"rest_{lag}"] = past.weights[-1 - back] * update * (-2 * keep * eta * kept)
        past.weights.append(parameter.detach().clone())
        past.kept.append(keep)
        return found

    def _close_window(self) -> None:
        window = self._window
        matrices = [matrix for group in self._groups for matrix in group.matrices]
        self._rows.append(
            pd.DataFrame(
                {
                    "after": window.after,
                    "until": self._step,
                    "role": [matrix.role for matrix in matrices],
                    "layer": [matrix.layer for matrix in matrices],
                    "rate_squares": window.rate_squares,
                    **window.sums,
                }
            )
        )
        self._window = _Window(self._step, np.zeros(len(matrices)))

    def to_frame(self) -> pd.DataFrame:
        """Return the windows that are complete, a row for each window and matrix.

        Columns ``after, until, role, layer`` and those of the table above.
        """
        names = ["rate_squares", *SUMS, *(f"rest_{lag}" for lag in self._lags)]
        columns = ["after", "until", "role", "layer", *names]
        if not self._rows:
            return pd.DataFrame({name: [] for name in columns})
        return pd.concat(self._rows, ignore_index=True)[columns]
