"""Networks drawn one by one, none, dead and many: for the contract of all widgets."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from initscope.analysis.log_norms import log_moments
from initscope.widgets import LogNormDistribution
from widget_cases.case import Case, Shown, near, numbers_in

POINTS: list[dict[str, Any]] = [
    {"width": 16, "depth": 50, "networks": 0},
    {"width": 16, "depth": 50, "networks": 1},
    {"width": 16, "depth": 20, "networks": 2, "seed": 7},
    {"width": 32, "depth": 50, "networks": 40},
    {"width": 8, "depth": 50, "networks": 120, "seed": 3},
    {"width": 4, "depth": 50, "networks": 30, "seed": 99},  # many are dead
    {"width": 4, "depth": 1, "networks": 60},
    {"width": 8, "depth": 30, "activation": "linear", "networks": 80, "seed": 5},
    {"width": 64, "depth": 50, "networks": 5, "seed": 1},
]


def copies() -> list[LogNormDistribution]:
    return [LogNormDistribution(**settings) for settings in POINTS]


def tables(widget: LogNormDistribution) -> list[pd.DataFrame]:
    logs = widget.log_norms()
    if not len(logs):
        return []
    index = pd.MultiIndex.from_product(
        [range(logs.shape[0]), range(logs.shape[1])], names=["network", "layer"]
    )
    values = np.where(np.isfinite(logs), logs, np.nan).ravel()
    return [pd.DataFrame({"log_norm": values}, index).dropna()]


def check(widget: LogNormDistribution, shown: Shown) -> None:
    ends = widget.log_norms()[:, -1]
    alive = ends[np.isfinite(ends)]
    theory = widget.moments()

    lines = shown.printed.splitlines()
    assert lines[0] == f"{len(ends)} networks, {len(alive)} alive"
    assert numbers_in(lines[-1]) == [near(float(theory.mean), 5), near(float(theory.variance), 5)]

    facts = dict(re.findall(r"^(.+)\n+(.+)$", shown.text.split("FACTS\n")[1], re.MULTILINE))
    dead = len(ends) - len(alive)
    assert facts["networks drawn"] == (f"{len(ends)}, {dead} dead" if dead else str(len(ends)))
    assert numbers_in(facts["mean by theory"]) == [near(float(theory.mean))]
    assert numbers_in(facts["variance by theory"]) == [near(float(theory.variance))]
    rule = 2 if widget.activation == "linear" else 5
    first = rule * widget.depth / widget.width
    assert numbers_in(facts[f"variance by the rule {rule} Σ 1/n"]) == [near(first)]
    if len(alive) < 2:
        assert facts["variance of the logarithm"] == "none yet"
        return
    found = log_moments(alive)
    for name in ("mean", "variance"):
        value, error = getattr(found, name), getattr(found, f"{name}_error")
        expected = [pytest.approx(value, rel=6e-3), pytest.approx(error, rel=0.06)]
        assert numbers_in(facts[f"{name} of the logarithm"]) == expected
        printed = next(line for line in lines[1:] if line.startswith(name))
        assert numbers_in(printed) == [near(value, 4), near(error, 3)]
    within = (
        abs(found.mean - theory.mean) <= found.mean_error,
        abs(found.variance - theory.variance) <= found.variance_error,
    )
    verdict = {
        (True, True): "both within their 95% intervals",
        (False, True): "the mean outside of its 95% interval",
        (True, False): "the variance outside of its 95% interval",
        (False, False): "both outside of their 95% intervals",
    }
    told = verdict[within] if len(alive) >= 10 else "10 networks or more can tell"
    assert told in shown.message
    assert f"Over {len(ends)} networks" in shown.message
    if np.isfinite(ends[-1]):
        leaves = re.search(r"leaves (\S+) of the signal", shown.message)
        assert leaves
        assert float(leaves[1].replace(",", "")) == near(float(np.exp(ends[-1])))
    else:
        assert "newest network is dead" in shown.message


REFUSED: list[tuple[str, Any, str]] = [
    ("width", 30, "16.*32.*64"),
    ("depth", 0, "depth must be from 1 to 50, not 0"),
    ("depth", 2.5, "int"),
    ("networks", 501, "networks must be from 0 to 500, not 501"),
    ("activation", "gelu", "relu.*linear"),
    ("seed", -1, "seed must be from 0 to 99, not -1"),
]

CASE = Case(
    "LogNormDistribution(depth=20, networks=4)",
    "depth, hidden layers", "depth", {"depth": 12}, 90,
    "depth must be from 1 to 50, not 90", ("depth", "1e9"), 50,
    23, copies, check, tables, (1e-4, 1e-6),
    refused=REFUSED,
)  # fmt: skip
