"""Q, K and V through training: a recorded run, step by step, with the AdamW prediction over it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import traitlets
from matplotlib.figure import Figure

from initscope.errors import require, require_name
from initscope.plots.style import COLORS, INK, WIDTH, styled
from initscope.theory import adamw_variance_trajectory
from initscope.widgets.base import BookWidget

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = ("step", "layer", "role", "kind", "stat", "value")
HISTOGRAM_COLUMNS = ("step", "layer", "role", "low", "high", "counts")
DIGITS = 5
"""Significant digits of what is sent to the browser."""


def adamw_prediction(
    frame: pd.DataFrame,
    lr: Sequence[float] | np.ndarray | pd.Series,
    weight_decay: float,
    betas: tuple[float, float],
    *,
    snr: float = 0.0,
    diffusion: float = 1.0,
    alignment: float = 0.0,
) -> pd.DataFrame:
    """Std of each weight matrix at the recorded steps, as AdamW theory has it.

    Each matrix starts from its measured std at the first recorded step; nothing else of the run
    enters but its learning rates. The defaults of `snr`, `diffusion` and `alignment` say that
    gradients are noise, independent from step to step and of the weights.

    Parameters
    ----------
    frame
        The measured run: columns ``step, layer, role, kind, stat, value``, of which the rows with
        kind `weight` and stat `std` are used.
    lr
        Learning rate of each step; the first is that of the step after the first recorded one.
    weight_decay, betas, snr, diffusion, alignment
        As in :func:`initscope.theory.adamw_variance_trajectory`.

    Returns
    -------
    pandas.DataFrame
        The same columns and as many rows as were measured; ``attrs["adamw"]`` holds the arguments.

    Raises
    ------
    UsageError
        No std in `frame`, or fewer learning rates than steps.
    """
    std = _std(frame)
    steps = np.array(std.columns)
    rates = np.asarray(lr, dtype=float)
    after = steps - steps[0]
    require(
        len(rates) >= after[-1],
        f"lr holds {len(rates)} steps, but the run was recorded over {after[-1]}.",
    )
    start = std.iloc[:, 0].to_numpy(float)
    variance = start[:, None] ** 2
    theory = {"snr": snr, "diffusion": diffusion, "alignment": alignment}
    if after[-1] > 0:
        usable = np.where(np.isfinite(start), start, 0.0)
        later = adamw_variance_trajectory(
            usable, rates[: after[-1]], weight_decay, betas, snr, diffusion, alignment
        )
        variance = np.column_stack([variance, later])
    predicted = pd.DataFrame(np.sqrt(variance[:, after]), std.index, std.columns)
    predicted[~np.isfinite(start)] = np.nan
    rows = predicted.stack(future_stack=True).rename("value").reset_index()  # noqa: PD013
    rows = rows.assign(kind="weight", stat="std")[list(COLUMNS)]
    rows.attrs["adamw"] = {"weight_decay": weight_decay, "betas": list(betas), **theory}
    return rows


class QKVTraining(BookWidget):
    """The std of Q, K and V in every layer of a run, its histograms, and what AdamW theory says.

    Made by :meth:`from_record` from a frame in the tidy schema, or by :meth:`from_folder`.

    Attributes
    ----------
    step
        The step that is looked at, one of the recorded ones.
    role
        The matrix: `q`, `k`, `v`, or another role of the record.
    layer
        The layer drawn in bold, and of the histogram.
    quantity
        `std` of the weights, or `ratio`, std over initial std.
    show_prediction
        Whether the prediction is drawn and told, where the record has one.
    record
        What was recorded, as the browser reads it.
    """

    module: ClassVar[str] = "qkv_training.mjs"

    record = traitlets.Dict().tag(sync=True)
    step = traitlets.Int().tag(sync=True)
    role = traitlets.Unicode("q").tag(sync=True)
    layer = traitlets.Int(1).tag(sync=True)
    quantity = traitlets.Unicode("std").tag(sync=True)
    show_prediction = traitlets.Bool(True).tag(sync=True)

    def __init__(self, record: dict[str, Any] | None = None, **settings: Any) -> None:
        require(
            bool(record), "QKVTraining shows a record: make it with from_record or from_folder."
        )
        super().__init__(record=record, **settings)
        self._say()

    @classmethod
    def from_record(
        cls,
        frame: pd.DataFrame,
        histograms: pd.DataFrame | None = None,
        predictions: pd.DataFrame | None = None,
        *,
        roles: Sequence[str] = ("q", "k", "v"),
        source: str = "",
        **settings: Any,
    ) -> QKVTraining:
        """The widget over a run of your own.

        Parameters
        ----------
        frame
            Columns ``step, layer, role, kind, stat, value``; the rows with kind `weight` and stat
            `std` are shown. What was not recorded stays blank, and so does what is not finite.
        histograms
            Columns ``step, layer, role, low, high, counts``: the weights counted in even bins
            between `low` and `high`, at some of the recorded steps.
        predictions
            A frame like the first, for example from :func:`adamw_prediction`.
        roles
            Those shown, in this order.
        source
            Folder of the files ``weights.parquet`` and ``training.parquet`` that the code shown to
            the reader names; without one the code takes `frame` as given.
        **settings
            The controls at the start: `step` (the last if not given), `role`, `layer` (the middle
            one), `quantity`, `show_prediction`.

        Raises
        ------
        UsageError
            A frame without these columns or rows, with a row twice, without one of the roles, or
            histograms at steps that were not recorded.

        Examples
        --------
        >>> rows = [
        ...     (step, layer, role, "weight", "std", 0.02 * (1 + step / 10))
        ...     for step in (0, 10) for layer in (1, 2) for role in "qkv"
        ... ]
        >>> widget = QKVTraining.from_record(pd.DataFrame(rows, columns=COLUMNS))
        >>> widget.message
        'Step 10: the std of Q is 0.04 in every layer, on average 2 times its start.'
        """
        require(
            not isinstance(roles, str) and len(roles) > 0,
            f"roles must be a list such as ('q', 'k', 'v'), not {roles!r}.",
        )
        std = _std(frame)
        for role in roles:
            require_name("role", role, set(std.index.get_level_values("role")))
        layers = sorted({layer for role, layer in std.index if role in roles})
        steps = list(std.columns)
        adamw = None
        predicted: dict[str, Any] = {}
        if predictions is not None:
            adamw = predictions.attrs.get("adamw")
            guess = _std(predictions, "predictions")
            present = set(guess.index.get_level_values("role"))
            predicted = {
                role: _table(guess, role, layers, steps) for role in roles if role in present
            }
        record = {
            "steps": [int(step) for step in steps],
            "layers": [int(layer) for layer in layers],
            "roles": list(roles),
            "std": {role: _table(std, role, layers, steps) for role in roles},
            "predicted": predicted,
            "histograms": _histograms(histograms, roles, layers, steps),
            "source": source,
            "adamw": adamw,
        }
        start = {"step": int(steps[-1]), "role": roles[0], "layer": int(layers[len(layers) // 2])}
        return cls(record, **{**start, **settings})

    @classmethod
    def from_folder(cls, folder: str | Path, **settings: Any) -> QKVTraining:
        """The widget over the records of a folder, with the AdamW prediction for the run.

        Parameters
        ----------
        folder
            Holds ``weights.parquet`` and ``histograms.parquet`` as in :meth:`from_record`, and
            ``training.parquet`` with the column `lr`, one row a step, whose metadata name the
            weight decay and the betas: ``{"settings": {"weight_decay": ..., "betas": ...}}`` under
            the key ``initscope``.
        **settings
            As in :meth:`from_record`.
        """
        from initscope.records import read_table

        place = Path(folder)
        training = read_table(place / "training.parquet")
        run = json.loads(training.schema.metadata[b"initscope"])["settings"]
        frame = read_table(place / "weights.parquet").to_pandas()
        predictions = adamw_prediction(
            frame, training["lr"].to_numpy(), run["weight_decay"], tuple(run["betas"])
        )
        histograms = read_table(place / "histograms.parquet").to_pandas()
        return cls.from_record(frame, histograms, predictions, source=place.as_posix(), **settings)

    @traitlets.validate("step", "layer", "role", "quantity")
    def _recorded(self, proposal: Any) -> Any:
        """Only what the record holds can be looked at."""
        name, value = proposal.trait.name, proposal.value
        known = {
            "step": self.record["steps"],
            "layer": self.record["layers"],
            "role": self.record["roles"],
            "quantity": ["std", "ratio"],
        }[name]
        if value not in known:
            if name == "step":
                near = min(known, key=lambda step: abs(step - value))
                allowed = f"one of the {len(known)} recorded steps, {known[0]} to {known[-1]}"
                allowed += f"; the nearest is {near}"
            elif name == "layer":
                allowed = f"a recorded layer, {known[0]} to {known[-1]}"
            else:
                allowed = " or ".join(map(repr, known))
            raise traitlets.TraitError(f"{name} must be {allowed}, not {value!r}.")
        return value

    @traitlets.observe("step", "role", "layer", "quantity", "show_prediction")
    def _say(self, change: Any = None) -> None:
        self.message = self._sentence()

    def _rows(self, table: str, role: str) -> np.ndarray:
        """Std, or its ratio to the initial one, shape (layers, steps); `table` as in the record."""
        rows = np.array(self.record[table][role], dtype=float)
        if self.quantity == "std":
            return rows
        with np.errstate(divide="ignore", invalid="ignore"):
            return rows / np.array(self.record["std"][role], dtype=float)[:, :1]

    def summary(self) -> dict[str, Any]:
        """The numbers of the sentence, at the settings.

        Returns
        -------
        dict
            low, high: extremes over the layers of the quantity, ``(value, layer)``, or None where
            nothing is finite; growth: mean over layers of std / initial std; spread,
            spread_at_start: largest std over smallest; measured, predicted: the quantity in the
            layer; off, off_at_end: mean over layers of the size of measured / predicted - 1, at
            the step and at the last one; missing: layers without a finite std. NaN where there
            is none.
        """
        record = self.record
        layers = np.array(record["layers"])
        at = record["steps"].index(self.step)
        row = record["layers"].index(self.layer)
        std = np.array(record["std"][self.role], dtype=float)
        shown = self._rows("std", self.role)[:, at]
        finite = np.flatnonzero(np.isfinite(shown))
        predicted = np.full_like(std, np.nan)
        guess = predicted
        if self.role in record["predicted"]:
            predicted = np.array(record["predicted"][self.role], dtype=float)
            guess = self._rows("predicted", self.role)
        with np.errstate(divide="ignore", invalid="ignore"):
            off = _finite_mean(np.abs(std / predicted - 1))
            growth = _finite_mean(std / std[:, :1])
            spread = [_ratio(std[:, k]) for k in (at, 0)]
        low, high = (
            (finite[np.argmin(shown[finite])], finite[np.argmax(shown[finite])])
            if len(finite)
            else (None, None)
        )
        return {
            "step": self.step,
            "low": None if low is None else (float(shown[low]), int(layers[low])),
            "high": None if high is None else (float(shown[high]), int(layers[high])),
            "growth": float(growth[at]),
            "spread": spread[0],
            "spread_at_start": spread[1],
            "measured": float(self._rows("std", self.role)[row, at]),
            "predicted": float(guess[row, at]),
            "off": float(off[at]),
            "off_at_end": float(off[-1]),
            "missing": [int(layer) for layer in layers[~np.isfinite(std[:, at])]],
        }

    def _sentence(self) -> str:
        """What the browser says at these settings, in the same words."""
        s = self.summary()
        name = self.role.upper()
        step = f"Step {s['step']:,}"
        if s["low"] is None:
            return f"{step}: no finite std of {name} was recorded."
        several = s["low"][1] != s["high"][1]
        ends = [s["low"], s["high"]] if several else [s["low"]]
        extent = " to ".join(f"{_short(value)} (layer {layer})" for value, layer in ends)
        if not several and len(self.record["layers"]) > 1:
            extent = f"{_short(s['low'][0])} in every layer"
        growth = _short(s["growth"])
        starting = self.step == self.record["steps"][0]
        predicting = self.show_prediction and math.isfinite(s["off"])
        ended = math.isfinite(s["off_at_end"])
        at_end = f"{_percent(s['off_at_end'])} at the last step"
        if starting:
            times = " times its start" if self.quantity == "ratio" else ""
            parts = [f"{step}: the run starts, the std of {name} is {extent}{times}."]
            if predicting and ended:
                parts.append(f"AdamW theory starts from the same; it is off by {at_end}.")
        else:
            parts = [
                f"{step}: the std of {name} is {extent} times its start, on average {growth} times."
                if self.quantity == "ratio"
                else f"{step}: the std of {name} is {extent}, on average {growth} times its start."
            ]
        if several and not starting:
            change = s["spread"] / s["spread_at_start"]
            verdict = "the layers are about as far apart"
            if change > 1.05:
                verdict = "the layers have moved apart"
            elif change < 1 / 1.05:
                verdict = "the layers have moved together"
            parts.append(
                f"The largest std is {_short(s['spread'])} times the smallest, "
                f"at the start {_short(s['spread_at_start'])}: {verdict}."
            )
        if predicting and not starting:
            if math.isfinite(s["predicted"]):
                times = " times" if self.quantity == "ratio" else ""
                parts.append(
                    f"AdamW theory gives {_short(s['predicted'])}{times} for layer {self.layer}, "
                    f"measured {_short(s['measured'])}."
                )
            later = f", by {at_end}" if ended and self.step < self.record["steps"][-1] else ""
            off = _percent(s["off"])
            parts.append(f"Over all layers it is off by {off} on average{later}.")
        if s["missing"]:
            parts.append(f"Not finite in layer {', '.join(map(str, s['missing']))}.")
        return " ".join(parts)

    def figure(self) -> Figure:
        """The same three pictures, still: over the steps, across the layers, and the histogram."""
        with styled():
            figure = Figure(figsize=(WIDTH, 5.6))
            over, across, counted = figure.subplot_mosaic("AA;BC").values()
            self._draw_steps(over)
            self._draw_layers(across)
            self._draw_histogram(counted)
        return figure

    def _draw_steps(self, axes: Axes) -> None:
        steps, layers = self.record["steps"], self.record["layers"]
        rows = self._rows("std", self.role)
        chosen = layers.index(self.layer)
        for k, layer in enumerate(layers):
            color = _depth_color(k, len(layers))
            bold = k == chosen
            named = layer if bold or k in (0, len(layers) - 1) else None
            axes.plot(
                steps, rows[k], color=color, lw=3.2 if bold else 1.0, zorder=3 if bold else 2,
                label=None if named is None else f"layer {named}",
            )  # fmt: skip
        guess = self._prediction()
        if guess is not None:
            axes.plot(
                steps, guess[chosen], color=INK, ls="--", zorder=4,
                label=f"AdamW prediction, layer {self.layer}",
            )  # fmt: skip
        axes.axvline(self.step, color=INK, lw=0.8)
        axes.set(xlabel="step", ylabel=self._quantity_label())
        if len(steps) > 1:
            axes.set_xlim(steps[0], steps[-1])
        axes.set_title(f"{self.role.upper()} in every layer")
        axes.legend()

    def _draw_layers(self, axes: Axes) -> None:
        at = self.record["steps"].index(self.step)
        layers = self.record["layers"]
        for k, role in enumerate(self.record["roles"]):
            axes.plot(
                layers, self._rows("std", role)[:, at], color=COLORS[k % len(COLORS)], marker="o",
                lw=2.2 if role == self.role else 1.0, ms=5 if role == self.role else 3.5,
                label=role.upper(),
            )  # fmt: skip
        guess = self._prediction()
        if guess is not None:
            axes.plot(layers, guess[:, at], color=INK, ls="--", label="AdamW prediction")
        axes.set(xlabel="layer", ylabel=self._quantity_label())
        axes.set_xticks(layers[:: math.ceil(len(layers) / 12)])
        axes.set_title(f"every layer at step {self.step:,}")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=4, columnspacing=1.0)

    def _draw_histogram(self, axes: Axes) -> None:
        known = self.record["histograms"]
        row = self.record["layers"].index(self.layer)
        at = min(
            range(len(known["steps"])), key=lambda k: abs(known["steps"][k] - self.step), default=0
        )
        bins = known["bins"].get(self.role)
        found = bins[row][at] if bins else None
        axes.set(xlabel="weight", ylabel="density")
        if found is None:
            axes.set_title("no histogram was recorded")
            return
        low, high, counts = found
        edges = np.linspace(low, high, len(counts) + 1)
        color = COLORS[self.record["roles"].index(self.role) % len(COLORS)]
        density = np.array(counts) / max(1, sum(counts)) / np.diff(edges)
        axes.stairs(density, edges, fill=True, color=color, alpha=0.5, label="weights")
        step = known["steps"][at]
        std = self.record["std"][self.role][row][self.record["steps"].index(step)]
        if std:
            x = np.linspace(low, high, 161)
            normal = np.exp(-0.5 * (x / std) ** 2) / (std * math.sqrt(2 * math.pi))
            axes.plot(x, normal, color=INK, lw=1.3, label="normal, same std")
        axes.set_title(f"{self.role.upper()} of layer {self.layer} at step {step:,}")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2)

    def _prediction(self) -> np.ndarray | None:
        known = self.show_prediction and self.role in self.record["predicted"]
        return self._rows("predicted", self.role) if known else None

    def _quantity_label(self) -> str:
        return "std" if self.quantity == "std" else "std / initial std"


def _std(frame: pd.DataFrame, name: str = "frame") -> pd.DataFrame:
    """Std of each weight matrix: a row for each (role, layer), a column for each step."""
    lacking = [column for column in COLUMNS if column not in frame]
    require(not lacking, f"{name} has no column {' or '.join(lacking)}: it needs {COLUMNS}.")
    rows = frame[(frame["kind"] == "weight") & (frame["stat"] == "std")]
    require(len(rows) > 0, f"{name} has no row with kind 'weight' and stat 'std'.")
    twice = rows.duplicated(["step", "layer", "role"])
    require(
        not twice.any(),
        f"{name} has two rows for one step, layer and role: "
        f"{rows.loc[twice, ['step', 'layer', 'role']].head(1).to_dict('records')}.",
    )
    return rows.pivot(index=["role", "layer"], columns="step", values="value")  # noqa: PD010


def _table(std: pd.DataFrame, role: str, layers: list[int], steps: list[int]) -> list[list]:
    """Rows for each layer, columns for each step; None for what is missing or not finite."""
    values = std.loc[role].reindex(index=layers, columns=steps).to_numpy(float)
    return [[_sent(value) for value in row] for row in values]


def _histograms(
    frame: pd.DataFrame | None, roles: Sequence[str], layers: list[int], steps: list[int]
) -> dict[str, Any]:
    """Role -> layers -> steps -> [low, high, counts], or None where none was recorded."""
    if frame is None:
        return {"steps": [], "bins": {}}
    lacking = [column for column in HISTOGRAM_COLUMNS if column not in frame]
    require(
        not lacking,
        f"histograms has no column {' or '.join(lacking)}: it needs {HISTOGRAM_COLUMNS}.",
    )
    counted = sorted(set(frame["step"]))
    unknown = sorted(set(counted) - set(steps))
    require(not unknown, f"histograms are of steps whose std was not recorded: {unknown}.")
    at = {
        (row.role, row.layer, row.step): [
            _sent(row.low), _sent(row.high), [int(count) for count in row.counts]
        ]
        for row in frame.itertuples()
    }  # fmt: skip
    bins = {
        role: [[at.get((role, layer, step)) for step in counted] for layer in layers]
        for role in roles
    }
    return {"steps": [int(step) for step in counted], "bins": bins}


def _sent(value: float) -> float | None:
    """Rounded, and None if not finite: JSON has no such number."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def _finite_mean(rows: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is finite; NaN where nothing is."""
    finite = np.isfinite(rows)
    count = finite.sum(axis=0)
    total = np.where(finite, rows, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _ratio(values: np.ndarray) -> float:
    """Largest over smallest of what is finite."""
    finite = values[np.isfinite(values)]
    return float(finite.max() / finite.min()) if len(finite) else math.nan


def _depth_color(k: int, count: int) -> tuple[float, ...]:
    """The color of layer `k` of `count`, as in the browser."""
    stops = np.array([[138, 99, 210], [43, 147, 168], [168, 137, 31]]) / 255
    at = 2 * k / (count - 1) if count > 1 else 0.0
    return tuple(float(np.interp(at, [0, 1, 2], stops[:, c])) for c in range(3))


def _short(value: float, digits: int = 3) -> str:
    """A number as the browser writes it."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinity" if value > 0 else "-infinity"
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{float(f'{value:.{digits}g}'):,.12f}".rstrip("0").rstrip(".")


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%" if share < 10 else f"{_short(100 * share)}%"
