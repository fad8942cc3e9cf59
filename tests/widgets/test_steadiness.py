"""Charts and controls keep their places while a slider is dragged, at any width.

In the book the widgets are dragged on a phone of 390 pixels and in the column of a wide screen.
"""

from __future__ import annotations

import pytest
from steadiness import moved_by_dragging
from widget_page import Open, drawn

from initscope.widgets import (
    AdamWEquilibrium,
    AttentionSaturation,
    GPTTraining,
    LogNormDistribution,
    PhaseDiagram,
    ResidualStream,
    SignalPropagation,
    WineTraining,
)

pytestmark = pytest.mark.browser

WIDTHS = (320, 560, 900)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SignalPropagation(width=32, draws=2, depth=20),
        lambda: SignalPropagation(width=16, draws=2, depth=20, activation="tanh", std=1.0),
        lambda: AdamWEquilibrium(preset="shakespeare"),
        lambda: AttentionSaturation(),
        lambda: PhaseDiagram(width=16),
        lambda: LogNormDistribution(networks=5),
        lambda: ResidualStream(),
        lambda: WineTraining(epochs=2),
        lambda: WineTraining(epochs=2, scheme="race", depth=20, width=8),
        lambda: GPTTraining(),
        lambda: GPTTraining(rival="small_start"),
    ],
    ids=[
        "signal",
        "signal in tanh",
        "adamw",
        "saturation",
        "phases",
        "draw another",
        "stream",
        "training",
        "race",
        "gpt",
        "two gpts",
    ],
)
def test_nothing_moves_as_sliders_are_dragged(make, open_page: Open) -> None:
    page = open_page(make())
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        drawn(page)
        moved = moved_by_dragging(page.locator(".live-widget"), steps=4)
        assert moved == [], f"at {width} pixels"
