from .chunks import chunks_of
from .modules import optimizer_by_name, sweep_modules
from .run import SweepInterrupted, run_sweep
from .spec import Optimizer, SweepSpec

__all__ = [
    "Optimizer",
    "SweepInterrupted",
    "SweepSpec",
    "chunks_of",
    "optimizer_by_name",
    "run_sweep",
    "sweep_modules",
]
