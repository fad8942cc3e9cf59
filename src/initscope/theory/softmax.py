"""How far softmax attention concentrates on few keys, by the spread of its logits."""

from __future__ import annotations

import numpy as np

from initscope.checks import Array, ArrayLike, flag, nonnegative, plain, whole, within

__all__ = ["attention_participation", "critical_logit_std"]

LARGEST_KEYS = 10**9
LARGEST_LOGIT_STD = 30.0
STEP = 0.02  # in the logits' standard normal variable
LOG_STEP = 0.05  # in log x
REACH = 10.0  # standard deviations on which the integrals are taken


def critical_logit_std(n_keys: ArrayLike) -> Array:
    r"""Return the logit std :math:`b_c = \sqrt{2 \ln T}` at which softmax over T keys freezes.

    Above it a few keys have a finite share of the attention however many there are: the random
    energy model of Derrida (1981), for attention Giorlandino & Goldt (2025), arXiv:2505.24333.

    Parameters
    ----------
    n_keys
        Number of keys T, at least 1.

    Raises
    ------
    UsageError
        Numbers below 1 or NaN.

    Examples
    --------
    >>> print(f"{critical_logit_std(1024):.2f}")
    3.72
    """
    keys = within("n_keys", n_keys, 1, LARGEST_KEYS)
    return plain(np.sqrt(2 * np.log(keys)))


def attention_participation(n_keys: int, logit_std: ArrayLike, *, limit: bool = False) -> Array:
    r"""Return E sum p^2 for softmax over T keys with independent logits N(0, b^2).

    1/T for uniform attention, 1 for attention to one key. With
    :math:`L(x) = E \exp(-x e^{b z})`, the Laplace transform of one weight before it is normalized,

    .. math:: E \sum_j p_j^2 = T \int_0^\infty x \, L''(x) \, L(x)^{T-1} \, dx .

    For many keys it tends to :math:`e^{b^2}/T` where b is below :math:`b_c / \sqrt 3`, and to
    :math:`1 - b_c / b` above b_c, that of :func:`critical_logit_std`. Between them the mean is
    carried by rare queries, of which one key has nearly all, and neither holds.

    Parameters
    ----------
    n_keys
        Number of keys T.
    logit_std
        Std b of the logits over the keys of one query, up to 30.
    limit
        Return the limits of many keys in place of the integral, and nan between them.

    Returns
    -------
    numpy.ndarray
        Of the shape of `logit_std`.

    Raises
    ------
    UsageError
        No key; a logit std that is negative, NaN or above 30.

    Examples
    --------
    >>> print(f"{attention_participation(64, 0.0):.4f} {attention_participation(64, 1.0):.4f}")
    0.0156 0.0388
    """
    keys = whole("n_keys", n_keys, at_most=LARGEST_KEYS)
    std = within("logit_std", nonnegative("logit_std", logit_std), 0.0, LARGEST_LOGIT_STD)
    flag("limit", limit)
    if limit:
        return plain(_limit(keys, std))
    result = np.empty(std.shape)
    for index in np.ndindex(std.shape):
        result[index] = _mean(keys, float(std[index]))
    return plain(result)


def _limit(keys: int, std: Array) -> Array:
    critical = critical_logit_std(keys)
    dense = np.exp(np.minimum(std, critical) ** 2) / keys
    frozen = 1 - critical / np.where(std > 0, std, 1.0)
    found = np.where(std <= critical / np.sqrt(3), dense, np.nan)
    return np.where(std > critical, frozen, found)


def _mean(keys: int, std: float) -> float:
    if keys == 1 or std == 0:
        return 1 / keys
    z = np.arange(-REACH, REACH + 2 * min(std, 2.0), STEP)
    weight = np.exp(-(z**2) / 2) * STEP / np.sqrt(2 * np.pi)
    low, high = -np.log(keys) - 25 - std * z[-1], 6 + std * REACH
    total = 0.0
    for log_x in np.array_split(np.arange(low, high, LOG_STEP), 16):
        scaled = np.exp(np.minimum(log_x[:, None] + std * z, 300.0))
        decay = np.exp(-scaled) * weight
        # 1 - L, which is small where L to the power of many keys is not.
        lost = -(np.expm1(-scaled) @ weight)
        power = np.exp((keys - 1) * np.log1p(-np.minimum(lost, 1 - 1e-16)))
        total += float(((decay * scaled**2).sum(axis=1) * power).sum())
    return keys * total * LOG_STEP
