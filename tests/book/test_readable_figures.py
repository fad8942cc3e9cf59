"""On a phone the letters of a figure can be read, and every figure can fill the screen."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest
from book_pages import CHAPTERS, ROOT, Open, for_each, parsed, violations
from matplotlib import rc_context, rcdefaults
from matplotlib.figure import Figure
from matplotlib.transforms import Affine2D
from playwright.sync_api import Browser, expect
from test_figures import NAMESPACE, labels, pictures

sys.path.insert(0, str(ROOT / "book" / "_ext"))
import figure_panels
from readable_figures import least_width, smallest_label, stacked


@pytest.fixture(autouse=True)
def usual_style() -> Iterator[None]:
    """Matplotlib's own settings, whatever was drawn before."""
    with rc_context():
        rcdefaults()
        yield


def sizes_of_labels(svg: str) -> set[float]:
    """Points; of what stands at a label, as an exponent, nothing is said."""
    root = ElementTree.fromstring(svg)
    styles = [text.get("style", "") for text in root.iter(f"{NAMESPACE}text")]
    sizes = {float(size) for style in styles for size in re.findall(r"font-size: ([\d.]+)", style)}
    for group in root.iter(f"{NAMESPACE}g"):
        uses = [use for use in group if use.tag == f"{NAMESPACE}use"]
        scale = re.search(r"scale\(([\d.]+) -[\d.]+\)", group.get("transform", ""))
        if uses and scale:
            sizes.add(100 * float(scale[1]))
    return sizes


@pytest.mark.parametrize("name", pictures())
def test_the_smallest_label_of_a_figure_is_found(name: str) -> None:
    svg = pictures()[name]
    sizes = sizes_of_labels(svg)
    assert sizes
    assert bool(list(labels(svg))) or "<text" in svg
    assert smallest_label(svg) == pytest.approx(min(sizes))
    assert least_width(svg, 740) * min(sizes) / 740 * 96 / 72 >= 10


WHOLE = "article .figure-room > :is(img, picture, .guess-figure)"
STACKED = "article .figure-room:has(> .figure-stack)"


@pytest.mark.browser
@for_each(CHAPTERS)
def test_letters_of_figures_are_ten_pixels_high_on_a_phone(
    name: str, look: Open, site: Path
) -> None:
    page = look(on_phone=True).page
    # What waits for a guess is not shown yet.
    shown = page.locator(WHOLE).evaluate_all(
        """all => all.map((one) => one.querySelector("img") ?? one)
            .map((one) => [one.src, one.currentSrc, one.clientWidth / one.naturalWidth])"""
    )
    images = parsed(site, name).select("article figure img[alt]:not([alt=''])")
    assert len(shown) == len([one for one in images if not one.find_parent(class_="widget-place")])
    stacked = page.locator(STACKED).evaluate_all(
        "all => all.map((one) => one.querySelector('img').src)"
    )
    for source, chosen, share in shown:
        if not share or source in stacked:
            continue
        svg = Path(unquote(urlsplit(chosen).path)).read_text()
        assert min(sizes_of_labels(svg)) * share * 96 / 72 >= 9.99, source
    boxes = page.locator("article .figure-room").evaluate_all(
        """all => all.filter((one) => one.clientWidth).map((one) => [
            one.scrollWidth > one.clientWidth + 1, one.dataset.more ?? "",
            getComputedStyle(one.nextElementSibling, "::before").content,
            one.querySelector(".figure-stack") !== null])"""
    )
    for scrolls, more, said, is_stacked in boxes:
        row_by_row = '"Panels from left to right, row by row."'
        expected = ("after", '"Scrolls sideways."') if scrolls else ("", "none")
        assert (more, said) == (("", row_by_row) if is_stacked else expected)
    assert any(scrolls or is_stacked for scrolls, _, _, is_stacked in boxes)


# What the browser draws of a figure in the page: its letters, by the matrix that places them.
LETTERS = """svg => {
    const place = document.createElement("div");
    place.style.cssText = "position: absolute; left: 0; top: 0";
    place.innerHTML = svg.slice(svg.indexOf("<svg"));
    document.body.append(place);
    const drawing = place.firstElementChild;
    const [left, top, width] = drawing.getAttribute("viewBox").split(" ").map(Number);
    const origin = drawing.getBoundingClientRect();
    const point = width / origin.width;
    return [...drawing.querySelectorAll("[id^=text_] use")].map((one) => {
        const box = one.getBoundingClientRect();
        const { c, d } = one.getScreenCTM();
        return [(box.left - origin.left) * point + left, (box.top - origin.top) * point + top,
            (box.right - origin.left) * point + left, (box.bottom - origin.top) * point + top,
            100 * Math.hypot(c, d) * point];
    }).filter(([x, , right]) => right > x);
}"""

