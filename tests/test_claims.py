"""Claims, written down before, and what became of them, on disk."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from initscope.claims import (
    RESULTS,
    Cases,
    Claim,
    Effect,
    Finding,
    read_claims,
    verified_findings,
)
from initscope.errors import UsageError

ROOT = Path(__file__).resolve().parents[1]
TEXTS = {
    "words": "All of them train.",
    "source": "abstract",
    "scope": "Small networks.",
    "beyond": "Deep networks.",
    "statistic": "Share of runs that train.",
    "holds_if": "Every run does.",
}
CLAIM = Claim("E1", "claims", TEXTS)
PREDICTION = Claim("edge", "predictions", {"expected": "It stays.", "refuted_by": "It moves."})
CHAPTERS = {"05_a": "results/05_a/cpu"}

FILE = """claims:
  E1:
    words: All of them train.
    source: abstract
    scope: Small networks.
    beyond: Deep networks.
    statistic: Share of runs that train.
    holds_if: Every run does.
predictions:
  edge:
    expected: It stays.
    refuted_by: It moves.
"""


@pytest.fixture
def notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of notebooks with a file of claims, a record, and a finding on each."""
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "05_a.yaml").write_text(FILE)
    folder = tmp_path / CHAPTERS["05_a"]
    folder.mkdir(parents=True)
    (folder / "runs.parquet").write_bytes(b"runs")
    monkeypatch.chdir(tmp_path)
    for claim in read_claims("claims/05_a.yaml").values():
        finding(claim).write(folder / "findings")
    return tmp_path


def finding(claim: Claim = CLAIM, **changes: object) -> Finding:
    values = {
        "in_scope": Cases(3, 1),
        "beyond": Cases(0, 2),
        "summary": "Three of four, as σ = √(2/n) says.",
        "runs": 12,
        "figure": "fig-a",
        "files": ["results/05_a/cpu/runs.parquet"],
        "effect": Effect("share", 0.75, 0.5, 0.9),
    }
    return Finding.of(claim, **{**values, **changes})


# --- What is claimed --------------------------------------------------------------------------


def test_a_file_of_claims_is_read(notebooks: Path) -> None:
    found = read_claims("claims/05_a.yaml")
    assert list(found) == ["E1", "edge"]
    assert found["E1"] == CLAIM
    assert found["edge"] == PREDICTION
    assert (CLAIM.statement, PREDICTION.statement) == ("All of them train.", "It stays.")


def test_another_word_is_another_digest() -> None:
    digests = {CLAIM.digest, Claim("E2", "claims", TEXTS).digest}
    digests |= {Claim("E1", "claims", TEXTS | {name: "x"}).digest for name in TEXTS}
    assert len(digests) == 2 + len(TEXTS)
    assert Claim("E1", "claims", dict(reversed(TEXTS.items()))).digest == CLAIM.digest


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (("    scope: Small networks.\n", ""), "E1 must have words, source, scope"),
        (("scope: Small networks.", "reach: wide"), "E1 must have words, source, scope"),
        (("scope: Small networks.", "scope: 3"), "E1 must have .* each a text"),
        (("refuted_by: It moves.", 'refuted_by: " "'), "edge must have expected, refuted_by"),
        (("claims:", "clams:"), "unknown kind of entries in .* 'clams'. Did you mean 'claims'"),
        (("  edge:", "  E1:"), "E1 is both a claim and a prediction"),
        (("  edge:", "  a/edge:"), "the key 'a/edge' is no plain name"),
        ((FILE, "claims: [1]"), "claims must be a mapping by key"),
        ((FILE, "- 1"), "must hold a mapping"),
        ((FILE, "a: [b"), "not valid YAML"),
    ],
)
def test_a_file_that_is_none_is_refused(
    notebooks: Path, changed: tuple[str, str], says: str
) -> None:
    path = notebooks / "claims" / "05_a.yaml"
    path.write_text(FILE.replace(*changed))
    with pytest.raises(UsageError, match=says) as caught:
        read_claims(path)
    assert "05_a.yaml" in str(caught.value)


