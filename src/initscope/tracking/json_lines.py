"""Write what a `Trainer` logs as lines of JSON, beside TensorBoard, W&B and MLflow."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from initscope import checks

__all__ = ["JsonLinesCallback"]


class JsonLinesCallback(TrainerCallback):
    """Append every entry of the Trainer's log to a file, one JSON object a line, with its step.

    After :meth:`initscope.tracking.VarianceCallback.log_through` it gets the chosen statistics of
    the weights as well, as the loggers of transformers do. Numbers that are not finite are null.

    Parameters
    ----------
    path
        The file that is appended to.

    Examples
    --------
    >>> callback = JsonLinesCallback("log.jsonl")
    """

    def __init__(self, path: str | Path) -> None:
        self.path = checks.file_path("path", path)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Write an entry."""
        if logs is None or not state.is_world_process_zero:
            return
        entry = {"step": state.global_step, **logs}
        plain = {name: _plain(value) for name, value in entry.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf8") as file:
            file.write(json.dumps(plain) + "\n")


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
