"""Measure in random networks what the theory predicts."""

from initscope import extras

__getattr__, __dir__, __all__ = extras.attach(__name__, __file__)
