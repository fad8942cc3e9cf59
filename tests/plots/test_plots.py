"""Figures: what is drawn is what the table says, for likely and unlikely tables."""

from __future__ import annotations

import functools
import io
import itertools
import math
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from figures import assert_drawn_the_same, assert_readable
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from initscope import plots
from initscope.analysis import PAPER_BAND, stability_bands
from initscope.errors import UsageError
from initscope.reproduce.small_svg import small_svg
from initscope.sweep import Optimizer, SweepSpec, run_sweep
from initscope.theory import critical_std

# What an earlier test left unclosed may come to light here, whenever Python tidies up.
pytestmark = pytest.mark.filterwarnings("error", "default::pytest.PytestUnraisableExceptionWarning")

SGD, FAST, ADAM = Optimizer("sgd", 0.1), Optimizer("sgd", 0.3), Optimizer("adam", 0.01)
STDS = (0.01, 0.1, 0.3, 1e7)
HIDDEN = ((16,), (16, 16), (32, 32), (8, 8, 8))


def sweep(**changes: object) -> pd.DataFrame:
    fields = {"hidden": ((16, 8),), "stds": STDS, "optimizers": (SGD,), "seeds": 3, "epochs": 5}
    return run_sweep(SweepSpec(**(fields | changes)), progress=False)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return sweep(schemes=("kaiming",), optimizers=(SGD, FAST, ADAM))


@pytest.fixture(scope="module")
def grid() -> pd.DataFrame:
    return sweep(hidden=HIDDEN, optimizers=(SGD, ADAM), seeds=2)


def lines(axes: Axes) -> dict[str, tuple[list[float], list[float]]]:
    """Label to the points of each line that has one."""
    return {
        str(line.get_label()): (list(map(float, line.get_xdata())), list(map(float, y)))
        for line in axes.get_lines()
        if not str(line.get_label()).startswith("_") and len(y := line.get_ydata())
    }


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def legend_of(owner: Figure | Axes) -> list[str]:
    legend = owner.legends[0] if isinstance(owner, Figure) else owner.get_legend()
    return [text.get_text() for text in legend.get_texts()]


def has_paper_band(axes: Axes) -> bool:
    edges = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches]
    return any(edge == pytest.approx(PAPER_BAND) for edge in edges)


# --- What is drawn -------------------------------------------------------------------------


def test_accuracy_against_std(table: pd.DataFrame) -> None:
    figure = plots.accuracy_against_std(table)
    panels = np.array(figure.axes).reshape(2, 2)
    assert [axes.get_title() for axes in panels[0]] == ["SGD", "Adam"]
    assert [axes.get_ylabel() for axes in panels[:, 0]] == ["test accuracy", "training loss"]
    assert {axes.get_xlabel() for axes in panels[1]} == {"initial std of the weights"}
    assert legend_of(panels[1, 0]) == ["0.1", "0.3"]
    assert legend_of(panels[1, 1]) == ["0.01"]
    assert legend_of(figure)[0] == "the paper's band"
    for (row, column), (k, rates) in zip(
        [(r, c) for r, c in enumerate(("test_accuracy", "train_loss")) for _ in range(2)],
        [(0, (0.1, 0.3)), (1, (0.01,))] * 2,
        strict=True,
    ):
        axes = panels[row, k]
        assert axes.get_xscale() == "log"
        assert has_paper_band(axes)
        for rate in rates:
            runs = table[(table["optimizer"] == ("sgd", "adam")[k]) & (table["std"] > 0)]
            runs = runs[runs["learning_rate"] == rate]
            expected = {}
            for std in STDS:
                values = runs.loc[runs["std"] == std, column].to_numpy()
                if np.isfinite(values).any():
                    expected[std] = np.median(values[np.isfinite(values)])
            assert lines(axes)[f"{rate:g}"] == (list(expected), pytest.approx([*expected.values()]))
    critical = [line for line in panels[0, 0].get_lines() if line.get_linestyle() == "--"]
    assert critical[0].get_xdata()[0] == pytest.approx(math.sqrt(2) * (13 * 16 * 8) ** (-1 / 6))


def test_the_shade_goes_from_the_10th_to_the_90th_percentile(table: pd.DataFrame) -> None:
    one = table[(table["learning_rate"] == 0.3) & (table["optimizer"] == "sgd")]
    axes = plots.accuracy_against_std(one).axes[0]
    (shade,) = axes.collections
    corners = shade.get_paths()[0].vertices
    for std in STDS:
        heights = corners[np.isclose(corners[:, 0], std), 1]
        values = one.loc[one["std"] == std, "test_accuracy"]
        assert heights.min() == pytest.approx(values.quantile(0.1))
        assert heights.max() == pytest.approx(values.quantile(0.9))


