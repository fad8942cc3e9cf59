"""Closed forms for variance at initialization and in training: numpy and scipy only."""

from initscope.theory.activations import ACTIVATIONS
from initscope.theory.adamw import (
    DataMemory,
    adamw_equilibrium_rms,
    adamw_momentum_alignment,
    adamw_rotation,
    adamw_update_rms,
    adamw_variance_trajectory,
    data_memory,
)
from initscope.theory.correlation_map import correlation_fixed_point, correlation_map
from initscope.theory.criticality import CriticalPoint, chi, critical_point, depth_scale
from initscope.theory.escape import escape_rate, escape_ratio, escape_updates
from initscope.theory.finite_width import (
    LogNormMoments,
    WidthInterval,
    finite_width_interval,
    log_norm_moments,
)
from initscope.theory.gains import ActivationMoments, activation_moments, gain
from initscope.theory.implied_decay import implied_weight_decay
from initscope.theory.jacobian import JacobianMoments, jacobian_moments
from initscope.theory.length_map import fixed_point, length_map
from initscope.theory.logits import attention_logit_variance, initial_loss
from initscope.theory.phase_diagram import CriticalLine, correlation_path, critical_line
from initscope.theory.propagation import Propagation, propagate, residual_propagate
from initscope.theory.published_runs import RECIPES, Recipe
from initscope.theory.rescaling import LearningRateFactors, fan_ratios, xavier_as_kaiming
from initscope.theory.schemes import (
    DEPTH_RULES,
    SCHEMES,
    scheme_std,
)
from initscope.theory.softmax import attention_participation, critical_logit_std
from initscope.theory.stability import (
    NUMBER_FORMATS,
    StabilityBand,
    critical_std,
    stability_band,
)
from initscope.theory.transformer import residual_stream_variance
from initscope.theory.transformer_gradient import (
    GatedWeightGradients,
    WeightGradients,
    residual_gradient_variance,
    weight_gradient_variance,
)
from initscope.theory.transformer_scaling import (
    DepthScaling,
    MuParametrization,
    depth_scaling,
    mu_parametrization,
)

__all__ = [
    "ACTIVATIONS",
    "DEPTH_RULES",
    "NUMBER_FORMATS",
    "RECIPES",
    "SCHEMES",
    "ActivationMoments",
    "CriticalLine",
    "CriticalPoint",
    "DataMemory",
    "DepthScaling",
    "GatedWeightGradients",
    "JacobianMoments",
    "LearningRateFactors",
    "LogNormMoments",
    "MuParametrization",
    "Propagation",
    "Recipe",
    "StabilityBand",
    "WeightGradients",
    "WidthInterval",
    "activation_moments",
    "adamw_equilibrium_rms",
    "adamw_momentum_alignment",
    "adamw_rotation",
    "adamw_update_rms",
    "adamw_variance_trajectory",
    "attention_logit_variance",
    "attention_participation",
    "chi",
    "correlation_fixed_point",
    "correlation_map",
    "correlation_path",
    "critical_line",
    "critical_logit_std",
    "critical_point",
    "critical_std",
    "data_memory",
    "depth_scale",
    "depth_scaling",
    "escape_rate",
    "escape_ratio",
    "escape_updates",
    "fan_ratios",
    "finite_width_interval",
    "fixed_point",
    "gain",
    "implied_weight_decay",
    "initial_loss",
    "jacobian_moments",
    "length_map",
    "log_norm_moments",
    "mu_parametrization",
    "propagate",
    "residual_gradient_variance",
    "residual_propagate",
    "residual_stream_variance",
    "scheme_std",
    "stability_band",
    "weight_gradient_variance",
    "xavier_as_kaiming",
]
