"""Symbols, formulas and references explain themselves: by pointer, by focus, by tap."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest
from book_pages import CHAPTERS, DOCUMENTS, ROOT, Open, for_each, parsed
from playwright.sync_api import Browser, Locator, Page
from steadiness import RECORD_SHIFTS

sys.path.insert(0, str(ROOT / "book" / "_ext"))
import previews

CHAPTER = "notebooks/01_variance_propagation"


# --- which symbols a formula has -----------------------------------------------------------------


def told(docname: str, tex: str) -> list[str]:
    rows = previews.meanings(docname)
    return [rows[k][2] for k in previews.explained(tex, rows)]


def test_a_symbol_is_known_with_the_number_of_a_layer_and_no_other_is_taken_for_it() -> None:
    (std,) = told(CHAPTER, r"\sigma")
    assert std == "standard deviation of one initial weight"
    assert told(CHAPTER, r"\sigma_l^2") == [std]
    scaled = told(CHAPTER, r"\sigma_w^2")
    assert scaled != [std]
    assert "scaled by the width" in scaled[0]
    assert told(CHAPTER, r"c_{l-1} I") == []  # a constant of a proof, no correlation
    assert "correlation" in told(CHAPTER, "c^*")[0]
    assert len(told(CHAPTER, r"q_l = n_{\mathrm{in}}\,\sigma^2 E[\phi^2]")) == 4
    assert told(CHAPTER, r"\mathrm{ReLU}(x), \operatorname{Var}") == []


def test_a_letter_means_what_it_means_in_its_chapter() -> None:
    assert told(CHAPTER, "L") == ["depth: number of weight layers, input to output"]
    assert told("notebooks/07_gpt2_qkv_dynamics", "L")[0].startswith("number of blocks")
    assert "share of the start" in told("notebooks/08_noise_and_drift", "s")[0]
    assert "embeddings" in told("notebooks/04_transformer_variance", "s")[0]


def test_no_letter_is_explained_where_it_means_something_else() -> None:
    assert told(CHAPTER, r"\partial \mathcal L, \mathcal{L}, \mathcal W_l") == []
    assert told("notebooks/03_finite_width", "b + c") == []
    assert told("notebooks/04_transformer_variance", r"q_t \cdot \delta_t, c") == []
    assert told("notebooks/05_std_sweep", "c / T") == []
    assert told("notebooks/07_gpt2_qkv_dynamics", r"\ln \sigma_T, T, t") == []
    letters = {key[0] for rows in previews.notation().values() for keys, *_ in rows for key in keys}
    assert set().union(*previews.OTHERWISE.values()) <= letters


def test_every_row_of_symbols_is_read() -> None:
    lines = (ROOT / "book" / "notation.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| $")]
    # Composed ones stand beside the symbols they are made of.
    composed = [line for line in rows if re.match(r"\| \$(\\sqrt|\\langle|1/)", line)]
    known = [row for rows_of in previews.notation().values() for row in rows_of]
    assert len(known) == len(rows) - len(composed) > 20
    assert all(look and meaning and "\\" not in look + meaning for _, look, meaning in known)
    assert not any("sqrt" in look for _, look, _ in known)


@for_each(DOCUMENTS)
def test_copies_of_other_pages_need_nothing_of_them(name: str, site: Path) -> None:
    """Their formulas are MathML, their pictures are found, and no id stands twice."""
    page = parsed(site, name)
    for copy in page.select("template[data-copy-of]"):
        assert copy.get_text(strip=True) or copy.select("img")
        assert copy.select("[id], use, .headerlink, script") == []
        for image in copy.select("img"):
            assert (site / name).parent.joinpath(unquote(image["src"])).exists()


@for_each(CHAPTERS)
def test_most_formulas_of_a_chapter_are_explained(name: str, site: Path) -> None:
    formulas = parsed(site, name).select("article .math")
    marked = [one for one in formulas if any("symbols-" in c for c in one["class"])]
    assert len(marked) > 0.3 * len(formulas)


# --- in a real browser ---------------------------------------------------------------------------


def card_of(page: Page) -> Locator:
    return page.locator("#preview")


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_formula_is_explained_by_pointer_and_by_keyboard(visit: Open, scheme: str) -> None:
    page = visit(f"{CHAPTER}.html", scheme=scheme).page
    page.evaluate(f"() => {{ {RECORD_SHIFTS} }}")
    card = card_of(page)
    formula = page.locator("article span[class*=symbols-]", has=page.locator("svg, math")).nth(2)
    formula.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    page.evaluate("() => { shifts.length = 0; }")
    formula.hover()
    card.wait_for()
    assert card.locator("dt").count() >= 1
    assert len(card.locator("dd").first.inner_text()) > 5
    assert formula.get_attribute("aria-describedby") == "preview"
    inside = card.bounding_box()
    assert inside is not None
    assert inside["x"] >= 0
    assert inside["x"] + inside["width"] <= 1280
    card.hover()  # it can be reached and stays
    page.wait_for_timeout(500)
    assert card.is_visible()
    page.keyboard.press("Escape")
    assert not card.is_visible()
    assert formula.get_attribute("aria-describedby") is None
    # By keyboard: what is new on the page has a place in the order.
    reached = page.locator("article [class*=symbols-][tabindex='0']")
    assert 3 < reached.count() < 60
    first = reached.first
    first.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    page.keyboard.press("Tab")  # so that what has the focus is seen
    first.focus()
    assert card.is_visible()
    page.keyboard.press("Tab")
    page.wait_for_timeout(50)
    assert first.get_attribute("aria-describedby") is None
    assert page.evaluate("shifts.reduce((sum, one) => sum + one.value, 0)") == 0


@pytest.mark.browser
@for_each(DOCUMENTS)
def test_references_show_what_they_lead_to(name: str, visit: Open) -> None:
    """Every link to a place, on its page or another, has something to show; also from a file."""
    page = visit(f"{name}.html", from_file=True).page
    silent = page.evaluate(
        """async () => {
            const seen = new Set();
            const silent = [];
            const links = document.querySelectorAll("article a.reference.internal[href*='#']");
            for (const link of links) {
                if (seen.has(link.href) || !link.getClientRects().length) continue;
                seen.add(link.href);
                const over = { bubbles: true, pointerType: "mouse" };
                link.dispatchEvent(new PointerEvent("pointerover", over));
                await new Promise((done) => setTimeout(done, 270));
                const card = document.getElementById("preview");
                const text = card.textContent.trim();
                const shows = text.length > 3 || card.querySelector("img, svg, math");
                const within = document.getElementById(link.hash.slice(1))?.contains(link);
                if ((card.hidden || !shows) && !within) silent.push(link.outerHTML.slice(0, 160));
                document.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape" }));
            }
            return silent;
        }"""
    )
    assert silent == []


@pytest.mark.browser
def test_a_finger_sees_the_card_before_it_goes(browser: Browser, address: str) -> None:
    context = browser.new_context(has_touch=True, viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(f"{address}/{CHAPTER}.html")
    page.locator("html[data-settled]").wait_for(state="attached")
    link = page.locator("article a.reference.internal[href='#prop-one-layer']").first
    link.scroll_into_view_if_needed()
    page.wait_for_timeout(400)
    link.tap()
    card = card_of(page)
    card.wait_for()
    assert "mean 0" in card.inner_text()
    assert page.url.endswith(".html")
    box = card.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    card.get_by_role("link", name="Go there").tap()
    page.wait_for_timeout(200)
    assert page.url.endswith("#prop-one-layer")
    formula = page.locator("article [class*=symbols-][tabindex='0']").first
    formula.scroll_into_view_if_needed()
    page.wait_for_timeout(400)
    formula.tap()
    card.wait_for()
    assert card.locator("dd").count() >= 1
    context.close()
