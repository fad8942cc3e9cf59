"""The built book in a real browser: what a reader of the published pages meets.

The pages are served from a local folder with every other host blocked. The tests need Chromium:
without one they are skipped with a warning, or fail if ``INITSCOPE_BROWSER=required``.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
import yaml
from book_pages import (
    CHAPTERS,
    DOCUMENTS,
    ROOT,
    Open,
    for_each,
    make_book,
    parsed,
    violations,
)
from bs4 import BeautifulSoup


@pytest.mark.browser
@pytest.mark.parametrize("from_file", [False, True], ids=["http", "file"])
@for_each(DOCUMENTS)
def test_page_needs_no_other_host_and_reports_no_error(
    name: str, from_file: bool, look: Open
) -> None:
    opened = look(from_file=from_file)
    assert opened.outside == []
    assert opened.failed == []
    assert opened.errors == []
    assert opened.page.locator("article h1").count() == 1


@pytest.mark.browser
def test_the_folder_opens_on_the_first_page(visit: Open) -> None:
    opened = visit("index.html", from_file=True)
    opened.page.wait_for_url(f"**/{DOCUMENTS[0]}.html")
    assert opened.outside == []


@pytest.mark.browser
@for_each(DOCUMENTS)
def test_every_formula_is_set(name: str, look: Open, site: Path) -> None:
    in_source = len(parsed(site, name).select("article .math"))
    page = look().page
    assert page.locator("article mjx-container").count() >= in_source
    assert page.locator("article mjx-merror, article [data-mjx-error]").count() == 0
    text = page.locator("article").inner_text()
    code = "".join(page.locator("article pre, article code").all_inner_texts())
    for sign in (r"\(", r"\[", "$$"):
        assert text.count(sign) == code.count(sign), f"raw {sign} in the text"


@pytest.mark.browser
def test_formulas_are_on_some_page(visit: Open) -> None:
    """Keeps the test above from passing on a book whose formulas were lost before the browser."""
    assert visit("book/notation.html").page.locator("mjx-container").count() > 10


@pytest.mark.browser
@for_each(DOCUMENTS)
def test_every_picture_is_described_and_shown(name: str, look: Open) -> None:
    page = look().page
    for image in page.locator("img").all():
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


@for_each(CHAPTERS)
def test_a_chapter_has_figures(name: str, site: Path) -> None:
    assert parsed(site, name).select("article figure figcaption")


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@for_each(DOCUMENTS)
def test_page_is_accessible(name: str, scheme: str, look: Open) -> None:
    page = look(scheme=scheme).page
    assert page.locator("html").get_attribute("data-theme") == scheme
    assert violations(page) == ""


@pytest.mark.browser
@for_each(DOCUMENTS)
def test_page_fits_a_phone(name: str, look: Open) -> None:
    page = look(width=390).page
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for figure in page.locator("article img:not(.still-picture), article figure").all():
        box = figure.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    # What is wider than the screen must scroll in a box of its own: nothing may be cut off.
    cut_off = page.evaluate(
        """() => [...document.querySelectorAll("article table, article pre, article mjx-container")]
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
def test_the_reader_can_switch_between_light_and_dark(visit: Open) -> None:
    page = visit(f"{DOCUMENTS[0]}.html", scheme="light").page

    def background() -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    seen = {background()}
    for _ in range(3):
        page.locator("button.theme-switch-button:visible").first.click()
        seen.add(background())
    assert len(seen) == 2


@pytest.mark.browser
@for_each(CHAPTERS)
def test_figures_have_no_panel_of_their_own_in_dark_mode(name: str, look: Open) -> None:
    page = look(scheme="dark").page
    for image in page.locator("article figure img").all():
        assert (
            image.evaluate("image => getComputedStyle(image).backgroundColor") == "rgba(0, 0, 0, 0)"
        )


@pytest.mark.browser
def test_search_finds_a_word_without_a_server(visit: Open) -> None:
    page = visit("search.html?q=initialization", from_file=True).page
    page.locator("#search-results li a").first.wait_for()


def test_links_between_pages_lead_somewhere(site: Path) -> None:
    pages = {
        path: BeautifulSoup(path.read_text(), "html.parser")
        for path in site.rglob("*.html")
        if "_static" not in path.parts  # the theme's templates lie there
    }
    anchors = {path: {tag["id"] for tag in page.select("[id]")} for path, page in pages.items()}
    broken = []
    for path, page in pages.items():
        for tag in page.select("a[href], link[href], img[src], script[src]"):
            target = str(tag.get("href") or tag.get("src"))
            if urlsplit(target).scheme or target.startswith("//"):
                continue
            file, anchor = urldefrag(target)
            file = unquote(urlsplit(file).path)
            goal = (path.parent / file).resolve() if file else path
            if goal.is_dir():
                goal /= "index.html"
            # "#" alone is the theme's link to the top of the page.
            if not goal.exists() or (anchor and unquote(anchor) not in anchors.get(goal, {anchor})):
                broken.append(f"{path.relative_to(site)} -> {target}")
    assert broken == []


def launch_links(page: BeautifulSoup) -> list[str]:
    links = (str(tag["href"]) for tag in page.select("a[href]"))
    return [link for link in links if "colab.research.google" in link or "mybinder.org" in link]


@for_each(DOCUMENTS)
def test_no_launch_button_while_the_repository_has_no_address(name: str, site: Path) -> None:
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    if config["repository"]["url"]:
        pytest.skip("the repository has an address")
    assert launch_links(parsed(site, name)) == []


def test_the_address_of_the_repository_brings_the_launch_buttons(tmp_path: Path) -> None:
    for name in ("Makefile", "book", "notebooks"):
        (tmp_path / name).symlink_to(ROOT / name)
    config = (ROOT / "_config.yml").read_text()
    config, changed = re.subn(r"(?m)^  url:.*$", "  url: https://github.com/owner/name", config)
    assert changed == 1
    (tmp_path / "_config.yml").write_text(config)
    make_book(tmp_path)
    colab = "https://colab.research.google.com/github/owner/name/blob/main"
    binder = "https://mybinder.org/v2/gh/owner/name/main?urlpath=lab/tree"
    for name in CHAPTERS:
        links = launch_links(parsed(tmp_path / "_build" / "html", name))
        assert f"{colab}/{name}.ipynb" in links
        assert f"{binder}/{name}.ipynb" in links
