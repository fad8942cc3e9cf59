"""Measure variances in many random networks at once, to hold against :mod:`initscope.theory`.

Nothing is trained: a network is drawn, a signal is sent forward and a gradient back
(:mod:`initscope.monte_carlo.draws`), and the mean square of each layer is written down.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from initscope import checks
from initscope.checks import (
    one,
    positive,
)
from initscope.models.batched_mlp import BatchedMLP
from initscope.monte_carlo.draws import (
    DIRECTIONS,
    checked_arguments,
    draw,
    mean_squares,
    with_mean_square,
)

__all__ = [
    "residual_profiles",
    "variance_profiles",
]


def variance_profiles(
    widths: Sequence[int],
    activation: str = "relu",
    weight_std: npt.ArrayLike | str = "kaiming",
    bias_std: npt.ArrayLike = 0.0,
    *,
    networks: int = 256,
    seed: int = 0,
    input_variance: float = 1.0,
    output_gradient_variance: float = 1.0,
) -> pd.DataFrame:
    """Measure forward and backward variance, layer by layer, in many random networks.

    The networks are those of :func:`initscope.theory.propagate`: z_1 = W_1 x + b_1,
    z_l = W_l phi(z_{l-1}) + b_l, with normal weights and biases, drawn in float32 and computed in
    float64. Each has its own input and its own gradient at the output, random directions of a
    given length.

    Parameters
    ----------
    widths
        Inputs, hidden layers, outputs: L + 1 whole numbers.
    activation
        One of :data:`initscope.models.ACTIVATIONS`.
    weight_std, bias_std
        As in :func:`~initscope.theory.propagate`, for one kind of network: a number, one for each
        layer, or (weights) the name of a scheme.
    networks, seed
        How many, and the seed of their draws.
    input_variance, output_gradient_variance
        Mean square of the elements of the input and of the gradient at the output, above 0.

    Returns
    -------
    pandas.DataFrame
        Columns ``network``, ``direction`` (``"forward"`` or ``"backward"``), ``layer`` (0 is the
        input) and ``value``: the mean square per element of z_l (of x in layer 0), or of the
        gradient with respect to it.

    Raises
    ------
    UsageError
        No layers, an unknown activation or scheme, negative stds, no networks.

    Examples
    --------
    >>> frame = variance_profiles([50] * 4, "relu", "kaiming", networks=200)
    >>> last = frame[(frame["layer"] == 3) & (frame["direction"] == "forward")]
    >>> print(f"{last['value'].mean():.1f}")  # 2 at infinite width
    2.0
    """
    sizes, weight, bias = checked_arguments(
        widths, activation, weight_std, bias_std, networks, seed
    )
    start = one("input_variance", positive("input_variance", input_variance))
    end = one(
        "output_gradient_variance", positive("output_gradient_variance", output_gradient_variance)
    )
    forward, backward = [], []
    with torch.no_grad():
        for chunk in draw(sizes, networks, seed):
            stack = chunk.with_stds(weight, bias, activation)
            x = with_mean_square(chunk.inputs, start)
            _, z = stack.forward(x)
            forward.append(mean_squares([x, *z]))
            gradients = stack.gradients(z, with_mean_square(chunk.gradients, end))
            backward.append(mean_squares(gradients))
    values = np.stack([np.concatenate(forward), np.concatenate(backward)], axis=1)
    index = pd.MultiIndex.from_product(
        [range(len(values)), DIRECTIONS, range(len(sizes))],
        names=["network", "direction", "layer"],
    )
    return pd.DataFrame({"value": values.ravel()}, index).reset_index()


def residual_profiles(
    width: int,
    depth: int,
    activation: str = "relu",
    weight_std: float = 0.1,
    bias_std: float = 0.0,
    *,
    residual: bool = True,
    layer_norm: bool = False,
    networks: int = 256,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure forward and backward variance in random networks with residual branches or LayerNorm.

    The networks are those of :func:`initscope.theory.residual_propagate`, drawn in float32 and
    computed in float64; each has its own input and gradient at the output, both of mean square 1.

    Parameters
    ----------
    width, depth, activation, weight_std, bias_std, residual, layer_norm
        As in :func:`initscope.theory.residual_propagate`, for one network; the activation by name.
    networks, seed
        How many, and the seed of their draws.

    Returns
    -------
    pandas.DataFrame
        As :func:`variance_profiles`.

    Raises
    ------
    UsageError
        As :func:`variance_profiles`.

    Examples
    --------
    >>> frame = residual_profiles(50, 1, "relu", 0.2, networks=200)
    >>> last = frame[(frame["layer"] == 1) & (frame["direction"] == "forward")]
    >>> print(f"{last['value'].mean():.1f}")  # the branch adds as much as there was
    2.0
    """
    checks.whole("width", width)
    depth = checks.whole("depth", depth, at_most=checks.MOST_LAYERS)
    checks.flag("residual", residual)
    checks.flag("layer_norm", layer_norm)
    sizes, weight, bias = checked_arguments(
        [width] * (depth + 1), activation, weight_std, bias_std, networks, seed
    )
    profiles = []
    for chunk in draw(sizes, networks, seed):
        forward, backward = residual_pass(
            chunk.with_stds(weight, bias, activation),
            with_mean_square(chunk.inputs, 1.0),
            with_mean_square(chunk.gradients, 1.0),
            residual=residual,
            layer_norm=layer_norm,
        )
        profiles.append(np.stack([mean_squares(forward), mean_squares(backward)], axis=1))
    values = np.concatenate(profiles)
    index = pd.MultiIndex.from_product(
        [range(len(values)), DIRECTIONS, range(len(sizes))],
        names=["network", "direction", "layer"],
    )
    return pd.DataFrame({"value": values.ravel()}, index).reset_index()


def residual_pass(
    stack: BatchedMLP,
    inputs: torch.Tensor,
    gradient: torch.Tensor,
    *,
    residual: bool,
    layer_norm: bool,
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return the pre-activations z_0 (the input) to z_L, and the gradients with respect to them.

    `stack` has equal widths; all else is of shape ``(n_runs, 1, width)``.
    """
    z = inputs.detach().requires_grad_()
    found = [z]
    # Autograd, and not the passes of the stack: there is more on the way than layers, and the
    # activation stands before each of them, not after.
    for layer in range(stack.n_layers):
        hidden = z
        if layer or residual:
            if layer_norm:
                hidden = torch.nn.functional.layer_norm(hidden, hidden.shape[2:])
            hidden = stack.activate(hidden)
        branch = stack.affine(layer, hidden)
        z = z + branch if residual else branch
        found.append(z)
    gradients = torch.autograd.grad(z, found, gradient)
    return [tensor.detach() for tensor in found], list(gradients)
