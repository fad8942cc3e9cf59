"""The callback under the transformers Trainer."""

from __future__ import annotations

import multiprocessing
import os
import socket
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny_transformers as tiny
import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from initscope.errors import UsageError
from initscope.tracking import (
    VarianceCallback,
    read_histograms,
    read_variances,
    weight_matrices,
)

STEPS = 6
ALL = ("weight", "gradient", "update", "activation")


def examples(n: int = 64) -> list[dict[str, torch.Tensor]]:
    tokens = torch.randint(64, (n, 10), generator=torch.Generator().manual_seed(3))
    return [{"input_ids": row, "labels": row} for row in tokens]


def trainer(
    folder: Path,
    *callbacks: TrainerCallback,
    model: nn.Module | None = None,
    seed: int = 0,
    **options: Any,
) -> Trainer:
    torch.manual_seed(seed)
    model = tiny.gpt2(**tiny.DROPOUT) if model is None else model
    defaults = {
        "max_steps": STEPS, "per_device_train_batch_size": 4, "learning_rate": 0.01,
        "weight_decay": 0.1, "report_to": [], "disable_tqdm": True, "save_strategy": "no",
        "logging_steps": 2, "use_cpu": True, "dataloader_pin_memory": False,
    }  # fmt: skip
    arguments = TrainingArguments(str(folder / "trainer"), **(defaults | options))
    return Trainer(model, arguments, train_dataset=examples(), callbacks=list(callbacks))


class Watch(TrainerCallback):
    """What a plain look at the model during training sees, and what loggers are told."""

    def __init__(self) -> None:
        self.stds: dict[tuple, float] = {}
        self.logs: list[tuple[int, dict[str, float]]] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        model = kwargs["model"]
        for layer, block in enumerate(model.transformer.h, start=1):
            for role, part in zip("qkv", block.attn.c_attn.weight.grad.chunk(3, 1), strict=True):
                key = (state.global_step + 1, layer, role, "gradient")
                self.stds[key] = part.double().std(correction=0).item()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for layer, role, view in weight_matrices(kwargs["model"]):
            key = (state.global_step, layer, role, "weight")
            self.stds[key] = view.double().std(correction=0).item()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        self.logs.append((state.global_step, dict(logs)))


def test_one_line_on_any_trainer(tmp_path: Path) -> None:
    watch, callback = Watch(), VarianceCallback(tmp_path / "variances", every=2)
    trainer(tmp_path, watch, callback, max_grad_norm=0.1).train()
    frame = read_variances(tmp_path / "variances")
    assert sorted(frame["step"].unique()) == [0, 2, 4, 6]
    assert set(frame["kind"]) == {"weight", "gradient", "update"}
    stds = frame[frame["stat"] == "std"].set_index(["step", "layer", "role", "kind"])["value"]
    for key, expected in watch.stds.items():
        if key[0] % 2 == 0:  # gradients are those after clipping
            assert stds[key] == pytest.approx(expected, rel=1e-5), key
    assert read_histograms(tmp_path / "variances")["step"].unique().tolist() == [0]
    pd.testing.assert_frame_equal(callback.to_frame(), frame)


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_loggers_and_the_log_get_the_std_of_each_matrix(
    tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    watch, callback = Watch(), VarianceCallback(tmp_path / "variances", every=1)
    order = [watch, callback] if place == "before" else [callback, watch]
    training = trainer(tmp_path, *order)
    callback.log_through(training)
    training.train()
    given = {step: logs for step, logs in watch.logs if "weight_std/q/layer_01" in logs}
    assert list(given) == [2, 4, 6]
    for step, logs in given.items():
        assert len(logs) == 14  # one for each matrix, and nothing else
        assert logs["weight_std/q/layer_01"] == pytest.approx(watch.stds[step, 1, "q", "weight"])
    history = [entry for entry in training.state.log_history if "loss" in entry]
    assert [entry["step"] for entry in history] == [2, 4, 6]
    for entry in history:
        assert entry.items() >= given[entry["step"]].items()
    assert "weight_std" not in capsys.readouterr().out  # the console is spared


def test_without_a_trainer_to_log_through_the_log_alone_has_the_std(tmp_path: Path) -> None:
    watch, callback = Watch(), VarianceCallback(tmp_path / "variances", every=1)
    training = trainer(tmp_path, watch, callback)
    training.train()
    assert "weight_std/q/layer_01" in training.state.log_history[0]
    assert not any("weight_std" in name for _, logs in watch.logs for name in logs)
    with pytest.raises(UsageError, match=r"trainer must be a transformers\.Trainer, not 3"):
        callback.log_through(3)


def test_nothing_is_logged_if_not_wanted(tmp_path: Path) -> None:
    watch, callback = Watch(), VarianceCallback(tmp_path / "variances", every=1, log=False)
    training = trainer(tmp_path, watch, callback)
    callback.log_through(training)
    training.train()
    assert watch.logs
    assert not any("weight_std" in name for _, logs in watch.logs for name in logs)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gradient_checkpointing": True, "gradient_accumulation_steps": 2},
        {"gradient_checkpointing": True, "bf16": True},
    ],
    ids=str,
)
def test_training_is_the_same_bit_by_bit(tmp_path: Path, options: dict[str, Any]) -> None:
    def run(*callbacks: TrainerCallback) -> tuple[list[torch.Tensor], list[dict], torch.Tensor]:
        training = trainer(tmp_path, *callbacks, **options, logging_steps=1)
        training.train()
        state = training.optimizer.state_dict()["state"]
        tensors = [t for entry in state.values() for t in entry.values()]
        history = [
            {name: entry[name] for name in ("loss", "grad_norm", "step")}
            for entry in training.state.log_history
            if "loss" in entry
        ]
        return [*training.model.state_dict().values(), *tensors], history, torch.get_rng_state()

    plain, history, random = run()
    callback = VarianceCallback(
        tmp_path / "variances", every=1, distribution_every=2, quantities=ALL
    )
    tracked, tracked_history, tracked_random = run(callback)
    assert len(plain) == len(tracked)
    assert all(torch.equal(a, b) for a, b in zip(plain, tracked, strict=True))
    assert history == tracked_history
    assert torch.equal(random, tracked_random)
    frame = read_variances(tmp_path / "variances").query("step > 0")
    counts = frame.groupby(["kind", "stat"]).size()
    for key in [("activation", "forward_variance"), ("gradient", "backward_variance")]:
        assert counts[key] == 14 * STEPS


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "bert"])
def test_other_models(tmp_path: Path, family: str) -> None:
    torch.manual_seed(0)
    model = tiny.FAMILIES[family]()
    callback = VarianceCallback(tmp_path / "variances", every=1, quantities=ALL)
    trainer(tmp_path, callback, model=model).train()
    frame = callback.to_frame()
    last = frame[(frame["step"] == STEPS) & (frame["stat"] == "std") & (frame["kind"] == "weight")]
    found = last.set_index(["layer", "role"])["value"]
    for layer, role, view in weight_matrices(model):
        expected = view.double().std(correction=0).item()
        assert found[layer, role] == pytest.approx(expected, rel=1e-5)
    check_that_terms_add_up(frame)


