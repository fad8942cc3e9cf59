"""What a page says of itself to search engines, to those who share it and to those who cite it.

A description stands in every page. All else names an address, so it is left out until there is one.
That of the published book follows from `repository: url:` in _config.yml where the pages are those
of GitHub; `html: baseurl:` names any other. With it come canonical addresses, Open Graph with a
card, JSON-LD, the tags that scholarly indexes read, "Cite this page", sitemap.xml and llms.txt.
"""

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from xml.sax.saxutils import escape

import yaml
from cards import SIZE, draw_card, main_figure
from docutils import nodes
from edition import Edition, edition_of
from sphinx.application import Sphinx
from sphinx.config import Config

CITATION = Path(__file__).resolve().parents[2] / "CITATION.cff"

LONGEST = 200
"""Letters of a description: what search engines show at most."""

_REFERENCE = re.compile(r"\s*\((?:Fig|Table|see)[^()]*\)")
_SENTENCE = re.compile(r"(?<=[.?!])\s+(?=[A-Z0-9])")


def published_at(repository: str) -> str:
    """Return where GitHub shows the pages of a repository, "" if it is not one of GitHub's.

    >>> published_at("https://github.com/owner/name")
    'https://owner.github.io/name/'
    >>> published_at("https://github.com/owner/owner.github.io/")
    'https://owner.github.io/'
    >>> published_at("https://example.org/owner/name")
    ''
    """
    parts = urlsplit(repository)
    owner, _, name = parts.path.strip("/").removesuffix(".git").partition("/")
    if parts.netloc != "github.com" or not name:
        return ""
    host = f"{owner.lower()}.github.io"
    return f"https://{host}/" if name.lower() == host else f"https://{host}/{name}/"


def find_address(app: Sphinx, config: Config) -> None:
    """Let Sphinx know where the book is published; it writes the canonical addresses itself."""
    repository = config.html_theme_options.get("repository_url", "")
    address = config.html_baseurl or published_at(repository)
    config.html_baseurl = f"{address.rstrip('/')}/" if address else ""


def chapter_number(app: Sphinx, page: str) -> str:
    """Return the number of a chapter, "" of a page that has none."""
    number = app.env.toc_secnumbers.get(page, {}).get("")
    return ".".join(map(str, number)) if number else ""


def description_of(doctree: nodes.document) -> str:
    """Return the first sentences of a page that can be read without a formula, in 200 letters.

    A label in bold at the beginning and references to figures are left out.
    """
    for paragraph in doctree.findall(nodes.paragraph):
        if not isinstance(paragraph.parent, nodes.section):
            continue
        text = _REFERENCE.sub("", "".join(_words(paragraph)))
        said = [s for s in _SENTENCE.split(" ".join(text.split())) if s and _FORMULA not in s]
        if said:
            return _shortened(said)
    return ""


_FORMULA = "\0"


def _words(node: nodes.Element) -> Iterator[str]:
    begun = False
    for child in node.children:
        if isinstance(child, nodes.strong) and not begun and child.astext().endswith("."):
            continue
        begun = begun or bool(child.astext().strip())
        if isinstance(child, nodes.math):
            yield _FORMULA
        elif isinstance(child, nodes.Text):
            yield child.astext()
        elif isinstance(child, nodes.Element):
            yield from _words(child)


def _shortened(sentences: list[str]) -> str:
    """Return as many sentences as there is room for; of the first, the words that fit.

    >>> _shortened(["One.", "Two."])
    'One. Two.'
    >>> _shortened(["word " * 60])[-8:]
    'ord word…'
    """
    text = sentences[0]
    if len(text) > LONGEST:
        return text[: LONGEST - 1].rpartition(" ")[0].rstrip(" ,;:") + "…"
    for sentence in sentences[1:]:
        if len(text) + 1 + len(sentence) > LONGEST:
            break
        text = f"{text} {sentence}"
    return text


