"""The first widget: what becomes of a signal and its gradient in a random network."""

from __future__ import annotations

import functools
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import traitlets
from matplotlib.figure import Figure

from initscope.theory import NUMBER_FORMATS, Propagation, finite_width_interval, scheme_std
from initscope.theory.activations import expectation, resolve
from initscope.theory.residual_mlp import log_variances
from initscope.widgets.base import BookWidget, SettingError

__all__ = ["SignalPropagation"]

ACTIVATIONS = ("relu", "leaky_relu", "gelu", "tanh", "linear")
SCHEMES = ("free", "kaiming", "xavier", "lecun")
WIDTHS = (16, 32, 64, 128, 256, 512)
STD_RANGE = (1e-4, 1e3)
LN10 = float(np.log(10.0))

Array = npt.NDArray[np.float64]


class SignalPropagation(BookWidget):
    """A random network: the variance of signal and gradient by layer, theory beside it.

    In the browser real networks are drawn and a vector goes through each, and a gradient back; the
    line is the theory at infinite width and the shade the 95% band at this width
    (:func:`~initscope.theory.propagate`, :func:`~initscope.theory.finite_width_interval`,
    :func:`~initscope.theory.residual_propagate`).

    Attributes
    ----------
    std
        Std of a weight, from 1e-4 to 1e3. Setting it sets `scheme` to ``"free"``.
    scheme
        ``"kaiming"`` (fan-in), ``"xavier"`` or ``"lecun"``, which set `std`, or ``"free"``.
    activation
        ``"relu"``, ``"leaky_relu"``, ``"gelu"``, ``"tanh"`` or ``"linear"``.
    depth, width
        Weight layers, 1 to 100, and units of each: 16, 32, 64, 128, 256 or 512.
    bias_std
        Std of a bias, 0 to 2.
    draws
        How many networks are drawn, 1 to 10.
    seed
        Of the draws in the browser, and of those of :meth:`figure`; 0 to 99.
    residual, layer_norm
        Residual branches; LayerNorm before every activation.
    message
        What happened, in a sentence: by theory until a browser tells of the networks it drew.

    Raises
    ------
    traitlets.TraitError
        For a value that is not allowed; the message says which are.

    Examples
    --------
    >>> widget = SignalPropagation(std=0.07)
    >>> print(widget.message.split(". ")[0])
    Theory (infinite width): The signal vanishes: 1.5e-10 of its variance is left at layer 50
    >>> widget.scheme = "kaiming"
    >>> print(f"{widget.std:.4f}")
    0.0884
    """

    module: ClassVar[str] = "signal_propagation/widget.mjs"

    std = traitlets.Float(0.07).tag(sync=True)
    scheme = traitlets.Unicode("free").tag(sync=True)
    activation = traitlets.Unicode("relu").tag(sync=True)
    depth = traitlets.Int(50).tag(sync=True)
    width = traitlets.Int(256).tag(sync=True)
    bias_std = traitlets.Float(0.0).tag(sync=True)
    draws = traitlets.Int(5).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)
    residual = traitlets.Bool(False).tag(sync=True)
    layer_norm = traitlets.Bool(False).tag(sync=True)

    _RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "std": STD_RANGE,
        "bias_std": (0.0, 2.0),
        "depth": (1, 100),
        "draws": (1, 10),
        "seed": (0, 99),
    }
    _CHOICES: ClassVar[dict[str, tuple[Any, ...]]] = {
        "scheme": SCHEMES,
        "activation": ACTIVATIONS,
        "width": WIDTHS,
    }

    def __init__(self, **settings: Any) -> None:
        unknown = sorted(set(settings) - set(self.trait_names()))
        if unknown:
            raise SettingError(
                f"SignalPropagation has no {', '.join(unknown)}; it has {', '.join(_SETTINGS)}."
            )
        scheme = settings.get("scheme", "free")
        if "std" in settings and isinstance(scheme, str) and scheme != "free":
            raise SettingError("give either a scheme or a std: the scheme sets the std.")
        super().__init__(**settings)
        self._follow_scheme()
        self._say()

    @traitlets.validate(*_RANGES)
    def _in_range(self, proposal: Any) -> float:
        name, value = proposal["trait"].name, proposal["value"]
        low, high = self._RANGES[name]
        if not low <= value <= high:  # NaN is not
            raise traitlets.TraitError(f"{name} must be from {low:g} to {high:g}, not {value:g}.")
        return value

    @traitlets.validate(*_CHOICES)
    def _is_choice(self, proposal: Any) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        if value not in self._CHOICES[name]:
            allowed = ", ".join(map(str, self._CHOICES[name]))
            raise traitlets.TraitError(f"{name} must be one of {allowed}, not {value}.")
        return value

    def _follow_scheme(self) -> None:
        if self.scheme != "free":
            self.std = float(scheme_std(self.scheme, self.width, self.width))

    @traitlets.observe("scheme", "width", "std")
    def _keep_scheme_and_std_together(self, change: Any) -> None:
        if change["name"] != "std":
            self._follow_scheme()
        elif self.scheme != "free":
            expected = float(scheme_std(self.scheme, self.width, self.width))
            if abs(self.std / expected - 1) > 1e-3:
                self.scheme = "free"

    @traitlets.observe("std", "activation", "depth", "width", "bias_std", "residual", "layer_norm")
    def _say_what_changed(self, change: Any) -> None:
        # What a browser changed it describes itself, by the networks it drew.
        if not self._property_lock:
            self._say()

    def _say(self) -> None:
        logs = self._theory()
        kept = keeping(
            self.activation, self.depth, self.width, self.bias_std, self.residual, self.layer_norm
        )
        text = sentence(
            self.depth, self.width, self.std, logs.forward / LN10, logs.backward / LN10, kept
        )
        if self._saturated(logs):
            first = text.split(". ")[0]
            text = f"{first}. Nearly all units are saturated: no gradient is predicted."
        self.message = f"Theory (infinite width): {text}"

    def _theory(self) -> Propagation:
        """Natural logarithms of the variances at infinite width."""
        return log_variances(
            self.width,
            self.depth,
            self.activation,
            self.std,
            self.bias_std,
            residual=self.residual,
            layer_norm=self.layer_norm,
        )

    def _saturated(self, theory: Propagation) -> bool:
        """Whether too few units are unsaturated for a theory in 1/n to describe the gradient."""
        if self.activation != "tanh" or self.residual or self.layer_norm:
            return False
        q = np.exp(theory.forward[1:-1])
        second, fourth = expectation(resolve("tanh"), q, ("derivative_second", "derivative_fourth"))
        return bool(((3 * fourth / second**2 - 1) / self.width > 0.5).any())

    def figure(self) -> Figure:
        """Variance by layer, forward and backward: theory, and a few networks drawn by torch."""
        from initscope.monte_carlo.variances import residual_profiles, variance_profiles
        from initscope.plots.style import COLORS, INK, WIDTH, styled

        name = "identity" if self.activation == "linear" else self.activation
        plain = not (self.residual or self.layer_norm)
        sizes = [self.width] * (self.depth + 1)
        if plain:
            frame = variance_profiles(
                sizes, name, self.std, self.bias_std, networks=self.draws, seed=self.seed
            )
        else:
            frame = residual_profiles(
                self.width,
                self.depth,
                name,
                self.std,
                self.bias_std,
                residual=self.residual,
                layer_norm=self.layer_norm,
                networks=self.draws,
                seed=self.seed,
            )
        theory = self._theory()
        saturated = self._saturated(theory)
        known = plain and not saturated
        band = _band(sizes, name, self.std, self.bias_std) if known else None
        layers = np.arange(self.depth + 1)
        titles = {
            "forward": "signal, from input to output",
            "backward": "gradient, from output to input",
        }
        with styled():
            figure = Figure(figsize=(WIDTH, 3.6))
            panels = figure.subplots(1, 2, sharex=True, sharey=True)
            for axes, color, (direction, title) in zip(
                panels, COLORS, titles.items(), strict=False
            ):
                rows = frame[(frame["direction"] == direction) & (frame["value"] > 0)]
                label = f"random networks ({self.draws})"
                for _, network in rows.groupby("network"):
                    logs = np.log10(network["value"])
                    axes.plot(network["layer"], logs, color=color, lw=0.9, label=label)
                    label = "_"
                if band is not None:
                    low, high = (np.log10(getattr(end, direction)) for end in band)
                    axes.fill_between(
                        layers, low, high, color=color, alpha=0.2, lw=0, label="95%, finite width"
                    )
                if direction == "forward" or not saturated:
                    logs = getattr(theory, direction) / LN10
                    axes.plot(
                        layers, logs, color=INK, ls="--", lw=1.3, label="theory, infinite width"
                    )
                axes.set_title(title)
                axes.set_xlabel("layer (0: the input)")
                axes.xaxis.get_major_locator().set_params(integer=True)
            low, high = panels[0].get_ylim()
            panels[0].set_ylim(min(low, -2.0), max(high, 2.0))
            panels[0].yaxis.get_major_locator().set_params(integer=True)
            panels[0].yaxis.set_major_formatter(lambda value, _: f"$10^{{{value:.0f}}}$")
            panels[0].set_ylabel("mean square per unit")
            handles, labels = panels[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=3)
        return figure


