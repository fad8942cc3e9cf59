from .chunks import chunks_of
from .run import SweepInterrupted, run_sweep
from .spec import Optimizer, SweepSpec

__all__ = [
    "Optimizer",
    "SweepInterrupted",
    "SweepSpec",
    "chunks_of",
    "run_sweep",
]
