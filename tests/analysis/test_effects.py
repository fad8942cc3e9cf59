"""Effects with intervals that hold together: against scipy, by simulation, and in every order."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from initscope.analysis import COMPARED, at_own_rates, holm, own_rates, paired_effects, standing
from initscope.errors import UsageError

SPEED = "steps_to_loss_0.5"
UNREACHED = np.inf


def runs(
    xavier: list[float], kaiming: list[float], measure: str = SPEED, **columns: object
) -> pd.DataFrame:
    """Pairs of runs of one case; `columns` may change what it is."""
    sides = {"xavier": xavier, "kaiming": kaiming}
    table = pd.concat(
        pd.DataFrame({"scheme": scheme, "seed": range(len(values)), measure: values})
        for scheme, values in sides.items()
    )
    case = {"dataset": "wine", "widths": "13-8-3", "depth": 2, "activation": "relu"}
    case |= {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.1, "n_steps": 400}
    return table.assign(**case | {"test_accuracy": 0.5} | columns).reset_index(drop=True)


def effects(table: pd.DataFrame, over: float = 1.05, **options: object) -> pd.DataFrame:
    options = {"measure": SPEED, "kind": "ratio"} | options
    return paired_effects(table, "xavier", "kaiming", over=over, **options)


# --- Each at its own rate ------------------------------------------------------------------


def at_rates(
    values: dict[float, list[float]], accuracy: dict[float, float] | None = None
) -> pd.DataFrame:
    return pd.concat(
        [
            runs(of_rate, of_rate, learning_rate=rate, test_accuracy=(accuracy or {}).get(rate, 0))
            for rate, of_rate in values.items()
        ],
        ignore_index=True,
    )


@pytest.mark.parametrize(
    ("better", "expected", "at_end"), [("lowest", 0.3, False), ("highest", 0.1, True)]
)
def test_the_best_rate_of_each_scheme(better: str, expected: float, at_end: bool) -> None:
    table = at_rates({1.0: [30, 40], 0.3: [10, 12], 0.1: [50, 60]})
    table.loc[table["scheme"] == "kaiming", SPEED] *= -1
    best = own_rates(table, SPEED, better).set_index("scheme")
    assert best.loc["xavier", "learning_rate"] == expected
    assert best.loc["kaiming", "learning_rate"] == {0.3: 0.1, 0.1: 0.3}[expected]
    assert best["at_end"].to_dict() == {"xavier": at_end, "kaiming": not at_end}


def test_unreached_steps_are_those_of_the_training() -> None:
    """400 and 10 are better than 300 and 300 on average, 1000 steps and 10 are not."""
    table = at_rates({0.1: [UNREACHED, 10], 0.3: [300, 300]})
    assert set(own_rates(table, SPEED, "lowest")["learning_rate"]) == {0.1}
    assert set(own_rates(table.assign(n_steps=1000), SPEED, "lowest")["learning_rate"]) == {0.3}


def test_where_no_rate_reaches_it_the_accuracy_decides() -> None:
    never = {rate: [UNREACHED, UNREACHED] for rate in (0.1, 0.3, 1.0)}
    best = own_rates(at_rates(never, {0.1: 0.1, 0.3: 0.4, 1.0: 0.2}), SPEED, "lowest")
    assert set(best["learning_rate"]) == {0.3}
    best = own_rates(at_rates(never, {0.1: 0.1, 0.3: 0.4, 1.0: 0.4}), SPEED, "lowest")
    assert set(best["learning_rate"]) == {0.3}


def test_runs_at_their_own_rates_may_be_of_other_seeds() -> None:
    chosen = own_rates(at_rates({0.1: [20, 20], 0.3: [10, 10], 1.0: [30, 30]}), SPEED, "lowest")
    others = at_rates({0.1: [1, 2], 0.3: [3, 4]}).assign(seed=lambda table: table["seed"] + 10)
    kept = at_own_rates(others, chosen)
    assert sorted(kept[SPEED]) == [3, 3, 4, 4]
    assert at_own_rates(others.assign(dataset="digits"), chosen).empty


# --- Holm ----------------------------------------------------------------------------------


def test_holm_of_a_published_example() -> None:
    """Wright 1992, Biometrics 48, as R's p.adjust(method = "holm") has it."""
    p = [0.01, 0.02, 0.03, 0.04, 0.05]
    assert holm(p).tolist() == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])


@given(st.lists(st.floats(0, 1), max_size=12), st.floats(0.001, 0.5))
def test_holm_rejects_what_its_steps_reject(p: list[float], alpha: float) -> None:
    rejected = []
    for step, value in enumerate(sorted(p)):
        if not value * (len(p) - step) <= alpha:
            break
        rejected.append(value)
    found = holm(p)
    assert sorted(v for v, c in zip(p, found, strict=True) if c <= alpha) == rejected
    assert np.all((found >= p) & (found <= 1))


def test_holm_keeps_what_it_promises() -> None:
    """Of forty cases in which nothing is the matter one is called significant in 5% of trials."""
    p = np.random.default_rng(0).uniform(size=(4000, 40))
    wrong = np.mean([holm(trial).min() < 0.05 for trial in p])
    assert wrong == pytest.approx(0.05, abs=0.012)


