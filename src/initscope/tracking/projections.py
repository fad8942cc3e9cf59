"""See the projections of torch's attention, which calls no module for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

__all__: list[str] = []  # for this package alone


class Projections:
    """See the projections of torch's attention, which calls no module for them."""

    def __init__(self, name: str, module: nn.MultiheadAttention, add: Callable[..., None]) -> None:
        self._prefix, self._add = f"{name}." if name else "", add
        self._module = module
        self._linear: Any = None

    def start(self, module: nn.Module, inputs: Any) -> None:
        """Put a function that sees them in the place of torch's, until :meth:`stop`."""
        self._linear = functional.linear
        functional.linear = cast(Any, self._call)

    def stop(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """Put torch's function back."""
        functional.linear = self._linear

    def _call(self, x: torch.Tensor, weight: torch.Tensor, bias: Any = None) -> torch.Tensor:
        output = cast(torch.Tensor, self._linear(x, weight, bias))
        attention = self._module
        fused = attention.in_proj_weight
        if weight is attention.out_proj.weight:
            self._add(f"{self._prefix}out_proj", weight, slice(None), output)
        elif fused is None:
            for role in ("q", "k", "v"):
                own = getattr(attention, f"{role}_proj_weight")
                if weight is own:
                    self._add(f"{self._prefix}{role}", own, slice(None), output)
        elif weight.untyped_storage().data_ptr() == fused.untyped_storage().data_ptr():
            d = attention.embed_dim  # q, k and v in one, k and v, or one of them
            first = (weight.storage_offset() - fused.storage_offset()) // (d * d)
            for k in range(weight.shape[0] // d):
                rows = slice((first + k) * d, (first + k + 1) * d)
                columns = slice(k * d, (k + 1) * d)
                self._add(f"{self._prefix}{'qkv'[first + k]}", fused, rows, output, -1, columns)
        return output
