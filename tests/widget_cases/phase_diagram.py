"""Points of phase diagrams, in both phases, between and beyond: for the contract of widgets."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from initscope.widgets import PhaseDiagram
from widget_cases.case import Case, Shown, near, numbers_in

POINTS: list[dict[str, Any]] = [
    {"activation": "tanh", "sigma_w2": 3.0, "sigma_b2": 0.05, "correlation": 0.5},
    {"activation": "tanh", "sigma_w2": 0.5, "sigma_b2": 0.0, "correlation": 0.99},
    {"activation": "tanh", "sigma_w2": 4.0, "sigma_b2": 1.0, "correlation": 0.0, "depth": 50},
    {"activation": "relu", "sigma_w2": 2.0, "sigma_b2": 0.0, "correlation": 0.0},
    {"activation": "relu", "sigma_w2": 3.5, "sigma_b2": 0.2, "correlation": 0.3, "width": 16},
    {"activation": "relu", "sigma_w2": 0.05, "sigma_b2": 0.0, "depth": 50, "seed": 99},
    {"activation": "gelu", "sigma_w2": 1.9831, "sigma_b2": 0.1729, "correlation": 0.9},
    {"activation": "gelu", "sigma_w2": 4.0, "sigma_b2": 0.0, "depth": 50, "width": 32},
    {"activation": "erf", "sigma_w2": 3.9, "sigma_b2": 0.01, "correlation": 0.7, "depth": 2},
    {"activation": "erf", "sigma_w2": 0.785398, "sigma_b2": 0.0, "correlation": 0.2},
    {"activation": "tanh", "sigma_w2": 3.0, "sigma_b2": 0.0, "correlation": 0.8},  # to 0, not 1e-31
]


def copies() -> list[PhaseDiagram]:
    return [PhaseDiagram(**{"width": 16} | settings) for settings in POINTS]


def tables(widget: PhaseDiagram) -> list[pd.DataFrame]:
    return [widget.path().set_index("layer")]


def check(widget: PhaseDiagram, shown: Shown) -> None:
    point, path = widget.point(), widget.path()
    end = path["correlation"].iloc[-1]
    unbounded = math.isnan(point["q"])

    pattern = (
        r"layer (\d+): variance (\S+), correlation (\S+)\nq\* (\S+)\nchi_1 (\S+)\nc\* (\S+)\n"
        r"depth scale of the correlation: (\S+) layers\ndepth scale of the length: (\S+) layers\n"
        r"depth scale of the gradient: (\S+) layers\n"
    )
    found = re.fullmatch(pattern, shown.printed)
    assert found
    scales = [point[name] for name in ("correlation", "length", "gradient")]
    expected = [widget.depth, path["variance"].iloc[-1], end, point["q"], point["chi_1"]]
    expected += [point["c"], *scales]
    values = [float(text) for text in found.groups()]
    assert values == pytest.approx(expected, 1e-5, 1e-6, nan_ok=True)

    facts = dict(re.findall(r"^(.+)\n+(.+)$", shown.text.split("FACTS\n")[1], re.MULTILINE))
    of = {name.rsplit(", ")[-1]: value for name, value in facts.items()}
    assert of["χ₁"] == "none" or numbers_in(of["χ₁"]) == [near(point["chi_1"])]
    assert numbers_in(of["q*"]) == ([] if unbounded else [near(point["q"])])
    fixed = point["c"] if point["c"] >= 1e-9 else 0.0  # what the iteration leaves of 0
    assert numbers_in(of["c*"]) == ([] if unbounded else [near(fixed)])
    for sign, scale in zip(("ξ_c", "ξ_q", "ξ_grad"), scales, strict=True):
        known = of[sign] != "none"
        assert known or unbounded
        finite = known and math.isfinite(scale)
        assert numbers_in(of[sign]) == ([near(scale)] if finite else [])
        assert (of[sign] == "no end") == (known and not finite)

    far = 6 * point["gradient"] > 1000
    phase = "At the edge" if far else "Ordered" if point["chi_1"] < 1 else "Chaotic"
    assert shown.message.startswith("No fixed point" if unbounded else phase)
    said = re.search(r"from correlation (\S+) to (\S+) in layer (\d+)", shown.message)
    assert said
    expected = [near(widget.correlation), near(end), widget.depth]
    assert [float(text) for text in said.groups()] == expected

    # The networks scatter round theory, the less the wider they are.
    assert shown.table is not None
    drawn = shown.table.filter(regex=r"network_\d").replace("", "nan").to_numpy(float)
    assert drawn.shape == (widget.depth + 1, 4)
    np.testing.assert_allclose(drawn[0], widget.correlation, atol=1e-6)
    assert (np.abs(drawn[np.isfinite(drawn)]) <= 1 + 1e-12).all()


REFUSED: list[tuple[str, Any, str]] = [
    ("sigma_w2", 5.0, "sigma_w2 must be from 0.05 to 4, not 5"),
    ("sigma_w2", math.nan, "sigma_w2 must be from 0.05 to 4, not nan"),
    ("sigma_b2", -0.1, "sigma_b2 must be from 0 to 1, not -0.1"),
    ("sigma_b2", "small", "float"),
    ("correlation", 1.0, "correlation must be from 0 to 0.99, not 1"),
    ("depth", 1, "depth must be from 2 to 50, not 1"),
    ("depth", 3.5, "int"),
    ("width", 100, "16.*32.*64.*128"),
    ("activation", "sin", "relu.*gelu.*tanh.*erf"),
]

CASE = Case(
    "PhaseDiagram(width=16)",
    "variance of the weights, σ_w²", "sigma_w2", {"sigma_w2": 1.5, "sigma_b2": 0.5}, 9.0,
    "sigma_w2 must be from 0.05 to 4, not 9", ("sigma_w2", "1e9"), 4.0,
    26, copies, check, tables, (1e-7, 1e-9),
    refused=REFUSED,
)  # fmt: skip
