"""The mean square of a weight matrix under AdamW, where gradients are mostly noise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from initscope.checks import (
    Array,
    ArrayLike,
    finite,
    flag,
    nonnegative,
    plain,
    together,
    whole,
)
from initscope.errors import UsageError, shown
from initscope.memory import require_memory

__all__ = [
    "DataMemory",
    "adamw_equilibrium_rms",
    "adamw_momentum_alignment",
    "adamw_rotation",
    "adamw_update_rms",
    "data_memory",
]

Betas = tuple[ArrayLike, ArrayLike]


def check_betas(betas: Betas) -> tuple[Array, Array]:
    """Return the pair of betas, checked."""
    try:
        first, second = betas
    except (TypeError, ValueError, RuntimeError):  # the last, of tensors
        raise UsageError(
            f"betas must be a pair, for example (0.9, 0.95), not {shown(betas)}."
        ) from None
    checked = nonnegative("beta1", first), nonnegative("beta2", second)
    for name, beta in zip(("beta1", "beta2"), checked, strict=True):
        if (beta >= 1).any():
            raise UsageError(f"{name} must be at least 0 and below 1, not {beta.max():g}.")
    return checked


def adamw_update_rms(betas: Betas = (0.9, 0.999), snr: ArrayLike = 0.0) -> Array:
    r"""Return the rms of the Adam update u, before the learning rate.

    For gradients mu + noise, noise independent from step to step and v near its mean,

    .. math:: U^2 = \frac{r + c_1}{1 + r}, \qquad c_1 = \frac{1 - \beta_1}{1 + \beta_1},

    with r the `snr`: the running mean keeps a share c_1 of the noise (Kosson et al. 2024,
    arXiv:2305.17212, for r = 0).

    Parameters
    ----------
    betas
        beta1 and beta2 of AdamW; beta2 does not matter while v is near its mean.
    snr
        Signal-to-noise ratio of the gradient, ||mu||^2 / ||sigma||^2; number or array.

    Raises
    ------
    UsageError
        Betas outside [0, 1); negative `snr`.

    Examples
    --------
    >>> print(f"{adamw_update_rms((0.9, 0.95)):.4f}")
    0.2294
    """
    beta1, _ = check_betas(betas)
    r = nonnegative("snr", snr)
    together(betas=beta1, snr=r)
    kept = (1 - beta1) / (1 + beta1)
    return plain(np.sqrt((r + kept) / (1 + r)))


def adamw_equilibrium_rms(
    lr: ArrayLike,
    weight_decay: ArrayLike,
    *,
    diffusion: ArrayLike = 1.0,
    alignment: ArrayLike = 0.0,
    betas: Betas | None = None,
) -> Array:
    r"""Return the rms of a weight where decay and random steps balance.

    .. math:: \theta_{rms} = \sqrt{\frac{D \, \eta}{2 (\lambda + \alpha)}}

    The mean square approaches this at the rate :math:`2 \eta (\lambda + \alpha)` a step, from
    above or below. beta1 cancels: averaging makes steps smaller by c_1 and correlates them by as
    much (Kosson et al. 2024, arXiv:2305.17212, table 1, for D = 1 and alpha = 0). That needs a
    weight to decay little while momentum remembers,
    :math:`\eta (\lambda + \alpha) \ll 1 - \beta_1`. Where it does not, give `betas` for the fixed
    point of the recursion of :func:`adamw_variance_trajectory`,

    .. math:: \theta_{rms}^2 = D \eta^2 \, \frac{1 - \beta_1}{1 + \beta_1} \,
              \frac{1 + a \beta_1}{(1 - a \beta_1)(1 - a^2)}, \qquad
              a = 1 - \eta (\lambda + \alpha).

    Parameters
    ----------
    lr, weight_decay
        eta and lambda of AdamW; numbers or arrays.
    diffusion
        D, the growth of the mean square per step over eta^2 when nothing decays: 1 for pure
        noise, more where successive gradients agree.
    alignment
        alpha, a pull (above 0) or push (below 0) along the weights that the gradient adds to
        the decay.
    betas
        beta1 and beta2 for the exact fixed point; the limit of small lr times decay if None.

    Returns
    -------
    numpy.ndarray
        The rms, a std per element; `inf` where nothing decays, for then there is no equilibrium.

    Raises
    ------
    UsageError
        Negative lr, decay or diffusion; betas outside [0, 1).

    Examples
    --------
    >>> print(f"{adamw_equilibrium_rms(3e-3, 0.3):.4f}")
    0.0707
    >>> print(f"{adamw_equilibrium_rms(2e-2, 1.0, betas=(0.9, 0.999)):.4f}")  # not .1
    0.0921
    """
    eta, decay = nonnegative("lr", lr), nonnegative("weight_decay", weight_decay)
    noise = nonnegative("diffusion", diffusion)
    aligned = finite("alignment", alignment)
    together(lr=eta, weight_decay=decay, diffusion=noise, alignment=aligned)
    pull = decay + aligned
    if betas is None:
        square, shrinkage = noise * eta, 2 * pull
    else:
        beta1, _ = check_betas(betas)
        together(lr=eta, weight_decay=pull, betas=beta1)
        keep = 1 - eta * pull
        smoothed = (1 - beta1) / (1 + beta1) * (1 + keep * beta1) / (1 - keep * beta1)
        square, shrinkage = noise * eta * smoothed, pull * (1 + keep)
    decays = shrinkage > 0
    with np.errstate(invalid="ignore", over="ignore"):  # of a decay of 1e-320, as of none
        rms = np.sqrt(square / np.where(decays, shrinkage, 1.0))
    return plain(np.where(decays, rms, np.inf))


def adamw_rotation(
    lr: ArrayLike,
    weight_decay: ArrayLike,
    betas: Betas = (0.9, 0.999),
    snr: ArrayLike = 0.0,
    diffusion: ArrayLike = 1.0,
    alignment: ArrayLike = 0.0,
) -> Array:
    r"""Return the angle in radians by which a matrix turns in one step at equilibrium.

    The update :math:`\eta U` over the equilibrium rms; without signal

    .. math:: \sqrt{2 \eta \lambda \, \frac{1 - \beta_1}{1 + \beta_1}}

    (Kosson et al. 2024, arXiv:2305.17212, table 1), the same for every matrix whatever its
    initialization.

    Parameters
    ----------
    lr, weight_decay, betas, snr, diffusion, alignment
        As in :func:`adamw_equilibrium_rms` and :func:`adamw_update_rms`.

    Returns
    -------
    numpy.ndarray
        The angle; 0 where nothing decays, for the matrix then grows without end.

    Raises
    ------
    UsageError
        As the two functions named.

    Examples
    --------
    >>> print(f"{np.degrees(adamw_rotation(6e-4, 0.1, (0.9, 0.95))):.3f} degrees")
    0.144 degrees
    """
    rms = adamw_equilibrium_rms(lr, weight_decay, diffusion=diffusion, alignment=alignment)
    eta, update = nonnegative("lr", lr), adamw_update_rms(betas, snr)
    together(lr=eta, weight_decay=rms, snr=update)
    step = eta * update
    with np.errstate(divide="ignore", invalid="ignore"):
        return plain(np.where(step > 0, step / rms, 0.0))


def _linear_recurrence(factor: Array, source: Array, start: Array) -> Array:
    """Solve x_t = factor_t x_{t-1} + source_t along the last axis, from x_0 = `start`.

    Two successive steps compose to one of the same form; doubling the stride composes all of
    them in log2(steps) vectorized passes, without the divisions that make a closed form with
    cumulative products underflow.
    """
    factor = np.array(factor)
    value = np.array(source)
    value[..., 0] += factor[..., 0] * start
    factor[..., 0] = 0.0
    stride = 1
    while stride < value.shape[-1]:
        value[..., stride:] += factor[..., stride:] * value[..., :-stride]
        factor[..., stride:] *= factor[..., :-stride]
        stride *= 2
        # Products of many small factors end as denormal numbers, which are slow, or 0.
        if np.abs(factor[..., stride:]).max(initial=0.0) < 1e-40:
            break
    return value


def adamw_momentum_alignment(betas: Betas = (0.9, 0.999), *, after_step: bool = False) -> Array:
    r"""Return what steps add to the mean square by alignment, over what they add by their length.

    An update u changes the mean square by :math:`-2 \eta \langle \theta, u \rangle` and
    :math:`\eta^2 \|u\|^2`. Momentum repeats each gradient, so a weight that has moved along it
    moves along it again: for gradients that are noise, independent from step to step,

    .. math:: \frac{-2 \eta \langle \theta_{t-1}, u_t \rangle}{\eta^2 \|u_t\|^2}
              = \frac{2}{U^2} \sum_{k \geq 1} \langle u_t, u_{t-k} \rangle
              = \frac{2 \beta_1}{1 - \beta_1}, \qquad
              \langle u_t, u_{t-k} \rangle = \beta_1^k U^2.

    With the weights after the step, :math:`\theta_t = \theta_{t-1} - \eta u_t`, it is 2 more,
    :math:`2 / (1 - \beta_1)`, and the length is then taken away once. An alignment of this size
    says nothing of the loss. Rate and v are taken not to change, and weights not to decay, while
    momentum remembers.

    Parameters
    ----------
    betas
        beta1 and beta2 of AdamW; beta2 does not matter while v is near its mean.
    after_step
        Whether the alignment is that with the weights after the step.

    Raises
    ------
    UsageError
        Betas outside [0, 1).

    Examples
    --------
    >>> print(f"{adamw_momentum_alignment((0.9, 0.95)):.1f}")
    18.0
    """
    beta1, _ = check_betas(betas)
    return plain(2 * (1.0 if flag("after_step", after_step) else beta1) / (1 - beta1))


class DataMemory(NamedTuple):
    """What the final weights keep: the share of the start, and the weight of each update.

    Attributes
    ----------
    start
        Factor of the initial weights in the final ones.
    updates
        Factor of each update in the final weights; last axis the steps.
    """

    start: Array
    updates: Array


def data_memory(
    lr: ArrayLike, weight_decay: ArrayLike, *, alignment: ArrayLike = 0.0
) -> DataMemory:
    r"""Return how much of the start and of each update is left in the final weights.

    AdamW, :math:`\theta_t = (1 - \eta_t \lambda_t) \theta_{t-1} - \eta_t u_t`, solved for the end:

    .. math:: \theta_T = s \, \theta_0 - \sum_j w_j u_j, \qquad
              w_j = \eta_j \prod_{i > j} (1 - \eta_i \lambda_i), \qquad
              s = \prod_i (1 - \eta_i \lambda_i),

    without any assumption. For small rates :math:`s = e^{-\kappa_T}` and
    :math:`w_j = e^{\kappa_j - \kappa_T} \eta_j` with :math:`\kappa_t` the sum of
    :math:`\eta \lambda` up to t (Wang & Aitchison 2025, arXiv:2405.13698, for a constant rate). An
    update is an average over past gradients: gradient j has the weight
    :math:`(1 - \beta_1) \sum_k \beta_1^k w_{j + k}`, over the root of v.

    Parameters
    ----------
    lr, weight_decay
        eta and lambda: a number, or one for each step along the last axis; at least one of the
        two has that axis.
    alignment
        alpha of :func:`adamw_equilibrium_rms`, added to the decay; `updates` are then weights of
        the updates without this pull along the weights.

    Returns
    -------
    DataMemory
        ``start``, s, of the weights (its square is that of the variance); ``updates``, w_j, with
        the last axis the steps.

    Raises
    ------
    UsageError
        Negative or NaN values; no axis of steps, or two of different lengths.

    Examples
    --------
    >>> left, weight = data_memory([0.1, 0.1, 0.2], weight_decay=1.0)
    >>> print(left.round(3), weight.round(3))
    0.648 [0.072 0.08  0.2  ]
    """
    eta, decay = nonnegative("lr", lr), nonnegative("weight_decay", weight_decay)
    if not eta.ndim and not decay.ndim:
        raise UsageError("give one lr, or one weight_decay, for each step: both are one number.")
    n_steps = _count_steps(None, lr=eta, weight_decay=decay)
    aligned = finite("alignment", alignment)[..., None]
    together(lr=eta, weight_decay=decay, alignment=aligned)
    eta, pull = np.broadcast_arrays(eta, decay + aligned)
    keep = np.broadcast_to(1 - eta * pull, (*eta.shape[:-1], n_steps))
    after = np.ones((*keep.shape[:-1], n_steps + 1))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        after[..., :-1] = np.cumprod(keep[..., ::-1], axis=-1)[..., ::-1]
        return DataMemory(plain(after[..., 0]), eta * after[..., 1:])


def _count_steps(steps: int | None, **arrays: Array) -> int:
    """Return the number of steps of a run from its arguments that may have one value a step."""
    lengths = {name: array.shape[-1] for name, array in arrays.items() if array.ndim}
    for name, length in lengths.items():
        if not length:
            raise UsageError(f"{name} holds no steps.")
    if steps is not None:
        lengths = {"": whole("steps", steps)} | lengths
    elif not lengths:
        raise UsageError("lr is one number: give steps=..., or one learning rate for each step.")
    longest, n_steps = max(lengths.items(), key=lambda item: item[1])
    if steps is not None:
        longest, n_steps = "", lengths[""]
        require_memory(60.0 * n_steps, f"steps = {n_steps:,}")
    for name, length in lengths.items():
        if length not in (1, n_steps):
            other = f"{longest} {n_steps}" if longest else f"steps={n_steps}"
            raise UsageError(
                f"{name} has {length} steps, but {other}: the last axis is the steps, and runs "
                "lie along the axes before it."
            )
    return n_steps
