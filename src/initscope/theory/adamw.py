"""The mean square of a weight matrix under AdamW, where gradients are mostly noise."""

from __future__ import annotations

import numpy as np

from initscope.checks import (
    Array,
    ArrayLike,
    finite,
    nonnegative,
    plain,
    together,
    whole,
)
from initscope.errors import UsageError, shown
from initscope.memory import require_memory

__all__ = [
    "adamw_equilibrium_rms",
    "adamw_rotation",
    "adamw_update_rms",
    "adamw_variance_trajectory",
]

Betas = tuple[ArrayLike, ArrayLike]


def _check_betas(betas: Betas) -> Array:
    """Return `beta1` of a pair of betas, both checked."""
    try:
        first, second = betas
    except (TypeError, ValueError, RuntimeError):  # the last, of tensors
        raise UsageError(
            f"betas must be a pair, for example (0.9, 0.95), not {shown(betas)}."
        ) from None
    for name, beta in (("beta1", first), ("beta2", second)):
        checked = nonnegative(name, beta)
        if (checked >= 1).any():
            raise UsageError(f"{name} must be at least 0 and below 1, not {checked.max():g}.")
    return nonnegative("beta1", first)


def adamw_update_rms(betas: Betas = (0.9, 0.999), snr: ArrayLike = 0.0) -> Array:
    r"""Return the rms of the Adam update u, before the learning rate.

    For gradients mu + noise, noise independent from step to step and v near its mean,

    .. math:: U^2 = \frac{r + c_1}{1 + r}, \qquad c_1 = \frac{1 - \beta_1}{1 + \beta_1},

    with r the `snr`: the running mean keeps a share c_1 of the noise (Kosson et al. 2023,
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
    beta1 = _check_betas(betas)
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
    much (Kosson et al. 2023, arXiv:2305.17212, table 1, for D = 1 and alpha = 0). That needs a
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
        beta1 = _check_betas(betas)
        together(lr=eta, weight_decay=pull, betas=beta1)
        keep = 1 - eta * pull
        smoothed = (1 - beta1) / (1 + beta1) * (1 + keep * beta1) / (1 - keep * beta1)
        square, shrinkage = noise * eta * smoothed, pull * (1 + keep)
    decays = shrinkage > 0
    with np.errstate(invalid="ignore"):
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

    (Kosson et al. 2023, arXiv:2305.17212, table 1), the same for every matrix whatever its
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


def adamw_variance_trajectory(
    std0: ArrayLike,
    lr: ArrayLike,
    weight_decay: ArrayLike,
    betas: Betas = (0.9, 0.999),
    snr: ArrayLike = 0.0,
    diffusion: ArrayLike = 1.0,
    alignment: ArrayLike = 0.0,
    *,
    steps: int | None = None,
) -> Array:
    r"""Return the mean square of a weight after each step of AdamW, for any schedule.

    AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2) with gradients mu + noise, the
    noise independent from step to step, and a second-moment estimate at its mean. Written with
    :math:`a_t = 1 - \eta_t \lambda` and :math:`e_t = \eta_t / (1 - \beta_1^t)`, the exact
    recursion for the noise part of momentum, q, its covariance with the weight, c, the weight's
    mean square rho, and the parts m and theta that the signal drives, is

    .. math::
        q_t &= \beta_1^2 q_{t-1} + (1 - \beta_1)^2 / (1 + r) \\
        \rho_t &= a_t^2 \rho_{t-1} - 2 a_t e_t \beta_1 c_{t-1} + e_t^2 q_t \\
        c_t &= a_t \beta_1 c_{t-1} - e_t q_t \\
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) \sqrt{r / (1 + r)} \\
        \theta_t &= a_t \theta_{t-1} - e_t m_t

    from :math:`\rho_0` = `std0`² and 0; the result is :math:`\rho_t + \theta_t^2`. For slow
    schedules and r = 0 it is close to :math:`d\rho/dt = -2 \lambda \eta \rho + \eta^2`.

    Parameters
    ----------
    std0
        Standard deviation at initialization, mean 0.
    lr
        Learning rate: one for each step along the last axis, or a number together with `steps`.
    weight_decay, betas, snr
        lambda, (beta1, beta2) and r = ||mu||^2 / ||sigma||^2.
    diffusion
        Factor on the noise, as in :func:`adamw_equilibrium_rms`: 1 for gradients independent
        from step to step.
    alignment
        A pull along the weights, added to the decay.
    steps
        Number of steps, if `lr` has no axis of steps.

    Returns
    -------
    numpy.ndarray
        Variance (mean square per element) after steps 1, 2, ...; the last axis is the steps, the
        leading ones those of the other arguments, broadcast. Values beyond the range of float64
        are `inf`.

    Raises
    ------
    UsageError
        Negative or NaN std, lr, decay, snr or diffusion; betas outside [0, 1); no steps.

    Notes
    -----
    beta2 enters only through fluctuations of the second-moment estimate, which are left out;
    on independent Gaussian gradients the std is within 1.5% of torch's AdamW for beta2 = .999
    and within 2.5% for .95. Gradients that are sparse or heavy-tailed (embeddings) break the
    assumption further.

    Examples
    --------
    >>> half = np.cos(np.linspace(0, np.pi, 20_000))
    >>> lr = 6e-5 + (6e-4 - 6e-5) * (1 + half) / 2
    >>> std = np.sqrt(adamw_variance_trajectory(0.02, lr, 0.1, (0.9, 0.95)))
    >>> print(f"peak {std.max():.4f}, end {std[-1]:.4f}")
    peak 0.0414, end 0.0389
    """
    beta1 = _check_betas(betas)[..., None]
    eta = nonnegative("lr", lr)
    if eta.ndim == 0:
        if steps is None:
            raise UsageError(
                "lr is one number: give steps=..., or one learning rate for each step."
            )
        n_steps = whole("steps", steps)
        require_memory(100.0 * n_steps, f"steps = {n_steps:,}")
        eta = np.broadcast_to(eta, (n_steps,))
    elif steps is not None and whole("steps", steps) != eta.shape[-1]:
        raise UsageError(f"lr has {eta.shape[-1]} steps, but steps={steps}.")
    if not eta.shape[-1]:
        raise UsageError("lr holds no steps.")
    std = nonnegative("std0", std0)[..., None]
    decay = nonnegative("weight_decay", weight_decay)[..., None]
    aligned = finite("alignment", alignment)[..., None]
    together(weight_decay=decay, alignment=aligned)
    pull = decay + aligned
    r = nonnegative("snr", snr)[..., None]
    noise = nonnegative("diffusion", diffusion)[..., None]
    together(std0=std, lr=eta, weight_decay=pull, betas=beta1, snr=r, diffusion=noise)

    step = np.arange(1, eta.shape[-1] + 1)
    powers = beta1**step
    keep = 1 - eta * pull
    size = eta / (1 - powers)
    # q and m have constant coefficients, so they are known in closed form.
    momentum_noise = noise * (1 - beta1) / (1 + beta1) / (1 + r) * (1 - powers**2)
    keep, size, momentum_noise, start, beta1 = np.broadcast_arrays(
        keep, size, momentum_noise, std**2, beta1
    )
    covariance = _linear_recurrence(keep * beta1, -size * momentum_noise, np.array(0.0))
    source = size**2 * momentum_noise
    source[..., 1:] -= (2 * keep * size * beta1)[..., 1:] * covariance[..., :-1]
    variance = _linear_recurrence(keep**2, source, start[..., 0])
    if (r > 0).any():
        momentum_mean = np.sqrt(r / (1 + r)) * (1 - powers)
        mean = _linear_recurrence(
            keep, np.broadcast_to(-size * momentum_mean, keep.shape), np.array(0.0)
        )
        variance = variance + mean**2
    # Where the weights grow beyond all bounds, one term of infinity is taken from another.
    return np.where(np.isnan(variance), np.inf, variance)
