"""At which updates a run of a sweep records what; a step is a number of updates made."""

from __future__ import annotations

import math

import numpy as np

from initscope.checks import whole
from initscope.schema import require_length

__all__ = ["loss_steps", "probe_steps"]


def probe_steps(n_steps: int, probes: int) -> list[int]:
    """Return the steps at which layer statistics are recorded: 0, then geometric to `n_steps`."""
    whole("n_steps", n_steps)
    whole("probes", probes)
    require_length(f"n_steps = {n_steps:,} with {probes:,} probes", min(n_steps, probes))
    if probes >= _all_probes(n_steps):
        return list(range(n_steps + 1))
    between = {round(s) for s in np.geomspace(1, n_steps, probes - 1)} if probes > 2 else set()
    return [0, *sorted(between | {n_steps})]


def _all_probes(n_steps: int) -> int:
    """Return how many probes fall on every step: the last two are under half a step apart."""
    return math.ceil(2 * n_steps * math.log(n_steps + 1)) + 3


def fewest_probes(n_steps: int, probes: int) -> int:
    """Return a lower bound of the number of :func:`probe_steps`, without listing them."""
    if probes >= _all_probes(n_steps):
        return n_steps + 1
    between = probes - 1
    if between < 2 or n_steps < 2:
        return 2
    # Where two neighbors are a step apart and more, all are different; below, every step is there.
    log_ratio = math.log(n_steps) / (between - 1)
    apart = 1 / math.expm1(log_ratio)
    different = between - math.log(apart) / log_ratio if apart > 1 else between
    return max(2, math.floor(different) - 1)


def loss_steps(n_steps: int, loss_points: int) -> list[int]:
    """Return the last steps of the stretches that the training loss is averaged over."""
    whole("n_steps", n_steps)
    whole("loss_points", loss_points)
    n_points = min(loss_points, n_steps)
    require_length(f"n_steps = {n_steps:,} with {loss_points:,} loss_points", n_points)
    return np.linspace(0, n_steps, n_points + 1).round().astype(int)[1:].tolist()
