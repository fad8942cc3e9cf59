"""Every page of the built book: what it holds, and how a real browser shows it.

The tests of a page stand together, those of its widgets included, for they share it: to load a
page takes longer than to look at it. Without Chromium, those that need it are skipped,
or fail if ``INITSCOPE_BROWSER=required``.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from book_pages import (
    ABOUT_COLORS,
    CHAPTERS,
    DOCUMENTS,
    KEY,
    PAGES_WITH_WIDGETS,
    ROOT,
    WIDGETS,
    Open,
    for_each,
    keys,
    launch_links,
    live_widgets,
    opened_at,
    parsed,
    skip_guesses,
    violations,
)
from playwright.sync_api import Page
from steadiness import moved_by_dragging


@pytest.mark.browser
@pytest.mark.parametrize("on_phone", [False, True], ids=["served", "file on a phone"])
@for_each(DOCUMENTS)
def test_page_needs_no_other_host_and_reports_no_error(
    name: str, on_phone: bool, look: Open
) -> None:
    opened = look(on_phone=on_phone)
    assert opened.outside == []
    assert opened.failed == []
    assert opened.errors == []
    assert opened.page.locator("article h1").count() == 1


@pytest.mark.browser
@pytest.mark.parametrize("on_phone", [False, True], ids=["wide", "phone"])
@for_each(DOCUMENTS)
def test_nothing_moves_as_a_page_loads(name: str, on_phone: bool, look: Open) -> None:
    """As on a slow line: nothing on the first screen, and no heading or widget below it."""
    seen = look(on_phone=on_phone)
    assert sum(shift["value"] for shift in seen.shifts) < 0.05, seen.shifts
    assert [mark for mark, was, now in seen.moved if not -2 < now - was < 2] == []
    # A long table comes in pieces, each of which would set the widths of its columns anew.
    long = seen.page.locator("article table:has(tr:nth-child(20))").evaluate_all(
        """all => all.filter((one) => {
            const { display, tableLayout } = getComputedStyle(one);
            const { top, height } = one.getBoundingClientRect();
            const at = top + scrollY;
            return height && at < innerHeight / 2 && display === "table" && tableLayout === "auto";
        }).map((one) => one.textContent.trim().slice(0, 60))"""
    )
    assert long == []


@pytest.mark.browser
@for_each(DOCUMENTS)
def test_every_formula_is_set(name: str, look: Open, site: Path) -> None:
    built = parsed(site, name)
    formulas = built.select("article .math")
    assert len(built.select("article .math > mjx-container > svg")) == len(formulas)
    assert len(built.select("article .math math > *")) >= len(formulas)
    letters = {str(path["id"]) for path in built.select(".glyphs path[id]")}
    used = {str(use["href"]).removeprefix("#") for use in built.select("mjx-container use")}
    assert used == letters  # no letter is missing, and none stands there for nothing
    assert "mathjax" not in str(built.select("script")).lower()
    page = look().page
    boxes = page.locator("article .math > mjx-container > svg").evaluate_all(
        """all => all.filter((one) => one.checkVisibility()).map((one) => {
            const { width, height } = one.querySelector("g").getBoundingClientRect();
            return Math.min(width, height);
        })"""
    )
    assert all(size > 0 for size in boxes)
    text = page.locator("article").inner_text()
    code = "".join(page.locator("article pre, article code").all_inner_texts())
    for sign in (r"\(", r"\[", "$$"):
        assert text.count(sign) == code.count(sign), f"raw {sign} in the text"


@pytest.mark.browser
@for_each(DOCUMENTS)
def test_punctuation_stays_with_its_formula(name: str, look: Open) -> None:
    page = look().page
    window = page.viewport_size
    assert window is not None
    try:
        for width in (1280, 900, 560, 320):
            page.set_viewport_size({"width": width, "height": window["height"]})
            signs = page.evaluate(
                r"""() => [...document.querySelectorAll("article span.math")].flatMap((formula) => {
                    const text = formula.nextSibling;
                    if (text?.nodeType !== 3 || !/^[-.,;:!?)]/.test(text.data)) return [];
                    const sign = document.createRange();
                    sign.setStart(text, 0);
                    sign.setEnd(text, 1);
                    const [at, box] = [sign, formula].map((one) => one.getBoundingClientRect());
                    const together = at.left >= box.right - 1 && at.top < box.bottom;
                    return [together ? "" : `${formula.textContent} ${text.data}`];
                })"""
            )
            assert [sign for sign in signs if sign] == [], width
    finally:
        page.set_viewport_size(window)
    if name in CHAPTERS:
        assert signs


@pytest.mark.browser
@for_each(DOCUMENTS)
def test_every_picture_is_described_and_shown(name: str, look: Open) -> None:
    page = look().page
    # Windows on its panels, for a phone: test_readable_figures.py.
    for image in page.locator("img:not(.figure-stack img)").all():
        alt = (image.get_attribute("alt") or "").strip()
        source = Path(unquote(urlsplit(image.get_attribute("src") or "").path))
        assert alt, f"{source} has no alternative text"
        assert source.stem not in alt, f"the alternative text of {source} is its file name"
        assert not re.search(r"\.(png|svg|jpe?g)$", alt)
        assert image.evaluate("image => image.complete && image.naturalWidth > 0"), source


@for_each(DOCUMENTS)
def test_every_figure_has_a_numbered_caption(name: str, site: Path) -> None:
    article = parsed(site, name).select_one("article")
    assert article is not None
    for image in article.select("img"):
        figure = image.find_parent("figure")
        assert figure is not None, f"{image.get('src')} stands outside a figure"
        caption = figure.select_one("figcaption")
        assert caption is not None, f"{image.get('src')} has no caption"
        number = caption.select_one(".caption-number")
        assert number is not None
        assert len(caption.get_text(strip=True)) > len(number.get_text(strip=True)) + 20


@for_each(DOCUMENTS)
def test_chapters_are_numbered_as_the_command_line_numbers_them(name: str, site: Path) -> None:
    """In title, tab, sidebar, the links beside it and the figures; other pages have none."""
    page = parsed(site, name)
    number = str(int(Path(name).name[:2])) if name in CHAPTERS else ""
    (title,) = page.select("article h1")
    in_title = [part.get_text() for part in title.select(".section-number")]
    assert in_title == ([f"{number}. "] if number else [])
    said = title.get_text().rstrip("#")
    assert page.title is not None
    assert page.title.get_text().startswith(said)
    links = page.select("nav.bd-links a, .prev-next-area a")
    for other in DOCUMENTS[1:]:
        there = [a for a in links if str(a["href"]).endswith(f"{Path(other).name}.html")]
        to = [(a.select_one(".prev-next-title") or a).get_text().strip() for a in there]
        assert to or other == name
        of_other = f"{int(Path(other).name[:2])}. " if other in CHAPTERS else ""
        assert all(text.startswith(of_other) for text in to), to
        assert of_other or not any(re.match(r"\d", text) for text in to), to
    shown = page.select("article figcaption .caption-number, article .eqno")
    numbers = [re.sub(r"[^\d.]", "", part.get_text().replace("Fig.", "")) for part in shown]
    assert all(n.startswith(f"{number}.") if number else "." not in n for n in numbers), numbers


@for_each(CHAPTERS)
def test_a_chapter_has_figures(name: str, site: Path) -> None:
    assert parsed(site, name).select("article figure figcaption")


@for_each(CHAPTERS)
def test_a_chapter_says_what_it_needs_and_what_to_take_along(name: str, site: Path) -> None:
    article = parsed(site, name).select_one("article section")
    assert article is not None
    need = article.find_all("p", recursive=False)[0]
    assert need.get_text().startswith("What you need.")
    assert re.search(r"\b(minutes?|hours?)\b", need.get_text())
    (along,) = [
        section
        for section in article.select("section")
        if section.find("h2") and section.find("h2").get_text().startswith("What to take along")
    ]
    said = along.select("li")
    assert 3 <= len(said) <= 5
    assert all(one.get_text().strip().endswith(".") for one in said)


@pytest.mark.browser
@pytest.mark.parametrize("told", [False, True], ids=["waiting", "told"])
@pytest.mark.parametrize("on_phone", [False, True], ids=["1280 by 720", "390 by 844"])
@for_each(CHAPTERS)
def test_a_first_picture_stands_within_two_screens(
    name: str, on_phone: bool, told: bool, look: Open
) -> None:
    """Half of it, or of a high one what is worth a look; also where no answer waits any more."""
    page = look(on_phone=on_phone).page
    window = page.viewport_size
    assert window is not None
    width, height = (390, 844) if on_phone else (1280, 720)
    waits = page.evaluate("document.documentElement.className")
    try:
        page.set_viewport_size({"width": width, "height": height})
        if told:
            page.evaluate(
                "document.documentElement.classList.remove("
                "...[...document.documentElement.classList].filter((c) => c.startsWith('awaits-')))"
            )
        page.evaluate("scrollTo({ top: 0, behavior: 'instant' })")
        places = page.evaluate(
            """() => [...document.querySelectorAll("article figure img, article .live-widget")]
                .filter((one) => one.checkVisibility({ visibilityProperty: true }))
                .map((one) => one.getBoundingClientRect())
                .filter(({ height }) => height > 40).map(({ top, bottom }) => [top, bottom])"""
        )
        top, bottom = min(places)
        assert top + min((bottom - top) / 2, 300) < 2 * height
    finally:
        page.evaluate("name => { document.documentElement.className = name; }", waits)
        page.set_viewport_size(window)


# What programs call data, networks and ways to train, where readers have a name for it.
NAMES_OF_PROGRAMS = {"mnist", "sgd", "adam", "relu", "gelu", "xavier", "kaiming", "qkv", "lecun"}


@for_each(CHAPTERS)
def test_tables_speak_to_readers(name: str, site: Path) -> None:
    for cell in parsed(site, name).select("article :is(td, th)"):
        words = set(re.findall(r"[\w-]+", cell.get_text(" ")))
        assert words & NAMES_OF_PROGRAMS == set(), cell.get_text()
        assert KEY.findall(cell.get_text(" ")) == []


@pytest.mark.browser
@for_each(DOCUMENTS)
def test_page_with_all_panels_open_is_accessible(name: str, look: Open) -> None:
    page = look().page
    buttons = page.get_by_role("button", name="Show me the Python")
    press_all = "buttons => buttons.forEach((button) => button.click())"
    buttons.evaluate_all(press_all)
    try:
        assert page.locator(".ins-code:visible").count() == buttons.count()
        assert violations(page) == ""
        dark = look(scheme="dark").page
        assert dark.locator("html").get_attribute("data-theme") == "dark"
        assert violations(dark, rules=ABOUT_COLORS) == ""
    finally:
        buttons.evaluate_all(press_all)


@pytest.mark.browser
@for_each(DOCUMENTS)
def test_names_beside_a_page_are_whole(name: str, look: Open) -> None:
    cut_off = look().page.evaluate(
        """() => [...document.querySelectorAll(".bd-sidebar-secondary a :is(code, span)")]
            .filter((one) => one.getBoundingClientRect().right > innerWidth)
            .map((one) => one.textContent)"""
    )
    assert cut_off == []


@pytest.mark.browser
@for_each(DOCUMENTS)
def test_page_fits_a_phone(name: str, look: Open) -> None:
    page = look(on_phone=True).page
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    outside = "article img:not(.still-picture, figure img)"
    for figure in page.locator(f"article figure, {outside}").all():
        box = figure.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    # Who has no pointer scrolls what has the focus.
    unreached = page.evaluate(
        """() => [...document.querySelectorAll("article *")]
            .filter((one) => one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0
                && ["auto", "scroll"].includes(getComputedStyle(one).overflowX))
            .filter((one) => one.tabIndex < 0
                && !one.querySelector("a[href], button, input, select, [tabindex='0']"))
            .map((one) => one.outerHTML.slice(0, 200))"""
    )
    assert unreached == []
    # What is wider than the screen must scroll in a box of its own: nothing may be cut off.
    cut_off = page.evaluate(
        """() => [...document.querySelectorAll(
                "article table, article pre, article mjx-container, article figure img"
            )]
            .filter(element => element.getBoundingClientRect().right > innerWidth + 1)
            .filter(element => {
                for (let box = element; box.tagName !== "ARTICLE"; box = box.parentElement) {
                    const scrolls = ["auto", "scroll"].includes(getComputedStyle(box).overflowX);
                    const fits = box.getBoundingClientRect().right <= innerWidth + 1;
                    if (scrolls && fits) return false;
                }
                return true;
            })
            .map(element => element.outerHTML.slice(0, 200))"""
    )
    assert cut_off == []


@pytest.mark.browser
@for_each(DOCUMENTS)
def test_all_text_is_set_in_the_font_that_the_book_brings(name: str, look: Open) -> None:
    """Code is set in the reader's own font of fixed width, and formulas are drawn."""
    page = look().page
    page.evaluate(
        """() => {
            const code = "code, kbd, pre, script, style, noscript, mjx-container, svg";
            const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
            const signs = new Set();
            while (words.nextNode()) {
                const { parentElement, data } = words.currentNode;
                if (!parentElement.closest(code)) [...data].forEach((sign) => signs.add(sign));
            }
            for (const label of document.querySelectorAll(".ins-chart text")) {
                [...label.textContent].forEach((sign) => signs.add(sign));
            }
            const line = document.createElement("p");
            line.id = "all-signs";
            line.textContent = [...signs].join("");
            document.querySelector("article").append(line);
            line.scrollIntoView();
            const frame = () => new Promise(requestAnimationFrame);
            return frame().then(frame);
        }"""
    )
    try:
        devtools = page.context.new_cdp_session(page)
        devtools.send("DOM.enable")
        devtools.send("CSS.enable")
        root = devtools.send("DOM.getDocument")["root"]["nodeId"]
        line = devtools.send("DOM.querySelector", {"nodeId": root, "selector": "#all-signs"})
        fonts = devtools.send("CSS.getPlatformFontsForNode", line)["fonts"]
        devtools.detach()
    finally:
        page.locator("#all-signs").evaluate("line => line.remove()")
    assert sum(font["glyphCount"] for font in fonts) > 40
    others = {font["familyName"]: font["glyphCount"] for font in fonts if not font["isCustomFont"]}
    assert others == {}, "book/make_font.py leaves these letters out"


