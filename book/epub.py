"""Pack the pages of the book into an EPUB: a file of XHTML for each, and what the format asks."""

from __future__ import annotations

import copy
import mimetypes
import re
import uuid
import zipfile
from html import escape
from pathlib import Path
from urllib.parse import quote

from bs4 import Tag
from edition_pages import Page, linked, pictures, words_of, written

LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The time of every file in it, the first that there is in an archive."""

_GUESS = re.compile(rb' id="guess_[^"]*"')

CONTAINER = """<?xml version="1.0" encoding="UTF-8"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
  <rootfiles>
    <rootfile full-path="EPUB/book.opf" media-type="application/oebps-package+xml"/>
  </rootfiles>
</container>
"""


def document(title: str, body: str) -> str:
    """Return a document of XHTML."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE html>\n'
        '<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops"'
        ' lang="en" xml:lang="en">\n'
        f"<head><title>{escape(title)}</title>"
        '<link rel="stylesheet" href="edition.css" type="text/css"/></head>\n'
        f"<body>{body}</body>\n</html>\n"
    )


def navigation(pages: list[Page]) -> str:
    """Return the table of contents: parts, pages and their sections."""
    lines = []
    part = ""
    for page in pages:
        if page.part != part:
            lines += [
                *(["</ol></li>"] if part else []),
                f"<li><span>{escape(page.part)}</span><ol>",
            ]
            part = page.part
        sections = "".join(
            f'<li><a href="{page.key}.xhtml#{quote(key)}">{inside(heading)}</a></li>'
            for key, heading in page.sections()
        )
        below = f"<ol>{sections}</ol>" if sections else ""
        lines.append(f'<li><a href="{page.key}.xhtml">{inside(page.title)}</a>{below}</li>')
    lines += ["</ol></li>"] if part else []
    return f'<nav epub:type="toc" id="toc"><h1>Contents</h1><ol>{"".join(lines)}</ol></nav>'


def inside(heading: Tag) -> str:
    """Return what stands in a heading, formulas as MathML."""
    return written(copy.copy(heading)).decode_contents(formatter="minimal")


def package(title: str, author: str, day: str, items: list[tuple[str, str, str]]) -> str:
    """Return the list of what is in it; an item has a name, a type of content and properties."""
    identity = uuid.uuid5(uuid.NAMESPACE_URL, f"{title} {day}")
    manifest = "\n".join(
        f'    <item id="{_id(name)}" href="{quote(name)}" media-type="{kind}"'
        + (f' properties="{properties}"/>' if properties else "/>")
        for name, kind, properties in items
    )
    spine = "\n".join(
        f'    <itemref idref="{_id(name)}"/>'
        for name, kind, _ in items
        if kind == "application/xhtml+xml"
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="book" xml:lang="en">
  <metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
    <dc:identifier id="book">urn:uuid:{identity}</dc:identifier>
    <dc:title>{escape(title)}</dc:title>
    <dc:creator>{escape(author)}</dc:creator>
    <dc:language>en</dc:language>
    <dc:rights>Text: CC BY 4.0. Code: MIT.</dc:rights>
    <meta property="dcterms:modified">{day}T00:00:00Z</meta>
  </metadata>
  <manifest>
{manifest}
  </manifest>
  <spine>
{spine}
  </spine>
</package>
"""


def _id(name: str) -> str:
    """Return an id of a file: one that begins with a letter."""
    return "f-" + "".join(letter if letter.isalnum() else "-" for letter in name)


def write_epub(
    path: Path,
    pages: list[Page],
    book: Path,
    style: str,
    title: str,
    author: str,
    day: str,
    about: str,
) -> None:
    """Write the EPUB; `about` is the markup of its first page."""
    files: dict[str, bytes] = {}
    contents = document("Contents", navigation(pages))
    items = [
        ("title.xhtml", "application/xhtml+xml", ""),
        ("nav.xhtml", "application/xhtml+xml", "nav mathml" if "<math" in contents else "nav"),
        ("edition.css", "text/css", ""),
    ]
    files["title.xhtml"] = document(title, about).encode()
    files["nav.xhtml"] = contents.encode()
    files["edition.css"] = style.encode()
    for page in pages:
        body = written(linked(page.body, _address))
        for image, source in zip(body.select("img[src]"), pictures(page), strict=True):
            image["src"] = f"images/{source.name}"
            if f"images/{source.name}" not in files:
                # Panels in which the page draws a guess have the same name, and a name is an id.
                picture = _GUESS.sub(b"", (book / source).read_bytes())
                files[f"images/{source.name}"] = picture
                kind = mimetypes.guess_type(source.name)[0] or ""
                items.append((f"images/{source.name}", kind, ""))
        names = (("math", "mathml"), ("svg", "svg"))
        properties = " ".join(said for tag, said in names if body.find(tag) is not None)
        items.append((f"{page.key}.xhtml", "application/xhtml+xml", properties))
        files[f"{page.key}.xhtml"] = document(
            words_of(page.title), body.decode(formatter="minimal")
        ).encode()
    with zipfile.ZipFile(path, "w") as packed:
        # First, and as it is: readers look for it at the beginning of the file.
        _add(packed, "mimetype", b"application/epub+zip", zipfile.ZIP_STORED)
        _add(packed, "META-INF/container.xml", CONTAINER.encode())
        _add(packed, "EPUB/book.opf", package(title, author, day, items).encode())
        for name, content in files.items():
            _add(packed, f"EPUB/{name}", content)


def _address(name: str, key: str) -> str:
    file = f"{name.replace('/', '-')}.xhtml"
    return f"{file}#{key}" if key else file


def _add(
    packed: zipfile.ZipFile, name: str, content: bytes, how: int = zipfile.ZIP_DEFLATED
) -> None:
    entry = zipfile.ZipInfo(name, LONG_AGO)
    entry.compress_type = how
    entry.external_attr = 0o644 << 16
    packed.writestr(entry, content)
