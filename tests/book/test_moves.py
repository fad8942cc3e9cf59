"""Words that set an instrument, links that arrive, and the address that follows the controls."""

from __future__ import annotations

from pathlib import Path

import pytest
from book_pages import (
    CHAPTERS,
    DOCUMENTS,
    PAGES_WITH_WIDGETS,
    Open,
    for_each,
    keys,
    live_widgets,
    opened_at,
    parsed,
    skip_guesses,
)
from playwright.sync_api import Browser, Page
from steadiness import RECORD_SHIFTS
from widget_page import drawn

SIZES = [
    (1280, 720), (1440, 900), (390, 844), (640, 450), (1920, 1080),
    (1366, 768), (1024, 768), (768, 1024), (360, 640), (820, 1180),
]  # fmt: skip


@pytest.mark.browser
@for_each(PAGES_WITH_WIDGETS)
def test_words_set_what_they_name(name: str, visit: Open) -> None:
    page = visit(f"{name}.html").page
    assert page.locator("article span.move").count() == 0  # every one is a button
    for button in page.locator("article button.move").all():
        told = button.get_attribute("title") or ""
        assert told.startswith("Set the instrument: ")
        assert told.count(", ") + 1 >= (button.get_attribute("data-settings") or "").count("=")
        assert "undefined" not in told
        assert all(part.strip() for part in told.removeprefix("Set the instrument:").split(","))
        button.evaluate("one => one.click()")
        drawn(page)
        assert button.get_attribute("aria-pressed") == "true", told


@for_each(CHAPTERS)
def test_the_caption_of_every_instrument_has_words_that_set_it(name: str, site: Path) -> None:
    instruments = [key for key in keys(name) if not key.startswith("Prediction")]
    in_captions = parsed(site, name).select("article figcaption .move")
    assert {words["data-moves"] for words in in_captions} == set(instruments)


@pytest.mark.browser
@for_each(PAGES_WITH_WIDGETS)
def test_a_link_arrives_in_every_window(
    name: str, browser: Browser, address: str, site: Path
) -> None:
    """At each size at another of the page's widgets, in turn served and from a file."""
    context = browser.new_context()
    page = context.new_page()
    shown = keys(name)
    for k, (width, height) in enumerate(SIZES):
        key = shown[k % len(shown)]
        page.set_viewport_size({"width": width, "height": height})
        home = site.as_uri() if k % 2 else address
        page.goto(f"{home}/{name}.html?{key}.unknown={k}#{key}")
        page.locator("html[data-settled]").wait_for(state="attached")
        top = page.locator(f'[data-widget="{key}"]').evaluate(
            "one => one.getBoundingClientRect().top"
        )
        # Of the first on a page there may be less above it than its header is high.
        assert opened_at(page, key) or (page.evaluate("scrollY") == 0 and top <= 200), (
            f"{key} at {width} x {height}: {top}"
        )
    context.close()


def moved_slider(page: Page, key: str) -> tuple[float, str]:
    """Move the first slider of a widget: where it is now, and the address once it has followed."""
    slider = page.locator(f'[data-widget="{key}"] input[type=range]:visible:enabled').first
    before, url = slider.input_value(), page.url
    slider.focus()
    page.keyboard.press("ArrowRight")
    if slider.input_value() == before:
        page.keyboard.press("ArrowLeft")
    for _ in range(100):
        if page.url != url:
            break
        page.wait_for_timeout(50)
    return float(slider.input_value()), page.url


@pytest.mark.browser
@pytest.mark.parametrize("from_file", [False, True], ids=["served", "file"])
@for_each(PAGES_WITH_WIDGETS)
def test_back_leads_to_what_was_set(name: str, from_file: bool, visit: Open) -> None:
    seen = visit(f"{name}.html", from_file=from_file)
    page = seen.page
    key = keys(name)[-1]
    page.wait_for_timeout(400)
    assert "?" not in page.url  # nobody has moved anything
    skip_guesses(page)
    value, url = moved_slider(page, key)
    assert f"?{key}." in url
    assert url.endswith(f"#{key}")
    other = next(one for one in DOCUMENTS if one != name)
    page.goto(page.url.split("?")[0].replace(f"{name}.html", f"{other}.html"))
    page.go_back()
    page.locator("html[data-widgets=ready]").wait_for(state="attached")
    slider = page.locator(f'[data-widget="{key}"] input[type=range]:visible:enabled').first
    assert float(slider.input_value()) == pytest.approx(value, abs=1e-3)
    assert page.url == url
    assert seen.errors == []


@pytest.mark.browser
@for_each(PAGES_WITH_WIDGETS)
def test_nothing_jumps_as_a_slider_of_a_page_is_dragged(name: str, visit: Open) -> None:
    page = visit(f"{name}.html").page
    page.locator("html[data-settled]").wait_for(state="attached")
    skip_guesses(page)
    page.evaluate(f"() => {{ {RECORD_SHIFTS} }}")
    for widget in live_widgets(page):
        slider = widget.locator("input[type=range]:visible:enabled").first
        slider.scroll_into_view_if_needed()
        page.wait_for_timeout(100)
        page.evaluate("() => { shifts.length = 0; }")
        box = slider.bounding_box()
        assert box is not None
        y = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + box["width"] / 2, y)
        page.mouse.down()
        for share in (0.7, 0.97, 0.4, 0.03, 0.5):
            page.mouse.move(box["x"] + share * box["width"], y, steps=3)
        page.mouse.up()
        page.wait_for_timeout(300)
        shifts = page.evaluate("() => new Promise(requestAnimationFrame).then(() => shifts)")
        assert sum(one["value"] for one in shifts) < 0.05, shifts
