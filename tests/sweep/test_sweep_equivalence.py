"""A network of a sweep trains exactly as it does alone in a plain loop, to float32 rounding."""

import pytest
import torch
import torch.nn.functional as F

from initscope import data
from initscope.init import initialize_
from initscope.models import MLP
from initscope.sweep import Optimizer, SweepSpec, chunks_of, run_sweep
from initscope.sweep.training import ChunkTraining, example_order

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
    expected.optimizer_step = torch.optim.Adam(parameters, lr=0.003, fused=True).step
    for epoch in range(chunk.epochs):
        for batch in found.batches(epoch):
            assert torch.equal(found.update(*batch), expected.update(*batch))
    assert all(map(torch.equal, found.stack.parameters(), parameters))
    assert not torch.equal(parameters[0], ChunkTraining(chunk, found.device).stack.weights[0])
