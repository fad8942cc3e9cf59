"""What a sweep trains: its specification, checked in a moment, without torch.

:mod:`initscope.sweep` trains it.
"""

from __future__ import annotations

import dataclasses
import json
import numbers
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from initscope.checks import (
    LARGEST_SEED,
    LARGEST_WHOLE,
    file_path,
    is_number,
    require,
    require_name,
    weight_std,
    whole,
    whole_or_none,
)
from initscope.data.dataset import DATASETS
from initscope.errors import (
    UsageError,
    given,
    shown,
    unknown_name,
    yaml_hint,
)
from initscope.files import file_digest
from initscope.memory import require_memory
from initscope.models.activations import ACTIVATION_MODULES
from initscope.sweep.optimizers import OPTIMIZERS, Optimizer, optimizer_from_dict
from initscope.theory.scheme import Scheme
from initscope.theory.schemes import SCHEMES

if TYPE_CHECKING:
    pass

LONGEST_NAME = 200
"""Bytes of the name of a sweep: files in its folder have up to 50 more, of 255 there can be."""

BYTES_OF_A_ROW = 1300
"""Of memory, that the row of a network takes at the least: nine columns hold an array each, of 112
bytes and 8 for where it is; the other columns, and what is in the arrays, take 300."""

_COUNTS = (
    "epochs",
    "batch_size",
    "train_size",
    "loss_points",
    "probes",
    "probe_size",
    "memory_mb",
    "evaluations_per_epoch",
    "validation_size",
)


