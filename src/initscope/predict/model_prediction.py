"""What is expected of a transformer, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from initscope import checks
from initscope.analysis.trajectories import weight_std
from initscope.checks import require, whole
from initscope.predict.config import TransformerConfig
from initscope.schema import COLUMNS
from initscope.theory import (
    adamw_variance_trajectory,
)

__all__ = ["ModelPrediction"]


@dataclass(frozen=True, eq=False)
class ModelPrediction:
    """What is expected of a transformer at its start and in training with AdamW.

    Attributes
    ----------
    config
        Sizes that the prediction follows from.
    blocks
        One row for the embeddings (``block`` 0) and for each block: ``signal_std``, std of the
        residual stream after it; ``signal_largest``, the expected largest size of all elements of
        the stream there; ``logit_std``, of the attention logits in the block; ``gradient_std``, of
        the gradient of the mean loss; ``overflows`` and ``underflows``, whether the largest element
        is too large and the gradient too small for the number format. Empty where the blocks of the
        family are not known.
    matrices
        One row a weight matrix: ``layer, role, rows, columns, std_start``; ``gradient_rms``, rms of
        its gradient at the start, NaN where it is not known. With a learning rate also
        ``std_equilibrium``, and ``steps_to_equilibrium``, updates at the peak rate until the std is
        within a tenth of it. With steps also ``std_end``, and ``unchanged_end``, the share of the
        weights that an update at the rates of the last fifth of the run leaves unchanged if weights
        are kept in the number format. Stds are per element.
    initial_loss
        Cross-entropy at the start, in nats; NaN where it is not known.
    start_left
        Factor of the initial weights in the final ones; NaN without steps.
    rotation
        Angle in radians by which a matrix turns in one update at equilibrium and the peak rate.
    time_constant
        Updates in which the distance of the variance from equilibrium falls to 1/e.
    notes
        Sentences on what is left out or rests on an assumption.
    learning_rates
        Learning rate of each update; empty without steps.
    weight_decay, betas
        Of AdamW.
    """

    config: TransformerConfig
    blocks: pd.DataFrame
    matrices: pd.DataFrame
    initial_loss: float
    start_left: float
    rotation: float
    time_constant: float
    notes: tuple[str, ...]
    learning_rates: np.ndarray = field(repr=False)
    weight_decay: float
    betas: tuple[float, float]

    def variances(self, steps: Sequence[int] | None = None) -> pd.DataFrame:
        """Return the expected std of every matrix, a table as a tracker writes it.

        Parameters
        ----------
        steps
            Numbers of updates; by default 51, evenly spaced.

        Returns
        -------
        pandas.DataFrame
            Columns ``step, layer, role, kind, stat, value``, of kind ``weight`` and stat ``std``.

        Raises
        ------
        UsageError
            Without a learning rate and a number of updates, or steps beyond it.

        Examples
        --------
        >>> from initscope.predict import predict
        >>> model = {"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 2, "vocab_size": 9}
        >>> found = predict(model, learning_rate=1e-3, weight_decay=0.1, steps=100)
        >>> found.variances([0, 100]).query("role == 'q'")["value"].round(4).to_list()
        [0.02, 0.0211]
        """
        n_steps = len(self.learning_rates)
        require(n_steps > 0, "to follow the std, predict it with a learning_rate and steps.")
        if steps is None:
            wanted = np.unique(np.linspace(0, n_steps, 51).round().astype(int))
        else:
            numbers = [whole("steps: each", step, 0) for step in checks.items("steps", steps, 1)]
            wanted = np.unique(numbers)
            require(
                wanted[-1] <= n_steps,
                f"steps holds {wanted[-1]:,}, but the prediction ends after {n_steps:,} updates.",
            )
        starts = self.matrices["std_start"].to_numpy()
        different, which = np.unique(starts, return_inverse=True)
        std = np.column_stack([different, self._std(different)])[:, wanted]
        table = pd.DataFrame(
            {
                "step": np.tile(wanted, len(starts)),
                "layer": np.repeat(self.matrices["layer"].to_numpy(), len(wanted)),
                "role": np.repeat(self.matrices["role"].to_numpy(), len(wanted)),
                "kind": "weight",
                "stat": "std",
                "value": std[which].ravel(),
            }
        )
        ordered = table.sort_values("step", kind="stable", ignore_index=True)
        return ordered[list(COLUMNS)]

    def _std(self, std0: np.ndarray) -> np.ndarray:
        """Return the std after each update, a row for each of `std0`."""
        return np.sqrt(
            adamw_variance_trajectory(std0, self.learning_rates, self.weight_decay, self.betas)
        )

    def beside(self, record: pd.DataFrame) -> pd.DataFrame:
        """Return the std of a record beside the expected one, and their ratio.

        Parameters
        ----------
        record
            What :func:`initscope.tracking.read_variances` returns, or the table of a tracker.

        Returns
        -------
        pandas.DataFrame
            One row for each matrix and recorded step that both know: columns ``step, layer, role,
            measured, predicted, ratio``.

        Raises
        ------
        UsageError
            A record without a std of one of these matrices, or of more updates than predicted.

        Examples
        --------
        >>> from initscope.predict import predict
        >>> model = {"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 2, "vocab_size": 9}
        >>> found = predict(model, learning_rate=1e-3, weight_decay=0.1, steps=100)
        >>> measured = found.variances([0, 50]).assign(value=lambda rows: 1.1 * rows["value"])
        >>> found.beside(measured)["ratio"].round(3).unique().tolist()
        [1.1]
        """
        measured = weight_std(record)
        predicted = weight_std(self.variances([int(step) for step in measured.columns]))
        shared = measured.index.intersection(predicted.index)
        require(
            len(shared) > 0,
            "the record has none of the matrices of this configuration: its roles are "
            f"{', '.join(sorted(set(measured.index.get_level_values('role')))[:10])}.",
        )
        both = pd.DataFrame(
            {
                "measured": measured.loc[shared].stack(),  # noqa: PD013
                "predicted": predicted.loc[shared].stack(),  # noqa: PD013
            }
        ).reset_index()
        both["ratio"] = both["measured"] / both["predicted"]
        columns = ["step", "layer", "role", "measured", "predicted", "ratio"]
        return both.sort_values(["step", "layer", "role"], ignore_index=True)[columns]
