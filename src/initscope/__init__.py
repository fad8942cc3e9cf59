"""Weight initialization and variance dynamics: the package behind the book.

The rooms, each using only those below it::

    claims  comparison  plots             what a reader sees
    widgets  reproduce
    sweep   pretrain                      experiments
    tracking   data                       measuring; real data
    init   models                         what is measured
    theory                                closed forms

Import the room you need, for example ``from initscope.sweep import SweepSpec, run_sweep``.
Importing :mod:`initscope` itself imports nothing else.
"""

__version__ = "0.1.0"