@dataclass(frozen=True)
class SweepSpec:
    """Specification of a sweep: every combination of widths, optimizer, initialization and seed.

    Attributes
    ----------
    dataset
        One of :data:`initscope.data.DATASETS`, of which Wine and digits are split anew by each
        seed; or an .npz file of your own, as :func:`initscope.data.load_arrays` reads it, whose
        inputs are flattened.
    hidden
        Hidden widths of each architecture: ``((256, 128),)`` is one network with two hidden
        layers, three weight layers.
    activation
        One of :data:`initscope.models.ACTIVATIONS`.
    stds
        Standard deviations of the initial weights, each a scheme ``"normal"`` with zero biases.
    schemes
        Further initializations: names of :data:`initscope.theory.SCHEMES`, or, with options,
        :class:`initscope.init.Scheme`. In plain values, for example in YAML, one with options is a
        mapping: ``{name: kaiming, mode: fan_out, distribution: uniform}``.
    optimizers
        One or more :class:`Optimizer`.
    seeds
        How many, counted from 0, or which. A seed decides the draws of the weights, the order of
        the training examples and, for Wine and digits, the split. Runs of one seed share all of
        these: their weights are the same standard-normal draws, scaled (orthogonal matrices are
        made of them); those of schemes with uniform distribution the same uniform draws.
    epochs, batch_size
        Passes over the training examples, and examples of an update. A last, incomplete batch of an
        epoch is left out.
    train_size
        Number of training examples, the first of the split; None for all that validation leaves.
    loss_points
        How many points of the training loss are recorded; each is the mean over the updates since
        the one before.
    probes
        How many times layer statistics are recorded: at initialization, then at steps in
        geometric progression, the last after the last update.
    probe_size
        Number of training examples, the first of the split, on which layer statistics are
        recorded.
    memory_mb
        Working memory, in MB, above which the sweep is split into chunks that train one after
        another; about the size of the last-level cache is fastest. Part of the specification,
        since the size of a batched product may change its rounding.
    name
        Name of the table. Two specifications that differ in it alone describe the same runs.
    evaluations_per_epoch
        How many times in an epoch the accuracy on the test set is recorded, evenly spaced, the
        last time at its end.
    validation_size
        Number of examples at the end of the training split that are never trained on. The
        accuracy on them is recorded beside that on the test set: choose a std by the one, and
        report the other.
    dataset_digest
        SHA-256 of the .npz file, by default that of the file as it is. It stands for the data in
        what is recorded, wherever the file lies; a file with another digest is refused when it is
        read.

    Examples
    --------
    >>> SweepSpec(stds=(0.01, 0.1), schemes=("kaiming",), seeds=5).n_runs
    15
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
    validation_size: int = 0
    dataset_digest: str | None = None

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        if isinstance(self.dataset, Path):
            put("dataset", str(self.dataset))
        if isinstance(self.optimizers, Optimizer):
            put("optimizers", (self.optimizers,))
        if isinstance(self.seeds, numbers.Real):
            require(
                is_number(self.seeds, 1, whole=True) and self.seeds <= LARGEST_WHOLE,
                f"seeds must be a whole number of at least 1, or a list, not {shown(self.seeds)}.",
            )
        counted = isinstance(self.seeds, numbers.Real)
        lists = ("hidden", "stds", "schemes", "optimizers", *([] if counted else ["seeds"]))
        for name in lists:
            value = getattr(self, name)
            require(_is_list(value), f"{name} must be a list, not {given(value)}")
        self._require_room_for_table()
        put("seeds", tuple(range(int(cast(int, self.seeds)))) if counted else self.seeds)
        for name in (*lists, "seeds"):
            put(name, tuple(getattr(self, name)))
        put("schemes", tuple(_scheme(value) for value in self.schemes))
        require(
            all(_is_list(widths) for widths in self.hidden),
            f"hidden is a list of architectures, each a list of widths: "
            f"[[256, 128]] and not {given(list(self.hidden), whole=True)}",
        )
        put("hidden", tuple(tuple(widths) for widths in self.hidden))
        self._validate(check_seeds=not counted)
        if is_own(self.dataset) and self.dataset_digest is None:
            put("dataset_digest", digest_of(self.dataset))
        # Plain values, for the specification is written as JSON.
        put("hidden", tuple(tuple(int(width) for width in widths) for widths in self.hidden))
        put("stds", tuple(float(std) for std in self.stds))
        put("seeds", tuple(int(seed) for seed in self.seed_numbers))
        for name in _COUNTS:
            if getattr(self, name) is not None:
                put(name, int(getattr(self, name)))

    def _require_room_for_table(self) -> None:
        """Refuse more networks than there is memory for their rows, before any is made."""
        seeds = len(self.seeds) if isinstance(self.seeds, Sequence) else self.seeds
        initializations = len(self.stds) + len(self.schemes)
        # Before the seeds are listed, and at least one of all others: an empty list is told later.
        others = len(self.hidden) * len(self.optimizers) * initializations
        n_runs = int(seeds) * max(1, others)
        require_memory(
            n_runs * BYTES_OF_A_ROW,
            f"the table of {n_runs:,} networks",
            "give fewer seeds, stds, schemes, optimizers or hidden",
        )

    def _validate(self, *, check_seeds: bool) -> None:
        """Raise `UsageError` for a field that no sweep can have, or for two that do not fit."""
        if not is_own(self.dataset):
            require(
                not (isinstance(self.dataset, str) and set(self.dataset) & set("./\\")),
                f"dataset {shown(self.dataset)} is no .npz file, nor one of {', '.join(DATASETS)}.",
            )
            require_name("data set", self.dataset, DATASETS)
        require(
            self.dataset_digest is None
            or (isinstance(self.dataset_digest, str) and len(self.dataset_digest) == 64),
            f"dataset_digest must be a SHA-256 of 64 letters, not {shown(self.dataset_digest)}.",
        )
        require(
            self.dataset_digest is None or is_own(self.dataset),
            f"dataset_digest is of an .npz file, not of {self.dataset}.",
        )
        require_name("activation", self.activation, ACTIVATION_MODULES)
        require(bool(self.hidden), "hidden is empty: give at least one architecture.")
        for widths in self.hidden:
            require(
                all(is_number(w, 1, whole=True) and w <= LARGEST_WHOLE for w in widths),
                f"hidden widths {shown(list(widths))} must be whole numbers of at least 1."
                f"{yaml_hint(widths, whole=True)}",
            )
        for std in self.stds:
            weight_std("stds: each", std)
        require(bool(self.stds or self.schemes), "nothing to sweep: stds and schemes are empty.")
        require(bool(self.optimizers), "optimizers is empty: give at least one.")
        for optimizer in self.optimizers:
            require(
                isinstance(optimizer, Optimizer),
                f"optimizers holds {shown(optimizer)}: each must be a mapping such as "
                f"{{name: adam, learning_rate: 1.0e-3}}, with one of the names "
                f"{', '.join(OPTIMIZERS)}.",
            )
        require(bool(self.seed_numbers), "seeds is empty: give at least one.")
        # Wine and digits are split by scikit-learn, whose seeds have 32 bits.
        largest = LARGEST_SEED if self.dataset in ("wine", "digits") else LARGEST_WHOLE
        for seed in self.seed_numbers if check_seeds else ():
            require(
                is_number(seed, 0, whole=True),
                f"seeds must be whole numbers of at least 0, not {given(seed, whole=True)}",
            )
        worst = max(self.seed_numbers)
        require(
            worst <= largest,
            f"seeds of {self.dataset} must be at most {largest}, not {shown(worst)}.",
        )
        for name in ("hidden", "stds", "schemes", "optimizers", "seeds"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                twice = Counter(values).most_common(1)[0][0]
                raise UsageError(f"{name} holds a value twice: {twice}.")
        for name in _COUNTS:
            least = {"probes": 2, "validation_size": 0}.get(name, 1)
            check = whole_or_none if name == "train_size" else whole
            check(name, getattr(self, name), least)
        require(
            isinstance(self.name, str)
            and bool(self.name)
            and self.name.isprintable()
            and self.name == self.name.strip()
            and len(self.name.encode(errors="replace")) <= LONGEST_NAME
            and Path(self.name).name == self.name,
            f"name {shown(self.name)} must be a plain file name of at most {LONGEST_NAME} bytes.",
        )

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> SweepSpec:
        """Return the specification of plain values, as read from YAML or JSON.

        Lists stand for tuples, mappings for each :class:`Optimizer`, and for each
        :class:`Scheme` that has options. Raises `UsageError` for an unknown key, with the nearest
        names.
        """
        require(
            isinstance(mapping, Mapping),
            f"a sweep is specified by a mapping of fields, not {shown(mapping)}.",
        )
        values = dict(mapping)
        names = [f.name for f in dataclasses.fields(cls)]
        for key in values:
            if key not in names:
                raise unknown_name("key of a sweep", key, names)
        optimizers: Any = values.get("optimizers")
        if isinstance(optimizers, Mapping):
            raise UsageError(
                "optimizers must be a list of mappings: put the mapping into brackets, "
                "[{name: adam, learning_rate: 1.0e-3}]."
            )
        if _is_list(optimizers):
            values["optimizers"] = tuple(
                optimizer_from_dict(o) if isinstance(o, Mapping) else o for o in optimizers
            )
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, which :meth:`from_dict` turns back into an equal specification."""
        schemes = [cast(Scheme, scheme).plain for scheme in self.schemes]
        plain = json.loads(json.dumps(dataclasses.asdict(self) | {"schemes": schemes}))
        # Records of before there was validation do not name it, and are not to look like others.
        if not self.validation_size:
            del plain["validation_size"]
        if self.dataset_digest is None:
            del plain["dataset_digest"]
        return plain

    @property
    def initializations(self) -> tuple[Scheme, ...]:
        """Every initialization: the scheme ``"normal"`` with each std, then the others."""
        normal = (Scheme("normal", {"std": std}) for std in self.stds)
        return (*normal, *(cast(Scheme, scheme) for scheme in self.schemes))

    @property
    def n_runs(self) -> int:
        """Number of networks that the sweep trains."""
        per_seed = len(self.hidden) * len(self.optimizers) * (len(self.stds) + len(self.schemes))
        return per_seed * len(self.seed_numbers)

    @property
    def seed_numbers(self) -> tuple[int, ...]:
        """The seeds; a count given as `seeds` has become ``0, 1, ...``."""
        return cast("tuple[int, ...]", self.seeds)


