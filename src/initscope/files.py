"""Files that are there whole or not at all, and what they hold, in a word."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

__all__: list[str] = []  # for this package alone


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def atomic_write(path: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Write a file or a folder that is there whole or not at all.

    Yields a free name beside `path`. What stands under it at the end, made by the caller, is
    brought to the disk and renamed to `path`; after an error it is removed. A folder replaces none
    that holds something: that raises `FileExistsError`.

    Parameters
    ----------
    path
        Its name; the folder it is in is made.
    overwrite
        Whether a file of that name is replaced. Otherwise raises `FileExistsError` if there is
        one by then.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(Path(folder) / "facts.json") as part:
    ...         _ = part.write_text("{}")
    ...     [file.name for file in Path(folder).iterdir()]
    ['facts.json']
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Hidden, and with another ending than `path`, so that no reader takes it for one of its files.
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield part
        if part.is_dir():
            try:
                return os.rename(part, path)
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        if overwrite:
            os.replace(part, path)
        else:
            _rename_to_new(part, path)
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _rename_to_new(part: Path, path: Path) -> None:
    """Give a file a name that is free: a second link to it is refused where the name is taken."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links: look first, which leaves a short moment open
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        os.replace(part, path)
