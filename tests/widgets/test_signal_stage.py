"""The stage of the signal propagation widget: its slider, walls, crosshair and formula."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

import numpy as np
import pytest
from conftest import SCRIPTS
from playwright.sync_api import Locator, Page
from widget_cases.case import near, numbers_in
from widget_page import Open, copy_of, downloaded, drawn, press

from initscope.theory import NUMBER_FORMATS, scheme_std
from initscope.widgets import SignalPropagation
from initscope.widgets.signal_propagation.widget import ACTIVATIONS, STD_RANGE, WIDTHS

SLIDER = "signal_propagation/std_slider.mjs"
WALLS = [math.log10(NUMBER_FORMATS["float32"].smallest_normal), math.log10(3.4028235e38)]
SIZES = ((1280, 720), (1440, 900), (390, 844), (640, 450))


@pytest.fixture(scope="module")
def many(node, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Call a function of a module for each of many lists of arguments, in one go."""

    def call(module: str, function: str, given: list) -> list:
        path = tmp_path_factory.mktemp("many") / "many.mjs"
        path.write_text(
            f'import {{ {function} as f }} from "{(SCRIPTS / module).as_uri()}";\n'
            "export const many = (all) => all.map((given) => f(...given));\n"
        )
        return node(path, "many", given)

    return call


# Left, right, top and bottom of the letters of texts: the box of a text has room for accents, too.
LETTERS = """all => all.map((one) => {
    const { x, width } = one.getBBox();
    const [size, line] = [parseFloat(getComputedStyle(one).fontSize), +one.getAttribute("y")];
    return [x, x + width, line - 0.75 * size, one.matches(".ins-end") ? line : line + 0.2 * size];
})"""


def overlap(one: list[float], other: list[float]) -> bool:
    """Whether the letters of two texts do, which have been measured."""
    low = [max(one[k], other[k]) for k in (0, 2)]
    high = [min(one[k], other[k]) for k in (1, 3)]
    return all(start < end for start, end in zip(low, high, strict=True))


# --- the track, in Node.js -----------------------------------------------------------------------


def test_the_track_is_centered_on_kaiming_and_reaches_a_decade(many) -> None:
    for width in WIDTHS:
        center = math.sqrt(2 / width)
        given = [[place, width, None] for place in (-1, 0, 1)]
        assert many(SLIDER, "stdAt", given) == pytest.approx([center / 10, center, 10 * center])
        whole = np.log10(STD_RANGE).tolist()
        ends = many(SLIDER, "stdAt", [[place, width, whole] for place in (-1, 1)])
        assert ends == pytest.approx(STD_RANGE)
        (zoom,) = many(SLIDER, "zoomed", [[{"low": 0.09, "high": 0.0901}]])
        band = many(SLIDER, "placeOf", [[std, width, zoom] for std in (0.09, 0.0901)])
        assert band == pytest.approx([-0.1, 0.1])
        for track in (None, whole, zoom):
            places = np.linspace(-1, 1, 41).tolist()
            stds = many(SLIDER, "stdAt", [[place, width, track] for place in places])
            assert (np.diff(stds) > 0).all()
            back = many(SLIDER, "placeOf", [[std, width, track] for std in stds])
            assert back == pytest.approx(places, abs=1e-12)


# --- in a real browser ---------------------------------------------------------------------------


def slider_of(page: Page) -> Locator:
    return page.get_by_role("slider", name="std of the weights", exact=True)


def set_to(page: Page, place: float) -> None:
    slider_of(page).fill(str(place))
    drawn(page)


def ends(page: Page, name: str = "ins-network") -> list[list[float]]:
    """Where the curves of a kind end, first of the signal, then of the gradient: x and y."""
    found: list[list[float]] = page.evaluate(
        r"""(name) => [...document.querySelectorAll(".ins-panel")].slice(0, 2).map((panel, k) => {
            const d = panel.querySelector(`.${name}`).getAttribute("d");
            const points = d.split(/[ML]/).slice(1).map((point) => point.split(",").map(Number));
            return k ? points[0] : points.at(-1);
        })""",
        name,
    )
    return found


