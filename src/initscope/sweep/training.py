"""Training of one chunk of a sweep: networks of equal widths, all at once.

What a run records, and how, is decided here; :mod:`initscope.sweep.chunks` which runs there are.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from initscope.devices import environment, plain_float32
from initscope.init import initialize_
from initscope.models.batched_mlp import BatchedMLP
from initscope.models.mlp import MLP
from initscope.schema import LAYER_STATISTICS, sweep_schema
from initscope.sweep.chunks import Chunk
from initscope.sweep.schedule import loss_steps
from initscope.sweep.updates import BATCH_BYTES, FEWEST_BATCHES, StackUpdates, parts_of
from initscope.theory.scheme import Scheme

EVALUATION_BATCH = 1000

ELEMENTS_OF_A_BLOCK = 1 << 16
"""Numbers reduced at once: half a megabyte in float64, so that they stay near the processor."""


def initial_network(chunk: Chunk, seed: int, scheme: Scheme, model: MLP | None = None) -> MLP:
    """Return the network of one run before training; `model`, written over, if it is given."""
    if model is None:
        with torch.random.fork_rng(devices=[]):  # torch's own initialization draws from it
            model = MLP(chunk.widths, chunk.activation)
    generator = torch.Generator().manual_seed(seed)
    initialize_(model, scheme.name, generator=generator, **dict(scheme.options))
    return model


def initial_networks(chunk: Chunk) -> Iterator[MLP]:
    """Yield the networks of all runs of a chunk, in order: one module, drawn again for each.

    To build a module takes longer than to draw the weights of a small one.
    """
    model = None
    for seed in chunk.seeds:
        for scheme in chunk.initializations:
            model = initial_network(chunk, seed, scheme, model)
            yield model


def example_order(seed: int, epoch: int, n_examples: int) -> torch.Tensor:
    """Draw the order of the examples in one epoch (from 0) of one seed: ``(n_examples,)``."""
    state = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(state >> np.uint64(1)))
    return torch.randperm(n_examples, generator=generator)


def _in_blocks(
    reduce: Callable[[torch.Tensor], torch.Tensor], values: torch.Tensor
) -> torch.Tensor:
    """Return what `reduce` makes of the rows of each run, in float64: squares do not underflow.

    A few runs at a time: copies of all of them together are so large that the memory for them comes
    anew from the system at every call, which takes several times as long as the arithmetic.
    """
    rows = values.flatten(1)
    blocks = rows.split(max(1, ELEMENTS_OF_A_BLOCK // rows.shape[1]))
    return torch.cat([reduce(block.to(torch.double, copy=True)) for block in blocks])


def _variance(values: torch.Tensor) -> torch.Tensor:
    """Return the variance of each run over all else.

    In two vectorized passes, ten times as fast as `torch.var` over inner dimensions.
    """

    def of_rows(rows: torch.Tensor) -> torch.Tensor:
        rows -= rows.mean(1, keepdim=True)
        return rows.square_().mean(1)

    return _in_blocks(of_rows, values)


def _norm(values: torch.Tensor) -> torch.Tensor:
    """Return the Euclidean norm of each run over all else."""
    return _in_blocks(lambda rows: torch.linalg.vector_norm(rows, dim=1), values)


def _layer_statistics(
    stack: BatchedMLP, inputs: torch.Tensor, labels: torch.Tensor
) -> dict[str, np.ndarray]:
    """Return the :data:`LAYER_STATISTICS` of each run, shape ``(n_runs, n_layers)``."""
    layer_inputs, pre_activations = stack.forward(inputs)
    _, logits_gradient = stack.loss(pre_activations[-1], labels)
    batch = labels.shape[1]
    found: dict[str, list[torch.Tensor]] = {name: [] for name in LAYER_STATISTICS}
    for k, delta in stack.backward(pre_activations, logits_gradient):
        found["forward_variance"].append(_variance(pre_activations[k]))
        found["backward_variance"].append(_variance(delta) * batch**2)
        gradient = stack.weight_gradient(delta, layer_inputs[k])
        found["gradient_norm"].append(_norm(gradient))
        if k + 1 < stack.n_layers:
            dead = (layer_inputs[k + 1].abs().amax(1) == 0).double().mean(1)
        else:
            dead = torch.full_like(found["forward_variance"][-1], math.nan)
        found["dead_fraction"].append(dead)
        found["weight_std"].append(_variance(stack.weights[k]).sqrt())
    return {n: torch.stack(layers[::-1], 1).cpu().numpy() for n, layers in found.items()}


class ChunkTraining:
    """The training of one chunk: what :func:`run_chunk` does, in steps that can be timed."""

    def __init__(self, chunk: Chunk, device: torch.device) -> None:
        self.chunk, self.device = chunk, device
        self.n_initializations = len(chunk.initializations)
        datasets = [chunk.data(seed) for seed in chunk.seeds]
        shared = all(d is datasets[0] for d in datasets)

        def per_seed(split: str, rows: slice = slice(None)) -> list[torch.Tensor]:
            both = []
            for name in (f"{split}_inputs", f"{split}_labels"):
                if shared:  # a view: a copy of MNIST for every chunk would be 200 MB
                    only = getattr(datasets[0], name)[rows].to(device)
                    both.append(only.expand(len(datasets), *only.shape))
                else:
                    both.append(torch.stack([getattr(d, name)[rows] for d in datasets]).to(device))
            return both

        self.inputs, self.labels = per_seed("train", slice(chunk.n_train))
        # Rows are selected from one table of all seeds: an index of two axes takes longer.
        self.input_rows, self.label_rows = (
            each[0] if shared else each.flatten(0, 1) for each in (self.inputs, self.labels)
        )
        seed = torch.arange(len(datasets), device=device)[:, None]
        self.first_row = 0 * seed if shared else chunk.n_train * seed
        self.test = per_seed("test")
        held_out = chunk.validation_size
        self.validation = per_seed("train", slice(-held_out, None)) if held_out else None
        self.stack = BatchedMLP.of(initial_networks(chunk), device)
        self.seed_of_run = torch.arange(len(datasets), device=device).repeat_interleave(
            self.n_initializations
        )
        batch_bytes = 4 * len(datasets) * chunk.batch_size * chunk.widths[0]
        n_waiting = BATCH_BYTES // batch_bytes
        parts = [slice(0, chunk.n_runs)]
        if n_waiting >= FEWEST_BATCHES:
            parts = parts_of(self.stack, chunk.optimizer, chunk.batch_size)
        self.batches_at_once = n_waiting if len(parts) > 1 else 1
        self.parts = [
            (runs, StackUpdates(self.stack.part(runs), chunk.optimizer)) for runs in parts
        ]

    def expand_seeds(self, per_seed: torch.Tensor, runs: slice = slice(None)) -> torch.Tensor:
        """Return ``(n_runs, ...)`` from ``(n_seeds, ...)``; a view where there is one seed."""
        seed_of_run = self.seed_of_run[runs]
        if len(per_seed) == 1:
            return per_seed.expand(len(seed_of_run), *per_seed.shape[1:])
        return per_seed.index_select(0, seed_of_run)

    def update(self, batches: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """Make one step of the optimizer on each of some batches.

        Returns
        -------
        torch.Tensor
            The loss of each run before each step, shape ``(n_batches, n_runs)``.
        """
        losses = [
            torch.stack([part.update(*(self.expand_seeds(t, runs) for t in b)) for b in batches])
            for runs, part in self.parts
        ]
        return torch.cat(losses, 1)

    @property
    def n_test(self) -> int:
        """Number of test examples."""
        return self.test[1].shape[1]

    def evaluate(
        self, n_test: int | None = None, split: list[torch.Tensor] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return loss and accuracy of each run on the test set, or on its first `n_test` examples.

        An output that is not finite is no right answer. `split` is another set: its inputs and
        its labels.
        """
        all_inputs, all_labels = split or self.test
        n_test = n_test or all_labels.shape[1]
        loss = torch.zeros(self.chunk.n_runs, dtype=torch.double, device=self.device)
        correct = torch.zeros_like(loss)
        for first in range(0, n_test, EVALUATION_BATCH):
            rows = slice(first, min(first + EVALUATION_BATCH, n_test))
            labels = self.expand_seeds(all_labels[:, rows])
            logits = self.stack.predict(self.expand_seeds(all_inputs[:, rows]))
            finite = logits.abs().amax(2) < math.inf  # not so for NaN
            correct += ((logits.argmax(2) == labels) & finite).sum(1)
            loss += self.stack.loss(logits, labels)[0].double() * labels.shape[1]
        return (loss / n_test).cpu().numpy(), (correct / n_test).cpu().numpy()

    def statistics(self) -> dict[str, np.ndarray]:
        """Return the :data:`LAYER_STATISTICS` of each run, shape ``(n_runs, n_layers)``."""
        rows = slice(self.chunk.probe_size)
        inputs, labels = self.inputs[:, rows], self.labels[:, rows]
        return _layer_statistics(self.stack, self.expand_seeds(inputs), self.expand_seeds(labels))

    def batches(self, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the inputs and labels, of each seed, of each update of one epoch (from 0)."""
        chunk = self.chunk
        order = torch.stack([example_order(s, epoch, chunk.n_train) for s in chunk.seeds])
        for rows in order.to(self.device).split(chunk.batch_size, 1)[: chunk.steps_per_epoch]:
            selected = (rows + self.first_row).flatten()
            inputs, labels = (
                table.index_select(0, selected).unflatten(0, rows.shape)
                for table in (self.input_rows, self.label_rows)
            )
            yield inputs, labels

    def train(self, advance: Callable[[int], object]) -> dict[str, Any]:
        """Train to the end; the records of all runs, one entry a run in each."""
        chunk = self.chunk
        probe_at = chunk.probe_steps
        point_at = loss_steps(chunk.n_steps, chunk.loss_points)

        diverged = torch.full((chunk.n_runs,), -1, device=self.device)
        step_losses: list[torch.Tensor] = []  # since the last point of the curve
        losses, probes, accuracies = [], [], []
        validation: list[np.ndarray] = []
        made = 0
        waiting: list[tuple[torch.Tensor, torch.Tensor]] = []
        evaluate_at = set(chunk.evaluation_steps)

        def evaluate() -> tuple[np.ndarray, np.ndarray]:
            test_loss, accuracy = self.evaluate()
            accuracies.append(accuracy)
            if self.validation is not None:
                validation.append(self.evaluate(split=self.validation)[1])
            advance(chunk.flops_per_evaluation)
            return test_loss, accuracy

        def probe() -> None:
            probes.append(self.statistics())
            advance(chunk.flops_per_probe)

        def train_waiting() -> None:
            nonlocal made, diverged
            if not waiting:
                return
            for loss in self.update(waiting):
                step_losses.append(loss)
                made += 1
                if made in point_at:
                    since = torch.stack(step_losses)
                    lost = ~since.isfinite()
                    first = made - len(since) + lost.int().argmax(0)
                    diverged = torch.where((diverged < 0) & lost.any(0), first, diverged)
                    losses.append(since.mean(0).cpu().numpy())
                    step_losses.clear()
            advance(chunk.flops_per_step * len(waiting))
            waiting.clear()

        test_loss, accuracy = evaluate()
        for epoch in range(chunk.epochs):
            for batch in self.batches(epoch):
                step = made + len(waiting)
                if step in probe_at:
                    train_waiting()
                    probe()
                waiting.append(batch)
                if step + 1 in evaluate_at or len(waiting) == self.batches_at_once:
                    train_waiting()
                if step + 1 in evaluate_at:
                    test_loss, accuracy = evaluate()
        probe()
        last = diverged.cpu().numpy()
        last[(last < 0) & ~np.isfinite(test_loss)] = chunk.n_steps
        validated = {
            "validation_accuracy": validation[-1],
            "validation_accuracy_by_epoch": list(np.stack(validation, 1)),
        } if validation else {}  # fmt: skip
        return {
            **validated,
            "diverged_step": [None if s < 0 else int(s) for s in last],
            "train_loss": losses[-1].astype(float),
            "test_loss": test_loss,
            "test_accuracy": accuracy,
            "loss_step": [point_at] * chunk.n_runs,
            "loss": list(np.stack(losses, 1)),
            "accuracy_by_epoch": list(np.stack(accuracies, 1)),
            "probe_step": [probe_at] * chunk.n_runs,
            **{
                name: list(_float32_precision(np.stack([p[name] for p in probes], 1)))
                for name in LAYER_STATISTICS
            },
        }


def _float32_precision(values: np.ndarray) -> np.ndarray:
    """Round to the 24 bits of float32 but keep the exponents of float64; it compresses better."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(mantissa.astype(np.float32).astype(float), exponent)


def run_chunk(
    chunk: Chunk,
    device: str | None = None,
    threads: int | None = None,
    advance: Callable[[int], object] | None = None,
) -> pa.Table:
    """Train the runs of one chunk; their rows, with the time taken in the table's metadata.

    Parameters
    ----------
    chunk
        What to train.
    device
        ``"cpu"`` (default), ``"cuda"``, ... Products are those of float32, without TF32.
    threads
        Torch threads to train with; by default those that torch has here.
    advance
        Called with the floating-point operations that were made, after an evaluation, the layer
        statistics, and one or more updates.
    """
    used = torch.device(device or "cpu")
    start = time.perf_counter()
    with plain_float32(used, threads):
        records = ChunkTraining(chunk, used).train(advance or (lambda _: None))
        made_by = environment(device)
    runs = [(seed, scheme) for seed in chunk.seeds for scheme in chunk.initializations]
    n = len(runs)
    columns: dict[str, Any] = {
        "dataset": [chunk.dataset_name] * n,
        "widths": ["-".join(map(str, chunk.widths))] * n,
        "depth": [len(chunk.widths) - 1] * n,
        "activation": [chunk.activation] * n,
        "scheme": [str(s) if s.std is None else s.name for _, s in runs],
        "std": [scheme.std for _, scheme in runs],
        "seed": [seed for seed, _ in runs],
        "optimizer": [chunk.optimizer.name] * n,
        "learning_rate": [chunk.optimizer.learning_rate] * n,
        "momentum": [chunk.optimizer.momentum] * n,
        "batch_size": [chunk.batch_size] * n,
        "n_train": [chunk.n_train] * n,
        "epochs": [chunk.epochs] * n,
        **records,
    }
    schema = sweep_schema(chunk.validation_size)
    for field in schema:
        if pa.types.is_list(field.type):
            columns[field.name] = [np.ravel(values) for values in columns[field.name]]
    seconds = time.perf_counter() - start
    metadata = {"initscope": json.dumps({"seconds": seconds, "environment": made_by})}
    return pa.table(columns, schema=schema).replace_schema_metadata(metadata)
