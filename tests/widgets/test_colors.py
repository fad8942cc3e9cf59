"""The charts of the widgets, as the chapters show them, are seen on light and on dark."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ipywidgets import HTML
from playwright.sync_api import Browser, expect
from test_figures import contrast
from widget_page import STATE, VIEW, script, widget_page

from initscope import plots, widgets

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = [
    path
    for path in sorted(ROOT.glob("notebooks/[0-9][0-9]_*.ipynb"))
    if STATE in json.loads(path.read_text(encoding="utf8"))["metadata"].get("widgets", {})
]

# Of every stroke, mark and text of a chart and its legend: color, opacity, the color behind it.
DRAWN = """() => {
  const charts = ".ins-widget svg:not([aria-hidden]) *, .ins-legend svg *";
  const seen = (element) => element.matches("line, path, circle, rect, text")
    && !element.matches(".ins-grid") && element.getClientRects().length;
  return [...document.querySelectorAll(charts)].filter(seen).map((element) => {
    const style = getComputedStyle(element);
    const is = element.tagName === "text" ? "text" : style.stroke !== "none" ? "line" : "mark";
    const line = is === "line";
    let opacity = line ? style.strokeOpacity : style.fillOpacity;
    for (let at = element; at.closest("svg"); at = at.parentElement) {
      opacity *= getComputedStyle(at).opacity;
    }
    return {
      is, tag: element.tagName, color: line ? style.stroke : style.fill, opacity,
      // In the legend, too, the signs of a map are drawn on a color of it.
      onMap: Boolean(element.closest(".ins-map, .ins-legend svg:has(rect)")),
      ground: getComputedStyle(element.closest(".ins-widget")).backgroundColor,
    };
  });
}"""


def page_of(chapter: Path, dark: bool) -> str:
    """A page with the widgets of a chapter as they are stored and their JavaScript as it is."""
    notebook = json.loads(chapter.read_text(encoding="utf8"))
    stored = notebook["metadata"]["widgets"][STATE]
    for model in stored["state"].values():
        state = model["state"]
        kind = getattr(widgets, str(state.get("_anywidget_id", "")).rpartition(".")[2], None)
        if kind is not None:
            state |= {"_esm": kind._esm, "_css": kind._css}
            if kind is widgets.Prediction:
                state["revealed"] = True
    views = [
        output["data"][VIEW]
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
        if VIEW in output.get("data", {})
    ]
    shown = "".join(f'<div class="cell_output">{script(VIEW, view)}</div>' for view in views)
    page = widget_page([HTML()], dark=dark)  # any widget, of which nothing stays
    for what, new in (
        ("<main>.*?</main>", f"<main><h1>Widgets</h1>{shown}</main>"),
        (f'<script type="{re.escape(STATE)}">.*?</script>', script(STATE, stored)),
    ):
        page, replaced = re.subn(what, lambda _, new=new: new, page, flags=re.DOTALL)
        assert replaced == 1, what
    return page


def as_hex(color: str) -> tuple[str, float]:
    """``rgb(1, 2, 3)`` or ``rgba(1, 2, 3, 0.5)`` as the browser writes it: color and opacity."""
    red, green, blue, *opacity = (float(n) for n in re.findall(r"[\d.]+", color))
    return f"#{int(red):02x}{int(green):02x}{int(blue):02x}", opacity[0] if opacity else 1.0


def unseen(drawn: list[dict[str, Any]]) -> set[str]:
    """What has less contrast than 4.5 (text) or 3 (lines and marks); areas are left out."""
    found = set()
    for each in drawn:
        color, own = as_hex(each["color"])
        if each["tag"] == "rect" and each["is"] == "mark":
            continue  # bars have an outline; the others are areas behind what is drawn
        if each["onMap"] and color in plots.ON_MAP:
            continue
        reached = contrast(color, as_hex(each["ground"])[0], own * each["opacity"])
        if reached < (4.5 if each["is"] == "text" else 3):
            found.add(f"{each['tag']} {color}, opacity {each['opacity']}: {reached:.1f}")
    return found


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_lines_and_text_of_charts_are_seen(browser: Browser, chapter: Path, dark: bool) -> None:
    page = browser.new_page()
    try:
        page.set_content(page_of(chapter, dark))
        page.wait_for_function(
            "n => document.querySelectorAll('.ins-widget').length === n",
            arg=page.locator(f'script[type="{VIEW}"]').count(),
        )
        page.locator(".ins-chart").first.wait_for()
        expect(page.locator("[aria-busy=true]")).to_have_count(0)  # what is outdated is pale
        for button in page.get_by_role("button", name="Step").all():  # of Train it here
            button.click()
        drawn = page.evaluate(DRAWN)
        for _ in range(100):  # as long as it is outdated, a chart is pale, and computes
            if not unseen(drawn):
                break
            page.wait_for_timeout(50)
            drawn = page.evaluate(DRAWN)
        assert {"text", "line"} <= {each["is"] for each in drawn}
        assert unseen(drawn) == set()
    finally:
        page.close()
