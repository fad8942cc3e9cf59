from .chunks import chunks_of
from .modules import optimizer_by_name, sweep_modules
from .optimizers import Optimizer
from .run import SweepInterrupted, run_sweep
from .spec import SweepSpec

__all__ = [
    "Optimizer",
    "SweepInterrupted",
    "SweepSpec",
    "chunks_of",
    "optimizer_by_name",
    "run_sweep",
    "sweep_modules",
]
