"""Text as tokens: what is read, how it is split and packed, the cache, and bad input."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from initscope.data import load_text
from initscope.data.passages import Passages, ShuffledPassages
from initscope.data.text import Text
from initscope.data.tokenizers import load_tokenizer
from initscope.errors import UsageError

GIVEN_DATA = os.environ.get("INITSCOPE_DATA", "")
TRAIN = ["It was a dark night.", "Ça — naïve €?\n\nYes.", "third"]
VALIDATION = ["A word.", "Another."]
BYTE_UNITS = [*range(33, 127), *range(161, 173), *range(174, 256)]


def write_split(folder: Path, split: str, texts: list[Any], column: str = "text") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({column: texts}), folder / f"{split}-00000-of-00001.parquet")


def write_tokenizer(folder: Path) -> None:
    """A byte-level BPE of GPT-2's kind: the 256 bytes, the end of text, and two merges."""
    others = [b for b in range(256) if b not in BYTE_UNITS]
    names = [*map(chr, BYTE_UNITS), *(chr(256 + k) for k in range(len(others)))]
    entries = [*names, "<|endoftext|>", "th", "thi"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({name: k for k, name in enumerate(entries)}))
    (folder / "merges.txt").write_text("#version: 0.2\nt h\nth i\n")


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of data with one text, and a cache of its own."""
    folder = tmp_path / "data"
    write_split(folder / "text" / "tales", "train", TRAIN)
    write_split(folder / "text" / "tales", "validation", VALIDATION)
    write_split(folder / "text" / "tales", "test", ["never read"])
    monkeypatch.setenv("INITSCOPE_DATA", str(folder))
    monkeypatch.setenv("INITSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder


def packed(texts: list[str]) -> list[int]:
    return [byte for text in texts for byte in (*text.encode(), 0)]


def tokens(text: Text, split: str) -> list[list[int]]:
    return [array.tolist() for array in getattr(text, split)]


# --- What is read --------------------------------------------------------------------------


def test_documents_are_packed_one_after_another() -> None:
    text = load_text("tales", "bytes")
    assert tokens(text, "train") == [packed(TRAIN)]
    assert tokens(text, "validation") == [packed(VALIDATION)]
    assert text.train_bytes == sum(len(t.encode()) for t in TRAIN)
    assert text.train_tokens == text.train_bytes + len(TRAIN)
    assert text.validation_tokens == text.validation_bytes + len(VALIDATION)
    assert (text.name, text.vocab_size) == ("tales", 256)
    assert text.description == "tales, validation: the split of that name"


def test_a_folder_is_read_as_well(data: Path) -> None:
    found = [load_text(s, "bytes") for s in (data / "text" / "tales", str(data / "text" / "tales"))]
    assert all(tokens(text, "train") == [packed(TRAIN)] for text in found)
    assert len({text.digest for text in (*found, load_text("tales", "bytes"))}) == 1


def test_a_mixture_holds_each_source_by_itself(data: Path) -> None:
    write_split(data / "text" / "plays", "train", ["Act one."])
    write_split(data / "text" / "plays", "validation", ["Act two."])
    text = load_text(["tales", "plays"], "bytes")
    assert tokens(text, "train") == [packed(TRAIN), packed(["Act one."])]
    assert text.name == "tales + plays"
    assert text.train_tokens == len(packed(TRAIN)) + 9
    assert text.digest not in {load_text(s, "bytes").digest for s in ("tales", "plays")}


def test_without_a_validation_split_documents_are_set_aside_by_their_content(data: Path) -> None:
    documents = [f"document {k}" for k in range(400)]
    aside = [
        d
        for d in documents
        if int.from_bytes(hashlib.sha256(d.encode()).digest()[:8], "big") % 50 == 0
    ]
    assert 0 < len(aside) < 30
    write_split(data / "text" / "many", "train", documents)
    text = load_text("many", "bytes")
    assert tokens(text, "validation") == [packed(aside)]
    assert tokens(text, "train") == [packed([d for d in documents if d not in aside])]
    assert "one document in 50" in text.description


def test_no_more_is_read_than_is_asked_for(data: Path) -> None:
    write_split(data / "text" / "long", "train", ["x" * 99] * 1000)
    write_split(data / "text" / "long", "validation", ["y" * 99] * 1000)
    text = load_text("long", "bytes", max_tokens=30_000)
    assert 30_000 <= text.train_tokens < 60_000
    assert 600 <= text.validation_tokens <= text.train_tokens
    assert load_text("long", "bytes").train_tokens == 100_000


def test_the_standard_library_is_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INITSCOPE_DATA")
    text = load_text("stdlib", "bytes")
    assert "source text of the standard library of Python 3." in text.description
    assert text.train_tokens > 1_000_000
    assert 0.002 < text.validation_tokens / text.train_tokens < 0.2
    content = bytes(text.train[0][:400_000].astype(np.uint8))
    assert b"import " in content
    assert os.linesep.encode() in content


@pytest.mark.skipif(
    not (Path(GIVEN_DATA) / "tokenizer" / "gpt2").is_dir(),
    reason="needs GPT-2's tokenizer in the folder that INITSCOPE_DATA names",
)
def test_gpt2s_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INITSCOPE_DATA", GIVEN_DATA)
    tokenizer = load_tokenizer("gpt2")
    assert (tokenizer.vocab_size, tokenizer.end_of_text) == (50257, 50256)
    assert list(tokenizer.encode(["Hello world"])[0]) == [15496, 995]


def test_a_bpe_in_a_folder(data: Path, tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "bpe")
    tokenizer = load_tokenizer(tmp_path / "bpe")
    assert (tokenizer.vocab_size, tokenizer.end_of_text) == (259, 256)
    write_split(data / "text" / "short", "train", ["thin th"])
    write_split(data / "text" / "short", "validation", ["t"])
    text = load_text("short", tmp_path / "bpe")
    unit = {chr(b): k for k, b in enumerate(BYTE_UNITS)}
    n, space = unit["n"], len(BYTE_UNITS) + 32  # the bytes without a sign of their own come last
    assert tokens(text, "train") == [[258, n, space, 257, 256]]
    assert text.train[0].dtype == np.uint16


def test_the_end_of_text_in_a_document_is_text(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "bpe")
    assert 256 not in load_tokenizer(tmp_path / "bpe").encode(["<|endoftext|>"])[0]


# --- The cache -----------------------------------------------------------------------------


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths that datasets is asked to read, from now on."""
    read: list[str] = []
    original = datasets.load_dataset

    def load_dataset(path: str, *arguments: Any, **options: Any) -> Any:
        read.append(path)
        return original(path, *arguments, **options)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return read


