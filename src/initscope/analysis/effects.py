"""How much better one scheme is than another, each at its own rate, and whether a claim stands.

Effects are of pairs of runs from the same draws, see :mod:`initscope.analysis.comparison`. Their
intervals hold together over all cases of a claim, by Holm's correction.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from initscope import checks
from initscope.analysis.intervals import check_level, sample_of
from initscope.analysis.sweeps import COMPARED
from initscope.checks import require, require_name
from initscope.errors import shown

__all__ = ["at_own_rates", "holm", "own_rates", "paired_effects", "standing"]


def own_rates(measures: pd.DataFrame, measure: str, better: str = "highest") -> pd.DataFrame:
    """Return the learning rate at which each scheme does best, in each configuration.

    Choose it on some seeds and report others: the best of many rates looks better than it is.

    Parameters
    ----------
    measures
        Result of :func:`initscope.analysis.run_measures`.
    measure
        A column of `measures`, whose mean over the seeds decides; steps that were never reached
        count as the length of the training.
    better
        ``"highest"`` or ``"lowest"``. Of equal means that with the higher test accuracy is taken,
        then the lower rate.

    Returns
    -------
    pandas.DataFrame
        The columns of :data:`~initscope.analysis.COMPARED`, ``scheme``, ``learning_rate``, and
        ``at_end``: whether it is the lowest or highest rate that was tried.

    >>> runs = pd.DataFrame({"learning_rate": [0.1, 0.3, 1.0], "test_accuracy": [0.5, 0.9, 0.2]})
    >>> runs = runs.assign(dataset="wine", widths="13-8-3", depth=2, activation="relu")
    >>> runs = runs.assign(optimizer="sgd", momentum=0.0, scheme="xavier", seed=0)
    >>> own_rates(runs, "test_accuracy")[["learning_rate", "at_end"]].to_dict("records")
    [{'learning_rate': 0.3, 'at_end': False}]
    """
    require_name("better", better, ("highest", "lowest"))
    runs = _restricted(measures, measure)
    checks.frame("measures", runs, numbers=("test_accuracy",))
    by = [*COMPARED, "scheme"]
    means = runs.groupby([*by, "learning_rate"], sort=False)[
        list(dict.fromkeys([measure, "test_accuracy"]))
    ].mean()
    means = means.reset_index().dropna(subset=[measure])
    means["order"] = means[measure] if better == "lowest" else -means[measure]
    means["less_accurate"] = -means["test_accuracy"]
    rates = means.groupby(by)["learning_rate"]
    means["at_end"] = (means["learning_rate"] == rates.transform("min")) | (
        means["learning_rate"] == rates.transform("max")
    )
    means = means.sort_values(["order", "less_accurate", "learning_rate"], kind="stable")
    best = means.drop_duplicates(by).sort_index()
    return best[[*by, "learning_rate", "at_end"]].reset_index(drop=True)


def at_own_rates(measures: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of each scheme at its own learning rate.

    Parameters
    ----------
    measures
        Result of :func:`initscope.analysis.run_measures`.
    rates
        Result of :func:`own_rates`, of these or of other seeds.

    >>> runs = pd.DataFrame({"learning_rate": [0.1, 0.3, 1.0], "test_accuracy": [0.5, 0.9, 0.2]})
    >>> runs = runs.assign(dataset="wine", widths="13-8-3", depth=2, activation="relu")
    >>> runs = runs.assign(optimizer="sgd", momentum=0.0, scheme="xavier", seed=0)
    >>> at_own_rates(runs, own_rates(runs, "test_accuracy"))["test_accuracy"].tolist()
    [0.9]
    """
    which = [*COMPARED, "scheme", "learning_rate"]
    numbers = ("depth", "momentum", "learning_rate")
    texts = [column for column in which if column not in numbers]
    checks.frame("measures", measures, numbers=numbers, texts=texts)
    checks.frame("rates", rates, numbers=numbers, texts=texts)
    return measures.merge(rates[which].drop_duplicates(), on=which)


