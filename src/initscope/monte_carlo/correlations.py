"""Measure how two inputs grow alike or apart in many random networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from initscope.checks import (
    is_number,
    one,
    positive,
    require,
)
from initscope.errors import shown
from initscope.monte_carlo.draws import (
    checked_arguments,
    draw,
    mean_squares,
    with_mean_square,
)

__all__ = ["correlation_profiles"]


def correlation_profiles(
    widths: Sequence[int],
    activation: str = "relu",
    weight_std: npt.ArrayLike | str = "kaiming",
    bias_std: npt.ArrayLike = 0.0,
    *,
    correlation: float = 0.5,
    networks: int = 256,
    seed: int = 0,
    input_variance: float = 1.0,
) -> pd.DataFrame:
    """Measure how two inputs grow alike or apart, layer by layer, in many random networks.

    Parameters
    ----------
    widths, activation, weight_std, bias_std, networks, seed, input_variance
        As in :func:`variance_profiles`.
    correlation
        Cosine of the angle between the two inputs of each network, exactly; from -1 to 1.

    Returns
    -------
    pandas.DataFrame
        Columns ``network``, ``layer`` (0 is the input), ``length`` (mean of the mean squares of
        the two vectors of pre-activations) and ``correlation`` (the cosine of their angle; NaN
        where one of them is 0).

    Raises
    ------
    UsageError
        As :func:`variance_profiles`; a correlation outside [-1, 1]; one input unit, in which no
        angle but 0 exists.

    Examples
    --------
    >>> frame = correlation_profiles([200] * 11, "relu", correlation=0.0, networks=20)
    >>> print(frame.groupby("layer")["correlation"].mean()[[0, 1, 5]].round(1).abs().tolist())
    [0.0, 0.0, 0.7]
    """
    sizes, weight, bias = checked_arguments(
        widths, activation, weight_std, bias_std, networks, seed
    )
    start = one("input_variance", positive("input_variance", input_variance))
    require(
        is_number(correlation, -1) and correlation <= 1,
        f"correlation must be a number between -1 and 1, not {shown(correlation)}.",
    )
    require(
        sizes[0] >= 2, "two inputs of one unit have no angle: widths must start with 2 or more."
    )
    lengths, cosines = [], []
    with torch.no_grad():
        for chunk in draw(sizes, networks, seed, vectors=2):
            first, second = (with_mean_square(v, 1.0) for v in chunk.inputs.split(1, dim=1))
            across = second - first * (first * second).mean(2, keepdim=True)
            across = with_mean_square(across, 1.0)
            second = correlation * first + (1 - correlation**2) ** 0.5 * across
            x = start**0.5 * torch.cat([first, second], 1)
            _, z = chunk.with_stds(weight, bias, activation).forward(x)
            layers = [x, *z]
            lengths.append(mean_squares(layers))
            cosines.append(
                torch.stack(
                    [(t[:, 0] * t[:, 1]).sum(1) / t.norm(dim=2).prod(1) for t in layers], 1
                ).numpy()
            )
    index = pd.MultiIndex.from_product(
        [range(networks), range(len(sizes))], names=["network", "layer"]
    )
    columns = {
        "length": np.concatenate(lengths).ravel(),
        "correlation": np.concatenate(cosines).ravel(),
    }
    return pd.DataFrame(columns, index).reset_index()
