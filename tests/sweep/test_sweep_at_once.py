"""Two sweeps in one folder at once: neither fails, and neither loses what it has."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from sweeps import N_CHUNKS, SPLIT, assert_same, chunk_files, run

from initscope.errors import UsageError
from initscope.records import read_table, write_table
from initscope.sweep import SweepSpec, chunks_of, run_sweep

# Three chunks, of the std 1e6 with Adam, are in both.
OTHER = dataclasses.replace(SPLIT, stds=(0.04, 0.4, 1e6))


@pytest.fixture(scope="module")
def undisturbed() -> pd.DataFrame:
    return run(SPLIT)


@pytest.fixture
def meeting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder where processes say that they are there."""
    return tmp_path_factory.mktemp("meeting")


@pytest.fixture(scope="module")
def pool(server: multiprocessing.context.BaseContext) -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, mp_context=server) as pool:
        yield pool


def sweep_together(meeting: Path, delay: float, spec: SweepSpec, out: Path) -> pd.DataFrame:
    """Sweep when the other process is there too, `delay` seconds later."""
    (meeting / str(os.getpid())).touch()
    while len(list(meeting.iterdir())) < 2:
        time.sleep(0.001)
    time.sleep(delay)
    return run_sweep(spec, out, progress=False)


@pytest.mark.parametrize("delay", [0, 0.01, 0.05, 0.2])
def test_the_same_sweep_twice(
    delay: float,
    tmp_path: Path,
    meeting: Path,
    pool: ProcessPoolExecutor,
    undisturbed: pd.DataFrame,
) -> None:
    both = [pool.submit(sweep_together, meeting, d, SPLIT, tmp_path) for d in (0, delay)]
    for future in both:
        assert_same(future.result(), undisturbed)
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.parquet"]
    assert_same(run(SPLIT, tmp_path), undisturbed)


def test_another_sweep_of_the_same_name(
    tmp_path: Path, meeting: Path, pool: ProcessPoolExecutor, undisturbed: pd.DataFrame
) -> None:
    futures = {
        spec: pool.submit(sweep_together, meeting, 0, spec, tmp_path) for spec in (SPLIT, OTHER)
    }
    expected = {SPLIT: undisturbed, OTHER: run(OTHER)}
    lost = [spec for spec, future in futures.items() if future.exception() is not None]
    # The one that comes last is told so, and keeps its chunks; the first has its table.
    (loser,) = lost
    (winner,) = futures.keys() - lost
    assert_same(futures[winner].result(), expected[winner])
    with pytest.raises(UsageError, match=r"another specification.*those 9 are kept in"):
        futures[loser].result()
    assert_same(run(winner, tmp_path), expected[winner])
    assert {path.stem for path in chunk_files(tmp_path, loser)} == {
        chunk.digest for chunk in chunks_of(loser)
    }
    (tmp_path / "sweep.parquet").rename(tmp_path / "first.parquet")
    mark(chunk_files(tmp_path, loser)[0])
    table = run(loser, tmp_path)
    assert (table["test_accuracy"] == 0.125).any()  # it was read, not trained again
    assert_same(table.drop(columns="test_accuracy"), expected[loser].drop(columns="test_accuracy"))


def mark(path: Path) -> None:
    table = read_table(path)
    column = table.column_names.index("test_accuracy")
    write_table(path, table.set_column(column, table.field(column), [[0.125] * len(table)]))


@pytest.mark.parametrize("spec", [SPLIT, OTHER], ids=["same", "other"])
def test_a_sweep_that_finishes_while_another_writes(
    spec: SweepSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: pd.DataFrame
) -> None:
    """At the worst moment: the file is written, and is about to get its name."""
    real = os.replace
    happened = []

    def meanwhile(source: Path, target: Path) -> None:
        if not happened and len(chunk_files(tmp_path, SPLIT)) == 4:
            happened.append(target)
            run(spec, tmp_path)
        real(source, target)

    monkeypatch.setattr(os, "replace", meanwhile)
    if spec == SPLIT:
        assert_same(run(SPLIT, tmp_path), undisturbed)
        assert [path.name for path in tmp_path.iterdir()] == ["sweep.parquet"]
    else:
        with pytest.raises(UsageError, match="another specification"):
            run(SPLIT, tmp_path)
        assert len(chunk_files(tmp_path, SPLIT)) == N_CHUNKS
    assert len(happened) == 1


def test_a_file_system_without_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: pd.DataFrame
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    assert_same(run(SPLIT, tmp_path), undisturbed)
    assert_same(run(SPLIT, tmp_path), undisturbed)
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.parquet"]
    with pytest.raises(FileExistsError):
        write_table(
            tmp_path / "sweep.parquet", read_table(tmp_path / "sweep.parquet")[:1], overwrite=False
        )
    assert_same(run(SPLIT, tmp_path), undisturbed)
