"""How far networks lie from a theory, layer by layer: in shares, in standard errors, in bands."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from initscope import checks
from initscope.analysis.extremes import row_of_largest

__all__ = ["deviations", "worst_deviations"]


def deviations(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the deviation of networks from theory, in every layer whose values vary.

    Parameters
    ----------
    tables
        Results of :func:`initscope.monte_carlo.against_theory` with an interval, by name.

    Returns
    -------
    pandas.DataFrame
        One row a table, direction and layer: ``networks`` (the name), ``direction``, ``layer``,
        ``off``, the mean over theory less 1; ``errors``, the same in standard errors of the mean;
        ``median``, the median over theory; ``inside``, the share of the networks in the band.
        Layers whose band is a point, such as a given input, are left out.

    >>> layer = {"direction": ["forward"], "layer": 1, "mean": 2.5, "median": 1.5, "theory": 2.0}
    >>> band = {"standard_error": 0.25, "low": 1.0, "high": 3.0, "inside": 0.9}
    >>> deviations({"relu": pd.DataFrame(layer | band)})[["off", "errors"]].to_dict("records")
    [{'off': 0.25, 'errors': 2.0}]
    """
    checks.mapping("tables", tables, "tables by name")
    found = []
    for name, table in tables.items():
        numbers = ("layer", "mean", "median", "standard_error", "theory", "low", "high", "inside")
        checks.frame("tables", table, rows=False, numbers=numbers, texts=("direction",))
        random = table[table["low"] < table["high"] * (1 - 1e-9)]
        off = random["mean"] - random["theory"]
        found.append(
            pd.DataFrame(
                {
                    "networks": name,
                    "direction": random["direction"],
                    "layer": random["layer"],
                    "off": off / random["theory"],
                    "errors": off / random["standard_error"],
                    "median": random["median"] / random["theory"],
                    "inside": random["inside"],
                }
            )
        )
    columns = ["networks", "direction", "layer", "off", "errors", "median", "inside"]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=columns)


def worst_deviations(table: pd.DataFrame) -> pd.DataFrame:
    """Return the largest deviation, and its layer, of each set of networks and direction.

    Parameters
    ----------
    table
        Result of :func:`deviations`.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``networks`` and ``direction``: ``off``, the largest in size, without its sign;
        ``layer`` and ``errors`` of the same row; ``inside`` and ``inside_least``, the share in
        the band, mean over the layers and least of any.

    >>> rows = {"layer": [1, 2], "off": [0.1, -0.3], "errors": [1.0, -2.0], "inside": [0.9, 0.8]}
    >>> found = worst_deviations(pd.DataFrame(rows).assign(networks="relu", direction="forward"))
    >>> found.loc[("relu", "forward"), ["off", "layer", "errors"]].to_list()
    [0.3, 2.0, 2.0]
    """
    numbers = ("layer", "off", "errors", "inside")
    checks.frame("table", table, numbers=numbers, texts=("networks", "direction"))
    rows = {}
    for key, part in table.groupby(["networks", "direction"], sort=False):
        worst = row_of_largest(part, "off", of_size=True)
        rows[key] = {
            "off": abs(worst["off"]),
            "layer": worst["layer"],
            "errors": abs(worst["errors"]),
            "inside": part["inside"].mean(),
            "inside_least": part["inside"].min(),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["networks", "direction"])
