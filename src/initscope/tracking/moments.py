"""Mean, std and rms of many weight matrices, or of their gradients, in few operations.

On the CPU an operation on a small matrix costs more than what it computes. So whole parameters are
laid under one another and cut into rows, each of one matrix; mean and variance of all rows are
found at once, on the device, and those of the matrices from them, on the host.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from initscope.tracking.statistics import (
    MatrixGroup,
    MatrixStatistics,
    at_least_float32,
    mean_and_variance,
    sharded_moments,
)

__all__: list[str] = []  # for this package alone

LONGEST_ROW = 2**12
"""Elements of a row, at most: the squares of a row are added up one after another."""

LARGEST_STACK = 2**20
"""Elements that are copied to be reduced together, at most, unless one parameter has more."""


class MatrixMoments:
    """Measures mean, std and rms of each matrix of some parameters."""

    def __init__(self, groups: Sequence[MatrixGroup]) -> None:
        self._groups = groups
        self._matrices = [matrix for group in groups for matrix in group.matrices]
        self._stacks = _stack_parameters(groups)
        self._owner = np.concatenate([stack.owner for stack in self._stacks])
        self._row_length = np.concatenate(
            [np.full(len(stack.owner), stack.row_length) for stack in self._stacks]
        )
        # Rows of no matrix are counted behind the last one, whether there are any or not.
        self._bins = len(self._matrices) + 1
        self._n_rows = np.bincount(self._owner, minlength=self._bins)

    def measure(self, tensors: Sequence[torch.Tensor], kind: str) -> MatrixStatistics:
        """Measure `tensors`, one for each parameter and of its shape."""
        labels = [(kind, stat) for stat in ("mean", "std", "rms")]
        if tensors[0].is_cuda:
            return MatrixStatistics(self._matrices, self._by_matrix(tensors), labels, _mean_std_rms)
        rows = [stack.reduce([tensors[k] for k in stack.members]) for stack in self._stacks]
        return MatrixStatistics(self._matrices, torch.cat(rows), labels, self._from_rows)

    def _by_matrix(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return mean and variance of each matrix, ``(matrices, 2)``: one operation a parameter."""
        pairs = []
        for group, tensor in zip(self._groups, tensors, strict=True):
            for view, dims in group.views(at_least_float32(tensor)):
                mean, variance = mean_and_variance(view, dims)
                pairs.append(torch.stack([mean.reshape(-1), variance.reshape(-1)], dim=1))
        return torch.cat(pairs)

    def _from_rows(self, raw: np.ndarray) -> np.ndarray:
        """Return mean, std and rms of each matrix from those of its rows."""
        row_mean, row_norm = raw.T
        mean = self._over_rows(row_mean)
        within, between = row_norm**2 / self._row_length, (row_mean - mean[self._owner]) ** 2
        variance = self._over_rows(within + between)
        return _mean_std_rms(np.stack([mean, variance], axis=1)[:-1])

    def _over_rows(self, values: np.ndarray) -> np.ndarray:
        """Return the mean over the rows of each matrix, all of one length."""
        return np.bincount(self._owner, values, self._bins) / self._n_rows


class Moments:
    """Measures mean, std and rms of any parameters; how is found once for the same ones."""

    def __init__(self) -> None:
        self._by_groups: dict[tuple[int, ...], MatrixMoments] = {}

    def measure(
        self, groups: Sequence[MatrixGroup], tensors: Sequence[torch.Tensor], kind: str
    ) -> list[MatrixStatistics]:
        """Measure mean, std and rms; of what is sharded over all processes."""
        found = []
        pairs = list(zip(groups, tensors, strict=True))
        if whole := [pair for pair in pairs if pair[0].layout is None]:
            of, what = zip(*whole, strict=True)
            found.append(self._of(of).measure(what, kind))
        if parts := [pair for pair in pairs if pair[0].layout is not None]:
            of, what = zip(*parts, strict=True)
            found.append(sharded_moments(of, what, kind))
        return found

    def _of(self, groups: Sequence[MatrixGroup]) -> MatrixMoments:
        """Return how to measure these: all of them, or those with a gradient."""
        key = tuple(map(id, groups))
        if key not in self._by_groups:
            self._by_groups[key] = MatrixMoments(groups)
        return self._by_groups[key]


