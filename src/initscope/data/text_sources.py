"""Find texts: in a folder, on the hub, or in Python itself; as documents, split by split."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from initscope.checks import require
from initscope.data.folders import HUB_TEXTS, STDLIB, add_files, summarize_error, text_folder
from initscope.errors import UsageError

__all__ = ["is_on_hub"]

HUB_PARQUET = "refs/convert/parquet"
"""Branch in which the hub keeps the same data as Parquet files, for a set that is uploaded as a
program, which the library `datasets` no longer runs."""

VALIDATION_ONE_IN = 50
"""Of a source without a validation split, one document in so many is set aside."""


@dataclass(frozen=True)
class TextSource:
    """Source of documents; `splits` opens it, by name of the split."""

    name: str
    description: str
    fingerprint: str
    splits: Callable[[], dict[str, Iterable[str]]]
    on_hub: bool = False


def find_source(source: str | Path) -> TextSource:
    """Return the source of a name or folder; `UsageError` for one that does not exist."""
    folder = text_folder(source)
    if source == STDLIB:
        return _stdlib()
    if folder is not None:
        given = folder == Path(source)
        return _folder_source(folder.resolve().name if given else folder.name, folder)
    name = HUB_TEXTS.get(str(source), str(source))
    repository, _, configuration = name.partition(":")
    return TextSource(
        name=str(source),
        description=f"{name} on the Hugging Face hub",
        fingerprint=f"hub:{name}",
        splits=lambda: _open_dataset(repository, configuration or None, name),
        on_hub=True,
    )


def is_on_hub(source: str | Path) -> bool:
    """Return whether :func:`load_text` would ask the Hugging Face hub for a source.

    Raises `UsageError` for one that does not exist.
    """
    return text_folder(source) is None and source != STDLIB


def _folder_source(name: str, folder: Path) -> TextSource:
    """Return the source of a local folder, in the layout of the hub."""
    digest = hashlib.sha256()
    add_files(digest, folder)
    return TextSource(
        name=name,
        description=name,
        fingerprint=f"folder:{digest.hexdigest()}",
        splits=lambda: _open_dataset(str(folder), None, str(folder)),
    )


def _open_dataset(path: str, configuration: str | None, where: str) -> dict[str, Iterable[str]]:
    """Open the splits of a data set as streams: neither downloaded whole nor copied."""
    import datasets

    def load() -> Any:
        try:
            return datasets.load_dataset(path, configuration, streaming=True)
        except RuntimeError as error:
            if "scripts are no longer supported" not in str(error):
                raise
            # A folder of the converted files is a configuration.
            return datasets.load_dataset(
                path, data_dir=configuration, revision=HUB_PARQUET, streaming=True
            )

    try:
        splits = load()
    except Exception as error:
        raise UsageError(
            f"cannot read the text {where!r}: missing, empty, of another layout than a data set "
            f"of the Hugging Face hub, or out of reach ({summarize_error(error)}). Without a "
            f"network, copy it into a folder and give that, or put it in text/NAME in the folder "
            f"that INITSCOPE_DATA names."
        ) from error
    return {name: _documents(rows, f"the {name} split of {where}") for name, rows in splits.items()}


def _documents(rows: Iterable[dict[str, Any]], where: str) -> Iterator[str]:
    """Yield the text of each row."""
    iterator = iter(rows)
    while True:
        try:
            row = next(iterator)
        except StopIteration:
            return
        except Exception as error:
            raise UsageError(f"cannot read {where} ({summarize_error(error)}).") from error
        text = row.get("text", 0)
        if not isinstance(text, str):
            raise UsageError(
                f"{where} has a row without text: it has the columns {', '.join(row)}, and a "
                f"column 'text' with a document in each row is needed."
            )
        yield text


def _stdlib() -> TextSource:
    """Read the source files of Python's standard library, without tests and what was installed."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    left_out = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
    paths: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = set(folders) - left_out  # not even looked into
        paths += (Path(parent, name) for name in names if name.endswith(".py"))
    files = []
    for path in sorted(paths):
        with contextlib.suppress(UnicodeDecodeError):
            files.append(path.read_bytes().decode())
    require(bool(files), f"the standard library in {str(folder)!r} has no source files here.")
    digest = hashlib.sha256("\0".join(files).encode()).hexdigest()
    version = ".".join(map(str, sys.version_info[:3]))
    return TextSource(
        name=STDLIB,
        description=f"source text of the standard library of Python {version}",
        fingerprint=f"stdlib:{digest}",
        splits=lambda: {"train": iter(files)},
    )


def is_validation_document(text: str) -> bool:
    """Return whether a document is for validation: by its content, whatever the order."""
    first = hashlib.sha256(text.encode()).digest()[:8]
    return int.from_bytes(first, "big") % VALIDATION_ONE_IN == 0
