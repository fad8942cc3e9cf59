"""Pretraining: what is trained, what is recorded, interruptions, several processes, bad input."""

from __future__ import annotations

import contextlib
import io
import json
import math
import multiprocessing
import os
import random
import re
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from initscope.cli import main
from initscope.data.passages import Passages, ShuffledPassages
from initscope.devices import peak_flops
from initscope.errors import UsageError
from initscope.folder_lock import LOCK, write_lock
from initscope.models import gpt2
from initscope.models.gpt import training_flops_per_token
from initscope.pretrain import (
    PretrainSpec,
    describe_outcome,
    load_spec_text,
    plan_training,
    pretrain,
    read_record,
    split_growth,
)
from initscope.pretrain import records as pretrain_records
from initscope.pretrain import trainer as pretrain_trainer
from initscope.pretrain.checkpoints import checkpoints, mark_checkpoint, require_disk_space
from initscope.pretrain.cost import pretrain_cost
from initscope.pretrain.records import FIRST_IMPLEMENTATION, PretrainRecord
from initscope.pretrain.trainer import PassageTrainer, decay_groups
from initscope.sweep.cost import format_duration

RESULTS = Path(__file__).resolve().parents[2] / "notebooks" / "results"
STEPS = 12
SIZES: dict[str, Any] = {
    "preset": "nano12",
    "n_layer": 2,
    "n_embd": 16,
    "n_head": 2,
    "context": 16,
    "batch_size": 4,
    "steps": STEPS,
    "warmup_steps": 3,
    "log_every": 2,
    "track_every": 1,
    "evaluate_every": 6,
    "evaluate_passages": 4,
    "distribution_every": 4,
}


def write_text(folder: Path) -> Path:
    """Sources of a few modules, in the hub's layout."""
    names = ("abc", "bisect", "colorsys", "copy", "glob", "heapq", "keyword", "queue")
    documents = [Path(__import__(name).__file__).read_text() for name in names]
    folder.mkdir(parents=True)
    for split, chosen in (("train", documents[:6]), ("validation", documents[6:])):
        path = folder / f"{split}-00000-of-00001.parquet"
        pq.write_table(pa.table({"text": chosen}), path)
    return folder