# --- interrupted -----------------------------------------------------------------------------


class Interrupt(TrainerCallback):
    """Ends the run in step `at`, as a kill would: nothing more is called."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("at", [4, 5])
def test_an_interrupted_run_has_the_rows_of_an_undisturbed_one(tmp_path: Path, at: int) -> None:
    options = {"save_strategy": "steps", "save_steps": 3}
    tables: dict[str, list[pd.DataFrame]] = {}
    for name in ("undisturbed", "interrupted"):
        folder = tmp_path / name

        def callback(folder: Path = folder) -> VarianceCallback:
            return VarianceCallback(
                folder / "v", every=lambda step: step != 1, distribution_every=2, quantities=ALL
            )

        if name == "undisturbed":
            trainer(folder, callback(), **options).train()
        else:
            with pytest.raises(KeyboardInterrupt):
                trainer(folder, callback(), Interrupt(at), **options).train()
            assert read_variances(folder / "v")["step"].max() == at
            checkpoint = folder / "trainer" / "checkpoint-3"
            trainer(folder, callback(), seed=1, **options).train(str(checkpoint))
        tables[name] = [read_variances(folder / "v"), read_histograms(folder / "v")]
    for one, other in zip(*tables.values(), strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_a_new_run_does_not_replace_an_earlier_one_unasked(tmp_path: Path) -> None:
    trainer(tmp_path, VarianceCallback(tmp_path / "v", every=1)).train()
    before = read_variances(tmp_path / "v")
    with pytest.raises(UsageError, match="variances of an earlier run, up to step 6"):
        trainer(tmp_path, VarianceCallback(tmp_path / "v", every=1)).train()
    assert read_variances(tmp_path / "v").equals(before)
    trainer(tmp_path, VarianceCallback(tmp_path / "v", every=3, overwrite=True)).train()
    assert sorted(read_variances(tmp_path / "v")["step"].unique()) == [0, 3, 6]


# --- several processes -----------------------------------------------------------------------


def train_with(folder: Path, per_device_train_batch_size: int) -> None:
    """Train the same model whatever the number of processes, tracked in all there is."""
    callback = VarianceCallback(folder / "v", every=1, distribution_every=3, quantities=ALL)
    torch.manual_seed(0)
    size = {"per_device_train_batch_size": per_device_train_batch_size}
    trainer(folder, callback, model=tiny.gpt2(), **size).train()


def train_beside(folder: Path, rank: int, port: int) -> None:
    """Be one process of two, told so as torchrun tells it."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    train_with(folder, per_device_train_batch_size=2)
    torch.distributed.barrier()


