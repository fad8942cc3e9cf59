"""What a pretraining run costs, before it is run: parameters, tokens, operations, disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from initscope.checks import result_folder
from initscope.pretrain.checkpoints import (
    BYTES_PER_PARAMETER,
    CHECKPOINTS_KEPT,
    checkpoints,
    require_disk_space,
)
from initscope.pretrain.plan import check_pretraining, plan_training
from initscope.pretrain.records import check_same_run, read_run, record_folder
from initscope.pretrain.spec import PretrainSpec
from initscope.sweep.cost import format_duration, format_flops


@dataclass(frozen=True)
class PretrainCost:
    """Work that is left of a pretraining run, and what was recorded of the part that is done.

    Attributes
    ----------
    parameters
        Of the model.
    steps, steps_left
        Updates of the whole run, and those that no checkpoint holds.
    tokens_per_step
        Of one update.
    flops_left
        Floating-point operations of the updates that are left, without evaluations.
    checkpoint_bytes
        Of the checkpoints that are kept.
    seconds_recorded
        Seconds of training so far, as ``run.json`` says.
    """

    parameters: int
    steps: int
    steps_left: int
    tokens_per_step: int
    flops_left: int
    checkpoint_bytes: int
    seconds_recorded: float

    def __str__(self) -> str:
        done = self.steps - self.steps_left
        recorded = f" Those made took {format_duration(self.seconds_recorded)}." if done else ""
        return (
            f"{self.parameters:,} parameters, {self.steps:,} steps of {self.tokens_per_step:,} "
            f"tokens, {self.steps_left:,} of them to be made: {format_flops(self.flops_left)}."
            f"{recorded}\nCheckpoints: {self.checkpoint_bytes / 1e6:,.0f} MB."
        )


def pretrain_cost(
    spec: PretrainSpec,
    out: str | Path,
    *,
    device: str | None = None,
    precision: str | None = None,
    micro_batch_size: int | None = None,
    compile: bool | None = None,
) -> PretrainCost:
    """Count what is left to do of `spec` where `out` holds what is kept; write nothing.

    No model is built and nothing is timed; the texts are looked for, not read.

    Parameters
    ----------
    spec, out, device, precision, micro_batch_size, compile
        As for :func:`initscope.pretrain.pretrain`.

    Raises
    ------
    UsageError
        As `pretrain`: another specification in `out`, no space, a device that is not there.
    """
    folder = Path(out)
    check_pretraining(spec, device, precision, micro_batch_size)
    result_folder("out folder", folder)
    plan_training(spec, device, precision, micro_batch_size, compile, None)
    check_same_run(folder, spec.to_dict())
    kept = checkpoints(folder, spec.digest)
    parameters, flops_per_token = spec.count_parameters()
    require_disk_space(folder, parameters, len(kept))
    run = read_run(record_folder(folder))
    ended = run is not None and run["status"] in ("finished", "diverged")
    done = int(kept[0].name.partition("-")[2]) if kept else 0
    left = 0 if ended else spec.steps - done
    return PretrainCost(
        parameters=parameters,
        steps=spec.steps,
        steps_left=left,
        tokens_per_step=spec.tokens_per_step,
        flops_left=left * spec.tokens_per_step * flops_per_token,
        checkpoint_bytes=BYTES_PER_PARAMETER * parameters * CHECKPOINTS_KEPT,
        seconds_recorded=0.0 if run is None else float(run["seconds"]),
    )
