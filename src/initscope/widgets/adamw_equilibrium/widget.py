"""The std of a weight matrix in a training run with AdamW, and where it settles."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
import traitlets
from matplotlib.figure import Figure

from initscope.plots.adamw import adamw_run
from initscope.theory import adamw_equilibrium_rms, adamw_variance_trajectory
from initscope.widgets.base import BookWidget

__all__ = ["PRESETS", "SCHEDULES", "AdamWEquilibrium"]

_OPTIMIZER: dict[str, Any] = {
    "weight_decay": 0.1,
    "beta1": 0.9,
    "beta2": 0.95,
    "schedule": "cosine",
    "final": 0.1,
    "std0": 0.02,
    "snr": 0.0,
    "diffusion": 1.0,
    "alignment": 0.0,
}

PRESETS: dict[str, dict[str, Any]] = {
    # github.com/karpathy/nanoGPT, defaults of train.py; GPTConfig draws with std .02.
    "nanogpt": {**_OPTIMIZER, "lr": 6e-4, "warmup": 2000, "steps": 600_000},
    # The same, config/train_shakespeare_char.py.
    "shakespeare": {**_OPTIMIZER, "lr": 1e-3, "beta2": 0.99, "warmup": 100, "steps": 5000},
    # Brown et al. 2020, table 2.1 and appendix B: 300 billion tokens in batches of 3.2 million,
    # warm-up over 375 million. That the batch grows at first, and that the cosine ends after 260
    # billion tokens, is left out. Initialized as GPT-2, whose code has std .02.
    "gpt3-175b": {**_OPTIMIZER, "lr": 6e-5, "warmup": 117, "steps": 93_750},
    # Touvron et al. 2023, table 2 and section 2.3: 1.0 and 1.4 trillion tokens in batches of 4
    # million. The paper says nothing of the initial std; .02 is the default of transformers.
    "llama-7b": {**_OPTIMIZER, "lr": 3e-4, "warmup": 2000, "steps": 250_000},
    "llama-65b": {**_OPTIMIZER, "lr": 1.5e-4, "warmup": 2000, "steps": 350_000},
}
"""Settings of published training runs."""

SCHEDULES = ("constant", "cosine", "linear", "wsd")

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


def learning_rates(
    lr: float, schedule: str, steps: int, warmup: int = 0, final: float = 0.0
) -> np.ndarray:
    """Learning rate at each of `steps` steps.

    Parameters
    ----------
    lr
        The peak.
    schedule
        ``"constant"``; ``"cosine"`` or ``"linear"`` from the end of warm-up to the last step;
        ``"wsd"`` (warm-up, stable, decay) with a linear decay over the last fifth of the steps.
    warmup
        Steps in which the rate rises linearly from lr / warmup.
    final
        The last rate as a share of the peak, unless the schedule is constant.

    Examples
    --------
    >>> print(learning_rates(1.0, "linear", 6, warmup=2, final=0.2).round(3))
    [0.5 1.  0.8 0.6 0.4 0.2]
    """
    step = np.arange(1, steps + 1)
    progress = np.clip((step - warmup) / max(1, steps - warmup), 0, 1)
    shape = {
        "constant": lambda: np.ones(steps),
        "cosine": lambda: final + (1 - final) * (1 + np.cos(np.pi * progress)) / 2,
        "linear": lambda: final + (1 - final) * (1 - progress),
        "wsd": lambda: final + (1 - final) * np.minimum(1, (steps - step) / (0.2 * steps)),
    }[schedule]()
    return lr * shape * np.minimum(1, step / max(1, warmup))


class AdamWEquilibrium(BookWidget):
    """The std of a weight matrix in a training run with AdamW, and where it settles.

    Shows the prediction of :func:`initscope.theory.adamw_variance_trajectory`, the equilibrium of
    the peak rate and of the rate at each step, what is left of the initialization, and on request
    a simulation of AdamW itself on independent weights with random gradients.

    Attributes
    ----------
    preset
        A name of :data:`PRESETS`: sets all that follows but `log_steps` and `log_std`; becomes
        ``"custom"`` when one of these is changed.
    lr, weight_decay
        Peak learning rate, 0 or 1e-6 to 0.1; weight decay, 0 or 1e-4 to 10.
    schedule, warmup, final, steps
        As in :func:`learning_rates`; 10 to 1,000,000 steps, 0 to 100,000 of them warm-up.
    std0
        Std at initialization, 1e-4 to 10.
    beta1, beta2
        Betas of AdamW; beta2 enters in the simulation alone.
    snr, diffusion, alignment
        As in :func:`initscope.theory.adamw_variance_trajectory`.
    log_steps, log_std
        Whether the axes are logarithmic.

    Raises
    ------
    traitlets.TraitError
        A value out of range; the message says what is allowed.
    """

    module: ClassVar[str] = "adamw_equilibrium/widget.mjs"

    preset = traitlets.Enum(("custom", *PRESETS), "nanogpt").tag(sync=True)
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

    def __init__(self, **settings: Any) -> None:
        self._following = True  # what is given besides a preset holds over it
        preset = settings.get("preset", "")
        named = PRESETS.get(preset, {}) if isinstance(preset, str) else {}
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
        if not self._following and change["new"] in PRESETS:
            self._following = True
            try:
                for name, value in PRESETS[change["new"]].items():
                    setattr(self, name, value)
            finally:
                self._following = False

    @traitlets.observe(*PRESETS["nanogpt"])
    def _name_preset(self, change: Any = None) -> None:
        if not self._following and self.preset != "custom":
            preset = PRESETS[self.preset]
            if any(getattr(self, name) != value for name, value in preset.items()):
                self.preset = "custom"

    def learning_rates(self) -> np.ndarray:
        """Learning rate at each step."""
        return learning_rates(self.lr, self.schedule, self.steps, self.warmup, self.final)

    def trajectory(self) -> np.ndarray:
        """Predicted std after each step."""
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
        """Std at which the weights settle at a rate, the peak unless given; inf if they do not."""
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
        """Std, after each step, of what is left of the weights drawn at initialization."""
        keep = 1 - self.learning_rates() * (self.weight_decay + self.alignment)
        with np.errstate(under="ignore", over="ignore"):
            return self.std0 * np.abs(np.cumprod(keep))

    def figure(self) -> Figure:
        """Std and learning rate against the step, as a still picture."""
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
                time_constant=1 / (self.lr * pull) if settles else None,
                log_steps=self.log_steps,
                log_std=self.log_std,
            )
