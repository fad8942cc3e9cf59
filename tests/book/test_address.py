"""What the address of the repository brings to the pages; without one, nothing of it shows."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
import yaml
from book_pages import (
    ABOUT_COLORS,
    CHAPTERS,
    DOCUMENTS,
    ROOT,
    for_each,
    launch_links,
    make_book,
    opener,
    parsed,
    small_book,
    violations,
)
from bs4 import BeautifulSoup
from PIL import Image
from playwright.sync_api import Browser

import initscope

sys.path.insert(0, str(ROOT / "book" / "_ext"))

from cards import draw_card
from edition import Edition, edition_of, in_words
from metadata import published_at

REPOSITORY = "https://github.com/owner/name"
BOOK = "https://owner.github.io/name/"
FIRST, SECOND = CHAPTERS[:2]
LAST = CHAPTERS[-1]
GIT = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run([*GIT, *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def with_figure(root: Path, name: str) -> None:
    """Give a chapter of a small book a sentence, and two figures of the real one."""
    chapter, real = root / f"{name}.ipynb", nbformat.read(ROOT / f"{name}.ipynb", 4)
    figures = [
        cell
        for cell in real.cells
        if any("image/svg+xml" in output.get("data", {}) for output in cell.get("outputs", []))
    ][:2]
    for figure in figures:  # the widgets that words of a caption set are not brought along
        shown = figure.metadata["mystnb"]["figure"]
        shown["caption"] = re.sub(r"\{move\}`(.*?)\s*<[^>]*>`", r"\1", shown["caption"])
    for output in [output for figure in figures for output in figure.outputs]:
        data = output.get("data", {})
        for kind in [kind for kind in data if "svg" not in kind]:
            del data[kind]
    if name == SECOND:  # its card is of the figure whose cell says so
        figures[1].metadata.setdefault("tags", []).append("card")
    notebook = nbformat.read(chapter, 4)
    text = '**What comes out.** Where $x<1$ it dies. It "holds" & <so> on (Fig. 1). More of it.'
    notebook.cells += [nbformat.v4.new_markdown_cell(text), *figures]
    nbformat.write(notebook, chapter)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small book in a repository that has an address."""
    root = tmp_path_factory.mktemp("published")
    small_book(root)
    with_figure(root, FIRST)
    with_figure(root, SECOND)
    config = (ROOT / "_config.yml").read_text()
    config, changed = re.subn(r"(?m)^  url:.*$", f"  url: {REPOSITORY}", config)
    assert changed == 1
    (root / "_config.yml").write_text(config)
    toc = yaml.safe_load((root / "book" / "_toc.yml").read_text())
    toc["parts"].append({"chapters": [{"file": "book/numbers"}]})
    (root / "book" / "_toc.yml").write_text(yaml.safe_dump(toc))
    numbers = "# Your numbers\n\n```{numbers-beside}\n```\n"
    (root / "book" / "numbers.md").write_text(numbers)
    glue(root, LAST, {"share": "0.25", "rounded": "0.12345678", "runs": "12"})
    git(root, "init", "-q")
    git(root, "add", "_config.yml", "book/index.md", "notebooks")
    git(root, "commit", "-q", "-m", "First")
    glue(root, LAST, {"share": "0.25", "rounded": "0.1234561", "runs": "13"})
    make_book(root)
    return root


def glue(root: Path, name: str, values: dict[str, str]) -> None:
    """Let a chapter of a small book put these values into the text, and no others."""
    notebook = nbformat.read(root / f"{name}.ipynb", 4)
    glued = [
        nbformat.v4.new_output(
            "display_data",
            {"application/papermill.record/text/plain": text},
            metadata={"scrapbook": {"mime_prefix": "application/papermill.record/", "name": key}},
        )
        for key, text in values.items()
    ]
    notebook.cells[1:] = [nbformat.v4.new_code_cell("glue()", outputs=glued, execution_count=1)]
    nbformat.write(notebook, root / f"{name}.ipynb")


def page_of(root: Path, name: str) -> BeautifulSoup:
    return parsed(root / "_build" / "html", name)


def told(page: BeautifulSoup, kind: str = "name") -> dict[str, list[str]]:
    """What the elements <meta> of a page say, by the name of each."""
    found: dict[str, list[str]] = {}
    for tag in page.select(f"head meta[{kind}]"):
        found.setdefault(str(tag[kind]), []).append(str(tag["content"]))
    return found


