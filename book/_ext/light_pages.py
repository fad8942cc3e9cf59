"""Take out of the finished book what its pages do not use, so that little has to come.

The theme brings 1,800 icons, as a script and again as fonts, of which the pages show some thirty;
its search into every page; and a style sheet for parts that most pages do not have.
"""

import base64
import io
import re
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont
from safe_pages import NAME
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

STYLE_SHEET = "_static/styles/pydata-sphinx-theme.css"

NOWHERE = (
    r'<script defer src="[^"]*/fontawesome\.js[^"]*"></script>',
    # They are loaded at the end of the page, after the widgets.
    r'<link rel="preload" as="script" href="[^"]*" />',
)
"""What no page needs."""

SEARCH = tuple(
    rf'<script[^>]* src="[^"]*\b{name}\.js[^"]*"></script>'
    for name in ("searchtools", "language_data", "searchindex", "_static/search")
)
"""What only the page of the search needs: no other searches."""

DESIGN = (
    r'<link [^>]*href="[^"]*/sphinx-design\.min\.css[^"]*" />',
    r'<script [^>]*src="[^"]*/design-tabs\.js[^"]*"></script>',
)
"""What only a page with cards, grids or tabs needs."""

_HAS_DESIGN = re.compile(r'\sclass="(?:[^"]* )?sd-')
_ICON = re.compile(r"\bfa-[a-z0-9-]+")
_RULE = re.compile(r'((?:\.fa-[a-z0-9-]+:before,?)+)\{content:"\\([0-9a-f]+)"\}')
_SIGN = re.compile(r"\\([ef][0-9a-f]{3})\b|([\ue000-\uf8ff])")  # as a number, or itself
_FONT = re.compile(r"src:url\(\.\./(vendor/fontawesome/webfonts/[\w-]+)\.woff2\)[^;}]*")


def without(page: str, patterns: tuple[str, ...], path: Path) -> str:
    """Take out what each pattern finds, which has to be there."""
    for pattern in patterns:
        page, found = re.subn(rf"[ \t]*{pattern}\n?", "", page)
        if not found:
            raise ExtensionError(f"{path} has no longer what is taken out of it: {pattern}")
    return page


def lighter(page: str, path: Path) -> str:
    """Return a page without what it does not use."""
    unused = NOWHERE
    if path.name != "search.html":
        unused += SEARCH
    if not _HAS_DESIGN.search(page):
        unused += DESIGN
    return without(page, unused, path)


def icons_alone(style: str, icons: set[str]) -> tuple[str, set[int]]:
    """Leave of the rules for icons those of `icons`, and say which signs of the fonts are used.

    >>> style = '.fa-sun:before{content:"\\\\f185"}.fa-ant:before{content:"\\\\f186"}'
    >>> icons_alone(style, {"fa-sun"})
    ('.fa-sun:before{content:"\\\\f185"}', {61829})
    """

    def chosen(rule: re.Match[str]) -> str:
        return rule[0] if icons & set(_ICON.findall(rule[1])) else ""

    style = _RULE.sub(chosen, style)
    return style, signs_in(style)


def signs_in(style: str) -> set[int]:
    r"""Return the signs of fonts of icons that a style sheet names.

    >>> sorted(signs_in('a:after{content:"\\f0f3"} b:after{content:"' + chr(0xF0F4) + '"}'))
    [61683, 61684]
    """
    return {int(number, 16) if number else ord(sign) for number, sign in _SIGN.findall(style)}


def part_of(font: Path, signs: set[int]) -> bytes:
    """Return the font with these signs alone, as WOFF2."""
    options = subset.Options(flavor="woff2", layout_features=[], hinting=False)
    options.name_IDs = ["*"]  # with the copyright and the license
    whole = TTFont(font)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=signs)
    subsetter.subset(whole)
    whole.flavor = "woff2"
    file = io.BytesIO()
    whole.save(file)
    return file.getvalue()


def lighten(app: Sphinx, error: Exception | None) -> None:
    """Rewrite pages and style sheet of a book that has just been built."""
    if error is not None or app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    icons: set[str] = set()
    for path in sorted(Path(app.outdir).rglob("*.html")):
        page = path.read_text(encoding="utf8")
        if path.is_relative_to(static) or "<script" not in page:
            continue  # templates of the theme; the first page, which leads to another
        icons |= set(_ICON.findall(page))
        if NAME not in page:  # one that was not written again
            path.write_text(lighter(page, path), encoding="utf8")
    scripts = (static / "scripts").glob("*sphinx*.js")
    icons |= {name for script in scripts for name in _ICON.findall(script.read_text("utf8"))}

    sheet = Path(app.outdir) / STYLE_SHEET
    style, signs = icons_alone(sheet.read_text(encoding="utf8"), icons)
    for other in static.rglob("*.css"):
        signs |= signs_in(other.read_text(encoding="utf8")) if other != sheet else set()

    def embedded(source: re.Match[str]) -> str:
        font = part_of(static / f"{source[1]}.woff2", signs)
        data = base64.b64encode(font).decode()
        return f'src:url("data:font/woff2;base64,{data}") format("woff2")'

    style, fonts = _FONT.subn(embedded, style)
    if not fonts and "data:font/woff2" not in style:
        raise ExtensionError(f"{sheet} has no fonts of icons of which a part could be taken.")
    sheet.write_text(style, encoding="utf8")
    for unused in {
        *static.glob("vendor/fontawesome/webfonts/*"),
        *static.glob("scripts/fontawesome.js*"),
        *static.rglob("*.map"),
    }:
        unused.unlink()


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("build-finished", lighten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