class Metadata:
    """What is said of the pages of one build."""

    def __init__(self) -> None:
        self.descriptions: dict[str, tuple[str, str]] = {}
        self.citation: dict[str, Any] = yaml.safe_load(CITATION.read_text(encoding="utf8"))
        self.edition = Edition("")

    def begin(self, app: Sphinx) -> None:
        """Find out what the book is built from."""
        self.edition = edition_of(Path(app.srcdir))

    def describe(
        self,
        app: Sphinx,
        page: str,
        template: str,
        context: dict[str, Any],
        doctree: nodes.document | None,
    ) -> None:
        """Add to a page what it says of itself; the search, which has no source, says nothing."""
        if doctree is None:
            return
        title, description = app.env.longtitles[page].astext(), description_of(doctree)
        self.descriptions[page] = title, description
        elements = [_meta("name", "description", description)] if description else []
        if app.config.html_baseurl:
            facts = self.facts(app, page, doctree)
            elements += _open_graph(facts)
            elements += _highwire(facts)
            elements.append(_json_ld(_linked_data(facts)))
            context["body"] += _cite_this_page(facts)
        context["metatags"] = context.get("metatags", "") + "".join(f"\n{e}" for e in elements)

    def facts(self, app: Sphinx, page: str, doctree: nodes.document) -> dict[str, Any]:
        """Return all that the elements of a page are made of."""
        title, description = self.descriptions[page]
        root = app.config.root_doc
        number = chapter_number(app, page)
        card = self._card(app, page, f"{number}{'. ' * bool(number)}{title}", doctree)
        if card is None and page != root:  # a page without a figure has that of the first page
            card = self._card(app, root, app.config.html_title, app.env.get_doctree(root))
        return {
            "kind": "page" if page != root else "book",
            "chapter": page.startswith("notebooks/"),
            "number": number,
            "title": title,
            "description": description,
            "book": app.config.html_title,
            "url": app.config.html_baseurl + app.builder.get_target_uri(page),
            "book_url": app.config.html_baseurl + app.builder.get_target_uri(root),
            "card": card and app.config.html_baseurl + quote(card),
            "authors": [_name(author) for author in self.citation["authors"]],
            "follows": [reference["url"] for reference in self.citation["references"]],
            "keywords": self.citation["keywords"],
            "language": app.config.language,
            "version": self.edition.version,
            "year": str(self.edition.day.year if self.edition.day else app.config.copyright),
            "day": self.edition.day.isoformat() if self.edition.day else "",
            "key": page.rpartition("/")[2],
        }

    def _card(self, app: Sphinx, page: str, title: str, doctree: nodes.document) -> str | None:
        """Draw the card of a page from its first figure; return its path in the book."""
        figure = main_figure(app, doctree)
        if figure is None:
            return None
        path = Path("_images") / f"card-{page.replace('/', '-')}.png"
        target = Path(app.outdir) / path
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(draw_card(figure, title, app.config.html_title))
        return path.as_posix()

    def finish(self, app: Sphinx, error: Exception | None) -> None:
        """Write sitemap.xml and llms.txt."""
        base = app.config.html_baseurl
        if error is not None or app.builder.format != "html" or not base:
            return
        addresses = {page: base + app.builder.get_target_uri(page) for page in self.descriptions}
        day = f"<lastmod>{self.edition.day}</lastmod>" if self.edition.day else ""
        urls = [f"<url><loc>{escape(url)}</loc>{day}</url>" for url in addresses.values()]
        (Path(app.outdir) / "sitemap.xml").write_text(
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
            + "".join(f"{url}\n" for url in urls)
            + "</urlset>\n",
            encoding="utf8",
        )
        root = app.config.root_doc
        lines = [f"# {app.config.html_title}", "", f"> {self.descriptions[root][1]}"]
        for part in app.config.external_site_map[root].subtrees:
            lines += ["", f"## {part.caption or 'Pages'}", ""]
            for page in map(str, part.items):
                title, description = self.descriptions[page]
                said = f": {description}" if description else ""
                number = chapter_number(app, page)
                chapter = f"Chapter {number}, " if number else ""
                lines.append(f"- {chapter}[{title}]({addresses[page]}){said}")
        (Path(app.outdir) / "llms.txt").write_text("\n".join([*lines, ""]), encoding="utf8")


def _name(author: dict[str, str]) -> str:
    """Return the name of a person or a group in CITATION.cff."""
    return author.get("name") or f"{author['given-names']} {author['family-names']}"


def _meta(kind: str, name: str, content: str) -> str:
    return f'<meta {kind}="{name}" content="{html.escape(content)}" />'


