"""On a phone the letters of a figure can be read, and every figure can fill the screen."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest
from book_pages import CHAPTERS, ROOT, Open, for_each, parsed, violations
from playwright.sync_api import Browser, expect
from test_figures import NAMESPACE, labels, pictures

sys.path.insert(0, str(ROOT / "book" / "_ext"))
from readable_figures import least_width, smallest_label


def sizes_of_labels(svg: str) -> set[float]:
    """Points; of what stands at a label, as an exponent, nothing is said."""
    root = ElementTree.fromstring(svg)
    styles = [text.get("style", "") for text in root.iter(f"{NAMESPACE}text")]
    sizes = {float(size) for style in styles for size in re.findall(r"font-size: ([\d.]+)", style)}
    for group in root.iter(f"{NAMESPACE}g"):
        uses = [use for use in group if use.tag == f"{NAMESPACE}use"]
        scale = re.search(r"scale\(([\d.]+) -[\d.]+\)", group.get("transform", ""))
        if uses and scale:
            sizes.add(100 * float(scale[1]))
    return sizes


@pytest.mark.parametrize("name", pictures())
def test_the_smallest_label_of_a_figure_is_found(name: str) -> None:
    svg = pictures()[name]
    sizes = sizes_of_labels(svg)
    assert sizes
    assert bool(list(labels(svg))) or "<text" in svg
    assert smallest_label(svg) == pytest.approx(min(sizes))
    assert least_width(svg, 740) * min(sizes) / 740 * 96 / 72 >= 10


@pytest.mark.browser
@for_each(CHAPTERS)
def test_letters_of_figures_are_ten_pixels_high_on_a_phone(
    name: str, look: Open, site: Path
) -> None:
    page = look(on_phone=True).page
    # What waits for a guess is not shown yet.
    shown = page.locator("article figure .figure-room img").evaluate_all(
        "all => all.map((one) => [one.src, one.clientWidth / one.naturalWidth])"
    )
    images = parsed(site, name).select("article figure img")
    assert len(shown) == len([one for one in images if not one.find_parent(class_="widget-place")])
    assert any(share for _, share in shown)
    for source, share in (one for one in shown if one[1]):
        svg = Path(unquote(urlsplit(source).path)).read_text()
        assert min(sizes_of_labels(svg)) * share * 96 / 72 >= 9.99, source
    boxes = page.locator("article .figure-room").evaluate_all(
        """all => all.filter((one) => one.clientWidth).map((one) => [
            one.scrollWidth > one.clientWidth + 1, one.dataset.more ?? "",
            getComputedStyle(one.nextElementSibling, "::before").content])"""
    )
    for scrolls, more, said in boxes:
        assert (more, said) == (("after", '"Scrolls sideways."') if scrolls else ("", "none"))
    assert any(scrolls for scrolls, _, _ in boxes)


@pytest.mark.browser
@pytest.mark.parametrize(
    ("size", "scheme"),
    [
        ((1280, 720), "light"),
        ((1440, 900), "dark"),
        ((390, 844), "dark"),
        ((640, 450), "light"),
    ],
    ids=str,
)
def test_a_figure_fills_the_screen_and_gives_it_back(
    size: tuple[int, int], scheme: str, browser: Browser, address: str
) -> None:
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{address}/notebooks/06_xavier_vs_kaiming.html")
    page.locator("html[data-settled]").wait_for(state="attached")
    figure = page.locator("figure:has(.figure-room):visible").first
    button = figure.get_by_role("button", name="Full screen")
    screen = page.locator("dialog.figure-screen")

    button.focus()
    page.keyboard.press("Enter")
    expect(screen).to_be_visible()
    box = screen.bounding_box()
    assert box == {"x": 0, "y": 0, "width": width, "height": height}
    picture = screen.locator("img")
    alone = picture.evaluate("one => one.getBoundingClientRect().width")
    assert alone > 0.9 * min(width, (height - 80) * 1.2)
    assert alone >= figure.locator(".figure-room img").evaluate("one => one.clientWidth") - 1
    assert picture.get_attribute("alt")
    assert picture.evaluate("one => getComputedStyle(one).filter") == "none"
    assert screen.locator("div").evaluate("one => one.scrollLeft === 0")
    if width == 390:
        assert violations(page) == ""
    page.keyboard.press("Escape")
    expect(screen).to_have_count(0)
    assert button.evaluate("one => document.activeElement === one")

    figure.locator(".figure-room img").click()
    screen.get_by_role("button", name="Close").click()
    expect(screen).to_have_count(0)
    assert button.evaluate("one => document.activeElement === one")
    assert errors == []
    context.close()
