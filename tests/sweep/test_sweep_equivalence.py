"""A network of a sweep trains exactly as it does alone in a plain loop, to float32 rounding."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from initscope import data
from initscope.init import initialize_
from initscope.models import MLP
from initscope.models.batched_mlp import BatchedMLP
from initscope.sweep import Optimizer, SweepSpec, chunks_of, run_sweep, training, updates
from initscope.sweep.training import ChunkTraining, example_order, run_chunk
from initscope.sweep.updates import parts_of

STDS = (0.03, 0.1, 0.3)
EPOCHS, BATCH = 4, 32


def plain_loop(widths, activation, optimizer, std, seed):
    """One `nn.Module`, torch's autograd and optimizer, batch after batch."""
    wine = data.load_wine(seed)
    model = MLP(widths, activation)
    initialize_(model, "normal", std=std, generator=torch.Generator().manual_seed(seed))
    build = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer.name]
    extra = {"momentum": optimizer.momentum} if optimizer.name == "sgd" else {}
    torch_optimizer = build(model.parameters(), lr=optimizer.learning_rate, **extra)
    losses = []
    n_train = len(wine.train_labels)
    for epoch in range(EPOCHS):
        order = example_order(seed, epoch, n_train)
        for rows in order[: n_train // BATCH * BATCH].split(BATCH):
            loss = F.cross_entropy(model(wine.train_inputs[rows]), wine.train_labels[rows])
            torch_optimizer.zero_grad()
            loss.backward()
            torch_optimizer.step()
            losses.append(loss.item())
    with torch.no_grad():
        logits = model(wine.test_inputs)
    accuracy = (logits.argmax(1) == wine.test_labels).double().mean().item()
    return losses, F.cross_entropy(logits, wine.test_labels).item(), accuracy


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "leaky_relu", "selu", "silu"])
@pytest.mark.parametrize(
    "optimizer",
    [Optimizer("sgd", 0.1), Optimizer("sgd", 0.05, momentum=0.9), Optimizer("adam", 0.003)],
    ids=lambda o: f"{o.name}{o.momentum or ''}",
)
def test_sweep_equals_plain_loop(activation, optimizer):
    spec = SweepSpec(
        hidden=((24, 16),),
        activation=activation,
        stds=STDS,
        optimizers=(optimizer,),
        seeds=(0, 7),
        epochs=EPOCHS,
        batch_size=BATCH,
        loss_points=10**6,
    )
    table = run_sweep(spec, progress=False)
    assert len(table) == spec.n_runs == 6
    for run in table.itertuples():
        losses, test_loss, accuracy = plain_loop(
            (13, 24, 16, 3), activation, optimizer, run.std, run.seed
        )
        assert run.loss == pytest.approx(losses, rel=2e-4, abs=1e-6)
        assert run.test_loss == pytest.approx(test_loss, rel=1e-3)
        assert run.test_accuracy == pytest.approx(accuracy, abs=1e-9)


@torch.no_grad()
def test_adam_is_that_of_torch_to_the_last_bit():
    spec = SweepSpec(
        hidden=((24, 16),),
        stds=STDS,
        optimizers=(Optimizer("adam", 0.003),),
        seeds=(0, 7),
        epochs=9,
    )
    (chunk,) = chunks_of(spec)
    found, expected = (ChunkTraining(chunk, torch.device("cpu")) for _ in range(2))
    parameters = expected.stack.parameters()
    ((_, whole),) = expected.parts
    whole.optimizer_step = torch.optim.Adam(whole.stack.parameters(), lr=0.003, fused=True).step
    for epoch in range(chunk.epochs):
        for batch in found.batches(epoch):
            assert torch.equal(found.update([batch]), expected.update([batch]))
    assert all(map(torch.equal, found.stack.parameters(), parameters))
    assert not torch.equal(parameters[0], ChunkTraining(chunk, found.device).stack.weights[0])


# --- A few networks at a time ---------------------------------------------------------------

OPTIMIZERS = [Optimizer("sgd", 0.3), Optimizer("sgd", 0.05, momentum=0.9), Optimizer("adam", 0.01)]


