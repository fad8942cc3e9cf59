"""Rows of attention, dense, frozen and between: for the contract of all widgets."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from initscope.analysis import mean_error
from initscope.theory import attention_participation, critical_logit_std
from initscope.widgets import AttentionSaturation
from widget_cases.case import Case, Shown, near, numbers_in

STDS = [k / 10 for k in range(81)]


def copies() -> list[AttentionSaturation]:
    return [
        AttentionSaturation(logit_std=std, n_keys=keys, seed=seed)
        for keys, std, seed in [
            (16, 0.0, 0), (16, 1.3, 5), (16, 2.0, 999), (16, 8.0, 2), (64, 1.0, 3),
            (256, 3.4, 4), (1024, 0.05, 7), (1024, 3.0, 0), (1024, 8.0, 1),
        ]
    ]  # fmt: skip


def squares_of(widget: AttentionSaturation, std: float) -> np.ndarray:
    """The sums of squares of its rows at another std."""
    other = AttentionSaturation(logit_std=std, n_keys=widget.n_keys, seed=widget.seed)
    return np.asarray((other.attention() ** 2).sum(1))


def tables(widget: AttentionSaturation) -> list[pd.DataFrame]:
    found = [squares_of(widget, std) for std in STDS]
    columns = {
        "n_keys": widget.n_keys,
        "predicted": attention_participation(widget.n_keys, STDS),
        "limit": attention_participation(widget.n_keys, STDS, limit=True),
        "row": [one[0] for one in found],
        "mean_of_rows": [one.mean() for one in found],
        "error_of_mean": [mean_error(one) for one in found],
    }
    return [pd.DataFrame(columns, index=pd.Index(STDS, name="logit_std"))]


def check(widget: AttentionSaturation, shown: Shown) -> None:
    std, keys = widget.logit_std, widget.n_keys
    squares, critical = squares_of(widget, std), float(critical_logit_std(keys))
    predicted = float(attention_participation(keys, std))
    limit = float(attention_participation(keys, std, limit=True))

    pattern = r"row (\S+), mean (\S+)\nintegral (\S+)\nlimit (\S+)\ncritical std (\S+)\n"
    found = re.fullmatch(pattern, shown.printed)
    assert found
    expected = [squares[0], squares.mean(), predicted, limit, critical]
    assert [float(text) for text in found.groups()] == pytest.approx(expected, 1e-4, nan_ok=True)

    facts = dict(re.findall(r"^(.+)\n+(.+)$", shown.text.split("FACTS\n")[1], re.MULTILINE))
    assert numbers_in(facts["Σp² of this row"]) == [near(squares[0])]
    mean, error = numbers_in(facts["mean of 400 rows"])
    assert mean == near(squares.mean())
    assert error == pytest.approx(mean_error(squares), rel=0.06, abs=1e-15)
    assert numbers_in(facts["mean by theory"]) == [near(predicted)]
    assert numbers_in(facts["limit of many keys"]) == ([] if math.isnan(limit) else [near(limit)])
    assert numbers_in(facts["critical b, √(2 ln T)"])[-1] == near(critical)
    regime = "In between" if math.isnan(limit) else "Frozen" if std > critical else "Dense"
    assert shown.message.startswith(regime if std > 0 else f"All {keys} keys")
    (weight_std,) = re.findall(r"std (\S+) at width 768", shown.text)
    assert float(weight_std) == near(math.sqrt(std / 768), 2)


REFUSED: list[tuple[str, Any, str]] = [
    ("logit_std", 9.0, "logit_std must be from 0 to 8, not 9"),
    ("logit_std", math.nan, "logit_std must be from 0 to 8, not nan"),
    ("logit_std", "wide", "float"),
    ("seed", -1, "seed must be from 0 to 999, not -1"),
    ("n_keys", 17, "16.*64.*256.*1024"),
]

CASE = Case(
    "AttentionSaturation()",
    "std of the logits, b", "logit_std", {"logit_std": 0.5}, 9,
    "logit_std must be from 0 to 8, not 9", ("logit_std", "1e9"), 8,
    21, copies, check, tables, (1e-4, 1e-12),
    refused=REFUSED,
)  # fmt: skip
