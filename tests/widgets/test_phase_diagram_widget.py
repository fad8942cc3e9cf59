"""The phase diagram: its mathematics against Python's, its networks, and pointing into it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from widget_cases import phase_diagram
from widget_page import SENTENCES, Open, copy_of, drawn, own_traits, press, said, same_controls

from initscope.errors import UsageError
from initscope.monte_carlo import correlation_profiles
from initscope.theory import chi, critical_line, critical_point, fixed_point
from initscope.widgets import PhaseDiagram
from initscope.widgets.bundle import SCRIPTS
from initscope.widgets.phase_diagram.widget import ACTIVATIONS, RULE, WIDTHS

MATH = "phase_diagram/theory.mjs"
POINTS = [
    (0.05, 0.0), (1.0, 0.0), (2.0, 0.0), (4.0, 0.0), (0.5, 0.05), (1.5, 0.05), (1.7, 0.05),
    (3.0, 0.05), (2.3, 0.4), (2.05, 0.1), (0.1, 1.0), (4.0, 1.0), (1.0, 1e-6), (2.0, 1e-9),
]  # fmt: skip


def number(text: object) -> float:
    """A number as the engine of the page hands it over, which says infinity in words."""
    return float(str(text).replace("Infinity", "inf"))


@pytest.mark.parametrize("weight_bias", POINTS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_point_as_in_python(node, activation: str, weight_bias: tuple[float, float]) -> None:
    weight, bias = weight_bias
    found = node(MATH, "point", activation, weight, bias)
    widget = PhaseDiagram(activation=activation, sigma_w2=weight, sigma_b2=bias, depth=50)
    expected = widget.point()
    expected["chi"] = expected.pop("chi_1")
    assert {name: number(value) for name, value in found.items()} == pytest.approx(
        expected, rel=1e-7, abs=1e-12, nan_ok=True
    )
    path = node(MATH, "path", activation, weight, bias, widget.correlation, 50)
    expected_path = widget.path()
    np.testing.assert_allclose(path["variance"], expected_path["variance"], 1e-9)
    np.testing.assert_allclose(path["correlation"], expected_path["correlation"], 1e-9, 1e-11)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_diagram_and_its_edge_as_in_python(node, activation: str) -> None:
    weights, biases = [0.3, 1.1, 1.9, 2.6, 3.9], [0.0, 0.02, 0.3, 0.98]
    found = node(MATH, "diagram", activation, weights, biases)
    there = fixed_point(activation, weights, np.reshape(biases, (4, 1)), missing="nan")
    expected = chi(activation, weights, np.reshape(biases, (4, 1)), missing="nan")
    expected = np.where(np.isnan(there), np.nan, expected)
    # Between the entries of a table it is a straight line: no color is another for it.
    np.testing.assert_allclose(np.array(found, float), expected, 2e-3)

    q = [1e-4, 0.3, 5.0, 300.0]
    line = node(MATH, "criticalLine", activation, q)
    expected_line = critical_line(activation, q)
    for name in ("sigma_w2", "sigma_b2"):
        ours = [point[{"sigma_w2": "weight", "sigma_b2": "bias"}[name]] for point in line]
        np.testing.assert_allclose(ours, getattr(expected_line, name), 1e-9, 1e-12)

    for bias in (0.0, 0.001, 0.05, 0.5, 1.0):
        try:
            edge = float(critical_point(activation, bias).sigma_w2)
        except UsageError:
            edge = math.nan
        found = number(node(MATH, "criticalWeight", activation, bias))
        assert found == pytest.approx(edge, 1e-9, nan_ok=True)


def test_the_networks_of_the_page_are_those_of_theory(node, tmp_path: Path) -> None:
    module = tmp_path / "many.mjs"
    network = (SCRIPTS / "phase_diagram/network.mjs").as_uri()
    module.write_text(
        f'import {{ Draws, correlations }} from "{network}";'
        """
        export const many = (s, seeds) => Array.from({ length: seeds }, (_, seed) => {
            const draws = new Draws();
            return [0, 1, 2, 3].map((k) => correlations({ ...s, seed }, k, draws));
        }).flat();"""
    )
    for activation, weight, bias in (("tanh", 3.0, 0.05), ("gelu", 1.5, 0.2), ("relu", 2.5, 0.1)):
        settings = {"activation": activation, "sigma_w2": weight, "sigma_b2": bias}
        settings |= {"correlation": 0.5, "depth": 6, "width": 64}
        page = np.array(node(str(module), "many", settings, 60))
        assert page.shape == (240, 7)
        assert page[:, 0] == pytest.approx(0.5, abs=1e-6)
        torch = correlation_profiles(
            [64] * 7,
            activation,
            math.sqrt(weight / 64),
            math.sqrt(bias),
            correlation=0.5,
            networks=240,
        ).pivot_table(index="network", columns="layer", values="correlation")
        error = np.hypot(page.std(0), torch.std()) / math.sqrt(240)
        assert (np.abs(page.mean(0) - torch.mean())[1:] < 4 * error[1:]).all()
        assert page.std(0)[1:] == pytest.approx(torch.std()[1:], rel=0.25)
    # torch's models have no erf.
    settings = {"activation": "erf", "sigma_w2": 1.5, "sigma_b2": 0.1, "correlation": 0.5}
    page = np.array(node(str(module), "many", settings | {"depth": 6, "width": 128}, 60))
    expected = PhaseDiagram(**settings, depth=6).path()["correlation"]
    assert page.mean(0) == pytest.approx(expected, abs=0.015)


@pytest.mark.parametrize("k", range(len(phase_diagram.POINTS)))
def test_the_sentence(node, tmp_path: Path, k: int) -> None:
    module = tmp_path / "say.mjs"
    text = (SCRIPTS / "phase_diagram/message.mjs").as_uri()
    module.write_text(
        f'import {{ findings, sentence, RULE }} from "{text}";\n'
        "export const say = (s) => [sentence(s, findings(s)), RULE];\n"
    )
    widget = PhaseDiagram(**phase_diagram.POINTS[k])
    settings = {name: getattr(widget, name) for name in own_traits(PhaseDiagram)}
    assert node(str(module), "say", settings) == [SENTENCES["PhaseDiagram"][k], RULE]


def test_choices_and_ranges_are_the_same_in_both_languages(node, tmp_path: Path) -> None:
    controls = same_controls(node, PhaseDiagram, SCRIPTS / "phase_diagram", tmp_path)
    assert tuple(controls["width"]["options"]) == WIDTHS
    assert {name for name, _ in controls["activation"]["options"]} == set(ACTIVATIONS)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_still_picture(activation: str, tmp_path: Path) -> None:
    widget = PhaseDiagram(activation=activation, sigma_w2=1.5, sigma_b2=0.3, depth=30)
    networks = correlation_profiles([16] * 31, "tanh", 0.3, networks=2)
    figure = widget.figure(networks)
    figure.savefig(tmp_path / "figure.svg")
    diagram, layers = figure.axes
    for ring in diagram.get_lines()[-2:]:
        assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (1.5, 0.3)
    lines = {line.get_label(): line.get_ydata() for line in layers.get_lines()}
    np.testing.assert_allclose(lines["theory"], widget.path()["correlation"])
    assert len(lines["random networks"]) == 31
    assert lines["where theory leads, c*"][0] == pytest.approx(widget.point()["c"])
    marked = [text.get_text() for text in layers.texts]
    assert (r"$6\,\xi_c$" in marked) == (RULE * widget.point()["correlation"] <= 30)


def settings(page) -> tuple[float, float]:
    """The chosen point, as the map says it to those who do not see it."""
    label = page.locator(".ins-map").get_attribute("aria-label")
    weight, bias = label.split("σ_w² = ")[1].rstrip(".").split(", σ_b² = ")
    return float(weight), float(bias)


@pytest.mark.browser
def test_a_click_and_arrow_keys_choose_a_point(open_page: Open) -> None:
    page = open_page(PhaseDiagram(width=16))
    assert settings(page) == (3.0, 0.05)
    picture = page.locator(".ins-map svg.ins-chart")
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    left, right, top, bottom = 58, box["width"] - 12, 10, box["height"] - 40
    cells = page.locator(".ins-map rect").count()

    # Half way along both axes.
    page.mouse.click(box["x"] + (left + right) / 2, box["y"] + (top + bottom) / 2)
    assert said(page).startswith("Ordered")
    weight, bias = settings(page)
    assert (weight, bias) == (pytest.approx(2.0, abs=0.02), pytest.approx(0.5, abs=0.01))
    ring = page.locator(".ins-map g circle").first
    assert float(ring.get_attribute("cx")) == pytest.approx((left + right) / 2, abs=2)
    assert float(ring.get_attribute("cy")) == pytest.approx((top + bottom) / 2, abs=2)

    # Drag to the lower right corner; outside of the axes nothing is chosen.
    page.mouse.move(box["x"] + (left + right) / 2, box["y"] + (top + bottom) / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + right - 1, box["y"] + bottom - 1, steps=4)
    page.mouse.move(box["x"] + right + 8, box["y"] + bottom + 20)
    page.mouse.up()
    assert said(page).startswith("Chaotic")
    weight, bias = settings(page)
    assert weight > 3.95
    assert bias < 0.02

    page.locator(".ins-map").focus()
    for key, step in (
        ("ArrowLeft", (-0.05, 0)),
        ("ArrowUp", (0, 0.02)),
        ("ArrowRight", (0.05, 0)),
        ("ArrowDown", (0, -0.02)),
    ):
        before = settings(page)
        page.keyboard.press(key)
        drawn(page)
        moved = np.clip(np.add(before, step), (0.05, 0), (4, 1))
        assert settings(page) == pytest.approx(tuple(moved), abs=0.006)
    page.keyboard.press("Home")
    drawn(page)
    assert settings(page)[0] == 0.05
    assert page.locator(".ins-map rect").count() == cells  # the map itself is not drawn anew

    press(page, "To the edge of chaos")
    assert said(page).startswith("At the edge of chaos")


@pytest.mark.browser
def test_other_networks_and_the_way_to_the_edge_of_relu(open_page: Open) -> None:
    page = open_page(PhaseDiagram(activation="relu", sigma_w2=1.2, sigma_b2=0.3, width=16))
    lines = copy_of(page, 0).locator(".ins-chart").nth(1)
    before = lines.inner_html()
    press(page, "Other networks")
    drawn(page)
    assert lines.inner_html() != before
    press(page, "To the edge of chaos")
    assert said(page).startswith("At the edge of chaos")
    assert settings(page) == (2.0, 0.0)
