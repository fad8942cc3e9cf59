"""What every widget keeps to: in a page, on a phone, in the dark, by keyboard, in a live kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from live_kernel import LiveKernel
from playwright.sync_api import Browser, Locator, Page
from widget_page import ROOT, added_to_a_page, widget_page

from initscope import widgets

RESULTS = ROOT / "notebooks" / "results"
MAPPED = str(RESULTS / "05_std_sweep" / "cpu" / "mnist_depth.parquet")
RUN = str(RESULTS / "07_gpt2_qkv_dynamics" / "cpu" / "seed-0")


class Case(NamedTuple):
    """A widget, and what there is to know of it to try it.

    ``made`` is Python that makes it, ``slider`` the label of a slider, ``trait`` the trait of that
    slider. A browser ``sends`` a value for it, which a kernel takes, and ``wrong`` is one that it
    refuses, with ``words`` that say why. ``kilobytes`` is the most that it may add to a page,
    compressed, and ``columns`` are some of its table, none where it has none.
    """

    made: str
    slider: str
    trait: str
    sends: Any
    wrong: Any
    words: str
    kilobytes: float
    columns: set[str]


CASES = {
    "SignalPropagation": Case(
        "SignalPropagation(std=0.1, depth=10, width=32, draws=2)",
        "std of the weights", "std", 0.25, -1, "std must be from 0.0001 to 1000, not -1",
        45, {"direction", "layer", "log10_theory"},
    ),
    "AdamWEquilibrium": Case(
        "AdamWEquilibrium(preset='nanogpt')",
        "std at initialization", "std0", 0.5, 11, "std0 must be between 0.0001 and 10, not 11",
        40, {"step", "learning_rate"},
    ),
    "AttentionSaturation": Case(
        "AttentionSaturation()",
        "std of the logits, b", "logit_std", 0.5, 9, "logit_std must be from 0 to 8, not 9",
        40, {"logit_std", "predicted", "row"},
    ),
    "WineTraining": Case(
        "WineTraining(depth=4, width=8, epochs=2, seeds=2)",
        "std of the weights", "std", 0.5, 0.0, "0.0001",
        60, {"scheme", "seed", "test_loss"},
    ),
    "StabilityMap": Case(
        f"StabilityMap.from_tables({{'MNIST': {MAPPED!r}}}, std=0.1)",
        "std", "std", 1.0, 1e9, "std must lie between 0.0001 and 10 in 'MNIST'",
        90, {"widths", "std", "stat", "value"},
    ),
    "QKVTraining": Case(
        f"QKVTraining.from_folder({RUN!r})",
        "Step", "step", 400, 7, "step must be one of the 61 steps shown",
        50, {"step", "layer", "role", "stat", "value"},
    ),
    "Prediction": Case(
        "Prediction('Which std?', 0.0884, low=1e-4, high=10, guess=0.05, label='std')",
        "your guess", "guess", 0.2, 50, "guess must lie on the axis, 0.0001 to 10; got 50",
        25, set(),
    ),
}  # fmt: skip

# Numbers below the charts that end beyond them.
CUT_OFF = """[...document.querySelectorAll(".ins-chart")].flatMap((chart) => [
  ...chart.querySelectorAll("text[text-anchor=middle], text[text-anchor=end]"),
].filter((text) => {
  const right = text.getBoundingClientRect().right;
  return right > chart.getBoundingClientRect().right + 0.5;
}).map((text) => text.textContent))"""

# Where its controls stand.
SETTINGS = """widget => [...widget.querySelectorAll("label :is(input, select)")]
    .map((one) => (one.type === "checkbox" ? one.checked : one.value))"""

every_widget = pytest.mark.parametrize("name", CASES)


def make(name: str) -> widgets.BookWidget:
    return eval(f"widgets.{CASES[name].made}", {"widgets": widgets})


def test_every_widget_has_a_case() -> None:
    assert set(CASES) == set(widgets.__all__) - {"BookWidget", "show"}


# In a page

Open = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Open a page of widgets; what it complains of, and asks of others, fails the test."""
    wrong: list[str] = []
    contexts = []

    def open_page(shown: list, query: str = "", width: int = 900, dark: bool = False) -> Page:
        path = tmp_path / f"page-{len(contexts)}.html"
        path.write_text(widget_page(shown, dark=dark), encoding="utf8")
        context = browser.new_context(
            viewport={"width": width, "height": 900}, has_touch=width < 500, reduced_motion="reduce"
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None
        )
        page.on(
            "request",
            lambda r: (
                None if r.url.startswith(("file:", "blob:", "data:")) else wrong.append(r.url)
            ),
        )
        page.goto(path.as_uri() + query)
        page.locator("html[data-settled]").wait_for(state="attached")
        drawn(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def drawn(page: Page) -> None:
    """Wait until what was asked for is drawn and said."""
    page.evaluate(
        """async () => {
          const frame = () => new Promise((done) => requestAnimationFrame(done));
          for (let k = 0; k < 3; k += 1) await frame();
          const open = () => [...document.querySelectorAll(".ins-widget")].some((one) =>
            one.querySelector("[aria-busy=true]") || /^(Drawing .*)?$/.test(
              one.querySelector(".ins-message").textContent)
            || (({ asked, drawn }) => asked !== drawn)(one.querySelector(".ins-view").dataset));
          for (let k = 0; k < 600 && open(); k += 1) await frame();
          if (open()) throw new Error("it is not drawn");
        }"""
    )


def copy_of(page: Page, k: int) -> Locator:
    return page.locator(".ins-widget").nth(k)


def seen(page: Page, k: int) -> tuple[str, list[str]]:
    """The sentence and the pictures of a copy."""
    drawn(page)
    one = copy_of(page, k)
    return one.locator(".ins-message").inner_text(), [
        chart.inner_html() for chart in one.locator(".ins-chart").all()
    ]


def change_all(page: Page, k: int) -> None:
    """Choose another option of each choice of a copy, and turn each switch."""
    for control in copy_of(page, k).locator("label :is(select, [type=checkbox])").all():
        if control.is_enabled():
            control.evaluate(
                """(one) => {
                    if (one.type === "checkbox") return one.click();
                    one.selectedIndex = (one.selectedIndex + 1) % one.options.length;
                    one.dispatchEvent(new Event("change", { bubbles: true }));
                }"""
            )
            drawn(page)


def labels(page: Page, k: int) -> list[str]:
    """What those hear of the pictures of a copy who do not see them."""
    found: list[str] = (
        copy_of(page, k)
        .locator(".ins-chart")
        .evaluate_all("all => all.map((chart) => chart.ariaLabel)")
    )
    return found


def slider_of(page: Page, name: str, k: int = 0) -> Locator:
    return copy_of(page, k).get_by_role("slider", name=CASES[name].slider, exact=True).first


@pytest.mark.browser
@every_widget
@pytest.mark.parametrize(("width", "dark"), [(900, False), (390, True)], ids=["page", "phone"])
def test_two_copies_on_a_page(name: str, visit: Open, width: int, dark: bool) -> None:
    page = visit([make(name), make(name)], width=width, dark=dark)
    start = [seen(page, k) for k in range(2)]
    assert start[0] == start[1]
    slider = slider_of(page, name, 1)

    # By keyboard; what is not moved stays.
    slider.focus()
    page.keyboard.press("PageDown")
    by_keyboard = seen(page, 1)
    assert by_keyboard[1] != start[0][1]
    assert seen(page, 0) == start[0]

    # By pointer or finger.
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box is not None
    place = box["x"] + 0.85 * box["width"], box["y"] + box["height"] / 2
    page.touchscreen.tap(*place) if width < 500 else page.mouse.click(*place)
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

    # No barrier for those who hear it or look at it, with all open that can be.
    for button in copy_of(page, 1).get_by_role("button", name="Show me the Python").all():
        button.click()
    for fold in copy_of(page, 1).locator("summary").all():
        fold.click()
    found = Axe().run(page).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"][:120]) for v in found] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CUT_OFF) == []

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
    again = visit([make(name), make(name)], f"?{query}", width=width, dark=dark)
    note = copy_of(again, 1).locator(".ins-note").first.inner_text()
    assert note.count("in the address is not understood and left out") == len(wrong)
    assert all(f'"{one}"' in note for one in wrong)
    assert copy_of(again, 1).evaluate(SETTINGS) == chosen
    assert seen(again, 1) == changed
    assert seen(again, 0) == start[0]

    if CASES[name].columns:
        with page.expect_download() as download:
            copy_of(page, 1).get_by_role("button", name="Download CSV").click()
        table = pd.read_csv(download.value.path())
        assert set(table.columns) >= CASES[name].columns
        assert len(table) > 1
        copy_of(page, 1).get_by_role("button", name="Reset").click()
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
    for value in (case.sends, case.wrong):
        kernel.send("w", {case.trait: value, "message": "The browser says so."})
    assert kernel.run(f"print(heard, w.{case.trait}, w)") == (
        f"[{case.sends}] {case.sends} {name}: The browser says so."
    )
    refused = kernel.run(
        f"try:\n    w.{case.trait} = {case.wrong}\n"
        "except Exception as error:\n    print(type(error).__name__, error)"
    )
    assert "TraitError" in refused or "SettingError" in refused
    assert case.words in refused
