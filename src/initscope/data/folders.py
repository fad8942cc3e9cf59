"""Where data comes from and where it is kept: folders, digests, the cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from initscope import extras
from initscope.errors import UsageError, shown, unknown_name

HUB_TEXTS = {
    "openwebtext": "Skylion007/openwebtext",
    "fineweb-edu": "HuggingFaceFW/fineweb-edu:sample-10BT",
}
"""Short names of texts on the Hugging Face hub: ``owner/name``, or ``owner/name:configuration``."""

STDLIB = "stdlib"
"""Name of the text that is on every machine."""

_HUB_NAME = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}(:[\w.-]{1,96})?", re.ASCII)

__all__: list[str] = []  # for this package alone


def data_folder() -> Path | None:
    """Return the folder that the environment variable ``INITSCOPE_DATA`` names, or None."""
    folder = os.environ.get("INITSCOPE_DATA")
    if not folder:
        return None
    if not Path(folder).is_dir():
        raise UsageError(f"INITSCOPE_DATA names a folder that is not there: {folder!r}.")
    return Path(folder)


def text_folder(source: str | Path) -> Path | None:
    """Return the folder that a text is read from; None for :data:`STDLIB` and for the hub.

    Nothing is read, and the hub is not asked whether it has such a name.

    Raises `UsageError` for what is no folder and can be no name on the hub.
    """
    if not isinstance(source, str | Path) or not str(source):
        raise UsageError(
            f"a source of text is a hub name, a folder or a name, not {shown(source)}."
        )
    if source == STDLIB:
        return None
    data = data_folder()
    places = [Path(source)]
    if isinstance(source, str) and data is not None:
        places = [data / "text" / source, data / source, *places]
    for folder in places:
        if os.path.isdir(folder):  # false also for what cannot be a name
            return folder
    hub_name = HUB_TEXTS.get(str(source), str(source))
    if (
        isinstance(source, str)
        and _HUB_NAME.fullmatch(hub_name)
        and hub_name.partition("/")[0] not in (".", "..")
    ):
        return None
    if isinstance(source, Path) or "/" in source or os.sep in source:
        raise UsageError(
            f"the folder {shown(str(source))}, given as a source of text, is not there."
        )
    local = sorted(p.name for p in (data / "text").glob("*") if p.is_dir()) if data else []
    where = f"INITSCOPE_DATA={data} has" if data else "INITSCOPE_DATA is not set: it could have"
    error = unknown_name("text", source, [STDLIB, *HUB_TEXTS, *local])
    raise UsageError(
        f"{error} {where} the folders of texts, text/NAME; or give a folder, or a name on "
        f"the hub, owner/name."
    )


def cache_folder() -> Path:
    """Return the folder ``INITSCOPE_CACHE``, or ``~/.cache/initscope``; it may not exist."""
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


def summarize_error(error: BaseException) -> str:
    """Return what an error of a library says, with its cause, in one line."""
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {str(cause).splitlines()[0] if str(cause) else ''}"


@contextlib.contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keep the bars of datasets out of a notebook, and leave its setting as it was."""
    with extras.named("loading data"):
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