def test_variance_through_layers(table: pd.DataFrame) -> None:
    figure = plots.variance_through_layers(table, stds=(0.012, 0.3))
    forward, backward = figure.axes
    assert forward.get_ylabel() == "variance per element"
    assert forward.get_xlabel() == backward.get_xlabel() == "weight layer"
    assert forward.get_yscale() == backward.get_yscale() == "log"
    assert legend_of(figure) == ["0.01", "0.3"]
    first = table[(table["optimizer"] == "sgd") & (table["learning_rate"] == 0.1)]
    for axes, name in ((forward, "forward_variance"), (backward, "backward_variance")):
        drawn = [(line.get_xdata().tolist(), line.get_ydata()) for line in axes.get_lines()]
        expected = [
            row[:3]  # the first probe, at initialization, of three layers
            for std in (0.01, 0.3)
            for row in first.loc[first["std"] == std, name]
        ]
        assert len(drawn) == len(expected) == 6
        for (x, y), row in zip(drawn, expected, strict=True):
            assert x == [1, 2, 3]
            assert list(y) == pytest.approx(row)


def test_loss_curves(table: pd.DataFrame) -> None:
    figure = plots.loss_curves(table, stds=(0.01, 0.3, 1e7))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["SGD, rate 0.1", "SGD, rate 0.3", "Adam, rate 0.01"]
    assert figure.axes[0].get_ylabel() == "training loss"
    for axes, optimizer in zip(figure.axes, (SGD, FAST, ADAM), strict=True):
        assert axes.get_xlabel() == "update"
        runs = table[table["learning_rate"] == optimizer.learning_rate]
        for std in (0.01, 0.3):
            losses = np.stack(runs.loc[runs["std"] == std, "loss"].to_list())
            x, y = lines(axes)[f"{std:g}"]
            assert x == list(range(1, 21))
            assert y == pytest.approx(np.median(losses, axis=0))


def test_loss_curves_end_where_most_runs_have_diverged(table: pd.DataFrame) -> None:
    axes = plots.loss_curves(table, stds=(0.3, 1e7)).axes[1]
    runs = table[(table["std"] == 1e7) & (table["learning_rate"] == 0.3)]
    steps = runs["diverged_step"].astype(int)
    assert (steps > 0).all()
    x, _ = lines(axes)["1e+07"]
    assert x == list(range(1, int(steps.median()) + 1))
    all_at_once = sweep(stds=(0.1, 1e30))
    figure = plots.loss_curves(all_at_once, stds=(0.1, 1e30))
    assert legend_of(figure.axes[0]) == ["0.1", "1e+30 (diverged)"]


@pytest.mark.parametrize("by", ["depth", "width"])
def test_accuracy_map(grid: pd.DataFrame, by: str) -> None:
    chosen = grid[grid["depth"] == 3] if by == "width" else grid[grid["widths"] != "13-32-32-3"]
    figure = plots.accuracy_map(chosen, by=by)
    *panels, bar = figure.axes
    assert bar.get_ylabel() == "median test accuracy"
    assert panels[0].get_ylabel() == {"depth": "weight layers", "width": "hidden width"}[by]
    rows = {"depth": [2, 3, 4], "width": [16, 32]}[by]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == list(map(str, rows))
    hidden = {"depth": [[16], [16, 16], [8, 8, 8]], "width": [[16, 16], [32, 32]]}[by]
    for axes, optimizer in zip(panels, ("sgd", "adam"), strict=True):
        mesh = axes.collections[0]
        expected = [
            [
                chosen[
                    (chosen["optimizer"] == optimizer)
                    & (chosen["widths"] == "-".join(map(str, [13, *widths, 3])))
                    & (chosen["std"] == std)
                ]["test_accuracy"].median()
                for std in STDS
            ]
            for widths in hidden
        ]
        assert mesh.get_array().tolist() == [pytest.approx(row) for row in expected]
        assert axes.get_yticks().tolist() == list(range(len(rows)))
        assert mesh.get_coordinates()[:, 0, 1].tolist() == [k - 0.5 for k in range(len(rows) + 1)]
        edges = mesh.get_coordinates()[0, :, 0]
        assert ((edges[:-1] < STDS) & (edges[1:] > np.array(STDS))).all()
        lines = [line for line in axes.get_lines() if line.get_color() == plots.ON_MAP[1]]
        black = [line for line in lines if line.get_xdata()[0] not in PAPER_BAND]
        critical = [critical_std([13, *widths, 3]) for widths in hidden]
        assert [line.get_xdata()[0] for line in black] == pytest.approx(critical)


