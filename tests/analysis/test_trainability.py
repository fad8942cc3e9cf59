"""The border of trainability, on grids whose border is known."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from initscope.analysis import trainability_border

DEPTHS = (4, 8, 16, 32)


def runs_of(medians, sigma_w2=1.0):
    """Three seeds round each median; one of them far off, which a median does not see."""
    return pd.DataFrame(
        [
            {"sigma_w2": sigma_w2, "depth": depth, "accuracy": value}
            for depth, median in zip(DEPTHS, medians, strict=True)
            for value in (median, median - 0.3, median + 0.01)
        ]
    )


@given(st.lists(st.sampled_from([0.1, 0.5, 0.9]), min_size=4, max_size=4))
def test_the_border_lies_before_the_first_depth_that_fails(medians):
    border = trainability_border(runs_of(medians), 0.5).loc[1.0]
    first = next((k for k, median in enumerate(medians) if median < 0.5), None)
    fails = np.nan if first is None else DEPTHS[first]
    last = len(DEPTHS) - 1 if first is None else first - 1
    trains = DEPTHS[last] if last >= 0 else np.nan
    assert border["fails"] == pytest.approx(fails, nan_ok=True)
    assert border["trains"] == pytest.approx(trains, nan_ok=True)
    assert border["depth"] == pytest.approx(np.sqrt(trains * fails), nan_ok=True)
    of_fails = np.nan if first is None else medians[first]
    assert border["accuracy_fails"] == pytest.approx(of_fails, nan_ok=True)
    of_trains = medians[last] if last >= 0 else np.nan
    assert border["accuracy_trains"] == pytest.approx(of_trains, nan_ok=True)


def test_each_weight_variance_has_its_own_border():
    runs = pd.concat([runs_of([0.9, 0.9, 0.1, 0.1], 2.0), runs_of([0.9, 0.1, 0.1, 0.1], 3.0)])
    assert trainability_border(runs, 0.5)["trains"].to_dict() == {2.0: 8.0, 3.0: 4.0}
