"""Names that are known without torch are those of what they name."""

from __future__ import annotations

import inspect

import pytest

from initscope import data, init, names
from initscope.data import DATASETS


def test_names_are_those_of_what_they_name() -> None:
    assert names.MODES == init.MODES
    assert names.DISTRIBUTIONS == init.DISTRIBUTIONS
    assert list(names.SCHEMES) == list(init.SCHEMES)


@pytest.mark.parametrize("scheme", names.SCHEMES)
def test_options_of_a_scheme_are_those_of_its_function(scheme: str) -> None:
    options = {
        name: None if option.default is inspect.Parameter.empty else option.default
        for name, option in init.scheme_options(scheme).items()
    }
    assert names.SCHEMES[scheme] == options


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "mnist"])
def test_sizes_of_a_data_set_are_those_that_are_loaded(name: str) -> None:
    loaded = data.load(name)
    sizes = (loaded.n_features, loaded.n_classes, len(loaded.train_labels))
    assert DATASETS[name] == sizes


def test_images_of_mnist_have_28_by_28_pixels_of_10_classes() -> None:
    assert DATASETS["mnist"] == (28 * 28, 10, None)