def test_two_processes_have_the_rows_of_one(
    tmp_path: Path, server: multiprocessing.context.BaseContext
) -> None:
    train_with(tmp_path / "one", per_device_train_batch_size=4)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    both = [
        server.Process(target=train_beside, args=(tmp_path / "two", rank, port), daemon=True)
        for rank in (0, 1)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    frames = [read_variances(tmp_path / name / "v") for name in ("one", "two")]
    # Signals are of the first batch of the first process, which is half as large.
    one, two = (
        f[(f["kind"] != "activation") & ~f["stat"].str.startswith("backward")] for f in frames
    )
    pd.testing.assert_frame_equal(
        one.reset_index(drop=True), two.reset_index(drop=True), rtol=1e-3, atol=1e-7
    )


# --- bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every must be a whole number"),
        ({"distribution_every": "x"}, "distribution_every must be a whole number"),
        ({"quantities": ["gradients"]}, "unknown quantity 'gradients'. Did you mean 'gradient'"),
        ({"quantiles": [-1]}, "quantiles must be numbers from 0 to 1"),
    ],
)
def test_bad_options_are_found_at_once(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        VarianceCallback(tmp_path, **options)


def test_bad_input_is_one_clear_error_before_the_first_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot be written .*Name another one"):
        trainer(tmp_path, VarianceCallback(tmp_path / "file" / "v")).train()
    callback = VarianceCallback(tmp_path / "v", quantities=ALL)
    with pytest.raises(UsageError, match="activations of a compiled model"):
        trainer(tmp_path, callback, torch_compile=True, torch_compile_backend="eager").train()

    model = Embeddings()
    whole = torch.ones(64, 64, dtype=torch.int8)
    model.embedding = nn.Embedding(64, 64, _weight=whole, _freeze=True)
    with pytest.raises(UsageError, match="Embeddings has no weight matrix"):
        trainer(tmp_path, VarianceCallback(tmp_path / "v"), model=model).train()
    assert not (tmp_path / "v").exists()


class Embeddings(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(64, 64)
        self.scale = nn.Parameter(torch.ones(64))

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor) -> dict:
        logits = self.embedding(input_ids) * self.scale
        return {"loss": logits.square().mean(), "logits": logits}


def test_a_model_without_attention_is_followed_too(tmp_path: Path) -> None:
    callback = VarianceCallback(tmp_path / "v", every=1, distribution_every=1)
    model = Embeddings()
    trainer(tmp_path, callback, model=model).train()
    frame = callback.to_frame().query("kind == 'weight' and stat == 'std'")
    assert set(zip(frame["layer"], frame["role"], strict=True)) == {(0, "embedding")}
    expected = model.embedding.weight.std(correction=0).item()
    assert frame["value"].iloc[-1] == pytest.approx(expected, rel=1e-5)
    assert set(callback.histograms_to_frame()["role"]) == {"embedding"}


def test_a_compiled_model(tmp_path: Path) -> None:
    callback = VarianceCallback(tmp_path / "v", every=1)
    trainer(tmp_path, callback, torch_compile=True, torch_compile_backend="eager").train()
    frame = callback.to_frame()
    assert frame["step"].max() == STEPS
    assert set(frame["kind"]) == {"weight", "gradient", "update"}


@pytest.mark.parametrize("optim", ["adagrad", "adafactor", "rmsprop"])
def test_an_unknown_optimizer_goes_on_with_one_warning(
    tmp_path: Path, optim: str, caplog: pytest.LogCaptureFixture
) -> None:
    callback = VarianceCallback(tmp_path / "v", every=1)
    trainer(tmp_path, callback, optim=optim, lr_scheduler_type="linear").train()
    said = [r.message for r in caplog.records if r.name == "initscope.tracking"]
    assert len(said) == 1
    assert "is not read from its state: it is the difference of the weights" in said[0]
    frame = callback.to_frame()
    assert set(frame["kind"]) == {"weight", "gradient", "update"}
    check_that_terms_add_up(frame)


def check_that_terms_add_up(frame: pd.DataFrame) -> None:
    terms = frame[frame["stat"].isin(["decay", "alignment", "step", "rounding"])]
    sums = terms.groupby(["layer", "role", "step"])["value"].sum()
    rms = frame[(frame["stat"] == "rms") & (frame["kind"] == "weight")]
    squares = rms.set_index(["layer", "role", "step"])["value"].sort_index() ** 2
    changes = squares.groupby(["layer", "role"]).diff().dropna()
    # Two rms of float32, each off by some 2^-24 from machine to machine and twice that squared.
    pd.testing.assert_series_equal(
        sums.loc[changes.index], changes, check_names=False, rtol=1e-3, atol=5e-7 * squares.max()
    )