@pytest.fixture(scope="module", autouse=True)
def data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder of data and a cache of our own, also for the processes that are started."""
    folder = tmp_path_factory.mktemp("data")
    write_text(folder / "text" / "modules")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INITSCOPE_DATA", str(folder))
        patch.setenv("INITSCOPE_CACHE", str(folder / "cache"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield folder


def spec_of(**fields: Any) -> PretrainSpec:
    return PretrainSpec(**{"text": "modules", **SIZES, **fields})


def run(out: Path, max_seconds: float | None = None, **fields: Any) -> PretrainRecord:
    return pretrain(
        spec_of(**fields), out, max_seconds, device="cpu", checkpoint_every=4, progress=False
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, data: Path) -> tuple[Path, Any]:
    # Sums of several threads differ in their last bits, and the killed runs have one.
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("undisturbed")
    return out, run(out)


def final_weights(out: Path) -> bytes:
    return (out / "checkpoints" / f"checkpoint-{STEPS}" / "model.safetensors").read_bytes()


def assert_same(found: PretrainRecord, expected: PretrainRecord) -> None:
    """Exactly the same, but for how long it took."""
    pd.testing.assert_frame_equal(found.variances, expected.variances, check_exact=True)
    pd.testing.assert_frame_equal(found.histograms, expected.histograms, check_exact=True)
    pd.testing.assert_frame_equal(found.evaluation, expected.evaluation, check_exact=True)
    speed = ["tokens_per_second"]
    pd.testing.assert_frame_equal(
        found.training.drop(columns=speed), expected.training.drop(columns=speed), check_exact=True
    )


# --- What is trained -----------------------------------------------------------------------


def reference(spec: PretrainSpec) -> tuple[nn.Module, list[tuple[float, float, float]]]:
    """The same training as a plain loop: the model, and loss, rate and norm of each update."""
    text = load_spec_text(spec)
    passages = ShuffledPassages(
        Passages(text.train, spec.context), spec.steps * spec.batch_size, spec.seed
    )
    model = spec.build_model()
    named = dict(model.named_parameters())
    decayed = [p for name, p in named.items() if name.endswith(("weight",)) and "ln_" not in name]
    others = [p for name, p in named.items() if name.endswith("bias") or "ln_" in name]
    assert len(decayed) + len(others) == len(named)
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8)
    log = []
    for step in range(1, spec.steps + 1):
        tokens = torch.stack(
            [passages[(step - 1) * spec.batch_size + k]["input_ids"] for k in range(4)]
        )
        if step <= spec.warmup_steps:
            rate = spec.learning_rate * step / spec.warmup_steps
        else:
            done = (step - spec.warmup_steps) / (spec.steps - spec.warmup_steps)
            low = spec.final_learning_rate
            rate = low + (spec.learning_rate - low) * (1 + math.cos(math.pi * done)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        logits = model(tokens).logits
        loss = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        log.append((loss.item(), rate, norm.item()))
    return model, log


def test_it_is_gpt2s_training_as_a_plain_loop_does_it(undisturbed: tuple[Path, Any]) -> None:
    from safetensors.torch import load_file

    out, record = undisturbed
    model, log = reference(spec_of())
    loss, rate, norm = (np.array(column) for column in zip(*log, strict=True))
    table = record.training
    assert table["step"].tolist() == list(range(2, STEPS + 1, 2))
    np.testing.assert_allclose(table["loss"], loss.reshape(-1, 2).mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(table["learning_rate"], rate[1::2], rtol=1e-12)
    np.testing.assert_allclose(table["gradient_norm"], norm[1::2], rtol=1e-4)
    saved = load_file(out / "checkpoints" / f"checkpoint-{STEPS}" / "model.safetensors")
    for name, weight in saved.items():
        torch.testing.assert_close(
            weight, model.get_parameter(name).detach(), rtol=1e-4, atol=2e-6, msg=name
        )


def test_the_record_says_what_was_tracked(undisturbed: tuple[Path, Any]) -> None:
    out, record = undisturbed
    stds = record.variances.query("kind == 'weight' and stat == 'std'")
    assert set(stds["step"]) == set(range(STEPS + 1))
    assert {"q", "k", "v"} <= set(stds["role"])
    first = stds[stds["step"] == 0].set_index(["layer", "role"])["value"]
    model = spec_of().build_model()
    for layer, block in enumerate(model.transformer.h, 1):
        q, k, v = block.attn.c_attn.weight.detach().double().chunk(3, dim=1)
        for role, weight in (("q", q), ("k", k), ("v", v)):
            expected = weight.std(correction=0).item()
            assert first[layer, role] == pytest.approx(expected, rel=1e-5)
    assert set(record.histograms["step"]) == {0, 4, 8, 12}
    assert record.evaluation["step"].tolist() == [0, 6, 12]
    assert record.evaluation["loss"].iloc[0] == pytest.approx(math.log(256), abs=0.1)
    assert record.run["status"] == "finished"
    assert record.run["text"]["name"] == "modules"
    assert {"torch", "transformers", "device", "precision"} <= record.run["environments"][0].keys()
    assert PretrainSpec.from_dict(record.run["spec"]) == spec_of()
    # Small, and apart from the weights, which git leaves alone.
    assert sorted(p.name for p in (out / "record").iterdir()) == sorted(
        [
            "run.json",
            *(f"{n}.parquet" for n in ("training", "evaluation", "variances", "histograms")),
        ]
    )
    assert (out / "checkpoints" / ".gitignore").read_text() == "*\n"


def test_it_learns(tmp_path: Path) -> None:
    record = run(tmp_path, steps=60, learning_rate=3e-3, batch_size=16, evaluate_every=60)
    before, after = record.evaluation["loss"]
    assert after < before - 1.0


@pytest.mark.parametrize("residual_scaling", [True, False])
def test_the_initial_std_is_that_of_the_specification(residual_scaling: bool) -> None:
    spec = spec_of(n_embd=64, std=0.05, residual_scaling=residual_scaling)
    model = spec.build_model()
    residual = 0.05 / (2 * spec.n_layer) ** 0.5 if residual_scaling else 0.05
    for block in model.transformer.h:
        assert block.attn.c_attn.weight.std().item() == pytest.approx(0.05, rel=0.05)
        assert block.mlp.c_proj.weight.std().item() == pytest.approx(residual, rel=0.05)
    assert model.transformer.wte.weight.std().item() == pytest.approx(0.05, rel=0.05)


def test_the_seed_decides_weights_and_order(undisturbed: tuple[Path, Any], tmp_path: Path) -> None:
    _, record = undisturbed
    other = run(tmp_path, seed=1, steps=2, warmup_steps=1)
    first = [r.variances.query("step == 0")["value"].to_numpy() for r in (record, other)]
    assert not np.array_equal(*first)
    passages = Passages((np.arange(1000, dtype=np.uint16),), 10)
    orders = [
        [int(p["input_ids"][0]) for p in ShuffledPassages(passages, 100, seed)] for seed in (0, 1)
    ]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(0, 1000, 10))


def test_decay_is_on_matrices_and_embeddings_only() -> None:
    model = gpt2("nano12", n_layer=1, n_embd=16, n_head=2)
    names = {id(p): name for name, p in model.named_parameters()}
    decayed, others = decay_groups(model, 0.3)
    assert decayed["weight_decay"] == 0.3
    assert others["weight_decay"] == 0.0
    assert {names[id(p)] for p in others["params"]} == {
        name for name in names.values() if name.endswith("bias") or "ln_" in name
    }
    assert len(decayed["params"]) + len(others["params"]) == len(names)


def test_a_model_without_matrices_has_nothing_to_decay() -> None:
    with pytest.raises(UsageError, match="LayerNorm has no trainable matrix"):
        decay_groups(nn.LayerNorm(4), 0.1)


@pytest.mark.parametrize("warmup", [0, 1, 5, 10])
def test_the_learning_rate_warms_up_and_falls_to_its_last_value(warmup: int) -> None:
    spec = spec_of(steps=10, warmup_steps=warmup, learning_rate=2.0, final_learning_rate=0.5)
    rates = [spec.learning_rate_factor(k) for k in range(10)]
    assert spec.learning_rates().tolist() == [2 * rate for rate in rates]
    assert rates[:warmup] == pytest.approx([k / warmup for k in range(1, warmup + 1)])
    assert np.all(np.diff(rates[warmup:]) < 0)
    if warmup < 10:
        assert rates[-1] == pytest.approx(0.25)
    assert max(rates) <= 1


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
        ("linear", [0.5, 1, *(1 - 0.9 * k / 8 for k in range(1, 9))]),
        ("wsd", [0.5, 1, 1, 1, 1, 1, 1, 1, 0.55, 0.1]),
    ],
)
def test_other_schedules_and_the_cosine_that_older_records_do_not_name(
    schedule: str, expected: list[float]
) -> None:
    spec = spec_of(steps=10, warmup_steps=2, learning_rate=2.0, schedule=schedule)
    np.testing.assert_allclose(spec.learning_rates(), 2 * np.array(expected), rtol=1e-12)
    assert spec.to_dict()["schedule"] == schedule
    assert PretrainSpec.from_dict(spec.to_dict()) == spec
    cosine = spec_of(steps=10, warmup_steps=2, learning_rate=2.0)
    assert "schedule" not in cosine.to_dict()
    assert cosine.digest != spec.digest
    assert PretrainSpec.from_dict(cosine.to_dict()) == cosine


def test_growth_is_split_in_the_run_that_pretrain_makes(undisturbed: tuple[Path, Any]) -> None:
    _, record = undisturbed
    spec = spec_of()
    found = split_growth(spec, lags=(2,), roles=("q", "mlp_out"), every=1, device="cpu")
    weights = record.variances.query("kind == 'weight' and stat == 'rms'")
    square = weights.pivot(index="step", columns=["role", "layer"], values="value") ** 2  # noqa: PD010
    keep = (1 - spec.learning_rates() * spec.weight_decay)[:, None] ** 2
    expected = square.iloc[1:] - keep * square.iloc[:-1].to_numpy()
    growth = found.pivot(index="until", columns=["role", "layer"], values="growth")  # noqa: PD010
    assert set(growth.columns.get_level_values("role")) == {"q", "k", "v", "mlp_out"}
    np.testing.assert_allclose(growth, expected[growth.columns], rtol=1e-3, atol=1e-9)


def test_the_random_generators_are_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    run(tmp_path, steps=2, warmup_steps=1)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    assert before[2] == random.getstate()


# --- Interruptions -------------------------------------------------------------------------


def test_stopped_after_its_time_it_goes_on(undisturbed: tuple[Path, Any], tmp_path: Path) -> None:
    stops = []
    for _ in range(STEPS):
        record = run(tmp_path, max_seconds=0)
        stops.append((record.run["status"], record.run["step"]))
        assert record.variances["step"].max() == record.run["step"]
        if record.run["status"] == "finished":
            break
    assert stops == [*(("stopped", step) for step in range(2, STEPS, 2)), ("finished", STEPS)]
    assert_same(record, undisturbed[1])
    assert final_weights(tmp_path) == final_weights(undisturbed[0])
    assert len(checkpoints(tmp_path, spec_of().digest)) == 2


def train_and_die(environment: dict[str, str], out: str, at_step: int, while_saving: bool) -> None:
    """Train in this process until SIGKILL: after a step, or in the middle of a checkpoint."""
    os.environ.update(environment)  # that of the server is older than this test

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if while_saving:

        def mark(folder: Path, *facts: Any) -> None:
            if folder.name == f"checkpoint-{at_step}":
                (folder / "optimizer.pt").write_bytes(b"half")
                die()
            original(folder, *facts)

        original, pretrain_trainer.mark_checkpoint = pretrain_trainer.mark_checkpoint, mark
    else:

        def on_step_begin(self: Any, args: Any, state: Any, control: Any, **options: Any) -> None:
            if state.global_step == at_step:
                die()

        pretrain_trainer.RunControl.on_step_begin = on_step_begin  # type: ignore[method-assign]
    torch.set_num_threads(1)
    run(Path(out))


@pytest.mark.parametrize(("at_step", "while_saving"), [(3, False), (7, False), (8, True)])
def test_killed_it_goes_on_as_if_nothing_had_been(
    at_step: int,
    while_saving: bool,
    undisturbed: tuple[Path, Any],
    tmp_path: Path,
    server: multiprocessing.context.BaseContext,
) -> None:
    torch.set_num_threads(1)
    arguments = (dict(os.environ), str(tmp_path), at_step, while_saving)
    child = server.Process(target=train_and_die, args=arguments)
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    kept = [p.name for p in checkpoints(tmp_path, spec_of().digest)]
    assert kept == (["checkpoint-4"] if at_step > 4 else [])
    half = read_record(tmp_path)
    assert half.run["status"] == "running"
    assert half.variances["step"].max() == at_step
    assert_same(run(tmp_path), undisturbed[1])
    assert final_weights(tmp_path) == final_weights(undisturbed[0])


def test_what_is_logged_is_written_now_and_then_and_before_each_checkpoint(
    undisturbed: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, at_checkpoints = [], {}
    write_logs, mark = pretrain_records.write_logs, pretrain_trainer.mark_checkpoint

    def counted(folder: Path, history: Any) -> None:
        write_logs(folder, history)
        written.append(history[-1]["step"])

    def marked(folder: Path, *facts: Any) -> None:
        mark(folder, *facts)
        steps = pd.read_parquet(tmp_path / "record" / "training.parquet")["step"]
        at_checkpoints[folder.name] = steps.max()

    monkeypatch.setattr("initscope.pretrain.run.write_logs", counted)
    monkeypatch.setattr(pretrain_trainer, "mark_checkpoint", marked)
    monkeypatch.setattr(pretrain_trainer, "RECORD_EVERY", math.inf)
    assert_same(run(tmp_path), undisturbed[1])
    every = range(4, STEPS + 1, 4)
    assert at_checkpoints == {f"checkpoint-{step}": step for step in every}
    assert set(written) == {0, *every}  # the first at once, for those who look
    monkeypatch.setattr(pretrain_trainer, "RECORD_EVERY", 0.0)
    written.clear()
    run(tmp_path / "often")
    assert set(written) == {0, *range(2, STEPS + 1, 2)}


def test_a_damaged_checkpoint_is_passed_over(undisturbed: tuple[Path, Any], tmp_path: Path) -> None:
    for _ in range(4):
        run(tmp_path, max_seconds=0)
    (newest, older) = checkpoints(tmp_path, spec_of().digest)
    assert (newest.name, older.name) == ("checkpoint-8", "checkpoint-6")
    (newest / "model.safetensors").write_bytes(b"")
    assert checkpoints(tmp_path, spec_of().digest) == [older]
    assert_same(run(tmp_path), undisturbed[1])


def test_a_checkpoint_that_knows_other_intervals_makes_no_difference(
    undisturbed: tuple[Path, Any], tmp_path: Path
) -> None:
    """Older versions decided themselves what is due, and told the Trainer that nothing ever is."""
    run(tmp_path, max_seconds=0)
    (checkpoint,) = checkpoints(tmp_path, spec_of().digest)
    path = checkpoint / "trainer_state.json"
    state = json.loads(path.read_text())
    path.write_text(
        json.dumps(state | {"logging_steps": 500, "eval_steps": 500, "save_steps": 500})
    )
    mark = checkpoint / "initscope.json"
    facts = json.loads(mark.read_text())
    mark.unlink()
    mark_checkpoint(checkpoint, facts["digest"], facts["recorded"])
    assert_same(run(tmp_path), undisturbed[1])


def test_finished_it_trains_nothing(undisturbed: tuple[Path, Any]) -> None:
    out, record = undisturbed
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert_same(run(out), record)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_the_record_is_readable_without_the_checkpoints(
    undisturbed: tuple[Path, Any], tmp_path: Path
) -> None:
    shutil.copytree(undisturbed[0] / "record", tmp_path / "committed")
    assert_same(read_record(tmp_path / "committed"), undisturbed[1])


# --- Damaged, of an older version, at the same time as another -----------------------------


@pytest.fixture
def stopped(undisturbed: tuple[Path, Any], tmp_path: Path) -> Path:
    """A run that was stopped after eight steps, with checkpoints of two."""
    for _ in range(4):
        run(tmp_path, max_seconds=0)
    assert [p.name for p in checkpoints(tmp_path, spec_of().digest)] == [
        "checkpoint-8",
        "checkpoint-6",
    ]
    return tmp_path


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damaged", [("8",), ("8", "6")])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(
    damaged: tuple[str, ...],
    stopped: Path,
    undisturbed: tuple[Path, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    for step in damaged:
        flip(stopped / "checkpoints" / f"checkpoint-{step}" / "model.safetensors")
    capsys.readouterr()
    assert_same(run(stopped), undisturbed[1])
    assert final_weights(stopped) == final_weights(undisturbed[0])
    said = capsys.readouterr().out.splitlines()
    names = [stopped / "checkpoints" / f"checkpoint-{step}" for step in damaged]
    expected = [f"{name} is passed over: model.safetensors is damaged." for name in names]
    if len(damaged) == 2:
        expected.append(
            f"No whole checkpoint is left in {stopped}: training starts again from step 0."
        )
    assert said == expected


def test_a_run_of_an_older_version_goes_on(
    stopped: Path, undisturbed: tuple[Path, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Marks with sizes alone, a run without checksums, tables without theirs."""
    for mark in stopped.glob("checkpoints/*/initscope.json"):
        facts = json.loads(mark.read_text())
        mark.write_text(json.dumps({name: facts[name] for name in ("digest", "sizes")}))
    older(stopped)
    capsys.readouterr()
    assert_same(run(stopped), undisturbed[1])
    assert capsys.readouterr().out == ""


