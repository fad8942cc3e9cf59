"""A figure of one panel has a narrow variant, in which nothing is lost, and a phone shows it."""

from __future__ import annotations

import functools
import itertools
import json
import re
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import numpy as np
import pytest
from book_pages import DOCUMENTS, ROOT, for_each, parsed
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from playwright.sync_api import Browser, Page
from test_figures import HREF, NAMESPACE, pictures
from test_readable_figures import (  # noqa: F401 (the last is used by itself)
    LETTERS,
    drawing,
    sizes_of_labels,
    usual_style,
)

from initscope import plots

sys.path.insert(0, str(ROOT / "book"))
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import edition_pages
from figure_picture import Box, Picture, numbers, overlap
from guesses import panels_of
from narrow_figures import APART, narrowed
from readable_figures import PHONE, least_width, narrow, stacked

WIDTH = 300.0
NAMES = ["of the first", "of the second", "of the third", "of a fourth", "and of a fifth"]


def one_panel(**settings: object) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.5, 3.5), layout="constrained")
    axes = figure.subplots()
    for k, name in enumerate(NAMES):
        axes.plot([0, 3, 7, 10], [k, k + 2, k + 1, k + 3], ".-", label=name, gid=f"data_{k}")
    axes.set(xlabel="number of updates", ylabel="loss", **settings)
    return figure, axes


def panel(picture: Picture, name: str = "axes_1") -> Box:
    frame = picture.frame_of(picture.by_id[name])
    assert frame is not None
    return frame


def legend_of(picture: Picture) -> Box:
    box = picture.extent(picture.by_id["legend_1"])
    assert box is not None
    return box


def texts(picture: Picture) -> dict[str, Box]:
    found = {k: picture.extent(one) for k, one in picture.by_id.items() if k.startswith("text_")}
    return {name: box for name, box in found.items() if box is not None}


def points(picture: Picture, name: str) -> np.ndarray:
    """Where a line and its marks are: shares of the frame, and points from its top."""
    frame = panel(picture)
    group = picture.by_id[name]
    (path,) = [one for one in group if one.tag == f"{NAMESPACE}path"]
    line = np.reshape(numbers(path.get("d", "")), (-1, 2))
    marks = [(use.get("x"), use.get("y")) for use in group.iter(f"{NAMESPACE}use")]
    found = np.concatenate([line, np.array(marks, float)])
    return (found - [frame.left, frame.top]) / [frame.width, 1]


def test_data_stay_where_the_axis_has_them() -> None:
    figure, axes = one_panel()
    axes.fill_between([2, 8], [1, 2], [5, 6], gid="area")
    wide = drawing(figure)
    before, after = Picture(wide), Picture(narrowed(wide, WIDTH))
    assert after.view.width == pytest.approx(WIDTH)
    assert panel(after).width < 0.6 * panel(before).width
    for of in ("left", "height"):
        assert getattr(panel(after), of) == pytest.approx(getattr(panel(before), of), abs=0.01)
    for k in range(len(NAMES)):
        shares = points(after, f"data_{k}") * [100, 1]
        assert len(shares) == 8
        assert shares == pytest.approx(points(before, f"data_{k}") * [100, 1], abs=0.006)
    for picture in (before, after):
        area, frame = picture.extent(picture.by_id["area"]), panel(picture)
        assert area is not None
        ends = [(x - frame.left) / frame.width for x in (area.left, area.right)]
        assert ends == pytest.approx(axes.transAxes.inverted().transform(
            axes.transData.transform([(2, 0), (8, 0)])
        )[:, 0], abs=0.003)  # fmt: skip
        (clip,) = picture.root.iter(f"{NAMESPACE}clipPath")
        assert float(clip[0].get("width", 0)) == pytest.approx(frame.width, abs=0.1)


