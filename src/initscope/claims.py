"""A claim, written down before the run that tests it, and what was found, as a record.

The claims of a chapter and the predictions of this book stand in ``notebooks/claims``; what became
of each is a :class:`Finding` beside the chapter's records. :func:`verified_findings` reads both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from initscope import scalars
from initscope.errors import UsageError, shown
from initscope.files import atomic_write, file_digest
from initscope.scalars import require, require_name
from initscope.yaml_files import read_yaml

__all__ = [
    "RESULTS",
    "Cases",
    "Claim",
    "Effect",
    "Finding",
    "read_claims",
    "verified_findings",
]

RESULTS = ("holds", "holds in part", "undecided", "does not hold")
"""What can become of a claim, in its scope and beyond it."""

_TEXTS = {
    "claims": ("words", "source", "scope", "beyond", "statistic", "holds_if"),
    "predictions": ("expected", "refuted_by"),
}
"""Fields of the two kinds of entries of a file of claims, all text."""


@dataclass(frozen=True)
class Claim:
    """What is to be tested, written down before the run that tests it.

    Attributes
    ----------
    key
        Short name: ``E1a``.
    kind
        ``"claims"`` of the paper, or ``"predictions"`` of this book.
    texts
        Of a claim of the paper: its ``words``, their ``source``, the ``scope`` they speak of, what
        lies ``beyond`` it, the ``statistic`` and when the claim ``holds_if``. Of a prediction: what
        is ``expected``, and what it would be ``refuted_by``.

    Examples
    --------
    >>> texts = {"expected": "The edge stays.", "refuted_by": "It moves by a step of the grid."}
    >>> Claim("edge", "predictions", texts).statement
    'The edge stays.'
    """

    key: str
    kind: str
    texts: Mapping[str, str]

    def __post_init__(self) -> None:
        scalars.text("key", self.key)
        require(Path(self.key).name == self.key, f"the key {shown(self.key)} is no plain name.")
        require_name("kind", self.kind, _TEXTS)
        texts = scalars.mapping("texts", self.texts)
        fields = _TEXTS[self.kind]
        complete = set(texts) == set(fields) and all(
            isinstance(text, str) and text.strip() for text in texts.values()
        )
        require(complete, f"{self.key} must have {', '.join(fields)}, each a text.")
        object.__setattr__(self, "texts", {name: texts[name].strip() for name in fields})

    @property
    def statement(self) -> str:
        """What it says: the paper's words, or what is expected."""
        return self.texts[_TEXTS[self.kind][0]]

    @property
    def digest(self) -> str:
        """Hash of all texts: a finding names it, and is stale if it changes."""
        text = json.dumps([self.key, self.kind, dict(self.texts)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:20]


def read_claims(path: str | Path) -> dict[str, Claim]:
    """Return the claims in a file, by key.

    The file is YAML: a mapping of ``claims`` and ``predictions``, each a mapping from keys to the
    texts of a :class:`Claim`.

    Raises
    ------
    UsageError
        A file that does not exist or is no YAML; a field that is missing, unknown or no text; a key
        that occurs twice.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "05_a.yaml"
    ...     _ = path.write_text("predictions: {edge: {expected: It stays., refuted_by: It moves.}}")
    ...     list(read_claims(path))
    ['edge']
    """
    scalars.file_path("path", path)
    found: dict[str, Claim] = {}
    for kind, entries in read_yaml(Path(path)).items():
        require_name(f"kind of entries in {path}", kind, _TEXTS)
        require(isinstance(entries, Mapping), f"{path}: {kind} must be a mapping by key.")
        for key, texts in entries.items():
            require(key not in found, f"{path}: {key} is both a claim and a prediction.")
            try:
                found[key] = Claim(key, kind, texts)
            except UsageError as error:
                raise UsageError(f"{path}: {error}") from None
    return found


@dataclass(frozen=True)
class Cases:
    """Number of cases in which a claim was tried, by their outcome.

    Attributes
    ----------
    support, contradict, undecided
        Cases that speak for the claim, against it, and neither way.
    allowed
        Cases that may speak against it all the same, as was written down before.

    Examples
    --------
    >>> Cases(20, 3, undecided=1).in_words
    '20 of 24 cases, 1 undecided'
    """

    support: int
    contradict: int
    undecided: int = 0
    allowed: int = 0

    def __post_init__(self) -> None:
        for name in ("support", "contradict", "undecided", "allowed"):
            object.__setattr__(self, name, int(scalars.whole(name, getattr(self, name), 0)))

    @classmethod
    def of(cls, outcomes: Iterable[bool | None], allowed: int = 0) -> Cases:
        """Count outcomes, each True (it supports), False (it contradicts) or None (undecided).

        >>> Cases.of([True, True, None])
        Cases(support=2, contradict=0, undecided=1, allowed=0)
        """
        found = scalars.listed("outcomes", outcomes)
        for outcome in found:
            decided = type(outcome).__name__ in ("bool", "bool_")  # of Python, of numpy
            require(
                outcome is None or decided,
                f"outcomes must be True, False or None, not {shown(outcome)}.",
            )
        found = [outcome if outcome is None else bool(outcome) for outcome in found]
        return cls(found.count(True), found.count(False), found.count(None), allowed)

    @property
    def total(self) -> int:
        """Number of cases."""
        return self.support + self.contradict + self.undecided

    @property
    def in_words(self) -> str:
        """How many of the cases support the claim, in words."""
        undecided = f", {self.undecided} undecided" if self.undecided else ""
        return f"{self.support} of {self.total} case{'s' * (self.total != 1)}{undecided}"

    @property
    def result(self) -> str:
        """One of :data:`RESULTS`.

        A claim holds if every case supports it, but for those allowed to contradict. It does not
        hold if none supports it and more contradict than are allowed. It is undecided if no case
        supports it and no more contradict; everything else holds in part.

        >>> Cases(10, 0).result, Cases(10, 2).result, Cases(0, 12, 3).result, Cases(0, 0, 4).result
        ('holds', 'holds in part', 'does not hold', 'undecided')
        """
        against = self.contradict > self.allowed
        if not self.support:
            return "does not hold" if against else "undecided"
        return "holds in part" if against or self.undecided else "holds"


@dataclass(frozen=True)
class Effect:
    """Size of an effect with its interval.

    Attributes
    ----------
    what
        What was measured, and in which configuration.
    value, low, high
        The size and the ends of its 95% interval, kept to twelve digits.
    unit
        Its unit; empty for a number without one.

    Examples
    --------
    >>> Effect("difference of the losses", 0.0876, 0.071, 0.104, "nats").in_words
    'difference of the losses: 0.0876 (0.071 to 0.104) nats'
    """

    what: str
    value: float
    low: float
    high: float
    unit: str = ""

    def __post_init__(self) -> None:
        for name in ("what", "unit"):
            require(isinstance(getattr(self, name), str), f"{name} of an effect must be text.")
        for name in ("value", "low", "high"):
            number = scalars.number(f"{name} of an effect", getattr(self, name))
            # Digits beyond are those of the machine: a record would change where no result does.
            object.__setattr__(self, name, float(f"{number:.12g}"))
        require(
            self.low <= self.value <= self.high,
            f"the effect {shown(self.what)} lies outside its interval: {self.value:g}, and "
            f"{self.low:g} to {self.high:g}.",
        )

    @property
    def in_words(self) -> str:
        """What was measured, its size, interval and unit, in words."""
        size = f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"
        return f"{self.what}: {size} {self.unit}".rstrip()


@dataclass(frozen=True)
class Finding:
    """What became of a claim, as a record that pages show and a build verifies.

    Attributes
    ----------
    claim, digest, kind
        Key, digest and kind of the :class:`Claim`.
    in_scope, beyond
        The cases it was tried in, within its scope and beyond; `beyond` is None where nothing was
        tried.
    summary
        What was found, in a sentence or two.
    effect
        The size that matters most; None where there is none.
    runs
        How many trainings it rests on.
    figure
        Label of the figure, or table, of the cell that shows it.
    records
        Digest of each file it rests on, by its path from the folder of the notebooks.
    profile
        Profile of the run.

    Examples
    --------
    >>> texts = {"expected": "The edge stays.", "refuted_by": "It moves by a step of the grid."}
    >>> finding = Finding.of(
    ...     Claim("edge", "predictions", texts), Cases(3, 1), summary="It moves in one of four.",
    ...     runs=20, figure="fig-edges", files=[__file__],
    ... )
    >>> finding.result
    'does not hold'
    """

    claim: str
    digest: str
    kind: str
    in_scope: Cases
    beyond: Cases | None
    summary: str
    effect: Effect | None
    runs: int
    figure: str
    records: Mapping[str, str]
    profile: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("claim", "digest", "summary", "figure", "profile"):
            scalars.text(name, getattr(self, name))
        require_name("kind", self.kind, _TEXTS)
        require(isinstance(self.in_scope, Cases), "in_scope must be Cases.")
        require(self.beyond is None or isinstance(self.beyond, Cases), "beyond must be Cases.")
        require(self.effect is None or isinstance(self.effect, Effect), "effect must be an Effect.")
        object.__setattr__(self, "runs", int(scalars.whole("runs", self.runs, 1)))
        records = scalars.mapping("records", self.records)
        require(bool(records), f"{self.claim}: a finding rests on at least one file.")

    @classmethod
    def of(
        cls,
        claim: Claim,
        in_scope: Cases,
        beyond: Cases | None = None,
        *,
        summary: str,
        runs: int,
        figure: str,
        files: Iterable[str | Path],
        effect: Effect | None = None,
        profile: str = "cpu",
    ) -> Finding:
        """Return the finding on `claim` that rests on `files`, read from the working folder.

        Raises
        ------
        UsageError
            No file, or one that cannot be read; a text that is empty; no run.
        """
        require(isinstance(claim, Claim), f"claim must be a Claim, not {shown(claim)}.")
        records = {}
        for file in scalars.listed("files", files):
            scalars.file_path("files", file)
            try:
                records[Path(file).as_posix()] = file_digest(Path(file))
            except OSError as error:
                raise UsageError(
                    f"{claim.key}: {file} cannot be read ({error.strerror})."
                ) from None
        return cls(
            claim.key, claim.digest, claim.kind, in_scope, beyond, summary, effect, runs, figure,
            records, profile,
        )  # fmt: skip

    @property
    def result(self) -> str:
        """What became of it in its scope: one of :data:`RESULTS`.

        A prediction holds or does not: what would refute it was written down.
        """
        return self._result_of(self.in_scope)

    @property
    def result_beyond(self) -> str | None:
        """What became of it beyond its scope; None where that was not tried."""
        return self._result_of(self.beyond) if self.beyond else None

    @property
    def in_words(self) -> str:
        """What became of it in its scope, with the number of cases."""
        return f"{self.result}: {self.in_scope.in_words}"

    @property
    def beyond_in_words(self) -> str:
        """What became of it beyond its scope; empty where that was not tried."""
        return f"{self.result_beyond}: {self.beyond.in_words}" if self.beyond else ""

    def _result_of(self, cases: Cases) -> str:
        if self.kind == "predictions" and cases.contradict > cases.allowed:
            return "does not hold"
        return cases.result

    def write(self, folder: str | Path) -> Path:
        """Write ``<claim>.json`` to `folder`, whole or not at all; returns its path."""
        scalars.file_path("folder", folder)
        path = Path(folder) / f"{self.claim}.json"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"the folder {folder} cannot be made ({error.strerror}).") from error
        facts = asdict(self) | {"result": self.result, "result_beyond": self.result_beyond}
        text = json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False)
        with atomic_write(path) as part:
            part.write_text(text + "\n", encoding="utf8")
        return path

    @classmethod
    def read(cls, path: str | Path) -> Finding:
        """Return a finding on disk; `UsageError` for none, or one that contradicts itself."""
        scalars.file_path("path", path)
        try:
            facts = json.loads(Path(path).read_text(encoding="utf8"))
            said = facts.pop("result"), facts.pop("result_beyond")
            facts["in_scope"] = Cases(**facts["in_scope"])
            facts["beyond"] = facts["beyond"] and Cases(**facts["beyond"])
            facts["effect"] = facts["effect"] and Effect(**facts["effect"])
            found = cls(**facts)
        except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"the path {path} is not the record of a finding ({shown(str(error))})."
            ) from error
        follows = found.result, found.result_beyond
        require(
            said == follows,
            f"{path} contradicts itself: it says {shown(said)}, its cases {shown(follows)}.",
        )
        return found


