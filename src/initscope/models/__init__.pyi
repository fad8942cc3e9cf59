from .gpt import GPT2_PRESETS, gpt2, post_norm_gpt
from .mlp import ACTIVATIONS, MLP

__all__ = ["ACTIVATIONS", "GPT2_PRESETS", "MLP", "gpt2", "post_norm_gpt"]
