"""Sweeps over the initialization: many networks trained at once, recorded, resumable.

>>> spec = SweepSpec(dataset="wine", stds=(0.01, 0.1), seeds=2, epochs=2)
>>> table = run_sweep(spec, progress=False)
>>> table[["std", "seed", "diverged_step"]].shape
(4, 3)
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import hashlib
import itertools
import json
import math
import os
import platform
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tqdm import tqdm

from initscope import data
from initscope.batched_mlp import BatchedMLP
from initscope.errors import UsageError, unknown_name
from initscope.init import initialize_, scheme_options
from initscope.models import ACTIVATIONS, MLP, check_widths

RECORD_FORMAT = 1
"""Part of every digest: a change of what a run computes or records makes old chunks strangers."""

EVALUATION_BATCH = 1000

LAYER_STATISTICS = (
    "activation_variance",
    "gradient_variance",
    "gradient_norm",
    "dead_fraction",
    "weight_std",
)
"""Columns with one number for each probe step and layer; see :func:`run_sweep`."""


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise UsageError(message)


def _is_number(value: object, low: float, *, whole: bool = False) -> bool:
    kinds = (int, np.integer) if whole else (int, float, np.integer, np.floating)
    if isinstance(value, bool) or not isinstance(value, kinds):
        return False
    return bool(math.isfinite(value) and value >= low)


@dataclass(frozen=True)
class Optimizer:
    """How the networks of a sweep are trained.

    Attributes
    ----------
    name
        ``"sgd"`` or ``"adam"``, with torch's defaults for what is not named here.
    learning_rate
        Step size, above 0.
    momentum
        For SGD, from 0 to below 1.
    """

    name: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in ("sgd", "adam"):
            raise unknown_name("optimizer", self.name, ("sgd", "adam"))
        _check(
            _is_number(self.learning_rate, 0) and self.learning_rate > 0,
            f"learning_rate must be a finite number above 0, not {self.learning_rate!r}.",
        )
        _check(
            _is_number(self.momentum, 0) and self.momentum < 1,
            f"momentum must be a number from 0 to below 1, not {self.momentum!r}.",
        )
        _check(self.name == "sgd" or not self.momentum, "momentum is an option of SGD only.")

    @property
    def tensors_per_parameter(self) -> int:
        """Tensors of the size of a parameter kept in training: itself, gradient, state."""
        if self.name == "adam":
            return 4
        return 3 if self.momentum else 1

    def build(self, parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
        """The torch optimizer for `parameters`."""
        if self.name == "adam":
            return torch.optim.Adam(parameters, lr=self.learning_rate, fused=True)
        return torch.optim.SGD(
            parameters, lr=self.learning_rate, momentum=self.momentum, fused=True
        )


@dataclass(frozen=True)
class SweepSpec:
    """What a sweep trains: every combination of widths, optimizer, initialization and seed.

    Attributes
    ----------
    dataset
        One of :data:`initscope.data.DATASETS`. Wine and digits are split anew by each seed.
    hidden
        Hidden widths of each architecture: ``((256, 128),)`` is one network with two hidden
        layers, three weight layers.
    activation
        One of :data:`initscope.models.ACTIVATIONS`.
    stds
        Standard deviations of the initial weights, each a scheme ``"normal"`` with zero biases.
    schemes
        Further schemes of :data:`initscope.init.SCHEMES`, with their default options.
    optimizers
        One or more :class:`Optimizer`.
    seeds
        How many, counted from 0, or which. A seed decides the draws of the weights, the order of
        the training examples and, for Wine and digits, the split. Runs of one seed share all of
        these: their weights are the same standard-normal draws, scaled.
    epochs, batch_size
        Length of the training. A last, incomplete batch of an epoch is left out.
    train_size
        Number of training examples, the first of the split; None for all.
    loss_points
        How many points of the training loss are recorded; each is a mean since the one before.
    probes
        How many times layer statistics are recorded: at initialization, then at steps in
        geometric progression, the last after the last update.
    probe_size
        Number of training examples, the first of the split, that they are recorded on.
    memory_mb
        Working memory, in MB, above which the sweep is split into chunks that train one after
        another; about the size of the last-level cache is fastest. Part of the specification,
        since the size of a batched product may change its rounding.
    name
        Name of the table; no part of the digest.
    """

    dataset: str = "wine"
    hidden: tuple[tuple[int, ...], ...] = ((64, 32),)
    activation: str = "relu"
    stds: tuple[float, ...] = ()
    schemes: tuple[str, ...] = ()
    optimizers: tuple[Optimizer, ...] = (Optimizer(),)
    seeds: tuple[int, ...] | int = 1
    epochs: int = 1
    batch_size: int = 32
    train_size: int | None = None
    loss_points: int = 25
    probes: int = 6
    probe_size: int = 256
    memory_mb: int = 64
    name: str = "sweep"

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        if isinstance(self.optimizers, Optimizer):
            put("optimizers", (self.optimizers,))
        if isinstance(self.seeds, int | np.integer) and not isinstance(self.seeds, bool):
            put("seeds", tuple(range(int(self.seeds))))
        for name in ("hidden", "stds", "schemes", "optimizers", "seeds"):
            value = getattr(self, name)
            if isinstance(value, str) or not isinstance(value, Sequence | np.ndarray):
                raise UsageError(f"{name} must be a list, not {value!r}.")
            put(name, tuple(value))
        if self.hidden and not isinstance(self.hidden[0], Sequence):
            raise UsageError(
                f"hidden is a list of architectures, each a list of widths: "
                f"[[256, 128]] and not {list(self.hidden)}."
            )
        put("hidden", tuple(tuple(widths) for widths in self.hidden))
        self._validate()
        put("stds", tuple(float(std) for std in self.stds))
        put("seeds", tuple(int(seed) for seed in self.seed_numbers))

    def _validate(self) -> None:
        if self.dataset not in data.DATASETS:
            raise unknown_name("data set", self.dataset, data.DATASETS)
        if self.activation not in ACTIVATIONS:
            raise unknown_name("activation", self.activation, ACTIVATIONS)
        _check(bool(self.hidden), "hidden is empty: give at least one architecture.")
        for widths in self.hidden:
            check_widths((1, *widths, 1))
        for std in self.stds:
            _check(_is_number(std, 0), f"stds must be finite numbers of at least 0, not {std!r}.")
        for scheme in self.schemes:
            options = scheme_options(scheme)
            _check("std" not in options, "give the stds of scheme 'normal' as stds.")
        _check(bool(self.stds or self.schemes), "nothing to sweep: stds and schemes are empty.")
        _check(bool(self.optimizers), "optimizers is empty: give at least one.")
        for optimizer in self.optimizers:
            _check(
                isinstance(optimizer, Optimizer), f"optimizers holds {optimizer!r}: no Optimizer."
            )
        _check(bool(self.seed_numbers), "seeds is empty: give at least one.")
        for seed in self.seed_numbers:
            _check(_is_number(seed, 0, whole=True), f"seeds must be whole numbers, not {seed!r}.")
        for name in ("hidden", "stds", "schemes", "optimizers", "seeds"):
            values = getattr(self, name)
            _check(len(set(values)) == len(values), f"{name} holds a value twice: {values}.")
        for name in ("epochs", "batch_size", "loss_points", "probe_size", "memory_mb"):
            value = getattr(self, name)
            _check(
                _is_number(value, 1, whole=True),
                f"{name} must be a whole number of at least 1, not {value!r}.",
            )
        _check(
            _is_number(self.probes, 2, whole=True),
            f"probes must be a whole number of at least 2, not {self.probes!r}.",
        )
        _check(
            self.train_size is None or _is_number(self.train_size, 1, whole=True),
            f"train_size must be a whole number of at least 1, or None, not {self.train_size!r}.",
        )
        _check(
            bool(self.name) and Path(self.name).name == self.name,
            f"name {self.name!r} must be a plain file name.",
        )

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> SweepSpec:
        """Specification from plain values, as read from YAML or JSON.

        Lists stand for tuples, mappings for each :class:`Optimizer`. Raises `UsageError` for an
        unknown key, with the nearest names.
        """
        values = dict(mapping)
        names = [f.name for f in dataclasses.fields(cls)]
        for key in values:
            if key not in names:
                raise unknown_name("key of a sweep", key, names)
        optimizers = values.get("optimizers")
        if isinstance(optimizers, Sequence) and not isinstance(optimizers, str):
            values["optimizers"] = tuple(
                _optimizer_from_dict(o) if isinstance(o, Mapping) else o for o in optimizers
            )
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, which :meth:`from_dict` turns back into an equal specification."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @property
    def initializations(self) -> tuple[tuple[str, float | None], ...]:
        """Scheme and, for ``"normal"``, std of every initialization."""
        return (*(("normal", std) for std in self.stds), *((s, None) for s in self.schemes))

    @property
    def n_runs(self) -> int:
        """Number of networks that the sweep trains."""
        per_seed = len(self.hidden) * len(self.optimizers) * len(self.initializations)
        return per_seed * len(self.seed_numbers)

    @property
    def seed_numbers(self) -> tuple[int, ...]:
        """The seeds; a count given as `seeds` has become ``0, 1, ...``."""
        return cast("tuple[int, ...]", self.seeds)


def _optimizer_from_dict(mapping: Mapping[str, Any]) -> Optimizer:
    names = [f.name for f in dataclasses.fields(Optimizer)]
    for key in mapping:
        if key not in names:
            raise unknown_name("key of an optimizer", key, names)
    return Optimizer(**mapping)


@dataclass(frozen=True)
class Chunk:
    """Runs that train together: all that decides their outcome, and nothing else."""

    dataset: str
    widths: tuple[int, ...]
    activation: str
    optimizer: Optimizer
    seeds: tuple[int, ...]
    initializations: tuple[tuple[str, float | None], ...]
    epochs: int
    batch_size: int
    n_train: int
    loss_points: int
    probes: int
    probe_size: int

    @functools.cached_property
    def digest(self) -> str:
        """Address of the chunk: the hash of its specification."""
        text = json.dumps([RECORD_FORMAT, dataclasses.asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    @property
    def n_runs(self) -> int:
        """Number of networks."""
        return len(self.seeds) * len(self.initializations)

    @property
    def steps_per_epoch(self) -> int:
        """Updates in an epoch."""
        return self.n_train // self.batch_size

    @property
    def n_steps(self) -> int:
        """Updates in the whole training."""
        return self.epochs * self.steps_per_epoch

    @property
    def flops_per_step(self) -> int:
        """Floating-point operations of the matrix products of one update of all runs."""
        products = [i * o for i, o in itertools.pairwise(self.widths)]
        # Forward, weight gradient, and input gradient, which the first layer does not need.
        return self.n_runs * self.batch_size * (6 * sum(products) - 2 * products[0])


def _bytes_per_run(spec: SweepSpec, widths: Sequence[int], optimizer: Optimizer) -> int:
    n_parameters = sum((i + 1) * o for i, o in itertools.pairwise(widths))
    rows = max(spec.batch_size, spec.probe_size)
    activations = 3 * rows * sum(widths[1:])  # before and after the activation, and gradients
    return 4 * (n_parameters * optimizer.tensors_per_parameter + activations)


def chunks_of(spec: SweepSpec) -> list[Chunk]:
    """Split a sweep into chunks of at most `spec.memory_mb`, in a fixed order.

    A chunk holds whole seeds if one seed fits, and otherwise a part of the initializations of one
    seed. The same specification gives the same chunks on every machine.
    """
    seeds = spec.seed_numbers
    example = _dataset(spec.dataset, seeds[0])
    n_train = len(example.train_labels)
    if spec.train_size is not None:
        _check(
            spec.train_size <= n_train,
            f"train_size is {spec.train_size}, but {spec.dataset} has {n_train} examples.",
        )
        n_train = spec.train_size
    _check(
        spec.batch_size <= n_train,
        f"batch_size is {spec.batch_size}, but only {n_train} examples are trained on.",
    )
    initializations = spec.initializations
    chunks = []
    for hidden in spec.hidden:
        widths = (example.n_features, *(int(w) for w in hidden), example.n_classes)
        for optimizer in spec.optimizers:
            fit = spec.memory_mb * 1_000_000 // _bytes_per_run(spec, widths, optimizer)
            n_seeds = max(1, fit // len(initializations))
            n_parts = math.ceil(len(initializations) / max(1, fit)) if n_seeds == 1 else 1
            bounds = np.linspace(0, len(initializations), n_parts + 1).round().astype(int)
            chunks += [
                Chunk(
                    dataset=spec.dataset,
                    widths=widths,
                    activation=spec.activation,
                    optimizer=optimizer,
                    seeds=seeds[first : first + n_seeds],
                    initializations=initializations[low:high],
                    epochs=spec.epochs,
                    batch_size=spec.batch_size,
                    n_train=n_train,
                    loss_points=spec.loss_points,
                    probes=spec.probes,
                    probe_size=spec.probe_size,
                )
                for first in range(0, len(seeds), n_seeds)
                for low, high in itertools.pairwise(bounds)
            ]
    return chunks


@functools.lru_cache(maxsize=64)
def _cached_dataset(name: str, seed: int) -> data.Dataset:
    return data.load(name, seed=seed)


def _dataset(name: str, seed: int) -> data.Dataset:
    """The data set of one seed; MNIST is published split, so that all seeds share it."""
    return _cached_dataset(name, 0 if name == "mnist" else seed)


def initial_network(chunk: Chunk, seed: int, scheme: str, std: float | None) -> MLP:
    """The network of one run before training."""
    model = MLP(chunk.widths, chunk.activation)
    options = {} if std is None else {"std": std}
    initialize_(model, scheme, generator=torch.Generator().manual_seed(seed), **options)
    return model


def example_order(seed: int, epoch: int, n_examples: int) -> torch.Tensor:
    """Order of the training examples in one epoch (from 0) of one seed, shape ``(n_examples,)``."""
    state = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(state >> np.uint64(1)))
    return torch.randperm(n_examples, generator=generator)


def probe_steps(n_steps: int, probes: int) -> list[int]:
    """Steps at which layer statistics are recorded: 0, then geometric up to `n_steps`."""
    return [0, *sorted({round(s) for s in np.geomspace(1, n_steps, probes - 1)})]


def _layer_statistics(
    stack: BatchedMLP, inputs: torch.Tensor, labels: torch.Tensor
) -> dict[str, np.ndarray]:
    """The :data:`LAYER_STATISTICS` of each run, shape ``(n_runs, n_layers)``."""
    layer_inputs, pre_activations = stack.forward(inputs)
    _, logits_gradient = stack.loss(pre_activations[-1], labels)
    batch = labels.shape[1]
    found: dict[str, list[torch.Tensor]] = {name: [] for name in LAYER_STATISTICS}
    for k, delta in stack.backward(layer_inputs, pre_activations, logits_gradient):
        # Squares of float32 numbers below 1e-19 would be lost in float32.
        z = pre_activations[k].double()
        found["activation_variance"].append(z.var((1, 2), correction=0))
        per_example = delta.double() * batch
        found["gradient_variance"].append(per_example.var((1, 2), correction=0))
        gradient = stack.weight_gradient(delta, layer_inputs[k])
        found["gradient_norm"].append(gradient.double().square().sum((1, 2)).sqrt())
        if k + 1 < stack.n_layers:
            dead = (layer_inputs[k + 1] == 0).all(1).double().mean(1)
        else:
            dead = torch.full((stack.n_runs,), math.nan, dtype=torch.double, device=z.device)
        found["dead_fraction"].append(dead)
        found["weight_std"].append(stack.weights[k].double().std((1, 2), correction=0))
    return {n: torch.stack(layers[::-1], 1).cpu().numpy() for n, layers in found.items()}


class _Run:
    """The training of one chunk."""

    def __init__(self, chunk: Chunk, device: torch.device) -> None:
        self.chunk, self.device = chunk, device
        self.n_initializations = len(chunk.initializations)
        datasets = [_dataset(chunk.dataset, seed) for seed in chunk.seeds]
        shared = all(d is datasets[0] for d in datasets)

        def per_seed(name: str, size: int | None = None) -> torch.Tensor:
            tensors = [
                getattr(d, name)[:size].to(device) for d in datasets[: 1 if shared else None]
            ]
            return torch.stack(tensors).expand(len(datasets), *tensors[0].shape)

        self.inputs = per_seed("train_inputs", chunk.n_train)
        self.labels = per_seed("train_labels", chunk.n_train)
        self.test_inputs, self.test_labels = per_seed("test_inputs"), per_seed("test_labels")
        self.seed_index = torch.arange(len(datasets), device=device)[:, None]
        self.stack = BatchedMLP(
            [
                initial_network(chunk, seed, *initialization)
                for seed in chunk.seeds
                for initialization in chunk.initializations
            ],
            device,
        )
        # Plain SGD needs no gradient of its own: the product adds it to the weight directly.
        self.in_place = chunk.optimizer.name == "sgd" and not chunk.optimizer.momentum
        if not self.in_place:
            for parameter in self.stack.parameters():
                parameter.grad = torch.zeros_like(parameter)
            self.optimizer = chunk.optimizer.build(self.stack.parameters())

    def _spread(self, per_seed: torch.Tensor) -> torch.Tensor:
        """From ``(n_seeds, ...)`` to ``(n_runs, ...)``; a view where there is one seed."""
        if len(per_seed) == 1:
            return per_seed.expand(self.chunk.n_runs, *per_seed.shape[1:])
        return per_seed.repeat_interleave(self.n_initializations, 0)

    def _update(self, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """One step of the optimizer on one batch; the loss of each run before it."""
        stack, rate = self.stack, self.chunk.optimizer.learning_rate
        layer_inputs, pre_activations = stack.forward(inputs)
        loss, logits_gradient = stack.loss(pre_activations[-1], labels)
        for k, delta in stack.backward(layer_inputs, pre_activations, logits_gradient):
            if self.in_place:
                stack.weights[k].baddbmm_(delta.mT, layer_inputs[k], alpha=-rate)
                stack.biases[k].sub_(delta.sum(1, keepdim=True), alpha=rate)
            else:
                stack.weight_gradient(delta, layer_inputs[k], out=stack.weights[k].grad)
                torch.sum(delta, 1, keepdim=True, out=stack.biases[k].grad)
        if not self.in_place:
            self.optimizer.step()
        return loss

    def _evaluate(self) -> tuple[np.ndarray, np.ndarray]:
        """Test loss and accuracy of each run; an output that is not finite is no right answer."""
        n_test = self.test_labels.shape[1]
        loss = torch.zeros(self.chunk.n_runs, dtype=torch.double, device=self.device)
        correct = torch.zeros_like(loss)
        for first in range(0, n_test, EVALUATION_BATCH):
            rows = slice(first, first + EVALUATION_BATCH)
            labels = self._spread(self.test_labels[:, rows])
            logits = self.stack.predict(self._spread(self.test_inputs[:, rows]))
            right = (logits.argmax(2) == labels) & logits.isfinite().all(2)
            correct += right.sum(1)
            loss += self.stack.loss(logits, labels)[0].double() * labels.shape[1]
        return (loss / n_test).cpu().numpy(), (correct / n_test).cpu().numpy()

    def train(self, advance: Callable[[int], object]) -> dict[str, Any]:
        """Train to the end; the records of all runs, one entry a run in each."""
        chunk = self.chunk
        probe_inputs = self._spread(self.inputs[:, : chunk.probe_size])
        probe_labels = self._spread(self.labels[:, : chunk.probe_size])
        probe_at = probe_steps(chunk.n_steps, chunk.probes)
        n_points = min(chunk.loss_points, chunk.n_steps)
        point_at = np.linspace(0, chunk.n_steps, n_points + 1).round().astype(int)[1:].tolist()

        diverged = torch.full((chunk.n_runs,), -1, device=self.device)
        loss_sum = torch.zeros(chunk.n_runs, device=self.device)
        losses, probes, accuracies = [], [], []
        step, last_point = 0, 0
        test_loss, accuracy = self._evaluate()
        accuracies.append(accuracy)
        for epoch in range(chunk.epochs):
            order = torch.stack([example_order(s, epoch, chunk.n_train) for s in chunk.seeds])
            for batch in order.to(self.device).split(chunk.batch_size, 1)[: chunk.steps_per_epoch]:
                if step in probe_at:
                    probes.append(_layer_statistics(self.stack, probe_inputs, probe_labels))
                loss = self._update(
                    self._spread(self.inputs[self.seed_index, batch]),
                    self._spread(self.labels[self.seed_index, batch]),
                )
                diverged.masked_fill_((diverged < 0) & ~loss.isfinite(), step)
                loss_sum += loss
                step += 1
                if step in point_at:
                    losses.append((loss_sum / (step - last_point)).cpu().numpy())
                    loss_sum.zero_()
                    last_point = step
                advance(chunk.flops_per_step)
            test_loss, accuracy = self._evaluate()
            accuracies.append(accuracy)
        probes.append(_layer_statistics(self.stack, probe_inputs, probe_labels))
        last = diverged.cpu().numpy()
        last[(last < 0) & ~np.isfinite(test_loss)] = chunk.n_steps
        return {
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


_LIST_TYPES: dict[str, pa.DataType] = {
    "loss_step": pa.list_(pa.int32()),
    "loss": pa.list_(pa.float32()),
    "accuracy_by_epoch": pa.list_(pa.float32()),
    "probe_step": pa.list_(pa.int32()),
    **{name: pa.list_(pa.float64()) for name in LAYER_STATISTICS},
}


def run_chunk(
    chunk: Chunk, device: str | None = None, advance: Callable[[int], object] | None = None
) -> pa.Table:
    """Train the runs of one chunk; their rows, with the time taken in the table's metadata."""
    start = time.perf_counter()
    with torch.no_grad():
        records = _Run(chunk, torch.device(device or "cpu")).train(advance or (lambda _: None))
    runs = [(seed, *init) for seed in chunk.seeds for init in chunk.initializations]
    n = len(runs)
    columns: dict[str, Any] = {
        "dataset": [chunk.dataset] * n,
        "widths": ["-".join(map(str, chunk.widths))] * n,
        "depth": [len(chunk.widths) - 1] * n,
        "activation": [chunk.activation] * n,
        "scheme": [scheme for _, scheme, _ in runs],
        "std": [std for _, _, std in runs],
        "seed": [seed for seed, _, _ in runs],
        "optimizer": [chunk.optimizer.name] * n,
        "learning_rate": [chunk.optimizer.learning_rate] * n,
        "momentum": [chunk.optimizer.momentum] * n,
        "batch_size": [chunk.batch_size] * n,
        "n_train": [chunk.n_train] * n,
        "epochs": [chunk.epochs] * n,
        **records,
    }
    kinds: dict[str, pa.DataType] = {
        "std": pa.float64(),
        "learning_rate": pa.float64(),
        "momentum": pa.float64(),
        "diverged_step": pa.int64(),
        **_LIST_TYPES,
    }
    arrays = {
        name: pa.array(
            [np.ravel(v) for v in values] if name in _LIST_TYPES else values, type=kinds.get(name)
        )
        for name, values in columns.items()
    }
    seconds = time.perf_counter() - start
    metadata = {"initscope": json.dumps({"seconds": seconds, "environment": environment(device)})}
    return pa.table(arrays).replace_schema_metadata(metadata)


