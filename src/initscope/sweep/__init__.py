"""Train many small networks from one specification, batched: chunks, records, executors, cost.

What is here is imported when it is asked for: to read a specification takes no torch.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
