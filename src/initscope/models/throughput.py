"""How fast a GPT-2 is trained: tokens per second, and the share of the device's peak."""

from __future__ import annotations

from typing import TYPE_CHECKING

from initscope import checks
from initscope.errors import require, shown

__all__ = ["PEAK_BFLOAT16_FLOPS", "peak_flops", "training_flops_per_token"]

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

PEAK_BFLOAT16_FLOPS = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "RTX 4090": 165e12,
}
"""Dense bfloat16 operations per second that the makers state, by a part of the device's name."""


def training_flops_per_token(model: GPT2LMHeadModel) -> int:
    """Floating-point operations of a forward and a backward pass, per token of a passage.

    ``6 n + 12 n_layer n_embd n_positions``, with `n` the parameters without the position
    embedding, which is only added; the output layer counts, and being the token embedding it
    counts once. Chowdhery et al. (2022), appendix B; recomputation is not counted, and attention
    as if it were not causal.
    """
    wpe = getattr(getattr(model, "transformer", None), "wpe", None)
    require(wpe is not None, f"model must be a GPT-2, not {shown(model)}.")
    n = sum(p.numel() for p in model.parameters()) - model.transformer.wpe.weight.numel()
    config = model.config
    return 6 * n + 12 * config.n_layer * config.n_embd * config.n_positions


def peak_flops(device_name: str, precision: str) -> float | None:
    """Peak of a device for dense products, or None where it is not known.

    >>> peak_flops("NVIDIA H100 80GB HBM3", "bfloat16")
    989000000000000.0
    """
    checks.text("device_name", device_name)
    checks.text("precision", precision)
    if precision != "bfloat16":
        return None
    words = f" {device_name.replace('-', ' ')} "
    return next((peak for name, peak in PEAK_BFLOAT16_FLOPS.items() if f" {name} " in words), None)
