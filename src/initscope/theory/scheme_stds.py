"""Stds of layers by the name of a scheme."""

from __future__ import annotations

from typing import Any

import numpy as np

from initscope import checks
from initscope.checks import (
    Array,
    ArrayLike,
    plain,
    positive,
    together,
)
from initscope.errors import UsageError
from initscope.theory.rule import (
    LARGEST_STD,
    Weight,
)
from initscope.theory.schemes import SCHEMES, check_options, rule_name

__all__ = ["scheme_std"]


def scheme_std(scheme: str, fan_in: ArrayLike, fan_out: ArrayLike, **options: Any) -> Array:
    r"""Return the standard deviation per element that a rule gives a weight matrix.

    Parameters
    ----------
    scheme
        One of :data:`SCHEMES` up to ``trunc_normal``: those that go layer by layer. Normal and
        uniform variants have the same std.
    fan_in, fan_out
        Number of inputs and of outputs; numbers or arrays.
    **options
        Options of the rule; `gain` and `std` may be arrays, and are above 0.

    Raises
    ------
    UsageError
        Unknown scheme or option; fans, gain or std not above 0.

    Examples
    --------
    >>> print(f"{scheme_std('kaiming', 784, 256):.4f} {scheme_std('xavier', 784, 256):.4f}")
    0.0505 0.0439
    >>> print(f"{scheme_std('kaiming', 784, 256, mode='fan_out'):.4f}")
    0.0884
    """
    scheme = rule_name(scheme)
    if SCHEMES[scheme].scope != "layers":
        raise UsageError(
            f"scheme {scheme!r} is one for a transformer, and says nothing of single layers: see "
            "depth_scaling."
        )
    arrays = {name: positive(name, options[name]) for name in ("gain", "std") if name in options}
    for name, array in arrays.items():
        checks.within(name, array, 0.0, LARGEST_STD)
    # What is an array was checked here, and everything else there.
    others = check_options(scheme, {n: 1.0 if n in arrays else v for n, v in options.items()})
    inputs, outputs = positive("fan_in", fan_in), positive("fan_out", fan_out)
    together(fan_in=inputs, fan_out=outputs, **arrays)
    return plain(SCHEMES[scheme](Weight(inputs, outputs), **(others | arrays)).std)


def layer_stds(
    weight_std: ArrayLike | str, widths: tuple[int, ...], name: str = "weight_std"
) -> Array:
    """Return the standard deviation of every weight layer, shape ``(..., n_layers)``.

    `weight_std` is one number, an array whose last axis is the layers (or has length 1), or the
    name of a scheme.
    """
    n_layers = len(widths) - 1
    if isinstance(weight_std, str):
        stds = scheme_std(weight_std, np.array(widths[:-1]), np.array(widths[1:]))
        return np.broadcast_to(stds, n_layers)
    std = checks.real(name, weight_std)
    if std.ndim and std.shape[-1] not in (1, n_layers):
        raise UsageError(
            f"{name} has shape {std.shape}: its last axis must have one entry for each of the "
            f"{n_layers} weight layers, or a single one for all."
        )
    return np.broadcast_to(std, (*std.shape[:-1], n_layers))
