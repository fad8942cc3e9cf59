"""Schemes of initialization and their options: known without torch.

So a mistake in a specification is found at once; `tests/repository/test_names.py` holds them
together with :mod:`initscope.init`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MODES = ("fan_in", "fan_out", "fan_avg")
DISTRIBUTIONS = ("normal", "uniform")

SCHEMES: Mapping[str, Mapping[str, Any]] = {
    "normal": {"std": None},
    "lecun": {"gain": 1.0, "distribution": "normal"},
    "xavier": {"gain": 1.0, "distribution": "normal"},
    "kaiming": {"gain": math.sqrt(2.0), "mode": "fan_in", "distribution": "normal"},
    "orthogonal": {"gain": 1.0},
    "gpt2": {"std": 0.02, "residual_scaling": True},
}
"""Options of :data:`initscope.init.SCHEMES` and their defaults; None for one that must be given."""
