"""Closed forms for variance at initialization and in training: numpy and scipy only."""

from initscope.theory.activations import (
    ACTIVATIONS,
    ActivationMoments,
    activation_moments,
    gain,
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
    "Propagation",
    "StabilityBand",
    "activation_moments",
    "gain",
    "propagate",
    "scheme_std",
    "stability_band",
]
