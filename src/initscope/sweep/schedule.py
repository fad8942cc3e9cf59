"""At which updates a run of a sweep records what; a step is a number of updates made."""

from __future__ import annotations

import math

import numpy as np

from initscope.checks import require, whole

__all__ = ["evaluation_steps", "loss_steps", "probe_steps"]

MOST_STEPS = 100_000_000
"""Of the lists made here; each entry stands for an evaluation or for a loss that is kept."""


def _check_length(what: str, length: int) -> None:
    require(length <= MOST_STEPS, f"{what} would be a list of more than {MOST_STEPS:,} steps.")


def evaluation_steps(epochs: int, steps_per_epoch: int, per_epoch: int = 1) -> list[int]:
    """Steps at which the test set is evaluated: 0, then `per_epoch` in each, the last at its end.

    There are no more than one an update.
    """
    whole("epochs", epochs)
    whole("steps_per_epoch", steps_per_epoch)
    whole("per_epoch", per_epoch)
    points = min(per_epoch, steps_per_epoch)
    _check_length(f"{epochs:,} epochs with {points:,} evaluations per_epoch", epochs * points)
    within = [round(steps_per_epoch * k / points) for k in range(1, points + 1)]
    return [0, *(epoch * steps_per_epoch + step for epoch in range(epochs) for step in within)]


def probe_steps(n_steps: int, probes: int) -> list[int]:
    """Steps at which layer statistics are recorded: 0, then geometric up to `n_steps`."""
    whole("n_steps", n_steps)
    whole("probes", probes)
    _check_length(f"n_steps = {n_steps:,} with {probes:,} probes", min(n_steps, probes))
    if probes >= _all_probes(n_steps):
        return list(range(n_steps + 1))
    between = {round(s) for s in np.geomspace(1, n_steps, probes - 1)} if probes > 2 else set()
    return [0, *sorted(between | {n_steps})]


def _all_probes(n_steps: int) -> int:
    """So many probes fall on every step: the last two are then less than half a step apart."""
    return math.ceil(2 * n_steps * math.log(n_steps + 1)) + 3


def fewest_probes(n_steps: int, probes: int) -> int:
    """A lower bound of how many steps :func:`probe_steps` gives, without making a list of them."""
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
    """Last steps of the stretches that the training loss is averaged over."""
    whole("n_steps", n_steps)
    whole("loss_points", loss_points)
    n_points = min(loss_points, n_steps)
    _check_length(f"n_steps = {n_steps:,} with {loss_points:,} loss_points", n_points)
    return np.linspace(0, n_steps, n_points + 1).round().astype(int)[1:].tolist()
