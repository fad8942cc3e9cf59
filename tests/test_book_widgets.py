"""The widgets on the pages of the built book, moved by a reader without a kernel."""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

import pytest
from book_pages import DOCUMENTS, ROOT, Open, for_each, violations
from playwright.sync_api import Locator, Page

STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
LARGEST_ADDITION = 150_000
"""Bytes, compressed, that widgets and their data may add to a page."""


def shown_widgets(name: str) -> list[str]:
    """Classes of the widgets that a document shows, in their order, from its source."""
    path = ROOT / f"{name}.ipynb"
    if not path.exists():
        text = (ROOT / f"{name}.md").read_text()
        return re.findall(r"```\{widget\} \S+ (\w+)", text)
    notebook = json.loads(path.read_text())
    models = notebook["metadata"].get("widgets", {}).get(STATE, {}).get("state", {})
    views = (
        output["data"][VIEW]["model_id"]
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
        if VIEW in output.get("data", {})
    )
    return [models[view]["state"]["_anywidget_id"].split(".")[-1] for view in views]


WIDGETS = {name: shown_widgets(name) for name in DOCUMENTS}
PAGES = [name for name, shown in WIDGETS.items() if shown]


def live(page: Page) -> list[Locator]:
    return page.locator(".live-widget").all()


def test_every_widget_of_the_package_is_in_the_book() -> None:
    from initscope import widgets

    public = {name for name in widgets.__all__ if name not in ("BookWidget", "show")}
    assert public == {name for shown in WIDGETS.values() for name in shown}


@pytest.mark.browser
@pytest.mark.parametrize("from_file", [False, True], ids=["http", "file"])
@for_each(PAGES)
def test_every_widget_starts_in_place_of_its_picture(
    name: str, from_file: bool, look: Open
) -> None:
    page = look(from_file=from_file).page
    keys = [widget.get_attribute("data-widget") for widget in live(page)]
    assert [str(key).split("-")[0] for key in keys] == WIDGETS[name]
    assert len(set(keys)) == len(keys)
    for widget in live(page):
        widget.locator(".ins-message").wait_for(state="attached")
    assert page.locator("img.still-picture").count() == len(keys)
    assert page.locator("img.still-picture:visible").count() == 0


@pytest.mark.browser
@for_each(PAGES)
def test_without_scripts_the_pictures_stay(name: str, browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/{name}.html")
    assert page.locator(".cell_output:has(script) img").count() >= len(WIDGETS[name])
    for image in page.locator(".cell_output:has(script) img").all():
        assert image.is_visible()
    context.close()


@pytest.mark.browser
@for_each(PAGES)
def test_on_paper_there_are_pictures(name: str, look: Open) -> None:
    page = look().page
    page.emulate_media(media="print")
    try:
        assert page.locator("img.still-picture:visible").count() == len(WIDGETS[name])
        assert page.locator(".live-widget:visible").count() == 0
    finally:
        page.emulate_media(media="null")


@pytest.mark.browser
@for_each(PAGES)
def test_sliders_are_heard_and_a_link_brings_the_setting_back(name: str, visit: Open) -> None:
    opened = visit(f"{name}.html")
    page = opened.page
    moved, links = {}, []
    for widget in live(page):
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


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@for_each(PAGES)
def test_opened_panels_are_accessible(name: str, scheme: str, look: Open) -> None:
    page = look(scheme=scheme).page
    buttons = page.get_by_role("button", name="Show me the Python").all()
    for button in buttons:
        button.click()
    try:
        assert page.locator(".ins-code:visible").count() == len(buttons)
        assert violations(page) == ""
    finally:
        for button in buttons:
            button.click()


@pytest.mark.browser
@for_each(PAGES)
def test_widgets_fit_a_phone(name: str, look: Open) -> None:
    page = look(width=390).page
    for widget in live(page):
        box = widget.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@for_each(PAGES)
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
