"""GPT-2 trained from scratch, its weight matrices followed all the way; resumable.

>>> spec = PretrainSpec(text="stdlib", preset="nano12", n_layer=2, steps=4)
>>> spec.tokenizer, spec.context, spec.learning_rate
('bytes', 128, 0.001)

``pretrain(spec, "out")`` trains it. Under ``torchrun --nproc-per-node N`` it trains on N devices.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from tqdm import tqdm

from initscope.checks import is_number, require, require_name, result_folder, whole
from initscope.data.passages import Passages, ShuffledPassages
from initscope.data.text import Text, load_text
from initscope.data.text_sources import is_on_hub
from initscope.devices import PRECISIONS, check_device, check_device_name, environment, peak_flops
from initscope.errors import (
    OutOfResources,
    UsageError,
    given,
    lack_of_resources,
    shown,
)
from initscope.folder_lock import only_writer
from initscope.memory import require_memory
from initscope.models.gpt import training_flops_per_token
from initscope.pretrain.records import (
    CHECKPOINTS_KEPT,
    RECORD_FORMAT,
    PretrainRecord,
    checkpoint_folder,
    checkpoints,
    implementation,
    read_record,
    read_run,
    record_folder,
    refuse_another,
    remove_broken_checkpoints,
    require_space,
    sound_checkpoints,
    write_logs,
    write_run,
)
from initscope.pretrain.spec import (
    PRETRAIN_ACTIVATIONS,
    PretrainSpec,
    learning_rate_factor,
    vocabulary_too_small,
)
from initscope.tracking import VarianceCallback

__all__ = [
    "PretrainInterrupted",
    "PretrainRecord",
    "PretrainSpec",
    "outcome_in_words",
    "pretrain",
    "read_record",
]

T = TypeVar("T")
TOKENS_AT_ONCE = 16 * 1024
"""In one forward and backward pass on a GPU, unless told otherwise."""

LOGITS_AT_ONCE = 2**27
"""Numbers that the model puts out in one pass on a CPU, unless told otherwise: half a gigabyte in
float32, of which a pass holds several copies."""


class PretrainInterrupted(KeyboardInterrupt):
    """Ctrl-C in training; the message says what is kept."""


def load_spec_text(spec: PretrainSpec) -> Text:
    """The text of a specification; `UsageError` if it does not fit the model or the context."""
    # Of the hub as much as the training takes, so that it sees nothing twice.
    wanted = spec.steps * spec.tokens_per_step if any(map(is_on_hub, spec.text)) else None
    text = load_text(spec.text, spec.tokenizer, max_tokens=wanted)
    if text.vocab_size > spec.vocab_size:
        raise vocabulary_too_small(spec, text.vocab_size)
    Passages(text.train, spec.context, f"the training split of {text.name}")
    Passages(text.validation, spec.context, f"the validation split of {text.name}")
    return text


def pretrain(
    spec: PretrainSpec,
    out: str | Path,
    max_seconds: float | None = None,
    *,
    device: str | None = None,
    precision: str | None = None,
    micro_batch_size: int | None = None,
    compile: bool | None = None,
    checkpoint_every: int | None = None,
    report_to: str = "none",
    progress: bool = True,
) -> PretrainRecord:
    """Train a GPT-2 from scratch and follow its weight matrices, with the transformers `Trainer`.

    Stopped or killed at any time, the same call goes on from the last whole checkpoint. What it
    has tracked in the end equals what it would have tracked undisturbed, exactly on a CPU with the
    same number of threads. Finished, it reads the record and trains nothing.

    A checkpoint that is damaged is passed over, and said so: training goes on from the one before
    it, or from the start.

    In `out` there are the folders ``record``, which is small, and ``checkpoints``: see
    :mod:`initscope.pretrain.records`. The last two checkpoints are kept.

    Started by ``torchrun``, each process trains on its share of the batch (DDP), and the first
    one writes.

    Parameters
    ----------
    spec
        What to train.
    out
        Folder of the record and of the checkpoints; ``torchrun`` on several machines needs one that
        all of them see.
    max_seconds
        After so many seconds a checkpoint is written at the next step that is logged, and training
        stops; call again to go on.
    device
        ``"cpu"`` or ``"cuda"``; by default the GPU if there is one.
    precision
        ``"bfloat16"`` (autocast; weights and optimizer stay float32) or ``"float32"``; by default
        bfloat16 on a GPU that has it.
    micro_batch_size
        Passages in one forward and backward pass of a process; the gradients of
        ``batch_size / (processes * micro_batch_size)`` passes are accumulated. By default, on a
        GPU, so many that a pass has at most 16,384 tokens, and on a CPU, so many that its logits
        take at most half a gigabyte.
    compile
        Whether the model is compiled by ``torch.compile``; by default on a GPU.
    checkpoint_every
        Updates between checkpoints, rounded up to a multiple of `spec.log_every`; by default a
        twentieth of the steps.
    report_to
        Loggers of the Trainer, for example ``"tensorboard"``; the variances go there too.
    progress
        Show a progress bar with loss, tokens per second and model FLOPs utilization;
        :func:`outcome_in_words` has a line of what came out.

    Returns
    -------
    PretrainRecord
        ``run["status"]`` says whether it finished, was stopped by `max_seconds`, or diverged: a
        loss that is not finite ends the training, the last good checkpoint stays, and so does
        what was recorded.

    Raises
    ------
    UsageError
        Before training: a text that is missing or shorter than the context; a tokenizer that does
        not fit the model; a folder with a run of another specification or text, or one that another
        process is training in; a record that is damaged; no space for the checkpoints; a GPU that
        is not there; a batch that cannot be split so. In training: a GPU without enough memory.
    OutOfResources
        Not enough memory, a full disk, a limit on files; the message says what is kept.
    PretrainInterrupted
        Ctrl-C; the checkpoints are kept.
    """
    folder = Path(out)
    result_folder("out folder", folder)
    spec.require_room(device)
    plan = plan_training(spec, device, precision, micro_batch_size, compile, checkpoint_every)
    require(
        max_seconds is None or is_number(max_seconds, 0),
        f"max_seconds must be a number of at least 0, or None, not {given(max_seconds)}",
    )
    refuse_another(folder, spec.to_dict())
    if _has_ended(read_run(record_folder(folder))):
        return read_record(folder)
    with _random_state_kept(), _quiet_transformers(), contextlib.ExitStack() as held:
        try:
            _train(spec, folder, plan, held, max_seconds, report_to, progress)
        except UsageError:
            raise
        except Exception as error:
            if not (lacking := lack_of_resources(error)):
                raise
            raise OutOfResources(f"{lacking} {_what_is_kept(folder, spec)}") from error
        return read_record(folder)


@dataclass(frozen=True)
class TrainingPlan:
    """How a specification is trained on this machine; see :func:`pretrain`."""

    device: str
    precision: str
    micro_batch_size: int
    accumulated: int
    compile: bool
    checkpoint_every: int
    processes: int


def plan_training(
    spec: PretrainSpec,
    device: str | None,
    precision: str | None,
    micro_batch_size: int | None,
    compile: bool | None,
    checkpoint_every: int | None,
) -> TrainingPlan:
    """Settle what :func:`pretrain` was not told; `UsageError` for what cannot be done here."""
    check_device_name(device, numbered=False)
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    check_device(device)
    spec.require_room(device)
    on_gpu = device == "cuda"
    if precision is None:
        precision = "bfloat16" if on_gpu and torch.cuda.is_bf16_supported() else "float32"
    require_name("precision", precision, PRECISIONS)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    require(
        spec.batch_size % processes == 0,
        f"batch_size {spec.batch_size} cannot be shared by {processes} processes.",
    )
    share = spec.batch_size // processes
    if micro_batch_size is None:
        tokens = TOKENS_AT_ONCE if on_gpu else LOGITS_AT_ONCE // spec.vocab_size
        largest = max(1, tokens // spec.context)
        micro_batch_size = _largest_divisor(share, largest)
    require(
        is_number(micro_batch_size, 1, whole=True) and share % micro_batch_size == 0,
        f"micro_batch_size {shown(micro_batch_size)} must divide the {share} passages that a "
        f"process has of each batch.",
    )
    if not on_gpu:
        require_memory(
            4 * micro_batch_size * spec.context * spec.vocab_size,
            f"the logits of {micro_batch_size:,} passages of {spec.context:,} tokens at once",
            "give a smaller micro_batch_size, context or vocab_size",
        )
    if checkpoint_every is None:
        checkpoint_every = max(1, spec.steps // 20)
    whole("checkpoint_every", checkpoint_every)
    return TrainingPlan(
        device=device,
        precision=precision,
        micro_batch_size=micro_batch_size,
        accumulated=share // micro_batch_size,
        compile=on_gpu if compile is None else compile,
        checkpoint_every=-(-checkpoint_every // spec.log_every) * spec.log_every,
        processes=processes,
    )


def _largest_divisor(number: int, at_most: int) -> int:
    """Largest divisor of `number` that is no larger than `at_most`, in sqrt(number) divisions."""
    pairs = ((n, number // n) for n in range(1, math.isqrt(number) + 1) if number % n == 0)
    return max(n for pair in pairs for n in pair if n <= at_most)


def _train(
    spec: PretrainSpec,
    out: Path,
    plan: TrainingPlan,
    held: contextlib.ExitStack,
    max_seconds: float | None,
    report_to: str,
    progress: bool,
) -> None:
    import transformers

    from initscope.pretrain.trainer import (
        PassageTrainer,
        RunControl,
        decay_groups,
        progress_bar,
    )

    start = time.perf_counter()
    arguments = transformers.TrainingArguments(
        output_dir=str(checkpoint_folder(out)),
        max_steps=spec.steps,
        per_device_train_batch_size=plan.micro_batch_size,
        per_device_eval_batch_size=plan.micro_batch_size,
        gradient_accumulation_steps=plan.accumulated,
        max_grad_norm=spec.clip,
        seed=spec.seed,
        use_cpu=plan.device == "cpu",
        bf16=plan.precision == "bfloat16",
        torch_compile=plan.compile,
        ddp_backend="gloo" if plan.device == "cpu" and plan.processes > 1 else None,
        ddp_find_unused_parameters=False,
        # What is logged, evaluated and kept when is up to RunControl.
        logging_strategy="no",
        eval_strategy="no",
        save_strategy="no",
        save_total_limit=CHECKPOINTS_KEPT,
        logging_nan_inf_filter=False,
        prediction_loss_only=True,
        dataloader_pin_memory=plan.device == "cuda",
        remove_unused_columns=False,
        disable_tqdm=True,
        log_level="error",
        report_to=report_to,
    )
    arguments.device  # noqa: B018  (sets up the devices, and finds out how many there are)
    arguments._n_gpu = min(1, arguments.n_gpu)  # several GPUs are for torchrun, not DataParallel
    is_first = arguments.process_index == 0

    def begin() -> tuple[dict[str, Any] | None, list[Path]]:
        held.enter_context(only_writer(out, "a pretraining run"))
        return _where_it_stands(out, spec)

    run, kept = _as_the_first(plan, is_first, begin)
    if _has_ended(run):  # in the meantime
        return
    arguments.eval_on_start = not kept
    with arguments.main_process_first(local=False, desc="tokenizing"):
        text = load_spec_text(spec)
    refuse_another(out, spec.to_dict(), text.digest)
    passages = Passages(text.train, spec.context)
    validation = Passages(text.validation, spec.context)
    n_evaluated = min(spec.evaluate_passages, len(validation))

    computed = implementation(run, kept)
    model = spec.build_model(computed["activation"])
    cast(torch.nn.Module, model).to(arguments.device)
    n_parameters = sum(p.numel() for p in model.parameters())
    flops_per_token = training_flops_per_token(model)
    optimizer = torch.optim.AdamW(
        decay_groups(model, spec.weight_decay),
        lr=spec.learning_rate,
        betas=spec.betas,
        eps=spec.epsilon,
        fused=True,
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, learning_rate_factor(spec))

    here = environment(plan.device) | {
        "transformers": transformers.__version__,
        "precision": plan.precision,
        "processes": str(plan.processes),
        "compiled": str(plan.compile).lower(),
    }
    before = (run or {}).get("environments", [])
    seconds_before = (run or {}).get("seconds", 0.0) if kept else 0.0
    facts: dict[str, Any] = {
        "format": RECORD_FORMAT,
        "spec": spec.to_dict(),
        "digest": spec.digest,
        "text": {
            "name": text.name,
            "description": text.description,
            "digest": text.digest,
            "train_tokens": text.train_tokens,
            "validation_tokens": text.validation_tokens,
            "evaluated_tokens": n_evaluated * spec.context,
        },
        "model": {"parameters": n_parameters, "training_flops_per_token": flops_per_token},
        "implementation": computed,
        "environments": [*before, *([] if here in before else [here])],
    }

    def write_outcome(control: RunControl, step: int, status: str) -> None:
        seconds = seconds_before + time.perf_counter() - start
        outcome = {"status": status, "step": step, "diverged_step": control.diverged_step}
        write_run(record_folder(out), facts | outcome | {"seconds": round(seconds, 1)})

    def record(control: RunControl, state: Any) -> None:
        write_logs(record_folder(out), state.log_history)
        write_outcome(control, state.global_step, "running")

    peak = peak_flops(here["device"], plan.precision)
    with progress_bar(spec, progress and is_first) as bar:
        control = RunControl(
            spec, plan.checkpoint_every, max_seconds, record, bar, peak, flops_per_token
        )
        tracker = VarianceCallback(
            record_folder(out),
            every=spec.track_every,
            quantities=spec.track_quantities,
            distribution_every=spec.distribution_every,
            overwrite=True,
            log=report_to != "none",
        )
        try:
            trainer = PassageTrainer(
                model=model,
                args=arguments,
                train_dataset=ShuffledPassages(passages, spec.steps * spec.batch_size, spec.seed),
                eval_dataset=torch.utils.data.Subset(validation, range(n_evaluated)),
                data_collator=transformers.default_data_collator,
                optimizers=(optimizer, scheduler),
                # The last one marks checkpoints whole, when the others have done their part.
                callbacks=[tracker, control],
            )
        except (RuntimeError, ValueError) as error:
            if report_to == "none":
                raise
            raise UsageError(
                f"report_to {report_to!r} is no logger that can be used here ({error})."
            ) from error
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.tokens_per_step = spec.tokens_per_step
        control.trainer = trainer
        control.checksums = tracker.checksums
        if is_first:
            _prepare_folders(out, kept)
            write_outcome(control, _step_of(kept), "running")
        try:
            trainer.train(resume_from_checkpoint=str(kept[0]) if kept else None)
        except KeyboardInterrupt:
            raise PretrainInterrupted(_what_is_kept(out, spec)) from None
        except torch.OutOfMemoryError as error:
            raise UsageError(
                f"the GPU has not enough memory for {plan.micro_batch_size} passages of "
                f"{spec.context} tokens at once: give a smaller micro_batch_size. "
                f"{_what_is_kept(out, spec)}"
            ) from error
        step = trainer.state.global_step
    if is_first:
        write_logs(record_folder(out), trainer.state.log_history)
        write_outcome(control, step, control.status)
    if plan.processes > 1:
        torch.distributed.barrier()  # the others read what the first one has written


def _has_ended(run: dict[str, Any] | None) -> bool:
    return run is not None and run["status"] in ("finished", "diverged")


def _where_it_stands(out: Path, spec: PretrainSpec) -> tuple[dict[str, Any] | None, list[Path]]:
    """What is recorded of a run, and the checkpoints from which it can go on, the newest first."""
    refuse_another(out, spec.to_dict())
    run = read_run(record_folder(out))
    if _has_ended(run):
        return run, []
    kept = sound_checkpoints(out, spec.digest, tqdm.write)
    if run is not None and run["step"] and not kept:
        tqdm.write(f"No whole checkpoint is left in {out}: training starts again from step 0.")
    n_parameters, _ = spec.count_parameters()
    require_space(out, n_parameters, len(kept))
    return run, kept


def _as_the_first(plan: TrainingPlan, is_first: bool, decide: Callable[[], T]) -> T:
    """What `decide` returns or raises in the first process, in all of them."""
    if plan.processes == 1:
        return decide()
    outcome: list[Any] = [None, None]
    if is_first:
        try:
            outcome[0] = decide()
        except Exception as error:
            outcome[1] = error
    torch.distributed.broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def end_processes() -> None:
    """Take leave of the other processes of ``torchrun``, if there are any."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _prepare_folders(out: Path, kept: list[Path]) -> None:
    checkpoint_folder(out).mkdir(parents=True, exist_ok=True)
    (checkpoint_folder(out) / ".gitignore").write_text("*\n")
    remove_broken_checkpoints(out, kept)


