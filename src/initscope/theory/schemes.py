"""The standard deviation that each initialization scheme gives a weight."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from initscope.checks import Array, ArrayLike, plain, positive, real, require_name, together
from initscope.errors import UsageError

__all__ = ["SCHEMES", "scheme_std"]

ROOT_2 = float(np.sqrt(2.0))


def _lecun(fan_in: Array, fan_out: Array, gain: Array) -> Array:
    return gain / np.sqrt(fan_in)


def _xavier(fan_in: Array, fan_out: Array, gain: Array) -> Array:
    return gain * np.sqrt(2 / (fan_in + fan_out))


def _kaiming_fan_out(fan_in: Array, fan_out: Array, gain: Array) -> Array:
    return gain / np.sqrt(fan_out)


def _orthogonal(fan_in: Array, fan_out: Array, gain: Array) -> Array:
    return gain / np.sqrt(np.maximum(fan_in, fan_out))


Rule = Callable[[Array, Array, Array], Array]

SCHEMES: dict[str, tuple[Rule, float]] = {
    "lecun": (_lecun, 1.0),
    "xavier": (_xavier, 1.0),
    "kaiming": (_lecun, ROOT_2),
    "kaiming_fan_out": (_kaiming_fan_out, ROOT_2),
    "orthogonal": (_orthogonal, 1.0),
}
"""Schemes by name: the rule, and the gain it takes if none is given."""


def scheme_std(
    scheme: str, fan_in: ArrayLike, fan_out: ArrayLike, gain: ArrayLike | None = None
) -> Array:
    r"""Standard deviation per element that an initialization scheme gives a weight matrix.

    =================== ================================ =========================
    scheme              variance                         gain if none is given
    =================== ================================ =========================
    ``lecun``           gain² / fan_in                   1
    ``xavier``          2 gain² / (fan_in + fan_out)     1
    ``kaiming``         gain² / fan_in                   √2
    ``kaiming_fan_out`` gain² / fan_out                  √2
    ``orthogonal``      gain² / max(fan_in, fan_out)     1
    =================== ================================ =========================

    LeCun et al. (1998), eq. 16; Glorot & Bengio (2010), eq. 12; He et al. (2015), eqs. 10 and 14;
    Saxe et al. (2014). Normal and uniform variants of a scheme have the same std.

    Parameters
    ----------
    scheme
        One of the names above.
    fan_in, fan_out
        Number of inputs and of outputs; numbers or arrays.
    gain
        Factor on the std.

    Raises
    ------
    UsageError
        Unknown scheme; fans or gain not above 0.

    Examples
    --------
    >>> print(f"{scheme_std('kaiming', 784, 256):.4f} {scheme_std('xavier', 784, 256):.4f}")
    0.0505 0.0439
    """
    require_name("scheme", scheme, SCHEMES)
    rule, default = SCHEMES[scheme]
    inputs, outputs = positive("fan_in", fan_in), positive("fan_out", fan_out)
    factor = positive("gain", default if gain is None else gain)
    together(fan_in=inputs, fan_out=outputs, gain=factor)
    return plain(rule(inputs, outputs, factor))


def layer_stds(
    weight_std: ArrayLike | str, widths: tuple[int, ...], name: str = "weight_std"
) -> Array:
    """Standard deviation of every weight layer, shape ``(..., n_layers)``.

    `weight_std` is one number, an array whose last axis is the layers (or has length 1), or the
    name of a scheme.
    """
    n_layers = len(widths) - 1
    if isinstance(weight_std, str):
        return scheme_std(weight_std, np.array(widths[:-1]), np.array(widths[1:]))
    std = real(name, weight_std)
    if std.ndim and std.shape[-1] not in (1, n_layers):
        raise UsageError(
            f"{name} has shape {std.shape}: its last axis must have one entry for each of the "
            f"{n_layers} weight layers, or a single one for all."
        )
    return np.broadcast_to(std, (*std.shape[:-1], n_layers))
