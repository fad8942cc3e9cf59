"""Learning rates, measured: at which a scheme is best, and at which it trains at all."""

from __future__ import annotations

import pandas as pd

from initscope import checks

__all__ = ["accuracy_of_schemes", "best_rates", "failure_share"]


def best_rates(measures: pd.DataFrame) -> pd.Series:
    """Return the learning rate at which each scheme has the highest mean accuracy, by depth.

    Parameters
    ----------
    measures
        Result of :func:`initscope.analysis.run_measures`, of one data set and way of training.

    Returns
    -------
    pandas.Series
        Indexed by ``scheme`` and ``depth``; of equal means the lowest rate.

    >>> runs = pd.DataFrame({"learning_rate": [0.1, 0.3, 1.0], "test_accuracy": [0.5, 0.9, 0.2]})
    >>> best_rates(runs.assign(scheme="xavier", depth=2))["xavier", 2]
    np.float64(0.3)
    """
    columns = ("depth", "learning_rate", "test_accuracy")
    checks.frame("measures", measures, numbers=columns, texts=("scheme",))
    by = ["scheme", "depth", "learning_rate"]
    means = measures.groupby(by)["test_accuracy"].mean().dropna()
    best = means.groupby(level=["scheme", "depth"]).idxmax()
    return best.map(lambda key: key[-1]).rename("learning_rate")


def failure_share(measures: pd.DataFrame) -> pd.Series:
    """Return the share of seeds that fail, by scheme, depth and learning rate.

    Parameters
    ----------
    measures
        Result of :func:`initscope.analysis.run_measures`, of one data set and way of training.

    >>> runs = pd.DataFrame({"scheme": "xavier", "learning_rate": 0.1, "failed": [0, 1]})
    >>> failure_share(runs.assign(depth=2)).to_dict()
    {('xavier', 2, 0.1): 0.5}
    """
    columns = ("depth", "learning_rate", "failed")
    checks.frame("measures", measures, numbers=columns, texts=("scheme",))
    return measures.groupby(["scheme", "depth", "learning_rate"])["failed"].mean()


def accuracy_of_schemes(measures: pd.DataFrame) -> pd.DataFrame:
    """Return the mean test accuracy of each scheme over its runs, with its standard error.

    Parameters
    ----------
    measures
        Result of :func:`initscope.analysis.run_measures`, of one configuration and learning rate.

    Returns
    -------
    pandas.DataFrame
        Indexed by scheme: ``mean`` and ``error``, which is NaN for a single run.

    >>> runs = pd.DataFrame({"scheme": "xavier", "test_accuracy": [0.7, 0.9]})
    >>> accuracy_of_schemes(runs).round(3).to_dict("list")
    {'mean': [0.8], 'error': [0.1]}
    """
    checks.frame("measures", measures, numbers=("test_accuracy",), texts=("scheme",))
    groups = measures.groupby("scheme")["test_accuracy"]
    return pd.DataFrame({"mean": groups.mean(), "error": groups.sem()})