def _step_of(kept: list[Path]) -> int:
    return int(kept[0].name.partition("-")[2]) if kept else 0


def _what_is_kept(out: Path, spec: PretrainSpec) -> str:
    step = _step_of(checkpoints(out, spec.digest))
    if not step:
        return "Stopped before the first checkpoint: the same call starts again."
    return f"Stopped. The same call goes on from step {step:,}, whose checkpoint is in {out}."


def outcome_in_words(record: PretrainRecord) -> str:
    """Loss, speed and how a run was computed, in a line; empty before the first update."""
    run = record.run
    if record.training.empty:
        return ""
    rate = record.training["tokens_per_second"].median()
    last = record.evaluation["loss"].iloc[-1] if len(record.evaluation) else math.nan
    machine = run["environments"][-1]
    peak = peak_flops(machine["device"], machine["precision"])
    flops = rate * run["model"]["training_flops_per_token"]
    utilization = (
        f"{flops / peak / int(machine['processes']):.1%} MFU"
        if peak is not None
        else f"{flops / 1e9:.3g} GFLOP/s (no MFU: the peak of this device is not known)"
    )
    return (
        f"step {run['step']:,} of {run['spec']['steps']:,}, {run['status']}: validation loss "
        f"{last:.3f}, {rate:,.0f} tokens/s, {utilization}, {run['seconds']:,.0f} s; "
        f"{PRETRAIN_ACTIVATIONS[run['implementation']['activation']]}, "
        f"AdamW by {run['implementation']['optimizer']} of torch"
    )


@contextlib.contextmanager
def _random_state_kept() -> Iterator[None]:
    """The Trainer seeds every generator there is; nothing here draws from them."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep the bars and log of transformers out of ours, and leave its settings as they were."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
