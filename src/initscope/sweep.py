"""Sweeps over the initialization: many networks trained at once, recorded, resumable.

>>> spec = SweepSpec(dataset="wine", stds=(0.01, 0.1), seeds=2, epochs=2)
>>> table = run_sweep(spec, progress=False)
>>> table[["std", "seed", "diverged_step"]].shape
(4, 3)
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import json
import math
import numbers
import queue
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from tqdm import tqdm

from initscope import data
from initscope.batched_training import Chunk, Optimizer, Scheme, dataset_of_seed, run_chunk
from initscope.errors import UsageError, is_number, require, require_name, unknown_name
from initscope.init import SCHEMES, scheme_options
from initscope.models import ACTIVATIONS
from initscope.sweep_records import (
    chunk_folder,
    finished_table,
    read_chunk,
    remove_chunks,
    to_frame,
    whole_table,
    write_chunk,
    write_finished,
)

_COUNTS = (
    "epochs",
    "batch_size",
    "train_size",
    "loss_points",
    "probes",
    "probe_size",
    "memory_mb",
    "evaluations_per_epoch",
)

SUBMITTED_AT_ONCE = 1000
"""Chunks that an executor holds at most: schedulers of clusters limit the jobs of a user."""


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
        Further initializations: names of :data:`initscope.init.SCHEMES`, or, with options,
        :class:`Scheme`. In plain values, for example in YAML, one with options is a mapping:
        ``{name: kaiming, mode: fan_out, distribution: uniform}``.
    optimizers
        One or more :class:`Optimizer`.
    seeds
        How many, counted from 0, or which. A seed decides the draws of the weights, the order of
        the training examples and, for Wine and digits, the split. Runs of one seed share all of
        these: their weights are the same standard-normal draws, scaled; those of schemes with
        uniform distribution the same uniform draws; an orthogonal one is made of the same normal
        draws.
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
    evaluations_per_epoch
        How many times in an epoch the accuracy on the test set is recorded, evenly spaced, the
        last time at its end.
    """

    dataset: str = "wine"
    hidden: tuple[tuple[int, ...], ...] = ((64, 32),)
    activation: str = "relu"
    stds: tuple[float, ...] = ()
    schemes: tuple[Scheme | str, ...] = ()
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
    evaluations_per_epoch: int = 1

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        if isinstance(self.optimizers, Optimizer):
            put("optimizers", (self.optimizers,))
        if isinstance(self.seeds, numbers.Real):
            require(
                is_number(self.seeds, 1, whole=True),
                f"seeds must be a whole number of at least 1, or a list, not {self.seeds!r}.",
            )
            put("seeds", tuple(range(int(self.seeds))))
        for name in ("hidden", "stds", "schemes", "optimizers", "seeds"):
            value = getattr(self, name)
            require(_is_list(value), f"{name} must be a list, not {value!r}.")
            put(name, tuple(value))
        put("schemes", tuple(_scheme(value) for value in self.schemes))
        require(
            all(_is_list(widths) for widths in self.hidden),
            f"hidden is a list of architectures, each a list of widths: "
            f"[[256, 128]] and not {list(self.hidden)}.",
        )
        put("hidden", tuple(tuple(widths) for widths in self.hidden))
        self._validate()
        # Plain values, for the specification is written as JSON.
        put("hidden", tuple(tuple(int(width) for width in widths) for widths in self.hidden))
        put("stds", tuple(float(std) for std in self.stds))
        put("seeds", tuple(int(seed) for seed in self.seed_numbers))
        for name in _COUNTS:
            if getattr(self, name) is not None:
                put(name, int(getattr(self, name)))

    def _validate(self) -> None:
        require_name("data set", self.dataset, data.DATASETS)
        require_name("activation", self.activation, ACTIVATIONS)
        require(bool(self.hidden), "hidden is empty: give at least one architecture.")
        for widths in self.hidden:
            require(
                all(is_number(width, 1, whole=True) for width in widths),
                f"hidden widths {list(widths)} must be whole numbers of at least 1.",
            )
        for std in self.stds:
            require(is_number(std, 0), f"stds must be finite numbers of at least 0, not {std!r}.")
        require(bool(self.stds or self.schemes), "nothing to sweep: stds and schemes are empty.")
        require(bool(self.optimizers), "optimizers is empty: give at least one.")
        for optimizer in self.optimizers:
            require(
                isinstance(optimizer, Optimizer), f"optimizers holds {optimizer!r}: no Optimizer."
            )
        require(bool(self.seed_numbers), "seeds is empty: give at least one.")
        for seed in self.seed_numbers:
            require(
                is_number(seed, 0, whole=True),
                f"seeds must be whole numbers of at least 0, not {seed!r}.",
            )
        for name in ("hidden", "stds", "schemes", "optimizers", "seeds"):
            values = getattr(self, name)
            require(
                len(set(values)) == len(values),
                f"{name} holds a value twice: {', '.join(map(str, values))}.",
            )
        for name in _COUNTS:
            value, least = getattr(self, name), 2 if name == "probes" else 1
            none = name == "train_size"
            require(
                is_number(value, least, whole=True) or (none and value is None),
                f"{name} must be a whole number of at least {least}"
                f"{', or None' if none else ''}, not {value!r}.",
            )
        require(
            isinstance(self.name, str) and bool(self.name) and Path(self.name).name == self.name,
            f"name {self.name!r} must be a plain file name.",
        )

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> SweepSpec:
        """Specification from plain values, as read from YAML or JSON.

        Lists stand for tuples, mappings for each :class:`Optimizer`, and for each
        :class:`Scheme` that has options. Raises `UsageError` for an unknown key, with the nearest
        names.
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
        schemes = [cast(Scheme, scheme).plain for scheme in self.schemes]
        return json.loads(json.dumps(dataclasses.asdict(self) | {"schemes": schemes}))

    @property
    def initializations(self) -> tuple[Scheme, ...]:
        """Every initialization: the scheme ``"normal"`` with each std, then the others."""
        normal = (Scheme("normal", {"std": std}) for std in self.stds)
        return (*normal, *(cast(Scheme, scheme) for scheme in self.schemes))

    @property
    def n_runs(self) -> int:
        """Number of networks that the sweep trains."""
        per_seed = len(self.hidden) * len(self.optimizers) * len(self.initializations)
        return per_seed * len(self.seed_numbers)

    @property
    def seed_numbers(self) -> tuple[int, ...]:
        """The seeds; a count given as `seeds` has become ``0, 1, ...``."""
        return cast("tuple[int, ...]", self.seeds)


def _scheme(value: Any) -> Scheme:
    name = value.get("name") if isinstance(value, Mapping) else getattr(value, "name", value)
    with_std = [scheme for scheme in SCHEMES if "std" in scheme_options(scheme)]
    require(name not in with_std, "give the stds of scheme 'normal' as stds.")
    return Scheme.of(value)


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)


def _optimizer_from_dict(mapping: Mapping[str, Any]) -> Optimizer:
    names = [f.name for f in dataclasses.fields(Optimizer)]
    for key in mapping:
        if key not in names:
            raise unknown_name("key of an optimizer", key, names)
    return Optimizer(**mapping)


def bytes_per_run(spec: SweepSpec, widths: Sequence[int], optimizer: Optimizer) -> int:
    """Bytes that a network takes while it trains: weights, state of the optimizer, activations."""
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
    example = dataset_of_seed(spec.dataset, seeds[0])
    n_train = len(example.train_labels)
    if spec.train_size is not None:
        require(
            spec.train_size <= n_train,
            f"train_size is {spec.train_size}, but {spec.dataset} has {n_train} examples.",
        )
        n_train = spec.train_size
    require(
        spec.batch_size <= n_train,
        f"batch_size is {spec.batch_size}, but only {n_train} examples are trained on.",
    )
    initializations = spec.initializations
    chunks = []
    for hidden in spec.hidden:
        widths = (example.n_features, *hidden, example.n_classes)
        for optimizer in spec.optimizers:
            fit = spec.memory_mb * 1_000_000 // bytes_per_run(spec, widths, optimizer)
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
                    evaluations_per_epoch=spec.evaluations_per_epoch,
                )
                for first in range(0, len(seeds), n_seeds)
                for low, high in itertools.pairwise(bounds)
            ]
    return chunks


def run_sweep(
    spec: SweepSpec,
    out: str | Path | None = None,
    executor: Executor | None = None,
    device: str | None = None,
    *,
    threads: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Train every network of `spec`; one row a run.

    The networks of a chunk train at once, each exactly as if it were alone (to float32 rounding).
    With `out`, every finished chunk is kept there: killed and started again, a sweep goes on
    where it was and ends with the same table. A finished sweep is read, not run again. Several
    sweeps may run in one folder at once, also of the same name.

    The same specification gives the same numbers to the last bit on the same kind of processor,
    with the same number of `threads` and the same version of torch; elsewhere it gives the same
    to float32 rounding. It makes no difference which process trains a chunk, nor in which order.

    Parameters
    ----------
    spec
        What to train.
    out
        Folder for the table, ``<spec.name>.parquet``, and for the chunks until it is there.
    executor
        Any `concurrent.futures.Executor`; its workers train the chunks, and only this process
        writes to `out`. A chunk that fails does not stop the others. By default this process
        trains the chunks one after another.
    device
        ``"cpu"`` (default), ``"cuda"``, ``"cuda:1"``, ...; on the workers, where they are given.
        Products are those of float32: TF32, bfloat16 and autocast are off while it trains,
        whatever is set outside, so that devices can be compared.
    threads
        Torch threads that train a chunk. By default those that torch has in the process that
        does: usually one a core here, and 1 on a worker of Dask.
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
        - ``accuracy_by_epoch``: test accuracy at initialization and after each epoch, or after
          each part of one (:func:`initscope.schedule.evaluation_steps`).
        - ``probe_step``, then for each probe step and weight layer, flattened in that order (see
          :func:`to_tidy`): ``forward_variance``, of the pre-activations over examples and
          units; ``backward_variance``, of the gradient of one example's loss with respect to
          them; ``gradient_norm``, of the weight's gradient of the mean loss; ``dead_fraction``,
          the share of units that are 0 on all probe examples (NaN for the output layer);
          ``weight_std``, per element.

        ``table.attrs`` holds the specification, the environment and the seconds it took.

    Raises
    ------
    UsageError
        The folder holds a table of the same name and another specification; also if another
        sweep has written it in the meantime (then the chunks are kept).
    OSError
        The folder cannot be written, or the disk is full; finished chunks are kept.
    Exception
        What a chunk raised on a worker, after the other chunks have been trained and kept.
    SweepInterrupted
        Ctrl-C; finished chunks are kept.
    """
    require(
        threads is None or is_number(threads, 1, whole=True),
        f"threads must be a whole number of at least 1, or None, not {threads!r}.",
    )
    folder = None if out is None else Path(out)
    if folder is not None and (finished := finished_table(folder, spec)) is not None:
        return to_frame(finished)
    if device is not None and executor is None:
        check_device(device)
    chunks = chunks_of(spec)
    tables: dict[str, pa.Table] = {}

    def keep(chunk: Chunk, table: pa.Table) -> None:
        if folder is not None:
            write_chunk(folder, spec, chunk, table)
        tables[chunk.digest] = table

    def state() -> str:
        return _progress_message(folder, len(tables), len(chunks))

    try:
        if folder is not None:
            # Here already, so that a folder that cannot be made costs no training.
            chunk_folder(folder, spec).mkdir(parents=True, exist_ok=True)
            for chunk in chunks:
                if (kept := read_chunk(folder, spec, chunk)) is not None:
                    tables[chunk.digest] = kept
        pending = [chunk for chunk in chunks if chunk.digest not in tables]
        with tqdm(
            total=sum(c.flops for c in chunks),
            initial=sum(c.flops for c in chunks if c.digest in tables),
            desc=f"{spec.name}: {spec.n_runs} networks",
            unit="FLOP",
            unit_scale=True,
            disable=not progress,
        ) as bar:
            if executor is None:
                for chunk in pending:
                    keep(chunk, run_chunk(chunk, device, threads, bar.update))
            else:
                _train_elsewhere(pending, executor, device, threads, keep, bar.update)
        whole = whole_table(spec, [tables[chunk.digest] for chunk in chunks])
        if folder is not None:
            try:
                whole = write_finished(folder, spec, whole)
            except UsageError as error:
                for chunk in chunks:  # the other sweep has tidied away those that both have
                    write_chunk(folder, spec, chunk, tables[chunk.digest])
                raise UsageError(f"{error} {state()}") from error
            remove_chunks(folder, spec, chunks)
    except KeyboardInterrupt:
        raise SweepInterrupted(state()) from None
    except OSError as error:
        if folder is None:
            raise
        hint = "free some space" if error.errno == errno.ENOSPC else "mend this"
        reason = error.strerror or str(error)
        where = f" ({error.filename})" if error.filename else ""
        raise OSError(error.errno, f"{reason}{where}: {hint} first. {state()}") from error
    return to_frame(whole)


