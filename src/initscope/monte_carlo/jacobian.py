"""The Jacobian of a network: how it stretches small changes of its input, direction by direction.

What the singular values of a random network should be is in :mod:`initscope.theory`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from initscope import checks
from initscope.checks import is_number, layer_widths, require
from initscope.errors import UsageError, shown
from initscope.init import initialize_
from initscope.memory import require_memory
from initscope.models.mlp import MLP

__all__ = ["LayerJacobian", "jacobian_spectra", "layer_jacobians"]

AT_ONCE = 50
"""Networks whose Jacobians are computed at once."""


class LayerJacobian(NamedTuple):
    """A layer's output h, shape ``(n_l,)``, and dh/dx, shape ``(n_l, n_0)``."""

    output: torch.Tensor
    jacobian: torch.Tensor


def layer_jacobians(model: MLP, inputs: torch.Tensor) -> list[LayerJacobian]:
    """Output of every layer of `model`, and its Jacobian with respect to the input x.

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
    weights = [layer.weight.detach()[None] for layer in model.linear_layers]
    biases = [layer.bias.detach()[None] for layer in model.linear_layers]
    found = _jacobians(weights, biases, list(model)[1::2], inputs.detach()[None])
    return [LayerJacobian(hidden[0], jacobian[0]) for hidden, jacobian in found]


def _jacobians(
    weights: Sequence[torch.Tensor],
    biases: Sequence[torch.Tensor],
    activations: Sequence[torch.nn.Module],
    inputs: torch.Tensor,
) -> Iterator[LayerJacobian]:
    """What :func:`layer_jacobians` gives, of many networks at once: the first axis counts them."""
    hidden = inputs
    jacobian = torch.eye(inputs.shape[1], dtype=inputs.dtype, device=inputs.device)[None]
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        z = (weight @ hidden[..., None]).squeeze(2) + bias
        jacobian = weight @ jacobian
        if layer == len(activations):
            yield LayerJacobian(z, jacobian)
            return
        with torch.enable_grad():
            activated = activations[layer](z.requires_grad_())
            (slope,) = torch.autograd.grad(activated.sum(), z)
        hidden, jacobian = activated.detach(), slope[..., None] * jacobian
        yield LayerJacobian(hidden, jacobian)


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
    input_variance = checks.one(
        "input_variance", checks.positive("input_variance", input_variance)
    )
    kept = sum(min(widths[0], widths[layer]) for layer in at) + 3 * n_hidden
    require_memory(8 * networks * kept, f"networks = {shown(networks)}")
    generator = torch.Generator().manual_seed(seed)
    model = MLP(widths, activation).double()
    layers, activations = model.linear_layers, list(model)[1::2]
    moments = np.empty((networks, n_hidden, 3))
    spectra: dict[int, list[npt.NDArray[np.float64]]] = {layer: [] for layer in at}
    for first in range(0, networks, AT_ONCE):
        drawn = []
        for _ in range(first, min(first + AT_ONCE, networks)):
            initialize_(model, scheme, gain=gain, bias_std=bias_std, generator=generator)
            x = torch.randn(widths[0], generator=generator, dtype=torch.float64)
            weights = [layer.weight.detach().clone() for layer in layers]
            drawn.append((x, *weights, *(layer.bias.detach().clone() for layer in layers)))
        x, *parameters = (torch.stack(tensors) for tensors in zip(*drawn, strict=True))
        x *= (input_variance / x.square().mean(1, keepdim=True)).sqrt()
        weights, biases = parameters[: len(layers)], parameters[len(layers) :]
        for index, (hidden, jacobian) in enumerate(
            itertools.islice(_jacobians(weights, biases, activations, x), n_hidden)
        ):
            rank = min(jacobian.shape[1:])
            wide = jacobian.shape[1] == rank
            gram = jacobian @ jacobian.mT if wide else jacobian.mT @ jacobian
            mean = gram.diagonal(dim1=1, dim2=2).sum(1) / rank
            variance = gram.square().sum((1, 2)) / rank - mean**2
            found = torch.stack([hidden.square().mean(1), mean, variance], 1)
            moments[first : first + AT_ONCE, index] = found.numpy()
            if index + 1 in spectra:
                spectra[index + 1].append(torch.linalg.svdvals(jacobian).numpy())
    index = pd.MultiIndex.from_product(
        [range(networks), range(1, n_hidden + 1)], names=["network", "layer"]
    )
    columns = ["length", "mean", "variance"]
    table = pd.DataFrame(moments.reshape(-1, 3), index, columns).reset_index()
    return table, {layer: np.concatenate(values) for layer, values in spectra.items()}
