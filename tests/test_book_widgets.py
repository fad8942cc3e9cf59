"""The widgets of the built book: which there are, their weight, and pages without scripts."""

from __future__ import annotations

import re

import pytest
from book_pages import PAGES_WITH_WIDGETS, WIDGETS, for_each

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
