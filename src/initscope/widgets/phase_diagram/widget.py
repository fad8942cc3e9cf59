"""A phase diagram to point into, and what two inputs become of in networks drawn there."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
import traitlets
from matplotlib.figure import Figure

from initscope.plots.criticality import phase_and_path
from initscope.theory import (
    chi,
    correlation_fixed_point,
    correlation_map,
    critical_line,
    depth_scale,
    fixed_point,
    length_map,
)
from initscope.widgets.base import BookWidget

__all__ = ["PhaseDiagram"]

ACTIVATIONS = ("relu", "gelu", "tanh", "erf")
WIDTHS = (16, 32, 64, 128)
RULE = 6
"""Depth scales that can be trained, by the rule of Schoenholz et al. (2017)."""

CELLS = (80, 40)
"""Columns and rows of the still picture."""


class PhaseDiagram(BookWidget):
    """A phase diagram: choose both variances, and see two inputs converge or part.

    The correlation of two inputs of mean square 1 is followed by iterating
    :func:`initscope.theory.length_map` and :func:`~initscope.theory.correlation_map`, and measured
    in four random networks drawn in the page. The sentence says by
    :func:`~initscope.theory.depth_scale` how many layers train.

    Attributes
    ----------
    activation
        ``"relu"``, ``"gelu"``, ``"tanh"`` or ``"erf"``.
    sigma_w2, sigma_b2
        Variance of a weight times the fan-in, from 0.05 to 4, and of a bias, from 0 to 1.
    correlation
        Of the two inputs, from 0 to 0.99.
    depth
        Weight layers, from 2 to 50.
    width
        Units of each layer of the networks drawn: 16, 32, 64 or 128.
    seed
        Of these networks, from 0 to 99.

    Raises
    ------
    traitlets.TraitError
        For a value that is not allowed; the message says which are.

    Examples
    --------
    >>> path = PhaseDiagram(sigma_w2=3.0, sigma_b2=0.05, correlation=0.5).path()
    >>> print(path["correlation"].iloc[[0, 1, -1]].round(3).tolist())
    [0.5, 0.508, 0.322]
    """

    module: ClassVar[str] = "phase_diagram/widget.mjs"

    activation = traitlets.Enum(ACTIVATIONS, "tanh").tag(sync=True)
    sigma_w2 = traitlets.Float(3.0).tag(sync=True)
    sigma_b2 = traitlets.Float(0.05).tag(sync=True)
    correlation = traitlets.Float(0.8).tag(sync=True)
    depth = traitlets.Int(20).tag(sync=True)
    width = traitlets.Enum(WIDTHS, 128).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)

    _RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "sigma_w2": (0.05, 4.0),
        "sigma_b2": (0.0, 1.0),
        "correlation": (0.0, 0.99),
        "depth": (2, 50),
        "seed": (0, 99),
    }

    @traitlets.validate(*_RANGES)
    def _in_range(self, proposal: Any) -> Any:
        return self._within_range(proposal)

    @property
    def _here(self) -> tuple[str, float, float]:
        return self.activation, self.sigma_w2, self.sigma_b2

    def path(self) -> pd.DataFrame:
        """Return variance and correlation of the two inputs by layer, in theory.

        Returns
        -------
        pandas.DataFrame
            Columns ``layer``, from 0 (the inputs), ``variance`` and ``correlation``.
        """
        _, weight, bias = self._here
        variance, correlation = [1.0], [self.correlation]
        # Layer 1 is linear in the inputs.
        variance.append(weight + bias)
        correlation.append((weight * self.correlation + bias) / (weight + bias))
        while len(variance) <= self.depth:
            q = variance[-1]
            image = float(correlation_map(correlation[-1], *self._here, q=q))
            correlation.append(min(max(image, -1.0), 1.0))  # rounding may lead beyond
            variance.append(float(length_map(q, *self._here)))
        layers = range(self.depth + 1)
        return pd.DataFrame({"layer": layers, "variance": variance, "correlation": correlation})

    def point(self) -> dict[str, float]:
        """Return what theory says of the chosen point; NaN where no variance is a fixed point.

        Returns
        -------
        dict
            The fixed points ``q`` and ``c``, ``chi_1``, and the depth scales ``correlation``,
            ``length`` and ``gradient`` in layers.
        """
        found = {
            "q": fixed_point(*self._here, missing="nan"),
            "c": correlation_fixed_point(*self._here, missing="nan"),
            "chi_1": chi(*self._here, missing="nan"),
            "correlation": depth_scale(*self._here, "correlation", missing="nan"),
            "length": depth_scale(*self._here, "length", missing="nan"),
            "gradient": depth_scale(*self._here, "gradient", missing="nan"),
        }
        return {name: float(value) for name, value in found.items()}

    def figure(self, networks: pd.DataFrame | None = None) -> Figure:
        """Draw the phase diagram with the chosen point, and the correlation by layer.

        Parameters
        ----------
        networks
            Of :func:`initscope.monte_carlo.correlation_profiles` at the same settings; without it
            theory stands alone.
        """
        columns, rows = CELLS
        weight, bias = (
            grid.ravel()
            for grid in np.meshgrid(
                (np.arange(columns) + 0.5) * 4 / columns, (np.arange(rows) + 0.5) / rows
            )
        )
        there = ~np.isnan(fixed_point(self.activation, weight, bias, missing="nan"))
        values = chi(self.activation, weight, bias, missing="nan")
        diagram = pd.DataFrame(
            {"sigma_w2": weight, "sigma_b2": bias, "chi": np.where(there, values, np.nan)}
        )
        q = [1.0] if self.activation == "relu" else np.geomspace(1e-4, 400, 1200)
        edge = pd.DataFrame(critical_line(self.activation, q)._asdict())
        found = self.point()
        limits = {}
        if not np.isnan(found["q"]):
            limits = {r"$6\,\xi_c$": RULE * found["correlation"]}
            limits |= {r"$6\,\xi_\nabla$": RULE * found["gradient"]}
        return phase_and_path(
            diagram,
            edge,
            self.path(),
            at=(self.sigma_w2, self.sigma_b2),
            end=found["c"] if limits else np.nan,
            limits=limits,
            networks=networks,
        )