@pytest.mark.browser
@pytest.mark.parametrize("on_phone", [False, True], ids=["wide", "phone"])
@for_each(PAGES_WITH_WIDGETS)
def test_the_room_that_is_kept_is_what_is_needed(name: str, on_phone: bool, look: Open) -> None:
    """If not, something else is shown than was measured: run ``python tests/measure_sizes.py``."""
    page = look(on_phone=on_phone).page
    for room in page.locator(".widget-room").all():
        kept, needed = room.evaluate(
            """room => {
                const kept = parseFloat(getComputedStyle(room).minHeight);
                room.style.minHeight = "0";
                const needed = room.getBoundingClientRect().height;
                room.style.minHeight = "";
                return [kept, needed];
            }"""
        )
        assert needed - 1 <= kept <= needed + 60


@pytest.mark.browser
@for_each(CHAPTERS)
def test_figures_have_no_panel_of_their_own_in_dark_mode(name: str, look: Open) -> None:
    page = look(scheme="dark").page
    for image in page.locator("article figure img").all():
        assert (
            image.evaluate("image => getComputedStyle(image).backgroundColor") == "rgba(0, 0, 0, 0)"
        )


@for_each(DOCUMENTS)
def test_no_launch_button_while_the_repository_has_no_address(name: str, site: Path) -> None:
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    if config["repository"]["url"]:
        pytest.skip("the repository has an address")
    assert launch_links(parsed(site, name)) == []


