"""Tables and facts on disk that are verified when they are read.

Each table holds a checksum of its content, beside those of parquet, which cover the values and
not their names, types and places. Tables written before there was one are read without.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from initscope import checks
from initscope.errors import UsageError, shown
from initscope.files import atomic_write

if TYPE_CHECKING:
    import pandas as pd

CHECKSUM = b"sha256"
"""Key, in the metadata of a table, of the checksum of all that it holds."""


_OF_PYARROW = (pa.ArrowException, ValueError, TypeError, OverflowError, MemoryError, KeyError)


def read_table(path: Path) -> pa.Table:
    """Read a table; raises `OSError`, in one line, where it or a checksum is not as written."""
    try:
        table = pq.read_table(path, page_checksum_verification=True, partitioning=None)
        metadata = dict(table.schema.metadata or {})
        checksum = metadata.pop(CHECKSUM, None)
        table = table.replace_schema_metadata(metadata or None)
        found = content_digest(table)
    except FileNotFoundError:
        raise
    except (*_OF_PYARROW, OSError) as error:
        if getattr(error, "errno", None) and "\n" not in str(error):
            raise  # of the system
        # Of a name, a schema or a size that makes no sense it says many things, in many lines.
        raise OSError((str(error) or type(error).__name__).splitlines()[0]) from error
    if checksum is not None and checksum.decode(errors="replace") != found:
        raise OSError("its content is not what was written")
    return table


def content_digest(table: pa.Table) -> str:
    """Return the SHA-256 of names, types, values and metadata, however laid out in memory."""
    digest = hashlib.sha256()
    metadata = {
        key.decode(errors="replace"): value.decode(errors="replace")
        for key, value in (table.schema.metadata or {}).items()
    }
    # The name of a list's items changes on the way through a file.
    names = [
        (f.name, f"list<{f.type.value_type}>" if pa.types.is_list(f.type) else str(f.type))
        for f in table.schema
    ]
    digest.update(json.dumps([names, metadata, table.num_rows], sort_keys=True).encode())
    for column in table.columns:
        _add_values(digest, pa.concat_arrays([pa.array([], column.type), *column.chunks]))
    return digest.hexdigest()


def _add_values(digest: hashlib._Hash, values: pa.Array) -> None:
    """Update `digest` with the values of an array, and with which of them are missing."""
    kind = values.type
    digest.update(np.packbits(values.is_null().to_numpy(zero_copy_only=False)).tobytes())
    if pa.types.is_list(kind):
        lengths = values.value_lengths().fill_null(0)
        digest.update(lengths.to_numpy(zero_copy_only=False).astype("<i8").tobytes())
        _add_values(digest, values.flatten())
    elif pa.types.is_boolean(kind):
        digest.update(values.fill_null(False).to_numpy(zero_copy_only=False).tobytes())
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        numbers = values.fill_null(0).to_numpy(zero_copy_only=False)
        digest.update(numbers.astype(numbers.dtype.newbyteorder("<"), copy=False).tobytes())
    elif pa.types.is_string(kind):
        filled = values.fill_null("")
        digest.update(pc.binary_length(filled).to_numpy(zero_copy_only=False).tobytes())
        text = filled.buffers()[2]
        digest.update(b"" if text is None else text)
    else:
        digest.update(json.dumps(values.to_pylist(), default=str).encode())


def schema_violation(
    table: pa.Table, schema: pa.Schema, unique: Sequence[str], nullable: Sequence[str] = ()
) -> str:
    """Return what keeps `table` from being one of `schema`, in words; empty if nothing does.

    Parameters
    ----------
    table
        What was read. A number may have another precision than in `schema`.
    schema
        Names and types of its columns, in their order.
    unique
        Columns that together name a row.
    nullable
        Columns in which values may be missing.
    """
    missing = [name for name in schema.names if name not in table.schema.names]
    if missing:
        return f"it has no column {' and no column '.join(missing)}"
    if table.schema.names != schema.names:
        return f"its columns are {', '.join(table.schema.names)}, not {', '.join(schema.names)}"
    for field in schema:
        found = table.schema.field(field.name).type
        if not _same_kind(found, field.type):
            return f"its column {field.name} is of the type {found}, not {field.type}"
        column = table[field.name].combine_chunks()
        nulls = column.null_count if field.name not in nullable else 0
        if pa.types.is_list(field.type):
            nulls += column.flatten().null_count
        if nulls:
            return f"{nulls} values of its column {field.name} are missing"
    groups = table.select(list(unique)).group_by(list(unique)).aggregate([])
    if len(groups) < len(table):
        twice = len(table) - len(groups)
        return f"{twice} of its rows are there twice, by {', '.join(unique)}"
    return ""


def _same_kind(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Return whether two types differ in precision or layout alone."""
    if pa.types.is_list(wanted):
        return pa.types.is_list(found) and _same_kind(found.value_type, wanted.value_type)
    if pa.types.is_floating(wanted):
        return pa.types.is_floating(found)
    if pa.types.is_string(wanted):
        return pa.types.is_string(found) or pa.types.is_large_string(found)
    return found.equals(wanted)