def environment(device: str | None = None) -> dict[str, str]:
    """What a result was computed with: versions and processor."""
    kind = torch.device(device or "cpu").type
    processor = torch.cuda.get_device_name() if kind == "cuda" else f"{os.cpu_count()} CPU cores"
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "device": processor,
    }


def run_sweep(
    spec: SweepSpec,
    out: str | Path | None = None,
    executor: Executor | None = None,
    device: str | None = None,
    *,
    progress: bool = True,
) -> pd.DataFrame:
    """Train every network of `spec`; one row a run.

    The networks of a chunk train at once, each exactly as if it were alone (to float32 rounding).
    With `out`, every finished chunk is kept there: killed and started again, a sweep goes on
    where it was and ends with the same table. A finished sweep is read, not run again.

    Parameters
    ----------
    spec
        What to train.
    out
        Folder for the table, ``<spec.name>.parquet``, and for the chunks until it is there.
    executor
        Any `concurrent.futures.Executor`; its workers train the chunks. By default this process
        trains them one after another.
    device
        ``"cpu"`` (default), ``"cuda"``, ...
    progress
        Show a progress bar with the time left.

    Returns
    -------
    pandas.DataFrame
        Columns, beside those that say which run it is:

        - ``diverged_step``: number of updates made when the training loss was first not finite;
          missing if it never was. 0 is at initialization.
        - ``train_loss``: the last entry of ``loss``; ``test_loss``, ``test_accuracy`` after the
          last update (cross-entropy in nats; share of right answers, 0 for outputs not finite).
        - ``loss_step``, ``loss``: training loss, each entry the mean over the updates since the
          entry before.
        - ``accuracy_by_epoch``: test accuracy at initialization and after each epoch.
        - ``probe_step``, then for each probe step and weight layer, flattened in that order (see
          :func:`to_tidy`): ``activation_variance``, of the pre-activations over examples and
          units; ``gradient_variance``, of the gradient of one example's loss with respect to
          them; ``gradient_norm``, of the weight's gradient of the mean loss; ``dead_fraction``,
          the share of units that are 0 on all probe examples (NaN for the output layer);
          ``weight_std``, per element.

        ``table.attrs`` holds the specification, the environment and the seconds it took.

    Raises
    ------
    UsageError
        The folder holds a table of the same name and another specification.
    OSError
        The folder cannot be written, or the disk is full; finished chunks are kept.
    SweepInterrupted
        Ctrl-C; finished chunks are kept.
    """
    folder = None if out is None else Path(out)
    if folder is not None and (finished := _finished_table(folder, spec)) is not None:
        return finished
    if device is not None:
        _check_device(device)
    chunks = chunks_of(spec)
    tables: dict[str, pa.Table] = {}
    if folder is not None:
        for chunk in chunks:
            if (kept := _read_chunk(folder, spec, chunk)) is not None:
                tables[chunk.digest] = kept
    pending = [chunk for chunk in chunks if chunk.digest not in tables]
    bar = tqdm(
        total=sum(c.flops_per_step * c.n_steps for c in chunks),
        initial=sum(c.flops_per_step * c.n_steps for c in chunks if c.digest in tables),
        desc=f"{spec.name}: {spec.n_runs} networks",
        unit="FLOP",
        unit_scale=True,
        disable=not progress,
    )
    try:
        with bar:
            for chunk, table in _train(pending, executor, device, bar.update):
                if folder is not None:
                    _write_chunk(folder, spec, chunk, table)
                tables[chunk.digest] = table
    except KeyboardInterrupt:
        raise SweepInterrupted(_progress_message(folder, len(tables), len(chunks))) from None
    except OSError as error:
        if folder is None:
            raise
        state = _progress_message(folder, len(tables), len(chunks))
        hint = "free some space" if error.errno == errno.ENOSPC else "mend this"
        reason = error.strerror or str(error)
        raise OSError(error.errno, f"{reason}: {hint} first. {state}") from error
    table = _combined(spec, [tables[chunk.digest] for chunk in chunks])
    if folder is not None:
        _write_parquet(_table_path(folder, spec), table)
        _remove_chunks(folder, spec)
    return _frame(table)


