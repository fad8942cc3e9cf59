"""Text as tokens: tokenized once, packed, memory-mapped.

Nothing is padded and nothing is cut off between documents: the tokens of all documents stand one
after another, each document followed by the end-of-text token.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from initscope import extras
from initscope.checks import require, whole_or_none
from initscope.data.folders import cache_folder, no_progress_bars
from initscope.data.text_sources import (
    VALIDATION_ONE_IN,
    TextSource,
    find_source,
    is_validation_document,
)
from initscope.data.tokenizers import Tokenizer, load_tokenizer
from initscope.errors import UsageError, shown
from initscope.files import atomic_write, file_digest
from initscope.records import verify_checksum, with_checksum

__all__ = ["Text", "load_text"]

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
        The sources, joined by ``" + "``.
    description
        What each source is and how it was split, for a reader.
    tokenizer
        ``"gpt2"``, ``"bytes"``, or a folder, as in :func:`load_text`.
    vocab_size
        Number of entries of the tokenizer; every token is below it.
    train, validation
        One array of tokens a source, uint16 or uint32, shape ``(n,)``, memory-mapped, read-only.
    train_bytes, validation_bytes
        Size of the text behind the tokens, in bytes of UTF-8 without the end-of-text tokens.
    digest
        Hexadecimal digest of the content of the sources and of the tokenizer; for the hub, of their
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
        """Number of tokens set aside for validation."""
        return sum(map(len, self.validation))


@extras.named("load_text")
def load_text(
    source: str | Path | Sequence[str | Path],
    tokenizer: str | Path = "gpt2",
    max_tokens: int | None = None,
) -> Text:
    """Load text as tokens; from a cache, if it has been tokenized before.

    Parameters
    ----------
    source
        What to read; several make a mixture, in which each has the weight of its size.

        - a name of a folder ``text/<name>`` in the folder named by the environment variable
          ``INITSCOPE_DATA``, which is looked at first: ``"eltec-eng"``, ``"wikitext-2"``;
        - a local folder in the layout of a data set of the Hugging Face hub (parquet files
          ``train-*``, ``validation-*``), with one document a row in a column ``text``;
        - a name on the hub, ``"owner/name"`` or ``"owner/name:configuration"``, or one of
          ``"openwebtext"`` and ``"fineweb-edu"``; streamed, so it needs a network and `max_tokens`;
        - ``"stdlib"``: the source text of the Python standard library, which is on every machine
          and differs between versions of Python.
    tokenizer
        ``"bytes"``: the 256 bytes of UTF-8, with 0 at the end of a document. ``"gpt2"``: 50,257
        entries, from ``tokenizer/gpt2`` in the folder named by ``INITSCOPE_DATA`` if it is there,
        else from the hub. Or a folder with ``vocab.json`` and ``merges.txt``.
    max_tokens
        Documents are read until there are so many training tokens of each source, and a fiftieth
        as many tokens of a validation split; None for all.

    Returns
    -------
    Text
        Training is the split ``train``. Validation is the split ``validation`` if the source has
        one; otherwise those documents, one in 50, whose SHA-256 (the first eight bytes as a
        number) is divisible by 50. Other splits are not read.

    The tokens are kept in the folder named by ``INITSCOPE_CACHE``, or ``~/.cache/initscope``, under
    a digest of the source's files (the name, for the hub) and of the tokenizer, and verified by
    checksums. Damaged tokens are made again, with a message. No other source is read in place of
    one that is missing.

    Raises
    ------
    UsageError
        A source or tokenizer that is missing, unreadable, or without a column ``text``; a split
        without documents; a cache that cannot be written.

    Examples
    --------
    >>> import pandas as pd
    >>> from pathlib import Path
    >>> Path("play").mkdir()
    >>> for split in ("train", "validation"):
    ...     table = pd.DataFrame({"text": ["To be, or not to be."] * 40})
    ...     table.to_parquet(f"play/{split}.parquet")
    >>> load_text("./play", tokenizer="bytes").train_bytes
    800
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
    max_tokens = whole_or_none("max_tokens", max_tokens)
    found = [find_source(each) for each in sources]
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


def _tokenized(source: TextSource, tokenizer: Tokenizer, max_tokens: int | None) -> Path:
    """Return the folder with the tokens of a source; make it if it is not there."""
    if source.on_hub and max_tokens is None:
        raise UsageError(
            f"{source.name} on the hub may have billions of tokens: give max_tokens, how many to "
            f"read."
        )
    key = "\0".join([CACHE_FORMAT, source.fingerprint, tokenizer.digest, str(max_tokens)])
    folder = cache_folder() / f"text-{hashlib.sha256(key.encode()).hexdigest()[:32]}"
    # What an older version streamed from the hub has no checksums, and may not be had again.
    must = not source.on_hub
    wrong = _cache_fault(folder, must) if folder.exists() else "missing"
    if not wrong:
        return folder
    if folder.exists():
        tqdm.write(f"the tokens of {source.name} in {folder} are made again: {wrong}.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Another process may be first: its tokens are the same.
        with contextlib.suppress(FileExistsError), atomic_write(folder, overwrite=False) as part:
            part.mkdir()
            with no_progress_bars():
                _write_tokens(part, source, tokenizer, max_tokens)
            if folder.exists() and _cache_fault(folder, must):
                shutil.rmtree(folder)
        wrong = _cache_fault(folder, must)
        require(not wrong, f"the tokens of {source.name} cannot be kept in {folder}: {wrong}.")
        return folder
    except OSError as error:
        raise UsageError(
            f"the tokens of {source.name} cannot be kept in {str(folder.parent)!r} "
            f"({error.strerror or error}). Set the environment variable INITSCOPE_CACHE to a "
            f"folder that can be written and has room for them."
        ) from error


def _cache_fault(folder: Path, must: bool) -> str:
    """Return what keeps a cache folder from holding what it says; empty if nothing does.

    Where checksums are missing altogether, only sizes are compared, unless they `must` be there.
    """
    try:
        facts = verify_checksum(dict(json.loads((folder / FACTS).read_text())), must=must)
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
    folder: Path, source: TextSource, tokenizer: Tokenizer, max_tokens: int | None
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
                    target = (
                        "validation" if not by_split and is_validation_document(text) else split
                    )
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
    (folder / FACTS).write_text(json.dumps(with_checksum(facts), indent=2))


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    """Yield lists of documents that are not empty, many at once, as the tokenizers like them."""
    iterator = filter(None, documents)
    while batch := list(itertools.islice(iterator, DOCUMENTS_AT_ONCE)):
        yield batch
