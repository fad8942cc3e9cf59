"""Variance of weights, gradients, updates and signals in training, layer by layer.

Every table has the columns ``step, layer, role, kind, stat, value``. What is measured on one batch
is in :mod:`initscope.layer_variances`, what is followed through a training run in
:mod:`initscope.variance_tracker` and :mod:`initscope.variance_callback`; their names are here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from initscope.layer_variances import (
    LayerRecord,
    VarianceRecord,
    layer_variances,
    record_variances,
)
from initscope.variance_budget import variance_budget
from initscope.variance_table import (
    COLUMNS,
    HISTOGRAM_COLUMNS,
    read_histograms,
    read_variances,
)
from initscope.variance_tracker import QUANTITIES, VarianceTracker
from initscope.weight_matrices import weight_matrices

if TYPE_CHECKING:
    from initscope.variance_callback import VarianceCallback

__all__ = [
    "COLUMNS",
    "HISTOGRAM_COLUMNS",
    "QUANTITIES",
    "LayerRecord",
    "VarianceCallback",
    "VarianceRecord",
    "VarianceTracker",
    "layer_variances",
    "read_histograms",
    "read_variances",
    "record_variances",
    "variance_budget",
    "weight_matrices",
]


def __getattr__(name: str) -> Any:
    # The callback is one of transformers', which takes seconds to import.
    if name == "VarianceCallback":
        from initscope.variance_callback import VarianceCallback

        return VarianceCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
