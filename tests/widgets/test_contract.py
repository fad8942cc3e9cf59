"""What every widget keeps to: in a page, on a phone, in the dark, by keyboard, in a live kernel."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from live_kernel import LiveKernel
from playwright.sync_api import Browser, Locator, Page
from traitlets import TraitError
from widget_cases import CASES, make
from widget_cases.case import Shown, run_code
from widget_page import (
    CROWDED,
    Open,
    added_to_a_page,
    copy_of,
    downloaded,
    drawn,
    opener,
    pictures,
    press,
    said,
)

from initscope import widgets

# Words and numbers of charts that end beyond them.
CUT_OFF = """[...document.querySelectorAll(".ins-chart")].flatMap((chart) => {
  const outer = chart.getBoundingClientRect();
  return [...chart.querySelectorAll("text")].filter((text) => {
    const { left, right } = text.getBoundingClientRect();
    return left < outer.left - 1 || right > outer.right + 0.5;
  }).map((text) => text.textContent);
})"""

# Where its controls stand.
SETTINGS = """widget => [...widget.querySelectorAll("label :is(input, select)")]
    .map((one) => (one.type === "checkbox" ? one.checked : one.value))"""

# Another option, the other position, or a place a little farther along.
CHANGE = """(one) => {
    if (one.type === "checkbox") return one.click();
    if (one.type === "range") {
      one.value < one.max ? one.stepUp(one.step > 1 ? 1 : 2) : one.stepDown(2);
      return one.dispatchEvent(new Event("input", { bubbles: true }));
    }
    one.selectedIndex = (one.selectedIndex + 1) % one.options.length;
    one.dispatchEvent(new Event("change", { bubbles: true }));
}"""

every_widget = pytest.mark.parametrize("name", CASES, scope="module")


def test_every_widget_has_a_case() -> None:
    assert set(CASES) == set(widgets.__all__) - {"BookWidget", "show"}


def violations(page: Page) -> list[tuple[str, str]]:
    """What hinders those who hear a page or look at it."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [(one["id"], node["html"][:120]) for one in found for node in one["nodes"]]


def open_all(page: Page) -> None:
    """Open what is folded, and show the code."""
    for button in page.get_by_role("button", name="Show me the Python").all():
        button.click()
    page.evaluate("document.querySelectorAll('.ins-widget details').forEach((d) => d.open = true)")


def labels(page: Page, k: int) -> list[str]:
    """What those hear of the pictures of a copy who do not see them."""
    found: list[str] = (
        copy_of(page, k)
        .locator(".ins-chart")
        .evaluate_all("all => all.map((chart) => chart.ariaLabel)")
    )
    return found


def seen(page: Page, k: int) -> tuple[str, list[str]]:
    """The sentence and the pictures of a copy."""
    return said(page, k), pictures(page, k)


def slider_of(page: Page, name: str, k: int = 0) -> Locator:
    return copy_of(page, k).get_by_role("slider", name=CASES[name].slider, exact=True).first


def place_on(slider: Locator, share: float) -> tuple[float, float]:
    """Where a slider is taken hold of."""
    box = slider.bounding_box()
    assert box is not None
    return box["x"] + share * box["width"], box["y"] + box["height"] / 2


REFUSED = [(name, *one) for name, case in CASES.items() for one in case.refused]


@pytest.mark.parametrize(("name", "trait", "value", "words"), REFUSED)
def test_what_cannot_be_set_is_refused(name: str, trait: str, value: Any, words: str) -> None:
    widget = made_once(name)
    before = widget.get_state()
    with pytest.raises(TraitError, match=words):
        setattr(widget, trait, value)
    assert widget.get_state() == before
    with pytest.raises(TraitError, match=words):
        CASES[name].anew(widget, {trait: value})


made_once = functools.cache(make)


# Many copies with settings of their own, on a phone, in the dark


class Copies(NamedTuple):
    """A page of the copies of a case, and what each of them shows."""

    page: Page
    widgets: list[Any]
    shown: list[Shown]


@pytest.fixture(scope="module")
def copies(
    name: str, browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Copies]:
    """One page for all that is looked at there: to draw it takes longer than to look."""
    case = CASES[name]
    made = [*case.copies(), make(name)]
    trait, beyond = case.far
    query = f"{name}-{len(made)}.{trait}={beyond}"
    with opener(browser, tmp_path_factory.mktemp(name)) as open_page:
        page = open_page(*made, query=query, width=390, dark=True)
        setattr(made[-1], trait, case.nearest)
        if case.work:
            for k in range(len(made)):
                copy_of(page, k).get_by_role("button", name=case.work).click()
            done = page.locator(".ins-message").filter(has_text=re.compile("^(After )?[Aa]ll "))
            done.nth(len(made) - 1).wait_for()
        open_all(page)
        yield Copies(page, made, [looked_at(page, name, k, one) for k, one in enumerate(made)])


