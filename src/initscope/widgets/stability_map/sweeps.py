"""Tables of sweeps as the widget shows them, and as they are packed; see `codec`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from initscope.checks import require
from initscope.widgets.codec import Kind, Reader, Writer, even, logarithmic

__all__: list[str] = []  # for this package alone

if TYPE_CHECKING:
    import pandas as pd


class Field(NamedTuple):
    """The way one array is kept: ``kind`` of number, and axes along which differences are taken."""

    kind: str
    along: tuple[int, ...] = ()


# Arrays of an architecture, of shape (trainings, seeds, k, stds), where k counts points of the
# loss curve, weight layers, hidden layers, or is 1.
FIELDS = {
    "diverged": Field("step"),
    "accuracy": Field("share"),
    "loss": Field("log", (2,)),
    "forward_start": Field("log", (0, 3)),
    "forward_end": Field("log", (3,)),
    "backward_start": Field("log", (0, 3)),
    "backward_end": Field("log", (3,)),
    "dead_end": Field("percent"),
}

NEVER = -1.0
"""In ``diverged``: the run did not diverge. NaN is a run that is not there."""

_ACCURACY = 10_000
"""Steps of the accuracies that are kept."""

_SAME = ["dataset", "activation", "batch_size", "n_train", "epochs"]
_TRAINING = ["optimizer", "learning_rate", "momentum"]
_COLUMNS = [*_SAME, *_TRAINING, "widths", "depth", "scheme", "std", "seed", "diverged_step"]
_COLUMNS += ["test_accuracy", "loss_step", "loss", "probe_step"]
_COLUMNS += ["forward_variance", "backward_variance", "dead_fraction"]


def describe_sweep(name: str, table: pd.DataFrame, points: int) -> tuple[dict, list[dict]]:
    """Return what a table of :func:`initscope.sweep.run_sweep` holds, and its numbers as arrays.

    Parameters
    ----------
    name
        What the sweep is called.
    table
        Only runs of scheme ``"normal"`` with a std above 0 count.
    points
        At most so many points of the loss curves are kept, the first and the last among them.

    Returns
    -------
    tuple
        A description that goes into JSON, and for each architecture a dict of arrays, named and
        shaped as :data:`FIELDS` says. A run that the table lacks is NaN.

    Raises
    ------
    UsageError
        The table lacks a column, or has no such run, or two runs of one place; data set,
        activation, batch size, training examples or epochs are not the same in all runs.
    """
    from initscope.analysis.stability import stability_bands
    from initscope.analysis.sweeps import STEPS_OF, check_sweep

    missing = [column for column in _COLUMNS if column not in getattr(table, "columns", ())]
    require(not missing, f"{name!r} is no table of run_sweep: it lacks {', '.join(missing)}.")
    lists = [name for name in STEPS_OF if name in _COLUMNS]
    of_lists = {*lists, *(STEPS_OF[name] for name in lists)}
    needed = [name for name in _COLUMNS if name not in of_lists]
    check_sweep(table.reset_index(drop=True), needed, lists)
    runs = table[(table["scheme"] == "normal") & (table["std"] > 0)]
    require(len(runs) > 0, f"{name!r} has no runs of scheme 'normal' with a std above 0.")
    for column in _SAME:
        values = runs[column].unique()
        require(
            len(values) == 1,
            f"{name!r} mixes runs of different {column}: {', '.join(map(str, values))}. "
            "Give each its own table.",
        )
    steps = runs["loss_step"].iloc[0]
    require(
        all(np.array_equal(other, steps) for other in runs["loss_step"]),
        f"{name!r} mixes loss curves of different steps. Give each its own table.",
    )
    place = [*_TRAINING, "widths", "seed", "std"]
    require(not runs.duplicated(place).any(), f"{name!r} holds two runs of one place.")

    kept = np.unique(np.linspace(0, len(steps) - 1, min(points, len(steps))).round().astype(int))
    stds = np.sort(runs["std"].unique())
    seeds = np.sort(runs["seed"].unique())
    trainings = [
        _training(*(row[column] for column in _TRAINING))
        for _, row in runs[_TRAINING].drop_duplicates().iterrows()
    ]
    networks, axis = _networks(runs)
    bands = {
        (band.widths, _training_key(band.optimizer, band.learning_rate, band.momentum)): band
        for band in stability_bands(runs, resamples=0).itertuples()
    }
    chance = 1 / int(networks[0]["widths"].rsplit("-", 1)[-1])
    for network in networks:
        own = runs[runs["widths"] == network["widths"]]
        found = [bands.get((network["widths"], t["key"])) for t in trainings]
        network["learns_above"] = [
            _learns_above(band, chance, own["test_accuracy"]) for band in found
        ]
    arrays = [
        _arrays(runs[runs["widths"] == network["widths"]], network, trainings, seeds, stds, kept)
        for network in networks
    ]
    description = {
        "name": name,
        **{column: _plain(runs[column].iloc[0]) for column in _SAME},
        "axis": axis,
        "stds": stds.tolist(),
        "seeds": seeds.tolist(),
        "steps": [int(step) for step in np.asarray(steps)[kept]],
        "last_probe": int(runs["probe_step"].iloc[0][-1]),
        "chance": chance,
        "trainings": trainings,
        "networks": networks,
    }
    return description, arrays


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _training_key(optimizer: str, rate: float, momentum: float) -> str:
    return f"{optimizer} {rate:g}" + (f" momentum {momentum:g}" if momentum else "")


def _training(optimizer: str, rate: float, momentum: float) -> dict[str, Any]:
    name = {"sgd": "SGD", "adam": "Adam"}.get(optimizer, optimizer)
    more = f", momentum {momentum:g}" if momentum else ""
    return {
        "key": _training_key(optimizer, rate, momentum),
        "text": f"{name} at rate {rate:g}{more}",
        "short": f"{name} {rate:g}" + (f", {momentum:g}" if momentum else ""),
        "optimizer": str(optimizer),
        "learning_rate": float(rate),
        "momentum": float(momentum),
    }


def _networks(runs: pd.DataFrame) -> tuple[list[dict[str, Any]], str]:
    """Return the architectures in order, and in what they differ: depth, width or network."""
    from initscope.analysis.sweeps import short_widths, widths_of
    from initscope.theory import critical_std, stability_band

    activation = str(runs["activation"].iloc[0])
    found = sorted((widths_of(name) for name in runs["widths"].unique()), key=lambda w: (len(w), w))
    hidden = [set(widths[1:-1]) for widths in found]
    depths = [len(widths) - 1 for widths in found]
    axis = "network"
    if len(found) > 1 and all(len(sizes) <= 1 for sizes in hidden):
        if len(set.union(*hidden)) <= 1:
            axis = "depth"
        elif len(set(depths)) == 1:
            axis = "width"
    networks = []
    for widths, depth in zip(found, depths, strict=True):
        band = stability_band(widths, activation)
        short = short_widths("-".join(map(str, widths)))
        plural = "" if depth == 1 else "s"
        texts = {
            "depth": (f"{depth} weight layer{plural}", str(depth)),
            "width": (f"hidden width {widths[-2]}", str(widths[-2])),
            "network": (f"network {short}", short),
        }
        networks.append(
            {
                "widths": "-".join(map(str, widths)),
                "depth": depth,
                "text": texts[axis][0],
                "short": texts[axis][1],
                "low": float(band.low),
                "high": float(band.high),
                # sqrt(2/n) is the std that keeps the variance of ReLU alone.
                "critical": critical_std(widths) if activation == "relu" else None,
            }
        )
    return networks, axis


def _learns_above(
    band: Any, chance: float, accuracies: pd.Series, tolerance: float = 0.1
) -> float | None:
    """Return the accuracy from which a run learns, as in `stability_bands`; None if none does.

    It lies half a step of the packed accuracies below the lowest of `accuracies` that counts, so
    that packing moves no run from one side to the other.
    """
    if band is None or math.isnan(band.low):
        return None
    enough = accuracies >= chance + (1 - tolerance) * (band.best_accuracy - chance)
    return (round(_ACCURACY * accuracies[enough].min()) - 0.5) / _ACCURACY


def _arrays(
    runs: pd.DataFrame,
    network: dict[str, Any],
    trainings: list[dict[str, Any]],
    seeds: np.ndarray,
    stds: np.ndarray,
    kept: np.ndarray,
) -> dict[str, np.ndarray]:
    depth = network["depth"]
    sizes = {"loss": len(kept), "diverged": 1, "accuracy": 1, "dead_end": depth - 1}
    arrays = {
        name: np.full((len(trainings), len(seeds), sizes.get(name, depth), len(stds)), np.nan)
        for name in FIELDS
    }
    keys = [training["key"] for training in trainings]
    # Missing is NA in a table fresh from run_sweep, and NaN in one read from its file.
    diverged = runs["diverged_step"].to_numpy(float, na_value=np.nan)
    runs = runs.assign(diverged_step=np.where(np.isnan(diverged), NEVER, diverged))
    for run in runs.itertuples():
        place = (
            keys.index(_training_key(run.optimizer, run.learning_rate, run.momentum)),
            int(np.searchsorted(seeds, run.seed)),
            slice(None),
            int(np.searchsorted(stds, run.std)),
        )
        numbers: dict[str, Any] = {
            "diverged": run.diverged_step,
            "accuracy": run.test_accuracy,
            "loss": np.asarray(run.loss, float)[kept],
        }
        for name, column in (("forward", "forward_variance"), ("backward", "backward_variance")):
            probes = np.asarray(getattr(run, column), float).reshape(-1, depth)
            numbers |= {f"{name}_start": probes[0], f"{name}_end": probes[-1]}
        dead = np.asarray(run.dead_fraction, float).reshape(-1, depth)
        numbers["dead_end"] = dead[-1, :-1]
        for name, value in numbers.items():
            arrays[name][place] = value
    return arrays


# --- Bytes -----------------------------------------------------------------------------------


def pack(sweeps: list[list[dict[str, np.ndarray]]], precision: float) -> bytes:
    """Return bytes of the arrays of all sweeps; logarithms are off by `precision`."""
    writer, kinds = Writer(), _kinds(precision)
    for arrays in (network for sweep in sweeps for network in sweep):
        for name, (kind, along) in FIELDS.items():
            writer.add(arrays[name], kinds[kind], along)
    return writer.packed()


def unpack(
    descriptions: list[dict[str, Any]], data: bytes, precision: float
) -> list[list[dict[str, np.ndarray]]]:
    """Return the arrays that :func:`pack` made bytes of."""
    reader, kinds = Reader(data), _kinds(precision)
    return [
        [
            {
                name: reader.take(shape_of(sweep, network["depth"], name), kinds[kind], along)
                for name, (kind, along) in FIELDS.items()
            }
            for network in sweep["networks"]
        ]
        for sweep in descriptions
    ]


def shape_of(sweep: Mapping[str, Any], depth: int, name: str) -> tuple[int, int, int, int]:
    """Return the shape of the array `name` of an architecture of `depth` weight layers."""
    sizes = {"loss": len(sweep["steps"]), "diverged": 1, "accuracy": 1, "dead_end": depth - 1}
    n_trainings, n_seeds = len(sweep["trainings"]), len(sweep["seeds"])
    return n_trainings, n_seeds, sizes.get(name, depth), len(sweep["stds"])


def _kinds(precision: float) -> dict[str, Kind]:
    return {
        "step": even(1, lowest=NEVER),
        "share": even(_ACCURACY),
        "percent": even(100),
        "log": logarithmic(precision),
    }
