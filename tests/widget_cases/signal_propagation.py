"""Random networks, layer by layer: for the contract of all widgets."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest

from initscope.widgets import SignalPropagation
from initscope.widgets.signal_propagation.widget import _band
from widget_cases.case import Case, Shown

LN10 = math.log(10)
NAN = math.nan


def copies() -> list[SignalPropagation]:
    deep = {"depth": 100, "draws": 1}
    return [
        SignalPropagation(std=0.1, depth=20, width=64, draws=6),
        SignalPropagation(scheme="xavier", depth=10, width=128, activation="linear", bias_std=0.1),
        SignalPropagation(std=0.15, depth=12, width=64, activation="gelu", residual=True, draws=6),
        SignalPropagation(
            scheme="kaiming", depth=12, width=64, activation="tanh", layer_norm=True, draws=6
        ),
        SignalPropagation(std=0.3, depth=7, width=32, activation="leaky_relu", bias_std=0.5),
        SignalPropagation(std=1e3, width=64, **deep),
        SignalPropagation(std=1e3, width=32, activation="gelu", **deep),
        SignalPropagation(std=1e3, width=16, activation="tanh", **deep),
        SignalPropagation(std=1e-4, width=16, **deep),
        SignalPropagation(std=1e3, width=16, depth=1, activation="gelu"),
        SignalPropagation(std=1e3, width=16, residual=True, bias_std=2.0, **deep),
        SignalPropagation(std=1e-4, width=16, layer_norm=True, activation="tanh", **deep),
    ]


def tables(widget: SignalPropagation) -> list[pd.DataFrame]:
    theory = widget._theory()
    plain = not (widget.residual or widget.layer_norm or widget._saturated(theory))
    name = "identity" if widget.activation == "linear" else widget.activation
    sizes = [widget.width] * (widget.depth + 1)
    band = _band(sizes, name, widget.std, widget.bias_std) if plain else None
    parts = []
    for direction in ("forward", "backward"):
        part = {"layer": range(widget.depth + 1), "log10_theory": getattr(theory, direction) / LN10}
        for k, end in enumerate(("low", "high")):
            if band or not plain:  # where floats have no room for it, the page alone has logarithms
                part[f"log10_{end}"] = np.log10(getattr(band[k], direction)) if band else NAN
        parts.append(pd.DataFrame({"direction": direction, "log10_size_from": "", **part}))
    return [pd.concat(parts).set_index(["direction", "layer", "log10_size_from"])]


def check(widget: SignalPropagation, shown: Shown) -> None:
    assert shown.table is not None
    sizes = shown.table[shown.table["direction"] == "size"]
    shares = sizes["share"].astype(float).groupby(sizes["layer"]).sum()
    assert set(shares.index) == {
        str(layer) for layer in (1, math.ceil(widget.depth / 2), widget.depth)
    }
    assert shares.between(0.97, 1 + 1e-9).all()  # the smallest values may lie below the axis
    rows = shown.table[shown.table["direction"] != "size"].set_index(["direction", "layer"])
    drawn = rows.filter(like="log10_network").astype(float)
    assert drawn.shape == (2 * (widget.depth + 1), widget.draws)
    end = drawn.loc["forward", str(widget.depth)]
    told = re.findall(r"(?:variance is |shrinks: |vanishes: )(\S+)", shown.message)[0]
    mantissa, _, exponent = told.replace(",", "").partition("e")
    if told != "nothing":
        said = math.log10(float(mantissa)) + float(exponent or 0)
        assert said == pytest.approx(end.mean(), abs=0.03 if abs(said) < 290 else 0.51)

    places = [("forward", widget.depth), ("backward", 1)]
    for line, (way, layer) in zip(shown.printed.splitlines(), places, strict=True):
        assert line.startswith(f"{way}, layer {layer}: theory ")
        theory, measured = (float(part.split()[-1]) for part in line.split(",")[1:])
        expected = float(rows["log10_theory"][way, str(layer)])
        if abs(expected) > 30:
            continue  # float32 may not hold it
        assert math.log10(theory) == pytest.approx(expected, abs=1e-3)
        # Other networks: drawn by torch.
        networks = drawn.loc[way, str(layer)]
        if widget.draws > 3:
            spread = max(networks.std(ddof=0), 0.02)
            assert math.log10(measured) == pytest.approx(networks.mean(), abs=4 * spread)


REFUSED = [
    ("std", math.nan, "std must be from 0.0001 to 1000, not nan"),
    ("std", math.inf, "from 0.0001 to 1000"),
    ("std", 0.0, "from 0.0001 to 1000"),
    ("depth", 0, "depth must be from 1 to 100, not 0"),
    ("depth", 2.5, "int"),
    ("width", 100, "width must be one of 16, 32, 64, 128, 256, 512"),
    ("activation", "Relu", "activation must be one of relu, leaky_relu"),
    ("scheme", "he", "scheme must be one of free, kaiming"),
    ("bias_std", -0.1, "bias_std must be from 0 to 2"),
    ("draws", 11, "draws must be from 1 to 10"),
    ("seed", -1, "seed must be from 0 to 99"),
    ("seed", 100, "seed must be from 0 to 99"),
]

CASE = Case(
    "SignalPropagation(std=0.1, depth=10, width=32, draws=2)",
    "std of the weights", "std", {"std": 0.25}, -1, "std must be from 0.0001 to 1000, not -1",
    ("std", "1e9"), 1000,
    39, copies, check, tables, (0, 1e-4 / LN10),
    refused=REFUSED,
)  # fmt: skip
