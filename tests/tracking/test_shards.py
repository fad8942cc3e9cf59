"""Weights that two processes hold parts of, or both whole: the table is that of one process."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny_transformers as tiny
import torch
from architectures import ARCHITECTURES
from torch import distributed, nn
from torch.optim import AdamW

from initscope.errors import UsageError
from initscope.tracking import VarianceTracker, read_histograms, read_variances, weight_matrices

BATCH = torch.randint(64, (4, 10), generator=torch.Generator().manual_seed(3))


def gpt_neox() -> nn.Module:
    return tiny.gpt_neox(attention_dropout=0.0, hidden_dropout=0.0)


def mixtral() -> nn.Module:
    model = ARCHITECTURES["Mixtral"].build()
    model.config._experts_implementation = "eager"  # what is fused takes no double precision
    return model


def lora() -> nn.Module:
    return ARCHITECTURES["LoRA on GPT-2"].build()  # of q, k and v in one


MODELS: dict[str, Callable[[], nn.Module]] = {
    "lora": lora,
    "gpt2": tiny.gpt2,
    "llama": tiny.llama,
    "gpt_neox": gpt_neox,
    "mixtral": mixtral,
}


def fsdp2(model: nn.Module) -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    mesh = distributed.device_mesh.init_device_mesh("cpu", (2,))
    blocks = next(m for m in model.modules() if isinstance(m, nn.ModuleList))
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def fsdp1(model: nn.Module) -> nn.Module:
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.fsdp.wrap import ModuleWrapPolicy

    blocks = next(m for m in model.modules() if isinstance(m, nn.ModuleList))
    policy = ModuleWrapPolicy({type(blocks[0])})
    return FullyShardedDataParallel(
        model, auto_wrap_policy=policy, use_orig_params=True, device_id=torch.device("cpu")
    )


def tensor_parallel(model: nn.Module) -> nn.Module:
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        RowwiseParallel,
        parallelize_module,
    )

    mesh = distributed.device_mesh.init_device_mesh("cpu", (2,))
    for block in model.model.layers:
        into = dict.fromkeys(("mlp.gate_proj", "mlp.up_proj"), ColwiseParallel())
        parallelize_module(block, mesh, into | {"mlp.down_proj": RowwiseParallel()})
    return model


KINDS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "fsdp2": fsdp2,
    "fsdp1": fsdp1,
    "tensor parallel": tensor_parallel,
    "ddp": nn.parallel.DistributedDataParallel,
}
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "adamw": lambda p: AdamW(p, lr=0.01, weight_decay=0.1, foreach=False),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.01, weight_decay=0.1, foreach=False),
}


def train(folder: Path, name: str, kind: str, optimizer: str, rank: int = 0) -> None:
    """Train a model on a batch, or on the half of it that a process has."""
    torch.manual_seed(0)
    # So exact that halves of a batch added up are the batch, and Adam takes no signs of noise.
    model = MODELS[name]().double()
    for parameter in model.parameters():
        parameter.data += 0.1 * (
            parameter.dim() == 1 or not parameter.any()
        )  # nothing turns that is 0
    parallel = kind in KINDS
    if parallel:
        model = KINDS[kind](model)
    steps = OPTIMIZERS[optimizer](model.parameters())
    batch = BATCH.chunk(2)[rank] if kind in ("fsdp1", "fsdp2", "ddp") else BATCH
    with VarianceTracker(
        model, steps, matrices="all", vectors=True, every=1, distribution_every=2,
        out_folder=folder,
    ) as tracker:  # fmt: skip
        for _ in range(2):
            steps.zero_grad()
            model(input_ids=batch, labels=batch).loss.backward()
            steps.step()
    if rank:
        assert len(tracker.to_frame()) == 0  # the first process keeps the rows


def train_beside(
    folder: Path, names: list[str], kind: str, optimizer: str, rank: int, port: int
) -> None:
    """Be one process of two."""
    os.environ["INITSCOPE_RANK"] = str(rank)
    torch.set_num_threads(1)
    where = f"tcp://127.0.0.1:{port}"
    distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=2)
    for name in names:
        train(folder / name, name, kind, optimizer, rank)
        if rank == 0:
            assert (folder / name / "variances.parquet").exists()
        distributed.barrier()
    distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("kind", "names", "optimizer"),
    [
        ("fsdp2", ["gpt2", "gpt_neox", "mixtral", "lora"], "adamw"),
        ("fsdp2", ["llama"], "nadam"),
        ("fsdp1", ["gpt2", "gpt_neox", "lora"], "adamw"),
        ("fsdp1", ["llama"], "nadam"),
        ("tensor parallel", ["llama"], "adamw"),
        ("ddp", ["gpt2"], "adamw"),
    ],
)
def test_two_processes_have_the_table_of_one(
    tmp_path: Path, server: multiprocessing.context.BaseContext, kind: str, names: list[str],
    optimizer: str,
) -> None:  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = tmp_path / "two", names, kind, optimizer
    both = [
        server.Process(target=train_beside, args=(*arguments, rank, port), daemon=True)
        for rank in (0, 1)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    for name in names:
        train(tmp_path / "one" / name, name, "one", optimizer)
        check_the_same(tmp_path / "one" / name, tmp_path / "two" / name)
        products = read_variances(tmp_path / "two" / name)["role"].str.endswith("lora_BA")
        assert products.any() == (name == "lora")


def check_the_same(one_folder: Path, two_folder: Path) -> None:
    keys = ["step", "layer", "role", "kind", "stat"]
    one, two = (read_variances(f).set_index(keys)["value"] for f in (one_folder, two_folder))
    assert one.index.is_unique
    assert set(one.index) == set(two.index)
    two = two.loc[one.index]
    assert one.isna().equals(two.isna())  # the kurtosis of gains that are all 1
    one, two = one.fillna(0.0), two.fillna(0.0)
    # In units of what each number is small or large against: a mean against the std.
    sizes = one.groupby(["step", "layer", "role", "kind"]).transform(lambda s: s.abs().max())
    far = (one - two).abs() - 1e-6 * sizes
    assert (far <= 1e-12).all(), far[far > 1e-12]
    histograms = [read_histograms(folder) for folder in (one_folder, two_folder)]
    first = [
        h[h["step"] == 0].sort_values(["layer", "role"], ignore_index=True) for h in histograms
    ]
    pd.testing.assert_frame_equal(*first, rtol=1e-6)


def refuse_beside(folder: Path, rank: int, port: int) -> None:
    """Be one process of two that ask for what a part of the weights cannot give."""
    where = f"tcp://127.0.0.1:{port}"
    distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=2)
    said = []
    model = fsdp2(tiny.gpt2())
    for ask in (
        lambda: weight_matrices(model),
        lambda: VarianceTracker(
            distributed.fsdp.FullyShardedDataParallel(tiny.gpt2(), device_id=torch.device("cpu"))
        ),
    ):
        with pytest.raises(UsageError) as found:
            ask()
        said.append(str(found.value))
    model = tensor_parallel(tiny.llama())
    tracker = VarianceTracker(model, every=1, quantities=["activation"])
    tracker.begin_step()
    with pytest.raises(UsageError) as found:
        model(input_ids=BATCH)
    said.append(str(found.value))
    (folder / f"{rank}.txt").write_text("\n".join(said))
    distributed.barrier()
    distributed.destroy_process_group()


def test_what_parts_cannot_give_is_one_clear_error(
    tmp_path: Path, server: multiprocessing.context.BaseContext
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    both = [
        server.Process(target=refuse_beside, args=(tmp_path, rank, port), daemon=True)
        for rank in (0, 1)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    for rank in (0, 1):
        view, flat, activation = (tmp_path / f"{rank}.txt").read_text().splitlines()
        assert "weights are sharded, and there is no view of a matrix" in view
        assert "wrap the model with use_orig_params=True" in flat
        assert "gives a part of its outputs in this process" in activation
