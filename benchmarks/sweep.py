"""Speed and memory of sweeps: ``python benchmarks/sweep.py``.

Everything is measured in this one process (the workers apart), round after round with what it is
compared to in between, a loop and a sweep each at its own best number of threads, and medians are
printed. MNIST is found as by the package; without ``INITSCOPE_DATA``, in ``../shared/data`` beside
the project; without either, random numbers of the same shape stand in.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from initscope import data
from initscope.sweep import Optimizer, SweepSpec, chunks_of, run_sweep
from initscope.sweep import chunks as sweep_chunks
from initscope.sweep.chunks import Chunk
from initscope.sweep.executors import processes
from initscope.sweep.training import example_order, initial_network, run_chunk

ROUNDS, LONG_ROUNDS = 5, 3


def seconds(function: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def seconds_at_best(function: Callable[[], object]) -> float:
    """Wall-clock time of a call with one torch thread or as many as it has, whichever is faster.

    A second thread halves the speed of a loop over small networks: to give each side of a
    comparison its own best number is the only fair one. OMP_NUM_THREADS says how many it has.
    """
    before, times = torch.get_num_threads(), []
    for threads in sorted({1, before}):
        torch.set_num_threads(threads)
        times.append(seconds(function))
    torch.set_num_threads(before)
    return min(times)


def peak_mib() -> float:
    """Largest memory of this process so far; in KiB from the system, but in bytes on macOS."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


# --- Wine: one batched computation against one network after another ----------------------


