"""The front page: a story in steps that set the stage, and a card for each claim of the paper."""

from __future__ import annotations

import json
import math
import re

import pytest
from book_pages import ROOT, Open, parsed
from playwright.sync_api import Page

from initscope.claims import Finding
from initscope.theory import NUMBER_FORMATS, propagate, residual_propagate, scheme_std

WINDOWS = [(1280, 720), (1440, 900), (390, 844), (640, 450)]
WIDTH, DEPTH = 256, 50

SEEN = """([button, widget]) => {
    const header = document.querySelector(".bd-header-article");
    const under = header ? header.getBoundingClientRect().bottom : 0;
    const parts = [button, ...widget.querySelectorAll(".ins-panel .ins-chart")];
    return parts.slice(0, 3).map((part) => {
        const { top, bottom, left, right } = part.getBoundingClientRect();
        return top >= Math.max(0, under) - 1 && bottom <= innerHeight + 1
            && left >= 0 && right <= innerWidth;
    });
}"""


def frames(page: Page, count: int = 3) -> None:
    for _ in range(count):
        page.evaluate("() => new Promise((done) => requestAnimationFrame(done))")


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), WINDOWS)
def test_each_step_moves_the_stage_in_sight(
    visit: Open, width: int, height: int, scheme: str
) -> None:
    page = visit("book/index.html", width=width, scheme=scheme).page
    page.set_viewport_size({"width": width, "height": height})
    frames(page)
    widget = page.locator(".live-widget").first
    steps = widget.locator(".steps > ol > li")
    assert steps.count() == 5
    before = None
    for step in steps.all():
        buttons = step.locator("button.move")
        assert buttons.count() >= 1
        for button in buttons.all():
            button.click()
            frames(page)
            assert button.get_attribute("aria-pressed") == "true"
            seen = page.evaluate(SEEN, [button.element_handle(), widget.element_handle()])
            assert seen == [True, True, True], button.inner_text()
            formula = widget.locator(".ins-alive").inner_text()
            assert formula != before
            before = formula
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_what_the_steps_say_is_so(site) -> None:
    """Their words, against theory at the settings of their buttons."""
    (steps,) = parsed(site, "book/index").select(".steps > ol")
    settings = [button["data-settings"] for button in steps.select(".move")]
    kaiming = scheme_std("kaiming", WIDTH, WIDTH)
    stds = [float(one) for text in settings for one in re.findall(r"\bstd=([\d.]+)", text)]
    assert stds == pytest.approx([kaiming / 10, kaiming / 10, kaiming / math.sqrt(DEPTH)], rel=1e-3)

    def signal(std: float, **options: bool) -> list[float]:
        if options:
            return list(residual_propagate(WIDTH, DEPTH, "relu", std, **options).forward)
        return list(propagate([WIDTH] * (DEPTH + 1), "relu", std).forward)

    small = signal(stds[0])
    assert small[2] / small[1] == pytest.approx(0.01, rel=1e-3)
    smallest = NUMBER_FORMATS["float32"].smallest_normal / 2**23  # the smallest there is
    gone = next(layer for layer, value in enumerate(small) if math.sqrt(value) < smallest)
    assert gone < 0.95 * DEPTH
    xavier = signal(scheme_std("xavier", WIDTH, WIDTH))
    assert xavier[2] / xavier[1] == pytest.approx(0.5)
    assert kaiming / scheme_std("xavier", WIDTH, WIDTH) == pytest.approx(math.sqrt(2))
    assert signal(kaiming)[-1] == pytest.approx(signal(kaiming)[1])
    both = {"residual": True, "layer_norm": True}
    assert 1 < signal(stds[1], **both)[-1] < 2
    grown = signal(kaiming, **both)
    assert grown[-1] - grown[-2] == pytest.approx(1, rel=1e-3)
    assert signal(stds[2], **both)[-1] == pytest.approx(2, rel=1e-2)


# --- cards ---------------------------------------------------------------------------------------

RECORDS = {
    path.stem: path
    for path in ROOT.glob("notebooks/results/0[567]_*/cpu/findings/*.json")
    if json.loads(path.read_text())["kind"] == "claims"
}
KEYS = ["E1a", "E1b", "E2a", "E2a-one-rate", "E2b", "E2c", "E3a", "E3b", "E3c"]
KEYS += ["R1", "R2", "R3", "R4"]


def test_every_claim_of_the_paper_has_a_card_from_its_record(site) -> None:
    page = parsed(site, "book/index")
    cards = page.select(".verdicts > .verdict")
    assert set(KEYS) == set(RECORDS)
    for card, key in zip(cards, KEYS, strict=True):
        finding = Finding.read(RECORDS[key])
        label = card.select_one(".verdict-claim em").get_text()
        assert label.replace(", ", "-").replace(" ", "-") == key
        assert card.select_one(".verdict-outcome").get_text().strip().lower() == finding.result
        assert f"verdict-{finding.result.replace(' ', '-')}" in card["class"]
        short = card.select_one(".verdict-short").get_text()
        assert len(short.split()) <= 20
        assert len(re.findall(r"\d[\d.,]*", short)) <= 2
        pictures = card.select(".verdict-picture svg")
        for picture, cases in zip(pictures, (finding.in_scope, finding.beyond), strict=False):
            if picture.select("rect") or not finding.effect:
                shares = [len(picture.select(f"rect.case-{k}")) for k in ("for", "against", "open")]
                assert shares == [cases.support, cases.contradict, cases.undecided]
                said = picture["aria-label"]
                assert [int(n) for n in re.findall(r"\d+", said)] == shares
            else:
                assert picture["aria-label"] == finding.effect.in_words
        assert pictures
        fold = card.select_one("details > summary").get_text()
        assert fold == "The numbers"
        assert finding.runs == int(
            re.search(r"([\d,]+) runs?,", card.get_text())[1].replace(",", "")
        )
    order = [card.find_parent(class_="verdicts") for card in cards]
    assert len({id(one) for one in order}) == 1
    (table,) = cards[0].find_parent(class_="verdicts").find_next_siblings("details")
    assert len(table.select(".findings tbody tr")) > len(cards)


@pytest.mark.browser
def test_an_outcome_is_a_word_and_a_sign_and_its_numbers_fold_out(visit: Open) -> None:
    page = visit("book/index.html").page
    card = page.locator(".verdict").first
    signs = {
        one.locator(".verdict-outcome").inner_text(): one.locator(".verdict-icon").inner_html()
        for one in page.locator(".verdict").all()
    }
    assert len(signs) == len(set(signs.values())) == 4
    assert not card.locator(".verdict-numbers").is_visible()
    card.locator("summary").click()
    assert card.locator(".verdict-numbers").is_visible()
    assert card.locator(".verdict-numbers a").count() >= 2