# What a reader sees of it: for each window its part of the figure, in the figure's points from its
# corner, where it stands on the screen, and how many pixels a point is.
WINDOWS = """room => [...room.querySelectorAll(".figure-strip > span")].map((one) => {
    const points = Number(getComputedStyle(one).getPropertyValue("--fw"));
    const seen = one.getBoundingClientRect();
    const whole = one.querySelector("img").getBoundingClientRect();
    const scale = whole.width / points;
    return { scale, high: whole.height / Number(getComputedStyle(one).getPropertyValue("--fh")),
        box: [seen.left - whole.left, seen.top - whole.top, seen.right - whole.left,
            seen.bottom - whole.top].map((length) => length / scale),
        screen: [seen.left, seen.right] };
})"""


@pytest.mark.browser
@for_each(CHAPTERS)
def test_panels_of_a_figure_stand_one_below_the_other_on_a_phone(
    name: str, look: Open, browser: Browser
) -> None:
    """Every letter is seen whole, at least ten pixels high, exponents and indices too."""
    page = look(on_phone=True).page
    page.evaluate(
        "document.querySelectorAll('.after-guess').forEach(e => e.classList.add('opened'))"
    )
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    rooms = page.locator(STACKED).all()
    shown = page.locator(WHOLE).evaluate_all(
        "all => all.map((one) => (one.querySelector('img') ?? one).src)"
    )
    pictures = [Path(unquote(urlsplit(source).path)).read_text() for source in shown]
    assert len(rooms) == len([svg for svg in pictures if stacked(svg, "a.svg")])
    bare = browser.new_page()
    for room in rooms:
        source = room.locator("img").first.evaluate("one => one.src")
        letters = bare.evaluate(LETTERS, Path(unquote(urlsplit(source).path)).read_text())
        windows = room.evaluate(WINDOWS)
        assert letters
        assert len(windows) > 1
        assert room.evaluate("one => one.scrollWidth <= one.clientWidth"), source
        for window in windows:
            assert window["high"] == pytest.approx(window["scale"], rel=0.01), source
            assert 0 <= window["screen"][0] < window["screen"][1] <= 390, source
        for *letter, size in letters:
            inside = [one for one in windows if has(one["box"], letter)]
            assert inside, f"{source}: no window has the letter at {letter}"
            cut = [one["box"] for one in windows if one not in inside and cuts(one["box"], letter)]
            assert not cut, f"{source}: {cut} cut the letter at {letter}"
            for one in inside:
                assert size * one["scale"] >= 9.99, f"{source}: {letter}, {size}"
    bare.close()


def has(box: list[float], letter: list[float]) -> bool:
    """Whether a letter is in a box, up to a tenth of a point."""
    left, top, right, bottom = (edge - at for edge, at in zip(box, letter, strict=True))
    return left <= 0.1 and top <= 0.1 and right >= -0.1 and bottom >= -0.1


def cuts(box: list[float], letter: list[float]) -> bool:
    """Whether more of a letter than half a point is in a box."""
    across = min(box[2], letter[2]) - max(box[0], letter[0])
    down = min(box[3], letter[3]) - max(box[1], letter[1])
    return across > 0.5 and down > 0.5


@pytest.mark.browser
@pytest.mark.parametrize(
    ("width", "media", "scripts", "stacked"),
    [
        (390, "screen", True, True),
        (390, "screen", False, True),
        (390, "print", True, False),
        (1280, "screen", True, False),
        (640, "screen", True, False),
    ],
)
def test_panels_are_stacked_on_a_phone_alone_and_read_once(
    width: int, media: str, scripts: bool, stacked: bool, browser: Browser, address: str
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 844}, java_script_enabled=scripts
    )
    # The figure answers a guess, and is folded until it is made or skipped.
    context.add_init_script('localStorage.setItem("guesses", \'{"skipped": true}\')')
    page = context.new_page()
    page.emulate_media(media=media)  # type: ignore[arg-type]
    page.goto(f"{address}/notebooks/08_noise_and_drift.html")
    room = page.locator(STACKED).first
    whole, stack = room.locator("img").first, room.locator(".figure-stack")
    expect(stack).to_be_visible(visible=stacked)
    box = room.locator(":scope > :first-child").bounding_box()
    assert box is not None
    assert (box["width"] > 300) is not stacked
    figure = page.locator("figure:has(.figure-stack)").first
    alt = whole.get_attribute("alt")
    assert alt
    expect(figure.get_by_role("img")).to_have_count(1)  # whatever is shown, it is read once
    expect(figure.get_by_role("img", name=alt)).to_have_count(1)
    if stacked and scripts:
        page.locator("html[data-settled]").wait_for(state="attached")
        stack.locator(".figure-strip > span").last.click()
        screen = page.locator("dialog.figure-screen")
        expect(screen.locator("img")).to_have_count(1)
        assert screen.locator("img").evaluate("one => one.naturalWidth > 300")
        assert screen.locator("img").bounding_box()["width"] > 390  # type: ignore[index]
    context.close()


