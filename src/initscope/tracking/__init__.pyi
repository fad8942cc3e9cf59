from .budget import variance_budget
from .callback import VarianceCallback
from .coverage import Coverage
from .growth import GrowthSplit
from .hooks import LayerRecord, VarianceRecord, layer_variances, record_variances
from .lightning_callback import LightningVarianceCallback
from .matrices import weight_matrices
from .tables import COLUMNS, HISTOGRAM_COLUMNS, read_histograms, read_variances
from .tracker import QUANTITIES, VarianceTracker

__all__ = [
    "COLUMNS",
    "HISTOGRAM_COLUMNS",
    "QUANTITIES",
    "Coverage",
    "GrowthSplit",
    "LayerRecord",
    "LightningVarianceCallback",
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