def _open_graph(facts: dict[str, Any]) -> list[str]:
    pairs = {
        "og:type": "article" if facts["chapter"] else "website",
        "og:title": facts["title"],
        "og:description": facts["description"],
        "og:url": facts["url"],
        "og:site_name": facts["book"],
    }
    elements = [_meta("property", name, content) for name, content in pairs.items() if content]
    if facts["card"]:
        width, height = map(str, SIZE)
        card = {"og:image": facts["card"], "og:image:width": width, "og:image:height": height}
        elements += [_meta("property", name, content) for name, content in card.items()]
        elements.append(_meta("name", "twitter:card", "summary_large_image"))
    return elements


def _highwire(facts: dict[str, Any]) -> list[str]:
    """Tags as Google Scholar and Zotero read them."""
    pairs = [("citation_title", facts["title"])]
    pairs += [("citation_author", author) for author in facts["authors"]]
    pairs.append(("citation_publication_date", facts["day"].replace("-", "/") or facts["year"]))
    pairs.append(("citation_language", facts["language"]))
    pairs.append(("citation_public_url", facts["url"]))
    if facts["kind"] == "page":
        pairs.append(("citation_inbook_title", facts["book"]))
    return [_meta("name", name, content) for name, content in pairs]


def _linked_data(facts: dict[str, Any]) -> dict[str, Any]:
    """Describe a page in the terms of schema.org."""
    chapter = "Chapter" if facts["chapter"] else "WebPage"
    data = {
        "@context": "https://schema.org",
        "@type": "ScholarlyArticle" if facts["kind"] == "book" else chapter,
        "@id": facts["url"],
        "url": facts["url"],
        "name": facts["title"],
        "headline": facts["title"],
        "position": facts["number"],
        "description": facts["description"],
        "image": facts["card"],
        "author": [{"@type": "Organization", "name": author} for author in facts["authors"]],
        "inLanguage": facts["language"],
        "license": "https://creativecommons.org/licenses/by/4.0/",
        "version": facts["version"],
        "datePublished": facts["day"] or facts["year"],
    }
    if facts["kind"] == "book":
        data |= {"keywords": facts["keywords"], "isBasedOn": facts["follows"]}
    else:
        part_of = {"@type": "ScholarlyArticle", "@id": facts["book_url"], "name": facts["book"]}
        data |= {"isPartOf": part_of}
    return {name: value for name, value in data.items() if value}


def _json_ld(data: dict[str, Any]) -> str:
    text = json.dumps(data, ensure_ascii=False).replace("</", "<\\/")
    return f'<script type="application/ld+json">{text}</script>'


def _cite_this_page(facts: dict[str, Any]) -> str:
    """Return a fold with the page as a sentence and as an entry for BibTeX."""
    authors, title = " and ".join(facts["authors"]), facts["title"]
    within = "" if facts["kind"] == "book" else f"In: {facts['book']}. "
    date = facts["day"] or facts["year"]
    chapter = f"Chapter {facts['number']}: " if facts["number"] else ""
    sentence = (
        f"{authors}. {chapter}{title}. {within}Version {facts['version']}, {date}. {facts['url']}"
    )
    fields = {"author": f"{{{authors}}}", "title": f"{{{title}}}"}
    if within:
        fields["booktitle"] = f"{{{facts['book']}}}"
    if facts["number"]:
        fields["chapter"] = facts["number"]
    fields |= {"year": facts["year"], "version": facts["version"], "url": facts["url"]}
    kind = "incollection" if within else "misc"
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    entry = f"@{kind}{{initscope-{facts['key']},\n{lines}\n}}"
    return (
        '<details class="cite-page"><summary>Cite this page</summary>'
        f"<p>{html.escape(sentence)}</p>"
        '<div class="highlight-bibtex notranslate"><div class="highlight">'
        f'<pre tabindex="0">{html.escape(entry)}</pre></div></div></details>\n'
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    metadata = Metadata()
    app.connect("config-inited", find_address)
    app.connect("builder-inited", metadata.begin)
    # Before the theme makes the body of a page its own.
    app.connect("html-page-context", metadata.describe)
    app.connect("build-finished", metadata.finish)
    # What pages are about is gathered as they are written.
    return {"parallel_read_safe": True, "parallel_write_safe": False}
