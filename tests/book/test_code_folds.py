"""The code of the chapters: folded cell by cell, and one switch for all of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from book_pages import CHAPTERS, DOCUMENTS, Open, for_each, parsed
from playwright.sync_api import Browser

FOLDS = "article details.hide"


@for_each(DOCUMENTS)
def test_code_is_folded_to_one_line_each_under_one_switch(name: str, site: Path) -> None:
    page = parsed(site, name)
    assert len(page.select("article .code-switch")) == (name in CHAPTERS)
    for code in page.select("article div.cell .cell_input"):
        fold = code.find_parent("details")
        assert fold is not None or "tag_show-input" in code.find_parent(class_="cell")["class"]  # type: ignore[index]
    for line in page.select(f"{FOLDS} > summary"):
        assert not line.has_attr("aria-label")  # it is called what it says
        assert 3 < len(line.get_text(strip=True)) < 40


@pytest.mark.browser
@pytest.mark.parametrize("on_phone", [False, True], ids=["served", "file on a dark phone"])
def test_the_switch_works_with_the_keyboard_and_is_kept_for_all_chapters(
    on_phone: bool, visit: Open
) -> None:
    where = {"width": 390, "scheme": "dark", "from_file": True} if on_phone else {}
    first, second = CHAPTERS[2], CHAPTERS[4]
    page = visit(f"{first}.html", **where).page
    switch = page.get_by_role("switch", name="Show all code")
    assert switch.get_attribute("aria-checked") == "false"
    assert page.locator(f"{FOLDS}[open]").count() == 0
    assert not page.locator("article .cell_input pre").first.is_visible()
    # It is seen without scrolling, and can be hit.
    box = switch.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 400
    assert box["height"] >= 24
    switch.focus()
    page.keyboard.press("Space")
    assert switch.get_attribute("aria-checked") == "true"
    assert page.locator(f"{FOLDS}:not([open])").count() == 0
    assert page.locator("article .cell_input pre").first.is_visible()
    page.goto(page.url.replace(Path(first).name, Path(second).name))
    assert page.get_by_role("switch").get_attribute("aria-checked") == "true"
    assert page.locator(FOLDS).count() > 5
    assert page.locator(f"{FOLDS}:not([open])").count() == 0
    page.get_by_role("switch").click()
    assert page.locator(f"{FOLDS}[open]").count() == 0
    page.go_back()
    page.locator(f"{FOLDS}:not([open])").first.wait_for(state="attached")
    assert page.get_by_role("switch").get_attribute("aria-checked") == "false"
    # One cell alone, as ever.
    line = page.locator(f"{FOLDS} > summary").first
    line.focus()
    page.keyboard.press("Enter")
    assert page.locator(f"{FOLDS}[open]").count() == 1


@pytest.mark.browser
def test_nothing_moves_as_a_page_comes_with_its_code(visit: Open) -> None:
    page = visit(f"{CHAPTERS[2]}.html").page
    page.get_by_role("switch").click()
    page.evaluate(
        """() => {
            sessionStorage.clear();
        }"""
    )
    page.add_init_script(
        "window.moves = []; new PerformanceObserver((list) => moves.push(...list.getEntries()"
        ".map((e) => e.value))).observe({ type: 'layout-shift', buffered: true })"
    )
    page.reload()
    page.locator("html[data-settled]").wait_for(state="attached")
    assert page.locator(f"{FOLDS}:not([open])").count() == 0
    assert page.evaluate("moves.reduce((a, b) => a + b, 0)") < 0.05


@pytest.mark.browser
def test_without_scripts_each_cell_opens_by_itself(browser: Browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(f"{address}/{CHAPTERS[2]}.html")
        assert page.locator(".code-switch:visible").count() == 0
        code = page.locator(f"{FOLDS} pre").first
        assert not code.is_visible()
        page.locator(f"{FOLDS} > summary").first.click()
        assert code.is_visible()
    finally:
        context.close()
