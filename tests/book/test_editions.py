"""PDF and EPUB of the whole book: all that the pages say is in them, and each is well formed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import posixpath
import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit
from xml.etree import ElementTree

import pypdfium2
import pytest
from book_pages import DOCUMENTS, ROOT, SITE, parsed
from bs4 import BeautifulSoup, Tag
from conftest import missing

sys.path.insert(0, str(ROOT / "book"))

import edition_pages
import editions

XHTML = "{http://www.w3.org/1999/xhtml}"
OPF = "{http://www.idpf.org/2007/opf}"
CONTAINER = "{urn:oasis:names:tc:opendocument:xmlns:container}"

PAPER = 0.995  # share of a page that shows nothing: an empty one has only its number


@pytest.fixture(scope="module")
def made(site: Path) -> Path:
    """The folder of the editions of the built book, made now if the book is newer."""
    if not any(map(shutil.which, editions.CHROMIUM)):
        missing("No Chromium found")
    tools = Path(sys.executable).parent
    with (SITE.parent / ".tests.lock").open("w") as lock:  # tests may run in several processes
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            ["make", "editions", f"BIN={tools}", "BOOK_TOOLS="],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    return ROOT / "_build" / "editions"


@pytest.fixture(scope="module")
def pdf(made: Path) -> Iterator[pypdfium2.PdfDocument]:
    (path,) = made.glob("*.pdf")
    document = pypdfium2.PdfDocument(path)
    yield document
    document.close()


@pytest.fixture(scope="module")
def epub(made: Path) -> dict[str, bytes]:
    """Every file of the EPUB by its path."""
    (path,) = made.glob("*.epub")
    with zipfile.ZipFile(path) as packed:
        assert packed.testzip() is None
        return {name: packed.read(name) for name in packed.namelist()}


def letters(text: str) -> str:
    """The text without what differs with lines and fonts: spaces, hyphens, quotes and ligatures."""
    return re.sub(r"[^\w%.,:;()+=/]", "", text.replace("ﬁ", "fi").replace("ﬂ", "fl")).lower()


def said(page: Tag) -> list[str]:
    """What an edition has to hold of a page: captions and glued numbers, between the formulas."""
    found = []
    for tag in page.select("article figcaption, article .pasted-text"):
        copied = BeautifulSoup(str(tag), "html.parser")
        for formula in copied.select(".math, .formula, noscript, mjx-container, .katex, math, svg"):
            formula.replace_with("\0")
        for left_out in copied.select(".headerlink, button, script"):
            left_out.decompose()
        found += [letters(part) for part in copied.get_text().split("\0")]
    return [part for part in found if part]


@pytest.fixture(scope="module")
def wanted(site: Path) -> dict[str, list[str]]:
    return {name: said(parsed(site, name)) for name in DOCUMENTS}


def test_there_is_much_that_has_to_be_in_an_edition(wanted: dict[str, list[str]]) -> None:
    assert sum(map(len, wanted.values())) > 1000
    assert all(wanted[name] for name in DOCUMENTS if name.startswith("notebooks/"))


def test_both_are_handed_on_with_their_checksums(made: Path) -> None:
    lines = (made / "SHA256SUMS-editions").read_text().splitlines()
    sums = dict(reversed(line.split("  ")) for line in lines)
    files = {path.name for path in made.iterdir()} - {"SHA256SUMS-editions"}
    assert set(sums) == files
    version = editions.__dict__["edition_of"](ROOT).version
    assert files == {f"initscope-{version}.pdf", f"initscope-{version}.epub"}
    for name, digest in sums.items():
        assert hashlib.sha256((made / name).read_bytes()).hexdigest() == digest
        assert (made / name).stat().st_size < (2_000_000 if name.endswith(".epub") else 16_000_000)


# --- PDF -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def printed(pdf: pypdfium2.PdfDocument) -> list[str]:
    """The text of every printed page."""
    return [page.get_textpage().get_text_range() for page in pdf]


def test_every_caption_and_number_is_printed(
    printed: list[str], wanted: dict[str, list[str]]
) -> None:
    # Pages may part a sentence: the number of the page stands between its halves.
    text = letters("".join(re.sub(r"^\d+\s", "", page) for page in printed))
    for name, parts in wanted.items():
        assert [part for part in parts if part not in text] == [], name


def test_no_page_is_blank(pdf: pypdfium2.PdfDocument, printed: list[str]) -> None:
    assert len(pdf) > 100
    for number, page in enumerate(pdf, 1):
        grey = page.render(scale=0.25, grayscale=True).to_numpy()
        inked = (grey < 250).mean()
        assert inked > 1 - PAPER, f"page {number} is blank: {printed[number - 1]!r}"


def test_every_page_but_the_first_has_its_number(printed: list[str]) -> None:
    for number, text in enumerate(printed[1:], 2):
        lines = text.split()
        assert str(number) in (lines[0], lines[-1]), number


def test_nothing_is_printed_beyond_the_margin(pdf: pypdfium2.PdfDocument) -> None:
    """What is too wide for the paper would be cut off."""
    for number, page in enumerate(pdf, 1):
        width, _ = page.get_size()
        grey = page.render(scale=0.25, grayscale=True).to_numpy()
        margin = int(0.25 * 30)  # of 57 points
        assert width < 600
        assert (grey[:, -margin:] > 240).all(), f"page {number} at the right"
        assert (grey[:, :margin] > 240).all(), f"page {number} at the left"


def test_the_outline_has_every_heading(pdf: pypdfium2.PdfDocument, site: Path) -> None:
    outline = [
        (entry.level, letters(entry.get_title())) for entry in pdf.get_toc() if entry.level < 2
    ][1:]  # that of the contents themselves is left out
    expected = []
    for name in DOCUMENTS:
        for heading in parsed(site, name).select("article :is(h1, h2)"):
            for left_out in heading.select(".headerlink, .math"):
                left_out.decompose()
            expected.append((int(heading.name[1]) - 1, letters(heading.get_text())))
    assert outline == expected


def test_the_contents_name_the_pages(pdf: pypdfium2.PdfDocument, printed: list[str]) -> None:
    entries = [
        (letters(entry.get_title()), entry.get_dest().get_index() + 1)
        for entry in pdf.get_toc()
        if entry.level < 2
    ][1:]  # that of the contents themselves is left out
    assert len(entries) > 100
    digits = words = ""
    for text in printed[1 : entries[0][1] - 1]:
        # The number of the page itself comes first. What stands apart may be read as one word or
        # digit by digit.
        lines = ["".join(line.split()) for line in text.split("\r\n")[1:]]
        digits += "".join(line for line in lines if line.isdigit())
        words += "".join(line for line in lines if not line.isdigit())
    expected = "".join(str(number) for _, number in entries)
    found = iter(digits)
    assert all(digit in found for digit in expected)
    assert len(digits) < 1.05 * len(expected)
    words = letters(words)
    named = [title for title, _ in entries if not re.search(r"\d", title)]
    assert len(named) > 100
    for title in named:  # in their order
        assert title in words, title
        words = words.partition(title)[2]


# --- EPUB ----------------------------------------------------------------------------------


def test_the_archive_says_first_what_it_is(made: Path) -> None:
    (path,) = made.glob("*.epub")
    with zipfile.ZipFile(path) as packed:
        first = packed.infolist()[0]
        assert (first.filename, first.compress_type) == ("mimetype", zipfile.ZIP_STORED)
        assert packed.read("mimetype") == b"application/epub+zip"
        assert not first.extra
    # So that a reader finds it at one place of the file.
    assert path.read_bytes()[30:58] == b"mimetypeapplication/epub+zip"


def test_every_file_of_markup_is_well_formed(epub: dict[str, bytes]) -> None:
    for name, content in epub.items():
        if name.endswith((".xhtml", ".opf", ".xml", ".svg")):
            ElementTree.fromstring(content)
    pages = [name for name in epub if name.endswith(".xhtml")]
    assert len(pages) == len(DOCUMENTS) + 2
    assert any(b"<math" in epub[name] for name in pages)


def test_the_package_lists_what_is_there(epub: dict[str, bytes]) -> None:
    container = ElementTree.fromstring(epub["META-INF/container.xml"])
    (root,) = container.iter(f"{CONTAINER}rootfile")
    package = ElementTree.fromstring(epub[root.attrib["full-path"]])
    items = {item.attrib["id"]: item.attrib for item in package.iter(f"{OPF}item")}
    listed = {f"EPUB/{unquote(item['href'])}" for item in items.values()}
    here = set(epub) - {"mimetype", "META-INF/container.xml", root.attrib["full-path"]}
    assert listed == here
    kinds = {"xhtml": "application/xhtml+xml", "svg": "image/svg+xml", "css": "text/css"}
    for item in items.values():
        ending = item["href"].rpartition(".")[2]
        assert item["media-type"] == kinds.get(ending, f"image/{ending}")
        if ending == "xhtml":
            content = epub[f"EPUB/{unquote(item['href'])}"]
            assert ("mathml" in item.get("properties", "")) == (b"<math" in content), item["href"]
            assert ("svg" in item.get("properties", "")) == (b"<svg" in content), item["href"]
    spine = [items[ref.attrib["idref"]]["href"] for ref in package.iter(f"{OPF}itemref")]
    assert spine[2:] == [f"{name.replace('/', '-')}.xhtml" for name in DOCUMENTS]
    assert [1 for item in items.values() if "nav" in item.get("properties", "").split()] == [1]
    names = {tag.tag.rpartition("}")[2] for tag in package.iter() if (tag.text or "").strip()}
    assert {"identifier", "title", "language", "creator", "rights", "meta"} <= names


def test_every_link_of_the_epub_leads_somewhere(epub: dict[str, bytes]) -> None:
    trees = {n: ElementTree.fromstring(c) for n, c in epub.items() if n.endswith(".xhtml")}
    ids = {}
    for name, tree in trees.items():
        counted = Counter(tag.attrib["id"] for tag in tree.iter() if "id" in tag.attrib)
        assert max(counted.values(), default=1) == 1, f"{name}: {counted.most_common(1)}"
        ids[name] = set(counted)
    inside = 0
    for name, tree in trees.items():
        for tag in tree.iter():
            target = tag.attrib.get("href") or tag.attrib.get("src")
            if not target or urlsplit(target).scheme in ("http", "https", "mailto"):
                continue
            path, anchor = urldefrag(unquote(target))
            goal = posixpath.normpath(posixpath.join("EPUB", path)) if path else name
            assert goal in epub, f"{name}: {target}"
            assert not anchor or anchor in ids[goal], f"{name}: {target}"
            inside += 1
    assert inside > 500


def test_nothing_in_the_epub_asks_for_a_script_or_another_host(epub: dict[str, bytes]) -> None:
    for name, content in epub.items():
        if not name.endswith(".xhtml"):
            continue
        for tag in ElementTree.fromstring(content).iter():
            assert tag.tag not in {f"{XHTML}{n}" for n in ("script", "iframe", "form", "button")}
            assert not any(attribute.startswith("on") for attribute in tag.attrib), name
            assert not tag.attrib.get("src", "").startswith(("http", "//", "data:")), name


PHRASING = {"p", "h1", "h2", "h3", "h4", "h5", "h6", "span", "em", "strong", "code", "pre"}
"""Elements that hold text and what stands in a line of it."""

BLOCKS = {"p", "div", "ul", "ol", "li", "dl", "table", "figure", "section", "pre", "blockquote"}


def test_elements_stand_where_they_may(epub: dict[str, bytes]) -> None:
    """As readers of EPUB ask for that know no more than the standard."""
    for name, content in epub.items():
        if not name.endswith((".xhtml", ".svg")):
            continue
        tree = ElementTree.fromstring(content)
        ids = Counter(tag.attrib["id"] for tag in tree.iter() if "id" in tag.attrib)
        assert max(ids.values(), default=1) == 1, f"{name}: {ids.most_common(1)}"
        for tag in tree.iter():
            kind = str(tag.tag).removeprefix(XHTML)
            inside = {str(child.tag).removeprefix(XHTML) for child in tag}
            assert kind not in ("noscript", "template", "details", "summary"), name
            if kind in PHRASING:
                assert not inside & BLOCKS, f"{name}: {kind} with {inside & BLOCKS}"
            if kind in ("ul", "ol"):
                assert inside <= {"li"}, f"{name}: {kind} with {inside}"
            if kind == "img":
                assert "alt" in tag.attrib, name


def test_the_contents_of_the_epub_are_a_list_of_links(epub: dict[str, bytes]) -> None:
    nav = ElementTree.fromstring(epub["EPUB/nav.xhtml"])
    (toc,) = nav.iter(f"{XHTML}nav")
    assert toc.attrib["{http://www.idpf.org/2007/ops}type"] == "toc"
    assert [child.tag.removeprefix(XHTML) for child in toc] == ["h1", "ol"]
    for item in toc.iter(f"{XHTML}li"):
        first, *below = [child.tag.removeprefix(XHTML) for child in item]
        assert first in ("a", "span")
        assert below == ["ol"] or (below == [] and first == "a")
        assert "".join(item[0].itertext()).strip()


def test_every_caption_and_number_is_in_the_epub(
    epub: dict[str, bytes], wanted: dict[str, list[str]]
) -> None:
    for name, parts in wanted.items():
        tree = ElementTree.fromstring(epub[f"EPUB/{name.replace('/', '-')}.xhtml"])
        text = letters("".join(tree.itertext()))
        assert [part for part in parts if part not in text] == [], name


def test_the_contents_of_the_epub_have_every_page(epub: dict[str, bytes]) -> None:
    nav = ElementTree.fromstring(epub["EPUB/nav.xhtml"])
    targets = [tag.attrib["href"] for tag in nav.iter(f"{XHTML}a")]
    pages = [target for target in targets if "#" not in target]
    assert pages == [f"{name.replace('/', '-')}.xhtml" for name in DOCUMENTS]
    assert len(targets) > 3 * len(pages)


def test_every_instrument_has_its_picture(epub: dict[str, bytes], site: Path) -> None:
    for name in DOCUMENTS:
        places = parsed(site, name).select("article .widget-place")
        text = epub[f"EPUB/{name.replace('/', '-')}.xhtml"].decode()
        assert text.count(edition_pages.STILL) == len(places), name
        assert "images/" in text or not places


# --- Without Chromium, and with an address ---------------------------------------------------


def test_without_chromium_one_line_says_what_is_missing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "book" / "editions.py", "1.2.3"],
        env=os.environ | {"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert done.stderr == editions.MISSING + "\n"
    assert "\n" not in editions.MISSING


PAGE = """<html><head>{canonical}</head><body><article>
<svg class="glyphs"><defs><path id="MJX-x" d="M0 0"/></defs></svg><section id="a"><h1>A</h1>
<noscript><p class="still-note">Still.</p></noscript>
<p class="guess-bar">Make your guess first, or <button>skip all guesses</button>.</p>
<div class="guess-score"><p>None made yet.</p></div>
<figure id="fig-a"><div class="widget-place" id="W"><img src="../_images/a.svg"></div>
<figcaption><p>What it shows.</p></figcaption></figure>
<p>Data: <a href="results/a/x.parquet">x.parquet</a>, <a
href="results/a/y.parquet">y.parquet</a>.</p>
<p><a href="b.html#there">b</a> <a href="b.html#gone">b</a> <a href="#a">here</a>
<a href="https://example.org/">out</a></p>
<p>With <span class="math" id="equation-e"><mjx-container><svg viewBox="0 0 1 1"><use href="#MJX-x"
/></svg><mjx-assistive-mml><math><mi>x</mi></math></mjx-assistive-mml></mjx-container></span>.</p>
<p id="a">twice</p></section></article></body></html>"""


def pages_of(folder: Path, canonical: str = "") -> list[edition_pages.Page]:
    for name in ("a", "b"):
        (folder / "book").mkdir(exist_ok=True)
        text = PAGE.format(canonical=canonical.format(name=name))
        (folder / "book" / f"{name}.html").write_text(
            text if name == "a" else text.replace('"a"', '"there"')
        )
    toc = folder / "toc.yml"
    toc.write_text("root: book/a\nparts: [{caption: P, chapters: [{file: book/b}]}]")
    return edition_pages.read_pages(folder, toc)


def test_links_lead_into_the_edition(tmp_path: Path) -> None:
    (page, other) = pages_of(tmp_path)
    links = [link["href"] for link in page.body.select("a")]
    assert links == ["page:book/b#there", "page:book/b#", "page:book/a#a", "https://example.org/"]
    assert (page.part, other.part) == ("", "P")
    assert len(page.body.select("#a")) == 1


def test_an_edition_asks_for_no_guess(tmp_path: Path) -> None:
    for page in pages_of(tmp_path):
        text = page.body.get_text()
        assert "What it shows." in text
        assert "guess" not in text
        assert "None made" not in text


def test_an_edition_has_each_formula_once(tmp_path: Path) -> None:
    pages = pages_of(tmp_path)
    body = edition_pages.written(edition_pages.linked(pages[0].body, str.__add__))
    assert [tag.name for tag in body.select("#equation-e > .formula > *")] == ["math"]
    assert body.select("svg") == []
    bodies = [edition_pages.drawn(page.body) for page in pages]
    assert edition_pages.glyphs(bodies).count('id="MJX-x"') == 1  # of both pages
    for body in bodies:
        assert [tag.name for tag in body.select("#equation-e > .formula > *")] == ["svg"]
        assert 'viewBox="0 0 1 1"' in str(body)
        assert body.select(".glyphs") == []


def test_data_is_named_as_long_as_there_is_no_address(tmp_path: Path) -> None:
    (page, _) = pages_of(tmp_path)
    text = " ".join(page.body.get_text().split())
    assert "Data: x.parquet, y.parquet. In the project: book/results/a." in text
    assert "live" not in text


def test_figures_lead_to_their_data_and_to_the_live_page(tmp_path: Path) -> None:
    canonical = '<link rel="canonical" href="https://example.org/book/{name}.html">'
    (page, _) = pages_of(tmp_path, canonical)
    links = {link.get_text(): link["href"] for link in page.body.select("a")}
    assert links["x.parquet"] == "https://example.org/book/results/a/x.parquet"
    assert links["On the live page."] == "https://example.org/book/a.html#fig-a"
    assert edition_pages.STILL in page.body.get_text()
    assert "In the project" not in page.body.get_text()
