"""One row of attention at a std of its logits, and how far rows concentrate by theory."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
import traitlets
from matplotlib.figure import Figure

from initscope.analysis import mean_error
from initscope.plots.attention import row_and_mean
from initscope.theory import attention_participation, critical_logit_std
from initscope.widgets.base import BookWidget
from initscope.widgets.torch_random import torch_normals

__all__ = ["AttentionSaturation"]

ROWS = 400
KEYS = (16, 64, 256, 1024)
LARGEST_STD = 8.0
LARGEST_SEED = 999


class AttentionSaturation(BookWidget):
    """Softmax over random logits: how far attention concentrates, by the std of the logits.

    Shows the weights of one row of attention, the sum of their squares, its mean over 400 rows, and
    beside these :func:`initscope.theory.attention_participation` with its limits of many keys.

    Attributes
    ----------
    logit_std
        Std b of the logits, from 0 to 8.
    n_keys
        Number of keys T: 16, 64, 256 or 1024.
    seed
        Of the rows, from 0 to 999: those of ``torch.randn(400, n_keys)`` with this seed.

    Raises
    ------
    traitlets.TraitError
        For a value that is not allowed; the message says which are.

    Examples
    --------
    >>> print(f"{(AttentionSaturation(logit_std=1.0).attention() ** 2).sum(1).mean():.3f}")
    0.039
    """

    module: ClassVar[str] = "attention_saturation/widget.mjs"

    logit_std = traitlets.Float(2.0).tag(sync=True)
    n_keys = traitlets.Enum(KEYS, 64).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)

    @traitlets.validate("logit_std", "seed")
    def _in_range(self, proposal: Any) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        high = LARGEST_STD if name == "logit_std" else LARGEST_SEED
        if not 0 <= value <= high:  # NaN is not
            raise traitlets.TraitError(f"{name} must be from 0 to {high:g}, not {value:g}.")
        return value

    def attention(self) -> np.ndarray:
        """Return the weights of the rows that the page draws, shape ``(400, n_keys)``."""
        normal = torch_normals(self.seed, ROWS * self.n_keys)
        logits = self.logit_std * normal.reshape(ROWS, self.n_keys)
        weights = np.exp(logits - logits.max(1, keepdims=True))
        return np.asarray(weights / weights.sum(1, keepdims=True))

    def figure(self) -> Figure:
        """Draw the first row, and means by theory and over all rows, as a still picture."""
        weights = self.attention()
        squares = (weights**2).sum(1)
        critical = float(critical_logit_std(self.n_keys))
        ends = [critical / 3**0.5, 1.001 * critical]  # of the limits
        std = np.sort([*np.linspace(0, LARGEST_STD, 41), *ends])
        lines = pd.DataFrame(
            {
                "logit_std": std,
                "predicted": attention_participation(self.n_keys, std),
                "limit": attention_participation(self.n_keys, std, limit=True),
            }
        )
        return row_and_mean(
            np.sort(weights[0])[::-1],
            lines,
            {"row": squares[0], "mean": squares.mean(), "error": mean_error(squares)},
            at=self.logit_std,
            no_limit=(critical / 3**0.5, critical),
        )
