"""Figures of chapters 03 and 04: what is drawn is what the tables say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from figures import assert_drawn_the_same
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from initscope import plots
from initscope.monte_carlo import against_theory, variance_profiles
from initscope.theory import finite_width_interval, propagate

# What an earlier test left unclosed may come to light here, whenever Python tidies up.
pytestmark = pytest.mark.filterwarnings("error", "default::pytest.PytestUnraisableExceptionWarning")

DEPTHS = np.arange(1, 5)


def drawn(axes: Axes) -> list[list[float]]:
    """Heights of the points of each line."""
    return [list(map(float, line.get_ydata())) for line in axes.get_lines()]


def is_drawn(axes: Axes, values: object) -> bool:
    wanted = np.asarray(values, dtype=float)
    return any(len(y) == len(wanted) and np.allclose(y, wanted) for y in drawn(axes))


def fan(width: int = 3) -> tuple[pd.DataFrame, pd.DataFrame]:
    widths = [width] * 6
    profiles = variance_profiles(widths, networks=30)
    return profiles, against_theory(
        profiles,
        propagate(widths, "relu", "kaiming"),
        finite_width_interval(widths, "relu", "kaiming"),
    )


def spread() -> pd.DataFrame:
    rows = [
        {
            "activation": name,
            "width": width,
            "layer": layer,
            "measured": layer / width + k,
            "error": 0.01,
            "predicted": 1.1 * layer / width + k,
        }
        for k, name in enumerate(("relu", "tanh"))
        for width in (10, 100)
        for layer in DEPTHS
    ]
    return pd.DataFrame(rows)


def jacobians() -> pd.DataFrame:
    table = spread().rename(columns={"width": "weights"})
    table["weights"] = table["weights"].map({10: "Gaussian", 100: "orthogonal"})
    return table.assign(wide=0.9 * table["predicted"])


def stream() -> pd.DataFrame:
    theory = np.linspace(0.1, 0.9, 5)
    return pd.DataFrame(
        {
            "measured": 1.02 * theory,
            "predicted": theory,
            "uncorrelated": 0.8 * theory,
            "low": 0.9 * theory,
            "high": 1.1 * theory,
            "reduced": 0.99 * theory,
        }
    )


QUANTITIES = ("query", "key", "value", "logit", "attention", "mlp")


def blocks() -> pd.DataFrame:
    rows = [
        {"depth": depth, "quantity": name, "value": depth + k}
        for k, name in enumerate(QUANTITIES)
        for depth in DEPTHS
    ]
    return pd.DataFrame(rows)


def depth_table(column: str) -> pd.DataFrame:
    rows = [
        {"rule": rule, "blocks": count, column: count * factor}
        for rule, factor in (("with", 0.1), ("without", 1.0))
        for count in (2, 4, 8)
    ]
    return pd.DataFrame(rows)


def gradients() -> pd.DataFrame:
    table = spread().rename(columns={"width": "scale", "activation": "norm", "layer": "depth"})
    table["scale"] = table["scale"].map(str)
    return table.assign(low=table["measured"] - 0.01, high=table["measured"] + 0.01)


SAMPLES = {10: np.linspace(-9, 3, 50), 100: np.linspace(-1, 1, 50)}
MOMENTS = pd.DataFrame(
    {
        "width": [10, 100],
        "mean": [-3.0, 0.0],
        "variance": [9.0, 0.3],
        "first_mean": [-2.0, 0.0],
        "first_variance": [7.0, 0.3],
    }
)
SPECTRA = {
    (activation, weights): np.array([[2.0, 1.0, 0.0]])
    for activation in ("linear", "ReLU")
    for weights in ("Gaussian", "orthogonal")
}
PREDICTED = {name: np.arange(4) + 1.5 for name in QUANTITIES}


def saturation() -> tuple[pd.DataFrame, pd.DataFrame]:
    x = np.arange(1.0, 6.0)
    lines = pd.DataFrame({"keys": 8, "logit_std": x, "predicted": x / 9, "limit": x / 8})
    table = lines.assign(kind="independent", measured=x / 9, error=0.01)
    return lines, table.drop(columns=["predicted", "limit"])


def weight_gradients() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    measured = pd.DataFrame({"query": [0.1, 0.05], "value": [4.0, 9.0]}, [1, 2])
    ratios = pd.DataFrame({"model": "wide", "block": [1, 2], "measured": 0.2, "predicted": 0.25})
    return measured, 1.1 * measured, ratios


FIGURES: dict[str, Callable[[], Figure]] = {
    "fan": lambda: plots.fan_of_networks({3: fan()[0]}, {3: fan()[1]}),
    "histograms": lambda: plots.log_norm_histograms(SAMPLES, MOMENTS, 50),
    "spread": lambda: plots.log_spread_by_depth(spread()),
    "singular values": lambda: plots.singular_values(SPECTRA),
    "jacobian": lambda: plots.jacobian_spread(jacobians()),
    "stream": lambda: plots.stream_against_theory(stream()),
    "blocks": lambda: plots.block_quantities(blocks(), PREDICTED),
    "depth": lambda: plots.depth_of_stream(depth_table("measured"), depth_table("predicted")),
    "gradients": lambda: plots.gradients_along_stream(gradients()),
    "saturation": lambda: plots.attention_saturation(*saturation()),
    "weight gradients": lambda: plots.weight_gradients_by_block(*weight_gradients()),
}


@pytest.mark.parametrize("name", FIGURES)
def test_drawn_twice_it_is_the_same(name: str) -> None:
    assert_drawn_the_same(FIGURES[name])


def test_a_fan_shows_each_network_and_ends_where_one_has_died() -> None:
    profiles, table = fan()
    forward, backward = FIGURES["fan"]().axes
    assert len(forward.get_lines()) == len(backward.get_lines()) == 30 + 3
    of_direction = table[table["direction"] == "forward"]
    assert is_drawn(forward, of_direction["mean"])
    assert is_drawn(forward, of_direction["theory"])
    dead = profiles.query("direction == 'forward' and layer == 5 and value == 0")["network"]
    assert len(dead)  # of width 3, one layer in eight dies
    ends = [y[-1] for y in drawn(forward)[:30]]
    assert sum(map(np.isnan, ends)) == len(dead)


def test_histograms_have_the_normal_densities_of_their_moments() -> None:
    narrow, wide = FIGURES["histograms"]().axes
    exact, first = narrow.get_lines()[:2]
    assert max(exact.get_ydata()) == pytest.approx(1 / np.sqrt(2 * np.pi * 9), rel=1e-3)
    assert max(first.get_ydata()) == pytest.approx(1 / np.sqrt(2 * np.pi * 7), rel=1e-3)
    ((heights, edges, _),) = (patch.get_data() for patch in wide.patches)
    area = (heights * np.diff(edges)).sum()
    assert area == pytest.approx(1)


@pytest.mark.parametrize("name", ["spread", "jacobian", "gradients"])
def test_measured_and_predicted_stand_on_one_axis(name: str) -> None:
    table = {"spread": spread, "jacobian": jacobians, "gradients": gradients}[name]()
    panel = {"spread": "width", "jacobian": "weights", "gradients": "scale"}[name]
    curve = "norm" if name == "gradients" else "activation"
    for axes, (_, of_panel) in zip(FIGURES[name]().axes, table.groupby(panel), strict=True):
        for _, group in of_panel.groupby(curve):
            for column in {"measured", "predicted", "wide"} & set(table):
                assert is_drawn(axes, group[column])


def test_singular_values_are_all_counted() -> None:
    for axes in FIGURES["singular values"]().axes:
        ((shares, _, _),) = (patch.get_data() for patch in axes.patches)
        assert shares.sum() == pytest.approx(1)


def test_differences_of_the_stream_are_in_percent() -> None:
    left, right = FIGURES["stream"]().axes
    assert is_drawn(left, stream()["measured"])
    assert is_drawn(right, [2.0] * 5)
    assert is_drawn(right, [-20.0] * 5)
    assert is_drawn(right, [-1.0] * 5)


def test_blocks_and_depths() -> None:
    panels = FIGURES["blocks"]().axes
    for axes, names in zip(panels, (QUANTITIES[:3], QUANTITIES[3:4], QUANTITIES[4:]), strict=True):
        for name in names:
            of_name = blocks().query(f"quantity == '{name}'")
            assert is_drawn(axes, of_name["value"])
        assert is_drawn(axes, PREDICTED["mlp"])
        assert axes.get_ylim()[0] == 0
    (axes,) = FIGURES["depth"]().axes
    assert is_drawn(axes, [0.2, 0.4, 0.8])
    assert is_drawn(axes, [2, 4, 8])


def test_weight_gradients_are_drawn_as_root_mean_squares_of_the_first_value() -> None:
    left, right = plots.weight_gradients_by_block(*weight_gradients()).axes
    dots = {line.get_label(): line.get_ydata() for line in left.lines if line.get_marker() == "o"}
    np.testing.assert_allclose(dots["value"], [1.0, 1.5])
    np.testing.assert_allclose(dots["query"], np.sqrt([0.025, 0.0125]))
    assert {tuple(line.get_ydata()) for line in right.lines} == {(0.2, 0.2), (0.25, 0.25)}
