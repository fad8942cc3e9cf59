"""Questions of every kind, random and extreme ones: for the contract of all widgets."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from initscope.theory import scheme_std
from initscope.widgets import Prediction
from widget_cases.case import Case, Shown, numbers_in

STEPS = np.arange(1, 31)
DECAY = 0.7 * 0.9**STEPS
PROMPT = (
    "Set what you expect, with the keyboard or the pointer, then reveal the answer. "
    "Nothing is sent."
)
CODE = """from initscope.theory import scheme_std

print(scheme_std("kaiming", 256, 256))"""


def value(**others: Any) -> Prediction:
    given = {"low": 1e-4, "high": 10, "label": "std", "explanation": "It is sqrt(2 / 256)."}
    question = "Which std keeps the variance of a ReLU network of width 256?"
    return Prediction(question, scheme_std("kaiming", 256, 256), **(given | others))


def band(**others: Any) -> Prediction:
    given = {"low": 1e-4, "high": 10, "label": "std", "explanation": "A wide one."}
    return Prediction("Where does it train?", (0.0123, 0.456), "band", **(given | others))


def curve(**others: Any) -> Prediction:
    given = {"low": 1e-3, "high": 1, "label": "std", "x_label": "step", "shown": 8}
    return Prediction("Where does it end?", (STEPS, DECAY), "curve", **(given | others))


def share(**others: Any) -> Prediction:
    given = {"low": 0, "high": 100, "log": False, "unit": "%", "label": "share of the runs"}
    return Prediction("How many runs diverge?", 62.345, **(given | others))


KINDS = {"value": value, "band": band, "curve": curve, "share": share}


def random_predictions(n: int, seed: int) -> list[Prediction]:
    """Questions of all kinds over random axes, with random truths and guesses."""
    rng = np.random.default_rng(seed)
    found = []
    for k in range(n):
        kind, log = ("value", "band", "curve")[k % 3], bool(rng.integers(2))
        low = 10 ** rng.uniform(-6, 0) if log else rng.uniform(-5, 5)
        high = low * 10 ** rng.uniform(1, 8) if log else low + rng.uniform(1, 200)

        def draw(size: Any, log: bool = log, low: float = low, high: float = high) -> Any:
            t = rng.uniform(0.02, 0.98, size)
            return low * (high / low) ** t if log else low + t * (high - low)

        truth = {
            "value": lambda draw=draw: draw(()),
            "band": lambda draw=draw: tuple(sorted(draw(2))),
            "curve": lambda draw=draw: (np.arange(9), draw(9)),
        }[kind]()
        guess, guess_high = sorted(float(f"{g:.4g}") for g in draw(2))
        others = {"low": low, "high": high, "log": log, "label": "a number", "revealed": True}
        found.append(
            Prediction(f"Question {k}?", truth, kind, guess=guess, guess_high=guess_high, **others)
        )
    return found


def guesses(widget: Prediction) -> list[float]:
    return [widget.guess] + ([widget.guess_high] if widget.kind == "band" else [])


def copies() -> list[Prediction]:
    long = "Is there " + "no " * 200 + "end?"
    text = "<script>alert(1)</script>"
    return [
        *(make(code=CODE) for make in (value,)),
        *(make() for make in (band, curve, share)),
        *(make(revealed=True) for make in (value, band, curve, share)),
        *random_predictions(9, 7),
        Prediction(long, 1.0, low=1e-200, high=1e200, guess=1e-200, revealed=True),
        Prediction("?", 0.5, low=0.4, high=0.6, revealed=True, guess=0.6),
        Prediction("<b>&</b>", 1e9, low=-1e12, high=1e12, log=False, revealed=True, guess=-1e12),
        Prediction("?", ([1, 1e6], [1, 5]), "curve", low=0.1, high=10, shown=1, x_log=True,
                   revealed=True, explanation=text),
    ]  # fmt: skip


def check(widget: Prediction, shown: Shown) -> None:
    assert widget.question.strip() in " ".join(shown.text.split())
    if widget.code:
        assert [float(shown.printed)] == pytest.approx(widget.truth, rel=1e-12)
    if not widget.revealed:
        assert shown.message == PROMPT
        hidden = [widget.explanation, *(f"{number:.3g}" for number in widget.truth)]
        assert not any(text in shown.text for text in hidden if text)
        return
    assert widget.explanation in shown.text
    expected = widget.difference()
    found = numbers_in(shown.message)
    start = [*sorted(guesses(widget)), *widget.truth]
    assert found[: len(start)] == pytest.approx(start, rel=0.006, abs=1e-12)
    found = found[len(start) :]
    edges = [expected["low"], expected["high"]] if widget.kind == "band" else [expected]
    if widget.kind == "band":
        assert found.pop(0) == pytest.approx(100 * expected["overlap"], abs=0.51)
    if "right" in shown.message:
        return
    for told, edge in zip(found, edges, strict=False):
        if widget.logarithmic:
            assert told == pytest.approx(edge["factor"], rel=0.06)
        else:
            off = edge["share"] * (widget.high - widget.low)
            assert told == pytest.approx(off, rel=0.006)
    word = {"close": "is close", "near": "is near", "far": "is far off"}[expected["score"]]
    assert word in shown.message


REFUSED = [
    ("guess", off, r"guess must lie on the axis, 0\.0001 to 10; got")
    for off in (0, -1, 11, math.nan, math.inf)
]

CASE = Case(
    "Prediction('Which std?', 0.0884, low=1e-4, high=10, guess=0.05, label='std')",
    "your guess", "guess", {"guess": 0.2}, 50,
    "guess must lie on the axis, 0.0001 to 10; got 50", ("guess", "1e9"), 10,
    17, copies, check,
    refused=REFUSED,
    anew=lambda _, settings: value(**settings),
)  # fmt: skip