def looked_at(page: Page, name: str, k: int, widget: Any) -> Shown:
    message, copy = said(page, k), copy_of(page, k)
    table = downloaded(page, k) if CASES[name].tables else None
    facts = copy.locator(".ins-facts").all_inner_texts()
    names, printed = CASES[name].given(widget), ""
    code = copy.locator(".ins-code")
    if code.is_visible():
        printed = run_code(code.inner_text(), names)
    text = "\n".join([copy.inner_text(), *labels(page, k), "FACTS", *facts])
    return Shown(message, text, table, printed, names)


@pytest.mark.browser
@every_widget
def test_what_is_shown_are_pythons_numbers(copies: Copies, name: str) -> None:
    for widget, shown in zip(copies.widgets, copies.shown, strict=True):
        CASES[name].check(widget, shown)


@pytest.mark.browser
@pytest.mark.parametrize("name", [n for n in CASES if CASES[n].tables], scope="module")
def test_the_download_holds_pythons_numbers(copies: Copies, name: str) -> None:
    case = CASES[name]
    assert case.tables is not None
    for widget, shown in zip(copies.widgets, copies.shown, strict=True):
        for expected in case.tables(widget):
            compare(shown.table, expected, *case.tolerance)


def compare(found: pd.DataFrame | None, expected: pd.DataFrame, rtol: float, atol: float) -> None:
    """Either table holds the rows of the other, its ends too; the numbers are the same."""
    assert found is not None
    keys = expected.index.names
    ours, theirs = (
        frame.set_index(pd.MultiIndex.from_frame(frame[keys].map(as_key)))
        for frame in (expected.reset_index(), found)
    )
    assert ours.index.is_unique
    assert theirs.index.is_unique
    common = theirs.index.intersection(ours.index)
    assert len(common) == min(len(ours), len(theirs))
    assert {ours.index[0], ours.index[-1]} <= set(common)
    for column in expected.columns:
        values = theirs.loc[common, column].replace("", "nan").to_numpy(float)
        python = ours.loc[common, column].to_numpy(float)
        known = np.isfinite(python)
        np.testing.assert_allclose(values[known], python[known], rtol, atol, err_msg=column)
        # The one outgrows the format some steps before the other.
        assert not (np.abs(values[~known]) < 1e150).any()


def as_key(value: Any) -> str:
    """A number as both languages write it; else the text, or the name of a bin."""
    try:
        return f"{float(value):.12g}"
    except ValueError:
        ends = re.fullmatch(r"count from (\S+) to (\S+)", value)
        return str([f"{float(n.replace(',', '')):.5g}" for n in ends.groups()] if ends else value)


@pytest.mark.browser
@every_widget
def test_whatever_is_set_it_is_drawn_and_no_barrier(copies: Copies, name: str) -> None:
    page = copies.page
    for k in range(len(copies.widgets)):
        inside = "".join(pictures(page, k))
        assert re.search("<(path|rect|circle|line)", inside)
        assert re.search("NaN|undefined|Infinity", inside + copies.shown[k].message) is None
        assert all(len(label) > 20 for label in labels(page, k))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate(CUT_OFF) == []
    # Eight will do.
    few = page.add_style_tag(content=".cell_output:nth-of-type(n + 9) { display: none }")
    assert violations(page) == []
    few.evaluate("style => style.remove()")


@pytest.mark.browser
@every_widget
def test_labels_below_a_chart_stand_apart(copies: Copies, name: str) -> None:
    page = copies.page
    size = page.viewport_size
    assert size is not None
    try:
        for width in (390, 640, 1280):
            page.set_viewport_size({"width": width, "height": size["height"]})
            drawn(page)
            assert page.evaluate(CROWDED) == [], width
    finally:
        page.set_viewport_size(size)
        drawn(page)


@pytest.mark.browser
@every_widget
def test_a_finger_moves_one_copy(copies: Copies, name: str) -> None:
    page, last = copies.page, len(copies.widgets) - 1
    others, before = seen(page, 0), seen(page, last)
    slider = slider_of(page, name, last)
    slider.scroll_into_view_if_needed()
    page.touchscreen.tap(*place_on(slider, 0.3))
    assert seen(page, last)[1] != before[1]
    assert seen(page, 0) == others


