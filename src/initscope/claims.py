"""A claim of the paper, what was measured, and the verdict."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from initscope import checks
from initscope.checks import is_number, require, require_name
from initscope.errors import UsageError, shown
from initscope.records import atomic_write

__all__ = ["OUTCOMES", "Verdict", "outcome_of"]

OUTCOMES = ("holds", "holds where", "does not hold here")


def outcome_of(cases_for: int, cases_against: int) -> str:
    """Return the outcome of a claim that was tried in several cases.

    It holds if nothing speaks against it and something for it, and does not hold if nothing does.

    Parameters
    ----------
    cases_for, cases_against
        Numbers of cases. One that decides nothing is in neither.

    >>> outcome_of(10, 0), outcome_of(10, 2), outcome_of(0, 12)
    ('holds', 'holds where', 'does not hold here')
    """
    for name, cases in (("cases_for", cases_for), ("cases_against", cases_against)):
        require(
            is_number(cases, 0, whole=True),
            f"{name} must be a whole number of at least 0, not {shown(cases)}.",
        )
    if not cases_for:
        return "does not hold here"
    return "holds where" if cases_against else "holds"


@dataclass(frozen=True)
class Verdict:
    """The outcome of a claim that was tried, as a record that other pages can show.

    Attributes
    ----------
    claim
        Short name, the file name of the record.
    statement
        The claim in a sentence.
    source
        Where the paper makes it.
    outcome
        One of :data:`OUTCOMES`.
    conditions
        Where it holds and where not, in a sentence or two, with figures.
    figure
        Label of the figure it rests on.
    measurements
        The numbers it rests on.
    profile
        Profile of the run that they come from.

    Examples
    --------
    >>> verdict = Verdict(
    ...     "a-claim", "It holds.", "section 1", "holds", "everywhere", "a-figure", {"std": 0.1}
    ... )
    >>> verdict.outcome
    'holds'
    """

    claim: str
    statement: str
    source: str
    outcome: str
    conditions: str
    figure: str
    measurements: Mapping[str, float | int | str | bool] = field(default_factory=dict)
    profile: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("claim", "statement", "source", "outcome", "conditions", "figure", "profile"):
            require(
                isinstance(getattr(self, name), str),
                f"{name} must be text, not {shown(getattr(self, name))}.",
            )
        require_name("outcome", self.outcome, OUTCOMES)
        require(bool(self.claim) and Path(self.claim).name == self.claim, "a claim needs a name.")
        checks.mapping("measurements", self.measurements)

    def write(self, folder: str | Path) -> Path:
        """Write ``<claim>.json`` to `folder`, whole or not at all; returns its path."""
        checks.file_path("folder", folder)
        path = Path(folder) / f"{self.claim}.json"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"the folder {folder} cannot be made ({error.strerror}).") from error
        try:
            text = json.dumps(
                asdict(self), indent=1, ensure_ascii=False, allow_nan=False, default=_plain_number
            )
        except (TypeError, ValueError) as error:
            raise UsageError(f"{self.claim}: a measurement is no finite number: {error}.") from None
        with atomic_write(path) as part:
            part.write_text(text + "\n", encoding="utf8")
        return path

    @classmethod
    def read(cls, path: str | Path) -> Verdict:
        """Read a record; raises `UsageError` if it is not one."""
        checks.file_path("path", path)
        try:
            return cls(**json.loads(Path(path).read_text(encoding="utf8")))
        except (OSError, TypeError, ValueError) as error:
            raise UsageError(
                f"the path {path} is not the record of a verdict ({shown(str(error))})."
            ) from error


def _plain_number(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} is neither a number nor text")