def test_it_brings_the_launch_buttons(published: Path) -> None:
    colab = "https://colab.research.google.com/github/owner/name/blob/main"
    binder = "https://mybinder.org/v2/gh/owner/name/main?urlpath=lab/tree"
    for name in CHAPTERS:
        links = launch_links(page_of(published, name))
        assert f"{colab}/{name}.ipynb" in links
        # What Binder installs has no torch; test_binder.py runs this chapter on it.
        assert (f"{binder}/{name}.ipynb" in links) == (name == "notebooks/08_noise_and_drift")
        assert len(links) == 1 + (name == "notebooks/08_noise_and_drift")


SAID = "It “holds” & <so> on. More of it."


def test_a_page_says_what_it_is_to_those_who_share_it(published: Path) -> None:
    page = page_of(published, FIRST)
    (canonical,) = page.select("link[rel=canonical]")
    assert canonical["href"] == f"{BOOK}{FIRST}.html"
    assert told(page)["description"] == [SAID]
    graph = told(page, "property")
    assert graph["og:url"] == [canonical["href"]]
    assert graph["og:title"] == ["A chapter"]
    assert graph["og:description"] == [SAID]
    assert graph["og:site_name"] == ["Weight initialization and variance dynamics"]
    assert told(page)["twitter:card"] == ["summary_large_image"]


def test_a_chapter_has_a_card_of_its_own_from_its_figure(published: Path) -> None:
    html, cards = published / "_build" / "html", []
    for name in (FIRST, SECOND):
        graph = told(page_of(published, name), "property")
        (address,) = graph["og:image"]
        assert address.startswith(f"{BOOK}_images/")
        content = (html / address.removeprefix(BOOK)).read_bytes()
        picture = Image.open(io.BytesIO(content))
        assert picture.size == (1200, 630)
        assert (graph["og:image:width"], graph["og:image:height"]) == (["1200"], ["630"])
        gray = picture.convert("L")
        dark = sum(gray.histogram()[:200])
        assert 0.005 * 1200 * 630 < dark < 0.5 * 1200 * 630  # neither blank nor black
        # Of the figure, below the title or beside it, there is something in every quarter.
        assert all(
            gray.crop((x, y, x + 300, y + 240)).getextrema()[0] < 200
            for x in (600, 900)
            for y in (100, 350)
        )
        cards.append(hashlib.sha256(content).digest())
    assert cards[0] != cards[1]
    # The second says which figure it is that stands for it.
    images = page_of(published, SECOND).select("figure img:not(.figure-stack img)")
    pictures = [str(image["src"]) for image in images]
    assert len(pictures) == 2
    chosen = html / "_images" / Path(pictures[1]).name
    book = "Weight initialization and variance dynamics"
    assert content == draw_card(chosen, "2. A chapter", book)
    # One without a figure has that of the first page, which has none here.
    assert "og:image" not in told(page_of(published, CHAPTERS[2]), "property")


def test_a_page_says_what_it_is_to_those_who_cite_it(published: Path) -> None:
    day = git(published, "log", "-1", "--date=format-local:%Y-%m-%d", "--format=%cd")
    page = page_of(published, FIRST)
    tags = told(page)
    assert tags["citation_title"] == ["A chapter"]
    assert tags["citation_author"] == ["The initscope authors"]
    assert tags["citation_publication_date"] == [day.replace("-", "/")]
    assert tags["citation_public_url"] == [f"{BOOK}{FIRST}.html"]
    assert tags["citation_inbook_title"] == ["Weight initialization and variance dynamics"]
    (data,) = (json.loads(tag.string or "") for tag in page.select("[type='application/ld+json']"))
    assert data["@type"] == "Chapter"
    assert data["position"] == "1"
    assert data["name"] == "A chapter"
    assert data["url"] == f"{BOOK}{FIRST}.html"
    assert data["isPartOf"]["@id"] == f"{BOOK}book/index.html"
    assert data["description"] == SAID
    assert data["version"] == initscope.__version__
    assert data["datePublished"] == day
    first = page_of(published, "book/index")
    (data,) = (json.loads(tag.string or "") for tag in first.select("[type='application/ld+json']"))
    assert data["@type"] == "ScholarlyArticle"
    assert data["isBasedOn"] == ["https://arxiv.org/abs/2510.09423"]
    assert "citation_inbook_title" not in told(first)


