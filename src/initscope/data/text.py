"""Text as tokens: tokenized once, packed, memory-mapped, cut into passages of one length.

Nothing is padded and nothing is cut off between documents: the tokens of all documents stand one
after another, each document followed by the end-of-text token.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import math
import os
import shutil
import sys
import sysconfig
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from initscope import checks
from initscope.checks import is_number, require
from initscope.data.folders import (
    HUB_TEXTS,
    STDLIB,
    add_files,
    cache_folder,
    no_progress_bars,
    short_reason,
    text_folder,
)
from initscope.data.tokenizers import Tokenizer, load_tokenizer
from initscope.errors import UsageError, shown
from initscope.records import file_digest, sealed, unsealed

__all__ = ["HUB_TEXTS", "Passages", "ShuffledPassages", "Text", "is_on_hub", "load_text"]

HUB_PARQUET = "refs/convert/parquet"
"""Branch in which the hub keeps the same data as Parquet files, for a set that is uploaded as a
program, which the library `datasets` no longer runs."""

VALIDATION_ONE_IN = 50
"""Of a source without a validation split, one document in so many is set aside."""

CACHE_FORMAT = "1"
FACTS = "facts.json"
"""File in a folder of the cache that says what is in the others."""

DOCUMENTS_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Text:
    """Tokens of one source or of a mixture.

    Attributes
    ----------
    name
        The sources, joined by `` + ``.
    description
        What each source is and how it was split, for a reader.
    tokenizer
        One of :data:`initscope.data.tokenizers.TOKENIZERS`, or a folder.
    vocab_size
        Number of entries of the tokenizer; every token is below it.
    train, validation
        One array of tokens a source, uint16 or uint32, shape ``(n,)``, memory-mapped, read-only.
    train_bytes, validation_bytes
        Size of the text behind the tokens, in bytes of UTF-8 without the end-of-text tokens.
    digest
        Hexadecimal; of the content of the sources and of the tokenizer, or, for the hub, of the
        names.
    """

    name: str
    description: str
    tokenizer: str
    vocab_size: int
    train: tuple[np.ndarray, ...]
    validation: tuple[np.ndarray, ...]
    train_bytes: int
    validation_bytes: int
    digest: str

    @property
    def train_tokens(self) -> int:
        """Number of tokens to train on."""
        return sum(map(len, self.train))

    @property
    def validation_tokens(self) -> int:
        """Number of tokens set aside."""
        return sum(map(len, self.validation))


class Passages(torch.utils.data.Dataset):
    """Non-overlapping passages of `context` tokens; what is left at the end of a source is unused.

    An item is ``{"input_ids": tokens, "labels": tokens}``, int64, shape ``(context,)``, as
    transformers' language models take it: they shift the labels themselves.

    Raises `UsageError` if a source has fewer tokens than one passage.

    >>> passages = Passages((np.arange(7, dtype=np.uint16),), 3)
    >>> [item["input_ids"].tolist() for item in passages]
    [[0, 1, 2], [3, 4, 5]]
    """

    def __init__(self, sources: Sequence[np.ndarray], context: int, what: str = "the text") -> None:
        checks.whole("context", context)
        checks.text("what", what)
        require(
            isinstance(sources, Sequence)
            and len(sources) > 0
            and all(
                isinstance(tokens, np.ndarray) and tokens.ndim == 1 and tokens.dtype.kind in "iu"
                for tokens in sources
            ),
            f"sources must be arrays of tokens, at least one, not {shown(sources)}.",
        )
        shortest = min(map(len, sources))
        require(
            shortest >= context,
            f"the context is {context:,} tokens, but {what} has a source of only {shortest:,}: "
            f"choose a shorter context or a longer text.",
        )
        self._sources = sources
        self._context = context
        self._ends = list(itertools.accumulate(len(tokens) // context for tokens in sources))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        source = int(np.searchsorted(self._ends, index, side="right"))
        start = (index - (self._ends[source - 1] if source else 0)) * self._context
        tokens = self._sources[source][start : start + self._context].astype(np.int64)
        return {"input_ids": torch.from_numpy(tokens), "labels": torch.from_numpy(tokens)}


class ShuffledPassages(torch.utils.data.Dataset):
    """`n` passages in random order, pass after pass: each passage once before any a second time.

    Item `i` depends on `seed` and `i` alone, however many processes ask for it and wherever
    training was interrupted.
    """

    def __init__(self, passages: Passages, n: int, seed: int) -> None:
        require(
            isinstance(passages, Passages), f"passages must be Passages, not {shown(passages)}."
        )
        checks.whole("n", n)
        checks.whole("seed", seed, 0)
        self._passages = passages
        self._n = n
        self._seed = seed
        self._order = functools.lru_cache(maxsize=2)(self._order_of_pass)

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if not 0 <= index < self._n:
            raise IndexError(index)
        number, place = divmod(index, len(self._passages))
        return self._passages[int(self._order(number)[place])]

    def _order_of_pass(self, number: int) -> np.ndarray:
        generator = np.random.default_rng([self._seed, number])
        return generator.permutation(len(self._passages))


# --- Sources: documents of a split ---------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    """Where documents come from; `splits` opens it, by name of the split."""

    name: str
    description: str
    fingerprint: str
    splits: Callable[[], dict[str, Iterable[str]]]
    on_hub: bool = False


def _find_source(source: str | Path) -> _Source:
    folder = text_folder(source)
    if source == STDLIB:
        return _stdlib()
    if folder is not None:
        given = folder == Path(source)
        return _folder_source(folder.resolve().name if given else folder.name, folder)
    name = HUB_TEXTS.get(str(source), str(source))
    repository, _, configuration = name.partition(":")
    return _Source(
        name=str(source),
        description=f"{name} on the Hugging Face hub",
        fingerprint=f"hub:{name}",
        splits=lambda: _open_dataset(repository, configuration or None, name),
        on_hub=True,
    )


def is_on_hub(source: str | Path) -> bool:
    """Whether :func:`load_text` would ask the Hugging Face hub for a source.

    Raises `UsageError` for one that does not exist.
    """
    return text_folder(source) is None and source != STDLIB


def _folder_source(name: str, folder: Path) -> _Source:
    digest = hashlib.sha256()
    add_files(digest, folder)
    return _Source(
        name=name,
        description=name,
        fingerprint=f"folder:{digest.hexdigest()}",
        splits=lambda: _open_dataset(str(folder), None, str(folder)),
    )


def _open_dataset(path: str, configuration: str | None, where: str) -> dict[str, Iterable[str]]:
    """Splits of a data set, streamed: neither downloaded as a whole nor copied."""
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
            f"of the Hugging Face hub, or out of reach ({short_reason(error)}). Without a network, "
            f"copy it into a folder and give that, or put it in text/NAME in the folder that "
            f"INITSCOPE_DATA names."
        ) from error
    return {name: _documents(rows, f"the {name} split of {where}") for name, rows in splits.items()}


def _documents(rows: Iterable[dict[str, Any]], where: str) -> Iterator[str]:
    iterator = iter(rows)
    while True:
        try:
            row = next(iterator)
        except StopIteration:
            return
        except Exception as error:
            raise UsageError(f"cannot read {where} ({short_reason(error)}).") from error
        text = row.get("text", 0)
        if not isinstance(text, str):
            raise UsageError(
                f"{where} has a row without text: it has the columns {', '.join(row)}, and a "
                f"column 'text' with a document in each row is needed."
            )
        yield text


def _stdlib() -> _Source:
    """The source files of Python's standard library, without tests and what was installed."""
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
    return _Source(
        name=STDLIB,
        description=f"source text of the standard library of Python {version}",
        fingerprint=f"stdlib:{digest}",
        splits=lambda: {"train": iter(files)},
    )


