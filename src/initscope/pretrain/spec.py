"""What a pretraining run trains: model, initialization, text, optimizer, and what it records.

Checked in a moment, without torch, which is imported where a model is built.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from initscope.checks import (
    LARGEST_SEED,
    LARGEST_WHOLE,
    ArrayLike,
    is_number,
    require,
    require_name,
    weight_std,
    whole,
)
from initscope.errors import UsageError, given, shown, unknown_name
from initscope.memory import require_memory
from initscope.models.gpt import GPT2_PRESETS
from initscope.schema import QUANTITIES
from initscope.theory.learning_rates import SCHEDULES, learning_rate_factor

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

PRESET_TRAINING: Mapping[str, Mapping[str, Any]] = {
    "124m": {"tokenizer": "gpt2", "batch_size": 64, "learning_rate": 6e-4},
    "nano12": {"tokenizer": "bytes", "batch_size": 8, "learning_rate": 1e-3},
}
"""What a preset is trained with unless the specification says otherwise."""

BYTES_OF_A_LOG = 300
"""Of memory, that what the Trainer logs at a step takes at the least: a dictionary of numbers."""

PRETRAIN_ACTIVATIONS: Mapping[str, str] = {
    "tanh_gelu": "GELU by initscope.models.gelu.TanhGELU",
    "gelu_new": "GELU by gelu_new of transformers, operation by operation",
}
"""How GPT-2's GELU can be computed in training; the same to rounding."""


