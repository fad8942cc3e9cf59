"""The map of recorded sweeps of the initial std."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import traitlets
from matplotlib.figure import Figure

from initscope import checks
from initscope.analysis.sweeps import nearest
from initscope.checks import is_number, require
from initscope.errors import UsageError, shown
from initscope.plots.stability import stability_map
from initscope.widgets.base import BookWidget
from initscope.widgets.stability_map.sweeps import NEVER, describe_sweep, pack, unpack

__all__ = ["StabilityMap"]

if TYPE_CHECKING:
    import pandas as pd

QUANTITIES = {
    "accuracy": "test accuracy after training",
    "loss": "training loss at the end",
    "divergence": "updates until divergence, + 1",
    "signal": "variance of the last layer over the first, before training",
    "gradient": "gradient variance of the first layer over the last, before training",
    "dead": "dead units of the last hidden layer, after training",
}
"""What the map shows, by the value of the trait `quantity`."""


class StabilityMap(BookWidget):
    """Recorded sweeps as a map over the std and depth, width or training; each cell opens its runs.

    Made by :meth:`from_tables`. The rows of the map are the architectures of a sweep, or, if it
    has only one, its trainings (optimizer and learning rate).

    Attributes
    ----------
    sweep
        Name of the sweep shown: a key of the tables. When it changes, the settings below that it
        does not have go to the nearest or first that it has.
    quantity
        What the colors show: ``"accuracy"`` (test accuracy after training), ``"loss"`` (training
        loss at the end), ``"divergence"`` (updates until divergence, plus 1), ``"signal"`` (forward
        variance of the last layer over the first, before training), ``"gradient"`` (gradient
        variance of the first layer over the last, before training) or ``"dead"`` (share of dead
        units in the last hidden layer, after training). Where `seed` is ``"median"`` it is the
        median over the seeds, those that diverged counted as the worst; for ``"divergence"`` the
        median over those that diverged.
    training
        Optimizer and rate of the selected cell: ``"adam 0.001"``.
    network
        Architecture of the selected cell as its layer widths: ``"784-128-128-10"``.
    std
        Std of the selected cell; what is set goes to the nearest of the sweep.
    seed
        ``"median"`` of all seeds, or the number of one.
    recorded, numbers
        What is shown: descriptions of the sweeps, and their numbers, packed.
    message
        The sentence about the selected cell: set by the browser.

    Examples
    --------
    >>> from initscope.sweep import SweepSpec, run_sweep
    >>> spec = SweepSpec(stds=(0.01, 0.1, 0.3), seeds=2, epochs=2)
    >>> StabilityMap.from_tables({"Wine": run_sweep(spec, progress=False)}).std
    0.3
    """

    module = "stability_map/widget.mjs"
    recorded = traitlets.Dict().tag(sync=True)
    numbers = traitlets.Bytes().tag(sync=True)
    sweep = traitlets.Unicode().tag(sync=True)
    quantity = traitlets.Enum(list(QUANTITIES), "accuracy").tag(sync=True)
    training = traitlets.Unicode().tag(sync=True)
    network = traitlets.Unicode().tag(sync=True)
    std = traitlets.Float().tag(sync=True)
    seed = traitlets.Union(
        [traitlets.Enum(["median"]), traitlets.Int()], default_value="median"
    ).tag(sync=True)

    def __init__(
        self, recorded: Mapping[str, Any] | None = None, numbers: bytes = b"", **settings: Any
    ) -> None:
        require(
            isinstance(recorded, Mapping) and {"sweeps", "precision"} <= set(recorded),
            "make a StabilityMap with StabilityMap.from_tables.",
        )
        assert recorded is not None
        self._sweeps = {sweep["name"]: sweep for sweep in recorded["sweeps"]}
        arrays = unpack(recorded["sweeps"], numbers, recorded["precision"])
        self._arrays = dict(zip(self._sweeps, arrays, strict=True))
        settings = {"sweep": next(iter(self._sweeps))} | settings
        shown = self._sweeps.get(settings["sweep"], next(iter(self._sweeps.values())))
        middle = shown["networks"][len(shown["networks"]) // 2]
        start = {
            "training": shown["trainings"][0]["key"],
            "network": middle["widths"],
            "std": nearest(pd.Series(shown["stds"]), [middle["critical"] or middle["low"]])[0],
        }
        super().__init__(recorded=dict(recorded), numbers=numbers, **(start | settings))
        self.observe(self._follow_sweep, "sweep")

    @classmethod
    def from_tables(
        cls,
        tables: Mapping[str, pd.DataFrame | str | Path],
        *,
        points: int = 9,
        precision: float = 0.02,
        **settings: Any,
    ) -> StabilityMap:
        """Make a map of tables of :func:`initscope.sweep.run_sweep`, by the names they are to have.

        Parameters
        ----------
        tables
            Each a table, or the parquet file of one; the code that the widget shows reads the
            file. Runs of other schemes than ``"normal"`` are left out.
        points
            So many points of each loss curve are kept, at most.
        precision
            Relative precision of the losses and variances that are kept, from 0.005 to 0.2.
            Accuracies are kept to 0.0001, shares of dead units to 0.005.
        **settings
            Traits: ``std=0.1``, ``training="adam 0.001"``.

        Raises
        ------
        UsageError
            No tables, or one that is no table of a sweep.

        Examples
        --------
        >>> from initscope.sweep import SweepSpec, run_sweep
        >>> spec = SweepSpec(dataset="wine", stds=(0.01, 0.1, 1.0), epochs=1)
        >>> StabilityMap.from_tables({"mine": run_sweep(spec, progress=False)}, std=0.1).network
        '13-64-32-3'
        """
        import pandas as pd

        require(isinstance(tables, Mapping), f"tables must be sweeps by name, not {shown(tables)}.")
        require(bool(tables), "tables is empty: give at least one sweep.")
        require(
            is_number(points, 2, whole=True), f"points must be at least 2, not {shown(points)}."
        )
        require(
            is_number(precision, 0.005) and precision <= 0.2,
            f"precision must lie between 0.005 and 0.2, not {shown(precision)}.",
        )
        descriptions, arrays = [], []
        for name, given in tables.items():
            file = given if isinstance(given, str | Path) else None
            try:
                table = given if file is None else pd.read_parquet(file)
            except (OSError, ValueError) as error:
                raise UsageError(
                    f"the file {file} in tables cannot be read ({shown(str(error))})."
                ) from error
            checks.frame(f"{name} in tables", table)
            description, numbers = describe_sweep(str(name), table, points)
            description["file"] = None if file is None else Path(file).as_posix()
            descriptions.append(description)
            arrays.append(numbers)
        return cls(
            recorded={"precision": precision, "sweeps": descriptions},
            numbers=pack(arrays, precision),
            **settings,
        )

    # --- Settings ------------------------------------------------------------------------------

    @traitlets.validate("sweep")
    def _valid_sweep(self, proposal: Any) -> str:
        return _one_of("sweep", proposal["value"], list(self._sweeps))

    @traitlets.validate("training")
    def _valid_training(self, proposal: Any) -> str:
        return _one_of("training", proposal["value"], self._offered("training"))

    @traitlets.validate("network")
    def _valid_network(self, proposal: Any) -> str:
        return _one_of("network", proposal["value"], self._offered("network"))

    @traitlets.validate("seed")
    def _valid_seed(self, proposal: Any) -> str | int:
        return _one_of("seed", proposal["value"], self._offered("seed"))

    @traitlets.validate("std")
    def _valid_std(self, proposal: Any) -> float:
        stds, std = self._offered("std"), proposal["value"]
        # Half a cell beyond the outermost is still theirs.
        if not (math.isfinite(std) and 0.8 * stds[0] <= std <= 1.25 * stds[-1]):
            raise traitlets.TraitError(
                f"std must lie between {stds[0]:g} and {stds[-1]:g} in {self.sweep!r}, not {std!r}."
            )
        return nearest(pd.Series(stds), [std])[0]

    def _offered(self, name: str) -> list[Any]:
        """Return what a setting can be in the sweep that is shown."""
        sweep = self._sweeps.get(self.sweep)
        if sweep is None:  # refused in a moment
            sweep = next(iter(self._sweeps.values()))
        return {
            "training": [training["key"] for training in sweep["trainings"]],
            "network": [network["widths"] for network in sweep["networks"]],
            "seed": ["median", *sweep["seeds"]],
            "std": sweep["stds"],
        }[name]

    def _follow_sweep(self, _: object) -> None:
        with self.hold_trait_notifications():  # until all are of the new sweep
            for name in ("training", "network", "seed"):
                if getattr(self, name) not in self._offered(name):
                    setattr(self, name, self._offered(name)[0])
            (self.std,) = nearest(pd.Series(self._offered("std")), [self.std])

    # --- Numbers -------------------------------------------------------------------------------

    def _place(self) -> tuple[dict[str, Any], int, int, int, int | None]:
        """Return the sweep, and the indices of network, training, std and seed (None: all)."""
        sweep = self._sweeps[self.sweep]
        seed = None if self.seed == "median" else sweep["seeds"].index(self.seed)
        return (
            sweep,
            self._offered("network").index(self.network),
            self._offered("training").index(self.training),
            sweep["stds"].index(self.std),
            seed,
        )

    def cell(self) -> dict[str, np.ndarray]:
        """Return the numbers of the selected cell as they are shown, for all seeds, to `precision`.

        Returns
        -------
        dict
            Arrays, first axis the seeds of the sweep, NaN for a run that is not recorded:
            ``accuracy``; ``diverged``, the step, -1 for a run that did not; ``loss`` along the
            curve; ``forward_start``, ``forward_end``, ``backward_start``, ``backward_end`` along
            the weight layers; ``dead_end`` along the hidden ones.
        """
        _, network, training, std, _ = self._place()
        found = {name: a[training, :, :, std] for name, a in self._arrays_of(network).items()}
        return found | {name: found[name][:, 0] for name in ("accuracy", "diverged")}

    def _arrays_of(self, network: int) -> dict[str, np.ndarray]:
        return self._arrays[self.sweep][network]

    def grid(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Return the map as it is shown.

        Returns
        -------
        tuple
            Labels of the rows; the mapped numbers of shape (rows, stds), NaN where there is none,
            for ``"signal"`` and ``"gradient"`` as powers of ten; the share of seeds that diverge,
            of the same shape.
        """
        sweep, network, training, _, seed = self._place()
        if len(sweep["networks"]) > 1:
            rows = [
                {name: a[training] for name, a in arrays.items()}
                for arrays in self._arrays[self.sweep]
            ]
            labels = [network["short"] for network in sweep["networks"]]
        else:
            arrays = self._arrays_of(network)
            rows = [{n: a[t] for n, a in arrays.items()} for t in range(len(sweep["trainings"]))]
            labels = [training["short"] for training in sweep["trainings"]]
        chosen = slice(None) if seed is None else slice(seed, seed + 1)
        values, diverged = [], []
        for row in rows:
            row = {name: array[chosen] for name, array in row.items()}
            there = ~np.isnan(row["diverged"][:, 0])
            gone = there & (row["diverged"][:, 0] != NEVER)
            numbers = _quantity(self.quantity, row)
            counted = gone if self.quantity == "divergence" else there
            values.append([_median(numbers[counted[:, k], k]) for k in range(numbers.shape[1])])
            diverged.append(gone.sum(0) / np.maximum(1, there.sum(0)))
        found = np.array(values)
        return labels, np.where(np.isposinf(found), np.nan, found), np.array(diverged)

    # --- What is drawn -------------------------------------------------------------------------

    def figure(self) -> Figure:
        """Draw the map and the loss curves of the selected cell, as a still picture."""
        sweep, network, training, _, seed = self._place()
        labels, values, diverged = self.grid()
        by_network = len(sweep["networks"]) > 1
        return stability_map(
            sweep,
            (self.quantity, QUANTITIES[self.quantity]),
            labels,
            values,
            diverged,
            networks=sweep["networks"] if by_network else [sweep["networks"][0]] * len(labels),
            selected=(network if by_network else training, self.std),
            losses=self.cell()["loss"],
            seed=seed,
        )


def _one_of(name: str, value: Any, valid: list[Any]) -> Any:
    if value not in valid:
        choices = ", ".join(map(repr, valid))
        raise traitlets.TraitError(f"{name} must be one of {choices}; not {value!r}.")
    return value


def _quantity(name: str, row: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return what is mapped, of arrays of shape (seeds, k, stds); for `accuracy`, of any."""
    if name in ("accuracy", "divergence"):
        return row["accuracy" if name == "accuracy" else "diverged"][:, 0]
    if name == "loss":
        return row["loss"][:, -1]
    if name == "dead":
        dead = row["dead_end"]
        return dead[:, -1] if dead.shape[1] else np.full_like(row["loss"][:, -1], np.nan)
    first, last = (0, -1) if name == "signal" else (-1, 0)
    values = row["forward_start" if name == "signal" else "backward_start"]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log10(values[:, last] / values[:, first])


def _median(values: np.ndarray) -> float:
    """Return the median; what is no number counts as infinite. NaN of an empty array."""
    if not len(values):
        return math.nan
    ordered = np.sort(np.where(np.isnan(values), np.inf, values))
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return float(low if low == high else (low + high) / 2)