def test_it_is_tokenized_once_and_memory_mapped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read = count_reads(monkeypatch)
    first, second = load_text("tales", "bytes"), load_text("tales", "bytes")
    assert len(read) == 1
    assert first.digest == second.digest
    assert isinstance(second.train[0], np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        second.train[0][0] = 1
    assert [p.name.count("part") for p in (tmp_path / "cache").iterdir()] == [0]


def test_other_files_or_another_tokenizer_are_tokenized_anew(data: Path, tmp_path: Path) -> None:
    before = load_text("tales", "bytes")
    write_tokenizer(tmp_path / "bpe")
    assert load_text("tales", tmp_path / "bpe").digest != before.digest
    write_split(data / "text" / "tales", "train", ["other"])
    after = load_text("tales", "bytes")
    assert tokens(after, "train") == [packed(["other"])]
    assert after.digest != before.digest


def test_a_cache_cut_short_is_made_again(tmp_path: Path) -> None:
    load_text("tales", "bytes")
    (folder,) = (tmp_path / "cache").iterdir()
    (folder / "train.bin").write_bytes(b"half")
    assert tokens(load_text("tales", "bytes"), "train") == [packed(TRAIN)]


def test_a_cache_of_an_older_version_without_checksums_is_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = load_text("tales", "bytes").digest
    (folder,) = (tmp_path / "cache").iterdir()
    facts = json.loads((folder / "facts.json").read_text())
    del facts["sha256"], facts["digests"]
    (folder / "facts.json").write_text(json.dumps(facts))
    garbled = np.fromfile(folder / "train.bin", np.uint16)[::-1]
    (folder / "train.bin").write_bytes(garbled.tobytes())
    again = load_text("tales", "bytes")
    assert tokens(again, "train") == [packed(TRAIN)]
    assert again.digest == before  # a run that was started with it goes on
    assert "are made again: facts.json is damaged (it has no checksum)" in capsys.readouterr().out
    load_text("tales", "bytes")
    assert capsys.readouterr().out == ""


def test_a_cache_that_cannot_be_written_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("INITSCOPE_CACHE", str(tmp_path / "file"))
    with pytest.raises(UsageError, match=r"cannot be kept in .*Set the environment variable INIT"):
        load_text("tales", "bytes")


# --- Passages ------------------------------------------------------------------------------


@given(
    st.lists(st.integers(5, 40), min_size=1, max_size=4),
    st.integers(1, 5),
)
def test_every_token_is_in_one_passage_but_for_the_ends(sizes: list[int], context: int) -> None:
    bounds = np.cumsum([0, *sizes])
    sources = [np.arange(a, b, dtype=np.uint16) for a, b in itertools.pairwise(bounds)]
    passages = Passages(sources, context)
    found = [passages[k]["input_ids"].tolist() for k in range(len(passages))]
    expected = [
        source[k : k + context].tolist()
        for source in sources
        for k in range(0, len(source) - context + 1, context)
    ]
    assert found == expected


def test_a_passage_is_what_a_language_model_takes() -> None:
    item = Passages((np.arange(10, dtype=np.uint16),), 4)[1]
    assert item.keys() == {"input_ids", "labels"}
    assert item["input_ids"].dtype == torch.int64
    assert item["input_ids"].tolist() == item["labels"].tolist() == [4, 5, 6, 7]
    with pytest.raises(IndexError):
        Passages((np.arange(10, dtype=np.uint16),), 4)[2]


def test_each_passage_comes_once_before_any_comes_again() -> None:
    passages = Passages((np.arange(35, dtype=np.uint16),), 5)
    shuffled = ShuffledPassages(passages, 20, seed=3)
    starts = [int(shuffled[k]["input_ids"][0]) for k in range(20)]
    assert sorted(starts[:7]) == sorted(starts[7:14]) == list(range(0, 35, 5))
    assert starts[:7] != starts[7:14]
    # Item by item, from anywhere, in another process: the same.
    again = ShuffledPassages(passages, 20, seed=3)
    assert [int(again[k]["input_ids"][0]) for k in reversed(range(20))] == starts[::-1]
    assert len(shuffled) == 20
    with pytest.raises(IndexError):
        shuffled[20]


def test_a_context_longer_than_a_source_is_refused() -> None:
    sources = (np.zeros(100, np.uint16), np.zeros(7, np.uint16))
    with pytest.raises(UsageError, match="the context is 8 tokens, but it has a source of only 7"):
        Passages(sources, 8, "it")


# --- Bad input -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("tale", "unknown text 'tale'. Did you mean 'tales'"),
        ("", "a source of text is a hub name, a folder or a name, not ''"),
        (None, "a source of text is a hub name"),
        ([], "no source of text is given"),
        (["tales", "tales"], "a source of text is given twice"),
        ("./nowhere", "the folder './nowhere', given as a source of text, is not there"),
        (Path("nowhere"), "the folder 'nowhere', given as a source of text, is not there"),
        ("fineweb-edu", "fineweb-edu on the hub may have billions of tokens: give max_tokens"),
    ],
)
def test_a_source_that_is_not_there_is_refused(source: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_text(source, "bytes")
    assert message in str(caught.value)


def test_the_hub_out_of_reach_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*arguments: Any, **options: Any) -> Any:
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(UsageError, match=r"cannot read the text 'a/b:c'.*no route.*copy it into"):
        load_text("a/b:c", "bytes", max_tokens=10)


