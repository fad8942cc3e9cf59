"""Figures of chapter 08: what is drawn is what the tables hold."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from figures import contents
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from initscope import plots
from initscope.errors import UsageError

ROLES = ["q", "k", "v", "attention_out"]


def grid() -> pd.DataFrame:
    rows = [
        {"role": role, "rate": rate, "decay": decay, "noise": np.sqrt(rate / 2 / decay)}
        for role in ROLES
        for decay in (3.0, 0.1, 1.0)
        for rate in (0.004, 0.001, 0.002)
    ]
    table = pd.DataFrame(rows)
    return table.assign(std=table["noise"] * np.linspace(0.7, 2, len(table)))


def parts(seed: int = 0, layers: int = 3) -> pd.DataFrame:
    index = pd.MultiIndex.from_product(
        [ROLES, range(1, layers + 1), [300, 600]], names=["role", "layer", "until"]
    )
    values = np.random.default_rng(seed).uniform(-1, 2, (len(index), 3))
    table = pd.DataFrame(values, index, ["shadow", "memory", "rest"])
    return table.assign(growth=table.sum(axis=1))


def stds(scale: float = 1.0) -> dict[str, pd.DataFrame]:
    return {
        name: pd.DataFrame(
            scale * k * np.array([[0.02, 0.03, 0.04], [0.05, 0.06, 0.07]]), ["q", "v"], [0, 10, 20]
        )
        for k, name in enumerate(("constant", "cosine", "wsd"), 1)
    }


def ratios() -> pd.DataFrame:
    rows = [
        {"role": role, "epsilon": epsilon, "measured": 0.5 + 0.01 * k, "predicted": 0.4 + 0.02 * k}
        for k, role in enumerate(ROLES)
        for epsilon in (1e-3, 1e-5)
    ]
    return pd.DataFrame(rows)


FIGURES: dict[str, Callable[[], Figure]] = {
    "grid": lambda: plots.std_by_rate(grid()),
    "parts": lambda: plots.growth_by_part([parts(0), parts(1)], ["q", "v"]),
    "schedules": lambda: plots.std_by_schedule(stds(), stds(1.1), ["q", "v"]),
    "epsilon": lambda: plots.shrinkage_by_epsilon(ratios()),
}


def marked(axes: Axes) -> list[Line2D]:
    return [line for line in axes.get_lines() if line.get_marker() not in ("None", None)]


def test_std_against_noise_a_line_a_decay() -> None:
    table = grid()
    figure = plots.std_by_rate(table, tolerance=0.2)
    names = [axes.get_title() for axes in figure.axes if axes.get_visible()]
    assert names == ["Q", "K", "V", "attention output"]
    for axes, role in zip(figure.axes, ROLES, strict=False):
        assert len(marked(axes)) == 3
        for line, decay in zip(marked(axes), (0.1, 1.0, 3.0), strict=True):
            rows = table[(table["role"] == role) & (table["decay"] == decay)].sort_values("noise")
            np.testing.assert_allclose(line.get_xydata(), rows[["noise", "std"]])
        (band,) = axes.collections
        low, high = np.sort(
            band.get_paths()[0].vertices[:, 1] / band.get_paths()[0].vertices[:, 0]
        )[[0, -1]]
        assert (low, high) == pytest.approx((0.8, 1.2))
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["decay 0.1", "decay 1", "decay 3"]
    assert len({line.get_marker() for line in marked(figure.axes[0])}) == 3


def test_what_diverged_has_no_place_and_stops_nothing() -> None:
    table = grid()
    table.loc[table["role"] == "q", "std"] = np.nan
    figure = plots.std_by_rate(table)
    assert sum(len(line.get_xdata()) for line in marked(figure.axes[0])) == 0
    assert np.isfinite(figure.axes[1].get_xlim()).all()
    plots.std_by_rate(table.assign(std=np.nan)).draw_without_rendering()


def test_parts_by_layer_and_by_window() -> None:
    tables = [parts(0), parts(1), parts(2)]
    figure = plots.growth_by_part(tables, ["v", "q"])
    grid_of_axes = np.array(figure.axes).reshape(2, 2)
    assert [axes.get_title() for axes in grid_of_axes[0]] == ["V", "Q"]
    order = ["growth", "shadow", "memory", "rest"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == order
    colors = [line.get_color() for line in figure.legends[0].get_lines()]
    for (above, below), role in zip(grid_of_axes.T, ("v", "q"), strict=True):
        for part, color in zip(order, colors, strict=True):
            (by_layer,) = [line for line in marked(above) if line.get_color() == color]
            for layer, value in by_layer.get_xydata():
                rows = [table.sort_index().loc[(role, layer)] for table in tables]
                expected = np.mean([table[part] for table in rows])
                assert value == pytest.approx(expected)
            (by_window,) = [line for line in marked(below) if line.get_color() == color]
            for until, value in by_window.get_xydata():
                medians = [t.loc[role][part].unstack().median()[until] for t in tables]  # noqa: PD010
                assert value == pytest.approx(np.mean(medians))


def test_schedules_stand_beside_their_noise() -> None:
    figure = plots.std_by_schedule(stds(), stds(1.1), ["v"])
    (axes,) = figure.axes
    for name, table in stds().items():
        (line,) = [line for line in axes.get_lines() if line.get_label() == name]
        np.testing.assert_allclose(line.get_ydata(), table.loc["v"])
        (dashed,) = [
            other
            for other in axes.get_lines()
            if other.get_linestyle() == "--" and other.get_color() == line.get_color()
        ]
        np.testing.assert_allclose(dashed.get_ydata(), 1.1 * table.loc["v"])


def test_shrinkage_a_color_a_matrix_and_a_mark_an_epsilon() -> None:
    table = ratios()
    figure = plots.shrinkage_by_epsilon(table)
    points = marked(figure.axes[0])
    assert len(points) == len(table)
    found = sorted(tuple(line.get_xydata()[0]) for line in points)
    expected = sorted(map(tuple, table[["predicted", "measured"]].to_numpy()))
    np.testing.assert_allclose(found, expected)
    assert len({line.get_color() for line in points}) == len(ROLES)
    assert len({line.get_marker() for line in points}) == 2
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["Q", "K", "V", "attention output", "ε = 1e-05", "ε = 0.001"]


@pytest.mark.parametrize("name", FIGURES)
def test_every_text_is_gray_and_inside_and_a_figure_is_the_same_again(name: str) -> None:
    before = dict(mpl.rcParams)
    figure = FIGURES[name]()
    assert contents(figure) == contents(FIGURES[name]())
    figure.draw_without_rendering()
    texts = [t for t in figure.findobj(Text) if t.get_text() and t.get_visible()]
    assert {to_hex(text.get_color()) for text in texts} == {plots.INK}
    box = figure.bbox.padded(3)
    for text in figure.legends[0].get_texts():
        extent = text.get_window_extent()
        assert box.x0 <= extent.x0 <= extent.x1 <= box.x1
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.std_by_rate(grid().drop(columns="noise")), "no column noise"),
        (lambda: plots.std_by_rate(grid(), tolerance=-1.0), "tolerance must be"),
        (lambda: plots.growth_by_part([parts()], ["mlp_in"]), "unknown role 'mlp_in'"),
        (lambda: plots.growth_by_part([parts().drop(columns="rest")], ["q"]), "no column rest"),
        (lambda: plots.std_by_schedule(stds(), {}, ["q"]), "noise"),
        (lambda: plots.std_by_schedule(stds(), dict(list(stds().items())[:1]), ["q"]), "same"),
        (lambda: plots.std_by_schedule(stds(), stds(), ["k"]), "unknown role 'k'"),
        (lambda: plots.shrinkage_by_epsilon(ratios().drop(columns="role")), "no column role"),
    ],
)
def test_bad_input_is_refused(call, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()
