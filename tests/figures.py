"""What a figure holds, and what every figure of the book has to keep to."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection as Container

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import Collection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

from initscope import plots


def contents(figure: Figure) -> list[tuple[str, str]]:
    """Return what is drawn, in its order: kind, and text, places and numbers to the last digit.

    The file depends on this, and on a salt that is the same for all figures; to write it takes
    longer than to make the figure.
    """

    def told(artist: Artist) -> list[object]:
        if isinstance(artist, Text):
            return [artist.get_text(), *artist.get_position(), artist.get_color()]
        if isinstance(artist, Line2D):
            return [artist.get_xydata(), artist.get_color(), artist.get_linestyle()]
        if isinstance(artist, Collection):
            paths = [path.vertices for path in artist.get_paths()]
            return [*paths, artist.get_offsets(), artist.get_array(), artist.get_facecolor()]
        if isinstance(artist, Patch):
            return [artist.get_path().vertices, artist.get_facecolor()]
        return []

    def exact(part: object) -> str:
        return repr(np.ma.filled(part, np.nan).tolist()) if np.ndim(part) else repr(part)

    return [
        (type(artist).__name__, " ".join(map(exact, told(artist)))) for artist in figure.findobj()
    ]


def legend_texts(figure: Figure) -> list[str]:
    legends = [*figure.legends, *(a.get_legend() for a in figure.axes if a.get_legend())]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


def assert_drawn_the_same(draw: Callable[[], Figure]) -> None:
    """Twice the same figure, and it is not empty."""
    first = contents(draw())
    assert first == contents(draw())
    assert len(first) > 20


def assert_readable(
    draw: Callable[[], Figure],
    *,
    colors: Container[str] = (plots.INK,),
    besides: Container[str] = (),
) -> Figure:
    """All text is large enough, in a color that reads on any page, and inside; settings stay.

    Of what is written in `besides` nothing is asked.
    """
    before = dict(mpl.rcParams)
    figure = draw()
    assert dict(mpl.rcParams) == before
    figure.draw_without_rendering()
    assert figure.get_facecolor()[3] == 0
    # Ticks beyond the limits of their axis exist but are not drawn.
    unseen = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        for label in (tick.label1, tick.label2)
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    }
    box = figure.bbox.padded(3)
    for text in set(figure.findobj(Text)) - unseen:
        if not text.get_text() or not text.get_visible() or text.get_text() in besides:
            continue
        assert to_hex(text.get_color()) in colors, text
        assert text.get_fontsize() >= 8, text
        extent = text.get_window_extent()
        assert box.x0 <= extent.x0 <= extent.x1 <= box.x1, text
        assert box.y0 <= extent.y0 <= extent.y1 <= box.y1, text
    return figure
