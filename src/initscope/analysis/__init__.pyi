from .comparison import compare, layer_ratios, run_measures
from .extremes import row_of_largest, row_of_smallest
from .sweeps import to_tidy
from .trajectories import (
    depth_correlation,
    expansion_rates,
    growth_over_noise,
    layer_spread,
    mean_interval,
    predicted_std,
    settling_steps,
    statistic_table,
    weight_std,
)

__all__ = [
    "compare",
    "depth_correlation",
    "expansion_rates",
    "growth_over_noise",
    "layer_ratios",
    "layer_spread",
    "mean_interval",
    "predicted_std",
    "row_of_largest",
    "row_of_smallest",
    "run_measures",
    "settling_steps",
    "statistic_table",
    "to_tidy",
    "weight_std",
]