@pytest.mark.browser
@pytest.mark.parametrize(
    "settings",
    [{}, {"activation": "gelu"}, {"activation": "tanh"}, {"depth": 1}, {"residual": True}],
    ids=str,
)
def test_the_end_of_the_curve_rises_with_the_std_until_the_wall(
    settings: dict, open_page: Open
) -> None:
    page = open_page(SignalPropagation(**{"depth": 50, "width": 32, "draws": 1, **settings}))
    heights, signs = [], []
    for place in np.linspace(-1, 1, 41):
        set_to(page, place)
        # Far beyond its band tanh makes chaos of a narrow network; theory is smooth.
        kind = "ins-theory" if settings.get("activation") == "tanh" else "ins-network"
        heights.append(ends(page, kind)[0][1])
        signs.append(page.locator(".ins-panel").first.locator(".ins-end").all_text_contents())
    moving = [y for y, sign in zip(heights, signs, strict=True) if not sign]
    assert len(moving) > 10
    assert (np.diff(moving) < 0).all()  # pixels count downwards
    clipped = [sign[0] for sign in signs if sign]
    assert clipped == sorted(clipped)  # first 0 below, then ∞ above
    assert len({y for y, sign in zip(heights, signs, strict=True) if sign == ["∞"]}) <= 1
    if not settings:
        assert set(clipped) == {"0", "∞"}


@pytest.mark.browser
@pytest.mark.parametrize(("button", "sign"), [("too small", "0"), ("too large", "∞")])
def test_a_curve_ends_at_the_wall_in_the_layer_where_it_happens(
    button: str, sign: str, open_page: Open
) -> None:
    page = open_page(SignalPropagation(draws=1, width=64))
    press(page, button)
    # The ends of the track are on it, rounded as they are.
    whole = page.get_by_role("button", name="Whole range")
    assert whole.get_attribute("aria-pressed") == "false"
    rows = downloaded(page)
    drawn(page)
    for k, direction in enumerate(("forward", "backward")):
        mine = rows[rows["direction"] == direction]
        logs = mine["log10_network_0"].to_numpy(float) / 2
        out = np.flatnonzero((logs < WALLS[0]) | (logs > WALLS[1]))
        layer = out[0] if direction == "forward" else out[-1]
        panel = page.locator(".ins-panel").nth(k)
        assert panel.locator(".ins-end").all_text_contents() == [sign]
        assert panel.locator(".ins-end-words").text_content() == f"layer {layer}"
        # No words of the walls stand over the sign and its own.
        letters = panel.locator("text.ins-inside").evaluate_all(LETTERS)
        assert len(letters) == 6
        for one, other in itertools.combinations(letters, 2):
            assert not overlap(one, other)
        # The curve goes as far as this layer, and to the wall.
        x, y = ends(page)[k]
        grid = panel.locator("line.ins-grid").evaluate_all(
            "all => all.map((one) => ['x1', 'x2', 'y1'].map((name) => +one.getAttribute(name)))"
        )
        left, right = (pick(x1 for x1, x2, _ in grid if x1 == x2) for pick in (min, max))
        assert x == pytest.approx(left + (right - left) * layer / 50, abs=0.1)
        tens = [y1 for x1, x2, y1 in grid if x1 != x2]  # of -40, -20, 0, 20 and 40
        wall = WALLS[1] if sign == "∞" else WALLS[0]
        assert y == pytest.approx(tens[2] - (tens[0] - tens[4]) * wall / 80, abs=0.1)
    color = page.locator(".ins-end").first.evaluate("one => getComputedStyle(one).fill")
    red, green, blue = numbers_in(color.replace(",", " "))[:3]
    assert red > 2 * max(green, blue)


@pytest.mark.browser
def test_the_axis_stands_still_unless_it_is_to_fit(open_page: Open) -> None:
    page = open_page(SignalPropagation(draws=1, width=64))
    axis = (
        "() => [...document.querySelector('.ins-chart').querySelectorAll(':scope > text')]"
        ".map((one) => [one.textContent, one.getAttribute('y')])"
    )
    before = page.evaluate(axis)
    assert {"10⁴⁰", "10⁻⁴⁰"} <= {text for text, _ in before}
    for button in ("too small", "Kaiming", "too large", "Xavier"):
        press(page, button)
        drawn(page)
        assert page.evaluate(axis) == before
    page.get_by_text("More settings").click()
    page.get_by_label("fit axis").check()
    drawn(page)
    assert page.evaluate(axis) != before
    assert page.locator(".ins-end").count() == 0
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(); }")
    press(page, "Copy link")
    assert "fit_axis=true" in page.locator(".ins-address").input_value()


