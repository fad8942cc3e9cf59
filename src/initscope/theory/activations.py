"""Gaussian moments of activation functions, and the gains that follow from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import erf, erfcx, expit, ndtr

from initscope.checks import Array, ArrayLike, nonnegative, plain, require_name
from initscope.errors import UsageError, shown, unknown_name
from initscope.theory import quadrature

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "ActivationLike",
    "ActivationMoments",
    "activation_moments",
    "gain",
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
    """``left x`` below 0 and ``right x`` above: every moment is a power of q."""
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
    gate = expit(x)
    return gate * (1 + x * (1 - gate))


def _elu(name: str, alpha: float, scale: float) -> Activation:
    """``scale * x`` above 0 and ``scale * alpha * (exp(x) - 1)`` below."""

    def half_moment(k: int, q: Array) -> Array:  # E[exp(k x); x < 0]
        return erfcx(k * np.sqrt(q / 2)) / 2

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
    return saturated + x * expit(x) * (1 - saturated**2)


ACTIVATIONS: dict[str, Activation] = {
    known.name: known
    for known in (
        _homogeneous("identity", 1.0, 1.0),
        _homogeneous("relu", 0.0, 1.0),
        _homogeneous("leaky_relu", LEAKY_SLOPE, 1.0),
        Activation(
            "gelu",
            lambda x: x * ndtr(x),
            lambda x: ndtr(x) + x * _normal_density(x),
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
        Activation("silu", lambda x: x * expit(x), _silu_derivative),
        Activation("tanh", np.tanh, lambda x: 1 - np.tanh(x) ** 2, mean=np.zeros_like),
        # Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, eq. 4.29.
        Activation(
            "erf",
            erf,
            lambda x: 2 / np.sqrt(np.pi) * np.exp(-(x**2)),
            mean=np.zeros_like,
            second=lambda q: 2 / np.pi * np.arcsin(2 * q / (1 + 2 * q)),
            slope=lambda q: 4 / np.pi / ((1 + 2 * q) * np.sqrt(1 + 4 * q)),
            derivative_second=lambda q: 4 / np.pi / np.sqrt(1 + 4 * q),
        ),
        Activation(
            "sigmoid",
            expit,
            lambda x: expit(x) * expit(-x),
            mean=lambda q: np.full_like(q, 0.5),
        ),
        _elu("elu", 1.0, 1.0),
        _elu("selu", SELU_ALPHA, SELU_SCALE),
        Activation("softplus", _softplus, expit),
        Activation("mish", lambda x: x * np.tanh(_softplus(x)), _mish_derivative),
        Activation(
            "hardtanh",
            lambda x: np.clip(x, -1.0, 1.0),
            lambda x: np.where(np.abs(x) < 1, 1.0, 0.0),
            kinks=(-1.0, 1.0),
            mean=np.zeros_like,
            derivative_second=lambda q: erf(1 / np.sqrt(2 * np.maximum(q, 1e-300))),
        ),
    )
}
"""Activation functions by name.

