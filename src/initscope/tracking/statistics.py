"""Statistics of many weight matrices at once, gathered on their device and copied to the host once.

A :class:`MatrixStatistics` holds raw numbers of many matrices as one tensor, on the device where
they were computed; :class:`DeviceToHostCopy` brings several of them over in one copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import nn

from initscope.models.architectures import UnitRange
from initscope.tracking.binned import BinnedValues
from initscope.tracking.matrices import WeightMatrix, expert_matrices
from initscope.tracking.shards import Layout, is_sharded, local_part, reduce_sums

__all__: list[str] = []  # for this package alone

Pair = tuple[int, int]

QUANTILES = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)
HISTOGRAM_BINS, HISTOGRAM_STDS = 40, 5
LARGEST_SORTED = 2**22
"""Numbers of a matrix that are sorted on a CPU for their quantiles; more are counted in bins."""

LARGE = 2**20
"""Numbers of a matrix that are multiplied piece by piece on a CPU, if there are more."""

PIECE = 2**17
"""Numbers of such a piece: it and what is computed from it stay in the cache."""


@dataclass(frozen=True)
class MatrixGroup:
    """The matrices of one parameter."""

    parameter: nn.Parameter
    matrices: tuple[WeightMatrix, ...]

    @cached_property
    def layout(self) -> Layout | None:
        """Which elements this process holds, of a sharded parameter."""
        return Layout(self.matrices) if is_sharded(self.matrices) else None

    @cached_property
    def even(self) -> bool:
        """Whether the matrices are equal parts of the parameter, one after the other."""
        first = self.matrices[0].unit_range
        if first is None:
            return False
        n_units = first.groups * first.length * len(self.parts)
        return n_units == self.matrix_shape[self.matrices[0].unit_dim] and all(
            matrix.unit_range == UnitRange(first.groups, number * first.length, first.length)
            for number, matrix in enumerate(self.parts)
        )

    @property
    def n_elements(self) -> int:
        """Numbers in the matrices, whatever this process holds of them."""
        return sum(matrix.n_elements for matrix in self.matrices)

    @property
    def pieces(self) -> list[slice]:
        """Rows to be read one after the other; of all but a large matrix on a CPU, all rows."""
        parameter, alone = self.parameter, len(self.matrices) == 1 and self.layout is None
        whole = alone and self.matrices[0].unit_range is None and parameter.dim() > 1
        if not whole or parameter.device.type != "cpu" or parameter.numel() <= LARGE:
            return [slice(None)]
        n_rows = len(parameter)
        height = max(PIECE * n_rows // parameter.numel(), 1)
        return [slice(first, first + height) for first in range(0, n_rows, height)]

    @property
    def n_experts(self) -> int:
        """Experts that stand one after the other in the parameter, each with all parts; or 0."""
        return self.matrices[0].n_experts

    @property
    def parts(self) -> tuple[WeightMatrix, ...]:
        """The matrices of one expert; all of them if there are none."""
        return self.matrices[: len(self.matrices) // max(self.n_experts, 1)]

    @property
    def matrix_shape(self) -> torch.Size:
        """Shape of the parameter, or of what one expert has of it."""
        shape = self.matrices[0].shape
        if not self.n_experts:
            return shape
        rows = shape[1] if len(shape) == 3 else shape[0] // self.n_experts
        return torch.Size([rows, shape[-1]])

    def views(self, tensor: torch.Tensor) -> Iterator[tuple[torch.Tensor, tuple[int, ...]]]:
        """Return views of `tensor`, of the parameter's shape, and the dimensions to reduce.

        What is left after the reductions is one number for each matrix, in order. Equal parts are
        one view, so that one operation serves them all.
        """
        first, experts = self.matrices[0], int(self.n_experts > 0)
        if experts:
            tensor = expert_matrices(tensor, self.n_experts)
        if first.unit_range is not None and self.even:
            sizes = (first.unit_range.groups, len(self.parts), first.unit_range.length)
            view = tensor.unflatten(first.unit_dim + experts, sizes)
            kept = {first.unit_dim + experts + 1, experts - 1}
            yield view, tuple(d for d in range(view.dim()) if d not in kept)
        elif experts and first.unit_range is None:
            yield tensor, (1, 2)
        else:
            for matrix in self.matrices:
                view = matrix.of(tensor)
                yield view, tuple(range(view.dim()))


def group_by_parameter(matrices: Sequence[WeightMatrix]) -> list[MatrixGroup]:
    """Group the matrices, those of one parameter together."""
    groups: dict[nn.Parameter, list[WeightMatrix]] = {}
    for matrix in matrices:
        groups.setdefault(matrix.parameter, []).append(matrix)
    return [MatrixGroup(parameter, tuple(found)) for parameter, found in groups.items()]


class Named(Protocol):
    """Anything with a layer and a role: a matrix, the product of two, an attention layer."""

    @property
    def layer(self) -> int:
        """Its layer."""
        ...

    @property
    def role(self) -> str:
        """Its role there."""
        ...


@dataclass(frozen=True, eq=False)
class MatrixStatistics:
    """Raw numbers of some matrices, and what becomes of them on the host.

    Attributes
    ----------
    matrices
        Those measured.
    raw
        What was found on the device of the model, of any shape.
    labels
        (kind, stat) of each number that `finish` gives for a matrix.
    finish
        From `raw` on the host in float64 to an array of shape (matrices, labels).
    """

    matrices: Sequence[Named]
    raw: torch.Tensor
    labels: Sequence[tuple[str, str]]
    finish: Callable[[np.ndarray], np.ndarray]


class DeviceToHostCopy:
    """A copy of several :class:`MatrixStatistics` on its way to the host: one a device."""

    def __init__(self, measured: Sequence[MatrixStatistics]) -> None:
        by_device: dict[torch.device, list[torch.Tensor]] = {}
        for one in measured:
            raw = one.raw.reshape(-1).to(widest_dtype(one.raw.device))
            by_device.setdefault(raw.device, []).append(raw)
        # On a GPU the copy is queued behind the statistics, and the training step goes on.
        self._copies = {
            device: torch.cat(raws).to("cpu", non_blocking=True)
            for device, raws in by_device.items()
        }
        self._events = []
        for device in self._copies:
            if device.type == "cuda":
                event = torch.cuda.Event()
                event.record(torch.cuda.current_stream(device))
                self._events.append(event)
        self._measured = [(one, one.raw.device, tuple(one.raw.shape)) for one in measured]

    def values(self) -> list[np.ndarray]:
        """Return what `finish` makes of each, shape (matrices, labels); wait for the copies."""
        for event in self._events:
            event.synchronize()
        taken = dict.fromkeys(self._copies, 0)
        finished = []
        for one, device, shape in self._measured:
            start, n = taken[device], int(np.prod(shape))
            taken[device] += n
            raw = self._copies[device][start : start + n].double().numpy().reshape(shape)
            with np.errstate(all="ignore"):  # what overflowed is recorded as it is
                finished.append(one.finish(raw))
        return finished


def widest_dtype(device: torch.device) -> torch.dtype:
    """Return float64, where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


