from .comparison import compare, layer_ratios, run_measures
from .deviations import deviations, worst_deviations
from .equilibration import equilibration, order_of_layers, tail_shape
from .extremes import one_row, row_of_largest, row_of_smallest
from .intervals import (
    Z_95,
    bootstrap_interval,
    central_range,
    mean_error,
    mean_interval,
    variance_error,
)
from .stability import PAPER_BAND, stability_bands
from .sweeps import COMPARED, CONFIGURATION, to_tidy
from .trainability import trainability_border
from .trajectories import (
    depth_correlation,
    expansion_rates,
    growth_over_noise,
    layer_spread,
    predicted_std,
    settling_steps,
    statistic_table,
    weight_std,
)
from .verdicts import (
    ahead,
    ahead_from,
    count_ahead,
    deepest_whole_band,
    where_one_trains,
)

__all__ = [
    "COMPARED",
    "CONFIGURATION",
    "PAPER_BAND",
    "Z_95",
    "ahead",
    "ahead_from",
    "bootstrap_interval",
    "central_range",
    "compare",
    "count_ahead",
    "deepest_whole_band",
    "depth_correlation",
    "deviations",
    "equilibration",
    "expansion_rates",
    "growth_over_noise",
    "layer_ratios",
    "layer_spread",
    "mean_error",
    "mean_interval",
    "one_row",
    "order_of_layers",
    "predicted_std",
    "row_of_largest",
    "row_of_smallest",
    "run_measures",
    "settling_steps",
    "stability_bands",
    "statistic_table",
    "tail_shape",
    "to_tidy",
    "trainability_border",
    "variance_error",
    "weight_std",
    "where_one_trains",
    "worst_deviations",
]
