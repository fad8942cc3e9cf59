"""GPTs that are pretrained in the page: for the contract of all widgets."""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np
import pandas as pd

from initscope.widgets import GPTTraining
from initscope.widgets.gpt_training.widget import MARGIN, MATRICES
from widget_cases.case import Case, Shown, near, numbers_in


def copies() -> list[GPTTraining]:
    short: dict[str, Any] = {"steps": 10, "width": 16}
    return [
        GPTTraining(**short, rival="small_start", weight_decay=10.0, learning_rate=0.01),
        GPTTraining(**short, rival="optimizer", seed=3),
        GPTTraining(**short, rival="scaling", weight_decay=0.0, std=0.02),
        GPTTraining(**short, optimizer="sgd", learning_rate=0.1),
        GPTTraining(steps=10, width=48, residual_scaling=False, learning_rate=0.03),
    ]


@functools.cache
def _trained(settings: tuple[tuple[str, Any], ...]) -> pd.DataFrame:
    return GPTTraining(**dict(settings)).train()


def trained(widget: GPTTraining) -> pd.DataFrame:
    """What torch makes of the settings."""
    names = ("std", "learning_rate", "weight_decay", "width", "optimizer", "rival", "steps", "seed")
    return _trained(tuple((name, getattr(widget, name)) for name in (*names, "residual_scaling")))


def tables(widget: GPTTraining) -> list[pd.DataFrame]:
    return [trained(widget).set_index(["run", "step"])]


def check(widget: GPTTraining, shown: Shown) -> None:
    table = trained(widget)
    check_sentence(shown.message, table, widget)
    for (_, expected), found in zip(table.groupby("run"), shown.names["runs"], strict=True):
        columns = ["step", "loss", *MATRICES]
        np.testing.assert_allclose(found[columns], expected[columns], rtol=1e-6)


def check_sentence(sentence: str, table: pd.DataFrame, widget: GPTTraining) -> None:
    """Medians, what was predicted, and the verdict, of each run that has come to its end."""
    assert sentence.startswith(f"After all {widget.steps:,} updates: ")
    states = sentence.removeprefix(f"After all {widget.steps:,} updates: ").split("; ")
    for state, (_, run), prediction in zip(
        states, table.groupby("run"), widget.predictions(), strict=True
    ):
        last = run.iloc[-1]
        medians = [last.filter(regex=f"^{role}_").median() for role in "qkv"]
        said = [float(re.findall(rf"{role} ([\d.e-]+\d)", state)[0]) for role in "QKV"]
        assert said == [near(median) for median in medians]
        if prediction is None:
            assert "predicted" not in state
            continue
        end = prediction[-1]
        assert numbers_in(state.partition("predicted ")[2])[0] == near(end)
        right = {r: abs(m / end - 1) <= MARGIN for r, m in zip("QKV", medians, strict=True)}
        ruling = state.partition(": ")[2] if len(table["run"].unique()) > 1 else state
        if all(right.values()):
            assert "the theory was right for Q, K and V" in ruling
        else:
            wrong = ruling.partition("wrong")[2].partition(" it")[0]
            for role, held in right.items():
                share = f"{role} lies {abs(medians['QKV'.index(role)] / end - 1):.0%}"
                assert (share in wrong) is not held
        inside = int((np.abs(last[MATRICES].astype(float) / end - 1) <= MARGIN).sum())
        assert f"({inside} of 36 matrices within 15%)" in ruling


REFUSED = [
    ("std", 0.0, "0.001"),
    ("std", 2.0, "between 0.001 and 1,"),
    ("learning_rate", 1.0, "1e-05 and 0.1"),
    ("learning_rate", float("nan"), "1e-05"),
    ("weight_decay", 0.001, "0 or between 0.01 and 10"),
    ("weight_decay", -1.0, "0 or between"),
    ("width", 40, "48"),
    ("optimizer", "adam", "adamw"),
    ("rival", "race", "small_start"),
    ("steps", 9, "10"),
    ("steps", 10.5, "int"),
    ("seed", -1, "0"),
]

CASE = Case(
    "GPTTraining(steps=10, width=16)",
    "std at the start", "std", {"std": 0.5}, 0.0, "0.001", ("std", "1e9"), 1.0,
    60, copies, check, tables, (2e-3, 1e-6), work=re.compile("^Train"),
    refused=REFUSED,
)  # fmt: skip