@pytest.fixture
def a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks count as large: no more make their steps together than there are threads."""
    monkeypatch.setattr(updates, "CACHE_BYTES", 1)
    monkeypatch.setattr(updates, "PRODUCT_FLOPS", 1)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: f"{o.name}{o.momentum or ''}")
@pytest.mark.parametrize(("seeds", "threads"), [(1, 1), (1, 2), (3, 1), (2, 3)])
@pytest.mark.parametrize("waiting", [4, 5, 10**6])
def test_a_few_networks_at_a_time_train_as_all_together(
    optimizer: Optimizer,
    seeds: int,
    threads: int,
    waiting: int,
    a_few_at_a_time: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is recorded, and when, does not depend on how many batches wait."""
    spec = SweepSpec(
        hidden=((24, 16),),
        stds=(0.03, 0.1, 0.3, 1.0, 1e12),
        schemes=("kaiming", "xavier"),
        optimizers=(optimizer,),
        seeds=seeds,
        epochs=3,
        batch_size=7,
        validation_size=10,
        evaluations_per_epoch=2,
        loss_points=23,
        probes=7,
    )
    (chunk,) = chunks_of(spec)
    monkeypatch.setattr(training, "BATCH_BYTES", waiting * 4 * seeds * 7 * 13)
    monkeypatch.setattr(training, "FEWEST_BATCHES", math.inf)
    work: list[int] = []
    together = run_chunk(chunk, threads=threads, advance=work.append).to_pandas()
    monkeypatch.setattr(training, "FEWEST_BATCHES", 4)
    work_in_parts: list[int] = []
    at_once: list[int] = []
    update = ChunkTraining.update

    def counted(self: ChunkTraining, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> object:
        at_once.append(len(batches))
        return update(self, batches)

    monkeypatch.setattr(ChunkTraining, "update", counted)
    in_parts = run_chunk(chunk, threads=threads, advance=work_in_parts.append).to_pandas()

    assert sum(work) == sum(work_in_parts) == chunk.flops
    assert len(work_in_parts) < len(work)
    assert sum(at_once) == chunk.n_steps
    assert 4 <= max(at_once) <= waiting
    assert together["diverged_step"].notna().any()
    assert together["diverged_step"].isna().any()
    for name in together:
        for a, b in zip(together[name], in_parts[name], strict=True):
            if np.asarray(a).dtype.kind == "f":
                np.testing.assert_allclose(b, a, rtol=2e-3, atol=1e-6, err_msg=name)
            else:
                assert np.array_equal(a, b) or a is b, name


@pytest.mark.parametrize(("waiting", "parts"), [(1, 1), (3.99, 1), (4, 3), (100, 3)])
def test_parts_are_made_only_where_batches_can_wait(
    waiting: float, parts: int, a_few_at_a_time: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise all weights would come from memory at every step, with more calls than before."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(training, "BATCH_BYTES", int(waiting * 4 * 2 * 32 * 13))
    spec = SweepSpec(hidden=((24, 16),), stds=STDS, optimizers=OPTIMIZERS[2], seeds=2)
    (chunk,) = chunks_of(spec)
    found = ChunkTraining(chunk, torch.device("cpu"))
    assert len(found.parts) == parts
    assert found.batches_at_once == (1 if parts == 1 else waiting)


def stack_of(n: int, widths: tuple[int, ...], device: str = "cpu") -> BatchedMLP:
    """A stack of networks whose weights have never been written, nor taken memory."""
    shapes = [(n, o, i) for i, o in itertools.pairwise(widths)]
    weights = [torch.empty(shape, device=device) for shape in shapes]
    return BatchedMLP(weights, [w[:, :1, :1] for w in weights], "relu")


MNIST, DEEP, WINE = (784, 256, 128, 10), (784, *(128,) * 15, 10), (13, 64, 32, 3)


@pytest.mark.parametrize(
    ("widths", "optimizer", "threads", "n", "sizes"),
    [
        (MNIST, OPTIMIZERS[2], 1, 6, [2, 2, 2]),  # 4 copies of 0.94 MB each
        (MNIST, OPTIMIZERS[2], 1, 7, [2, 3, 2]),
        (MNIST, OPTIMIZERS[2], 2, 7, [2, 2, 3]),
        (MNIST, OPTIMIZERS[2], 2, 3, [3]),
        (MNIST, OPTIMIZERS[2], 4, 26, [4, 4, 4, 4, 4, 6]),
        (MNIST, OPTIMIZERS[2], 100, 26, [26]),
        (MNIST, OPTIMIZERS[1], 1, 8, [2, 2, 2, 2]),  # 3 copies
        (MNIST, OPTIMIZERS[0], 2, 26, [8, 10, 8]),  # the weights alone
        (DEEP, OPTIMIZERS[2], 1, 8, [4, 4]),  # one would be in the cache, and its products small
        (DEEP, OPTIMIZERS[2], 2, 16, [4, 4, 4, 4]),
        (WINE, OPTIMIZERS[2], 2, 130, [130]),
    ],
)
def test_parts_of_large_networks(
    widths: tuple[int, ...],
    optimizer: Optimizer,
    threads: int,
    n: int,
    sizes: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    parts = parts_of(stack_of(n, widths), optimizer, 128)
    assert [part.stop - part.start for part in parts] == sizes
    assert parts_of(stack_of(n, widths, "meta"), optimizer, 128) == [slice(0, n)]  # as on a GPU


@given(n=st.integers(1, 200), threads=st.integers(1, 70), copies=st.integers(0, 2))
def test_parts_hold_every_network_once_and_as_many_for_each_thread(
    n: int, threads: int, copies: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: threads)
        parts = parts_of(stack_of(n, MNIST, "cpu"), OPTIMIZERS[copies], 128)
    assert [k for part in parts for k in range(part.start, part.stop)] == list(range(n))
    sizes = [part.stop - part.start for part in parts]
    assert min(sizes) >= min(n, threads)
    assert all(size % threads == 0 for size in sizes[:-1])
