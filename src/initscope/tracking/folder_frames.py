"""Read the tables of a callback's folder, while its run goes on and afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from initscope.tracking.tables import read_histograms, read_variances

if TYPE_CHECKING:
    from initscope.tracking.tracker import VarianceTracker

__all__: list[str] = []  # for this package alone


class FolderFrames:
    """What the callbacks of all trainers have in common: a folder with tables, and a tracker."""

    out_folder: Path
    _tracker: VarianceTracker | None

    def to_frame(self) -> pd.DataFrame:
        """Return what was recorded so far: columns ``step, layer, role, kind, stat, value``."""
        if self._tracker is not None:
            self._tracker.flush()
        return read_variances(self.out_folder)

    def histograms_to_frame(self) -> pd.DataFrame:
        """Return the histograms so far: columns ``step, layer, role, low, high, counts``."""
        if self._tracker is not None:
            self._tracker.flush()
        return read_histograms(self.out_folder)
