"""Read tables of sweeps and of training runs: comparisons, trajectories, extremes. No torch."""

from initscope import extras

__getattr__, __dir__, __all__ = extras.attach(__name__, __file__)