def test_the_fold_cites_the_page(published: Path) -> None:
    (fold,) = page_of(published, FIRST).select("article details.cite-page")
    assert not fold.has_attr("open")
    (sentence,) = fold.select("p")
    assert sentence.get_text().startswith("The initscope authors. Chapter 1: A chapter. In: We")
    assert sentence.get_text().endswith(f" {BOOK}{FIRST}.html")
    (entry,) = fold.select("pre")
    key = FIRST.rpartition("/")[2]
    assert entry.get_text().startswith(f"@incollection{{initscope-{key},\n")
    assert f"  url = {{{BOOK}{FIRST}.html}}" in entry.get_text()
    assert "  title = {{A chapter}},\n" in entry.get_text()
    assert "  chapter = {1},\n" in entry.get_text()
    assert entry.get_text().count("{") == entry.get_text().count("}")
    assert len(page_of(published, "book/index").select("details.cite-page")) == 1


def test_machines_find_every_page(published: Path) -> None:
    html = published / "_build" / "html"
    namespace = "{http://www.sitemaps.org/schemas/sitemap/0.9}"
    pages = ("book/index", "book/numbers", *CHAPTERS)
    sitemap = ElementTree.parse(html / "sitemap.xml").getroot()
    assert sitemap.tag == f"{namespace}urlset"
    listed = [str(location.text) for location in sitemap.iter(f"{namespace}loc")]
    assert sorted(listed) == sorted(f"{BOOK}{name}.html" for name in pages)
    assert all((html / address.removeprefix(BOOK)).is_file() for address in listed)
    lines = (html / "llms.txt").read_text().splitlines()
    assert lines[0] == "# Weight initialization and variance dynamics"
    links = [line for line in lines if line.startswith("- ")]
    assert links[0] == f"- Chapter 1, [A chapter]({BOOK}{FIRST}.html): {SAID}"
    assert links[2] == f"- Chapter 3, [A chapter]({BOOK}{CHAPTERS[2]}.html)"
    assert links[-1].startswith(f"- [Your numbers]({BOOK}book/numbers.html)")
    assert len(links) == len(pages) - 1


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", [FIRST, "book/numbers"])
def test_what_it_brings_asks_no_other_host_and_is_accessible(
    name: str, width: int, published: Path, browser: Browser
) -> None:
    html = published / "_build" / "html"
    with opener(browser, html.as_uri(), html) as open_page:
        opened = open_page(f"{name}.html", from_file=True, width=width)
        page = opened.page
        page.locator("details.cite-page summary").click()
        page.locator("details.cite-page pre").wait_for()
        assert (opened.outside, opened.failed, opened.errors) == ([], [], [])
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert violations(page) == ""
        page.emulate_media(color_scheme="dark")
        page.locator("html[data-theme=dark]").wait_for(state="attached")
        assert violations(page, rules=ABOUT_COLORS) == ""


def test_no_page_shows_a_placeholder(published: Path) -> None:
    for path in (published / "_build" / "html").rglob("*.html"):
        assert not re.search(r"git\+|ADDRESS|example\.(?:org|com)", path.read_text()), path


@for_each(DOCUMENTS)
def test_a_page_of_the_book_shows_no_address_that_is_not_known(name: str, site: Path) -> None:
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    known = bool(config["html"]["baseurl"] or published_at(config["repository"]["url"]))
    page = parsed(site, name)
    shown = {
        "canonical": page.select("link[rel=canonical]"),
        "graph": page.select("meta[property^='og:']"),
        "tags": page.select("meta[name^=citation]"),
        "data": page.select("[type='application/ld+json']"),
        "fold": page.select("details.cite-page"),
        "sitemap": (site / "sitemap.xml").exists(),
        "pages": (site / "llms.txt").exists(),
    }
    assert {what for what, found in shown.items() if bool(found) != known} == set()
    assert not re.search(r"git\+|ADDRESS", (site / f"{name}.html").read_text())