def older(out: Path) -> None:
    """Make the record what an older version wrote."""
    path = out / "record" / "run.json"
    facts = json.loads(path.read_text())
    del facts["sha256"], facts["files"]
    path.write_text(json.dumps(facts))
    for table in (out / "record").glob("*.parquet"):
        pq.write_table(pq.read_table(table).replace_schema_metadata(None), table)


def test_a_record_of_an_older_version_is_read(
    undisturbed: tuple[Path, Any], tmp_path: Path
) -> None:
    shutil.copytree(undisturbed[0] / "record", tmp_path / "record")
    older(tmp_path)
    assert_same(read_record(tmp_path), undisturbed[1])


def test_the_published_records_are_read() -> None:
    found = sorted(RESULTS.glob("*/*/*/record/run.json"))
    assert len(found) >= 10
    for path in found:
        record = read_record(path.parent)
        assert record.run["status"] in ("finished", "diverged")
        assert len(record.variances)


@pytest.mark.parametrize("name", ["training", "evaluation"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="loss"), "it has no column loss"),
        (lambda f: f.assign(step=f["step"].astype(str)), "its column step is of the type"),
        (lambda f: f.assign(loss=math.nan), "values of its column loss are missing"),
        (lambda f: pd.concat([f, f[:1]]), "1 of its rows are there twice, by step"),
        (lambda f: f.assign(more=1), "its columns are step, loss"),
    ],
)
def test_a_table_that_is_not_what_it_must_be_is_one_clear_error(
    name: str, change: Any, message: str, undisturbed: tuple[Path, Any], tmp_path: Path
) -> None:
    shutil.copytree(undisturbed[0] / "record", tmp_path / "record")
    path = tmp_path / "record" / f"{name}.parquet"
    frame = change(pd.read_parquet(path))
    frame.to_parquet(path, index=False)
    # As it is now it is known by its checksum ...
    with pytest.raises(UsageError, match=rf"{name}\.parquet is damaged, or of another run"):
        read_record(tmp_path)
    # ... and what an older version wrote, by its columns.
    older(tmp_path)
    with pytest.raises(UsageError, match=rf"{name}\.parquet is damaged \(.*{message}"):
        read_record(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": 11}, "its content is not what was written"),
        ({"step": "12", "sha256": None}, "its 'step' is missing, or not what it must be"),
        ({"text": None, "sha256": None}, "its 'text' is missing, or not what it must be"),
        ({"seconds": True, "sha256": None}, "its 'seconds' is missing, or not what it must be"),
        ({"status": "done", "sha256": None}, "its status is 'done'"),
    ],
)
def test_a_run_that_is_not_what_it_must_be_is_one_clear_error(
    change: dict[str, Any], message: str, undisturbed: tuple[Path, Any], tmp_path: Path
) -> None:
    shutil.copytree(undisturbed[0] / "record", tmp_path / "record")
    path = tmp_path / "record" / "run.json"
    facts = json.loads(path.read_text()) | change
    if "sha256" in change:
        del facts["sha256"]
    path.write_text(json.dumps(facts))
    with pytest.raises(UsageError, match=rf"run\.json cannot be read \({message}"):
        read_record(tmp_path)
    with pytest.raises(UsageError, match=rf"run\.json cannot be read \({message}"):
        run(tmp_path)


