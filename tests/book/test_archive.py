"""The book as one file: all of it, the same bytes each time, and a checksum that says so."""

from __future__ import annotations

import hashlib
import os
import sys
import zipfile
from pathlib import Path

from book_pages import ROOT

sys.path.insert(0, str(ROOT / "book"))

from archive import pack

PAGES = {"index.html": b"<p>first</p>", "book/index.html": b"<p>one</p>", "_static/a.css": b"p {}"}


def built(folder: Path) -> Path:
    for name, content in PAGES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def test_the_archive_holds_the_whole_book_in_a_folder_of_its_own(tmp_path: Path) -> None:
    archive = pack(built(tmp_path / "html"), tmp_path / "archive", "1.2.3")
    with zipfile.ZipFile(archive) as packed:
        assert packed.testzip() is None
        packed.extractall(tmp_path / "unpacked")
    unpacked = tmp_path / "unpacked" / "initscope-book-1.2.3"
    found = {p.relative_to(unpacked).as_posix(): p for p in unpacked.rglob("*") if p.is_file()}
    assert {name: path.read_bytes() for name, path in found.items()} == PAGES


def test_the_checksum_is_that_of_the_archive(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "initscope-book-0.0.1.zip").write_text("of an earlier version")
    archive = pack(built(tmp_path / "html"), tmp_path / "archive", "1.2.3")
    (line,) = (tmp_path / "archive" / "SHA256SUMS").read_text().splitlines()
    assert line.split("  ") == [hashlib.sha256(archive.read_bytes()).hexdigest(), archive.name]
    assert {path.name for path in archive.parent.iterdir()} == {archive.name, "SHA256SUMS"}


def test_the_same_book_gives_the_same_bytes(tmp_path: Path) -> None:
    first = built(tmp_path / "one" / "html")
    second = built(tmp_path / "other" / "html")
    for path in second.rglob("*"):
        os.utime(path, (1e9, 1e9))
    (second / "index.html").chmod(0o600)
    archives = [pack(html, html.parent / "archive", "1.2.3") for html in (first, second)]
    assert archives[0].read_bytes() == archives[1].read_bytes()
    (second / "index.html").write_bytes(b"<p>second</p>")
    changed = pack(second, second.parent / "archive", "1.2.3")
    assert archives[0].read_bytes() != changed.read_bytes()
