from .chunks import chunks_of
from .run import SweepInterrupted, check_device, run_sweep, to_tidy
from .spec import Optimizer, SweepSpec

__all__ = [
    "Optimizer",
    "SweepInterrupted",
    "SweepSpec",
    "check_device",
    "chunks_of",
    "run_sweep",
    "to_tidy",
]
