"""How long the sweeps that the chapters record would take here, on one core to themselves.

Every kind of network of every sweep trains for some seconds of processor time; the rate it reaches,
and the operations that the sweep counts, give the time of the whole. Nothing is recorded.
MNIST has to lie in ``INITSCOPE_DATA``, or in ``../shared/data`` beside the project; without it, the
other sweeps alone are timed.
"""

import contextlib
import json
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import torch
from _mnist import folder_of_mnist

from initscope.sweep import Optimizer, SweepSpec
from initscope.sweep.chunks import Chunk, chunks_of
from initscope.sweep.training import run_chunk

RESULTS = Path(__file__).resolve().parents[1] / "notebooks" / "results"
CHAPTERS = ("05_std_sweep", "06_xavier_vs_kaiming")
SECONDS = 3.0
"""Of processor time that each kind of network trains."""


class Enough(Exception):
    """Ends a training that has been timed."""


def rate_of(chunk: Chunk) -> float:
    """Return the operations a second of processor time with which a chunk trains on one thread."""
    done, calls, started, last = 0, 0, 0.0, 0.0

    def advance(operations: int) -> None:
        nonlocal done, calls, started, last
        last = time.process_time()
        calls += 1
        if calls <= 2:  # an evaluation, and the update that makes the buffers
            started = last
            return
        done += operations
        if last - started > SECONDS:
            raise Enough

    with contextlib.suppress(Enough):
        run_chunk(chunk, threads=1, advance=advance)
    return done / (last - started)


def recorded_sweeps(chapter: str) -> dict[str, tuple[SweepSpec, float]]:
    """Return the sweeps that a chapter records, by name, with the seconds that they took."""
    found = {}
    for path in sorted((RESULTS / chapter / "cpu").glob("*.parquet")):
        metadata = pq.read_schema(path).metadata.get(b"initscope")
        if metadata and "spec" in (record := json.loads(metadata)):
            fields = record["spec"]
            optimizers = tuple(Optimizer(**each) for each in fields["optimizers"])
            found[path.stem] = SweepSpec(**fields | {"optimizers": optimizers}), record["seconds"]
    return found


def main() -> None:
    """Print a row a sweep."""
    torch.set_num_threads(1)
    rates: dict[tuple[object, ...], float] = {}
    for chapter in CHAPTERS:
        print(f"\n{chapter}{'TFLOP':>22}{'GFLOP/s':>10}{'core min':>10}{'recorded':>10}")
        alone = taken = 0.0
        for name, (spec, seconds) in recorded_sweeps(chapter).items():
            if spec.dataset == "mnist" and folder_of_mnist() is None:
                print(f"{name:<24}MNIST is not here: set INITSCOPE_DATA")
                continue
            chunks, needed = chunks_of(spec), 0.0
            for chunk in chunks:
                # What decides the rate: the products' sizes, how many at once, and the optimizer.
                kind = (chunk.dataset, chunk.widths, chunk.activation, chunk.optimizer.name,
                        chunk.n_runs.bit_length())  # fmt: skip
                if kind not in rates:
                    rates[kind] = rate_of(chunk)
                needed += chunk.flops / rates[kind]
            work = sum(chunk.flops for chunk in chunks)
            print(
                f"{name:<24}{work / 1e12:>10.1f}{work / needed / 1e9:>10.1f}"
                f"{needed / 60:>10.1f}{seconds / 60:>10.1f}"
            )
            sys.stdout.flush()
            alone, taken = alone + needed, taken + seconds
        print(f"{'all of these':<44}{alone / 60:>10.1f}{taken / 60:>10.1f}")


if __name__ == "__main__":
    main()
