"""Figures of weight matrices through training: what is drawn is what the tables say."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from figures import assert_drawn_the_same, assert_readable, legend_texts
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from initscope import plots
from initscope.analysis.diffusion import curve_errors, growth_by_rate, growth_in_windows
from initscope.analysis.intervals import mean_interval
from initscope.analysis.noise import predicted_std
from initscope.analysis.trajectories import (
    expansion_rates,
    layer_spread,
    settling_steps,
)
from initscope.errors import UsageError

# What an earlier test left unclosed may come to light here, whenever Python tidies up.
pytestmark = pytest.mark.filterwarnings("error", "default::pytest.PytestUnraisableExceptionWarning")

ROLES = ("q", "k", "v", "attention_out", "mlp_in", "mlp_out")
STEPS = (0, 10, 20, 40, 100)
NAN = math.nan


def trajectories(
    roles: tuple[str, ...] = ROLES,
    n_layers: int = 4,
    steps: tuple[int, ...] = STEPS,
    seed: int = 0,
) -> pd.DataFrame:
    """As weight_std gives them: every matrix grows or shrinks from 0.02 at a rate of its own."""
    index = pd.MultiIndex.from_product([roles, range(1, n_layers + 1)], names=["role", "layer"])
    rates = np.random.default_rng(seed).normal(0.01, 0.01, len(index))
    values = 0.02 * np.exp(rates[:, None] * np.array(steps))
    return pd.DataFrame(values, index, pd.Index(steps, name="step"))


def theory(std: pd.DataFrame) -> pd.DataFrame:
    return predicted_std(std, [0.003] * int(std.columns[-1]), 0.1, (0.9, 0.95))


def draw(figure: Figure) -> None:
    """All that drawing does, without a picture."""
    with mpl.rc_context(plots.STYLE):
        figure.draw_without_rendering()


def panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_visible()]


def tick_labels(axis: Any) -> list[str]:
    """Those that are seen."""
    low, high = sorted(axis.get_view_interval())
    ticks = (*axis.get_major_ticks(), *axis.get_minor_ticks())
    return [
        label.get_text()
        for tick in ticks
        for label in (tick.label1, tick.label2)
        if low <= tick.get_loc() <= high and label.get_visible() and label.get_text()
    ]


def curves(axes: Axes, **look: Any) -> list[np.ndarray]:
    """Vertical places of the lines that look so, by the names of their getters."""
    return [
        np.asarray(line.get_ydata(), float)
        for line in axes.get_lines()
        if all(getattr(line, f"get_{name}")() == value for name, value in look.items())
    ]


# --- What is drawn -------------------------------------------------------------------------


def test_curves_are_those_of_every_matrix() -> None:
    std = trajectories()
    figure = plots.weights_through_training(std, theory(std))
    draw(figure)
    assert [axes.get_title() for axes in panels(figure)] == [
        "Q", "K", "V", "attention output", "MLP in", "MLP out",
    ]  # fmt: skip
    for axes, role in zip(panels(figure), ROLES, strict=True):
        first, *others = std.loc[role].to_numpy()
        np.testing.assert_array_equal(curves(axes, linestyle=":"), [first])
        np.testing.assert_array_equal(curves(axes, linestyle="-"), others)
        (dashed,) = curves(axes, linestyle="--")
        np.testing.assert_allclose(dashed, theory(std).loc[role].mean())
        assert list(axes.get_lines()[0].get_xdata()) == list(STEPS)
        colors = [to_hex(line.get_color()) for line in axes.get_lines()[:4]]
        assert len(set(colors)) == 4
        assert colors == [to_hex(line.get_color()) for line in panels(figure)[0].get_lines()[:4]]
    assert legend_texts(figure) == ["layer 1", "layer 3", "layer 4", "theory: noise alone"]
    assert [axes.get_xlabel() for axes in panels(figure)] == ["", "", "", *["update"] * 3]
    assert panels(figure)[0].get_ylabel() == panels(figure)[3].get_ylabel() == "std of the weights"
    assert panels(figure)[0].get_yscale() == "log"


def test_without_theory_there_is_no_line_for_it() -> None:
    figure = plots.weights_through_training(trajectories(n_layers=3))
    assert legend_texts(figure) == ["layer 1", "layer 2", "layer 3"]
    assert all(len(axes.get_lines()) == 3 for axes in panels(figure))


SEEDS = pd.DataFrame({seed: expansion_rates(trajectories(seed=seed), 40) for seed in range(3)})


def test_seeds_by_layer_with_their_interval() -> None:
    figure = plots.by_layer(SEEDS, "rate", 0.5)
    draw(figure)
    for axes, role in zip(panels(figure), ROLES, strict=True):
        table = SEEDS.loc[role]
        dots = curves(axes, marker="o", linestyle="None")
        np.testing.assert_array_equal(dots, table.T)
        (mean,) = curves(axes, linestyle="-")
        np.testing.assert_allclose(mean, table.mean(axis=1))
        (reference,) = curves(axes, linestyle="--")
        assert set(reference) == {0.5}
        (shade,) = (c for c in axes.collections if isinstance(c, PolyCollection))
        places = {tuple(place) for place in np.round(shade.get_paths()[0].vertices, 9)}
        for layer, values in table.iterrows():
            _, low, high = mean_interval(values)
            assert {(layer, round(low, 9)), (layer, round(high, 9))} <= places
        low, high = axes.get_ylim()
        assert low < min(0, table.to_numpy().min())
        assert high > 0.5  # the reference is seen, though no seed is near it
    assert figure.get_supylabel() == "rate"
    assert [axes.get_xlabel() for axes in panels(figure)] == ["", "", "", *["layer"] * 3]


def test_by_layer_from_zero_or_not() -> None:
    far = SEEDS * 0.01 + 1000
    low, high = panels(plots.by_layer(far, "update", from_zero=False))[0].get_ylim()
    assert 999 < low < high < 1001
    assert panels(plots.by_layer(far, "update"))[0].get_ylim()[0] < 0


@pytest.mark.parametrize("n_seeds", [1, 2])
def test_of_few_seeds_there_is_no_interval(n_seeds: int) -> None:
    figure = plots.by_layer(SEEDS.iloc[:, :n_seeds], "rate")
    draw(figure)
    for axes in panels(figure):
        assert not axes.collections
        assert len(curves(axes, linestyle="None")) == n_seeds
        assert len(curves(axes, linestyle="-")) == 1


def test_by_layer_where_a_seed_diverged() -> None:
    seeds = SEEDS.copy()
    seeds.loc[("q", 2), 1] = NAN
    seeds.loc[("k", 1), 0] = math.inf
    seeds.loc["v"] = NAN
    seeds.loc[["mlp_in", "mlp_out", "attention_out"]] = NAN
    figure = plots.by_layer(seeds, "rate")
    draw(figure)
    q = panels(figure)[0]
    (mean,) = curves(q, linestyle="-")
    assert np.isnan(mean).tolist() == [False, True, False, False]
    assert len(curves(q, linestyle="None")) == 3  # the dots of the others stay
    assert all(np.isfinite(axes.get_ylim()).all() for axes in panels(figure))


def test_spreads_have_a_color_a_role_and_a_line_a_seed() -> None:
    spreads = [layer_spread(trajectories(seed=seed)) for seed in range(3)]
    figure = plots.layer_spreads(spreads)
    draw(figure)
    (axes,) = panels(figure)
    for color, role in zip(plots.COLORS, ROLES, strict=True):
        np.testing.assert_array_equal(curves(axes, color=color), [s.loc[role] for s in spreads])
    assert legend_texts(figure) == [plots.role_name(role) for role in ROLES]
    assert axes.get_ylim()[0] == 1
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("update", "largest std over smallest")


def test_more_roles_than_colors_and_roles_of_one_run_alone() -> None:
    more = (*ROLES, "mlp_gate", "encoder_q")
    spreads = [layer_spread(trajectories(more)), layer_spread(trajectories(("q", "output")))]
    figure = plots.layer_spreads(spreads)
    draw(figure)
    (axes,) = panels(figure)
    assert len(axes.get_lines()) == len(more) + 2
    assert legend_texts(figure) == [plots.role_name(role) for role in (*more, "output")]
    assert len({to_hex(line.get_color()) for line in axes.get_lines()}) == len(more) + 1


def histograms(n: int = 3) -> pd.DataFrame:
    """Of normal weights, whose std doubles from one to the next."""
    found = []
    for k in range(n):
        end = 5 * 0.01 * 2**k
        weights = np.random.default_rng(k).normal(0, end / 5, 4000)
        counts, _ = np.histogram(weights, 40, (-end, end))
        found.append((100 * k, 1, "q", -end, end, counts.tolist()))
    return pd.DataFrame(found, columns=["step", "layer", "role", "low", "high", "counts"])


SHAPE = pd.DataFrame({"kurtosis": [3.0, 3.5, 4.0], "tail": [1.0, 1.1, 1.3]}, index=[0, 100, 200])


def heights(figure: Figure) -> list[tuple[np.ndarray, np.ndarray]]:
    """Edges of each histogram, and how high it stands over its base."""
    found = []
    for shape in panels(figure)[0].collections:
        x, y = shape.get_paths()[0].vertices.T
        found.append((np.unique(x), y.max() - y.min()))
    return found


def test_histograms_are_densities_from_the_first_down() -> None:
    figure = plots.weight_distribution(histograms(), SHAPE, [0, 100, 200])
    draw(figure)
    left, kurtosis, tail = panels(figure)
    labels = [text.get_text() for text in left.get_yticklabels()]
    places = dict(zip(labels, left.get_yticks(), strict=True))
    assert places["0"] > places["100"] > places["200"]
    for (edges, height), (_, row), base in zip(
        heights(figure), histograms().iterrows(), (2, 1, 0), strict=True
    ):
        np.testing.assert_allclose(edges, np.linspace(row["low"], row["high"], 41))
        vertices = left.collections[2 - base].get_paths()[0].vertices
        assert vertices[:, 1].min() == base
        # Square roots of densities: from one to the next the std doubles, the density halves.
        density = max(row["counts"]) / (edges[1] - edges[0])
        first = heights(figure)[0][1] ** 2
        first_row = histograms().iloc[0]
        of_first = max(first_row["counts"]) / (first_row["high"] / 20)
        assert height**2 / first == pytest.approx(density / of_first)
    np.testing.assert_array_equal(curves(kurtosis, linestyle="-"), [SHAPE["kurtosis"]])
    np.testing.assert_array_equal(curves(tail, linestyle="-"), [SHAPE["tail"]])
    assert set(curves(kurtosis, linestyle=":")[0]) == {3.0}
    assert set(curves(tail, linestyle=":")[0]) == {1.0}
    assert (left.get_xlabel(), left.get_ylabel()) == ("weight", "update")


def test_histograms_that_cannot_be_drawn_are_left_out() -> None:
    table = histograms(5)
    table.loc[1, ["low", "high"]] = 0.0  # all weights are the same
    table.loc[2, ["low", "high"]] = NAN
    table.loc[3, ["low", "high"]] = -math.inf, math.inf
    table["counts"] = [*table["counts"][:4], [0] * 40]
    figure = plots.weight_distribution(table, SHAPE, [0, 50, 100, 200, 300, 400])
    draw(figure)
    assert len(heights(figure)) == 1
    with pytest.raises(UsageError, match="none of these steps has a histogram that can be drawn"):
        plots.weight_distribution(table, SHAPE, [50, 100, 200, 300, 400])
    with pytest.raises(UsageError, match="several rows at one step: give those of one matrix"):
        plots.weight_distribution(pd.concat([table, table]), SHAPE, [0])


def test_signals_by_layer() -> None:
    tables = {"std of the gradient": trajectories().loc["q"], "variance": trajectories().loc["k"]}
    figure = plots.signals_through_training(tables)
    draw(figure)
    assert [axes.get_title() for axes in panels(figure)] == list(tables)
    for axes, table in zip(panels(figure), tables.values(), strict=True):
        np.testing.assert_array_equal(curves(axes), table)
        assert axes.get_yscale() == "log"
        assert axes.get_xlabel() == "update"
    assert legend_texts(figure) == ["layer 1", "layer 3", "layer 4"]


def test_signals_of_different_layers_have_the_color_of_their_layer() -> None:
    table = trajectories(n_layers=3).loc["q"]
    figure = plots.signals_through_training({"all": table, "last": table.loc[[3]]})
    all_layers, last = panels(figure)
    assert legend_texts(figure) == ["layer 1", "layer 2", "layer 3"]
    third = all_layers.get_lines()[2].get_color()
    assert to_hex(last.get_lines()[0].get_color()) == to_hex(third)


def runs_from(labels: list[str], roles: tuple[str, ...] = ("q", "v")) -> dict[str, Any]:
    tables = {label: trajectories(roles, seed=k) for k, label in enumerate(labels)}
    return {label: (std, theory(std)) for label, std in tables.items()}


def test_bands_are_extent_median_and_theory() -> None:
    both = runs_from(["from std 0.01", "from std 0.02"])
    groups = {"decay 0.1": both, "decay 0.3": dict([list(both.items())[1]])}
    figure = plots.bands_through_training(groups)
    draw(figure)
    titles = [axes.get_title() for axes in panels(figure)]
    assert titles == ["Q, decay 0.1", "V, decay 0.1", "Q, decay 0.3", "V, decay 0.3"]
    rows = [(role, group) for group in groups.values() for role in ("q", "v")]
    for axes, (role, group) in zip(panels(figure), rows, strict=True):
        medians, dashed = curves(axes, linestyle="-"), curves(axes, linestyle="--")
        for k, (std, predicted) in enumerate(group.values()):
            np.testing.assert_allclose(medians[k], std.loc[role].median())
            np.testing.assert_allclose(dashed[k], predicted.loc[role].mean())
            places = axes.collections[k].get_paths()[0].vertices
            for step in STEPS:
                found = places[places[:, 0] == step, 1]
                expected = std.loc[role][step].min(), std.loc[role][step].max()
                assert (found.min(), found.max()) == pytest.approx(expected)
    assert legend_texts(figure) == ["from std 0.01", "from std 0.02", "theory: noise alone"]
    # A label has one color, in whatever place it stands.
    second = panels(figure)[0].get_lines()[2].get_color()
    assert second == panels(figure)[2].get_lines()[0].get_color()


def test_eight_runs_in_a_panel_are_all_drawn() -> None:
    labels = [f"seed {k}" for k in range(8)]
    figure = plots.bands_through_training({"decay 0.1": runs_from(labels)})
    draw(figure)
    for axes in panels(figure):
        assert len(curves(axes, linestyle="-")) == 8
        assert len({to_hex(line.get_color()) for line in axes.get_lines()}) == 8
    assert legend_texts(figure) == [*labels, "theory: noise alone"]


def final(n_runs: int = 3) -> pd.DataFrame:
    values = {
        (f"run {k}", role): {
            "low": 0.01 * (k + 1),
            "median": 0.015 * (k + 1),
            "high": 0.02 * (k + 1),
            "predicted": 0.016 * (k + 1),
            "equilibrium": NAN if k == 1 else 0.1,
        }
        for k in range(n_runs)
        for role in "QKV"
    }
    return pd.DataFrame.from_dict(values, orient="index")


def test_final_bands() -> None:
    bands = final()
    figure = plots.final_bands(bands)
    draw(figure)
    assert [axes.get_title() for axes in panels(figure)] == ["Q", "K", "V"]
    assert [text.get_text() for text in panels(figure)[0].get_yticklabels()] == [
        "run 0", "run 1", "run 2",
    ]  # fmt: skip
    for axes, role in zip(panels(figure), "QKV", strict=True):
        table = bands.xs(role, level=1)
        (lines,) = axes.collections
        extents = [segment[:, 0].tolist() for segment in lines.get_segments()]
        np.testing.assert_allclose(extents, table[["low", "high"]])
        for marker, column in (("o", "median"), ("D", "predicted")):
            (line,) = (one for one in axes.get_lines() if one.get_marker() == marker)
            np.testing.assert_array_equal(line.get_xdata(), table[column])
            assert list(line.get_ydata()) == [0, 1, 2]
        (equilibrium,) = (one for one in axes.get_lines() if one.get_marker() == "|")
        assert list(equilibrium.get_ydata()) == [0, 2]  # without decay there is none
        low, high = axes.get_ylim()
        assert low > high  # the first run is above
    assert "equilibrium at the peak rate" in legend_texts(figure)


def test_final_bands_where_a_run_is_not_known() -> None:
    bands = final()
    bands.loc[("run 0", "Q")] = NAN
    bands.loc[("run 2", slice(None)), "predicted"] = NAN
    figure = plots.final_bands(bands.drop(("run 1", "V")))
    draw(figure)
    third = panels(figure)[2]
    (median,) = (one for one in third.get_lines() if one.get_marker() == "o")
    np.testing.assert_array_equal(median.get_xdata(), [0.015, NAN, 0.045])


def losses(*runs: str, values: tuple[float, ...] = (5.0, 3.0, 2.0)) -> dict[str, pd.DataFrame]:
    steps = np.arange(len(values)) * 10
    return {
        run: pd.DataFrame({"step": steps, "loss": np.array(values) + k})
        for k, run in enumerate(runs)
    }


def rates_of(std: pd.DataFrame) -> pd.DataFrame:
    """As growth_by_rate gives it, of learning rates that fall."""
    lr = np.linspace(0.003, 0.001, int(std.columns[-1]))
    return growth_by_rate(growth_in_windows(std, lr, 0.1, [0, 20, 40, 100]), lr).abs()


def test_errors_are_the_mean_over_runs_and_their_range() -> None:
    std = trajectories()
    near, far = curve_errors(std, std * 1.1), curve_errors(std, std * 1.3)
    figure = plots.errors_through_training({"noise": [near, far], "no change": [near]})
    draw(figure)
    assert legend_texts(figure) == ["noise", "no change"]
    assert [axes.get_title() for axes in panels(figure)][:2] == ["Q", "K"]
    for axes, role in zip(panels(figure), ROLES, strict=True):
        noise, no_change = curves(axes)
        np.testing.assert_allclose(noise, (near.loc[role] + far.loc[role]) / 2)
        np.testing.assert_allclose(no_change, near.loc[role])
        (shade, _) = axes.collections
        places = shade.get_paths()[0].vertices[:, 1]
        assert places.max() == pytest.approx(far.loc[role].max())
        assert len({line.get_linestyle() for line in axes.get_lines()}) == 2


def test_growth_is_drawn_over_the_square_of_the_rate() -> None:
    noise = pd.DataFrame([[4e-6, 1e-6], [-1e-6, 1e-6]], ["q", "v"], [0.002, 0.001])
    drift = pd.DataFrame([[4e-6, 2e-6]], ["q"], [0.002, 0.001])
    figure = plots.growth_against_rate({"a": [drift, 2 * drift], "b": [noise]})
    draw(figure)
    of_q, of_v = panels(figure)
    lines = [axes.get_lines() for axes in (of_q, of_v)]
    (mean,) = [
        line
        for line in lines[0]
        if line.get_color() == plots.COLORS[0] and line.get_lw() > 1 and line.get_linestyle() == "-"
    ]
    np.testing.assert_allclose(mean.get_ydata(), [1.5, 3])
    (level,) = [
        line
        for line in lines[0]
        if line.get_color() == plots.COLORS[1] and line.get_linestyle() == "-"
    ]
    np.testing.assert_allclose(level.get_ydata(), [1, 1])
    (guide,) = curves(of_q, linestyle=":")
    np.testing.assert_allclose(guide, [1.5, 3])  # through the last window of the first group
    # What shrinks has no place on the axis.
    shown = [line.get_ydata() for line in lines[1] if line.get_marker() == "o"]
    np.testing.assert_array_equal(shown, [[NAN, 1.0]])
    assert legend_texts(figure) == ["a", "b", "noise without memory", "a steady drift"]


def test_losses_are_drawn_by_group_and_where_they_end() -> None:
    groups = {"a": list(losses("a", "b").values()), "b": list(losses("c").values())}
    ends = {
        "b": pd.DataFrame({"left": [310.0, np.nan], "loss": [1.6, 1.7]}),
        "others": pd.DataFrame({"left": [400.0], "loss": [1.8]}),
    }
    figure = plots.training_losses(groups, ends, level=2.4)
    draw(figure)
    left, right = panels(figure)
    for color, (_, tables) in zip(plots.COLORS, groups.items(), strict=False):
        drawn = curves(left, color=color)
        np.testing.assert_array_equal(drawn, [t["loss"][t["step"] > 0] for t in tables])
    assert legend_texts(figure) == ["a", "b", "others", "plateau"]
    assert [line.get_color() for line in right.lines] == [plots.COLORS[1], plots.INK]
    np.testing.assert_array_equal(right.lines[0].get_xdata(), [310.0, np.nan])
    assert legend_texts(plots.training_losses({"a": groups["a"]}, {})) == ["a"]


@pytest.mark.parametrize(
    ("role", "name"),
    [("q", "Q"), ("mlp_gate", "MLP gate"), ("output", "output"), ("encoder_q", "encoder q")],
)
def test_role_name(role: str, name: str) -> None:
    assert plots.role_name(role) == name


# --- All of them ---------------------------------------------------------------------------

SMALL = trajectories(("q", "v"), 2)

FIGURES: dict[str, Callable[[pd.DataFrame], Figure]] = {
    "weights_through_training": lambda std: plots.weights_through_training(std, theory(std)),
    "by_layer": lambda std: plots.by_layer(
        pd.DataFrame({seed: settling_steps(std) for seed in range(3)}), "settled at update"
    ),
    "layer_spreads": lambda std: plots.layer_spreads([layer_spread(std)] * 2),
    "weight_distribution": lambda std: plots.weight_distribution(
        histograms(),
        pd.DataFrame({"kurtosis": 3 + std.iloc[0], "tail": std.iloc[0]}),
        [0, 100],
    ),
    "signals_through_training": lambda std: plots.signals_through_training(
        {"std of the gradient": std.loc["q"], "variance of the queries": std.loc["q"] ** 2}
    ),
    "bands_through_training": lambda std: plots.bands_through_training(
        {f"decay {k}": {"from std 0.02": (std.loc[["q"]], std.loc[["q"]])} for k in (0.1, 0.3)}
    ),
    "final_bands": lambda std: plots.final_bands(
        pd.DataFrame.from_dict(
            {
                ("a run", role): {
                    "low": std.loc[role].iloc[:, -1].min(),
                    "median": std.loc[role].iloc[:, -1].median(),
                    "high": std.loc[role].iloc[:, -1].max(),
                    "predicted": theory(std).loc[role].iloc[:, -1].mean(),
                    "equilibrium": 0.12,
                }
                for role in dict.fromkeys(std.index.get_level_values("role"))
            },
            orient="index",
        )
    ),
    "training_losses": lambda std: plots.training_losses(
        {
            f"layer {layer}": [pd.DataFrame({"step": std.columns, "loss": curve.to_numpy()})]
            for layer, curve in std.loc["q"].iterrows()
        },
        {"layer 1": pd.DataFrame({"left": [100.0], "loss": [0.03]})},
        0.02,
    ),
    "errors_through_training": lambda std: plots.errors_through_training(
        {"noise": [curve_errors(std, std * 1.1)] * 2, "no change": [curve_errors(std, std / 2)]}
    ),
    "growth_against_rate": lambda std: plots.growth_against_rate({"seeds": [rates_of(std)] * 2}),
}


@pytest.mark.parametrize("name", FIGURES)
def test_drawn_twice_it_is_the_same(name: str) -> None:
    assert_drawn_the_same(lambda: FIGURES[name](SMALL))


@pytest.mark.parametrize("name", FIGURES)
def test_it_reads_on_any_page(name: str) -> None:
    # The axis of a curve may have the color of the curve.
    colors = {plots.INK, *(plots.COLORS[:2] if name == "weight_distribution" else ())}
    # A legend beside the axes widens the file.
    beside = set(map(plots.role_name, ROLES)) if name == "layer_spreads" else set()
    figure = assert_readable(lambda: FIGURES[name](trajectories()), colors=colors, besides=beside)
    assert figure.get_figwidth() <= plots.WIDTH
    titles = [axes.title.get_window_extent() for axes in panels(figure) if axes.get_title()]
    for k, extent in enumerate(titles):
        assert not any(extent.overlaps(other) for other in titles[k + 1 :])


def diverged(std: pd.DataFrame) -> pd.DataFrame:
    """The loss is NaN after the third step, a layer of Q before; V ends at inf."""
    std = std.copy()
    std.iloc[:, 3:] = NAN
    std.loc[("q", 1), 20] = NAN
    std.loc["v", 100] = math.inf
    return std


UNLIKELY: dict[str, Callable[[], pd.DataFrame]] = {
    "one role": lambda: trajectories(("q",), 2),
    "one layer": lambda: trajectories(("q", "v"), 1),
    "one step": lambda: trajectories(("q", "v"), 2, (0,)),
    "one matrix at one step": lambda: trajectories(("q",), 1, (0,)),
    "the same everywhere": lambda: SMALL * 0 + 0.02,
    "all at 0": lambda: SMALL * 0,
    "starts at 0": lambda: SMALL * (np.array(STEPS) > 0),
    "diverged": lambda: diverged(SMALL),
    "not one finite value": lambda: SMALL * NAN,
    "huge": lambda: SMALL ** np.linspace(1, -20, len(STEPS)),
}


@pytest.mark.parametrize("case", UNLIKELY)
@pytest.mark.parametrize(
    "name", sorted(FIGURES.keys() - {"weight_distribution", "growth_against_rate"})
)
def test_unlikely_tables_are_drawn(name: str, case: str) -> None:
    figure = FIGURES[name](UNLIKELY[case]())
    figure.set_layout_engine("none")  # where the panels go is not the question, and takes as long
    draw(figure)
    for axes in panels(figure):
        assert np.isfinite([*axes.get_xlim(), *axes.get_ylim()]).all()
    if name == "weights_through_training" and case in ("one step", "one matrix at one step"):
        # A line through one point is not seen.
        solid = [line for a in panels(figure) for line in a.get_lines() if line.get_ls() == "-"]
        assert solid
        assert all(line.get_marker() == "o" for line in solid)


@pytest.mark.parametrize(
    ("name", "n_roles"),
    [("weights_through_training", 4), ("by_layer", 7)],
)
def test_the_lowest_panel_of_every_column_has_its_axis(name: str, n_roles: int) -> None:
    figure = FIGURES[name](trajectories((*ROLES, "output")[:n_roles], 2))
    draw(figure)
    titled = [axes for axes in panels(figure) if axes.get_title()]
    assert len(titled) == n_roles
    lowest = {axes.get_subplotspec().colspan.start: axes for axes in titled}
    for axes in titled:
        is_lowest = axes in lowest.values()
        assert bool(tick_labels(axes.xaxis)) == is_lowest
        assert bool(axes.get_xlabel()) == is_lowest


@pytest.mark.parametrize("low", [0.001, 0.02, 0.0399])
def test_a_logarithmic_axis_always_has_numbers(low: float) -> None:
    std = trajectories(("q",), 2)
    std.loc[:, :] = np.linspace(low, 0.04, std.size).reshape(std.shape)
    figure = plots.weights_through_training(std)
    draw(figure)
    labels = tick_labels(panels(figure)[0].yaxis)
    assert 2 <= len(labels) <= 12
    assert all("e" not in label for label in labels)


EMPTY = trajectories().head(0)
NOTHING: dict[str, Callable[[], Figure]] = {
    "weights_through_training": lambda: plots.weights_through_training(EMPTY),
    "by_layer": lambda: plots.by_layer(EMPTY, "rate"),
    "layer_spreads": lambda: plots.layer_spreads([]),
    "layer_spreads of no role": lambda: plots.layer_spreads([layer_spread(EMPTY)]),
    "signals_through_training": lambda: plots.signals_through_training({}),
    "signals of no layer": lambda: plots.signals_through_training({"a": EMPTY}),
    "bands_through_training": lambda: plots.bands_through_training({}),
    "bands of no run": lambda: plots.bands_through_training({"decay": {}}),
    "bands of no role": lambda: plots.bands_through_training({"decay": {"a": (EMPTY, EMPTY)}}),
    "final_bands": lambda: plots.final_bands(final().head(0)),
    "training_losses": lambda: plots.training_losses({}, {}),
    "errors_through_training": lambda: plots.errors_through_training({}),
    "growth_against_rate": lambda: plots.growth_against_rate({}),
}


@pytest.mark.parametrize("name", NOTHING)
def test_nothing_to_draw_says_so(name: str) -> None:
    with pytest.raises(UsageError, match="there is nothing to draw"):
        NOTHING[name]()


def test_runs_of_different_roles_are_refused() -> None:
    runs = runs_from(["a"]) | runs_from(["b"], ("q",))
    with pytest.raises(UsageError, match="the runs must have the same roles"):
        plots.bands_through_training({"decay": runs})
