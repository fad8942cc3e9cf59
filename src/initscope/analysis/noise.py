"""Hold weight matrices against AdamW on gradients that are noise."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from initscope import checks
from initscope.analysis.trajectories import check_std
from initscope.checks import require
from initscope.errors import shown
from initscope.theory import adamw_variance_trajectory

__all__ = ["predicted_std"]


def predicted_std(
    std: pd.DataFrame,
    lr: ArrayLike,
    weight_decay: float,
    betas: tuple[float, float],
    diffusion: ArrayLike = 1.0,
    *,
    snr: float = 0.0,
    alignment: float = 0.0,
    epsilon: float = 0.0,
    gradient_rms: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return the std of each matrix that AdamW theory predicts from the first recorded step.

    The theory is :func:`initscope.theory.adamw_variance_trajectory`; the defaults of `diffusion`,
    `snr` and `alignment` say that gradients are noise, independent from step to step and of the
    weights.

    Parameters
    ----------
    std
        Result of :func:`weight_std`; the first column is where each matrix starts.
    lr
        Learning rate of updates 1, 2, ....
    weight_decay, betas
        Of AdamW, which starts without memory at the first column.
    diffusion
        D of the theory: one number, one a matrix in the order of `std`, or a Series indexed by
        role and layer; 1 is noise without memory.
    snr, alignment, epsilon
        As in the theory.
    gradient_rms
        Root mean square of the gradient of each matrix, a table of other steps and the same
        matrices (statistic ``rms`` of kind ``gradient``): with it steps shrink by `epsilon` and
        follow the lag of v. Between recorded steps it is interpolated, before the first and after
        the last constant.

    Returns
    -------
    pandas.DataFrame
        As `std`; NaN for a matrix whose first std is not finite.

    Raises
    ------
    UsageError
        Fewer learning rates than steps; what :func:`adamw_variance_trajectory` refuses.

    >>> std = pd.DataFrame({("q", 1): [0.1, 0.12]}, [0, 100]).T.rename_axis(["role", "layer"])
    >>> predicted_std(std, [1e-3] * 100, 0.1, (0.9, 0.999)).loc[("q", 1)].round(4).to_dict()
    {0: 0.1, 100: 0.0996}
    """
    check_std(std)
    steps = np.asarray(std.columns, int)
    rates = learning_rates_until(lr, steps[-1])[steps[0] :]
    weight_decay = checks.number("weight_decay", weight_decay, 0.0)
    checks.number("snr", snr, 0.0)
    checks.number("alignment", alignment)
    checks.number("epsilon", epsilon, 0.0)
    if isinstance(diffusion, pd.Series):
        diffusion = diffusion.reindex(std.index)
    else:
        diffusion = checks.nonnegative("diffusion", diffusion)
    if np.ndim(diffusion):
        require(
            np.shape(diffusion) == (len(std),),
            f"diffusion must be one number, or one for each of the {len(std)} matrices, not "
            f"{shown(diffusion)}.",
        )
    gradients = None
    if gradient_rms is not None:
        gradients = _at_each_step(gradient_rms, std.index, np.arange(steps[0] + 1, steps[-1] + 1))
    start = std.iloc[:, 0].to_numpy(float)
    started = np.isfinite(start)
    square = np.where(started, start, 0.0)[:, None] ** 2
    if len(rates):
        later = adamw_variance_trajectory(
            np.sqrt(square[:, 0]),
            rates,
            weight_decay,
            betas,
            snr=snr,
            diffusion=diffusion,
            alignment=alignment,
            epsilon=epsilon,
            gradient_rms=gradients,
        )
        square = np.column_stack([square, later])
    predicted = pd.DataFrame(np.sqrt(square[:, steps - steps[0]]), std.index, std.columns)
    predicted[~started] = np.nan
    return predicted


def _at_each_step(gradient_rms: object, matrices: pd.Index, steps: np.ndarray) -> np.ndarray:
    """Return the rms of the gradient of each matrix at each step, of shape (matrices, steps)."""
    table = checks.number_table("gradient_rms", gradient_rms, levels=("role", "layer"))
    require(
        matrices.isin(table.index).all() and table.shape[1] > 0,
        "gradient_rms must have a row for each matrix of std, and a column a recorded step.",
    )
    recorded = np.asarray(table.columns, float)
    return np.array([np.interp(steps, recorded, row) for row in table.loc[matrices].to_numpy()])


def learning_rates_until(lr: ArrayLike, last_step: int) -> np.ndarray:
    """Return the learning rates of the updates 1 to `last_step`; raise if there are fewer."""
    rates = checks.nonnegative("lr", lr)
    require(
        rates.ndim == 1,
        "lr must hold the learning rate of each update, as PretrainSpec.learning_rates does.",
    )
    require(
        len(rates) >= last_step,
        f"lr holds {len(rates)} learning rates, but the run was recorded up to step {last_step}.",
    )
    return rates[:last_step]