class SweepInterrupted(KeyboardInterrupt):
    """Ctrl-C during a sweep; the message says what is kept."""


def _check_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"device {device!r} is not to be had here ({reason}).") from None


def _train(
    pending: list[Chunk],
    executor: Executor | None,
    device: str | None,
    advance: Callable[[int], object],
) -> Iterator[tuple[Chunk, pa.Table]]:
    """Yield each chunk with its table as soon as it is there."""
    if executor is None:
        for chunk in pending:
            yield chunk, run_chunk(chunk, device, advance)
        return
    futures = {executor.submit(run_chunk, chunk, device): chunk for chunk in pending}
    try:
        for future in as_completed(futures):
            chunk = futures[future]
            yield chunk, future.result()
            advance(chunk.flops_per_step * chunk.n_steps)
    finally:
        for future in futures:
            future.cancel()


def _progress_message(folder: Path | None, done: int, total: int) -> str:
    if folder is None:
        return f"Stopped after {done} of {total} chunks; nothing is kept without an out folder."
    return (
        f"Stopped after {done} of {total} chunks, which are kept in {folder}: "
        f"the same call goes on from there."
    )


# --- Files: one parquet a chunk while the sweep is under way, then one for the table -----------


def _table_path(folder: Path, spec: SweepSpec) -> Path:
    return folder / f"{spec.name}.parquet"


