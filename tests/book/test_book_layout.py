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
@pytest.mark.parametrize("on_phone", [False, True], ids=["wide", "phone"])
@for_each(PAGES_WITH_WIDGETS)
def test_a_link_opens_at_its_widget(
    name: str, on_phone: bool, browser: Browser, address: str, site: Path
) -> None:
    """The first widget of a page on a phone, from a file, the last in one of the wider windows.

    The test of its sliders opens it in another window.
    """
    window = -1 if on_phone else PAGES_WITH_WIDGETS.index(name) % (len(WINDOWS) - 1)
    width, height = WINDOWS[window]
    key = keys(name)[0 if on_phone else -1]
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    home = site.as_uri() if on_phone else address
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
