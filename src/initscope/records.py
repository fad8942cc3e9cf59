"""Tables on disk: parquet files that are there whole, verified, or not at all."""

from __future__ import annotations

import errno
import os
import uuid
from pathlib import Path

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
