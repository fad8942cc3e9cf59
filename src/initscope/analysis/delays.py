"""How long networks stay on the plateau of small initial weights, measured and as the law says.

The law is that of :mod:`initscope.theory.escape`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from initscope import checks
from initscope.analysis.comparison import first_below, loss_curve
from initscope.analysis.sweeps import check_sweep, nearest, widths_of
from initscope.checks import require
from initscope.errors import shown
from initscope.theory.escape import escape_rate, escape_updates
from initscope.theory.rescaling import xavier_as_kaiming
from initscope.theory.stability import critical_std

__all__ = ["beyond_the_law", "escape_rates", "nearest_rates", "steady_products", "xavier_delays"]


def escape_rates(table: pd.DataFrame, loss: float = 0.5, largest: float = 2 / 3) -> pd.DataFrame:
    """Return the rate of escape of the networks of a sweep of stds, from their delays.

    A network whose std lies well below :func:`initscope.theory.critical_std` reaches the loss
    later than the one nearest to that std. The delay is the time on the plateau, and gives a rate
    by :func:`initscope.theory.escape_rate`.

    Parameters
    ----------
    table
        Result of :func:`initscope.sweep.run_sweep`, of ReLU networks that SGD without momentum
        trains, each from several stds.
    loss
        Training loss (nats) that ends the plateau.
    largest
        Stds up to this share of critical_std count; nearer to it the delay is too short.

    Returns
    -------
    pandas.DataFrame
        One row for each configuration that has a rate: ``dataset``, ``widths``, ``depth``,
        ``learning_rate``, ``rate`` (median over the stds), ``lowest``, ``highest`` and ``n_stds``.
        The updates at each std are the median over the seeds; stds at which that does not reach
        the loss give none.

    Examples
    --------
    >>> from initscope.sweep import SweepSpec, run_sweep
    >>> stds = (0.03, 0.06, 0.12, 0.25, 0.5)
    >>> spec = SweepSpec(stds=stds, hidden=((32, 32),), epochs=60, loss_points=60)
    >>> escape_rates(run_sweep(spec, progress=False)).round(1)[["depth", "rate"]].values.tolist()
    [[3.0, 0.6]]
    """
    columns = ["dataset", "widths", "depth", "optimizer", "momentum", "learning_rate", "std"]
    check_sweep(table, columns, ["loss"])
    require(
        bool(((table["optimizer"] == "sgd") & (table["momentum"] == 0)).all()),
        "the law of the plateau is of SGD without momentum: the table has other runs.",
    )
    loss = checks.number("loss", loss)
    largest = checks.number("largest", largest, 0.0, 1.0)
    steps = [first_below(*loss_curve(run), loss) for run in table.itertuples()]
    which = ["dataset", "widths", "depth", "learning_rate"]
    rows = []
    for key, group in table[[*which, "std"]].assign(steps=steps).groupby(which, sort=False):
        updates = group.groupby("std")["steps"].median()
        critical = critical_std(widths_of(key[1]))
        (closest,) = nearest(pd.Series(updates.index), [critical])
        start = float(updates[closest])
        low = updates[
            (updates.index <= largest * critical) & np.isfinite(updates) & (updates > start)
        ]
        if not len(low):
            continue
        delays = (low - start).to_numpy()
        rates = escape_rate(low.index.to_numpy() / critical, key[2], key[3], delays)
        found = {"rate": np.median(rates), "lowest": rates.min(), "highest": rates.max()}
        rows.append(dict(zip(which, key, strict=True)) | found | {"n_stds": len(low)})
    return pd.DataFrame(rows, columns=[*which, "rate", "lowest", "highest", "n_stds"])


def xavier_delays(effects: pd.DataFrame, rate: ArrayLike) -> pd.Series[float]:
    r"""Return how many updates Xavier is behind Kaiming, by the law of the plateau.

    Xavier's ReLU network is Kaiming's with the weights at :math:`r = (r_1 \cdots r_L)^{1/2L}` of
    its scale, r_l of :func:`initscope.theory.fan_ratios`, in the geometric mean over the layers.

    Parameters
    ----------
    effects
        The columns ``widths``, ``optimizer``, ``momentum`` and ``first_rate``, the learning rate of
        Xavier, as :func:`initscope.analysis.paired_effects` returns them.
    rate
        The rate of escape, above 0, one or one a row, see :func:`escape_rates`.

    Returns
    -------
    pandas.Series
        The updates, a number a row. Under momentum a step has the size it goes to, lr / (1 -
        momentum); for Adam, of which the law says nothing, NaN.

    >>> case = pd.DataFrame({"widths": "784-128-128-128-10", "optimizer": "sgd"}, [0])
    >>> xavier_delays(case.assign(momentum=0.0, first_rate=0.1), 0.4).round(1).tolist()
    [6.2]
    """
    numbers = ("momentum", "first_rate")
    rows = checks.frame(
        "effects", effects, rows=False, numbers=numbers, texts=("widths", "optimizer")
    )
    lr = checks.positive("first_rate of effects", rows["first_rate"].to_numpy())
    momentum = checks.nonnegative("momentum of effects", rows["momentum"].to_numpy())
    require(bool((momentum < 1).all()), "momentum of effects must be below 1.")
    rates = checks.positive("rate", rate)
    require(
        rates.shape in ((), (len(rows),)),
        f"rate must be one number, or one for each row of effects, not {shown(rate)}.",
    )
    delays = []
    for widths, step, escape in zip(
        rows["widths"], lr / (1 - momentum), np.broadcast_to(rates, len(rows)), strict=True
    ):
        sizes = widths_of(widths)
        depth = len(sizes) - 1
        damping = xavier_as_kaiming(sizes, "sgd").output_factor
        delays.append(float(escape_updates(damping ** (1 / depth), depth, step, escape)))
    found = pd.Series(delays, rows.index, dtype=float, name="delay")
    return found.where(rows["optimizer"] == "sgd")


def nearest_rates(effects: pd.DataFrame, rates: pd.DataFrame) -> pd.Series[float]:
    """Return for each row the rate of escape of its data set, at the depth nearest to its own.

    Parameters
    ----------
    effects
        A table with the columns ``dataset`` and ``depth``.
    rates
        Result of :func:`escape_rates`. Of two depths equally near the smaller is taken.

    Raises
    ------
    UsageError
        A data set of which there is no rate.

    >>> rates = pd.DataFrame({"dataset": "wine", "depth": [3, 8], "rate": [0.7, 0.4]})
    >>> nearest_rates(pd.DataFrame({"dataset": "wine", "depth": [2, 6, 32]}), rates).tolist()
    [0.7, 0.4, 0.4]
    """
    rows = checks.frame("effects", effects, rows=False, numbers=("depth",), texts=("dataset",))
    known = checks.frame("rates", rates, numbers=("depth", "rate"), texts=("dataset",))
    found = []
    for case in rows.itertuples():
        of_data = known[known["dataset"] == case.dataset].sort_values("depth")
        require(len(of_data) > 0, f"rates has none of the data set {shown(case.dataset)}.")
        at = (of_data["depth"] - case.depth).abs().to_numpy().argmin()
        found.append(float(of_data["rate"].iloc[at]))
    return pd.Series(found, rows.index, dtype=float, name="rate")


def steady_products(effects: pd.DataFrame, share: float = 0.25) -> pd.DataFrame:
    """Return whether delay times learning rate is constant for each network, as the law says.

    Parameters
    ----------
    effects
        Delays at several learning rates: the columns ``dataset``, ``widths``, ``first_rate`` and
        ``effect``.
    share
        How far each product may lie from the mean of its network, as a share of that mean.

    Returns
    -------
    pandas.DataFrame
        One row for each network with at least two rates: ``dataset``, ``widths``, ``product`` (the
        mean), ``farthest`` (largest distance from it, as a share) and ``steady``.

    >>> delays = pd.DataFrame({"first_rate": [0.01, 0.1], "effect": [300.0, 33.0]})
    >>> steady_products(delays.assign(dataset="wine", widths="13-8-8-3"))["steady"].tolist()
    [True]
    """
    numbers = ("first_rate", "effect")
    rows = checks.frame(
        "effects", effects, rows=False, numbers=numbers, texts=("dataset", "widths")
    )
    share = float(checks.number("share", share, 0.0))
    found = []
    for key, group in rows.groupby(["dataset", "widths"], sort=False):
        products = (group["first_rate"] * group["effect"]).to_numpy(float)
        if len(products) < 2:
            continue
        mean = products.mean()
        farthest = np.abs(products - mean).max() / abs(mean) if mean else np.inf
        row = dict(zip(("dataset", "widths"), key, strict=True))
        row |= {"product": mean, "farthest": farthest, "steady": bool(farthest <= share)}
        found.append(row)
    return pd.DataFrame(found, columns=["dataset", "widths", "product", "farthest", "steady"])


def beyond_the_law(effects: pd.DataFrame) -> pd.Series[Any]:
    """Return whether each delay is longer than the law of the plateau says.

    Where the second scheme's updates and the law's delay together exceed the training, it is if
    fewer than half of the runs of the first scheme reach the loss. Elsewhere the mean delay is
    compared if all runs reach it, and nothing is decided if they do not.

    Parameters
    ----------
    effects
        Result of :func:`initscope.analysis.paired_effects`, kind ``"difference"`` of steps, with a
        further column ``law``.

    Returns
    -------
    pandas.Series
        True, False or None, a row each.

    >>> case = {"effect": 300.0, "second": 150.0, "law": 500.0, "n_steps": 450, "n_seeds": 10}
    >>> runs = pd.DataFrame(case | {"unreached_first": [0, 6], "unreached_second": 0})
    >>> beyond_the_law(runs).tolist()
    [False, True]
    """
    numbers = ["effect", "second", "law", "n_steps", "n_seeds"]
    numbers += ["unreached_first", "unreached_second"]
    rows = checks.frame("effects", effects, rows=False, numbers=numbers)
    found: list[bool | None] = []
    for case in rows.itertuples():
        if case.second + case.law > case.n_steps:
            found.append(bool(2 * case.unreached_first > case.n_seeds))
        elif case.unreached_first or case.unreached_second:
            found.append(None)
        else:
            found.append(bool(case.effect > case.law))
    return pd.Series(found, rows.index, dtype=object, name="beyond")