def at_least_float32(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor without gradient, and in float32 at least."""
    tensor = tensor.detach()
    return tensor.float() if tensor.dtype.itemsize < 4 else tensor


def mean_and_variance(
    tensor: torch.Tensor, dims: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and variance (divided by the number of elements) over `dims`."""
    if tensor.is_cuda:
        variance, mean = torch.var_mean(tensor, dims, correction=0)
        return mean, variance
    # On the CPU torch's one-pass var_mean takes 40 times as long as two passes.
    mean = tensor.mean(dims, keepdim=True)
    return mean.squeeze(dims), (tensor - mean).square_().mean(dims)


Factors = Callable[[slice], Sequence[torch.Tensor]]
"""From rows of a parameter to tensors of their shape."""


def mean_products(
    groups: Sequence[MatrixGroup], factors: Sequence[Factors], pairs: Sequence[Pair]
) -> torch.Tensor:
    """Return means over each matrix of products of tensors of its parameter's shape.

    Of sharded parameters what this process holds; the means are over all processes. Either all
    of `groups` are sharded or none. Of one parameter after the other the tensors are made, of a
    large one piece by piece.

    Parameters
    ----------
    groups
        The matrices, by parameter.
    factors
        Of each parameter what makes the tensors; of a sharded one the local parts.
    pairs
        Which two of them are multiplied, for each number.

    Returns
    -------
    torch.Tensor
        Shape (matrices, pairs).
    """
    raws, rows = [], []
    for group, make in zip(groups, factors, strict=True):
        if group.layout is not None:
            tensors = make(slice(None))
            sums = [group.layout.sums(tensors[a] * tensors[b]) for a, b in pairs]
            sizes = torch.tensor([m.n_elements for m in group.matrices]).to(sums[0])
            rows.append((group.layout, torch.stack(sums, dim=1) / sizes[:, None]))
        elif len(group.pieces) > 1:
            raws.append(_products_of_pieces(group, make, pairs))
        else:
            tensors = make(slice(None))
            for views in zip(*map(group.views, tensors), strict=True):
                parts, dims = [view for view, _ in views], views[0][1]
                dtype = widest_dtype(parts[0].device)
                products = [
                    (parts[a] * parts[b]).mean(dims, dtype=dtype).reshape(-1) for a, b in pairs
                ]
                raws.append(torch.stack(products, dim=1))
    return torch.cat(reduce_sums(rows) if rows else raws)


def _products_of_pieces(group: MatrixGroup, make: Factors, pairs: Sequence[Pair]) -> torch.Tensor:
    """Return the means of one large matrix, shape (1, pairs); sums of pieces are in float64."""
    total = torch.zeros(len(pairs), dtype=torch.float64)
    for rows in group.pieces:
        parts = [tensor.reshape(-1) for tensor in make(rows)]
        total += torch.stack([torch.dot(parts[a], parts[b]) for a, b in pairs])
    return (total / group.parameter.numel())[None]


def sharded_moments(
    groups: Sequence[MatrixGroup], tensors: Sequence[torch.Tensor], kind: str
) -> MatrixStatistics:
    """Return mean, std and rms of sharded matrices, of sums and sums of squares."""

    def factors(tensor: torch.Tensor) -> Factors:
        local = at_least_float32(local_part(tensor))
        return lambda rows: (local, torch.ones_like(local))  # sharded ones are read whole

    raw = mean_products(groups, [factors(tensor) for tensor in tensors], [(0, 1), (0, 0)])

    def finish(raw: np.ndarray) -> np.ndarray:
        mean, square = raw.T
        return np.stack([mean, np.sqrt(np.maximum(square - mean**2, 0)), np.sqrt(square)], axis=1)

    labels = [(kind, stat) for stat in ("mean", "std", "rms")]
    return MatrixStatistics(_matrices(groups), raw, labels, finish)


def weights_of(group: MatrixGroup) -> list[torch.Tensor]:
    """Return the matrices of a parameter; of a sharded one gathered from all processes."""
    parameter = group.parameter.detach()
    whole = parameter if group.layout is None else group.layout.whole(parameter)
    return [matrix.of(whole) for matrix in group.matrices]


def is_binned(values: torch.Tensor) -> bool:
    """Return whether there are too many to be sorted: a GPU sorts any number fast."""
    return values.device.type == "cpu" and values.numel() > LARGEST_SORTED


def kurtosis_and_quantiles(
    groups: Sequence[MatrixGroup], quantiles: Sequence[float]
) -> MatrixStatistics:
    """Return kurtosis (3 for a normal distribution) and quantiles of each weight matrix."""
    rows = []
    for matrix in (matrix for group in groups for matrix in weights_of(group)):
        weights = at_least_float32(matrix).flatten()
        if is_binned(weights):
            binned = BinnedValues(weights.numpy())
            numbers = [binned.moments()[2], *binned.quantiles(quantiles)]
            rows.append(torch.tensor(numbers, dtype=weights.dtype))
            continue
        # In units of the std, so that no fourth power overflows.
        deviations = weights - weights.mean()
        normalized = deviations / deviations.square().mean().sqrt()
        kurtosis = normalized.square_().square_().mean()
        rows.append(torch.cat([kurtosis[None], _quantiles(weights, quantiles)]))
    labels = [("weight", "kurtosis"), *(("weight", f"quantile_{q:g}") for q in quantiles)]
    return MatrixStatistics(_matrices(groups), torch.stack(rows), labels, lambda raw: raw)


def histogram_counts(matrices: Sequence[WeightMatrix]) -> MatrixStatistics:
    """Return low, high and counts in even bins between, :data:`HISTOGRAM_STDS` std from 0.

    Weights beyond are counted in the outermost bins.
    """
    rows = []
    groups = group_by_parameter(matrices)
    for matrix in (matrix for group in groups for matrix in weights_of(group)):
        weights = at_least_float32(matrix).flatten()
        if is_binned(weights):
            binned = BinnedValues(weights.numpy())
            limit = HISTOGRAM_STDS * binned.moments()[1]
            edges = np.linspace(-limit, limit, HISTOGRAM_BINS + 1)
            numbers = [-limit, limit, *binned.histogram(edges)]
            rows.append(torch.tensor(numbers, dtype=torch.float64))
            continue
        end = HISTOGRAM_STDS * (weights - weights.mean()).square_().mean().sqrt()
        inside = (weights / end).clamp_(-1, 1)
        counts = torch.histc(inside, HISTOGRAM_BINS, -1, 1)
        rows.append(torch.cat([torch.stack([-end, end]), counts]))
    return MatrixStatistics(_matrices(groups), torch.stack(rows), [], lambda raw: raw)


def _quantiles(values: torch.Tensor, quantiles: Sequence[float]) -> torch.Tensor:
    """Interpolate quantiles linearly; NaN if any value is. `torch.quantile` takes 16M at most."""
    # On a CPU numpy takes a thirtieth of torch's time for the same order.
    on_cpu = values.device.type == "cpu"
    ordered = torch.from_numpy(np.sort(values.numpy())) if on_cpu else values.sort().values
    place = torch.tensor(quantiles, dtype=torch.float64) * (len(values) - 1)
    low = place.floor().long()
    high = (low + 1).clamp_(max=len(values) - 1)
    weight = (place - low).to(values.device, values.dtype, non_blocking=True)
    low, high = low.to(values.device), high.to(values.device)
    found = torch.lerp(ordered[low], ordered[high], weight)
    return torch.where(ordered[-1].isnan(), ordered[-1], found)


def _matrices(groups: Sequence[MatrixGroup]) -> list[WeightMatrix]:
    return [matrix for group in groups for matrix in group.matrices]
