from .config import TransformerConfig
from .forecast import predict
from .model_prediction import ModelPrediction

__all__ = ["ModelPrediction", "TransformerConfig", "predict"]
