"""Predict, then reveal: the differences, the widget in the browser and in a live kernel."""

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import traitlets
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Page
from widget_cases.prediction import (
    DECAY,
    KINDS,
    PROMPT,
    STEPS,
    band,
    curve,
    guesses,
    random_predictions,
    share,
    value,
)
from widget_page import Open, drawn, pictures, said

from initscope.errors import UsageError
from initscope.theory import scheme_std
from initscope.widgets import BookWidget, Prediction
from initscope.widgets.bundle import SCRIPTS


def settings(widget: Prediction) -> dict:
    names = ("kind", "low", "high", "thresholds", "unit")
    return {name: getattr(widget, name) for name in names} | {"log": widget.logarithmic}


@pytest.fixture(scope="module")
def batch(node, tmp_path_factory) -> Callable:
    """Call a function of the mathematics for many lists of arguments at once."""
    module = tmp_path_factory.mktemp("batch") / "batch.mjs"
    module.write_text(
        f"import * as all from {json.dumps((SCRIPTS / 'prediction/message.mjs').as_uri())};\n"
        "export const each = (name, cases) => cases.map((given) => all[name](...given));\n"
    )
    return lambda name, cases: node(module, "each", name, cases)


def assert_same(found: dict, widget: Prediction) -> None:
    """The browser's difference is Python's, to 1e-9."""
    expected = widget.difference()
    assert found["score"] == expected["score"]
    edges = [expected["low"], expected["high"]] if widget.kind == "band" else [expected]
    offs = [edge["factor" if widget.logarithmic else "share"] for edge in edges]
    assert [edge["off"] for edge in found["edges"]] == pytest.approx(offs, rel=1e-9)
    if widget.kind == "band":
        assert found["overlap"] == pytest.approx(expected["overlap"], rel=1e-9, abs=1e-12)
    else:
        assert found["overlap"] is None


def test_differences_in_the_browser_are_those_in_python(batch) -> None:
    widgets = random_predictions(60, seed=1)
    assert {widget.difference()["score"] for widget in widgets} == {"close", "near", "far"}
    found = batch("difference", [[settings(w), guesses(w), w.truth] for w in widgets])
    for one, widget in zip(found, widgets, strict=True):
        assert_same(one, widget)


UNLIKELY = {
    "guess at the end of the axis": value(guess=1e-4),
    "thresholds": value(guess=2 * scheme_std("kaiming", 256, 256)),
    "axis of 400 decades": Prediction("?", 1.0, low=1e-200, high=1e200, guess=1e-200),
    "bands apart": band(guess=1.0, guess_high=2.0),
    "a band of no width": band(guess=0.1, guess_high=0.1),
    "two bands of no width, equal": Prediction(
        "?", (1, 1), "band", low=0.1, high=10, guess=1, guess_high=1, revealed=True
    ),
    "two bands of no width, apart": Prediction(
        "?", (1, 1), "band", low=0.1, high=10, guess=2, guess_high=2
    ),
    "edges the other way round": band(guess=0.456, guess_high=0.0123),
    "two points": Prediction("?", ([1, 2], [1, 2]), "curve", low=0, high=3, log=False, shown=1),
    "negative": Prediction("?", -3.0, low=-10, high=-1, log=False, guess=-1.0),
}


@pytest.mark.parametrize("name", UNLIKELY)
def test_unlikely_differences(name: str, batch) -> None:
    widget = UNLIKELY[name]
    (found,) = batch("difference", [[settings(widget), guesses(widget), widget.truth]])
    assert_same(found, widget)


def test_differences_worked_out_by_hand() -> None:
    truth = scheme_std("kaiming", 256, 256)
    assert truth == pytest.approx(0.0883883, rel=1e-6)
    assert value(guess=truth / 4).difference() == {
        "factor": pytest.approx(4), "score": "far",
    }  # fmt: skip
    assert value(guess=truth * 1.99, revealed=True).difference()["score"] == "near"
    assert value(guess=truth * 1.24, revealed=True).difference()["score"] == "close"
    # 10^-2..10^0 and 10^-1..10^1 share one of three decades.
    shared = Prediction("?", (0.1, 10), "band", low=1e-4, high=1e2, guess=0.01, guess_high=1)
    assert shared.difference() == {
        "overlap": pytest.approx(1 / 3),
        "low": {"factor": pytest.approx(10)},
        "high": {"factor": pytest.approx(10)},
        "score": "far",
    }
    assert share(guess=52.345, revealed=True).difference() == {
        "share": pytest.approx(0.1),
        "score": "near",
    }


