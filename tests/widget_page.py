"""A bare page with widgets on it, stored and brought to life as in the book."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Browser, Locator, Page

from initscope.widgets import BookWidget
from initscope.widgets.page import STORED_MODEL

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"

SENTENCES: dict[str, list[str]] = json.loads(
    (Path(__file__).parent / "widgets" / "sentences.json").read_text(encoding="utf8")
)
"""What each widget is to say of the settings that its tests list, to the letter."""

CROWDED = """[...document.querySelectorAll(".ins-chart")].flatMap((chart) => {
  const ends = (text) => {
    const [wide, x] = [7 * text.textContent.length, Number(text.getAttribute("x"))];
    const right = x + { middle: wide / 2, end: 0 }[text.getAttribute("text-anchor")];
    return [right - wide, right];
  };
  const texts = [...chart.querySelectorAll(":scope > text:not([transform])")];
  return texts.slice(1).map((text, k) => [texts[k], text]).filter(([before, text]) =>
    before.getAttribute("y") === text.getAttribute("y") && ends(text)[0] - ends(before)[1] < 7
  ).map((pair) => pair.map((one) => [one.textContent, ...ends(one)]));
})"""
"""Labels below a chart that come so close to the one before that they read as one.

A letter is taken to be 7 pixels wide, whatever the font.
"""


def script(kind: str, value: object) -> str:
    """A script element that holds JSON, as myst-nb writes it."""
    text = json.dumps(value).replace("</", "<\\/")
    return f'<script type="{kind}">{text}</script>'


def loader() -> str:
    """The scripts that bring stored widgets to life, in the order of the book."""
    return STORED_MODEL.read_text() + (ROOT / "book" / "_static" / "widgets.js").read_text()


def added_to_a_page(widgets: list) -> int:
    """Bytes that `widgets` add to a page, compressed; all pages share the book's font and style."""
    page = widget_page(widgets)
    for shared in ("inter.css", "book.css"):
        page = page.replace((ROOT / "book" / "_static" / shared).read_text(), "")
    return len(gzip.compress(page.encode(), 9))


def widget_page(widgets: list, dark: bool = False) -> str:
    """HTML of a page that shows `widgets`, as the book does, in its style and font."""
    from ipywidgets.embed import dependency_state, embed_data  # not with every test

    # The state of these widgets alone, not of all that other tests have made.
    data = embed_data(views=widgets, state=dependency_state(widgets, drop_defaults=False))
    static = ROOT / "book" / "_static"
    ground = "--pst-color-background: #14181e; --pst-color-text-base: #ced6dd;" if dark else ""
    ground += "--pst-color-text-muted: #9ca4af; --pst-color-border: #48566b;" if dark else ""
    shown = "".join(
        f'<div class="cell_output" id="cell-{k}">{script(VIEW, view)}</div>'
        for k, view in enumerate(data["view_specs"])
    )
    return f"""<!DOCTYPE html>
<html lang="en" data-theme="{"dark" if dark else "light"}"><head><meta charset="utf-8">
<title>Widgets</title><meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">
<style>:root {{ {ground} }} body {{ font-family: Inter; max-width: 52rem; margin: 1rem auto;
padding: 0 0.8rem; background: {"#14181e" if dark else "#fff"};
color: {"#ced6dd" if dark else "#222"}; }}</style>
<style>{(static / "inter.css").read_text()}{(static / "book.css").read_text()}</style></head>
<body><main><h1>Widgets</h1>{shown}</main>{script(STATE, data["manager_state"])}
<script>{loader()}</script></body></html>"""


Open = Callable[..., Page]


@contextlib.contextmanager
def opener(browser: Browser, folder: Path) -> Iterator[Open]:
    """Open pages of widgets from files; what they complain of, and ask of others, fails at the end.

    Less motion is wanted, unless a test wants it.
    """
    wrong: list[str] = []
    contexts = []

    def open_page(
        *shown: Any, query: str = "", width: int = 900, dark: bool = False, **options: Any
    ) -> Page:
        path = folder / f"page-{len(contexts)}.html"
        path.write_text(widget_page(list(shown), dark=dark), encoding="utf8")
        options = {"has_touch": width < 500, "reduced_motion": "reduce"} | options
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))

        def ask(url: str) -> None:
            if not url.startswith(("file:", "blob:", "data:")):
                wrong.append(f"asks for {url}")

        page.on("request", lambda request: ask(request.url))
        page.goto(f"{path.as_uri()}?{query}" if query else path.as_uri())
        page.locator("html[data-settled]").wait_for(state="attached")
        drawn(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Open pages of widgets for one test: ``open_page(widget, another, width=390)``."""
    with opener(browser, tmp_path) as opened:
        yield opened


def drawn(page: Page) -> None:
    """Wait until what was asked for is drawn and said."""
    page.evaluate(
        """async () => {
          const frame = () => new Promise((done) => requestAnimationFrame(done));
          for (let k = 0; k < 3; k += 1) await frame();
          const open = () => [...document.querySelectorAll(".ins-widget")].some((one) =>
            one.querySelector("[aria-busy=true]") || /^(Drawing .*)?$/.test(
              one.querySelector(".ins-message").textContent)
            || (({ asked, drawn, networks = "0/0" }) => asked !== drawn
              || new Set(networks.split("/")).size > 1)(one.querySelector(".ins-view").dataset));
          for (let k = 0; k < 600 && open(); k += 1) await frame();
          if (open()) throw new Error("it is not drawn");
        }"""
    )


def copy_of(page: Page, k: int) -> Locator:
    """The widget `k` of a page."""
    return page.locator(".ins-widget").nth(k)


def said(page: Page, k: int = 0) -> str:
    """The sentence of a widget, once all is drawn."""
    drawn(page)
    return copy_of(page, k).locator(".ins-message").inner_text()


def pictures(page: Page, k: int = 0) -> list[str]:
    """The charts of a widget, once all is drawn."""
    drawn(page)
    inside: list[str] = (
        copy_of(page, k)
        .locator(".ins-chart")
        .evaluate_all("all => all.map((one) => one.innerHTML)")
    )
    return inside


def press(page: Page, name: str, k: int = 0) -> None:
    """Press a button of a widget."""
    copy_of(page, k).get_by_role("button", name=name).click()


def downloaded(page: Page, k: int = 0) -> pd.DataFrame:
    """What a widget gives as CSV, every cell as text."""
    import pandas as pd

    with page.expect_download() as download:
        press(page, "Download CSV", k)
    title = copy_of(page, k).locator(".ins-title").inner_text()
    name = re.sub(r"\W+", "-", title.lower())
    assert download.value.suggested_filename == f"{name}.csv"
    return pd.read_csv(download.value.path(), dtype=str, keep_default_na=False)


def own_traits(widget: type[BookWidget]) -> set[str]:
    """The traits that a widget has beside those of all widgets."""
    return set(widget.class_trait_names(sync=True)) - set(BookWidget.class_trait_names(sync=True))


def same_controls(
    node: Callable[..., Any], widget: type[BookWidget], folder: Path, tmp_path: Path
) -> dict[str, Any]:
    """Return the controls of a widget in JavaScript, which have Python's names and ranges."""
    module = tmp_path / "read.mjs"
    module.write_text(
        f'import {{ CONTROLS }} from "{(folder / "widget.mjs").as_uri()}";\n'
        "export const read = () => CONTROLS;\n"
    )
    controls = node(str(module), "read")
    assert set(controls) == own_traits(widget)
    for name, ends in widget._RANGES.items():
        assert (controls[name]["min"], controls[name]["max"]) == ends
    return controls
