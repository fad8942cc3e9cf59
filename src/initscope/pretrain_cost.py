"""What a pretraining run costs, before it is run: parameters, tokens, disk, time here."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from initscope.pretrain import PretrainSpec, plan_training
from initscope.pretrain_records import (
    BYTES_PER_PARAMETER,
    CHECKPOINTS_KEPT,
    checkpoints,
    implementation,
    read_run,
    record_folder,
    refuse_another,
    require_space,
)
from initscope.sweep_cost import duration
from initscope.throughput import peak_flops, training_flops_per_token


@dataclass(frozen=True)
class PretrainCost:
    """What is left to do of a pretraining run.

    Attributes
    ----------
    parameters
        Of the model.
    steps, steps_left
        Updates of the whole run, and those that no checkpoint holds.
    tokens_per_step
        Of one update.
    checkpoint_bytes
        Of the checkpoints that are kept.
    tokens_per_second
        On one device such as this, as measured on a few passes.
    utilization
        Share of the device's peak, or None where the peak is not known.
    seconds
        Time that is left, without evaluations and checkpoints.
    """

    parameters: int
    steps: int
    steps_left: int
    tokens_per_step: int
    checkpoint_bytes: int
    tokens_per_second: float
    utilization: float | None
    seconds: float

    def __str__(self) -> str:
        used = "" if self.utilization is None else f", {self.utilization:.1%} MFU"
        return "\n".join(
            [
                f"{self.parameters:,} parameters, {self.steps:,} steps of "
                f"{self.tokens_per_step:,} tokens, {self.steps_left:,} of them to be made.",
                f"Checkpoints: {self.checkpoint_bytes / 1e6:,.0f} MB.",
                f"Time: about {duration(self.seconds)} at {self.tokens_per_second:,.0f} tokens/s"
                f"{used}, as measured here on a few passes.",
            ]
        )


def pretrain_cost(
    spec: PretrainSpec,
    out: str | Path,
    *,
    device: str | None = None,
    precision: str | None = None,
    micro_batch_size: int | None = None,
    compile: bool | None = None,
    probe_seconds: float = 5.0,
) -> PretrainCost:
    """What is left to do of `spec` where `out` holds what is kept; writes nothing.

    Passes on random tokens are timed for about `probe_seconds`, or three if they take longer; the
    text is not read.

    Parameters
    ----------
    spec, out, device, precision, micro_batch_size, compile
        As for :func:`initscope.pretrain.pretrain`.
    probe_seconds
        About how long to measure, after the first pass.

    Raises
    ------
    UsageError
        As `pretrain`: another specification in `out`, no space, a device that is not there.
    """
    plan = plan_training(spec, device, precision, micro_batch_size, compile, None)
    folder = Path(out)
    refuse_another(folder, spec.to_dict())
    kept = checkpoints(folder, spec.digest)
    parameters, _ = spec.count_parameters()
    require_space(folder, parameters, len(kept))
    run = read_run(record_folder(folder))
    ended = run is not None and run["status"] in ("finished", "diverged")
    done = int(kept[0].name.partition("-")[2]) if kept else 0
    left = 0 if ended else spec.steps - done

    model = spec.build_model(implementation(run, kept)["activation"])
    cast(torch.nn.Module, model).to(plan.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, fused=True)
    step = torch.compile(model) if plan.compile else model
    tokens = torch.randint(
        spec.vocab_size, (plan.micro_batch_size, spec.context), device=plan.device
    )
    context = (
        torch.autocast(plan.device, torch.bfloat16)
        if plan.precision == "bfloat16"
        else contextlib.nullcontext()
    )

    def forward_and_backward() -> None:
        with context:
            loss = step(input_ids=tokens, labels=tokens).loss
        loss.backward()

    def update() -> None:
        optimizer.step()
        optimizer.zero_grad()

    def seconds(part: Callable[[], None]) -> float:
        start = time.perf_counter()
        part()
        if plan.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def both() -> tuple[float, float]:
        return seconds(forward_and_backward), seconds(update)

    both()  # the first allocates and compiles
    times = [both() for _ in range(3)]
    while sum(map(sum, times)) < probe_seconds:
        times.append(both())
    of_pass, of_update = map(statistics.median, zip(*times, strict=True))
    # One update may follow several passes.
    rate = tokens.numel() / (of_pass + of_update / plan.accumulated)
    name = torch.cuda.get_device_name() if plan.device == "cuda" else "CPU"
    peak = peak_flops(name, plan.precision)
    return PretrainCost(
        parameters=parameters,
        steps=spec.steps,
        steps_left=left,
        tokens_per_step=spec.tokens_per_step,
        checkpoint_bytes=BYTES_PER_PARAMETER * parameters * CHECKPOINTS_KEPT,
        tokens_per_second=rate,
        utilization=None if peak is None else rate * training_flops_per_token(model) / peak,
        seconds=left * spec.tokens_per_step / (rate * plan.processes),
    )