def _mean_std_rms(moments: np.ndarray) -> np.ndarray:
    """Return mean, std and rms from mean and variance of each matrix, shape (matrices, 2)."""
    mean, variance = moments.T
    return np.stack([mean, np.sqrt(variance), np.sqrt(variance + mean**2)], axis=1)


@dataclass(frozen=True, eq=False)
class StackedParameters:
    """Parameters that are laid under one another, and cut into rows.

    Attributes
    ----------
    members
        Their places among all parameters.
    row_length
        Elements of a row.
    owner
        The matrix that each row is part of, by its place among all matrices.
    """

    members: Sequence[int]
    row_length: int
    owner: np.ndarray

    def reduce(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the mean of each row and the norm of deviations from it, shape (rows, 2).

        Two passes: one would lose the deviations beside a large mean.
        """
        # A copy, even of a single tensor: what is trained is not touched.
        # Kernels that are stored with their channels last are no row until they are copied.
        together = torch.cat(list(tensors)) if tensors[0].dim() else torch.stack(list(tensors))
        rows = at_least_float32(together).reshape(-1, self.row_length)
        mean = rows.mean(1, keepdim=True)
        norm = torch.linalg.vector_norm(rows.sub_(mean), dim=1, keepdim=True)
        return torch.cat([mean, norm], dim=1)


def _stack_parameters(groups: Sequence[MatrixGroup]) -> list[StackedParameters]:
    """Return all parameters, stacked where they can be, up to :data:`LARGEST_STACK`."""
    no_matrix = sum(len(group.matrices) for group in groups)
    found: dict[tuple[int, ...], list[StackedParameters]] = defaultdict(list)
    first = 0
    for place, group in enumerate(groups):
        row_length, owner = _split_into_rows(group, first, no_matrix)
        first += len(group.matrices)
        shape = group.parameter.shape
        alike = found[len(shape), *shape[1:], row_length]
        size = group.parameter.numel()
        if alike and len(alike[-1].owner) * row_length + size <= LARGEST_STACK:
            last = alike.pop()
            alike.append(
                StackedParameters(
                    [*last.members, place], row_length, np.concatenate([last.owner, owner])
                )
            )
        else:
            alike.append(StackedParameters([place], row_length, owner))
    return [stack for alike in found.values() for stack in alike]


def _split_into_rows(group: MatrixGroup, first: int, no_matrix: int) -> tuple[int, np.ndarray]:
    """Return the length of a parameter's rows, and the matrix of each, counted from `first`."""
    n_rows, *columns = group.matrix_shape or (1,)
    n_columns = math.prod(columns)
    unit_dim = group.matrices[0].unit_dim
    of_unit = torch.full((n_rows, *columns)[unit_dim : unit_dim + 1], no_matrix)
    for number, matrix in enumerate(group.parts, first):
        part = of_unit if matrix.unit_range is None else matrix.unit_range.of(of_unit, 0)
        part.fill_(number)
    owner = of_unit.numpy()
    if (owner == owner[0]).all():
        piece, owner = n_rows * n_columns, owner[:1]
    else:
        # As many units as always belong together.
        n_units = math.gcd(len(owner), *(np.flatnonzero(np.diff(owner)) + 1).tolist())
        owner = owner[::n_units]
        piece = n_units * (n_columns if unit_dim == 0 else math.prod(columns[1:]))
    row_length = next(n for n in range(min(piece, LONGEST_ROW), 0, -1) if piece % n == 0)
    pieces = n_rows * n_columns // (piece * len(owner))
    owner = np.tile(owner.repeat(piece // row_length), pieces)
    if group.n_experts:
        ahead = np.arange(group.n_experts)[:, None] * len(group.parts)
        owner = np.where(owner == no_matrix, owner, owner + ahead).ravel()
    return row_length, owner
