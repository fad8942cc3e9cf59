from .comparison import compare, layer_ratios, run_measures
from .deviations import deviations, worst_deviations
from .diffusion import baseline_curves, curve_distances, growth_exponents, growth_in_windows
from .effects import at_own_rates, holm, own_rates, paired_effects, standing
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
    beyond_the_law,
    escape_rates,
    nearest_rates,
    steady_products,
    xavier_delays,
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
from .stability import PAPER_BAND, stability_bands
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
    "ahead",
    "ahead_from",
    "at_own_rates",
    "baseline_curves",
    "best_rates",
    "beyond_the_law",
    "bootstrap_interval",
    "border_interval",
    "central_range",
    "compare",
    "count_ahead",
    "curve_distances",
    "deepest_whole_band",
    "depth_correlation",
    "deviations",
    "divergence_share",
    "equilibration",
    "escape_rates",
    "expansion_rates",
    "failure_share",
    "gradient_norm_means",
    "gradient_ratios_over_seeds",
    "growth_exponents",
    "growth_in_windows",
    "growth_over_noise",
    "growth_since_start",
    "holm",
    "layer_medians",
    "layer_ratios",
    "layer_spread",
    "losses_over_seeds",
    "mean_error",
    "mean_interval",
    "median_grid",
    "nearest",
    "nearest_rates",
    "one_row",
    "order_of_layers",
    "over_layers",
    "over_seeds",
    "own_rates",
    "paired_effects",
    "paired_losses",
    "pooled_mean",
    "predicted_std",
    "row_of_largest",
    "row_of_smallest",
    "run_measures",
    "settling_steps",
    "short_widths",
    "stability_bands",
    "standing",
    "statistic_table",
    "steady_products",
    "tail_shape",
    "to_tidy",
    "trainability_border",
    "variance_error",
    "weight_std",
    "where_one_trains",
    "widths_of",
    "worst_deviations",
    "xavier_delays",
]
