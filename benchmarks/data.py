"""Seconds and memory to load MNIST, cold and from the cache: ``python benchmarks/data.py``.

Each load runs in a fresh process, as a chapter does; ``import torch`` is not counted. The data is
found as by the package; without ``INITSCOPE_DATA``, in ``../shared/data`` beside the project.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

LOAD = """
import resource, sys, time, torch
start = time.perf_counter()
from initscope.data import load_mnist
mnist = load_mnist()
seconds = time.perf_counter() - start
# In KiB, but on macOS in bytes.
unit = 2**20 if sys.platform == "darwin" else 2**10
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
print(seconds, peak, len(mnist.train_labels) + len(mnist.test_labels))
"""
ROUNDS = 3


def main() -> None:
    """Print a table of loads."""
    environment = dict(os.environ)
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    if "INITSCOPE_DATA" not in environment and (beside / "mnist").is_dir():
        environment["INITSCOPE_DATA"] = str(beside)
    print(f"{'load of MNIST':<16}{'seconds':>9}{'peak MiB':>10}{'images':>9}   aim")
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as cache:
            environment["INITSCOPE_CACHE"] = cache
            for name, aim in (("cold", "under 10 s"), ("cached", "under 1 s")):
                result = subprocess.run(
                    [sys.executable, "-c", LOAD], env=environment, capture_output=True, text=True
                )
                if result.returncode:
                    sys.exit(result.stderr)
                seconds, peak, images = result.stdout.split()
                print(f"{name:<16}{float(seconds):>9.2f}{float(peak):>10.0f}{images:>9}   {aim}")


if __name__ == "__main__":
    main()
