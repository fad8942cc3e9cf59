"""Pages on paper, as Chromium prints them from a dark screen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from book_pages import DOCUMENTS, for_each, parsed
from playwright.sync_api import Browser

PRINTED = [DOCUMENTS[0], "notebooks/01_variance_propagation", "notebooks/06_xavier_vs_kaiming"]

NAVIGATION = ("Full screen", "Scrolls sideways", "Show code cell source", "Skip to main content")


@dataclass
class Paper:
    """What came out: numbers of the pages, their text without them, and their brightness.

    Besides, whether the page was light or dark as it was printed, and afterwards.
    """

    numbers: list[tuple[str, str]]
    texts: list[str]
    pictures: list[np.ndarray]
    themes: list[str]


@pytest.fixture(scope="module")
def paper(name: str, browser: Browser, address: str) -> Iterator[Paper]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="dark")
    page = context.new_page()
    page.goto(f"{address}/{name}.html?SignalPropagation.depth=37")
    page.locator("html[data-settled]").wait_for(state="attached")
    theme = "document.documentElement.dataset.theme"
    page.evaluate(f"addEventListener('beforeprint', () => {{ window.printedIn = {theme}; }})")
    document = pypdfium2.PdfDocument(page.pdf(format="A4", prefer_css_page_size=True))
    said = [sheet.get_textpage().get_text_range() for sheet in document]
    numbers = [re.findall(r"(?m)^(\d+) / (\d+)\s*$", text) for text in said]
    assert all(len(found) == 1 for found in numbers), "a page has no number"
    yield Paper(
        [found[0] for found in numbers],
        # PDFium takes a hyphen at the end of a line for one that a program has put there.
        [re.sub(r"(?m)^\d+ / \d+\s*$", "", t, count=1).replace("\ufffe", "-") for t in said],
        [np.asarray(sheet.render(scale=1).to_pil().convert("L")) for sheet in document],
        [page.evaluate("printedIn"), page.evaluate(theme)],
    )
    document.close()
    context.close()


@pytest.mark.browser
@for_each(PRINTED)
def test_pages_are_numbered_and_none_is_empty(name: str, paper: Paper) -> None:
    count = len(paper.texts)
    assert count > 5
    assert paper.numbers == [(str(k), str(count)) for k in range(1, count + 1)]
    inked = [(picture[: -picture.shape[0] // 10] < 200).mean() for picture in paper.pictures]
    assert [k for k, share in enumerate(inked, 1) if share < 0.002] == []


@pytest.mark.browser
@for_each(PRINTED)
def test_paper_is_white_whatever_the_screen_is(name: str, paper: Paper) -> None:
    assert min(map(np.median, paper.pictures)) > 250
    assert paper.themes == ["light", "dark"]


@pytest.mark.browser
@for_each(PRINTED)
def test_all_code_is_printed_and_nothing_to_press(name: str, paper: Paper, site: Path) -> None:
    whole = re.sub(r"\s", "", "".join(paper.texts))
    blocks = [tag.get_text() for tag in parsed(site, name).select("article .cell_input pre")]
    assert blocks or name == DOCUMENTS[0]
    assert [code for code in blocks if re.sub(r"\s", "", code) not in whole] == []
    assert [words for words in NAVIGATION if words.replace(" ", "") in whole] == []
    title = parsed(site, name).select_one("article h1")
    assert title is not None
    words = re.sub(r"\s", "", title.get_text().removesuffix("#"))
    assert whole.startswith(words)
    assert not whole.removeprefix(words).startswith("Contents")


@pytest.mark.browser
@for_each(PRINTED[:2])
def test_an_instrument_is_printed_as_it_was_set(name: str, paper: Paper) -> None:
    assert "37layers" in re.sub(r"\s", "", "".join(paper.texts))