def _chunk_folder(folder: Path, spec: SweepSpec) -> Path:
    return folder / f"{spec.name}.chunks"


def _finished_table(folder: Path, spec: SweepSpec) -> pd.DataFrame | None:
    """The table of an earlier call, if it is there and of the same specification."""
    path = _table_path(folder, spec)
    if not path.exists():
        return None
    try:
        table = _read_parquet(path)
        found = json.loads(table.schema.metadata[b"initscope"])["spec"]
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{path} is not a readable table of a sweep ({error}). Remove it to run the sweep "
            f"again, or name another out folder."
        ) from error
    wanted = spec.to_dict()
    different = sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k))
    if different:
        raise UsageError(
            f"{path} holds the results of another specification (different: "
            f"{', '.join(different)}). Name another out folder or another spec.name, or remove "
            f"the file."
        )
    return _frame(table)


def _read_chunk(folder: Path, spec: SweepSpec, chunk: Chunk) -> pa.Table | None:
    path = _chunk_folder(folder, spec) / f"{chunk.digest}.parquet"
    if not path.exists():
        return None
    try:
        return _read_parquet(path)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        tqdm.write(f"{path.name} is damaged ({reason}): its runs are trained again.")
        return None


def _write_chunk(folder: Path, spec: SweepSpec, chunk: Chunk, table: pa.Table) -> None:
    _write_parquet(_chunk_folder(folder, spec) / f"{chunk.digest}.parquet", table)


