"""The Jacobian of a network: how it stretches small changes of its input, direction by direction.

What the singular values of a random network should be is in :mod:`initscope.theory`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from initscope import checks
from initscope.checks import is_number, layer_widths, require
from initscope.errors import UsageError, shown
from initscope.init import initialize_
from initscope.memory import require_memory
from initscope.models.batched_mlp import BatchedMLP
from initscope.models.mlp import MLP
from initscope.monte_carlo.draws import with_mean_square

__all__ = ["LayerJacobian", "jacobian_spectra", "layer_jacobians"]

AT_ONCE = 50
"""Networks whose Jacobians are computed at once."""


class LayerJacobian(NamedTuple):
    """A layer's output h, shape ``(n_l,)``, and dh/dx, shape ``(n_l, n_0)``."""

    output: torch.Tensor
    jacobian: torch.Tensor


def layer_jacobians(model: MLP, inputs: torch.Tensor) -> list[LayerJacobian]:
    """Return the output of every layer of `model`, and its Jacobian with respect to x.

    Parameters
    ----------
    model
        Any :class:`~initscope.models.MLP`; not changed.
    inputs
        One input, shape ``(n_0,)``.

    Returns
    -------
    list of LayerJacobian
        For each hidden layer that of h_l, after the activation; then that of the output, which
        has none.

    Raises
    ------
    UsageError
        If `inputs` is not one vector of the input's width.

    Examples
    --------
    >>> [tuple(layer.jacobian.shape) for layer in layer_jacobians(MLP([4, 3, 2]), torch.ones(4))]
    [(3, 4), (2, 4)]
    """
    require(isinstance(model, MLP), f"model must be an initscope.models.MLP, not {shown(model)}.")
    checks.tensor("inputs", inputs)
    if inputs.shape != (model.widths[0],):
        raise UsageError(
            f"inputs must be one vector of {model.widths[0]} elements, not of shape "
            f"{tuple(inputs.shape)}."
        )
    dtype = model.linear_layers[0].weight.dtype
    require(inputs.dtype == dtype, f"inputs must be of {dtype}, as the model, not {inputs.dtype}.")
    stack = BatchedMLP.of([model], inputs.device)
    return [
        LayerJacobian(output[0, 0], jacobian[0])
        for output, jacobian in _jacobians(stack, inputs.detach()[None, None])
    ]


def _jacobians(stack: BatchedMLP, inputs: torch.Tensor) -> Iterator[LayerJacobian]:
    """Yield the output of each layer, shape ``(n_runs, 1, n_l)``, and its Jacobian.

    `inputs` have shape ``(n_runs, 1, n_0)``, the Jacobians ``(n_runs, n_l, n_0)``.
    """
    layer_inputs, pre_activations = stack.forward(inputs)
    outputs = [*layer_inputs[1:], pre_activations[-1]]
    return map(LayerJacobian, outputs, stack.jacobians(pre_activations))


def _draw(
    model: MLP, count: int, generator: torch.Generator, **options: Any
) -> tuple[BatchedMLP, torch.Tensor]:
    """Draw `count` networks like `model`, with `options`, and an input for each, normal."""
    inputs = []

    def models() -> Iterator[MLP]:
        for _ in range(count):
            initialize_(model, generator=generator, **options)
            inputs.append(torch.randn(1, model.widths[0], generator=generator, dtype=torch.float64))
            yield model

    return BatchedMLP.of(models()), torch.stack(inputs)


def jacobian_spectra(
    widths: Sequence[int],
    activation: str = "relu",
    scheme: str = "kaiming",
    *,
    gain: float,
    bias_std: float = 0.0,
    input_variance: float = 1.0,
    at: Sequence[int] = (),
    networks: int = 200,
    seed: int = 0,
) -> tuple[pd.DataFrame, dict[int, npt.NDArray[np.float64]]]:
    """Measure the singular values of dh_l/dx in many random networks.

    Each is an :class:`~initscope.models.MLP` in float64, initialized by
    :func:`~initscope.init.initialize_`, at an input of its own, a random direction.

    Parameters
    ----------
    widths
        Inputs, hidden layers, outputs. The Jacobians are those of the hidden layers.
    activation
        One of :data:`initscope.models.ACTIVATIONS`.
    scheme, gain, bias_std
        As in :func:`~initscope.init.initialize_`: a scheme that takes a gain.
    input_variance
        Mean square of the elements of the input.
    at
        Layers whose singular values are returned, from 1.
    networks, seed
        How many, and the seed of their draws.

    Returns
    -------
    moments
        A table with columns ``network``, ``layer``, ``length`` (mean square of the elements of
        h_l), ``mean`` (mean squared singular value, over all ``min(n_0, n_l)``) and ``variance``
        (of the squared singular values of this network).
    singular_values
        Layer to an array of shape ``(networks, min(n_0, n_l))``, descending.

    Raises
    ------
    UsageError
        Unknown names, negative stds, no networks, or a layer in `at` that is no hidden one.

    Examples
    --------
    >>> moments, values = jacobian_spectra([8] * 4, gain=2**0.5, at=[2], networks=3)
    >>> values[2].shape
    (3, 8)
    """
    require(
        is_number(networks, 1, whole=True), f"networks must be at least 1, not {shown(networks)}."
    )
    widths = layer_widths(widths)
    n_hidden = len(widths) - 2
    for layer in checks.items("at", at):
        require(
            is_number(layer, 1, whole=True) and layer <= n_hidden,
            f"at: layer {shown(layer)} is none of the {n_hidden} hidden layers of widths "
            f"{shown(widths)}.",
        )
    checks.whole("seed", seed, 0)
    input_variance = checks.one("input_variance", checks.positive("input_variance", input_variance))
    kept = sum(min(widths[0], widths[layer]) for layer in at) + 3 * n_hidden
    require_memory(8 * networks * kept, f"networks = {shown(networks)}")
    generator = torch.Generator().manual_seed(seed)
    model = MLP(widths, activation).double()
    moments = np.empty((networks, n_hidden, 3))
    spectra: dict[int, list[npt.NDArray[np.float64]]] = {layer: [] for layer in at}
    for first in range(0, networks, AT_ONCE):
        count = min(AT_ONCE, networks - first)
        stack, x = _draw(model, count, generator, scheme=scheme, gain=gain, bias_std=bias_std)
        found = _jacobians(stack, with_mean_square(x, input_variance))
        for index, (hidden, jacobian) in enumerate(itertools.islice(found, n_hidden)):
            rank = min(jacobian.shape[1:])
            wide = jacobian.shape[1] == rank
            gram = jacobian @ jacobian.mT if wide else jacobian.mT @ jacobian
            mean = gram.diagonal(dim1=1, dim2=2).sum(1) / rank
            variance = gram.square().sum((1, 2)) / rank - mean**2
            row = torch.stack([hidden.square().mean((1, 2)), mean, variance], 1)
            moments[first : first + AT_ONCE, index] = row.numpy()
            if index + 1 in spectra:
                spectra[index + 1].append(torch.linalg.svdvals(jacobian).numpy())
    index = pd.MultiIndex.from_product(
        [range(networks), range(1, n_hidden + 1)], names=["network", "layer"]
    )
    columns = ["length", "mean", "variance"]
    table = pd.DataFrame(moments.reshape(-1, 3), index, columns).reset_index()
    return table, {layer: np.concatenate(values) for layer, values in spectra.items()}
