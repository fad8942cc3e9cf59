"""Cards: the picture that is shown with a link to a page, its main figure under its title.

Those who show links ask for a picture of pixels, 1200 by 630. It is set in the font of the book, so
it comes out the same on every machine.
"""

import base64
import functools
import html
import io
import re
import tempfile
import textwrap
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.images import get_image_size

SIZE = 1200, 630
"""Width and height in pixels."""

FONT = Path(__file__).parents[1] / "_static" / "inter.css"
FAMILY = "Inter Variable"

MARGIN = 60
LETTERS = 46
"""Pixels: around the card, and the size of a title's letters, which are about half as wide."""

LINE = round(1.2 * LETTERS)

_OWN_FONT = re.compile(r"font-family:[^;\"]+")


def main_figure(app: Sphinx, doctree: nodes.document) -> Path | None:
    """Return the file of the picture that stands for a page: the first one in a figure.

    A cell with the tag `card` comes before all others, and questions to the reader come last. A
    page that is being written names a picture as it lies in the book, any other as it lies in the
    sources.
    """
    figures = [figure for figure in doctree.findall(nodes.figure) if _pictures(figure)]
    if not figures:
        return None
    written = {name: source for source, (_, name) in app.env.images.items()}
    uri = _pictures(min(figures, key=_rank))[0]["uri"]  # the first of the least
    source = uri if uri in app.env.images else written[Path(uri).name]
    return Path(app.srcdir) / source.lstrip("/")


def _pictures(figure: nodes.figure) -> list[nodes.image]:
    return list(figure.findall(nodes.image))


def _rank(figure: nodes.figure) -> int:
    """Rank a figure: chosen by its cell, any other, a question."""
    node: nodes.Element | None = figure
    while node is not None:
        if "tag_card" in node.get("classes", ()):
            return 0
        node = node.parent
    places = figure.findall(nodes.container)
    return 2 if any(place.get("widget") == "Prediction" for place in places) else 1


def draw_card(figure: Path, title: str, book: str) -> bytes:
    """Return the card of a page as PNG: the titles of the book and of the page, and a figure.

    A figure that is wide stands below them, a high one to the right.
    """
    import resvg_py  # only a book that has an address needs it, and what unpacks its font

    width, height = SIZE
    across, down = get_image_size(str(figure)) or (2, 1)
    beside = down / across > 0.6
    room = width // 2 - 2 * MARGIN if beside else width - 2 * MARGIN
    lines = [] if title == book else wrapped(title, int(room / (0.56 * LETTERS)))
    top = MARGIN // 2 if beside else MARGIN + 50 + len(lines) * LINE
    left = width // 2 if beside else MARGIN
    texts = [
        (26, 400, "#57606a", MARGIN + 16 + 32 * k, line)
        for k, line in enumerate(wrapped(book, room // 14))
    ]
    under = texts[-1][3] + 10
    texts += [(LETTERS, 700, "#1f2328", under + LINE * k, line) for k, line in enumerate(lines, 1)]
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">'
        '<rect width="100%" height="100%" fill="#fff"/>'
        + "".join(
            f'<text x="{MARGIN}" y="{y}" font-size="{size}" font-weight="{weight}" '
            f'fill="{color}">{html.escape(text)}</text>'
            for size, weight, color, y, text in texts
        )
        + f'<image x="{left}" y="{top}" width="{width - left - MARGIN // (1 + beside)}" '
        f'height="{height - top - MARGIN // 2}" href="{_data(figure)}"/></svg>'
    )
    with tempfile.TemporaryDirectory() as folder:
        font = Path(folder) / "letters.ttf"
        font.write_bytes(_letters())
        return bytes(
            resvg_py.svg_to_bytes(
                svg_string=svg,
                width=width,
                height=height,
                dpi=96,
                skip_system_fonts=True,
                font_files=[str(font)],
                font_family=FAMILY,
            )
        )


def wrapped(text: str, letters: int) -> list[str]:
    """Break a title into as few lines of at most so many letters, each as short as it can be.

    >>> wrapped("Queries, keys and values", 15)
    ['Queries, keys', 'and values']
    """
    fewest = len(textwrap.wrap(text, letters))
    narrowest = next(n for n in range(1, letters + 1) if len(textwrap.wrap(text, n)) <= fewest)
    return textwrap.wrap(text, narrowest)


def _data(figure: Path) -> str:
    """Return a picture as an address that holds it; letters in it are those of the book."""
    kind, data = figure.suffix.removeprefix("."), figure.read_bytes()
    if kind == "svg":
        kind = "svg+xml"
        data = _OWN_FONT.sub(f"font-family: '{FAMILY}'", data.decode("utf8")).encode()
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


@functools.cache
def _letters() -> bytes:
    """Return the font of the book as programs read it that know no compressed ones."""
    from fontTools.ttLib import TTFont

    (data,) = re.findall(r"base64,([^\"]+)", FONT.read_text(encoding="utf8"))
    font = TTFont(io.BytesIO(base64.b64decode(data)))
    font.flavor = None
    file = io.BytesIO()
    font.save(file)
    return file.getvalue()