def train_and_wait(environment: dict[str, str], out: str, told: Connection) -> None:
    """Train in this process, and wait at the fourth step until told to go on."""
    os.environ.update(environment)  # that of the server is older than this test

    def on_step_begin(self: Any, args: Any, state: Any, control: Any, **options: Any) -> None:
        if state.global_step == 4:
            told.send(None)
            told.recv()

    pretrain_trainer.RunControl.on_step_begin = on_step_begin  # type: ignore[method-assign]
    torch.set_num_threads(1)
    run(Path(out))


def test_two_at_once_in_one_folder_are_refused_and_readers_are_not(
    tmp_path: Path,
    undisturbed: tuple[Path, Any],
    server: multiprocessing.context.BaseContext,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ours, theirs = server.Pipe()
    child = server.Process(target=train_and_wait, args=(dict(os.environ), str(tmp_path), theirs))
    child.start()
    theirs.close()
    ours.recv()
    before = {path: path.stat().st_mtime_ns for path in [tmp_path, *tmp_path.rglob("*")]}
    assert main(command(tmp_path)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path} is being written by a pretraining run, process ")
    assert f"process {child.pid} on " in line
    assert read_record(tmp_path).run["step"] == 4
    assert {path: path.stat().st_mtime_ns for path in [tmp_path, *tmp_path.rglob("*")]} == before
    ours.send(None)
    child.join()
    ours.close()
    assert child.exitcode == 0
    assert_same(run(tmp_path), undisturbed[1])  # which reads it, for it is finished
    assert not (tmp_path / LOCK).exists()


def refusal_of_a_process(environment: dict[str, str], arguments: list[str]) -> tuple[int, str]:
    """Exit status and standard error of the command line in this process, one of several."""
    with contextlib.redirect_stderr(io.StringIO()) as error:
        return command_of_a_process(environment, arguments)[0], error.getvalue()


def test_of_several_processes_all_stop_and_one_speaks(
    tmp_path: Path, server: multiprocessing.context.BaseContext
) -> None:
    with write_lock(tmp_path, "a test"):
        done = in_two_processes(refusal_of_a_process, command(tmp_path))
    (status, line), (other_status, nothing) = done
    assert status == other_status == 2
    assert line.startswith(f"error: {tmp_path} is being written by a test, process {os.getpid()}")
    assert len(line.splitlines()) == 1
    assert nothing == ""
    assert list(tmp_path.iterdir()) == []


# --- The same batch, otherwise divided -----------------------------------------------------


def assert_close(found: PretrainRecord, expected: PretrainRecord) -> None:
    """The same to rounding."""
    kinds = "kind == 'weight' and stat in ('mean', 'std', 'rms')"
    ours, theirs = (r.variances.query(kinds).reset_index(drop=True) for r in (found, expected))
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-5, atol=1e-8)
    gradients = "kind == 'gradient' and stat == 'std'"
    ours, theirs = (r.variances.query(gradients).reset_index(drop=True) for r in (found, expected))
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-3)
    np.testing.assert_allclose(found.training["loss"], expected.training["loss"], rtol=1e-5)
    np.testing.assert_allclose(found.evaluation["loss"], expected.evaluation["loss"], rtol=1e-5)


