"""Weight initialization and variance dynamics: the package behind the book.

One public name, one package. Each imports only those below it (``make lint`` holds that):

    cli                                   the command line
    chapter  widgets                      what people start
    pretrain                              a GPT-2 from scratch
    coordinates  monte_carlo              a model at several widths; random networks
    plots  sweep                          figures; many small trainings
    tracking                              weights, gradients, updates and signals of any model
    predict                               a transformer from its config.json alone
    analysis  init  reproduce             reading tables; filling weights; executing chapters
    claims  data  models                  findings; data sets and texts; networks
    theory                                closed forms, and the table of initialization rules
    schema  checks  records  devices      the ground: it knows nothing of the subject

Engines write tables and analysis reads them: figures, analysis and widgets never import torch.
Import what you need, for example ``from initscope.sweep import SweepSpec, run_sweep``.
Importing :mod:`initscope` itself imports nothing else.
"""

__version__ = "0.1.0"