class SweepInterrupted(KeyboardInterrupt):
    """Ctrl-C during a sweep; the message says what is kept."""


def check_device(device: str) -> None:
    """Raise `UsageError` unless torch has this device here."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"device {device!r} is not to be had here ({reason}).") from None


def _train_elsewhere(
    pending: Sequence[Chunk],
    executor: Executor,
    device: str | None,
    threads: int | None,
    keep: Callable[[Chunk, pa.Table], object],
    advance: Callable[[int], object],
) -> None:
    """Train chunks on the workers of an executor; `keep` each as soon as it is there.

    A chunk that fails does not stop the others: its error is raised when they are through.
    """
    waiting = iter(pending)
    submitted: dict[Future[pa.Table], Chunk] = {}
    done: queue.SimpleQueue[Future[pa.Table]] = queue.SimpleQueue()
    failures: list[Exception] = []
    try:
        while True:
            for chunk in itertools.islice(waiting, SUBMITTED_AT_ONCE - len(submitted)):
                future = executor.submit(run_chunk, chunk, device, threads)
                submitted[future] = chunk
                future.add_done_callback(done.put)
            if not submitted:
                break
            future = done.get()
            chunk = submitted[future]
            error = CancelledError() if future.cancelled() else future.exception()
            if error is None:
                keep(chunk, future.result())
                advance(chunk.flops)
            elif not isinstance(error, Exception):  # Ctrl-C on the worker
                raise error
            else:
                failures.append(error)
                if len(failures) == 1:
                    reason = (str(error) or type(error).__name__).splitlines()[0]
                    tqdm.write(f"A chunk failed on a worker ({reason}); the others go on.")
            del submitted[future]
    finally:  # nothing is left unless an error or Ctrl-C came in between
        for future in submitted:
            future.cancel()
        for future, chunk in submitted.items():
            if future.done() and not future.cancelled() and future.exception() is None:
                with contextlib.suppress(OSError):
                    keep(chunk, future.result())
    if failures:
        failures[0].add_note(f"{len(failures)} of {len(pending)} chunks failed on the workers.")
        raise failures[0]


def _progress_message(folder: Path | None, done: int, total: int) -> str:
    if folder is None:
        return f"Stopped after {done} of {total} chunks; nothing is kept without an out folder."
    kept = f"those {done} are kept in {folder}, and the same call goes on from there"
    again = "the same call starts again"
    return f"Stopped after {done} of {total} chunks: {kept if done else again}."


_TIDY_NAMES: dict[str, tuple[str, str]] = {
    "forward_variance": ("activation", "forward_variance"),
    "backward_variance": ("gradient", "backward_variance"),
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
