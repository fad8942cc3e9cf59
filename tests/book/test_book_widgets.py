"""The widgets of the built book: which there are, their weight, and pages without scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from book_pages import CHAPTERS, DOCUMENTS, PAGES_WITH_WIDGETS, WIDGETS, for_each, parsed
from playwright.sync_api import Browser, Page

# Width and height of those that are seen.
SIZES = """all => all.filter((one) => one.checkVisibility({ visibilityProperty: true }))
    .map((one) => one.getBoundingClientRect()).map(({ width, height }) => [width, height])"""

LARGEST_ADDITION = 200_000
"""Bytes, compressed, that widgets and their data may add to a page: in chapter 07 a GPT and what it
reads, and 95 kB of recorded runs."""


def test_every_widget_of_the_package_is_in_the_book() -> None:
    from initscope import widgets

    public = {name for name in widgets.__all__ if name not in ("BookWidget", "show")}
    assert public == {name for shown in WIDGETS.values() for name in shown}


@pytest.fixture(scope="module")
def plain(name: str, browser: Browser, address: str) -> Iterator[Page]:
    """The document `name` where scripts are off, for tests that leave it as it was."""
    context = browser.new_context(
        java_script_enabled=False, viewport={"width": 1280, "height": 900}
    )
    page = context.new_page()
    page.goto(f"{address}/{name}.html")
    yield page
    context.close()


@pytest.mark.browser
@for_each(PAGES_WITH_WIDGETS)
def test_without_scripts_the_pictures_stay(name: str, plain: Page) -> None:
    pictures = plain.locator(".cell_output:has(script) img").all()
    assert len(pictures) >= len(WIDGETS[name])
    assert all(picture.is_visible() for picture in pictures)
    notes = plain.locator(".still-note").all()
    assert len(notes) == len(WIDGETS[name])
    for note in notes:
        assert note.is_visible()
        assert "still picture" in note.inner_text()


@pytest.mark.browser
def test_with_scripts_no_picture_is_called_still(browser: Browser, address: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{address}/{PAGES_WITH_WIDGETS[0]}.html")
    assert page.locator("noscript").count() > 0
    assert page.locator(".still-note").count() == 0
    context.close()


@pytest.mark.browser
@for_each(DOCUMENTS)
def test_without_scripts_formulas_can_be_read(name: str, plain: Page, site: Path) -> None:
    in_source = len(parsed(site, name).select("article .math"))
    try:
        for width in (1280, 390):
            plain.set_viewport_size({"width": width, "height": 900})
            formulas = plain.locator("article .math > mjx-container > svg")
            assert formulas.count() == in_source
            # What is folded is not seen before it is unfolded, nor the contents in a small window.
            unfolded = plain.locator(":not(details:not([open]) *)").and_(formulas)
            sizes = unfolded.evaluate_all(SIZES)
            assert len(sizes) >= 0.8 * unfolded.count()
            assert all(min(size) > 3 for size in sizes)
            assert plain.evaluate("document.documentElement.scrollWidth") <= width
    finally:
        plain.set_viewport_size({"width": 1280, "height": 900})


@pytest.mark.browser
@for_each(CHAPTERS)
def test_without_scripts_nothing_is_folded_on_paper(name: str, plain: Page, site: Path) -> None:
    blocks = plain.locator("article details pre")
    assert blocks.count() == len(parsed(site, name).select("article details pre")) > 0
    seen = "all => all.filter((one) => one.checkVisibility({ opacityProperty: true })).length"
    assert blocks.evaluate_all(seen) == 0
    plain.emulate_media(media="print")
    try:
        assert plain.locator("article details[open]").count() == 0
        assert blocks.evaluate_all(seen) == blocks.count()
        heights = blocks.evaluate_all("all => all.map((one) => one.getBoundingClientRect().height)")
        assert min(heights) > 10
        assert all(text.strip() for text in blocks.all_inner_texts())
        assert plain.locator("article details > summary:visible").count() == 0
    finally:
        plain.emulate_media(media="null")


@for_each(PAGES_WITH_WIDGETS)
def test_widgets_add_little_to_a_page(name: str, site) -> None:
    import gzip

    text = (site / f"{name}.html").read_text()
    without = re.sub(
        r'<script type="application/vnd.jupyter.widget-.*?</script>', "", text, flags=re.DOTALL
    )
    assert len(without) < len(text)
    added = len(gzip.compress(text.encode())) - len(gzip.compress(without.encode()))
    scripts = [site / "_static" / name for name in ("stored_model.js", "widgets.js")]
    loader = sum(len(gzip.compress(script.read_bytes())) for script in scripts)
    assert added + loader < LARGEST_ADDITION
