"""Verdicts on disk."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from initscope.claims import OUTCOMES, Verdict
from initscope.errors import UsageError

VERDICT = Verdict(
    claim="E1_stability_band",
    statement="ReLU networks train stably for stds from 1e-2 to 1e-1.",
    source="Han (2025), abstract",
    outcome="holds where",
    conditions="For three weight layers; not for sixteen, as σ = √(2/n) says.",
    figure="fig-bands",
    measurements={"low": 0.012, "n": 3, "optimizer": "sgd", "open": True},
    profile="smoke",
)


def test_a_verdict_is_written_and_read(tmp_path: Path) -> None:
    path = VERDICT.write(tmp_path / "deep" / "down")
    assert path == tmp_path / "deep" / "down" / "E1_stability_band.json"
    assert Verdict.read(path) == VERDICT
    assert "σ = √(2/n)" in path.read_text(encoding="utf8")
    assert VERDICT.write(path.parent) == path
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_numbers_of_numpy_become_plain_ones(tmp_path: Path) -> None:
    measured = {"a": np.int64(3), "b": np.bool_(True), "c": np.float32(0.5), "d": np.float64(0.1)}
    path = Verdict("c", "s", "p", "holds", "", "f", measured).write(tmp_path)
    assert json.loads(path.read_text())["measurements"] == {"a": 3, "b": True, "c": 0.5, "d": 0.1}


@pytest.mark.parametrize("value", [math.nan, math.inf, np.nan, [np.array([1])], object()])
def test_what_is_no_finite_number_is_not_written(value: object, tmp_path: Path) -> None:
    good = Verdict("c", "s", "p", "holds", "", "f").write(tmp_path)
    before = good.read_bytes()
    with pytest.raises(UsageError, match="c: a measurement is no finite number"):
        Verdict("c", "s", "p", "holds", "", "f", {"x": value}).write(tmp_path)
    assert good.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]


def test_outcomes_and_names_are_checked() -> None:
    for outcome in OUTCOMES:
        assert Verdict("c", "s", "p", outcome, "", "f").outcome == outcome
    with pytest.raises(UsageError, match=r"unknown outcome 'hold'\. Did you mean 'holds'"):
        Verdict("c", "s", "p", "hold", "", "f")
    for name in ("", "a/b", "../c"):
        with pytest.raises(UsageError, match="a claim needs a name"):
            Verdict(name, "s", "p", "holds", "", "f")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"claim": "c"}', "not json", '{"outcome": "maybe"}', b"\xff\xfe\x00"],
    ids=repr,
)
def test_a_file_that_is_no_verdict_is_refused(text: str | bytes, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=r"c\.json is not the record of a verdict"):
        Verdict.read(path)


def test_a_verdict_with_an_outcome_of_its_own_is_refused(tmp_path: Path) -> None:
    path = VERDICT.write(tmp_path)
    path.write_text(path.read_text().replace('"holds where"', '"holds often"'))
    with pytest.raises(UsageError, match="unknown outcome 'holds often'"):
        Verdict.read(path)
    with pytest.raises(UsageError, match=r"missing\.json is not the record"):
        Verdict.read(tmp_path / "missing.json")
