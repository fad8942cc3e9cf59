"""Deviations of networks from theory, counted by hand."""

import numpy as np
import pandas as pd
import pytest

from initscope.analysis import deviations, worst_deviations
from initscope.errors import UsageError


def compared(means, *, direction="forward"):
    """A comparison in which the theory is 2 in every layer, and layer 0 a given input."""
    layers = range(len(means))
    return pd.DataFrame(
        {
            "direction": direction,
            "layer": layers,
            "mean": means,
            "median": [mean - 0.5 for mean in means],
            "standard_error": 0.25,
            "theory": 2.0,
            "low": [2.0, *[1.0] * (len(means) - 1)],
            "high": [2.0, *[3.0] * (len(means) - 1)],
            "inside": [1.0, *np.linspace(0.9, 0.8, len(means) - 1)],
        }
    )


def test_every_random_layer_has_its_deviation():
    found = deviations({"a": compared([2.0, 2.5, 1.5]), "b": compared([2.0, 2.0])})
    assert found["networks"].to_list() == ["a", "a", "b"]
    assert found["layer"].to_list() == [1, 2, 1]
    assert found["off"].to_list() == [0.25, -0.25, 0.0]
    assert found["errors"].to_list() == [2.0, -2.0, 0.0]
    assert found["median"].to_list() == [1.0, 0.5, 0.75]
    assert found["inside"].to_list() == [0.9, 0.8, 0.9]


def test_the_worst_keeps_its_layer_and_its_errors():
    forward, backward = compared([2.0, 2.5, 1.0, 2.2]), compared([2.0, 3.0], direction="backward")
    found = worst_deviations(deviations({"a": pd.concat([forward, backward])}))
    assert list(found.index) == [("a", "forward"), ("a", "backward")]
    worst = found.loc[("a", "forward")]
    assert (worst["off"], worst["layer"], worst["errors"]) == (0.5, 2, 4.0)
    assert worst["inside"] == pytest.approx(0.85)
    assert worst["inside_least"] == pytest.approx(0.8)
    assert found.loc[("a", "backward"), "off"] == 0.5


def test_a_table_without_a_band_is_refused():
    with pytest.raises(UsageError, match="no column"):
        deviations({"a": compared([2.0, 2.0]).drop(columns=["low"])})
