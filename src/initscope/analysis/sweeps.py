"""Put tables of sweeps into the tidy schema that all tables of the package share. No torch."""

from __future__ import annotations

import numpy as np
import pandas as pd

from initscope.claims import check_sweep
from initscope.schema import LAYER_STATISTICS

_TIDY_NAMES: dict[str, tuple[str, str]] = {
    "forward_variance": ("activation", "forward_variance"),
    "backward_variance": ("gradient", "backward_variance"),
    "gradient_norm": ("gradient", "norm"),
    "dead_fraction": ("activation", "dead_fraction"),
    "weight_std": ("weight", "std"),
}


def to_tidy(table: pd.DataFrame) -> pd.DataFrame:
    """Layer statistics of a sweep in the tidy schema, one row a number.

    Returns
    -------
    pandas.DataFrame
        The columns that say which run it is, then ``step, layer, role, kind, stat, value``;
        layers are counted from 1, the role is ``"linear"``.
    """
    which = ["dataset", "widths", "depth", "activation", "scheme", "std", "seed"]
    which += ["optimizer", "learning_rate", "momentum"]
    check_sweep(table, which, LAYER_STATISTICS)
    n_probes = table["probe_step"].map(len).to_numpy()
    depth = table["depth"].to_numpy()
    per_run = n_probes * depth
    tidy = table[which].loc[table.index.repeat(per_run)].reset_index(drop=True)
    tidy["step"] = np.concatenate(
        [np.repeat(s, d) for s, d in zip(table["probe_step"], depth, strict=True)]
    )
    tidy["layer"] = np.concatenate(
        [np.tile(np.arange(1, d + 1), n) for n, d in zip(n_probes, depth, strict=True)]
    )
    tidy["role"] = "linear"
    pieces = [
        tidy.assign(kind=kind, stat=stat, value=np.concatenate(table[name].to_list()))
        for name, (kind, stat) in _TIDY_NAMES.items()
    ]
    return pd.concat(pieces, ignore_index=True)
