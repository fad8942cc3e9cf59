"""Widgets that compute in the browser: in a live notebook, and in the book without a kernel.

Each is an `anywidget <https://anywidget.dev>`_ with one ES module; its traits are synchronized
with Python both ways. :func:`show` puts one into a chapter.
"""

from initscope.widgets.base import BookWidget, show
from initscope.widgets.qkv_training import QKVTraining

__all__ = ["BookWidget", "QKVTraining", "show"]
