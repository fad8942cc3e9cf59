"""An alert that one of two processes raises ends the training in both, and neither waits."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import tiny_transformers as tiny
import torch
from torch import distributed, nn
from transformers import Trainer, TrainingArguments

from initscope.tracking import Alert, AlertWatch, VarianceCallback, VarianceTracker

TOKENS = torch.randint(64, (64, 10), generator=torch.Generator().manual_seed(0))


def at_step(step: int) -> Alert:
    return Alert("now", lambda rows: rows["step"] == step, action="stop")


def under_the_trainer(folder: Path, rank: int, port: int) -> int:
    """Only the first process sees rows."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    arguments = TrainingArguments(
        str(folder / "out"), max_steps=12, per_device_train_batch_size=4, report_to=[],
        use_cpu=True, save_strategy="no", disable_tqdm=True, ddp_backend="gloo",
    )  # fmt: skip
    callback = VarianceCallback(folder / "variances", every=1, alerts=[at_step(3)])
    trainer = Trainer(
        tiny.gpt2(), arguments, train_dataset=[{"input_ids": t, "labels": t} for t in TOKENS],
        callbacks=[callback],
    )  # fmt: skip
    trainer.train()
    assert isinstance(trainer.model_wrapped, nn.parallel.DistributedDataParallel)
    assert callback.watch is not None
    assert callback.watch.stop == (rank == 0)
    return trainer.state.global_step


def in_a_loop(folder: Path, rank: int, port: int) -> int:
    """Both see the rows of what they track, and the second alone raises."""
    where = f"tcp://127.0.0.1:{port}"
    distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=2)
    model = nn.parallel.DistributedDataParallel(tiny.gpt2())
    optimizer = torch.optim.AdamW(model.parameters())
    with VarianceTracker(model, optimizer, every=1) as tracker:
        watch = AlertWatch([at_step(5 if rank else 99)]).watch(tracker)
        for step in range(12):
            batch = TOKENS[4 * step + 2 * rank :][:2]
            optimizer.zero_grad()
            model(input_ids=batch, labels=batch).loss.backward()
            optimizer.step()
            if watch.stops_any_process():
                break
    assert watch.stop == (rank == 1)
    return tracker.step


def beside(
    train: Callable[[Path, int, int], int], folder: Path, rank: int, port: int
) -> None:  # fmt: skip
    """Be one process of two."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    step = train(folder, rank, port)
    (folder / f"{rank}.json").write_text(json.dumps(step))
    distributed.destroy_process_group()


@pytest.mark.timeout(200)
@pytest.mark.parametrize(("train", "last"), [(under_the_trainer, 3), (in_a_loop, 5)])
def test_what_one_process_raises_ends_both(
    tmp_path: Path, server: multiprocessing.context.BaseContext,
    train: Callable[[Path, int, int], int], last: int,
) -> None:  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    both = [
        server.Process(target=beside, args=(train, tmp_path, rank, port), daemon=True)
        for rank in (0, 1)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    hangs = [process.is_alive() for process in both]
    for process in both:
        process.kill()
    assert hangs == [False, False]
    assert [process.exitcode for process in both] == [0, 0]
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)] == [last, last]


def test_without_an_alert_that_stops_nothing_is_asked() -> None:
    watch = AlertWatch([Alert("now", lambda rows: rows["step"] == 1)])
    row = {"step": 1, "layer": 1, "role": "q", "kind": "weight", "stat": "std", "value": 1.0}
    watch.see(pd.DataFrame([row]))
    assert len(watch.raised) == 1
    assert not watch.stops_any_process()
