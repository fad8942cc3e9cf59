"""Places of recorded sweeps, and of an extreme one: for the contract of all widgets."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from initscope.sweep import Optimizer, SweepSpec, run_sweep
from initscope.widgets import StabilityMap
from initscope.widgets.stability_map.sweeps import NEVER
from initscope.widgets.stability_map.widget import QUANTITIES
from widget_cases.case import NOTEBOOKS, Case, Shown, configure

NAN = math.nan

FOLDER = NOTEBOOKS / "results" / "05_std_sweep" / "cpu"
FILES = {
    "MNIST by depth": "mnist_depth",
    "MNIST by width": "mnist_width",
    "MNIST by training": "mnist",
    "Wine by training": "wine",
    "Wine with tanh": "wine_tanh",
}


def recorded_sweeps() -> StabilityMap:
    return StabilityMap.from_tables({n: FOLDER / f"{f}.parquet" for n, f in FILES.items()})


def extreme_sweep() -> pd.DataFrame:
    """One weight layer, a layer of width 1, and stds that lose everything; one run is missing."""
    spec = SweepSpec(
        dataset="wine",
        hidden=((), (1,), (5, 5)),
        stds=(1e-30, 1e-3, 1e3, 1e30),
        optimizers=(Optimizer("sgd", 0.1, momentum=0.9), Optimizer("adam", 0.01)),
        seeds=(3, 8),
        epochs=2,
        loss_points=3,
    )
    return run_sweep(spec, progress=False).iloc[:-1]


def random_settings(widget: StabilityMap, n: int, seed: int) -> list[dict[str, Any]]:
    """Random places of the map."""
    draw = np.random.default_rng(seed)

    def one(values: list[Any]) -> Any:
        return values[draw.integers(len(values))]

    found = []
    for _ in range(n):
        sweep = one(widget.recorded["sweeps"])
        found.append(
            {
                "sweep": sweep["name"],
                "quantity": one(list(QUANTITIES)),
                "training": one(sweep["trainings"])["key"],
                "network": one(sweep["networks"])["widths"],
                "std": one(sweep["stds"]),
                "seed": one(["median", "median", *sweep["seeds"]]),
            }
        )
    return found


def copies() -> list[StabilityMap]:
    recorded, extreme = recorded_sweeps(), StabilityMap.from_tables({"mine": extreme_sweep()})
    chosen = [(recorded, one) for one in random_settings(recorded, 5, 0)]
    places = [(1e-30, "13-3"), (1e30, "13-5-5-3"), (1e30, "13-3"), (1e3, "13-1-3")]
    for quantity, (std, network) in zip(QUANTITIES, [*places, *places[:2]], strict=True):
        chosen.append((extreme, {"quantity": quantity, "std": std, "network": network}))
    missing = {"training": "adam 0.01", "network": "13-5-5-3", "std": 1e30, "seed": 8}
    chosen.append((extreme, missing))
    return [configure(StabilityMap(w.recorded, w.numbers), one) for w, one in chosen]


def tables(widget: StabilityMap) -> list[pd.DataFrame]:
    sweep, network, training, _, seed = widget._place()
    networks, trainings = sweep["networks"], sweep["trainings"]
    by_network = len(networks) > 1
    places = [
        (n["widths"], t["key"])
        for n in (networks if by_network else [networks[network]])
        for t in ([trainings[training]] if by_network else trainings)
    ]
    name = f"map: {widget.quantity}"
    rows = [
        (*place, std, str(widget.seed), name, "", "", value)
        for place, row in zip(places, widget.grid()[1], strict=True)
        for std, value in zip(sweep["stds"], row, strict=True)
    ]
    cell, last = widget.cell(), sweep["last_probe"]
    chosen = range(len(sweep["seeds"])) if seed is None else [seed]
    for k in (k for k in chosen if not np.isnan(cell["diverged"][k])):
        at = (widget.network, widget.training, widget.std, str(sweep["seeds"][k]))
        lost = cell["diverged"][k]
        rows += [(*at, "test_accuracy", "", "", cell["accuracy"][k])]
        rows += [(*at, "diverged_step", "", "", NAN if lost == NEVER else lost)]
        losses = zip(sweep["steps"], cell["loss"][k], strict=True)
        rows += [(*at, "train_loss", step, "", loss) for step, loss in losses]
        for stat, step, array in (
            ("forward_variance", 0, "forward_start"),
            ("forward_variance", last, "forward_end"),
            ("backward_variance", 0, "backward_start"),
            ("backward_variance", last, "backward_end"),
            ("dead_fraction", last, "dead_end"),
        ):
            along = enumerate(cell[array][k], start=1)
            rows += [(*at, stat, step, layer, value) for layer, value in along]
    columns = ["widths", "training", "std", "seed", "stat", "step", "layer", "value"]
    frame = pd.DataFrame(rows, columns=columns).assign(sweep=sweep["name"])
    return [frame.set_index(["sweep", *columns[:-1]])]


def check(widget: StabilityMap, shown: Shown) -> None:
    if shown.message.endswith("not recorded."):
        assert len(shown.names["runs"]) == 0
        return
    sweep, _, _, _, seed = widget._place()
    cell = widget.cell()
    there = np.flatnonzero(~np.isnan(cell["diverged"]))
    rows = [line.split("\t") for line in shown.text.splitlines() if line.count("\t") == 3][1:]
    for k, row in zip(there, rows, strict=True):
        assert row[0] == str(sweep["seeds"][k])
        assert float(row[1].rstrip("%")) == pytest.approx(100 * cell["accuracy"][k], abs=0.051)
    runs = shown.names["runs"]
    assert len(runs) == (len(there) if seed is None else 1)
    told = float(re.findall(r"accuracy ([\d.]+)%", shown.message)[0])
    for accuracy in (shown.names["accuracy"], runs["test_accuracy"].median()):
        assert told == pytest.approx(100 * accuracy, abs=0.056)
    in_all = re.findall(r"([\d.e+-]+) in all", shown.message.replace(",", ""))
    if in_all:
        expected = pytest.approx(math.log10(float(in_all[0])), abs=0.04)
        assert shown.names["change"] == expected
    band = [
        [float(edge) for edge in re.findall(pattern, text)[0]]
        for pattern, text in (
            (r"theory band \((\S+) to (\S+)\)", shown.message),
            (r"theory band: (\S+) to (\S+)", shown.printed),
        )
    ]
    assert band[0] == pytest.approx(band[1], rel=1e-3)


MNIST = {f"by {rows}": str(FOLDER / f"mnist_{rows}.parquet") for rows in ("depth", "width")}


REFUSED = [
    ("sweep", "MNIST", "sweep must be one of 'by depth', .*; not 'MNIST'"),
    ("quantity", "colour", "quantity"),
    ("training", "adam 1", "training must be one of 'sgd 0.1', 'adam 0.001'; not 'adam 1'"),
    ("network", "784-10", "network must be one of '784-128-10', .*; not '784-10'"),
    ("std", 100.0, "std must lie between 0.0001 and 10 in 'by depth', not 100.0"),
    ("std", math.nan, "std must lie between"),
    ("std", "large", "std"),
    ("seed", 3, "seed must be one of 'median', 0, 1, 2; not 3"),
    ("seed", "all", "seed"),
]

CASE = Case(
    f"StabilityMap.from_tables({MNIST!r}, std=0.1)",
    "std", "std", {"sweep": "by width", "network": "784-512-512-10", "std": 1.0}, 1e9,
    "std must lie between 0.0001 and 10 in 'by width'", ("std", "1e9"), 10,
    66, copies, check, tables, (1e-5, 1e-6),
    given=lambda widget: {"table": extreme_sweep()} if widget.sweep == "mine" else {},
    refused=REFUSED,
    anew=lambda widget, settings: type(widget)(widget.recorded, widget.numbers, **settings),
)  # fmt: skip
