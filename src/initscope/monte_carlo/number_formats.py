"""Measure which stds a number format can hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
from initscope.models.mlp import ACTIVATIONS
from initscope.monte_carlo.draws import (
    FloatArray,
    Networks,
    backward_pass,
    checked_arguments,
    draw,
    forward_pass,
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
        Columns ``network``, ``low`` and ``high``, stds per element: NaN for a network that no
        std on the way of the bisection keeps in range.

    Raises
    ------
    UsageError
        As :func:`variance_profiles`; an unknown format.
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
    activate = ACTIVATIONS[activation]()
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
            for _ in range(steps):
                middle = np.sqrt(below * above)
                too_low, too_high = np.empty(middle.shape, bool), np.empty(middle.shape, bool)
                for row in range(2):
                    too_low[row], too_high[row] = _leaves_range(
                        single, middle[row], number_format, activate
                    )
                up = np.stack([too_low[0] & ~too_high[0], ~too_high[1]])
                below, above = np.where(up, middle, below), np.where(up, above, middle)
            found = np.stack([above[0], below[1]])
            edges.append(np.where(found[0] > found[1], np.nan, found))
    low, high = np.concatenate(edges, axis=1)
    return pd.DataFrame({"network": np.arange(len(low)), "low": low, "high": high})


def _leaves_range(
    networks: Networks,
    std: FloatArray,
    number_format: str,
    activate: Callable[[torch.Tensor], torch.Tensor],
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which networks, each with its `std`, underflow and which overflow in a number format."""
    dtype = TORCH_FORMATS[number_format]
    scale = torch.from_numpy(std).float()[:, None, None]
    scaled = networks._replace(weights=[(w * scale).to(dtype) for w in networks.weights])
    n_layers = len(scaled.weights)
    ones = [1.0] * n_layers
    z = forward_pass(scaled, ones, [0.0] * n_layers, activate, scaled.inputs.to(dtype))
    gradients = backward_pass(scaled, ones, activate, z, scaled.gradients.to(dtype))
    layers = [tensor.double() for tensor in (*z, *gradients[1:])]
    finite = torch.stack([t.isfinite().all(2).all(1) for t in layers], 1).all(1)
    rms = torch.stack([t.square().mean((1, 2)).sqrt() for t in layers], 1)
    smallest = NUMBER_FORMATS[number_format].smallest_normal
    too_low = (torch.nan_to_num(rms, nan=np.inf) < smallest).any(1)
    return too_low.numpy(), ~finite.numpy()
