"""Predict, then be told, in a real browser: what waits, what opens it, and what is kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from book_pages import (
    CHAPTERS,
    DOCUMENTS,
    ROOT,
    STATE,
    WIDGETS,
    Open,
    for_each,
    opener,
    parsed,
    violations,
)
from playwright.sync_api import Browser, Locator, Page

ASKING = [name for name in DOCUMENTS if "Prediction" in WIDGETS[name]]
SWEEP = "notebooks/05_std_sweep"
PAIRS = "notebooks/06_xavier_vs_kaiming"

WAITING = {SWEEP: ["StabilityMap"], "notebooks/07_gpt2_qkv_dynamics": ["QKVTraining"]}
"""Instruments that show what a guess asks for."""


def guesses_of(page: Page) -> list[Locator]:
    return page.locator('[data-widget^="Prediction"]').all()


def waiting(page: Page) -> list[str]:
    """What waits for a guess, as its line says."""
    return [bar.inner_text() for bar in page.locator(".guess-bar:visible").all()]


def kept(page: Page) -> dict:
    return json.loads(page.evaluate("localStorage.getItem('guesses') ?? '{}'"))


def guess(page: Page, widget: Locator) -> None:
    """Make a guess with the keyboard alone: move, and reveal."""
    widget.locator("input[type=range]").first.focus()
    page.keyboard.press("ArrowLeft")
    button = widget.get_by_role("button", name="Reveal the answer")
    # The move is seen with the next frame, which may be late on a busy machine.
    button.and_(page.locator("[aria-disabled=false]")).wait_for()
    button.focus()
    page.keyboard.press("Enter")
    widget.get_by_text("You said").wait_for()


@pytest.fixture
def fresh(browser: Browser, address: str, site: Path) -> Iterator[Open]:
    """Open pages in one browser that has kept nothing: those opened later find what was kept."""
    with opener(browser, address, site) as open_page:
        yield open_page


@for_each(CHAPTERS)
def test_every_chapter_asks_and_draws_each_guess_below_its_question(name: str, site: Path) -> None:
    page = parsed(site, name)
    asked = WIDGETS[name].count("Prediction")
    assert asked >= 1
    order = page.select('article [id^="fig-predict-"], article .guess-marks')
    questions = [k for k, one in enumerate(order) if one.get("id", "").startswith("fig-predict-")]
    assert len(questions) == asked
    panels = {
        k: {number for panel in json.loads(one["data-panels"]) for number in panel["guesses"]}
        for k, one in enumerate(order)
        if "guess-marks" in one.get("class", [])
    }
    for guess, place in enumerate(questions, 1):
        drawn = [k for k, guesses in panels.items() if guess in guesses]
        assert drawn, f"guess {guess} is drawn in no figure"
        assert min(drawn) > place
    # What answers it waits for it.
    for one in page.select("article .guess-marks"):
        waits = one.find_parent(class_="after-guess")
        assert waits is not None
        numbers = {n for panel in json.loads(one["data-panels"]) for n in panel["guesses"]}
        assert numbers <= set(map(int, waits["data-after"].split()))


@pytest.mark.browser
@for_each(ASKING)
def test_the_finding_waits_and_is_there_all_the_same(name: str, look: Open, site: Path) -> None:
    """Nobody sees, hears or reaches it; in the source of the page it stands."""
    for on_phone in (True, False):
        page = look(on_phone=on_phone).page
        assert waiting(page)[0].startswith("The finding, after your guess")
        answers = page.locator(".after-guess > .answer")
        assert answers.count() == len(waiting(page))
        for answer in answers.all():
            assert answer.bounding_box()["height"] == 0  # type: ignore[index]
            seen = "e => e.checkVisibility({ visibilityProperty: true })"
            assert not answer.evaluate(f"a => [a, ...a.querySelectorAll('*')].some({seen})")
    text = parsed(site, name).select_one(".answer")
    assert text is not None
    assert "What comes out." in text.get_text()
    assert "What comes out." not in page.locator("article").aria_snapshot()
    inside = page.locator(".answer [data-widget]").all()
    assert [one.get_attribute("data-widget") for one in inside] == WAITING.get(name, [])


@pytest.mark.parametrize("name", ASKING)
def test_every_start_is_far_from_the_answer(name: str) -> None:
    from initscope.widgets import Prediction

    notebook = json.loads((ROOT / f"{name}.ipynb").read_text())
    stored = [model["state"] for model in notebook["metadata"]["widgets"][STATE]["state"].values()]
    asked = [state for state in stored if state.get("_anywidget_id", "").endswith(".Prediction")]
    assert len(asked) == WIDGETS[name].count("Prediction")
    for state in asked:
        truth = state["truth"] if state["kind"] == "band" else state["truth"][0]
        names = ("low", "high", "guess", "guess_high", "thresholds")
        given = {key: state[key] for key in names}
        kind = "band" if state["kind"] == "band" else "value"
        log = state["logarithmic"]
        start = Prediction("?", truth, kind, log=log, revealed=True, **given)
        assert start.difference()["score"] == "far", state["question"]
        assert not state["revealed"]


@pytest.mark.browser
@pytest.mark.parametrize(
    ("name", "on_phone"),
    [*((name, False) for name in ASKING), (SWEEP, True), (PAIRS, True)],
    ids=[*(Path(name).name for name in ASKING), "05 on a dark phone", "06 on a dark phone"],
)
def test_guesses_open_what_waits_for_them_and_are_scored(
    name: str, on_phone: bool, fresh: Open
) -> None:
    where = {"width": 390, "scheme": "dark", "from_file": True} if on_phone else {}
    page = fresh(f"{name}.html", **where).page
    score = page.locator(".guess-score")
    widgets = guesses_of(page)
    assert f"None of {len(widgets)} made yet." in score.inner_text()
    left = len(waiting(page))
    for k, widget in enumerate(widgets, 1):
        guess(page, widget)
        assert len(waiting(page)) < left or k < len(widgets)
        left = len(waiting(page))
        assert f"{k} of {len(widgets)} made: " in score.inner_text()
    assert waiting(page) == []
    assert page.locator(".answer").first.is_visible()
    scores = [one["score"] for one in kept(page)["pages"][Path(name).name].values()]
    words = {"close": "close", "near": "near", "far": "far off"}
    for word in set(scores):
        assert f"{scores.count(word)} {words[word]}" in score.inner_text()
    # Each is drawn in a figure, within it, and where the axis has it.
    # A phone shows copies of the figure, panel by panel: test_readable_figures.py.
    marks = page.locator(".guess-mark:visible").all()
    panels = page.locator(".guess-marks:visible").evaluate_all(
        "all => all.flatMap((one) => JSON.parse(one.dataset.panels))"
    )
    assert len(marks) == sum(len(panel["guesses"]) for panel in panels) >= len(widgets)
    seen = 0
    for mark in marks:
        panel = mark.evaluate("m => m.closest('.guess-figure').getBoundingClientRect().toJSON()")
        picture = mark.evaluate(
            "m => m.closest('.guess-figure').querySelector('img').getBoundingClientRect().toJSON()"
        )
        if panel["width"] <= 1:  # of a figure in panels the whole is read, and not seen
            continue
        seen += 1
        assert panel["width"] == pytest.approx(picture["width"], abs=1)
        assert panel["height"] == pytest.approx(picture["height"], abs=8)
        box = mark.bounding_box()
        assert box is not None
        assert picture["left"] - 1 <= box["x"]
        assert box["x"] + box["width"] <= picture["right"] + 3
    assert seen >= len(widgets)
    # The first guess counts; another one is shown, and not scored.
    before = kept(page)
    widgets[0].get_by_role("button", name="Try again").click()
    widgets[0].get_by_role("button", name="Reveal the answer").wait_for()
    page.wait_for_timeout(100)
    widgets[0].locator("input[type=range]").first.focus()
    page.keyboard.press("Home")
    widgets[0].get_by_role("button", name="Reveal the answer").click()
    widgets[0].get_by_text("You said").wait_for()
    assert kept(page) == before
    page.wait_for_timeout(500)  # the address follows the controls
    # Who comes again finds all as it was left, before anything is drawn.
    page.reload()
    page.locator("html[data-widgets=ready]").wait_for(state="attached")
    assert waiting(page) == []
    for widget in guesses_of(page):
        widget.get_by_text("You said").wait_for()
    assert page.locator(".guess-mark:visible").count() == len(marks)
    assert violations(page) == ""
    # And may forget it.
    score.get_by_role("button", name="Forget my guesses").click()
    page.locator("html.awaits-1[data-widgets=ready]").wait_for(state="attached")
    assert len(waiting(page)) > 1
    assert page.locator(".guess-mark").count() == 0
    page.get_by_role("button", name="Reveal the answer").first.wait_for()


@pytest.mark.browser
def test_a_guess_is_drawn_where_the_axis_has_it(fresh: Open) -> None:
    page = fresh(f"{PAIRS}.html").page
    guess(page, guesses_of(page)[0])
    (said,) = kept(page)["pages"][Path(PAIRS).name]["1"]["guess"]
    # The labels of a logarithmic axis: 10^0 and 10^1 are read from the picture itself.
    figure = page.locator(".guess-figure").first
    marks = figure.locator(".guess-marks")
    (panel,) = json.loads(marks.get_attribute("data-panels") or "")
    whole, mark = marks.bounding_box(), figure.locator(".guess-mark").bounding_box()
    assert whole is not None
    assert mark is not None
    low, high = panel["ends"]
    share = 1 - ((mark["y"] - whole["y"]) / whole["height"] - panel["box"][1]) / panel["box"][3]
    if low < said < high:
        assert low * (high / low) ** share == pytest.approx(said, rel=0.05)
    else:
        assert share == pytest.approx(float(said > low), abs=0.01)


@pytest.mark.browser
@pytest.mark.parametrize(
    ("key", "said"), [("Home", "your guess, lower"), ("End", "your guess, higher")]
)
def test_a_guess_beyond_the_axis_stands_at_its_end_and_says_so(
    key: str, said: str, fresh: Open
) -> None:
    page = fresh("notebooks/08_noise_and_drift.html").page
    guess(page, guesses_of(page)[0])
    widget = guesses_of(page)[1]
    slider = widget.locator("input[type=range]").first
    slider.focus()
    page.keyboard.press(key)
    button = widget.get_by_role("button", name="Reveal the answer")
    button.and_(page.locator("[aria-disabled=false]")).wait_for()
    button.click()
    widget.get_by_text("You said").wait_for()
    marks = page.locator(".guess-marks:visible").last
    (panel,) = json.loads(marks.get_attribute("data-panels") or "")
    label = marks.locator(".guess-mark > span")
    assert label.inner_text() == said
    whole, box = marks.bounding_box(), label.bounding_box()
    assert whole is not None
    assert box is not None
    top = whole["y"] + panel["box"][1] * whole["height"]
    bottom = top + panel["box"][3] * whole["height"]
    assert top <= box["y"] < box["y"] + box["height"] <= bottom
    end = box["y"] + box["height"] - bottom if key == "Home" else box["y"] - top
    assert abs(end) < 6


@pytest.mark.browser
def test_who_skips_skips_in_all_chapters_and_may_come_back(fresh: Open) -> None:
    page = fresh(f"{SWEEP}.html").page
    button = page.get_by_role("button", name="skip all guesses").first
    button.focus()
    page.keyboard.press("Enter")
    assert waiting(page) == []
    # What was opened has the keyboard, so that it goes on there.
    assert page.evaluate("document.activeElement.className") == "answer"
    assert "You skipped them." in page.locator(".guess-score").inner_text()
    page.goto(page.url.replace(Path(SWEEP).name, Path(PAIRS).name))
    page.locator("html[data-widgets=ready]").wait_for(state="attached")
    assert waiting(page) == []
    page.get_by_role("button", name="Guess after all").click()
    page.locator("html.awaits-1[data-widgets=ready]").wait_for(state="attached")
    assert len(waiting(page)) > 1


@pytest.mark.browser
@pytest.mark.parametrize("already_there", [False, True])
def test_a_link_into_an_answer_arrives(already_there: bool, fresh: Open) -> None:
    if already_there:
        page = fresh(f"{SWEEP}.html").page
        page.locator("a[href='#fig-bands']").last.evaluate("link => link.click()")
    else:
        page = fresh(f"{SWEEP}.html#fig-bands").page
    page.wait_for_timeout(200)
    figure = page.locator("#fig-bands")
    assert figure.is_visible()
    box = figure.bounding_box()
    assert box is not None
    assert -1 <= box["y"] <= 200
    assert not any(bar.startswith("The finding") for bar in waiting(page))
    assert len(waiting(page)) > 1
    # It stays open when the reader goes on.
    page.evaluate("location.hash = '#the-networks'")
    page.wait_for_timeout(100)
    assert figure.is_visible()


@pytest.mark.browser
def test_a_preview_does_not_tell_what_waits(fresh: Open) -> None:
    page = fresh(f"{SWEEP}.html").page

    def previewed() -> Locator:
        page.mouse.move(0, 0)
        page.locator(".preview:visible").first.wait_for(state="detached")
        page.locator("article a[href='#fig-bands']:visible").first.hover()
        shown = page.locator(".preview:visible")
        shown.wait_for()
        return shown

    waits = previewed()
    assert waits.inner_text() == "An answer that waits for your guess."
    assert waits.locator("img").count() == 0
    page.get_by_role("button", name="skip all guesses").first.click()
    told = previewed()
    assert "waits" not in told.inner_text()
    assert told.locator("img").count() == 1


@pytest.mark.browser
def test_where_nothing_can_be_kept_the_page_still_works(fresh: Open) -> None:
    page = fresh("book/notation.html").page
    page.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new Error('refused'); } })"
    )
    page.goto(page.url.replace("book/notation", PAIRS))
    page.locator("html[data-widgets=ready]").wait_for(state="attached")
    guess(page, guesses_of(page)[0])
    assert not any(bar.startswith("The finding") for bar in waiting(page))
    page.get_by_role("button", name="skip all guesses").first.click()
    assert waiting(page) == []


@pytest.mark.browser
@pytest.mark.parametrize("stored", ["nonsense", "null", "[]", '{"pages": 3}', '{"pages": null}'])
def test_what_is_kept_may_be_nonsense(stored: str, fresh: Open) -> None:
    page = fresh("book/notation.html").page
    page.evaluate("text => localStorage.setItem('guesses', text)", stored)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(page.url.replace("book/notation", PAIRS))
    page.locator("html[data-widgets=ready]").wait_for(state="attached")
    assert waiting(page)
    guess(page, guesses_of(page)[0])
    assert errors == []
    assert kept(page)["pages"][Path(PAIRS).name]["1"]["score"]


@pytest.mark.browser
@for_each(ASKING)
def test_on_paper_and_without_scripts_everything_is_shown(
    name: str, look: Open, browser: Browser, address: str
) -> None:
    page = look().page
    assert waiting(page)
    page.emulate_media(media="print")
    try:
        assert page.locator(".guess-bar:visible").count() == 0
        assert all(answer.is_visible() for answer in page.locator(".answer").all())
    finally:
        page.emulate_media(media="null")
    context = browser.new_context(java_script_enabled=False)
    try:
        plain = context.new_page()
        plain.goto(f"{address}/{name}.html")
        assert plain.locator(".guess-bar:visible").count() == 0
        assert plain.get_by_text("What comes out.").first.is_visible()
        assert plain.locator(".guess-score:visible, .code-switch:visible").count() == 0
    finally:
        context.close()


def test_a_mark_of_a_guess_that_there_is_not_stops_the_building() -> None:
    """The number of rules in the style sheet is that of the extension."""
    rules = (ROOT / "book" / "_static" / "book.css").read_text().count(".after-guess[data-after~=")
    script = (ROOT / "book" / "_static" / "guesses.js").read_text()
    source = (ROOT / "book" / "_ext" / "guesses.py").read_text()
    assert f"MOST = {rules}\n" in source
    assert f"const MOST = {rules};" in script


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_what_waits_in_a_published_chapter_waits_for_guesses_that_it_asks(path: Path) -> None:
    notebook = json.loads(path.read_text())
    (widgets,) = notebook["metadata"]["widgets"].values()
    asked = sum("question" in model["state"] for model in widgets["state"].values())
    text = "\n".join("".join(cell["source"]) for cell in notebook["cells"])
    numbers = [int(k) for line in re.findall(r"^:guesses: (.*)$", text, re.M) for k in line.split()]
    assert all(1 <= k <= asked for k in numbers)
