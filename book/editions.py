"""Make the PDF and the EPUB of the built book: `make editions`.

    python book/editions.py VERSION

makes initscope-VERSION.pdf and initscope-VERSION.epub of _build/html in _build/editions, and
SHA256SUMS-editions, which `sha256sum --check` reads. A Chromium prints the PDF; all else that it
takes are the tools that build the book.
"""

from __future__ import annotations

import copy
import hashlib
import html
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pypdfium2
import yaml
from bs4 import Tag

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "book"), str(ROOT / "book" / "_ext")]

from edition import edition_of, in_words  # noqa: E402
from edition_pages import Page, drawn, glyphs, linked, pictures, read_pages, words_of  # noqa: E402
from epub import write_epub  # noqa: E402

CHROMIUM = (
    *("chromium-headless-shell", "chromium", "chromium-browser"),
    *("google-chrome-stable", "google-chrome"),
)
"""What a Chromium may be called. The headless shell comes first, for it starts sooner."""

MISSING = (
    "No Chromium found, which prints the PDF. README.md says how to install one: "
    "apt-get install chromium-headless-shell"
)


def chromium() -> str:
    """Return the path of a Chromium; end with a sentence if there is none."""
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        raise SystemExit(MISSING)
    return found


def about(title: str, author: str) -> str:
    """Return the markup of the first page: what this is, by whom, and of which version."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))
    edition = in_words(edition_of(ROOT), config["repository"]["url"])
    return (
        f'<div class="title-page"><p class="title">{html.escape(title)}</p>'
        f"<p>{html.escape(author)}</p>"
        f"<p>{edition}</p>"
        "<p>An interactive paper. On its pages the pictures of instruments move, and every figure "
        "leads to its data; this is what stands in it.</p>"
        "<p>Text and figures: CC BY 4.0. Code: MIT.</p></div>"
    )


def day_of_edition() -> str:
    """Return the day of the last commit, or the first day of archives where there is no git."""
    day = edition_of(ROOT).day
    return day.isoformat() if day else "1980-01-01"


# --- The PDF -------------------------------------------------------------------------------


def bodies_of(pages: list[Page], book: Path) -> str:
    """Return the markup of all pages one after another; ids begin with the key of their page."""
    bodies = [drawn(linked(page.body, _address)) for page in pages]
    parts = [glyphs(bodies)]
    for page, body in zip(pages, bodies, strict=True):
        for tag in [body, *body.select("[id]")]:
            if tag.has_attr("id"):
                tag["id"] = f"{page.key}--{tag['id']}"
        for image, source in zip(body.select("img[src]"), pictures(page), strict=True):
            image["src"] = (book / source).resolve().as_uri()
        parts.append(f'<div class="page" id="{page.key}">{body.decode(formatter="html5")}</div>')
    return "".join(parts)


def one_page(title: str, book: Path, *parts: str) -> str:
    """Return a page of HTML with the styles of the printed book."""
    style = "".join(
        path.read_text(encoding="utf8")
        for path in (
            book / "_static" / "inter.css",
            book / "_static" / "pygments.css",
            ROOT / "book" / "edition.css",
            ROOT / "book" / "print.css",
        )
    )
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{style}</style>'
    body = "".join(parts)
    return f'<!DOCTYPE html><html lang="en"><head>{head}</head><body>{body}</body></html>'


def _address(name: str, key: str) -> str:
    page = name.replace("/", "-")
    return f"#{page}--{key}" if key else f"#{page}"


def contents(pages: list[Page], at: Mapping[tuple[str, str], int]) -> str:
    """Return the contents; `at` has the printed page of each page and section, if it is known."""
    lines = []
    part = ""
    for page in pages:
        if page.part != part:
            part = page.part
            lines.append(f'<li class="part">{html.escape(part)}</li>')
        sections = "".join(
            f"<li>{_entry(page, key, heading, at)}</li>" for key, heading in page.sections()
        )
        lines.append(f"<li>{_entry(page, '', page.title, at)}<ol>{sections}</ol></li>")
    return f'<div class="page"><h1>Contents</h1><ol class="contents">{"".join(lines)}</ol></div>'


def _entry(page: Page, key: str, heading: Tag, at: Mapping[tuple[str, str], int]) -> str:
    number = at.get((page.key, key), "000")
    words = drawn(copy.copy(heading)).decode_contents(formatter="html5")
    return f'<a href="{_address(page.name, key)}" data-page="{number}">{words}</a>'


def print_pdf(page: Path, pdf: Path) -> None:
    """Let Chromium print a page, with an outline of its headings."""
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            [
                chromium(),
                *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
                *("--no-pdf-header-footer", "--generate-pdf-document-outline"),
                "--host-resolver-rules=MAP * ~NOTFOUND",  # it needs no other host
                *(f"--user-data-dir={profile}", f"--print-to-pdf={pdf}", page.as_uri()),
            ],
            capture_output=True,
            text=True,
        )
    if done.returncode or not pdf.is_file():
        said = (done.stderr.strip() or "nothing").splitlines()[-1]
        raise SystemExit(f"Chromium has printed no PDF; it says: {said}")


def printed_at(pdf: Path, pages: list[Page]) -> dict[tuple[str, str], int]:
    """Return the number of the printed page of each page and each of its sections.

    They are found by the outline, which has the headings in their order.
    """
    wanted = [
        (page.key, key, words_of(heading))
        for page in pages
        for key, heading in [("", page.title), *page.sections()]
    ]
    found = {}
    document = pypdfium2.PdfDocument(pdf)
    entries = iter(
        (_letters(bookmark.get_title()), bookmark.get_dest()) for bookmark in document.get_toc()
    )
    for page_key, key, words in wanted:
        for title, goal in entries:
            if title == _letters(words):
                found[page_key, key] = goal.get_index() + 1
                break
        else:
            raise SystemExit(f"The outline of the PDF lacks the heading {words!r}.")
    document.close()
    return found


def _letters(text: str) -> str:
    """Return what two forms of a heading have in common: its letters and digits."""
    return re.sub(r"[\W_]+", "", text)


def write_pdf(path: Path, pages: list[Page], book: Path, title: str, first: str) -> None:
    """Print the book twice: only then are the numbers of its pages known to its contents."""
    at: dict[tuple[str, str], int] = {}
    bodies = bodies_of(pages, book)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "book.html"
        for _ in range(2):
            page.write_text(one_page(title, book, first, contents(pages, at), bodies), "utf8")
            print_pdf(page, path)
            before, at = at, printed_at(path, pages)
    if at != before:
        raise SystemExit("The contents name other pages than those that were printed last.")


# --- Both ----------------------------------------------------------------------------------


def write_editions(book: Path, folder: Path, version: str) -> list[Path]:
    """Write PDF, EPUB and their checksums into a folder made anew; return the two."""
    chromium()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))
    title, author = config["title"], config["author"]
    pages = read_pages(book, ROOT / "book" / "_toc.yml")
    first = about(title, author)
    epub, pdf = folder / f"initscope-{version}.epub", folder / f"initscope-{version}.pdf"
    style = (ROOT / "book" / "edition.css").read_text(encoding="utf8")
    write_epub(epub, pages, book, style, title, author, day_of_edition(), first)
    write_pdf(pdf, pages, book, title, first)
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (pdf, epub)]
    (folder / "SHA256SUMS-editions").write_text(
        "".join(f"{d}  {p.name}\n" for d, p in zip(digests, (pdf, epub), strict=True)), "utf8"
    )
    return [pdf, epub]


def main(version: str) -> None:
    """Make both of the book that was built last, and say where they lie."""
    for path in write_editions(ROOT / "_build" / "html", ROOT / "_build" / "editions", version):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1e6:.1f} MB")
    print("Their checksums lie beside them, in SHA256SUMS-editions.")


if __name__ == "__main__":
    main(*sys.argv[1:])
