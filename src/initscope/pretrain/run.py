"""GPT-2 trained from scratch, its weight matrices followed all the way; resumable.

>>> spec = PretrainSpec(text="stdlib", preset="nano12", n_layer=2, steps=4)
>>> spec.tokenizer, spec.context, spec.learning_rate
('bytes', 128, 0.001)

``pretrain(spec, "out")`` trains it. Under ``torchrun --nproc-per-node N`` it trains on N devices.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import torch
from tqdm import tqdm

from initscope.checks import is_number, require, result_folder
from initscope.data.passages import Passages
from initscope.data.text import Text, load_text
from initscope.data.text_sources import is_on_hub
from initscope.devices import environment, peak_flops
from initscope.errors import (
    OutOfResources,
    UsageError,
    given,
    lack_of_resources,
)
from initscope.folder_lock import write_lock
from initscope.models.gpt import training_flops_per_token
from initscope.pretrain.checkpoints import (
    checkpoints,
    remove_broken_checkpoints,
    require_disk_space,
    valid_checkpoints,
)
from initscope.pretrain.plan import TrainingPlan, plan_training
from initscope.pretrain.records import (
    RECORD_FORMAT,
    PretrainRecord,
    check_same_run,
    checkpoint_folder,
    implementation,
    read_record,
    read_run,
    record_folder,
    write_logs,
    write_run,
)
from initscope.pretrain.spec import (
    PretrainSpec,
    vocabulary_too_small,
)

if TYPE_CHECKING:
    import transformers

    from initscope.pretrain.trainer import RunControl

T = TypeVar("T")


class PretrainInterrupted(KeyboardInterrupt):
    """Ctrl-C in training; the message says what is kept."""


def load_spec_text(spec: PretrainSpec) -> Text:
    """Load the text of a specification; `UsageError` if it does not fit model or context."""
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

    If it is stopped or killed, the same call goes on from the last whole checkpoint. What is
    tracked in the end equals that of an undisturbed run, exactly on a CPU with the same number of
    threads. If the run has finished, its record is read and nothing is trained.

    A damaged checkpoint is passed over with a message: training goes on from the one before it, or
    from the start.

    The folder `out` gets the folders ``record``, which is small (:func:`read_record`), and
    ``checkpoints``, of which the last two are kept.

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
        Show a progress bar with loss, tokens per second and model FLOPs utilization.

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
    check_same_run(folder, spec.to_dict())
    if _has_ended(read_run(record_folder(folder))):
        return read_record(folder)
    with _preserve_rng_state(), _quiet_transformers(), contextlib.ExitStack() as held:
        try:
            _train(spec, folder, plan, held, max_seconds, report_to, progress)
        except UsageError:
            raise
        except Exception as error:
            if not (lacking := lack_of_resources(error)):
                raise
            raise OutOfResources(f"{lacking} {_resume_message(folder, spec)}") from error
        return read_record(folder)


def _train(
    spec: PretrainSpec,
    out: Path,
    plan: TrainingPlan,
    held: contextlib.ExitStack,
    max_seconds: float | None,
    report_to: str,
    progress: bool,
) -> None:
    """Train from where `out` stands to the end, and record what comes out."""
    from initscope.pretrain.trainer import (
        RunControl,
        build_trainer,
        progress_bar,
        training_arguments,
    )

    start = time.perf_counter()
    arguments = training_arguments(spec, out, plan, report_to)
    is_first = arguments.process_index == 0

    def begin() -> tuple[dict[str, Any] | None, list[Path]]:
        held.enter_context(write_lock(out, "a pretraining run"))
        return _resume_point(out, spec)

    run, kept = _decide_on_rank_zero(plan, is_first, begin)
    if _has_ended(run):  # in the meantime
        return
    arguments.eval_on_start = not kept
    with arguments.main_process_first(local=False, desc="tokenizing"):
        text = load_spec_text(spec)
    check_same_run(out, spec.to_dict(), text.digest)
    model = spec.build_model(implementation(run, kept)["activation"])
    cast(torch.nn.Module, model).to(arguments.device)
    facts = _run_metadata(spec, plan, text, model, run, kept)
    seconds_before = (run or {}).get("seconds", 0.0) if kept else 0.0

    def write_outcome(control: RunControl, step: int, status: str) -> None:
        seconds = seconds_before + time.perf_counter() - start
        outcome = {"status": status, "step": step, "diverged_step": control.diverged_step}
        write_run(record_folder(out), facts | outcome | {"seconds": round(seconds, 1)})

    def record(control: RunControl, state: Any) -> None:
        write_logs(record_folder(out), state.log_history)
        write_outcome(control, state.global_step, "running")

    peak = peak_flops(environment(plan.device)["device"], plan.precision)
    flops_per_token = facts["model"]["training_flops_per_token"]
    with progress_bar(spec, progress and is_first) as bar:
        control = RunControl(spec, max_seconds, record, bar, peak, flops_per_token)
        trainer = build_trainer(spec, out, text, model, arguments, control)
        if is_first:
            _prepare_folders(out, kept)
            write_outcome(control, _step_of(kept), "running")
        try:
            trainer.train(resume_from_checkpoint=str(kept[0]) if kept else None)
        except KeyboardInterrupt:
            raise PretrainInterrupted(_resume_message(out, spec)) from None
        except torch.OutOfMemoryError as error:
            raise UsageError(
                f"the GPU has not enough memory for {plan.micro_batch_size} passages of "
                f"{spec.context} tokens at once: give a smaller micro_batch_size. "
                f"{_resume_message(out, spec)}"
            ) from error
    if is_first:
        write_logs(record_folder(out), trainer.state.log_history)
        write_outcome(control, trainer.state.global_step, control.status)
    if plan.processes > 1:
        torch.distributed.barrier()  # the others read what the first one has written


def _run_metadata(
    spec: PretrainSpec,
    plan: TrainingPlan,
    text: Text,
    model: transformers.GPT2LMHeadModel,
    run: dict[str, Any] | None,
    kept: list[Path],
) -> dict[str, Any]:
    """Return what ``run.json`` says of a run all the time that it lasts."""
    import transformers

    from initscope.pretrain.trainer import n_evaluated

    here = environment(plan.device) | {
        "transformers": transformers.__version__,
        "precision": plan.precision,
        "processes": str(plan.processes),
        "compiled": str(plan.compile).lower(),
    }
    before = (run or {}).get("environments", [])
    return {
        "format": RECORD_FORMAT,
        "spec": spec.to_dict(),
        "digest": spec.digest,
        "text": {
            "name": text.name,
            "description": text.description,
            "digest": text.digest,
            "train_tokens": text.train_tokens,
            "validation_tokens": text.validation_tokens,
            "evaluated_tokens": n_evaluated(spec, text) * spec.context,
        },
        "model": {
            "parameters": sum(p.numel() for p in model.parameters()),
            "training_flops_per_token": training_flops_per_token(model),
        },
        "implementation": implementation(run, kept),
        "environments": [*before, *([] if here in before else [here])],
    }


def _has_ended(run: dict[str, Any] | None) -> bool:
    """Return whether nothing is left to train of a recorded run."""
    return run is not None and run["status"] in ("finished", "diverged")


def _resume_point(out: Path, spec: PretrainSpec) -> tuple[dict[str, Any] | None, list[Path]]:
    """Return what is recorded of a run, and the checkpoints to go on from, newest first."""
    check_same_run(out, spec.to_dict())
    run = read_run(record_folder(out))
    if _has_ended(run):
        return run, []
    kept = valid_checkpoints(out, spec.digest, tqdm.write)
    if run is not None and run["step"] and not kept:
        tqdm.write(f"No whole checkpoint is left in {out}: training starts again from step 0.")
    n_parameters, _ = spec.count_parameters()
    require_disk_space(out, n_parameters, len(kept))
    return run, kept


def _decide_on_rank_zero(plan: TrainingPlan, is_first: bool, decide: Callable[[], T]) -> T:
    """Return, or raise, in every process what `decide` does in the first one."""
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
    """Make the folder of the checkpoints, and leave only `kept` of them."""
    checkpoint_folder(out).mkdir(parents=True, exist_ok=True)
    (checkpoint_folder(out) / ".gitignore").write_text("*\n")
    remove_broken_checkpoints(out, kept)


def _step_of(kept: list[Path]) -> int:
    """Return the step of the newest checkpoint, or 0."""
    return int(kept[0].name.partition("-")[2]) if kept else 0


def _resume_message(out: Path, spec: PretrainSpec) -> str:
    """Say where the same call goes on."""
    step = _step_of(checkpoints(out, spec.digest))
    if not step:
        return "Stopped before the first checkpoint: the same call starts again."
    return f"Stopped. The same call goes on from step {step:,}, whose checkpoint is in {out}."


@contextlib.contextmanager
def _preserve_rng_state() -> Iterator[None]:
    """Restore every generator at the end: the Trainer seeds all, and none is drawn from here."""
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
