"""Track the variance of weights, gradients, updates and signals in training, layer by layer.

Every table of statistics has the columns ``step, layer, role, kind, stat, value``.
:func:`layer_variances` measures on one batch; :class:`VarianceTracker` follows a training loop,
:class:`VarianceCallback` and :class:`LightningVarianceCallback` a trainer. Tables are read without
torch.
"""

from initscope import extras

__getattr__, __dir__, __all__ = extras.attach(__name__, __file__)
