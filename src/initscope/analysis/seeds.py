"""Summarize the seeds of a sweep: medians, ranges and paired curves, by std, step or layer."""

from __future__ import annotations

import numpy as np
import pandas as pd

from initscope import checks
from initscope.analysis.sweeps import check_sweep
from initscope.checks import require, require_name

__all__ = [
    "divergence_share",
    "gradient_norm_means",
    "gradient_ratios_over_seeds",
    "layer_medians",
    "losses_over_seeds",
    "median_grid",
    "over_seeds",
    "paired_losses",
]


def over_seeds(runs: pd.DataFrame, column: str, by: str = "std") -> pd.DataFrame:
    """Return median, 10th and 90th percentile of the finite values over the seeds.

    Parameters
    ----------
    runs
        A row a run.
    column
        What is summarized.
    by
        The column whose values tell the groups apart.

    Returns
    -------
    pandas.DataFrame
        Indexed by the values of `by`, ascending: ``low``, ``median``, ``high``.

    >>> runs = pd.DataFrame({"std": [0.1, 0.1, 0.1, 1.0], "loss": [1.0, 2.0, 3.0, float("inf")]})
    >>> over_seeds(runs, "loss").loc[0.1].to_list()
    [1.2, 2.0, 2.8]
    """
    checks.text("column", column)
    checks.text("by", by)
    checks.frame("runs", runs, numbers=(column, by))
    groups = runs[np.isfinite(runs[column])].groupby(by)[column]
    quantiles = {"low": 0.1, "median": 0.5, "high": 0.9}
    return pd.DataFrame({name: groups.quantile(share) for name, share in quantiles.items()})


def median_grid(runs: pd.DataFrame, index: str, columns: str, values: str) -> pd.DataFrame:
    """Return the median over seeds of a column, on the grid of two others; NaN where there is none.

    >>> runs = pd.DataFrame({"depth": 2, "std": [0.1, 0.1, 0.3], "accuracy": [0.2, 0.4, 0.9]})
    >>> median_grid(runs, "depth", "std", "accuracy").loc[2].to_list()
    [0.30000000000000004, 0.9]
    """
    for name, column in (("index", index), ("columns", columns), ("values", values)):
        checks.text(name, column)
    checks.frame("runs", runs, (index, columns), numbers=(values,))
    return runs.pivot_table(
        index=index, columns=columns, values=values, aggfunc="median", dropna=False
    )


def divergence_share(table: pd.DataFrame) -> pd.Series:
    """Return the share of the runs of a sweep that diverge, by std.

    >>> table = pd.DataFrame({"std": [0.1, 9.0, 9.0], "diverged_step": [None, None, 4.0]})
    >>> divergence_share(table).to_dict()
    {0.1: 0.0, 9.0: 0.5}
    """
    check_sweep(table, ["std", "diverged_step"])
    return table["diverged_step"].notna().groupby(table["std"]).mean()


def losses_over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Return median and range over seeds of the training loss, while it is finite in most of them.

    Parameters
    ----------
    table
        Runs of a sweep, with the same ``loss_step``.

    Returns
    -------
    pandas.DataFrame
        Indexed by the step: ``low``, ``median``, ``high``, of the finite losses. Steps at which
        half of the losses or more are not finite have no row.

    Examples
    --------
    >>> from initscope.sweep import SweepSpec, run_sweep
    >>> spec = SweepSpec(schemes=("xavier", "kaiming"), seeds=2, epochs=2)
    >>> table = run_sweep(spec, progress=False)
    >>> losses_over_seeds(table).columns.tolist()
    ['low', 'median', 'high']
    """
    losses = _losses_by_seed(table).to_numpy().T
    alive = np.isfinite(losses).mean(axis=0) > 0.5
    losses = losses[:, alive]
    steps = pd.Index(np.asarray(table["loss_step"].iloc[0])[alive], name="step")
    if not alive.any():
        return pd.DataFrame(index=steps, columns=["low", "median", "high"], dtype=float)
    found = {
        "low": np.nanmin(losses, axis=0),
        "median": np.nanmedian(losses, axis=0),
        "high": np.nanmax(losses, axis=0),
    }
    return pd.DataFrame(found, steps)


def _losses_by_seed(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the training losses, a row a step and a column a seed; NaN where not finite."""
    check_sweep(runs, ["seed"], ["loss"])
    _check_equal(runs, "loss_step")
    steps = pd.Index(np.asarray(runs["loss_step"].iloc[0]), name="step")
    losses = np.stack(runs["loss"].to_list()).astype(float)
    losses[~np.isfinite(losses)] = np.nan
    return pd.DataFrame(losses.T, steps, runs["seed"].to_numpy())


def _check_equal(runs: pd.DataFrame, column: str) -> None:
    """Raise unless the lists of a column are the same length in every run."""
    require(
        len(runs[column].map(len).unique()) == 1, f"the runs of the table have different {column}."
    )