def is_own(dataset: object) -> bool:
    """Return whether a data set is a file of one's own, in place of a name."""
    return isinstance(dataset, str) and dataset.lower().endswith(".npz")


def digest_of(dataset: str) -> str:
    """Return the SHA-256 of a file of one's own, or raise `UsageError`."""
    try:
        return file_digest(file_path("dataset", dataset))
    except FileNotFoundError:
        raise UsageError(f"dataset: there is no file {shown(dataset)}.") from None
    except OSError as error:
        raise UsageError(f"dataset {shown(dataset)} cannot be read: {error.strerror}.") from None


IN_A_SWEEP = [n for n, rule in SCHEMES.items() if rule.scope == "layers" and n != "normal"]
"""What `schemes` may hold: the networks are MLPs, and the stds of ``"normal"`` are `stds`."""


def _scheme(value: Any) -> Scheme:
    """Return the scheme of a name, or of a mapping of its name and options."""
    name = value.get("name") if isinstance(value, Mapping) else getattr(value, "name", value)
    if isinstance(name, str) and name in SCHEMES and name not in IN_A_SWEEP:
        valid = ", ".join(IN_A_SWEEP)
        why = (
            "give the stds of scheme 'normal' as stds"
            if name == "normal"
            else "it is for a GPT-2, whose residual projections and embeddings it sets"
        )
        raise UsageError(f"schemes cannot hold {name!r}: {why}. Valid in a sweep: {valid}.")
    return Scheme.of(value)


def _is_list(value: object) -> bool:
    """Return whether `value` is a sequence that is no text."""
    if isinstance(value, np.ndarray):
        return value.ndim > 0
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)
