"""Read tables of sweeps and of training runs: comparisons, trajectories, extremes. No torch.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
