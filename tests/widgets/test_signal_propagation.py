"""The signal propagation widget: its mathematics, its Python side, and the page it lives in."""

from __future__ import annotations

import io
import math
import warnings

import numpy as np
import pytest
import torch
from conftest import SCRIPTS
from matplotlib.figure import Figure
from playwright.sync_api import Locator, Page
from traitlets import TraitError
from widget_page import SENTENCES, Open, downloaded, drawn, pictures, press, said, widget_page

from initscope.models.batched_mlp import BatchedMLP
from initscope.monte_carlo.variances import residual_pass, residual_profiles, variance_profiles
from initscope.theory import NUMBER_FORMATS, finite_width_interval, scheme_std
from initscope.theory.propagation import log_variances
from initscope.widgets import SignalPropagation
from initscope.widgets.signal_propagation.widget import (
    ACTIVATIONS,
    STD_RANGE,
    WIDTHS,
)

LN10 = math.log(10)
NETWORK = "signal_propagation/network.mjs"
ARCHITECTURES = [(False, False), (True, False), (False, True), (True, True)]


def name_in_python(activation: str) -> str:
    return "identity" if activation == "linear" else activation


def numbers(values: list) -> np.ndarray:
    return np.array([float(value) for value in values])


def random_settings(rng: np.random.Generator) -> dict:
    residual, layer_norm = ARCHITECTURES[rng.integers(4)]
    return {
        "activation": str(rng.choice(ACTIVATIONS)),
        "depth": int(rng.integers(1, 101)),
        "width": int(rng.choice(WIDTHS)),
        "std": float(10 ** rng.uniform(*np.log10(STD_RANGE))),
        "bias_std": float(rng.choice([0.0, rng.uniform(0, 2)])),
        "residual": residual,
        "layer_norm": layer_norm,
    }


UNLIKELY = [
    {"activation": "relu", "depth": 100, "width": 512, "std": 1e3, "bias_std": 0.0},
    {"activation": "gelu", "depth": 100, "width": 512, "std": 1e3, "bias_std": 2.0},
    {"activation": "tanh", "depth": 100, "width": 512, "std": 1e3, "bias_std": 0.0},
    {"activation": "tanh", "depth": 100, "width": 16, "std": 1e-4, "bias_std": 0.0},
    {"activation": "gelu", "depth": 1, "width": 16, "std": 1e-4, "bias_std": 0.0},
    {"activation": "linear", "depth": 1, "width": 1, "std": 1.0, "bias_std": 0.0},
    {"activation": "relu", "depth": 2, "width": 1, "std": 1e-4, "bias_std": 1e-3},
]
RNG = np.random.default_rng(5)
SETTINGS = [{"residual": False, "layer_norm": False, **one} for one in UNLIKELY] + [
    random_settings(RNG) for _ in range(14)
]


def theory_of(s: dict) -> list[np.ndarray]:
    logs = log_variances(
        s["width"],
        s["depth"],
        name_in_python(s["activation"]),
        s["std"],
        s["bias_std"],
        residual=s["residual"],
        layer_norm=s["layer_norm"],
    )
    return list(logs)


# --- mathematics, in Node.js ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def each(node, tmp_path_factory):
    """Call a function of a module for each of many lists of arguments, in one go."""

    def each(module: str, function: str, many: list) -> list:
        path = tmp_path_factory.mktemp("each") / "each.mjs"
        path.write_text(
            f'import {{ {function} as f }} from "{(SCRIPTS / module).as_uri()}";\n'
            "export const each = (many) => many.map((given) => f(...given));\n"
        )
        return node(path, "each", many)

    return each


def test_theory_agrees_with_python(each) -> None:
    many = each("signal_propagation/theory.mjs", "propagate", [[s] for s in SETTINGS])
    for s, found in zip(SETTINGS, many, strict=True):
        for direction, expected in zip(("forward", "backward"), theory_of(s), strict=True):
            # Logarithms: 1e-5 of a variance is 1e-5 here.
            np.testing.assert_allclose(numbers(found[direction]), expected, atol=1e-5, rtol=0)