def holm(p_values: ArrayLike) -> np.ndarray:
    """Return p-values corrected for their number by Holm's (1979) step-down method.

    Those below 0.05 may be called significant together: the probability that any of them is a
    mistake is at most 0.05, however they depend on one another.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    p = sample_of("p_values", p_values, 0)
    require(
        bool(((p >= 0) & (p <= 1)).all()), f"p_values must lie from 0 to 1, not {shown(p_values)}."
    )
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(corrected, 1.0)


def paired_effects(
    measures: pd.DataFrame,
    first: str,
    second: str,
    measure: str,
    over: float,
    *,
    kind: str = "difference",
    level: float = 0.95,
) -> pd.DataFrame:
    r"""Return how much more of a measure one scheme has than another, and if over a threshold.

    The intervals are Student's, of the paired differences, for ratios of the logarithms. (A
    bootstrap of five to fifty pairs does not reach the levels that many cases need together.) For
    shares they are those of Agresti and Min (2005): half a pair is added to each of the four kinds
    of pairs.

    Parameters
    ----------
    measures
        Result of :func:`initscope.analysis.run_measures`: runs of both schemes on the same seeds,
        at least two. Where each scheme has a seed once, these runs are compared, whatever their
        rates; else each rate is a case of its own.
    first, second
        Schemes, as the column ``scheme`` names them.
    measure
        A column of `measures`. Where it counts steps, a run that never arrives counts with the
        length of the training: if it is one of `first`, the effect is a lower bound and ``high`` is
        infinite; if it is one of `second` and its partner arrives, ``low`` is. A pair in which
        neither arrives counts as equal.
    over
        What the effect is to exceed: a ratio or a difference.
    kind
        ``"difference"`` of the means; ``"ratio"`` of the geometric means, of a measure above 0;
        ``"share"``, the difference of the shares of a measure that is 0 or 1.
    level
        Of all the intervals together.

    Returns
    -------
    pandas.DataFrame
        One row a case: the columns of :data:`~initscope.analysis.COMPARED`; ``first_rate`` and
        ``second_rate`` (of several the most frequent); of steps ``n_steps``; ``n_seeds``;
        ``first`` and ``second`` (means, for ratios geometric ones); ``unreached_first`` and
        ``unreached_second`` (numbers of runs); ``effect``, ``low``, ``high``;
        ``p_value`` (two-sided, of no more and no less than `over`, corrected with
        :func:`holm`); and ``supports``: True if the interval lies above `over`, False if it lies
        below, None otherwise.

    Raises
    ------
    UsageError
        An unknown scheme, measure or kind, seeds that only one of the schemes has, or a measure
        that is not finite, or not of that kind.

    >>> runs = pd.DataFrame({"scheme": ["xavier", "kaiming"] * 3, "seed": [0, 0, 1, 1, 2, 2]})
    >>> runs = runs.assign(n_steps=400, steps_to_loss_1=[20, 10, 42, 20, 19, 10])
    >>> runs = runs.assign(dataset="wine", widths="13-8-3", depth=2, activation="relu")
    >>> runs = runs.assign(optimizer="sgd", momentum=0.0, learning_rate=0.1)
    >>> found = paired_effects(runs, "xavier", "kaiming", "steps_to_loss_1", 1.05, kind="ratio")
    >>> effect = found.iloc[0]
    >>> print(f"{effect['effect']:.2f} ({effect['low']:.2f} to {effect['high']:.2f})")
    2.00 (1.76 to 2.26)
    >>> found["supports"].tolist()
    [True]
    """
    require_name("kind", kind, ("difference", "ratio", "share"))
    over = float(checks.number("over", over))
    require(kind != "ratio" or over > 0, f"a ratio is over a number above 0, not {shown(over)}.")
    check_level(level)
    runs = _restricted(measures, measure)
    for scheme in (first, second):
        require_name("scheme", scheme, set(runs["scheme"]))
    require(first != second, f"the schemes first and second are both {shown(first)}.")
    values = runs.loc[runs["scheme"].isin([first, second]), measure].to_numpy(float)
    require(
        bool(np.isfinite(values).all()),
        f"{measure} of the table measures is not finite in every run.",
    )
    require(kind != "ratio" or bool((values > 0).all()), f"ratios need {measure} above 0.")
    require(
        kind != "share" or bool(np.isin(values, (0, 1)).all()),
        f"shares are of a measure that is 0 or 1, and {measure} is not.",
    )
    unreached = ~np.isfinite(measures[measure].to_numpy(float))
    rows = []
    for key, group in runs.assign(unreached=unreached).groupby(COMPARED, sort=False):
        sides = [group[group["scheme"] == scheme] for scheme in (first, second)]
        if any(side.empty for side in sides):
            continue
        if all(side["seed"].is_unique for side in sides):
            cases = [sides]
        else:
            rates = set(sides[0]["learning_rate"]) & set(sides[1]["learning_rate"])
            cases = [
                [side[side["learning_rate"] == rate] for side in sides] for rate in sorted(rates)
            ]
        for both in cases:
            pair = [float(side["learning_rate"].mode().iloc[0]) for side in both]
            row = dict(zip(COMPARED, key, strict=True))
            row |= {"first_rate": pair[0], "second_rate": pair[1]}
            if measure.startswith("steps_to_"):
                row["n_steps"] = int(group["n_steps"].max())
            one, other = (side.set_index("seed").sort_index() for side in both)
            rows.append(row | _effect(one, other, measure, kind))
    return _judged(pd.DataFrame(rows), kind, over, level) if rows else pd.DataFrame(rows)


def _restricted(measures: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return checked runs, in which steps that were never reached are those of the training."""
    columns = ("learning_rate", "seed")
    runs = checks.frame("measures", measures, COMPARED, numbers=columns, texts=("scheme",))
    require_name("measure", measure, set(runs.columns))
    checks.frame("measures", runs, numbers=(measure,))
    require(
        not runs.duplicated([*COMPARED, "learning_rate", "scheme", "seed"]).any(),
        "the table measures holds a run twice.",
    )
    if measure.startswith("steps_to_"):
        checks.frame("measures", runs, numbers=("n_steps",))
        runs = runs.assign(**{measure: np.minimum(runs[measure], runs["n_steps"])})
    return runs


