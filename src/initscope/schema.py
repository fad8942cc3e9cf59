"""Columns of every table that the package writes: what engines write and analysis reads."""

from __future__ import annotations

import pyarrow as pa

from initscope.checks import require, whole

# --- Sweeps: a row a network -----------------------------------------------------------------

LAYER_STATISTICS = (
    "forward_variance",
    "backward_variance",
    "gradient_norm",
    "dead_fraction",
    "weight_std",
)
"""Columns of a sweep with one number for each probe step and layer."""

SWEEP_SCHEMA = pa.schema(
    {
        "dataset": pa.string(),
        "widths": pa.string(),
        "depth": pa.int64(),
        "activation": pa.string(),
        "scheme": pa.string(),
        "std": pa.float64(),
        "seed": pa.int64(),
        "optimizer": pa.string(),
        "learning_rate": pa.float64(),
        "momentum": pa.float64(),
        "batch_size": pa.int64(),
        "n_train": pa.int64(),
        "epochs": pa.int64(),
        "diverged_step": pa.int64(),
        "train_loss": pa.float64(),
        "test_loss": pa.float64(),
        "test_accuracy": pa.float64(),
        "loss_step": pa.list_(pa.int32()),
        "loss": pa.list_(pa.float32()),
        "accuracy_by_epoch": pa.list_(pa.float32()),
        "probe_step": pa.list_(pa.int32()),
        **{name: pa.list_(pa.float64()) for name in LAYER_STATISTICS},
    }
)
"""Columns of a table of :func:`initscope.sweep.run_sweep`, which says what is in them."""

VALIDATED_SWEEP_SCHEMA = SWEEP_SCHEMA.append(pa.field("validation_accuracy", pa.float64())).append(
    pa.field("validation_accuracy_by_epoch", pa.list_(pa.float32()))
)
"""Columns of one that holds out a part of the training split for validation."""


def sweep_schema(validation_size: int) -> pa.Schema:
    """Return the columns of a sweep with so many validation examples."""
    whole("validation_size", validation_size, 0)
    return VALIDATED_SWEEP_SCHEMA if validation_size else SWEEP_SCHEMA


SWEEP_KEYS = (
    *("dataset", "widths", "activation", "scheme", "std", "seed"),
    *("optimizer", "learning_rate", "momentum"),
)
"""Columns that together name a network."""

MOST_STEPS = 100_000_000
"""Of the lists made here; each entry stands for an evaluation or for a loss that is kept."""


def require_length(what: str, length: int) -> None:
    """Raise `UsageError` for a list of more than :data:`MOST_STEPS` steps."""
    require(length <= MOST_STEPS, f"{what} would be a list of more than {MOST_STEPS:,} steps.")


def evaluation_steps(epochs: int, steps_per_epoch: int, per_epoch: int = 1) -> list[int]:
    """Return the steps at which the test set is evaluated: 0, then `per_epoch` in each epoch.

    The last is at its end; there are no more than one an update.

    >>> evaluation_steps(2, 100)
    [0, 100, 200]
    """
    whole("epochs", epochs)
    whole("steps_per_epoch", steps_per_epoch)
    whole("per_epoch", per_epoch)
    points = min(per_epoch, steps_per_epoch)
    require_length(f"{epochs:,} epochs with {points:,} evaluations per_epoch", epochs * points)
    within = [round(steps_per_epoch * k / points) for k in range(1, points + 1)]
    return [0, *(epoch * steps_per_epoch + step for epoch in range(epochs) for step in within)]


# --- What is measured in a model: a row a number, or a histogram ------------------------------

QUANTITIES = ("weight", "gradient", "update", "activation", "attention")
"""Kinds that :class:`initscope.tracking.VarianceTracker` records."""

VARIANCES, HISTOGRAMS = "variances", "histograms"

TRACKING_SCHEMAS = {
    VARIANCES: pa.schema(
        [
            ("step", pa.int64()),
            ("layer", pa.int64()),
            ("role", pa.string()),
            ("kind", pa.string()),
            ("stat", pa.string()),
            ("value", pa.float64()),
        ]
    ),
    HISTOGRAMS: pa.schema(
        [
            ("step", pa.int64()),
            ("layer", pa.int64()),
            ("role", pa.string()),
            ("low", pa.float64()),
            ("high", pa.float64()),
            ("counts", pa.list_(pa.int64())),
        ]
    ),
}
COLUMNS = tuple(TRACKING_SCHEMAS[VARIANCES].names)
"""Columns of every table of statistics: ``step, layer, role, kind, stat, value``."""

HISTOGRAM_COLUMNS = tuple(TRACKING_SCHEMAS[HISTOGRAMS].names)
"""Columns of every table of histograms: ``step, layer, role, low, high, counts``."""

TRACKING_KEYS = {
    VARIANCES: ("step", "layer", "role", "kind", "stat"),
    HISTOGRAMS: ("step", "layer", "role"),
}
"""Columns that together name a row."""

# --- Pretraining: a row a logged step ----------------------------------------------------------

TRAINING_COLUMNS = {
    "step": "int64",
    "loss": "float64",
    "learning_rate": "float64",
    "gradient_norm": "float64",
    "tokens_per_second": "float64",
}
EVALUATION_COLUMNS = {"step": "int64", "loss": "float64"}