@pytest.mark.browser
@pytest.mark.parametrize(("width", "least"), [(900, 12), (390, 10)])
@pytest.mark.parametrize(
    ("activation", "zoomed"),
    [("relu", False), ("leaky_relu", False), ("tanh", False), ("gelu", True), ("relu", True)],
)
def test_the_band_is_drawn_where_the_slider_is_good(
    activation: str, zoomed: bool, width: int, least: float, open_page: Open
) -> None:
    """Its ends are the places of the thumb at which the signal is just kept.

    Under GELU hardly any std keeps both through 50 layers: the band is a hair until one zooms in.
    """
    page = open_page(SignalPropagation(draws=1, activation=activation), width=width)
    if zoomed:
        press(page, "Zoom")
        drawn(page)
        button = page.get_by_role("button", name="Zoom")
        assert button.get_attribute("aria-pressed") == "true"
        assert float(slider_of(page).input_value()) == pytest.approx(-1)  # the nearer end
    band = page.locator(".ins-rail-good").bounding_box()
    assert band is not None
    assert band["width"] >= least
    track = slider_of(page).bounding_box()
    assert track is not None
    thumb = 24
    for edge, inwards in ((band["x"], 1), (band["x"] + band["width"], -1)):
        for side in (1, -1):
            pixel = edge + 2.5 * side * inwards
            place = 2 * (pixel - track["x"] - thumb / 2) / (track["width"] - thumb) - 1
            set_to(page, place)
            theory = downloaded(page)
            theory = theory[(theory["direction"] != "size") & (theory["layer"] != "0")]
            worst = theory["log10_theory"].astype(float).abs().max()
            assert (worst < 1) == (side > 0)


@pytest.mark.browser
def test_a_pointer_falls_into_detents_and_keys_go_through_them(open_page: Open) -> None:
    page = open_page(SignalPropagation(draws=1, width=64, depth=20, std=0.5))
    slider, track = slider_of(page), slider_of(page).bounding_box()
    assert track is not None
    scheme = page.get_by_label("scheme")
    for k, name in enumerate(("xavier", "kaiming")):
        tick = page.locator(".ins-rail-tick").nth(k).bounding_box()
        assert tick is not None
        page.mouse.click(tick["x"] + 3, track["y"] + track["height"] / 2)
        drawn(page)
        assert scheme.evaluate("one => one.value") == name
        std = float(page.locator(".ins-field").input_value())
        assert std == pytest.approx(float(scheme_std(name, 64, 64)), rel=1e-4)
    places = []
    for _ in range(4):
        slider.press("ArrowLeft")
        drawn(page)
        places.append(float(slider.input_value()))
    assert places == pytest.approx([-0.005, -0.01, -0.015, -0.02])
    assert scheme.evaluate("one => one.value") == "free"


@pytest.mark.browser
def test_a_std_is_typed_and_the_whole_range_is_one_press_away(open_page: Open) -> None:
    page = open_page(SignalPropagation(draws=1, width=64, depth=5))
    field = page.get_by_label("std of the weights, as a number")
    whole = page.get_by_role("button", name="Whole range")
    assert whole.get_attribute("aria-pressed") == "false"
    field.fill("0,2")
    field.press("Enter")
    drawn(page)
    assert page.locator(".ins-view").get_attribute("data-std") == "0.2"
    for wrong in ("0", "1e4", "much", ""):
        field.fill(wrong)
        field.press("Enter")
        drawn(page)
        assert field.input_value() == "0.2"
        assert page.locator(".ins-view").get_attribute("data-std") == "0.2"
    whole.click()
    set_to(page, 1)
    assert page.locator(".ins-view").get_attribute("data-std") == "1000"
    whole.click(force=True)  # not while the std is beyond the other track
    assert whole.get_attribute("aria-pressed") == "true"
    press(page, "Kaiming")
    whole.click()
    assert whole.get_attribute("aria-pressed") == "false"
    assert float(slider_of(page).input_value()) == 0
    # A link may lead beyond it.
    far = open_page(SignalPropagation(draws=1, width=64), query="SignalPropagation.std=5")
    assert far.get_by_role("button", name="Whole range").get_attribute("aria-pressed") == "true"
    assert float(slider_of(far).input_value()) == pytest.approx(
        2 * (math.log10(5) + 4) / 7 - 1, abs=0.005
    )


