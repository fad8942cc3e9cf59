from .adamw_equilibrium.widget import AdamWEquilibrium
from .attention_saturation.widget import AttentionSaturation
from .base import BookWidget, show
from .gpt_training.widget import GPTTraining
from .log_norm_distribution.widget import LogNormDistribution
from .phase_diagram.widget import PhaseDiagram
from .prediction.widget import Prediction
from .qkv_training.widget import QKVTraining
from .residual_stream.widget import ResidualStream
from .signal_propagation.widget import SignalPropagation
from .stability_map.widget import StabilityMap
from .wine_training.widget import WineTraining

__all__ = [
    "AdamWEquilibrium",
    "AttentionSaturation",
    "BookWidget",
    "GPTTraining",
    "LogNormDistribution",
    "PhaseDiagram",
    "Prediction",
    "QKVTraining",
    "ResidualStream",
    "SignalPropagation",
    "StabilityMap",
    "WineTraining",
    "show",
]
