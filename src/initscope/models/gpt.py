"""Build GPT-2 and the first GPT, as transformers does; loads torch only to build one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from initscope import extras
from initscope.checks import require, require_name, whole
from initscope.errors import UsageError, shown
from initscope.memory import require_memory

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel, OpenAIGPTLMHeadModel

__all__ = ["GPT2_PRESETS", "gpt2", "post_norm_gpt", "training_flops_per_token"]

GPT2_PRESETS: Mapping[str, Mapping[str, int]] = {
    "124m": {"n_layer": 12, "n_embd": 768, "n_head": 12, "n_positions": 1024, "vocab_size": 50257},
    "nano12": {"n_layer": 12, "n_embd": 96, "n_head": 4, "n_positions": 128, "vocab_size": 256},
}
"""Sizes of GPT-2 by name: ``124m``, OpenAI's smallest, and ``nano12``, 8 times narrower.

``nano12`` is as deep as ``124m`` and reads bytes: with the 50,257 tokens of GPT-2 the output layer
would take four fifths of its time, with a BPE of 4,096 tokens a fifth.
"""

MOST_BLOCKS = 10_000


@extras.named("gpt2")
def gpt2(preset: str = "124m", **overrides: Any) -> GPT2LMHeadModel:
    """Build GPT-2 with a language-modeling head, as transformers does, without dropout.

    Until ``initialize_(model, "gpt2")`` sets them, its weights are those that transformers draws,
    which differ from version to version: 5.0 to 5.14 leave out the 1/sqrt(2 n_layer) of GPT-2.

    Parameters
    ----------
    preset
        One of :data:`GPT2_PRESETS`.
    **overrides
        Fields of `transformers.GPT2Config`, for example ``n_layer=6`` or ``vocab_size=65``.

    Returns
    -------
    transformers.GPT2LMHeadModel
        On the CPU. The output layer shares its weight with the token embedding.

    Raises
    ------
    UsageError
        For an unknown preset, a field that `GPT2Config` does not have, a size that is no whole
        number of at least 1, or a width that the heads do not divide.

    Examples
    --------
    >>> model = gpt2("nano12", n_layer=2)
    >>> model.transformer.h[0].attn.c_attn.weight.shape
    torch.Size([96, 288])
    """
    require_name("preset", preset, GPT2_PRESETS)
    from transformers import GPT2Config, GPT2LMHeadModel

    fields: dict[str, Any] = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    fields |= {**GPT2_PRESETS[preset], **overrides}
    known = GPT2Config().to_dict()
    for name in overrides:
        require_name("field of GPT2Config", name, known)
    for name in GPT2_PRESETS[preset]:
        whole(name, fields[name])
    if fields["vocab_size"] <= GPT2Config().eos_token_id:
        # The token that starts and ends GPT-2's texts does not exist: transformers would warn.
        fields = {"bos_token_id": None, "eos_token_id": None, **fields}
    width, heads = fields["n_embd"], fields["n_head"]
    require(width % heads == 0, f"n_embd {width} is no multiple of n_head {heads}.")
    rows = fields["vocab_size"] + fields["n_positions"] + 12 * fields["n_layer"] * width
    require_memory(
        4 * rows * width,
        f"a GPT-2 with n_layer {fields['n_layer']}, n_embd {width}, vocab_size "
        f"{fields['vocab_size']} and n_positions {fields['n_positions']}",
    )
    require(fields["n_layer"] <= MOST_BLOCKS, f"n_layer must be at most {MOST_BLOCKS:,}.")
    try:
        model = GPT2LMHeadModel(GPT2Config(**fields))
    except Exception as error:  # each version of transformers checks its fields in its own way
        given = ", ".join(f"{name}={shown(value)}" for name, value in overrides.items())
        raise UsageError(f"transformers makes no GPT-2 of {given}: {shown(str(error))}.") from error
    model.loss_type = "ForCausalLM"  # what it computes anyway, after a warning
    return model


@extras.named("post_norm_gpt")
def post_norm_gpt(like: GPT2LMHeadModel) -> OpenAIGPTLMHeadModel:
    """Build the first GPT, with LayerNorm after each sum, in the sizes of a given GPT-2.

    It is transformers' `OpenAIGPTLMHeadModel` (Radford et al. 2018), and has the weights that
    transformers draws until ``initialize_(model, "gpt2")`` sets them.

    >>> model = post_norm_gpt(gpt2("nano12", n_layer=2))
    >>> len(model.transformer.h), model.config.n_embd
    (2, 96)
    """
    from transformers import OpenAIGPTConfig, OpenAIGPTLMHeadModel

    for name in ("config", "transformer"):
        require(hasattr(like, name), f"like must be a GPT-2, not {shown(like)}.")
    names = (*GPT2_PRESETS["124m"], "resid_pdrop", "embd_pdrop", "attn_pdrop", "layer_norm_epsilon")
    fields = {name: getattr(like.config, name) for name in names}
    return OpenAIGPTLMHeadModel(OpenAIGPTConfig(**fields))


def training_flops_per_token(model: GPT2LMHeadModel) -> int:
    """Return the operations of a forward and a backward pass, per token of a passage.

    Floating-point operations, ``6 n + 12 n_layer n_embd n_positions``, with `n` the parameters
    without the position embedding, which is only added; the output layer counts, and being the
    token embedding it counts once. Chowdhery et al. (2022), appendix B; recomputation is not
    counted, and attention as if it were not causal.
    """
    wpe = getattr(getattr(model, "transformer", None), "wpe", None)
    require(wpe is not None, f"model must be a GPT-2, not {shown(model)}.")
    n = sum(p.numel() for p in model.parameters()) - model.transformer.wpe.weight.numel()
    config = model.config
    return 6 * n + 12 * config.n_layer * config.n_embd * config.n_positions
