"""The Jacobian of a network: how it stretches small changes of its input, direction by direction.

What the singular values of a random network should be is in :mod:`initscope.theory`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from initscope.errors import UsageError, is_number, require
from initscope.init import initialize_
from initscope.models import MLP


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
    if inputs.shape != (model.widths[0],):
        raise UsageError(
            f"inputs must be one vector of {model.widths[0]} elements, not of shape "
            f"{tuple(inputs.shape)}."
        )
    hidden = inputs.detach()
    jacobian = torch.eye(len(hidden), dtype=hidden.dtype, device=hidden.device)
    found = []
    for module in model:
        if isinstance(module, torch.nn.Linear):
            hidden, jacobian = module(hidden).detach(), module.weight.detach() @ jacobian
            continue
        with torch.enable_grad():
            z = hidden.requires_grad_()
            activated = module(z)
            (slope,) = torch.autograd.grad(activated.sum(), z)
        hidden, jacobian = activated.detach(), slope[:, None] * jacobian
        found.append(LayerJacobian(hidden, jacobian))
    return [*found, LayerJacobian(hidden, jacobian)]


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
    require(is_number(networks, 1, whole=True), f"networks must be at least 1, not {networks!r}.")
    n_hidden = len(widths) - 2
    for layer in at:
        require(
            is_number(layer, 1, whole=True) and layer <= n_hidden,
            f"layer {layer!r} is none of the {n_hidden} hidden layers.",
        )
    generator = torch.Generator().manual_seed(seed)
    model = MLP(widths, activation).double()
    rows = []
    spectra: dict[int, list[npt.NDArray[np.float64]]] = {layer: [] for layer in at}
    for network in range(networks):
        initialize_(model, scheme, gain=gain, bias_std=bias_std, generator=generator)
        x = torch.randn(widths[0], generator=generator, dtype=torch.float64)
        x *= (input_variance / x.square().mean()).sqrt()
        for layer, (hidden, jacobian) in enumerate(layer_jacobians(model, x)[:-1], start=1):
            rank = min(jacobian.shape)
            gram = jacobian @ jacobian.T if len(jacobian) == rank else jacobian.T @ jacobian
            mean = float(gram.trace()) / rank
            variance = float(gram.square().sum()) / rank - mean**2
            rows.append((network, layer, float(hidden.square().mean()), mean, variance))
            if layer in spectra:
                spectra[layer].append(torch.linalg.svdvals(jacobian).numpy())
    moments = pd.DataFrame(rows, columns=["network", "layer", "length", "mean", "variance"])
    return moments, {layer: np.stack(values) for layer, values in spectra.items()}
