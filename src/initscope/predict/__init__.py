"""Say what becomes of the variances of a transformer before it is built or trained.

What is here is imported when it is asked for: to read a configuration takes no torch.
"""

from initscope import extras

__getattr__, __dir__, __all__ = extras.attach(__name__, __file__)
