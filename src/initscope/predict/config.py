"""Read the sizes of a transformer from its config.json, without transformers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from initscope.errors import UsageError, shown
from initscope.scalars import file_path, is_number, require, whole

__all__ = ["TransformerConfig"]

LONGEST_FILE = 10_000_000
"""Bytes of a config.json; the longest have a label for each of thousands of classes."""

MOST_BLOCKS = 10_000

NAMES = {
    "n_layer": ("n_layer", "num_hidden_layers", "num_layers", "n_layers"),
    "n_embd": ("n_embd", "hidden_size", "d_model", "dim"),
    "n_head": ("n_head", "num_attention_heads", "num_heads", "n_heads"),
    "n_kv_head": ("num_key_value_heads", "num_kv_heads", "n_head_kv"),
    "mlp_width": ("n_inner", "intermediate_size", "ffn_dim", "ffn_hidden_size", "hidden_dim"),
    "vocab_size": ("vocab_size",),
    "n_positions": ("n_positions", "max_position_embeddings", "max_sequence_length", "seq_length"),
    "std": ("initializer_range", "init_std"),
    "activation": ("activation_function", "hidden_activation", "hidden_act", "activation"),
    "epsilon": ("layer_norm_epsilon", "rms_norm_eps", "layer_norm_eps", "norm_epsilon"),
}
"""What each size is called in the files of the families, the first that is there."""

ACTIVATION_NAMES = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
"""Activations of transformers by their name in :data:`initscope.theory.ACTIVATIONS`."""


@dataclass(frozen=True)
class _Family:
    """What the file of a model does not say, because all of its family have it."""

    activation: str = "silu"
    epsilon: float = 1e-6
    std: float = 0.02
    gated: bool = True
    learned_positions: bool = False
    tied: bool = False
    residual_scaling: bool = False
    scaled_embedding: bool = False  # by the root of the width, before the first block


_GPT2 = _Family("gelu_new", 1e-5, 0.02, False, True, True, True)
_FAMILIES = {
    "gpt2": _GPT2,
    "gpt_bigcode": _GPT2,
    "opt": _Family("relu", 1e-5, 0.02, False, True, True),
    "starcoder2": _Family("gelu_pytorch_tanh", 1e-5, 0.018042, gated=False, tied=True),
    "gemma": _Family("gelu_pytorch_tanh", tied=True, scaled_embedding=True),
    "olmo": _Family(epsilon=1e-5),
    **dict.fromkeys(("llama", "mistral", "ministral", "qwen2"), _Family()),
}
"""Families whose blocks are known: each branch reads a norm of the stream, attention then MLP."""

_OTHER = _Family("gelu", 1e-5)


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of a transformer, and what is known of its blocks.

    Attributes
    ----------
    family
        `model_type` of transformers, for example ``"llama"``.
    n_layer, n_embd, n_head, n_kv_head, head_dim
        Blocks, channels, query heads, heads of keys and values, and the width of a head.
    mlp_width
        Hidden units of the MLP.
    vocab_size, n_positions
        Size of the vocabulary, and the longest sequence in tokens; 0 where the file does not say.
    std
        Standard deviation of the initial weights, per element.
    activation
        Name as in :data:`initscope.theory.ACTIVATIONS`; empty if it is none of these.
    epsilon
        Of the norms.
    gated
        Whether the MLP has a gate.
    learned_positions
        Whether positions have an embedding.
    tied
        Whether the output layer has the weight of the token embedding.
    residual_scaling
        Whether matrices that write to the stream start at std / sqrt(2 n_layer).
    scaled_embedding
        Whether embeddings are multiplied by sqrt(n_embd).
    unknown
        Why nothing is known of the signal in the blocks; empty if it is.

    Examples
    --------
    >>> config = TransformerConfig.read({"model_type": "gpt2", "n_layer": 2, "n_embd": 64,
    ...                                  "n_head": 4, "vocab_size": 100})
    >>> config.mlp_width, config.residual_scaling, config.unknown
    (256, True, '')
    """

    family: str
    n_layer: int
    n_embd: int
    n_head: int
    n_kv_head: int
    head_dim: int
    mlp_width: int
    vocab_size: int
    n_positions: int
    std: float
    activation: str
    epsilon: float
    gated: bool
    learned_positions: bool
    tied: bool
    residual_scaling: bool
    scaled_embedding: bool
    unknown: str

    @classmethod
    def read(cls, config: Any) -> TransformerConfig:
        """Read a config.json of transformers: the file, its folder, a mapping, or the object.

        Raises
        ------
        UsageError
            If there is no such file, it is no JSON, or it does not say how many blocks or channels
            there are.
        """
        values = _mapping(config)
        for part in ("text_config", "llm_config"):  # of models that see or hear
            if isinstance(values.get(part), Mapping) and _first(values, NAMES["n_layer"]) is None:
                values = values[part]
        family_name = str(values.get("model_type", ""))
        family = _FAMILIES.get(family_name, _OTHER)

        def size(name: str, default: int | None = None) -> int:
            value = _first(values, NAMES[name])
            if value is None and default is not None:
                return default
            names = " or ".join(NAMES[name])
            require(value is not None, f"the config names no size {names}.")
            most = MOST_BLOCKS if name == "n_layer" else 10**9
            return whole(f"{name} of the config", value, at_most=most)

        width, heads = size("n_embd"), size("n_head", 1)
        head = values.get("head_dim")
        if head is None:
            require(width % heads == 0, f"n_embd {width} of the config is no multiple of {heads}.")
            head = width // heads
        kv_heads = 1 if values.get("multi_query") is True else size("n_kv_head", heads)
        std = _number("std", _first(values, NAMES["std"]), family.std)
        given = str(_first(values, NAMES["activation"]) or family.activation)
        found = cls(
            family=family_name,
            n_layer=size("n_layer"),
            n_embd=width,
            n_head=heads,
            n_kv_head=kv_heads,
            head_dim=whole("head_dim of the config", head, at_most=10**9),
            mlp_width=size("mlp_width", 4 * width),
            vocab_size=size("vocab_size", 0),
            n_positions=size("n_positions", 0),
            std=std,
            activation=ACTIVATION_NAMES.get(given, ""),
            epsilon=_number("epsilon", _first(values, NAMES["epsilon"]), family.epsilon),
            gated=family.gated if family is not _OTHER else given in ("silu", "swish"),
            learned_positions=family.learned_positions,
            tied=bool(values.get("tie_word_embeddings", family.tied)),
            residual_scaling=family.residual_scaling,
            scaled_embedding=family.scaled_embedding,
            unknown=_unknown(family_name, values, given),
        )
        return found


