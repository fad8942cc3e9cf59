"""What passes along the residual stream of a real transformer: GPT-2 and, post-LN, GPT.

What to expect is in :func:`initscope.theory.residual_stream_variance` and
:func:`initscope.theory.residual_gradient_variance`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from initscope import checks
from initscope.checks import is_number, require, require_name
from initscope.errors import UsageError, shown
from initscope.init import initialize_
from initscope.memory import require_memory
from initscope.models.gpt import GPT2_PRESETS, gpt2, post_norm_gpt
from initscope.tracking.hooks import Hooks

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["draw_narrow_models", "stream_gradients", "stream_profile", "weight_gradients"]


QUANTITIES = ("stream", "gradient", "query over value")


def _blocks(model: PreTrainedModel) -> nn.ModuleList:
    blocks = getattr(getattr(model, "transformer", None), "h", None)
    if not isinstance(blocks, nn.ModuleList) or not len(blocks):
        raise UsageError(
            f"the model {type(model).__name__} has no blocks transformer.h, as GPT-2 has."
        )
    return blocks


def _collect_stream(model: PreTrainedModel, hooks: Hooks) -> list[torch.Tensor]:
    """Return a list that collects the stream before the first block and after each."""
    blocks = _blocks(model)
    stream: list[torch.Tensor] = []
    hooks.before_forward(blocks[0], lambda module, inputs: stream.append(inputs[0]))
    for block in blocks:
        hooks.after_forward(block, lambda module, inputs, output: stream.append(_hidden(output)))
    return stream


def _hidden(output: Any) -> torch.Tensor:
    """Return the hidden states in the output of a block, which may be the first of several."""
    return output if isinstance(output, torch.Tensor) else output[0]


def _variance(x: torch.Tensor) -> float:
    """Return the variance over channels at each position, averaged over positions and sequences."""
    return x.detach().double().var(-1, correction=0).mean().item()


def _mean_square(x: torch.Tensor) -> float:
    return x.detach().double().square().mean().item()


def _check_tokens(name: str, model: PreTrainedModel, tokens: torch.Tensor) -> None:
    """Raise unless `tokens` are sequences that `model` can read."""
    _blocks(model)
    checks.module("model", model)
    checks.tensor(
        name, tokens, shape="a batch and a position", good=lambda t: t.dim() == 2 and t.numel() > 0,
        floating=False,
    )  # fmt: skip
    size, longest = model.config.vocab_size, model.config.n_positions
    require(
        tokens.shape[1] <= longest,
        f"{name} have {tokens.shape[1]} positions, and the model reads {longest}.",
    )
    require(
        int(tokens.min()) >= 0 and int(tokens.max()) < size,
        f"{name} must be numbers from 0 to {size - 1}: the vocabulary of the model.",
    )


def _check_labels(model: PreTrainedModel, tokens: torch.Tensor, labels: torch.Tensor) -> None:
    """Raise unless `model` can read `tokens`, and `labels` say what follows each."""
    _check_tokens("tokens", model, tokens)
    _check_tokens("labels", model, labels)
    if tokens.shape != labels.shape:
        raise UsageError(
            f"labels have shape {tuple(labels.shape)}, tokens {tuple(tokens.shape)}: give one "
            "label for each token."
        )


@torch.no_grad()
def stream_profile(model: PreTrainedModel, tokens: torch.Tensor) -> pd.DataFrame:
    """Measure the variance of the residual stream and of what each block makes of it.

    Parameters
    ----------
    model
        transformers' `GPT2LMHeadModel` or `OpenAIGPTLMHeadModel`; not changed.
    tokens
        Shape ``(batch, seq_len)``.

    Returns
    -------
    pandas.DataFrame
        Columns ``depth``, ``quantity``, ``value``. ``stream`` is the variance over channels of the
        stream, at depth 0 that of the embeddings, at depth l after block l. Of block l are mean
        squares per element of ``query``, ``key`` and ``value``, of the attention ``logit`` (over
        heads and all pairs of a token and one before it or itself), and of what ``attention`` and
        the ``mlp`` add to the stream.

    Raises
    ------
    UsageError
        If `model` has no blocks ``transformer.h``.

    Examples
    --------
    >>> import torch
    >>> from initscope.models import gpt2
    >>> model = gpt2("nano12", n_layer=2, n_embd=8, n_head=2, n_positions=4, vocab_size=16)
    >>> sorted(set(stream_profile(model, torch.arange(4)[None])["quantity"]))
    ['attention', 'key', 'logit', 'mlp', 'query', 'stream', 'value']
    """
    _check_tokens("tokens", model, tokens)
    rows: list[tuple[int, str, float]] = []
    heads = model.config.n_head

    def projected(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        depth = len(stream)  # the embeddings are in: that of this block
        query, key, value = output.chunk(3, dim=-1)
        for name, part in (("query", query), ("key", key), ("value", value)):
            rows.append((depth, name, _mean_square(part)))
        q, k = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (query, key))
        logits = q @ k.mT / q.shape[-1] ** 0.5
        seen = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).tril()
        rows.append((depth, "logit", _mean_square(logits[..., seen])))

    def added(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        rows.append((len(stream), name, _mean_square(_hidden(output))))

    with Hooks() as hooks:
        stream = _collect_stream(model, hooks)
        for module in _blocks(model):
            block: Any = module
            hooks.after_forward(block.attn.c_attn, projected)
            hooks.after_forward(block.attn, partial(added, "attention"))
            hooks.after_forward(block.mlp, partial(added, "mlp"))
        model.base_model(tokens)
    rows += [(depth, "stream", _variance(x)) for depth, x in enumerate(stream)]
    return pd.DataFrame(rows, columns=["depth", "quantity", "value"])


def stream_gradients(
    model: PreTrainedModel, tokens: torch.Tensor, labels: torch.Tensor
) -> pd.Series:
    """Measure the mean square of the gradient along the residual stream.

    Parameters
    ----------
    model
        As in :func:`stream_profile`; its parameters and their gradients are not changed.
    tokens, labels
        Shape ``(batch, seq_len)``: at each position the token and what should follow. The loss is
        the cross-entropy, summed.

    Returns
    -------
    pandas.Series
        Mean square per element of dL/dx_l, indexed by the depth l from 0 (the embeddings) to the
        number of blocks.

    Raises
    ------
    UsageError
        As :func:`stream_profile`; labels of another shape than the tokens.

    Examples
    --------
    >>> import torch
    >>> from initscope.models import gpt2
    >>> model = gpt2("nano12", n_layer=2, n_embd=8, n_head=2, n_positions=4, vocab_size=16)
    >>> tokens = torch.arange(4)[None]
    >>> len(stream_gradients(model, tokens, tokens))
    3
    """
    _check_labels(model, tokens, labels)
    with Hooks() as hooks, torch.enable_grad():
        stream = _collect_stream(model, hooks)
        logits = model(tokens).logits
        loss = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
        gradients = torch.autograd.grad(loss, stream)
    values = [_mean_square(gradient) for gradient in gradients]
    return pd.Series(values, pd.RangeIndex(len(values), name="depth"), name="gradient")


def weight_gradients(
    model: PreTrainedModel, tokens: torch.Tensor, labels: torch.Tensor
) -> pd.DataFrame:
    """Measure the mean square of the gradient of every matrix in the blocks.

    Parameters
    ----------
    model, tokens, labels
        As in :func:`stream_gradients`, the loss too.

    Returns
    -------
    pandas.DataFrame
        Mean square per element, one row a block from 1, one column each of ``query``, ``key``,
        ``value``, ``attention_output``, ``mlp_input`` and ``mlp_output``.

    Raises
    ------
    UsageError
        As :func:`stream_gradients`.

    Examples
    --------
    >>> import torch
    >>> from initscope.models import gpt2
    >>> model = gpt2("nano12", n_layer=2, n_embd=8, n_head=2, n_positions=4, vocab_size=16)
    >>> tokens = torch.arange(4)[None]
    >>> weight_gradients(model, tokens, tokens).shape
    (2, 6)
    """
    _check_labels(model, tokens, labels)
    blocks: list[Any] = list(_blocks(model))
    weights = [
        module.weight
        for block in blocks
        for module in (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj)
    ]
    with torch.enable_grad():
        logits = model(tokens).logits
        loss = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
        gradients = torch.autograd.grad(loss, weights)
    rows = [
        [_mean_square(part) for part in (*qkv.chunk(3, dim=1), *rest)]
        for qkv, *rest in zip(*[iter(gradients)] * 4, strict=True)
    ]
    columns = ["query", "key", "value", "attention_output", "mlp_input", "mlp_output"]
    return pd.DataFrame(rows, pd.RangeIndex(1, len(rows) + 1, name="depth"), columns)


def draw_narrow_models(
    quantity: str,
    draws: int,
    *,
    width: int,
    n_layer: int,
    std: float,
    batch: int,
    seq_len: int,
    scaled: bool = True,
    post_norm: bool = False,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure the residual stream of many narrow models that differ by their draw alone.

    Each has four heads and a vocabulary of 4,096 tokens, so that few tokens of a sequence are
    equal, and is computed in float64.

    Parameters
    ----------
    quantity
        ``"stream"``, its variance at each depth (:func:`stream_profile`); ``"gradient"``, that
        of the gradient for random labels, over its value after the last block
        (:func:`stream_gradients`); or ``"query over value"``, the mean square of the gradient of
        the query matrix over that of the value matrix, by block (:func:`weight_gradients`).
    draws
        Number of models.
    width, n_layer
        Channels and blocks.
    std
        Std of the weights, as the scheme ``"gpt2"`` takes it.
    batch, seq_len
        Shape of the random tokens, which all models read.
    scaled
        Whether the matrices that write to the stream have std / sqrt(2 n_layer).
    post_norm
        Whether it is a post-LN model (:func:`initscope.models.post_norm_gpt`) instead of GPT-2.
    seed
        Seed of the weights, tokens and labels.

    Returns
    -------
    pandas.DataFrame
        Columns ``draw``, ``depth`` (block, 0 for the embeddings), ``value``.

    Examples
    --------
    >>> model = {"width": 8, "n_layer": 1, "std": 0.02}
    >>> draw_narrow_models("stream", 2, **model, batch=2, seq_len=4)["depth"].tolist()
    [0, 1, 0, 1]
    """
    require_name("quantity", quantity, QUANTITIES)
    for name, value in (("draws", draws), ("batch", batch), ("seq_len", seq_len)):
        require(
            is_number(value, 1, whole=True),
            f"{name} must be a whole number of at least 1, not {shown(value)}.",
        )
    for name, value in (("width", width), ("n_layer", n_layer)):
        checks.whole(name, value)
    for name, value in (("scaled", scaled), ("post_norm", post_norm)):
        checks.flag(name, value)
    checks.whole("seed", seed, 0)
    longest = GPT2_PRESETS["nano12"]["n_positions"]
    require(seq_len <= longest, f"seq_len must be at most {longest}, not {shown(seq_len)}.")
    require_memory(30 * draws * (n_layer + 1), f"draws = {shown(draws)} with n_layer = {n_layer:,}")
    # The stream, and the logits, which are far more.
    kept = 8 * batch * seq_len * (12 * width + 2 * 4096)
    require_memory(kept, f"batch = {shown(batch)} with width = {width:,}")
    generator = torch.Generator().manual_seed(seed)
    vocabulary = 4096
    model: Any = gpt2("nano12", n_embd=width, n_layer=n_layer, vocab_size=vocabulary)
    if post_norm:
        model = post_norm_gpt(model)
    model = model.double()
    tokens = torch.randint(vocabulary, (batch, seq_len), generator=generator)
    found = []
    for draw in range(draws):
        initialize_(model, "gpt2", std=std, generator=generator)
        if not scaled:
            initialize_(model, "normal", std=std, generator=generator)
        if quantity == "stream":
            profile = stream_profile(model, tokens)
            values = profile[profile["quantity"] == "stream"].set_index("depth")["value"]
        else:
            labels = torch.randint(vocabulary, tokens.shape, generator=generator)
            if quantity == "gradient":
                values = stream_gradients(model, tokens, labels)
                values = values / values.iloc[-1]
            else:
                of_weights = weight_gradients(model, tokens, labels)
                values = of_weights["query"] / of_weights["value"]
        found.append(pd.DataFrame({"draw": draw, "depth": values.index, "value": values.array}))
    return pd.concat(found, ignore_index=True)
