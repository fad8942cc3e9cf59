"""Figures of two schemes compared: what is drawn is what the tables say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from figures import assert_drawn_the_same, assert_readable
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from initscope import plots
from initscope.analysis.comparison import compare, layer_ratios, run_measures
from initscope.errors import UsageError
from initscope.plots.schemes import SCHEME_COLORS
from initscope.sweep import Optimizer, SweepSpec, run_sweep

# What an earlier test left unclosed may come to light here, whenever Python tidies up.
pytestmark = pytest.mark.filterwarnings("error", "default::pytest.PytestUnraisableExceptionWarning")

FIRST, SECOND = "xavier", "kaiming"
OPTIMIZERS = (
    Optimizer("sgd", 0.1),
    Optimizer("sgd", 1e4),
    Optimizer("sgd", 0.01, momentum=0.9),
    Optimizer("adam", 0.01),
)


def sweep(**changes: Any) -> pd.DataFrame:
    fields = {
        "hidden": ((8,), (8, 8, 8)),
        "schemes": (FIRST, SECOND),
        "optimizers": OPTIMIZERS,
        "seeds": 3,
        "epochs": 4,
        "probes": 3,
    }
    return run_sweep(SweepSpec(**(fields | changes)), progress=False)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return sweep()


@pytest.fixture(scope="module")
def measures(table: pd.DataFrame) -> pd.DataFrame:
    return run_measures(table, losses=(0.5,))


def of_first_training(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["optimizer"] == "sgd") & (table["learning_rate"] == 0.1)]


def points(axes: Any, marker: str = "o") -> list[tuple[float, float, str, str]]:
    """Position, color and filling of each marker that stands alone."""
    return [
        (
            float(line.get_xdata()[0]),
            float(line.get_ydata()[0]),
            to_hex(line.get_color()),
            str(line.get_markerfacecolor()),
        )
        for line in axes.get_lines()
        if line.get_marker() == marker and len(line.get_xdata()) == 1
    ]


def test_variance_ratios_are_those_of_every_pair(table: pd.DataFrame) -> None:
    ratios = layer_ratios(of_first_training(table), FIRST, SECOND, "forward_variance")
    predictions = {widths: [0.5, 0.25, 0.2, 0.1][: widths.count("-")] for widths in ratios.widths}
    figure = plots.variance_ratios(ratios, predictions)
    assert [axes.get_title() for axes in figure.axes] == ["13-8-3", "13-8×3-3"]
    for axes, (widths, group) in zip(
        figure.axes, ratios[ratios.step == 0].groupby("widths", sort=False), strict=True
    ):
        theory, measured = axes.get_lines()
        assert list(theory.get_ydata()) == predictions[str(widths)]
        assert list(theory.get_xdata()) == list(range(1, len(predictions[str(widths)]) + 1))
        assert list(measured.get_ydata()) == list(group["ratio"])
        assert list(measured.get_xdata()) == list(group["layer"])


def test_paired_curves_are_means_and_their_difference(table: pd.DataFrame) -> None:
    runs = of_first_training(table)
    figure = plots.paired_curves(runs, FIRST, SECOND)
    above, below = figure.axes[:2], figure.axes[2:]
    for axes, under, depth in zip(above, below, (2, 4), strict=True):
        means = {}
        for scheme in (FIRST, SECOND):
            losses = runs[(runs.depth == depth) & (runs.scheme == scheme)].sort_values("seed").loss
            means[scheme] = np.stack(losses.to_list()).mean(axis=0)
            (line,) = (
                one
                for one in axes.get_lines()
                if one.get_color() == SCHEME_COLORS[scheme] and one.get_linewidth() == 2
            )
            assert line.get_ydata() == pytest.approx(means[scheme])
        (line,) = (one for one in under.get_lines() if one.get_linewidth() == 2)
        expected = means[SECOND] - means[FIRST]
        assert line.get_ydata() == pytest.approx(expected, abs=1e-5)


def test_paired_curves_end_where_a_loss_does(table: pd.DataFrame) -> None:
    diverging = table[(table["learning_rate"] == 1e4) & (table["diverged_step"] > 0)]
    assert len(diverging)
    depth = diverging["depth"].iloc[0]
    runs = table[(table["learning_rate"] == 1e4) & (table["depth"] == depth)]
    figure = plots.paired_curves(runs, FIRST, SECOND)
    figure.draw_without_rendering()
    thick = [line for line in figure.axes[0].get_lines() if line.get_linewidth() == 2]
    assert any(np.isnan(np.asarray(line.get_ydata(), float)).any() for line in thick)


def test_differences_stand_at_their_depth_and_are_hollow_if_level(measures: pd.DataFrame) -> None:
    usable = measures[measures["learning_rate"] != 1e4]
    differences = compare(usable, SECOND, FIRST, "test_accuracy", resamples=50)
    differences["covers_zero"] = np.arange(len(differences)) % 2 == 0
    figure = plots.differences_by_depth({"accuracy": differences})
    (axes,) = figure.axes
    drawn = sorted(points(axes), key=lambda point: point[:2])
    expected = sorted(
        (0 if row.depth == 2 else 1, row.difference, row.covers_zero)
        for row in differences.itertuples()
    )
    assert len(drawn) == len(expected) == 6
    assert sorted(p[1] for p in drawn) == pytest.approx(sorted(e[1] for e in expected))
    assert sorted(round(p[0]) for p in drawn) == sorted(e[0] for e in expected)
    assert sum(p[3] == "none" for p in drawn) == sum(e[2] for e in expected) == 3
    assert axes.get_xlabel() == "weight layers"
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["SGD", "SGD, momentum", "Adam", "interval covers zero"]


def test_differences_by_activation(measures: pd.DataFrame) -> None:
    usable = measures[(measures["learning_rate"] == 0.1)]
    differences = compare(usable, SECOND, FIRST, "test_accuracy", resamples=50)
    both = pd.concat([differences, differences.assign(activation="gelu")])
    figure = plots.differences_by_depth({"a": both, "b": both}, by="activation")
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == ["ReLU", "GELU"]
    # Only the lowest row names the axis.
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "weight layers"]


def test_winners(measures: pd.DataFrame) -> None:
    differences = compare(measures, SECOND, FIRST, "test_accuracy", resamples=50)
    missing = (differences["learning_rate"] == 1e4) & (differences["depth"] == 4)
    figure = plots.winners(differences[~missing], measures, FIRST, SECOND)
    axes = figure.axes[0]
    assert axes.get_title() == "Wine: SGD"
    assert [t.get_text() for t in axes.get_yticklabels()] == ["0.1", "10000"]
    cells = axes.collections[0].get_array()
    sgd = differences[(differences.optimizer == "sgd") & (differences.momentum == 0)]
    for row, rate in enumerate((0.1, 1e4)):
        for column, depth in enumerate((2, 4)):
            if rate == 1e4 and depth == 4:
                assert np.ma.getmaskarray(cells)[row, column]
                continue
            one = sgd[(sgd.learning_rate == rate) & (sgd.depth == depth)]
            assert cells[row, column] == pytest.approx(one.difference.item())
    level = sgd[~missing[sgd.index] & sgd["covers_zero"]]
    assert len(points(axes, ".")) == len(level)
    letters = [(text.get_text(), round(text.xyann[0]), text.xyann[1]) for text in axes.texts]
    accuracy = measures[(measures.optimizer == "sgd") & (measures.momentum == 0)]
    best = accuracy.groupby(["scheme", "depth", "learning_rate"])["test_accuracy"].mean()
    expected = [
        (scheme[0].upper(), (2, 4).index(depth), (0.1, 1e4).index(best[scheme, depth].idxmax()))
        for scheme in (FIRST, SECOND)
        for depth in (2, 4)
    ]
    assert sorted(letters) == sorted(expected)


def test_usable_rates(measures: pd.DataFrame) -> None:
    figure = plots.usable_rates(measures, FIRST, SECOND)
    axes = figure.axes[0]
    runs = measures[(measures.optimizer == "sgd") & (measures.momentum == 0)]
    failed = runs.groupby(["scheme", "depth", "learning_rate"])["failed"].mean()
    trains = {key for key, share in failed.items() if share <= 0.2}
    drawn = {
        (scheme, (2, 4)[round(x)], y)
        for x, y, color, _ in points(axes)
        for scheme in (FIRST, SECOND)
        if color == SCHEME_COLORS[scheme]
    }
    assert drawn == trains
    assert len(points(axes, "x")) == len(failed) - len(trains) > 0


def test_gradients_and_weights(table: pd.DataFrame) -> None:
    runs = of_first_training(table)
    ratios = layer_ratios(runs, FIRST, SECOND, "weight_std")
    figure = plots.gradients_and_weights(runs, ratios, FIRST, SECOND)
    above, below = figure.axes[1], figure.axes[3]
    deep = runs[(runs.depth == 4) & (runs.scheme == FIRST)]
    norms = np.stack(deep["gradient_norm"].to_list()).reshape(3, 3, 4)
    (line,) = (one for one in above.get_lines() if one.get_color() == SCHEME_COLORS[FIRST])
    assert line.get_ydata() == pytest.approx(np.median(norms[:, :, 0] / norms[:, :, 3], axis=0))
    assert len(below.get_lines()) == 4 + 1
    first_layer = ratios[(ratios.depth == 4) & (ratios.layer == 1)].groupby("step").ratio.median()
    assert below.get_lines()[0].get_ydata() == pytest.approx(first_layer.to_numpy())


def test_scheme_accuracies_keep_the_order_given(measures: pd.DataFrame) -> None:
    runs = measures[measures["learning_rate"] != 1e4]
    figure = plots.scheme_accuracies(runs, {SECOND: "Kaiming, fan-in", FIRST: "Xavier"})
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["Kaiming, fan-in", "Xavier"]
    container = figure.axes[0].containers[0]
    sgd = runs[(runs.optimizer == "sgd") & (runs.momentum == 0) & (runs.depth == 2)]
    means = sgd.groupby("scheme")["test_accuracy"].mean()
    drawn = dict(zip(container[0].get_ydata(), container[0].get_xdata(), strict=True))
    assert drawn[-0.2] == pytest.approx(means[SECOND])
    assert drawn[0.8] == pytest.approx(means[FIRST])


@pytest.mark.parametrize(
    ("optimizer", "momentum", "name"),
    [("sgd", 0.0, "SGD"), ("sgd", 0.9, "SGD, momentum"), ("adam", 0.0, "Adam")],
)
def test_training_name(optimizer: str, momentum: float, name: str) -> None:
    assert plots.training_name(optimizer, momentum) == name


FIGURES: dict[str, Callable[[pd.DataFrame], Figure]] = {
    "variance_ratios": lambda t: plots.variance_ratios(
        layer_ratios(t, FIRST, SECOND, "forward_variance"),
        {widths: [0.5] * widths.count("-") for widths in t["widths"].unique()},
    ),
    "paired_curves": lambda t: plots.paired_curves(of_first_training(t), FIRST, SECOND),
    "differences_by_depth": lambda t: plots.differences_by_depth(
        {"accuracy": compare(run_measures(t), SECOND, FIRST, "test_accuracy", resamples=20)}
    ),
    "winners": lambda t: plots.winners(
        compare(run_measures(t), SECOND, FIRST, "test_accuracy", resamples=20),
        run_measures(t),
        FIRST,
        SECOND,
    ),
    "usable_rates": lambda t: plots.usable_rates(run_measures(t), FIRST, SECOND),
    "gradients_and_weights": lambda t: plots.gradients_and_weights(
        of_first_training(t),
        layer_ratios(of_first_training(t), FIRST, SECOND, "weight_std"),
        FIRST,
        SECOND,
    ),
    "scheme_accuracies": lambda t: plots.scheme_accuracies(
        run_measures(t), {FIRST: "Xavier", SECOND: "Kaiming"}
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_drawn_twice_it_is_the_same(table: pd.DataFrame, name: str) -> None:
    assert_drawn_the_same(lambda: FIGURES[name](table))


@pytest.mark.parametrize("name", FIGURES)
def test_it_reads_on_any_page(table: pd.DataFrame, name: str) -> None:
    letters = {FIRST[0].upper(), SECOND[0].upper()} if name == "winners" else set()
    assert_readable(lambda: FIGURES[name](table), besides=letters)


UNLIKELY: dict[str, dict[str, Any]] = {
    "all diverge": {"optimizers": (Optimizer("sgd", 1e30),)},
    "one layer": {"hidden": ((),)},
    "two seeds": {"seeds": 2},
}


@pytest.mark.parametrize("case", UNLIKELY)
def test_unlikely_tables_are_drawn(case: str) -> None:
    unlikely = sweep(**({"optimizers": OPTIMIZERS[:1], "epochs": 2} | UNLIKELY[case]))
    for name, draw in FIGURES.items():
        if case == "all diverge" and name in ("paired_curves", "gradients_and_weights"):
            with pytest.raises(UsageError, match=r"no (rows|runs)"):
                draw(unlikely)  # there are no runs of rate 0.1
            continue
        figure = draw(unlikely)
        figure.set_layout_engine("none")  # where the panels go is not the question
        figure.draw_without_rendering()


def test_an_empty_table_says_so(table: pd.DataFrame) -> None:
    with pytest.raises(UsageError, match="no rows: there is nothing to draw"):
        plots.usable_rates(run_measures(table), "lecun", "orthogonal")
