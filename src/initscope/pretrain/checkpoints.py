"""Checkpoints of a pretraining run: which are whole, which are sound, and whether there is room.

A checkpoint is whole once it has its mark, written last, and sound if its files and the rows of the
record up to its step have the checksums in it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from initscope.errors import UsageError
from initscope.files import atomic_write, file_digest
from initscope.memory import format_bytes
from initscope.pretrain.records import checkpoint_folder, record_folder
from initscope.records import verify_checksum, with_checksum
from initscope.tracking.tables import VarianceTable

MARK = "initscope.json"
"""File that a checkpoint gets last, so that one without it is not whole."""

CHECKPOINTS_KEPT = 2
BYTES_PER_PARAMETER = 12
"""In a checkpoint: the weight and the two moments of Adam, float32."""


def mark_checkpoint(folder: Path, digest: str, recorded: Mapping[str, str]) -> None:
    """Declare a checkpoint whole; called when all its files are there.

    Parameters
    ----------
    folder
        Of the checkpoint.
    digest
        Of the specification.
    recorded
        Checksums of the tables up to this step, of :meth:`VarianceTable.digest`.
    """
    # Also without what a kill has left of an earlier mark.
    parts = [p for p in sorted(folder.iterdir()) if p.is_file() and MARK not in p.name]
    files = {p.name: file_digest(p) for p in parts}
    facts = {
        "digest": digest,
        "step": _step(folder),
        "files": files,
        "sizes": {name: (folder / name).stat().st_size for name in files},
        "recorded": dict(recorded),
    }
    with atomic_write(folder / MARK) as part:
        part.write_text(json.dumps(with_checksum(facts)))


def _step(folder: Path) -> int:
    """Return the step in the name of a checkpoint's folder, or -1 if it has none."""
    try:
        return int(folder.name.partition("-")[2])
    except ValueError:
        return -1  # somebody's own


def _newest_first(out: Path) -> list[Path]:
    """Return the folders that are named like checkpoints."""
    return sorted(checkpoint_folder(out).glob("checkpoint-*"), key=_step, reverse=True)


def checkpoints(out: Path, digest: str) -> list[Path]:
    """Return the checkpoints of a specification with files of the right sizes, newest first."""
    return [folder for folder in _newest_first(out) if not _check_mark(folder, digest)[0]]


def valid_checkpoints(out: Path, digest: str, say: Callable[[str], object]) -> list[Path]:
    """Return the checkpoints from which a run can go on undisturbed, the newest first.

    Those whose files have the checksums that they had, and whose rows are all in the record. Of
    each that is passed over because it is damaged, `say` is told so.
    """
    recorded: dict[str, dict[int, str]] = {}
    found = []
    for folder in _newest_first(out):
        missing, mark = _check_mark(folder, digest)
        wrong = missing or _find_damage(folder, mark, recorded)
        if not wrong:
            found.append(folder)
        elif mark is not None:  # one without a mark is what a kill has left
            say(f"{folder} is passed over: {wrong}.")
    return found


def _check_mark(folder: Path, digest: str) -> tuple[str, dict[str, Any] | None]:
    """Return what keeps a checkpoint from being whole, as far as sizes tell, and its mark."""
    try:
        mark = dict(json.loads((folder / MARK).read_text()))
        mark = verify_checksum(mark, must="files" in mark or "recorded" in mark)
        if mark["digest"] != digest or mark.get("step", _step(folder)) != _step(folder):
            return "it is of another run or step", mark
        for name, size in mark["sizes"].items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing", mark
            if path.stat().st_size != size:
                return f"{name} has not the size that it had", mark
        return "", mark
    except FileNotFoundError:
        return "it is not whole", None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"{MARK} is damaged", {}


def _find_damage(
    folder: Path, mark: Mapping[str, Any] | None, recorded: dict[str, dict[int, str]]
) -> str:
    """Return what keeps a checkpoint that looks whole from being what was written.

    `recorded` keeps the checksums of the tables at each step, from one checkpoint to the next.
    """
    assert mark is not None
    for name, digest in mark.get("files", {}).items():  # an older version wrote sizes alone
        try:
            if file_digest(folder / name) != digest:
                return f"{name} is damaged"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror or error})"
    for name, digest in mark.get("recorded", {}).items():
        if name not in recorded:
            table = VarianceTable(record_folder(folder.parent.parent), name)
            recorded[name] = table.digests()
        last = max(step for step in recorded[name] if step <= _step(folder))
        if recorded[name][last] != digest:
            return f"the {name} in the record are not whole up to there"
    return ""


def remove_broken_checkpoints(out: Path, kept: Sequence[Path]) -> None:
    """Remove all checkpoints but those; what is not whole would count among those that are kept."""
    for folder in checkpoint_folder(out).glob("checkpoint-*"):
        if folder not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def require_disk_space(out: Path, n_parameters: int, n_kept: int) -> None:
    """Raise `UsageError` unless there is room for the checkpoints.

    At most one more than :data:`CHECKPOINTS_KEPT` are there at once; `n_kept` are there already.
    """
    each = BYTES_PER_PARAMETER * n_parameters
    needed = each * max(1, CHECKPOINTS_KEPT + 1 - n_kept)
    place = out.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise UsageError(
            f"no space for the checkpoints: one takes {format_bytes(each)}, and "
            f"{format_bytes(needed)} are needed in {out}, where {format_bytes(free)} are free. "
            f"Free some space, or name another out folder."
        )
