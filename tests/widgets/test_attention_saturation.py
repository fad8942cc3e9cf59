"""The widget of attention's saturation: its mathematics and rows against Python and torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from widget_page import SENTENCES, Open, drawn, press

from initscope.analysis import mean_error
from initscope.theory import attention_participation, critical_logit_std
from initscope.widgets import AttentionSaturation, BookWidget
from initscope.widgets.attention_saturation.widget import KEYS, LARGEST_SEED, LARGEST_STD, ROWS
from initscope.widgets.bundle import SCRIPTS

MATH = "attention_saturation/theory.mjs"
TEXT = "attention_saturation/message.mjs"
STDS = [0.0, 0.05, 0.5, 1.0, 1.35, 2.0, 2.9, 3.7, 5.0, 8.0]
CASES = [
    {"logit_std": std, "n_keys": keys, "seed": seed}
    for keys, std, seed in [
        (16, 0.0, 0), (16, 1.3, 5), (16, 2.0, 1), (16, 8.0, 2), (64, 0.3, 3), (64, 2.0, 0),
        (256, 1.5, 4), (256, 3.4, 999), (1024, 1.0, 7), (1024, 3.0, 0), (1024, 6.0, 0),
        (64, 8.0, 0),
    ]
]  # fmt: skip


@pytest.fixture(scope="module")
def found(node, tmp_path_factory) -> list[dict]:
    """What the modules of the widget find and say of each of CASES."""
    module = tmp_path_factory.mktemp("modules") / "all.mjs"
    module.write_text(
        f'import {{ attention, drawRows }} from "{(SCRIPTS / MATH).as_uri()}";\n'
        f'import {{ findings, sentence }} from "{(SCRIPTS / TEXT).as_uri()}";\n'
        """export const all = (cases) => cases.map((s) => {
            const normals = drawRows(s.n_keys, s.seed);
            const found = findings(s, normals);
            return {
                ...found, ...attention(normals, s.n_keys, s.logit_std), normals: normals.length,
                sentence: sentence(s, found),
            };
        });"""
    )
    return node(module, "all", CASES)


every_case = pytest.mark.parametrize("case", range(len(CASES)))


@pytest.mark.parametrize("keys", KEYS)
def test_theory_as_in_python(node, keys: int) -> None:
    expected = attention_participation(keys, STDS)
    limits = attention_participation(keys, STDS, limit=True)
    assert {"nan", "a number"} == {"nan" if np.isnan(x) else "a number" for x in limits}
    for std, mean, limit in zip(STDS, expected, limits, strict=True):
        assert node(MATH, "participation", keys, std) == pytest.approx(mean, rel=1e-7)
        assert float(node(MATH, "limit", keys, std)) == pytest.approx(limit, nan_ok=True)
    assert node(MATH, "criticalStd", keys) == pytest.approx(critical_logit_std(keys))


@every_case
def test_rows_as_in_python_and_as_torch_draws_them(found, case: int) -> None:
    s, page = CASES[case], found[case]
    weights = AttentionSaturation(**s).attention()
    assert weights.shape == (ROWS, s["n_keys"])
    assert page["normals"] == weights.size
    generator = torch.Generator().manual_seed(s["seed"])
    logits = s["logit_std"] * torch.randn(ROWS, s["n_keys"], generator=generator)
    np.testing.assert_allclose(weights, torch.softmax(logits, -1), rtol=2e-4)  # in float32

    np.testing.assert_allclose(page["weights"], np.sort(weights[0])[::-1], rtol=1e-5)
    squares = (weights**2).sum(1)
    np.testing.assert_allclose(page["squares"], squares, rtol=1e-5)
    np.testing.assert_allclose(page["largest"], weights.max(1), rtol=1e-5)
    assert page["row"] == page["squares"][0]
    assert page["mean"] == pytest.approx(squares.mean(), rel=1e-5)
    assert page["median"] == pytest.approx(np.median(squares), rel=1e-5)
    assert page["error"] == pytest.approx(mean_error(squares), rel=1e-3, abs=1e-12)
    assert page["ruled"] == (weights.max(1) > 0.5).mean()


@every_case
def test_the_mean_of_the_rows_is_that_of_theory(found, case: int) -> None:
    page = found[case]
    assert abs(page["mean"] - page["predicted"]) <= 2 * page["error"] + 1e-7


@every_case
def test_the_sentence(found, case: int) -> None:
    assert found[case]["sentence"] == SENTENCES["AttentionSaturation"][case]


def test_choices_and_ranges_are_the_same_in_both_languages(node, tmp_path: Path) -> None:
    module = tmp_path / "read.mjs"
    module.write_text(
        f'import {{ CONTROLS }} from "{(SCRIPTS / "attention_saturation/widget.mjs").as_uri()}";\n'
        f'import {{ ROWS }} from "{(SCRIPTS / MATH).as_uri()}";\n'
        "export const read = () => [CONTROLS, ROWS];\n"
    )
    controls, rows = node(module, "read")
    assert rows == ROWS
    for name, largest in (("logit_std", LARGEST_STD), ("seed", LARGEST_SEED)):
        assert (controls[name]["min"], controls[name]["max"]) == (0, largest)
    assert tuple(keys for keys, _ in controls["n_keys"]["options"]) == KEYS
    own = set(AttentionSaturation.class_trait_names(sync=True))
    own -= set(BookWidget.class_trait_names())
    assert set(controls) == own
    assert own & set(dir(BookWidget)) == set()  # a trait named `keys` would take a widget's own


@pytest.mark.parametrize("s", CASES[::3])
def test_the_still_picture(s: dict, tmp_path: Path) -> None:
    widget = AttentionSaturation(**s)
    figure = widget.figure()
    figure.savefig(tmp_path / "figure.svg")
    row, mean = figure.axes
    squares = (widget.attention() ** 2).sum(1)
    area = sum(bar.get_width() * bar.get_height() for bar in row.patches)
    assert area == pytest.approx(squares[0])
    points = {line.get_label(): line.get_ydata() for line in mean.get_lines()}
    assert points["the row shown"] == pytest.approx(squares[0])
    predicted = points["mean by theory"]
    assert predicted[[0, -1]] == pytest.approx(attention_participation(s["n_keys"], [0, 8]))


@pytest.mark.browser
def test_the_area_of_the_bars_and_another_row(open_page: Open) -> None:
    page = open_page(AttentionSaturation(logit_std=2.0, n_keys=16))
    for seed in (0, 1, 2):
        bars = page.locator(".ins-chart").first.locator("svg rect")
        places = "all => all.map((bar) => ['height', 'x'].map((name) => +bar.getAttribute(name)))"
        height, x = np.array(bars.evaluate_all(places)).T
        expected = np.sort(AttentionSaturation(logit_std=2.0, n_keys=16, seed=seed).attention()[0])
        largest_first = expected[::-1] / expected[-1]
        # Relative to the largest weight, which tells the size of the picture: as wide as high.
        assert height / height[0] == pytest.approx(largest_first, abs=1e-4)
        before = np.cumsum(largest_first)[:-1]
        assert (x[1:] - x[0]) / (x[1] - x[0]) == pytest.approx(before, abs=1e-4)
        press(page, "Draw again")
        drawn(page)


@pytest.mark.browser
@pytest.mark.parametrize("n_keys", [16, 1024])
def test_no_mark_hides_the_name_of_the_critical_std(n_keys: int, open_page: Open) -> None:
    """Beyond it a row or the mean may be near 1, the highest that either can be."""
    at = round(critical_logit_std(n_keys) * 20) / 20
    page = open_page(AttentionSaturation(logit_std=at, n_keys=n_keys))
    chart = page.locator(".ins-chart").nth(1)
    texts = chart.locator("text").evaluate_all(
        "all => all.map((one) => [one.textContent, +one.getAttribute('y')])"
    )
    baselines = dict(texts)
    top = (
        baselines.get("10⁰", baselines.get("1")) - 4
    )  # the line of 1, beside which its label is set
    assert baselines["√(2 ln T)"] + 3 < top - 5  # descenders, and a mark's radius