def test_letters_marks_and_colors_are_as_before_and_nothing_is_lost() -> None:
    figure, axes = one_panel()
    axes.legend(loc="upper left", frameon=False)
    wide = drawing(figure)
    slim = narrowed(wide, WIDTH)
    assert sizes_of_labels(slim) == sizes_of_labels(wide)
    before, after = Picture(wide), Picture(slim)
    assert texts(after).keys() == texts(before).keys()
    for name, box in texts(after).items():
        was = texts(before)[name]
        assert (box.width, box.height) == pytest.approx((was.width, was.height), abs=0.02)
    for look in ("stroke", "fill", "stroke-width"):
        styles = [re.findall(rf"\b{look}: [^;\"]+", svg) for svg in (wide, slim)]
        assert sorted(styles[0]) == sorted(styles[1])
    shapes = [
        [one.get("d", "") for one in picture.root.iter(f"{NAMESPACE}path") if one.get("transform")]
        for picture in (before, after)
    ]
    assert sorted(shapes[0]) == sorted(shapes[1])
    defined = {one.get("id") for one in ElementTree.fromstring(slim).iter()}
    used = {one.get(HREF, "")[1:] for one in after.root.iter(f"{NAMESPACE}use")}
    assert used <= defined


@pytest.mark.parametrize("place", ["in it", "above", "below", "beside"])
def test_the_legend_stands_above_in_as_many_rows_as_it_needs(place: str) -> None:
    figure, axes = one_panel()
    if place == "in it":
        axes.legend(loc="lower right", frameon=False)
    else:
        where = {"above": "upper center", "below": "lower center", "beside": "right upper"}[place]
        columns = 1 if place == "beside" else 5
        figure.legend(loc=f"outside {where}", frameon=False, ncols=columns)
    wide = drawing(figure)
    before, after = Picture(wide), Picture(narrowed(wide, WIDTH))
    entries = [texts(after)[name] for name in list(texts(after))[-len(NAMES) :]]
    lines = [after.by_id["legend_1"][2 * k] for k in range(len(NAMES))]
    assert legend_of(after).bottom < panel(after).top
    assert after.view.left < legend_of(after).left < legend_of(after).right < after.view.right
    assert after.view.top < legend_of(after).top
    rows = {round(after.extent(line).top) for line in lines}  # type: ignore[union-attr]
    assert len(rows) == 3
    for line, text in zip(lines, entries, strict=True):
        mark = after.extent(line)
        assert mark is not None
        assert 5 < text.left - mark.right < 12
        assert abs(text.top + text.bottom - mark.top - mark.bottom) < 5
    # No empty room is left where it was.
    assert after.view.bottom - max(box.bottom for box in texts(after).values()) < 4
    assert after.view.height == pytest.approx(before.view.height, abs=50)


def test_labels_of_the_axis_are_thinned_out_where_they_would_touch() -> None:
    ticks = list(range(11))
    figure, _ = one_panel(xticks=ticks, xticklabels=[f"{tick}.000" for tick in ticks])
    wide = drawing(figure)
    before, after = Picture(wide), Picture(narrowed(wide, WIDTH))
    labels = [before.by_id[f"text_{k}"] for k in range(1, 12)]
    assert all(before.extent(label) for label in labels)
    kept = [name for name in texts(after) if int(name[5:]) <= 11]
    assert kept == ["text_1", "text_3", "text_5", "text_7", "text_9", "text_11"]
    boxes = [texts(after)[name] for name in kept]
    assert all(b.left - a.right >= APART for a, b in itertools.pairwise(boxes))
    for k in range(len(kept)):  # each below its tick, of which none is missing
        uses = after.by_id[f"xtick_{2 * k + 1}"].iter(f"{NAMESPACE}use")
        (place,) = (float(use.get("x", 0)) for use in uses if use.get("x"))
        assert (boxes[k].left + boxes[k].right) / 2 == pytest.approx(place, abs=1)
    marks = [name for name in after.by_id if name.startswith("xtick_")]
    assert len(marks) == 11
    # Of names none may be missing.
    figure, _ = one_panel(xticks=ticks, xticklabels=[f"model {tick}" for tick in ticks])
    with pytest.raises(ValueError, match="names at its axis"):
        narrowed(drawing(figure), WIDTH)


