"""Hold variances measured in random networks against theory."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from initscope import checks
from initscope.checks import (
    require,
    require_name,
)
from initscope.errors import shown
from initscope.monte_carlo.draws import DIRECTIONS
from initscope.theory import Propagation, WidthInterval

__all__ = ["against_theory"]


def against_theory(
    profiles: pd.DataFrame, theory: Propagation, interval: WidthInterval | None = None
) -> pd.DataFrame:
    """Put measured variances beside those of infinite width and the finite-width band.

    Parameters
    ----------
    profiles
        Result of :func:`variance_profiles`.
    theory
        Result of :func:`initscope.theory.propagate`, for one network.
    interval
        Result of :func:`initscope.theory.finite_width_interval`, for one network.

    Returns
    -------
    pandas.DataFrame
        One row a direction and layer, with columns ``direction``, ``layer``, ``theory``; over the
        networks ``mean``, its ``standard_error``, ``median``, ``p2.5`` and ``p97.5`` (percentiles);
        ``ratio``, mean over theory; and with an interval ``low``, ``high`` and ``inside``, the
        share of networks between them, both included.

    Examples
    --------
    >>> from initscope import monte_carlo, theory
    >>> profiles = monte_carlo.variance_profiles([8] * 4, networks=10)
    >>> against_theory(profiles, theory.propagate([8] * 4, "relu", "kaiming")).columns.tolist()[:4]
    ['direction', 'layer', 'theory', 'mean']
    """
    checks.frame("profiles", profiles, numbers=["layer", "value"], texts=["direction"])
    _check_propagation("theory", theory, profiles)
    if interval is not None:
        require(
            isinstance(interval, WidthInterval),
            f"interval must come from finite_width_interval, not {shown(interval)}.",
        )
        for part in interval:
            _check_propagation("interval", part, profiles)
    groups = profiles.groupby(["direction", "layer"])["value"]
    table = pd.DataFrame(
        {
            "mean": groups.mean(),
            "standard_error": groups.std() / np.sqrt(groups.size()),
            "median": groups.median(),
            "p2.5": groups.quantile(0.025),
            "p97.5": groups.quantile(0.975),
        }
    )

    def by_row(part: Propagation) -> list[float]:
        return [float(getattr(part, direction)[layer]) for direction, layer in table.index]

    table.insert(0, "theory", by_row(theory))
    table["ratio"] = table["mean"] / table["theory"]
    if interval is not None:
        table["low"], table["high"] = by_row(interval.low), by_row(interval.high)
        rows = profiles.set_index(["direction", "layer"])["value"]
        # Layer 0 and the output are fixed: there the band has no width but rounding.
        low = table["low"].reindex(rows.index).to_numpy() * (1 - 1e-9)
        high = table["high"].reindex(rows.index).to_numpy() * (1 + 1e-9)
        within = pd.Series((rows >= low) & (rows <= high), rows.index)
        table["inside"] = within.groupby(level=[0, 1]).mean()
    order = [*itertools.product(DIRECTIONS, sorted(profiles["layer"].unique()))]
    return table.loc[order].reset_index()


def _check_propagation(name: str, given: object, profiles: pd.DataFrame) -> None:
    """Raise unless `given` holds the layers of `profiles`, of one network."""
    for direction in profiles["direction"].unique():
        require_name("direction in the table profiles", direction, DIRECTIONS)
    layers = profiles["layer"]
    require(
        len(profiles[["direction", "layer"]].drop_duplicates()) == 2 * layers.nunique(),
        "the table profiles must have every layer in both directions.",
    )
    require(
        bool(((layers >= 0) & (layers == np.floor(layers))).all()),
        "the column layer of the table profiles must hold whole numbers from 0 on.",
    )
    require(
        isinstance(given, Propagation)
        and all(np.ndim(part) == 1 and len(part) > layers.max() for part in given),
        f"{name} must be that of one network with the layers of profiles, not {shown(given)}.",
    )
