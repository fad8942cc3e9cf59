"""How a sweep is split: chunks of networks that train at once and fit into memory.

Read without torch; only to load the data, whose sizes decide the widths, takes it.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from initscope import data
from initscope.checks import require
from initscope.data.arrays import array_sizes
from initscope.data.dataset import DATASETS
from initscope.errors import shown
from initscope.memory import require_memory
from initscope.schema import evaluation_steps
from initscope.sweep.optimizers import Optimizer
from initscope.sweep.schedule import fewest_probes, probe_steps
from initscope.sweep.spec import SweepSpec, digest_of
from initscope.theory.scheme import Scheme

if TYPE_CHECKING:
    from initscope.data.dataset import Dataset

RECORD_FORMAT = 1
"""Part of every digest: a change of what a run computes or records makes old chunks strangers."""

BYTES_OF_AN_EVALUATION = 200
"""Of memory, that an evaluation in the course of training takes at the least: when, and the arrays
of losses and accuracies."""


@dataclass(frozen=True)
class Chunk:
    """Runs that train together: all that decides their outcome, and nothing else."""

    dataset: str
    widths: tuple[int, ...]
    activation: str
    optimizer: Optimizer
    seeds: tuple[int, ...]
    initializations: tuple[Scheme, ...]
    epochs: int
    batch_size: int
    n_train: int
    loss_points: int
    probes: int
    probe_size: int
    evaluations_per_epoch: int = 1
    validation_size: int = 0
    dataset_digest: str | None = None

    @functools.cached_property
    def digest(self) -> str:
        """Address of the chunk: the hash of its specification."""
        # What could be said in the first version is written as it was then, so that a chunk keeps
        # its address: a scheme as its name and its std or nothing.
        schemes = [
            [s.name, dict(s.options) if s.options and s.std is None else s.std]
            for s in self.initializations
        ]
        fields = dataclasses.asdict(self) | {"initializations": schemes}
        later = {"evaluations_per_epoch": 1, "validation_size": 0, "dataset_digest": None}
        for name, at_first in later.items():
            if fields[name] == at_first:
                del fields[name]
        if self.dataset_digest is not None:  # which is the same wherever the file lies
            del fields["dataset"]
        text = json.dumps([RECORD_FORMAT, fields], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    @property
    def dataset_name(self) -> str:
        """Name of the data set in the table: of a file, what stands before .npz."""
        return self.dataset if self.dataset_digest is None else Path(self.dataset).stem

    def data(self, seed: int) -> Dataset:
        """Load the data set of a seed."""
        return dataset_of_seed(self.dataset, seed, self.dataset_digest)

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
    def evaluation_steps(self) -> list[int]:
        """Numbers of updates after which the test set is evaluated."""
        return evaluation_steps(self.epochs, self.steps_per_epoch, self.evaluations_per_epoch)

    @property
    def n_evaluations(self) -> int:
        """Number of :attr:`evaluation_steps`."""
        return 1 + self.epochs * min(self.evaluations_per_epoch, self.steps_per_epoch)

    @property
    def probe_steps(self) -> list[int]:
        """Numbers of updates after which the layer statistics are recorded."""
        return probe_steps(self.n_steps, self.probes)

    def _flops_of_gradients(self, n_examples: int) -> int:
        products = [i * o for i, o in itertools.pairwise(self.widths)]
        # Forward, weight gradient, and input gradient, which the first layer does not need.
        return self.n_runs * n_examples * (6 * sum(products) - 2 * products[0])

    @property
    def flops_per_step(self) -> int:
        """Floating-point operations of the matrix products of one update of all runs."""
        return self._flops_of_gradients(self.batch_size)

    @property
    def flops_per_probe(self) -> int:
        """Those of the layer statistics of all runs, which are of gradients too."""
        return self._flops_of_gradients(min(self.probe_size, self.n_train))

    @property
    def flops_per_evaluation(self) -> int:
        """Those of one evaluation of all runs, on the test and the validation set."""
        n_examples = len(self.data(self.seeds[0]).test_labels) + self.validation_size
        return self.n_runs * n_examples * 2 * sum(i * o for i, o in itertools.pairwise(self.widths))

    @property
    def flops(self) -> int:
        """Those of all updates, evaluations and layer statistics."""
        return (
            self.flops_per_step * self.n_steps
            + self.flops_per_evaluation * self.n_evaluations
            + self.flops_per_probe * len(self.probe_steps)
        )


@functools.lru_cache(maxsize=64)
def _load(name: str, seed: int) -> Dataset:
    return data.load(name, seed=seed)


@functools.lru_cache(maxsize=8)
def _load_own(path: str, digest: str) -> Dataset:
    found = digest_of(path)
    require(
        found == digest,
        f"{shown(path)} has changed since its sweep was specified: its SHA-256 begins with "
        f"{found[:12]}, not {digest[:12]}. Specify it anew, without dataset_digest and by another "
        f"name.",
    )
    own = data.load_arrays(path)
    return dataclasses.replace(
        own, train_inputs=own.train_inputs.flatten(1), test_inputs=own.test_inputs.flatten(1)
    )


def dataset_of_seed(name: str, seed: int, digest: str | None = None) -> Dataset:
    """Load the data set of one seed; MNIST and files come split, so that all seeds share them."""
    if digest is not None:
        return _load_own(name, digest)
    return _load(name, 0 if name == "mnist" else seed)


def chunks_of(spec: SweepSpec) -> list[Chunk]:
    """Split a sweep into chunks of at most `spec.memory_mb`, in a fixed order.

    A chunk holds whole seeds if one seed fits, and otherwise a part of the initializations of one
    seed. Their sizes differ by one seed or initialization at most, and their number is even where
    it can be: two workers have as much to do. The same specification gives the same chunks on
    every machine.

    >>> from initscope.sweep import SweepSpec
    >>> [len(chunk.seeds) for chunk in chunks_of(SweepSpec(stds=(0.1,), seeds=2))]
    [2]
    """
    seeds = spec.seed_numbers
    # A worker may have another working directory.
    dataset = str(Path(spec.dataset).absolute()) if spec.dataset_digest else spec.dataset
    example = dataset_of_seed(dataset, seeds[0], spec.dataset_digest)
    n_train = check_sizes(spec, len(example.train_labels))
    initializations = spec.initializations
    chunks = []
    for hidden in spec.hidden:
        widths = (example.n_features, *hidden, example.n_classes)
        for optimizer in spec.optimizers:
            fit = spec.memory_mb * 1_000_000 // bytes_per_run(spec, widths, optimizer)
            chunks += [
                Chunk(
                    dataset=dataset,
                    dataset_digest=spec.dataset_digest,
                    widths=widths,
                    activation=spec.activation,
                    optimizer=optimizer,
                    seeds=seeds[first:last],
                    initializations=initializations[low:high],
                    epochs=spec.epochs,
                    batch_size=spec.batch_size,
                    n_train=n_train,
                    loss_points=spec.loss_points,
                    probes=spec.probes,
                    probe_size=spec.probe_size,
                    evaluations_per_epoch=spec.evaluations_per_epoch,
                    validation_size=spec.validation_size,
                )
                for first, last in _parts(len(seeds), fit // len(initializations))
                for low, high in _parts(len(initializations), fit)
            ]
    return chunks


def _n_parts(n: int, at_most: int) -> int:
    """Return into how many parts `n` are split: one, or an even number, unless each is alone."""
    parts = math.ceil(n / max(1, at_most))
    return parts if parts == 1 else min(n, parts + parts % 2)


def _parts(n: int, at_most: int) -> Iterator[tuple[int, int]]:
    """Yield from where to where each part goes."""
    bounds = np.linspace(0, n, _n_parts(n, at_most) + 1).round().astype(int)
    return itertools.pairwise(bounds.tolist())


def bytes_per_run(spec: SweepSpec, widths: Sequence[int], optimizer: Optimizer) -> int:
    """Return the bytes a network takes in training: weights, optimizer state, activations."""
    n_parameters = sum((i + 1) * o for i, o in itertools.pairwise(widths))
    rows = max(spec.batch_size, spec.probe_size)
    activations = 3 * rows * sum(widths[1:])  # before and after the activation, and gradients
    return 4 * (n_parameters * optimizer.tensors_per_parameter + activations)


def check_sizes(spec: SweepSpec, n_train: int) -> int:
    """Return how many of `n_train` examples are trained on; `UsageError` if too few are there."""
    held_out = spec.validation_size
    sizes = {"train_size": spec.train_size, "validation_size": held_out}
    named = {name: size for name, size in sizes.items() if size}
    are = f"{' and '.join(named)} {'are' if len(named) > 1 else 'is'}"
    require(
        (spec.train_size or 1) + held_out <= n_train,
        f"{are} {' and '.join(map(str, named.values()))}, but {spec.dataset} has {n_train} "
        f"examples to train on.",
    )
    n_train = n_train - held_out if spec.train_size is None else spec.train_size
    require(
        spec.batch_size <= n_train,
        f"batch_size is {spec.batch_size}, but only {n_train} examples are trained on"
        f"{', by train_size' if spec.train_size else ', by validation_size' * bool(held_out)}.",
    )
    return n_train


def require_room(spec: SweepSpec, device: str | None = None, *, elsewhere: bool = False) -> None:
    """Raise `UsageError` for a sweep that cannot be trained for want of memory; loads nothing.

    All is counted from below, so that what is refused certainly does not fit. What a GPU, or a
    worker `elsewhere`, holds is not known here: of that only what passes through this machine
    counts.

    Parameters
    ----------
    spec, device
        As for :func:`initscope.sweep.run_sweep`.
    elsewhere
        Whether the chunks are trained by workers that may be on other machines.
    """
    sizes = array_sizes(spec.dataset) if spec.dataset_digest else DATASETS[spec.dataset]
    if sizes.n_train is not None:
        n_train = check_sizes(spec, sizes.n_train)
    else:  # of a copy that may have any number of examples, but as many as are asked for
        n_train = spec.train_size or spec.batch_size
    steps_per_epoch = max(1, n_train // spec.batch_size)
    n_steps = spec.epochs * steps_per_epoch
    n_evaluations = spec.epochs * min(spec.evaluations_per_epoch, steps_per_epoch)
    n_probes = fewest_probes(n_steps, spec.probes)
    depth = min(len(hidden) for hidden in spec.hidden) + 1
    networks = f"{spec.n_runs:,} network{'s' * (spec.n_runs != 1)}"
    n_runs, n_initializations = spec.n_runs, len(spec.stds) + len(spec.schemes)
    for needed, what, advice in (
        (
            n_evaluations * max(BYTES_OF_AN_EVALUATION, 4 * n_runs),
            f"{n_evaluations:,} evaluations of {networks}",
            "give fewer epochs, evaluations_per_epoch or networks",
        ),
        (
            n_probes * max(60, 40 * depth * n_runs),
            f"the layer statistics of {networks} at {n_probes:,} steps",
            "give fewer probes or networks",
        ),
        (
            min(spec.loss_points, n_steps) * 8 * max(2, n_runs),
            f"{min(spec.loss_points, n_steps):,} points of the loss of {networks}",
            "give fewer loss_points or networks",
        ),
    ):
        require_memory(needed, what, advice)
    if elsewhere:
        return
    on_gpu = device is not None and device != "cpu"
    for hidden in spec.hidden:
        widths = (sizes.n_features, *hidden, sizes.n_classes)
        n_parameters = sum((i + 1) * o for i, o in itertools.pairwise(widths))
        named = f"a network of hidden widths {'-'.join(map(str, hidden[:6]))}"
        named += "..." if len(hidden) > 6 else ""
        # It is drawn, kept, and stacked with the others, wherever it is trained then.
        require_memory(12 * n_parameters, f"{named} ({n_parameters:,} weights)", "make it narrower")
        if on_gpu:
            continue
        for optimizer in spec.optimizers:
            each = 4 * n_parameters * max(2, optimizer.tensors_per_parameter)
            activations = 4 * spec.batch_size * sum(widths)
            require_memory(
                each + activations,
                f"training {named} with {optimizer.name} on batches of {spec.batch_size:,}",
                "make it narrower, or batch_size smaller",
            )
            fit = spec.memory_mb * 1_000_000 // bytes_per_run(spec, widths, optimizer)
            n_seeds = len(spec.seed_numbers)
            together = n_seeds // _n_parts(n_seeds, fit // n_initializations)
            together *= n_initializations // _n_parts(n_initializations, fit)
            require_memory(
                together * (each + activations),
                f"{together:,} networks that train at once, as many as memory_mb allows",
                "make memory_mb smaller",
            )