@pytest.mark.browser
@pytest.mark.parametrize("on_phone", [False, True], ids=["served", "file on a phone"])
@for_each(PAGES_WITH_WIDGETS)
def test_every_widget_starts_in_place_of_its_picture(name: str, on_phone: bool, look: Open) -> None:
    page = look(on_phone=on_phone).page
    keys = [widget.get_attribute("data-widget") for widget in live_widgets(page)]
    assert [str(key).split("-")[0] for key in keys] == WIDGETS[name]
    assert len(set(keys)) == len(keys)
    for widget in live_widgets(page):
        widget.locator(".ins-message").wait_for(state="attached")
    assert page.locator("img.still-picture").count() == len(keys)
    assert page.locator("img.still-picture:visible").count() == 0


# As wide as A4 between margins of 15 mm, in CSS pixels.
PAPER = 680


@contextlib.contextmanager
def on_paper(page: Page) -> Iterator[None]:
    """Show a page as it is printed, with the events of printing."""
    window = page.viewport_size
    assert window is not None
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": PAPER, "height": window["height"]})
    try:
        yield
    finally:
        page.emulate_media(media="null")
        page.set_viewport_size(window)
        page.evaluate("window.dispatchEvent(new Event('afterprint'))")


@pytest.mark.browser
@for_each(DOCUMENTS)
def test_on_paper_nothing_is_cut_off_or_folded(name: str, look: Open, site: Path) -> None:
    page = look().page
    folded = "document.querySelectorAll('article details:not([open])').length"
    before = page.evaluate(folded)
    with on_paper(page):
        lost = page.evaluate(
            """() => [...document.querySelectorAll(
                "article :is(pre, table, img, math, mjx-container, .live-widget svg:not(svg svg))")]
                .filter((element) => !element.closest(".still-picture, mjx-assistive-mml"))
                .filter((element) => element.checkVisibility()
                    ? element.getBoundingClientRect().right > innerWidth + 1
                        || element.scrollWidth > element.clientWidth + 1 && element.matches("pre")
                    : element.matches(".cell_input pre"))
                .map((element) => element.outerHTML.slice(0, 200))"""
        )
        assert lost == []
        assert page.evaluate(folded) == 0
        code = page.locator("article .cell_input pre")
        assert code.count() == len(parsed(site, name).select("article .cell_input pre"))
        # A block that has just been opened, too, is there at once.
        hidden = (
            "all => all.filter((one) => !one.checkVisibility({ opacityProperty: true })).length"
        )
        assert code.evaluate_all(hidden) == 0
        assert all(text.strip() for text in code.all_inner_texts())
        frames = page.evaluate(
            """() => [...document.querySelectorAll("article :is(figure, .cell_input, .output)")]
                .filter((frame) => frame.checkVisibility() && !frame.innerText.trim()
                    && !frame.querySelector("img, svg, canvas"))
                .map((frame) => frame.outerHTML.slice(0, 200))"""
        )
        assert frames == []
    assert page.evaluate(folded) == before


