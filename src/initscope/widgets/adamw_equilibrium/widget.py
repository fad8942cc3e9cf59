"""The std of a weight matrix in a training run with AdamW, and where it settles."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
import traitlets
from matplotlib.figure import Figure

from initscope.checks import nonnegative, plain, positive, together
from initscope.plots.adamw import adamw_run
from initscope.theory import (
    DataMemory,
    adamw_equilibrium_rms,
    adamw_variance_trajectory,
    data_memory,
)
from initscope.theory.learning_rates import SCHEDULES, learning_rates
from initscope.theory.published_runs import PUBLISHED_RUNS
from initscope.widgets.base import BookWidget

__all__ = ["AdamWEquilibrium"]

DECAY_SCHEDULES = ("constant", "rate", "independent")

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
    "epsilon": (1e-3, 1000.0, True),
    "snr": (1e-4, 10.0, True),
    "drift": (1e-6, 0.1, True),
    "final_gradient": (0.01, 100.0, False),
    "diffusion": (0.1, 100.0, False),
    "alignment": (-0.5, 0.5, False),
}


class AdamWEquilibrium(BookWidget):
    """The std of a weight matrix in a training run with AdamW, and where it settles.

    Shows the prediction of :func:`initscope.theory.adamw_variance_trajectory`, the equilibrium of
    the peak rate and of the rate at each step, what is left of the initialization, how much each
    update counts in the last weights, and on request a simulation of AdamW itself on independent
    weights with random gradients.

    Attributes
    ----------
    preset
        ``"nanogpt"``, ``"shakespeare"``, ``"gpt3-175b"``, ``"llama-7b"`` or ``"llama-65b"``, of
        :data:`initscope.theory.RECIPES`: sets all that follows but `log_steps` and `log_std`. It
        becomes ``"custom"`` when one of these is changed.
    lr, weight_decay
        Peak learning rate, 0 or 1e-6 to 0.1; weight decay, 0 or 1e-4 to 10.
    steps, warmup
        Number of updates, 10 to 1,000,000, and of those that warm up, 0 to 100,000.
    schedule, final
        How the rate goes on, as in :class:`initscope.theory.Recipe`; `final` is a share of the
        peak.
    std0
        Std at initialization, 1e-4 to 10.
    decay_schedule
        The weight decay of each step: ``"constant"`` as in AdamW; ``"rate"``, in proportion to the
        learning rate, as in AdamC (Defazio 2025, arXiv:2506.02285); ``"independent"``, in
        proportion to its inverse, so that rate times decay is the same at each step. At the peak
        rate it is `weight_decay`.
    beta1, beta2
        Betas of AdamW; beta2 enters in the prediction only where gradients grow or fall.
    epsilon
        Epsilon of AdamW over the root mean square of the first gradient, 0 or .001 to 1000.
    snr, drift, diffusion, alignment
        As in :func:`initscope.theory.adamw_variance_trajectory`.
    final_gradient
        Root mean square of the last gradient over that of the first, .01 to 100; in between it
        changes by the same factor at each step.
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
    decay_schedule = traitlets.Enum(DECAY_SCHEDULES, "constant").tag(sync=True)
    beta1 = traitlets.Float(0.9).tag(sync=True)
    beta2 = traitlets.Float(0.95).tag(sync=True)
    epsilon = traitlets.Float(0.0).tag(sync=True)
    snr = traitlets.Float(0.0).tag(sync=True)
    drift = traitlets.Float(0.0).tag(sync=True)
    final_gradient = traitlets.Float(1.0).tag(sync=True)
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

    def weight_decays(self) -> np.ndarray:
        """Return the weight decay at each step; 0 where it is independent of a rate of 0."""
        return self._decay(self.learning_rates())

    def _decay(self, lr: np.ndarray) -> np.ndarray:
        """Return the weight decay at learning rates."""
        if self.decay_schedule == "constant" or self.lr == 0:
            return np.full(np.shape(lr), self.weight_decay)
        if self.decay_schedule == "rate":
            return self.weight_decay * lr / self.lr
        per_step = self.weight_decay * self.lr
        return np.divide(per_step, lr, out=np.zeros(np.shape(lr)), where=lr > 0)

    def gradient_rms(self) -> np.ndarray:
        """Return the root mean square of the gradient at each step, in units of the first."""
        return self.final_gradient ** (np.arange(self.steps) / (self.steps - 1))

    def trajectory(self) -> np.ndarray:
        """Return the predicted std after each step."""
        with np.errstate(over="ignore", invalid="ignore"):
            variance = adamw_variance_trajectory(
                self.std0,
                self.learning_rates(),
                self.weight_decays(),
                (self.beta1, self.beta2),
                snr=self.snr,
                drift=self.drift,
                epsilon=self.epsilon,
                gradient_rms=1.0 if self.final_gradient == 1 else self.gradient_rms(),
                diffusion=self.diffusion,
                alignment=self.alignment,
            )
        # Where a step decays more than all there is, a drift would leave less than nothing.
        return np.sqrt(np.maximum(variance, 0))

    def equilibrium(self, lr: Any = None, gradient_rms: Any = 1.0) -> Any:
        """Return the std at which weights settle at a rate, by default the peak; inf if never.

        Parameters
        ----------
        lr
            The rate, a number or an array.
        gradient_rms
            Root mean square of the gradient, in units of the first, above 0; the same.

        Raises
        ------
        UsageError
            A negative rate; a gradient that is not positive.

        Examples
        --------
        >>> widget = AdamWEquilibrium(lr=1e-3, weight_decay=0.1, epsilon=1.0)
        >>> print(f"{widget.equilibrium():.4f}, {widget.equilibrium(5e-4):.4f}")
        0.0353, 0.0250
        """
        rate = nonnegative("lr", self.lr if lr is None else lr)
        gradient = positive("gradient_rms", gradient_rms)
        together(lr=rate, gradient_rms=gradient)
        decay = self._decay(rate)
        noise = adamw_equilibrium_rms(
            rate,
            decay,
            diffusion=self.diffusion,
            alignment=self.alignment,
            betas=(self.beta1, self.beta2),
        )
        pull = decay + self.alignment
        settles = np.isfinite(noise)
        divisor = np.where(settles, pull, 1.0)
        signal = self.snr / divisor**2
        keep = 1 - rate * divisor
        pushed = self.drift * keep / (divisor * (1 + keep))
        shorter = 1 / (1 + self.epsilon / gradient)
        square = shorter**2 * (noise**2 + signal) / (1 + self.snr) + pushed
        return plain(np.sqrt(np.where(settles, np.maximum(square, 0), np.inf)))

    def initial_part(self) -> np.ndarray:
        """Return the std, after each step, of what is left of the initial weights."""
        keep = 1 - self.learning_rates() * (self.weight_decays() + self.alignment)
        with np.errstate(under="ignore", over="ignore"):
            return self.std0 * np.abs(np.cumprod(keep))

    def memory(self) -> DataMemory:
        """Return what the final weights keep of the start, and of each update."""
        return data_memory(self.learning_rates(), self.weight_decays(), alignment=self.alignment)

    def half_of_memory(self) -> int:
        """Return how many of the last updates have half of the total weight; 0 if none has any."""
        with np.errstate(over="ignore", invalid="ignore"):
            held = np.cumsum(np.abs(self.memory().updates[::-1]))
        known = 0 < held[-1] < np.inf
        return int(np.argmax(held >= held[-1] / 2)) + 1 if known else 0

    def figure(self) -> Figure:
        """Draw std, learning rate and memory against the step, as a still picture."""
        # A few hundred of up to a million points draw the same lines.
        even = np.linspace(1, self.steps, 300)
        ratios = np.geomspace(1, self.steps, 300)
        step = np.unique(np.concatenate([even, ratios]).round().astype(int))
        start, weight = self.memory()
        size = np.abs(weight).mean()
        of_steps = {
            "lr": self.learning_rates(),
            "std": self.trajectory(),
            "initial": self.initial_part(),
            "weight": weight / size if size > 0 else np.full(self.steps, np.nan),
        }
        run = pd.DataFrame({name: values[step - 1] for name, values in of_steps.items()})
        pull = self.weight_decay + self.alignment
        settles = self.lr > 0 and pull > 0
        with np.errstate(over="ignore", invalid="ignore"):
            gradient = self.gradient_rms()[step - 1]
            return adamw_run(
                run.assign(
                    step=step,
                    equilibrium=self.equilibrium(run["lr"], gradient) if settles else np.nan,
                ),
                self.std0,
                self.lr,
                start_left=float(start),
                half_of_memory=self.half_of_memory(),
                equilibrium=float(self.equilibrium()) if settles else None,
                time_constant=1 / (2 * self.lr * pull) if settles else None,
                log_steps=self.log_steps,
                log_std=self.log_std,
            )
