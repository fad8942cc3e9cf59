"""Schedules of the learning rate."""

from __future__ import annotations

import math

import numpy as np

from initscope.checks import Array, ArrayLike, plain, require_name

__all__: list[str] = []  # for this package alone

SCHEDULES = ("constant", "cosine", "linear", "wsd")


def learning_rates(
    lr: float, schedule: str, steps: int, warmup: int = 0, final: float = 0.0
) -> Array:
    """Return the learning rate at each of `steps` steps, shape ``(steps,)``.

    Parameters
    ----------
    lr
        The peak.
    schedule, steps, warmup, final
        As in :func:`learning_rate_factor`.

    Examples
    --------
    >>> print(learning_rates(1.0, "linear", 6, warmup=2, final=0.2).round(3))
    [0.5 1.  0.8 0.6 0.4 0.2]
    """
    return lr * learning_rate_factor(np.arange(1, steps + 1), schedule, steps, warmup, final)


def learning_rate_factor(
    step: ArrayLike, schedule: str, steps: int, warmup: int = 0, final: float = 0.0
) -> Array:
    """Return the learning rate of a step over the peak.

    Parameters
    ----------
    step
        Number of the update, from 1; a number or an array. After the last the rate stays.
    schedule
        ``"constant"``; ``"cosine"`` or ``"linear"`` from the end of warm-up to the last step;
        ``"wsd"`` (warm-up, stable, decay) with a linear decay over the last fifth of the steps.
    steps
        Number of updates.
    warmup
        Steps in which the rate rises linearly from lr / warmup.
    final
        The last rate as a share of the peak, unless the schedule is constant.

    Raises
    ------
    UsageError
        Unknown schedule.

    Examples
    --------
    >>> print(learning_rate_factor(75, "cosine", 100, warmup=50, final=0.1))
    0.55
    """
    require_name("schedule", schedule, SCHEDULES)
    step = np.asarray(step)
    progress = np.clip((step - warmup) / max(1, steps - warmup), 0, 1)
    if schedule == "constant":
        left = np.ones(step.shape)
    elif schedule == "cosine":
        # math's cosine, for which training runs are recorded: numpy's may differ by a bit, from
        # one processor to another.
        left = (1 + np.vectorize(math.cos, otypes=[float])(np.pi * progress)) / 2
    elif schedule == "linear":
        left = 1 - progress
    else:
        left = np.clip((steps - step) / (0.2 * steps), 0, 1)
    return plain((final + (1 - final) * left) * np.minimum(1, step / max(1, warmup)))