def test_the_band_is_that_of_python(each) -> None:
    rng = np.random.default_rng(0)
    many = []
    for activation in ACTIVATIONS:
        for bias_std in (0.0, 0.0, 0.3):
            depth, width = int(rng.integers(1, 60)), int(rng.choice(WIDTHS[2:]))
            std = float(np.sqrt(rng.uniform(0.5, 3) / width))
            s = {"activation": activation, "depth": depth, "width": width, "std": std}
            many.append({**s, "bias_std": bias_std, "residual": False, "layer_norm": False})
    bands = each("signal_propagation/theory.mjs", "finiteWidth", [[s] for s in many])
    for s, found in zip(many, bands, strict=True):
        sizes = [s["width"]] * (s["depth"] + 1)
        name = name_in_python(s["activation"])
        python = finite_width_interval(sizes, name, s["std"], s["bias_std"])
        for end, expected in zip(("low", "high"), python, strict=True):
            for direction in ("forward", "backward"):
                np.testing.assert_allclose(
                    np.exp(numbers(found[direction][end])),
                    getattr(expected, direction),
                    rtol=1e-4,
                )


def test_no_band_where_none_is_known(node) -> None:
    s = {"activation": "relu", "depth": 9, "width": 64, "std": 0.1, "bias_std": 0.0}
    for residual, layer_norm in ARCHITECTURES[1:]:
        options = {"residual": residual, "layer_norm": layer_norm}
        assert node("signal_propagation/theory.mjs", "finiteWidth", {**s, **options}) is None
    plain = {"residual": False, "layer_norm": False}
    saturated = {**s, **plain, "activation": "tanh", "std": 1e3}
    assert node("signal_propagation/theory.mjs", "finiteWidth", saturated) is None
    assert node("signal_propagation/theory.mjs", "finiteWidth", {**s, **plain}) is not None


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("residual", "layer_norm"), ARCHITECTURES)
def test_the_same_weights_give_the_numbers_of_torch(
    simulation, node, activation: str, residual: bool, layer_norm: bool
) -> None:
    """Variances forward and backward and histograms, from weights that are given."""
    architecture = residual, layer_norm
    given, expected = zip(
        *(given_weights(activation, *architecture, scale) for scale in (1e-3, 1.0, 30.0)),
        strict=True,
    )
    edges = np.linspace(-6, 4, 81)
    many = node(simulation, "passes", given, edges.tolist())
    for (z, gradients), found in zip(expected, many, strict=True):
        for direction, tensors in (("forward", z), ("backward", gradients)):
            squares = [float(t.square().mean()) for t in tensors]
            np.testing.assert_allclose(10 ** numbers(found[direction]), squares, rtol=1e-6)
        depth = len(z) - 1
        layers = list(dict.fromkeys([1, math.ceil(depth / 2), depth]))
        for layer, sizes, shares in zip(layers, found["sizes"], found["shares"], strict=True):
            logs = z[layer].abs().log10().flatten().numpy()
            np.testing.assert_allclose(numbers(sizes), logs, atol=1e-6)
            counts = np.histogram(logs, edges)[0]
            np.testing.assert_allclose(shares, counts / len(logs), rtol=1e-4)


def given_weights(activation: str, residual: bool, layer_norm: bool, scale: float) -> tuple:
    """A network as it is given to a pass, and what torch makes of it."""
    rng = np.random.default_rng([residual, layer_norm, len(activation)])
    depth, width = int(rng.integers(1, 7)), int(rng.integers(5, 30))
    weights = rng.normal(size=(depth, width, width)) * scale / np.sqrt(width)
    biases = rng.normal(size=(depth, width)) * rng.choice([0.0, 0.3])
    x, gradient = rng.normal(size=(2, width))
    stack = BatchedMLP(
        [torch.tensor(w)[None] for w in weights],
        [torch.tensor(b)[None, None] for b in biases],
        name_in_python(activation),
    )
    z, gradients = residual_pass(
        stack,
        torch.tensor(x)[None, None],
        torch.tensor(gradient)[None, None],
        residual=residual,
        layer_norm=layer_norm,
    )
    options = {"activation": activation, "depth": depth, "residual": residual}
    given = {"weights": weights.tolist(), "biases": biases.tolist()}
    given |= {"input": x.tolist(), "gradient": gradient.tolist()}
    return [{**options, "layer_norm": layer_norm}, given], (z, gradients)


