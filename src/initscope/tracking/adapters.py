"""Measure the product of the two matrices of a low-rank adapter, which is what it adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from initscope.tracking.matrices import WeightMatrix, unwrapped
from initscope.tracking.shards import FlatPiece, Layout, flat_pieces, is_dtensor
from initscope.tracking.statistics import MatrixStatistics, widest_dtype

__all__: list[str] = []  # for this package alone


KINDS = ("lora_B", "lora_embedding_B")


@dataclass(frozen=True, eq=False)
class Parameter:
    """One parameter, of which FSDP1 may have left a piece here."""

    here: nn.Parameter
    piece: FlatPiece | None

    @property
    def shape(self) -> torch.Size:
        """Shape of the whole."""
        return self.here.shape if self.piece is None else self.piece.shape

    @cached_property
    def layout(self) -> Layout:
        """Which elements of the whole are here."""
        return Layout(
            [WeightMatrix(0, "", "", self.here, nn.Identity(), 0, None, piece=self.piece)]
        )

    def gathered(self) -> torch.Tensor:
        """Return the whole, of all processes together, as precise as the device has it."""
        found: Any = self.here.detach()
        if self.piece is not None:
            found = self.layout.whole(found)
        elif is_dtensor(found):
            found = found.full_tensor()
        return found.to(widest_dtype(found.device))


@dataclass(frozen=True, eq=False)
class AdapterProduct:
    """What one adapter adds to a matrix, or to q, k or v in one: ``scaling * B A``.

    Attributes
    ----------
    layer, role
        Of B, with ``lora_BA`` for ``lora_B``.
    b
        The matrix from the rank to the outputs.
    b_whole, a_whole
        Parameters that hold it and the matrix from the inputs to the rank.
    holder
        Module that says how the product is scaled.
    adapter
        Name of the adapter there.
    """

    layer: int
    role: str
    b: WeightMatrix
    b_whole: Parameter
    a_whole: Parameter
    holder: nn.Module
    adapter: str

    @property
    def scaling(self) -> float:
        """The factor before the product."""
        scaling: Any = getattr(self.holder, "scaling", {})
        return float(scaling.get(self.adapter, 1.0)) if isinstance(scaling, dict) else 1.0

    def mean_and_square(self) -> torch.Tensor:
        """Return mean and mean square of the elements, without the product itself."""
        b, a = self.b_whole.gathered(), self.a_whole.gathered()
        b, a = self.b.of(b).flatten(1), a.flatten(1)
        n = b.shape[0] * a.shape[1] or 1
        # Over the rank alone: the sum of (B A)^2 is that of (B^T B) times (A A^T).
        mean = self.scaling * (b.sum(0) @ a.sum(1)) / n
        square = self.scaling**2 * ((b.T @ b) * (a @ a.T)).sum() / n
        return torch.stack([mean, square])


def find_products(
    model: nn.Module, matrices: Sequence[WeightMatrix]
) -> tuple[list[AdapterProduct], list[str]]:
    """Return the products of the adapters whose B is among `matrices`; also the B without one."""
    pieces = flat_pieces(model)
    model = unwrapped(model)
    parameters = dict(model.named_parameters())
    found, without = [], []
    for matrix in matrices:
        kind = next((part for part in matrix.name.split(".") if part in KINDS), None)
        if kind is None:
            continue
        place, _, rest = matrix.name.partition(f".{kind}.")
        a = parameters.get(f"{place}.{kind[:-1]}A.{rest}")
        named = "lora_B" in matrix.role
        role = matrix.role.replace("lora_B", "lora_BA") if named else f"{matrix.role}_lora_BA"
        if a is not None:
            whole = Parameter(a, pieces.get(id(a)))
            if matrix.shape[1] == whole.shape[0]:
                b = Parameter(matrix.parameter, matrix.piece)
                holder, adapter = model.get_submodule(place), rest.partition(".")[0]
                found.append(AdapterProduct(matrix.layer, role, matrix, b, whole, holder, adapter))
                continue
        without.append(matrix.name)
    return found, without


def product_moments(products: Sequence[AdapterProduct]) -> MatrixStatistics:
    """Return mean, std and rms of each product."""

    def finish(raw: np.ndarray) -> np.ndarray:
        mean, square = raw.T
        std = np.sqrt(np.maximum(square - mean**2, 0))
        return np.stack([mean, std, np.sqrt(square)], axis=1)

    raw = torch.stack([product.mean_and_square() for product in products])
    labels = [("weight", stat) for stat in ("mean", "std", "rms")]
    return MatrixStatistics(products, raw, labels, finish)
