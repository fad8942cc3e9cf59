"""The still picture of a question that the reader answers first."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from initscope import checks
from initscope.errors import shown
from initscope.plots.style import COLORS, INK, WIDTH, styled

__all__ = ["with_guess"]


def question_and_answer(
    question: str,
    answer: str,
    *,
    kind: str,
    axis: tuple[float, float],
    log: bool,
    label: str,
    unit: str,
    given: tuple[Sequence[float], Sequence[float]],
    end: float | None,
    x_label: str,
    x_log: bool,
) -> Figure:
    """Draw a question over an empty axis, the answer upside down in small type below.

    Parameters
    ----------
    question, answer
        In plain text.
    kind
        "value", "band" or "curve", of which the points `given` are drawn and the place of `end`
        is marked.
    axis, log, label, unit
        Ends of the axis to answer on, whether it is logarithmic, its name and unit.
    x_label, x_log
        Of the other axis of a curve.
    """
    low, high = axis
    question, answer = textwrap.fill(question, 74), textwrap.fill(answer, 116)
    curve = kind == "curve"
    # Inches, from above: the question, the axis, its labels, the answer.
    above, tall = 0.22 + 0.2 * (question.count("\n") + 1), 1.9 if curve else 0.5
    below, small = 0.65, 0.14 * (answer.count("\n") + 1)
    height = above + tall + below + small
    left = 0.1 if curve else 0.03
    label += f", {unit}" if unit not in ("", "%") else ""
    scale = "log" if log else "linear"
    with styled():
        figure = Figure(figsize=(WIDTH, height))
        figure.set_layout_engine("none")
        axes = figure.add_axes((left, (small + below) / height, 0.97 - left, tall / height))
        figure.text(0.01, 1, question, va="top", weight="bold", size=10.5)
        # Its first line is the lowest, and on the right: turn the page to read it.
        figure.text(0.99, 0, answer, rotation=180, ha="right", va="bottom", size=7.5)
        asked: Any = axes.yaxis if curve else axes.xaxis
        if curve:
            assert end is not None
            middle = math.sqrt(low) * math.sqrt(high) if log else (low + high) / 2
            axes.plot(*given, color=COLORS[0], marker="o" if len(given[0]) == 1 else None)
            axes.axvline(end, color=COLORS[1], ls="--")
            axes.annotate("?", (end, middle), (-8, 0), textcoords="offset points", ha="right",
                          va="center", size=16)  # fmt: skip
            axes.set(xscale="log" if x_log else "linear", xlim=(given[0][0], end))
            axes.set(yscale=scale, ylim=axis, xlabel=x_label, ylabel=label)
        else:
            axes.set(xscale=scale, xlim=axis, ylim=(0, 1), yticks=[], xlabel=label)
            axes.spines["left"].set_visible(False)
            mark = "?" if kind == "value" else "from  ?   to  ?"
            axes.text(0.5, 0.5, mark, transform=axes.transAxes, ha="center", va="center",
                      size=16, color=INK)  # fmt: skip
        if log:
            asked.set_minor_formatter(NullFormatter())
            if math.floor(math.log10(high)) - math.ceil(math.log10(low)) < 1:
                asked.set_ticks(axis, [f"{value:g}" for value in axis])
        elif unit == "%":
            asked.set_major_formatter("{x:g}%")
    return figure


def with_guess(
    figure: Figure,
    *guesses: int,
    along: str = "x",
    panels: Sequence[int] | None = None,
    unit: float = 1.0,
) -> Figure:
    """Return the figure with those panels marked in which the book draws a reader's guesses.

    On a page of the book a guess that was made with a :class:`initscope.widgets.Prediction` is laid
    over the panels, a number as a line and a band as a shaded range. Elsewhere the mark is not
    seen. Call it after the limits of the axes are set.

    Parameters
    ----------
    figure
        As it comes from another function of this package.
    *guesses
        Which guesses of the chapter, in their order from 1.
    along
        The axis along which guesses are drawn, ``"x"`` or ``"y"``.
    panels
        Positions of the panels in the figure; by default all.
    unit
        The value on that axis at which a guess of 1 is drawn, where a ratio is guessed and the axis
        shows sizes.

    Raises
    ------
    UsageError
        A number, an axis or a panel that does not exist; a panel that is marked already; a unit
        that is not above 0.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> axes = Figure().subplots()
    >>> _ = axes.set_xlim(0, 4)
    >>> with_guess(axes.figure, 1, 2).axes[0].patch.get_gid()
    'guess_1.2_x_linear_0_4'
    """
    checks.require(isinstance(figure, Figure), f"figure must be a figure, not {shown(figure)}.")
    numbers = [checks.whole("guesses", guess, 1) for guess in guesses]
    checks.choice("along", along, ("x", "y"))
    unit = checks.one("unit", checks.positive("unit", unit))
    chosen = range(len(figure.axes)) if panels is None else checks.items("panels", panels)
    for panel in chosen:
        checks.whole("panels", panel, 0)
        checks.require(
            panel < len(figure.axes), f"the figure has {len(figure.axes)} panels, and none {panel}."
        )
        axes = figure.axes[panel]
        checks.require(axes.patch.get_gid() is None, f"the panel {panel} is marked already.")
        axis = axes.xaxis if along == "x" else axes.yaxis
        scale = "log" if axis.get_scale() == "log" else "linear"
        low, high = (end / unit for end in axis.get_view_interval())
        which = ".".join(map(str, numbers))
        axes.patch.set_gid(f"guess_{which}_{along}_{scale}_{low:.6g}_{high:.6g}")
    return figure
