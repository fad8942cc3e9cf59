"""Execute the chapters again: their parameters, their runs, and the form in which they are kept.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
