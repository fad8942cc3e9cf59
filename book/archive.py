"""Pack the built book into one file, and write its checksum beside it: `make archive`.

    python book/archive.py VERSION

makes _build/archive/initscope-book-VERSION.zip of _build/html, and SHA256SUMS, which
`sha256sum --check` reads. The same book gives the same bytes.
"""

import hashlib
import shutil
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The time of every file in an archive, the first that there is in one."""


def pack(book: Path, folder: Path, version: str) -> Path:
    """Write the archive of the book, and its checksum, into a folder made anew; return it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    name = f"initscope-book-{version}"
    archive = folder / f"{name}.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for path in sorted(path for path in book.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(f"{name}/{path.relative_to(book).as_posix()}", LONG_AGO)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            packed.writestr(entry, path.read_bytes())
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  {archive.name}\n", encoding="utf8")
    return archive


def main(version: str) -> None:
    """Pack the book that was built last, and say where it lies."""
    archive = pack(ROOT / "_build" / "html", ROOT / "_build" / "archive", version)
    size = archive.stat().st_size / 1e6
    print(f"The book is in {archive.relative_to(ROOT)} ({size:.0f} MB), its checksum beside it.")


if __name__ == "__main__":
    main(*sys.argv[1:])
