"""Measure which stds a number format can hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from initscope import checks
from initscope.checks import (
    one,
    positive,
    require,
    require_name,
)
from initscope.errors import shown
from initscope.models.batched_mlp import BatchedMLP
from initscope.monte_carlo.draws import (
    FloatArray,
    Networks,
    checked_arguments,
    draw,
    with_mean_square,
)
from initscope.theory import NUMBER_FORMATS

__all__ = ["TORCH_FORMATS", "representable_band"]

TORCH_FORMATS = {name: getattr(torch, name) for name in NUMBER_FORMATS}
"""The formats of :data:`initscope.theory.NUMBER_FORMATS` as torch types."""


def representable_band(
    widths: Sequence[int],
    activation: str = "relu",
    *,
    number_format: str,
    networks: int = 8,
    seed: int = 0,
    std_range: tuple[float, float] = (1e-8, 1e4),
    precision: float = 1e-3,
) -> pd.DataFrame:
    """Measure which stds a number format can hold, in networks computed in that format.

    Weights, activations and gradients are torch tensors of the format, products of matrices are
    added up in float32 and rounded to it, subnormal numbers are kept; biases are 0. A std is too
    high if a pre-activation or a gradient is no longer finite. It is too low if the rms of
    some layer is below the smallest normal number (or 0). Both edges are found by bisection, for
    the same normal draws scaled by the std.

    Parameters
    ----------
    widths, activation, networks, seed
        As in :func:`variance_profiles`; input and output gradient have mean square 1.
    number_format
        One of :data:`initscope.theory.NUMBER_FORMATS`.
    std_range
        Where to look, both ends above 0.
    precision
        Relative error of an edge.

    Returns
    -------
    pandas.DataFrame
        Columns ``network``, ``low`` and ``high``, stds per element; NaN for a network for which
        the bisection finds no std in range.

    Raises
    ------
    UsageError
        As :func:`variance_profiles`; an unknown format.

    Examples
    --------
    >>> band = representable_band([32] * 5, number_format="float16", networks=2, precision=0.1)
    >>> bool((band["low"] < band["high"]).all())
    True
    """
    sizes, _, _ = checked_arguments(widths, activation, 1.0, 0.0, networks, seed)
    require_name("number format", number_format, NUMBER_FORMATS)
    ends = checks.items("std_range", std_range)
    require(len(ends) == 2, f"std_range must be a pair of stds, not {shown(std_range)}.")
    bottom, top = (one("std_range", positive("std_range", end)) for end in ends)
    require(
        bottom < top, f"std_range must go from a lower to a higher std, not {shown(std_range)}."
    )
    precision = checks.number("precision", precision, 1e-12, 10.0)
    steps = max(0, int(np.ceil(np.log2((np.log(top) - np.log(bottom)) / precision))))
    edges = []
    with torch.no_grad():
        for chunk in draw(sizes, networks, seed):
            single = chunk._replace(
                weights=[weight.float() for weight in chunk.weights],
                inputs=with_mean_square(chunk.inputs, 1.0),
                gradients=with_mean_square(chunk.gradients, 1.0),
            )
            shape = (2, len(single.inputs))  # low edge, high edge
            below, above = np.full(shape, bottom), np.full(shape, top)
            # By hand: whether a network leaves the range is yes or no, no function with a root.
            for _ in range(steps):
                middle = np.sqrt(below * above)
                too_low, too_high = np.empty(middle.shape, bool), np.empty(middle.shape, bool)
                for row in range(2):
                    too_low[row], too_high[row] = _leaves_range(
                        single, middle[row], number_format, activation
                    )
                up = np.stack([too_low[0] & ~too_high[0], ~too_high[1]])
                below, above = np.where(up, middle, below), np.where(up, above, middle)
            found = np.stack([above[0], below[1]])
            edges.append(np.where(found[0] > found[1], np.nan, found))
    low, high = np.concatenate(edges, axis=1)
    return pd.DataFrame({"network": np.arange(len(low)), "low": low, "high": high})


class _RoundedMLP(BatchedMLP):
    """A stack without biases, for one vector, whose products are rounded to its format."""

    # By hand, for two reasons: a processor's own product of bfloat16 matrices may take subnormal
    # numbers for 0, or may not; and the terms of W x are added up in another order than those of
    # x W^T, so that the sum overflows on its way at another std.

    def affine(self, k: int, inputs: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return ``W x``, added up in float32."""
        return _rounded_product(self.weights[k], inputs)

    def input_gradient(
        self, k: int, delta: torch.Tensor, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return ``W^T delta``, added up in float32."""
        return _rounded_product(self.weights[k].mT, delta)


def _rounded_product(matrices: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Multiply vectors of shape ``(n_runs, 1, width)`` by matrices; round to their format."""
    columns = vectors.float().squeeze(1)[:, :, None]
    return torch.bmm(matrices.float(), columns).squeeze(2)[:, None].to(vectors.dtype)


def _leaves_range(
    networks: Networks,
    std: FloatArray,
    number_format: str,
    activation: str,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return which networks, each with its `std`, underflow, and which overflow."""
    dtype = TORCH_FORMATS[number_format]
    scale = torch.from_numpy(std).float()[:, None, None]
    weights = [(drawn * scale).to(dtype) for drawn in networks.weights]
    stack = _RoundedMLP(weights, networks.biases, activation)
    _, z = stack.forward(networks.inputs.to(dtype))
    gradients = stack.gradients(z, networks.gradients.to(dtype))
    layers = [tensor.double() for tensor in (*z, *gradients[1:])]
    finite = torch.stack([t.isfinite().all(2).all(1) for t in layers], 1).all(1)
    rms = torch.stack([t.square().mean((1, 2)).sqrt() for t in layers], 1)
    smallest = NUMBER_FORMATS[number_format].smallest_normal
    too_low = (torch.nan_to_num(rms, nan=np.inf) < smallest).any(1)
    return too_low.numpy(), ~finite.numpy()