def paired_losses(table: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """Return the training losses of two schemes, seed by seed, and their differences.

    Parameters
    ----------
    table
        Runs of a sweep, of one configuration; of both schemes the same seeds, each once.
    first, second
        Schemes, as the column ``scheme`` names them.

    Returns
    -------
    pandas.DataFrame
        Indexed by the step; columns a pair: `first`, `second` or ``"difference"`` (second minus
        first), and the seed or ``"mean"``. NaN where a loss is not finite.

    Examples
    --------
    >>> from initscope.sweep import SweepSpec, run_sweep
    >>> spec = SweepSpec(schemes=("xavier", "kaiming"), seeds=2, epochs=2)
    >>> table = run_sweep(spec, progress=False)
    >>> paired_losses(table, "xavier", "kaiming")["difference"].columns.tolist()
    [0, 1, 'mean']
    """
    check_sweep(table, ["scheme", "seed"], ["loss"])
    of = {}
    for name, scheme in (("first", first), ("second", second)):
        require_name(f"scheme {name}", scheme, set(table["scheme"]))
        of[scheme] = _losses_by_seed(table[table["scheme"] == scheme].sort_values("seed"))
    require(first != second, f"the schemes first and second are both {first!r}.")
    seeds = [list(losses.columns) for losses in of.values()]
    require(
        seeds[0] == seeds[1] and len(set(seeds[0])) == len(seeds[0]),
        f"the table must have one run of each seed under {first} and {second}.",
    )
    require(
        of[first].index.equals(of[second].index), "the runs of the table have different loss_step."
    )
    of["difference"] = of[second] - of[first]
    for name, losses in of.items():
        of[name] = losses.assign(mean=losses.mean(axis=1, skipna=False))
    return pd.concat(of, axis=1)


def _norms(runs: pd.DataFrame) -> np.ndarray:
    """Return the gradient norms of runs, of shape (runs, probe steps, layers)."""
    check_sweep(runs, ["depth"], ["gradient_norm"])
    _check_equal(runs, "probe_step")
    _check_equal(runs, "gradient_norm")
    norms = np.stack(runs["gradient_norm"].to_list()).astype(float)
    return norms.reshape(len(runs), len(runs["probe_step"].iloc[0]), -1)


def gradient_ratios_over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Return median and range over seeds of the gradient norm of the first layer over the last.

    Parameters
    ----------
    table
        Runs of a sweep, of one depth, with the same ``probe_step``.

    Returns
    -------
    pandas.DataFrame
        Indexed by the probe step: ``low``, ``median``, ``high``. Steps at which the ratio of a
        seed is 0 or not finite have no row.

    Examples
    --------
    >>> from initscope.sweep import SweepSpec, run_sweep
    >>> spec = SweepSpec(schemes=("xavier", "kaiming"), seeds=2, epochs=2)
    >>> table = run_sweep(spec, progress=False)
    >>> gradient_ratios_over_seeds(table).columns.tolist()
    ['low', 'median', 'high']
    """
    norms = _norms(table)
    with np.errstate(all="ignore"):
        ratio = norms[:, :, 0] / norms[:, :, -1]
    usable = (np.isfinite(ratio) & (ratio > 0)).all(axis=0)
    ratio = ratio[:, usable]
    steps = np.asarray(table["probe_step"].iloc[0])[usable]
    found = {"low": ratio.min(0), "median": np.median(ratio, 0), "high": ratio.max(0)}
    return pd.DataFrame(found, pd.Index(steps, name="step"))


def gradient_norm_means(table: pd.DataFrame) -> pd.DataFrame:
    """Return the geometric mean over seeds of gradient norms by layer, before and after training.

    Parameters
    ----------
    table
        Runs of a sweep, of one depth, with the same ``probe_step``.

    Returns
    -------
    pandas.DataFrame
        Indexed by the layer, from 1: ``before`` and ``after``, at the first and the last probe, of
        the norms that are finite and above 0; NaN where no seed has one.

    Examples
    --------
    >>> from initscope.sweep import SweepSpec, run_sweep
    >>> spec = SweepSpec(schemes=("xavier", "kaiming"), seeds=2, epochs=2)
    >>> table = run_sweep(spec, progress=False)
    >>> gradient_norm_means(table).shape
    (3, 2)
    """
    norms = _norms(table)[:, [0, -1]]
    usable = np.isfinite(norms) & (norms > 0)
    logs = np.log(np.where(usable, norms, 1.0))
    with np.errstate(invalid="ignore"):  # 0 / 0 where no seed has a norm
        means = np.exp(logs.sum(axis=0) / usable.sum(axis=0))
    layers = pd.RangeIndex(1, means.shape[1] + 1, name="layer")
    return pd.DataFrame(means.T, layers, ["before", "after"])


def layer_medians(tidy: pd.DataFrame) -> pd.Series:
    """Return the median over seeds of each statistic of each layer at each step, by std.

    Parameters
    ----------
    tidy
        Result of :func:`initscope.analysis.to_tidy`, of one architecture and way of training.

    Returns
    -------
    pandas.Series
        Indexed by ``stat``, ``std``, ``layer`` and ``step``.

    Examples
    --------
    >>> from initscope.sweep import SweepSpec, run_sweep
    >>> spec = SweepSpec(schemes=("xavier", "kaiming"), seeds=2, epochs=2)
    >>> table = run_sweep(spec, progress=False)
    >>> from initscope.analysis import to_tidy
    >>> list(layer_medians(to_tidy(table)).index.names)
    ['stat', 'std', 'layer', 'step']
    """
    checks.frame("tidy", tidy, numbers=("std", "layer", "step", "value"), texts=("stat",))
    return tidy.groupby(["stat", "std", "layer", "step"])["value"].median()
