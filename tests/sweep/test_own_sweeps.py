"""Sweeps of one's own: any module, data and optimizer; chunks as jobs through submitit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from initscope.cli import main
from initscope.data import load_arrays, load_columns, load_wine
from initscope.errors import UsageError
from initscope.sweep import SweepSpec, optimizer_by_name, run_sweep, sweep_modules
from initscope.sweep.slurm import SlurmExecutor

CLASSES = sorted(
    name for name, value in vars(torch.optim).items()
    if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and name != "Optimizer"
)  # fmt: skip


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(13, 8), nn.ReLU(), nn.Linear(8, 3))


def convolution() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )


def images(n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Bright and dark pictures."""
    labels = np.arange(n) % 2
    noise = np.random.default_rng(0).normal(size=(n, 1, 6, 6))
    return noise + 3 * labels[:, None, None, None], labels


def test_a_network_trains_as_in_a_plain_loop() -> None:
    table = sweep_modules(
        mlp, "wine", stds=[0.2], optimizers=[{"name": "sgd", "lr": 0.1, "momentum": 0.9}],
        seeds=2, epochs=3, loss_points=3, progress=False,
    )  # fmt: skip
    for seed in (0, 1):
        data = load_wine(seed)
        torch.manual_seed(seed)
        model = mlp()
        for layer in (model[0], model[2]):
            nn.init.normal_(layer.weight, 0.0, 0.2)
            nn.init.zeros_(layer.bias)
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        order = torch.Generator().manual_seed(seed)
        means = []
        for _ in range(3):
            shuffled, losses = torch.randperm(133, generator=order), []
            for start in range(0, 128, 32):
                at = shuffled[start : start + 32]
                loss = nn.functional.cross_entropy(
                    model(data.train_inputs[at]), data.train_labels[at]
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            means.append(np.mean(losses))
        row = table[table["seed"] == seed].iloc[0]
        np.testing.assert_allclose(row["loss"], means, rtol=1e-5)
        right = model(data.test_inputs).argmax(1) == data.test_labels
        assert row["test_accuracy"] == pytest.approx(right.double().mean().item())
        assert row["loss_step"] == [4, 8, 12]


def test_every_case_is_a_row_and_the_generator_is_left_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    options = {"optimizers": [{"name": "SGD", "lr": 0.1}, {"name": "Adam", "lr": 1e-2}]}
    table = sweep_modules(mlp, "wine", stds=[0.1, 1e30], schemes=["xavier"], seeds=2,
                          **options, progress=False)  # fmt: skip
    assert len(table) == 3 * 2 * 2
    assert torch.equal(before, torch.get_rng_state())
    assert table.query("std == 1e30")["diverged_step"].eq(0).all()
    assert table.query("scheme == 'xavier'")["diverged_step"].isna().all()
    built = sweep_modules(mlp, "wine", progress=False)
    assert built["scheme"].tolist() == ["as built"]


@pytest.mark.parametrize("name", CLASSES)
def test_any_optimizer_of_torch_trains_by_its_name(name: str) -> None:
    if name in ("SparseAdam", "Muon"):  # of sparse gradients; of matrices alone
        with (
            pytest.raises(UsageError, match=r"torch\.optim makes no|dense")
            if (name == "Muon")
            else pytest.raises(RuntimeError, match="dense")
        ):
            sweep_modules(mlp, "wine", optimizers=[{"name": name}], progress=False)
        return
    table = sweep_modules(
        mlp, "wine", optimizers=[{"name": name.lower(), "lr": 0.01}], progress=False
    )
    assert np.isfinite(table["test_loss"]).all()


def test_an_optimizer_that_is_none_is_said() -> None:
    with pytest.raises(UsageError, match="Did you mean 'adamw'"):
        optimizer_by_name("adammw", [torch.zeros(2)])
    with pytest.raises(UsageError, match="rate"):
        sweep_modules(mlp, "wine", optimizers=[{"name": "SGD", "rate": 1}], progress=False)


def test_a_file_of_arrays_and_a_set_of_datasets_are_one(tmp_path: Path) -> None:
    inputs, labels = images()
    path = tmp_path / "pictures.npz"
    np.savez(path, train_inputs=inputs, train_labels=labels, test_inputs=inputs[:10],
             test_labels=labels[:10])  # fmt: skip
    columns = {"picture": inputs.tolist(), "kind": labels.tolist()}
    splits = datasets.DatasetDict({
        "train": datasets.Dataset.from_dict(columns),
        "validation": datasets.Dataset.from_dict({k: v[:10] for k, v in columns.items()}),
    })  # fmt: skip
    from_file = load_arrays(path)
    from_columns = load_columns(splits, "picture", "kind", test="validation")
    for name in ("train_inputs", "train_labels", "test_inputs", "test_labels"):
        assert torch.equal(getattr(from_file, name), getattr(from_columns, name))
    assert from_file.train_inputs.mean(0).abs().max() < 1e-6
    assert from_file.train_inputs.shape == (40, 1, 6, 6)
    given = load_arrays(path, standardize=False).train_inputs
    np.testing.assert_allclose(given, inputs, rtol=1e-6)
    options: dict[str, Any] = {
        "schemes": ["kaiming"],
        "epochs": 40,
        "batch_size": 20,
        "optimizers": [{"name": "AdamW", "lr": 0.03}],
        "progress": False,
    }
    table = sweep_modules(convolution, str(path), **options)
    assert table["test_accuracy"].iloc[0] == 1.0
    pd.testing.assert_frame_equal(table, sweep_modules(convolution, from_columns, **options))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train_labels": None}, "lacks the arrays train_labels"),
        ({"train_labels": np.arange(3)}, "as many examples"),
        ({"test_inputs": np.zeros((4, 3))}, "one shape"),
        ({"test_labels": np.array([0, -1, 1, 0])}, "one number from 0"),
        ({"train_inputs": np.array([["a"] * 2] * 4)}, "must hold numbers"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    arrays = {"train_inputs": np.zeros((4, 2)), "train_labels": np.array([0, 1, 0, 1])}
    arrays |= {"test_inputs": np.zeros((4, 2)), "test_labels": np.array([0, 1, 0, 1])}
    kept = {name: value for name, value in (arrays | changed).items() if value is not None}
    np.savez(tmp_path / "a.npz", **kept)
    with pytest.raises(UsageError, match=message):
        load_arrays(tmp_path / "a.npz")


# --- Slurm ---------------------------------------------------------------------------------

TINY = SweepSpec(dataset="wine", hidden=((4,), (5,)), stds=(0.1, 0.2), name="tiny")


def test_jobs_give_the_same_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny.yaml").write_text("dataset: wine\nhidden: [[4], [5]]\nstds: [0.1, 0.2]\n")
    command = ["sweep", "--spec", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "out"),
               "--threads", "1", "--executor", "slurm", "--scheduler", "local", "--workers", "1",
               "--slurm", "timeout_min", "5"]  # fmt: skip
    assert main(command) == 0
    assert "4 networks, 0 diverged" in capsys.readouterr().out
    table = pd.read_parquet(tmp_path / "out" / "tiny.parquet")
    here = run_sweep(TINY, threads=1, progress=False)
    pd.testing.assert_frame_equal(
        table, here, check_exact=True, check_dtype=False, check_like=False
    )
    assert list((tmp_path / "out" / "tiny.slurm").glob("*_log.out"))


def test_a_job_that_fails_says_why(tmp_path: Path) -> None:
    wrong = dataclasses.replace(TINY, hidden=((4,),))
    with SlurmExecutor(tmp_path, 1, "local") as executor:
        future = executor.submit(int, "no number")
        with pytest.raises(Exception, match="no number"):
            future.result(120)
        assert executor.submit(max, 1, 2).result(120) == 2
    assert wrong.n_runs == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--slurm", "timeout_min", "5"], "--slurm is for the executor slurm only"),
        (["--executor", "slurm", "--scheduler", "tcp://a:1"], "local to try it out"),
        (["--executor", "slurm", "--scheduler", "local", "--slurm", "timeout_mni", "5"],
         "submitit starts no jobs"),
        (["--executor", "slurm"], "submitit starts no jobs"),
    ],
)  # fmt: skip
def test_what_slurm_cannot_do_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.yaml").write_text("dataset: wine\nstds: [0.1]\n")
    command = ["sweep", "--spec", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "out")]
    assert main([*command, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
