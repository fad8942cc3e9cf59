"""Build the networks that are measured: multilayer perceptrons and GPT-2."""

from initscope import extras

__getattr__, __dir__, __all__ = extras.attach(__name__, __file__)
