from .comparison import compare, layer_ratios, run_measures
from .deviations import deviations, worst_deviations
from .diffusion import baseline_curves, curve_distances, growth_exponents, growth_in_windows
from .equilibration import equilibration, order_of_layers, tail_shape
from .extremes import one_row, row_of_largest, row_of_smallest
from .intervals import (
    Z_95,
    bootstrap_interval,
    central_range,
    mean_error,
    mean_interval,
    pooled_mean,
    variance_error,
)
from .noise import (
    growth_over_noise,
    predicted_std,
)
from .plateau import (
    band_constants,
    decades_off,
    left_edges_of_law,
    right_edges_of_law,
    within_decades,
)
from .rates import (
    accuracy_of_schemes,
    best_rates,
    failure_share,
)
from .seeds import (
    divergence_share,
    gradient_norm_means,
    gradient_ratios_over_seeds,
    layer_medians,
    losses_over_seeds,
    median_grid,
    over_seeds,
    paired_losses,
)
from .stability import PAPER_BAND, after_epoch, band_cases, edge_cases, stability_bands
from .sweeps import COMPARED, CONFIGURATION, nearest, short_widths, to_tidy, widths_of
from .trainability import border_interval, trainability_border
from .trajectories import (
    depth_correlation,
    expansion_rates,
    growth_since_start,
    layer_spread,
    over_layers,
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
    "accuracy_of_schemes",
    "after_epoch",
    "ahead",
    "ahead_from",
    "band_cases",
    "band_constants",
    "baseline_curves",
    "best_rates",
    "bootstrap_interval",
    "border_interval",
    "central_range",
    "compare",
    "count_ahead",
    "curve_distances",
    "decades_off",
    "deepest_whole_band",
    "depth_correlation",
    "deviations",
    "divergence_share",
    "edge_cases",
    "equilibration",
    "expansion_rates",
    "failure_share",
    "gradient_norm_means",
    "gradient_ratios_over_seeds",
    "growth_exponents",
    "growth_in_windows",
    "growth_over_noise",
    "growth_since_start",
    "layer_medians",
    "layer_ratios",
    "layer_spread",
    "left_edges_of_law",
    "losses_over_seeds",
    "mean_error",
    "mean_interval",
    "median_grid",
    "nearest",
    "one_row",
    "order_of_layers",
    "over_layers",
    "over_seeds",
    "paired_losses",
    "pooled_mean",
    "predicted_std",
    "right_edges_of_law",
    "row_of_largest",
    "row_of_smallest",
    "run_measures",
    "settling_steps",
    "short_widths",
    "stability_bands",
    "statistic_table",
    "tail_shape",
    "to_tidy",
    "trainability_border",
    "variance_error",
    "weight_std",
    "where_one_trains",
    "widths_of",
    "within_decades",
    "worst_deviations",
]
