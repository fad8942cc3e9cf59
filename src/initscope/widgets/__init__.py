"""Widgets that compute in the browser: in a live notebook, and in the book without a kernel.

Each is an `anywidget <https://anywidget.dev>`_ with one ES module; its traits are synchronized
with Python both ways. :func:`show` puts one into a chapter.
"""

from initscope.widgets.adamw_equilibrium import AdamWEquilibrium
from initscope.widgets.base import BookWidget, show
from initscope.widgets.prediction import Prediction
from initscope.widgets.qkv_training import QKVTraining
from initscope.widgets.signal_propagation import SignalPropagation
from initscope.widgets.stability_map import StabilityMap
from initscope.widgets.wine_training import WineTraining

__all__ = [
    "AdamWEquilibrium",
    "BookWidget",
    "Prediction",
    "QKVTraining",
    "SignalPropagation",
    "StabilityMap",
    "WineTraining",
    "show",
]
