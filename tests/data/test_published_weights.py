"""Readers of what others measured of published models."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

from initscope.data import load_checkpoint_stds, load_training_logs, load_weibull_scales
from initscope.errors import UsageError

READERS = (load_weibull_scales, load_checkpoint_stds, load_training_logs)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small folder of the layout that is read."""
    monkeypatch.setenv("INITSCOPE_DATA", str(tmp_path))
    published = tmp_path / "published_runs"
    (published / "runs_70m").mkdir(parents=True)
    (published / "weibull_scales.csv").write_text(
        "entry_id,lambda_wd,k_median_o,lambda_median_o,k_median_q,lambda_median_q\n"
        "a-1b,0.01,1.2,0.02,,\n"
        "b-7b,0.1,1.1,0.03,1.0,0.04\n"
    )
    rows = [{"step": 1, "sigma_obs": 0.02, "lambda_obs": 0.018, "align_force": 1.0}]
    (published / "pythia_70m_checkpoints.json").write_text(json.dumps(rows))
    line = {"step": 50, "eta": 1.0, "true_align_full": -3.0, "inj_full": 2.0, "dec_full": 1.0}
    (published / "runs_70m" / "eta_3e-4_decay_0.01_seed_3.jsonl").write_text(
        "\n".join(json.dumps(line | {"step": step, "rms": 0.1}) for step in (50, 100)) + "\n"
    )
    scale = [{"step": 1, "k": 1.2, "lambda": 0.018, "sigma": 0.02, "lambda_over_sigma": 0.9}]
    (published / "runs_70m" / "eta_1e-3_decay_0.2_sigma.json").write_text(json.dumps(scale))
    return published


def test_scales_are_one_row_a_component(folder: Path) -> None:
    table = load_weibull_scales()
    assert table.to_dict("list") == {
        "model": ["a-1b", "b-7b", "b-7b"],
        "component": ["o", "o", "q"],
        "scale": [0.02, 0.03, 0.04],
        "shape": [1.2, 1.1, 1.0],
    }


def test_checkpoints(folder: Path) -> None:
    assert load_checkpoint_stds().to_dict("list") == {"step": [1], "std": [0.02], "scale": [0.018]}


def test_logs_say_rate_and_decay_of_each_run(folder: Path) -> None:
    table = load_training_logs()
    assert list(table["run"]) == ["eta_1e-3_decay_0.2", *["eta_3e-4_decay_0.01_seed_3"] * 2]
    assert list(table["peak_lr"]) == [1e-3, 3e-4, 3e-4]
    assert list(table["weight_decay"]) == [0.2, 0.01, 0.01]
    assert list(table["step"]) == [1, 50, 100]
    assert list(table["std"]) == [0.02, 0.1, 0.1]
    last = table.iloc[-1]
    assert (last["alignment"], last["length"], last["decay"]) == (3.0, 2.0, 1.0)
    assert math.isnan(last["scale"])
    assert table.iloc[0]["shape"] == 1.2
    assert math.isnan(table.iloc[0]["alignment"])


@pytest.mark.parametrize("read", READERS)
def test_without_the_folder_it_says_what_to_set(
    read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INITSCOPE_DATA", raising=False)
    with pytest.raises(UsageError, match="set the environment variable INITSCOPE_DATA to a folder"):
        read()
    monkeypatch.setenv("INITSCOPE_DATA", str(tmp_path))
    with pytest.raises(UsageError, match="holds no published_runs/"):
        read()


@pytest.mark.parametrize(
    ("name", "text", "read", "message"),
    [
        ("weibull_scales.csv", "", load_weibull_scales, "No columns"),
        ("weibull_scales.csv", "entry_id\na\n", load_weibull_scales, "no columns lambda_median"),
        (
            "weibull_scales.csv",
            "entry_id,lambda_median_o\na,1\n",
            load_weibull_scales,
            "k_median_o",
        ),
        (
            "weibull_scales.csv",
            "entry_id,lambda_median_o,k_median_o\na,x,1\n",
            load_weibull_scales,
            "could not convert",
        ),
        ("pythia_70m_checkpoints.json", "[{", load_checkpoint_stds, "Expecting"),
        ("pythia_70m_checkpoints.json", "[]", load_checkpoint_stds, "it has no rows"),
        ("pythia_70m_checkpoints.json", '[{"step": 1}]', load_checkpoint_stds, "no 'sigma_obs'"),
        ("pythia_70m_checkpoints.json", "[1]", load_checkpoint_stds, "not subscriptable"),
        ("runs_70m/eta_fast.jsonl", "", load_training_logs, "does not say rate and decay"),
        ("runs_70m/eta_1e-3_decay_1.jsonl", '{"step": 1}', load_training_logs, "no 'rms'"),
    ],
)
def test_a_damaged_file_is_named(folder: Path, name: str, text: str, read, message: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        read()
    assert name in str(caught.value)


def test_no_runs_are_no_logs(folder: Path) -> None:
    for path in (folder / "runs_70m").iterdir():
        path.unlink()
    with pytest.raises(UsageError, match="it holds no file"):
        load_training_logs()


REAL = Path(os.environ.get("INITSCOPE_DATA", "")) / "published_runs"


@pytest.mark.skipif(
    not (os.environ.get("INITSCOPE_DATA") and REAL.is_dir()),
    reason="needs published_runs in the folder that INITSCOPE_DATA names",
)
def test_the_files_themselves() -> None:
    scales = load_weibull_scales()
    assert scales["model"].nunique() == 11
    of_pythia = scales[scales["model"] == "pythia-6.9b"].set_index("component")["scale"]
    assert of_pythia.index.to_list() == ["qkv", "o", "ffn_in", "ffn_out"]
    assert of_pythia["o"] == pytest.approx(0.0130179651)
    assert len(load_checkpoint_stds()) == 23
    logs = load_training_logs()
    assert logs.groupby("run")["step"].max().to_list() == [20_000] * 5
