"""Alerts: silent on clean runs, loud before the first NaN of a planted one; and what is logged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny_transformers
import torch
from transformers import Trainer, TrainingArguments

from initscope.errors import UsageError
from initscope.init import initialize_
from initscope.predict import predict
from initscope.tracking import (
    Alert,
    AlertWatch,
    JsonLinesCallback,
    VarianceCallback,
    VarianceTracker,
    gradient_below,
    not_finite,
    read_variances,
    rotation_above,
    std_leaves_band,
    usual_alerts,
)
from initscope.tracking.alerts import Raised

STEPS = 60


def trained(
    seed: int, watch: AlertWatch, *, growth: float = 1.0, optimizer: str = "AdamW"
) -> list[float]:
    """Losses of a small GPT-2, whose rate grows from update 20 on by a factor an update."""
    torch.manual_seed(seed)
    model = tiny_transformers.gpt2()
    initialize_(model, "gpt2", std=0.1, generator=torch.Generator().manual_seed(seed))
    made = getattr(torch.optim, optimizer)(model.parameters(), lr=1e-3)
    losses = []
    with VarianceTracker(model, made, every=1) as tracker:
        watch.watch(tracker)
        for step in range(STEPS):
            if step >= 20:
                made.param_groups[0]["lr"] *= growth
            tokens = torch.randint(8, (8, 16))  # of 64, so that there is something to learn
            loss = model(input_ids=tokens, labels=tokens).loss
            made.zero_grad()
            loss.backward()
            made.step()
            losses.append(loss.item())
    return losses


@pytest.mark.parametrize("seed", range(5))
def test_five_clean_runs_are_silent(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    watch = AlertWatch(usual_alerts())
    losses = trained(seed, watch)
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    assert watch.raised == []
    assert "initscope" not in {record.name.partition(".")[0] for record in caplog.records}


@pytest.mark.parametrize("optimizer", ["AdamW", "SGD"])
def test_a_run_that_will_break_is_loud_before_its_first_nan(
    optimizer: str, caplog: pytest.LogCaptureFixture
) -> None:
    watch = AlertWatch(usual_alerts())
    losses = trained(0, watch, growth=4.0, optimizer=optimizer)
    first_nan = 1 + int(np.argmax(~np.isfinite(losses)))
    assert not np.isfinite(losses).all()
    turned = [one for one in watch.raised if one.alert.startswith("rotation")]
    assert turned
    assert 20 < turned[0].step < first_nan
    assert f"step {turned[0].step}: rotation above 0.3 for 3 records in" in caplog.text


def rows(step: int, value: float, *, stat: str = "rotation", kind: str = "update") -> pd.DataFrame:
    row = {"step": step, "layer": 1, "role": "q", "kind": kind, "stat": stat, "value": value}
    return pd.DataFrame([row])


def test_it_must_hold_so_often_in_a_row_and_is_said_once() -> None:
    watch = AlertWatch([rotation_above(0.3, records=3)])
    values = [0.4, 0.4, 0.1, 0.4, 0.4, 0.4, 0.4, 0.1, 0.4, 0.4, 0.4]
    for step, value in enumerate(values):
        watch.see(rows(step, value))
    assert [one.step for one in watch.raised] == [5, 10]


def test_a_function_is_called_and_stop_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Raised] = []
    watch = AlertWatch([
        not_finite(heard.append), gradient_below(1e-8, records=1, action="stop"),
    ])  # fmt: skip
    watch.see(rows(4, float("nan"), stat="std", kind="weight"))
    assert [(one.step, one.layer, one.role) for one in heard] == [(4, 1, "q")]
    assert not watch.stop
    watch.see(rows(5, 9e-8, stat="rms", kind="gradient"))
    assert watch.stop
    said = "step 5: gradient rms below 10 epsilon (1e-07) in q of layer 1 (9e-08): training stops"
    assert said in caplog.text
    quiet = AlertWatch([gradient_below(1e-8, records=1)])
    quiet.see(rows(5, 1.1e-7, stat="rms", kind="gradient"))
    assert quiet.raised == []


def test_a_std_that_leaves_its_prediction_by_two() -> None:
    config = {"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 2, "vocab_size": 9}
    predicted = predict(config, learning_rate=1e-3, steps=100, seq_len=2).variances([0, 100])
    watch = AlertWatch([std_leaves_band(predicted, 2.0)])
    middle = predicted.query("role == 'q'")["value"].mean()
    for step, ratio in ((50, 1.9), (50, 0.55)):
        watch.see(rows(step, ratio * middle, stat="std", kind="weight"))
    assert watch.raised == []
    watch.see(rows(50, 2.1 * middle, stat="std", kind="weight"))
    watch.see(rows(50, middle, stat="std", kind="weight"))
    watch.see(rows(50, 0.45 * middle, stat="std", kind="weight"))
    assert [one.alert for one in watch.raised] == 2 * ["std off its prediction by 2"]
    unknown = rows(50, 9.0, stat="std", kind="weight").assign(role="other")
    watch.see(unknown)
    assert len(watch.raised) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AlertWatch([]), "alerts must hold at least 1"),
        (lambda: AlertWatch(["rotation"]), "must hold alerts"),
        (lambda: Alert("a", lambda rows: rows, action="halt"), "one of 'warn', 'stop'"),
        (lambda: AlertWatch([Alert("a", lambda rows: True)]).see(rows(1, 1.0)), "True or False"),
        (lambda: VarianceCallback("a", log=("weights",)), "names such as 'weight/std'"),
        (lambda: VarianceCallback("a", alerts=[1]), "must hold alerts"),
    ],
)
def test_what_is_no_alert_is_refused(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


# --- Under the Trainer ---------------------------------------------------------------------


def trainer(folder: Path, callbacks: list[Any], rate: float = 1e-3) -> Trainer:
    torch.manual_seed(0)
    model = tiny_transformers.gpt2()
    initialize_(model, "gpt2", std=0.1)
    data = [{"input_ids": row, "labels": row} for row in torch.randint(8, (64, 16))]
    arguments = TrainingArguments(
        str(folder / "out"), max_steps=12, per_device_train_batch_size=4, learning_rate=rate,
        logging_steps=2, report_to=[], use_cpu=True, save_strategy="no", disable_tqdm=True,
        lr_scheduler_type="constant",
    )  # fmt: skip
    return Trainer(model, arguments, train_dataset=data, callbacks=callbacks)


def test_an_alert_ends_a_run_of_the_trainer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alerts = [rotation_above(0.3, records=1, action="stop")]
    callback = VarianceCallback(tmp_path / "v", every=1, alerts=alerts)
    run = trainer(tmp_path, [callback], rate=1.0)
    run.train()
    assert callback.watch is not None
    assert run.state.global_step == callback.watch.raised[0].step == 1
    assert "training stops" in caplog.text
    clean = VarianceCallback(tmp_path / "w", every=1, alerts=alerts)
    run = trainer(tmp_path, [clean])
    run.train()
    assert run.state.global_step == 12
    assert clean.watch is not None
    assert clean.watch.raised == []


def test_chosen_statistics_reach_the_loggers(tmp_path: Path) -> None:
    names = ("weight/std", "update/rotation", "gradient/rms")
    lines = JsonLinesCallback(tmp_path / "logs" / "run.jsonl")
    callback = VarianceCallback(tmp_path / "v", every=2, log=names)
    run = trainer(tmp_path, [callback, lines])
    callback.log_through(run)
    run.train()
    written = [json.loads(line) for line in lines.path.read_text().splitlines()]
    table = read_variances(tmp_path / "v")
    for kind, stat in (name.split("/") for name in names):
        key = f"{kind}_{stat}/q/layer_01"
        told = {entry["step"]: entry[key] for entry in written if key in entry}
        recorded = table.query("kind == @kind and stat == @stat and role == 'q' and layer == 1")
        assert set(told) == {2, 4, 6, 8, 10, 12}
        for step, value in told.items():
            (expected,) = recorded[recorded["step"] == step]["value"]
            assert value == pytest.approx(expected, rel=1e-6)
    assert any("loss" in entry for entry in written)
    assert not any("mlp_in" in key and "mean" in key for entry in written for key in entry)


def test_numbers_that_json_has_not_are_null(tmp_path: Path) -> None:
    class State:
        global_step, is_world_process_zero = 3, True

    callback = JsonLinesCallback(tmp_path / "a.jsonl")
    callback.on_log(None, State(), None, logs={"loss": float("nan"), "a": 1})
    assert json.loads(callback.path.read_text()) == {"step": 3, "loss": None, "a": 1}


def test_the_log_is_silent_when_nothing_is_chosen(tmp_path: Path) -> None:
    callback = VarianceCallback(tmp_path / "v", every=2, log=False)
    run = trainer(tmp_path, [callback])
    run.train()
    assert not any("/" in key for entry in run.state.log_history for key in entry)
