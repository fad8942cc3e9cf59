"""Hold a classification data set: its sizes, known without torch, and its tensors.

Inputs are standardized with statistics of the training split only: per feature for Wine and the
digits, one mean and one std over all training pixels for MNIST. The std is the population std
(divided by n), so the training inputs have mean 0 and variance 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from initscope.checks import require_name
from initscope.errors import UsageError, shown

if TYPE_CHECKING:
    import torch

__all__ = ["DATASETS", "Dataset", "load"]


class DatasetSizes(NamedTuple):
    """Sizes of a data set; `n_train` is None where it depends on the copy that is read."""

    n_features: int
    n_classes: int
    n_train: int | None


DATASETS: Mapping[str, DatasetSizes] = {
    "mnist": DatasetSizes(784, 10, None),
    "wine": DatasetSizes(13, 3, 133),
    "digits": DatasetSizes(64, 10, 1347),
}
"""Data sets that :func:`load` loads, by name: ``mnist``, ``wine``, ``digits``."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A classification data set, split and standardized.

    Attributes
    ----------
    name
        Name in :data:`DATASETS`.
    train_inputs, test_inputs
        float32, shape ``(n, n_features)``, standardized with the mean and std of the training
        split.
    train_labels, test_labels
        int64, shape ``(n,)``, from 0 to ``n_classes - 1``.
    classes
        Name of each class.
    input_mean, input_std
        What was subtracted, and what was divided by, float64, in the units of the source: shape
        ``(n_features,)``, or ``()`` for MNIST, whose pixels are scaled to [0, 1]. Where
        `input_std` is 0, the feature is constant in training and is 0 in both splits.

    Examples
    --------
    >>> from initscope.data import load_wine
    >>> load_wine().n_features
    13
    """

    name: str
    train_inputs: torch.Tensor
    train_labels: torch.Tensor
    test_inputs: torch.Tensor
    test_labels: torch.Tensor
    classes: tuple[str, ...]
    input_mean: torch.Tensor
    input_std: torch.Tensor

    @property
    def n_features(self) -> int:
        """Number of inputs of a network for this data set."""
        return self.train_inputs.shape[1]

    @property
    def n_classes(self) -> int:
        """Number of outputs of a network for this data set."""
        return len(self.classes)


def load(name: str, seed: int = 0, source: str | Path | None = None) -> Dataset:
    """Load a data set by name.

    Parameters
    ----------
    name
        One of :data:`DATASETS`.
    seed
        Seed of the split of Wine and digits. MNIST is published in two splits and takes no seed.
    source
        Of MNIST alone, see :func:`load_mnist`.

    Raises
    ------
    UsageError
        Unknown name; a source for a set that comes with scikit-learn; data that cannot be loaded.

    Examples
    --------
    >>> load("wine").classes
    ('class_0', 'class_1', 'class_2')
    """
    require_name("data set", name, DATASETS)
    if name == "mnist":
        from initscope.data.mnist import load_mnist

        return load_mnist(source)
    if source is not None:
        raise UsageError(
            f"{name} comes with scikit-learn: it takes no source ({shown(source)} given)."
        )
    from initscope.data.tabular import load_digits, load_wine

    return load_wine(seed) if name == "wine" else load_digits(seed)
