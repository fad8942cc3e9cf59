from .config import TransformerConfig
from .forecast import ModelPrediction, predict

__all__ = ["ModelPrediction", "TransformerConfig", "predict"]
