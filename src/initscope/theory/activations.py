"""Activation functions, and what is known of them in closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy  # its parts when they are asked for: a specification needs names alone

from initscope.checks import Array
from initscope.errors import UsageError, shown, unknown_name

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "ActivationLike",
]

ActivationLike = str | Callable[[Array], Array]

LEAKY_SLOPE = 0.01
SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805
ROOT_2_PI = np.sqrt(2 * np.pi)


@dataclass(frozen=True, eq=False)
class Activation:
    """An activation function and what is known of it in closed form.

    Attributes
    ----------
    name
        Its name, or the representation of a callable.
    function, derivative
        Elementwise maps of float arrays; without a derivative, one is taken numerically.
    kinks
        Where the function or its derivative is not smooth.
    slopes
        For a positively homogeneous function, its slopes left and right of 0.
    mean, second, slope, derivative_second
        Closed forms, as functions of the variance q of a Gaussian input x: E[phi],
        E[phi^2], dE[phi^2]/dq and E[phi'^2].
    """

    name: str
    function: Callable[[Array], Array]
    derivative: Callable[[Array], Array] | None = None
    kinks: tuple[float, ...] | None = ()
    slopes: tuple[float, float] | None = None
    mean: Callable[[Array], Array] | None = None
    second: Callable[[Array], Array] | None = None
    slope: Callable[[Array], Array] | None = None
    derivative_second: Callable[[Array], Array] | None = None


def _homogeneous(name: str, left: float, right: float) -> Activation:
    """Return ``left x`` below 0 and ``right x`` above: every moment is a power of q."""
    second = (left**2 + right**2) / 2
    return Activation(
        name,
        lambda x: np.where(x < 0, left * x, right * x),
        lambda x: np.where(x < 0, left, right),
        kinks=(0.0,),
        slopes=(left, right),
        mean=lambda q: (right - left) * np.sqrt(q) / ROOT_2_PI,
        second=lambda q: second * q,
        slope=lambda q: np.full_like(q, second),
        derivative_second=lambda q: np.full_like(q, second),
    )


def _normal_density(x: Array) -> Array:
    return np.exp(-(x**2) / 2) / ROOT_2_PI


# GELU: Roberts, Yaida & Hanin (2022), The Principles of Deep Learning Theory, section 5.3.4.
def _gelu_bracket(q: Array) -> Array:
    return np.arcsin(q / (1 + q)) + 2 * q / ((1 + q) * np.sqrt(1 + 2 * q))


def _gelu_second(q: Array) -> Array:
    return q / 4 + q / (2 * np.pi) * _gelu_bracket(q)


def _gelu_slope(q: Array) -> Array:
    last = 2 * q / ((1 + q) * np.sqrt(1 + 2 * q)) * (1 / (1 + q) - q / (1 + 2 * q))
    first = q / ((1 + q) * np.sqrt(1 + 2 * q))
    return 0.25 + (_gelu_bracket(q) + first + last) / (2 * np.pi)


def _gelu_derivative_second(q: Array) -> Array:
    last = q * (3 + 5 * q) / ((1 + q) * (1 + 2 * q) ** 1.5)
    return 0.25 + (np.arcsin(q / (1 + q)) + last) / (2 * np.pi)


def _gelu_tanh_inner(x: Array) -> Array:
    return np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)


def _gelu_tanh_derivative(x: Array) -> Array:
    saturated = np.tanh(_gelu_tanh_inner(x))
    inner_slope = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x**2)
    return 0.5 * (1 + saturated) + 0.5 * x * (1 - saturated**2) * inner_slope


def _silu_derivative(x: Array) -> Array:
    gate = scipy.special.expit(x)
    return gate * (1 + x * (1 - gate))


def _elu(name: str, alpha: float, scale: float) -> Activation:
    """Return ``scale * x`` above 0 and ``scale * alpha * (exp(x) - 1)`` below."""

    def half_moment(k: int, q: Array) -> Array:  # E[exp(k x); x < 0]
        return scipy.special.erfcx(k * np.sqrt(q / 2)) / 2

    def mean(q: Array) -> Array:
        return scale * (np.sqrt(q) / ROOT_2_PI + alpha * (half_moment(1, q) - 0.5))

    def derivative_second(q: Array) -> Array:
        return scale**2 * (0.5 + alpha**2 * half_moment(2, q))

    return Activation(
        name,
        lambda x: scale * np.where(x < 0, alpha * np.expm1(np.minimum(x, 0.0)), x),
        lambda x: scale * np.where(x < 0, alpha * np.exp(np.minimum(x, 0.0)), 1.0),
        kinks=(0.0,),
        mean=mean,
        derivative_second=derivative_second,
    )


def _softplus(x: Array) -> Array:
    return np.logaddexp(0.0, x)


def _mish_derivative(x: Array) -> Array:
    saturated = np.tanh(_softplus(x))
    return saturated + x * scipy.special.expit(x) * (1 - saturated**2)


ACTIVATIONS: dict[str, Activation] = {
    known.name: known
    for known in (
        _homogeneous("identity", 1.0, 1.0),
        _homogeneous("relu", 0.0, 1.0),
        _homogeneous("leaky_relu", LEAKY_SLOPE, 1.0),
        Activation(
            "gelu",
            lambda x: x * scipy.special.ndtr(x),
            lambda x: scipy.special.ndtr(x) + x * _normal_density(x),
            mean=lambda q: q / np.sqrt(2 * np.pi * (1 + q)),
            second=_gelu_second,
            slope=_gelu_slope,
            derivative_second=_gelu_derivative_second,
        ),
        Activation(
            "gelu_tanh",
            lambda x: 0.5 * x * (1 + np.tanh(_gelu_tanh_inner(x))),
            _gelu_tanh_derivative,
        ),
        Activation("silu", lambda x: x * scipy.special.expit(x), _silu_derivative),
        Activation("tanh", np.tanh, lambda x: 1 - np.tanh(x) ** 2, mean=np.zeros_like),
        # Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, eq. 4.29.
        Activation(
            "erf",
            lambda x: scipy.special.erf(x),
            lambda x: 2 / np.sqrt(np.pi) * np.exp(-(x**2)),
            mean=np.zeros_like,
            second=lambda q: 2 / np.pi * np.arcsin(2 * q / (1 + 2 * q)),
            slope=lambda q: 4 / np.pi / ((1 + 2 * q) * np.sqrt(1 + 4 * q)),
            derivative_second=lambda q: 4 / np.pi / np.sqrt(1 + 4 * q),
        ),
        Activation(
            "sigmoid",
            lambda x: scipy.special.expit(x),
            lambda x: scipy.special.expit(x) * scipy.special.expit(-x),
            mean=lambda q: np.full_like(q, 0.5),
        ),
        _elu("elu", 1.0, 1.0),
        _elu("selu", SELU_ALPHA, SELU_SCALE),
        Activation("softplus", _softplus, lambda x: scipy.special.expit(x)),
        Activation("mish", lambda x: x * np.tanh(_softplus(x)), _mish_derivative),
        Activation(
            "hardtanh",
            lambda x: np.clip(x, -1.0, 1.0),
            lambda x: np.where(np.abs(x) < 1, 1.0, 0.0),
            kinks=(-1.0, 1.0),
            mean=np.zeros_like,
            derivative_second=lambda q: scipy.special.erf(1 / np.sqrt(2 * np.maximum(q, 1e-300))),
        ),
    )
}
"""Activation functions by name.

They are identity, relu, leaky_relu (slope 0.01), gelu, gelu_tanh, silu, tanh, erf, sigmoid, elu,
selu, softplus, mish and hardtanh; other names for three of them are linear, swish and gelu_new.
GELU and its tanh approximation are from Hendrycks & Gimpel (2016, arXiv:1606.08415), SiLU from
Elfwing, Uchibe & Doya (2018, arXiv:1702.03118), SELU and its constants from Klambauer et al.
(2017, arXiv:1706.02515), Mish from Misra (2019, arXiv:1908.08681).
"""

ALIASES = {"linear": "identity", "swish": "silu", "gelu_new": "gelu_tanh"}


@lru_cache(maxsize=256)
def _from_callable(function: Callable[[Array], Array]) -> Activation:
    return Activation(shown(function), function, kinks=None)


def resolve(activation: ActivationLike | Activation) -> Activation:
    """Return the :class:`Activation` of a name or callable, or raise `UsageError`."""
    if isinstance(activation, Activation):
        return activation
    if isinstance(activation, str):
        name = ALIASES.get(activation, activation)
        if name not in ACTIVATIONS:
            raise unknown_name("activation", activation, [*ACTIVATIONS, *ALIASES])
        return ACTIVATIONS[name]
    if callable(activation):
        try:
            return _from_callable(activation)
        except TypeError:  # it has no hash, so that what is known of it cannot be kept
            return _from_callable.__wrapped__(activation)
    raise UsageError(
        f"activation {shown(activation)} is neither a name nor callable. Give a function of a "
        f"float array, or one of {', '.join(ACTIVATIONS)}."
    )
