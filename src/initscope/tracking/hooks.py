"""See what passes forward and backward through a model, and measure it layer by layer.

:class:`Hooks` holds whatever hooks are set, here and elsewhere; :func:`record_variances` and
:class:`MatrixSignals` measure with it. Outputs and gradients are the same, bit by bit, as without.
Every table has the columns ``step, layer, role, kind, stat, value``.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import pandas as pd
import torch
from torch import nn
from torch.nn import functional
from torch.nn.functional import cross_entropy
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.utils.hooks import RemovableHandle

from initscope import checks
from initscope.checks import require
from initscope.errors import UsageError, shown
from initscope.models.parameters import VECTOR_KINDS, behind, find_parameters
from initscope.schema import COLUMNS
from initscope.tracking.coverage import ENOUGH
from initscope.tracking.matrices import WeightMatrix
from initscope.tracking.shards import is_dtensor
from initscope.tracking.statistics import MatrixStatistics, at_least_float32, mean_and_variance

__all__ = ["LayerRecord", "VarianceRecord", "layer_variances", "record_variances"]

logger = logging.getLogger("initscope.tracking")


class Hooks:
    """Hold hooks on modules and on gradients, until :meth:`remove` or the end of a ``with`` block.

    >>> layer = nn.Linear(3, 2)
    >>> with Hooks() as hooks:
    ...     hooks.after_forward(layer, lambda module, inputs, output: print(tuple(output.shape)))
    ...     _ = layer(torch.ones(4, 3))
    (4, 2)
    >>> _ = layer(torch.ones(4, 3))
    """

    def __init__(self) -> None:
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Hooks:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()

    def before_forward(self, module: nn.Module, see: Callable[[nn.Module, Any], None]) -> None:
        """Call ``see(module, inputs)`` before each call of `module`."""
        self._handles.append(module.register_forward_pre_hook(see))

    def after_forward(
        self,
        module: nn.Module,
        see: Callable[[nn.Module, Any, Any], None],
        *,
        always: bool = False,
    ) -> None:
        """Call ``see(module, inputs, output)`` after each call of `module`, or `always`."""
        self._handles.append(module.register_forward_hook(see, always_call=always))

    def on_gradient(self, tensor: torch.Tensor, see: Callable[[torch.Tensor], None]) -> None:
        """Call ``see(gradient)`` when a backward pass has found that of `tensor`, if it does."""
        if tensor.requires_grad:
            self._handles.append(tensor.register_hook(see))

    def remove(self) -> None:
        """Remove them all."""
        for handle in self._handles:
            handle.remove()
        self._handles = []


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

    Embeddings are no layers; experts in one tensor and recurrent layers are none either: a line in
    the log (`logging`, "initscope.tracking") says what share of the weights was measured.

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
        What `loss_fn` compares the output with. Without labels, the loss in the output is
        propagated back, which models of transformers give when their arguments hold labels;
        without that nothing is, and there are no rows of kind `gradient`.
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


@dataclass
class LayerRecord:
    """Hold what was seen of one call of one layer: ``(kind, stat)`` to a scalar tensor."""

    role: str
    stats: dict[tuple[str, str], torch.Tensor] = field(default_factory=dict)


@dataclass
class VarianceRecord:
    """Hold what :func:`record_variances` saw, a record a layer, in the order of execution.

    >>> from initscope.models import MLP
    >>> with record_variances(MLP([4, 3, 2])) as record:
    ...     pass
    >>> record.to_frame().columns.tolist()
    ['step', 'layer', 'role', 'kind', 'stat', 'value']
    """

    layers: list[LayerRecord] = field(default_factory=list)
    weights: list[torch.Tensor] = field(default_factory=list, repr=False)
    """Parameters of the layers that were called."""

    def to_frame(self, step: int = 0) -> pd.DataFrame:
        """Return a table with the columns ``step, layer, role, kind, stat, value``."""
        checks.whole("step", step, at_least=0)
        rows = [
            (step, number, layer.role, kind, stat, value.item())
            for number, layer in enumerate(self.layers, start=1)
            for (kind, stat), value in layer.stats.items()
        ]
        return pd.DataFrame(rows, columns=list(COLUMNS))


@contextlib.contextmanager
def record_variances(model: nn.Module) -> Iterator[VarianceRecord]:
    """Record the variances of one forward and backward pass run inside the ``with`` block.

    The pass may be a step of a training run: outputs and gradients are the same, bit by bit, as
    without it. The hooks are removed at the end of the block, also after an exception. What is
    recorded is listed at :func:`layer_variances`; rows of kind `gradient` appear for what the
    backward pass reaches.

    >>> model = nn.Linear(3, 2)
    >>> with record_variances(model) as record:
    ...     model(torch.ones(4, 3)).sum().backward()
    >>> frame = record.to_frame(step=7)
    >>> frame[frame.kind == "gradient"].value.round(3).tolist()
    [0.0, 1.0, 9.798]
    """
    checks.module("model", model)
    record = VarianceRecord()
    # Weight to the layers that use it, and which of its rows.
    sharing: dict[torch.Tensor, list[tuple[LayerRecord, slice]]] = {}
    last: list[Any] = [None, None, -1]  # output, record and unit dimension of the layer called last

    def after_layer(role: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if not isinstance(output, torch.Tensor):
            return  # a router that is an nn.Linear, and gives what it makes of its product
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        record.weights.extend(behind(module, "weight"))
        is_kernel = isinstance(module, _ConvNd)
        add(role, weight, slice(None), output, 1 if is_kernel and output.dim() > 1 else -1)

    def add(
        role: str,
        weight: torch.Tensor,
        rows: slice,
        output: torch.Tensor,
        unit_dim: int = -1,
        columns: slice = slice(None),
    ) -> None:
        """Record what some rows of a weight computed: those columns of an output.

        The units of the output run along `unit_dim`, the last dimension if it has columns.
        """
        layer = LayerRecord(role)
        record.layers.append(layer)
        record.weights.append(weight)
        last[:] = output, layer, unit_dim
        layer.stats["activation", "forward_variance"] = _variance(output[..., columns])
        layer.stats["activation", "forward_mean_square"] = _mean_square(output[..., columns])
        layer.stats["weight", "std"] = _variance(weight[rows]).sqrt()
        hooks.on_gradient(output, partial(after_output_gradient, layer, columns))
        # One hook a weight: all layers that share it get the norm of its whole gradient.
        if weight not in sharing:
            sharing[weight] = []
            hooks.on_gradient(weight, partial(after_weight_gradient, weight))
        sharing[weight].append((layer, rows))

    def after_activation(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        if inputs and inputs[0] is last[0]:
            zero = (output.detach() == 0).movedim(last[2], -1)
            dead = zero.reshape(-1, zero.shape[-1]).all(dim=0)
            last[1].stats["activation", "dead_fraction"] = dead.double().mean()

    def after_output_gradient(layer: LayerRecord, columns: slice, gradient: torch.Tensor) -> None:
        gradient = gradient[..., columns]
        layer.stats["gradient", "backward_variance"] = _variance(gradient)
        layer.stats["gradient", "backward_mean_square"] = _mean_square(gradient)

    def after_weight_gradient(weight: torch.Tensor, gradient: torch.Tensor) -> None:
        squares = gradient.detach().double().square()
        for layer, rows in sharing[weight]:
            layer.stats["gradient", "norm"] = squares[rows].sum().sqrt()

    with Hooks() as hooks:
        for name, module in model.named_modules():
            if isinstance(module, nn.MultiheadAttention):
                projections = _Projections(name, module, add)
                hooks.before_forward(module, projections.start)
                hooks.after_forward(module, projections.stop, always=True)
            elif _is_weight_layer(module):
                hooks.after_forward(module, partial(after_layer, name or type(module).__name__))
            elif _is_activation(module):
                hooks.after_forward(module, after_activation)
        yield record


class _Projections:
    """See the projections of torch's attention, which calls no module for them."""

    def __init__(self, name: str, module: nn.MultiheadAttention, add: Callable[..., None]) -> None:
        self._prefix, self._add = f"{name}." if name else "", add
        self._module = module
        self._linear: Any = None

    def start(self, module: nn.Module, inputs: Any) -> None:
        """Put a function that sees them in the place of torch's, until :meth:`stop`."""
        self._linear = functional.linear
        functional.linear = cast(Any, self._call)

    def stop(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """Put torch's function back."""
        functional.linear = self._linear

    def _call(self, x: torch.Tensor, weight: torch.Tensor, bias: Any = None) -> torch.Tensor:
        output = cast(torch.Tensor, self._linear(x, weight, bias))
        attention = self._module
        fused = attention.in_proj_weight
        if weight is attention.out_proj.weight:
            self._add(f"{self._prefix}out_proj", weight, slice(None), output)
        elif fused is None:
            for role in ("q", "k", "v"):
                own = getattr(attention, f"{role}_proj_weight")
                if weight is own:
                    self._add(f"{self._prefix}{role}", own, slice(None), output)
        elif weight.untyped_storage().data_ptr() == fused.untyped_storage().data_ptr():
            d = attention.embed_dim  # q, k and v in one, k and v, or one of them
            first = (weight.storage_offset() - fused.storage_offset()) // (d * d)
            for k in range(weight.shape[0] // d):
                rows = slice((first + k) * d, (first + k + 1) * d)
                columns = slice(k * d, (k + 1) * d)
                self._add(f"{self._prefix}{'qkv'[first + k]}", fused, rows, output, -1, columns)
        return output


class MatrixSignals:
    """Measure what some matrices compute in one pass, and the gradient of it."""

    def __init__(self, matrices: Sequence[WeightMatrix]) -> None:
        self._by_module: dict[nn.Module, list[WeightMatrix]] = {}
        for matrix in matrices:
            # What a module with several weights (an RNN cell) gives is the output of none of them.
            if getattr(matrix.module, "weight", None) is not matrix.parameter:
                continue
            # Torch's attention takes the weight of its last linear map and never calls the map.
            if isinstance(matrix.module, NonDynamicallyQuantizableLinear):
                continue
            self._by_module.setdefault(matrix.module, []).append(matrix)
        self._seen: dict[str, dict[WeightMatrix, torch.Tensor]] = {}
        self._hooks = Hooks()
        self.n_calls: int | None = None
        """Calls of modules in the pass that is watched; None before :meth:`start`."""

    @property
    def watches(self) -> bool:
        """Whether there is a module whose output is that of a matrix."""
        return bool(self._by_module)

    def start(self) -> None:
        """Watch the next pass."""
        self.stop()
        self.n_calls = 0
        self._seen = {"activation": {}, "gradient": {}}
        for module, matrices in self._by_module.items():
            self._hooks.after_forward(module, partial(self._after_forward, matrices))

    def stop(self) -> None:
        """Remove the hooks; what was seen is kept."""
        self._hooks.remove()

    def statistics(self) -> list[MatrixStatistics]:
        """Return variance and mean square of the outputs and of their gradients, as far as seen."""
        found = []
        for kind, direction in (("activation", "forward"), ("gradient", "backward")):
            if seen := self._seen.get(kind):
                raw = torch.stack(list(seen.values()))
                labels = [(kind, f"{direction}_{stat}") for stat in ("variance", "mean_square")]
                found.append(MatrixStatistics(list(seen), raw, labels, lambda raw: raw))
        self._seen, self.n_calls = {}, None
        return found

    def _after_forward(
        self, matrices: list[WeightMatrix], module: nn.Module, inputs: Any, output: Any
    ) -> None:
        if self.n_calls is None or "activation" not in self._seen:
            return  # a compiled pass that goes on to call hooks which are gone
        self.n_calls += 1
        # Without gradients it is an evaluation, or the first pass of checkpointing, which makes
        # the same pass again with them.
        if not torch.is_grad_enabled() or not isinstance(output, torch.Tensor):
            return
        first = matrices[0]
        if is_dtensor(first.parameter):
            channels = -1 - (len(first.shape) - 2)
            whole = (
                first.shape[1] if isinstance(module, nn.Embedding) else first.shape[first.unit_dim]
            )
            require(
                not is_dtensor(output) and output.shape[channels] == whole,
                f"{first.name} is cut so that its module gives a part of its outputs in this "
                f"process: leave 'activation' out of the quantities.",
            )
        if first in self._seen["activation"]:
            return  # a pass that checkpointing makes again, or a later batch of the step
        self._keep("activation", matrices, output)
        self._hooks.on_gradient(output, partial(self._keep, "gradient", matrices))

    @torch.no_grad()
    def _keep(self, kind: str, matrices: list[WeightMatrix], signal: torch.Tensor) -> None:
        for matrix in matrices:
            part = at_least_float32(matrix.of_output(signal))
            mean, variance = mean_and_variance(part, tuple(range(part.dim())))
            self._seen[kind][matrix] = torch.stack([variance, variance + mean.square()])


def _variance(tensor: torch.Tensor) -> torch.Tensor:
    """Return the variance of all elements, divided by their number, in float64."""
    return tensor.detach().double().var(correction=0)


def _mean_square(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().double().square().mean()


def _is_weight_layer(module: nn.Module) -> bool:
    # A model that holds a Conv1D has imported transformers already; others need not pay for it.
    transformers = sys.modules.get("transformers.pytorch_utils")
    return isinstance(module, nn.Linear | _ConvNd) or (
        transformers is not None and isinstance(module, transformers.Conv1D)
    )


def _is_activation(module: nn.Module) -> bool:
    homes = ("torch.nn.modules.activation", "transformers.activations")
    return any(base.__module__ in homes for base in type(module).__mro__)


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
        if _is_weight_layer(module) or isinstance(module, nn.MultiheadAttention)
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
