"""Xavier as Kaiming with other learning rates: ReLU networks whose layers are scaled alike."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from initscope.checks import Array, layer_widths, plain, require_name

__all__ = ["LearningRateFactors", "fan_ratios", "xavier_as_kaiming"]

POWERS = {"sgd": 1.0, "adam": 0.5}
"""By optimizer: a weight scaled by sqrt(r) moves alike at a learning rate scaled by r to this."""


class LearningRateFactors(NamedTuple):
    """Factors that make a network drawn by Kaiming train as one drawn by Xavier.

    Attributes
    ----------
    weight_factors, bias_factors
        Factors on the learning rate of the weights and of the biases, one a layer.
    output_factor
        Factor on the output of the network.
    """

    weight_factors: Array
    bias_factors: Array
    output_factor: float


def fan_ratios(widths: Sequence[int]) -> Array:
    """Return the variance of Xavier's weights over that of Kaiming's, layer by layer.

    Parameters
    ----------
    widths
        Inputs, hidden layers, outputs.

    Returns
    -------
    numpy.ndarray
        fan_in / (fan_in + fan_out), shape ``(len(widths) - 1,)``.

    Raises
    ------
    UsageError
        Widths that are no whole numbers of at least 1, or fewer than two.

    Examples
    --------
    >>> fan_ratios([30, 10, 10])
    array([0.75, 0.5 ])
    """
    sizes = layer_widths(widths)
    return np.array([n_in / (n_in + n_out) for n_in, n_out in itertools.pairwise(sizes)])


def xavier_as_kaiming(widths: Sequence[int], optimizer: str) -> LearningRateFactors:
    r"""Return the learning rates at which Kaiming's draw trains as Xavier's of the same normals.

    Layer l of Xavier has :math:`\sqrt{r_l}` times the weights of Kaiming. ReLU is homogeneous, so
    with biases that start at 0 the two networks compute the same up to :math:`\prod_l \sqrt{r_l}`.
    They still do in training if the learning rates of Kaiming's are divided by :math:`r_l`
    (weights) and :math:`\prod_{k \le l} r_k` (biases) under SGD, and by the square roots of these
    under Adam without epsilon. :math:`r_l` is that of :func:`fan_ratios`.

    Parameters
    ----------
    widths
        Inputs, hidden layers, outputs of a ReLU network.
    optimizer
        ``"sgd"`` or ``"adam"``.

    Raises
    ------
    UsageError
        Widths that describe no layer, or another optimizer.

    >>> factors = xavier_as_kaiming([10, 10, 10], "sgd")
    >>> factors.weight_factors, factors.bias_factors, factors.output_factor
    (array([2., 2.]), array([2., 4.]), 0.5)
    """
    ratios = fan_ratios(widths)
    require_name("optimizer", optimizer, POWERS)
    power = POWERS[optimizer]
    products = np.cumprod(ratios)
    return LearningRateFactors(
        plain(ratios**-power), plain(products**-power), float(np.sqrt(ratios.prod()))
    )