GELU and its tanh approximation are from Hendrycks & Gimpel (2016, arXiv:1606.08415), SiLU from
Elfwing, Uchibe & Doya (2018, arXiv:1702.03118), SELU and its constants from Klambauer et al.
(2017, arXiv:1706.02515), Mish from Misra (2019, arXiv:1908.08681).
"""

ALIASES = {"linear": "identity", "swish": "silu", "gelu_new": "gelu_tanh"}


@lru_cache(maxsize=256)
def _from_callable(function: Callable[[Array], Array]) -> Activation:
    return Activation(shown(function), function, kinks=None)


def resolve(activation: ActivationLike | Activation) -> Activation:
    """The :class:`Activation` for a name or callable, or `UsageError`."""
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


# What is averaged: phi, phi', the standard normal variable z and the variance q go in.
Integrand = Callable[[Array, Array, Array, Array], Array]

INTEGRANDS: dict[str, Integrand] = {
    "mean": lambda phi, dphi, z, q: phi,
    "second": lambda phi, dphi, z, q: phi**2,
    # dE[phi(sqrt(q) z)^2]/dq; equal to E[phi'^2 + phi phi''] without needing phi''.
    "slope": lambda phi, dphi, z, q: phi * dphi * z / np.sqrt(q),
    "derivative_second": lambda phi, dphi, z, q: dphi**2,
    "fourth": lambda phi, dphi, z, q: phi**4,
    "derivative_fourth": lambda phi, dphi, z, q: dphi**4,
    "mixed": lambda phi, dphi, z, q: phi**2 * dphi**2,
    # q dE[phi'^2]/dq
    "derivative_rate": lambda phi, dphi, z, q: dphi**2 * (z**2 - 1) / 2,
}

SMALLEST_Q = 1e-12  # below it a derivative in q is that at 0, to rounding
LARGEST_Q = 1e140


def panel_edges(activation: Activation, reach: float) -> Array:
    """Where to cut the line for `activation`: known kinks, or what resolves a callable."""
    if activation.kinks is None:
        return quadrature.resolved_edges(activation.function, _power_of_2(reach))[0]
    return quadrature.dyadic_edges(reach, activation.kinks)


def panel_kinks(activation: Activation, reach: float) -> tuple[float, ...]:
    """Kinks of `activation` within `reach`: those known, or those found in a callable."""
    if activation.kinks is None:
        return quadrature.resolved_edges(activation.function, _power_of_2(reach))[1]
    return activation.kinks


def _power_of_2(reach: float) -> float:
    return float(2.0 ** np.ceil(np.log2(max(reach, 1.0))))


def expectation(activation: Activation, q: Array, names: tuple[str, ...]) -> tuple[Array, ...]:
    """Gaussian expectations of the `INTEGRANDS` called `names` at input variance `q`.

    Closed forms are used where the activation has them. Shapes as `q`.
    """
    results: dict[str, Array] = {}
    given, q = q, (q if activation.slopes else np.minimum(q, LARGEST_Q))
    for name in names:
        closed_form = getattr(activation, name, None)
        if closed_form is not None:
            results[name] = closed_form(q)
    missing = tuple(name for name in names if name not in results)
    if missing:
        flat = np.maximum(q.ravel(), SMALLEST_Q)
        many = q.size > MANY and flat.max() < LARGEST_TABLED_Q
        sums = (_interpolate if many else _integrate)(activation, flat, missing)
        results |= {name: values.reshape(q.shape) for name, values in sums.items()}
        zero = q == 0
        if zero.any():
            at_zero = quadrature.evaluate(activation.function, np.zeros(1))[0]
            for name, power in (("mean", 1), ("second", 2), ("fourth", 4)):
                if name in missing:
                    results[name] = np.where(zero, at_zero**power, results[name])
    if "second" in names and not activation.slopes and (given > LARGEST_Q).any():
        # So far out an unbounded activation is taken to grow in proportion.
        growth = np.where(results["second"] > np.sqrt(LARGEST_Q), given / q, 1.0)
        results["second"] = results["second"] * growth
    return tuple(results[name] for name in names)


def _integrate(activation: Activation, q: Array, names: tuple[str, ...]) -> dict[str, Array]:
    """The expectations `names` by quadrature; `q` has one axis."""
    sums = {name: np.empty(q.shape) for name in names}
    # Variances of like size share panels, so that none is cut more often than it needs.
    order = np.argsort(q)
    start = 0
    while start < len(q):
        smallest = q[order[start]]
        stop = int(np.searchsorted(q, 16 * smallest, side="right", sorter=order))
        edges = panel_edges(activation, quadrature.REACH * float(np.sqrt(q[order[stop - 1]])))
        nodes_each = (len(edges) + len(quadrature.GAUSSIAN_EDGES)) * quadrature.ORDER
        for part in quadrature.chunks(stop - start, nodes_each):
            index = order[start:stop][part]
            for name, values in _panel_sums(activation, q[index], edges, names).items():
                sums[name][index] = values
        start = stop
    return sums


def _panel_sums(
    activation: Activation, q: Array, edges: Array, names: tuple[str, ...]
) -> dict[str, Array]:
    """The expectations `names` over one set of panels."""
    x, z, weight, half_width = quadrature.panels(np.zeros_like(q), np.sqrt(q), edges)
    phi = quadrature.evaluate(activation.function, x)
    if set(names) <= {"mean", "second", "fourth"}:
        dphi = phi  # not used
    elif activation.derivative is not None:
        dphi = activation.derivative(x)
    else:
        dphi = quadrature.derivative_at_nodes(phi, half_width)
    return {
        name: np.einsum("npk,npk->n", INTEGRANDS[name](phi, dphi, z, q[:, None, None]), weight)
        for name in names
    }


MANY = 2000  # variances from which on a table is faster than one quadrature for each
LARGEST_TABLED_Q = 1e13


@lru_cache(maxsize=4096)
def _piece(activation: Activation, name: str, octave: int) -> Array:
    """Legendre coefficients in log q of one expectation for q between e^octave and e^(octave+1).

    The expectations are analytic in log q within a distance of pi or more of the real line, so
    that degree 15 on a piece of length 1 is exact to rounding.
    """
    q = np.exp(octave + (quadrature.NODES + 1) / 2)
    return quadrature.legendre_coefficients(_integrate(activation, q, (name,))[name])


def _interpolate(activation: Activation, q: Array, names: tuple[str, ...]) -> dict[str, Array]:
    """The expectations `names` from tables; `q` has one axis."""
    log_q = np.log(q)
    octave = np.floor(log_q).astype(int)
    local = 2 * (log_q - octave) - 1
    present, index = np.unique(octave, return_inverse=True)
    sums = {}
    for name in names:
        table = np.stack([_piece(activation, name, int(one)) for one in present])
        sums[name] = np.polynomial.legendre.legval(local, table.T[:, index], tensor=False)
    return sums


class ActivationMoments(NamedTuple):
    """Gaussian moments of an activation phi: E[phi], E[phi^2] and E[phi'^2]."""

    mean: Array
    second: Array
    derivative_second: Array


def activation_moments(activation: ActivationLike, q: ArrayLike = 1.0) -> ActivationMoments:
    r"""Moments E[phi(x)], E[phi(x)^2] and E[phi'(x)^2] for x ~ N(0, q).

    Parameters
    ----------
    activation
        A name in `ACTIVATIONS`, or a function that maps a float array element by element.
    q
        Variance of the input: a number or array.

    Returns
    -------
    ActivationMoments
        `mean`, `second` (mean squares, not variances) and `derivative_second`, each of the shape
        of `q`.

    Raises
    ------
    UsageError
        Unknown name, not callable, not elementwise, not finite, or negative `q`.

    Notes
    -----
    Named activations are accurate to 1e-12 or better at q = 1, in closed form where one is known
    (ReLU, leaky ReLU, identity, erf, GELU). For a callable, kinks and jumps are looked for by
    halving; if it is smooth but for finitely many of them, and varies on a scale of no less than
    about 1e-3, the result is accurate to 1e-9. phi' is the derivative where it exists: a jump
    adds nothing to E[phi'^2].

    The second moment is the factor by which a layer changes variance going forward (He et al.
    2015, eq. 7), the mean square of the derivative that going backward (eq. 12).

    Examples
    --------
    >>> moments = activation_moments("relu")
    >>> float(moments.second), float(moments.derivative_second)
    (0.5, 0.5)
    >>> print(f"{activation_moments('gelu').second:.5f}")
    0.42522
    >>> print(f"{activation_moments(lambda x: np.maximum(x, 0) ** 2).second:.5f}")
    1.50000
    """
    known = resolve(activation)
    variance = nonnegative("q", q)
    return ActivationMoments(
        *map(plain, expectation(known, variance, ("mean", "second", "derivative_second")))
    )


def gain(
    activation: ActivationLike,
    direction: Literal["forward", "backward"] = "forward",
    q: ArrayLike = 1.0,
) -> Array:
    r"""Factor on ``1/sqrt(fan)`` that makes a layer keep its variance.

    Forward, :math:`g = \sqrt{q / E[\phi(x)^2]}` with `fan_in` keeps the variance q of the
    preactivations; backward, :math:`g = E[\phi'(x)^2]^{-1/2}` with `fan_out` keeps that of the
    gradient; x ~ N(0, q). Both are :math:`\sqrt 2` for ReLU (He et al. 2015, eqs. 10 and 14).
    Only positively homogeneous activations have one gain for both directions.

    Parameters
    ----------
    activation
        A name in `ACTIVATIONS`, or a function that maps a float array element by element.
    direction
        ``"forward"`` or ``"backward"``.
    q
        Variance of the preactivations that is to be kept.

    Returns
    -------
    numpy.ndarray
        The gain, a factor on a std, of the shape of `q`.

    Raises
    ------
    UsageError
        Unknown activation or direction, or a moment that is 0, for which no gain exists.

    Examples
    --------
    >>> print(f"{gain('relu'):.5f} {gain('tanh'):.5f} {gain('tanh', 'backward'):.5f}")
    1.41421 1.59254 1.46741
    """
    require_name("direction", direction, ("forward", "backward"))
    known = resolve(activation)
    variance = nonnegative("q", q)
    second, slope = expectation(known, variance, ("second", "derivative_second"))
    moment = second if direction == "forward" else slope
    # The numerical derivative of a constant is rounding, not exactly 0.
    if (moment <= 1e-24 * second).any():
        raise UsageError(
            f"activation {known.name} has no {direction} gain at q = {variance.max():g}: its "
            f"{'mean square' if direction == 'forward' else 'mean squared slope'} is 0."
        )
    return plain(np.sqrt((variance if direction == "forward" else 1.0) / moment))