def test_extreme_weights_neither_overflow_nor_underflow(node) -> None:
    """100 layers of std 1e3 or 1e-4: torch has no numbers for it, logarithms have."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(100, 8, 8))
    x = rng.normal(size=8)
    for activation in ("linear", "gelu"):
        for exponent in (6, -6):
            s = {"activation": activation, "depth": 100, "residual": False, "layer_norm": False}
            given = {"weights": (10.0**exponent * weights).tolist(), "input": x.tolist()}
            found = node(
                "signal_propagation/network.mjs", "passWith", s, {**given, "gradient": x.tolist()}
            )
            h, log = x, 0.0
            for layer, w in enumerate(weights):
                if layer and activation == "gelu":
                    # Far from 0 GELU is ReLU, close to 0 half of the identity.
                    h = np.maximum(h, 0) if exponent > 0 else h / 2
                h = w @ h
                size = np.sqrt(np.mean(h**2))
                if size == 0:
                    break
                h, log = h / size, log + 2 * (np.log10(size) + exponent)
            else:
                assert float(found["forward"][-1]) == pytest.approx(log, abs=1e-3)
    given = {"weights": np.zeros((3, 4, 4)).tolist(), "input": [1] * 4, "gradient": [1] * 4}
    found = node("signal_propagation/network.mjs", "passWith", {**s, "depth": 3}, given)
    assert found["forward"] == [0, "-Infinity", "-Infinity", "-Infinity"]
    assert found["backward"] == ["-Infinity", "-Infinity", "-Infinity", 0]


ALL_OF = """
import {{ Store, histogram, passWith, simulate }} from "{module}";
export const passes = (many, edges) => many.map(([settings, given]) => {{
  const found = passWith(settings, given);
  return {{ ...found, shares: found.sizes.map((sizes) => histogram([sizes], edges)) }};
}});
export const lasts = (many) => many.map((settings) => last(settings));
export function last(settings, others = []) {{
  const store = new Store(settings.bytes ?? 160e6);
  let found;
  for (const one of [...others, settings]) {{
    for (const step of simulate({{ ...settings, ...one }}, store)) if (step) found = step;
  }}
  return found;
}}
"""


@pytest.fixture(scope="module")
def simulation(tmp_path_factory):
    path = tmp_path_factory.mktemp("simulation") / "last.mjs"
    path.write_text(ALL_OF.format(module=(SCRIPTS / "signal_propagation/network.mjs").as_uri()))
    return path


BASE = {"activation": "relu", "depth": 12, "width": 32, "std": 0.3, "bias_std": 0.0, "draws": 3}
BASE |= {"seed": 4, "residual": False, "layer_norm": False}


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "linear"])
def test_a_rescaled_pass_is_the_pass(node, simulation, activation: str) -> None:
    s = {**BASE, "activation": activation}
    fresh = node(simulation, "last", s)["networks"]
    rescaled = node(simulation, "last", s, [{"std": 7.0}, {"std": 1e-4}])["networks"]
    # The same network, not taken as homogeneous: a bias too small to matter.
    walked = node(simulation, "last", {**s, "bias_std": 1e-300})["networks"]
    for other in (rescaled, walked):
        for a, b in zip(fresh, other, strict=True):
            for part in ("forward", "backward"):
                np.testing.assert_allclose(numbers(a[part]), numbers(b[part]), atol=1e-9)


def test_networks_are_the_same_with_and_without_room_to_keep_them(node, simulation) -> None:
    s = {**BASE, "activation": "tanh"}
    kept, again = (node(simulation, "last", {**s, "bytes": b})["networks"] for b in (1e9, 20_000))
    assert kept == again
    other = node(simulation, "last", {**s, "seed": 5})["networks"]
    assert other != kept
    assert len({str(network["forward"]) for network in kept}) == 3
    deeper = node(simulation, "last", {**s, "depth": 20})["networks"]
    np.testing.assert_allclose(
        numbers(deeper[0]["forward"])[:13], numbers(kept[0]["forward"]), atol=1e-12
    )


def test_drawn_networks_lie_in_the_band_as_often_as_they_should(node, simulation) -> None:
    inside, total = 0, 0
    s = {**BASE, "width": 128, "depth": 20, "std": 0.12, "draws": 10}
    for found in node(simulation, "lasts", [{**s, "seed": seed} for seed in range(8)]):
        for direction, layer in (("forward", 20), ("backward", 1)):
            low, high = (numbers(found["band"][direction][end])[layer] for end in ("low", "high"))
            for network in found["networks"]:
                inside += low <= float(network[direction][layer]) * LN10 <= high
                total += 1
    assert total == 160
    # 95% of 160, the two directions of a network being alike: 5 standard errors.
    assert inside / total == pytest.approx(0.95, abs=0.1)


def worst_change(s: dict, std: list[float] | np.ndarray) -> np.ndarray:
    """The farthest that either variance is from 1 at any layer, in decades, for each std."""
    logs = theory_of({**s, "std": np.asarray(std)})
    return np.maximum(*(np.abs(part[..., 1:]).max(axis=-1) for part in logs)) / LN10


def test_stds_that_keep_the_variance(each) -> None:
    """What is called the stretch of good stds is one, ends where it says, and holds the best."""
    many = each("signal_propagation/theory.mjs", "keeping", [[s] for s in SETTINGS])
    grid = np.geomspace(*STD_RANGE, 100)
    for s, found in zip(SETTINGS, many, strict=True):
        best, change, low, high = (float(found[k]) for k in ("best", "change", "low", "high"))
        known = not math.isnan(low)
        assert known == (not math.isnan(high)) == (change <= 1)
        ends = [low, high, low / 1.01, high * 1.01] if known else []
        at_best, *rest = worst_change(s, [best, *grid, *ends])
        assert change == pytest.approx(at_best, rel=1e-3, abs=1e-5)
        changes, at_ends = np.array(rest[: len(grid)]), rest[len(grid) :]
        assert change <= changes.min() + 0.01  # of ReLU and the like, the std of all later layers
        if not known:
            continue
        assert max(at_ends[:2]) <= 1 + 1e-4
        for beyond, at_it in zip(ends[2:], at_ends[2:], strict=True):
            assert at_it > 1 or not STD_RANGE[0] < beyond < STD_RANGE[1]
        assert (changes[(grid > low) & (grid < high)] <= 1).all()


def test_the_sentence(node, tmp_path) -> None:
    path = tmp_path / "say.mjs"
    path.write_text(
        f'import {{ sentence }} from "{(SCRIPTS / "signal_propagation/message.mjs").as_uri()}";\n'
        f'import {{ keeping }} from "{(SCRIPTS / "signal_propagation/theory.mjs").as_uri()}";\n'
        "export const say = (many) => many.map((given) => sentence(...given, keeping(given[0])));\n"
    )
    given = [[s, *((part / LN10).tolist() for part in theory_of(s))] for s in SETTINGS]
    assert node(path, "say", given) == SENTENCES["SignalPropagation"]


def test_number_formats_are_those_of_python(node, tmp_path) -> None:
    module = tmp_path / "formats.mjs"
    module.write_text(
        f'import {{ NUMBER_FORMATS }} from "{(SCRIPTS / NETWORK).as_uri()}";\n'
        "export const formats = () => NUMBER_FORMATS;\n"
    )
    assert node(module, "formats") == {
        name: {"smallest": known.smallest_normal, "largest": known.largest}
        for name, known in NUMBER_FORMATS.items()
    }


# --- Python --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"stdev": 1.0}, "has no stdev; it has"),
        ({"std": 0.1, "scheme": "kaiming"}, "either a scheme or a std"),
    ],
)
def test_settings_that_make_no_widget_are_refused(settings: dict, match: str) -> None:
    with pytest.raises(TraitError, match=match):
        SignalPropagation(**settings)


def test_a_scheme_sets_the_std_and_a_std_leaves_the_scheme() -> None:
    widget = SignalPropagation(scheme="kaiming", width=64)
    assert widget.std == pytest.approx(float(scheme_std("kaiming", 64, 64)))
    widget.width = 256
    assert widget.std == pytest.approx(float(scheme_std("kaiming", 256, 256)))
    widget.std = 0.5
    assert widget.scheme == "free"
    widget.scheme = "xavier"
    assert widget.std == pytest.approx(1 / 16)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"activation": "tanh", "std": 1e3, "depth": 100, "width": 16, "draws": 1},
        {"activation": "gelu", "std": 1e3, "depth": 100, "width": 64, "draws": 2},
        {"std": 1e-4, "depth": 1, "width": 16},
        {"residual": True, "layer_norm": True, "depth": 5, "bias_std": 0.1},
    ],
    ids=str,
)
def test_the_still_picture_is_drawn(settings: dict) -> None:
    widget = SignalPropagation(**settings)
    kind = name_in_python(widget.activation)
    drawn = {"networks": widget.draws, "seed": widget.seed}
    if widget.residual or widget.layer_norm:
        built = {"residual": widget.residual, "layer_norm": widget.layer_norm}
        networks = residual_profiles(
            widget.width, widget.depth, kind, widget.std, widget.bias_std, **built, **drawn
        )
    else:
        sizes = [widget.width] * (widget.depth + 1)
        networks = variance_profiles(sizes, kind, widget.std, widget.bias_std, **drawn)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = widget.figure(networks)
        assert isinstance(figure, Figure)
        figure.savefig(io.BytesIO(), format="svg")
    forward, backward = figure.axes
    dashed = [line for line in forward.lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(dashed[0].get_ydata(), widget._theory().forward / LN10)
    if not settings:
        drawn = [line for line in backward.lines if line.get_linestyle() == "-"]
        assert len(drawn) == widget.draws
        measured = np.mean([line.get_ydata()[1] for line in drawn])
        assert measured == pytest.approx(widget._theory().backward[1] / LN10, abs=1.5)
        assert forward.collections  # the band
        alone = widget.figure().axes[0]
        assert [line.get_linestyle() for line in alone.lines] == ["--"]


# --- in a real browser ---------------------------------------------------------------------------


def control(page: Page, label: str) -> Locator:
    """The input with this label."""
    return page.locator("label", has_text=label).first.locator("input, select")


@pytest.mark.browser
def test_other_networks_and_a_scheme_that_a_moved_slider_leaves(open_page: Open) -> None:
    page = open_page(SignalPropagation(depth=20, width=64, std=0.1))
    assert "vanishes" in said(page)
    before = pictures(page)
    press(page, "Draw other networks")
    assert pictures(page) != before
    slider = control(page, "std of the weights")
    page.get_by_text("More settings").click()
    control(page, "scheme").select_option("kaiming")
    drawn(page)
    assert float(slider.input_value()) == 0  # the middle of the track
    slider.focus()
    page.keyboard.press("PageUp")
    drawn(page)
    assert control(page, "scheme").input_value() == "free"


@pytest.mark.browser
def test_the_std_that_keeps_the_signal_is_one_press_away(open_page: Open) -> None:
    page = open_page(SignalPropagation(depth=50, width=64, activation="gelu", std=1e3))
    press(page, "Set the std that keeps the signal")
    drawn(page)
    rows = downloaded(page).set_index("direction")
    assert rows["log10_theory"]["forward"].astype(float).abs().max() <= 1
    press(page, "Reset")
    assert "explodes" in said(page)


@pytest.mark.browser
def test_what_no_format_holds_is_told(open_page: Open) -> None:
    page = open_page(SignalPropagation(depth=100, width=256, std=1e3, draws=1))
    assert "Even float32 and bfloat16 cannot hold the signal" in said(page)
    assert "1e" in said(page)


NO_WORKERS = """<meta http-equiv="Content-Security-Policy" content="worker-src 'none'">"""


@pytest.mark.browser
def test_where_no_worker_can_be_started_the_page_computes_itself(browser, tmp_path) -> None:
    """Behind a policy that forbids workers, and where there is no such thing."""
    html = widget_page([SignalPropagation(depth=10, width=64)])
    told = []
    for script, head in (
        ("delete window.Worker", ""),
        ("window.Worker = class { constructor() { throw 1; } }", ""),
        ("", NO_WORKERS),
    ):
        (tmp_path / "page.html").write_text(html.replace("<head>", f"<head>{head}"))
        page = browser.new_page()
        page.add_init_script(script)
        page.goto((tmp_path / "page.html").as_uri())
        page.locator("html[data-settled]").wait_for(state="attached")
        told.append(said(page))
        page.close()
    assert len(set(told)) == 1
    assert "vanishes" in told[0]


@pytest.mark.browser
def test_a_worker_computes_in_a_page_that_is_opened_from_a_folder(browser, tmp_path) -> None:
    (tmp_path / "page.html").write_text(widget_page([SignalPropagation(depth=10, width=64)]))
    page = browser.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text))
    # What comes back from a worker, and is not computed here.
    page.add_init_script(
        """window.answers = 0;
        const Own = window.Worker;
        window.Worker = class extends Own {
            set onmessage(heard) {
                super.onmessage = (event) => { window.answers += 1; heard(event); };
            }
        };"""
    )
    page.goto((tmp_path / "page.html").as_uri())
    page.locator("html[data-settled]").wait_for(state="attached")
    drawn(page)
    assert "vanishes" in said(page)
    assert page.evaluate("window.answers") > 0
    assert len(page.workers) == 1
    assert wrong == []
    page.close()


@pytest.mark.browser
def test_charts_beside_each_other_stand_on_one_line(open_page: Open) -> None:
    page = open_page(SignalPropagation(draws=1, width=64), width=640)
    titles = page.locator(".ins-panel-title")
    titles.nth(1).evaluate("title => { title.textContent += ' and on and on'.repeat(5); }")
    heights = titles.evaluate_all("all => all.map(e => e.clientHeight)")
    assert heights[1] == heights[0]  # cut off, not folded: the picture would be pushed down
    left, right = (box.bounding_box() for box in page.locator(".ins-chart").all()[:2])
    assert right["x"] > left["x"] + left["width"]
    assert right["y"] == pytest.approx(left["y"], abs=0.5)
