"""Rates of escape and Xavier's delay: from curves that follow the law, and by its own algebra."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from initscope.analysis import (
    beyond_the_law,
    escape_rates,
    nearest_rates,
    steady_products,
    xavier_delays,
)
from initscope.errors import UsageError
from initscope.theory import critical_std, escape_updates

WIDTHS = [784, 128, 128, 128, 10]
STDS = critical_std(WIDTHS) * np.array([0.05, 0.1, 0.3, 0.45, 0.7, 1.0, 2.0])


def sweep(rate: float, *, own: float = 40.0, length: int = 12_000) -> pd.DataFrame:
    """Runs that reach the loss after the law's updates and `own` more, by straight curves."""
    ratios = np.minimum(STDS / critical_std(WIDTHS), 1.0)
    updates = own + escape_updates(ratios, 4, 0.1, rate)
    rows = []
    for std, reached in zip(STDS, updates, strict=True):
        for seed in range(3):
            # Of one seed the loss stays above: the median does not mind.
            slope = 0.1 / reached if seed else 0.0
            steps = np.arange(1, length + 1)
            rows.append(
                {"dataset": "mnist", "widths": "-".join(map(str, WIDTHS)), "depth": 4,
                 "optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.1, "std": std,
                 "seed": seed, "loss_step": steps, "loss": 0.6 - slope * (steps - 1)}
            )  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize("rate", [0.2, 0.8])
def test_the_rate_that_the_curves_were_made_with(rate: float) -> None:
    (found,) = escape_rates(sweep(rate), 0.5).to_dict("records")
    assert found["rate"] == pytest.approx(rate, rel=1e-3)
    assert found["lowest"] == pytest.approx(found["highest"], rel=1e-2)
    assert (found["depth"], found["n_stds"]) == (4, 4)


def test_only_plateaus_count_and_only_those_that_end() -> None:
    """Not .7 of the critical std, and not what a training of 300 updates does not reach."""
    (found,) = escape_rates(sweep(0.8, length=300), 0.5).to_dict("records")
    assert found["n_stds"] == 2
    assert escape_rates(sweep(0.8, length=41), 0.5).empty
    (found,) = escape_rates(sweep(0.8), 0.5, largest=0.4).to_dict("records")
    assert found["n_stds"] == 3


def test_the_law_is_of_plain_sgd() -> None:
    for change in ({"optimizer": "adam"}, {"momentum": 0.9}):
        with pytest.raises(UsageError, match="SGD without momentum"):
            escape_rates(sweep(0.5).assign(**change))


def cases(**columns: object) -> pd.DataFrame:
    case = {"dataset": "wine", "widths": "32-32-32-32", "depth": 3, "activation": "relu"}
    case |= {"optimizer": "sgd", "momentum": 0.0, "first_rate": [0.1, 0.2]}
    return pd.DataFrame(case | columns)


def test_the_delay_between_equal_widths_is_that_of_root_half() -> None:
    expected = escape_updates(2**-0.5, 3, np.array([0.1, 0.2]), 0.4)
    assert xavier_delays(cases(), 0.4).tolist() == pytest.approx(list(expected))


def test_the_delay_is_of_the_geometric_mean_of_the_fans() -> None:
    ratios = np.array([60 / 90, 30 / 40, 10 / 20])
    found = xavier_delays(cases(widths="60-30-10-10"), 0.4)
    start = np.sqrt(ratios).prod() ** (1 / 3)
    assert found[0] == pytest.approx(float(escape_updates(start, 3, 0.1, 0.4)))


def test_momentum_takes_larger_steps_and_adam_is_left_out() -> None:
    plain, heavy = xavier_delays(cases(), 0.4), xavier_delays(cases(momentum=0.9), 0.4)
    assert (heavy / plain).tolist() == pytest.approx([0.1, 0.1])
    assert xavier_delays(cases(optimizer="adam"), 0.4).isna().all()


def test_the_nearest_depth_is_of_the_same_data() -> None:
    rates = pd.DataFrame(
        {"dataset": ["mnist", "mnist", "wine"], "depth": [8, 4, 3], "rate": [0.2, 0.4, 0.7]}
    )
    wanted = pd.DataFrame({"dataset": ["mnist"] * 4 + ["wine"], "depth": [2, 4, 6, 32, 8]})
    assert nearest_rates(wanted, rates).tolist() == [0.4, 0.4, 0.4, 0.2, 0.7]
    with pytest.raises(UsageError, match="digits"):
        nearest_rates(wanted.assign(dataset="digits"), rates)


def test_products_that_stay_and_that_do_not() -> None:
    delays = pd.DataFrame(
        {
            "dataset": "wine",
            "widths": ["a"] * 3 + ["b"] * 2 + ["c"],
            "first_rate": [0.1, 0.2, 0.4, 0.1, 0.2, 0.1],
            "effect": [10, 5, 2.5, 10, 10, 7],
        }
    )
    found = steady_products(delays, 0.25).set_index("widths")
    assert found["steady"].to_dict() == {"a": True, "b": False}
    assert found["product"].to_dict() == pytest.approx({"a": 1.0, "b": 1.5})
    assert found["farthest"].to_dict() == pytest.approx({"a": 0.0, "b": 1 / 3})
    assert steady_products(delays, 0.34)["steady"].all()


@pytest.mark.parametrize(
    ("effect", "unreached", "law", "expected"),
    [
        (300, (0, 0), 290, True),
        (300, (0, 0), 310, False),
        (300, (6, 0), 310, True),  # 150 + 310 is longer than the training
        (300, (5, 0), 310, False),
        (300, (6, 0), 290, None),
        (300, (6, 1), 310, True),
        (300, (5, 1), 310, False),
        (300, (0, 1), 290, None),
    ],
)
def test_delays_longer_than_the_law(
    effect: float, unreached: tuple[int, int], law: float, expected: bool | None
) -> None:
    case = {"effect": effect, "law": law, "second": 150, "n_steps": 450, "n_seeds": 10}
    case |= {"unreached_first": unreached[0], "unreached_second": unreached[1]}
    assert beyond_the_law(pd.DataFrame(case, [0])).tolist() == [expected]
