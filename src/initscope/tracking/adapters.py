"""Measure the product of the two matrices of a low-rank adapter, which is what it adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from initscope.tracking.matrices import WeightMatrix, unwrapped
from initscope.tracking.shards import is_dtensor
from initscope.tracking.statistics import MatrixStatistics, widest_dtype

__all__: list[str] = []  # for this package alone


@dataclass(frozen=True, eq=False)
class AdapterProduct:
    """What one adapter adds to a matrix, or to q, k or v in one: ``scaling * B A``.

    Attributes
    ----------
    layer, role
        Of B, with ``lora_BA`` for ``lora_B``.
    b
        The matrix from the rank to the outputs.
    a
        Parameter that holds the matrix from the inputs to the rank.
    holder
        Module that says how the product is scaled.
    adapter
        Name of the adapter there.
    """

    layer: int
    role: str
    b: WeightMatrix
    a: nn.Parameter
    holder: nn.Module
    adapter: str

    @property
    def scaling(self) -> float:
        """The factor before the product."""
        scaling: Any = getattr(self.holder, "scaling", {})
        return float(scaling.get(self.adapter, 1.0)) if isinstance(scaling, dict) else 1.0

    def mean_and_square(self) -> torch.Tensor:
        """Return mean and mean square of the elements, without the product itself."""
        wide = widest_dtype(self.a.device)
        b, a = (_whole(tensor).to(wide) for tensor in (self.b.parameter, self.a))
        b, a = self.b.of(b).flatten(1), a.flatten(1)
        n = b.shape[0] * a.shape[1] or 1
        # Over the rank alone: the sum of (B A)^2 is that of (B^T B) times (A A^T).
        mean = self.scaling * (b.sum(0) @ a.sum(1)) / n
        square = self.scaling**2 * ((b.T @ b) * (a @ a.T)).sum() / n
        return torch.stack([mean, square])


def find_products(model: nn.Module, matrices: Sequence[WeightMatrix]) -> list[AdapterProduct]:
    """Return the products of the adapters that are among `matrices`."""
    model = unwrapped(model)
    parameters = dict(model.named_parameters())
    found = []
    for matrix in matrices:
        for kind in ("lora_B", "lora_embedding_B"):
            place, is_one, rest = matrix.name.partition(f".{kind}.")
            a = parameters.get(f"{place}.{kind[:-1]}A.{rest}")
            if is_one and a is not None and "lora_B" in matrix.role:
                role = matrix.role.replace("lora_B", "lora_BA")
                holder = model.get_submodule(place)
                adapter = rest.partition(".")[0]
                found.append(AdapterProduct(matrix.layer, role, matrix, a, holder, adapter))
    return [
        one for one in found if one.b.piece is None and one.b.parameter.shape[1] == one.a.shape[0]
    ]


def _whole(parameter: Any) -> torch.Tensor:
    found = parameter.detach()
    return found.full_tensor() if is_dtensor(found) else found


def product_moments(products: Sequence[AdapterProduct]) -> MatrixStatistics:
    """Return mean, std and rms of each product."""

    def finish(raw: np.ndarray) -> np.ndarray:
        mean, square = raw.T
        std = np.sqrt(np.maximum(square - mean**2, 0))
        return np.stack([mean, std, np.sqrt(square)], axis=1)

    raw = torch.stack([product.mean_and_square() for product in products])
    labels = [("weight", stat) for stat in ("mean", "std", "rms")]
    return MatrixStatistics(products, raw, labels, finish)
