"""What a pretraining run costs, before it is run: parameters, tokens, disk, time here."""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from initscope.checks import result_folder
from initscope.data.text_sources import is_on_hub
from initscope.devices import peak_flops
from initscope.pretrain.records import (
    BYTES_PER_PARAMETER,
    CHECKPOINTS_KEPT,
    checkpoints,
    implementation,
    read_run,
    record_folder,
    refuse_another,
    require_space,
)
from initscope.pretrain.run import PretrainSpec, plan_training
from initscope.pretrain.spec import check_pretraining
from initscope.sweep.cost import duration


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
        size = _size(
            self.parameters,
            self.steps,
            self.tokens_per_step,
            self.steps_left,
            self.checkpoint_bytes,
        )
        return f"{size}\n{self._time()}"

    def _time(self) -> str:
        used = "" if self.utilization is None else f", {self.utilization:.1%} MFU"
        return (
            f"Time: about {duration(self.seconds)} at {self.tokens_per_second:,.0f} tokens/s"
            f"{used}, as measured here on a few passes."
        )


def _size(parameters: int, steps: int, tokens: int, left: int, checkpoint_bytes: int) -> str:
    """What is known of the cost before anything is measured."""
    return (
        f"{parameters:,} parameters, {steps:,} steps of {tokens:,} tokens, {left:,} of them to be "
        f"made.\nCheckpoints: {checkpoint_bytes / 1e6:,.0f} MB."
    )


PROBE_FLOPS = 1e11
"""Operations of a pass that is timed on a CPU, at most: seconds on a slow one. A pass of 124m has
a hundred times as many."""

FEWEST_TOKENS = 16
"""Of a pass that is timed, however large the model is."""


def pretrain_cost(
    spec: PretrainSpec,
    out: str | Path,
    *,
    device: str | None = None,
    precision: str | None = None,
    micro_batch_size: int | None = None,
    compile: bool | None = None,
    probe_seconds: float = 5.0,
    say: Callable[[str], object] | None = None,
) -> PretrainCost:
    """What is left to do of `spec` where `out` holds what is kept; writes nothing.

    Passes on random tokens are timed for about `probe_seconds`, or two if they take longer; on a
    CPU, a pass of a large model has fewer tokens than in training. The texts are looked for, not
    read.

    Parameters
    ----------
    spec, out, device, precision, micro_batch_size, compile
        As for :func:`initscope.pretrain.pretrain`.
    probe_seconds
        About how long to measure, after the first pass.
    say
        Called with what is known as soon as it is: the sizes before anything is measured, a line
        that says what is measured, and the time.

    Raises
    ------
    UsageError
        As `pretrain`: another specification in `out`, no space, a device that is not there.
    """
    tell = say or (lambda _: None)
    check_pretraining(spec, device, precision, micro_batch_size)
    result_folder("out folder", Path(out))
    plan = plan_training(spec, device, precision, micro_batch_size, compile, None)
    folder = Path(out)
    refuse_another(folder, spec.to_dict())
    kept = checkpoints(folder, spec.digest)
    parameters, flops_per_token = spec.count_parameters()
    require_space(folder, parameters, len(kept))
    run = read_run(record_folder(folder))
    ended = run is not None and run["status"] in ("finished", "diverged")
    done = int(kept[0].name.partition("-")[2]) if kept else 0
    left = 0 if ended else spec.steps - done

    checkpoint_bytes = BYTES_PER_PARAMETER * parameters * CHECKPOINTS_KEPT
    tell(_size(parameters, spec.steps, spec.tokens_per_step, left, checkpoint_bytes))
    for source in filter(is_on_hub, spec.text):
        tell(f"The text {source} is on the Hugging Face hub, which is not asked for it now.")
    shape = (plan.micro_batch_size, spec.context)
    if plan.device == "cpu":
        fitting = max(FEWEST_TOKENS, int(PROBE_FLOPS / flops_per_token))
        if fitting < spec.context:
            shape = (1, fitting)
        else:
            shape = (min(plan.micro_batch_size, fitting // spec.context), spec.context)
    tell(
        f"Measuring the time: passes of {math.prod(shape):,} tokens, for about "
        f"{probe_seconds:.0f} s after the model is built and the first pass made ..."
    )
    model = spec.build_model(implementation(run, kept)["activation"])
    cast(torch.nn.Module, model).to(plan.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, fused=True)
    step = torch.compile(model) if plan.compile else model
    tokens = torch.randint(spec.vocab_size, shape, device=plan.device)
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
    times = [both()]
    while sum(map(sum, times)) < probe_seconds:
        times.append(both())
    of_pass, of_update = map(statistics.median, zip(*times, strict=True))
    # One update follows all passes of a batch, of which the ones here may have been a part.
    of_batch = spec.tokens_per_step / plan.processes
    rate = of_batch / (of_pass * of_batch / tokens.numel() + of_update)
    name = torch.cuda.get_device_name() if plan.device == "cuda" else "CPU"
    peak = peak_flops(name, plan.precision)
    cost = PretrainCost(
        parameters=parameters,
        steps=spec.steps,
        steps_left=left,
        tokens_per_step=spec.tokens_per_step,
        checkpoint_bytes=checkpoint_bytes,
        tokens_per_second=rate,
        utilization=None if peak is None else rate * flops_per_token / peak,
        seconds=left * spec.tokens_per_step / (rate * plan.processes),
    )
    tell(cost._time())
    return cost