@pytest.mark.browser
@for_each(CHAPTERS[:1])
def test_the_button_that_prints_is_allowed(name: str, look: Open) -> None:
    page = look().page
    page.evaluate("window.print = () => { window.printed = true; }")
    page.locator("button[onclick]").first.evaluate("button => button.click()")
    assert page.evaluate("window.printed") is True  # refused, it would do nothing


@pytest.mark.browser
@for_each(PAGES_WITH_WIDGETS)
def test_on_paper_a_widget_shows_what_was_set(name: str, look: Open) -> None:
    page = look().page
    values = "() => [...document.querySelectorAll('.live-widget input')].map((one) => one.value)"
    set_to = page.evaluate(values)
    if name == PAGES_WITH_WIDGETS[0]:  # the browser itself tells all pages in the same way
        page.evaluate("window.printed = 0; addEventListener('beforeprint', () => window.printed++)")
        page.pdf()
        assert page.evaluate("printed") == 1
        assert page.evaluate(values) == set_to
    with on_paper(page):
        assert page.locator("img.still-picture:visible").count() == 0
        assert page.locator(".live-widget:visible").count() == len(WIDGETS[name])
        assert page.evaluate(values) == set_to
        shown = page.locator(".live-widget .ins-controls > *:visible").count()
        assert shown >= len(WIDGETS[name])
        # Words of a story that set it stay words.
        assert page.locator(".live-widget button:not(.move):visible").count() == 0


