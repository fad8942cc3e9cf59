"""Widgets that compute in the browser: in a live notebook, and in the book without a kernel.

Each is an `anywidget <https://anywidget.dev>`_ with one ES module; its traits are synchronized
with Python both ways. :func:`show` puts one into a chapter.
"""

from initscope import extras

__getattr__, __dir__, __all__ = extras.attach(__name__, __file__)
