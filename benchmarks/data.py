"""Seconds and memory to load MNIST, cold and from the cache: ``python benchmarks/data.py``.

Beside it what one would write instead: the same files by `datasets`, an image at a time. Each load
runs in a fresh process, as a chapter does, with one thread and with all of them, and the shorter
time is printed; ``import torch`` is not counted. MNIST has to lie in ``INITSCOPE_DATA``, or in
``../shared/data`` beside the project.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from _mnist import folder_of_mnist
from _timing import thread_counts

MEASURED = """
import resource, sys, time, torch
start = time.perf_counter()
{load}
seconds = time.perf_counter() - start
# In KiB, but on macOS in bytes.
unit = 2**20 if sys.platform == "darwin" else 2**10
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
print(seconds, peak, images)
"""
OURS = """
from initscope.data import load_mnist
mnist = load_mnist()
images = len(mnist.train_labels) + len(mnist.test_labels)
"""
BY_DATASETS = """
import os
import numpy as np
from datasets import load_dataset
found = load_dataset("parquet", data_dir=os.environ["MNIST"], cache_dir=os.environ["CACHE"])
images = 0
for split in found.values():
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in split["image"]]))
    images += len(pixels.float().div_(255))
"""
ROUNDS = 2


def measure(load: str, environment: dict[str, str]) -> tuple[float, float, int]:
    """Return seconds, peak memory in MiB and the number of images of one load."""
    code = MEASURED.format(load=load)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(done.stderr)
    seconds, peak, images = done.stdout.split()
    return float(seconds), float(peak), int(images)


def main() -> None:
    """Print a table of loads."""
    folder = folder_of_mnist()
    if folder is None:
        print("MNIST is not here to be loaded: set INITSCOPE_DATA to a folder that holds mnist/.")
        return
    environment = {**os.environ, "MNIST": str(folder)}
    rows = [
        ("cold", OURS, "under 10 s"),
        ("cached", OURS, "under 1 s"),
        ("by datasets", BY_DATASETS, ""),
    ]
    found: dict[str, list[tuple[float, float, int]]] = {}
    for _ in range(ROUNDS):
        for threads in thread_counts():
            with tempfile.TemporaryDirectory() as cache:
                environment |= {
                    "INITSCOPE_CACHE": cache, "CACHE": cache, "OMP_NUM_THREADS": str(threads)
                }  # fmt: skip
                for name, load, _ in rows:
                    found.setdefault(name, []).append(measure(load, environment))
    print(f"{'load of MNIST':<16}{'seconds':>9}{'peak MiB':>10}{'images':>9}{'x cached':>10}   aim")
    cached = min(found["cached"])[0]
    for name, _, aim in rows:
        seconds, peak, images = min(found[name])
        ratio = seconds / cached
        print(f"{name:<16}{seconds:>9.2f}{peak:>10.0f}{images:>9}{ratio:>10.1f}   {aim}")


if __name__ == "__main__":
    main()
