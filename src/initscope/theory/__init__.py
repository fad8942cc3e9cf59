"""Closed forms for variance at initialization and in training: numpy and scipy only."""

from initscope.theory.activations import (
    ACTIVATIONS,
    ActivationMoments,
    activation_moments,
    gain,
)
from initscope.theory.adamw import (
    adamw_equilibrium_rms,
    adamw_rotation,
    adamw_update_rms,
    adamw_variance_trajectory,
)
from initscope.theory.mean_field import (
    CriticalPoint,
    chi,
    correlation_fixed_point,
    correlation_map,
    critical_point,
    depth_scale,
    fixed_point,
    length_map,
)
from initscope.theory.propagation import (
    NUMBER_FORMATS,
    Propagation,
    StabilityBand,
    propagate,
    stability_band,
)
from initscope.theory.schemes import SCHEMES, scheme_std

__all__ = [
    "ACTIVATIONS",
    "NUMBER_FORMATS",
    "SCHEMES",
    "ActivationMoments",
    "CriticalPoint",
    "Propagation",
    "StabilityBand",
    "activation_moments",
    "adamw_equilibrium_rms",
    "adamw_rotation",
    "adamw_update_rms",
    "adamw_variance_trajectory",
    "chi",
    "correlation_fixed_point",
    "correlation_map",
    "critical_point",
    "depth_scale",
    "fixed_point",
    "gain",
    "length_map",
    "propagate",
    "scheme_std",
    "stability_band",
]
