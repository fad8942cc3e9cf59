"""Measure how high widgets are in a browser: run ``python tests/measure_sizes.py``.

The pages of the built book keep room for them from the start, so that nothing moves when they
come: see ``book/_ext/reserved_room.py``. The sizes go into ``book/sizes.json``, which the next
build reads. The pages carry their font, so they are the same on every machine. Run it when what a
widget shows has changed; a test says so.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from book_pages import PAGES_WITH_WIDGETS, ROOT, SITE
from conftest import CHROMIUM_FLAGS, chromium
from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(ROOT / "book" / "_ext"))
from reserved_room import SIZES

WIDTHS = range(240, 921, 10)
"""Pixels: from the narrowest phone to the widest column of text."""

# Of each widget on a page: its height at these widths, or that of its picture if that is more.
HEIGHTS = """async (widths) => {
    const places = [...document.querySelectorAll(".widget-place")];
    const heights = Object.fromEntries(places.map(({ id }) => [id, []]));
    const stills = places.map((place) => {
        const picture = place.querySelector("img");
        const { width, height } = picture;
        picture.classList.add("still-picture");
        place.firstElementChild.style.minHeight = "0";
        return (at) => (height / width) * Math.min(at, width);
    });
    for (const at of widths) {
        for (const place of places) place.style.width = `${at}px`;
        // Charts hear of it in this frame, and are drawn anew.
        for (let k = 0; k < 2; k += 1) await new Promise(requestAnimationFrame);
        places.forEach((place, k) => {
            const { height } = place.firstElementChild.getBoundingClientRect();
            heights[place.id].push(Math.ceil(Math.max(height, stills[k](at))));
        });
    }
    return heights;
}"""


@contextlib.contextmanager
def opened(browser: Browser, name: str, width: int = 1280) -> Iterator[Page]:
    """A page of the built book, when all of it has come."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(f"{(SITE / name).as_uri()}.html")
    page.locator("html[data-settled]").wait_for(state="attached")
    yield page
    page.close()


def heights(page: Page) -> dict[str, list[list[int]]]:
    """Id of a widget's place -> ``[least width, height]``, ascending, where the height changes."""
    found = {}
    for key, at in page.evaluate(HEIGHTS, [*WIDTHS]).items():
        # Between two measured widths it may be as high as at either.
        highest = [max(pair) for pair in itertools.pairwise([*at, at[-1]])]
        steps = [[0, max(at[:2])]]
        for width, height in zip(WIDTHS, highest, strict=True):
            if height != steps[-1][1]:
                steps.append([width, height])
        found[key] = steps
    return found


def measure(browser: Browser) -> dict[str, Any]:
    """The sizes of all widgets of the built book."""
    widgets = {}
    for name in PAGES_WITH_WIDGETS:
        with opened(browser, name) as page:
            widgets[name] = heights(page)
    return {"widgets": widgets}


def text_of(sizes: dict[str, Any]) -> str:
    """The sizes as JSON; the numbers of one list stand on one line."""
    text = json.dumps(sizes, indent=1, ensure_ascii=False)
    return re.sub(r"\[[^][\"]*\]", lambda match: " ".join(match[0].split()), text) + "\n"


def main() -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(playwright.chromium.executable_path), args=CHROMIUM_FLAGS
        )
        Path(SIZES).write_text(text_of(measure(browser)), encoding="utf8")
        browser.close()


if __name__ == "__main__":
    main()