_SETTINGS = [*SignalPropagation._RANGES, *SignalPropagation._CHOICES, "residual", "layer_norm"]


def _band(sizes: list[int], name: str, std: float, bias_std: float) -> tuple[Any, Any] | None:
    """The 95% band, or None where a variance is out of the range of numbers."""
    from initscope.errors import UsageError

    try:
        with np.errstate(all="ignore"):
            interval = finite_width_interval(sizes, name, std, bias_std)
    except UsageError:
        return None
    ends = [getattr(end, way) for end in interval for way in ("forward", "backward")]
    usable = all((np.isfinite(values) & (values > 0)).all() for values in ends)
    return (interval.low, interval.high) if usable else None


class Kept(NamedTuple):
    """Stds that keep both variances within a factor of 10 of 1 at every layer, by theory.

    `best` changes them least, by `change` decades at the worst; `low` and `high` are the ends of
    the stretch around it, NaN where even `best` does not keep them.
    """

    best: float
    change: float
    low: float
    high: float


@functools.lru_cache(maxsize=256)
def keeping(
    activation: str, depth: int, width: int, bias_std: float, residual: bool, layer_norm: bool
) -> Kept:
    """Look for the stds that keep the variance, between 1e-4 and 1e3."""

    def change(log_std: Array) -> Array:
        logs = log_variances(
            width,
            depth,
            activation,
            np.exp(log_std),
            bias_std,
            residual=residual,
            layer_norm=layer_norm,
        )
        worst = [np.abs(part[..., 1:]).max(axis=-1) for part in logs]
        return np.maximum(*worst) / LN10

    bottom, top = np.log(STD_RANGE)
    grid = np.linspace(bottom, top, 141)
    step = grid[1] - grid[0]
    for _ in range(7):
        changes = change(grid)
        best, least = grid[changes.argmin()], changes.min()
        grid = np.clip(np.linspace(best - step, best + step, 17), bottom, top)
        step /= 8
    slopes = {"relu": (0.0, 1.0), "leaky_relu": (0.01, 1.0), "linear": (1.0, 1.0)}
    if activation in slopes and not (bias_std or residual or layer_norm):
        # Every layer after the first multiplies both by the same factor: 1 at this std.
        best = -np.log(width * np.square(slopes[activation]).mean()) / 2
        least = change(np.array([best]))[0]
    if not least <= 1:
        return Kept(float(np.exp(best)), float(least), np.nan, np.nan)
    ends = []
    for limit, sign in ((bottom, -1.0), (top, 1.0)):
        strides = np.concatenate([[0.0], 0.002 * 1.5 ** np.arange(40)]).cumsum()
        outward = best + sign * np.minimum(strides, abs(limit - best))
        for _ in range(8):
            over = change(outward) > 1
            if not over.any():
                break
            first = int(over.argmax())
            outward = np.linspace(outward[first - 1], outward[first], 17)
        ends.append(outward[-1] if not over.any() else outward[0])
    return Kept(*(float(value) for value in (np.exp(best), least, *np.exp(ends))))


