"""What the columns of a sweep say: widths, grids of stds, lists of the right length."""

from __future__ import annotations

import pandas as pd
import pytest
from sweeps import run

from initscope.analysis import nearest, short_widths, to_tidy, widths_of
from initscope.analysis.sweeps import COMPARED, CONFIGURATION, STEPS_OF, check_sweep
from initscope.errors import UsageError
from initscope.schema import LAYER_STATISTICS
from initscope.sweep import SweepSpec


def test_nearest_is_on_a_log_axis_and_names_each_once() -> None:
    values = pd.Series([1.0, 0.01, 0.1, 0.1])
    assert nearest(values, [0.04, 0.02, 5.0]) == [0.1, 0.01, 1.0]
    assert nearest(values, [0.1, 0.11]) == [0.1]


@pytest.mark.parametrize(
    ("widths", "short"),
    [
        ("784-256-128-10", "784-256-128-10"),
        ("784-128-128-128-10", "784-128×3-10"),
        ("13-8-8-4-8-3", "13-8×2-4-8-3"),
        ("13-3", "13-3"),
    ],
)
def test_short_widths(widths: str, short: str) -> None:
    assert short_widths(widths) == short


def test_widths_are_read_from_their_name() -> None:
    assert widths_of("784-256-128-10") == [784, 256, 128, 10]
    for bad in ("784-x-10", "784--10", "-"):
        with pytest.raises(UsageError, match="the name of widths is like '784-256-128-10', not"):
            widths_of(bad)
    with pytest.raises(UsageError, match="widths are like '784-256-128-10', not '784'"):
        short_widths("784")


@pytest.mark.parametrize(
    ("values", "wanted", "message"),
    [
        (pd.Series([0.0, 1.0]), [0.1], "values must be stds above 0, at least one"),
        (pd.Series([], dtype=float), [0.1], "values must be stds above 0, at least one"),
        ([0.1], [0.1], "values must be a Series of numbers"),
        (pd.Series(["a"]), [0.1], "values must be a Series of numbers"),
        (pd.Series([0.1]), [], "the stds wanted must be a list of numbers"),
        (pd.Series([0.1]), 0.1, "the stds wanted must be a list of numbers"),
        (pd.Series([0.1]), [0.0], "the stds wanted must be above 0"),
    ],
)
def test_a_grid_or_a_wish_that_is_no_std(values: object, wanted: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        nearest(values, wanted)


def test_schemes_that_are_compared_agree_in_all_but_rate_and_length() -> None:
    assert set(CONFIGURATION) - set(COMPARED) == {
        *("learning_rate", "batch_size", "n_train", "epochs"),
    }


# --- Tables that are no sweep --------------------------------------------------------------


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return run(SweepSpec(hidden=((8,), (8, 8)), stds=(0.1, 1e7), seeds=2, epochs=2, probes=2))


def test_a_sweep_is_one(table: pd.DataFrame) -> None:
    lists = [*LAYER_STATISTICS, "loss"]
    assert check_sweep(table, [*CONFIGURATION, "diverged_step"], lists) is table
    assert set(STEPS_OF) == set(lists)
    assert table["diverged_step"].notna().any()
    undiverged = table.assign(diverged_step=[None] * len(table))
    assert check_sweep(undiverged, ["diverged_step"]) is undiverged
    whole = table.assign(batch_size=table["n_train"])
    assert check_sweep(whole, ["batch_size", "n_train"]) is whole


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": "64"}, "widths of the table must hold text like '784-256-10'"),
        ({"widths": "64-08-10"}, "widths of the table must hold text like '784-256-10'"),
        ({"widths": 64}, "the column widths of the table table must hold text"),
        ({"optimizer": 1}, "the column optimizer of the table table must hold text"),
        ({"epochs": "2"}, "the column epochs of the table table must hold numbers"),
        ({"batch_size": 0}, "a batch_size of 1 to n_train in every row"),
        ({"batch_size": 10**6}, "a batch_size of 1 to n_train in every row"),
        ({"diverged_step": "late"}, "the column diverged_step of the table must hold numbers"),
        ({"loss": 1.0}, "the column loss of the table table must hold a list of numbers"),
    ],
)
def test_a_column_that_is_not_as_a_sweep_fills_it(
    table: pd.DataFrame, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        check_sweep(table.assign(**changes), [*CONFIGURATION, "diverged_step"], ["loss"])


@pytest.mark.parametrize("name", [*LAYER_STATISTICS, "loss"])
def test_lists_are_as_long_as_their_steps(table: pd.DataFrame, name: str) -> None:
    shorter = table.assign(**{name: table[name].map(lambda values: values[:-1])})
    message = f"the column {name} of the table must have a number for each step of"
    with pytest.raises(UsageError, match=message) as error:
        check_sweep(shorter, ["std"], [name])
    assert ("each layer" in str(error.value)) == (name != "loss")
    if name != "loss":
        with pytest.raises(UsageError, match="has no column depth"):
            check_sweep(table.drop(columns="depth"), ["std"], [name])


def test_rows_of_one_index_are_refused(table: pd.DataFrame) -> None:
    twice = pd.concat([table, table])
    assert check_sweep(twice, ["std"]) is twice
    with pytest.raises(UsageError, match="put tables together with ignore_index=True"):
        check_sweep(twice, ["std"], ["loss"])


def test_a_sweep_without_divergences_must_say_so(table: pd.DataFrame) -> None:
    with pytest.raises(UsageError, match="has no column diverged_step"):
        check_sweep(table.drop(columns="diverged_step"), ["diverged_step"])


# --- The tidy schema -----------------------------------------------------------------------

NAMES = {
    ("activation", "forward_variance"): "forward_variance",
    ("gradient", "backward_variance"): "backward_variance",
    ("gradient", "norm"): "gradient_norm",
    ("activation", "dead_fraction"): "dead_fraction",
    ("weight", "std"): "weight_std",
}


def test_every_number_of_a_layer_has_its_row(table: pd.DataFrame) -> None:
    tidy = to_tidy(table)
    assert set(tidy["role"]) == {"linear"}
    which = ["kind", "stat", "widths", "std", "seed", "step", "layer"]
    found = tidy.set_index(which)["value"]
    assert found.index.is_unique
    n_numbers = 0
    for row in table.to_dict("records"):
        for (kind, stat), column in NAMES.items():
            values = iter(row[column])
            for step in row["probe_step"]:
                for layer in range(1, row["depth"] + 1):
                    at = (kind, stat, row["widths"], row["std"], row["seed"], step, layer)
                    assert found[at] == pytest.approx(next(values), nan_ok=True)
                    n_numbers += 1
    assert len(tidy) == n_numbers
    assert {"dataset", "depth", "activation", "scheme", "optimizer", "momentum"} <= set(tidy)
