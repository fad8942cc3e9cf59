"""The built book as a whole: its first page, its colors, its search, its links.

The pages are served from a local folder with every other host blocked. The tests need Chromium:
without one they are skipped, or fail if ``INITSCOPE_BROWSER=required``.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import nbformat
import pytest
import yaml
from book_pages import CHAPTERS, DOCUMENTS, ROOT, Open, launch_links, make_book, parsed
from bs4 import BeautifulSoup


@pytest.mark.browser
def test_the_folder_opens_on_the_first_page(visit: Open) -> None:
    opened = visit("index.html", from_file=True)
    opened.page.wait_for_url(f"**/{DOCUMENTS[0]}.html")
    assert opened.outside == []


@pytest.mark.browser
def test_the_reader_can_switch_between_light_and_dark(visit: Open) -> None:
    page = visit(f"{DOCUMENTS[0]}.html", scheme="light").page

    def background() -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    seen = {background()}
    for _ in range(3):
        page.locator("button.theme-switch-button:visible").first.click()
        seen.add(background())
    assert len(seen) == 2


@pytest.mark.browser
def test_search_finds_a_word_without_a_server(visit: Open) -> None:
    page = visit("search.html?q=initialization", from_file=True).page
    page.locator("#search-results li a").first.wait_for()


def test_links_between_pages_lead_somewhere(site: Path) -> None:
    pages = {
        path: BeautifulSoup(path.read_text(), "html.parser")
        for path in site.rglob("*.html")
        if "_static" not in path.parts  # the theme's templates lie there
    }
    anchors = {path: {tag["id"] for tag in page.select("[id]")} for path, page in pages.items()}
    broken = []
    for path, page in pages.items():
        for tag in page.select("a[href], link[href], img[src], script[src]"):
            target = str(tag.get("href") or tag.get("src"))
            if urlsplit(target).scheme or target.startswith("//"):
                continue
            file, anchor = urldefrag(target)
            file = unquote(urlsplit(file).path)
            goal = (path.parent / file).resolve() if file else path
            if goal.is_dir():
                goal /= "index.html"
            # "#" alone is the theme's link to the top of the page.
            if not goal.exists() or (anchor and unquote(anchor) not in anchors.get(goal, {anchor})):
                broken.append(f"{path.relative_to(site)} -> {target}")
    assert broken == []


def small_book(root: Path) -> None:
    """A book of the same configuration and chapters, with nothing in them but a title."""
    (root / "book").mkdir()
    for name in ("_ext", "_static", "references.bib"):
        (root / "book" / name).symlink_to(ROOT / "book" / name)
    (root / "Makefile").symlink_to(ROOT / "Makefile")
    (root / "book" / "index.md").write_text("# A book\n")
    toc = {"format": "jb-book", "root": "book/index", "chapters": [{"file": n} for n in CHAPTERS]}
    (root / "book" / "_toc.yml").write_text(yaml.safe_dump(toc))
    (root / "notebooks" / "results").mkdir(parents=True)
    for name in CHAPTERS:
        notebook = nbformat.read(ROOT / f"{name}.ipynb", 4)
        notebook.cells = [nbformat.v4.new_markdown_cell("# A chapter")]
        notebook.metadata.pop("widgets", None)
        nbformat.write(notebook, root / f"{name}.ipynb")


def test_the_address_of_the_repository_brings_the_launch_buttons(tmp_path: Path) -> None:
    small_book(tmp_path)
    config = (ROOT / "_config.yml").read_text()
    config, changed = re.subn(r"(?m)^  url:.*$", "  url: https://github.com/owner/name", config)
    assert changed == 1
    (tmp_path / "_config.yml").write_text(config)
    make_book(tmp_path)
    colab = "https://colab.research.google.com/github/owner/name/blob/main"
    binder = "https://mybinder.org/v2/gh/owner/name/main?urlpath=lab/tree"
    for name in CHAPTERS:
        links = launch_links(parsed(tmp_path / "_build" / "html", name))
        assert f"{colab}/{name}.ipynb" in links
        assert f"{binder}/{name}.ipynb" in links
