"""How the std of weight matrices moves through a training run: expansion, settling, spread.

The tables are those of :mod:`initscope.tracking`; "matrix" means one role in one layer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from initscope import checks
from initscope.checks import is_number, require, require_name
from initscope.errors import shown
from initscope.schema import COLUMNS
from initscope.theory import adamw_variance_trajectory

__all__ = [
    "depth_correlation",
    "expansion_rates",
    "growth_over_noise",
    "layer_spread",
    "predicted_std",
    "settling_steps",
    "statistic_table",
    "weight_std",
]


def _check_std(std: object) -> None:
    """Raise unless `std` is a table as :func:`weight_std` makes it."""
    table = checks.number_table("std", std, levels=("role", "layer"))
    require(table.size > 0, "the table std is empty: there is nothing to draw or to compute.")
    steps = list(table.columns)
    require(
        all(is_number(step, 0, whole=True) for step in steps)
        and all(before < after for before, after in itertools.pairwise(steps)),
        f"the columns of the table std must be steps, ascending, not {shown(steps)}.",
    )


def weight_std(variances: pd.DataFrame, roles: Sequence[str] | None = None) -> pd.DataFrame:
    """Std of each weight matrix at each recorded step.

    Parameters
    ----------
    variances
        Columns ``step, layer, role, kind, stat, value``; the rows with kind `weight` and stat
        `std` are used.
    roles
        Those wanted, in this order; by default all.

    Returns
    -------
    pandas.DataFrame
        One row a matrix, indexed by role and layer; one column a step, ascending; std per element.

    Raises
    ------
    UsageError
        A frame without these columns or rows, without one of the roles, or of several runs.
    """
    return statistic_table(variances, "weight", "std", roles)


def statistic_table(
    variances: pd.DataFrame, kind: str, stat: str, roles: Sequence[str] | None = None
) -> pd.DataFrame:
    """One statistic of each matrix at each step it was recorded at, as :func:`weight_std` has it.

    NaN where a matrix has no row at a step at which others have one.

    Parameters
    ----------
    variances, roles
        As in :func:`weight_std`, which also says what is returned and raised.
    kind, stat
        Which rows, for example ``"gradient"`` and ``"std"``.
    """
    checks.text("kind", kind)
    checks.text("stat", stat)
    checks.frame("variances", variances, COLUMNS, rows=False)
    rows = variances[(variances["kind"] == kind) & (variances["stat"] == stat)]
    require(len(rows) > 0, f"the table variances has no rows of kind {kind!r} and stat {stat!r}.")
    require(
        not rows.duplicated(["step", "layer", "role"]).any(),
        f"the table variances has several rows of kind {kind!r} and stat {stat!r} for one matrix "
        f"at one step: give the table of one run.",
    )
    checks.frame("variances", rows, numbers=("step", "layer", "value"), texts=("role",))
    table = rows.pivot(index=["role", "layer"], columns="step", values="value")  # noqa: PD010
    if roles is not None:
        roles = checks.items("roles", roles)
        require(len(roles) > 0, "roles is empty: name at least one, or leave it out for all.")
        for role in roles:
            require_name("role", role, set(table.index.get_level_values("role")))
        table = pd.concat([table.loc[[role]] for role in roles])
    return table.sort_index(axis=1)


def expansion_rates(std: pd.DataFrame, until: int) -> pd.Series:
    r"""How fast each matrix expands at first: :math:`\ln(\sigma_t / \sigma_0) \cdot 100 / t`.

    Step 0 stands for the first recorded one.

    Parameters
    ----------
    std
        Result of :func:`weight_std`.
    until
        The step t, one of the recorded ones.

    Returns
    -------
    pandas.Series
        Growth of ln std per 100 updates, indexed by role and layer: 0.05 is about 5% per 100
        updates. Infinite for a matrix that starts at 0, NaN for one that stays there.

    Raises
    ------
    UsageError
        If `until` was not recorded, or is the first step.
    """
    _check_std(std)
    first = std.columns[0]
    require(
        is_number(until, -math.inf) and until in std.columns and until > first,
        f"until = {shown(until)} was not recorded after step {first}: take one of the "
        f"{len(std.columns)} steps up to {std.columns[-1]}.",
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = np.log(std[until] / std[first])
    return (growth * 100 / (until - first)).rename("expansion_rate")


def settling_steps(std: pd.DataFrame, tolerance: float = 0.05) -> pd.Series:
    """The recorded step from which on a matrix stays near its final std.

    Parameters
    ----------
    std
        Result of :func:`weight_std`.
    tolerance
        Largest distance from the final std, as a share of it.

    Returns
    -------
    pandas.Series
        Steps, indexed by role and layer; the last recorded step if only that is near, and NaN
        where the final std is not finite.
    """
    require(
        is_number(tolerance, 0) and tolerance < 1,
        f"tolerance must be a number from 0 to below 1, not {shown(tolerance)}.",
    )
    _check_std(std)
    final = std.iloc[:, -1]
    far = ~(std.sub(final, axis=0).abs().le(tolerance * final.abs(), axis=0)).to_numpy()
    steps = np.asarray(std.columns, float)
    after = np.where(far.any(axis=1), far.shape[1] - far[:, ::-1].argmax(axis=1), 0)
    settled = np.array([steps[k] if k < len(steps) else math.nan for k in after])
    return pd.Series(settled, index=std.index, name="settling_step")


def layer_spread(std: pd.DataFrame) -> pd.DataFrame:
    """Largest std over smallest, over the layers of a role, at each step: 1 if all are equal.

    Parameters
    ----------
    std
        Result of :func:`weight_std`.

    Returns
    -------
    pandas.DataFrame
        One row a role, one column a step; infinite where one of the layers is at 0, and NaN where
        all are, or where the std of a layer is NaN.
    """
    _check_std(std)
    by_role = std.groupby(level="role", sort=False)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = by_role.max() / by_role.min()
    # The largest and the smallest leave out the layers that diverged.
    return spread.mask(std.isna().groupby(level="role", sort=False).any())


def depth_correlation(values: pd.Series) -> pd.Series:
    """Rank correlation of a quantity of the matrices with the number of their layer, by role.

    Parameters
    ----------
    values
        Indexed by role and layer, as :func:`expansion_rates` gives it.

    Returns
    -------
    pandas.Series
        Spearman's coefficient, indexed by role: -1 if it falls from each layer to the next, 1 if
        it rises, NaN if it is constant, a value is NaN, or a role has fewer than two layers.
    """
    require(
        isinstance(values, pd.Series)
        and set(values.index.names) == {"role", "layer"}
        and pd.api.types.is_float_dtype(values.dtype),
        f"values must be a Series of numbers indexed by role and layer, not {shown(values)}.",
    )

    def coefficient(of_role: pd.Series) -> float:
        layers = of_role.index.get_level_values("layer")
        if of_role.nunique() < 2:
            return math.nan
        return float(stats.spearmanr(layers, of_role.to_numpy()).statistic)

    return values.groupby(level="role", sort=False).apply(coefficient)


def predicted_std(
    std: pd.DataFrame,
    lr: ArrayLike,
    weight_decay: float,
    betas: tuple[float, float],
    diffusion: ArrayLike = 1.0,
    *,
    snr: float = 0.0,
    alignment: float = 0.0,
) -> pd.DataFrame:
    """Std of each matrix at the recorded steps, as AdamW theory has it from its first one.

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
    snr, alignment
        As in the theory.

    Returns
    -------
    pandas.DataFrame
        As `std`; NaN for a matrix whose first std is not finite.

    Raises
    ------
    UsageError
        Fewer learning rates than steps; what :func:`adamw_variance_trajectory` refuses.
    """
    _check_std(std)
    steps = np.asarray(std.columns)
    rates = _learning_rates(lr, steps[-1])[steps[0] :]
    weight_decay = checks.number("weight_decay", weight_decay, 0.0)
    for name, value in (("snr", snr), ("alignment", alignment)):
        checks.number(name, value, 0.0 if name == "snr" else -np.inf)
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
    start = std.iloc[:, 0].to_numpy(float)
    started = np.isfinite(start)
    square = np.where(started, start, 0.0)[:, None] ** 2
    if len(rates):
        later = adamw_variance_trajectory(
            np.sqrt(square[:, 0]), rates, weight_decay, betas, snr, diffusion, alignment
        )
        square = np.column_stack([square, later])
    predicted = pd.DataFrame(np.sqrt(square[:, steps - steps[0]]), std.index, std.columns)
    predicted[~started] = np.nan
    return predicted


def _learning_rates(lr: ArrayLike, last_step: int) -> np.ndarray:
    """Learning rates of the updates 1 to `last_step`."""
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


def growth_over_noise(
    variances: pd.DataFrame, lr: ArrayLike, roles: Sequence[str] | None = None
) -> pd.DataFrame:
    r"""What the steps add to the mean square of each matrix, over what noise would add.

    An update changes the mean square by a decay term, an alignment term and a step term
    (:func:`initscope.tracking.variance_budget`). The last two together, over
    :math:`\eta_t^2`, are 1 for gradients that are noise without memory
    (:func:`initscope.theory.adamw_equilibrium_rms`: the diffusion D less what a pull along the
    weights takes back), more where successive gradients agree.

    Parameters
    ----------
    variances
        A table with the quantities `weight` and `update`. The terms of a recorded step stand for
        those of all steps since the recorded one before; what was recorded of the first weights
        and before is left out.
    lr
        Learning rate of updates 1, 2, ....
    roles
        As in :func:`weight_std`.

    Returns
    -------
    pandas.DataFrame
        Indexed by role and layer: ``growth``, sum of the two terms over sum of eta²; ``start``,
        ``decay``, ``alignment``, ``step``, sums over the run of the terms of the mean square, and
        ``end``, its last value. `start + decay + alignment + step` is `end` up to what lies
        between recorded steps. A sum is NaN if one of its terms is not known; matrices without
        updates, because they are frozen, have no row.

    Raises
    ------
    UsageError
        No updates after the first weights, fewer learning rates than steps, or what
        :func:`weight_std` refuses.
    """
    square = statistic_table(variances, "weight", "rms") ** 2
    first = square.columns[0]
    terms = {
        term: statistic_table(variances, "update", term, roles)
        for term in ("decay", "alignment", "step")
    }
    steps = np.asarray(terms["step"].columns)
    steps = steps[steps > first]
    require(
        len(steps) > 0,
        f"the table variances has no update after step {first}, that of its first weights.",
    )
    rates = _learning_rates(lr, steps[-1])
    stretch = np.diff(steps, prepend=first)
    sums = pd.DataFrame(
        {term: table[steps].mul(stretch).sum(axis=1, skipna=False) for term, table in terms.items()}
    )
    square = square.loc[sums.index]
    sums["growth"] = (sums["alignment"] + sums["step"]) / (rates[steps - 1] ** 2 @ stretch)
    sums["start"], sums["end"] = square[first], square.iloc[:, -1]
    return sums[["growth", "start", "decay", "alignment", "step", "end"]]
