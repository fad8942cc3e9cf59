from .mlp import ACTIVATIONS, GPT2_PRESETS, MLP, check_widths, gpt2, post_norm_gpt

__all__ = ["ACTIVATIONS", "GPT2_PRESETS", "MLP", "check_widths", "gpt2", "post_norm_gpt"]
