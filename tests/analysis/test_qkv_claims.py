"""The rules that decide what runs say of Q, K and V: each with support, contradiction, neither."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from initscope.analysis import (
    bad_ends_foretold,
    bands_at_rest,
    difference_interval,
    difference_within,
    driven_exponent,
    expected_order,
    improves,
    late_changes,
    lies_above,
    lies_below,
    narrow_bands,
    narrow_but_for_first,
    noise_curve_loses,
    shallow_first,
    without_first_layer,
)
from initscope.errors import UsageError

NAN, INF = math.nan, math.inf


def run_of(layers, role="q", steps=(0, 10, 20)):
    """A run of one role: a row of stds a layer, all from 0.1 at the first step."""
    index = pd.MultiIndex.from_product([[role], range(1, len(layers) + 1)], names=["role", "layer"])
    rows = [[0.1, *np.atleast_1d(row)] for row in layers]
    return pd.DataFrame(rows, index, pd.Index(steps[: len(rows[0])], name="step"))


FALLING, RISING, LEVEL = [0.5, 0.4, 0.3, 0.2], [0.2, 0.3, 0.4, 0.5], [0.2, 0.5, 0.3, 0.4]


@pytest.mark.parametrize(
    ("seeds", "outcome"),
    [
        ([FALLING, FALLING], True),
        ([FALLING, [0.5, 0.4, 0.2, 0.3]], None),  # the intervals reach 0
        ([RISING, RISING], False),
        ([FALLING, RISING], None),
        ([FALLING], None),  # a single seed
        ([[0.9, 0.2, 0.3, 0.4]] * 2, False),  # the first layer hides the order of the rest
        (
            [[0.15, 0.9, 0.8, 0.7], [0.75, 0.9, 0.8, 0.7]],
            None,
        ),  # only without it the shallow come first
    ],
)
def test_shallow_first_with_the_first_layer_and_without(seeds, outcome):
    found = shallow_first([run_of(layers) for layers in seeds], 10)
    assert found.loc["q", "outcome"] is outcome


def test_shallow_first_shows_both_intervals():
    runs = [run_of(layers) for layers in (FALLING, LEVEL, RISING)]
    found = shallow_first(runs, 10).loc["q"]
    for layers, suffix in ((slice(0, None), ""), (slice(1, None), "_of_rest")):
        of_seeds = [
            stats.spearmanr(range(len(row[layers])), row[layers]).statistic
            for row in (FALLING, LEVEL, RISING)
        ]
        low, high = stats.t.interval(0.95, 2, np.mean(of_seeds), stats.sem(of_seeds))
        numbers = found[[f"order{suffix}", f"low{suffix}", f"high{suffix}"]]
        assert numbers.to_list() == pytest.approx([np.mean(of_seeds), low, high])


@pytest.mark.parametrize(
    ("seeds", "outcome"),
    [
        ([[0.2, 0.3], [0.3, 0.2]], True),
        ([[0.2, 0.31], [0.2, 0.4]], False),
        ([[0.2, 0.3], [0.2, 0.31]], None),
        ([[0.2, 0.3], [0.2, NAN]], None),
    ],
)
def test_narrow_means_in_every_seed(seeds, outcome):
    found = narrow_bands([run_of(layers) for layers in seeds], 1.5)
    assert found.loc["q", "outcome"] is outcome
    if outcome is None and not np.isnan(seeds).any():
        assert found.loc["q", ["low", "high"]].to_list() == pytest.approx([1.5, 1.55])


def test_a_band_as_wide_as_the_bound_is_narrow():
    assert narrow_bands([run_of([0.25, 0.5])], 2).loc["q", "outcome"] is True
    assert narrow_bands([run_of([0.25, 0.5])], 1.99).loc["q", "outcome"] is False


def test_bands_are_those_of_the_end():
    assert narrow_bands([run_of([[0.9, 0.2], [0.1, 0.2]])], 1.5).loc["q", "outcome"] is True


@pytest.mark.parametrize(
    ("seeds", "outcome"),
    [
        ([[[0.2, 0.21], [0.3, 0.3]]] * 2, True),
        ([[[0.2, 0.2], [0.3, 0.4]]] * 2, False),  # one layer that moves is enough
        ([[[0.2, 0.2], [0.3, 0.3]], [[0.2, 0.2], [0.3, 0.2]]], None),
        ([[[0.2, 0.2], [0.3, NAN]]], None),
    ],
)
def test_at_rest_means_all_layers_in_every_seed(seeds, outcome):
    found = bands_at_rest([run_of(layers) for layers in seeds], 10, 0.06)
    assert found.loc["q", "outcome"] is outcome


def test_a_late_change_is_the_range_from_then_on_and_not_before():
    moved = run_of([[0.9, 0.2, 0.25, 0.2], [0.2, 0.2, 0.2, 0.2]], steps=(0, 10, 20, 30, 40))
    assert late_changes(moved, 20)["q"] == pytest.approx(0.25)
    assert late_changes(moved, 10)["q"] == pytest.approx(3.5)
    for since in (15, 40, 50):
        with pytest.raises(UsageError, match="was not recorded before the last step"):
            late_changes(moved, since)


@pytest.mark.parametrize(
    ("interval", "below"),
    [
        ((0.0, -0.1, 0.1), True),
        ((0.3, 0.21, 0.4), False),
        ((0.1, -0.1, 0.3), None),
        ((0.1, -INF, INF), None),
        ((NAN, NAN, NAN), None),
    ],
)
def test_an_interval_lies_on_one_side_of_a_bound_or_on_none(interval, below):
    assert lies_below(interval, 0.2) is below
    assert lies_above(interval, 0.2) is (None if below is None else not below)


@pytest.mark.parametrize(
    ("interval", "outcome"),
    [
        ((0.01, 0.001, 0.015), True),  # above 0, however little
        ((0.0, -0.01, 0.01), False),
        ((-0.1, -0.2, -0.05), False),
        ((0.0, -0.03, 0.03), None),
        ((0.1, -INF, INF), None),
    ],
)
def test_what_is_left_out_costs_something_or_nothing(interval, outcome):
    assert improves(interval, 0.02) is outcome


def test_an_interval_must_be_one():
    for wrong in ((0.1, 0.2, 0.3), (0.1, 0.2), None, "abc", (0.0, None, 1.0)):
        with pytest.raises(UsageError, match="interval"):
            lies_below(wrong, 0.2)


@pytest.mark.parametrize(
    ("exponents", "outcome"),
    [
        ([1.3, 1.4, 1.35], True),
        ([1.1, 1.7, 1.3], False),  # the mean is inside, the interval reaches 2
        ([1.7, 1.71, 1.7], False),  # the mean is above
        ([0.7, 0.71, 0.7], False),
        ([1.3], None),
        ([1.3, NAN, 1.3], None),
    ],
)
def test_exponents_of_what_is_driven_stay_below_that_of_noise(exponents, outcome):
    assert driven_exponent(exponents, 0.8, 1.6) is outcome


def test_the_interval_of_an_exponent_is_students():
    values = [1.2, 1.6, 1.3]
    high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))[1]
    assert high == pytest.approx(1.884, abs=0.001)
    # Were it the one of a normal distribution, it would not reach what it reaches.
    assert driven_exponent([v + 2 - high - 0.001 for v in values], 0.8, 1.6) is True
    assert driven_exponent([v + 2 - high + 0.001 for v in values], 0.8, 1.6) is False


def distances(**rows):
    return pd.DataFrame.from_dict(rows, orient="index", columns=["noise", "no change"])


def test_a_curve_loses_in_the_mean_over_seeds():
    seeds = [
        distances(q=[0.3, 0.1], k=[0.3, 0.1], mlp_in=[0.1, 0.4], v=[0.2, 0.2], a=[NAN, 0.1]),
        distances(q=[0.3, 0.2], k=[0.1, 0.4], mlp_in=[0.1, 0.4], v=[0.1, 0.1], a=[0.1, 0.1]),
    ]
    found = noise_curve_loses(seeds)
    assert found.to_list() == [True, False, False, None, None]
    with pytest.raises(UsageError, match="same rows"):
        noise_curve_loses([seeds[0], seeds[1].iloc[::-1]])


def test_narrow_without_the_first_layer_and_wide_with_it():
    both = [run_of([0.5, 0.3, 0.2]), run_of([0.1, 0.3, 0.3])]
    named = ["q", "q with the first layer"]
    assert narrow_but_for_first(both, 1.5, "q").to_dict() == dict.fromkeys(named, True)
    one_wide = narrow_but_for_first([*both, run_of([0.5, 0.31, 0.2])], 1.5, "q")
    assert one_wide.to_list() == [False, True]
    one_narrow = narrow_but_for_first([*both, run_of([0.3, 0.3, 0.2])], 1.5, "q")
    assert one_narrow.to_list() == [True, False]
    unknown = narrow_but_for_first([*both, run_of([0.5, NAN, 0.2])], 1.5, "q")
    assert unknown.to_list() == [None, None]


def test_an_expected_order_leaves_out_the_first_layer():
    runs = [run_of([0.9, 0.2, 0.3, 0.4]), run_of([0.9, 0.3, 0.2, 0.4])]
    found = expected_order(runs, 10, above={"q": 0.7})  # the mean is 0.75
    assert found.loc["q"].to_list() == [pytest.approx(0.75), 0.7, True]
    assert expected_order(runs, 10, above={"q": 0.8}).loc["q", "outcome"] is False
    assert expected_order(runs, 10, below={"q": 0.8}).loc["q", "outcome"] is True
    assert expected_order(runs, 10, below={"q": -0.3}).loc["q", "outcome"] is False
    level = run_of([0.9, 0.2, 0.2, 0.2])
    assert expected_order([*runs, level], 10, above={"q": 0.5}).loc["q", "outcome"] is None
    with pytest.raises(UsageError, match="both"):
        expected_order(runs, 10, above={"q": 0.5}, below={"q": 0.6})


@pytest.mark.parametrize(
    ("interval", "outcome"),
    [
        ((0.1, 0.02, 0.18), True),
        ((0.1, -0.01, 0.21), False),
        ((0.2, 0.1, 0.3), False),
        ((-0.1, -0.2, -0.05), False),
        ((0.1, -INF, INF), None),
        ((NAN, NAN, NAN), None),
    ],
)
def test_a_difference_is_the_expected_one(interval, outcome):
    assert difference_within(interval, 0.05, 0.15) is outcome


def test_a_run_that_ends_badly_was_to_be_seen_before_or_not():
    calm = run_of([[0.2, 0.2, 0.2], [0.3, 0.3, 0.3]], steps=(0, 10, 20, 30))
    fine = pd.Series([5.0, 3.0, 2.0, 2.1], [0, 10, 20, 30])
    worse = pd.Series([5.0, 3.0, 3.1, 3.2], [0, 10, 20, 30])
    early, late = calm.copy(), calm.copy()
    early.loc[("q", 1), 10] = 0.21
    late.loc[("q", 1), 20] = 0.19  # when the loss has risen already
    stds = {"a": calm, "b": calm.iloc[:, [0, 1, 3]], "early": early, "late": late}
    losses = {"a": fine, "b": fine, "early": worse, "late": worse}
    assert bad_ends_foretold(stds, losses, 10).to_dict() == {"early": True, "late": False}
    diverged = pd.Series([5.0, 3.0, 2.0, NAN], [0, 10, 20, 30])
    ended = {**losses, "early": fine, "late": diverged}
    assert bad_ends_foretold(stds, ended, 10).to_dict() == {"late": True}  # now 20 lies before
    passing = pd.Series([5.0, 3.0, 3.5, 2.0], [0, 10, 20, 30])  # worse for a while
    assert bad_ends_foretold(stds, dict.fromkeys(stds, passing), 10).empty
    assert bad_ends_foretold(stds, dict.fromkeys(stds, fine), 10).empty
    with pytest.raises(UsageError, match="same runs"):
        bad_ends_foretold(stds, {"a": fine}, 10)


def test_without_the_first_layer_something_must_be_left():
    assert list(without_first_layer(run_of(FALLING)).index) == [("q", n) for n in (2, 3, 4)]
    with pytest.raises(UsageError, match="one layer alone"):
        without_first_layer(run_of([0.2]))


def test_a_difference_has_welchs_interval():
    first, second = [1.0, 2.0, 3.5], [0.1, 0.2, 0.15, 0.3]
    variances = np.var(first, ddof=1) / 3, np.var(second, ddof=1) / 4
    freedom = sum(variances) ** 2 / (variances[0] ** 2 / 2 + variances[1] ** 2 / 3)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(sum(variances))
    middle = np.mean(first) - np.mean(second)
    found = difference_interval(first, second)
    assert found == pytest.approx((middle, middle - half, middle + half))
    assert difference_interval([1.0], second) == (pytest.approx(0.8125), -INF, INF)
    assert difference_interval([2.0, 2.0], [1.0, 1.0]) == (1.0, 1.0, 1.0)
    assert np.isnan(difference_interval([1.0, INF], second)[1:]).all()


@pytest.mark.parametrize(
    ("slopes", "expected"),
    [([0.2, 0.25, 0.3], True), ([0.4, 0.45, 0.42], False), ([0.0, 0.3, 0.6], False), ([0.2], None)],
)
def test_slopes_of_a_std_are_held_against_their_own_noise(
    slopes: list[float], expected: bool | None
) -> None:
    assert driven_exponent(slopes, 0.1, 0.35, noise=0.5) is expected
