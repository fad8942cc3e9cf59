"""Draw another: networks of the page against torch's, the law beside them, and the buttons."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from widget_cases import log_norm_distribution
from widget_page import (
    SENTENCES,
    Open,
    copy_of,
    downloaded,
    drawn,
    own_traits,
    press,
    said,
    same_controls,
)

from initscope.analysis.log_norms import log_moments
from initscope.theory import log_norm_moments
from initscope.widgets import LogNormDistribution
from initscope.widgets.bundle import SCRIPTS
from initscope.widgets.log_norm_distribution.widget import ACTIVATIONS, LAYERS, WIDTHS
from initscope.widgets.torch_random import torch_normals

FOLDER = SCRIPTS / "log_norm_distribution"


@pytest.mark.parametrize("count", [16, 400, 50 * 16 * 16])
def test_normal_numbers_of_torch(count: int) -> None:
    expected = torch.randn(count, generator=torch.Generator().manual_seed(1234))
    np.testing.assert_allclose(torch_normals(1234, count), expected, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("width", [4, 16, 64])
def test_networks_as_in_python_and_torch(node, activation: str, width: int) -> None:
    widget = LogNormDistribution(width=width, activation=activation, networks=3, seed=12)
    ours = widget.log_norms()
    assert ours.shape == (3, LAYERS + 1)
    settings = {"activation": activation, "width": width, "seed": 12}
    for number in range(3):
        page = node("log_norm_distribution/networks.mjs", "logNorms", settings, number)
        page = [-math.inf if value == "-Infinity" else value for value in page]
        np.testing.assert_allclose(page, ours[number], rtol=1e-5, atol=1e-5)
        generator = torch.Generator().manual_seed(12000 + number)
        weights = torch.randn(LAYERS, width, width, generator=generator).double()
        signal = torch.ones(width).double()
        for layer, of_layer in enumerate(weights, 1):
            signal = math.sqrt((2 if activation == "relu" else 1) / width) * of_layer @ signal
            signal = signal.relu() if activation == "relu" else signal
            left = signal.square().mean().log().item()
            assert ours[number, layer] == pytest.approx(left, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("depth", [1, 7, 50])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_law_as_in_python(node, activation: str, depth: int) -> None:
    for width in WIDTHS:
        settings = {"activation": activation, "width": width, "depth": depth}
        found = node("log_norm_distribution/theory.mjs", "moments", settings)
        name = "identity" if activation == "linear" else activation
        expected = log_norm_moments([width] * (depth + 1), name)
        assert found == pytest.approx(expected._asdict(), rel=1e-9)
        first = node("log_norm_distribution/theory.mjs", "firstOrder", settings)
        assert first == pytest.approx(float(expected.variance), rel=5 / width)


def test_the_moments_of_a_sample_as_in_python(node) -> None:
    logs = np.random.default_rng(0).normal(-2, 3, 37)
    found = node("log_norm_distribution/theory.mjs", "sampleMoments", logs.tolist())
    expected = log_moments(logs)
    assert found["mean"] == pytest.approx(expected.mean)
    assert found["meanError"] == pytest.approx(expected.mean_error)
    assert found["variance"] == pytest.approx(expected.variance)
    assert found["varianceError"] == pytest.approx(expected.variance_error)


def test_values_beyond_the_axis_are_in_the_last_bins(node) -> None:
    counts = node(
        "log_norm_distribution/theory.mjs", "histogram", [-9, 0, 0.1, 2.6, 3, 80], 0, 3, 3
    )
    assert counts == [3, 0, 3]


def test_the_networks_follow_their_law() -> None:
    widget = LogNormDistribution(width=16, depth=30, networks=400, seed=4)
    ends = widget.log_norms()[:, -1]
    law = widget.moments()
    found = log_moments(ends)
    assert abs(found.mean - law.mean) < 1.5 * found.mean_error
    assert abs(found.variance - law.variance) < 1.5 * found.variance_error
    normal = stats.norm(law.mean, math.sqrt(law.variance))
    assert stats.kstest(ends, normal.cdf).pvalue > 0.01


@pytest.mark.parametrize("k", range(len(log_norm_distribution.POINTS)))
def test_the_sentence(node, tmp_path: Path, k: int) -> None:
    module = tmp_path / "say.mjs"
    module.write_text(
        f'import {{ findings, sentence }} from "{(FOLDER / "message.mjs").as_uri()}";\n'
        f'import {{ logNorms }} from "{(FOLDER / "networks.mjs").as_uri()}";\n'
        "export const say = (s) => sentence(s, findings(s, "
        "Array.from({ length: s.networks }, (_, k) => logNorms(s, k))));\n"
    )
    widget = LogNormDistribution(**log_norm_distribution.POINTS[k])
    settings = {name: getattr(widget, name) for name in own_traits(LogNormDistribution)}
    assert node(str(module), "say", settings) == SENTENCES["LogNormDistribution"][k]


def test_choices_and_ranges_are_the_same_in_both_languages(node, tmp_path: Path) -> None:
    controls = same_controls(node, LogNormDistribution, FOLDER, tmp_path)
    assert tuple(controls["width"]["options"]) == WIDTHS
    assert {name for name, _ in controls["activation"]["options"]} == set(ACTIVATIONS)


@pytest.mark.parametrize("networks", [0, 1, 30])
def test_the_still_picture(networks: int, tmp_path: Path) -> None:
    widget = LogNormDistribution(width=4, depth=20, networks=networks)
    figure = widget.figure()
    figure.savefig(tmp_path / "figure.svg")
    walks, bars = figure.axes
    lines = [line.get_ydata() for line in walks.get_lines()]
    assert len(lines) == networks + 2  # infinite width and the mean
    np.testing.assert_allclose(lines[-1], widget.moments(per_layer=True).mean)
    counted = sum(bars.patches[0].get_data().values)
    assert counted == np.isfinite(widget.log_norms()[:, -1]).sum()


def count(page) -> int:
    """How many networks the histogram of a page holds, by its first fact."""
    drawn(page)
    return int(copy_of(page, 0).locator("dd").first.inner_text().split(",")[0])


@pytest.mark.browser
def test_each_press_draws_a_network(open_page: Open) -> None:
    page = open_page(LogNormDistribution(width=16, networks=0))
    assert said(page).startswith("No network is drawn yet.")
    for k in (1, 2, 3):
        press(page, "Draw another")
        assert count(page) == k
    press(page, "Draw 50")
    assert count(page) == 53
    table = downloaded(page)
    assert set(table["network"].astype(int)) == set(range(53))
    ends = table[table["layer"] == "50"]["log_norm"].astype(float)
    expected = LogNormDistribution(width=16, networks=53).log_norms()[:, -1]
    np.testing.assert_allclose(ends, expected, 1e-4, 1e-5)

    # The histogram holds them: heights in pixels, in proportion to what numpy counts.
    law = LogNormDistribution(width=16).moments()
    reach = 4 * math.sqrt(law.variance)
    low, high = law.mean - reach, law.mean + reach
    counts, _ = np.histogram(np.clip(expected, low, high), 24, (low, high))
    bars = copy_of(page, 0).locator(".ins-chart").nth(1).locator("svg rect")
    heights = bars.evaluate_all("all => all.map((bar) => +bar.getAttribute('height'))")
    np.testing.assert_allclose(np.array(heights) / max(heights), counts / counts.max(), atol=1e-6)

    # Other networks of another seed.
    press(page, "Start over")
    assert count(page) == 0
    press(page, "Draw another")
    assert downloaded(page)["seed"].tolist() == ["1"] * 51


@pytest.mark.browser
@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_it_keeps_drawing_until_it_is_paused(open_page: Open, motion: str) -> None:
    page = open_page(LogNormDistribution(width=8, networks=0), reduced_motion=motion)
    keep = copy_of(page, 0).get_by_role("button", name="Keep drawing")
    keep.click()
    pause = copy_of(page, 0).get_by_role("button", name="Pause")
    pause.wait_for()
    assert pause.get_attribute("aria-pressed") == "true"
    page.wait_for_timeout(2200)
    pause.click()
    found = count(page)
    assert found >= 2
    assert f"Over {found} networks" in said(page)
    page.wait_for_timeout(400)
    assert count(page) == found
    assert keep.get_attribute("aria-pressed") == "false"


@pytest.mark.browser
@pytest.mark.parametrize("depth", [1, 3, 50])
def test_only_whole_layers_are_labelled(depth: int, open_page: Open) -> None:
    page = open_page(LogNormDistribution(depth=depth))
    below = page.locator(".ins-chart").first.locator("text[text-anchor=middle]:not([transform])")
    *labels, name = below.all_text_contents()
    assert name == "layer"
    assert set(labels) <= {str(layer) for layer in range(depth + 1)}
    assert len(labels) >= 2