def test_the_claims_of_the_book_are_complete() -> None:
    keys = [
        key for path in sorted((ROOT / "notebooks" / "claims").glob("*.yaml"))
        for key in read_claims(path)
    ]  # fmt: skip
    assert len(keys) == len(set(keys))  # one name, one claim, in all chapters
    assert {"E1a", "E1b", "E2a", "E2b", "E2c", "E3a", "E3b", "E3c"} <= set(keys)
    assert {"R1", "R2", "R3", "R4"} <= set(keys)


# --- What became of it ------------------------------------------------------------------------

COUNTS = st.integers(0, 6)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_what_follows_from_the_cases(
    support: int, contradict: int, undecided: int, allowed: int
) -> None:
    cases = Cases(support, contradict, undecided, allowed)
    against = contradict > allowed
    assert cases.result in RESULTS
    assert (cases.result == "holds") == (support > 0 and not against and undecided == 0)
    assert (cases.result == "does not hold") == (support == 0 and against)
    assert (cases.result == "undecided") == (support == 0 and not against)
    assert cases.total == support + contradict + undecided
    strict = Finding(
        "a", "b", "predictions", cases, None, "c", None, 1, "fig", {"file": "0"}
    )  # fmt: skip
    assert strict.result == ("does not hold" if against else cases.result)


def test_cases_are_counted() -> None:
    outcomes = [True, np.bool_(True), False, None]
    assert Cases.of(outcomes) == Cases(2, 1, 1)
    assert Cases.of(iter([]), allowed=2) == Cases(0, 0, 0, 2)
    assert Cases(1, 0).in_words == "1 of 1 case"
    assert Cases(1, 2, 1).in_words == "1 of 4 cases, 1 undecided"
    for bad in (-1, 0.5, "3", None, True):
        with pytest.raises(UsageError, match="contradict must be a whole number"):
            Cases(1, bad)
    for bad in (1, "yes", [True]):
        with pytest.raises(UsageError, match="outcomes must be True, False or None"):
            Cases.of([bad])


@pytest.mark.parametrize("value", [math.nan, math.inf, np.nan, [1.0], "1", None, True])
def test_a_size_is_a_finite_number_inside_its_interval(value: object) -> None:
    with pytest.raises(UsageError, match="low of an effect must be a finite number"):
        Effect("size", 1.0, value, 2.0)
    with pytest.raises(UsageError, match="'size' lies outside its interval: 3, and 1 to 2"):
        Effect("size", 3.0, 1.0, 2.0)
    # Digits of the machine are left out.
    assert Effect("size", 0.1 + 0.2, 0.3, 1.0) == Effect("size", 0.3, 0.3, 1.0)
    numpy = Effect("size", np.float32(0.5), np.int64(0), np.float64(1.0))
    assert [type(x) for x in (numpy.value, numpy.low, numpy.high)] == [float] * 3


# --- On disk ----------------------------------------------------------------------------------


def test_a_finding_is_written_and_read(notebooks: Path) -> None:
    found = finding(runs=np.int64(12))
    path = found.write(notebooks / "deep" / "down")
    assert path == notebooks / "deep" / "down" / "E1.json"
    assert Finding.read(path) == found
    assert "σ = √(2/n)" in path.read_text(encoding="utf8")
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    facts = json.loads(path.read_text(encoding="utf8"))
    assert (facts["result"], facts["result_beyond"]) == ("holds in part", "does not hold")
    alone = finding(PREDICTION, beyond=None, effect=None)
    assert Finding.read(alone.write(notebooks)) == alone
    assert (alone.result, alone.result_beyond, alone.beyond_in_words) == ("does not hold", None, "")
    assert finding().in_words == "holds in part: 3 of 4 cases"


def test_a_finding_rests_on_files_that_are_there(notebooks: Path) -> None:
    with pytest.raises(UsageError, match="a finding rests on at least one file"):
        finding(files=[])
    with pytest.raises(UsageError, match=r"E1: gone\.parquet cannot be read"):
        finding(files=["gone.parquet"])
    with pytest.raises(UsageError, match="runs must be a whole number"):
        finding(runs=0)
    with pytest.raises(UsageError, match="summary must be text"):
        finding(summary="")


