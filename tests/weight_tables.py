"""Tables of weight matrices through training, as the tests of analysis and figures need them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from initscope.analysis.trajectories import weight_std
from initscope.tracking import COLUMNS

STD = st.floats(1e-6, 1e6)
ANY_STD = STD | st.sampled_from([0.0, math.inf, math.nan])


def rows(std: dict[str, Any], steps: list[int], kind: str = "weight", stat: str = "std") -> Any:
    """A table as a tracker makes it, from role to (layers, steps); layers are numbered from 1."""
    found = [
        (step, layer, role, kind, stat, value)
        for role, values in std.items()
        for layer, of_layer in enumerate(values, start=1)
        for step, value in zip(steps, of_layer, strict=True)
    ]
    return pd.DataFrame(found, columns=list(COLUMNS))


def trajectories(std: dict[str, Any], steps: list[int]) -> pd.DataFrame:
    return weight_std(rows(std, steps), list(std))


@st.composite
def tables(draw: st.DrawFn, values: st.SearchStrategy = ANY_STD) -> pd.DataFrame:
    """Any roles, layers and steps, the values few enough that some are the same."""
    roles = draw(st.lists(st.sampled_from("vqk"), min_size=1, max_size=3, unique=True))
    steps = draw(st.lists(st.integers(0, 10**6), min_size=1, max_size=6, unique=True).map(sorted))
    n_layers = draw(st.integers(1, 5))
    pool = draw(st.lists(values, min_size=1, max_size=8))
    size = (len(roles), n_layers, len(steps))
    chosen = draw(
        st.lists(st.sampled_from(pool), min_size=math.prod(size), max_size=math.prod(size))
    )
    return trajectories(dict(zip(roles, np.reshape(chosen, size), strict=True)), steps)
