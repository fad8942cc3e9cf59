"""Tables on disk: whole, verified, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from initscope.records import read_table, recorded, write_table

TABLE = pa.table(
    {
        "name": ["a", "b", "a"],
        "count": pa.array([1, None, 3], pa.int64()),
        "value": pa.array([0.1, float("nan"), float("inf")], pa.float64()),
        "losses": pa.array([[0.5, float("nan")], [], None], pa.list_(pa.float32())),
        "steps": pa.array([[1, 2], [3], []], pa.list_(pa.int32())),
    }
).replace_schema_metadata({"initscope": "{}"})


def content(table: pa.Table) -> str:
    return repr((table.to_pydict(), table.schema.names, table.schema.metadata))


def test_a_table_survives_with_its_types_and_metadata(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "down" / "table.parquet"
    write_table(path, TABLE)
    read = read_table(path)
    assert content(read) == content(TABLE)
    assert read.schema.equals(TABLE.schema)
    assert [p.name for p in path.parent.iterdir()] == ["table.parquet"]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.floats(width=64), max_size=5), max_size=20))
def test_floats_keep_every_bit(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    path = tmp_path_factory.mktemp("floats") / "table.parquet"
    write_table(path, pa.table({"x": pa.array(rows, pa.list_(pa.float64()))}))
    read = read_table(path)["x"].to_pylist()
    bits = [np.array(row, float).tobytes() for row in read]
    assert bits == [np.array(row, float).tobytes() for row in rows]


def test_an_old_table_is_replaced_whole_or_stays(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_table(path, TABLE)
    write_table(path, TABLE[:1])
    assert len(read_table(path)) == 1
    before = path.read_bytes()
    # Unions cannot be written to parquet: the error comes in the middle of writing.
    union = pa.UnionArray.from_dense(
        pa.array([0, 1], pa.int8()), pa.array([0, 0], pa.int32()), [pa.array([1]), pa.array(["a"])]
    )
    with pytest.raises(pa.ArrowException):
        write_table(path, pa.table({"x": union}))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["table.parquet"]


def test_until_it_is_whole_nothing_stands_under_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.parquet"
    seen = []
    real = os.replace

    def look(source: Path, target: Path) -> None:
        seen.append((path.exists(), content(read_table(source)), Path(target)))
        real(source, target)

    monkeypatch.setattr(os, "replace", look)
    write_table(path, TABLE)
    assert seen == [(False, content(TABLE), path)]


def test_a_changed_page_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    values = np.random.default_rng(0).random(2000)
    write_table(path, pa.table({"x": values}))
    good = path.read_bytes()
    for place in range(1000, len(good) - 1000, 997):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises((OSError, pa.ArrowException)):
            read_table(path)


@pytest.mark.parametrize("length", [0, 4, 100, 0.5, 0.99])
def test_a_cut_table_is_noticed(tmp_path: Path, length: float) -> None:
    path = tmp_path / "table.parquet"
    write_table(path, TABLE)
    good = path.read_bytes()
    path.write_bytes(good[: int(length if length > 1 else length * len(good))])
    with pytest.raises((OSError, pa.ArrowException)):
        read_table(path)


def test_a_folder_named_like_a_partition_adds_no_column(tmp_path: Path) -> None:
    path = tmp_path / "std=3" / "table.parquet"
    write_table(path, TABLE)
    assert read_table(path).column_names == TABLE.column_names


def test_a_record_is_measured_once_and_again_for_another_specification(tmp_path):
    calls = []

    def measure():
        calls.append(1)
        return pd.DataFrame({"x": [len(calls)], "name": ["a"]})

    path = tmp_path / "deep" / "record.parquet"
    first = recorded(path, {"seed": 0, "std": 0.02}, measure)
    pd.testing.assert_frame_equal(recorded(path, {"std": 0.02, "seed": 0}, measure), first)
    assert len(calls) == 1
    assert recorded(path, {"std": 0.02, "seed": 1}, measure)["x"].tolist() == [2]
    assert recorded(path, {"std": 0.02, "seed": 1}, measure)["x"].tolist() == [2]
    path.write_bytes(path.read_bytes()[:100])
    assert recorded(path, {"std": 0.02, "seed": 1}, measure)["x"].tolist() == [3]