def _unknown(family: str, values: Mapping[str, Any], activation: str) -> str:
    """Return why the signal in the blocks cannot be predicted; empty if it can."""
    if family not in _FAMILIES:
        named = f"of model_type {shown(family)}" if family else "without a model_type"
        return (
            f"how the blocks {named} are built is not known, and their matrices are taken to be "
            f"those of one attention and one MLP (known: {', '.join(_FAMILIES)})"
        )
    if family == "opt" and values.get("do_layer_norm_before") is False:
        return "this OPT has its norms after the sums"
    if family == "opt" and values.get("word_embed_proj_dim") not in (None, values["hidden_size"]):
        return "this OPT projects its embeddings"
    if values.get("scale_attn_weights") is False or values.get("reorder_and_upcast_attn") is True:
        return "attention is scaled in another way"
    if activation not in ACTIVATION_NAMES:
        return f"the activation {shown(activation)} is not known"
    return ""


def _mapping(config: Any) -> Mapping[str, Any]:
    """Return the values of a configuration by name."""
    if isinstance(config, Mapping):
        return config
    if hasattr(config, "to_dict") and hasattr(config, "model_type"):
        found: Mapping[str, Any] = config.to_dict()
        return found
    path = file_path("config", config)
    name = shown(str(path))[1:-1]
    try:
        if path.is_dir():
            path = path / "config.json"
        require(path.stat().st_size <= LONGEST_FILE, f"the config {name} is too large for one.")
        values = json.loads(Path(path).read_text(encoding="utf8"))
    except UsageError:
        raise
    except FileNotFoundError:
        raise UsageError(f"there is no file {name} for the config.") from None
    except (OSError, ValueError, RecursionError) as error:  # also of a name that cannot be one
        reason = shown(str(error))
        raise UsageError(f"the config {name} is no JSON that can be read: {reason}.") from None
    require(isinstance(values, dict), f"the config {name} must hold a mapping of values by name.")
    return dict(values)


def _first(values: Mapping[str, Any], names: Iterable[str]) -> Any:
    """Return the first of these values that is given."""
    return next((values[name] for name in names if values.get(name) is not None), None)


def _number(name: str, value: Any, default: float) -> float:
    if value is None:
        return default
    require(
        is_number(value, 0) and 0 < value <= 1e3,
        f"{name} of the config must be a number above 0, not {shown(value)}.",
    )
    return float(value)