SENTENCES = [
    (value(guess=0.05, revealed=True), "You said 0.05, it is 0.0884: too small by a factor of 1.8. "
     "That is near (within a factor of 2; close would be within a factor of 1.25)."),
    (value(guess=0.0884, revealed=True), "You said 0.0884, it is 0.0884: right."),
    (value(guess=9), "You said 9, it is 0.0884: too large by a factor of 100. That is far off "
     "(near would be within a factor of 2)."),
    (share(guess=60, revealed=True), "You said 60%, it is 62.3%: 2.34 points too low. That is "
     "close (within 5% of the axis)."),
    (share(unit="layers", guess=90), "You said 90 layers, it is 62.3 layers: 27.7 layers too high. "
     "That is far off (near would be within 15% of the axis)."),
    (band(guess=0.01, guess_high=0.1, revealed=True), "You said 0.01 to 0.1, it is 0.0123 to "
     "0.456: the two share 55% of the decades that either covers. Your lower edge is too small by "
     "a factor of 1.2, your upper edge too small by a factor of 4.6. That is near (at least 40% "
     "shared; close would be at least 80% shared)."),
    (curve(guess=0.03, revealed=True), "You said that it ends at 0.03, it ends at 0.0297: too "
     "large by a factor of 1.01. That is close (within a factor of 1.25)."),
]  # fmt: skip


@pytest.mark.parametrize(("widget", "expected"), SENTENCES)
def test_sentences(widget: Prediction, expected: str, batch) -> None:
    assert batch("sentence", [[settings(widget), guesses(widget), widget.truth]]) == [expected]


