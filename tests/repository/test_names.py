"""Names that are known without torch are those of what they name."""

from __future__ import annotations

import pytest

from initscope import data, models, names, tracking


def test_names_are_those_of_what_they_name() -> None:
    assert set(names.ACTIVATIONS) == set(models.ACTIVATIONS)
    assert set(names.DATASETS) == set(data.DATASETS)
    assert names.QUANTITIES == tracking.QUANTITIES


@pytest.mark.parametrize("name", ["wine", "digits"])
def test_sizes_of_a_data_set_are_those_that_are_loaded(name: str) -> None:
    loaded = data.load(name)
    sizes = (loaded.n_features, loaded.n_classes, len(loaded.train_labels))
    assert names.DATASETS[name] == sizes


def test_images_of_mnist_have_28_by_28_pixels_of_10_classes() -> None:
    assert names.DATASETS["mnist"] == (28 * 28, 10, None)
