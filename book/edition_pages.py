"""The pages of the built book, as they stand in an edition that has no scripts.

What is read is what a reader of the site sees: _build/html, in the order of book/_toc.yml. Scripts,
buttons and what can only be pressed are left out; of an instrument its still picture stays, and
code that was folded is unfolded. A formula is there twice, drawn and as MathML, of which an edition
takes one: `drawn` and `written`.
"""

from __future__ import annotations

import copy
import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import yaml
from bs4 import BeautifulSoup, Comment, Tag

STILL = "A still picture of an instrument that moves in a browser."

# Attributes of SVG that HTML reads in any case, and XML in this one alone.
_SVG_NAMES = {
    name.lower(): name
    for name in ("viewBox", "preserveAspectRatio", "gradientUnits", "clipPathUnits", "refX", "refY")
}

_DROPPED = (
    *("script", "noscript", "style", "link", "button", "input", "iframe", "a.headerlink"),
    ".hide > summary",  # of code
    *(".figure-stack", "source", ".of-narrow"),  # other looks of a picture
    *(".still-note", ".copybtn", ".visually-hidden", ".sr-only"),
    *(".guess-bar", ".guess-score"),  # nobody is asked to guess, and nothing waits
)


@dataclass
class Page:
    """A page of the book.

    `name` is that of Sphinx, `part` the caption of its part of the contents, `live` the address of
    the page where there is one, and `body` what it says.
    """

    name: str
    part: str
    live: str
    body: Tag

    @property
    def key(self) -> str:
        """Name that can be an id and a file: ``notebooks-05_std_sweep``."""
        return self.name.replace("/", "-")

    @property
    def title(self) -> Tag:
        """The heading of the page."""
        heading = self.body.select_one("h1")
        assert heading is not None, self.name
        return heading

    def sections(self) -> list[tuple[str, Tag]]:
        """Return id and heading of its sections of the first level."""
        return [
            (str(heading.parent["id"]), heading)
            for heading in self.body.select("h2")
            if heading.parent is not None and heading.parent.has_attr("id")
        ]


def words_of(tag: Tag) -> str:
    """Return the text in one line, without formulas."""
    copied = copy.copy(tag)
    for formula in copied.select(".formula"):
        formula.decompose()
    return " ".join(copied.get_text().split())


def contents(toc: Path) -> Iterator[tuple[str, str]]:
    """Yield the name of each page with the caption of its part; the first page has none."""
    listed = yaml.safe_load(toc.read_text(encoding="utf8"))
    yield listed["root"], ""
    for part in listed["parts"]:
        for chapter in part["chapters"]:
            yield from ((name, part["caption"]) for name in _files(chapter))


def _files(chapter: dict[str, object]) -> Iterator[str]:
    yield str(chapter["file"])
    for section in chapter.get("sections", ()):  # type: ignore[attr-defined]
        yield from _files(section)


def read_pages(book: Path, toc: Path) -> list[Page]:
    """Return the pages of the book that was built, in their order."""
    pages = []
    for name, part in contents(toc):
        text = (book / f"{name}.html").read_text(encoding="utf8")
        # They hold the recorded runs, and take most of the time that reading takes.
        text = re.sub(r"<script\b.*?</script>", "", text, flags=re.DOTALL)
        soup = BeautifulSoup(text, "html.parser")
        body = soup.select_one("article")
        assert body is not None, name
        canonical = soup.select_one('link[rel="canonical"]')
        live = str(canonical["href"]) if canonical else ""
        pages.append(Page(name, part, live, body))
    for page in pages:
        _clean(page)
    known = {page.name: {str(tag["id"]) for tag in page.body.select("[id]")} for page in pages}
    for page in pages:
        _lead_links(page, known)
    return pages


def _clean(page: Page) -> None:
    """Leave out what needs a script, and let what is left be XML."""
    body = page.body
    _mark_formulas(body)
    for instrument in body.select(".widget-place"):
        figure = instrument.find_parent("figure")
        if figure is not None:
            _add_note(figure, STILL)
    for selector in _DROPPED:
        for tag in body.select(selector):
            tag.decompose()
    for comment in body.find_all(string=lambda text: isinstance(text, Comment)):
        comment.extract()
    for tag in body.select("details"):
        tag.name = "div"
    for tag in body.select("summary"):
        tag.name = "p"
        tag["class"] = "fold-title"
    for tag in body.select("cite:has(code), picture"):
        tag.unwrap()
    for tag in body.select("span"):
        # Most have no look in an edition, as the colors of code; a PDF would keep each as a part.
        if not tag.has_attr("id") and not _looks().intersection(tag.get_attribute_list("class")):
            tag.unwrap()
    for tag in body.select(f"p:has(> :is({', '.join(_BLOCKS)}))"):
        tag.name = "div"  # Sphinx writes paragraphs in paragraphs, which no other reader knows
    seen: set[str] = set()
    for tag in [body, *body.find_all(True)]:
        for name in list(tag.attrs):
            if name.startswith(("on", "data-")) or name in _OF_SCREENS:
                del tag[name]
            elif name in _SVG_NAMES:
                tag[_SVG_NAMES[name]] = tag.attrs.pop(name)
        if "id" in tag.attrs:  # of several that are alike a link means the first
            if tag["id"] in seen:
                del tag["id"]
            else:
                seen.add(str(tag["id"]))
    body.name = "div"
    if page.live:
        for figure in body.select("figure[id]"):
            _add_note(figure, "On the live page.", f"{page.live}#{figure['id']}")


