"""Tables on disk: parquet files that are there whole, verified, or not at all."""

from __future__ import annotations

import errno
import json
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq


def read_table(path: Path) -> pa.Table:
    """Read a table; raises `OSError` or `ArrowException` where a checksum does not agree."""
    return pq.read_table(path, page_checksum_verification=True, partitioning=None)


def write_table(path: Path, table: pa.Table, *, overwrite: bool = True) -> None:
    """Write whole or not at all: to a temporary file, to the disk, then renamed.

    Without `overwrite`, raises `FileExistsError` if there is a file of this name by then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    floats = [f.name for f in table.schema if pa.types.is_floating(f.type)]
    floats += [
        f"{f.name}.list.element"
        for f in table.schema
        if pa.types.is_list(f.type) and pa.types.is_floating(f.type.value_type)
    ]
    others = [f.name for f in table.schema if not pa.types.is_nested(f.type)]
    try:
        with temporary.open("wb") as file:
            pq.write_table(
                table,
                file,
                compression="zstd",
                compression_level=19,
                use_dictionary=[n for n in others if n not in floats],
                use_byte_stream_split=floats,
                write_page_checksum=True,
            )
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            os.replace(temporary, path)
        else:
            _rename_to_new(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _rename_to_new(temporary: Path, path: Path) -> None:
    """Give a file a name that is free: a second link to it is refused where the name is taken."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links: look first, which leaves a short moment open
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        os.replace(temporary, path)


def recorded(
    path: str | Path, specification: Mapping[str, Any], measure: Callable[[], pd.DataFrame]
) -> pd.DataFrame:
    """What `measure` returned for `specification`: read from `path`, or measured and kept there.

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
    file = Path(path)
    wanted = json.dumps(specification, sort_keys=True)
    try:
        table = read_table(file)
        if (table.schema.metadata or {}).get(b"specification") == wanted.encode():
            return table.replace_schema_metadata(None).to_pandas()
    except (OSError, pa.ArrowException):
        pass  # not there, or not whole: measured again
    table = pa.Table.from_pandas(measure(), preserve_index=False)
    write_table(file, table.replace_schema_metadata({"specification": wanted}))
    return table.replace_schema_metadata(None).to_pandas()
