"""Random networks one by one, and the law of what is left of a signal in them."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import traitlets
from matplotlib.figure import Figure

from initscope.plots.finite_width import walks_and_histogram
from initscope.theory import LogNormMoments, log_norm_moments
from initscope.widgets.base import BookWidget
from initscope.widgets.torch_random import torch_normals

__all__ = ["LogNormDistribution"]

ACTIVATIONS = ("relu", "linear")
WIDTHS = (4, 8, 16, 32, 64, 128)
LAYERS = 50
"""Layers of every network drawn, so that another depth needs no other network."""


class LogNormDistribution(BookWidget):
    """Draw another network: what is left of a signal, and the log-normal law of it.

    Every network is drawn and propagated in the page, with weights that keep the mean square of the
    signal on average (Kaiming's for ReLU). The logarithm of what is left does a random walk over
    the layers; beside the histogram of its ends stands the normal density with mean and variance of
    :func:`initscope.theory.log_norm_moments`.

    Attributes
    ----------
    width
        Units of each layer: 4, 8, 16, 32, 64 or 128.
    depth
        Hidden layers, from 1 to 50.
    activation
        ``"relu"`` or ``"linear"`` (none).
    networks
        How many are drawn, from 0 to 500.
    seed
        Of the draws, from 0 to 99: network k has the weights of ``torch.randn(50, width, width)``
        with the seed ``1000 * seed + k``, scaled.

    Raises
    ------
    traitlets.TraitError
        For a value that is not allowed; the message says which are.

    Examples
    --------
    >>> widget = LogNormDistribution(width=32, depth=20, networks=100)
    >>> print(f"{widget.log_norms()[:, -1].mean():.1f} {widget.moments().mean:.1f}")
    -1.6 -1.7
    """

    module: ClassVar[str] = "log_norm_distribution/widget.mjs"

    width = traitlets.Enum(WIDTHS, 32).tag(sync=True)
    depth = traitlets.Int(50).tag(sync=True)
    activation = traitlets.Enum(ACTIVATIONS, "relu").tag(sync=True)
    networks = traitlets.Int(20).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)

    _RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "depth": (1, LAYERS),
        "networks": (0, 500),
        "seed": (0, 99),
    }

    @traitlets.validate(*_RANGES)
    def _in_range(self, proposal: Any) -> Any:
        return self._within_range(proposal)

    def moments(self, *, per_layer: bool = False) -> LogNormMoments:
        """Return mean and variance of the logarithm by theory, over networks that are alive.

        Parameters
        ----------
        per_layer
            Of all layers, from 0 (the input) to `depth`, in place of the last.
        """
        name = "identity" if self.activation == "linear" else self.activation
        return log_norm_moments([self.width] * (self.depth + 1), name, per_layer=per_layer)

    def log_norms(self) -> np.ndarray:
        """Return the networks that the page draws.

        Returns
        -------
        numpy.ndarray
            Shape ``(networks, depth + 1)``: the logarithm of the mean square of the signal over
            that of the input, by layer from 0 on; -inf from where a network is dead.
        """
        n, relu = self.width, self.activation == "relu"
        gain = np.sqrt((2 if relu else 1) / n)
        logs = np.full((self.networks, self.depth + 1), -np.inf)
        logs[:, 0] = 0.0
        for k in range(self.networks):
            weights = torch_normals(1000 * self.seed + k, LAYERS * n * n).reshape(LAYERS, n, n)
            signal = np.ones(n)
            for layer in range(self.depth):
                signal = gain * weights[layer] @ signal
                signal = np.maximum(signal, 0.0) if relu else signal
                square = (signal**2).mean()
                if square == 0:
                    break
                logs[k, layer + 1] = logs[k, layer] + np.log(square)
                signal /= np.sqrt(square)
        return logs

    def figure(self) -> Figure:
        """Draw the networks by layer and the histogram of their ends, as a still picture."""
        moments = self.moments(per_layer=True)
        return walks_and_histogram(self.log_norms(), np.asarray(moments.mean), moments.variance)