@pytest.mark.browser
@for_each(PAGES_WITH_WIDGETS)
def test_no_widget_shows_a_key(name: str, look: Open) -> None:
    for widget in live_widgets(look().page):
        text = widget.evaluate(
            """widget => [...widget.querySelectorAll("*")]
                .filter((element) => !element.closest(".ins-code, style"))
                .flatMap((element) => [
                    ...[...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE)
                        .map((node) => node.data),
                    ...["aria-label", "title", "placeholder", "aria-valuetext"]
                        .map((said) => element.getAttribute(said) ?? ""),
                ]).join(" ")"""
        )
        assert len(text) > 100
        assert KEY.findall(text) == []


@pytest.mark.browser
@for_each(PAGES_WITH_WIDGETS)
def test_widgets_fit_a_phone(name: str, look: Open) -> None:
    page = look(on_phone=True).page
    for widget in live_widgets(page):
        box = widget.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.browser
@for_each(PAGES_WITH_WIDGETS)
def test_nothing_moves_as_a_slider_is_dragged(name: str, look: Open) -> None:
    """Every other page on a phone: at all widths are bare widgets dragged by tests of their own."""
    on_phone = PAGES_WITH_WIDGETS.index(name) % 2 == 1
    for widget in live_widgets(look(on_phone=on_phone).page):
        assert moved_by_dragging(widget, steps=3) == []