@pytest.mark.parametrize(
    ("key", "kind", "texts", "says"),
    [
        ("", "claims", TEXTS, "key must be text"),
        ("a/b", "claims", TEXTS, "'a/b' is no plain name"),
        ("E1", "claim", TEXTS, "unknown kind 'claim'. Did you mean 'claims'"),
        ("E1", "claims", "it holds", "texts must be a mapping"),
        ("E1", "claims", {"words": "It holds."}, "E1 must have words, source, "),
        ("E1", "claims", TEXTS | {"words": " "}, "E1 must have words, source, "),
    ],
)
def test_what_is_no_claim_is_refused(key: str, kind: str, texts: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Claim(key, kind, texts)


def test_the_findings_of_chapters_are_verified(notebooks: Path) -> None:
    found = verified_findings(notebooks, CHAPTERS)
    assert [(chapter, claim.key) for chapter, claim, _ in found] == [
        ("05_a", "E1"),
        ("05_a", "edge"),
    ]
    assert [f.result for *_, f in found] == ["holds in part", "does not hold"]
    with pytest.raises(UsageError, match="chapters must hold at least one"):
        verified_findings(notebooks, {})


def spoil(notebooks: Path, how: str) -> None:
    """Make one of the things false that a build relies on."""
    path = notebooks / CHAPTERS["05_a"] / "findings" / "E1.json"
    claims, runs = notebooks / "claims" / "05_a.yaml", path.parents[1] / "runs.parquet"
    facts = json.loads(path.read_text(encoding="utf8"))
    if how == "missing":
        path.unlink()
    elif how == "claim changed":
        claims.write_text(claims.read_text().replace("Every run does.", "Some run does."))
    elif how == "record changed":
        runs.write_bytes(b"others")
    elif how == "record gone":
        runs.unlink()
    elif how == "claim added":
        claims.write_text(claims.read_text() + "  new:\n    expected: a\n    refuted_by: b\n")
    elif how == "result":
        facts["result"] = "holds"
        path.write_text(json.dumps(facts))
    elif how == "result beyond":
        facts["result_beyond"] = None
        path.write_text(json.dumps(facts))
    elif how == "cases":
        facts["in_scope"]["contradict"] = 0
        path.write_text(json.dumps(facts))
    elif how == "of another":
        shutil.copy(path.with_name("edge.json"), path)
    else:
        path.write_text(how)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("missing", "05_a: there is no finding on E1: run the chapter"),
        ("claim added", "05_a: there is no finding on new: run the chapter"),
        ("claim changed", "is of what E1 said before: run the chapter again"),
        ("of another", "is of what E1 said before"),
        ("record changed", "rests on .*runs.parquet, which is another file now"),
        ("record gone", "rests on .*runs.parquet, which is another file now"),
        ("result", "contradicts itself: it says .*'holds'.* its cases .*'holds in part'"),
        ("result beyond", "contradicts itself"),
        ("cases", "contradicts itself"),
        ("", "is not the record of a finding"),
        ("[]", "is not the record of a finding"),
        ("{}", "is not the record of a finding"),
        ('{"result": "holds", "result_beyond": null}', "is not the record of a finding"),
    ],
)
def test_what_does_not_agree_is_refused(notebooks: Path, how: str, says: str) -> None:
    spoil(notebooks, how)
    with pytest.raises(UsageError, match=says):
        verified_findings(notebooks, CHAPTERS)


def test_a_finding_that_is_not_text_is_refused(notebooks: Path) -> None:
    path = notebooks / "x.json"
    path.write_bytes(b"\xff\xfe\x00")
    for missing in (path, notebooks / "missing.json"):
        with pytest.raises(UsageError, match="is not the record of a finding"):
            Finding.read(missing)
    frozen = finding()
    with pytest.raises(dataclasses.FrozenInstanceError):
        frozen.runs = 3  # type: ignore[misc]


def test_the_book_reads_claims_without_numpy() -> None:
    """What only builds the book has YAML, and neither numpy nor pyarrow."""
    code = "import initscope.claims, sys; print({'numpy', 'pyarrow', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
