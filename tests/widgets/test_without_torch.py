"""Widgets are made, shown and drawn where torch is not installed."""

from installed import asked_for, run, with_all_they_need, with_only
from widget_page import ROOT

SHOWN = """
import sys
from IPython.core.interactiveshell import InteractiveShell
from initscope import widgets

InteractiveShell.instance()
for widget in (
    widgets.SignalPropagation(std=0.07, depth=5), widgets.AdamWEquilibrium(),
    widgets.AttentionSaturation(), widgets.WineTraining(), widgets.GPTTraining(),
    widgets.PhaseDiagram(),
    widgets.LogNormDistribution(networks=3), widgets.ResidualStream(),
    widgets.Prediction("How many?", 3.0, low=1, high=10),
    widgets.StabilityMap.from_tables({"MNIST": "results/05_std_sweep/cpu/mnist.parquet"}),
    widgets.QKVTraining.from_folder("results/07_gpt2_qkv_dynamics/cpu/seed-0"),
):
    widgets.show(widget)
    assert "export default" in widget._esm
assert not {"torch", "transformers"} & set(sys.modules)
"""


def test_without_torch_all_widgets_are_shown() -> None:
    packages = with_all_they_need(asked_for("notebooks", "train")) - {"torch"}
    run(with_only(packages) + SHOWN, ROOT / "notebooks")
