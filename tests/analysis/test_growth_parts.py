"""What is read from the split of growth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from initscope.analysis import growth_parts, order_beside_shadow, outward_rest
from initscope.errors import UsageError


def split(**columns: list) -> pd.DataFrame:
    """Two windows of two layers: (after, layer) = (0, 1), (0, 2), (10, 1), (10, 2)."""
    rows = [
        {"after": after, "until": after + 10, "role": "q", "layer": layer}
        for after in (0, 10)
        for layer in (1, 2)
    ]
    return pd.DataFrame(rows).assign(**columns)


@pytest.fixture
def example() -> pd.DataFrame:
    return split(
        rate_squares=[2.0, 2.0, 0.5, 0.5],
        growth=[4.0, 6.0, 2.0, 3.0],
        shadow=[1.0, 1.0, 0.5, 0.25],
        rest_16=[9.0, 9.0, 9.0, 9.0],
        rest_64=[2.0, 1.0, 0.5, 2.5],
    )


def test_parts_add_up_over_the_squared_rates(example: pd.DataFrame) -> None:
    found = growth_parts(example, 64)
    assert found.loc["q", 1, 10].to_dict() == pytest.approx(
        {"growth": 2.0, "shadow": 0.5, "rest": 1.0, "memory": 0.5}
    )
    assert found.loc["q", 2, 20].to_dict() == pytest.approx(
        {"growth": 6.0, "shadow": 0.5, "rest": 5.0, "memory": 0.5}
    )
    np.testing.assert_allclose(found[["shadow", "memory", "rest"]].sum(axis=1), found["growth"])
    assert growth_parts(example, 16)["rest"].tolist() == [4.5, 4.5, 18.0, 18.0]


def test_windows_before_the_step_are_left_out(example: pd.DataFrame) -> None:
    late = growth_parts(example, 64, since=10)
    assert late.index.get_level_values("until").unique().tolist() == [20]
    assert len(growth_parts(example, 64, since=0)) == 4
    with pytest.raises(UsageError, match="no window begins since step 11"):
        growth_parts(example, 64, since=11)
    with pytest.raises(UsageError, match=r"no rest at a lag of 8 .*rest_16"):
        growth_parts(example, 8)


def of(growth: list, shadow: list, rest: list) -> pd.DataFrame:
    return growth_parts(
        split(rate_squares=[1.0] * 4, growth=growth, shadow=shadow, rest_64=rest), 64
    )


@pytest.mark.parametrize(("times", "expected"), [(3.9, True), (4.0, True), (4.1, False)])
def test_layers_apart_beside_their_shadow(times: float, expected: bool) -> None:
    """Means over windows and seeds: growth 1 and 5, shadow 1 and 2."""
    seeds = [
        of([0.0, 4.0, 2.0, 6.0], [1.0, 1.0, 1.0, 3.0], [0.0] * 4),
        of([0.0, 4.0, 2.0, 6.0], [1.0, 3.0, 1.0, 1.0], [0.0] * 4),
    ]
    assert order_beside_shadow(seeds, ["q"], times).to_dict() == {"q": expected}


@pytest.mark.parametrize(
    ("growth", "rest", "expected"),
    [
        ([1, 1, 1, 1], [0.1, 0.1, 0.2, 0.2], True),
        ([1, 1, 1, 1], [0.2, 0.2, 0.1, 0.1], False),  # less at the end
        ([1, 1, 4, 4], [0.1, 0.1, 0.2, 0.2], False),  # more, but a smaller share
        ([1, 1, 1, 1], [0.1, -0.3, 0.6, 0.2], False),  # outward in one of two layers
        ([1, 1, 1, 1], [-0.1, -0.1, -0.2, 0.4], False),
    ],
)
def test_the_rest_pushes_outward_and_more_at_the_end(
    growth: list, rest: list, expected: bool
) -> None:
    found = outward_rest([of(growth, [0.0] * 4, rest)], ["q"], share=0.75)
    assert found.to_dict() == {"q": expected}


def test_half_of_the_layers_can_be_enough() -> None:
    parts = of([1] * 4, [0.0] * 4, [0.1, -0.3, 0.6, 0.2])
    assert outward_rest([parts], ["q"], share=0.5).to_dict() == {"q": True}


def test_an_unknown_role_is_refused() -> None:
    parts = of([1] * 4, [0.0] * 4, [0.1] * 4)
    for judge in (order_beside_shadow, outward_rest):
        with pytest.raises(UsageError, match="unknown role 'k'"):
            judge([parts], ["k"], 0.5)
