"""Formulas are set as the book is built: seen in both colors, read aloud, refused where wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from book_pages import ROOT, Open, for_each, make_book, small_book
from docutils import nodes

sys.path.insert(0, str(ROOT / "book" / "_ext"))
from set_formulas import Typesetter, whole, with_glyphs


@pytest.fixture
def typesetter() -> Iterator[Typesetter]:
    typesetter = Typesetter()
    yield typesetter
    typesetter.close()


def test_a_formula_is_drawn_and_can_be_read(typesetter: Typesetter) -> None:
    formula = typesetter.set(r"\frac{a}{b} < \mathbb{E}[x]")
    assert formula.count("<use ") == 7
    assert "<rect " in formula  # the bar of the fraction
    assert "<mfrac><mi>a</mi><mi>b</mi></mfrac><mo>&lt;</mo>" in formula
    assert 'display="true"' not in formula
    assert 'display="true"' in typesetter.set("x", display=True)


def test_what_is_not_understood_is_said_and_the_next_formula_is_set(typesetter: Typesetter) -> None:
    with pytest.raises(ValueError, match=r"Undefined control sequence \\vraiance"):
        typesetter.set(r"\vraiance")
    with pytest.raises(ValueError, match="missing close brace"):
        typesetter.set("x^{2")
    assert "<use " in typesetter.set("x")


def test_a_page_holds_each_letter_that_it_uses_once_and_no_other(typesetter: Typesetter) -> None:
    typesetter.set("y")
    formulas = typesetter.set("x + x") + typesetter.set("x")
    page = with_glyphs(f'<article class="text">{formulas}</article>', typesetter.glyphs)
    assert page.count("<path ") == 2
    assert page.index('<path id="MJX-TEX-I-1D465"') < page.index("<use ")
    without = "<article>no formula</article>"
    assert with_glyphs(without, typesetter.glyphs) == without


@pytest.mark.parametrize(
    ("tex", "lines"), [("a = b", 1), ("a \\\\ b", 2), ("a\n\nb\n\nc", 3)], ids=str
)
def test_a_block_of_several_lines_is_one_formula(
    tex: str, lines: int, typesetter: Typesetter
) -> None:
    formula = typesetter.set(whole(nodes.math_block("", tex, nowrap=False)), display=True)
    assert max(formula.count("<mtr>"), 1) >= lines


def test_a_formula_that_cannot_be_set_stops_the_building(tmp_path: Path) -> None:
    small_book(tmp_path)
    (tmp_path / "_config.yml").symlink_to(ROOT / "_config.yml")
    (tmp_path / "book" / "index.md").write_text("# A book\n\nIt is $\\sgima$.\n")
    with pytest.raises(AssertionError, match=r"index\.md:3.*Undefined control sequence"):
        make_book(tmp_path)


@pytest.mark.browser
@for_each(["book/notation"])
def test_a_formula_has_the_color_of_the_text_around_it(name: str, look: Open) -> None:
    seen = set()
    for scheme in ("light", "dark"):
        pairs = look(scheme=scheme).page.evaluate(
            """() => [...document.querySelectorAll("article .math use")].map((letter) => {
                const { fill } = getComputedStyle(letter);
                return [fill, getComputedStyle(letter.closest(".math").parentElement).color];
            })"""
        )
        assert pairs
        assert all(fill == color for fill, color in pairs)
        seen |= {fill for fill, _ in pairs}
    assert len(seen) >= 2


@pytest.mark.browser
@for_each(["book/notation"])
def test_those_who_are_read_a_page_are_read_its_formulas(name: str, look: Open) -> None:
    page = look().page
    devtools = page.context.new_cdp_session(page)
    tree = devtools.send("Accessibility.getFullAXTree")["nodes"]
    devtools.detach()
    roles = [node.get("role", {}).get("value") for node in tree if not node["ignored"]]
    assert roles.count("MathMLMath") == page.locator("article .math").count() > 10


@pytest.mark.browser
@for_each(["notebooks/04_transformer_variance"])
def test_what_scrolls_says_so(name: str, look: Open) -> None:
    boxes = "article :is(div.math > mjx-container, .pst-scrollable-table-container)"
    told = f"""() => [...document.querySelectorAll("{boxes}")].map((box) => {{
        const more = box.scrollWidth > box.clientWidth + 1;
        const fades = getComputedStyle(box).maskImage !== "none";
        const said = box.getAttribute("aria-label") ?? "";
        const start = [more, box.dataset.more ?? "", fades, box.tabIndex, said];
        box.scrollLeft = box.scrollWidth;
        return start;
    }})"""
    on_phone = look(on_phone=True).page
    scrolls = [row for row in on_phone.evaluate(told) if row[0]]
    assert scrolls
    for _, more, fades, tab_index, said in scrolls:
        assert (more, fades, tab_index) == ("after", True, 0)
        assert said in ("Formula, scrolls sideways", "Table, scrolls sideways")
    on_phone.evaluate(
        "new Promise(requestAnimationFrame).then(() => new Promise(requestAnimationFrame))"
    )
    assert {row[1] for row in on_phone.evaluate(told) if row[0]} == {"before"}
    for more, side, fades, tab_index, said in look().page.evaluate(told):
        assert more or (side, fades, tab_index, said) == ("", False, -1, "")
