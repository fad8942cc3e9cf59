"""Track the variance of weights, gradients, updates and signals in training, layer by layer.

Every table has the columns ``step, layer, role, kind, stat, value``. What is measured on one batch
is in :mod:`initscope.tracking.layers`, what is followed through a training run in
:mod:`initscope.tracking.tracker` and :mod:`initscope.tracking.callback`; their names are here. Each
is imported when it is asked for: tables are read without torch.
"""

from initscope import extras

__getattr__, __dir__, __all__ = extras.attach(__name__, __file__)
