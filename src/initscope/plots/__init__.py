"""The figures of the book, one function a figure; each takes a table and returns the figure.

Colors and backgrounds are chosen to read on a light and on a dark page. The figures of a chapter
are in one module; all are found here.
"""

from initscope import extras

__getattr__, __dir__, __all__ = extras.attach(__name__, __file__)
