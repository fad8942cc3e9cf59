"""Batched sweeps on arrays of one's own: the same numbers, and a changed file is noticed."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from initscope.cli import main
from initscope.data import load_wine
from initscope.errors import UsageError
from initscope.files import file_digest
from initscope.sweep import SweepSpec, run_sweep
from initscope.sweep.chunks import _load_own, chunks_of
from initscope.sweep.cost import sweep_cost

SETTINGS = {"hidden": ((8,),), "stds": (0.1, 0.5), "epochs": 2, "seeds": 2, "name": "own"}


def save(path: Path, **changes: object) -> Path:
    """Write Wine, split by seed 0, in any shape."""
    wine = load_wine(0)
    arrays = {
        name: getattr(wine, name).numpy()
        for name in ("train_inputs", "train_labels", "test_inputs", "test_labels")
    }
    arrays = {name: value for name, value in (arrays | changes).items() if value is not None}
    np.savez(path, **arrays)
    return path


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return save(tmp_path / "mine.npz")


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    np.testing.assert_allclose(np.stack(one["loss"]), np.stack(other["loss"]), rtol=2e-4)
    np.testing.assert_allclose(one["test_accuracy"], other["test_accuracy"], atol=0.03)


def test_it_is_the_sweep_on_the_same_data_by_name(mine: Path, tmp_path: Path) -> None:
    table = run_sweep(SweepSpec(dataset=mine, **SETTINGS), progress=False)
    assert set(table["dataset"]) == {"mine"}
    assert set(table["widths"]) == {"13-8-3"}
    wine = run_sweep(SweepSpec(dataset="wine", **SETTINGS), progress=False)
    same(table[table["seed"] == 0], wine[wine["seed"] == 0])
    # All seeds have the split of the file, and so other losses than those of Wine by name.
    assert not np.allclose(*[np.stack(t["loss"][t["seed"] == 1]) for t in (table, wine)], rtol=0.01)
    # Pictures are one row an example.
    pictures = {
        name: np.pad(getattr(load_wine(0), name).numpy(), ((0, 0), (0, 3))).reshape(-1, 4, 4)
        for name in ("train_inputs", "test_inputs")
    }
    picture = save(tmp_path / "pictures.npz", **pictures)
    spec = SweepSpec(dataset=str(picture), **SETTINGS)
    assert chunks_of(spec)[0].widths == (16, 8, 3)
    assert set(run_sweep(spec, progress=False)["widths"]) == {"16-8-3"}
    assert "4 networks" in str(sweep_cost(spec))


def test_the_digest_stands_for_the_file_in_what_is_written(mine: Path) -> None:
    spec = SweepSpec(dataset=mine, **SETTINGS)
    assert spec.dataset_digest == file_digest(mine)
    plain = json.loads(json.dumps(spec.to_dict()))
    assert plain["dataset_digest"] == spec.dataset_digest
    assert SweepSpec.from_dict(plain) == spec
    assert "dataset_digest" not in SweepSpec(stds=(0.1,)).to_dict()
    digest = chunks_of(spec)[0].digest
    moved = mine.rename(mine.with_name("moved.npz"))
    assert SweepSpec.from_dict(plain) == spec  # to read a record takes no file
    assert chunks_of(SweepSpec(dataset=moved, **SETTINGS))[0].digest == digest
    save(moved, test_labels=load_wine(0).test_labels.numpy()[::-1])
    assert chunks_of(SweepSpec(dataset=moved, **SETTINGS))[0].digest != digest


def test_a_changed_file_is_noticed(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = SweepSpec(dataset=mine, **SETTINGS)
    table = run_sweep(spec, tmp_path / "out", progress=False)

    def untouched(*_: object) -> None:
        raise AssertionError("it trains again")

    with monkeypatch.context() as patch:
        patch.setattr("initscope.sweep.run.run_chunk", untouched)
        moved = mine.rename(tmp_path / "elsewhere.npz")
        again = run_sweep(SweepSpec(dataset=moved, **SETTINGS), tmp_path / "out", progress=False)
    assert again["train_loss"].equals(table["train_loss"])
    # Other data under the old name are another specification.
    save(mine, train_labels=np.roll(load_wine(0).train_labels.numpy(), 1))
    with pytest.raises(UsageError, match=r"\(different: the contents of mine\.npz\)"):
        run_sweep(SweepSpec(dataset=mine, **SETTINGS), tmp_path / "out", progress=False)
    # And a specification of before does not train on what is there now.
    _load_own.cache_clear()  # what was read before it changed is still right
    with pytest.raises(UsageError, match="has changed since its sweep was specified"):
        run_sweep(spec, tmp_path / "new", progress=False)
    _load_own.cache_clear()
    mine.unlink()
    with pytest.raises(UsageError, match=r"there is no file '.*mine\.npz'"):
        run_sweep(spec, tmp_path / "new", progress=False)


def test_workers_find_a_file_named_from_here(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mine.parent)
    spec = SweepSpec(dataset=mine.name, **SETTINGS)
    assert spec.dataset == "mine.npz"
    chunks = chunks_of(spec)
    monkeypatch.chdir("/")
    assert all(Path(chunk.dataset) == mine for chunk in chunks)
    monkeypatch.chdir(mine.parent)
    with ThreadPoolExecutor(1) as executor:
        there = run_sweep(spec, executor=executor, threads=1, progress=False)
    here = run_sweep(spec, threads=1, progress=False)
    assert there["train_loss"].equals(here["train_loss"])


def test_by_the_command_line(
    mine: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mine.parent)
    Path("spec.yaml").write_text("dataset: wine\nhidden: [[4]]\nstds: [0.1]\n")
    command = ["sweep", "--spec", "spec.yaml", "--out", "out", "--dataset", "mine.npz"]
    assert main([*command, "--dry-run"]) == 0
    assert main([*command[:-1], "digits", "--dry-run"]) == 0
    assert not Path("out").exists()
    assert main(command) == 0
    assert "1 networks" in capsys.readouterr().out
    assert pd.read_parquet("out/spec.parquet")["dataset"].tolist() == ["mine"]
    Path("own.yaml").write_text("dataset: mine.npz\nhidden: [[4]]\nstds: [0.1]\n")
    assert main(["sweep", "--spec", "own.yaml", "--out", "out"]) == 0
    assert main([*command[:-1], "yours.npz"]) == 2
    assert capsys.readouterr().err.endswith("error: dataset: there is no file 'yours.npz'.\n")


INPUTS = np.ones((4, 2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_inputs": None}, "lacks the arrays train_inputs"),
        ({"train_inputs": np.ones(133)}, "must hold inputs of an example along the first axis"),
        ({"train_labels": np.linspace(0, 2, 133)}, "labels that are whole numbers"),
        ({"train_labels": np.zeros(0, int)}, "labels that are whole numbers"),
        ({"train_labels": np.zeros(7, int)}, "must have as many examples"),
        ({"test_inputs": INPUTS}, "must have as many examples"),
        ({"train_inputs": np.full((133, 13), np.nan)}, "must be finite"),
    ],
)
def test_arrays_that_do_not_fit_are_one_clear_error(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    spec = SweepSpec(dataset=save(tmp_path / "bad.npz", **changes), **SETTINGS)
    with pytest.raises(UsageError, match=message):
        run_sweep(spec, progress=False)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dataset": "none.npz"}, "there is no file 'none.npz'"),
        ({"dataset": "mine.csv"}, r"'mine\.csv' is no \.npz file, nor one of mnist"),
        ({"dataset": "wine", "dataset_digest": 64 * "0"}, "is of an .npz file, not of wine"),
        ({"dataset": "none.npz", "dataset_digest": "0"}, "must be a SHA-256 of 64 letters"),
        ({"dataset": "none.npz", "dataset_digest": 7}, "must be a SHA-256 of 64 letters"),
    ],
)
def test_a_file_that_is_none_is_one_clear_error(fields: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SweepSpec(**{**SETTINGS, **fields})


def test_a_file_that_is_no_npz(tmp_path: Path) -> None:
    for name, content in (("text.npz", b"no zip"), ("empty.npz", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError, match=r"is no \.npz file"):
            run_sweep(SweepSpec(dataset=tmp_path / name, **SETTINGS), progress=False)
    np.save(tmp_path / "one.npy", INPUTS)
    single = (tmp_path / "one.npy").rename(tmp_path / "single.npz")
    with pytest.raises(UsageError, match="it is a single array"):
        run_sweep(SweepSpec(dataset=single, **SETTINGS), progress=False)
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        SweepSpec(dataset=tmp_path / "folder.npz", **SETTINGS)
    short = SweepSpec(dataset=save(tmp_path / "few.npz"), **SETTINGS | {"batch_size": 200})
    with pytest.raises(UsageError, match="only 133 examples are trained on"):
        run_sweep(short, progress=False)