def with_checksum(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Add to `facts`, plain values of JSON, the checksum that :func:`verify_checksum` verifies.

    >>> verify_checksum(with_checksum({"step": 3}))
    {'step': 3}
    """
    return {**facts, "sha256": _facts_digest(facts)}


def verify_checksum(facts: Mapping[str, Any], *, must: bool = False) -> dict[str, Any]:
    """Return `facts` without their checksum; `ValueError` if it is wrong, or `must` be there."""
    rest = {key: value for key, value in facts.items() if key != "sha256"}
    if "sha256" not in facts and not must:  # written before there was one
        return rest
    if "sha256" not in facts:
        raise ValueError("it has no checksum")
    if facts["sha256"] != _facts_digest(rest):
        raise ValueError("its content is not what was written")
    return rest


def _facts_digest(facts: Mapping[str, Any]) -> str:
    """Return the SHA-256 of plain values of JSON."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def write_table(path: Path, table: pa.Table, *, overwrite: bool = True) -> None:
    """Write a table whole or not at all, see :func:`atomic_write`."""
    floats = [f.name for f in table.schema if pa.types.is_floating(f.type)]
    floats += [
        f"{f.name}.list.element"
        for f in table.schema
        if pa.types.is_list(f.type) and pa.types.is_floating(f.type.value_type)
    ]
    others = [f.name for f in table.schema if not pa.types.is_nested(f.type)]
    table = table.replace_schema_metadata(
        {**(table.schema.metadata or {}), CHECKSUM: content_digest(table)}
    )
    # A file of Python's says of a limit or a full disk what it is, by its number.
    with atomic_write(path, overwrite=overwrite) as part, part.open("wb") as file:
        pq.write_table(
            table,
            file,
            compression="zstd",
            compression_level=19,
            use_dictionary=[n for n in others if n not in floats],
            use_byte_stream_split=floats,
            write_page_checksum=True,
        )


def recorded(
    path: str | Path, specification: Mapping[str, Any], measure: Callable[[], pd.DataFrame]
) -> pd.DataFrame:
    """Return what `measure` gives for `specification`: read from `path`, or measured and kept.

    Parameters
    ----------
    path
        File of the record, parquet.
    specification
        All that decides the outcome, as plain values (JSON).
    measure
        Called, without arguments, if the record is missing, damaged, or of another specification;
        returns a frame with plain columns and the index 0, 1, ....
    """
    import pandas as pd  # here, for a mistake in a command is found before it has been imported

    checks.file_path("path", path)
    checks.mapping("specification", specification)
    checks.function("measure", measure)
    try:
        inspect.signature(measure).bind()
    except TypeError:
        raise UsageError("measure must be a function without arguments.") from None
    except ValueError:
        pass  # some written in C do not say what they take
    file = Path(path)
    try:
        wanted = json.dumps(specification, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise UsageError(f"specification must hold plain values ({shown(str(error))}).") from None
    try:
        table = read_table(file)
        if (table.schema.metadata or {}).get(b"specification") == wanted.encode():
            return table.replace_schema_metadata(None).to_pandas()
    except (OSError, pa.ArrowException):
        pass  # not there, or not whole: measured again
    frame = measure()
    if not isinstance(frame, pd.DataFrame):
        raise UsageError(f"measure must return a pandas.DataFrame, not {shown(frame)}.")
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except pa.ArrowException as error:
        raise UsageError(
            f"what measure returned cannot be recorded ({shown(str(error))}): give it plain "
            "columns."
        ) from error
    write_table(file, table.replace_schema_metadata({"specification": wanted}))
    return table.replace_schema_metadata(None).to_pandas()
