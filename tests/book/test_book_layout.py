"""Nothing on a page moves when the rest of it comes, and a link leads to its widget."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from book_pages import DOCUMENTS, PAGES_WITH_WIDGETS, ROOT, WIDGETS, Open, for_each
from playwright.sync_api import Browser, Route
from steadiness import RECORD_SHIFTS

WINDOWS = [(1280, 720), (1366, 768), (1024, 768), (768, 1024), (390, 844)]


@pytest.mark.browser
@pytest.mark.parametrize("window", [(1280, 720), (390, 844)], ids=["wide", "phone"])
@for_each(DOCUMENTS)
def test_nothing_moves_as_a_page_loads(
    name: str, window: tuple[int, int], browser: Browser, address: str
) -> None:
    """As on a slow line: what comes late comes when the text has been shown."""
    width, height = window
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    page.add_init_script(RECORD_SHIFTS)
    late: list[Route] = []
    for what in ("**/tex-svg-full.js*", "**/widgets.js*", "**/_images/*"):
        page.route(what, lambda route: late.append(route))
    page.goto(f"{address}/{name}.html", wait_until="commit")
    # Not wait_for_function, which evaluates text in the page: its policy refuses that.
    while not page.evaluate("performance.getEntriesByName('first-contentful-paint').length"):
        page.wait_for_timeout(20)
    page.locator("footer").first.wait_for(state="attached")
    for route in late:
        route.continue_()
    page.unroute_all()
    page.locator("html[data-settled]").wait_for(state="attached")
    page.evaluate("new Promise(requestAnimationFrame)")
    shifts = page.evaluate("shifts")
    context.close()
    assert sum(shift["value"] for shift in shifts) < 0.05, shifts


def keys(name: str) -> list[str]:
    """Names of the widgets of a document, as links have them."""
    shown = WIDGETS[name]
    copies = [shown[: k + 1].count(widget) for k, widget in enumerate(shown)]
    return [f"{w}-{n}" if n > 1 else w for w, n in zip(shown, copies, strict=True)]


@pytest.mark.browser
@pytest.mark.parametrize("window", range(len(WINDOWS)), ids=[f"{w}x{h}" for w, h in WINDOWS])
@for_each(PAGES_WITH_WIDGETS)
def test_a_link_opens_at_its_widget(
    name: str, window: int, browser: Browser, address: str, site: Path
) -> None:
    """One widget a window, in turn served and from a file."""
    width, height = WINDOWS[window]
    key = keys(name)[window % len(WIDGETS[name])]
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    home = site.as_uri() if window % 2 else address
    page.goto(f"{home}/{name}.html?{key}.unknown=1#{key}")
    page.locator("html[data-settled]").wait_for(state="attached")
    top = page.locator(f'[data-widget="{key}"]').evaluate("e => e.getBoundingClientRect().top")
    scrolled = page.evaluate("scrollY")
    context.close()
    assert 0 <= top <= 200
    assert scrolled > 0


@pytest.mark.browser
@for_each(PAGES_WITH_WIDGETS)
def test_a_copied_link_names_its_widget(name: str, visit: Open) -> None:
    page = visit(f"{name}.html").page
    for key in keys(name):
        widget = page.locator(f'[data-widget="{key}"]')
        copy = widget.get_by_role("button", name="Copy link to this configuration")
        copy.click()
        assert widget.locator(".ins-address").input_value().endswith(f"#{key}")


def test_the_font_is_small_and_its_license_is_there() -> None:
    static = ROOT / "book" / "_static"
    style = (static / "inter.css").read_text()
    assert len(style) < 60_000
    (font,) = re.findall(r'url\("data:font/woff2;base64,([^"]+)"\)', style)
    assert base64.b64decode(font)[:4] == b"wOF2"
    assert "SIL OPEN FONT LICENSE" in (static / "inter.txt").read_text()
