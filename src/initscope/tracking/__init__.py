"""Track the variance of weights, gradients, updates and signals in training, layer by layer.

Every table has the columns ``step, layer, role, kind, stat, value``. What is measured on one batch
is in :mod:`initscope.tracking.hooks`, what is followed through a training run in
:mod:`initscope.tracking.tracker` and :mod:`initscope.tracking.callback`; their names are here. Each
is imported when it is asked for: tables are read without torch.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
