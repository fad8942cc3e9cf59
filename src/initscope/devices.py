"""Know what is computed on: device, precision, threads, versions, peak speed.

Torch is imported by the functions that ask it, so that a mistake is found before.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import numpy as np

from initscope.checks import require, require_name, text, whole, whole_or_none
from initscope.errors import UsageError, shown

if TYPE_CHECKING:
    import torch

PRECISIONS = ("float32", "bfloat16")
"""Precisions that :func:`initscope.pretrain.pretrain` computes in."""

PEAK_BFLOAT16_FLOPS = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "RTX 4090": 165e12,
}
"""Dense bfloat16 operations per second that the makers state, by a part of the device's name."""

LEAST_THREADS = 64
"""So many threads are allowed everywhere; what more cores than that have, beyond it."""


def largest_number_of_threads() -> int:
    """Return how many threads and processes may be asked for: 4 a core, or 64 if more."""
    return max(LEAST_THREADS, 4 * (os.cpu_count() or 1))


def check_threads(threads: int | None = None, workers: int | None = None) -> None:
    """Raise `UsageError` for more threads and processes than can be of use on this machine.

    Each worker is a process that has so many threads; None is one.
    """
    for name, value in (("threads", threads), ("workers", workers)):
        whole_or_none(name, value)
    largest, together = largest_number_of_threads(), int(threads or 1) * int(workers or 1)
    if together <= largest:
        return
    asked = " x ".join(
        f"{value:,} {name}"
        for name, value in (("workers", workers), ("threads", threads))
        if value is not None and value > 1
    )
    cores = os.cpu_count() or 1
    raise UsageError(
        f"{asked} would start more than this machine with its {cores} core"
        f"{'s' * (cores != 1)} can use: give at most {largest} (workers times threads)."
    )


EXECUTORS = ("processes", "dask", "slurm")


def check_executor(kind: object, workers: object = None, scheduler: object = None) -> None:
    """Raise `UsageError` unless :func:`initscope.sweep.executors.open_executor` can take these."""
    require_name("executor", kind, EXECUTORS)
    if workers is not None:
        whole("workers", workers)
    require(
        scheduler is None or kind in ("dask", "slurm"), "a scheduler is for the executor dask only."
    )
    require(
        scheduler is None or workers is None or kind == "slurm",
        "the scheduler at that address knows its workers: give either scheduler or workers.",
    )
    check_threads(workers=cast("int | None", workers))


_DEVICE = re.compile(r"cpu|cuda(:\d{1,3})?")


def check_device_name(device: object, *, numbered: bool = True) -> None:
    """Raise `UsageError` unless `device` can be one to compute on; whether it is there, torch says.

    Parameters
    ----------
    device
        ``"cpu"``, ``"cuda"`` or, if `numbered`, ``"cuda:1"``, ...; None is always right.
    numbered
        Whether one GPU of several may be named.
    """
    if device is None or (
        isinstance(device, str) and _DEVICE.fullmatch(device) and (numbered or ":" not in device)
    ):
        return
    why = ""
    if isinstance(device, str) and device.lower().startswith("mps"):
        why = " Apple's GPUs (mps) compute no float64, in which variances are taken."
    elif isinstance(device, str) and device.lower() in ("gpu", "nvidia", "auto"):
        why = " A GPU is called cuda."
    elif isinstance(device, str) and _DEVICE.fullmatch(device):
        why = " To choose one of several GPUs, set the environment variable CUDA_VISIBLE_DEVICES."
    valid = "cpu, cuda, or cuda:N for one of several GPUs" if numbered else "cpu or cuda"
    raise UsageError(f"device {shown(device)} is not to be had here: give {valid}.{why}")


def check_device(device: str) -> None:
    """Raise `UsageError` unless torch can compute on this device here."""
    check_device_name(device)
    if device == "cpu":
        return
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda is None and torch.version.hip is None
        why = f"torch {torch.__version__} is built without CUDA" if built else "torch sees no GPU"
        raise UsageError(f"device {device!r} is not to be had here ({why}): give cpu.")
    n_gpus = torch.cuda.device_count()
    if (torch.device(device).index or 0) >= n_gpus:
        last = f" to cuda:{n_gpus - 1}" if n_gpus > 1 else ""
        raise UsageError(f"device {device!r} is not to be had here: there is cuda:0{last}.")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"device {device!r} is not to be had here ({reason}).") from None


@contextlib.contextmanager
def plain_float32(device: torch.device, threads: int | None = None) -> Iterator[None]:
    """Compute in plain float32 and on so many threads, whatever is set; restored at the end.

    TF32 on a GPU, bfloat16 products on a CPU and autocast would each change the results, a
    different number of threads their last bits.
    """
    import torch

    precision, before = torch.get_float32_matmul_precision(), torch.get_num_threads()
    torch.set_float32_matmul_precision("highest")
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        if threads is not None:
            torch.set_num_threads(before)


def environment(device: str | None = None) -> dict[str, str]:
    """Return what a result is computed with: versions and processor."""
    import torch

    used = torch.device(device or "cpu")
    threads = f"{torch.get_num_threads()} of {os.cpu_count()} CPU cores"
    processor = torch.cuda.get_device_name(used) if used.type == "cuda" else threads
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "device": processor,
    }


def peak_flops(device_name: str, precision: str) -> float | None:
    """Return the peak of a device for dense products, or None where it is not known.

    >>> peak_flops("NVIDIA H100 80GB HBM3", "bfloat16")
    989000000000000.0
    """
    text("device_name", device_name)
    text("precision", precision)
    if precision != "bfloat16":
        return None
    words = f" {device_name.replace('-', ' ')} "
    return next((peak for name, peak in PEAK_BFLOAT16_FLOPS.items() if f" {name} " in words), None)
