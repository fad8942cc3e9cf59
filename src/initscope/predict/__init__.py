"""Predict the variances of a transformer from its configuration, before it is built or trained.

Reading a configuration takes no torch.
"""

from initscope import extras

__getattr__, __dir__, __all__ = extras.attach(__name__, __file__)