@pytest.mark.parametrize("log", [True, False])
def test_places_on_the_axis_and_back(log: bool, batch) -> None:
    rng = np.random.default_rng(4)
    shares = [-1, 0, *rng.uniform(0, 1, 40), 1, 2]
    axis = {"log": log, "low": 2e-4, "high": 7.0}
    found = batch("fromShare", [[axis, t] for t in shares])
    assert found[:2] == [2e-4] * 2
    assert found[-2:] == [7] * 2
    back = np.array(batch("toShare", [[axis, v] for v in found]))
    # Three digits: within half of 1% of the value, or of the axis.
    allowed = 0.005 / math.log(7.0 / 2e-4) if log else 0.005
    assert np.abs(back - np.clip(shares, 0, 1)).max() <= allowed


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Prediction("?", 3, low=0, high=1), "above 0"),
        (lambda: Prediction("?", 3, low=2, high=1), "larger high"),
        (lambda: Prediction("?", 3, low=1, high=math.inf), "larger high"),
        (lambda: Prediction("?", 3, low=0.1, high=1), "does not lie on the axis"),
        (lambda: Prediction("?", math.nan, low=0.1, high=1), "finite"),
        (lambda: Prediction("?", (1, 2), low=0.1, high=1), "is a number"),
        (lambda: Prediction("?", 0.5, "band", low=0.1, high=1), "two numbers"),
        (lambda: Prediction("?", (0.6, 0.5), "band", low=0.1, high=1), "low, high"),
        (lambda: Prediction("?", ([1, 2], [1]), "curve", low=0.1, high=1), "of one length"),
        (lambda: Prediction("?", ([2, 1], [1, 1]), "curve", low=0.1, high=1), "x growing"),
        (lambda: Prediction("?", ([1], [1]), "curve", low=0.1, high=1), "of one length"),
        (lambda: curve(shown=30), "shown must be 1 to 29"),
        (lambda: curve(low=0.1), "does not lie on the axis"),
        (lambda: curve(high=0.5), "curve leaves the axis"),
        (lambda: Prediction("?", ([0, 1], [1, 1]), "curve", low=0.1, high=1, shown=1, x_log=True),
         "x must be above 0"),
    ],
)  # fmt: skip
def test_questions_that_cannot_be_asked(make: Callable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_the_other_edge_and_another_kind_are_refused() -> None:
    with pytest.raises(traitlets.TraitError, match="guess_high must lie on the axis"):
        band(guess_high=100)
    with pytest.raises(UsageError, match="kind must be one of 'value', 'band', 'curve'"):
        Prediction("?", 1, "point", low=0.1, high=10)


def test_the_start_gives_nothing_away() -> None:
    assert value().guess == pytest.approx(math.sqrt(1e-4 * 10), rel=0.05)
    assert (band().guess, band().guess_high) == (0.00032, 0.0032)
    elsewhere = Prediction("?", (1, 5), "band", low=1e-4, high=10)
    assert (elsewhere.guess, elsewhere.guess_high) == (0.0046, 0.22)
    assert curve().guess == 0.301 == pytest.approx(DECAY[7], rel=2e-3)


@given(
    kind=st.sampled_from(["value", "band", "curve"]),
    log=st.booleans(),
    low=st.floats(1e-6, 1e6),
    wide=st.floats(1e-3, 8),
    at=st.lists(st.floats(0, 1), min_size=3, max_size=3),
    given_guess=st.booleans(),
)
def test_no_prediction_starts_at_its_answer(
    kind: str, log: bool, low: float, wide: float, at: list[float], given_guess: bool
) -> None:
    high = low * 10**wide if log else low + 10**wide
    first, second, third = (
        min(high, max(low, low * (high / low) ** t if log else low + t * (high - low))) for t in at
    )
    truth = {
        "value": first,
        "band": tuple(sorted((first, second))),
        # Nothing happens after the first point, or a little.
        "curve": ([1, 2, 3], [first, first, third if at[1] < 0.5 else first]),
    }[kind]
    guesses_given = {"guess": first, "guess_high": second} if given_guess else {}
    widget = Prediction("?", truth, kind, low=low, high=high, log=log, **guesses_given)
    start = guesses(widget)
    assert start != pytest.approx(widget.truth, rel=1e-9)
    assert all(low <= edge <= high for edge in start)
    assert start == sorted(start) or given_guess
    # Only on an axis on which all answers are near.
    wide_enough = wide > 2 if log else True
    assert widget.difference()["score"] == "far" or not wide_enough


def test_a_start_at_the_answer_is_moved_and_a_prediction_that_was_made_is_kept() -> None:
    truth = scheme_std("kaiming", 256, 256)
    assert value(guess=truth).guess == value(guess=1.9 * truth).guess == 0.001
    assert value(guess=2.1 * truth).guess == 2.1 * truth
    assert value(guess=truth, revealed=True).guess == truth
    moved = band(guess=0.0123, guess_high=0.456)
    assert (moved.guess, moved.guess_high) == (0.00032, 0.0032)
    assert share().guess == share(guess=60).guess == 20
    assert share(guess=47).guess == 47
    narrow = Prediction("?", 1000.5, low=1000, high=1001, log=False)
    assert narrow.guess == 1000.2
    still = Prediction("?", (STEPS, np.full(30, 0.5)), "curve", low=1e-3, high=1)
    assert still.guess == 0.004


@pytest.mark.parametrize("kind", KINDS)
def test_the_still_picture_asks_and_answers_upside_down(kind: str) -> None:
    widget = KINDS[kind](explanation="For many reasons. " * 30)
    widget.question *= 12
    figure = widget.figure()
    figure.draw_without_rendering()
    (axes,) = figure.axes
    texts = [*figure.texts, *axes.texts]
    upright = " ".join(t.get_text() for t in texts if t.get_rotation() != 180)
    (answer,) = (t for t in texts if t.get_rotation() == 180)
    assert widget.question in upright.replace("\n", " ")
    for number in widget.truth:
        assert f"{number:.3g}" in answer.get_text()
        assert f"{number:.3g}" not in upright
    assert widget.explanation.strip() in answer.get_text().replace("\n", " ")
    # Of a curve, only what is given.
    assert all(len(line.get_xdata()) <= 8 for line in axes.lines)
    # Nothing is cut off, and neither text reaches the axis.
    places = [text.get_window_extent() for text in texts]
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in places)
    around = axes.get_tightbbox()
    assert figure.texts[0].get_window_extent().y0 >= around.y1
    assert figure.texts[1].get_window_extent().y1 <= around.y0