def test_a_picture_is_squeezed_and_its_bar_of_colors_moves_along() -> None:
    figure = Figure(figsize=(7.5, 3.5), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(np.eye(4), aspect="auto")
    mesh = axes.pcolormesh([0, 1, 3], [0, 1, 2], np.eye(2), gid="mesh")
    figure.colorbar(image, label="share")
    wide = drawing(figure)
    before, after = Picture(wide), Picture(narrowed(wide, WIDTH))
    shown = next(after.by_id["axes_1"].iter(f"{NAMESPACE}image"))
    assert float(shown.get("width", 0)) == pytest.approx(panel(after).width, abs=1)
    assert shown.get("preserveAspectRatio") == "none"
    assert mesh.get_gid() in after.by_id
    gaps = [bar(picture).left - panel(picture).right for picture in (before, after)]
    assert gaps[0] == pytest.approx(gaps[1], abs=0.1)
    assert bar(after).width == pytest.approx(bar(before).width, abs=0.1)
    assert bar(after).right < after.view.right


def bar(picture: Picture) -> Box:
    """Where the second axes of a figure are."""
    box = picture.extent(picture.by_id["axes_2"])
    assert box is not None
    return box


def test_panels_one_above_the_other_keep_their_common_edges() -> None:
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    for axes, name in ((upper, "one"), (lower, "other")):
        axes.plot([1, 2, 4], label=name)
        axes.set_title(f"{name} of the two", loc="left")
    figure.suptitle("Both")
    slim = Picture(narrowed(drawing(figure), WIDTH))
    frames = [panel(slim, name) for name in ("axes_1", "axes_2")]
    assert frames[0].left == frames[1].left
    assert frames[0].right == pytest.approx(frames[1].right, abs=0.01)
    assert frames[0].right > WIDTH - 20
    titles = [box for box in texts(slim).values() if abs(box.left - frames[0].left) < 2]
    assert len(titles) == 2
    # A legend of one of them would not be understood above both.
    upper.legend(frameon=False)
    with pytest.raises(ValueError, match="legend of one panel"):
        narrowed(drawing(figure), WIDTH)


def side_by_side() -> Figure:
    figure = Figure(figsize=(7.5, 3.5), layout="constrained")
    for axes in figure.subplots(1, 2, width_ratios=[1, 6]):
        axes.plot([1, 2])
    return figure


def with_text() -> Figure:
    figure, axes = one_panel()
    axes.text(4, 3, "here")
    return figure


def with_long_names() -> Figure:
    figure, _ = one_panel(yticks=[0], yticklabels=["a name that takes most of a phone's width"])
    return figure


def with_long_legend() -> Figure:
    figure, axes = one_panel()
    axes.plot([1, 2], label="an entry that would be wider than a phone: " + 2 * "as long as this")
    axes.legend(frameon=False)
    return figure


def with_turned_labels() -> Figure:
    figure, axes = one_panel()
    axes.tick_params(axis="x", labelrotation=40)
    for label in axes.get_xticklabels():
        label.set_horizontalalignment("right")
    return figure


def with_framed_legend() -> Figure:
    figure, axes = one_panel()
    axes.legend(title="of what")
    return figure


@pytest.mark.parametrize(
    ("figure", "why"),
    [
        (side_by_side, "side by side"),
        (with_text, "text among its data"),
        (with_long_names, "too narrow"),
        (with_long_legend, "legend that is too wide"),
        (with_turned_labels, "beside their ticks"),
        (with_framed_legend, "legend with a"),
    ],
)
def test_what_would_not_come_out_well_stays_as_it_is(figure: object, why: str) -> None:
    svg = drawing(figure())  # type: ignore[operator]
    with pytest.raises(ValueError, match=why):
        narrowed(svg, WIDTH)
    assert narrow(svg) is None or why == "too narrow"


def test_what_is_not_understood_stays_as_it_is() -> None:
    svg = drawing(one_panel()[0])
    assert narrow(svg)
    strange = svg.replace('<g id="data_0">', '<g id="data_0" transform="translate(0 1)">')
    for other in (svg.replace("<path", "<polygon"), strange):
        with pytest.raises(ValueError, match="figure with"):
            narrowed(other, WIDTH)
    with rc_context({"svg.fonttype": "none"}), pytest.raises(ValueError, match="no outline"):
        narrowed(drawing(one_panel()[0]), WIDTH)


def test_a_guess_is_drawn_in_the_narrow_frame() -> None:
    figure, _ = one_panel()
    plots.with_guess(figure, 1)
    slim = narrowed(drawing(figure), WIDTH)
    picture = Picture(slim)
    (place,) = panels_of(slim)
    left, top, width, height = place["box"]
    frame = panel(picture)
    assert picture.view.left + left * picture.view.width == pytest.approx(frame.left, abs=0.1)
    assert picture.view.top + top * picture.view.height == pytest.approx(frame.top, abs=0.1)
    assert width * picture.view.width == pytest.approx(frame.width, abs=0.1)
    assert height * picture.view.height == pytest.approx(frame.height, abs=0.1)


# --- The figures of the book -------------------------------------------------------------------


@functools.cache
def alone() -> dict[str, str]:
    """The figures that are too wide for a phone and do not stand panel by panel."""
    return {
        name: svg
        for name, svg in pictures().items()
        if "<text" not in svg  # those of instruments, which have rooms of their own
        and least_width(svg, pixels_of(svg)) > PHONE
        and not stacked(svg, "a.svg")
    }


def pixels_of(svg: str) -> int:
    return round(numbers(ElementTree.fromstring(svg).get("width", ""))[0] * 96 / 72)


def test_all_figures_of_the_book_that_would_scroll_have_a_narrow_variant() -> None:
    assert len(alone()) > 12
    assert [name for name, svg in alone().items() if narrow(svg) is None] == []


def touching(boxes: list[Box]) -> int:
    return sum(overlap(one, other) for one, other in itertools.combinations(boxes, 2))


@pytest.mark.browser
def test_every_letter_is_in_the_picture_as_high_as_before(browser: Browser) -> None:
    """As the browser draws it: none overlaps another that it did not overlap."""
    page = browser.new_page()
    for name, wide in alone().items():
        found = narrow(wide)
        assert found, name
        slim, width = found
        view = Picture(slim).view
        assert min(sizes_of_labels(slim)) * width / view.width >= 9.99, name
        before, after = (page.evaluate(LETTERS, svg) for svg in (wide, slim))
        assert len(before) - 30 <= len(after) <= len(before), name
        sizes = [{round(size, 1) for *_, size in letters} for letters in (before, after)]
        assert sizes[0] == sizes[1], name
        boxes = [Box(*letter) for *letter, _ in after]
        assert {box.within(view) == box for box in boxes} == {True}, name
        assert touching(boxes) <= touching([Box(*letter) for *letter, _ in before]), name
    page.close()


ROOMS = """all => all.filter((one) => one.clientWidth).map((one) => {
    const image = one.querySelector("img");
    return { scrolls: one.scrollWidth > one.clientWidth + 1, width: image.clientWidth,
        chosen: image.currentSrc, source: image.src, alt: image.alt,
        ratio: image.clientHeight / image.clientWidth - image.naturalHeight / image.naturalWidth };
})"""


def rooms(page: Page) -> list[dict]:
    """What is seen of the figures that have a narrow variant, once they are loaded."""
    found = page.locator("article .figure-room:has(source)")
    for room in found.all():
        room.scroll_into_view_if_needed()
    page.wait_for_function(
        "[...document.querySelectorAll('.figure-room picture img')].every((one) => one.complete)"
    )
    seen: list[dict] = found.evaluate_all(ROOMS)
    return seen


@pytest.mark.browser
@for_each(DOCUMENTS)
def test_no_figure_scrolls_on_a_phone(name: str, browser: Browser, site: Path) -> None:
    """From a folder, as on the web; a wide screen and paper have the figure as it was drawn."""
    context = browser.new_context(viewport={"width": 390, "height": 844})
    context.add_init_script('localStorage.setItem("guesses", \'{"skipped": true}\')')
    page = context.new_page()
    errors: list[str] = []
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.goto(f"{site.as_uri()}/{name}.html")
    page.locator("html[data-settled]").wait_for(state="attached")
    scrolling = page.locator("article .figure-room[data-more]")
    assert scrolling.count() == 0
    for room in rooms(page):
        stem = Path(unquote(urlsplit(room["source"]).path)).stem
        assert Path(unquote(urlsplit(room["chosen"]).path)).name == f"{stem}-narrow.svg"
        assert room["alt"]
        assert not room["scrolls"]
        assert 340 <= room["width"] <= PHONE
        assert abs(room["ratio"]) < 0.01
    page.emulate_media(media="print")
    assert [one["chosen"] for one in rooms(page)] == [one["source"] for one in rooms(page)]
    page.emulate_media(media="screen")
    page.set_viewport_size({"width": 1280, "height": 844})
    for room in rooms(page):
        assert room["chosen"] == room["source"]
        assert room["width"] > 400 or "193c24dc" in room["source"]
    context.close()
    assert errors == []


def test_cards_and_editions_have_figures_as_they_were_drawn(site: Path) -> None:
    """Only what stands in the text of a page has a look for a phone."""
    many = 0
    for name in DOCUMENTS:
        page = parsed(site, name)
        text = page.select_one("article")
        assert text is not None
        many += len(text.select("picture > source"))
        assert page.select("template :is(source, .of-narrow)") == []
        edition_pages._clean(edition_pages.Page(name, "", "", text))
        assert text.select("picture, source, .of-narrow") == []
        assert "-narrow.svg" not in str(text)
    assert many == len(alone())


@pytest.mark.browser
def test_a_narrow_figure_fills_the_screen_as_it_was_drawn(browser: Browser, site: Path) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    context.add_init_script('localStorage.setItem("guesses", \'{"skipped": true}\')')
    page = context.new_page()
    page.goto(f"{site.as_uri()}/notebooks/09_published_runs.html")
    page.locator("html[data-settled]").wait_for(state="attached")
    figure = page.locator("figure:has(source)").first
    figure.get_by_role("button", name="Full screen").click()
    screen = page.locator("dialog.figure-screen")
    image = screen.locator("img")
    image.evaluate("one => one.decode()")
    assert image.evaluate("one => one.currentSrc === one.src")
    assert image.evaluate("one => one.clientWidth") > 600
    assert screen.locator("source, .of-narrow").count() == 0
    assert screen.locator(".guess-marks").count() == 1
    context.close()


@pytest.mark.browser
@pytest.mark.parametrize(
    "name", ["01_variance_propagation", "02_criticality", "05_std_sweep", "09_published_runs"]
)
def test_a_guess_is_drawn_at_the_same_number_of_the_axis(
    name: str, browser: Browser, site: Path
) -> None:
    guesses = {k: {"guess": [0.15, 0.4], "score": "near"} for k in range(1, 5)}
    kept = json.dumps(json.dumps({"pages": {name: guesses}}))
    shares = []
    for width in (1280, 390):
        context = browser.new_context(viewport={"width": width, "height": 844})
        context.add_init_script(f'localStorage.setItem("guesses", {kept})')
        page = context.new_page()
        page.goto(f"{site.as_uri()}/notebooks/{name}.html")
        page.locator("html[data-settled]").wait_for(state="attached")
        places = page.locator(".guess-figure:has(source) .guess-marks:visible")
        assert places.count() == page.locator(".guess-figure:has(source)").count() > 0
        shares.append(
            places.evaluate_all(
                """all => all.flatMap((one) => {
                    const [{ box, along }] = JSON.parse(one.dataset.panels);
                    const image = one.parentElement.querySelector("img").getBoundingClientRect();
                    return [...one.querySelectorAll(".guess-mark")].flatMap((mark) => {
                        const at = mark.getBoundingClientRect();
                        const [first, size] = along === "x" ? ["left", "width"] : ["top", "height"];
                        const [start, long] = along === "x" ? [box[0], box[2]] : [box[1], box[3]];
                        return [at[first], at[first] + at[size]].map((edge) =>
                            ((edge - image[first]) / image[size] - start) / long);
                    });
                })"""
            )
        )
        context.close()
    assert len(shares[0]) == len(shares[1]) > 0
    assert shares[1] == pytest.approx(shares[0], abs=0.02)