@pytest.mark.parametrize("micro_batch_size", [1, 2])
def test_accumulated_gradients_are_those_of_the_whole_batch(
    micro_batch_size: int, undisturbed: tuple[Path, Any], tmp_path: Path
) -> None:
    record = pretrain(
        spec_of(), tmp_path, device="cpu", micro_batch_size=micro_batch_size, progress=False
    )
    assert_close(record, undisturbed[1])


@pytest.mark.parametrize(
    ("preset", "passages", "accumulated"),
    [("nano12", 8, 1), ("124m", 2, 32)],  # 1,024 tokens of 50,257 logits are 0.2 GB
)
def test_a_pass_on_a_cpu_has_logits_that_fit(preset: str, passages: int, accumulated: int) -> None:
    spec = PretrainSpec(text="stdlib", preset=preset)
    plan = plan_training(spec, "cpu", None, None, None, None)
    assert (plan.micro_batch_size, plan.accumulated) == (passages, accumulated)
    logits = plan.micro_batch_size * spec.context * spec.vocab_size
    assert 4 * logits <= 2**29  # bytes in float32


def command(out: Path, *more: str) -> list[str]:
    """Arguments of the command line for the same specification."""
    fields = [a for name, value in SIZES.items() for a in ("-p", name, str(value))]
    return ["pretrain", "--text", "modules", "--out", str(out), "--device", "cpu", *fields, *more]


def command_of_a_process(environment: dict[str, str], arguments: list[str]) -> tuple[int, str]:
    """Exit status and standard output of the command line in this process, one of several."""
    os.environ.update(environment)  # that of the server is older than this test
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()) as output:
        return main(arguments), output.getvalue()


def in_two_processes(function: Any, arguments: list[str]) -> list[Any]:
    """What torchrun does, but that these processes need not import everything again."""
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        run_id="test",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        start_method="forkserver",
    )
    launch = elastic_launch(config, function)
    environment = {"OMP_NUM_THREADS": "1", **os.environ}  # as torchrun sets it
    with ThreadPoolExecutor(1) as aside:  # in the main thread it would keep the signals to itself
        results = aside.submit(launch, environment, arguments).result()
    return [results[rank] for rank in range(2)]  # in the order of the processes, not of their ends


def test_two_processes_do_what_one_does(
    undisturbed: tuple[Path, Any],
    tmp_path: Path,
    server: multiprocessing.context.BaseContext,
) -> None:
    first, second = in_two_processes(command_of_a_process, command(tmp_path))
    assert first == (0, f"{tmp_path / 'record'}: step {STEPS} of {STEPS}, finished.\n")
    assert second == (0, "")
    record = read_record(tmp_path)
    assert record.run["environments"][0]["processes"] == "2"
    assert_close(record, undisturbed[1])
    # Only the first process writes.
    assert sorted(p.name for p in (tmp_path / "record").iterdir()) == sorted(
        p.name for p in (undisturbed[0] / "record").iterdir()
    )
    for folder in checkpoints(tmp_path, spec_of().digest):
        assert [p.name for p in folder.glob("rng_state*")] == ["rng_state_0.pth"]


# --- Another way to compute the same ---------------------------------------------------------


def run_as_before(monkeypatch: pytest.MonkeyPatch, out: Path, **options: Any) -> PretrainRecord:
    """A run of the time when GELU was computed operation by operation, and no record said how."""
    with monkeypatch.context() as patch:
        patch.setattr(pretrain_records, "IMPLEMENTATION", FIRST_IMPLEMENTATION)
        record = run(out, **options)
    path = out / "record" / "run.json"
    facts = json.loads(path.read_text())
    assert facts.pop("implementation") == FIRST_IMPLEMENTATION
    del facts["sha256"]  # nor was there a checksum
    path.write_text(json.dumps(facts))
    return record


