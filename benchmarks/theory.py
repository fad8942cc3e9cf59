"""Time the theory beside what one would write instead: run ``python benchmarks/theory.py``.

Each at its own best number of threads, the shortest of a few calls.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from _timing import seconds, seconds_at_best, thread_counts
from scipy.integrate import quad
from scipy.optimize import brentq

from initscope import theory

SIGMAS = np.meshgrid(np.linspace(0.1, 4, 200), np.linspace(0, 1, 200))
SOME_POINTS = 40


def best_of(call: Callable[[], object], repeats: int = 3) -> float:
    """Return the shortest time in seconds of a few calls."""
    return min(seconds_at_best(call) for _ in range(repeats))


def diagram(activation: str) -> None:
    """Compute the fixed point and chi of 40,000 points."""
    sigma_w, sigma_b = SIGMAS
    q = theory.fixed_point(activation, sigma_w**2, sigma_b**2, missing="nan")
    theory.chi(activation, sigma_w**2, sigma_b**2, q=np.nan_to_num(q, nan=1.0))


def diagram_by_quad() -> float:
    """Time tanh's diagram by scipy's quad and brentq, point by point; most points are not tried."""

    def mean(function: Callable[[float], float]) -> float:
        return quad(lambda z: np.exp(-z * z / 2) * function(z), -12, 12)[0] / np.sqrt(2 * np.pi)

    def point(w2: float, b2: float) -> None:
        def excess(q: float) -> float:
            return w2 * mean(lambda z: np.tanh(np.sqrt(q) * z) ** 2) + b2 - q

        q = brentq(excess, 1e-6, w2 + b2 + 1e-3)
        w2 * mean(lambda z: np.cosh(np.sqrt(q) * z) ** -4)

    sigma_w, sigma_b = (grid.ravel() for grid in SIGMAS)
    # Where the variance has a fixed point above 0, which brentq looks for.
    (chosen,) = np.nonzero((sigma_b > 0.1) | (sigma_w > 1.1))
    chosen = chosen[:: len(chosen) // SOME_POINTS]
    took = best_of(lambda: [point(sigma_w[i] ** 2, sigma_b[i] ** 2) for i in chosen], repeats=1)
    return took * sigma_w.size / len(chosen)


def adamw_by_loop(std0: float, lr: np.ndarray, decay: float, beta1: float) -> list[float]:
    """Follow AdamW's mean square by the recursion, one step after another."""
    mean_square, momentum, covariance, power, out = std0**2, 0.0, 0.0, 1.0, []
    for eta in lr.tolist():
        power *= beta1
        keep, size = 1 - eta * decay, eta / (1 - power)
        momentum = beta1**2 * momentum + (1 - beta1) ** 2
        mean_square *= keep**2
        mean_square += size**2 * momentum - 2 * keep * size * beta1 * covariance
        covariance = keep * beta1 * covariance - size * momentum
        out.append(mean_square)
    return out


def main() -> None:
    """Print one line for each timing, with its target or what it is compared to."""
    print(f"threads: the best of {thread_counts()}\n")
    for activation in ("relu", "tanh", "gelu", "silu", "selu"):
        cold = seconds(lambda a=activation: diagram(a))
        again = best_of(lambda a=activation: diagram(a))
        print(
            f"phase diagram 200 x 200, {activation:<5} {cold:6.2f} s first, "
            f"{again:5.2f} s again (target 2 s)"
        )
        if activation == "tanh":
            other = diagram_by_quad()
            print(
                f"    by quad and brentq, point by point {other:.0f} s: {other / again:.0f} times"
            )
    lr = 6e-4 * (1 + np.cos(np.linspace(0, np.pi, 1_000_000))) / 2
    for snr in (0.0, 0.01):
        took = best_of(
            lambda snr=snr: theory.adamw_variance_trajectory(0.02, lr, 0.1, (0.9, 0.95), snr=snr)
        )
        print(f"AdamW, a million steps, snr {snr:<4}  {took:6.2f} s (target 1 s)")
        if not snr:
            other = best_of(lambda: adamw_by_loop(0.02, lr, 0.1, 0.9))
            print(f"    by the recursion, a step at a time {other:.2f} s: {other / took:.1f} times")
    took = best_of(lambda: theory.residual_stream_variance(12, 768, 1024), repeats=1)
    print(f"residual stream, 12 x 768 x 1024    {took:6.2f} s")
    took = best_of(lambda: theory.stability_band([784, 256, 128, 10], "relu"))
    print(f"stability band, compact network     {took:6.2f} s")


if __name__ == "__main__":
    main()