@pytest.mark.parametrize("p", [[0.1, 1.1], [-0.1], [np.nan]])
def test_p_values_lie_from_0_to_1(p: list[float]) -> None:
    with pytest.raises(UsageError, match="p_values"):
        holm(p)


# --- Effects of one case -------------------------------------------------------------------


def test_one_ratio_is_students_interval_of_the_logarithms() -> None:
    generator = np.random.default_rng(1)
    kaiming = generator.uniform(20, 40, 12)
    xavier = kaiming * np.exp(generator.normal(0.2, 0.1, 12))
    row = effects(runs(list(xavier), list(kaiming))).iloc[0]
    test = stats.ttest_1samp(np.log(xavier / kaiming), np.log(1.05))
    interval = np.exp(test.confidence_interval(0.95))
    assert row["effect"] == pytest.approx(stats.gmean(xavier) / stats.gmean(kaiming))
    assert row["effect"] == pytest.approx(row["first"] / row["second"])
    assert (row["low"], row["high"]) == pytest.approx(tuple(interval))
    assert row["p_value"] == pytest.approx(test.pvalue)
    assert row["low"] > 1.05
    assert row["supports"] is True


def test_one_difference_is_students_interval() -> None:
    xavier, kaiming = [0.9, 0.8, 0.85, 0.95], [0.7, 0.75, 0.72, 0.8]
    table = runs(xavier, kaiming, "accuracy")
    row = effects(table, 0.005, measure="accuracy", kind="difference").iloc[0]
    test = stats.ttest_rel(xavier, kaiming)
    assert (row["low"], row["high"]) == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert row["effect"] == pytest.approx(np.mean(xavier) - np.mean(kaiming))


def test_one_difference_of_shares_is_that_of_agresti_and_min() -> None:
    """Their equation: half a pair is added to each cell of the table of pairs."""
    xavier, kaiming = [1.0] * 8 + [0.0] * 12, [0.0] * 7 + [1.0] * 3 + [0.0] * 10
    row = effects(runs(xavier, kaiming, "failed"), 0.0, measure="failed", kind="share").iloc[0]
    more, less, n = 7.5, 2.5, 22
    half = stats.norm.ppf(0.975) * np.sqrt(more + less - (more - less) ** 2 / n) / n
    assert row["effect"] == pytest.approx(5 / 20)
    assert (row["low"], row["high"]) == pytest.approx(((5 / n) - half, (5 / n) + half))


@pytest.mark.parametrize(
    ("xavier", "kaiming", "supports"),
    [([1.0] * 10, [0.0] * 10, True), ([0.0] * 10, [1.0] * 10, False),
     ([0.0] * 10, [0.0] * 10, None), ([1.0] * 10, [1.0] * 10, None),
     ([1.0, 1.0] + [0.0] * 8, [0.0] * 10, None)],
)  # fmt: skip
def test_who_fails_more_often(
    xavier: list[float], kaiming: list[float], supports: bool | None
) -> None:
    row = effects(runs(xavier, kaiming, "failed"), 0.0, measure="failed", kind="share").iloc[0]
    assert row["supports"] is supports
    assert -1 <= row["low"] <= row["effect"] <= row["high"] <= 1


@pytest.mark.parametrize(
    ("factor", "supports"), [(1.5, True), (1.0, False), (0.5, False), (1.05, None)]
)
def test_a_claim_of_a_ratio_in_one_case(factor: float, supports: bool | None) -> None:
    """Level within the margin contradicts it as well; at the margin nothing is decided."""
    kaiming = np.linspace(20, 40, 20)
    noise = np.exp(0.01 * np.random.default_rng(2).permutation(np.linspace(-1, 1, 20)))
    row = effects(runs(list(factor * kaiming * noise), list(kaiming))).iloc[0]
    assert row["supports"] is supports


def test_pairs_that_are_all_alike_leave_no_doubt() -> None:
    assert effects(runs([40, 20], [20, 10]))["supports"].tolist() == [True]
    assert effects(runs([20, 10], [20, 10]))["supports"].tolist() == [False]
    assert effects(runs([20, 10], [20, 10]), 1.0)["supports"].tolist() == [None]


# --- Runs that never reach the loss --------------------------------------------------------


def test_xavier_that_does_not_arrive_is_a_lower_bound() -> None:
    row = effects(runs([UNREACHED, UNREACHED, 390], [100, 110, 90])).iloc[0]
    assert row[["unreached_first", "unreached_second"]].tolist() == [2, 0]
    assert row["effect"] == pytest.approx(stats.gmean([400 / 100, 400 / 110, 390 / 90]))
    assert row["high"] == np.inf
    assert row["supports"] is True
    # Late or level: a bound from below contradicts nothing.
    assert effects(runs([UNREACHED] * 5, [400, 399, 400, 399, 400])).iloc[0]["supports"] is None


