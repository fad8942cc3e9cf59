"""Train one network on all examples at once: the plain loop, with a learning rate a layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from initscope import checks
from initscope.checks import require
from initscope.data.dataset import Dataset
from initscope.errors import shown
from initscope.models.mlp import MLP

__all__ = ["full_batch_losses", "layer_rates"]


def layer_rates(
    model: MLP, rate: float, weight_factors: ArrayLike = 1.0, bias_factors: ArrayLike = 1.0
) -> list[dict[str, Any]]:
    """Return parameter groups for an optimizer, with a learning rate of its own each.

    Parameters
    ----------
    model
        A multilayer perceptron.
    rate
        The learning rate that the factors multiply.
    weight_factors, bias_factors
        One factor, or one a weight layer.

    >>> groups = layer_rates(MLP([4, 8, 2]), 0.1, [1.0, 2.0])
    >>> [group["lr"] for group in groups]
    [0.1, 0.2, 0.1, 0.1]
    """
    require(isinstance(model, MLP), f"model must be an MLP, not {shown(model)}.")
    rate = checks.number("rate", rate, 0.0)
    layers = list(model.linear_layers)
    groups = []
    for name, kind, factors in (
        ("weight_factors", "weight", weight_factors),
        ("bias_factors", "bias", bias_factors),
    ):
        factors = checks.nonnegative(name, factors)
        require(
            np.shape(factors) in ((), (1,), (len(layers),)),
            f"{name} must be one number, or one for each of the {len(layers)} weight layers.",
        )
        for layer, own in zip(layers, rate * (factors * np.ones(len(layers))), strict=True):
            groups.append({"params": [getattr(layer, kind)], "lr": float(own)})
    return groups


def full_batch_losses(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: Dataset,
    steps: int = 100,
    output_factor: float = 1.0,
    until: float = 0.0,
) -> np.ndarray:
    """Train on all examples at once; return the cross-entropy (nats) before each update.

    Parameters
    ----------
    model
        A classifier, trained in place and in the precision of its parameters.
    optimizer
        Of its parameters.
    data
        The training examples.
    steps
        Updates.
    output_factor
        What multiplies the output of the model.
    until
        Loss (nats) at which the training ends, if it comes to that before the last update.

    Returns
    -------
    numpy.ndarray
        Shape ``(steps,)``; fewer where it ended before, the last one at most `until`.
    """
    checks.module("model", model)
    require(
        isinstance(optimizer, torch.optim.Optimizer),
        f"optimizer must be one of torch, not {shown(optimizer)}.",
    )
    require(isinstance(data, Dataset), f"data must be a data set, not {shown(data)}.")
    steps = checks.whole("steps", steps)
    output_factor = checks.number("output_factor", output_factor)
    until = checks.number("until", until, 0)
    inputs = data.train_inputs.to(next(model.parameters()).dtype)
    losses = []
    for _ in range(steps):
        loss = nn.functional.cross_entropy(output_factor * model(inputs), data.train_labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if losses[-1] <= until:
            break
    return np.array(losses)