def one_after_another(chunk: Chunk) -> None:
    """The obvious loop: torch's modules, autograd and optimizers, one network at a time."""
    dataset = data.load(chunk.dataset, seed=chunk.seeds[0])
    inputs, labels = dataset.train_inputs, dataset.train_labels
    build = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[chunk.optimizer.name]
    for seed, scheme in itertools.product(chunk.seeds, chunk.initializations):
        model = initial_network(chunk, seed, scheme)
        optimizer = build(model.parameters(), lr=chunk.optimizer.learning_rate)
        for epoch in range(chunk.epochs):
            order = example_order(seed, epoch, chunk.n_train)
            for rows in order.split(chunk.batch_size)[: chunk.steps_per_epoch]:
                loss = F.cross_entropy(model(inputs[rows]), labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                loss.item()
            with torch.no_grad():
                (model(dataset.test_inputs).argmax(1) == dataset.test_labels).float().mean().item()


def bench_wine() -> None:
    """21 stds, one seed, SGD and Adam: how many times faster the sweep is."""
    print("Wine 13-64-32-3, 21 networks, batch 32: a sweep against one network after another")
    print(f"{'':<10}{'sweep s':>10}{'loop s':>10}{'ratio':>10}")
    for optimizer in (Optimizer("sgd", 0.1), Optimizer("adam", 0.001)):
        spec = SweepSpec(
            hidden=((64, 32),),
            stds=tuple(np.logspace(-4, 1, 21)),
            optimizers=(optimizer,),
            epochs=50,
        )
        (chunk,) = chunks_of(spec)
        run_chunk(chunk)
        times = [
            (
                seconds_at_best(lambda c=chunk: run_chunk(c)),
                seconds_at_best(lambda c=chunk: one_after_another(c)),
            )
            for _ in range(ROUNDS)
        ]
        sweep, loop = (statistics.median(column) for column in zip(*times, strict=True))
        ratio = statistics.median(b / a for a, b in times)
        print(f"{optimizer.name:<10}{sweep:>10.3f}{loop:>10.2f}{ratio:>10.1f}")


# --- A deep network, where a loop launches many small operations -----------------------------


def bench_deep() -> None:
    """Eight weight layers of 64 units, the schemes of chapter 06, ten seeds."""
    print("\nWine 13-(64 x 7)-3, 7 schemes x 10 seeds, batch 32: a sweep against the loop")
    print(f"{'':<10}{'sweep s':>10}{'loop s':>10}{'ratio':>10}")
    schemes = ["xavier", "kaiming", {"name": "kaiming", "mode": "fan_out"}, "lecun", "orthogonal"]
    schemes += [{"name": name, "distribution": "uniform"} for name in ("xavier", "kaiming")]
    for optimizer in (Optimizer("sgd", 0.1), Optimizer("adam", 0.001)):
        spec = SweepSpec(
            hidden=((64,) * 7,), schemes=schemes, optimizers=(optimizer,), seeds=10, epochs=10
        )
        chunks = chunks_of(spec)
        # The loop trains the runs of one seed only: the others take as long.
        one_seed = dataclasses.replace(chunks[0], seeds=chunks[0].seeds[:1])

        def train(chunks: list[Chunk] = chunks) -> None:
            for chunk in chunks:
                run_chunk(chunk)

        train()
        times = [
            (
                seconds_at_best(train),
                10 * seconds_at_best(lambda c=one_seed: one_after_another(c)),
            )
            for _ in range(LONG_ROUNDS)
        ]
        sweep, loop = (statistics.median(column) for column in zip(*times, strict=True))
        ratio = statistics.median(b / a for a, b in times)
        aim = "at least 4" if optimizer.name == "adam" else ""
        print(f"{optimizer.name:<10}{sweep:>10.3f}{loop:>10.2f}{ratio:>10.1f}   {aim}")


# --- Two worker processes against one -------------------------------------------------------


def bench_workers() -> None:
    """The same chunks on one process and on two, a torch thread each."""
    print("\n8x8 digits 64-256-128-10, 10 stds x 8 seeds: two worker processes against one")
    print(f"{'':<10}{'one s':>10}{'two s':>10}{'ratio':>10}   aim")
    spec = SweepSpec(
        dataset="digits",
        hidden=((256, 128),),
        stds=tuple(np.logspace(-3, 0, 10)),
        optimizers=(Optimizer("sgd", 0.1), Optimizer("adam", 0.001)),
        seeds=8,
        epochs=3,
        batch_size=64,
        memory_mb=16,
    )

    def sweep(executor: Executor) -> None:
        run_sweep(spec, executor=executor, threads=1, progress=False)

    with processes(1) as one, processes(2) as two:
        warm_up = dataclasses.replace(spec, epochs=1)
        for executor in (one, two):  # both processes start, and load the data
            run_sweep(warm_up, executor=executor, threads=1, progress=False)
        times = [
            (seconds(lambda: sweep(one)), seconds(lambda: sweep(two))) for _ in range(LONG_ROUNDS)
        ]
    alone, together = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(a / b for a, b in times)
    aim = "at least 1.7 on two idle cores"
    print(f"{len(chunks_of(spec))} chunks {alone:>10.2f}{together:>10.2f}{ratio:>10.2f}   {aim}")


# --- MNIST: the share of the rate of a plain matrix product ---------------------------------


def random_mnist() -> data.Dataset:
    """Random numbers of the shape of MNIST."""
    generator = torch.Generator().manual_seed(0)

    def split(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.randint(0, 10, (n,), generator=generator)
        return torch.randn(n, 784, generator=generator), labels

    train, test = split(60_000), split(10_000)
    classes = tuple("0123456789")
    return data.Dataset("mnist", *train, *test, classes, torch.tensor(0.0), torch.tensor(1.0))


def bench_mnist() -> None:
    """26 stds, SGD and Adam: achieved GFLOP/s, and the share of a product of large matrices."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    if "INITSCOPE_DATA" not in os.environ and (beside / "mnist").is_dir():
        os.environ["INITSCOPE_DATA"] = str(beside)
    if "INITSCOPE_DATA" in os.environ:
        kind = "real images"
    else:
        kind = "random numbers of its shape: INITSCOPE_DATA is not set"
        stand_in = random_mnist()
        sweep_chunks._load = lambda *_: stand_in
    print(
        f"\nMNIST 784-256-128-10, 26 networks, batch 128, an epoch ({kind}): a sweep against sgemm"
    )
    print(f"{'':<10}{'GFLOP/s':>10}{'sgemm':>10}{'share':>10}{'peak MiB':>10}   aim")
    before = peak_mib()
    n = 2048
    a, b, out = torch.randn(n, n), torch.randn(n, n), torch.empty(n, n)

    def sgemm() -> None:
        for _ in range(8):
            torch.mm(a, b, out=out)

    sgemm()
    for optimizer in (Optimizer("sgd", 0.1), Optimizer("adam", 0.001)):
        spec = SweepSpec(
            dataset="mnist",
            hidden=((256, 128),),
            stds=tuple(np.logspace(-4, 1, 26)),
            optimizers=(optimizer,),
            batch_size=128,
        )
        chunks = chunks_of(spec)

        def train(chunks: list[Chunk] = chunks) -> None:
            for chunk in chunks:
                run_chunk(chunk)

        def warm_up(chunk: Chunk = chunks[0]) -> None:
            run_chunk(dataclasses.replace(chunk, n_train=10 * chunk.batch_size))

        # All that a run costs is in the seconds, drawing the weights and recording included; the
        # work is that of the products of the updates and of the two evaluations.
        products = sum(i * o for i, o in itertools.pairwise(chunks[0].widths))
        work = sum(c.flops_per_step * c.n_steps for c in chunks)
        work += 2 * 10_000 * 2 * products * spec.n_runs
        warm_up()
        times = [(seconds_at_best(train), seconds_at_best(sgemm)) for _ in range(LONG_ROUNDS)]
        rates = [(work / s / 1e9, 8 * 2 * n**3 / g / 1e9) for s, g in times]
        achieved, plain = (statistics.median(column) for column in zip(*rates, strict=True))
        share = statistics.median(r / g for r, g in rates)
        aim = {"sgd": "at least 80%", "adam": "at least 75%"}[optimizer.name]
        print(
            f"{optimizer.name:<10}{achieved:>10.1f}{plain:>10.1f}{share:>10.0%}"
            f"{peak_mib():>10.0f}   {aim}"
        )
    print(f"{'':<10}of the peak, {before:.0f} MiB are Python, torch and what ran before")


def main() -> None:
    """Print four tables."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    bench_wine()
    bench_deep()
    bench_workers()
    bench_mnist()


if __name__ == "__main__":
    main()
