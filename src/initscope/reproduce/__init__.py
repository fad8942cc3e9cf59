"""Execute the chapters again: their parameters, their runs, and the form in which they are kept."""

from initscope import extras

__getattr__, __dir__, __all__ = extras.attach(__name__, __file__)
