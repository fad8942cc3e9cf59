"""Two schemes compared run by run: what each run achieved, paired differences, their intervals.

Runs of one seed share the weights' standard-normal draws, the batches and their order, so that
the scheme is all that differs between the two of a pair; see :mod:`initscope.sweep`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from initscope import checks
from initscope.analysis.intervals import bootstrap_interval, check_level
from initscope.analysis.sweeps import COMPARED, STEPS_OF, check_sweep
from initscope.checks import is_number, require, require_name
from initscope.errors import UsageError, shown
from initscope.memory import require_memory
from initscope.schema import evaluation_steps

__all__ = ["STATISTICS", "compare", "layer_ratios", "run_measures"]

STATISTICS: dict[str, Callable[..., Any]] = {
    "mean": np.mean,
    "median": np.median,
    "std": lambda values, axis: np.std(values, axis=axis, ddof=1),
}


def run_measures(
    table: pd.DataFrame,
    losses: Sequence[float] = (),
    accuracies: Sequence[float] = (),
    chance_share: float = 0.25,
) -> pd.DataFrame:
    """Return the measures of each run of a sweep, one row a run.

    Parameters
    ----------
    table
        Result of :func:`initscope.sweep.run_sweep`.
    losses, accuracies
        Training losses (nats) and test accuracies to count the steps to.
    chance_share
        A run stays at chance if its final test accuracy has gone less than this share of the way
        from ``1 / n_classes`` to 1. Not 0, because naming the most frequent class is no learning.

    Returns
    -------
    pandas.DataFrame
        The columns of :data:`~initscope.analysis.COMPARED`, ``learning_rate``, ``scheme`` (its
        text; the std of the scheme ``"normal"`` is part of it), ``seed``, ``n_steps``, then:

        - ``steps_to_loss_L`` and ``steps_to_accuracy_A``: updates until the recorded curve first
          reaches the value, linear between its points; inf if it never does. A point of the loss
          is a mean over a stretch of updates, and stands at the middle of it.
        - ``loss_area``: area under the training loss (nats times updates); inf if it diverged.
        - ``test_accuracy``: at the end.
        - ``diverged``, ``at_chance``, ``failed`` (either), as 0.0 or 1.0.
        - ``log10_gradient_ratio_start`` and ``..._end``: log10 of the norm of the first layer's
          weight gradient over that of the last layer, at initialization and after the last
          update; NaN where one is 0 or not finite.

    Examples
    --------
    >>> from initscope.sweep import SweepSpec, run_sweep
    >>> spec = SweepSpec(schemes=("xavier", "kaiming"), seeds=2, epochs=2)
    >>> table = run_sweep(spec, progress=False)
    >>> run_measures(table)["failed"].tolist()
    [0.0, 0.0, 0.0, 0.0]
    """
    needed = [*COMPARED, "scheme", "std", "seed", "learning_rate", "batch_size", "n_train"]
    needed += ["epochs", "test_accuracy", "diverged_step"]
    check_sweep(table, needed, ["loss", "gradient_norm"])
    checks.number_lists("table", table, "accuracy_by_epoch")
    require(
        bool((table["accuracy_by_epoch"].map(len) > table["epochs"]).all()),
        "the column accuracy_by_epoch of the table must have a number before the first epoch and "
        "one after each.",
    )
    losses = [checks.number("losses", loss) for loss in checks.items("losses", losses)]
    accuracies = [
        checks.number("accuracies", accuracy) for accuracy in checks.items("accuracies", accuracies)
    ]
    checks.number("chance_share", chance_share, 0.0, 1.0)
    label = table["scheme"].where(
        table["scheme"] != "normal", "normal(std=" + table["std"].astype(str) + ")"
    )
    measures = table[COMPARED].copy()
    measures["learning_rate"] = table["learning_rate"]
    measures["scheme"] = label
    measures["seed"] = table["seed"]
    steps_per_epoch = table["n_train"] // table["batch_size"]
    measures["n_steps"] = steps_per_epoch * table["epochs"]
    loss_curves = [loss_curve(run) for run in table.itertuples()]
    accuracy_curves = [_accuracy_curve(run) for run in table.itertuples()]
    for loss in losses:
        measures[f"steps_to_loss_{loss:g}"] = [first_below(*c, loss) for c in loss_curves]
    for accuracy in accuracies:
        measures[f"steps_to_accuracy_{accuracy:g}"] = [
            first_below(steps, -values, -accuracy) for steps, values in accuracy_curves
        ]
    measures["loss_area"] = [_area(run) for run in table.itertuples()]
    measures["test_accuracy"] = table["test_accuracy"]
    chance = 1 / table["widths"].str.rsplit("-", n=1).str[-1].astype(float)
    diverged = table["diverged_step"].notna()
    at_chance = ~diverged & (table["test_accuracy"] < chance + chance_share * (1 - chance))
    measures["diverged"] = diverged.astype(float)
    measures["at_chance"] = at_chance.astype(float)
    measures["failed"] = (diverged | at_chance).astype(float)
    ratios = [_gradient_ratios(run)[1][[0, -1]] for run in table.itertuples()]
    measures[["log10_gradient_ratio_start", "log10_gradient_ratio_end"]] = ratios
    return measures.reset_index(drop=True)


def first_below(steps: np.ndarray, values: np.ndarray, threshold: float) -> float:
    """Return where the line through the points first reaches `threshold` from above, or inf.

    A value that is not finite is above every threshold, and no line is drawn from it.
    """
    finite = np.isfinite(values)
    reached = np.flatnonzero(finite & (values <= threshold))
    if not len(reached):
        return np.inf
    k = reached[0]
    if k == 0 or not finite[k - 1]:
        return float(steps[k])
    share = (values[k - 1] - threshold) / (values[k - 1] - values[k])
    return float(steps[k - 1] + share * (steps[k] - steps[k - 1]))


def loss_curve(run: Any) -> tuple[np.ndarray, np.ndarray]:
    # Entry k is the mean of the losses before the updates number start, ..., end - 1.
    end = np.asarray(run.loss_step, float)
    start = np.concatenate([[0.0], end[:-1]])
    return (start + end - 1) / 2, np.asarray(run.loss, float)


def _accuracy_curve(run: Any) -> tuple[np.ndarray, np.ndarray]:
    values = np.asarray(run.accuracy_by_epoch, float)
    epochs = run.epochs
    per_epoch = (len(values) - 1) // epochs
    steps = evaluation_steps(epochs, run.n_train // run.batch_size, per_epoch)
    return np.asarray(steps, float), values


def _area(run: Any) -> float:
    stretches = np.diff(run.loss_step, prepend=0)
    loss = np.asarray(run.loss, float)
    return float(loss @ stretches) if np.isfinite(loss).all() else np.inf


def _gradient_ratios(run: Any) -> tuple[np.ndarray, np.ndarray]:
    steps = np.asarray(run.probe_step)
    norms = np.asarray(run.gradient_norm, float).reshape(len(steps), -1)
    first, last = norms[:, 0], norms[:, -1]
    usable = np.isfinite(first) & np.isfinite(last) & (first > 0) & (last > 0)
    ratio = np.full(len(steps), np.nan)
    ratio[usable] = np.log10(first[usable]) - np.log10(last[usable])
    return steps, ratio


def layer_ratios(table: pd.DataFrame, first: str, second: str, stat: str) -> pd.DataFrame:
    """Return a layer statistic of one scheme over that of another, through training.

    Parameters
    ----------
    table
        Result of :func:`initscope.sweep.run_sweep`.
    first, second
        Schemes, as the column ``scheme`` names them.
    stat
        A column with one number for each probe step and layer: ``"weight_std"``,
        ``"gradient_norm"``, ``"forward_variance"``, ``"backward_variance"``.

    Returns
    -------
    pandas.DataFrame
        One row for each pair of runs, probe step and layer (from 1): the columns of
        :data:`~initscope.analysis.COMPARED`, ``learning_rate``, ``seed``, ``step``, ``layer``,
        ``ratio``. Two schemes that go to the same weight variance have ratios of ``weight_std``
        that go to 1.

    Examples
    --------
    >>> from initscope.sweep import SweepSpec, run_sweep
    >>> spec = SweepSpec(schemes=("xavier", "kaiming"), seeds=2, epochs=2)
    >>> table = run_sweep(spec, progress=False)
    >>> ratios = layer_ratios(table, "xavier", "kaiming", "weight_std")
    >>> ratios[ratios["step"] == 0].groupby("layer")["ratio"].median().round(3).tolist()
    [0.411, 0.816, 0.956]
    """
    which = [*COMPARED, "learning_rate", "seed"]
    require_name("column stat", stat, set(STEPS_OF) - {"loss"})
    check_sweep(table, [*which, "scheme"], [stat])
    for scheme in (first, second):
        checks.text("scheme", scheme)
    twice = table.duplicated([*which, "scheme", "std"] if "std" in table else [*which, "scheme"])
    require(not twice.any(), "the table holds a run twice.")
    sides = []
    for scheme in (first, second):
        runs = table[table["scheme"] == scheme]
        require(len(runs) > 0, f"the table has no runs of scheme {scheme!r}.")
        sides.append(runs[[*which, "probe_step", stat]])
    pairs = sides[0].merge(sides[1], on=which, suffixes=("", "_second"), validate="one_to_one")
    rows = []
    for pair in pairs.to_dict("records"):
        steps = pair["probe_step"]
        above = np.asarray(pair[stat], float).reshape(len(steps), -1)
        below = np.asarray(pair[f"{stat}_second"], float).reshape(above.shape)
        with np.errstate(all="ignore"):  # 0 / 0 and the like are NaN, as they should be
            ratio = above / below
        n_layers = above.shape[1]
        rows.append(
            pd.DataFrame(
                {name: pair[name] for name in which}
                | {
                    "step": np.repeat(steps, n_layers),
                    "layer": np.tile(np.arange(1, n_layers + 1), len(steps)),
                    "ratio": ratio.ravel(),
                }
            )
        )
    columns = [*which, "step", "layer", "ratio"]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns)


def compare(
    measures: pd.DataFrame,
    first: str,
    second: str,
    measure: str,
    *,
    statistic: str = "mean",
    best_rate: str | None = None,
    level: float = 0.95,
    resamples: int = 4000,
    seed: int = 0,
) -> pd.DataFrame:
    r"""Return how much more of a measure one scheme has than another, with bootstrap intervals.

    The difference is the statistic over the seeds of `first` minus that of `second`; for the mean
    it is the mean of the paired differences. Seeds are drawn with replacement, the same for both
    schemes. The interval is that of :func:`~initscope.analysis.intervals.bootstrap_interval`, which
    covers a mean of normal differences about as often as it says from eight seeds on.

    In a measure that counts steps, a run that never arrives counts with the length of the training,
    so that the difference of means is a bound.

    Parameters
    ----------
    measures
        Result of :func:`run_measures`.
    first, second
        Schemes, as the column ``scheme`` names them.
    measure
        A column of `measures`.
    statistic
        ``"mean"``, ``"median"``, or ``"std"``, the spread over seeds.
    best_rate
        None compares at each learning rate. ``"highest"`` or ``"lowest"`` compares each scheme at
        its own best rate, that with the highest or lowest value of the statistic; it is chosen
        anew in every resample, so that the interval includes the uncertainty of the choice.
    level
        Of the intervals, between 0 and 1.
    resamples, seed
        Number of resamples of the bootstrap, and the seed of its generator.

    Returns
    -------
    pandas.DataFrame
        One row for each configuration that has both schemes on the same seeds, at least two: the
        columns of :data:`~initscope.analysis.COMPARED` and ``learning_rate`` (with `best_rate`
        instead ``first_rate`` and ``second_rate``), ``n_seeds``, ``first``, ``second`` (the
        statistic of each), ``difference``, ``low``, ``high``, and ``covers_zero``.

    Raises
    ------
    UsageError
        For an unknown scheme, measure or statistic, for seeds that only one of the schemes has,
        and for means of what is not finite: compare medians then.

    >>> runs = pd.DataFrame({"scheme": ["xavier", "kaiming"] * 3, "seed": [0, 0, 1, 1, 2, 2]})
    >>> runs["test_accuracy"] = [0.5, 0.7, 0.6, 0.8, 0.5, 0.8]
    >>> runs = runs.assign(dataset="wine", widths="13-8-3", depth=2, activation="relu")
    >>> runs = runs.assign(optimizer="sgd", momentum=0.0, learning_rate=0.1)
    >>> found = compare(runs, "kaiming", "xavier", "test_accuracy").iloc[0]
    >>> print(round(found["difference"], 3), found["covers_zero"])
    0.233 False
    """
    require_name("statistic", statistic, STATISTICS)
    checks.frame("measures", measures, (*COMPARED,), numbers=("learning_rate", "seed"),
                 texts=("scheme",))  # fmt: skip
    require_name("measure", measure, set(measures.columns))
    checks.frame("measures", measures, numbers=(measure,))
    if measure.startswith("steps_to_"):
        checks.frame("measures", measures, numbers=("n_steps",))
    require(
        is_number(resamples, 1, whole=True),
        f"resamples must be a whole number of at least 1, not {shown(resamples)}.",
    )
    require_memory(100 * resamples, f"resamples = {shown(resamples)}")
    checks.whole("seed", seed, 0)
    for scheme in (first, second):
        require_name("scheme", scheme, set(measures["scheme"]))
    require(
        best_rate is None or (isinstance(best_rate, str) and best_rate in ("highest", "lowest")),
        f"best_rate is 'highest', 'lowest' or None, not {shown(best_rate)}.",
    )
    check_level(level)
    if measure.startswith("steps_to_"):
        reached = np.minimum(measures[measure], measures["n_steps"])
        measures = measures.assign(**{measure: reached})
    needed = [*COMPARED, "learning_rate", "scheme", "seed", measure]
    measures = measures.loc[measures["scheme"].isin([first, second]), needed]
    generator = np.random.default_rng(seed)
    by = COMPARED if best_rate is not None else [*COMPARED, "learning_rate"]
    require(
        not measures.duplicated([*COMPARED, "learning_rate", "scheme", "seed"]).any(),
        "the table measures holds a run twice.",
    )
    rows = []
    for key, group in measures.groupby(by, sort=False):
        sides = [
            group[group["scheme"] == scheme].pivot(  # noqa: PD010, it refuses two of one seed
                index="learning_rate", columns="seed", values=measure
            )
            for scheme in (first, second)
        ]
        if sides[0].empty or sides[1].empty:
            continue
        if not sides[0].columns.equals(sides[1].columns) or sides[0].shape[1] < 2:
            raise UsageError(f"{first} and {second} need the same seeds, at least two, to pair.")
        if statistic != "median" and not all(np.isfinite(side).all(axis=None) for side in sides):
            raise UsageError(
                f"{measure} is not finite in every run, so that its {statistic} says nothing: "
                f"take statistic='median'."
            )
        drawn = generator.integers(0, sides[0].shape[1], (resamples, sides[0].shape[1]))
        row = dict(zip(by, key, strict=True))
        rows.append(row | _compared(sides, statistic, best_rate, level, drawn))
    return pd.DataFrame(rows)


def _compared(
    sides: list[pd.DataFrame],
    statistic: str,
    best_rate: str | None,
    level: float,
    drawn: np.ndarray,
) -> dict[str, Any]:
    """Return the difference of two tables of rates by seeds, and its interval from draws."""
    values = [side.to_numpy(float) for side in sides]
    n_seeds = sides[0].shape[1]
    row: dict[str, Any] = {"n_seeds": n_seeds}
    estimates = [STATISTICS[statistic](side, axis=-1) for side in values]
    best = [_best(estimate, best_rate) for estimate in estimates]
    if best_rate is not None:
        row["first_rate"], row["second_rate"] = (
            float(side.index[at]) for side, at in zip(sides, best, strict=True)
        )
    row["first"], row["second"] = (
        float(estimate[at]) for estimate, at in zip(estimates, best, strict=True)
    )
    # Not by scipy.stats.bootstrap: both schemes share the draws, and each its best rate anew.
    resampled = [_resampled(side, statistic, best_rate, drawn) for side in values]
    low, high = bootstrap_interval(_difference(*resampled), n_seeds, level)
    row["difference"] = float(_difference(row["first"], row["second"]))
    return row | {"low": low, "high": high, "covers_zero": bool(low <= 0 <= high)}


def _best(estimates: np.ndarray, best_rate: str | None) -> int:
    return int(np.argmin(estimates) if best_rate == "lowest" else np.argmax(estimates))


def _resampled(
    values: np.ndarray, statistic: str, best_rate: str | None, drawn: np.ndarray
) -> np.ndarray:
    """Return the statistic in every resample, at its best rate; `values` is (rates, seeds)."""
    by_rate = [STATISTICS[statistic](of_rate[drawn], axis=-1) for of_rate in values]
    return np.min(by_rate, axis=0) if best_rate == "lowest" else np.max(by_rate, axis=0)


def _difference(first: np.ndarray | float, second: np.ndarray | float) -> np.ndarray:
    """Return first - second, where two infinite values of the same sign are equal."""
    first, second = np.asarray(first, float), np.asarray(second, float)
    with np.errstate(invalid="ignore"):
        return np.where(first == second, 0.0, first - second)
