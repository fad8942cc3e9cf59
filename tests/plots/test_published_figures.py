"""Figures of chapter 09: what is drawn is what the tables hold."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from figures import assert_drawn_the_same, assert_readable
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from initscope import plots
from initscope.errors import UsageError


def by_component() -> pd.DataFrame:
    """Intervals of three models, the widest first, with all that either figure needs."""
    rows = [
        *(("olmo-1-7b", component, 0.1) for component in ("down", "v", "k", "q", "o")),
        *(("pythia-70m", component, 0.6) for component in ("o", "qkv", "ffn_in", "ffn_out")),
        ("pythia-6.9b", "qkv", 0.9),
    ]
    table = pd.DataFrame(rows, columns=["model", "component", "low"])
    table["low"] += 0.01 * np.arange(len(table))  # no two alike
    table["high"] = 1.1 * table["low"]
    return table.assign(ratio_low=table["low"], ratio_high=table["high"], configured=0.1)


def through_training() -> pd.DataFrame:
    """Two runs, one of them with a row of the start."""
    steps = np.array([0, 1, 10, 100, 1000])
    one = pd.DataFrame({"run": "one", "step": steps, "measured": 0.02 + 1e-5 * steps})
    two = one[1:].assign(run="two", measured=0.03)
    table = pd.concat([one, two])
    table["predicted"] = 1.2 * table["measured"]
    return table.assign(ratio=table["measured"] / table["predicted"])


def alignment() -> pd.DataFrame:
    """Two runs in which the alignment is that of noise at first."""
    steps = np.array([10, 100, 1000])
    one = pd.DataFrame({"run": "one", "step": steps, "over_length": [20.0, 21.0, 40.0]})
    table = pd.concat([one, one.assign(run="two", over_length=25.0)])
    return table.assign(noise=20.0, share=[0.9, 0.8, 0.5] * 2, noise_share=[0.9, 0.8, 0.3] * 2)


def bars(axes: Axes) -> list[Line2D]:
    """The vertical lines of an axes, from left to right."""
    found = [line for line in axes.get_lines() if line.get_linewidth() == 7]
    return sorted(found, key=lambda line: line.get_xdata()[0])


@pytest.mark.parametrize("of", ["ratios", "decays"])
def test_intervals_stand_by_width_and_in_the_order_of_the_legend(of: str) -> None:
    table = by_component()
    if of == "ratios":
        figure = plots.ratios_by_component(table)
    else:
        figure = plots.decays_by_component(table, printed=0.01)
    (axes,) = figure.axes
    labels = [label.get_text().splitlines() for label in axes.get_xticklabels()]
    assert labels == [
        ["Pythia", "70M", "(512)"],
        ["Pythia", "6.9B", "(4,096)"],
        ["OLMo 1", "7B", "(4,096)"],
    ]
    # Narrow models first; Q, K, V, attention output, MLP in, MLP out.
    order = [("pythia-70m", c) for c in ("qkv", "o", "ffn_in", "ffn_out")]
    order += [("pythia-6.9b", "qkv"), *(("olmo-1-7b", c) for c in ("q", "k", "v", "o", "down"))]
    expected = table.set_index(["model", "component"]).loc[order]
    drawn = bars(axes)
    np.testing.assert_allclose([line.get_ydata() for line in drawn], expected[["low", "high"]])
    handles = {
        handle.get_label(): handle.get_color() for handle in figure.legends[0].legend_handles
    }
    of_component = {"qkv": "Q, K, V", "o": "attention output", "down": "MLP out", "k": "Q, K, V"}
    for (_, component), line in zip(order, drawn, strict=True):
        if component in of_component:
            assert line.get_color() == handles[of_component[component]]
    level = [line for line in axes.get_lines() if list(line.get_xdata()) == [0, 1]]
    heights = {line.get_linestyle(): float(line.get_ydata()[0]) for line in level}
    assert heights == ({"-": 1.0} if of == "ratios" else {"-": 0.1, "--": 0.01})


def test_no_printed_decay_is_no_line() -> None:
    axes = plots.decays_by_component(by_component()).axes[0]
    assert not [line for line in axes.get_lines() if line.get_linestyle() == "--"]


def test_measured_is_points_predicted_a_line_and_the_ratio_below() -> None:
    table = through_training()
    above, below = plots.std_through_training(table).axes
    for run, rows in table[table["step"] > 0].groupby("run"):
        (ratio,) = [line for line in below.get_lines() if line.get_label() == run]
        np.testing.assert_allclose(ratio.get_xydata(), rows[["step", "ratio"]])
        of_run = [line for line in above.get_lines() if line.get_color() == ratio.get_color()]
        predicted, measured = of_run
        assert (predicted.get_linestyle(), measured.get_linestyle()) == ("-", "None")
        np.testing.assert_allclose(predicted.get_ydata(), rows["predicted"])
        np.testing.assert_allclose(measured.get_ydata(), rows["measured"])


def test_points_of_a_dense_log_stay_apart() -> None:
    steps = np.arange(1, 1001)
    dense = pd.DataFrame({"run": "one", "step": steps, "measured": 0.02, "predicted": 0.02})
    below = plots.std_through_training(dense.assign(ratio=1.0)).axes[1]
    (line,) = [line for line in below.get_lines() if line.get_label() == "one"]
    drawn = line.get_xdata()
    assert (drawn[0], drawn[-1]) == (1, 1000)
    assert (drawn[1:-1] / drawn[:-2] >= 1.04).all()
    assert 60 < len(drawn) < 150


def test_alignment_stands_beside_noise_and_what_a_paper_states_is_shaded() -> None:
    table = alignment()
    left, right = plots.alignment_through_training(table, (0.88, 0.94)).axes
    level = [line for line in left.get_lines() if list(line.get_xdata()) == [0, 1]]
    assert [list(line.get_ydata()) for line in level] == [[20, 20]]
    for run, rows in table.groupby("run"):
        (points,) = [line for line in left.get_lines() if line.get_label() == run]
        np.testing.assert_allclose(points.get_xydata(), rows[["step", "over_length"]])
        measured, noise = (x for x in right.get_lines() if x.get_color() == points.get_color())
        assert (measured.get_linestyle(), noise.get_linestyle()) == ("None", "-")
        np.testing.assert_allclose(measured.get_ydata(), rows["share"])
        np.testing.assert_allclose(noise.get_ydata(), rows["noise_share"])
    (band,) = right.patches
    assert band.get_extents().transformed(right.transData.inverted()).intervaly == pytest.approx(
        (0.88, 0.94)
    )
    assert not plots.alignment_through_training(table).axes[1].patches


FIGURES: dict[str, Callable[[], Figure]] = {
    "ratios": lambda: plots.ratios_by_component(by_component()),
    "decays": lambda: plots.decays_by_component(by_component(), printed=0.01),
    "through training": lambda: plots.std_through_training(through_training()),
    "alignment": lambda: plots.alignment_through_training(alignment(), (0.88, 0.94)),
}


@pytest.mark.parametrize("name", FIGURES)
def test_it_reads_on_any_page_and_is_the_same_twice(name: str) -> None:
    assert_readable(FIGURES[name])
    assert_drawn_the_same(FIGURES[name])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.ratios_by_component(by_component().drop(columns="ratio_low")), "ratio_low"),
        (lambda: plots.ratios_by_component(by_component().assign(model="gpt-5")), "unknown model"),
        (lambda: plots.decays_by_component(by_component(), printed=-1.0), "printed must be"),
        (lambda: plots.decays_by_component(by_component().assign(component="x")), "component"),
        (lambda: plots.std_through_training(pd.DataFrame({"run": ["a"]})), "no column"),
        (lambda: plots.alignment_through_training(alignment(), (0.9,)), "two numbers"),
    ],
)
def test_bad_input_is_refused(call, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()
