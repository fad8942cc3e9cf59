"""Follow the weight matrices of a model through its training."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.optim import Optimizer

from initscope import checks
from initscope.checks import require
from initscope.schema import (
    HISTOGRAMS,
    QUANTITIES,
    VARIANCES,
)
from initscope.tracking.adapters import find_products, product_moments
from initscope.tracking.arguments import (
    StepSchedule,
    checked_quantiles,
    checked_quantities,
    refuse_compiled,
    select_roles,
    step_schedule,
)
from initscope.tracking.attention import AttentionWatch, find_attention
from initscope.tracking.budget import measure_update
from initscope.tracking.clock import Clock
from initscope.tracking.coverage import ENOUGH, Coverage, find_coverage
from initscope.tracking.matrices import Choice, find_weight_matrices
from initscope.tracking.moments import Moments
from initscope.tracking.optimizers import (
    Past,
    optimizers_of,
    reads_state,
    say_what_is_not_read,
    select_optimized,
)
from initscope.tracking.recording import Recording
from initscope.tracking.shards import (
    decided_by_first,
    have_gradients,
    is_first_process,
    is_sharded,
)
from initscope.tracking.signals import MatrixSignals
from initscope.tracking.statistics import (
    QUANTILES,
    DeviceToHostCopy,
    MatrixGroup,
    MatrixStatistics,
    group_by_parameter,
    histogram_counts,
    kurtosis_and_quantiles,
)

__all__ = ["QUANTITIES", "StepSchedule", "VarianceTracker"]

logger = logging.getLogger("initscope.tracking")


class VarianceTracker:
    """Record statistics of the weight matrices of a model, step by step, in a training loop.

    Use it as a context manager. Given the optimizer, it counts its steps and measures those that
    are due; nothing else has to be called.

    >>> from initscope.models import gpt2
    >>> model = gpt2("nano12", n_layer=1, n_embd=16, n_head=2, n_positions=8)
    >>> optimizer = torch.optim.AdamW(model.parameters())
    >>> with VarianceTracker(model, optimizer, every=2) as tracker:
    ...     for step in range(4):
    ...         optimizer.zero_grad()
    ...         model(torch.arange(8)[None]).logits.square().mean().backward()
    ...         optimizer.step()
    >>> frame = tracker.to_frame()
    >>> sorted(frame["step"].unique().tolist())
    [0, 2, 4]

    Step 0 is before the first step of the optimizer. A due step t has these rows for each layer and
    role of :func:`initscope.tracking.weight_matrices`:

    ============== ====================== =========================================================
    kind           stat                   value
    ============== ====================== =========================================================
    `weight`       `mean`, `std`, `rms`   of the elements after step t
    `weight`       `kurtosis`             fourth central moment / variance², 3 if normal; on the
                                          schedule `distribution_every`
    `weight`       `quantile_0.5`, ...    of the elements, on the same schedule; of more than four
                                          million on a CPU to within 1/128 of their size, kurtosis
                                          and histograms to a thousandth
    `gradient`     `mean`, `std`, `rms`   of dL/dW, accumulated and clipped, as the optimizer got
                                          it in step t
    `update`       `rms`, `rotation`,     of step t, as :func:`initscope.tracking.variance_budget`
                   `decay`, `alignment`,  gives them
                   `step`
    `update`       `rounding`,            of weights of 16 bits, of which most elements do not move
                   `unchanged`            where a step is smaller than their spacing
    `activation`   `forward_variance`,    of the outputs of the matrix in the first batch of step t;
                   `forward_mean_square`  none where its module gives no tensor (recurrent ones),
                                          or is never called (torch's own attention)
    `gradient`     `backward_variance`,   of dL/d(outputs) in that batch, with the loss as it was
                   `backward_mean_square` scaled for the backward pass
    `attention`    `logit_std`,           of the first example in that batch, with role
                   `entropy`,             ``attention`` (``encoder_attention``, ...): std of the
                   `entropy_share`,       logits of a query, entropy of its weights in nats and as a
                   `largest_weight`       share of the log of the keys it sees, and its largest
                                          weight; means over heads and queries that see two or more
    ============== ====================== =========================================================

    Variances are divided by the number of elements and accumulated in float32 at least, whatever
    the precision of the model. What overflows is recorded as inf or NaN. What is trained is the
    same, bit by bit, as without the tracker, which draws no random numbers.

    Parameters
    ----------
    model
        Any model, with attention or without, compiled or wrapped; its matrices are those of
        :func:`initscope.tracking.weight_matrices`, frozen ones included. Under FSDP and tensor
        parallelism, where each process holds parts, every process makes a tracker; sums are added
        up over all, signals are those of its own batch. The product of the two matrices of a
        low-rank adapter, with its scaling, is measured too, as ``q_lora_BA``.
    optimizer
        Its optimizer, or several (Muon beside AdamW), which are recorded after the last of them has
        stepped. The update of Adam, AdamW and plain SGD is read from the state; that of any other
        optimizer, and of weights of 16 bits, is the difference of the weights, for which they are
        copied at steps that are due. Without an optimizer, call :meth:`after_optimizer_step` after
        each step.
    every
        The steps that are due: every so many, a set of steps, or a function of the step.
    quantities
        Which kinds to record, of :data:`QUANTITIES`; by default `weight`, `gradient` and, with an
        optimizer, `update`. `activation` and `attention` need hooks in the forward pass.
    embeddings_every
        The steps at which embeddings and an output layer are measured; by default as `every`. But
        where `every` is a number below 10, a matrix of more than a million elements is measured
        less often, because with a large vocabulary it costs more than a short training step: at
        multiples of the first multiple of `every` from 10 on, and at `distribution_every`. The log
        line at the start and the record name it, see :meth:`to_frame`. With the same number as
        `every` it is measured as often as the rest.
    matrices, vectors
        Which matrices are followed, and whether gains of norms and biases are too: as
        :func:`initscope.tracking.weight_matrices` takes them. What is left out is said in the log
        (`logging`, "initscope.tracking") when the tracker is made: as a warning if it is more than
        1% of the weights.
    distribution_every
        The steps at which kurtosis, quantiles and histograms are measured. They are due too.
    quantiles
        Which quantiles, numbers from 0 to 1.
    histograms
        Roles whose histograms are kept, for :meth:`histograms_to_frame`; ``q`` also stands for
        ``encoder_q`` and the like. By default q, k and v; all in a model without attention.
    step
        Steps already made, in a run that goes on.
    out_folder
        Where the tables are kept (:func:`initscope.tracking.read_variances` reads them while the
        run goes on); in memory if None. Rows there of steps after `step` are dropped. Of several
        processes (torch.distributed) the first writes; where all hold the whole weights (DDP), it
        alone measures. In memory, each process measures for itself.
    overwrite
        Whether a run that starts at step 0 may replace what an earlier one left in `out_folder`.

    Attributes
    ----------
    coverage
        Share of the weights that is followed, and what is left out.
    step
        Steps of the optimizer made so far.

    Raises
    ------
    UsageError
        A model without a weight matrix, or without data (on the device meta); an unknown quantity
        or role; an optimizer that holds none of the matrices; `activation` of a compiled model,
        even if it is compiled later. When it is entered: a folder that cannot be written, or that
        holds another run.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        every: StepSchedule = 10,
        embeddings_every: StepSchedule | None = None,
        quantities: Sequence[str] | None = None,
        matrices: Choice = "attention",
        vectors: bool = False,
        distribution_every: StepSchedule = 100,
        quantiles: Sequence[float] = QUANTILES,
        histograms: Sequence[str] | None = None,
        step: int = 0,
        out_folder: str | Path | None = None,
        overwrite: bool = False,
    ) -> None:
        for name, steps in (("every", every), ("distribution_every", distribution_every)):
            step_schedule(name, steps)
        if embeddings_every is not None:
            step_schedule("embeddings_every", embeddings_every)
        if quantities is None:
            quantities = ("weight", "gradient") + (("update",) if optimizer is not None else ())
        self._quantities = checked_quantities(quantities)
        self._quantiles = checked_quantiles(quantiles)
        checks.module("model", model)
        self._matrices = find_weight_matrices(model, matrices, vectors=vectors)
        self._sharded = is_sharded(self._matrices)
        writes = out_folder is None or is_first_process()
        if not writes and not self._sharded:  # the first process has it all, and measures alone
            every = distribution_every = ()
            embeddings_every = None
        self._products, without_product = find_products(model, self._matrices)
        self._groups = group_by_parameter(self._matrices)
        self._clock = Clock(self._groups, every, distribution_every, embeddings_every)
        self.coverage: Coverage = replace(
            find_coverage(model, self._matrices),
            coarse=tuple(group.matrices[0].role for group in self._clock.coarse.values()),
            coarse_steps=self._clock.how_often,
            without_product=tuple(without_product),
        )
        self._histograms = select_roles(self._matrices, histograms)
        if "activation" in self._quantities:
            refuse_compiled(model)
        self._model = model
        self.step = checks.whole("step", step, at_least=0)
        checks.flag("overwrite", overwrite)
        if out_folder is not None:
            checks.file_path("out_folder", out_folder)
        self._optimizers = optimizers_of(optimizer)
        self._stepped: set[Optimizer] = set()
        self._within: Counter[Optimizer] = Counter()
        self._optimized: list[MatrixGroup] = []
        self._past: Past | None = None
        self._warned = False
        if "update" in self._quantities:
            require(bool(self._optimizers), "quantities hold 'update': give the optimizer too.")
            self._optimized = select_optimized(self._optimizers, self._groups)
        self._overwrite = overwrite
        folder = None if out_folder is None or not writes else Path(out_folder)
        self._recording = Recording(folder, self._clock.note, writes=writes)
        self._gradients: list[MatrixStatistics] = []
        self._signals = MatrixSignals(self._matrices)
        self._attention = AttentionWatch(
            find_attention(model, self._matrices) if "attention" in self._quantities else []
        )
        self._handles: list[Any] = []
        self._pending: (
            tuple[int, list[MatrixStatistics], MatrixStatistics | None, DeviceToHostCopy] | None
        ) = None
        self._moments = Moments()
        self.on_rows: Callable[[pd.DataFrame], object] | None = None  # sees the rows of each step
        if not is_first_process():  # which says what there is to say
            return
        level = logging.INFO if self.coverage.share >= ENOUGH else logging.WARNING
        logger.log(level, "%s", self.coverage)
        if "update" in self._quantities:
            say_what_is_not_read(self._optimizers, self._groups, self._optimized)

    @property
    def newest_step(self) -> int:
        """The last step whose weights were recorded, or -1."""
        return self._recording.newest_step

    @property
    def newest(self) -> dict[tuple[int, str], float]:
        """The std of each matrix at :attr:`newest_step`, by (layer, role)."""
        return self._recording.newest

    def __enter__(self) -> VarianceTracker:
        self.start()
        for optimizer in self._optimizers:
            self._handles += [
                optimizer.register_step_pre_hook(self._before_hook),
                optimizer.register_step_post_hook(self._after_hook),
            ]
        if self._optimizers:
            self.begin_step()
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if self._stepped:  # of several optimizers one has not stepped again
            self.after_optimizer_step()
        self.finish()

    def _before_hook(self, optimizer: Optimizer, *_: Any) -> None:
        # The hooks of a subclass are called once more when it calls the step of its base.
        self._within[optimizer] += 1
        if self._within[optimizer] > 1:
            return
        if optimizer in self._stepped:  # the others leave this step out
            self._end_step()
        if not self._stepped:
            self.before_optimizer_step()
        elif self._past is not None:
            self._past.take_settings(optimizer)

    def _after_hook(self, optimizer: Optimizer, *_: Any) -> None:
        self._within[optimizer] -= 1
        if self._within[optimizer] > 0:
            return
        self._stepped.add(optimizer)
        if len(self._stepped) == len(self._optimizers):
            self._end_step()

    def _end_step(self) -> None:
        self.after_optimizer_step()
        self.begin_step()

    # --- what a training loop calls, through the optimizer or itself ---

    def start(self) -> None:
        """Open the tables, and record the weights as they are, unless that was done."""
        wanted = self._recording.open(self.step, overwrite=self._overwrite) != self.step
        if self._sharded:
            wanted = decided_by_first(wanted)
        if wanted and self._clock.due(self.step):
            self._record(updated=False, with_gradients=False)

    def begin_step(self) -> None:
        """Start a step, before its forward pass."""
        self._gradients = []
        self._past = None
        self._stepped = set()
        self._within.clear()
        if "activation" in self._quantities and self._clock.due(self.step + 1):
            refuse_compiled(self._model)  # it may have been compiled since
            self._signals.start()
        if "attention" in self._quantities and self._clock.due(self.step + 1):
            self._attention.start()

    def end_batch(self) -> None:
        """End the first batch of several that make one step: what follows is not measured."""
        self._signals.stop()
        self._attention.stop()

    def before_optimizer_step(self) -> None:
        """Measure the gradients; call it when they are complete and clipped."""
        self.end_batch()
        if not self._clock.due(self.step + 1):
            return
        if "gradient" in self._quantities:
            self._gradients = self._measure_gradients(self.step + 1)
        self.keep_past()

    @torch.no_grad()
    def keep_past(self) -> None:
        """Keep the settings, and the weights where they are needed, from before the step.

        A scheduler may step before it is recorded. Part of :meth:`before_optimizer_step`, for a
        loop that clips the gradients after it calls.
        """
        self.end_batch()
        if "update" in self._quantities and self._clock.due(self.step + 1):
            self._past = Past(self._optimizers)
            followed = self._clock.followed(self._optimized, self.step + 1)
            self._past.take_weights(self._with_gradients(followed))

    def after_optimizer_step(self, *, updated: bool = True) -> None:
        """Measure the new weights; `updated` is False if the optimizer left the step out."""
        checks.flag("updated", updated)
        self.step += 1
        self._stepped = set()
        if self._clock.due(self.step):
            self._record(updated=updated, with_gradients=True)

    def flush(self) -> None:
        """Write what has been measured: the last due step may still be on its way from a GPU."""
        if self._pending is None:
            return
        step, measured, counts, copy = self._pending
        self._pending = None
        values = copy.values()
        self._recording.write(step, measured, values[: len(measured)], self.on_rows)
        if counts is not None:
            self._recording.write_histograms(step, counts, values[-1])

    def checksums(self) -> dict[str, str]:
        """Return the checksum of each table so far, to be compared when a run goes on."""
        self.flush()
        return self._recording.checksums()

    def finish(self) -> None:
        """Write what is left and close the tables."""
        self.end_batch()
        self.flush()
        self._recording.close()

    def to_frame(self) -> pd.DataFrame:
        """Return what was recorded so far: columns ``step, layer, role, kind, stat, value``.

        If some matrices are measured less often than the others, ``attrs["coarse"]`` of the table
        lists their layers and roles, and ``attrs["coarse_steps"]`` says when they are;
        :func:`initscope.tracking.read_variances` gives the same of a run on disk.
        """
        return self._frame(VARIANCES)

    def histograms_to_frame(self) -> pd.DataFrame:
        """Return the histograms so far: columns ``step, layer, role, low, high, counts``.

        The weights are counted in even bins between `low` and `high`, five std from 0; those
        beyond are in the outermost bins.
        """
        return self._frame(HISTOGRAMS)

    def _frame(self, name: str) -> pd.DataFrame:
        self.flush()
        return self._recording.frame(name)

    # --- measuring ---

    def _with_gradients(self, groups: Sequence[MatrixGroup]) -> list[MatrixGroup]:
        """Return those with a gradient, here or in another process."""
        sharded = [group.layout is not None for group in groups]
        has = have_gradients([group.parameter for group in groups], sharded)
        return [group for group, one in zip(groups, has, strict=True) if one]

    @torch.no_grad()
    def _measure_gradients(self, step: int) -> list[MatrixStatistics]:
        found = [
            (group, gradient)
            for group in self._with_gradients(self._clock.followed(self._groups, step))
            if not (gradient := _gradient(group.parameter)).is_sparse
        ]
        if not found:
            return []
        groups, gradients = zip(*found, strict=True)
        return self._moments.measure(groups, gradients, "gradient")

    @torch.no_grad()
    def _record(self, *, updated: bool, with_gradients: bool) -> None:
        self.flush()
        measured = []
        closer = self._clock.closer(self.step)
        if "weight" in self._quantities:
            groups = self._clock.followed(self._groups, self.step)
            weights = [group.parameter for group in groups]
            measured += self._moments.measure(groups, weights, "weight")
            if self._products:
                measured.append(product_moments(self._products))
            if closer:
                measured.append(kurtosis_and_quantiles(groups, self._quantiles))
        if with_gradients:
            if "gradient" in self._quantities and not self._gradients:
                self._gradients = self._measure_gradients(self.step)
            measured += self._gradients
        if updated and "update" in self._quantities:
            stepped = self._with_gradients(self._clock.followed(self._optimized, self.step))
            if (
                self._past is None
                and not self._warned
                and any(not reads_state(one) for one in self._optimizers)
            ):
                self._warned = True
                logger.warning(
                    "before_optimizer_step was not called: updates that are not read from the "
                    "state of the optimizer are missing."
                )
            measured += measure_update(self._optimizers, stepped, self._past)
            self._past = None
        if with_gradients and self._signals.watches and self._signals.n_calls == 0:
            require(
                not self._with_gradients(self._groups),
                f"no activation was seen in step {self.step}, though there are gradients: the "
                f"model is compiled from outside, or another one is trained. Leave 'activation' "
                f"out of the quantities, or train it uncompiled.",
            )
        measured += self._signals.statistics()
        if "attention" in self._quantities:
            trained = with_gradients and bool(self._with_gradients(self._groups))
            measured += self._attention.statistics(trained)
        counts = None
        if closer and self._histograms:
            shown = {g.parameter for g in self._clock.followed(self._groups, self.step)}
            of = [matrix for matrix in self._histograms if matrix.parameter in shown]
            counts = histogram_counts(of) if of else None
        self._gradients = []
        if not measured and counts is None:
            return
        copy = DeviceToHostCopy(measured if counts is None else [*measured, counts])
        self._pending = self.step, measured, counts, copy
        if not any(group.parameter.is_cuda for group in self._groups):
            self.flush()


def _gradient(parameter: torch.nn.Parameter) -> torch.Tensor:
    """Return the gradient; zeros where another process alone has one."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