def test_kaiming_that_does_not_arrive_is_an_upper_bound() -> None:
    row = effects(runs([100, 110, 90, 100], [UNREACHED, 100, 90, 95])).iloc[0]
    assert (row["low"], row["supports"]) == (0, None)
    row = effects(runs([100, 110, 90, 100], [UNREACHED] * 4)).iloc[0]
    assert (row["low"], row["supports"]) == (0, False)


def test_pairs_of_which_neither_arrives_decide_nothing() -> None:
    row = effects(runs([UNREACHED] * 6, [100, 101, 99, 100, 101, UNREACHED])).iloc[0]
    assert row["effect"] == pytest.approx(4 ** (5 / 6), rel=0.01)
    assert row["low"] > 1.05  # as if it were level
    row = effects(runs([UNREACHED] * 4, [UNREACHED] * 4)).iloc[0]
    assert (row["effect"], row["high"], row["supports"]) == (1, np.inf, None)
    assert row[["unreached_first", "unreached_second"]].tolist() == [4, 4]


# --- Several cases together ----------------------------------------------------------------


def several(n_cases: int, effect: float, seed: int, n: int = 10) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    return pd.concat(
        [
            runs(
                list(np.exp(generator.normal(3 + effect, 0.05, n))),
                list(np.exp(np.full(n, 3.0))),
                depth=depth,
            )
            for depth in range(2, 2 + n_cases)
        ],
        ignore_index=True,
    )


def test_the_intervals_of_one_claim_hold_together() -> None:
    """At an effect of the threshold itself, any case that is decided is a mistake."""
    trials = [effects(several(8, np.log(1.05), seed)) for seed in range(300)]
    mistaken = np.mean([found["supports"].notna().any() for found in trials])
    assert mistaken == pytest.approx(0.05, abs=0.04)
    alone = np.mean([(found["p_value"] / len(found) < 0.05).any() for found in trials])
    assert alone > 0.2  # what it is corrected for


@pytest.mark.parametrize("seed", range(20))
def test_an_interval_lies_to_the_side_that_the_p_value_says(seed: int) -> None:
    found = effects(several(9, np.log(1.05) + 0.05 * np.sin(seed), seed))
    for row in found.itertuples():
        side = True if row.low > 1.05 else False if row.high < 1.05 else None
        assert row.supports is side
        assert (row.p_value < 0.05) is (side is not None)


def test_a_case_is_a_configuration_or_one_rate() -> None:
    table = at_rates({0.1: [20, 21, 22], 0.3: [10, 11, 12]})
    assert effects(table)["first_rate"].tolist() == [0.1, 0.3]
    other = table[(table["scheme"] == "xavier") == (table["learning_rate"] == 0.3)]
    (row,) = effects(other).to_dict("records")
    assert (row["first_rate"], row["second_rate"], row["n_seeds"]) == (0.3, 0.1, 3)
    assert list(effects(table).columns[: len(COMPARED)]) == COMPARED


def test_seeds_at_rates_of_their_own_are_one_case() -> None:
    """Each half of the seeds may have the rate that the other half chose."""
    table = at_rates({0.1: [20, 21, 22], 0.3: [10, 11, 12]})
    chosen = np.where(table["seed"] < 2, 0.1, np.where(table["scheme"] == "xavier", 0.3, 0.1))
    table.loc[table["scheme"] == "kaiming", SPEED] -= 5
    (row,) = effects(table[table["learning_rate"] == chosen]).to_dict("records")
    assert (row["first_rate"], row["second_rate"], row["n_seeds"]) == (0.1, 0.1, 3)
    assert row["first"] == pytest.approx(stats.gmean([20, 21, 12]))
    assert row["second"] == pytest.approx(stats.gmean([15, 16, 17]))


def test_more_cases_make_wider_intervals() -> None:
    first = several(1, 0.02, 0)
    alone = effects(first).iloc[0]
    among = effects(pd.concat([first, several(9, 0.02, 1).query("depth > 2")])).iloc[0]
    assert among["low"] < alone["low"]
    assert among["high"] > alone["high"]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"measure": "failed"}, "measure"),
        ({}, {"kind": "quotient"}, "kind"),
        ({}, {"over": 0}, "ratio"),
        ({SPEED: 0.0}, {}, "above 0"),
        ({SPEED: np.nan}, {}, "finite"),
        ({}, {"kind": "share"}, "0 or 1"),
        ({"scheme": "xavier"}, {}, "twice"),
        ({"seed": range(8)}, {}, "same seeds"),
    ],
)
def test_what_cannot_be_compared(change: dict, options: dict, message: str) -> None:
    table = runs([20, 21, 22, 23], [10, 11, 12, 13]).assign(**change)
    with pytest.raises(UsageError, match=message):
        effects(table, **options)


# --- Against a margin ----------------------------------------------------------------------


def test_level_is_shown_and_not_merely_not_refuted() -> None:
    rows = pd.DataFrame(
        {"low": [1.06, 0.96, 0.8, 0.5, 0.94, 1.05], "high": [2, 1.04, 1.2, 0.9, 1.04, np.inf]}
    )
    expected = ["above", "level", "undecided", "below", "undecided", "undecided"]
    assert standing(rows, 1 / 1.05, 1.05).tolist() == expected
