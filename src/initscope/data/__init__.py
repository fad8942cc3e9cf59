"""Load MNIST, Wine, digits and texts: from a folder, from the hub, or from an installed package."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
