"""Where MNIST lies: as the package finds it, or in ``../shared/data`` beside the project."""

from __future__ import annotations

import os
from pathlib import Path

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"


def folder_of_mnist() -> Path | None:
    """Return the folder of its files, and let the package read from there; None without one."""
    if "INITSCOPE_DATA" not in os.environ and (_BESIDE / "mnist").is_dir():
        os.environ["INITSCOPE_DATA"] = str(_BESIDE)
    data = os.environ.get("INITSCOPE_DATA")
    return Path(data) / "mnist" if data and (Path(data) / "mnist").is_dir() else None