@dataclass(frozen=True, kw_only=True)
class PretrainSpec:
    """Specification of a run: model, initialization, text, optimizer, and what is recorded.

    A field that is not given gets the default named below, and the specification then holds the
    value.

    Attributes
    ----------
    text
        A source of :func:`initscope.data.load_text`, or several for a mixture.
    preset
        One of :data:`initscope.models.GPT2_PRESETS`.
    tokenizer
        As in :func:`initscope.data.load_text`; by default ``"gpt2"`` for ``124m``, ``"bytes"`` for
        ``nano12``.
    n_layer, n_embd, n_head, vocab_size
        Sizes of the model; by default those of the preset.
    context
        Length of a passage in tokens; by default the ``n_positions`` of the preset.
    std
        Standard deviation of the initial weights, per element, as the scheme ``"gpt2"`` of
        :func:`initscope.init.initialize_` takes it.
    residual_scaling
        Whether that of the matrices that write to the stream is divided by sqrt(2 n_layer).
    steps
        Number of updates.
    batch_size
        Passages of one update, over all processes and accumulated batches together; by default 64
        for ``124m``, 8 for ``nano12``.
    learning_rate
        Peak of the learning rate; by default 6e-4 for ``124m``, 1e-3 for ``nano12``.
    warmup_steps
        Updates of linear warm-up; by default a twentieth of `steps`.
    schedule, final_learning_rate
        How the rate goes from the peak to the final rate at the last update, by default a tenth:
        ``"cosine"``, ``"linear"``, or ``"wsd"``, constant and then linear over the last fifth of
        the updates; or ``"constant"``, which has no final rate.
    weight_decay
        Of AdamW, on matrices and embeddings, not on biases and norms.
    betas, epsilon
        Of AdamW.
    clip
        Largest Euclidean norm of the gradient of all parameters.
    seed
        Decides the initial weights and the order of the passages.
    log_every
        Updates between the rows of the training table.
    evaluate_every, evaluate_passages
        Updates between evaluations, by default a twentieth of `steps`, and how many of the
        validation passages they use, the first ones; all if there are fewer.
    track_every, track_quantities
        Updates between the steps of the variance table, and which of
        :data:`initscope.tracking.QUANTITIES` it holds.
    distribution_every
        Updates between histograms, quantiles and kurtosis; by default a thirtieth of `steps`.

    Examples
    --------
    >>> spec = PretrainSpec(text=("wikitext",), preset="nano12", steps=10)
    >>> spec.n_layer
    12
    """

    text: tuple[str, ...] | str
    preset: str = "124m"
    tokenizer: str = cast(str, None)
    n_layer: int = cast(int, None)
    n_embd: int = cast(int, None)
    n_head: int = cast(int, None)
    vocab_size: int = cast(int, None)
    context: int = cast(int, None)
    std: float = 0.02
    residual_scaling: bool = True
    steps: int = 3000
    batch_size: int = cast(int, None)
    learning_rate: float = cast(float, None)
    final_learning_rate: float = cast(float, None)
    warmup_steps: int = cast(int, None)
    schedule: str = "cosine"
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    epsilon: float = 1e-8
    clip: float = 1.0
    seed: int = 0
    log_every: int = 10
    evaluate_every: int = cast(int, None)
    evaluate_passages: int = 64
    track_every: int = 10
    track_quantities: tuple[str, ...] = ("weight", "gradient", "update")
    distribution_every: int = cast(int, None)

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        def default(name: str, value: object) -> None:
            if getattr(self, name) is None:
                put(name, value)

        require_name("preset", self.preset, GPT2_PRESETS)
        sizes = GPT2_PRESETS[self.preset]
        for name in ("n_layer", "n_embd", "n_head", "vocab_size"):
            default(name, sizes[name])
        default("context", sizes["n_positions"])
        for name, value in PRESET_TRAINING[self.preset].items():
            default(name, value)
        whole("steps", self.steps)
        default("warmup_steps", self.steps // 20)
        default("evaluate_every", max(1, self.steps // 20))
        default("distribution_every", max(1, self.steps // 30))
        if is_number(self.learning_rate, 0):
            over = 1 if self.schedule == "constant" else 10
            default("final_learning_rate", self.learning_rate / over)
        if isinstance(self.text, str | Path):
            put("text", (str(self.text),))
        for name in ("text", "betas", "track_quantities"):
            value = getattr(self, name)
            require(
                isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray),
                f"{name} must be a list, not {given(value)}",
            )
            put(name, tuple(value))
        self._validate()
        weight_std("std", self.std)
        for name in ("std", "learning_rate", "final_learning_rate", "weight_decay", "epsilon"):
            put(name, float(getattr(self, name)))
        put("clip", float(self.clip))
        put("betas", tuple(float(beta) for beta in self.betas))
        put("text", tuple(map(str, self.text)))
        put("tokenizer", str(self.tokenizer))
        for field in dataclasses.fields(self):
            if field.type == "int":
                put(field.name, int(getattr(self, field.name)))

    def _validate(self) -> None:
        """Raise `UsageError` for a field that no run can have, or for two that do not fit."""
        require(
            bool(self.text) and all(isinstance(s, str | Path) and str(s) for s in self.text),
            f"text must name at least one source, not {shown(self.text)}.",
        )
        require(
            len(set(self.text)) == len(self.text), f"text names a source twice: {shown(self.text)}."
        )
        require(
            isinstance(self.tokenizer, str | Path) and bool(str(self.tokenizer)),
            f"tokenizer must be a name or a folder, not {shown(self.tokenizer)}.",
        )
        require_name("schedule", self.schedule, SCHEDULES)
        zero_allowed = ("seed", "warmup_steps")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "int":
                whole(field.name, value, 0 if field.name in zero_allowed else 1)
            elif field.type == "float":
                require(
                    is_number(value, 0),
                    f"{field.name} must be a finite number of at least 0, not {given(value)}",
                )
        require(
            isinstance(self.residual_scaling, bool),
            f"residual_scaling must be true or false, not {shown(self.residual_scaling)}.",
        )
        require(self.seed <= LARGEST_SEED, f"seed must be at most {LARGEST_SEED}, not {self.seed}.")
        require(
            self.steps * self.batch_size <= LARGEST_WHOLE,
            f"{self.steps:,} steps of {self.batch_size:,} passages are more than can be counted: "
            f"give fewer steps, or a smaller batch_size.",
        )
        require(self.context >= 2, "the context must be at least 2: one token predicts the next.")
        require(
            self.n_embd % self.n_head == 0,
            f"n_embd {self.n_embd} is no multiple of n_head {self.n_head}.",
        )
        require(self.clip > 0, "clip must be above 0.")
        require(
            len(self.betas) == 2 and all(is_number(b, 0) and b < 1 for b in self.betas),
            f"betas must be two numbers from 0 to below 1, not {given(list(self.betas))}",
        )
        require(
            self.warmup_steps <= self.steps,
            f"warmup_steps is {self.warmup_steps}, but there are only {self.steps} steps.",
        )
        require(
            self.final_learning_rate <= self.learning_rate,
            f"final_learning_rate {self.final_learning_rate:g} is above learning_rate "
            f"{self.learning_rate:g}.",
        )
        require(
            self.schedule != "constant" or self.final_learning_rate == self.learning_rate,
            f"the schedule is constant, but final_learning_rate {self.final_learning_rate:g} is "
            f"not learning_rate {self.learning_rate:g}: leave it out.",
        )
        for quantity in self.track_quantities:
            require_name("quantity", quantity, QUANTITIES)
        require(
            len(set(self.track_quantities)) == len(self.track_quantities),
            f"track_quantities names one twice: {shown(self.track_quantities)}.",
        )

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> PretrainSpec:
        """Return the specification of plain values, as read from YAML or JSON.

        Raises `UsageError` for an unknown key, with the nearest names, and if there is no text.
        """
        require(
            isinstance(mapping, Mapping),
            f"a pretraining is specified by a mapping of fields, not {shown(mapping)}.",
        )
        names = [field.name for field in dataclasses.fields(cls)]
        for key in mapping:
            if key not in names:
                raise unknown_name("key of a pretraining specification", key, names)
        require("text" in mapping, "no text is given: name a source, for example eltec-eng.")
        return cls(**mapping)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, which :meth:`from_dict` turns back into an equal specification."""
        plain = json.loads(json.dumps(dataclasses.asdict(self)))
        # What was recorded when every schedule was a cosine did not name it: it stays the same run.
        return {name: v for name, v in plain.items() if (name, v) != ("schedule", "cosine")}

    @property
    def digest(self) -> str:
        """Hexadecimal digest of all fields."""
        plain = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(plain.encode()).hexdigest()[:32]

    @property
    def tokens_per_step(self) -> int:
        """Tokens of one update."""
        return self.batch_size * self.context

    def learning_rates(self) -> np.ndarray:
        """Return the learning rate of each update, of shape ``(steps,)``.

        Examples
        --------
        >>> spec = PretrainSpec(text="stdlib", preset="nano12", steps=4, warmup_steps=2)
        >>> print(spec.learning_rates())
        [0.0005  0.001   0.00055 0.0001 ]
        """
        return self.learning_rate * self.learning_rate_factor(np.arange(self.steps))

    def learning_rate_factor(self, updates: ArrayLike) -> Any:
        """Return the learning rate, over its peak, of the update after `updates` updates."""
        final = self.final_learning_rate / self.learning_rate if self.learning_rate else 0.0
        return learning_rate_factor(
            np.asarray(updates) + 1, self.schedule, self.steps, self.warmup_steps, final
        )

    def build_model(self, activation: str = "tanh_gelu") -> GPT2LMHeadModel:
        """Build the model, initialized by :func:`initscope.init.initialize_`.

        Its loss is computed by transformers; dropout is 0. `activation` is ``"tanh_gelu"`` or
        ``"gelu_new"``: GPT-2's GELU, computed in two ways that differ by rounding, and by a tenth
        of a step's time.
        """
        import torch

        from initscope.init import initialize_
        from initscope.models.gelu import TanhGELU

        require_name("activation", activation, PRETRAIN_ACTIVATIONS)
        if activation == "gelu_new":
            model = self._uninitialized("gelu_new")
        else:  # by a name that every transformers knows, for those who load the checkpoint
            model = self._uninitialized("gelu_pytorch_tanh")
            for block in model.transformer.h:
                block.mlp.act = TanhGELU()
        initialize_(
            model,
            "gpt2",
            generator=torch.Generator().manual_seed(self.seed),
            std=self.std,
            residual_scaling=self.residual_scaling,
        )
        return model

    def count_parameters(self) -> tuple[int, int]:
        """Return the number of parameters, and of floating-point operations of a training token.

        No weights are made.

        >>> PretrainSpec(text="stdlib").count_parameters()
        (124439808, 855166464)
        """
        width, positions = self.n_embd, self.context * self.n_embd
        # Query, key, value, both projections and the MLP are 12 width² weights and 9 width biases;
        # the norms of a block have 4 width, and the last one 2 width.
        blocks = self.n_layer * width * (12 * width + 13)
        n = self.vocab_size * width + positions + blocks + 2 * width
        return n, 6 * (n - positions) + 12 * self.n_layer * positions

    def require_room(self, device: str | None = None) -> None:
        """Raise `UsageError` if there is not enough memory for the run; loads nothing.

        What is counted is a lower bound. Whether there is a GPU is not known here: only with the
        device ``"cpu"`` are gradients and the state of the optimizer counted as well, which lie
        where the model is trained.
        """
        n_parameters, _ = self.count_parameters()
        smaller = "give a smaller n_layer, n_embd, vocab_size or context"
        require_memory(4 * n_parameters, f"a model of {n_parameters:,} parameters", smaller)
        if device == "cpu":
            require_memory(
                16 * n_parameters,
                f"the {n_parameters:,} parameters, their gradients and the two moments of AdamW",
                smaller,
            )
        processes = int(os.environ.get("WORLD_SIZE", "1"))  # which may be on other machines
        require_memory(
            16 * self.tokens_per_step // processes,
            f"a batch of {self.tokens_per_step:,} tokens",
            "give a smaller batch_size or context",
        )
        n_rows = self.steps // self.log_every + self.steps // self.evaluate_every
        require_memory(
            BYTES_OF_A_LOG * n_rows,
            f"{n_rows:,} rows of what is logged in {self.steps:,} steps",
            "give fewer steps, or a larger log_every and evaluate_every",
        )

    def _uninitialized(self, activation_function: str = "gelu_pytorch_tanh") -> GPT2LMHeadModel:
        """Build the GPT-2 of the specification, with the weights transformers gives it."""
        from initscope.models.gpt import gpt2

        model = gpt2(
            self.preset,
            n_layer=self.n_layer,
            n_embd=self.n_embd,
            n_head=self.n_head,
            n_positions=self.context,
            vocab_size=self.vocab_size,
            activation_function=activation_function,
        )
        model.config.use_cache = False
        return model


def vocabulary_too_small(spec: PretrainSpec, entries: int) -> UsageError:
    """Return the error for a model that has not all entries of the tokenizer."""
    return UsageError(
        f"the tokenizer {spec.tokenizer!r} has {entries:,} entries, which do not fit the "
        f"model's vocab_size of {spec.vocab_size:,}: choose another tokenizer (bytes for "
        f"nano12), or give vocab_size={entries}."
    )
