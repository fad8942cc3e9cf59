"""How a specification is pretrained on this machine: device, precision, size of a pass.

Torch is imported where the machine is asked for its devices.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from initscope.checks import is_number, require, require_name, whole
from initscope.data.folders import text_folder
from initscope.data.tokenizers import check_tokenizer
from initscope.devices import PRECISIONS, check_device, check_device_name
from initscope.errors import shown
from initscope.memory import require_memory
from initscope.pretrain.spec import PretrainSpec, vocabulary_too_small

TOKENS_AT_ONCE = 16 * 1024
"""In one forward and backward pass on a GPU, unless told otherwise."""

LOGITS_AT_ONCE = 2**27
"""Numbers that the model puts out in one pass on a CPU, unless told otherwise: half a gigabyte in
float32, of which a pass holds several copies."""


def check_pretraining(
    spec: PretrainSpec,
    device: str | None = None,
    precision: str | None = None,
    micro_batch_size: int | None = None,
) -> None:
    """Raise `UsageError` for what cannot be trained so on any machine, or not on this one.

    The texts are looked for, not read; whether the hub has one is not asked.

    Parameters
    ----------
    spec, device, precision, micro_batch_size
        As for :func:`initscope.pretrain.pretrain`.
    """
    check_device_name(device, numbered=False)
    if precision is not None:
        require_name("precision", precision, PRECISIONS)
    share, _ = _share_of_a_process(spec)
    if micro_batch_size is not None:
        _check_divides(micro_batch_size, share)
    for source in spec.text:
        text_folder(source)
    entries = {"gpt2": 50257, "bytes": 256}.get(spec.tokenizer)
    if entries is None:
        check_tokenizer(spec.tokenizer)
    elif entries > spec.vocab_size:
        raise vocabulary_too_small(spec, entries)
    spec.require_room(device)


@dataclass(frozen=True)
class TrainingPlan:
    """Device, precision and sizes that a run has on this machine; see :func:`pretrain`."""

    device: str
    precision: str
    micro_batch_size: int
    accumulated: int
    compile: bool
    checkpoint_every: int
    processes: int


def plan_training(
    spec: PretrainSpec,
    device: str | None,
    precision: str | None,
    micro_batch_size: int | None,
    compile: bool | None,
    checkpoint_every: int | None,
) -> TrainingPlan:
    """Return the settings that :func:`pretrain` trains with, what it was not given filled in.

    The arguments are those of :func:`pretrain`; `UsageError` if they cannot be met here. The plan
    has, among others, ``device``, ``precision``, ``micro_batch_size``, ``accumulated`` (passes of
    an update) and ``checkpoint_every``.

    >>> from initscope.pretrain import PretrainSpec
    >>> spec = PretrainSpec(text="wikitext-2", preset="nano12", batch_size=16)
    >>> plan = plan_training(spec, "cpu", None, 4, None, None)
    >>> plan.micro_batch_size, plan.accumulated
    (4, 4)
    """
    import torch

    check_device_name(device, numbered=False)
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    check_device(device)
    spec.require_room(device)
    on_gpu = device == "cuda"
    if precision is None:
        precision = "bfloat16" if on_gpu and torch.cuda.is_bf16_supported() else "float32"
    require_name("precision", precision, PRECISIONS)
    share, processes = _share_of_a_process(spec)
    if micro_batch_size is None:
        tokens = TOKENS_AT_ONCE if on_gpu else LOGITS_AT_ONCE // spec.vocab_size
        largest = max(1, tokens // spec.context)
        micro_batch_size = _largest_divisor(share, largest)
    _check_divides(micro_batch_size, share)
    if not on_gpu:
        require_memory(
            4 * micro_batch_size * spec.context * spec.vocab_size,
            f"the logits of {micro_batch_size:,} passages of {spec.context:,} tokens at once",
            "give a smaller micro_batch_size, context or vocab_size",
        )
    if checkpoint_every is None:
        checkpoint_every = max(1, spec.steps // 20)
    whole("checkpoint_every", checkpoint_every)
    return TrainingPlan(
        device=device,
        precision=precision,
        micro_batch_size=micro_batch_size,
        accumulated=share // micro_batch_size,
        compile=on_gpu if compile is None else compile,
        checkpoint_every=-(-checkpoint_every // spec.log_every) * spec.log_every,
        processes=processes,
    )


def _share_of_a_process(spec: PretrainSpec) -> tuple[int, int]:
    """Return how many passages of a batch each process has, and how many processes there are."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    require(
        spec.batch_size % processes == 0,
        f"batch_size {spec.batch_size} cannot be shared by {processes} processes.",
    )
    return spec.batch_size // processes, processes


def _check_divides(micro_batch_size: object, share: int) -> None:
    """Raise `UsageError` unless passes of this size make up the share of a process."""
    require(
        is_number(micro_batch_size, 1, whole=True) and share % micro_batch_size == 0,  # type: ignore[operator]
        f"micro_batch_size {shown(micro_batch_size)} must divide the {share} passages that a "
        f"process has of each batch.",
    )


def _largest_divisor(number: int, at_most: int) -> int:
    """Return the largest divisor of `number` up to `at_most`, in sqrt(number) divisions."""
    pairs = ((n, number // n) for n in range(1, math.isqrt(number) + 1) if number % n == 0)
    return max(n for pair in pairs for n in pair if n <= at_most)
