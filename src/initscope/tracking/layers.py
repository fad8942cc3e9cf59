"""Measure a model layer by layer on one batch."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from initscope import checks
from initscope.checks import require
from initscope.errors import UsageError, shown
from initscope.models.parameters import find_parameters
from initscope.models.places import VECTOR_KINDS
from initscope.tracking.coverage import ENOUGH
from initscope.tracking.layer_records import VarianceRecord, is_weight_layer, record_variances

__all__ = ["layer_variances"]

logger = logging.getLogger("initscope.tracking")


def layer_variances(
    model: nn.Module,
    inputs: torch.Tensor | Mapping[str, Any],
    labels: torch.Tensor | None = None,
    loss_fn: Callable[[Any, torch.Tensor], torch.Tensor] = cross_entropy,
    step: int = 0,
) -> pd.DataFrame:
    r"""Measure forward variance, backward variance and weight std of each layer on one batch.

    A layer is a call of an `nn.Linear`, of a convolution or of transformers' `Conv1D`, numbered
    from 1 in the order of execution; its `role` is the module's name in the model. The projections
    of `nn.MultiheadAttention` are layers of their own, ``attention.q``, ``attention.k``,
    ``attention.v`` and ``attention.out_proj``. With :math:`z` its output (the
    pre-activation) and :math:`W` its weight, the rows of each layer are

    ============= ======================== ======================================================
    kind          stat                     value
    ============= ======================== ======================================================
    `activation`  `forward_variance`       variance of the elements of z
    `activation`  `forward_mean_square`    mean square of the elements of z
    `activation`  `dead_fraction`          share of units or channels whose activation is 0 for
                                           every example; only if an activation module is called
                                           on z
    `gradient`    `backward_variance`      variance of the elements of dL/dz
    `gradient`    `backward_mean_square`   mean square of the elements of dL/dz
    `gradient`    `norm`                   Euclidean norm of dL/dW
    `weight`      `std`                    standard deviation of the elements of W
    ============= ======================== ======================================================

    Embeddings, experts in one tensor and recurrent layers are not measured; a line in the log
    (`logging`, "initscope.tracking") says what share of the weights was.

    Variances are per element, over batch and units together, around their common mean, divided
    by the number of elements; they are accumulated in float64. Values that overflow are reported
    as inf or NaN.

    The loss is normalized as `loss_fn` does it. The default averages over the batch of n
    examples, so that each row of dL/dz is 1/n of that example's own gradient, and the backward
    variance 1/n² of that for the summed loss,
    ``loss_fn=partial(cross_entropy, reduction="sum")``. Ratios between layers do not depend on it.

    The model is left as it was: parameters and their `grad` and `requires_grad`, buffers, train
    or eval mode (the batch is run in the one it is in), hooks, and the state of the random
    generators. Frozen weights are measured like the others; a weight that several layers share
    has one gradient, the sum over them, and its norm stands at each.

    Parameters
    ----------
    model
        Called as ``model(inputs)``, or ``model(**inputs)`` with a dictionary.
    inputs
        One batch, examples along the first dimension; or a dictionary of the model's arguments, as
        a tokenizer makes it.
    labels
        What `loss_fn` compares the output with. Without labels the loss in the output is propagated
        back, which models of transformers give when their arguments hold labels; if there is none,
        there are no rows of kind `gradient`.
    loss_fn
        ``loss_fn(model(inputs), labels)``, a scalar.
    step
        What stands in the column `step`.

    Returns
    -------
    pandas.DataFrame
        Columns ``step, layer, role, kind, stat, value``.

    Raises
    ------
    UsageError
        An empty batch, a loss that is not a scalar, or a model that calls no such layer. What
        `model` and `loss_fn` raise themselves is passed on as it is.

    Examples
    --------
    >>> from initscope.init import initialize_
    >>> from initscope.models.mlp import MLP
    >>> generator = torch.Generator().manual_seed(0)
    >>> model = MLP([512, 512, 512, 10])
    >>> given = initialize_(model, "kaiming", generator=generator)
    >>> frame = layer_variances(model, torch.randn(256, 512, generator=generator))
    >>> frame[frame.stat == "forward_variance"].value.round().tolist()
    [2.0, 2.0, 2.0]
    """
    checks.module("model", model)
    tensors = _batch_tensors(inputs)
    require(
        labels is None or (isinstance(labels, torch.Tensor) and not labels.is_meta),
        f"labels must be a tensor or None, not {shown(labels)}.",
    )
    checks.function("loss_fn", loss_fn)
    checks.whole("step", step, at_least=0)
    if any(tensor.numel() == 0 for tensor in tensors):
        raise UsageError("the batch is empty: variances need at least one example.")
    with _unchanged(model, tensors), record_variances(model) as record:
        outputs = model(**inputs) if isinstance(inputs, Mapping) else model(inputs)
        if not record.layers:
            raise UsageError(
                f"the model {type(model).__name__} calls no nn.Linear, convolution or Conv1D: "
                f"nothing to measure."
            )
        given = outputs.get("loss") if isinstance(outputs, Mapping) else None
        if labels is not None or given is not None:
            loss: Any = given if labels is None else loss_fn(outputs, labels)
            require(
                isinstance(loss, torch.Tensor) and loss.requires_grad,
                f"loss_fn must return a tensor that depends on the model, not {shown(loss)}.",
            )
            if loss.numel() != 1:
                raise UsageError(
                    f"the loss must be one number, not of shape {tuple(loss.shape)}: "
                    f"let loss_fn average or sum over the batch."
                )
            # Unlike loss.backward(), this leaves every `grad` alone; the hooks see the gradients.
            trainable = [weight for weight in model.parameters() if weight.requires_grad]
            torch.autograd.grad(loss, trainable, allow_unused=True)
    share, line = measured_share(model, record)
    logger.log(logging.INFO if share >= ENOUGH else logging.WARNING, "%s", line)
    return record.to_frame(step)


def measured_share(model: nn.Module, record: VarianceRecord) -> tuple[float, str]:
    """Return what share of the weights but for embeddings is in layers that were seen.

    Also a line that names the largest of the rest.
    """
    seen = {id(tensor) for tensor in record.weights}
    total, left = 0, dict[str, int]()
    for place in find_parameters(model, with_roles=False):
        embedding = place.kind == "embedding" or isinstance(place.module, nn.Embedding)
        if place.kind in VECTOR_KINDS or embedding or not place.tensors:
            continue
        n = sum(tensor.numel() for tensor in place.tensors)
        total += n
        if not {id(tensor) for tensor in place.tensors} & seen:
            left[place.name] = n
    share = 1 - sum(left.values()) / total if total else 1.0
    name = type(model).__name__
    line = f"the layers measured hold {share:.1%} of the weights of {name} but for embeddings"
    if left:
        others = f" and {len(left) - 1} more" if len(left) > 1 else ""
        first = max(left, key=left.__getitem__)
        line += f"; not measured: {first}{others}, in no linear map or convolution that was called"
    return share, f"{line}."


def _batch_tensors(inputs: Any) -> list[torch.Tensor]:
    """Return the tensors of a batch; raise `UsageError` if it is none."""
    values = list(inputs.values()) if isinstance(inputs, Mapping) else [inputs]
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    named = not isinstance(inputs, Mapping) or all(isinstance(name, str) for name in inputs)
    require(
        bool(tensors) and named and not any(t.is_meta or t.dim() == 0 for t in tensors),
        f"inputs must be a batch, a tensor with examples along its first dimension or a dictionary "
        f"of them, not {shown(inputs)}.",
    )
    return tensors


@contextlib.contextmanager
def _unchanged(model: nn.Module, inputs: Sequence[torch.Tensor]) -> Iterator[None]:
    """Let gradients reach every layer, and put back what a pass through `model` changes."""
    frozen = [
        parameter
        for module in model.modules()
        if is_weight_layer(module) or isinstance(module, nn.MultiheadAttention)
        for parameter in module.parameters(recurse=False)
        if parameter.is_floating_point() and not parameter.requires_grad
    ]
    tensors = [*inputs, *model.parameters()]
    devices = {tensor.device for tensor in tensors if tensor.device.type == "cuda"}
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.random.fork_rng(devices=[device.index for device in devices]),
    ):
        try:
            for parameter in frozen:
                parameter.requires_grad_(True)
            yield
        finally:
            for parameter in frozen:
                parameter.requires_grad_(False)
            for buffer, saved in buffers:
                # Running statistics of a normalization in train mode.
                if not torch.equal(buffer, saved):
                    buffer.detach().copy_(saved)
