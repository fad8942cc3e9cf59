"""The widgets on the pages of the built book, moved by a reader without a kernel."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from book_pages import PAGES_WITH_WIDGETS, WIDGETS, Open, for_each, live_widgets

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


@pytest.mark.browser
@for_each(PAGES_WITH_WIDGETS)
def test_sliders_are_heard_and_a_link_brings_the_setting_back(name: str, visit: Open) -> None:
    opened = visit(f"{name}.html")
    page = opened.page
    moved, links = {}, []
    for widget in live_widgets(page):
        slider = widget.locator("input[type=range]:visible:enabled").first
        before = slider.input_value()
        slider.focus()
        for key in ("ArrowRight", "ArrowLeft", "ArrowLeft"):  # one of them moves it
            page.keyboard.press(key)
        after = slider.input_value()
        assert after != before
        copy = widget.get_by_role("button", name="Copy link to this configuration")
        if not copy.count():
            continue
        copy.click()
        links.append(urlsplit(widget.locator(".ins-address").input_value()).query)
        moved[widget.get_attribute("data-widget")] = float(after)
    assert opened.errors == []
    again = visit(f"{name}.html?{'&'.join(links)}")
    for key, value in moved.items():
        # The same slider: in a race between schemes the first, the std, is switched off.
        sliders = again.page.locator(f'[data-widget="{key}"] input[type=range]:visible:enabled')
        restored = sliders.first
        assert float(restored.input_value()) == pytest.approx(value, abs=1e-3)
    assert again.errors == []


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