def _remove_chunks(folder: Path, spec: SweepSpec) -> None:
    """Remove the chunks that the finished table holds."""
    chunks = _chunk_folder(folder, spec)
    for path in chunks.glob("*"):
        path.unlink(missing_ok=True)
    if chunks.is_dir():
        chunks.rmdir()


def _read_parquet(path: Path) -> pa.Table:
    return pq.read_table(path, page_checksum_verification=True, partitioning=None)


def _write_parquet(path: Path, table: pa.Table) -> None:
    """Write whole or not at all: to a temporary file, to the disk, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    floats = [f.name for f in table.schema if pa.types.is_floating(f.type)]
    floats += [
        f"{f.name}.list.element"
        for f in table.schema
        if pa.types.is_list(f.type) and pa.types.is_floating(f.type.value_type)
    ]
    others = [f.name for f in table.schema if not pa.types.is_nested(f.type)]
    try:
        with temporary.open("wb") as file:
            pq.write_table(
                table,
                file,
                compression="zstd",
                compression_level=19,
                use_dictionary=[n for n in others if n not in floats],
                use_byte_stream_split=floats,
                write_page_checksum=True,
            )
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _combined(spec: SweepSpec, tables: Sequence[pa.Table]) -> pa.Table:
    records = [json.loads(t.schema.metadata[b"initscope"]) for t in tables]
    environments = []
    for record in records:
        if record["environment"] not in environments:
            environments.append(record["environment"])
    metadata = {
        "spec": spec.to_dict(),
        "seconds": sum(record["seconds"] for record in records),
        "environments": environments,
    }
    table = pa.concat_tables([t.replace_schema_metadata(None) for t in tables])
    return table.replace_schema_metadata({"initscope": json.dumps(metadata)})


def _frame(table: pa.Table) -> pd.DataFrame:
    metadata = json.loads(table.schema.metadata[b"initscope"])
    frame = table.replace_schema_metadata(None).to_pandas()
    frame["diverged_step"] = pd.array(table["diverged_step"].to_pylist(), dtype="Int64")
    frame.attrs = metadata
    return frame


_TIDY_NAMES: dict[str, tuple[str, str]] = {
    "activation_variance": ("activation", "variance"),
    "gradient_variance": ("gradient", "variance"),
    "gradient_norm": ("gradient", "norm"),
    "dead_fraction": ("activation", "dead_fraction"),
    "weight_std": ("weight", "std"),
}


def to_tidy(table: pd.DataFrame) -> pd.DataFrame:
    """Layer statistics of a sweep in the tidy schema, one row a number.

    Returns
    -------
    pandas.DataFrame
        The columns that say which run it is, then ``step, layer, role, kind, stat, value``;
        layers are counted from 1, the role is ``"linear"``.
    """
    which = ["dataset", "widths", "depth", "activation", "scheme", "std", "seed"]
    which += ["optimizer", "learning_rate", "momentum"]
    n_probes = table["probe_step"].map(len).to_numpy()
    depth = table["depth"].to_numpy()
    per_run = n_probes * depth
    tidy = table[which].loc[table.index.repeat(per_run)].reset_index(drop=True)
    tidy["step"] = np.concatenate(
        [np.repeat(s, d) for s, d in zip(table["probe_step"], depth, strict=True)]
    )
    tidy["layer"] = np.concatenate(
        [np.tile(np.arange(1, d + 1), n) for n, d in zip(n_probes, depth, strict=True)]
    )
    tidy["role"] = "linear"
    pieces = [
        tidy.assign(kind=kind, stat=stat, value=np.concatenate(table[name].to_list()))
        for name, (kind, stat) in _TIDY_NAMES.items()
    ]
    return pd.concat(pieces, ignore_index=True)
