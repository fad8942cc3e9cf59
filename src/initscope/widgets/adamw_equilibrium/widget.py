"""The std of a weight matrix in a training run with AdamW, and where it settles."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import traitlets
from matplotlib.figure import Figure

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
        self.message = self.sentence()

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

    def sentence(self) -> str:
        """What happens, in words: the sentence under the picture."""
        if self.lr == 0:
            return f"With learning rate 0 nothing moves: the std stays at {_short(self.std0)}."
        std, initial, lr = self.trajectory(), self.initial_part(), self.learning_rates()
        pull, end, left = self.weight_decay + self.alignment, std[-1], initial[-1]
        length = f"{self.steps:,} steps"
        if pull <= 0:
            why = (
                "With weight decay 0 there is no equilibrium"
                if self.alignment == 0
                else "The alignment of the gradients undoes the weight decay, so there is no "
                "equilibrium"
            )
            factor = "" if self.diffusion == 1 else f"{_short(self.diffusion)} "
            how = (
                f"the mean square grows by about {factor}lr² a step"
                if pull == 0 and self.snr == 0
                else "the weights keep growing"
            )
            return f"{why}: {how}, from std {_short(self.std0)} to {_short(end)} after {length}."
        constant = 1 / (self.lr * pull)
        time = _short(constant) if constant < 100 else f"{constant:,.0f}"
        text = (
            f"From std {_short(self.std0)} the weights head for {_short(self.equilibrium())}, the "
            f"equilibrium at the peak rate, with a time constant of {time} steps. "
            f"The run of {length} is "
        )
        constants = f"{_short(lr.sum() * pull, 2)} time constants long, at the rates it takes: "
        forgotten = np.flatnonzero(initial < 0.1 * std)
        if not len(forgotten):
            return (
                f"{text}only {constants}the initial std still shows at the end, where "
                f"{(left / end) ** 2:.0%} of the mean square is left from initialization and the "
                f"std is {_short(end)}, against {_short(math.sqrt(max(0, end**2 - left**2)))} from "
                "a start at 0."
            )
        text += (
            f"{constants}by step {forgotten[0] + 1:,}, with less than 1% of the mean square left "
            "from initialization, its scale is forgotten. "
        )
        if math.isclose(lr[-1], self.lr, rel_tol=1e-9):
            return f"{text}The std ends at {_short(end)}."
        return (
            f"{text}The std then follows the rate and ends at {_short(end)}; the equilibrium of "
            f"the last rate is {_short(self.equilibrium(lr[-1]))}."
        )

    def figure(self) -> Figure:
        """The same message as a still picture: std and learning rate against the step."""
        import matplotlib.pyplot as plt

        from initscope.plots.style import COLORS, INK, WIDTH, styled

        lr, std, initial = self.learning_rates(), self.trajectory(), self.initial_part()
        # A few hundred of up to a million points draw the same lines.
        even = np.linspace(1, self.steps, 300)
        ratios = np.geomspace(1, self.steps, 300)
        step = np.unique(np.concatenate([even, ratios]).round().astype(int))
        std, initial, lr = std[step - 1], initial[step - 1], lr[step - 1]
        pull = self.weight_decay + self.alignment
        settles = self.lr > 0 and pull > 0
        forgotten = np.flatnonzero(initial < 0.1 * std)
        with styled(), np.errstate(over="ignore", invalid="ignore"):
            rest = np.maximum(0, std**2 - initial**2)
            figure, (above, below) = plt.subplots(
                2, sharex=True, figsize=(WIDTH, 4.8), height_ratios=(3, 1)
            )
            for factor in (0.5, 2):
                label = "from half or twice the initial std" if factor == 2 else None
                other = np.sqrt(rest + (factor * initial) ** 2)
                above.plot(step, other, color=COLORS[0], linewidth=0.7, label=label)
            above.plot(step, initial, ":", color=COLORS[3], label="left of the initialization")
            if settles:
                marks = [(1 / (self.lr * pull), "one time constant", INK)]
                if len(forgotten):
                    marks += [(step[forgotten[0]], "initialization forgotten", COLORS[3])]
                marks = [mark for mark in marks if mark[0] <= self.steps]
                left = not self.log_steps and all(at < 0.6 * self.steps for at, *_ in marks)
                # Each line ends at its label, and the one above is not below another label.
                for row, (at, label, color) in enumerate(sorted(marks, reverse=not left)):
                    top = 0.97 - 0.08 * row
                    above.axvline(at, ymax=top, color=color, linestyle=":", linewidth=1)
                    above.annotate(
                        f" {label} ",
                        (at, top),
                        xycoords=("data", "axes fraction"),
                        verticalalignment="top",
                        horizontalalignment="left" if left else "right",
                        fontsize=9,
                    )
                if self.equilibrium() < 6 * max(self.std0, std.max()):
                    label = "equilibrium of the peak rate"
                    above.axhline(self.equilibrium(), color=COLORS[1], linewidth=1, label=label)
                label = "equilibrium of the rate at the step"
                above.plot(step, self.equilibrium(lr), "--", color=COLORS[1], label=label)
            above.plot(step, std, color=COLORS[0], linewidth=2.4, label="predicted std")
            above.set_ylabel("std of the weights")
            highest = max(2 * self.std0, *std[np.isfinite(std)])
            if self.log_std:
                above.set_yscale("log")
                lowest = min(self.std0 / 2, *std[std > 0])
                above.set_ylim(max(lowest / 1.3, 1e-9 * highest), 1.7 * highest)
            else:
                if settles and self.equilibrium() < 6 * highest:
                    highest = max(highest, self.equilibrium())
                above.set_ylim(0, 1.22 * highest)  # room for the labels of the marks
            if self.log_steps:
                above.set_xscale("log")
            above.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
            below.plot(step, lr, color=COLORS[1])
            below.set(xlabel="step", ylabel="learning rate", ylim=(0, 1.1 * max(self.lr, 1e-12)))
            below.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
            if not self.log_steps:
                below.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
            for axes in (above, below):
                axes.spines["left"].set_color(INK)
            plt.close(figure)
        return figure


def _short(value: float, digits: int = 3) -> str:
    """`value` with `digits` significant digits, as the widgets write it: 0.0123, 1.2e-9, 4,500."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinity" if value > 0 else "-infinity"
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{float(f'{value:.{digits}g}'):,.12g}"