@pytest.mark.browser
def test_a_guess_is_drawn_in_the_panel_alone(browser: Browser, address: str) -> None:
    """On a phone as on a wide screen, at the same share of the panel's axis."""
    guesses = {k: {"guess": [0.02, 0.2], "score": "near"} for k in (1, 2, 3)}
    kept = json.dumps(json.dumps({"pages": {"05_std_sweep": guesses}}))
    shares = {}
    for width in (1280, 390):
        context = browser.new_context(viewport={"width": width, "height": 844})
        context.add_init_script(f'localStorage.setItem("guesses", {kept})')
        page = context.new_page()
        page.goto(f"{address}/notebooks/05_std_sweep.html")
        page.locator("html[data-settled]").wait_for(state="attached")
        marked = page.locator(
            f"{STACKED}:has(.guess-mark) .figure-strip > span"
            if width == 390
            else "figure:has(.figure-stack) .figure-room > .guess-figure"
        )
        assert marked.count()
        shares[width] = marked.evaluate_all(
            """all => all.map((one) => {
                const seen = one.getBoundingClientRect();
                const whole = one.querySelector("img").getBoundingClientRect();
                return [...one.querySelectorAll(".guess-mark")].map((mark) => {
                    const at = mark.getBoundingClientRect();
                    const here = at.left < seen.right - 1 && at.right > seen.left + 1
                        && at.top < seen.bottom - 1 && at.bottom > seen.top + 1;
                    return here && [(at.left - whole.left) / whole.width,
                        (at.right - whole.left) / whole.width,
                        (at.top - whole.top) / whole.height].map((x) => Math.round(500 * x) / 500);
                }).filter(Boolean);
            }).filter((marks) => marks.length)"""
        )
        context.close()
    wide = sorted(mark for figure in shares[1280] for mark in figure)
    narrow = sorted(mark for window in shares[390] for mark in window)
    assert wide
    assert len(narrow) == len(wide)
    for one, other in zip(narrow, wide, strict=True):
        assert one == pytest.approx(other, abs=0.005)


# --- What is where in a figure -----------------------------------------------------------------


