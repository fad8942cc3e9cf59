"""Charts and controls keep their places while a slider is dragged, at any width.

In the book the widgets are dragged on a phone of 390 pixels and in the column of a wide screen.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext
from steadiness import moved_by_dragging
from widget_page import widget_page

from initscope.widgets import AdamWEquilibrium, AttentionSaturation, SignalPropagation, WineTraining

pytestmark = pytest.mark.browser

WIDTHS = (320, 560, 900)


@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(reduced_motion="reduce")
    yield context
    context.close()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    "make",
    [
        lambda: SignalPropagation(width=32, draws=2, depth=20),
        lambda: SignalPropagation(width=16, draws=2, activation="tanh", std=1.0),
        lambda: AdamWEquilibrium(),
        lambda: AttentionSaturation(),
        lambda: WineTraining(epochs=2),
        lambda: WineTraining(epochs=2, scheme="race", depth=20, width=8),
    ],
    ids=["signal", "signal in tanh", "adamw", "saturation", "training", "race"],
)
def test_nothing_moves_as_sliders_are_dragged(
    make, width: int, context: BrowserContext, tmp_path: Path
) -> None:
    (tmp_path / "page.html").write_text(widget_page([make()]), encoding="utf8")
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": 900})
    page.goto((tmp_path / "page.html").as_uri())
    page.locator("html[data-settled]").wait_for(state="attached")
    moved = moved_by_dragging(page.locator(".live-widget"), steps=4)
    page.close()
    assert moved == []