def test_the_fast_gelu_trains_the_same(
    undisturbed: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    record = run_as_before(monkeypatch, tmp_path)
    assert_close(record, undisturbed[1])
    then, now = (
        load_file(out / "checkpoints" / f"checkpoint-{STEPS}" / "model.safetensors")
        for out in (tmp_path, undisturbed[0])
    )
    for name, weight in now.items():
        torch.testing.assert_close(weight, then[name], rtol=1e-4, atol=2e-6, msg=name)
    assert final_weights(tmp_path) != final_weights(undisturbed[0])  # it was the other way


def test_a_run_goes_on_in_the_way_it_was_begun(
    undisturbed: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_as_before(monkeypatch, tmp_path / "whole")
    run_as_before(monkeypatch, tmp_path / "stopped", max_seconds=0)
    record = run(tmp_path / "stopped")
    assert record.run["implementation"] == FIRST_IMPLEMENTATION
    assert_same(record, whole)
    assert final_weights(tmp_path / "stopped") == final_weights(tmp_path / "whole")
    # Begun again for want of a checkpoint, it is computed in the new way.
    run_as_before(monkeypatch, tmp_path / "lost", max_seconds=0)
    shutil.rmtree(tmp_path / "lost" / "checkpoints")
    record = run(tmp_path / "lost")
    assert record.run["implementation"] == pretrain_records.IMPLEMENTATION
    assert_same(record, undisturbed[1])


def test_the_record_says_how_it_was_computed(undisturbed: tuple[Path, Any], tmp_path: Path) -> None:
    out, record = undisturbed
    facts = json.loads((out / "record" / "run.json").read_text())
    assert facts["implementation"] == {"activation": "tanh_gelu", "optimizer": "adamw_torch_fused"}
    how = "GELU by initscope.models.gelu.TanhGELU, AdamW by adamw_torch_fused"
    assert how in describe_outcome(record)
    shutil.copytree(out / "record", tmp_path / "record")
    facts["implementation"]["activation"] = "gelu_of_tomorrow"
    del facts["sha256"]
    (tmp_path / "record" / "run.json").write_text(json.dumps(facts))
    with pytest.raises(UsageError, match="unknown activation 'gelu_of_tomorrow'"):
        spec_of().build_model(read_record(tmp_path).run["implementation"]["activation"])


def test_published_records_say_how_they_were_computed() -> None:
    root = Path(__file__).resolve().parents[2] / "notebooks" / "results"
    paths = sorted((root / "07_gpt2_qkv_dynamics" / "cpu").glob("*/record"))
    assert len(paths) > 10
    for path in paths:
        published = read_record(path)
        assert PretrainSpec.from_dict(published.run["spec"]).digest == published.run["digest"]
        recorded = json.loads((path / "run.json").read_text()).get("implementation")
        assert published.run["implementation"] == (recorded or FIRST_IMPLEMENTATION)
        assert "AdamW by adamw_torch_fused" in describe_outcome(published)


def test_a_checkpoint_is_loaded_by_transformers_alone(undisturbed: tuple[Path, Any]) -> None:
    from transformers import GPT2LMHeadModel

    folder = undisturbed[0] / "checkpoints" / f"checkpoint-{STEPS}"
    theirs = GPT2LMHeadModel.from_pretrained(folder)
    assert theirs.config.activation_function == "gelu_pytorch_tanh"
    ours = spec_of().build_model()
    ours.load_state_dict(theirs.state_dict())
    tokens = torch.arange(16)[None]
    torch.testing.assert_close(ours(tokens).logits, theirs(tokens).logits, rtol=1e-5, atol=1e-6)


def trainer_of(model: nn.Module, folder: Path, kind: type[Trainer], **options: Any) -> Trainer:
    arguments = TrainingArguments(
        str(folder), use_cpu=True, report_to="none", disable_tqdm=True, remove_unused_columns=False,
        **options,
    )  # fmt: skip
    trainer = kind(model=model, args=arguments)
    trainer.model_accepts_loss_kwargs = False
    trainer.current_gradient_accumulation_steps = arguments.gradient_accumulation_steps
    return trainer


def test_a_pass_is_that_of_the_trainer_of_transformers(tmp_path: Path) -> None:
    tokens = torch.arange(64).reshape(4, 16)
    inputs = {"input_ids": tokens, "labels": tokens}
    found = []
    for kind in (Trainer, PassageTrainer):
        model = spec_of().build_model().eval()
        trainer = trainer_of(model, tmp_path, kind, gradient_accumulation_steps=2)
        loss = trainer.training_step(model, dict(inputs))
        assert model.training
        flops = trainer.floating_point_ops(inputs), trainer.floating_point_ops(inputs)
        found.append((loss, [p.grad for p in model.parameters()], flops))
    (loss, gradients, flops), (our_loss, our_gradients, our_flops) = found
    assert torch.equal(loss, our_loss)
    assert not our_loss.requires_grad
    assert all(map(torch.equal, gradients, our_gradients))
    assert flops == our_flops


@pytest.mark.parametrize("norm", [0.0, 0.5, 1.0 - 1e-6, 1.0, 1.0 + 1e-6, 7.0, math.inf, math.nan])
def test_gradients_are_clipped_as_torch_clips_them(norm: float, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    trainer = trainer_of(model, tmp_path, PassageTrainer)
    assert trainer.args.max_grad_norm == 1.0
    generator = torch.Generator().manual_seed(0)
    given = [torch.randn(p.shape, generator=generator) for p in model.parameters()]
    scale = norm / torch.nn.utils.get_total_norm(given)
    results = []
    for clip in (
        trainer._clip_grad_norm,
        lambda m: nn.utils.clip_grad_norm_(m.parameters(), 1.0),
    ):
        for parameter, gradient in zip(model.parameters(), given, strict=True):
            parameter.grad = gradient * scale
        results.append([clip(model), *(p.grad for p in model.parameters())])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)


# --- Divergence ----------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_is_recorded_and_ends_the_training(tmp_path: Path) -> None:
    # The weights grow by a factor of 9 a step.
    fields = {"learning_rate": 10.0, "weight_decay": 1.0, "warmup_steps": 0, "log_every": 1}
    spec = spec_of(**fields, steps=60, final_learning_rate=10.0)
    record = pretrain(spec, tmp_path, device="cpu", checkpoint_every=1, progress=False)
    step = record.run["diverged_step"]
    assert record.run["status"] == "diverged"
    assert 2 < step < 40
    losses = record.training.set_index("step")["loss"]
    assert losses.index.max() in (step, step + 1)
    assert np.isfinite(losses.loc[: step - 1]).all()
    kept = checkpoints(tmp_path, spec.digest)
    assert kept
    weights = torch.load(kept[0] / "optimizer.pt", weights_only=True)
    assert all(
        torch.isfinite(value).all()
        for state in weights["state"].values()
        for value in state.values()
    )
    again = pretrain(spec, tmp_path, device="cpu", progress=False)
    assert again.run == record.run


# --- Bad input -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"preset": "nano"}, "unknown preset 'nano'. Did you mean 'nano12'"),
        ({"steps": 0}, "steps must be a whole number of at least 1, not 0"),
        ({"steps": 2.5}, "steps must be a whole number of at least 1, not 2.5"),
        ({"learning_rate": "1e-3"}, "learning_rate must be a finite number of at least 0"),
        ({"learning_rate": math.nan}, "learning_rate must be a finite number of at least 0"),
        ({"std": 1e38}, "std must be at most 4.25e.37, for weights are float32, not 1e.38"),
        ({"weight_decay": -0.1}, "weight_decay must be a finite number of at least 0, not -0.1"),
        ({"residual_scaling": 1}, "residual_scaling must be true or false, not 1"),
        ({"warmup_steps": 13}, "warmup_steps is 13, but there are only 12 steps"),
        ({"final_learning_rate": 1.0}, "final_learning_rate 1 is above learning_rate 0.001"),
        ({"schedule": "cosin"}, "unknown schedule 'cosin'. Did you mean 'cosine'"),
        (
            {"schedule": "constant", "final_learning_rate": 0.0},
            "schedule is constant, but final_learning_rate 0 is not learning_rate 0.001",
        ),
        ({"betas": (0.9, 1.0)}, "betas must be two numbers from 0 to below 1"),
        ({"n_head": 3}, "n_embd 16 is no multiple of n_head 3"),
        ({"context": 1}, "the context must be at least 2"),
        ({"clip": 0}, "clip must be above 0"),
        ({"seed": -1}, "seed must be a whole number of at least 0, not -1"),
        ({"text": ()}, "text must name at least one source"),
        ({"text": 5}, "text must be a list, not 5"),
        ({"track_quantities": ("weights",)}, "unknown quantity 'weights'. Did you mean 'weight'"),
    ],
)
def test_a_bad_specification_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        spec_of(**fields)


