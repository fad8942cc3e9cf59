"""Check how the sizes of activations and of their changes scale with the width of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from initscope import checks
from initscope.analysis.intervals import mean_interval
from initscope.checks import require, whole
from initscope.errors import UsageError, shown
from initscope.tracking.hooks import Hooks
from initscope.tracking.matrices import WeightMatrix, find_weight_matrices

__all__ = ["CoordinateCheck", "coordinate_check"]

Build = Callable[[int], nn.Module]
Loss = Callable[[Any, Any], torch.Tensor]

MOST_STEPS = 1000
"""Updates or seeds: a check takes a few, and keeps a row of each layer for all."""

MODEL = "model output"
"""The role under which what the model returns is measured."""


class CoordinateCheck(NamedTuple):
    """What :func:`coordinate_check` found.

    Attributes
    ----------
    slopes
        One row for each ``role``, ``quantity`` (``activation`` or ``update``) and ``step``:
        ``slope`` of log size over log width, mean over seeds, with its 95% interval ``low`` to
        ``high``. The size of a role of several layers is their geometric mean.
    sizes
        One row for each ``width, seed, step, layer, role, quantity``: ``rms`` over all elements.
    """

    slopes: pd.DataFrame
    sizes: pd.DataFrame


def coordinate_check(
    build: Build,
    widths: Sequence[int],
    steps: int,
    optimizer: Callable[[nn.Module], torch.optim.Optimizer],
    *,
    batches: Sequence[Any],
    loss: Loss | None = None,
    seeds: int = 3,
) -> CoordinateCheck:
    r"""Train a model at several widths for a few steps; return how its activations scale.

    A parametrization fits all widths if the activations of every layer, and their changes in an
    update, keep their size: slopes of 0 (a coordinate check; Yang et al. 2022, arXiv:2203.03466,
    appendix D.1). In the standard parametrization with Adam, an update of every element by
    :math:`\eta` changes the outputs of a hidden or last layer by :math:`\eta` times its width,
    slope 1, and weights with the same std at all widths give logits that grow with the root of the
    width, slope 0.5.

    The activations are those of the modules that hold weight matrices, by the roles of
    :func:`initscope.tracking.weight_matrices`, and of the model as a whole (role
    ``model output``), on the first batch. ``update`` is their change since the start. torch's
    global generator is left as it was.

    Parameters
    ----------
    build
        Function of a width that returns a model, any `nn.Module`.
    widths
        At least two.
    steps
        Number of updates; 0 for the start alone.
    optimizer
        Function of a model that returns its optimizer, with groups of parameters where learning
        rates differ.
    batches
        Used in turn to train; the first one also to measure. A mapping is given to the model by
        names, a pair is input and labels, anything else is the input.
    loss
        Function of what the model returns and the batch. By default the `loss` of an output of
        transformers, or else the cross-entropy with the labels of the batch.
    seeds
        Number of repetitions, with weights of seed 0, 1, and so on.

    Returns
    -------
    CoordinateCheck

    Raises
    ------
    UsageError
        Fewer than two widths, no batch, a model without a matrix, one that returns no tensor, or
        no loss that can be computed.

    Examples
    --------
    >>> batch = (torch.randn(32, 10), torch.zeros(32, dtype=torch.long))
    >>> found = coordinate_check(
    ...     lambda width: nn.Sequential(nn.Linear(10, width), nn.ReLU(), nn.Linear(width, 2)),
    ...     [32, 64, 128], 2, lambda model: torch.optim.Adam(model.parameters(), 1e-3),
    ...     batches=[batch],
    ... )
    >>> slopes = found.slopes.query("quantity == 'update' and step == 2").set_index("role")["slope"]
    >>> print(slopes.round().astype(int).to_dict())
    {'0': 0, '2': 1, 'model output': 1}
    """
    checks.function("build", build)
    checks.function("optimizer", optimizer)
    if loss is not None:
        checks.function("loss", loss)
    given = [whole("widths: each", width) for width in checks.items("widths", widths)]
    require(len(set(given)) == len(given) >= 2, f"widths must be two or more, not {shown(given)}.")
    n_steps = whole("steps", steps, 0, MOST_STEPS)
    n_seeds = whole("seeds", seeds, at_most=MOST_STEPS)
    data = checks.items("batches", batches, 1)
    for batch in data:
        parts = batch.values() if isinstance(batch, Mapping) else batch
        parts = list(parts) if isinstance(batch, Mapping | tuple | list) else [batch]
        require(
            any(isinstance(part, torch.Tensor) for part in parts),
            f"batches must hold tensors, pairs or mappings of them, not {shown(batch)}.",
        )
    rows = []
    for seed in range(n_seeds):
        for width in given:
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                model = checks.module("what build returns", build(width))
                for measured in _train(model, n_steps, optimizer, data, loss):
                    rows += [(width, seed, *row) for row in measured]
    columns = ["width", "seed", "step", "layer", "role", "quantity", "rms"]
    sizes = pd.DataFrame(rows, columns=columns)
    return CoordinateCheck(_slopes(sizes), sizes)


Row = tuple[int, int, str, str, float]


def _train(
    model: nn.Module,
    steps: int,
    make: Callable[[nn.Module], torch.optim.Optimizer],
    batches: Sequence[Any],
    loss: Loss | None,
) -> list[list[Row]]:
    """Return the rows of each step."""
    try:
        optimizer = make(model)
    except TypeError as error:
        raise UsageError(f"optimizer must make one of a model: {shown(str(error))}.") from error
    require(
        isinstance(optimizer, torch.optim.Optimizer),
        f"optimizer must make one of torch, not {shown(optimizer)}.",
    )
    matrices = find_weight_matrices(model)
    start = _activations(model, matrices, batches[0])
    found = [[(0, *key, "activation", _rms(values)) for key, values in start.items()]]
    model.train()
    for step in range(1, steps + 1):
        batch = batches[(step - 1) % len(batches)]
        optimizer.zero_grad()
        with torch.enable_grad():
            output = _call(model, batch)
            value = _loss_of(output, batch) if loss is None else loss(output, batch)
            require(
                isinstance(value, torch.Tensor) and value.numel() == 1,
                f"loss must give one number, not {shown(value)}.",
            )
            value.backward()
        optimizer.step()
        now = _activations(model, matrices, batches[0])
        rows: list[Row] = []
        for key, values in now.items():
            rows.append((step, *key, "activation", _rms(values)))
            rows.append((step, *key, "update", _rms(values - start[key])))
        found.append(rows)
    return found


@torch.no_grad()
def _activations(
    model: nn.Module, matrices: Sequence[WeightMatrix], batch: Any
) -> dict[tuple[int, str], torch.Tensor]:
    """Return what the modules of the matrices make of a batch, by layer and role."""
    found: dict[tuple[int, str], torch.Tensor] = {}
    by_module: dict[nn.Module, list[WeightMatrix]] = {}
    for matrix in matrices:
        by_module.setdefault(matrix.module, []).append(matrix)

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        if not isinstance(output, torch.Tensor):
            return
        for matrix in by_module[module]:
            part = output if matrix.unit_range is None else matrix.unit_range.of(output, -1)
            found.setdefault((matrix.layer, matrix.role), part.detach().double().clone())

    training = model.training
    model.eval()
    with Hooks() as hooks:
        for module in by_module:
            hooks.after_forward(module, keep)
        output = _call(model, batch)
    model.train(training)
    layer = max((matrix.layer for matrix in matrices), default=0) + 1
    found[layer, MODEL] = _tensor(output).detach().double().clone()
    return found


def _call(model: nn.Module, batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return model(**batch)
    return model(batch[0] if isinstance(batch, tuple | list) else batch)


def _tensor(output: Any) -> torch.Tensor:
    """Return the tensor of an output: itself, the logits, or the first that an output holds."""
    if isinstance(output, Mapping):  # also a ModelOutput of transformers
        named = [output[name] for name in ("logits", "last_hidden_state") if name in output]
        output = (*named, *(value for name, value in output.items() if name != "loss"))
    if isinstance(output, tuple | list):
        output = next((one for one in output if isinstance(one, torch.Tensor)), None)
    if not isinstance(output, torch.Tensor):
        raise UsageError("build must make a model that returns a tensor, or an output with logits.")
    return output


def _loss_of(output: Any, batch: Any) -> torch.Tensor:
    """Return the loss that is in an output, or the cross-entropy with the labels of a batch."""
    found = getattr(output, "loss", None)
    if isinstance(found, torch.Tensor):
        return found
    pair = isinstance(batch, tuple | list) and len(batch) == 2
    if pair and isinstance(batch[1], torch.Tensor):
        logits = _tensor(output)
        return nn.functional.cross_entropy(logits.flatten(0, -2), batch[1].flatten())
    raise UsageError(
        "the loss is not known: give loss=..., labels in the batches, or pairs of input and label."
    )


def _rms(values: torch.Tensor) -> float:
    return values.square().mean().sqrt().item()


def _slopes(sizes: pd.DataFrame) -> pd.DataFrame:
    """Return the slope of each role, quantity and step, with its interval over seeds."""
    with np.errstate(divide="ignore"):
        logs = sizes.assign(log=np.log(sizes["rms"]), log_width=np.log(sizes["width"]))
    by = ["role", "quantity", "step"]
    means = logs.groupby([*by, "seed", "log_width"], sort=False)["log"].mean().reset_index()
    rows = []
    for key, group in means.groupby(by, sort=False):
        slopes = []
        for _, one in group.groupby("seed"):
            x = one["log_width"] - one["log_width"].mean()
            slopes.append(float((x * one["log"]).sum() / (x**2).sum()))
        finite = bool(np.isfinite(slopes).all())
        rows.append((*key, *(mean_interval(slopes) if finite else (np.nan, np.nan, np.nan))))
    return pd.DataFrame(rows, columns=[*by, "slope", "low", "high"])
