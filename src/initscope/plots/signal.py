"""The still picture of a signal and its gradient in random networks (chapter 01)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from initscope import checks
from initscope.plots.style import COLORS, INK, WIDTH, styled
from initscope.theory import Propagation

__all__: list[str] = []  # for this package alone

_TITLES = {
    "forward": "signal, from input to output",
    "backward": "gradient, from output to input",
}


def signal_by_layer(
    theory: Propagation,
    band: tuple[Propagation, Propagation] | None = None,
    networks: pd.DataFrame | None = None,
    *,
    gradient_known: bool = True,
) -> Figure:
    """Draw the variance of signal and gradient by layer.

    Parameters
    ----------
    theory
        Natural logarithms of the variances at infinite width.
    band
        Lowest and highest variance of 95% of the networks at finite width.
    networks
        Columns ``network, direction, layer, value``: the variances of networks that were drawn.
    gradient_known
        Whether theory says anything of the gradient.

    Raises
    ------
    UsageError
        `networks` is no table with these columns.
    """
    if networks is not None:
        networks = checks.frame(
            "networks", networks, ("network",), numbers=("layer", "value"), texts=("direction",)
        )
    layers = np.arange(len(theory.forward))
    with styled():
        figure = Figure(figsize=(WIDTH, 3.6))
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes, color, (direction, title) in zip(panels, COLORS, _TITLES.items(), strict=False):
            if networks is not None:
                rows = networks[(networks["direction"] == direction) & (networks["value"] > 0)]
                label = f"random networks ({networks['network'].nunique()})"
                for _, network in rows.groupby("network"):
                    logs = np.log10(network["value"])
                    axes.plot(network["layer"], logs, color=color, lw=0.9, label=label)
                    label = "_"
            if band is not None:
                low, high = (np.log10(getattr(end, direction)) for end in band)
                axes.fill_between(
                    layers, low, high, color=color, alpha=0.2, lw=0, label="95%, finite width"
                )
            if direction == "forward" or gradient_known:
                logs = getattr(theory, direction) / np.log(10.0)
                axes.plot(layers, logs, color=INK, ls="--", lw=1.3, label="theory, infinite width")
            axes.set_title(title)
            axes.set_xlabel("layer (0: the input)")
            axes.xaxis.get_major_locator().set_params(integer=True)
        low, high = panels[0].get_ylim()
        panels[0].set_ylim(min(low, -2.0), max(high, 2.0))
        yaxis: Any = panels[0].yaxis
        yaxis.get_major_locator().set_params(integer=True)
        yaxis.set_major_formatter(lambda value, _: f"$10^{{{value:.0f}}}$")
        panels[0].set_ylabel("mean square per unit")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure
