"""Widgets that compute in the browser: in a live notebook, and in the book without a kernel.

Each is an `anywidget <https://anywidget.dev>`_ with one ES module; its traits are synchronized
with Python both ways. :func:`show` puts one into a chapter.
"""

from initscope.widgets.adamw_equilibrium.widget import AdamWEquilibrium
from initscope.widgets.base import BookWidget, show
from initscope.widgets.prediction.widget import Prediction
from initscope.widgets.qkv_training.widget import QKVTraining
from initscope.widgets.signal_propagation.widget import SignalPropagation
from initscope.widgets.stability_map.widget import StabilityMap
from initscope.widgets.wine_training.widget import WineTraining

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
