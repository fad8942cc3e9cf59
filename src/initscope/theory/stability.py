"""Which standard deviations a network can use, and what number formats can hold."""

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
)
from initscope.theory.activations import ActivationLike, resolve
from initscope.theory.propagation import propagate

__all__ = ["NUMBER_FORMATS", "NumberFormat", "StabilityBand", "critical_std", "stability_band"]


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
"""Number formats that networks are trained in: float32, bfloat16, float16.

On training in bfloat16 see Kalamkar et al. (2019, arXiv:1905.12322), in float16 Micikevicius et
al. (2018, arXiv:1710.03740).
"""

STD_RANGE = (1e-8, 1e4)
GRID = 241  # points of the first look over `STD_RANGE`, 20 a decade
ZOOMS = 8  # times the best std is looked for again ten times closer


class StabilityBand(NamedTuple):
    """Lowest and highest usable std, per element; NaN where there is none."""

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
    r"""Return the range of the std, the same in all layers, that keeps variances in bounds.

    A std is judged by its worst change: the most decades by which, at any weight layer, the
    variance of the signal differs from that of the input, or the variance of the gradient from that
    at the output (:func:`propagate`). With unequal widths even the best std has such a change. A
    std is inside the band if its worst change exceeds that of the best by no more than `decades`;
    or, with a number format, if signal and gradient stay within its range.

    ReLU layers of width n multiply both variances by :math:`n \sigma^2 / 2` (He et al. 2015,
    eq. 9), so that the band around :math:`\sqrt{2/n}` has a half-width of about decades/(2 L) in
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
        By how many powers of ten a variance may change more than under the best std: a number
        or array, above 0. Not used with a number format.
    number_format
        One of `NUMBER_FORMATS`. The rms of the pre-activations and of the gradients must then lie
        between its smallest normal number, below which precision is lost, and its largest, above
        which values are infinite. Single elements leave the range earlier than their rms does.
    input_variance, output_gradient_variance
        Mean squares of the elements of the input and of the gradient at the output.

    Returns
    -------
    StabilityBand
        `low` and `high`, std per element, of the shape of `decades`: the unbroken band around the
        best std, cut at 1e-8 and 1e4. NaN if a number format can hold no std.

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
        """Return the worst change of a variance in decades, or decades beyond the format."""
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

    # Deep networks have a band far narrower than any fixed grid: close in on the best std. Not by
    # find_minimum: its points come one after another, these 21 at once, and between all of them
    # the edges are looked for.
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
    """Return where `excess` crosses `allowed` between two stds."""
    from scipy.optimize import elementwise  # not with the module: a specification needs names alone

    found = elementwise.find_root(
        lambda log_std, allowed: excess(np.exp(log_std)) - allowed,
        (np.log(outside), np.log(inside)),
        args=(allowed,),
    )
    return np.exp(found.x)


def critical_std(widths: Sequence[int]) -> float:
    r"""Return the std, the same in all layers, that keeps the variance of a ReLU network.

    Layer l multiplies the mean square of the signal, as it leaves the ReLU, by
    :math:`n_l \sigma^2 / 2` (He et al. 2015, eq. 9), n_l its fan-in; the product is 1 at
    :math:`\sigma = \sqrt{2 / n}` with n the geometric mean of the fan-ins. Pre-activations have
    twice that mean square.

    Parameters
    ----------
    widths
        Inputs, hidden layers, outputs.

    Raises
    ------
    UsageError
        No layers, or a width below 1.

    Examples
    --------
    >>> print(f"{critical_std([784, 256, 128, 10]):.4f}")
    0.0823
    """
    return float(np.sqrt(2.0) * np.exp(-0.5 * np.mean(np.log(layer_widths(widths)[:-1]))))
