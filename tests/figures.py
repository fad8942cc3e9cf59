"""What a figure holds."""

from __future__ import annotations

import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text


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
