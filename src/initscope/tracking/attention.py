"""Measure the logits and the entropy of attention while a model computes it.

Whatever computes it, in torch's own attention, `scaled_dot_product_attention` or a softmax inside a
module that holds q: the call is seen, and its logits are computed once more for what is measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from initscope.checks import require
from initscope.tracking.matrices import WeightMatrix, unwrapped
from initscope.tracking.statistics import MatrixStatistics, at_least_float32

__all__: list[str] = []  # for this package alone

STATS = ("logit_std", "entropy", "entropy_share", "largest_weight")
SOFTMAX = (functional.softmax, torch.softmax, torch.Tensor.softmax)


@dataclass(frozen=True, eq=False)
class AttentionLayer:
    """One module that attends."""

    layer: int
    role: str
    module: nn.Module


def find_attention(model: nn.Module, matrices: Sequence[WeightMatrix]) -> list[AttentionLayer]:
    """Return the modules that hold the queries among `matrices`; `UsageError` if there is none."""
    model = unwrapped(model)
    found: dict[nn.Module, AttentionLayer] = {}
    for matrix in matrices:
        name, n_adapted, _ = matrix.role.partition(":")
        stack, _, end = name.rpartition("_")
        if name in ("q_a", "q_b"):
            stack, end = "", "q"
        if end != "q" or n_adapted:
            continue
        module = matrix.module
        if not isinstance(module, nn.MultiheadAttention):
            path = [part for part in matrix.name.split(".")[:-1] if part != "base_layer"]
            module = model.get_submodule(".".join(path[:-1]))
        role = f"{stack}_attention" if stack else "attention"
        found.setdefault(module, AttentionLayer(matrix.layer, role, module))
    require(
        bool(found),
        f"quantities hold 'attention', and {type(model).__name__} has no matrix of role q whose "
        f"attention could be watched.",
    )
    return list(found.values())


class AttentionWatch:
    """Measure the attention of the first example in one pass."""

    def __init__(self, layers: Sequence[AttentionLayer]) -> None:
        self._layers = layers
        self._seen: dict[AttentionLayer, torch.Tensor] = {}
        self._handles: list[Any] = []
        self._modes: list[_Mode] = []
        self._started = False

    def start(self) -> None:
        """Watch the next pass."""
        self.stop()
        self._seen, self._started = {}, True
        for layer in self._layers:
            self._handles += [
                layer.module.register_forward_pre_hook(partial(self._enter, layer)),
                layer.module.register_forward_hook(self._leave, always_call=True),
            ]

    def stop(self) -> None:
        """End the watch; what was seen is kept."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def statistics(self, trained: bool) -> list[MatrixStatistics]:
        """Return what was seen; `UsageError` if nothing was in a pass that trained."""
        if not self._started:
            return []
        self._started = False
        seen, self._seen = self._seen, {}
        if not seen:
            require(
                not trained,
                "no attention was seen, though there are gradients: the model is compiled, or "
                "attends by a kernel of its own. Leave 'attention' out of the quantities, or give "
                "it attn_implementation='sdpa' or 'eager'.",
            )
            return []
        labels = [("attention", stat) for stat in STATS]
        return [MatrixStatistics(list(seen), torch.stack(list(seen.values())), labels, _as_is)]

    def _enter(self, layer: AttentionLayer, module: nn.Module, inputs: Any) -> None:
        # A pass that checkpointing makes without gradients, or an evaluation, is not measured.
        silent = layer in self._seen or not torch.is_grad_enabled()
        mode = _Mode(None if silent else partial(self._seen.__setitem__, layer))
        mode.__enter__()
        self._modes.append(mode)

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._modes.pop().__exit__(None, None, None)


def _as_is(raw: Any) -> Any:
    return raw


class _Mode(TorchFunctionMode):
    """See the calls that attend, of torch's functions."""

    def __init__(self, keep: Any) -> None:
        super().__init__()
        self._keep = keep

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call `func`, and measure what it attends."""
        kwargs = kwargs or {}
        if self._keep is None:
            return func(*args, **kwargs)
        logits = None
        with torch.no_grad():
            if func is functional.scaled_dot_product_attention:
                logits = _logits(*args, **kwargs)
            elif func is functional.multi_head_attention_forward:
                again = {"training": False, "need_weights": True, "average_attn_weights": False}
                weights: Any = func(*args, **(kwargs | again))[1]
                logits = weights.log()
            elif func in SOFTMAX and args and args[0].dim() >= 3:
                logits = args[0]
            if logits is not None:
                self._keep(attention_statistics(logits[:1]))
                self._keep = None
        return func(*args, **kwargs)


def _logits(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """Return the logits of `scaled_dot_product_attention` for the first example, masked."""
    query, key = (at_least_float32(tensor[:1]) for tensor in (query, key))
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    logits = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        visible = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).tril()
        logits = logits.masked_fill(~visible, -math.inf)
    if attn_mask is not None:
        mask = attn_mask[:1] if attn_mask.dim() == query.dim() else attn_mask
        if mask.dtype == torch.bool:
            return logits.masked_fill(~mask, -math.inf)
        logits = logits + mask
    return logits


def attention_statistics(logits: torch.Tensor) -> torch.Tensor:
    """Return :data:`STATS` over the queries that see two keys or more, each one's logits a row."""
    logits = at_least_float32(logits)
    visible = logits > torch.finfo(logits.dtype).min / 2
    visible &= logits > -1e30  # what masks of narrower formats are
    n = visible.sum(-1)
    rows = n >= 2
    masked = logits.masked_fill(~visible, 0.0)
    mean = masked.sum(-1) / n.clamp(min=1)
    deviations = (masked - mean[..., None]).masked_fill(~visible, 0.0)
    weights = torch.softmax(logits.masked_fill(~visible, -math.inf), -1).nan_to_num(0.0)
    entropy = torch.special.entr(weights).sum(-1)
    of_row = torch.stack(
        [
            deviations.square().sum(-1) / n.clamp(min=1),
            entropy,
            entropy / n.clamp(min=2).log(),
            weights.amax(-1),
        ]
    )
    found = torch.where(rows, of_row, 0.0).flatten(1).sum(1) / rows.sum()
    found[0] = found[0].sqrt()
    return found