@pytest.mark.browser
def test_what_is_read_at_the_crosshair_stands_in_the_csv(open_page: Open) -> None:
    page = open_page(SignalPropagation(draws=3, width=64, depth=30))
    rows = downloaded(page)
    values = rows[rows["direction"] != "size"].set_index(["direction", "layer"])
    panels = page.locator(".ins-panel")

    def check(layer: int) -> None:
        for k, direction in enumerate(("forward", "backward")):
            row = values.loc[(direction, str(layer))]
            logs = row.filter(like="log10_network").astype(float).to_numpy()
            name, here, rms = re.fullmatch(
                r"(\w+), layer (\d+): rms (\S+)",
                panels.nth(k).locator(".ins-panel-title").inner_text(),
            ).groups()
            assert (name, int(here)) == (("Signal", "Gradient")[k], layer)
            assert numbers_in(rms) == [near(10 ** (logs.mean() / 2), 2)]
            told = numbers_in(panels.nth(k).locator(".ins-values").inner_text())
            stds = [*(10 ** np.unique([logs.min(), logs.max()])), 10 ** float(row["log10_theory"])]
            assert told[-1] == near(stds[-1], 2)
            assert [told[0], told[-2]] == [near(stds[0], 2), near(stds[-2], 2)]

    signal, gradient, sizes = page.locator(".ins-reader").all()
    box = panels.first.locator(".ins-chart").bounding_box()
    assert box is not None
    x = 46 + (box["width"] - 46 - 12) * 20 / 30
    for reader in (signal, gradient):
        reader.scroll_into_view_if_needed()
        at = reader.bounding_box()
        assert at is not None
        page.mouse.move(at["x"] + x, at["y"] + 60)
        check(20)
        crossing = page.locator(".ins-cross").evaluate_all(
            "all => all.map((one) => one.querySelectorAll('line').length)"
        )
        assert crossing == [1, 1, 1]
    page.mouse.move(2, 2)
    assert page.locator(".ins-cross line").count() == 0
    # By keyboard.
    signal.focus()
    for key, layer in (("Home", 0), ("ArrowRight", 1), ("PageUp", 11), ("ArrowLeft", 10)):
        signal.press(key)
        check(layer)
        assert signal.get_attribute("aria-valuenow") == str(layer)
    assert "layer 10" in (gradient.get_attribute("aria-valuetext") or "")
    # It stays at its layer as the std is moved.
    set_to(page, 0.1)
    signal.focus()
    # The histogram.
    sizes.focus()
    sizes.press("Home")
    for _ in range(3):
        sizes.press("ArrowRight")
    mine = downloaded(page)
    mine = mine[mine["direction"] == "size"]
    sizes.focus()
    sizes.press("Home")
    for _ in range(3):
        sizes.press("ArrowRight")
    text = page.locator(".ins-values").nth(2).inner_text()
    edges, told = text.removeprefix("|z| ").split(": ")
    for layer, share in re.findall(r"layer (\d+) ([\d.]+)%", told):
        row = mine[mine["layer"] == layer].iloc[3]
        ends_of = [10 ** float(row[end]) for end in ("log10_size_from", "log10_size_to")]
        assert numbers_in(edges) == [near(one, 2) for one in ends_of]
        assert float(share) == pytest.approx(100 * float(row["share"]), abs=0.051)
    assert len(re.findall("layer", told)) == 3
    sizes.press("Escape")
    assert "rms of layer 30" in page.locator(".ins-values").nth(2).inner_text()