def _short(value: float, digits: int = 3) -> str:
    """As ``short`` in ``lib/format.mjs``."""
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e5:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{float(f'{value:.{digits}g}'):,.12f}".rstrip("0").rstrip(".")


def _power(log: float) -> str:
    if log == -np.inf:
        return "nothing"
    return f"1e{round(log)}" if abs(log) > 290 else _short(10.0**log, 2)


def _verdict(log: float) -> str:
    if abs(log) <= 1:
        return "keeps its scale"
    if log < 0:
        return "vanishes" if log < -3 else "shrinks"
    return "explodes" if log > 3 else "grows"


def _good_std(kept: Kept) -> str:
    """`kept.best` with as few digits as keep it between `low` and `high`."""
    texts = (_short(kept.best, digits) for digits in range(3, 12))
    return next((text for text in texts if kept.low <= float(text) <= kept.high), str(kept.best))


def sentence(
    depth: int, width: int, std: float, forward: Array, backward: Array, kept: Kept
) -> str:
    """What happened to signal and gradient, from log10 of their variances by layer.

    The same words as in the browser, see ``message.mjs``.
    """
    signal, gradient = float(forward[depth]), float(backward[1])
    first, second = _verdict(signal), _verdict(gradient)
    if signal < -1:
        parts = [f"The signal {first}: {_power(signal)} of its variance is left at layer {depth}."]
    else:
        parts = [
            f"The signal {first}: at layer {depth} its variance is {_power(signal)} times the "
            "input’s."
        ]
    if depth > 1:
        too = " too" if first == second else ""
        if gradient < -1:
            told = f"{_power(gradient)} of its variance reaches layer 1."
        else:
            told = f"at layer 1 its variance is {_power(gradient)} times the output’s."
        parts.append(f"The gradient {second}{too}: {told}")
    for name, said in (("float32", "Even float32 and bfloat16"), ("float16", "float16")):
        low, high = (
            np.log10(NUMBER_FORMATS[name].smallest_normal),
            np.log10(NUMBER_FORMATS[name].largest),
        )
        lost = [(logs / 2 < low) | (logs / 2 > high) for logs in (forward, backward)]
        if lost[0][1:].any():
            first_lost = int(lost[0][1:].argmax()) + 1
            parts.append(f"{said} cannot hold the signal from layer {first_lost} on.")
            break
        if lost[1][1:].any():
            last_lost = depth - int(lost[1][:0:-1].argmax())
            parts.append(f"{said} cannot hold the gradient from layer {last_lost} down.")
            break
    good = first == second == "keeps its scale"
    everything_below = kept.low <= STD_RANGE[0] * 1.001
    if np.isnan(kept.low):
        if not good:
            parts.append(
                "No std keeps both within a factor of 10 at every layer; "
                f"{_short(kept.best)} comes closest."
            )
    elif good:
        parts.append(
            f"Every std up to {_short(kept.high)} keeps both."
            if everything_below
            else f"Every std from {_short(kept.low, 4)} to {_short(kept.high, 4)} keeps both."
        )
    elif kept.low <= std <= kept.high:
        parts.append(
            f"In theory this std keeps both: at width {width}, chance takes networks away from it."
        )
    else:
        parts.append(
            f"Every std up to {_short(kept.high)} would keep both."
            if everything_below
            else f"A std of {_good_std(kept)} would keep both."
        )
    return " ".join(parts)