# In the browser


def picture(page: Page) -> str:
    (inside,) = pictures(page)
    return inside


@pytest.mark.browser
@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_is_hidden_until_it_is_revealed(kind: str, open_page: Open) -> None:
    widget = KINDS[kind](explanation="For this reason.")
    page = open_page(widget)
    told = [f"{number:.3g}" for number in widget.truth]

    def everything() -> str:
        return page.locator("main").inner_text() + page.locator("main").aria_snapshot()

    assert said(page) == PROMPT
    before = picture(page)
    for text in [*told, "For this reason."]:
        assert text not in everything()
    button = page.get_by_role("button", name="Reveal the answer")
    button.focus()
    page.keyboard.press("Enter")  # nothing was predicted yet
    assert said(page).startswith("Set what you expect first")
    for text in [*told, "For this reason."]:
        assert text not in everything()
    assert picture(page) == before
    assert button.get_attribute("aria-disabled") == "true"
    assert button.get_attribute("aria-description") == "Set your guess first."
    page.keyboard.press("Shift+Tab")  # to the last slider
    page.keyboard.press("ArrowRight")
    assert said(page) == PROMPT
    assert button.get_attribute("aria-disabled") == "false"
    assert button.get_attribute("aria-description") == ""
    page.keyboard.press("ArrowLeft")  # the start, now on purpose
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("For this reason.").wait_for()
    for text in told:
        assert text in everything()
    assert picture(page) != before
    assert all(box.is_disabled() for box in page.locator("input[type=range]").all())
    page.keyboard.press("Enter")  # the same button, which keeps the focus
    button.wait_for()
    assert picture(page) == before
    assert said(page) == PROMPT
    page.keyboard.press("Enter")  # and again nothing was predicted
    assert picture(page) == before
    assert button.get_attribute("aria-disabled") == "true"


@pytest.mark.browser
@pytest.mark.parametrize("kind", KINDS)
def test_an_address_does_not_reveal_what_was_not_predicted(kind: str, open_page: Open) -> None:
    widget = KINDS[kind]()
    page = open_page(widget, query=f"Prediction.revealed=true&Prediction.guess={widget.guess}")
    assert said(page) == PROMPT
    assert page.locator("[aria-disabled=true]").count() == 1
    guess = widget.low if kind == "band" else widget.high
    page = open_page(KINDS[kind](), query=f"Prediction.revealed=true&Prediction.guess={guess}")
    assert said(page).startswith("You said")


@pytest.mark.browser
def test_keyboard_mouse_and_touch(open_page: Open) -> None:
    page = open_page(value(), has_touch=True)
    slider, chart = page.locator("input[type=range]"), page.locator(".ins-chart")
    shown = page.locator(".ins-value")
    pictures = [picture(page)]

    def changed() -> None:
        drawn(page)
        pictures.append(picture(page))
        assert len(set(pictures)) == len(pictures)

    slider.focus()
    page.keyboard.press("ArrowRight")
    changed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 30)
    page.mouse.down()
    changed()
    at_first = float(shown.inner_text())
    page.mouse.move(box["x"] + 500, box["y"] + 30, steps=3)
    changed()
    # 200 pixels of the axis, which goes over five decades and all but 32 pixels of the picture.
    moved = math.log10(float(shown.inner_text()) / at_first)
    assert moved == pytest.approx(200 / (box["width"] - 32) * 5, abs=0.03)
    page.mouse.up()
    page.mouse.move(box["x"] + 100, box["y"] + 30)
    assert picture(page) == pictures[-1]
    page.touchscreen.tap(box["x"] + 120, box["y"] + 40)
    changed()
    page.touchscreen.tap(*(middle := center(page.get_by_role("button", name="Reveal"))))
    changed()
    page.touchscreen.tap(box["x"] + 400, box["y"] + 40)  # a prediction is not changed any more
    assert picture(page) == pictures[-1]
    page.touchscreen.tap(*middle)  # try again, from the start
    assert picture(page) == pictures[0]


