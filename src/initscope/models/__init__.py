"""Build the networks that are measured: multilayer perceptrons and GPT-2."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
