"""Follow the weight matrices through a run of the transformers `Trainer`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from initscope import checks
from initscope.checks import require
from initscope.errors import UsageError, shown
from initscope.schema import QUANTITIES
from initscope.tracking.alerts import Alert, AlertWatch
from initscope.tracking.folder_frames import FolderFrames
from initscope.tracking.matrices import Choice, check_choice, find_weight_matrices
from initscope.tracking.shards import is_sharded
from initscope.tracking.statistics import QUANTILES
from initscope.tracking.tracker import (
    StepSchedule,
    VarianceTracker,
    checked_quantiles,
    checked_quantities,
    step_schedule,
)

__all__ = ["VarianceCallback"]


def _checked_log(log: object) -> tuple[str, ...]:
    """Return the statistics that go to the Trainer's log, as ``kind/stat``."""
    if isinstance(log, bool | np.bool_):
        return ("weight/std",) if log else ()
    found = checks.items("log", log)
    for name in found:
        checks.text("log: each", name)
        kind, _, stat = name.partition("/")
        require(
            kind in QUANTITIES and bool(stat),
            f"log must hold names such as 'weight/std' or 'update/rotation', not {shown(name)}.",
        )
    return tuple(found)


class VarianceCallback(FolderFrames, TrainerCallback):
    """Record the weight matrices of a model while a `Trainer` trains it.

    ``Trainer(..., callbacks=[VarianceCallback("variances")])`` is all that is needed. The rows are
    those of :class:`initscope.tracking.VarianceTracker`; step t is the Trainer's global step t.
    They are written to ``variances.arrows`` and ``histograms.arrows`` in `out_folder` as training
    goes, and are in ``variances.parquet`` and ``histograms.parquet`` when it has ended;
    :func:`initscope.tracking.read_variances` reads either. A run that goes on from a checkpoint of
    step s goes on after the rows of step s, so that in the end they are the same as those of an
    undisturbed run. Under several processes the first one writes; all take part where weights are
    sharded (FSDP, tensor parallelism).

    Whenever the Trainer logs, the std of each matrix joins the entry of its ``state.log_history``,
    as ``weight_std/q/layer_01`` and so on; after :meth:`log_through` its loggers (TensorBoard and
    others) get it too. The console is spared.

    Parameters
    ----------
    out_folder
        Folder of the tables, made if it is not there.
    every, embeddings_every, quantities, matrices, vectors
        As in :class:`initscope.tracking.VarianceTracker`.
    distribution_every, quantiles, histograms
        As in :class:`initscope.tracking.VarianceTracker`.
    overwrite
        Whether a training run from the start may replace what an earlier one left in `out_folder`.
    log
        Whether the std goes to the Trainer's log; or which statistics do, by ``kind/stat``:
        ``("weight/std", "update/rotation", "gradient/rms")``.
    alerts
        What to watch for, each an :class:`initscope.tracking.Alert`; what was raised is in
        ``watch.raised``, see :class:`initscope.tracking.AlertWatch`.

    Raises
    ------
    UsageError
        When training starts: as :class:`initscope.tracking.VarianceTracker`, or if `out_folder`
        holds another run.

    Examples
    --------
    >>> callback = VarianceCallback("variances", every=10, quantities=("weight",))
    """

    def __init__(
        self,
        out_folder: str | Path,
        every: StepSchedule = 10,
        *,
        embeddings_every: StepSchedule | None = None,
        quantities: Sequence[str] = ("weight", "gradient", "update"),
        matrices: Choice = "attention",
        vectors: bool = False,
        distribution_every: StepSchedule = 100,
        quantiles: Sequence[float] = QUANTILES,
        histograms: Sequence[str] | None = None,
        overwrite: bool = False,
        log: bool | Sequence[str] = True,
        alerts: Sequence[Alert] = (),
    ) -> None:
        checks.file_path("out_folder", out_folder)
        checks.flag("overwrite", overwrite)
        self._log = _checked_log(log)
        self.watch = AlertWatch(alerts) if checks.items("alerts", alerts) else None
        checks.flag("vectors", vectors)
        check_choice(matrices)
        if histograms is not None:
            checks.items("histograms", histograms)
        step_schedule("every", every)
        step_schedule("distribution_every", distribution_every)
        if embeddings_every is not None:
            step_schedule("embeddings_every", embeddings_every)
        checked_quantities(quantities)
        checked_quantiles(quantiles)
        self.out_folder = Path(out_folder)
        self._options: dict[str, Any] = {
            "every": every,
            "embeddings_every": embeddings_every,
            "quantities": quantities,
            "matrices": matrices,
            "vectors": vectors,
            "distribution_every": distribution_every,
            "quantiles": quantiles,
            "histograms": histograms,
            "overwrite": overwrite,
        }
        self._tracker: VarianceTracker | None = None
        self._logged_step = -1
        self._newest: dict[str, float] = {}
        self._newest_step = -1
        self._trainer: Trainer | None = None

    def log_through(self, trainer: Trainer) -> None:
        """Give the std of each matrix to the loggers of `trainer` too, the console excepted.

        >>> import tempfile
        >>> from torch import nn
        >>> from transformers import TrainingArguments
        >>> folder = tempfile.mkdtemp()
        >>> callback = VarianceCallback(f"{folder}/variances")
        >>> arguments = TrainingArguments(folder, report_to=[], use_cpu=True)
        >>> callback.log_through(Trainer(nn.Linear(3, 2), arguments, callbacks=[callback]))
        """
        require(
            isinstance(trainer, Trainer),
            f"trainer must be a transformers.Trainer, not {shown(trainer)}.",
        )
        self._trainer = trainer

    def checksums(self) -> dict[str, str]:
        """Return the checksum of each table so far; none in a process that writes nothing."""
        return {} if self._tracker is None else self._tracker.checksums()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Find the matrices, and open the tables after the step that training goes on from."""
        self._tracker = None
        # What each process holds a part of is measured in all of them.
        if not state.is_world_process_zero and not is_sharded(
            find_weight_matrices(kwargs["model"], "all")
        ):
            return
        if "activation" in self._options["quantities"] and args.torch_compile:
            raise UsageError(
                "the activations of a compiled model cannot be seen from outside: leave "
                "'activation' out of the quantities, or train without torch_compile."
            )
        self._tracker = VarianceTracker(
            kwargs["model"],
            kwargs["optimizer"],
            step=state.global_step,
            out_folder=self.out_folder,
            **self._options,
        )
        self._logged_step = self._newest_step = -1
        self._tracker.on_rows = self._see
        self._tracker.start()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Watch the signals of the step if it is due."""
        if self._tracker is not None:
            self._tracker.step = state.global_step
            self._tracker.begin_step()

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """End the watch: signals are those of the first batch of a step."""
        if self._tracker is not None:
            self._tracker.end_batch()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure the gradients, which are clipped by now, and cleared when the step ends."""
        if self._tracker is not None:
            self._tracker.before_optimizer_step()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure weights and update: the optimizer's state and learning rate are of this step."""
        if self._tracker is not None:
            skipped = getattr(kwargs["optimizer"], "step_was_skipped", False)
            self._tracker.after_optimizer_step(updated=not skipped)

    def _see(self, rows: pd.DataFrame) -> None:
        """Keep the chosen statistics of the newest step, and test the alerts."""
        chosen = rows[(rows["kind"] + "/" + rows["stat"]).isin(self._log)]
        if len(chosen):
            self._newest_step = int(chosen["step"].iloc[0])
            self._newest = {
                f"{kind}_{stat}/{role}/layer_{layer:02d}": value
                for _, layer, role, kind, stat, value in chosen.itertuples(index=False)
            }
        if self.watch is not None:
            self.watch.see(rows)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write all rows before a checkpoint is written; end the run if an alert says so."""
        if self._tracker is not None and control.should_save:
            self._tracker.flush()
        if self.watch is not None and self.watch.stops_any_process():
            control.should_training_stop = True

    on_save = on_step_end

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Give the newest std of each matrix to the Trainer's log and to its loggers."""
        tracker = self._tracker
        if tracker is None or not self._log:
            return
        tracker.flush()
        if self._newest_step <= self._logged_step:
            return
        self._logged_step = self._newest_step
        stds = self._newest
        if state.log_history:
            state.log_history[-1].update(stds)
        loggers = [] if self._trainer is None else self._trainer.callback_handler.callbacks
        for other in loggers:
            if other is not self and not isinstance(other, ProgressCallback | PrinterCallback):
                other.on_log(args, state, control, logs=dict(stds), **kwargs)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the tables."""
        if self._tracker is not None:
            self._tracker.finish()
            self._tracker = None
