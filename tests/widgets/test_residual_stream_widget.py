"""The residual stream bar by bar: its mathematics against Python's, its bars and its switches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from widget_cases import residual_stream
from widget_page import SENTENCES, Open, copy_of, drawn, own_traits, said, same_controls

from initscope.theory import residual_gradient_variance, residual_stream_variance
from initscope.widgets import ResidualStream
from initscope.widgets.bundle import SCRIPTS
from initscope.widgets.residual_stream.widget import CHANNELS, LENGTH, NORMS

MATH = "residual_stream/theory.mjs"
FOLDER = SCRIPTS / "residual_stream"
SIZES = [(12, 768, 0.02), (1, 768, 0.02), (48, 768, 0.02), (12, 384, 0.002), (6, 384, 0.04)]
SIZES += [(3, 1024, 0.03125), (4, 1024, 0.04)]


def settings_of(widget: ResidualStream) -> dict:
    return {name: getattr(widget, name) for name in own_traits(ResidualStream)}


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("size", SIZES)
def test_the_stream_as_in_python(node, size: tuple, norm: str, scaled: bool) -> None:
    n_layer, n_embd, std = size
    widget = ResidualStream(n_layer=n_layer, n_embd=n_embd, std=std, norm=norm, scaled=scaled)
    page = node(MATH, "stream", settings_of(widget))
    # Beyond logits of variance 1 Python's table of softmax is good to 1e-6.
    close = 1e-10 if (n_embd * std**2) ** 2 < 0.5 else 1e-6
    out = std / np.sqrt(2 * n_layer) if scaled else std
    sizes = (n_layer, n_embd, LENGTH, std)
    gradient = residual_gradient_variance(*sizes, residual_std=out, norm=norm)
    np.testing.assert_allclose(page["gradient"], gradient, close)
    if norm == "pre":
        np.testing.assert_allclose(
            page["variance"], residual_stream_variance(*sizes, residual_std=out), close
        )
    expected = widget.branches()
    np.testing.assert_allclose(page["variance"], expected["variance"], close)
    added = np.array([branch["added"] for branch in page["branches"]]).reshape(-1, 2)
    np.testing.assert_allclose(added, expected[["attention", "mlp"]].iloc[1:], close)
    met = np.array([branch["before"] for branch in page["branches"]]).reshape(-1, 2)
    np.testing.assert_allclose(met[:, 0], expected["variance"].iloc[:-1], close)
    np.testing.assert_allclose(met[:, 1], expected["between"].iloc[1:], close)


def test_what_branches_add_makes_the_stream() -> None:
    found = ResidualStream(n_layer=5, scaled=False).branches()
    grown = np.diff(found["variance"])
    np.testing.assert_allclose(grown, (found["attention"] + found["mlp"]).iloc[1:], rtol=1e-9)
    post = ResidualStream(n_layer=5, scaled=False, norm="post").branches()
    np.testing.assert_allclose(post["variance"].iloc[1:], 1, rtol=1e-4)


def test_the_other_end_is_that_of_the_other_switch() -> None:
    for norm in NORMS:
        ends = {
            scaled: ResidualStream(n_layer=4, norm=norm, scaled=scaled) for scaled in (True, False)
        }
        for scaled, widget in ends.items():
            other = ends[not scaled].branches()["variance"].iloc[-1]
            assert widget.other_end() == pytest.approx(other, rel=1e-4)


@pytest.mark.parametrize("k", range(len(residual_stream.POINTS)))
def test_the_sentence(node, tmp_path: Path, k: int) -> None:
    module = tmp_path / "say.mjs"
    module.write_text(
        f'import {{ findings, sentence }} from "{(FOLDER / "message.mjs").as_uri()}";\n'
        "export const say = (s) => sentence(s, findings(s));\n"
    )
    settings = settings_of(ResidualStream(**residual_stream.POINTS[k]))
    assert node(str(module), "say", settings) == SENTENCES["ResidualStream"][k]


def test_choices_and_ranges_are_the_same_in_both_languages(node, tmp_path: Path) -> None:
    controls = same_controls(node, ResidualStream, FOLDER, tmp_path)
    module = tmp_path / "length.mjs"
    module.write_text(
        f'import {{ LENGTH }} from "{(FOLDER / "theory.mjs").as_uri()}";\n'
        "export const read = () => LENGTH;\n"
    )
    assert node(str(module), "read") == LENGTH
    assert tuple(controls["n_embd"]["options"]) == CHANNELS
    assert tuple(name for name, _ in controls["norm"]["options"]) == NORMS


@pytest.mark.parametrize("k", [0, 3, 4])
def test_the_still_picture(k: int, tmp_path: Path) -> None:
    widget = ResidualStream(**residual_stream.POINTS[k])
    figure = widget.figure()
    figure.savefig(tmp_path / "figure.svg")
    stream, back = figure.axes
    found = widget.branches()
    tops = sorted(bar.get_y() + bar.get_height() for bar in stream.patches)
    highest = max(
        (found["between"] + found["mlp"]).max(),
        (found["variance"].shift() + found["attention"]).max(),
    )
    assert tops[-1] == pytest.approx(highest)
    assert len(stream.patches) == 1 + 4 * widget.n_layer
    np.testing.assert_allclose(back.get_lines()[-1].get_ydata(), found["gradient"].iloc[1:])


@pytest.mark.browser
def test_bars_are_as_high_as_the_stream(open_page: Open) -> None:
    widget = ResidualStream(n_layer=3)
    page = open_page(widget)

    def heights() -> np.ndarray:
        rects = copy_of(page, 0).locator(".ins-chart").first.locator("svg rect")
        found = rects.evaluate_all("all => all.map((bar) => +bar.getAttribute('height'))")
        return np.array(found).reshape(3, -1)

    attention, mlp, met = heights()
    found = widget.branches()
    pairs = zip(found["variance"], found["between"].iloc[1:], strict=False)  # without the end
    before = [found["variance"].iloc[0], *(value for pair in pairs for value in pair)]
    np.testing.assert_allclose(met / met[0], np.array(before) / before[0], rtol=1e-3)
    tops = np.maximum(attention, mlp)[1:] / met[0] * before[0]
    added = found[["attention", "mlp"]].iloc[1:].to_numpy().ravel()
    np.testing.assert_allclose(tops, np.array(before[1:]) + added, rtol=1e-3)
    assert (attention[2::2] == 0).all()
    assert (mlp[1::2] == 0).all()

    # The switches.
    start = said(page)
    copy_of(page, 0).get_by_role("checkbox").click()
    drawn(page)
    assert said(page) != start
    assert "With 1/√(2L)" in said(page)
    copy_of(page, 0).get_by_role("combobox").select_option("post")
    drawn(page)
    assert said(page).startswith("Post-LN: LayerNorm brings the stream back")
