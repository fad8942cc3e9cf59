"""Where data comes from and where it is kept: folders, digests, the cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from initscope.errors import UsageError


def data_folder() -> Path | None:
    """The folder that the environment variable ``INITSCOPE_DATA`` names, or None."""
    folder = os.environ.get("INITSCOPE_DATA")
    if not folder:
        return None
    if not Path(folder).is_dir():
        raise UsageError(f"INITSCOPE_DATA names a folder that is not there: {folder!r}.")
    return Path(folder)


def cache_folder() -> Path:
    """The folder that ``INITSCOPE_CACHE`` names, or ``~/.cache/initscope``; it may not exist."""
    folder = os.environ.get("INITSCOPE_CACHE") or os.path.join("~", ".cache", "initscope")
    return Path(os.path.expanduser(folder))


def add_files(digest: hashlib._Hash, folder: Path) -> None:
    """Update `digest` with the names and the content of all files of a folder."""
    try:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            digest.update(f"\0{path.relative_to(folder).as_posix()}\0".encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise UsageError(f"cannot read the data in {str(folder)!r} ({error}).") from error


def short_reason(error: BaseException) -> str:
    """What an error of a library says, with its cause: one line."""
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {str(cause).splitlines()[0] if str(cause) else ''}"


@contextlib.contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keep the bars of datasets out of a notebook, and leave its setting as it was."""
    import datasets
    from huggingface_hub import utils

    restore = []
    for library in (datasets, utils):
        if not library.are_progress_bars_disabled():
            library.disable_progress_bars()
            restore.append(library.enable_progress_bars)
    try:
        yield
    finally:
        for enable in restore:
            enable()
