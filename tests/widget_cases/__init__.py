"""Each widget as the contract of all widgets takes it up: what is shown of it, and its numbers."""

from initscope import widgets
from widget_cases import (
    adamw_equilibrium,
    attention_saturation,
    gpt_training,
    log_norm_distribution,
    phase_diagram,
    prediction,
    qkv_training,
    residual_stream,
    signal_propagation,
    stability_map,
    wine_training,
)

CASES = {
    "SignalPropagation": signal_propagation.CASE,
    "AdamWEquilibrium": adamw_equilibrium.CASE,
    "AttentionSaturation": attention_saturation.CASE,
    "LogNormDistribution": log_norm_distribution.CASE,
    "ResidualStream": residual_stream.CASE,
    "PhaseDiagram": phase_diagram.CASE,
    "WineTraining": wine_training.CASE,
    "GPTTraining": gpt_training.CASE,
    "StabilityMap": stability_map.CASE,
    "QKVTraining": qkv_training.CASE,
    "Prediction": prediction.CASE,
}


def make(name: str) -> widgets.BookWidget:
    """The widget of a case."""
    return eval(f"widgets.{CASES[name].made}", {"widgets": widgets})
