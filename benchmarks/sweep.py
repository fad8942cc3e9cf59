"""Speed and memory of sweeps: ``python benchmarks/sweep.py``.

Everything is measured in this one process (the workers apart), round after round with what it is
compared to in between, each at its own best number of threads, and medians are printed. Compared
are a loop over networks and `torch.func.vmap` over their stacked weights. MNIST is found as by the
package; without ``INITSCOPE_DATA``, in ``../shared/data`` beside the project; without either,
random numbers of the same shape stand in.
"""

from __future__ import annotations

import dataclasses
import itertools
import resource
import statistics
import sys
from concurrent.futures import Executor

import numpy as np
import torch
import torch.nn.functional as F
from _mnist import folder_of_mnist
from _timing import seconds, seconds_at_best, thread_counts
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from initscope import data
from initscope.sweep import Optimizer, SweepSpec, chunks_of, run_sweep
from initscope.sweep import chunks as sweep_chunks
from initscope.sweep.chunks import Chunk
from initscope.sweep.executors import processes
from initscope.sweep.training import example_order, initial_network, run_chunk

ROUNDS, LONG_ROUNDS = 5, 3


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


def with_vmap(chunk: Chunk) -> None:
    """Train all networks at once by `torch.func.vmap` over their stacked weights."""
    datasets = [data.load(chunk.dataset, seed=seed) for seed in chunk.seeds]
    runs = list(itertools.product(range(len(datasets)), chunk.initializations))
    of_run = torch.tensor([k for k, _ in runs])
    models = [initial_network(chunk, chunk.seeds[k], scheme) for k, scheme in runs]
    parameters, _ = stack_module_state(models)

    def loss(weights: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(functional_call(models[0], weights, (x,)), y)

    def predict(weights: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return functional_call(models[0], weights, (x,)).argmax(1)

    gradients_and_losses = vmap(grad_and_value(loss))
    inputs, labels, test_inputs, test_labels = (
        torch.stack([getattr(dataset, name) for dataset in datasets])
        for name in ("train_inputs", "train_labels", "test_inputs", "test_labels")
    )
    build = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[chunk.optimizer.name]
    optimizer = build(parameters.values(), lr=chunk.optimizer.learning_rate)
    each = torch.arange(len(datasets))[:, None]
    with torch.no_grad():  # grad_and_value differentiates inside; nothing else needs a graph
        for epoch in range(chunk.epochs):
            order = torch.stack([example_order(s, epoch, chunk.n_train) for s in chunk.seeds])
            for rows in order.split(chunk.batch_size, dim=1)[: chunk.steps_per_epoch]:
                x, y = inputs[each, rows][of_run], labels[each, rows][of_run]
                gradients, losses = gradients_and_losses(parameters, x, y)
                for name, parameter in parameters.items():
                    parameter.grad = gradients[name]
                optimizer.step()
                losses.tolist()
            found = vmap(predict)(parameters, test_inputs[of_run])
            (found == test_labels[of_run]).float().mean(1).tolist()


HEADER = f"{'':<10}{'sweep s':>10}{'loop s':>10}{'vmap s':>10}{'x loop':>10}{'x vmap':>10}"


def against_loop_and_vmap(spec: SweepSpec, rounds: int, seeds: int, aim: str = "") -> None:
    """Print how many times faster a sweep is; the loop trains `seeds`, and others take as long."""
    chunks = chunks_of(spec)
    some = [dataclasses.replace(chunk, seeds=chunk.seeds[:seeds]) for chunk in chunks]
    share = sum(len(c.seeds) for c in some) / sum(len(c.seeds) for c in chunks)
    calls = [
        lambda: [run_chunk(chunk) for chunk in chunks],
        lambda: [one_after_another(chunk) for chunk in some],
        lambda: [with_vmap(chunk) for chunk in chunks],
    ]
    calls[0](), calls[2]()
    times = np.array([[seconds_at_best(call) for call in calls] for _ in range(rounds)])
    times[:, 1] /= share
    sweep, loop, stacked = np.median(times, axis=0)
    to_loop, to_vmap = np.median(times[:, 1:] / times[:, :1], axis=0)
    name = spec.optimizers[0].name
    print(
        f"{name:<10}{sweep:>10.3f}{loop:>10.2f}{stacked:>10.3f}{to_loop:>10.1f}{to_vmap:>10.2f}"
        f"   {aim}"
    )


def bench_wine() -> None:
    """21 stds, one seed, SGD and Adam: how many times faster the sweep is."""
    print("Wine 13-64-32-3, 21 networks, batch 32: a sweep, one network after another, and vmap")
    print(HEADER)
    for optimizer in (Optimizer("sgd", 0.1), Optimizer("adam", 0.001)):
        spec = SweepSpec(
            hidden=((64, 32),),
            stds=tuple(np.logspace(-4, 1, 21)),
            optimizers=(optimizer,),
            epochs=50,
        )
        against_loop_and_vmap(spec, ROUNDS, seeds=1)


# --- A deep network, where a loop launches many small operations -----------------------------


def bench_deep() -> None:
    """Eight weight layers of 64 units, the schemes of chapter 06, ten seeds."""
    print("\nWine 13-(64 x 7)-3, 7 schemes x 10 seeds, batch 32: a sweep, the loop, and vmap")
    print(HEADER)
    schemes = ["xavier", "kaiming", {"name": "kaiming", "mode": "fan_out"}, "lecun", "orthogonal"]
    schemes += [{"name": name, "distribution": "uniform"} for name in ("xavier", "kaiming")]
    for optimizer in (Optimizer("sgd", 0.1), Optimizer("adam", 0.001)):
        spec = SweepSpec(
            hidden=((64,) * 7,), schemes=schemes, optimizers=(optimizer,), seeds=10, epochs=10
        )
        aim = "loop: at least 4" if optimizer.name == "adam" else ""
        against_loop_and_vmap(spec, LONG_ROUNDS, seeds=1, aim=aim)


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
    """26 stds, SGD and Adam: achieved GFLOP/s, and the share of a product of large matrices.

    By one process, and by two workers with a thread each: while one of them waits for memory, as
    Adam's step does, the other may compute. A sweep that is one chunk has no work for the second.
    """
    real = folder_of_mnist() is not None
    if real:
        kind = "real images"
    else:
        kind = "random numbers of its shape: INITSCOPE_DATA has none"
        stand_in = random_mnist()
        sweep_chunks._load = lambda *_: stand_in
    print(
        f"\nMNIST 784-256-128-10, 26 networks, batch 128, an epoch ({kind}): a sweep against sgemm"
    )
    print(
        f"{'':<10}{'GFLOP/s':>10}{'sgemm':>10}{'share':>10}{'by two':>10}{'peak MiB':>10}"
        "   aim of the better share"
    )
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
        # work is that of the products: of the updates, the two evaluations and the statistics.
        work = sum(c.flops for c in chunks)
        warm_up()
        with processes(2) as workers:

            def train_by_two(spec: SweepSpec = spec, workers: Executor = workers) -> None:
                run_sweep(spec, executor=workers, threads=1, progress=False)

            calls = [lambda: seconds_at_best(train), lambda: seconds_at_best(sgemm)]
            if real and len(chunks) > 1:
                few = dataclasses.replace(spec, stds=spec.stds[:2], memory_mb=1)
                run_sweep(few, executor=workers, threads=1, progress=False)  # both load the data
                calls.append(lambda: seconds(train_by_two))
            times = np.array([[call() for call in calls] for _ in range(LONG_ROUNDS)])
        rates = np.array([work, 8 * 2 * n**3, work])[: len(calls)] / times / 1e9
        achieved, plain = np.median(rates[:, :2], axis=0)
        shares = np.median(rates / rates[:, 1:2], axis=0)
        by_two = f"{shares[2]:.0%}" if len(calls) > 2 else "-"
        aim = {"sgd": "at least 80%", "adam": "at least 75%"}[optimizer.name]
        print(
            f"{optimizer.name:<10}{achieved:>10.1f}{plain:>10.1f}{shares[0]:>10.0%}"
            f"{by_two:>10}{peak_mib():>10.0f}   {aim}"
        )
    print(f"{'':<10}of the peak, {before:.0f} MiB are Python, torch and what ran before")


def main() -> None:
    """Print four tables."""
    print(f"torch {torch.__version__}, threads: the best of {thread_counts()}\n")
    bench_wine()
    bench_deep()
    bench_workers()
    bench_mnist()


if __name__ == "__main__":
    main()
