"""Figures of ratios and of delays: what is drawn is what the tables say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from figures import contents
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from initscope import plots
from initscope.errors import UsageError
from initscope.plots.style import COLORS

SGD, MOMENTUM, ADAM = ("sgd", 0.0), ("sgd", 0.9), ("adam", 0.0)


def row(widths: str, training: tuple[str, float], **columns: object) -> dict[str, object]:
    case = {"dataset": "wine", "widths": widths, "depth": widths.count("-"), "activation": "relu"}
    return case | {"optimizer": training[0], "momentum": training[1]} | columns


@pytest.fixture
def ratios() -> pd.DataFrame:
    ends = {"low": 1.1, "high": 1.4}
    return pd.DataFrame(
        [
            row("13-8-8-3", SGD, effect=1.2, predicted=1.3, **ends),
            row("13-8-3", SGD, effect=1.3, predicted=1.1, **ends),
            row("13-16-8-3", ADAM, effect=1.25, predicted=np.nan, **ends),
            row("13-8-8-3", ADAM, effect=3.0, low=2.0, high=np.inf, predicted=np.nan),
            row("13-8-8-3", MOMENTUM, effect=0.5, low=0.0, high=0.7, predicted=np.nan)
            | {"dataset": "mnist"},
        ]
    )


def marks(axes: Axes, marker: str) -> list[tuple[float, float, str]]:
    return [
        (x, y, to_hex(line.get_color()))
        for line in axes.lines
        if line.get_marker() == marker
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    ]


def test_ratios_stand_above_their_networks(ratios: pd.DataFrame) -> None:
    """By depth, the tapered network behind the one of equal widths; colors are trainings."""
    wine, mnist = plots.ratios_by_depth(ratios).axes
    labels = [label.get_text() for label in wine.get_xticklabels()]
    assert labels == ["2", "3", "3,\ntapered"]
    found = {(round(x), y): color for x, y, color in marks(wine, "o")}
    assert found == {(1, 1.2): COLORS[0], (0, 1.3): COLORS[0], (2, 1.25): COLORS[1],
                     (1, 3.0): COLORS[1]}  # fmt: skip
    assert {(round(x), y) for x, y, _ in marks(wine, "x")} == {(1, 1.3), (0, 1.1)}
    assert [label.get_text() for label in mnist.get_xticklabels()] == ["3"]
    assert wine.get_ylim() == mnist.get_ylim()


def test_an_open_end_is_an_arrow(ratios: pd.DataFrame) -> None:
    wine, mnist = plots.ratios_by_depth(ratios).axes
    (up,), (down,) = ([a.xy[1] for a in axes.texts] for axes in (wine, mnist))
    assert up > 3.0
    assert down < 0.5
    lines = [segment[:, 1].tolist() for c in wine.collections for segment in c.get_segments()]
    assert sorted(lines) == [[1.1, 1.4]] * 3 + [[2.0, 3.0]]


def test_a_law_beyond_the_axis_is_a_number_at_its_end(ratios: pd.DataFrame) -> None:
    ratios.loc[0, "predicted"] = 1234.0
    wine = plots.ratios_by_depth(ratios).axes[0]
    assert wine.get_ylim()[1] == pytest.approx(5 * 3.0)
    assert "1,234" in [text.get_text() for text in wine.texts]
    assert max(y for _, y, _ in marks(wine, "x")) < wine.get_ylim()[1]
    assert 1.1 in [y for _, y, _ in marks(wine, "x")]


def test_the_margin_is_shaded(ratios: pd.DataFrame) -> None:
    for margin in (1.05, 1.2):
        figure = plots.ratios_by_depth(ratios, margin)
        band = figure.axes[0].patches[0]
        assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx(
            (1 / margin, margin)
        )
        texts = [text.get_text() for text in figure.legends[0].get_texts()]
        assert f"level, within {margin - 1:.0%}" in texts


@pytest.fixture
def delays() -> pd.DataFrame:
    def delay(widths: str, rate: float, effect: float, high: float, law: float) -> dict:
        ends = {"low": effect - 1, "high": high}
        return row(widths, SGD, first_rate=rate, effect=effect, law=law, **ends)

    return pd.DataFrame(
        [
            delay("13-8-8-3", 0.3, 10, 12, 11),
            delay("13-8-8-3", 0.1, 30, 32, 33),
            delay("13-16-8-3", 0.1, 5, 6, 7),
            delay("13-8-8-8-3", 0.1, 90, np.inf, 120),
            delay("13-8-8-8-3", 0.3, -2, 1, 40),
        ]
    )


def test_delays_and_the_law_by_rate(delays: pd.DataFrame) -> None:
    (axes,) = plots.delays_by_rate(delays).axes
    law = [
        list(zip(*line.get_data(), strict=True)) for line in axes.lines if len(line.get_xdata()) > 1
    ]
    assert law == [[(0.1, 33), (0.3, 11)], [(0.1, 120), (0.3, 40)]]
    assert {(x, y) for x, y, _ in marks(axes, "o")} == {(0.3, 10), (0.1, 30), (0.1, 90)}
    assert [(x, y) for x, y, _ in marks(axes, "s")] == [(0.1, 5)]
    hollow = [line.get_ydata()[0] for line in axes.lines if str(line.get_mfc()) == "none"]
    assert hollow == [90]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.1", "0.3"]


def test_drawn_twice_they_are_the_same(ratios: pd.DataFrame, delays: pd.DataFrame) -> None:
    for draw, table in ((plots.ratios_by_depth, ratios), (plots.delays_by_rate, delays)):
        before = table.copy()
        assert contents(draw(table)) == contents(draw(table))
        pd.testing.assert_frame_equal(table, before)


@pytest.mark.parametrize("change", [{"effect": 0.0}, {"effect": "x"}, {"widths": 3}])
def test_what_is_no_ratio_is_refused(ratios: pd.DataFrame, change: dict) -> None:
    with pytest.raises(UsageError, match=next(iter(change))):
        plots.ratios_by_depth(ratios.assign(**change))
    with pytest.raises(UsageError, match="no rows"):
        plots.ratios_by_depth(ratios[:0])