def verified_findings(
    notebooks: str | Path, chapters: Mapping[str, str]
) -> list[tuple[str, Claim, Finding]]:
    """Return chapter, claim and finding for every claim of the chapters, each checked.

    Parameters
    ----------
    notebooks
        Their folder, which holds ``claims/<chapter>.yaml`` and the records.
    chapters
        Folder of the results of each chapter that claims something, from there.

    Raises
    ------
    UsageError
        A claim without a finding; one of what the claim said before, or of files that are others
        now; one that contradicts itself.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     root = Path(folder)
    ...     (root / "claims").mkdir()
    ...     _ = (root / "claims" / "05_a.yaml").write_text("predictions: {}")
    ...     verified_findings(root, {"05_a": "results/05_a/cpu"})
    []
    """
    scalars.file_path("notebooks", notebooks)
    root, found = Path(notebooks), []
    require(bool(scalars.mapping("chapters", chapters)), "chapters must hold at least one.")
    for chapter, results in chapters.items():
        for key, claim in read_claims(root / "claims" / f"{chapter}.yaml").items():
            path = root / results / "findings" / f"{key}.json"
            require(path.is_file(), f"{chapter}: there is no finding on {key}: run the chapter.")
            finding = Finding.read(path)
            require(
                finding.claim == key and finding.digest == claim.digest,
                f"{path} is of what {key} said before: run the chapter again.",
            )
            for file, digest in finding.records.items():
                require(
                    (root / file).is_file() and file_digest(root / file) == digest,
                    f"{path} rests on {file}, which is another file now: run the chapter again.",
                )
            found.append((chapter, claim, finding))
    return found
