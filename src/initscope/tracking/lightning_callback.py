"""Follow the weight matrices through a run of Lightning's `Trainer`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from initscope import checks, extras
from initscope.checks import require_name
from initscope.tracking.alerts import Alert, AlertWatch
from initscope.tracking.folder_frames import FolderFrames
from initscope.tracking.matrices import check_choice, find_weight_matrices
from initscope.tracking.shards import is_sharded
from initscope.tracking.tracker import (
    VarianceTracker,
    checked_quantiles,
    checked_quantities,
    step_schedule,
)

if TYPE_CHECKING:
    Callback: Any = object
else:
    try:
        from lightning.pytorch.callbacks import Callback
    except ModuleNotFoundError:  # said when a callback is made
        Callback = object

__all__ = ["LightningVarianceCallback"]

CHECKS: dict[str, Callable[[Any], object]] = {
    "every": lambda value: step_schedule("every", value),
    "embeddings_every": lambda value: value and step_schedule("embeddings_every", value),
    "distribution_every": lambda value: step_schedule("distribution_every", value),
    "quantities": checked_quantities,
    "quantiles": checked_quantiles,
    "matrices": check_choice,
    "vectors": lambda value: checks.flag("vectors", value),
    "overwrite": lambda value: checks.flag("overwrite", value),
    "histograms": lambda value: value is None or checks.items("histograms", value),
}


class LightningVarianceCallback(FolderFrames, Callback):
    """Record the weight matrices of a module while Lightning's `Trainer` trains it.

    ``Trainer(callbacks=[LightningVarianceCallback("variances")])`` is all that is needed. The rows
    are those of :class:`initscope.tracking.VarianceTracker`, written as those of
    :class:`initscope.tracking.VarianceCallback`; step t is the t-th batch that ended in a step of
    the optimizers. A run that goes on from a checkpoint goes on after the rows of its step.

    Parameters
    ----------
    out_folder
        Folder of the tables, made if it is not there.
    alerts
        What to watch for, each an :class:`initscope.tracking.Alert`; what was raised is in
        ``watch.raised``, see :class:`initscope.tracking.AlertWatch`. One with the action ``"stop"``
        sets ``trainer.should_stop``, in all processes.
    **options
        Arguments of :class:`initscope.tracking.VarianceTracker`, but for `step`; by default
        weights, gradients and updates are recorded.

    Raises
    ------
    UsageError
        As :class:`initscope.tracking.VarianceTracker`, when it is made or when training starts.

    Examples
    --------
    >>> callback = LightningVarianceCallback("variances", every=10)
    """

    def __init__(
        self, out_folder: str | Path, *, alerts: Sequence[Alert] = (), **options: Any
    ) -> None:
        with extras.named("LightningVarianceCallback"):
            import lightning.pytorch  # noqa: F401
        super().__init__()
        checks.file_path("out_folder", out_folder)
        self.watch = AlertWatch(alerts) if checks.items("alerts", alerts) else None
        for name, value in options.items():
            require_name("option", name, tuple(CHECKS))
            CHECKS[name](value)
        self.out_folder = Path(out_folder)
        self._options = {"quantities": ("weight", "gradient", "update")} | options
        self._tracker: VarianceTracker | None = None
        self._begun = self._stepped = False
        self._step = 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Find the matrices, and open the tables after the step that training goes on from."""
        self._tracker = None
        self._begun = self._stepped = False
        if trainer.global_rank and not is_sharded(find_weight_matrices(pl_module, "all")):
            return
        self._tracker = VarianceTracker(
            pl_module,
            list(trainer.optimizers),
            step=self._step,
            out_folder=self.out_folder,
            **self._options,
        )
        if self.watch is not None:
            self.watch.watch(self._tracker)
        self._tracker.start()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        """Watch the signals of the step if it is due; of batches added up, the first."""
        if self._tracker is not None and not self._begun:
            self._tracker.begin_step()
            self._begun, self._stepped = True, False

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Keep what the step will change; the gradients are clipped after this."""
        if self._tracker is not None and not self._stepped:
            self._tracker.keep_past()
            self._stepped = True

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        """Measure weights, update, and the gradients; end the run if an alert says so."""
        self._measure()
        if self.watch is not None and self.watch.stops_any_process():
            trainer.should_stop = True

    def _measure(self) -> None:
        """Record what is due after a batch: gradients are those that the optimizers got."""
        if self._tracker is None:
            self._step += self._stepped
            return
        if not self._stepped:
            self._tracker.end_batch()
            return
        self._tracker.after_optimizer_step()
        self._step = self._tracker.step
        self._begun = self._stepped = False

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> None:
        """Write all rows before a checkpoint is written."""
        if self._tracker is not None:
            self._tracker.flush()

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps, for a checkpoint."""
        return {"step": self._step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after the step of a checkpoint."""
        self._step = state_dict["step"]

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Close the tables."""
        if self._tracker is not None:
            self._tracker.finish()
            self._tracker = None

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Close the tables of a run that is interrupted."""
        self.on_train_end(trainer, pl_module)
