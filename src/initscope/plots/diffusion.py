"""Figures of noise and drift: errors of curves at every step, growth against the learning rate."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from initscope import checks
from initscope.checks import require
from initscope.plots.style import INK, WIDTH, palette, styled
from initscope.plots.weights import (
    check_steps,
    grid_of,
    legend_below,
    panels_of,
    plain_log_axis,
    point,
    role_name,
)

__all__ = ["errors_through_training", "growth_against_rate"]


def errors_through_training(errors: Mapping[str, Sequence[pd.DataFrame]]) -> Figure:
    """Draw how far stds are from several curves at each step, one panel a role.

    Parameters
    ----------
    errors
        Label of a curve to tables of :func:`initscope.analysis.curve_errors`, one a run: their
        mean is drawn as a line, their range as a shade.

    Examples
    --------
    >>> errors = pd.DataFrame([[0.0, 0.3]], ["q"], [0, 10])
    >>> errors_through_training({"noise": [errors], "no change": [errors / 2]}).axes[0].get_title()
    'Q'
    """
    roles: dict[str, None] = {}
    for label, tables in checks.mapping("errors", errors).items():
        checks.text("a label in errors", label)
        for table in checks.items(f"errors[{label!r}]", tables, 1):
            checks.number_table(f"in errors[{label!r}]", table, rows=True)
            check_steps(f"in errors[{label!r}]", table)
            roles |= dict.fromkeys(table.index)
    require(len(roles) > 0, "there are no errors: there is nothing to draw.")
    styles = itertools.cycle(("-", "--", ":"))  # so that they are told apart without color
    looks = {
        label: (c, next(styles)) for label, c in zip(errors, palette(len(errors)), strict=True)
    }
    with styled():
        rows, columns = grid_of(len(roles))
        figure = Figure(figsize=(WIDTH, 0.8 + 2.1 * rows))
        panels = panels_of(figure, len(roles), (rows, columns), sharex=True, sharey="row")
        for axes, role in zip(panels, roles, strict=True):
            for label, tables in errors.items():
                of_role = pd.DataFrame(
                    {n: t.loc[role] for n, t in enumerate(tables) if role in t.index}
                )
                color, style = looks[label]
                mean = of_role.mean(axis=1)
                some = of_role.iloc[np.unique(np.linspace(0, len(of_role) - 1, 31).astype(int))]
                low, high = some.min(axis=1), some.max(axis=1)  # a shade needs no more points
                axes.fill_between(some.index, low, high, color=color, alpha=0.22, lw=0)
                axes.plot(of_role.index, mean, color=color, ls=style, **point(mean))
            axes.set_title(role_name(str(role)))
        for axes in panels[::columns]:
            axes.set_ylim(bottom=0)
        for axes in panels[-columns:]:
            axes.set_xlabel("update")
        figure.supylabel("distance from the curve, |ln ratio|", fontsize=10, color=INK)
        handles = [
            Line2D([], [], color=color, ls=style, label=label)
            for label, (color, style) in looks.items()
        ]
        legend_below(figure, handles)
    return figure


def growth_against_rate(growth: Mapping[str, Sequence[pd.DataFrame]]) -> Figure:
    """Draw what the steps add, over the square of the learning rate, against the learning rate.

    Noise lies on a level line, at 1 if it has no memory; a steady drift on one that falls as the
    rate rises, drawn dotted through the last window of the first group.

    Parameters
    ----------
    growth
        Label of a group to tables of :func:`initscope.analysis.growth_by_rate`, one a run.

    Examples
    --------
    >>> table = pd.DataFrame([[4e-6, 1e-6]], ["q"], [0.002, 0.001])
    >>> growth_against_rate({"seeds": [table]}).axes[0].get_title()
    'Q'
    """
    roles: dict[str, None] = {}
    for label, tables in checks.mapping("growth", growth).items():
        checks.text("a label in growth", label)
        for table in checks.items(f"growth[{label!r}]", tables, 1):
            checks.number_table(f"in growth[{label!r}]", table, rows=True)
            require(
                pd.api.types.is_numeric_dtype(table.columns.dtype)
                and bool((table.columns > 0).all()),
                f"the columns of the tables in growth[{label!r}] must be learning rates above 0.",
            )
            roles |= dict.fromkeys(table.index)
    require(len(roles) > 0, "there are no runs in growth: there is nothing to draw.")
    colors = dict(zip(growth, palette(len(growth)), strict=True))
    with styled():
        rows, columns = grid_of(len(roles))
        figure = Figure(figsize=(WIDTH, 0.8 + 2.1 * rows))
        panels = panels_of(figure, len(roles), (rows, columns), sharex=True, sharey=True)
        for axes, role in zip(panels, roles, strict=True):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
            plain_log_axis(axes)
            axes.axhline(1.0, color=INK, ls="--", lw=1.2)
            drift_drawn = False
            for label, tables in growth.items():
                of_role = [table.loc[role] for table in tables if role in table.index]
                shares = [
                    (row / np.square(row.index.astype(float))).where(row > 0) for row in of_role
                ]
                for share in shares:
                    axes.plot(share.index, share, "o", color=colors[label], ms=2.5, mew=0)
                mean = (
                    pd.concat(shares, axis=1).mean(axis=1, skipna=False) if shares else pd.Series()
                )
                axes.plot(mean.index, mean, color=colors[label], lw=1.6)
                if not drift_drawn and len(mean) and np.isfinite(mean.iloc[-1]):
                    rates = np.asarray(mean.index, float)
                    axes.plot(rates, mean.iloc[-1] * rates[-1] / rates, color=INK, ls=":", lw=1.4)
                    drift_drawn = True
            axes.set_title(role_name(str(role)))
        for axes in panels[-columns:]:
            axes.set_xlabel("learning rate")
        figure.supylabel("growth an update, over rate²", fontsize=10, color=INK)
        handles = [Line2D([], [], color=color, label=label) for label, color in colors.items()]
        handles.append(Line2D([], [], color=INK, ls="--", lw=1.2, label="noise without memory"))
        handles.append(Line2D([], [], color=INK, ls=":", lw=1.4, label="a steady drift"))
        legend_below(figure, handles)
    return figure