def test_divergence(table: pd.DataFrame) -> None:
    figure = plots.divergence(table)
    above, below = figure.axes
    assert legend_of(figure) == ["SGD, rate 0.1", "SGD, rate 0.3", "Adam, rate 0.01"]
    assert above.get_ylabel() == "share diverged"
    assert "diverge" in below.get_ylabel()
    assert below.get_xlabel() == "initial std of the weights"
    assert lines(above)["SGD, rate 0.3"] == (list(STDS), [0, 0, 0, 1])
    assert lines(above)["Adam, rate 0.01"] == (list(STDS), [0, 0, 0, 0])
    points = [line.get_ydata() for line in below.get_lines()]
    assert [len(y) for y in points] == [3, 3, 0]
    fast = table[(table["learning_rate"] == 0.3) & (table["std"] == 1e7)]
    assert sorted(points[1]) == sorted(fast["diverged_step"] + 1)


def test_bands(table: pd.DataFrame) -> None:
    frame = stability_bands(table)
    nothing = {"low": math.nan, "high": math.nan, "best_std": 0.3}
    frame = pd.concat([frame, frame[:1].assign(**nothing)], ignore_index=True)
    figure = plots.bands(frame)
    (axes,) = figure.axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[:3] == [f"Wine 13-16-8-3, {name}" for name in ("SGD 0.1", "SGD 0.3", "Adam 0.01")]
    assert has_paper_band(axes)
    bars = [line for line in axes.get_lines() if line.get_linewidth() == 6]
    assert len(bars) == frame["low"].notna().sum() > 0
    for bar, (row, band) in zip(bars, frame[frame["low"].notna()].iterrows(), strict=True):
        assert list(bar.get_xdata()) == [band["low"], band["high"]]
        assert list(bar.get_ydata()) == [row, row]
    crosses = [line for line in axes.get_lines() if line.get_marker() == "x"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in crosses] == [(0.3, 3)]
    dots = [line.get_xdata()[0] for line in axes.get_lines() if line.get_marker() == "o"]
    assert dots == frame.loc[frame["low"].notna(), "best_std"].tolist()
    arrows = [line for line in axes.get_lines() if line.get_marker() in ("<", ">")]
    assert len(arrows) == frame["open_low"][:3].sum() + frame["open_high"][:3].sum()
    assert legend_of(figure)[:3] == ["SGD", "Adam", "the paper's band"]
    assert {"best std", "nothing trains"} < set(legend_of(figure))


def test_variance_through_training(table: pd.DataFrame) -> None:
    chosen = table[(table["learning_rate"] == 0.3) & (table["optimizer"] == "sgd")]
    figure = plots.variance_through_training(chosen, stds=(0.01, 0.3))
    panels = np.array(figure.axes).reshape(2, 2)
    assert legend_of(figure) == ["layer 1", "layer 2", "layer 3"]
    assert [axes.get_title() for axes in panels[0]] == ["std 0.01", "std 0.3"]
    assert [axes.get_ylabel() for axes in panels[:, 0]] == ["forward variance", "weight std"]
    for row, name in enumerate(("forward_variance", "weight_std")):
        for k, std in enumerate((0.01, 0.3)):
            runs = chosen[chosen["std"] == std]
            steps = runs["probe_step"].iloc[0].tolist()
            values = np.stack(runs[name].to_list()).reshape(3, len(steps), 3)
            for layer in range(3):
                assert lines(panels[row, k])[f"layer {layer + 1}"] == (
                    steps,
                    pytest.approx(np.median(values, axis=0)[:, layer]),
                )


def test_more_categories_than_colors_are_all_drawn() -> None:
    rates = tuple(Optimizer("sgd", 0.01 * (k + 1)) for k in range(8))
    many = sweep(hidden=((6,) * 8,), optimizers=rates, stds=np.logspace(-2, 0, 7), seeds=1)
    first = many[many["learning_rate"] == 0.01]
    for count, figure in (
        (8, plots.accuracy_against_std(many)),
        (8, plots.divergence(many)),
        (7, plots.loss_curves(first, stds=np.logspace(-2, 0, 7))),
        (9, plots.variance_through_training(first, stds=(0.3,))),
        (7, plots.variance_through_layers(many, stds=np.logspace(-2, 0, 7))),
    ):
        drawn = [line for line in figure.axes[0].get_lines() if line.get_label()[0] != "_"]
        assert len(drawn) == count
        assert len({to_hex(line.get_color()) for line in drawn}) == count


