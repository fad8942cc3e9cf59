"""Time the theory: run ``python benchmarks/theory.py``."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from initscope import theory


def best_of(call: Callable[[], object], repeats: int = 3) -> float:
    """Shortest time in seconds of a few calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print one line for each timing, with its target."""
    sigma_w, sigma_b = np.meshgrid(np.linspace(0.1, 4, 200), np.linspace(0, 1, 200))
    for activation in ("relu", "tanh", "gelu", "silu", "selu"):

        def diagram(activation: str = activation) -> None:
            q = theory.fixed_point(activation, sigma_w**2, sigma_b**2, missing="nan")
            theory.chi(activation, sigma_w**2, sigma_b**2, q=np.nan_to_num(q, nan=1.0))

        start = time.perf_counter()
        diagram()
        cold = time.perf_counter() - start
        print(
            f"phase diagram 200 x 200, {activation:<5} {cold:6.2f} s first, "
            f"{best_of(diagram):5.2f} s again (target 2 s)"
        )
    lr = 6e-4 * (1 + np.cos(np.linspace(0, np.pi, 1_000_000))) / 2
    for snr in (0.0, 0.01):
        seconds = best_of(
            lambda snr=snr: theory.adamw_variance_trajectory(0.02, lr, 0.1, (0.9, 0.95), snr)
        )
        print(f"AdamW, a million steps, snr {snr:<4}  {seconds:6.2f} s (target 1 s)")
    seconds = best_of(lambda: theory.residual_stream_variance(12, 768, 1024), repeats=1)
    print(f"residual stream, 12 x 768 x 1024    {seconds:6.2f} s")
    seconds = best_of(lambda: theory.stability_band([784, 256, 128, 10], "relu"))
    print(f"stability band, compact network     {seconds:6.2f} s")


if __name__ == "__main__":
    main()