def test_the_hub_is_streamed_with_its_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def hub(*arguments: Any, **options: Any) -> Any:
        asked.append((arguments, options))
        return {"train": iter([{"text": f"document {k}", "id": k} for k in range(300)])}

    monkeypatch.setattr(datasets, "load_dataset", hub)
    text = load_text("fineweb-edu", "bytes", max_tokens=3000)
    assert asked == [(("HuggingFaceFW/fineweb-edu", "sample-10BT"), {"streaming": True})]
    assert text.train_tokens >= 3000
    assert "HuggingFaceFW/fineweb-edu:sample-10BT on the Hugging Face hub" in text.description


@pytest.mark.parametrize(
    ("name", "repository", "folder"),
    [("openwebtext", "Skylion007/openwebtext", None), ("a/b:c", "a/b", "c")],
)
def test_a_set_that_is_a_program_is_read_from_the_hubs_parquet_files(
    monkeypatch: pytest.MonkeyPatch, name: str, repository: str, folder: str | None
) -> None:
    asked = []

    def hub(*arguments: Any, **options: Any) -> Any:
        asked.append((arguments, options))
        if "revision" not in options:
            raise RuntimeError("Dataset scripts are no longer supported, but found openwebtext.py")
        return {"train": iter([{"text": f"document {k}"} for k in range(300)])}

    monkeypatch.setattr(datasets, "load_dataset", hub)
    assert load_text(name, "bytes", max_tokens=3000).train_tokens >= 3000
    parquet = {"data_dir": folder, "revision": "refs/convert/parquet", "streaming": True}
    assert asked[1:] == [((repository,), parquet)]


