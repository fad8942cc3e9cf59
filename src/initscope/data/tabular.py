"""Load UCI Wine and the 8x8 digits, which come with scikit-learn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from initscope import extras
from initscope.checks import LARGEST_SEED, whole
from initscope.data.dataset import Dataset
from initscope.errors import UsageError, shown

__all__ = ["load_digits", "load_wine"]


@extras.named("load_wine")
def load_wine(seed: int = 0, test_size: float = 0.25) -> Dataset:
    """Load UCI Wine: 178 rows, 13 features, 3 classes; a stratified random split.

    Parameters
    ----------
    seed
        Seed of the split. Every seed gives the same number of rows in each split and class.
    test_size
        Share of the rows in the test split, between 0 and 1.

    >>> wine = load_wine(seed=0)
    >>> wine.train_inputs.shape, wine.test_inputs.shape
    (torch.Size([133, 13]), torch.Size([45, 13]))
    """
    from sklearn import datasets

    return _split("wine", datasets.load_wine(), seed, test_size)


@extras.named("load_digits")
def load_digits(seed: int = 0, test_size: float = 0.25) -> Dataset:
    """Load handwritten digits, 8x8 pixels: 1797 rows, 64 features, 10 classes.

    `seed` and `test_size` decide the stratified random split, as in :func:`load_wine`.

    >>> digits = load_digits(seed=0)
    >>> digits.train_inputs.shape, digits.test_inputs.shape
    (torch.Size([1347, 64]), torch.Size([450, 64]))
    """
    from sklearn import datasets

    return _split("digits", datasets.load_digits(), seed, test_size)


def _split(name: str, bunch: Any, seed: int, test_size: float) -> Dataset:
    """Split a scikit-learn data set, stratified, and standardize each feature."""
    from sklearn.model_selection import train_test_split

    seed = whole("seed", seed, 0, LARGEST_SEED)
    classes = tuple(str(label) for label in bunch.target_names)
    n_rows = len(bunch.target)
    if (
        isinstance(test_size, bool)
        or not isinstance(test_size, int | float | np.number)
        or not 0 < test_size < 1
        or math.ceil(n_rows * test_size) < len(classes)
        or n_rows - math.ceil(n_rows * test_size) < len(classes)
    ):
        raise UsageError(
            f"test_size must be a share between 0 and 1 that leaves every one of the "
            f"{len(classes)} classes of {name} ({n_rows} rows) in both splits, not "
            f"{shown(test_size)}."
        )
    train_raw, test_raw, train_labels, test_labels = train_test_split(
        bunch.data,
        bunch.target,
        test_size=float(test_size),
        random_state=seed,
        stratify=bunch.target,
    )
    mean, std = train_raw.mean(axis=0), train_raw.std(axis=0)
    # A feature is constant when its values are equal; its computed std may be off by rounding.
    std[np.ptp(train_raw, axis=0) == 0] = 0.0

    def standardize(raw: np.ndarray) -> torch.Tensor:
        inputs = np.where(std > 0, (raw - mean) / np.where(std > 0, std, 1.0), 0.0)
        return torch.from_numpy(inputs.astype(np.float32))

    return Dataset(
        name=name,
        train_inputs=standardize(train_raw),
        train_labels=torch.from_numpy(train_labels.astype(np.int64)),
        test_inputs=standardize(test_raw),
        test_labels=torch.from_numpy(test_labels.astype(np.int64)),
        classes=classes,
        input_mean=torch.from_numpy(mean),
        input_std=torch.from_numpy(std),
    )