def drawing(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", dpi=72)
    return out.getvalue()


def grid() -> Figure:
    """Two rows of two panels that share their axes, with titles above and a legend below."""
    with rc_context({"figure.constrained_layout.use": True}):
        figure = Figure(figsize=(6, 5))
        panels = figure.subplots(2, 2, sharex=True, sharey="row")
    for row, name in zip(panels, ("rate", "loss"), strict=True):
        row[0].set_ylabel(name)
        for axes in row:
            axes.loglog([1e-3, 1e3], [1e-2, 1e2], label="of one")
            axes.plot([1e-3, 1e3], [1e2, 1e-2], label="of another")
    for axes, title in zip(panels[0], ("left", "right"), strict=True):
        axes.set_title(title)
    for axes in panels[1]:
        axes.set_xlabel("std")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def test_panels_are_where_matplotlib_has_put_them() -> None:
    figure = grid()
    picture = figure_panels.Picture(drawing(figure))
    height = picture.view.height
    found = [part for part in picture.parts if part.frames]
    assert len(found) == 4
    for part, axes in zip(found, figure.axes, strict=True):
        frame = axes.get_window_extent().transformed(Affine2D().scale(72 / figure.dpi))
        assert part.frames[0].left == pytest.approx(frame.x0, abs=0.1)
        assert part.frames[0].bottom == pytest.approx(height - frame.y0, abs=0.1)
        tight = axes.get_tightbbox().transformed(Affine2D().scale(72 / figure.dpi))
        assert part.box.left == pytest.approx(tight.x0, abs=2)
        assert part.box.right == pytest.approx(tight.x1, abs=2)
        assert part.box.top == pytest.approx(height - tight.y1, abs=4)
        assert part.box.bottom == pytest.approx(height - tight.y0, abs=4)


def test_a_panel_is_shown_with_the_axes_that_it_shares() -> None:
    strips = figure_panels.stack_of(drawing(grid()))
    assert strips
    assert [strip.is_panel for strip in strips] == [True] * 4 + [False] * 2
    # Each has what it lacks: the column's title, the row's labels on the left, those below.
    assert [len(strip.windows) for strip in strips] == [2, 3, 2, 3, 1, 1]
    assert [strip.letter for strip in strips] == pytest.approx([7, 7, 7, 7, 10, 10], abs=0.01)
    for strip in strips:
        assert min(window.left for window in strip.windows) == 0
        assert min(window.top for window in strip.windows) == 0
    widths = [strip.width for strip in strips[:4]]
    assert max(widths) < 1.03 * min(widths)


def test_what_overlaps_stays_together_and_what_is_alone_is_left_alone() -> None:
    figure = Figure(figsize=(7, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([1, 2])
    right.plot([1, 2])
    right.twinx().plot([30, 10])
    strips = figure_panels.stack_of(drawing(figure))
    assert strips
    assert [len(strip.windows) for strip in strips] == [1, 1]
    alone = Figure()
    alone.subplots().plot([1, 2])
    assert figure_panels.stack_of(drawing(alone)) is None
    with rc_context({"svg.fonttype": "none"}):
        assert figure_panels.stack_of(drawing(figure)) is None


def test_most_figures_of_several_panels_are_stacked() -> None:
    """Of those that are too wide for that, or have one panel alone, there are few."""
    several = [svg for svg in pictures().values() if figure_panels.stack_of(svg)]
    assert len(several) > 40
    assert len([svg for svg in several if stacked(svg, "a.svg")]) > 0.7 * len(several)


def test_a_figure_that_would_not_fit_stays_as_it_is() -> None:
    assert "figure-stack" in stacked(drawing(grid()), "a.svg")
    wide = Figure(figsize=(14, 5), layout="constrained")
    for axes in wide.subplots(1, 2):
        axes.plot([1, 2])
    assert stacked(drawing(wide), "a.svg") == ""
    with pytest.raises(ValueError, match="polygon"):
        figure_panels.stack_of(drawing(grid()).replace("<path", "<polygon"))
    assert stacked(drawing(grid()).replace("<path", "<polygon"), "a.svg") == ""


@pytest.mark.browser
@pytest.mark.parametrize(
    ("size", "scheme"),
    [
        ((1280, 720), "light"),
        ((1440, 900), "dark"),
        ((390, 844), "dark"),
        ((640, 450), "light"),
    ],
    ids=str,
)
def test_a_figure_fills_the_screen_and_gives_it_back(
    size: tuple[int, int], scheme: str, browser: Browser, address: str
) -> None:
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{address}/notebooks/06_xavier_vs_kaiming.html")
    page.locator("html[data-settled]").wait_for(state="attached")
    figure = page.locator("figure:has(.figure-room):visible").first
    button = figure.get_by_role("button", name="Full screen")
    screen = page.locator("dialog.figure-screen")

    button.focus()
    page.keyboard.press("Enter")
    expect(screen).to_be_visible()
    box = screen.bounding_box()
    assert box == {"x": 0, "y": 0, "width": width, "height": height}
    picture = screen.locator("img")
    alone = picture.evaluate("one => one.getBoundingClientRect().width")
    assert alone > 0.9 * min(width, (height - 80) * 1.2)
    assert alone >= figure.locator("img").first.evaluate("one => one.clientWidth") - 1
    assert picture.get_attribute("alt")
    assert picture.evaluate("one => getComputedStyle(one).filter") == "none"
    assert screen.locator("div").evaluate("one => one.scrollLeft === 0")
    if width == 390:
        assert violations(page) == ""
    page.keyboard.press("Escape")
    expect(screen).to_have_count(0)
    assert button.evaluate("one => document.activeElement === one")

    figure.locator(".figure-room").click()
    screen.get_by_role("button", name="Close").click()
    expect(screen).to_have_count(0)
    assert button.evaluate("one => document.activeElement === one")
    assert errors == []
    context.close()