def _set_aside(text: str) -> bool:
    """Whether a document belongs to the validation: by its content, in whatever order it comes."""
    first = hashlib.sha256(text.encode()).digest()[:8]
    return int.from_bytes(first, "big") % VALIDATION_ONE_IN == 0


# --- The cache: a folder a source, its tokens in one plain file a split ---------------------


def load_text(
    source: str | Path | Sequence[str | Path],
    tokenizer: str | Path = "gpt2",
    max_tokens: int | None = None,
) -> Text:
    """Text as tokens, from a cache where they have been made before.

    Parameters
    ----------
    source
        What to read; several make a mixture, in which each has the weight of its size.

        - a name of a folder ``text/<name>`` in the folder named by the environment variable
          ``INITSCOPE_DATA``, which is looked at first: ``"eltec-eng"``, ``"wikitext-2"``;
        - a local folder in the layout of a data set of the Hugging Face hub (parquet files
          ``train-*``, ``validation-*``), with one document a row in a column ``text``;
        - a name on the hub, ``"owner/name"`` or ``"owner/name:configuration"``, or a short one of
          :data:`HUB_TEXTS`; streamed, so it needs a network and `max_tokens`;
        - ``"stdlib"``: the source text of the Python standard library, which is on every machine.
          It differs between versions of Python.
    tokenizer
        See :func:`initscope.data.tokenizers.load_tokenizer`.
    max_tokens
        Documents are read until there are so many training tokens of each source, and a fiftieth
        of that for a validation split; None for all.

    Returns
    -------
    Text
        Training is the split ``train``. Validation is the split ``validation`` if the source has
        one; otherwise those documents, one in 50, whose SHA-256 (the first eight bytes as a
        number) is divisible by 50. Other splits are not read.

    The tokens are kept in the folder named by ``INITSCOPE_CACHE``, or ``~/.cache/initscope``, by a
    digest of the source's files (the name, for the hub) and of the tokenizer: there whole, verified
    by checksums, or not at all; what is damaged is made again, and said so. Nothing else is read in
    place of a source that is not there.

    Raises
    ------
    UsageError
        A source or tokenizer that is missing, unreadable, or without a column ``text``; a split
        without documents; a cache that cannot be written.
    """
    if isinstance(source, Sequence) and not isinstance(source, str):
        sources = list(source)
    else:
        sources = [source]
    require(bool(sources), "no source of text is given.")
    for each in sources:
        if not isinstance(each, str | Path):
            raise UsageError(
                f"a source of text is a hub name, a folder or a name, not {shown(each)}."
            )
    require(
        len(set(sources)) == len(sources), f"a source of text is given twice: {shown(sources)}."
    )
    require(
        max_tokens is None or is_number(max_tokens, 1, whole=True),
        f"max_tokens must be a whole number of at least 1, or None, not {shown(max_tokens)}.",
    )
    found = [_find_source(each) for each in sources]
    loaded_tokenizer = load_tokenizer(tokenizer)
    folders = [_tokenized(each, loaded_tokenizer, max_tokens) for each in found]
    facts = [json.loads((folder / FACTS).read_text()) for folder in folders]

    def arrays(split: str) -> tuple[np.ndarray, ...]:
        return tuple(
            np.memmap(folder / f"{split}.bin", dtype=fact["dtype"], mode="r")
            for folder, fact in zip(folders, facts, strict=True)
        )

    return Text(
        name=" + ".join(each.name for each in found),
        description="; ".join(
            f"{each.description}, validation: {fact['validation']}"
            for each, fact in zip(found, facts, strict=True)
        ),
        tokenizer=loaded_tokenizer.name,
        vocab_size=loaded_tokenizer.vocab_size,
        train=arrays("train"),
        validation=arrays("validation"),
        train_bytes=sum(fact["train_bytes"] for fact in facts),
        validation_bytes=sum(fact["validation_bytes"] for fact in facts),
        digest=hashlib.sha256(" ".join(folder.name for folder in folders).encode()).hexdigest(),
    )


