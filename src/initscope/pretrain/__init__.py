"""Pretrain GPT-2 from scratch and record the variance of its weights on the way.

Reading a specification takes no torch.
"""

from initscope import extras

__getattr__, __dir__, __all__ = extras.attach(__name__, __file__)
