"""Seconds and memory of imports, in fresh interpreters: ``python benchmarks/imports.py``.

Each import has a process of its own, round after round, and medians are printed. A module that
needs torch has it in its numbers; ``beyond`` is what comes on top of torch, or of transformers
where that is loaded. To ask for what a package offers is part of its import, since packages load
their parts when they are asked for.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

ROUNDS = 3

IMPORTS = {
    "nothing": "",
    "numpy, scipy, pandas": "import numpy, scipy.special, pandas, pyarrow.parquet",
    "torch": "import torch",
    "transformers": "import torch, transformers; transformers.Trainer",
    "initscope": "import initscope",
    "initscope.theory": "from initscope.theory import *",
    "initscope.plots": "from initscope.plots import *",
    "initscope.widgets": "from initscope.widgets import *",
    "initscope.init": "from initscope.init import initialize_",
    "initscope.tracking": "from initscope.tracking import VarianceTracker",
    "initscope.tracking, all": "from initscope.tracking import *",
    "initscope.sweep, a spec": "from initscope.sweep import SweepSpec",
    "initscope.sweep": "from initscope.sweep import *",
}

PROGRAM = """
import json, resource, sys, time
start = time.perf_counter()
{statement}
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
peak /= 2**20 if sys.platform == "darwin" else 2**10
loaded = [name for name in ("torch", "transformers", "matplotlib") if name in sys.modules]
print(json.dumps([seconds, peak, loaded]))
"""


def measure(statement: str) -> tuple[float, float, list[str]]:
    """Seconds, peak MiB, and which of the large libraries are loaded."""
    program = PROGRAM.format(statement=statement)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{statement}: {done.stderr.strip().splitlines()[-1]}")
    seconds, peak, loaded = json.loads(done.stdout)
    return seconds, peak, loaded


def main() -> None:
    """Print one table."""
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in IMPORTS}
    loads: dict[str, list[str]] = {}
    for _ in range(ROUNDS + 1):  # the first fills the system's cache of files
        for name, statement in IMPORTS.items():
            seconds, peak, loads[name] = measure(statement)
            rounds[name].append((seconds, peak))
    medians = {
        name: [statistics.median(column) for column in zip(*found[1:], strict=True)]
        for name, found in rounds.items()
    }
    print(f"{'import':<26}{'s':>8}{'beyond s':>10}{'peak MiB':>10}{'beyond MiB':>12}   loads")
    for name, (seconds, peak) in medians.items():
        below = next((k for k in ("transformers", "torch") if k in loads[name]), "nothing")
        base_seconds, base_peak = (0.0, 0.0) if below == name else medians[below]
        print(
            f"{name:<26}{seconds:>8.2f}{seconds - base_seconds:>10.2f}{peak:>10.0f}"
            f"{peak - base_peak:>12.0f}   {', '.join(loads[name])}"
        )


if __name__ == "__main__":
    main()
