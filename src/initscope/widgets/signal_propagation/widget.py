"""The first widget: what becomes of a signal and its gradient in a random network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import traitlets
from matplotlib.figure import Figure

from initscope.errors import UsageError
from initscope.plots.signal import signal_by_layer
from initscope.theory import Propagation, finite_width_interval, scheme_std
from initscope.theory.activations import resolve
from initscope.theory.expectations import expectation
from initscope.theory.propagation import log_variances
from initscope.widgets.base import BookWidget, SettingError

__all__ = ["SignalPropagation"]

if TYPE_CHECKING:
    import pandas as pd

ACTIVATIONS = ("relu", "leaky_relu", "gelu", "tanh", "linear")
SCHEMES = ("free", "kaiming", "xavier", "lecun")
WIDTHS = (16, 32, 64, 128, 256, 512)
STD_RANGE = (1e-4, 1e3)


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
        Of the draws in the browser; 0 to 99.
    residual, layer_norm
        Residual branches; LayerNorm before every activation.
    fit_axis
        Whether the axes in the browser follow the curves, instead of holding all that float32 does.
    message
        What happened to the networks drawn, in a sentence: set by the browser.

    Raises
    ------
    traitlets.TraitError
        For a value that is not allowed; the message says which are.

    Examples
    --------
    >>> widget = SignalPropagation(std=0.07)
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
    fit_axis = traitlets.Bool(False).tag(sync=True)

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

    @traitlets.validate(*_RANGES)
    def _in_range(self, proposal: Any) -> float:
        return self._within_range(proposal)

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

    def _theory(self) -> Propagation:
        """Return natural logarithms of the variances at infinite width."""
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
        """Return whether too few units are unsaturated for a theory in 1/n of the gradient."""
        if self.activation != "tanh" or self.residual or self.layer_norm:
            return False
        q = np.exp(theory.forward[1:-1])
        second, fourth = expectation(resolve("tanh"), q, ("derivative_second", "derivative_fourth"))
        return bool(((3 * fourth / second**2 - 1) / self.width > 0.5).any())

    def figure(self, networks: pd.DataFrame | None = None) -> Figure:
        """Draw variance by layer, forward and backward: theory, and networks that were drawn.

        Parameters
        ----------
        networks
            Of :func:`initscope.monte_carlo.variance_profiles` or `residual_profiles` at the same
            settings; without it theory stands alone.
        """
        plain = not (self.residual or self.layer_norm)
        saturated = self._saturated(self._theory())
        band = None
        if plain and not saturated:
            name = "identity" if self.activation == "linear" else self.activation
            band = _band([self.width] * (self.depth + 1), name, self.std, self.bias_std)
        return signal_by_layer(self._theory(), band, networks, gradient_known=not saturated)


_SWITCHES = ("residual", "layer_norm", "fit_axis")
_SETTINGS = [*SignalPropagation._RANGES, *SignalPropagation._CHOICES, *_SWITCHES]


def _band(sizes: list[int], name: str, std: float, bias_std: float) -> tuple[Any, Any] | None:
    """Return the 95% band, or None where a variance is out of the range of numbers."""
    try:
        with np.errstate(all="ignore"):
            interval = finite_width_interval(sizes, name, std, bias_std)
    except UsageError:
        return None
    ends = [getattr(end, way) for end in interval for way in ("forward", "backward")]
    usable = all((np.isfinite(values) & (values > 0)).all() for values in ends)
    return (interval.low, interval.high) if usable else None