def test_only_a_set_that_is_a_program_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def hub(*arguments: Any, **options: Any) -> Any:
        asked.append(options)
        raise RuntimeError("something else")

    monkeypatch.setattr(datasets, "load_dataset", hub)
    with pytest.raises(UsageError, match="something else"):
        load_text("openwebtext", "bytes", max_tokens=10)
    assert len(asked) == 1


@pytest.mark.parametrize("max_tokens", [0, -1, 1.5, "10", True])
def test_a_bad_number_of_tokens_is_refused(max_tokens: Any) -> None:
    with pytest.raises(UsageError, match="max_tokens must be a whole number of at least 1"):
        load_text("tales", "bytes", max_tokens=max_tokens)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": ["good", None]}, "has a row without text"),
        ({"validation": ["x"]}, "has no split 'train' (found: validation)"),
        ({"train": ["", ""], "validation": ["x"]}, "it has no documents for train"),
        ({"train": ["one document"]}, "it has no documents for validation, of which one in 50"),
        ({"train": b"PAR1 not really"}, "cannot read the text"),
        ({}, "cannot read the text"),
    ],
)
def test_what_is_no_text_is_refused_and_not_kept(
    data: Path, tmp_path: Path, splits: dict[str, Any], message: str
) -> None:
    folder = data / "text" / "it"
    folder.mkdir()
    for split, texts in splits.items():
        if isinstance(texts, bytes):
            (folder / f"{split}-00000-of-00001.parquet").write_bytes(texts)
        else:
            write_split(folder, split, texts)
    with pytest.raises(UsageError, match=re.escape(message)):
        load_text("it", "bytes")
    assert not list(tmp_path.glob("cache/*"))


def test_a_text_of_other_columns_is_refused(data: Path) -> None:
    write_split(data / "text" / "columns", "train", ["x"], column="content")
    with pytest.raises(UsageError, match="it has the columns content, and a column 'text'"):
        load_text("columns", "bytes")


def test_tokenizers_that_are_none_are_refused(tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(UsageError, match=r"unknown tokenizer 'gpt3'. Did you mean 'gpt2'"):
        load_text("tales", "gpt3")
    with pytest.raises(UsageError, match=r"must hold vocab\.json and merges\.txt"):
        load_text("tales", tmp_path)
    # Without a network as well, but the client would try again for twenty seconds.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="no local copy of GPT-2's tokenizer"):
        load_text("tales", "gpt2")
    monkeypatch.setenv("INITSCOPE_DATA", str(tmp_path / "gone"))
    with pytest.raises(UsageError, match="INITSCOPE_DATA names a folder that is not there"):
        load_text("tales", "bytes")
