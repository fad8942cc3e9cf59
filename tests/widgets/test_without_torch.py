"""A widget is made, shown and drawn by an interpreter that has never imported torch."""

import subprocess
import sys

from widget_page import ROOT

SHOWN = """
import sys
import numpy as np
import pandas as pd
from IPython.core.interactiveshell import InteractiveShell
from initscope import widgets

InteractiveShell.instance()
for widget in ({make}):
    widgets.show(widget)
assert "torch" not in sys.modules, sorted(m for m in sys.modules if m.startswith("torch"))[:3]
assert "transformers" not in sys.modules
"""


MADE = """widgets.SignalPropagation(), widgets.AdamWEquilibrium(), widgets.WineTraining(),
widgets.Prediction('How many?', 3.0, low=1, high=10),
widgets.StabilityMap.from_tables({'MNIST': 'results/05_std_sweep/cpu/mnist.parquet'}),
widgets.QKVTraining.from_folder('results/07_gpt2_qkv_dynamics/cpu/seed-0'),"""


def test_showing_a_widget_imports_no_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHOWN.format(make=MADE)],
        cwd=ROOT / "notebooks", capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
