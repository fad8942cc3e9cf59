"""Variance going forward and backward through a fully connected network of wide layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from initscope.checks import (
    Array,
    ArrayLike,
    layer_widths,
    nonnegative,
    one,
    plain,
    positive,
    require_name,
    together,
)
from initscope.errors import UsageError
from initscope.theory.activations import (
    Activation,
    ActivationLike,
    expectation,
    resolve,
)
from initscope.theory.schemes import layer_stds

__all__ = [
    "NUMBER_FORMATS",
    "NumberFormat",
    "Propagation",
    "StabilityBand",
    "propagate",
    "stability_band",
]


class Propagation(NamedTuple):
    """Variance at every layer 0 (the input) to L (the output); last axis of length L + 1."""

    forward: Array
    backward: Array


def propagate(
    widths: Sequence[int],
    activation: ActivationLike | Activation,
    weight_std: ArrayLike | str,
    bias_std: ArrayLike = 0.0,
    *,
    input_variance: ArrayLike = 1.0,
    output_gradient_variance: ArrayLike = 1.0,
) -> Propagation:
    r"""Forward and backward variance of a fully connected network, layer by layer.

    The network is z_1 = W_1 x + b_1, z_l = W_l phi(z_{l-1}) + b_l, with independent entries of
    mean 0 and wide layers; there is no activation after the last layer. Then, with
    :math:`q_l = \mathrm{Var}\, z_l` and :math:`\delta_l` the gradient at z_l,

    .. math::
        q_l &= n_{l-1} \sigma_l^2 \, E[\phi(\sqrt{q_{l-1}} z)^2] + \sigma_b^2, \\
        \mathrm{Var}\, \delta_l &= n_{l+1} \sigma_{l+1}^2 \,
            E[\phi'(\sqrt{q_l} z)^2] \, \mathrm{Var}\, \delta_{l+1}

    (He et al. 2015, eqs. 7 and 12; Poole et al. 2016, arXiv:1606.05340, section 2; Schoenholz et
    al. 2017, arXiv:1611.01232).

    Parameters
    ----------
    widths
        Inputs, hidden layers, outputs: L + 1 whole numbers.
    activation
        Name or callable.
    weight_std
        Std of a weight: one number; one for each layer; or the name of a scheme, see
        :func:`~initscope.theory.scheme_std`. To compute many networks at once give an array
        whose last axis is the layers, or of length 1: ``std[:, None]``.
    bias_std
        Std of a bias, in the same forms (no scheme).
    input_variance
        Mean square of the elements of x.
    output_gradient_variance
        Mean square of the gradient at the output z_L.

    Returns
    -------
    Propagation
        `forward` and `backward`, shape ``(..., L + 1)``: mean squares per element.
        ``forward[..., 0]`` is that of x and ``backward[..., 0]`` that of the gradient at x; both
        arrays are indexed by the layer. Values beyond the range of float64 are `inf` or 0.

    Raises
    ------
    UsageError
        No layers, a width below 1, an unknown activation or scheme, a negative or NaN std.

    Examples
    --------
    Under He's scheme both directions keep their variance where the widths are equal:

    >>> profile = propagate([100] * 51, "relu", "kaiming")
    >>> print(f"{profile.forward[-1]:.3f} {profile.backward[1]:.3f}")
    2.000 1.000

    Half the variance of that loses a factor of 2 in each of the 49 ReLU layers:

    >>> profile = propagate([100] * 51, "relu", "lecun")
    >>> print(f"{np.log2(profile.forward[-1]):.1f} {np.log2(profile.backward[1]):.1f}")
    -49.0 -49.0
    """
    sizes = layer_widths(widths)
    known = resolve(activation)
    weight = nonnegative("weight_std", layer_stds(weight_std, sizes)) ** 2
    if isinstance(bias_std, str):
        raise UsageError("bias_std must be a number or one for each layer, not a scheme's name.")
    bias = nonnegative("bias_std", layer_stds(bias_std, sizes, "bias_std")) ** 2
    first = nonnegative("input_variance", input_variance)
    last = nonnegative("output_gradient_variance", output_gradient_variance)
    n_layers = len(sizes) - 1
    shape = together(
        weight_std=weight[..., 0],
        bias_std=bias[..., 0],
        input_variance=first,
        output_gradient_variance=last,
    )
    forward = np.empty((*shape, n_layers + 1))
    backward = np.empty((*shape, n_layers + 1))
    slope = np.ones((*shape, n_layers + 1))  # E[phi'^2] at each layer; 1 at the input
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        forward[..., 0] = first
        second = forward[..., 0]
        for layer in range(1, n_layers + 1):
            scale = sizes[layer - 1] * weight[..., layer - 1]
            forward[..., layer] = scale * second + bias[..., layer - 1]
            if layer < n_layers:
                second, slope[..., layer] = expectation(
                    known, forward[..., layer], ("second", "derivative_second")
                )
        backward[..., n_layers] = last
        for layer in range(n_layers - 1, -1, -1):
            scale = sizes[layer + 1] * weight[..., layer]
            backward[..., layer] = scale * slope[..., layer] * backward[..., layer + 1]
    return Propagation(plain(forward), plain(backward))


class NumberFormat(NamedTuple):
    """Range of a floating-point format: smallest normal, smallest above 0, and largest number."""

    smallest_normal: float
    smallest: float
    largest: float


NUMBER_FORMATS: dict[str, NumberFormat] = {
    "float32": NumberFormat(2.0**-126, 2.0**-149, (2 - 2.0**-23) * 2.0**127),
    "bfloat16": NumberFormat(2.0**-126, 2.0**-133, (2 - 2.0**-7) * 2.0**127),
    "float16": NumberFormat(2.0**-14, 2.0**-24, (2 - 2.0**-10) * 2.0**15),
}
"""The formats networks are trained in, by name.

On training in bfloat16 see Kalamkar et al. (2019, arXiv:1905.12322), in float16 Micikevicius et
al. (2018, arXiv:1710.03740).
"""

STD_RANGE = (1e-8, 1e4)
GRID = 241  # points of the first look over `STD_RANGE`, 20 a decade
ZOOMS = 8  # times the best std is looked for again ten times closer


class StabilityBand(NamedTuple):
    """Lowest and highest usable std; NaN where there is none."""

    low: Array
    high: Array


def stability_band(
    widths: Sequence[int],
    activation: ActivationLike,
    bias_std: float = 0.0,
    *,
    decades: ArrayLike = 1.0,
    number_format: str | None = None,
    input_variance: float = 1.0,
    output_gradient_variance: float = 1.0,
) -> StabilityBand:
    r"""Range of the std, the same in all layers, that keeps the variance of a network in bounds.

    Each std changes the forward variance and that of the gradient (:func:`propagate`) by so many
    decades at the worst of the weight layers; with unequal widths even the best std changes them.
    A std is inside the band if its worst change exceeds that of the best std by no more than
    `decades`; or, with a number format, if both stay within its range. ReLU layers of width n
    multiply both variances by :math:`n \sigma^2 / 2` (He et al. 2015, eq. 9), so that the band
    around :math:`\sqrt{2/n}` has a half-width of about decades/(2 L) in
    :math:`\log_{10} \sigma`: it narrows with the depth L and moves with :math:`n^{-1/2}`.

    Parameters
    ----------
    widths
        Inputs, hidden layers, outputs.
    activation
        Name or callable.
    bias_std
        Std of a bias.
    decades
        By how many powers of ten a variance may change further than under the best std: a number
        or array, above 0. Not used with a number format.
    number_format
        One of `NUMBER_FORMATS`. Bounds are then put on the rms of the preactivations and of the
        gradients: below the smallest normal number precision is lost and soon the gradient;
        above the largest the value is infinite. Single elements leave the range earlier than
        their rms does.
    input_variance, output_gradient_variance
        Mean squares of the elements of the input and of the gradient at the output.

    Returns
    -------
    StabilityBand
        `low` and `high`, std per element, of the shape of `decades`: the stretch of stds inside
        around the best one, cut at 1e-8 and 1e4. NaN if a number format can hold none.

    Raises
    ------
    UsageError
        As :func:`propagate`; `decades` not above 0; an unknown number format.

    Examples
    --------
    >>> band = stability_band([128] * 8, "relu")
    >>> print(f"{band.low:.3f} to {band.high:.3f}; sqrt(2/n) = {np.sqrt(2 / 128):.3f}")
    0.098 to 0.146; sqrt(2/n) = 0.125
    >>> band = stability_band([512] * 51, "relu", number_format="float16")
    >>> print(f"{band.low:.4f} to {band.high:.4f}")
    0.0513 to 0.0775
    """
    sizes = layer_widths(widths)
    known = resolve(activation)
    start = one("input_variance", positive("input_variance", input_variance))
    end = one(
        "output_gradient_variance", positive("output_gradient_variance", output_gradient_variance)
    )
    bias = one("bias_std", nonnegative("bias_std", bias_std))
    if number_format is None:
        allowed = positive("decades", decades)
    else:
        require_name("number format", number_format, NUMBER_FORMATS)
        allowed = np.zeros(())

    def excess(std: Array) -> Array:
        """Worst change of a variance in decades, or decades beyond the range of the format."""
        profile = propagate(
            sizes,
            known,
            std[..., None],
            bias,
            input_variance=start,
            output_gradient_variance=end,
        )
        with np.errstate(divide="ignore"):
            logs = [np.log10(variance[..., 1:]) for variance in profile]
        if number_format is None:
            return np.maximum(
                np.abs(logs[0] - np.log10(start)).max(axis=-1),
                np.abs(logs[1] - np.log10(end)).max(axis=-1),
            )
        low = 2 * np.log10(NUMBER_FORMATS[number_format].smallest_normal)
        high = 2 * np.log10(NUMBER_FORMATS[number_format].largest)
        both = np.concatenate(logs, axis=-1)
        return np.maximum(both.max(axis=-1) - high, low - both.min(axis=-1))

    # Deep networks have a band far narrower than any fixed grid: close in on the best std.
    stds = np.geomspace(*STD_RANGE, GRID)
    excesses = excess(stds)
    ratio = stds[1] / stds[0]
    for _ in range(ZOOMS):
        best = stds[np.argmin(excesses)]
        closer = np.clip(best * np.geomspace(1 / ratio, ratio, 21), *STD_RANGE)
        stds, first = np.unique(np.concatenate([stds, closer]), return_index=True)
        excesses = np.concatenate([excesses, excess(closer)])[first]
        ratio **= 0.1

    center = int(np.argmin(excesses))
    if number_format is None:
        allowed = allowed + excesses[center]
    out = excesses > allowed[..., None]
    below = np.where(out[..., :center], np.arange(center), -1).max(axis=-1, initial=-1)
    above = np.where(out[..., center:], np.arange(center, len(stds)), len(stds)).min(axis=-1)
    last = len(stds) - 1
    low = _edge(excess, allowed, stds[np.maximum(below, 0)], stds[np.minimum(below + 1, last)])
    high = _edge(excess, allowed, stds[np.minimum(above, last)], stds[np.maximum(above - 1, 0)])
    low = np.where(below < 0, stds[0], low)
    high = np.where(above > last, stds[-1], high)
    none = out[..., center]
    return StabilityBand(plain(np.where(none, np.nan, low)), plain(np.where(none, np.nan, high)))


def _edge(excess: Callable[[Array], Array], allowed: Array, outside: Array, inside: Array) -> Array:
    """Where `excess` crosses `allowed` between two stds, by bisection."""
    for _ in range(36):
        middle = np.sqrt(outside * inside)
        good = excess(middle) <= allowed
        inside, outside = np.where(good, middle, inside), np.where(good, outside, middle)
    return inside