def center(locator) -> tuple[float, float]:
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.mark.browser
@pytest.mark.parametrize("kind", KINDS)
def test_the_page_is_told_of_a_guess_once_and_of_none_that_the_address_brought(
    kind: str, open_page: Open
) -> None:
    listen = "addEventListener('guess-made', ({ detail }) => (window.told ??= []).push(detail))"
    told = "() => window.told ?? []"
    widget = KINDS[kind]()
    page = open_page(widget, query=f"Prediction.revealed=true&Prediction.guess={widget.low}")
    page.evaluate(listen)
    assert page.evaluate(told) == []
    page.get_by_role("button", name="Try again").click()
    drawn(page)
    page.locator("input[type=range]").first.focus()
    page.keyboard.press("Home")
    page.get_by_role("button", name="Reveal the answer").click()
    drawn(page)
    (event,) = page.evaluate(told)
    edges = [widget.low, widget.guess_high] if kind == "band" else [widget.low]
    assert event["guess"] == pytest.approx(edges)
    now = KINDS[kind](guess=edges[0], guess_high=edges[-1], revealed=True)
    assert event["score"] == now.difference()["score"]


@pytest.mark.browser
def test_edges_of_a_band_take_each_other_along(open_page: Open) -> None:
    page = open_page(band(guess=0.01, guess_high=0.1))
    low, high = page.locator("input[type=range]").all()
    low.fill("0")  # log10 of 1
    drawn(page)
    assert page.locator(".ins-value").all_inner_texts() == ["1", "1"]
    high.fill("-2")
    drawn(page)
    assert page.locator(".ins-value").all_inner_texts() == ["0.01", "0.01"]
    box = page.locator(".ins-chart").bounding_box()
    page.mouse.move(box["x"] + 800, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + 810, box["y"] + 30)
    page.mouse.up()
    drawn(page)
    edges = [float(text) for text in page.locator(".ins-value").all_inner_texts()]
    assert edges[0] < edges[1] or edges[0] > 1  # one of them moved


@pytest.mark.browser
def test_the_end_of_a_curve_is_dragged(open_page: Open) -> None:
    page = open_page(curve())
    before = picture(page)
    chart = page.locator(".ins-chart")
    box = chart.bounding_box()
    page.mouse.click(box["x"] + 200, box["y"] + 50)  # not at the end
    assert picture(page) == before
    page.mouse.move(box["x"] + box["width"] - 30, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 30, box["y"] + 224, steps=3)
    page.mouse.up()
    drawn(page)
    # Three decades between 26 and 224 pixels from the top.
    assert float(page.locator(".ins-value").inner_text()) == pytest.approx(1e-3, rel=0.05)
    lines = chart.locator("path").count()
    page.get_by_role("button", name="Reveal the answer").click()
    drawn(page)
    assert chart.locator("path").count() == lines + 1


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 900])
@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_the_axis_stand_under_their_lines(kind: str, width: int, open_page: Open) -> None:
    chart = open_page(KINDS[kind](), width=width).locator(".ins-chart")
    off = chart.evaluate(
        """svg => [...svg.querySelectorAll("line.ins-grid")].flatMap((line) => {
            const x = +line.getAttribute("x1");
            if (x !== +line.getAttribute("x2") || x < 24 || x > svg.clientWidth - 24) return [];
            const { x: left, width } = line.nextSibling.getBBox();
            return [Math.abs(left + width / 2 - x)];
        })"""
    )
    assert off
    assert max(off) < 1.5


@pytest.mark.browser
@pytest.mark.parametrize(
    ("make", "query", "expected"),
    [
        (value, "guess=1e9&Prediction.revealed=1", "You said 10, it is 0.0884: too large by a"),
        (band, "guess=1&Prediction.guess_high=0.1&Prediction.revealed=true",
         "You said 0.1 to 1, it is 0.0123 to 0.456:"),
        (value, "guess=cat&Prediction.revealed=maybe", PROMPT),
    ],
    ids=["beyond the axis", "edges the other way round", "no number"],
)  # fmt: skip
def test_an_address_is_taken_as_it_can_be(open_page: Open, make, query: str, expected: str) -> None:
    page = open_page(make(), query=f"Prediction.{query}")
    assert said(page).startswith(expected)


def test_no_trait_takes_the_place_of_what_a_widget_has() -> None:
    """A trait named `close` or `log` would."""
    own = set(Prediction.class_trait_names()) - set(BookWidget.class_trait_names())
    assert own & set(dir(BookWidget)) == set()
