"""Measure matrices of which each process holds a part: sums over the parts are added up.

Parameters of FSDP2 and of tensor parallelism are `DTensor`; FSDP1 with ``use_orig_params=True`` has
pieces of flattened parameters. A :class:`Layout` says of each element that this process holds which
matrix it belongs to. All processes have to measure the same, at the same time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from initscope.errors import UsageError

if TYPE_CHECKING:
    from initscope.tracking.matrices import WeightMatrix

__all__: list[str] = []  # for this package alone


def is_dtensor(tensor: Any) -> bool:
    """Return whether a tensor is spread over a mesh of devices."""
    return hasattr(tensor, "full_tensor") and hasattr(tensor, "placements")


def local_part(tensor: torch.Tensor) -> torch.Tensor:
    """Return what this process holds of a tensor, without gradient."""
    found: Any = tensor.detach()
    return found.to_local() if is_dtensor(found) else found


@dataclass(frozen=True, eq=False)
class FlatPiece:
    """A piece of a parameter that FSDP1 has flattened: elements from `start` on.

    Attributes
    ----------
    shape
        Shape of the whole parameter.
    start
        The first element that this process holds, in order of the whole.
    group
        Processes that hold the other pieces.
    """

    shape: torch.Size
    start: int
    group: Any


def flat_pieces(model: nn.Module) -> dict[int, FlatPiece]:
    """Return the pieces of the parameters that FSDP1 has flattened, by id of the parameter."""
    found = {}
    for module in model.modules():
        handle: Any = getattr(module, "_handle", None)
        flat = getattr(handle, "flat_param", None)
        if flat is None or not hasattr(flat, "_shard_param_infos"):
            continue
        if getattr(flat, "_params", None) is None:
            raise UsageError(
                "FSDP holds the weights as flat parameters without a shape: wrap the model with "
                "use_orig_params=True, or with fully_shard."
            )
        whole = handle.world_size == 1 or not getattr(handle, "uses_sharded_strategy", True)
        group = None if whole else handle.process_group
        for parameter, shape, info in zip(
            flat._params, flat._shapes, flat._shard_param_infos, strict=True
        ):
            start = info.intra_param_start_idx if info.in_shard else 0
            found[id(parameter)] = FlatPiece(torch.Size(shape), start or 0, group)
    return found


class Layout:
    """Which matrix each element belongs to that this process holds of a parameter.

    Parameters
    ----------
    matrices
        All of the parameter.
    """

    def __init__(self, matrices: Sequence[WeightMatrix]) -> None:
        self.matrices, piece = matrices, matrices[0].piece
        parameter = matrices[0].parameter
        self.shape = matrices[0].shape
        self.groups: list[Any] = []
        rows, columns = _owners(matrices, self.shape)
        local = local_part(parameter)
        device = local.device
        self._boxes: list[tuple[slice, torch.Tensor, torch.Tensor]] = []
        self._places: list[tuple[torch.Tensor, torch.Tensor]] = []
        n_columns = len(columns)

        def add(where: slice, row_places: np.ndarray, column_places: np.ndarray) -> None:
            if len(row_places) and len(column_places):
                at = torch.from_numpy(row_places), torch.from_numpy(column_places)
                of = torch.from_numpy(rows[row_places]), torch.from_numpy(columns[column_places])
                self._boxes.append((where, of[0].to(device), of[1].to(device)))
                self._places.append((at[0].to(device), at[1].to(device)))

        if piece is not None:
            if piece.group is not None:
                self.groups = [piece.group]
            first, end, taken = piece.start, piece.start + local.numel(), 0
            while first < end:  # the rest of a row, whole rows, the beginning of one
                row, column = divmod(first, n_columns)
                whole = (end - first) // n_columns if column == 0 else 0
                n = whole * n_columns if whole else min(n_columns - column, end - first)
                row_places = np.arange(row, row + max(whole, 1))
                width = n_columns if whole else n
                add(slice(taken, taken + n), row_places, np.arange(column, column + width))
                first, taken = first + n, taken + n
        else:
            dims = self._local_dims(parameter)
            *leading, last = dims if dims else [np.zeros(1, dtype=np.int64)]
            if len(self.shape) == 1:
                leading, last = [last], np.zeros(1, dtype=np.int64)
            row_places = np.zeros(1, dtype=np.int64)
            for size, places in zip(self.shape[: len(leading)], leading, strict=True):
                row_places = (row_places[:, None] * size + places).ravel()
            add(slice(None), row_places, last)

    def _local_dims(self, parameter: Any) -> list[np.ndarray]:
        """Return the places along each dimension that this process holds."""
        from torch.distributed.tensor.placement_types import Replicate, Shard

        mesh, coordinate = parameter.device_mesh, parameter.device_mesh.get_coordinate()
        found = [np.arange(size) for size in self.shape]
        placements = list(enumerate(parameter.placements))
        # A strided shard is one of what was cut by the dimensions of the mesh behind it.
        plain = [one for one in placements if type(one[1]) is Shard]
        strided = [one for one in placements if type(one[1]).__name__ == "_StridedShard"]
        for mesh_dim, placement in [*plain, *reversed(strided)]:
            dim, n = placement.dim % len(found), mesh.size(mesh_dim)
            size = -(-len(found[dim]) // n)
            start = min(size * coordinate[mesh_dim], len(found[dim]))
            found[dim] = found[dim][start : start + size]
            self.groups.append(mesh.get_group(mesh_dim))
        known = len(plain) + len(strided) + sum(type(p) is Replicate for _, p in placements)
        sizes = torch.Size(len(places) for places in found)
        if known != len(placements) or sizes != parameter.to_local().shape:
            raise UsageError(
                f"{self.matrices[0].name} is spread in a way that is not known here: "
                f"{parameter.placements}. Known are Shard and Replicate."
            )
        return found

    def sums(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum over each matrix of what this process holds, in float64."""
        n = len(self.matrices)
        total = torch.zeros(n + 1, dtype=torch.float64, device=values.device)
        for where, rows, columns in self._boxes:
            box = values.flatten()[where] if where != slice(None) else values
            box = box.reshape(len(rows), len(columns)).double()
            kinds = columns.unique()
            for kind in kinds.tolist():
                part = box if len(kinds) == 1 else box[:, columns == kind]
                owner = torch.where((rows < 0) | (kind < 0), n, rows + kind)
                total.index_add_(0, owner, part.sum(1))
        return total[:n]

    def whole(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return all of a parameter, gathered from all processes."""
        local = local_part(tensor)
        n_columns = self.shape[-1] if len(self.shape) > 1 else 1
        found = local.new_zeros(math.prod(self.shape) // n_columns, n_columns)
        for (where, _, _), (rows, columns) in zip(self._boxes, self._places, strict=True):
            box = local.flatten()[where] if where != slice(None) else local
            found[rows[:, None], columns] = box.reshape(len(rows), len(columns))
        for group in self.groups:
            torch.distributed.all_reduce(found, group=group)
        return found.reshape(self.shape)


def _owners(matrices: Sequence[WeightMatrix], shape: torch.Size) -> tuple[np.ndarray, np.ndarray]:
    """Return what the row and the column of an element add to the number of its matrix.

    Rows are all dimensions but the last one; what is in no matrix has a number far below 0.
    """
    first = matrices[0]
    n_columns = shape[-1] if len(shape) > 1 else 1
    n_rows = math.prod(shape) // max(n_columns, 1)
    experts = max(first.n_experts, 1)
    n_parts = len(matrices) // experts
    rows = np.arange(experts).repeat(n_rows // experts) * n_parts
    columns = np.zeros(n_columns, dtype=np.int64)
    if first.unit_range is None:
        return rows, columns
    by_column = first.unit_dim == 1 and (len(shape) == 2 or first.n_experts > 0)
    if first.unit_dim == 1 and not by_column:
        raise UsageError(f"{first.name} is sharded, and its units are along its second dimension.")
    n_units = n_columns if by_column else shape[0]
    if first.n_experts and not by_column:
        n_units = shape[1]
    of_unit = torch.full((n_units,), -(10**9), dtype=torch.int64)
    for number, matrix in enumerate(matrices[:n_parts]):
        assert matrix.unit_range is not None
        matrix.unit_range.of(of_unit, 0).fill_(number)
    if by_column:
        return rows, of_unit.numpy()
    per_unit = n_rows // experts // n_units
    return rows + np.tile(of_unit.numpy().repeat(per_unit), experts), columns


def reduce_sums(rows: Sequence[tuple[Layout, torch.Tensor]]) -> list[torch.Tensor]:
    """Add up over processes: of each parameter a tensor (matrices, numbers), one message a mesh."""
    together: dict[tuple[int, ...], list[int]] = {}
    for k, (layout, _) in enumerate(rows):
        together.setdefault(tuple(map(id, layout.groups)), []).append(k)
    found = [raw for _, raw in rows]
    for members in together.values():
        message = torch.cat([found[k].reshape(-1) for k in members])
        for group in rows[members[0]][0].groups:
            torch.distributed.all_reduce(message, group=group)
        parts = message.split([found[k].numel() for k in members])
        for k, part in zip(members, parts, strict=True):
            found[k] = part.reshape(found[k].shape)
    return found


def is_sharded(matrices: Sequence[WeightMatrix]) -> bool:
    """Return whether processes hold parts of some of these matrices."""
    return any(m.piece is not None or is_dtensor(m.parameter) for m in matrices)


def have_gradients(parameters: Sequence[nn.Parameter], sharded: Sequence[bool]) -> list[bool]:
    """Return which have a gradient, of what is sharded in any process."""
    found = [parameter.grad is not None for parameter in parameters]
    if any(sharded):
        flags = torch.tensor(found, dtype=torch.int32, device=parameters[0].device)
        torch.distributed.all_reduce(flags, torch.distributed.ReduceOp.MAX)
        everywhere = flags.tolist()
        found = [bool(e) if s else f for e, s, f in zip(everywhere, sharded, found, strict=True)]
    return found


def _are_several() -> bool:
    """Return whether this process is one of several; there are builds of torch without any."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def is_first_process() -> bool:
    """Return whether this process is the one that writes."""
    return not _are_several() or torch.distributed.get_rank() == 0


def decided_by_first(decision: bool) -> bool:
    """Return what the first process decided, in all of them."""
    if not _are_several():
        return decision
    held = [decision]
    torch.distributed.broadcast_object_list(held, src=0)
    return held[0]


def in_any_process(flag: bool) -> bool:
    """Return whether it is so in one of the processes, all of which have to ask."""
    if not _are_several():
        return flag
    gpu = torch.distributed.get_backend() == "nccl"
    found = torch.tensor(float(flag), device="cuda" if gpu else "cpu")
    torch.distributed.all_reduce(found)
    return bool(found > 0)
