from .run import SweepInterrupted, bytes_per_run, chunks_of, run_sweep, to_tidy
from .spec import Optimizer, Scheme, SweepSpec

__all__ = [
    "Optimizer",
    "Scheme",
    "SweepInterrupted",
    "SweepSpec",
    "bytes_per_run",
    "chunks_of",
    "run_sweep",
    "to_tidy",
]