def test_an_unknown_field_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"'learning_rates'. Did you mean 'learning_rate'"):
        PretrainSpec.from_dict({"text": "modules", "learning_rates": 1})
    with pytest.raises(UsageError, match="no text is given"):
        PretrainSpec.from_dict({"preset": "nano12"})


@pytest.mark.parametrize(
    ("fields", "options", "message"),
    [
        ({"context": 10**6}, {}, "the context is 1,000,000 tokens, but the training split of mod"),
        ({"context": 20_000}, {}, "but the validation split of modules has a source of only"),
        ({"vocab_size": 255}, {}, "'bytes' has 256 entries, which do not fit .* 255"),
        ({}, {"micro_batch_size": 3}, "micro_batch_size 3 must divide the 4 passages"),
        ({}, {"device": "tpu"}, "device 'tpu' is not to be had here: give cpu or cuda"),
        ({}, {"precision": "fp16"}, "unknown precision 'fp16'"),
        ({}, {"max_seconds": -1}, "max_seconds must be a number of at least 0, or None, not -1"),
        ({}, {"checkpoint_every": 0}, "checkpoint_every must be a whole number of at least 1"),
        ({"text": "novels"}, {}, "unknown text 'novels'"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    fields: dict[str, Any], options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        pretrain(spec_of(**fields), tmp_path / "out", **{"device": "cpu"} | options)
    assert not (tmp_path / "out").exists()


def test_the_loggers_of_the_trainer_get_loss_and_stds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: dict[str, dict[int, float]] = {}

    class Logger(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any, **options: Any) -> None:
            for name, value in logs.items():
                logged.setdefault(name, {})[state.global_step] = value

    monkeypatch.setitem(INTEGRATION_TO_CALLBACK, "tests", Logger)
    record = pretrain(spec_of(steps=4), tmp_path, device="cpu", report_to="tests", progress=False)
    losses = record.training.set_index("step")["loss"].to_dict()
    assert logged["loss"] == pytest.approx(losses)
    assert set(losses) == {2, 4}
    table = record.variances.query("kind == 'weight' and stat == 'std' and step in [2, 4]")
    assert len(table) == 2 * len([name for name in logged if name.startswith("weight_std/")]) > 0
    for (layer, role), rows in table.groupby(["layer", "role"]):
        found = logged[f"weight_std/{role}/layer_{layer:02d}"]
        stds = rows.set_index("step")["value"].to_dict()
        assert {step: found[step] for step in stds} == pytest.approx(stds, rel=1e-6)


def test_a_logger_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="report_to 'tensorbord' is no logger that can be used"):
        pretrain(spec_of(), tmp_path, device="cpu", report_to="tensorbord")
    assert not (tmp_path / "record").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="device 'cuda' is not to be had here"):
        pretrain(spec_of(), tmp_path, device="cuda")


def test_another_specification_in_the_same_folder_is_refused(
    undisturbed: tuple[Path, Any],
) -> None:
    with pytest.raises(UsageError, match=r"another specification \(different: seed, std\)"):
        run(undisturbed[0], seed=3, std=0.05)


def test_checkpoints_without_a_record_are_refused(
    undisturbed: tuple[Path, Any], tmp_path: Path
) -> None:
    shutil.copytree(undisturbed[0] / "checkpoints", tmp_path / "checkpoints")
    with pytest.raises(UsageError, match=r"holds checkpoints, but .* no record"):
        run(tmp_path)


def test_another_text_of_the_same_name_is_refused(data: Path, tmp_path: Path) -> None:
    text = write_text(tmp_path / "text")
    run(tmp_path / "out", max_seconds=0, text=str(text))
    path = text / "train-00000-of-00001.parquet"
    pq.write_table(pa.table({"text": pq.read_table(path)["text"].to_pylist()[:3]}), path)
    with pytest.raises(UsageError, match="or its tokenizer is not the same as when the run"):
        run(tmp_path / "out", text=str(text))


def test_a_damaged_record_is_reported(undisturbed: tuple[Path, Any], tmp_path: Path) -> None:
    shutil.copytree(undisturbed[0] / "record", tmp_path / "record")
    (tmp_path / "record" / "run.json").write_text("{")
    with pytest.raises(UsageError, match=r"run\.json cannot be read"):
        run(tmp_path)
    with pytest.raises(UsageError, match="holds no record of a pretraining run"):
        read_record(tmp_path / "elsewhere")


def test_no_space_for_a_checkpoint_is_told_before_training(tmp_path: Path) -> None:
    # 60 layers of 2**18 by 4 * 2**18 and so on: more than any disk holds.
    spec = spec_of(n_layer=60, n_embd=2**18, n_head=64)
    n, _ = spec.count_parameters()
    terabytes = 12 * n / 1e12
    with pytest.raises(UsageError, match="no space for the checkpoints: one takes") as caught:
        require_disk_space(tmp_path / "out", n, 0)
    assert f"one takes {terabytes:.0f} TB" in str(caught.value)
    assert f"{3 * terabytes:,.0f} TB are needed" in str(caught.value)
    with pytest.raises(UsageError, match=r"this needs about 198 TB of memory for a model of 49,47"):
        pretrain(spec, tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


# --- Throughput ----------------------------------------------------------------------------


def test_operations_per_token_are_those_that_torch_counts() -> None:
    # Torch does not count the fused attention of a CPU.
    model = gpt2("nano12", n_layer=3, n_positions=64)
    model.config._attn_implementation = "eager"
    tokens = torch.zeros(2, 64, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model(tokens, labels=tokens).loss.backward()
    counted = counter.get_total_flops() / tokens.numel()
    # Beside the matrices, biases and norms are among the parameters: a hundredth here.
    assert counted < training_flops_per_token(model) < 1.02 * counted


def test_124m_takes_the_operations_of_the_literature() -> None:
    _, flops = PretrainSpec(text="modules").count_parameters()
    assert flops == pytest.approx(6 * 123.7e6 + 12 * 12 * 768 * 1024, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H200", 989e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L40", None),
        ("1 of 2 CPU cores", None),
    ],
)
def test_peaks_are_known_by_the_name_of_the_device(name: str, peak: float | None) -> None:
    assert peak_flops(name, "bfloat16") == peak
    assert peak_flops(name, "float32") is None


# --- The command line ----------------------------------------------------------------------


def test_the_command_line_trains_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], undisturbed: tuple[Path, Any]
) -> None:
    assert main(command(tmp_path, "--max-seconds", "0")) == 0
    assert "step 2 of 12, stopped; the same command goes on" in capsys.readouterr().out
    assert main(command(tmp_path)) == 0
    shown = capsys.readouterr()
    assert "step 12 of 12, finished." in shown.out
    assert re.search(r"\nstep 12 of 12, finished: validation loss \d.*tokens/s", shown.err)
    assert_same(read_record(tmp_path), undisturbed[1])


