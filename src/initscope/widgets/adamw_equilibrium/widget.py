"""The std of a weight matrix in a training run with AdamW, and where it settles."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
import traitlets
from matplotlib.figure import Figure

from initscope.plots.adamw import adamw_run
from initscope.theory import adamw_equilibrium_rms, adamw_variance_trajectory
from initscope.theory.learning_rates import SCHEDULES, learning_rates
from initscope.theory.published_runs import PUBLISHED_RUNS
from initscope.widgets.base import BookWidget

__all__ = ["AdamWEquilibrium"]

# Lowest and highest value, and whether 0 is allowed besides: as the sliders have them.
_RANGES: dict[str, tuple[float, float, bool]] = {
    "lr": (1e-6, 0.1, True),
    "weight_decay": (1e-4, 10.0, True),
    "warmup": (1, 100_000, True),
    "final": (0.0, 1.0, False),
    "steps": (10, 1_000_000, False),
    "std0": (1e-4, 10.0, False),
    "beta1": (0.0, 0.99, False),
    "beta2": (0.9, 0.9999, False),
    "snr": (1e-4, 10.0, True),
    "diffusion": (0.1, 100.0, False),
    "alignment": (-0.5, 0.5, False),
}


class AdamWEquilibrium(BookWidget):
    """The std of a weight matrix in a training run with AdamW, and where it settles.

    Shows the prediction of :func:`initscope.theory.adamw_variance_trajectory`, the equilibrium of
    the peak rate and of the rate at each step, what is left of the initialization, and on request
    a simulation of AdamW itself on independent weights with random gradients.

    Attributes
    ----------
    preset
        A name of :data:`initscope.theory.published_runs.PUBLISHED_RUNS`: sets all that follows but
        `log_steps` and `log_std`; becomes ``"custom"`` when one of these is changed.
    lr, weight_decay
        Peak learning rate, 0 or 1e-6 to 0.1; weight decay, 0 or 1e-4 to 10.
    schedule, warmup, final, steps
        As in :func:`~initscope.theory.learning_rates.learning_rates`; 10 to 1,000,000 steps, 0 to
        100,000 of them warm-up.
    std0
        Std at initialization, 1e-4 to 10.
    beta1, beta2
        Betas of AdamW; beta2 enters in the simulation alone.
    snr, diffusion, alignment
        As in :func:`initscope.theory.adamw_variance_trajectory`.
    log_steps, log_std
        Whether the axes are logarithmic.
    published_runs
        What each preset sets; read only.

    Raises
    ------
    traitlets.TraitError
        A value out of range; the message says what is allowed.

    Examples
    --------
    >>> AdamWEquilibrium(lr=6e-4, weight_decay=0.1).lr
    0.0006
    """

    module: ClassVar[str] = "adamw_equilibrium/widget.mjs"

    preset = traitlets.Enum(("custom", *PUBLISHED_RUNS), "nanogpt").tag(sync=True)
    lr = traitlets.Float(6e-4).tag(sync=True)
    weight_decay = traitlets.Float(0.1).tag(sync=True)
    schedule = traitlets.Enum(SCHEDULES, "cosine").tag(sync=True)
    warmup = traitlets.Int(2000).tag(sync=True)
    final = traitlets.Float(0.1).tag(sync=True)
    steps = traitlets.Int(600_000).tag(sync=True)
    std0 = traitlets.Float(0.02).tag(sync=True)
    beta1 = traitlets.Float(0.9).tag(sync=True)
    beta2 = traitlets.Float(0.95).tag(sync=True)
    snr = traitlets.Float(0.0).tag(sync=True)
    diffusion = traitlets.Float(1.0).tag(sync=True)
    alignment = traitlets.Float(0.0).tag(sync=True)
    log_steps = traitlets.Bool(False).tag(sync=True)
    log_std = traitlets.Bool(False).tag(sync=True)
    published_runs = traitlets.Dict(PUBLISHED_RUNS, read_only=True).tag(sync=True)

    def __init__(self, **settings: Any) -> None:
        self._following = True  # what is given besides a preset holds over it
        preset = settings.get("preset", "")
        named = PUBLISHED_RUNS.get(preset, {}) if isinstance(preset, str) else {}
        super().__init__(**{**named, **settings})
        self._following = False
        self._name_preset()

    @traitlets.validate(*_RANGES)
    def _in_range(self, proposal: Any) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        low, high, zero = _RANGES[name]
        if not (low <= value <= high or (zero and value == 0)):  # NaN is neither
            allowed = f"{'0 or ' if zero else ''}between {low:,g} and {high:,.7g}"
            raise traitlets.TraitError(f"{name} must be {allowed}, not {value:g}.")
        return value

    @traitlets.observe("preset")
    def _follow_preset(self, change: Any) -> None:
        if not self._following and change["new"] in PUBLISHED_RUNS:
            self._following = True
            try:
                for name, value in PUBLISHED_RUNS[change["new"]].items():
                    setattr(self, name, value)
            finally:
                self._following = False

    @traitlets.observe(*PUBLISHED_RUNS["nanogpt"])
    def _name_preset(self, change: Any = None) -> None:
        if not self._following and self.preset != "custom":
            preset = PUBLISHED_RUNS[self.preset]
            if any(getattr(self, name) != value for name, value in preset.items()):
                self.preset = "custom"

    def learning_rates(self) -> np.ndarray:
        """Return the learning rate at each step."""
        return learning_rates(self.lr, self.schedule, self.steps, self.warmup, self.final)

    def trajectory(self) -> np.ndarray:
        """Return the predicted std after each step."""
        with np.errstate(over="ignore", invalid="ignore"):
            variance = adamw_variance_trajectory(
                self.std0,
                self.learning_rates(),
                self.weight_decay,
                (self.beta1, self.beta2),
                snr=self.snr,
                diffusion=self.diffusion,
                alignment=self.alignment,
            )
        # What outgrows the format comes back as NaN.
        return np.sqrt(np.where(np.isnan(variance), np.inf, variance))

    def equilibrium(self, lr: Any = None) -> Any:
        """Return the std at which weights settle at a rate, by default the peak; inf if never."""
        pull = self.weight_decay + self.alignment
        noise = adamw_equilibrium_rms(
            self.lr if lr is None else lr,
            self.weight_decay,
            diffusion=self.diffusion,
            alignment=self.alignment,
            betas=(self.beta1, self.beta2),
        )
        signal = self.snr / pull**2 if pull > 0 else 0.0
        return np.sqrt((noise**2 + signal) / (1 + self.snr))

    def initial_part(self) -> np.ndarray:
        """Return the std, after each step, of what is left of the initial weights."""
        keep = 1 - self.learning_rates() * (self.weight_decay + self.alignment)
        with np.errstate(under="ignore", over="ignore"):
            return self.std0 * np.abs(np.cumprod(keep))

    def figure(self) -> Figure:
        """Draw std and learning rate against the step, as a still picture."""
        # A few hundred of up to a million points draw the same lines.
        even = np.linspace(1, self.steps, 300)
        ratios = np.geomspace(1, self.steps, 300)
        step = np.unique(np.concatenate([even, ratios]).round().astype(int))
        lr, std, initial = (
            values[step - 1]
            for values in (self.learning_rates(), self.trajectory(), self.initial_part())
        )
        pull = self.weight_decay + self.alignment
        settles = self.lr > 0 and pull > 0
        with np.errstate(over="ignore", invalid="ignore"):
            return adamw_run(
                pd.DataFrame({"step": step, "lr": lr, "std": std, "initial": initial}).assign(
                    equilibrium=self.equilibrium(lr) if settles else np.nan
                ),
                self.std0,
                self.lr,
                equilibrium=float(self.equilibrium()) if settles else None,
                time_constant=1 / (2 * self.lr * pull) if settles else None,
                log_steps=self.log_steps,
                log_std=self.log_std,
            )