@functools.cache
def _looks() -> frozenset[str]:
    """Return the classes that the style of the editions knows."""
    style = "".join(
        (Path(__file__).parent / name).read_text("utf8") for name in ("edition.css", "print.css")
    )
    return frozenset(re.findall(r"\.([a-z][\w-]*)", style))


_BLOCKS = ("p", "ul", "ol", "dl", "div", "pre", "table", "blockquote", "figure", "section")

_OF_SCREENS = (
    *("border", "align", "valign", "cellpadding", "cellspacing", "scoped", "tabindex", "open"),
    *("aria-expanded", "aria-controls", "aria-live", "aria-describedby"),
)


def _mark_formulas(body: Tag) -> None:
    """Let each formula be an element of class `formula` that holds a drawing, MathML, or both."""
    for formula in body.select("mjx-container"):
        shown_by_itself = formula.get("display") == "true"
        formula.name = "span"
        formula.attrs = {"class": ["formula", "display"] if shown_by_itself else ["formula"]}
        for read in formula.select("mjx-assistive-mml"):
            read.unwrap()
    for tag in body.select("math, svg"):
        if not tag.find_parent("svg"):
            tag["xmlns"] = _NAMESPACES[tag.name]


_NAMESPACES = {
    "math": "http://www.w3.org/1998/Math/MathML",
    "svg": "http://www.w3.org/2000/svg",
}


def drawn(body: Tag) -> Tag:
    """Leave of each formula its drawing, in place; return the same."""
    for formula in body.select(".formula:has(> svg) > math"):
        formula.decompose()
    return body


def written(body: Tag) -> Tag:
    """Leave of each formula its MathML, in place; return the same."""
    for formula in body.select(".formula:has(> math) > svg, svg.glyphs"):
        formula.decompose()
    return body


def glyphs(bodies: Iterable[Tag]) -> str:
    """Take out of the pages the letters that their formulas draw; return them, each once."""
    shapes = {}
    for body in bodies:
        for glyph in body.select("svg.glyphs"):
            shapes |= {str(path["id"]): str(path) for path in glyph.select("path[id]")}
            glyph.decompose()
    paths = "".join(shapes[name] for name in sorted(shapes))
    return f'<svg xmlns="{_NAMESPACES["svg"]}" class="glyphs"><defs>{paths}</defs></svg>'


def _add_note(figure: Tag, text: str, address: str = "") -> None:
    """Add a line below the caption of a figure."""
    maker = BeautifulSoup("", "html.parser")
    note = maker.new_tag("p", attrs={"class": "note"})
    if address:
        link = maker.new_tag("a", attrs={"href": address})
        link.string = text
        note.append(link)
    else:
        note.string = text
    (figure.select_one("figcaption") or figure).append(note)


def _lead_links(page: Page, known: dict[str, set[str]]) -> None:
    """Let links lead to pages of the edition, and to the site for all else.

    A link to a page becomes ``page:NAME#ID``, which `linked` makes an address of. As long as the
    book has no address, a file of its site is named in place of the link.
    """
    folder = Path(page.name).parent
    unlinked: dict[int, tuple[Tag, list[str]]] = {}
    for link in page.body.select("a[href]"):
        target = str(link["href"])
        if urlsplit(target).scheme:
            continue
        path, anchor = urldefrag(target)
        file = os.path.normpath(folder / unquote(path)) if path else f"{page.name}.html"
        name = file.removesuffix(".html")
        if name in known and file.endswith(".html"):
            found = anchor if anchor in known[name] else ""
            link["href"] = f"page:{name}#{found}"
        elif page.live:
            link["href"] = urljoin(page.live, target)
        else:
            line = link.find_parent(["p", "li", "td", "figcaption"]) or page.body
            unlinked.setdefault(id(line), (line, []))[1].append(file)
            link.name, link.attrs = "span", {"class": "file"}
    for line, files in unlinked.values():
        if line is not page.body:
            # Sphinx keeps copies of files to be downloaded under names of its own.
            _name_files(line, [f for f in files if not f.endswith(".html") and f[0] != "_"])


def _name_files(line: Tag, files: list[str]) -> None:
    """Say at the end of a line where the files lie that it speaks of."""
    if not files:
        return
    common = files[0] if len(files) == 1 else os.path.commonpath(files)
    maker = BeautifulSoup("", "html.parser")
    place = maker.new_tag("code", attrs={"class": "place"})
    place.string = common
    ended = line.get_text().rstrip().endswith((".", ":", "?"))
    line.extend([" In the project: " if ended else ". In the project: ", place, "."])


def linked(body: Tag, address: Callable[[str, str], str]) -> Tag:
    """Return a copy whose links between pages lead where `address` says, given name and id."""
    changed = copy.copy(body)
    for link in changed.select('a[href^="page:"]'):
        name, _, anchor = str(link["href"]).removeprefix("page:").partition("#")
        link["href"] = address(name, anchor)
    return changed


def pictures(page: Page) -> list[Path]:
    """Return the pictures of a page, from the folder of the book."""
    folder = Path(page.name).parent
    return [
        Path(os.path.normpath(folder / unquote(str(image["src"]))))
        for image in page.body.select("img[src]")
        if not str(image["src"]).startswith("data:")
    ]
