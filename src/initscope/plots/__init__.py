"""The figures of the book, one function a figure; each takes a table and returns the figure.

Colors and backgrounds are chosen to read on a light and on a dark page. The figures of a chapter
are in one module; all are found here.
"""

from initscope.plots.criticality import (
    correlation_with_depth,
    depth_scales,
    maps,
    phase_diagrams,
    trainability_map,
)
from initscope.plots.finite_width import (
    fan_of_networks,
    jacobian_spread,
    log_norm_histograms,
    log_spread_by_depth,
    singular_values,
)
from initscope.plots.propagation import number_format_bands, theory_against_networks
from initscope.plots.schemes import (
    differences_by_depth,
    gradients_and_weights,
    paired_curves,
    scheme_accuracies,
    training_name,
    usable_rates,
    variance_ratios,
    winners,
)
from initscope.plots.style import (
    COLOR_MAP,
    COLORS,
    INK,
    PAPER_COLOR,
    STYLE,
    WIDTH,
    source_note,
    use_in_notebook,
)
from initscope.plots.sweeps import (
    accuracy_against_std,
    accuracy_map,
    bands,
    critical_std,
    divergence,
    loss_curves,
    nearest,
    short_widths,
    variance_through_layers,
    variance_through_training,
    widths_of,
)
from initscope.plots.transformer import (
    block_quantities,
    depth_of_stream,
    gradients_along_stream,
    stream_against_theory,
)

__all__ = [
    "COLORS",
    "COLOR_MAP",
    "INK",
    "PAPER_COLOR",
    "STYLE",
    "WIDTH",
    "accuracy_against_std",
    "accuracy_map",
    "bands",
    "block_quantities",
    "correlation_with_depth",
    "critical_std",
    "depth_of_stream",
    "depth_scales",
    "differences_by_depth",
    "divergence",
    "fan_of_networks",
    "gradients_along_stream",
    "gradients_and_weights",
    "jacobian_spread",
    "log_norm_histograms",
    "log_spread_by_depth",
    "loss_curves",
    "maps",
    "nearest",
    "number_format_bands",
    "paired_curves",
    "phase_diagrams",
    "scheme_accuracies",
    "short_widths",
    "singular_values",
    "source_note",
    "stream_against_theory",
    "theory_against_networks",
    "trainability_map",
    "training_name",
    "usable_rates",
    "use_in_notebook",
    "variance_ratios",
    "variance_through_layers",
    "variance_through_training",
    "widths_of",
    "winners",
]
