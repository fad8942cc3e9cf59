"""Load MNIST, Wine, digits and texts: from a folder, from the hub, or from an installed package."""

from initscope import extras

__getattr__, __dir__, __all__ = extras.attach(__name__, __file__)
