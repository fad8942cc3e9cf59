"""The transformers `Trainer` of :mod:`initscope.pretrain`: its optimizer, and what it does when."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    default_data_collator,
)

from initscope.checks import require
from initscope.data.passages import Passages, ShuffledPassages
from initscope.errors import UsageError
from initscope.pretrain.checkpoints import CHECKPOINTS_KEPT, mark_checkpoint
from initscope.pretrain.records import checkpoint_folder, record_folder
from initscope.tracking import VarianceCallback

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

    from initscope.data.text import Text
    from initscope.pretrain.plan import TrainingPlan
    from initscope.pretrain.spec import PretrainSpec

NEVER = 2**62
RECORD_EVERY = 10.0
"""Seconds after which what was logged is written once more, all of it; before a checkpoint and in
the end it is in any case."""


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return the parameter groups of AdamW: matrices decay, vectors do not.

    Matrices are all parameters of two or more dimensions, token and position embeddings included,
    as in nanoGPT; biases and the weights of LayerNorm are vectors.

    Raises `UsageError` if there is no matrix.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in parameters if p.dim() >= 2]
    require(
        bool(matrices),
        f"{type(model).__name__} has no trainable matrix, so there is nothing for weight decay "
        f"to act on.",
    )
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]


class PassageTrainer(Trainer):
    """A `Trainer` that takes its batches in the order of its data set, and sees a loss diverge.

    The order is that of the data set, which is shuffled already, so that batch `i` is the same in
    every version of transformers, on any number of processes, and after an interruption.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # The model's loss is the mean over its batch, and Trainer divides it by the accumulated
        # batches. What Trainer would do otherwise differs between its versions.
        self.model_accepts_loss_kwargs = False
        self._parameters = [p for p in cast(nn.Module, self.model).parameters() if p.requires_grad]
        self._flops_of: dict[torch.Size, int] = {}
        self._first_bad = torch.tensor(NEVER, device=self.args.device)
        self.window_start = math.inf
        self.window_step = 0
        self.tokens_per_step = 0

    def get_train_dataloader(self) -> DataLoader:
        """Return a loader of the batches in the order of the data set."""
        loader: DataLoader = DataLoader(
            cast(torch.utils.data.Dataset, self.train_dataset),
            batch_size=self.args.train_batch_size,
            collate_fn=self.data_collator,
            pin_memory=self.args.device.type == "cuda",
            drop_last=True,
        )
        return self.accelerator.prepare(loader)

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], *arguments: Any, **options: Any
    ) -> torch.Tensor:
        """Run one batch forward and backward; note a loss that is not finite.

        What a `Trainer` does here in float32 and bfloat16, without what it would do each time for
        cases that are not ours: on a CPU the walk through all modules alone, to tell them that
        they are trained, is a three-hundredth of a step.
        """
        if not cast(nn.Module, self.model).training:
            model.train()
        with self.compute_loss_context_manager():
            loss = self.compute_loss(model, self._prepare_inputs(inputs))
        if self.args.gradient_accumulation_steps > 1:
            loss = loss / self.args.gradient_accumulation_steps
        loss.backward()
        loss = loss.detach()
        # On the device, without waiting for it.
        bad = torch.where(torch.isfinite(loss), NEVER, self.state.global_step)
        self._first_bad = torch.minimum(self._first_bad, bad)
        return loss

    def _clip_grad_norm(self, model: nn.Module) -> torch.Tensor:
        """Clip the gradients; return their norm before it."""
        found = [p.grad for p in self._parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(found)
        limit = self.args.max_grad_norm
        # Times 1 changes nothing. On a GPU to ask would mean to wait.
        if norm.is_cuda or not limit / (norm + 1e-6) >= 1:
            torch.nn.utils.clip_grads_with_norm_(self._parameters, limit, norm)
        return norm

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return the operations of a pass, for the state of the `Trainer`; counted once a shape."""
        shape = inputs["input_ids"].shape
        if shape not in self._flops_of:
            self._flops_of[shape] = super().floating_point_ops(inputs)
        return self._flops_of[shape]

    def diverged_step(self) -> int | None:
        """Return the updates made when a loss was first not finite; None if it never was."""
        first = self._first_bad.clone()
        if self.args.world_size > 1:
            torch.distributed.all_reduce(first, torch.distributed.ReduceOp.MIN)
        return None if first == NEVER else int(first.item())

    def weights_are_finite(self) -> bool:
        """Return whether no weight has become inf or NaN."""
        return all(bool(torch.isfinite(p).all()) for p in cast(nn.Module, self.model).parameters())

    def log(self, logs: dict[str, float], *arguments: Any, **options: Any) -> None:
        """Log, and add the tokens per second since the last log, evaluation or checkpoint."""
        if "loss" in logs:
            seconds = time.perf_counter() - self.window_start
            steps = self.state.global_step - self.window_step
            logs["tokens_per_second"] = steps * self.tokens_per_step / max(seconds, 1e-9)
        super().log(logs, *arguments, **options)

    def _save_rng_state(self, output_dir: str) -> None:
        """Save the states of the generators, once for all processes: none is drawn from."""
        if self.is_world_process_zero():
            super()._save_rng_state(output_dir)


class RunControl(TrainerCallback):
    """Callback that ends training, in time or before, records it, and marks checkpoints.

    What is logged, evaluated and saved when is up to the arguments of the `Trainer`.

    Attributes
    ----------
    status
        ``"running"``, ``"stopped"`` after `max_seconds`, ``"diverged"`` or ``"finished"``.
    diverged_step
        Updates made when the loss was first not finite.
    """

    def __init__(
        self,
        spec: PretrainSpec,
        max_seconds: float | None,
        record: Callable[[RunControl, Any], None],
        bar: tqdm,
        peak: float | None,
        flops_per_token: int,
    ) -> None:
        self.status = "running"
        self.diverged_step: int | None = None
        self.trainer: PassageTrainer | None = None
        self.checksums: Callable[[], dict[str, str]] = dict
        self._spec = spec
        self._max_seconds = max_seconds
        self._record = record
        self._recorded = -math.inf
        self._bar = bar
        self._peak = peak
        self._flops_per_token = flops_per_token
        self._start = time.perf_counter()

    def on_train_begin(self, args: Any, state: Any, control: Any, **options: Any) -> None:
        """Start the clock of the throughput."""
        assert self.trainer is not None
        # The state in a checkpoint of an older version says that nothing is ever due.
        state.compute_steps(args, state.max_steps)
        # What accelerate wraps around it is for loss scaling, and looks for a package at each step.
        optimizer = self.trainer.optimizer
        self.trainer.optimizer = getattr(optimizer, "optimizer", optimizer)
        self._bar.update(state.global_step - self._bar.n)
        self._new_window(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **options: Any) -> None:
        """End training if it must. Nothing here makes a GPU wait unless something is logged."""
        step = state.global_step
        last = step >= self._spec.steps
        control.should_evaluate |= last  # not so in older versions of transformers
        control.should_log |= control.should_evaluate  # the two are shown beside each other
        self._bar.update(1)
        if not control.should_log:
            return
        # Only at steps that are logged in any case: an interruption leaves no trace in the log.
        if last:
            self.status = "finished"
        elif self._time_is_up(args):
            self.status = "stopped"
            control.should_save = control.should_training_stop = True
        assert self.trainer is not None
        diverged = self.trainer.diverged_step()
        if diverged is None and control.should_save and not self.trainer.weights_are_finite():
            diverged = step
        if diverged is not None:
            self.status, self.diverged_step = "diverged", diverged
            control.should_evaluate = control.should_save = False
            control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **options: Any) -> None:
        """Keep what was logged, and show it."""
        if logs and "loss" in logs:
            rate = logs["tokens_per_second"]
            shown = {"loss": f"{logs['loss']:.3f}", "tokens/s": f"{rate:,.0f}"}
            if self._peak is not None:
                shown["MFU"] = f"{rate * self._flops_per_token / self._peak / args.world_size:.1%}"
            self._bar.set_postfix(shown)
        due = control.should_save or time.perf_counter() - self._recorded >= RECORD_EVERY
        if due and state.is_world_process_zero and logs and {"loss", "eval_loss"} & logs.keys():
            self._record(self, state)
            self._recorded = time.perf_counter()
        self._new_window(state.global_step)

    def on_evaluate(self, args: Any, state: Any, control: Any, **options: Any) -> None:
        """Leave the time of the evaluation out of the throughput."""
        self._new_window(state.global_step)

    def on_save(self, args: Any, state: Any, control: Any, **options: Any) -> None:
        """Declare the checkpoint whole, after all that belongs to it has been written."""
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            mark_checkpoint(folder, self._spec.digest, self.checksums())
        self._new_window(state.global_step)

    def _new_window(self, step: int) -> None:
        """Begin to count time and steps anew."""
        assert self.trainer is not None
        self.trainer.window_start = time.perf_counter()
        self.trainer.window_step = step

    def _time_is_up(self, args: Any) -> bool:
        """Return whether the time given is over, the same in all processes."""
        if self._max_seconds is None:
            return False
        over = time.perf_counter() - self._start >= self._max_seconds
        if args.world_size == 1:
            return over
        # The first process decides, so that all stop at the same step.
        decision = torch.tensor(int(over), device=args.device)
        torch.distributed.broadcast(decision, 0)
        return bool(decision.item())


def training_arguments(
    spec: PretrainSpec, out: Path, plan: TrainingPlan, report_to: str
) -> TrainingArguments:
    """Return what the `Trainer` is to do on the devices, which this sets up."""
    arguments = TrainingArguments(
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
        logging_strategy="steps",
        logging_steps=spec.log_every,
        eval_strategy="steps",
        eval_steps=spec.evaluate_every,
        save_strategy="steps",
        save_steps=plan.checkpoint_every,
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
    return arguments


def n_evaluated(spec: PretrainSpec, text: Text) -> int:
    """Return the number of validation passages that each evaluation takes."""
    return min(spec.evaluate_passages, len(Passages(text.validation, spec.context)))


def build_optimizer(
    spec: PretrainSpec, model: nn.Module
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
    """Return AdamW and its learning rates, as a specification has them."""
    optimizer = torch.optim.AdamW(
        decay_groups(model, spec.weight_decay),
        lr=spec.learning_rate,
        betas=spec.betas,
        eps=spec.epsilon,
        fused=True,
    )
    return optimizer, torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda updates: float(spec.learning_rate_factor(updates))
    )


def build_trainer(
    spec: PretrainSpec,
    out: Path,
    text: Text,
    model: GPT2LMHeadModel,
    arguments: TrainingArguments,
    control: RunControl,
) -> PassageTrainer:
    """Return the `Trainer` of a run, with AdamW, the learning rates and the callbacks."""
    optimizer, scheduler = build_optimizer(spec, model)
    loggers = arguments.report_to  # a list by now, empty for "none"
    tracker = VarianceCallback(
        record_folder(out),
        every=spec.track_every,
        embeddings_every=spec.track_every,  # all matrices at the same steps, whatever their size
        quantities=spec.track_quantities,
        distribution_every=spec.distribution_every,
        overwrite=True,
        log=bool(loggers),
    )
    passages = Passages(text.train, spec.context)
    validation = Passages(text.validation, spec.context)
    try:
        trainer = PassageTrainer(
            model=model,
            args=arguments,
            train_dataset=ShuffledPassages(passages, spec.steps * spec.batch_size, spec.seed),
            eval_dataset=torch.utils.data.Subset(validation, range(n_evaluated(spec, text))),
            data_collator=default_data_collator,
            optimizers=(optimizer, scheduler),
            # The last one marks checkpoints whole, when the others have done their part.
            callbacks=[tracker, control],
        )
    except (RuntimeError, ValueError) as error:
        if not loggers:
            raise
        raise UsageError(
            f"report_to {', '.join(map(repr, loggers))} is no logger that can be used here "
            f"({error})."
        ) from error
    trainer.remove_callback(PrinterCallback)
    tracker.log_through(trainer)
    trainer.tokens_per_step = spec.tokens_per_step
    control.trainer = trainer
    control.checksums = tracker.checksums
    return trainer


def progress_bar(spec: PretrainSpec, shown: bool) -> tqdm:
    """Return a bar over the updates, on stderr."""
    return tqdm(total=spec.steps, desc=spec.preset, unit="step", disable=not shown, file=sys.stderr)
