"""When a model leaves the plateau: the mean of a window, and its last step."""

import math

import pandas as pd
import pytest

from initscope.analysis import first_below
from initscope.errors import UsageError

LOSSES = pd.Series([5.0, 2.0, 4.0, 3.0, 2.2, 2.0, 3.0], range(10, 80, 10))


def test_it_is_the_last_step_of_the_first_window_below() -> None:
    assert first_below(LOSSES, 2.9, window=1) == 20
    assert first_below(LOSSES, 2.9, window=2) == 50
    assert first_below(LOSSES, 3.05, window=3) == 40
    assert first_below(LOSSES, 3.0, window=2) == 50  # at the level is not below
    assert math.isnan(first_below(LOSSES, 1.0))


def test_the_losses_must_be_in_order() -> None:
    with pytest.raises(UsageError, match="ascending"):
        first_below(LOSSES.iloc[::-1], 2.9)
