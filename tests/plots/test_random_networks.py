"""The figures of chapters 01 and 02: they draw all they are given and name it."""

import io

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from figures import legend_texts
from matplotlib.collections import PolyCollection, QuadMesh

from initscope import plots
from initscope.monte_carlo import against_theory, variance_profiles
from initscope.theory import finite_width_interval, propagate


def svg(figure):
    """The figure as it comes into the book; drawing it must not warn."""
    out = io.StringIO()
    with mpl.rc_context(plots.STYLE):  # as plots.use_in_notebook sets it
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


@pytest.fixture(scope="module")
def comparison():
    widths = [20] * 6
    return against_theory(
        variance_profiles(widths, networks=20),
        propagate(widths, "relu", "kaiming"),
        finite_width_interval(widths, "relu", "kaiming"),
    )


def test_theory_against_networks_draws_line_band_dots_and_bars(comparison):
    figure = plots.theory_against_networks({"one": comparison, "two": comparison})
    assert {"one", "two", "infinite width", "mean of networks"} <= set(legend_texts(figure))
    for axes, direction in zip(figure.axes, ("forward", "backward"), strict=True):
        rows = comparison[comparison["direction"] == direction]
        lines = [line for line in axes.lines if line.get_linestyle() == "-"]
        assert len(lines) == 2
        np.testing.assert_allclose(lines[0].get_ydata(), rows["theory"])
        bands = [c for c in axes.collections if isinstance(c, PolyCollection)]
        assert len(bands) == 2
        dots = [line for line in axes.lines if line.get_marker() == "o"]
        np.testing.assert_allclose(dots[0].get_ydata(), rows["mean"])
    svg(figure)


def test_the_same_figure_is_the_same_file(comparison):
    first, second = (svg(plots.theory_against_networks({"a": comparison})) for _ in range(2))
    assert first == second


def test_number_format_bands():
    theory = pd.DataFrame(
        [
            {"format": name, "depth": depth, "low": 0.1 / depth, "high": 1.0}
            for name in ("float32", "float16")
            for depth in (4, 8)
        ]
    )
    figure = plots.number_format_bands(theory, theory.assign(network=0), critical=0.3)
    (axes,) = figure.axes
    assert legend_texts(figure)[:2] == ["float32", "float16"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["4", "8"]
    svg(figure)


def test_maps_draw_each_label_once_and_its_fixed_points():
    x = np.linspace(0, 1, 5)
    length = pd.concat(pd.DataFrame({"label": k, "q": x, "image": x**2}) for k in "ab")
    correlation = length.rename(columns={"q": "c"})
    points = pd.DataFrame({"label": ["a", "b"], "q": [0.0, 1.0], "c": [1.0, 1.0]})
    figure = plots.maps(length, correlation, points)
    assert legend_texts(figure) == ["a", "b"]
    assert [len(axes.lines) for axes in figure.axes] == [5, 5]  # diagonal, 2 curves, 2 dots
    for axes, end in zip(figure.axes, (0.0, 1.0), strict=True):
        drawn = [line.get_xydata() for line in axes.lines]
        assert sum(np.array_equal(one, np.transpose([x, x**2])) for one in drawn) == 2
        assert [end, end] in [one.tolist()[0] for one in drawn if len(one) == 1]
    svg(figure)


def test_correlation_with_depth():
    theory = pd.DataFrame({"label": "a", "layer": range(3), "correlation": [0.5, 0.6, 0.7]})
    found = pd.DataFrame(
        {"label": "a", "layer": [1, 2], "mean": [0.5, 0.8], "low": 0.4, "high": 0.9}
    )
    axes = plots.correlation_with_depth(theory, found).axes[0]
    figure = axes.figure
    line, dots = (drawn.get_xydata() for drawn in axes.lines)
    np.testing.assert_allclose(line, theory[["layer", "correlation"]])
    np.testing.assert_allclose(dots, found[["layer", "mean"]])
    bars = axes.collections[0].get_segments()
    np.testing.assert_allclose(bars, [[[layer, 0.4], [layer, 0.9]] for layer in (1, 2)])
    svg(figure)


def test_phase_diagrams_keep_the_place_of_what_has_no_fixed_point():
    w, b = (grid.ravel() for grid in np.meshgrid(np.linspace(0.1, 4, 6), np.linspace(0, 1, 5)))
    chi = np.where(w > 2, np.nan, w / 2)
    frame = pd.DataFrame({"activation": "ReLU", "sigma_w2": w, "sigma_b2": b, "chi": chi})
    edges = pd.DataFrame(
        {"activation": ["ReLU"], "sigma_w2": [2.0], "sigma_b2": [0.0], "stable": [True]}
    )
    figure = plots.phase_diagrams(frame, edges)
    axes = figure.axes[0]
    shown = np.ma.masked_invalid(axes.images[0].get_array())
    assert shown.shape == (5, 6)
    np.testing.assert_array_equal(np.ma.getmaskarray(shown), np.isnan(chi).reshape(5, 6))
    assert axes.lines[0].get_marker() == "o"  # an edge of one point is a dot
    svg(figure)


def test_depth_scales_and_trainability():
    scales = pd.DataFrame({"label": "a", "sigma_w2": [0.5, 1.0, 2.0], "depth_scale": [1, 9, 3]})
    figure = plots.depth_scales(scales)
    line = figure.axes[0].lines[0].get_xydata()
    np.testing.assert_allclose(line, scales[["sigma_w2", "depth_scale"]])
    svg(figure)
    runs = pd.DataFrame(
        [
            {"sigma_w2": w, "depth": depth, "accuracy": accuracy}
            for w in (0.5, 1.0, 2.0)
            for depth in (4, 8)
            for accuracy in (0.2, 0.3, 0.9)
        ]
    )
    limits = scales.assign(depth=[4.0, 1e6, 8.0])
    figure = plots.trainability_map(runs, limits)
    axes = figure.axes[0]
    (mesh,) = (c for c in axes.collections if isinstance(c, QuadMesh))
    np.testing.assert_allclose(mesh.get_array(), 0.3)  # the median
    low, high = axes.get_ylim()
    assert low < 4
    assert 8 < high < 20, "a limit far above must not stretch the axis"
    svg(figure)
