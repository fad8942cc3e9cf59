"""A link leads to its widget, in any window; the font of the book."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from book_pages import PAGES_WITH_WIDGETS, ROOT, for_each, keys, opened_at
from playwright.sync_api import Browser

WINDOWS = [(1280, 720), (1366, 768), (1024, 768), (768, 1024), (390, 844)]


@pytest.mark.browser
@for_each(PAGES_WITH_WIDGETS)
def test_a_link_opens_at_its_widget(name: str, browser: Browser, address: str, site: Path) -> None:
    """Each page in another window, in turn served and from a file, at its last or first widget.

    The test of its sliders opens it in a window of another width.
    """
    k = PAGES_WITH_WIDGETS.index(name)
    width, height = WINDOWS[k % len(WINDOWS)]
    key = keys(name)[-1 if k % 2 else 0]
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    home = site.as_uri() if k % 2 else address
    page.goto(f"{home}/{name}.html?{key}.unknown=1#{key}")
    page.locator("html[data-settled]").wait_for(state="attached")
    scrolled = opened_at(page, key)
    context.close()
    assert scrolled


def test_the_font_is_small_and_its_license_is_there() -> None:
    static = ROOT / "book" / "_static"
    style = (static / "inter.css").read_text()
    assert len(style) < 60_000
    (font,) = re.findall(r'url\("data:font/woff2;base64,([^"]+)"\)', style)
    assert base64.b64decode(font)[:4] == b"wOF2"
    assert "SIL OPEN FONT LICENSE" in (static / "inter.txt").read_text()
