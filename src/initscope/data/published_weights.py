"""Read what others measured of the weights of published models, from the folder of data.

The files are those of github.com/tiexinding/NPM-Weibull-public (T. Ding, arXiv:2605.18898 and
arXiv:2606.19367; CC BY 4.0), in the folder ``published_runs``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from initscope.data.folders import data_folder
from initscope.errors import UsageError, shown

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load_checkpoint_stds", "load_training_logs", "load_weibull_scales"]

FOLDER = "published_runs"

_RUN = re.compile(r"eta_(?P<lr>[\d.e-]+)_decay_(?P<decay>[\d.]+?)(_seed_(?P<seed>\d+))?(_sigma)?")


def load_weibull_scales() -> pd.DataFrame:
    """Load scale and shape of Weibull distributions fitted to public models, by component.

    Each was fitted to the absolute weights of a matrix between their 10th and 90th percentile;
    given is the median over the layers.

    Returns
    -------
    pandas.DataFrame
        A row a model and component: ``model``, ``component`` (qkv or q, k, v; o; ffn_in, ffn_out
        or gate, up, down), ``scale``, ``shape``. :func:`initscope.analysis.weibull_std` turns a
        scale into a std.

    Raises
    ------
    UsageError
        ``INITSCOPE_DATA`` is not set, or names a folder without these data.
    """
    import pandas as pd

    path = _file("weibull_scales.csv")
    try:
        wide = pd.read_csv(path)
        scales = [name for name in wide.columns if name.startswith("lambda_median_")]
        components = [name.removeprefix("lambda_median_") for name in scales]
        rows = [
            (row["entry_id"], component, float(row[scale]), float(row[f"k_median_{component}"]))
            for _, row in wide.iterrows()
            for scale, component in zip(scales, components, strict=True)
        ]
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(path, error) from error
    table = pd.DataFrame(rows, columns=["model", "component", "scale", "shape"])
    if not len(table):
        raise _unreadable(path, "no columns lambda_median_*")
    return table.dropna().reset_index(drop=True)


def load_checkpoint_stds() -> pd.DataFrame:
    """Load the std of Pythia 70M's weights through its public checkpoints.

    The weights are those of the attention output and of the two MLP matrices, all blocks together.

    Returns
    -------
    pandas.DataFrame
        One row a checkpoint: ``step``, ``std``, and ``scale`` of a Weibull distribution fitted to
        all these weights as in :func:`load_weibull_scales`.

    Raises
    ------
    UsageError
        ``INITSCOPE_DATA`` is not set, or names a folder without these data.
    """
    columns = {"step": "step", "sigma_obs": "std", "lambda_obs": "scale"}
    return _table(_file("pythia_70m_checkpoints.json"), columns)


def load_training_logs() -> pd.DataFrame:
    """Load the logs of training runs of models in the shape of Pythia 70M, on WikiText-103.

    The weights are those of the attention output and of the two MLP matrices, all blocks together.

    Returns
    -------
    pandas.DataFrame
        One row for each run and recorded update: ``run``, ``peak_lr``, ``weight_decay``, ``step``,
        ``std``. Some runs have ``scale`` and ``shape`` as in :func:`load_weibull_scales`; others
        the terms of the change of the squared norm in this update: ``alignment`` with the weights
        after it, ``length`` and ``decay``, all above 0. The squared norm grows by the first less
        the other two. What was not recorded is NaN.

    Raises
    ------
    UsageError
        ``INITSCOPE_DATA`` is not set, or names a folder without these data.
    """
    import pandas as pd

    folder = _file("runs_70m")
    terms = {"true_align_full": "alignment", "inj_full": "length", "dec_full": "decay"}
    tables = []
    for path in sorted(folder.glob("eta_*")):
        settings = _RUN.fullmatch(path.stem)
        if settings is None:
            raise _unreadable(path, "its name does not say rate and decay")
        of_scales = path.stem.endswith("_sigma")
        columns = {"sigma": "std", "lambda": "scale", "k": "shape"} if of_scales else {"rms": "std"}
        table = _table(path, {"step": "step"} | columns | ({} if of_scales else terms))
        table.insert(0, "run", path.stem.removesuffix("_sigma"))
        table.insert(1, "peak_lr", float(settings["lr"]))
        table.insert(2, "weight_decay", float(settings["decay"]))
        tables.append(table)
    if not tables:
        raise _unreadable(folder, "it holds no file eta_*")
    logs = pd.concat(tables, ignore_index=True)
    logs["alignment"] = -logs["alignment"]
    return logs


def _file(name: str) -> Path:
    """Return the path of a file of the published measurements; raise if it is not there."""
    data = data_folder()
    if data is None:
        raise UsageError(
            f"measurements of published models are not part of the package: set the environment "
            f"variable INITSCOPE_DATA to a folder that holds {FOLDER}/{name}."
        )
    path = data / FOLDER / name
    if not path.exists():
        raise UsageError(f"INITSCOPE_DATA={data} holds no {FOLDER}/{name}.")
    return path


def _table(path: Path, columns: dict[str, str]) -> pd.DataFrame:
    """Read columns of a list of JSON objects, or of one object a line, under other names."""
    import pandas as pd

    try:
        text = path.read_text(encoding="utf-8")
        lines = path.suffix == ".jsonl"
        rows: Any = [json.loads(line) for line in text.splitlines()] if lines else json.loads(text)
        table = pd.DataFrame([[float(row[key]) for key in columns] for row in rows])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(path, error) from error
    if not len(table):
        raise _unreadable(path, "it has no rows")
    table.columns = pd.Index(columns.values())
    return table.astype({"step": int})


def _unreadable(path: Path, reason: object) -> UsageError:
    """Return the error for a file that is not what it should be."""
    if isinstance(reason, KeyError):
        reason = f"no {reason}"
    return UsageError(f"cannot read the measurements in {shown(str(path))}: {reason}.")