def edges() -> pd.DataFrame:
    """Edges of three depths after one, two and ten epochs, and lines of a law that is off."""
    depths, epochs = np.repeat([3, 4, 16], 3), np.tile([1, 2, 10], 3)
    widths = ["-".join(["784", *["128"] * (depth - 1), "10"]) for depth in depths]
    table = pd.DataFrame({"depth": depths, "epochs": epochs, "widths": widths})
    low, high = 0.02 * depths / epochs, 1.0 / depths
    table = table.assign(low=low, low_from=0.9 * low, low_to=1.2 * low)
    table = table.assign(high=high, high_from=0.8 * high, high_to=high)
    table = table.assign(open_low=[False] * 8 + [True], open_high=False)
    return table.assign(law_low=0.5 * low, law_high=2 * high, law_low_of_depth=0.7 * low)


def test_measured_edges_are_points_and_the_law_is_lines() -> None:
    table = edges()
    left, right = plots.edges_against_law(table).axes
    first = table[table["epochs"] == 1]
    curves = [line.get_ydata() for line in left.get_lines() if line.get_linestyle() == "-"]
    assert any(np.allclose(curve, first["law_low"]) for curve in curves)
    assert any(np.allclose(curve, first["law_high"]) for curve in curves)
    critical = [critical_std([int(w) for w in name.split("-")]) for name in first["widths"]]
    (dashed,) = [line for line in left.get_lines() if line.get_linestyle() == "--"]
    assert np.allclose(dashed.get_ydata(), critical)
    points = [line.get_ydata() for line in left.get_lines() if line.get_marker() == "o"]
    assert [list(p) for p in points] == [list(first["low"]), list(first["high"])]
    arrows = [line for line in right.get_lines() if line.get_marker() == "v"]
    assert [list(line.get_ydata()) for line in arrows] == [[table["low"].iloc[-1]]]
    (bars,) = left.containers[0].lines[2]
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    assert np.allclose(ends, first[["low_from", "low_to"]])
    for depth, group in table.groupby("depth"):
        of_depth = [line for line in right.get_lines() if len(line.get_xdata()) == 3]
        assert any(np.allclose(line.get_ydata(), group["law_low_of_depth"]) for line in of_depth), (
            depth
        )


def escapes() -> pd.DataFrame:
    """Networks of two depths, three ratios and seeds, whose updates follow laws of their own."""
    rows = itertools.product((4, 8), (0.7, 0.5, 0.35), range(3), (0.0, 1.0))
    table = pd.DataFrame(list(rows), columns=["depth", "ratio", "seed", "bias_factor"])
    power = (table["depth"] - 2) * (1 - 0.4 * table["bias_factor"])
    return table.assign(updates=(10 + table["seed"]) * table["ratio"] ** -power)


def test_times_to_leave_beside_the_slope_of_the_law() -> None:
    table = escapes()
    without, with_biases = plots.escape_times(table).axes
    assert (without.get_title(), with_biases.get_title()) == ("without biases", "with biases")
    for axes, factor in ((without, 0.0), (with_biases, 1.0)):
        dashed = [line for line in axes.get_lines() if line.get_linestyle() == "--"]
        solid = [line for line in axes.get_lines() if line.get_linestyle() == "-"]
        for depth, law, line in zip((4, 8), dashed, solid, strict=True):
            here = table[(table["depth"] == depth) & (table["bias_factor"] == factor)]
            medians = here.groupby("ratio")["updates"].median()
            assert np.allclose(line.get_ydata(), medians)
            slope = np.diff(np.log(law.get_ydata())) / np.diff(np.log(law.get_xdata()))
            assert np.allclose(slope, -(depth - 2))
            assert law.get_ydata()[1] == pytest.approx(medians[0.5])
            assert np.allclose(law.get_ydata(), medians) == (factor == 0)


# --- The same for every figure -------------------------------------------------------------

FIGURES: dict[str, Callable[[pd.DataFrame], Figure]] = {
    "accuracy_against_std": plots.accuracy_against_std,
    "variance_through_layers": lambda t: plots.variance_through_layers(t, (0.01, 0.1, 1)),
    "loss_curves": lambda t: plots.loss_curves(t, (0.01, 0.1, 1)),
    "accuracy_map": plots.accuracy_map,
    "accuracy_map_width": lambda t: plots.accuracy_map(t, by="width"),
    "divergence": plots.divergence,
    "bands": lambda t: plots.bands(stability_bands(t)),
    "variance_through_training": lambda t: plots.variance_through_training(t, (0.01, 0.1, 1)),
    "edges_against_law": lambda _: plots.edges_against_law(edges()),
    "escape_times": lambda _: plots.escape_times(escapes()),
}


