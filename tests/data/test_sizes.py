"""Sizes of data sets that are known without loading them."""

from __future__ import annotations

import pytest

from initscope import data
from initscope.data import DATASETS


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "mnist"])
def test_sizes_of_a_data_set_are_those_that_are_loaded(name: str) -> None:
    loaded = data.load(name)
    sizes = (loaded.n_features, loaded.n_classes, len(loaded.train_labels))
    assert DATASETS[name] == sizes


def test_images_of_mnist_have_28_by_28_pixels_of_10_classes() -> None:
    assert DATASETS["mnist"] == (28 * 28, 10, None)
