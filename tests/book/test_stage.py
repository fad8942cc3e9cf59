"""The first screen of the book: two charts and the slider below them, in every window."""

from __future__ import annotations

import pytest
from book_pages import Open
from playwright.sync_api import Page
from steadiness import RECORD_SHIFTS

WINDOWS = [(1280, 720), (1440, 900), (390, 844), (640, 450)]

# Top and bottom of the line, the two charts and the slider, and where what lies over the page ends.
PARTS = """(widget) => {
    const parts = [".ins-line", ".ins-panel .ins-chart", ".ins-panel + .ins-panel .ins-chart",
        ".ins-track input", ".ins-presets"];
    return parts.map((part) => {
        const { top, bottom, left, right } = widget.querySelector(part).getBoundingClientRect();
        return [top, bottom, left, right];
    });
}"""


def seen(page: Page, header: float) -> None:
    """Assert that line, charts and slider are in the window, the one below the other."""
    window = page.viewport_size
    assert window is not None
    boxes = page.locator(".live-widget").first.evaluate(PARTS)
    for top, bottom, left, right in boxes[:4]:
        assert header <= top < bottom <= window["height"]
        assert 0 <= left < right <= window["width"]
    assert max(boxes[1][1], boxes[2][1]) <= boxes[3][0]


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_charts_and_slider_share_the_window(visit: Open, scheme: str) -> None:
    """The front page as it is loaded, chapter 1 at the top of the widget."""
    front = visit("book/index.html", scheme=scheme).page
    chapter = visit("notebooks/01_variance_propagation.html", scheme=scheme).page
    for width, height in WINDOWS:
        for page in (front, chapter):
            page.set_viewport_size({"width": width, "height": height})
        front.evaluate("scrollTo({ top: 0, behavior: 'instant' })")
        top = front.locator(".bd-header-article").bounding_box()
        header = top["y"] + top["height"] if top else 0
        seen(front, header)
        chapter.locator(".ins-line").evaluate("one => one.scrollIntoView({ behavior: 'instant' })")
        chapter.evaluate("scrollBy({ top: -80, behavior: 'instant' })")
        seen(chapter, 0)
        for page in (front, chapter):
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            # Nothing of the widget is cut off at its side, but for steps that scroll.
            cut = page.locator(".ins-stage").first.evaluate(
                "w => [...w.querySelectorAll('button:not(.move), input, .ins-line')]"
                ".filter((one) => one.getClientRects().length && one.getBoundingClientRect().right"
                " > w.getBoundingClientRect().right).map((one) => one.outerHTML)"
            )
            assert cut == []


@pytest.mark.browser
@pytest.mark.parametrize(("width", "height"), WINDOWS)
def test_nothing_jumps_while_dragging(visit: Open, width: int, height: int) -> None:
    page = visit("book/index.html").page
    page.set_viewport_size({"width": width, "height": height})
    slider = page.get_by_role("slider", name="std of the weights", exact=True)
    slider.scroll_into_view_if_needed()
    page.evaluate("() => new Promise((done) => setTimeout(done, 600))")
    # As text, which the policy of the page refuses, it cannot be added: it is a function.
    page.evaluate(f"() => {{ {RECORD_SHIFTS} }}")
    page.evaluate("() => { shifts.length = 0; }")
    box = slider.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    for share in (0.6, 0.8, 0.99, 0.7, 0.5, 0.3, 0.1, 0.01, 0.4):
        page.mouse.move(box["x"] + share * box["width"], y, steps=3)
    page.mouse.up()
    for button in ("too small", "Xavier", "Kaiming", "too large"):
        page.get_by_role("button", name=button, exact=True).click()
    shifts = page.evaluate("() => new Promise(requestAnimationFrame).then(() => shifts)")
    assert sum(one["value"] for one in shifts) < 0.05, shifts
    assert page.locator(".ins-end").first.text_content() == "∞"
