"""Read tables of sweeps: what their columns say, checked, and their numbers in the tidy schema."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from initscope import checks
from initscope.checks import require
from initscope.errors import UsageError, shown
from initscope.schema import LAYER_STATISTICS

__all__ = ["COMPARED", "CONFIGURATION", "nearest", "short_widths", "to_tidy", "widths_of"]

CONFIGURATION = [
    *("dataset", "widths", "depth", "activation", "optimizer", "learning_rate"),
    *("momentum", "batch_size", "n_train", "epochs"),
]
"""Columns of a sweep that, with the scheme, its std and the seed, identify a run."""

COMPARED = [
    column
    for column in CONFIGURATION
    if column not in ("learning_rate", "batch_size", "n_train", "epochs")
]
"""Columns of :data:`CONFIGURATION` in which two schemes that are compared agree.

The learning rate is not among them, since each scheme may be taken at its own best, nor is the
length of training, which a table of measures gives as ``n_steps``.
"""

_TEXTS = frozenset({"dataset", "widths", "activation", "scheme", "optimizer"})
STEPS_OF = {
    "loss": "loss_step",
    **dict.fromkeys(("forward_variance", "backward_variance", "gradient_norm"), "probe_step"),
    **dict.fromkeys(("dead_fraction", "weight_std"), "probe_step"),
}
"""Columns with a list in each row, to the column that says of which steps it is."""

_TIDY_NAMES: dict[str, tuple[str, str]] = {
    "forward_variance": ("activation", "forward_variance"),
    "backward_variance": ("gradient", "backward_variance"),
    "gradient_norm": ("gradient", "norm"),
    "dead_fraction": ("activation", "dead_fraction"),
    "weight_std": ("weight", "std"),
}


def check_sweep(table: object, columns: Sequence[str], lists: Sequence[str] = ()) -> pd.DataFrame:
    """Return `table` if it has `columns` as :func:`initscope.sweep.run_sweep` fills them.

    `lists` are those of :data:`STEPS_OF` that are needed too, a list in each row.
    """
    columns = list(dict.fromkeys([*columns, *(["depth"] if set(lists) - {"loss"} else [])]))
    runs = checks.frame(
        "table",
        table,
        [column for column in columns if column == "diverged_step"],
        numbers=[c for c in columns if c not in _TEXTS and c != "diverged_step"],
        texts=[column for column in columns if column in _TEXTS],
    )
    if "widths" in columns:
        require(
            bool(runs["widths"].str.fullmatch(r"[1-9][0-9]{0,8}(-[1-9][0-9]{0,8})+").all()),
            "the column widths of the table must hold text like '784-256-10'.",
        )
    if "batch_size" in columns and "n_train" in columns:
        require(
            bool((runs["batch_size"] >= 1).all() and (runs["n_train"] >= runs["batch_size"]).all()),
            "the table must have a batch_size of 1 to n_train in every row.",
        )
    if "diverged_step" in columns:
        steps = runs["diverged_step"]
        require(
            pd.api.types.is_numeric_dtype(steps) or bool(steps.isna().all()),
            "the column diverged_step of the table must hold numbers.",
        )
    if lists:
        require(
            runs.index.is_unique,
            "the table has rows of one index twice: put tables together with ignore_index=True.",
        )
    for name in lists:
        checks.number_lists("table", runs, STEPS_OF[name])
        checks.number_lists("table", runs, name)
        each = 1 if name == "loss" else runs["depth"]
        require(
            bool((runs[name].map(len) == runs[STEPS_OF[name]].map(len) * each).all()),
            f"the column {name} of the table must have a number for each step of "
            f"{STEPS_OF[name]}{'' if name == 'loss' else ' and each layer'}.",
        )
    return runs


def to_tidy(table: pd.DataFrame) -> pd.DataFrame:
    """Return the layer statistics of a sweep in the tidy schema, one row a number.

    Returns
    -------
    pandas.DataFrame
        The columns that say which run it is, then ``step, layer, role, kind, stat, value``;
        layers are counted from 1, the role is ``"linear"``.

    Examples
    --------
    >>> from initscope.sweep import SweepSpec, run_sweep
    >>> spec = SweepSpec(schemes=("xavier", "kaiming"), seeds=2, epochs=2)
    >>> table = run_sweep(spec, progress=False)
    >>> to_tidy(table).columns.tolist()[-3:]
    ['kind', 'stat', 'value']
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


def widths_of(name: str) -> list[int]:
    """Return the layer widths that the column ``widths`` of a sweep names.

    >>> widths_of("784-256-128-10")
    [784, 256, 128, 10]
    """
    checks.text("name", name)
    try:
        return [int(width) for width in name.split("-")]
    except ValueError:
        raise UsageError(
            f"the name of widths is like '784-256-128-10', not {shown(name)}."
        ) from None


def short_widths(widths: str) -> str:
    """Return the widths of a network in short: equal hidden layers are counted.

    >>> short_widths("784-128-128-128-10")
    '784-128×3-10'
    """
    sizes = checks.text("widths", widths).split("-")
    require(len(sizes) > 1, f"widths are like '784-256-128-10', not {shown(widths)}.")
    runs = [(size, len(list(same))) for size, same in itertools.groupby(sizes[1:-1])]
    hidden = [f"{size}×{count}" if count > 1 else size for size, count in runs]
    return "-".join([sizes[0], *hidden, sizes[-1]])


def nearest(values: pd.Series, wanted: Sequence[float]) -> list[float]:
    """Return the stds of a grid nearest, on a log axis, to those wanted; each once.

    >>> nearest(pd.Series([0.01, 0.1, 1.0]), [0.02, 0.09, 0.11])
    [0.01, 0.1]
    """
    require(
        isinstance(values, pd.Series) and pd.api.types.is_numeric_dtype(values.dtype),
        f"values must be a Series of numbers, not {shown(values)}.",
    )
    stds = checks.positive("the stds wanted", wanted)
    require(stds.ndim == 1 and stds.size > 0, "the stds wanted must be a list of numbers.")
    grid = np.sort(values.unique())
    require(len(grid) > 0 and grid[0] > 0, "values must be stds above 0, at least one.")
    each = (float(grid[np.abs(np.log(grid / w)).argmin()]) for w in stds.tolist())
    return list(dict.fromkeys(each))
