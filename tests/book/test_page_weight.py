"""What has to come before a page is there: little, and the widgets first."""

from __future__ import annotations

import base64
import functools
import gzip
import io
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from book_pages import DOCUMENTS, PAGES_WITH_WIDGETS, Open, for_each, parsed
from fontTools.ttLib import TTFont
from playwright.sync_api import Browser

FRONT_PAGE = 500_000
ANY_PAGE = 900_000
BEFORE_WIDGETS = 450_000
"""Bytes, compressed. The last take 2.3 s on slow 4G, with 1.6 Mbit/s; the page has 4 s."""


@functools.cache
def compressed(path: Path) -> int:
    return len(gzip.compress(path.read_bytes(), mtime=0))


@pytest.mark.browser
@for_each(DOCUMENTS)
def test_little_is_loaded_at_the_first_visit(
    name: str, browser: Browser, address: str, site: Path
) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    loaded: set[Path] = set()
    page.on(
        "request",
        lambda request: (
            loaded.add(site / unquote(urlsplit(request.url).path).lstrip("/"))
            if request.url.startswith(address)
            else None
        ),
    )
    page.goto(f"{address}/{name}.html")
    page.locator("html[data-settled]").wait_for(state="attached")
    context.close()
    own = {"stored_model.js", "widgets.js", "book.css", f"{Path(name).name}.html"}
    assert own <= {path.name for path in loaded}
    weights = {path.name: compressed(path) for path in loaded}
    limit = FRONT_PAGE if name == DOCUMENTS[0] else ANY_PAGE
    assert sum(weights.values()) <= limit, sorted(weights.items(), key=lambda one: -one[1])[:8]


@for_each(PAGES_WITH_WIDGETS)
def test_widgets_wait_for_little(name: str, site: Path) -> None:
    """For the page, its style, and the scripts up to that which starts them."""
    page = parsed(site, name)
    scripts = [str(script["src"]) for script in page.select("script[src]")]
    (own,) = [k for k, source in enumerate(scripts) if "/widgets.js" in source]
    styles = [str(link["href"]) for link in page.select("link[rel=stylesheet]")]
    assert len(styles) > 5
    assert page.select("link[rel=preload]") == []
    folder = site / Path(name).parent
    waited = [folder / urlsplit(source).path for source in [*styles, *scripts[: own + 1]]]
    assert sum(map(compressed, [site / f"{name}.html", *waited])) <= BEFORE_WIDGETS


@pytest.mark.browser
@for_each(DOCUMENTS)
def test_every_icon_is_in_the_part_of_their_font_that_is_left(
    name: str, look: Open, site: Path
) -> None:
    style = (site / "_static" / "styles" / "pydata-sphinx-theme.css").read_text()
    fonts = re.findall(r'url\("data:font/woff2;base64,([^"]+)"\)', style)
    assert len(fonts) == 3  # solid, regular, of brands
    signs = {
        sign
        for font in fonts
        for sign in TTFont(io.BytesIO(base64.b64decode(font))).getBestCmap() or {}
    }
    assert sum(map(len, fonts)) < 15_000
    used = look().page.evaluate(
        """() => [...document.querySelectorAll("*")].flatMap((element) =>
            ["::before", "::after"].map((part) => getComputedStyle(element, part))
                .filter(({ content, fontFamily }) =>
                    fontFamily.includes("Font Awesome") && !["none", "normal"].includes(content))
                .map(({ content }) => content.slice(1, -1)))"""
    )
    assert len(used) > 5
    assert {sign for text in used for sign in text if ord(sign) not in signs} == set()