def test_every_page_of_the_book_has_a_description_of_its_own(site: Path) -> None:
    said = [told(parsed(site, name)).get("description", [""]) for name in DOCUMENTS]
    texts = [text for (text,) in said]
    # The page of sources holds nothing else.
    without = [name for name, text in zip(DOCUMENTS, texts, strict=True) if not text]
    assert without == ["book/references"]
    assert len(set(texts)) == len(texts)
    for text in filter(None, texts):
        assert 30 < len(text) <= 200
        assert not re.search(r"[$\\]|Fig\. |What comes out|\{", text), text


def test_the_foot_of_a_page_says_which_edition_it_is(published: Path) -> None:
    commit = git(published, "rev-parse", "HEAD")
    day = git(published, "log", "-1", "--date=format-local:%Y-%m-%d", "--format=%cd")
    foot = page_of(published, FIRST).select_one("footer .extra_footer")
    assert foot is not None
    version = initscope.__version__
    assert (
        foot.get_text()
        .strip()
        .endswith(f"Version {version}, {day}, commit {commit[:7]} and changes since.")
    )
    assert foot.select_one(f"a[href='{REPOSITORY}/commit/{commit}']")


@for_each(DOCUMENTS)
def test_every_page_of_the_book_names_its_version(name: str, site: Path) -> None:
    foot = parsed(site, name).select_one("footer .extra_footer")
    assert foot is not None
    words = rf"Version {re.escape(initscope.__version__)}(, [-\d]+, commit [0-9a-f]{{7}})?"
    assert re.search(rf"{words}( and changes since)?\.\s*$", foot.get_text())


def test_an_edition_is_that_of_its_own_repository(tmp_path: Path) -> None:
    root = tmp_path / "book"
    (root / "notebooks").mkdir(parents=True)
    chapter = root / "notebooks" / "01_a.ipynb"
    chapter.write_text("one")
    plain = Edition(initscope.__version__)
    assert edition_of(root) == plain
    git(tmp_path, "init", "-q")
    assert edition_of(tmp_path) == plain  # nothing is committed yet
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "Around it")
    assert edition_of(root) == plain  # another project's
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "First")
    first = edition_of(root)
    assert first.commit == git(root, "rev-parse", "HEAD")
    assert first.day is not None
    assert not first.changed
    chapter.write_text("two")
    assert edition_of(root) == Edition(first.version, first.day, first.commit, changed=True)
    assert in_words(first).endswith(f"commit <code>{str(first.commit)[:7]}</code>.")


@pytest.mark.parametrize(
    ("repository", "address"),
    [
        ("https://github.com/owner/name", BOOK),
        ("https://github.com/Owner/Name.git", "https://owner.github.io/Name/"),
        ("https://github.com/owner/owner.github.io", "https://owner.github.io/"),
        ("https://gitlab.com/owner/name", ""),
        ("https://github.com/owner", ""),
        ("", ""),
    ],
)
def test_where_github_shows_pages(repository: str, address: str) -> None:
    assert published_at(repository) == address


def test_a_page_holds_the_numbers_that_came_out_otherwise(published: Path) -> None:
    page = page_of(published, "book/numbers")
    (sentence,) = [p for p in page.select("article p") if "In this book" in p.get_text()]
    assert "3 numbers, of them 2 another than the published one, 1 of these within" in (
        " ".join(sentence.get_text().split())
    )
    rows = [
        [cell.get_text() for cell in row.select("td")] for row in page.select("article tbody tr")
    ]
    assert rows == [
        ["9", "runs", "12", "13", "1", "0.01"],
        ["9", "rounded", "0.12345678", "0.1234561", "-6.8e-07", "0.0001"],
    ]
    (link,) = sentence.select("a")
    written = published / "_build" / "html" / "book" / str(link["href"])
    assert [line.split(",")[1] for line in written.read_text().splitlines()] == [
        *("name", "share", "rounded", "runs")
    ]


def test_the_book_itself_shows_none(site: Path) -> None:
    """Of the committed chapters; one that is being changed differs, and the page says so."""
    said = parsed(site, "book/numbers").select_one("article")
    assert said is not None
    words = " ".join(said.get_text().split())
    unchanged = edition_of(ROOT) == Edition(initscope.__version__) or not git(
        ROOT, "status", "--porcelain", "--untracked-files=no", "notebooks"
    )
    none = "none of them another" in words or "outside of a clone" in words
    assert none == (not said.select("table"))
    assert none or not unchanged
