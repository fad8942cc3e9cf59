"""Networks on UCI Wine that train in the browser, several seeds side by side."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import traitlets
from matplotlib.figure import Figure

from initscope import extras
from initscope.plots.training import training_of_networks
from initscope.widgets.base import BookWidget

__all__ = ["WineTraining"]

if TYPE_CHECKING:
    import pandas as pd

    from initscope.sweep import SweepSpec

MAX_SEEDS = 8
LEARNED = 0.9
"""Test accuracy from which on a network counts as having learned."""

SCHEMES = ("normal", "lecun", "xavier", "kaiming", "race")
WIDTHS = (1, 2, 4, 8, 16, 32, 64, 128)
BATCH_SIZES = (4, 8, 16, 32, 64, 128)
OPTIMIZERS = ("sgd", "momentum", "adam")


@functools.cache
@extras.named("WineTraining")
def wine_rows() -> dict[str, Any]:
    """Return UCI Wine as scikit-learn has it, and the rows of each split of `load_wine` in order.

    ``rows`` holds 178 lists of 13 features, ``labels`` the class of each, and ``splits`` for the
    seeds from 0 on ``train`` and ``test``, the numbers of the rows.
    """
    from sklearn.datasets import load_wine
    from sklearn.model_selection import train_test_split

    bunch = load_wine()
    splits = []
    for seed in range(MAX_SEEDS):
        train, test = train_test_split(
            np.arange(len(bunch.target)),
            test_size=0.25,
            random_state=seed,
            stratify=bunch.target,
        )
        splits.append({"train": train.tolist(), "test": test.tolist()})
    return {"rows": bunch.data.tolist(), "labels": bunch.target.tolist(), "splits": splits}


class WineTraining(BookWidget):
    """ReLU networks on UCI Wine, trained in the browser from the initialization you choose.

    The page draws the weights, splits the data and orders the batches as
    :func:`initscope.sweep.run_sweep` does, so that a seed means the same run in both, to float32
    rounding (which grows where training is unstable). Nothing trains until the button is pressed.

    Attributes
    ----------
    scheme
        ``"normal"`` (one std for all layers), ``"lecun"``, ``"xavier"``, ``"kaiming"``, or
        ``"race"``: Xavier and Kaiming side by side, from the same standard-normal draws and on the
        same batches.
    std
        Of the weights where `scheme` is ``"normal"``; from 1e-4 to 10.
    depth
        Number of weight layers, from 1 to 30.
    width
        Units in each hidden layer: 1, 2, 4, ... 128.
    optimizer
        ``"sgd"``, ``"momentum"`` (SGD with momentum 0.9) or ``"adam"``, with torch's defaults.
    learning_rate
        From 1e-4 to 10.
    batch_size
        4, 8, ... 128; a last, incomplete batch of an epoch is left out.
    epochs
        From 1 to 100.
    seeds
        How many networks of each scheme, from 1 to 8; seeds count from 0.
    wine
        The data, set by the class: ``rows``, ``labels``, and the ``splits`` of the seeds.

    >>> WineTraining(scheme="race", depth=20).depth
    20
    """

    module: ClassVar[str] = "wine_training/widget.mjs"

    scheme = traitlets.Enum(SCHEMES, "normal").tag(sync=True)
    std = traitlets.Float(0.25, min=1e-4, max=10.0).tag(sync=True)
    depth = traitlets.Int(8, min=1, max=30).tag(sync=True)
    width = traitlets.Enum(WIDTHS, 32).tag(sync=True)
    optimizer = traitlets.Enum(OPTIMIZERS, "sgd").tag(sync=True)
    learning_rate = traitlets.Float(0.1, min=1e-4, max=10.0).tag(sync=True)
    batch_size = traitlets.Enum(BATCH_SIZES, 32).tag(sync=True)
    epochs = traitlets.Int(50, min=1, max=100).tag(sync=True)
    seeds = traitlets.Int(5, min=1, max=MAX_SEEDS).tag(sync=True)
    wine = traitlets.Dict(read_only=True).tag(sync=True)

    @traitlets.default("wine")
    def _wine(self) -> dict[str, Any]:
        return wine_rows()

    def spec(self) -> SweepSpec:
        """Return the sweep that trains the same networks."""
        from initscope.sweep import Optimizer, SweepSpec

        momentum = 0.9 if self.optimizer == "momentum" else 0.0
        kind = "adam" if self.optimizer == "adam" else "sgd"
        race = ("xavier", "kaiming")
        schemes = {"normal": (), "race": race}.get(self.scheme, (self.scheme,))
        return SweepSpec(
            dataset="wine",
            hidden=((self.width,) * (self.depth - 1),),
            stds=(self.std,) if self.scheme == "normal" else (),
            schemes=schemes,
            optimizers=(Optimizer(kind, self.learning_rate, momentum),),
            seeds=self.seeds,
            batch_size=self.batch_size,
            epochs=self.epochs,
            loss_points=100,
        )

    def figure(self, table: pd.DataFrame | None = None) -> Figure:
        """Draw losses and gradient norms of the networks, as a still picture.

        Parameters
        ----------
        table
            What :func:`initscope.sweep.run_sweep` makes of :meth:`spec`; without it the picture
            is that of networks that have not been trained.
        """
        return training_of_networks(table, self.depth, n_classes=3, learned=LEARNED)
