from .chunks import chunks_of
from .run import SweepInterrupted, run_sweep, to_tidy
from .spec import Optimizer, SweepSpec

__all__ = [
    "Optimizer",
    "SweepInterrupted",
    "SweepSpec",
    "chunks_of",
    "run_sweep",
    "to_tidy",
]
