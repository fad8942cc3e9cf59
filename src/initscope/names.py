"""What a specification may name, and columns of tables: known without torch.

So a mistake in a specification is found at once. Each name stands beside what it is a name of:
`tests/repository/test_names.py` holds the two together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

ACTIVATIONS = ("relu", "leaky_relu", "gelu", "silu", "tanh", "selu", "identity")
"""Names of :data:`initscope.models.ACTIVATIONS`."""


class DatasetSizes(NamedTuple):
    """Sizes of a data set; `n_train` is None where it depends on the copy that is read."""

    n_features: int
    n_classes: int
    n_train: int | None


DATASETS: Mapping[str, DatasetSizes] = {
    "mnist": DatasetSizes(784, 10, None),
    "wine": DatasetSizes(13, 3, 133),
    "digits": DatasetSizes(64, 10, 1347),
}
"""Sizes of :data:`initscope.data.DATASETS`, by name."""

QUANTITIES = ("weight", "gradient", "update", "activation")
"""Kinds that :class:`initscope.tracking.VarianceTracker` records."""

PRECISIONS = ("float32", "bfloat16")
"""Precisions that :func:`initscope.pretrain.pretrain` computes in."""

LAYER_STATISTICS = (
    "forward_variance",
    "backward_variance",
    "gradient_norm",
    "dead_fraction",
    "weight_std",
)
"""Columns of :func:`initscope.sweep.run_sweep` with one number for each probe step and layer."""

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
