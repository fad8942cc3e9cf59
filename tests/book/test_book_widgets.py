"""The widgets of the built book: which there are, their weight, and pages without scripts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from book_pages import CHAPTERS, DOCUMENTS, PAGES_WITH_WIDGETS, WIDGETS, for_each, parsed
from playwright.sync_api import Browser, Locator

LARGEST_ADDITION = 150_000
"""Bytes, compressed, that widgets and their data may add to a page."""


def test_every_widget_of_the_package_is_in_the_book() -> None:
    from initscope import widgets

    public = {name for name in widgets.__all__ if name not in ("BookWidget", "show")}
    assert public == {name for shown in WIDGETS.values() for name in shown}


@pytest.mark.browser
@for_each(PAGES_WITH_WIDGETS)
def test_without_scripts_the_pictures_stay(name: str, browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/{name}.html")
    assert page.locator(".cell_output:has(script) img").count() >= len(WIDGETS[name])
    for image in page.locator(".cell_output:has(script) img").all():
        assert image.is_visible()
    notes = page.locator(".still-note")
    assert notes.count() == len(WIDGETS[name])
    for note in notes.all():
        assert note.is_visible()
        assert "still picture" in note.inner_text()
    context.close()


@pytest.mark.browser
def test_with_scripts_no_picture_is_called_still(browser: Browser, address: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{address}/{PAGES_WITH_WIDGETS[0]}.html")
    assert page.locator("noscript").count() > 0
    assert page.locator(".still-note").count() == 0
    context.close()


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
@for_each(DOCUMENTS)
def test_without_scripts_formulas_can_be_read(
    name: str, width: int, browser: Browser, address: str, site: Path
) -> None:
    in_source = len(parsed(site, name).select("article .math"))
    context = browser.new_context(
        java_script_enabled=False, viewport={"width": width, "height": 900}
    )
    page = context.new_page()
    page.goto(f"{address}/{name}.html")
    # In a solution that is folded, or the list of contents of a small window, nothing is seen.
    formulas = page.locator("article noscript > .formula > math")
    assert formulas.count() == in_source

    def seen(formula: Locator) -> bool:
        box = formula.bounding_box()
        return box is not None and box["width"] > 3 and box["height"] > 3

    assert all(seen(formula) for formula in formulas.all() if formula.is_visible())
    assert formulas.evaluate_all("all => all.filter((one) => one.checkVisibility()).length") >= (
        0.8 * in_source
    )
    raw = page.locator("article .math")
    assert [one.inner_text() for one in raw.all() if one.is_visible()] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


@pytest.mark.browser
@for_each(CHAPTERS)
def test_without_scripts_nothing_is_folded_on_paper(
    name: str, browser: Browser, address: str, site: Path
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/{name}.html")
    blocks = page.locator("article details pre")
    assert blocks.count() == len(parsed(site, name).select("article details pre")) > 0
    assert not any(block.is_visible() for block in blocks.all())
    page.emulate_media(media="print")
    assert page.locator("article details[open]").count() == 0
    for block in blocks.all():
        assert block.evaluate("block => block.checkVisibility({ opacityProperty: true })")
        box = block.bounding_box()
        assert box is not None
        assert box["height"] > 10
        assert block.inner_text().strip()
    assert page.locator("article details > summary:visible").count() == 0
    context.close()


@for_each(PAGES_WITH_WIDGETS)
def test_widgets_add_little_to_a_page(name: str, site) -> None:
    import gzip

    text = (site / f"{name}.html").read_text()
    without = re.sub(
        r'<script type="application/vnd.jupyter.widget-.*?</script>', "", text, flags=re.DOTALL
    )
    assert len(without) < len(text)
    added = len(gzip.compress(text.encode())) - len(gzip.compress(without.encode()))
    loader = len(gzip.compress((site / "_static" / "widgets.js").read_bytes()))
    assert added + loader < LARGEST_ADDITION
