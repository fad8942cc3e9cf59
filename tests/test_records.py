"""Tables on disk: whole, verified, or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from initscope.files import atomic_write
from initscope.records import (
    CHECKSUM,
    content_digest,
    read_table,
    recorded,
    schema_violation,
    verify_checksum,
    with_checksum,
    write_table,
)

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


@settings(max_examples=30)
@given(st.lists(st.lists(st.floats(width=64), max_size=5), max_size=20))
def test_floats_keep_every_bit(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    path = tmp_path_factory.mktemp("floats") / "table.parquet"
    write_table(path, pa.table({"x": pa.array(rows, pa.list_(pa.float64()))}))
    read = read_table(path)["x"].to_pylist()
    bits = [np.array(row, float).tobytes() for row in read]
    assert bits == [np.array(row, float).tobytes() for row in rows]


COLUMNS = {
    "number": (pa.float64(), st.floats() | st.none()),
    "single": (pa.float32(), st.floats(width=32) | st.none()),
    "whole": (pa.int64(), st.integers(-(2**63), 2**63 - 1) | st.none()),
    "text": (pa.string(), st.text() | st.none()),
    "truth": (pa.bool_(), st.booleans() | st.none()),
    "list": (pa.list_(pa.int32()), st.lists(st.integers(-9, 9), max_size=3) | st.none()),
}


@settings(max_examples=60)
@given(
    rows=st.lists(st.fixed_dictionaries({k: v for k, (_, v) in COLUMNS.items()}), max_size=9),
    cut=st.integers(0, 9),
)
def test_the_checksum_is_that_of_the_content_however_it_lies_in_memory(
    rows: list, cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    schema = pa.schema({name: kind for name, (kind, _) in COLUMNS.items()})
    table = pa.Table.from_pylist(rows, schema)
    path = tmp_path_factory.mktemp("digest") / "table.parquet"
    write_table(path, table)
    whole = content_digest(table)
    assert content_digest(read_table(path)) == whole  # which verifies it, too
    assert content_digest(pa.concat_tables([table[:cut], table[cut:]])) == whole
    assert content_digest(pa.concat_tables([table, table])[: len(table)]) == whole
    if rows:
        assert content_digest(table[1:]) != whole
        longer = pa.concat_tables([table, table])
        assert content_digest(longer) != whole
        other = {**rows[-1], "text": f"{rows[-1]['text']}x"}
        assert content_digest(pa.Table.from_pylist([*rows[:-1], other], schema)) != whole
        other = {**rows[-1], "list": [*(rows[-1]["list"] or []), 0]}
        assert content_digest(pa.Table.from_pylist([*rows[:-1], other], schema)) != whole
    renamed = table.rename_columns(["n", *schema.names[1:]])
    assert content_digest(renamed) != whole
    assert content_digest(table.replace_schema_metadata({"a": "b"})) != whole


def test_a_table_of_an_older_version_has_no_checksum(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "table.parquet")
    assert content(read_table(tmp_path / "table.parquet")) == content(TABLE)


def test_what_the_checksums_of_parquet_do_not_cover_is_covered(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_table(path, TABLE)
    good = path.read_bytes()
    assert CHECKSUM in good
    path.write_bytes(good.replace(b"count", b"caunt"))
    with pytest.raises((OSError, pa.ArrowException)):
        read_table(path)


def test_no_flipped_bit_gives_other_content(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_table(path, TABLE)
    good, expected = path.read_bytes(), content(TABLE.replace_schema_metadata(None))
    noticed = 0
    for place in range(0, len(good), 7):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1 << place % 8]) + good[place + 1 :])
        try:
            read = read_table(path)
        except OSError as error:
            noticed += len(str(error).splitlines())
            continue
        # In statistics, which nobody reads, or in the names of metadata, which are missed then.
        assert content(read.replace_schema_metadata(None)) == expected
        assert (read.schema.metadata or {}).get(b"initscope", b"{}") == b"{}"
    assert len(good) / 7 / 3 < noticed <= len(good) / 7  # each in one line


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda t: t, ""),
        (lambda t: t.set_column(1, "value", t["value"].cast(pa.float32())), ""),
        (lambda t: t.drop_columns(["value"]), "it has no column value"),
        (lambda t: t.append_column("more", t["step"]), "its columns are step, value, counts, more"),
        (lambda t: t.select(["value", "step", "counts"]), "its columns are value, step, counts"),
        (
            lambda t: t.set_column(0, "step", t["step"].cast(pa.string())),
            "its column step is of the type string, not int64",
        ),
        (
            lambda t: t.set_column(1, "value", pa.array([1.0, None, 2.0])),
            "1 values of its column value are missing",
        ),
        (
            lambda t: t.set_column(2, "counts", pa.array([[1], [None], [2]])),
            "1 values of its column counts are missing",
        ),
        (lambda t: pa.concat_tables([t, t[1:2]]), "1 of its rows are there twice, by step"),
    ],
)
def test_a_table_is_compared_with_what_it_must_be(change, wrong: str) -> None:
    schema = pa.schema({"step": pa.int64(), "value": pa.float64(), "counts": pa.list_(pa.int64())})
    table = pa.table({"step": [0, 1, 2], "value": [0.1, 0.2, 0.3], "counts": [[1], [], [2]]})
    found = schema_violation(change(table.cast(schema)), schema, ("step",))
    assert found.startswith(wrong)
    assert bool(found) == bool(wrong)


def test_facts_are_sealed() -> None:
    facts = {"step": 3, "names": ["a", None], "value": 0.1}
    kept = with_checksum(facts)
    assert verify_checksum(kept, must=True) == facts
    with pytest.raises(ValueError, match="not what was written"):
        verify_checksum(kept | {"step": 4})
    assert verify_checksum(facts) == facts  # of an older version
    with pytest.raises(ValueError, match="no checksum"):
        verify_checksum(facts, must=True)


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
    path.write_bytes(path.read_bytes().replace(b"name", b"nome"))
    assert recorded(path, {"std": 0.02, "seed": 1}, measure)["x"].tolist() == [4]


# --- A file or a folder, whole or not at all --------------------------------------------------


def write_facts(part: Path, text: str, *, folder: bool) -> None:
    if folder:
        part.mkdir()
    (part / "facts" if folder else part).write_text(text)


@pytest.mark.parametrize("folder", [False, True])
def test_what_is_written_appears_when_it_is_whole(tmp_path: Path, folder: bool) -> None:
    path = tmp_path / "deep" / "facts.json"
    with atomic_write(path) as part:
        write_facts(part, "{}", folder=folder)
        assert not path.exists()
        assert part.parent == path.parent
        assert part.suffix != path.suffix  # or a reader might take it for a file of its own
    assert (path / "facts" if folder else path).read_text() == "{}"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("folder", [False, True])
def test_an_error_leaves_what_was_there(tmp_path: Path, folder: bool) -> None:
    path = tmp_path / "facts"
    write_facts(path, "before", folder=folder)
    with contextlib.suppress(KeyboardInterrupt), atomic_write(path) as part:
        write_facts(part, "half", folder=folder)
        raise KeyboardInterrupt
    assert (path / "facts" if folder else path).read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced_unless_it_must_be_new(tmp_path: Path) -> None:
    path = tmp_path / "facts"
    for text in ("first", "second"):
        with atomic_write(path) as part:
            part.write_text(text)
    with pytest.raises(FileExistsError), atomic_write(path, overwrite=False) as part:
        part.write_text("third")
    assert path.read_text() == "second"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_replaces_none_that_holds_something(tmp_path: Path) -> None:
    path = tmp_path / "facts"
    with atomic_write(path) as part:
        write_facts(part, "first", folder=True)
    with pytest.raises(FileExistsError), atomic_write(path) as part:
        write_facts(part, "second", folder=True)
    assert (path / "facts").read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_not_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "facts"):
        pass
    assert not list(tmp_path.iterdir())
