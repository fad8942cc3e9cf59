"""Residual streams, pre-LN and post-LN, with 1/sqrt(2L) and without: for the contract."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from initscope.theory import residual_stream_variance
from initscope.widgets import ResidualStream
from initscope.widgets.residual_stream.widget import LENGTH
from widget_cases.case import Case, Shown, near, numbers_in

POINTS: list[dict[str, Any]] = [
    {"n_layer": 12},
    {"n_layer": 12, "scaled": False},
    {"n_layer": 1, "std": 0.04, "n_embd": 384},
    {"n_layer": 1, "norm": "post"},
    {"n_layer": 12, "norm": "post", "scaled": False, "std": 0.036},
    {"n_layer": 24, "std": 0.002, "n_embd": 384},
    {"n_layer": 6, "norm": "post", "std": 0.03, "n_embd": 384},
    {"n_layer": 4, "scaled": False, "std": 0.031, "n_embd": 1024},
    {"n_layer": 12, "norm": "post"},
]


def copies() -> list[ResidualStream]:
    return [ResidualStream(**settings) for settings in POINTS]


def tables(widget: ResidualStream) -> list[pd.DataFrame]:
    found = widget.branches().set_index("block")
    return [found.iloc[1:], found[["variance", "gradient"]]]


def check(widget: ResidualStream, shown: Shown) -> None:
    found = widget.branches()
    end, gradient = found["variance"].iloc[-1], found["gradient"].to_numpy()
    pre = widget.norm == "pre"
    if pre:
        sizes = (widget.n_layer, widget.n_embd, LENGTH, widget.std)
        out = widget.std / np.sqrt(2 * widget.n_layer) if widget.scaled else widget.std
        np.testing.assert_allclose(
            found["variance"], residual_stream_variance(*sizes, residual_std=out), rtol=1e-12
        )

    lines = shown.printed.splitlines()
    if pre:
        assert numbers_in(lines[0]) == [near(v, 6) for v in (2 * widget.std**2, end)]
    after = re.search(r"gradient after block 1 (\S+)", shown.printed)
    assert after
    assert float(after[1]) == near(gradient[1], 6)
    assert len(lines) == pre + 1 + 1 + widget.n_layer + 1

    facts = dict(re.findall(r"^(.+)\n+(.+)$", shown.text.split("FACTS\n")[1], re.MULTILINE))
    assert numbers_in(facts["variance of the embeddings"]) == [near(2 * widget.std**2)]
    assert numbers_in(facts["of the stream at the end"]) == [near(end)]
    word = "without" if widget.scaled else "with"
    assert numbers_in(facts[f"at the end {word} 1/√(2L)"]) == [near(widget.other_end())]
    assert numbers_in(facts["gradient after block 1"]) == [near(gradient[1])]
    logits = (widget.n_embd * widget.std**2) ** 2
    assert numbers_in(facts["variance of the attention logits"]) == [near(logits)]
    share = found["attention"].sum() / (found["attention"].sum() + found["mlp"].sum())
    part = facts["part that attention adds"]
    if share < 5e-4:
        assert part == "below 0.05%"
    else:
        tolerance = 0.51 if share >= 0.1 else 0.051
        assert float(part.rstrip("%")) == pytest.approx(100 * share, abs=tolerance)

    if pre:
        told = re.match(
            r"Pre-LN: the variance of the stream grows from (\S+) in the embeddings to (\S+) after "
            r"\d+ blocks?, (\S+) times;",
            shown.message,
        )
        assert told
        values = [float(text.replace(",", "")) for text in told.groups()]
        assert values == [near(v) for v in (2 * widget.std**2, end, end / (2 * widget.std**2))]
        assert near(widget.other_end()) in numbers_in(shown.message)
    else:
        most = found[["attention", "mlp"]].max().max()
        told = re.search(r"no branch adds more than (\S+)\.(?: |$)", shown.message)
        assert told
        assert float(told[1]) == near(most)
    if widget.n_layer > 1:
        same = f"{gradient[1]:.3g}" == "1"
        factor = "the same variance after block 1 as" if same else "that it has"
        assert f"{factor} after block {widget.n_layer}" in shown.message
        assert same or near(gradient[1]) in numbers_in(shown.message)


REFUSED: list[tuple[str, Any, str]] = [
    ("norm", "both", "pre.*post"),
    ("n_layer", 0, "n_layer must be from 1 to 48, not 0"),
    ("n_layer", 2.5, "int"),
    ("std", 0.05, "std must be from 0.002 to 0.04, not 0.05"),
    ("std", float("nan"), "std must be from 0.002 to 0.04, not nan"),
    ("n_embd", 100, "384.*768.*1024"),
]

CASE = Case(
    "ResidualStream(n_layer=6)",
    "blocks, L", "n_layer", {"n_layer": 3, "scaled": False}, 90,
    "n_layer must be from 1 to 48, not 90", ("n_layer", "1e9"), 48,
    23, copies, check, tables, (1e-6, 1e-12),
    refused=REFUSED,
)  # fmt: skip