def _tokenized(source: _Source, tokenizer: Tokenizer, max_tokens: int | None) -> Path:
    """The folder with the tokens of a source, made if it is not there."""
    if source.on_hub and max_tokens is None:
        raise UsageError(
            f"{source.name} on the hub may have billions of tokens: give max_tokens, how many to "
            f"read."
        )
    key = "\0".join([CACHE_FORMAT, source.fingerprint, tokenizer.digest, str(max_tokens)])
    folder = cache_folder() / f"text-{hashlib.sha256(key.encode()).hexdigest()[:32]}"
    # What an older version streamed from the hub has no checksums, and may not be had again.
    must = not source.on_hub
    wrong = _what_is_wrong(folder, must) if folder.exists() else "missing"
    if not wrong:
        return folder
    if folder.exists():
        tqdm.write(f"the tokens of {source.name} in {folder} are made again: {wrong}.")
    # Written beside and renamed: whenever it is killed, nothing half stands under the name.
    part = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.part")
    try:
        part.mkdir(parents=True)
        with no_progress_bars():
            _write_tokens(part, source, tokenizer, max_tokens)
        if folder.exists() and _what_is_wrong(folder, must):
            shutil.rmtree(folder)
        with contextlib.suppress(OSError):  # another process was first: its tokens are the same
            os.rename(part, folder)
        wrong = _what_is_wrong(folder, must)
        require(not wrong, f"the tokens of {source.name} cannot be kept in {folder}: {wrong}.")
        return folder
    except OSError as error:
        raise UsageError(
            f"the tokens of {source.name} cannot be kept in {str(folder.parent)!r} "
            f"({error.strerror or error}). Set the environment variable INITSCOPE_CACHE to a "
            f"folder that can be written and has room for them."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _what_is_wrong(folder: Path, must: bool) -> str:
    """What keeps a folder of the cache from holding what it says; empty if nothing does.

    Where checksums are missing altogether, only sizes are compared, unless they `must` be there.
    """
    try:
        facts = unsealed(dict(json.loads((folder / FACTS).read_text())), must=must)
        size = np.dtype(facts["dtype"]).itemsize
        for split in ("train", "validation"):
            path = folder / f"{split}.bin"
            if path.stat().st_size != facts[f"{split}_tokens"] * size:
                return f"{path.name} has not the size that it had"
            if "digests" in facts and file_digest(path) != facts["digests"][split]:
                return f"{path.name} is damaged"
    except OSError as error:
        return f"{Path(error.filename or folder).name} cannot be read ({error.strerror or error})"
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return f"{FACTS} is damaged ({error})"
    return ""


def _write_tokens(
    folder: Path, source: _Source, tokenizer: Tokenizer, max_tokens: int | None
) -> None:
    """Tokenize a source into the files of `folder`."""
    splits = source.splits()
    require(
        "train" in splits,
        f"{source.name} has no split 'train' (found: {', '.join(splits)}).",
    )
    dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32)
    counts = dict.fromkeys(("train", "validation"), 0)
    n_bytes = dict(counts)
    by_split = "validation" in splits
    with (
        (folder / "train.bin").open("wb") as train_file,
        (folder / "validation.bin").open("wb") as validation_file,
    ):
        files = {"train": train_file, "validation": validation_file}
        for split in ("train", "validation") if by_split else ("train",):
            enough = max_tokens
            if enough is not None and split == "validation":
                enough = math.ceil(enough / VALIDATION_ONE_IN)
            for documents in _batches(splits[split]):
                for text, tokens in zip(documents, tokenizer.encode(documents), strict=True):
                    target = "validation" if not by_split and _set_aside(text) else split
                    packed = np.append(np.asarray(tokens, dtype), dtype.type(tokenizer.end_of_text))
                    files[target].write(packed.tobytes())
                    counts[target] += len(packed)
                    n_bytes[target] += len(text.encode())
                if enough is not None and counts[split] >= enough:
                    break
    for split, n in counts.items():
        require(
            n > 0,
            f"{source.name} has no documents for {split}"
            + ("." if by_split else f", of which one in {VALIDATION_ONE_IN} is set aside."),
        )
    facts: dict[str, Any] = {
        "source": source.description,
        "tokenizer": tokenizer.name,
        "dtype": dtype.name,
        "validation": (
            "the split of that name" if by_split else f"one document in {VALIDATION_ONE_IN}"
        ),
    }
    facts |= {f"{split}_tokens": n for split, n in counts.items()}
    facts |= {f"{split}_bytes": n for split, n in n_bytes.items()}
    facts["digests"] = {split: file_digest(folder / f"{split}.bin") for split in counts}
    (folder / FACTS).write_text(json.dumps(sealed(facts), indent=2))


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    """Documents that are not empty, many at once, as the tokenizers like them."""
    iterator = filter(None, documents)
    while batch := list(itertools.islice(iterator, DOCUMENTS_AT_ONCE)):
        yield batch
