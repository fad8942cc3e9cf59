"""What a specification may name, and columns of tables: known without torch.

So a mistake in a specification is found at once. Each name stands beside what it is a name of:
`tests/repository/test_names.py` holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

ACTIVATIONS = ("relu", "leaky_relu", "gelu", "silu", "tanh", "selu", "identity")
"""Names of :data:`initscope.models.ACTIVATIONS`."""


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
"""Sizes of :data:`initscope.data.DATASETS`, by name."""

GPT2_PRESETS: Mapping[str, Mapping[str, int]] = {
    "124m": {"n_layer": 12, "n_embd": 768, "n_head": 12, "n_positions": 1024, "vocab_size": 50257},
    "nano12": {"n_layer": 12, "n_embd": 96, "n_head": 4, "n_positions": 128, "vocab_size": 256},
}
"""Sizes of GPT-2 by name: ``124m`` is OpenAI's smallest, ``nano12`` as deep and 8 times narrower,
for texts of bytes: with the 50,257 tokens of GPT-2 four fifths of its time would go into the output
layer, with a BPE of 4,096 a fifth."""

QUANTITIES = ("weight", "gradient", "update", "activation")
"""Kinds that :class:`initscope.tracking.VarianceTracker` records."""

PRECISIONS = ("float32", "bfloat16")
"""Precisions that :func:`initscope.pretrain.pretrain` computes in."""

LAYER_STATISTICS = (
    "forward_variance",
    "backward_variance",
    "gradient_norm",
    "dead_fraction",
    "weight_std",
)
"""Columns of :func:`initscope.sweep.run_sweep` with one number for each probe step and layer."""
