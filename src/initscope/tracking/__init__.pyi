from .alerts import (
    Alert,
    AlertWatch,
    gradient_below,
    not_finite,
    rotation_above,
    std_leaves_band,
    usual_alerts,
)
from .budget import variance_budget
from .callback import VarianceCallback
from .coverage import Coverage
from .growth import GrowthSplit
from .json_lines import JsonLinesCallback
from .layer_records import LayerRecord, VarianceRecord, record_variances
from .layers import layer_variances
from .lightning_callback import LightningVarianceCallback
from .matrices import weight_matrices
from .tables import COLUMNS, HISTOGRAM_COLUMNS, read_histograms, read_variances
from .tracker import QUANTITIES, VarianceTracker

__all__ = [
    "COLUMNS",
    "HISTOGRAM_COLUMNS",
    "QUANTITIES",
    "Alert",
    "AlertWatch",
    "Coverage",
    "GrowthSplit",
    "JsonLinesCallback",
    "LayerRecord",
    "LightningVarianceCallback",
    "VarianceCallback",
    "VarianceRecord",
    "VarianceTracker",
    "gradient_below",
    "layer_variances",
    "not_finite",
    "read_histograms",
    "read_variances",
    "record_variances",
    "rotation_above",
    "std_leaves_band",
    "usual_alerts",
    "variance_budget",
    "weight_matrices",
]