# Two copies


def change_all(page: Page, k: int) -> None:
    """Change each control of a copy, one after the other."""
    for control in copy_of(page, k).locator("label :is(select, input)").all():
        if control.is_enabled():
            control.evaluate(CHANGE)
            drawn(page)


@pytest.mark.browser
@every_widget
def test_two_copies_on_a_page(name: str, open_page: Open) -> None:
    page = open_page(make(name), make(name))
    start = [seen(page, k) for k in range(2)]
    assert start[0] == start[1]
    slider = slider_of(page, name, 1)

    # By keyboard; what is not moved stays.
    slider.focus()
    page.keyboard.press("PageDown")
    by_keyboard = seen(page, 1)
    assert by_keyboard[1] != start[0][1]
    assert seen(page, 0) == start[0]

    # By pointer.
    slider.scroll_into_view_if_needed()
    page.mouse.click(*place_on(slider, 0.85))
    moved = seen(page, 1)
    assert moved[1] not in (start[0][1], by_keyboard[1])
    assert seen(page, 0) == start[0]

    assert len(set(labels(page, 1))) == len(labels(page, 1)) > 0
    # A map stays as it is; what is marked on it the other pictures and the sentence tell.
    maps = (
        copy_of(page, 1)
        .locator(".ins-chart")
        .evaluate_all("all => all.map((chart) => chart.closest('.ins-map') !== null)")
    )
    both = zip(start[1][1], moved[1], labels(page, 0), labels(page, 1), maps, strict=True)
    for was, now, before, after, is_map in both:
        assert (before == after) == (was == now or is_map)

    open_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 900
    assert page.evaluate(CUT_OFF) == []
    assert violations(page) == []

    # The address holds what is set, for this copy alone.
    code = copy_of(page, 1).locator(".ins-code")
    shown = code.inner_text()
    change_all(page, 1)
    assert (code.inner_text() == shown) == code.is_hidden()
    chosen, changed = copy_of(page, 1).evaluate(SETTINGS), seen(page, 1)
    assert seen(page, 0) == start[0]
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(); }")
    copy_of(page, 1).get_by_role("button", name="Copy link").click()
    link = urlsplit(copy_of(page, 1).locator(".ins-address").input_value())
    # What is in it besides and means nothing is noted and left out.
    traits = [setting.removeprefix(f"{name}-2.") for setting, _ in parse_qsl(link.query)]
    assert CASES[name].trait in traits
    wrong = [f"{trait}={value}" for trait in traits for value in ("<b>x", "", "NaN")]
    wrong += ["nothing=3", "message=no"]
    query = "&".join([link.query, "other=1", *(f"{name}-2.{one}" for one in wrong)])
    again = open_page(make(name), make(name), query=query)
    note = copy_of(again, 1).locator(".ins-note").first.inner_text()
    assert note.count("in the address is not understood and left out") == len(wrong)
    assert all(f'"{one}"' in note for one in wrong)
    assert copy_of(again, 1).evaluate(SETTINGS) == chosen
    assert seen(again, 1) == changed
    assert seen(again, 0) == start[0]

    if CASES[name].tables:  # a prediction has no way back but to try again
        press(page, "Reset", 1)
        assert seen(page, 1) == start[1]


@every_widget
def test_a_page_stays_light(name: str) -> None:
    assert added_to_a_page([make(name)]) < 1000 * CASES[name].kilobytes


# In a live kernel


@every_widget
def test_a_live_kernel_hears_the_browser(name: str, kernel: LiveKernel) -> None:
    """What the front end of a notebook sends arrives at ``observe``; what is wrong does not."""
    case = CASES[name]
    kernel.run(
        "from initscope import widgets\n"
        f"w, heard = widgets.{case.made}, []\n"
        f"w.observe(lambda change: heard.append(change.new), {case.trait!r})"
    )
    for values in (case.sends, {case.trait: case.wrong}):
        kernel.send("w", {**values, "message": "The browser says so."})
    sent = case.sends[case.trait]
    assert kernel.run(
        f"print(heard, {{name: getattr(w, name) for name in {[*case.sends]}}}, w)"
    ) == (f"[{sent}] {case.sends} {name}: The browser says so.")
    refused = kernel.run(
        f"try:\n    w.{case.trait} = {case.wrong}\n"
        "except Exception as error:\n    print(type(error).__name__, error)"
    )
    assert "TraitError" in refused or "SettingError" in refused
    assert case.words in refused
