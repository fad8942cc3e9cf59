from .criticality import (
    correlation_with_depth,
    depth_scales,
    maps,
    phase_diagrams,
    trainability_map,
)
from .diffusion import errors_through_training, growth_against_rate
from .effects import delays_by_rate, ratios_by_depth
from .finite_width import (
    fan_of_networks,
    jacobian_spread,
    log_norm_histograms,
    log_spread_by_depth,
    singular_values,
)
from .noise_and_drift import (
    growth_by_part,
    shrinkage_by_epsilon,
    std_by_rate,
    std_by_schedule,
)
from .pairs import gradients_and_weights, paired_curves
from .plateau import edges_against_law, escape_times
from .prediction import with_guess
from .pretraining import signals_through_training, training_losses
from .propagation import number_format_bands, theory_against_networks
from .published_runs import (
    alignment_through_training,
    decays_by_component,
    ratios_by_component,
    std_through_training,
)
from .rates import usable_rates, winners
from .schemes import differences_by_depth, scheme_accuracies, training_name, variance_ratios
from .style import (
    COLOR_MAP,
    COLORS,
    INK,
    INK_ON_DARK,
    LINE_MAP,
    ON_MAP,
    PAPER_COLOR,
    STYLE,
    WIDTH,
    use_in_notebook,
)
from .sweep_runs import loss_curves, variance_through_layers, variance_through_training
from .sweeps import accuracy_against_std, accuracy_map, bands, divergence
from .transformer import (
    attention_saturation,
    block_quantities,
    depth_of_stream,
    gradients_along_stream,
    stream_against_theory,
    weight_gradients_by_block,
)
from .weight_bands import bands_through_training, final_bands, layer_spreads
from .weights import by_layer, role_name, weight_distribution, weights_through_training

__all__ = [
    "COLORS",
    "COLOR_MAP",
    "INK",
    "INK_ON_DARK",
    "LINE_MAP",
    "ON_MAP",
    "PAPER_COLOR",
    "STYLE",
    "WIDTH",
    "accuracy_against_std",
    "accuracy_map",
    "alignment_through_training",
    "attention_saturation",
    "bands",
    "bands_through_training",
    "block_quantities",
    "by_layer",
    "correlation_with_depth",
    "decays_by_component",
    "delays_by_rate",
    "depth_of_stream",
    "depth_scales",
    "differences_by_depth",
    "divergence",
    "edges_against_law",
    "errors_through_training",
    "escape_times",
    "fan_of_networks",
    "final_bands",
    "gradients_along_stream",
    "gradients_and_weights",
    "growth_against_rate",
    "growth_by_part",
    "jacobian_spread",
    "layer_spreads",
    "log_norm_histograms",
    "log_spread_by_depth",
    "loss_curves",
    "maps",
    "number_format_bands",
    "paired_curves",
    "phase_diagrams",
    "ratios_by_component",
    "ratios_by_depth",
    "role_name",
    "scheme_accuracies",
    "shrinkage_by_epsilon",
    "signals_through_training",
    "singular_values",
    "std_by_rate",
    "std_by_schedule",
    "std_through_training",
    "stream_against_theory",
    "theory_against_networks",
    "trainability_map",
    "training_losses",
    "training_name",
    "usable_rates",
    "use_in_notebook",
    "variance_ratios",
    "variance_through_layers",
    "variance_through_training",
    "weight_distribution",
    "weight_gradients_by_block",
    "weights_through_training",
    "winners",
    "with_guess",
]
