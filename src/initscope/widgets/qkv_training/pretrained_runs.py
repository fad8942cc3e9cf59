"""Runs of :func:`initscope.pretrain.pretrain` as a widget shows them, with what theory predicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from initscope.analysis.noise import predicted_std
from initscope.checks import require
from initscope.schema import COLUMNS
from initscope.widgets.qkv_training.runs import RecordedRun, recorded_run, std_table

__all__ = ["adamw_prediction"]

if TYPE_CHECKING:
    from initscope.pretrain.records import PretrainRecord


def adamw_prediction(
    frame: pd.DataFrame,
    lr: Sequence[float] | np.ndarray | pd.Series,
    weight_decay: float,
    betas: tuple[float, float],
    *,
    snr: float = 0.0,
    diffusion: float = 1.0,
    alignment: float = 0.0,
) -> pd.DataFrame:
    """Return the std of each weight matrix at the recorded steps, as AdamW theory has it.

    Each matrix starts from its measured std at the first recorded step; nothing else of the run
    enters but its learning rates. The defaults of `snr`, `diffusion` and `alignment` say that
    gradients are noise, independent from step to step and of the weights.

    Parameters
    ----------
    frame
        The measured run: columns ``step, layer, role, kind, stat, value``, of which the rows with
        kind `weight` and stat `std` are used.
    lr, weight_decay, betas, snr, diffusion, alignment
        As in :func:`initscope.analysis.predicted_std`.

    Returns
    -------
    pandas.DataFrame
        The same columns and as many rows as were measured; ``attrs["adamw"]`` holds the arguments.

    Raises
    ------
    UsageError
        No std in `frame`, or fewer learning rates than steps.
    """
    theory = {"snr": snr, "diffusion": diffusion, "alignment": alignment}
    std = std_table(frame)
    predicted = predicted_std(std, lr, weight_decay, betas, **theory)
    rows = predicted.stack(future_stack=True).rename("value").reset_index()  # noqa: PD013
    rows = rows.assign(kind="weight", stat="std")[list(COLUMNS)]
    rows.attrs["adamw"] = {"weight_decay": weight_decay, "betas": list(betas), **theory}
    return rows


def pretrained_run(
    label: str, folder: Path, record: PretrainRecord, roles: Sequence[str]
) -> RecordedRun:
    """Return a run of :func:`initscope.pretrain.pretrain`, with the prediction for it."""
    from initscope.pretrain.spec import PretrainSpec

    run = record.run
    spec = PretrainSpec.from_dict(run["spec"])
    frame = record.variances
    require(
        "weight" in spec.track_quantities and len(frame) > 0,
        f"{folder} holds a run whose weights were not tracked: there is nothing to show.",
    )
    wanted = frame[frame["role"].isin(roles)]
    predictions = None
    if len(wanted):
        predictions = adamw_prediction(wanted, spec.learning_rates(), spec.weight_decay, spec.betas)
    ending = ""
    if run["status"] == "diverged":
        ending = f"The run diverged at step {run['diverged_step']:,}."
    elif run["status"] != "finished":
        ending = f"The record ends at step {frame['step'].max():,} of {spec.steps:,}."
    return recorded_run(
        frame,
        record.histograms,
        predictions,
        roles=roles,
        label=label,
        folder=folder.as_posix(),
        ending=ending,
    )