@pytest.mark.browser
def test_a_finger_reads_a_layer(open_page: Open) -> None:
    page = open_page(SignalPropagation(draws=1, width=32, depth=10), width=390)
    reader = page.locator(".ins-reader").first
    box = reader.bounding_box()
    assert box is not None
    page.touchscreen.tap(box["x"] + 46 + (box["width"] - 58) * 0.5, box["y"] + 50)
    assert "Signal, layer 5:" in copy_of(page, 0).inner_text()
    assert "Gradient, layer 5:" in copy_of(page, 0).inner_text()


FORMULAS = [
    {"activation": activation, "bias_std": bias, "residual": residual, "layer_norm": norm}
    for activation in ACTIVATIONS
    for bias, residual, norm in ((0.0, False, False), (0.3, False, False), (0.1, True, True))
] + [{"depth": 1}, {"depth": 2}, {"std": 5.0}, {"residual": True, "depth": 1}]


def test_the_numbers_of_the_formula_give_what_it_says(node, tmp_path) -> None:
    """The second line, as Python reads it, is right to the digits shown; so is its result."""
    path = tmp_path / "formulas.mjs"
    folder = SCRIPTS / "signal_propagation"
    path.write_text(
        f'import {{ formula }} from "{(folder / "formula.mjs").as_uri()}";\n'
        f'import {{ propagate }} from "{(folder / "theory.mjs").as_uri()}";\n'
        "export const formulas = (all) => all.map((one) => formula(one, propagate(one).forward));\n"
    )
    base = {"activation": "relu", "depth": 20, "width": 64, "std": 0.2, "bias_std": 0.0}
    base |= {"residual": False, "layer_norm": False}
    given = [{**base, **one} for one in FORMULAS]
    for settings, (symbols, numbers) in zip(given, node(path, "formulas", given), strict=True):
        widget = SignalPropagation(**settings)
        expected = math.exp(widget._theory().forward[-1])
        raised = lambda piece: f"**{piece['text']}" if piece.get("raised") else piece["text"]  # noqa: E731
        text = "".join(map(raised, numbers)).replace("·", "*").replace("²", "**2").replace(",", "")
        *computed, result = text.removeprefix("= ").split(" = ")
        assert float(result) == near(expected, 2)
        for one in computed:
            assert eval(one) == pytest.approx(expected, rel=0.3 if settings["depth"] > 2 else 0.06)
        kinds = {piece.get("of") for piece in symbols} - {None}
        assert {"sigma", "width", "signal", "depth"} <= kinds


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
def test_terms_have_the_colors_of_their_controls(dark: bool, open_page: Open) -> None:
    page = open_page(SignalPropagation(draws=1, width=64, depth=20), dark=dark)
    color = "one => getComputedStyle(one).color"
    alive = page.locator(".ins-alive")
    for name, label in (("sigma", "std of the weights"), ("width", "width (units)")):
        shown = alive.locator(f".ins-{name}").first.evaluate(color)
        assert shown == page.locator(".ins-label", has_text=label).evaluate(color)
    depth = alive.locator(".ins-depth").first.evaluate(color)
    assert depth == page.locator(".ins-label", has_text="depth (layers)").evaluate(color)
    assert depth == page.locator(".ins-line .ins-depth").evaluate(color)
    before = alive.inner_text()
    set_to(page, 0.2)
    assert alive.inner_text() != before


@pytest.mark.browser
def test_a_drag_lays_the_page_out_once_a_picture(open_page: Open) -> None:
    """A chart that asks for its width as it is drawn has the browser lay out all anew each time."""
    page = open_page(SignalPropagation(draws=2, width=64, depth=20))
    drawn(page)
    browser_told = page.context.new_cdp_session(page)
    browser_told.send("Performance.enable")

    def layouts() -> float:
        told = browser_told.send("Performance.getMetrics")["metrics"]
        return next(one["value"] for one in told if one["name"] == "LayoutCount")

    slider = page.locator("input[type=range]").first
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    before = layouts()
    for k in range(30):
        page.mouse.move(box["x"] + box["width"] * (0.5 + 0.4 * math.sin(k / 5)), middle)
        page.wait_for_timeout(20)
    done = layouts() - before
    page.mouse.up()
    assert 10 < done < 60  # at most two a move: what came back from the worker is drawn, too
