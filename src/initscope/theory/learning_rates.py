"""Schedules of the learning rate."""

from __future__ import annotations

import numpy as np

from initscope.checks import require_name

__all__: list[str] = []  # for this package alone

SCHEDULES = ("constant", "cosine", "linear", "wsd")


def learning_rates(
    lr: float, schedule: str, steps: int, warmup: int = 0, final: float = 0.0
) -> np.ndarray:
    """Return the learning rate at each of `steps` steps, shape ``(steps,)``.

    Parameters
    ----------
    lr
        The peak.
    schedule
        ``"constant"``; ``"cosine"`` or ``"linear"`` from the end of warm-up to the last step;
        ``"wsd"`` (warm-up, stable, decay) with a linear decay over the last fifth of the steps.
    warmup
        Steps in which the rate rises linearly from lr / warmup.
    final
        The last rate as a share of the peak, unless the schedule is constant.

    Examples
    --------
    >>> print(learning_rates(1.0, "linear", 6, warmup=2, final=0.2).round(3))
    [0.5 1.  0.8 0.6 0.4 0.2]
    """
    require_name("schedule", schedule, SCHEDULES)
    step = np.arange(1, steps + 1)
    progress = np.clip((step - warmup) / max(1, steps - warmup), 0, 1)
    shape = {
        "constant": lambda: np.ones(steps),
        "cosine": lambda: final + (1 - final) * (1 + np.cos(np.pi * progress)) / 2,
        "linear": lambda: final + (1 - final) * (1 - progress),
        "wsd": lambda: final + (1 - final) * np.minimum(1, (steps - step) / (0.2 * steps)),
    }[schedule]()
    return lr * shape * np.minimum(1, step / max(1, warmup))