@pytest.mark.browser
@for_each(PAGES_WITH_WIDGETS)
def test_sliders_are_heard_and_a_link_brings_the_setting_back(
    name: str, look: Open, visit: Open
) -> None:
    """The last test of a page, for it leaves the widgets as they were moved."""
    page = look().page
    skip_guesses(page)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    # What the policy of the page refuses is said there.
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    moved = {}
    assert [widget.get_attribute("data-widget") for widget in live_widgets(page)] == keys(name)
    for key, widget in zip(keys(name), live_widgets(page), strict=True):
        slider = widget.locator("input[type=range]:visible:enabled").first
        before = slider.input_value()
        slider.focus()
        page.keyboard.press("ArrowRight")
        if slider.input_value() == before:  # it stood at its upper end
            page.keyboard.press("ArrowLeft")
        after = slider.input_value()
        assert after != before
        widget.get_by_role("button", name="Copy link to this configuration").click()
        link = urlsplit(widget.locator(".ins-address").input_value())
        assert link.fragment == key
        moved[key] = float(after)
    assert errors == []
    middle = keys(name)[len(moved) // 2]
    again = visit(f"{name}.html?{link.query}#{middle}", width=900)  # the last has all
    again.page.locator("html[data-settled]").wait_for(state="attached")
    assert opened_at(again.page, middle)
    skip_guesses(again.page)
    for key, value in moved.items():
        # The same slider: in a race between schemes the first, the std, is switched off.
        sliders = again.page.locator(f'[data-widget="{key}"] input[type=range]:visible:enabled')
        assert float(sliders.first.input_value()) == pytest.approx(value, abs=1e-3)
    assert again.errors == []
