"""Text to tokens: GPT-2's byte-level BPE, or plain bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from initscope import extras
from initscope.checks import require
from initscope.data.folders import data_folder, no_progress_bars, summarize_error
from initscope.errors import UsageError, unknown_name

GPT2_TOKENIZER_HUB_NAME = "openai-community/gpt2"
TOKENIZERS = ("gpt2", "bytes")


__all__ = ["TOKENIZERS", "Tokenizer", "load_tokenizer"]


@dataclass(frozen=True)
class Tokenizer:
    """Tokenizer, from texts to tokens.

    Attributes
    ----------
    name
        One of :data:`TOKENIZERS`, or a folder.
    vocab_size
        Number of entries.
    end_of_text
        The token after each document.
    encode
        Documents to tokens, one list or array each, without the end-of-text token.
    digest
        Of the tokenizer's files.
    """

    name: str
    vocab_size: int
    end_of_text: int
    encode: Callable[[list[str]], list[Any]]
    digest: str


@extras.named("load_tokenizer")
def load_tokenizer(name: str | Path = "gpt2") -> Tokenizer:
    """Load GPT-2's byte-level BPE, another of the same kind, or bytes.

    Parameters
    ----------
    name
        ``"bytes"``: the 256 bytes of UTF-8, with 0 at the end of a document. ``"gpt2"``: 50,257
        entries, from ``tokenizer/gpt2`` in the folder named by the environment variable
        ``INITSCOPE_DATA`` if it is there, else from the Hugging Face hub. Or a folder with
        ``vocab.json`` and ``merges.txt``.

    Raises
    ------
    UsageError
        An unknown name; files that are missing or are no BPE; no network where one is needed.
    """
    if not isinstance(name, str | Path):
        raise unknown_name("tokenizer", name, [*TOKENIZERS, "a folder"])
    if name == "bytes":
        return Tokenizer(
            "bytes",
            vocab_size=256,
            end_of_text=0,
            encode=lambda texts: [np.frombuffer(t.encode(), dtype=np.uint8) for t in texts],
            digest="bytes",
        )
    folder = _tokenizer_folder(name)
    from tokenizers import ByteLevelBPETokenizer

    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    try:
        files = vocabulary.read_bytes() + merges.read_bytes()
        bpe = ByteLevelBPETokenizer(str(vocabulary), str(merges))
    except Exception as error:
        raise UsageError(
            f"cannot read a tokenizer from {str(folder)!r}: it must hold vocab.json and "
            f"merges.txt of a byte-level BPE ({summarize_error(error)})."
        ) from error
    end_of_text = bpe.token_to_id("<|endoftext|>")
    require(end_of_text is not None, f"the tokenizer in {str(folder)!r} has no <|endoftext|>.")
    return Tokenizer(
        str(name),
        vocab_size=bpe.get_vocab_size(),
        end_of_text=end_of_text,
        encode=lambda texts: [encoding.ids for encoding in bpe.encode_batch(texts)],
        digest=hashlib.sha256(files).hexdigest(),
    )


def check_tokenizer(name: str | Path) -> None:
    """Raise `UsageError` for what is neither a name of a tokenizer nor a folder; reads nothing."""
    # A folder is none also where the name cannot be one.
    if name in TOKENIZERS or (isinstance(name, str | Path) and name and os.path.isdir(name)):
        return
    raise unknown_name("tokenizer", name, [*TOKENIZERS, "a folder"])


def _tokenizer_folder(name: str | Path) -> Path:
    """Return the folder of a tokenizer; GPT-2's comes from the hub where no copy is here."""
    if name != "gpt2":
        if not isinstance(name, Path):
            check_tokenizer(name)
        return Path(name)
    data = data_folder()
    if data is not None and (data / "tokenizer" / "gpt2").is_dir():
        return data / "tokenizer" / "gpt2"
    from huggingface_hub import hf_hub_download

    try:
        with no_progress_bars():
            files = [
                hf_hub_download(GPT2_TOKENIZER_HUB_NAME, file)
                for file in ("vocab.json", "merges.txt")
            ]
    except Exception as error:
        raise UsageError(
            f"no local copy of GPT-2's tokenizer, and {GPT2_TOKENIZER_HUB_NAME!r} cannot be had "
            f"from the Hugging Face hub ({summarize_error(error)}). Set the environment variable "
            f"INITSCOPE_DATA to a folder that holds tokenizer/gpt2, connect to the network once, "
            f"or choose the tokenizer 'bytes'."
        ) from error
    return Path(files[0]).parent
