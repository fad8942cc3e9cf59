"""Transformers of a few thousand weights, one for each way of storing q, k and v."""

from __future__ import annotations

from collections.abc import Callable

import torch
import transformers
from torch import nn

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 64,
}
GPT_SIZES = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 64, "n_positions": 32}
NO_SPECIAL_TOKENS = {"bos_token_id": None, "eos_token_id": None}
DROPOUT = {"resid_pdrop": 0.1, "embd_pdrop": 0.1, "attn_pdrop": 0.1}
NO_DROPOUT = dict.fromkeys(DROPOUT, 0.0)


def gpt2(**fields: object) -> nn.Module:
    fields = {**GPT_SIZES, **NO_SPECIAL_TOKENS, **NO_DROPOUT, **fields}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**fields))


def llama(**fields: object) -> nn.Module:
    config = transformers.LlamaConfig(**{**SIZES, "num_key_value_heads": 2, **fields})
    return transformers.LlamaForCausalLM(config)


def gpt_neox(**fields: object) -> nn.Module:
    return transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(**{**SIZES, **fields}))


def bert(**fields: object) -> nn.Module:
    return transformers.BertForMaskedLM(transformers.BertConfig(**{**SIZES, **fields}))


def phi3() -> nn.Module:
    config = transformers.Phi3Config(
        **SIZES, num_key_value_heads=2, pad_token_id=0, bos_token_id=1, eos_token_id=2
    )
    return transformers.Phi3ForCausalLM(config)


def bloom() -> nn.Module:
    config = transformers.BloomConfig(hidden_size=32, n_layer=2, n_head=4, vocab_size=64)
    return transformers.BloomForCausalLM(config)


def falcon(**fields: object) -> nn.Module:
    return transformers.FalconForCausalLM(transformers.FalconConfig(**SIZES, **fields))


def bigcode(**fields: object) -> nn.Module:
    config = transformers.GPTBigCodeConfig(**GPT_SIZES, **NO_SPECIAL_TOKENS, **fields)
    return transformers.GPTBigCodeForCausalLM(config)


def codegen() -> nn.Module:
    config = transformers.CodeGenConfig(**GPT_SIZES, **NO_SPECIAL_TOKENS, rotary_dim=4)
    return transformers.CodeGenForCausalLM(config)


def opt() -> nn.Module:
    config = transformers.OPTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, ffn_dim=48, vocab_size=64,
        word_embed_proj_dim=32, max_position_embeddings=32,
    )  # fmt: skip
    return transformers.OPTForCausalLM(config)


FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "gpt2": gpt2,
    "llama": llama,
    "gpt_neox": gpt_neox,
    "bert": bert,
    "phi3": phi3,
    "bloom": bloom,
    "falcon, one k and v": falcon,
    "falcon, heads": lambda: falcon(multi_query=False),
    "falcon, groups": lambda: falcon(new_decoder_architecture=True, num_kv_heads=2),
    "bigcode, one k and v": bigcode,
    "bigcode, heads": lambda: bigcode(multi_query=False),
    "codegen": codegen,
    "opt": opt,
}


def build(family: str, seed: int = 0) -> nn.Module:
    """A model in which every weight matters: drawn with std 0.3, biases zero."""
    torch.manual_seed(seed)
    model = FAMILIES[family]()
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.dim() >= 2:
            nn.init.normal_(parameter, 0.0, 0.3, generator=generator)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    return model.eval()
