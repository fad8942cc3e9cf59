"""Recorded runs, and unlikely ones: for the contract of all widgets."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from initscope.tracking import COLUMNS
from initscope.widgets import QKVTraining
from initscope.widgets.codec import MANTISSA
from initscope.widgets.qkv_training.pretrained_runs import adamw_prediction
from widget_cases.case import NOTEBOOKS, Case, Shown, configure, near, numbers_in

NAN, INF = math.nan, math.inf

RUNS = NOTEBOOKS / "results" / "07_gpt2_qkv_dynamics" / "cpu"
FOLDERS = {
    "seed 0": RUNS / "seed-0",
    "std 0.005": RUNS / "std-0.005",
    "weight decay 0.3": RUNS / "decay-0.3",
}
PRECISION = 2.0 ** -(MANTISSA + 1)


def small_run(values: Any, roles: str = "q") -> pd.DataFrame:
    """A frame of the std in `values`, of shape (layers, steps), the same for all roles."""
    rows = [
        (10 * step, layer, role, "weight", "std", value)
        for layer, row in enumerate(values, start=1)
        for step, value in enumerate(row)
        for role in roles
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


OWN_RUN = small_run([[0.02, 0.03], [0.02, 0.05]], "qkv")
OWN_PREDICTIONS = adamw_prediction(OWN_RUN, np.full(10, 1e-3), 0.1, (0.9, 0.95))
UNLIKELY_RUNS = [
    [[0.02]],
    [[0.02, NAN], [0.02, 0.03]],
    [[0.02, INF], [0.03, NAN]],
    [[NAN, 0.03], [0.02, 0.03]],
    [[0.0, 0.0]],
    [[1e-30, 1e3], [1e-30, 1e30]],
]


def random_settings(widget: QKVTraining, n: int, seed: int) -> list[dict[str, Any]]:
    """Random settings."""
    draw = np.random.default_rng(seed)
    chosen = []
    for _ in range(n):
        run = widget.runs[str(draw.choice(list(widget.runs)))]
        role = str(draw.choice(list(run.roles)))
        chosen.append(
            {
                "run": run.label,
                "step": int(draw.choice(run.steps)),
                "role": role,
                "layer": int(draw.choice(run.roles[role].layers)),
                "quantity": str(draw.choice(["std", "ratio"])),
                "show_prediction": bool(draw.random() < 0.75),
            }
        )
    return chosen


def copies() -> list[QKVTraining]:
    recorded = QKVTraining.from_folders(FOLDERS)
    chosen = random_settings(recorded, 5, 2)
    chosen += [{**chosen[0], "step": 0, "show_prediction": True}]
    return [
        *(configure(QKVTraining(recorded.recorded, recorded.numbers), one) for one in chosen),
        QKVTraining.from_record(OWN_RUN, predictions=OWN_PREDICTIONS),
        *(
            QKVTraining.from_record(
                small_run(values), roles=["q"], quantity=("std", "ratio")[k % 2]
            )
            for k, values in enumerate(UNLIKELY_RUNS)
        ),
    ]


def own_frames(widget: QKVTraining) -> dict[str, Any]:
    """What the Python shown of a run of your own calls for."""
    if widget.shown.folder:
        return {}
    frame = small_run(widget.matrices.std, "".join(widget.shown.roles))
    return {"frame": frame, "predictions": OWN_PREDICTIONS}


def tables(widget: QKVTraining) -> list[pd.DataFrame]:
    run, quantity = widget.shown, widget.quantity
    at = run.steps.index(widget.step)
    rows = []
    for role, found in run.roles.items():
        measured, guess = found.curves(quantity)
        parts = [(quantity, measured)]
        if role == widget.role and widget.show_prediction and found.predicted is not None:
            parts.append((f"predicted_{quantity}", guess))
        for stat, values in parts:
            for layer, row in zip(found.layers, values, strict=True):
                kept = range(len(row)) if role == widget.role else [at]
                rows += [(run.steps[k], layer, role, "weight", stat, row[k]) for k in kept]
    if run.histogram_steps:
        k = int(np.abs(np.array(run.histogram_steps) - widget.step).argmin())
        layer = widget.matrices.layers.index(widget.layer)
        counts, edges = widget.matrices.counts[layer, k], widget.matrices.edges[layer, k]
        place = (run.histogram_steps[k], widget.layer, widget.role, "weight")
        ends = np.linspace(*edges, len(counts) + 1)
        bins = (f"count from {low} to {high}" for low, high in itertools.pairwise(ends))
        rows += [(*place, one, count) for one, count in zip(bins, counts, strict=True)]
    frame = pd.DataFrame(rows, columns=["step", "layer", "role", "kind", "stat", "value"])
    if run.label:
        frame.insert(0, "run", run.label)
    return [frame.set_index([*frame.columns[:-1]])]


def check(widget: QKVTraining, shown: Shown) -> None:
    ours, quantity = widget.summary(), widget.quantity
    if ours["low"] is None:
        assert "no finite std" in shown.message
        return
    low, high = ours["low"], ours["high"]
    told = re.findall(r" is (\S+) \(layer (\d+)\) to (\S+) \(layer (\d+)\)", shown.message)
    expected = [near(low[0]), low[1], near(high[0]), high[1]]
    assert [[*map(numbers_in, one)] for one in told] == ([[[e] for e in expected]] if told else [])
    assert bool(told) == (low[1] != high[1])
    starting = widget.step == widget.shown.steps[0]
    if not starting:
        (growth,) = re.findall(r"on average (.+?) times", shown.message)
        if math.isnan(ours["growth"]):
            assert growth == "not a number"
        else:
            assert numbers_in(growth) == [near(ours["growth"])]
    predicts = widget.show_prediction and math.isfinite(ours["off"])
    assert ("AdamW theory" in shown.message) == (predicts and math.isfinite(ours["predicted"]))
    if predicts and not starting:
        (off,) = re.findall(r"Over all layers it is off by (\S+)%", shown.message)
        assert float(off) == pytest.approx(100 * ours["off"], abs=0.51)

    if ours["missing"]:
        return  # of what is not finite, pandas tells something else
    widget.quantity = "std"
    check_printed(shown.printed, widget)
    widget.quantity = quantity


def check_printed(printed: str, widget: QKVTraining) -> None:
    """Compare the printed lines with the widget's numbers."""
    lines = dict(line.split(": ", 1) for line in printed.splitlines() if ": " in line)
    ours, exact = widget.summary(), {"rel": 3 * PRECISION, "nan_ok": True}
    for name, end in (("smallest std", "low"), ("largest std", "high")):
        assert numbers_in(lines[name]) == pytest.approx(ours[end], **exact)
    expected = [ours["spread"], ours["spread_at_start"]]
    if np.isfinite(expected).all():
        assert numbers_in(lines["growth"]) == pytest.approx([ours["growth"]], **exact)
        found = numbers_in(lines["largest over smallest"])
        assert found == pytest.approx(expected, **exact)
    predicts = widget.show_prediction and widget.matrices.predicted is not None
    assert ("AdamW" in printed) == predicts
    if predicts:
        found = numbers_in(lines[f"layer {widget.layer}"])
        assert found == pytest.approx([ours["measured"], ours["predicted"]], **exact)
        (last,) = (line for line in printed.splitlines() if line.startswith("AdamW theory"))
        off = [float(share) / 100 for share in re.findall(r"([\d.]+)%", last)]
        assert off == pytest.approx([ours["off"], ours["off_at_end"]], abs=4 * PRECISION)


REFUSED = [
    ("step", 7, "step must be one of the 61 steps shown, 0 to 3000; the nearest is 0, not"),
    ("step", "late", "step"),
    ("layer", 13, "layer must be a recorded layer, 1 to 12, not 13"),
    ("role", "x", "role must be 'q' or 'k' or 'v', not 'x'"),
    ("quantity", "variance", "quantity must be 'std' or 'ratio'"),
    ("show_prediction", "yes", "show_prediction"),
]

CASE = Case(
    f"QKVTraining.from_folder({str(RUNS / 'seed-0')!r})",
    "Step", "step", {"step": 400}, 7, "step must be one of the 61 steps shown",
    ("layer", "99"), 12,
    32, copies, check, tables, (1e-7, 0),
    given=own_frames,
    refused=REFUSED,
    anew=lambda widget, settings: type(widget)(widget.recorded, widget.numbers, **settings),
)  # fmt: skip
