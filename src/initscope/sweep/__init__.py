"""Train many small networks from one specification, batched: chunks, records, executors, cost.

Reading a specification takes no torch.
"""

from initscope import extras

__getattr__, __dir__, __all__ = extras.attach(__name__, __file__)
