"""What the weights of known architectures are called, and how fused ones are laid out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from initscope.errors import UsageError

__all__: list[str] = []  # for this package alone

ATTENTION_INPUTS = {
    "q": ("q_proj", "query", "q", "q_lin", "wq", "Wq", "to_q", "query_proj", "q_attn"),
    "k": ("k_proj", "key", "k", "k_lin", "wk", "Wk", "to_k", "key_proj"),
    "v": ("v_proj", "value", "v", "v_lin", "wv", "Wv", "to_v", "value_proj"),
}
FUSED = ("c_attn", "query_key_value", "qkv_proj", "Wqkv", "qkv", "attn_qkv", "in_proj")
"""Names under which Q, K and V are one matrix."""

INTERLEAVED = ("GPTNeoX", "Bloom", "Persimmon")
"""Families whose `query_key_value` holds q, k and v of one head after the other."""

LOW_RANK = {"q_a_proj": "q_a", "q_b_proj": "q_b", "kv_a_proj_with_mqa": "kv_a"}
"""Multi-head latent attention: a narrow projection, and one from it to the heads."""

ATTENTION_OUTPUTS = (
    "c_proj", "o_proj", "out_proj", "dense", "o", "out_lin", "wo", "Wo", "to_out", "proj",
)  # fmt: skip

MLP_ROLES = {
    "mlp_in": (
        "c_fc", "fc_in", "fc1", "dense_h_to_4h", "up_proj", "wi", "wi_1", "lin1", "linear1",
        "intermediate.dense", "intermediate_dense", "ffn",
    ),
    "mlp_gate": ("gate_proj", "wi_0"),
    "mlp_out": (
        "c_proj", "fc_out", "fc2", "dense_4h_to_h", "down_proj", "wo", "Wo", "lin2", "linear2",
        "output.dense", "output_dense", "ffn_output",
    ),
}  # fmt: skip
FUSED_MLP = ("gate_up_proj", "Wi")
"""Names under which the gate and the input of the MLP are one matrix, the gate first."""

EMBEDDINGS = {
    "token_embedding": (
        "wte", "embed_tokens", "word_embeddings", "embed_in", "tokens_embed", "shared", "wt",
        "tok_embeddings",
    ),
    "position_embedding": ("wpe", "position_embeddings", "embed_positions", "positions_embed"),
    "token_type_embedding": ("token_type_embeddings",),
}  # fmt: skip
OUTPUTS = ("lm_head", "embed_out", "output_projection")

WRAPPERS = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")
"""Names that a wrapper of one block puts into a path."""

INTERLEAVED_EXPERTS = ("GptOss", "OpenAIMoe")
"""Families whose `gate_up_proj` holds the gate and the input of one unit after the other."""

EXPERT_ROLES = {
    "mlp_in": ("w3", "v1", "input_linear"),
    "mlp_gate": ("w1",),
    "mlp_out": ("w2", "output_linear"),
}
"""What matrices of experts are called beside the names of :data:`MLP_ROLES`."""

VECTORS = (
    "position_embeddings", "position_embedding", "pos_embed", "pos_embedding", "cls_token",
    "class_embedding", "mask_token", "distillation_token", "register_tokens", "masked_spec_embed",
    "relative_position_bias_table",
)  # fmt: skip
"""Parameters that are rows of an embedding without a module of its own."""

ZERO_CENTRED_NORMS = (
    "Gemma2RMSNorm", "Gemma3RMSNorm", "GemmaRMSNorm", "MiniMaxM3VLRMSNorm",
    "MuseGlimmerTextCenteredRMSNorm", "MuseSparkTextCenteredRMSNorm",
    "MuseSparkTextInputScaledRMSNorm", "NemotronLayerNorm1P", "Qwen3NextRMSNorm",
    "Qwen3_5MoeRMSNorm", "Qwen3_5RMSNorm", "Qwen4ExpTextRMSNorm", "RecurrentGemmaRMSNorm",
    "Step3p7RMSNorm", "T5Gemma2RMSNorm", "T5GemmaRMSNorm", "VaultGemmaRMSNorm",
    "VideoPrismLayerNorm",
)  # fmt: skip
"""Norms that multiply by 1 + weight, so that a weight of 0 is a gain of 1."""

STEP_SIZES = "step sizes of a state space, spread on purpose"
OWN_ROLES = {
    "RwkvSelfAttention": {"output": "attention_out"},
    "RwkvFeedForward": {"key": "mlp_in", "value": "mlp_out"},
}
"""Roles of the matrices of classes whose names say something else elsewhere."""

BRANCH_LISTS = {"attentions": "attention", "ffns": "mlp"}
"""Lists of XLM that hold one branch of every block, and what the branch is."""

ON_PURPOSE = {
    "A_log": "decay rates of a state space, spread on purpose",
    "D": "skip of a state space",
    "dt_bias": STEP_SIZES,
    "time_decay": "decay rates of RWKV, spread on purpose",
    "time_first": "bonus of RWKV for the present token, spread on purpose",
    "layer_scale_parameter": "layer scale, a small number on purpose",
    "lambda1": "layer scale, a small number on purpose",
    "lambda_1": "layer scale, a small number on purpose",
    "lambda_2": "layer scale, a small number on purpose",
    "logit_scale": "temperature of the logits",
}
"""Parameters whose values at the start are part of the method, and why."""

CROSS_ATTENTION = (
    "crossattention", "encoder_attn", "EncDecAttention", "cross_attn", "multihead_attn",
)  # fmt: skip
TOWER_ENDS = ("_model", "_tower", "_encoder")
"""What follows the name of a tower in the names of modules."""


@dataclass(frozen=True)
class UnitRange:
    """Select the units of one matrix in a fused one: `length` from `start` on, in each group.

    The units (rows of `nn.Linear`, columns of `Conv1D`) stand in `groups` equal groups one after
    the other: one group where q, k and v are each in one piece, one for each head where the three
    of a head stand together.
    """

    groups: int
    start: int
    length: int

    def of(self, tensor: torch.Tensor, dim: int) -> torch.Tensor:
        """Return a view of these units of `tensor`, along `dim`."""
        dim %= tensor.dim()
        if self.groups > 1:
            tensor = tensor.unflatten(dim, (self.groups, -1))
            dim += 1
        return tensor.narrow(dim, self.start, self.length)


def is_attention_input(role: str) -> bool:
    """Return whether a role is q, k or v, in a stack of a name or without."""
    return role.rpartition("_")[2] in ATTENTION_INPUTS


def block_number(path: Sequence[str]) -> int | None:
    """Return the number, from 1, of the block that a module is in; None outside of blocks."""
    return next((int(part) + 1 for part in path if part.isdecimal()), None)


def stack_prefix(path: Sequence[str], two_stacks: bool) -> str:
    """Return the prefix that tells apart equal roles of a block, or of encoder and decoder."""
    stack = next((part for part in path if part in ("encoder", "decoder")), None)
    prefix = f"{stack}_" if two_stacks and stack else ""
    return f"{prefix}cross_" if any(part in CROSS_ATTENTION for part in path) else prefix


def outside_role(module: nn.Module, path: Sequence[str]) -> str:
    """Return the role of what is in no block: of embeddings and the output, or its name."""
    names = EMBEDDINGS if isinstance(module, nn.Embedding) else {"output": OUTPUTS}
    roles = [role for role, known in names.items() if path[-1:] and path[-1] in known]
    return roles[0] if roles else ".".join(path)


def in_attention(within: Sequence[str]) -> bool:
    """Return whether a path from a block on leads through attention."""
    return any("attn" in part.lower() or "attention" in part.lower() for part in within)


def block_roles(
    parent: nn.Module, path: Sequence[str], within: Sequence[str], n_out: int, n_in: int
) -> list[tuple[str, UnitRange | None]]:
    """Return the roles of a module of a block, `within` being its path from there."""
    leaf = path[-1]
    if in_attention(within):
        if leaf in FUSED:
            return _fused(parent, path, n_out, n_in)
        if leaf in LOW_RANK:
            return [(LOW_RANK[leaf], None)]
        if leaf == "kv_b_proj" and (latent := _latent(parent, n_out)):
            return latent
        roles = [role for role, known in ATTENTION_INPUTS.items() if leaf in known]
        if not roles and leaf in ATTENTION_OUTPUTS:
            roles = ["attention_out"]
        return [(roles[0] if roles else leaf, None)]
    if leaf in FUSED_MLP:
        half = n_out // 2
        return [("mlp_gate", UnitRange(1, 0, half)), ("mlp_in", UnitRange(1, half, half))]
    ends = (leaf, ".".join(path[-2:]))
    roles = [role for role, known in MLP_ROLES.items() if any(end in known for end in ends)]
    return [(roles[0] if roles else ".".join(within), None)]


def _fused(
    attention: Any, path: Sequence[str], n_out: int, n_in: int
) -> list[tuple[str, UnitRange | None]]:
    """Return the units of q, k and v in a fused matrix."""
    family = type(attention).__name__
    heads = _number(attention, "num_attention_heads", "num_heads", "n_heads", "n_head")
    if path[-1] == "query_key_value" and family.startswith("Falcon"):
        # One pair of k and v for a group of queries, for all of them, or for each.
        groups = _number(attention, "num_kv_heads") if attention.new_decoder_architecture else heads
        groups = 1 if attention.multi_query and not attention.new_decoder_architecture else groups
        width = attention.head_dim
        return _consecutive(groups, n_out // groups - 2 * width, width, width)
    if (path[-1] == "query_key_value" and family.startswith(INTERLEAVED)) or (
        family.startswith("GPTBigCode") and not attention.multi_query
    ):
        return _consecutive(heads, *[n_out // heads // 3] * 3)
    if family.startswith("CodeGen"):
        q, v, k = _consecutive(4, *[n_out // 12] * 3)  # made for four devices, v before k
        return [q, ("k", k[1]), ("v", v[1])]
    if path[-1] == "query_key_value":
        raise UsageError(
            f"{'.'.join(path)} fuses q, k and v, in an order that is not known for {family}. "
            f"Known: {', '.join(INTERLEAVED)}, Falcon, and matrices named "
            f"{', '.join(name for name in FUSED if name != 'query_key_value')}."
        )
    if n_out == 2 * n_in and any(part in CROSS_ATTENTION for part in path):
        return _consecutive(1, 0, n_in, n_in)[1:]  # k and v of what the encoder wrote
    if n_out == 3 * n_in or not heads:
        return _consecutive(1, *[n_out // 3] * 3)
    width = getattr(attention, "head_dim", None) or n_in // heads
    return _consecutive(1, heads * width, *[(n_out - heads * width) // 2] * 2)


def _latent(attention: nn.Module, n_out: int) -> list[tuple[str, UnitRange | None]]:
    """Return the units of k and v, head by head, in what expands a latent; none if unknown."""
    k, v = _number(attention, "qk_nope_head_dim"), _number(attention, "v_head_dim")
    if not k or not v or n_out % (k + v):
        return []
    heads = n_out // (k + v)
    return [("k_b", UnitRange(heads, 0, k)), ("v_b", UnitRange(heads, k, v))]


def _number(attention: nn.Module, *names: str) -> int:
    """Return the first of these sizes that an attention module or its config has; else 0."""
    for holder in (attention, getattr(attention, "config", None)):
        for name in names:
            if isinstance(value := getattr(holder, name, None), int):
                return value
    return 0


def _consecutive(groups: int, q: int, k: int, v: int) -> list[tuple[str, UnitRange | None]]:
    """Return ranges of these lengths, one after the other in each group."""
    return [
        ("q", UnitRange(groups, 0, q)),
        ("k", UnitRange(groups, q, k)),
        ("v", UnitRange(groups, q + k, v)),
    ]
