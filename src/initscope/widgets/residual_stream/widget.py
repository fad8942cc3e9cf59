"""The residual stream of a transformer before training, and what each branch adds to it."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
import traitlets
from matplotlib.figure import Figure

from initscope.plots.transformer import bars_of_stream
from initscope.theory import residual_gradient_variance, residual_stream_variance
from initscope.theory.activations import resolve
from initscope.theory.transformer_blocks import Blocks, follow_stream
from initscope.widgets.base import BookWidget

__all__ = ["ResidualStream"]

NORMS = ("pre", "post")
CHANNELS = (384, 768, 1024)
LENGTH = 64
"""Positions over which all is averaged."""

EPSILON = 1e-5  # of LayerNorm
RATIO = 4  # width of the MLP over that of the stream


class ResidualStream(BookWidget):
    """The residual stream of a GPT-2 before training, bar by bar.

    Each block adds attention and an MLP to the stream; the bars are what
    :func:`initscope.theory.residual_stream_variance` sums up, at 64 positions, and below them
    stands the gradient going back (:func:`~initscope.theory.residual_gradient_variance`).

    Attributes
    ----------
    norm
        ``"pre"``: x + f(LN(x)), as in GPT-2; ``"post"``: LN(x + f(x)).
    scaled
        Whether the matrices that write to the stream have their std divided by sqrt(2 n_layer).
    n_layer
        Blocks, from 1 to 48.
    std
        Std of the weights, from 0.002 to 0.04.
    n_embd
        Channels: 384, 768 or 1024.

    Raises
    ------
    traitlets.TraitError
        For a value that is not allowed; the message says which are.

    Examples
    --------
    >>> branches = ResidualStream(n_layer=12).branches()
    >>> print(branches["variance"].iloc[[0, 1, -1]].round(4).tolist())
    [0.0008, 0.0065, 0.0897]
    """

    module: ClassVar[str] = "residual_stream/widget.mjs"

    norm = traitlets.Enum(NORMS, "pre").tag(sync=True)
    scaled = traitlets.Bool(True).tag(sync=True)
    n_layer = traitlets.Int(12).tag(sync=True)
    std = traitlets.Float(0.02).tag(sync=True)
    n_embd = traitlets.Enum(CHANNELS, 768).tag(sync=True)

    _RANGES: ClassVar[dict[str, tuple[float, float]]] = {"n_layer": (1, 48), "std": (0.002, 0.04)}

    @traitlets.validate(*_RANGES)
    def _in_range(self, proposal: Any) -> Any:
        return self._within_range(proposal)

    @property
    def _residual_std(self) -> float:
        return self.std / float(np.sqrt(2 * self.n_layer)) if self.scaled else self.std

    def branches(self) -> pd.DataFrame:
        """Return what each branch adds to the stream, and stream and gradient after each block.

        Returns
        -------
        pandas.DataFrame
            Columns ``block``, from 0 (the embeddings) to `n_layer`; ``attention`` and ``mlp``, the
            variance that the branches add, and ``between``, that of the stream between the two, all
            NaN at 0; ``variance`` of the stream after the block; and ``gradient``, the variance of
            the gradient there relative to that after the last. All are averages over positions.
        """
        weight, channels = self.std**2, self.n_embd
        blocks = Blocks(
            self.n_layer, channels, weight, self._residual_std**2, 1.0, RATIO * channels, EPSILON,
            resolve("gelu_tanh"), False, self.norm,
        )  # fmt: skip
        rows: list[tuple[float, ...]] = [(np.nan, np.nan, np.nan, 2 * weight)]
        for attention, mlp in follow_stream(blocks, 2 * weight * np.eye(LENGTH)):
            found = (attention.added, attention.stream, mlp.added, mlp.stream)
            rows.append(tuple(map(_mean, found)))
        frame = pd.DataFrame(rows, columns=["attention", "between", "mlp", "variance"])
        frame.insert(0, "block", range(self.n_layer + 1))
        sizes = (self.n_layer, self.n_embd, LENGTH, self.std)
        return frame.assign(
            gradient=residual_gradient_variance(
                *sizes, residual_std=self._residual_std, norm=self.norm
            )
        )

    def other_end(self) -> float:
        """Return the variance at the end of the stream with the other choice of `scaled`."""
        if self.norm == "post":
            return float(self.branches()["variance"].iloc[-1])
        std = self.std if self.scaled else self.std / float(np.sqrt(2 * self.n_layer))
        sizes = (self.n_layer, self.n_embd, LENGTH, self.std)
        return float(residual_stream_variance(*sizes, residual_std=std)[-1])

    def figure(self) -> Figure:
        """Draw what each branch adds, and the gradient going back, as a still picture."""
        return bars_of_stream(self.branches())


def _mean(covariance: np.ndarray) -> float:
    """Return the variance, averaged over positions."""
    return float(covariance.diagonal().mean())