def is_public_figure(name: str) -> bool:
    function = getattr(plots, name)
    return callable(function) and getattr(function, "__annotations__", {}).get("return") == "Figure"


def test_every_figure_is_tested() -> None:
    public = {n for n in dir(plots) if not n.startswith("_") and is_public_figure(n)}
    assert {name.removesuffix("_width") for name in FIGURES} <= public
    # The figures of the theory chapters have tests of their own.
    sources = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert {name for name in public if f"plots.{name}" not in sources} == set()


@pytest.mark.parametrize("name", FIGURES)
def test_drawn_twice_it_is_the_same(table: pd.DataFrame, name: str) -> None:
    assert_drawn_the_same(lambda: FIGURES[name](table))


@pytest.mark.parametrize("name", FIGURES)
def test_it_reads_on_any_page(table: pd.DataFrame, name: str) -> None:
    figure = assert_readable(lambda: FIGURES[name](table))
    assert all(axes.get_facecolor()[3] == 0 for axes in figure.axes)


UNLIKELY = {
    "all diverged": {"stds": (1e28, 1e29, 1e30)},
    "a single std": {"stds": (0.1,)},
    "a single std that diverges": {"stds": (1e30,)},
    "one seed": {"seeds": 1},
    "one update": {"epochs": 1, "batch_size": 133, "probes": 2},
    "one layer": {"hidden": ((),)},
    "a std of zero": {"stds": (0.0, 0.1)},
    "nothing trains": {"stds": (1e-6, 1e-5)},
}


@functools.cache
def unlikely_table(case: str) -> pd.DataFrame:
    return sweep(**({"seeds": 2, "epochs": 2} | UNLIKELY[case]))


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("case", UNLIKELY)
def test_unlikely_tables_are_drawn(case: str, name: str) -> None:
    unlikely = unlikely_table(case)
    figure = FIGURES[name](unlikely)
    figure.set_layout_engine("none")  # where the panels go is not the question, and takes as long
    figure.draw_without_rendering()
    assert figure.axes[0].get_xlabel() or figure.axes[-1].get_xlabel()


def test_a_table_of_schemes_alone_says_what_is_missing() -> None:
    schemes = sweep(stds=(), schemes=("kaiming",))
    for name in FIGURES.keys() - {"edges_against_law", "escape_times"}:  # of other tables
        message = "scheme 'normal'" if name == "bands" else "no runs with a std above 0"
        with pytest.raises(UsageError, match=message):
            FIGURES[name](schemes)


# --- Small things --------------------------------------------------------------------------


def test_the_critical_std_leaves_the_variance_unchanged() -> None:
    widths = [784, 256, 128, 10]
    std = critical_std(widths)
    assert math.prod(n * std**2 / 2 for n in widths[:-1]) == pytest.approx(1)
    assert critical_std([128, 128, 10]) == pytest.approx(math.sqrt(2 / 128))


def test_a_page_finds_the_panels_for_guesses_where_they_are_drawn() -> None:
    sys.path.insert(0, str(Path(__file__).parents[2] / "book" / "_ext"))
    from guesses import panels_of

    figure = Figure(figsize=(4, 2))
    figure.set_layout_engine("none")
    places = [(0.1, 0.2, 0.3, 0.6), (0.6, 0.2, 0.3, 0.5)]
    first, second = (figure.add_axes(place) for place in places)
    first.set(xscale="log", xlim=(1e-4, 10))
    second.set_ylim(-0.5, 2.5)
    plots.with_guess(figure, 1, 3, panels=[0])
    plots.with_guess(figure, 2, along="y", panels=[1], unit=0.5)
    with pytest.raises(UsageError, match="the panel 0 is marked already"):
        plots.with_guess(figure, 1)
    with pytest.raises(UsageError, match="2 panels, and none 2"):
        plots.with_guess(figure, 1, panels=[2])
    picture = io.StringIO()
    with mpl.rc_context({"savefig.bbox": None}):
        figure.savefig(picture, format="svg")
    found = panels_of(small_svg(picture.getvalue()))
    assert [panel["guesses"] for panel in found] == [[1, 3], [2]]
    assert [panel["along"] for panel in found] == ["x", "y"]
    assert [panel["log"] for panel in found] == [True, False]
    assert [panel["ends"] for panel in found] == [[1e-4, 10], [-1.0, 5.0]]
    for panel, (left, bottom, width, height) in zip(found, places, strict=True):
        expected = [left, 1 - bottom - height, width, height]
        assert panel["box"] == pytest.approx(expected, abs=2e-3)