def _effect(first: pd.DataFrame, second: pd.DataFrame, measure: str, kind: str) -> dict[str, Any]:
    """Return the effect over the pairs of one case, with what its interval is made of."""
    require(
        first.index.equals(second.index) and len(first) >= 2,
        "both schemes need the same seeds, at least two, to pair.",
    )
    a, b = (side[measure].to_numpy(float) for side in (first, second))
    lost = [side["unreached"].to_numpy(bool) for side in (first, second)]
    n = len(a)
    mean = np.mean if kind != "ratio" else stats.gmean
    row = {"n_seeds": n, "first": float(mean(a)), "second": float(mean(b))}
    row |= {"unreached_first": int(lost[0].sum()), "unreached_second": int(lost[1].sum())}
    if kind == "share":
        more, less, pairs = (a > b).sum() + 0.5, (a < b).sum() + 0.5, n + 2
        center = (more - less) / pairs
        error = np.sqrt(more + less - (more - less) ** 2 / pairs) / pairs
        ends = {"from_low": center, "from_high": center, "degrees": np.inf}
        return row | {"effect": float((a - b).mean()), "error": error, **ends}
    each = np.log(a / b) if kind == "ratio" else a - b
    effect = float(each.mean())
    bounds = (
        -np.inf if (lost[1] & ~lost[0]).any() else effect,
        np.inf if lost[0].any() else effect,
    )
    ends = {"from_low": bounds[0], "from_high": bounds[1], "degrees": n - 1.0}
    return row | {"effect": effect, "error": float(stats.sem(each)), **ends}


def _judged(found: pd.DataFrame, kind: str, over: float, level: float) -> pd.DataFrame:
    """Return the effects with intervals that hold together, and on which side of `over` they lie.

    Of Holm's steps each has a level of its own; from the first that decides nothing on, all cases
    have that one's.
    """
    threshold = np.log(over) if kind == "ratio" else over
    degrees, error = found["degrees"].to_numpy(), found["error"].to_numpy()
    low, high = found["from_low"].to_numpy(), found["from_high"].to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        # Of an error of 0 the t is infinite, and NaN if the effect is the threshold itself.
        above = np.nan_to_num(stats.t.sf((low - threshold) / error, degrees), nan=0.5)
        below = np.nan_to_num(stats.t.sf((threshold - high) / error, degrees), nan=0.5)
    p = np.minimum(2 * np.minimum(above, below), 1.0)
    corrected = holm(p)
    order = np.argsort(p, kind="stable")
    decided = int((corrected < 1 - level).sum())
    left = np.empty(len(p))
    left[order] = len(p) - np.minimum(np.arange(len(p)), decided)
    half = stats.t.isf((1 - level) / left / 2, degrees) * error
    shape = np.exp if kind == "ratio" else np.asarray
    with np.errstate(over="ignore"):
        ends = shape(low - half), shape(high + half)
        effect = shape(found["effect"].to_numpy())
    supports = [
        None if q >= 1 - level else bool(up < down)
        for q, up, down in zip(corrected, above, below, strict=True)
    ]
    judged = found.drop(columns=["error", "from_low", "from_high", "degrees"])
    judged["effect"], judged["low"], judged["high"] = effect, *ends
    if kind == "share":
        judged["low"], judged["high"] = np.maximum(ends[0], -1.0), np.minimum(ends[1], 1.0)
    return judged.assign(p_value=corrected, supports=pd.Series(supports, dtype=object))


def standing(effects: pd.DataFrame, low: float, high: float) -> pd.Series[str]:
    """Return where the interval of each effect lies against a margin of equivalence.

    Parameters
    ----------
    effects
        Result of :func:`paired_effects`.
    low, high
        Ends of the margin, for example 1/1.05 and 1.05.

    Returns
    -------
    pandas.Series
        ``"above"`` or ``"below"`` the margin, ``"level"`` within it (equivalence is shown), and
        ``"undecided"`` if the interval reaches over an end.

    >>> rows = pd.DataFrame({"low": [1.1, 0.97, 0.9], "high": [1.3, 1.02, 1.2]})
    >>> standing(rows, 1 / 1.05, 1.05).tolist()
    ['above', 'level', 'undecided']
    """
    rows = checks.frame("effects", effects, rows=False, numbers=("low", "high"))
    ends = checks.number("low", low), checks.number("high", high)
    require(ends[0] <= ends[1], f"low must be at most high, not {shown(low)} and {shown(high)}.")
    found = pd.Series("undecided", rows.index, name="standing", dtype=object)
    found[(rows["low"] >= ends[0]) & (rows["high"] <= ends[1])] = "level"
    found[rows["low"] > ends[1]] = "above"
    found[rows["high"] < ends[0]] = "below"
    return found