def test_a_specification_in_a_file_and_what_overrides_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(json.dumps({"text": "modules", **SIZES}))
    arguments = ["pretrain", "--spec", str(file), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert main([*arguments, "--steps", "20", "--dry-run", "--text", "stdlib", "owner/name"]) == 0
    shown = capsys.readouterr().out
    assert "20 steps of 64 tokens, 20 of them to be made" in shown
    assert "FLOP.\nCheckpoints: " in shown
    assert "The text owner/name is on the Hugging Face hub, which is not asked for it now." in shown
    assert not (tmp_path / "out").exists()


def test_the_cost_counts_what_is_left(undisturbed: tuple[Path, Any], tmp_path: Path) -> None:
    finished = pretrain_cost(spec_of(), undisturbed[0], device="cpu")
    seconds = read_record(undisturbed[0]).run["seconds"]
    assert (finished.steps_left, finished.flops_left) == (0, 0)
    assert finished.seconds_recorded == seconds > 0
    assert f"Those made took {format_duration(seconds)}." in str(finished)
    assert "Those made" not in str(pretrain_cost(spec_of(), tmp_path, device="cpu"))
    run(tmp_path, max_seconds=0)
    cost = pretrain_cost(spec_of(), tmp_path, device="cpu")
    assert cost.steps_left == STEPS - 2
    parameters, per_token = spec_of().count_parameters()
    assert cost.flops_left == (STEPS - 2) * 64 * per_token
    assert str(cost).startswith(f"{parameters:,} parameters, {STEPS} steps of 64 tokens, ")
    assert cost.checkpoint_bytes == 2 * 12 * parameters


def test_to_count_the_cost_builds_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(PretrainSpec, "build_model")
    cost = pretrain_cost(PretrainSpec(text="stdlib"), tmp_path, device="cpu")
    assert cost.flops_left == 3000 * 64 * 1024 * 855_166_464
    assert ": 168 PFLOP." in str(cost)


@pytest.mark.parametrize(
    ("more", "status", "message"),
    [
        (["-p", "stepz", "3"], 2, "unknown key of a pretraining specification 'stepz'"),
        (["-p", "learning_rate", "1e-3"], 2, "learning_rate must be a finite number"),
        (["-p", "tokenizer", "gpt3"], 2, "unknown tokenizer 'gpt3'. Did you mean 'gpt2'"),
        (
            ["-p", "learning_rate", "100.0", "-p", "weight_decay", "1000.0"],
            1,
            "the loss was not finite after",
        ),
    ],
)
def test_the_status_says_what_went_wrong(
    more: list[str],
    status: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(command(tmp_path, *more)) == status
    assert message in capsys.readouterr().err
