"""Networks that train in the page: for the contract of all widgets."""

from __future__ import annotations

import dataclasses
import random
import re
from typing import Any

import numpy as np
import pandas as pd

from initscope.sweep import run_sweep
from initscope.widgets import WineTraining
from initscope.widgets.wine_training.widget import BATCH_SIZES, OPTIMIZERS, SCHEMES, WIDTHS
from widget_cases.case import Case, Shown


def random_widget(rng: random.Random, **changes: Any) -> WineTraining:
    """A widget of random settings; short, so that rounding does not grow into another run."""
    drawn = {
        "scheme": rng.choice(SCHEMES),
        "std": float(f"{10 ** rng.uniform(-2.5, 0.3):.4g}"),
        "depth": rng.randint(1, 10),
        "width": rng.choice(WIDTHS[2:7]),
        "optimizer": rng.choice(OPTIMIZERS),
        "learning_rate": float(f"{10 ** rng.uniform(-3, -1):.4g}"),
        "batch_size": rng.choice(BATCH_SIZES[2:]),
        "epochs": rng.randint(1, 4),
        "seeds": rng.randint(1, 4),
    }
    return WineTraining(**drawn | changes)


EXTREMES: list[dict[str, Any]] = [
    {"depth": 30, "width": 32, "std": 10.0},
    {"depth": 30, "width": 16, "std": 1e-4},
    {"depth": 1, "width": 1, "std": 1e-4, "optimizer": "adam"},
    {"depth": 2, "width": 1, "std": 10.0, "learning_rate": 10.0},
    {"depth": 5, "width": 32, "std": 2.0, "learning_rate": 0.05},
    {"depth": 3, "width": 16, "scheme": "kaiming", "learning_rate": 10.0, "optimizer": "momentum"},
]


def copies() -> list[WineTraining]:
    rng = random.Random(5)
    return [
        *(random_widget(rng, std=10 ** rng.uniform(-1.5, 0)) for _ in range(4)),
        WineTraining(scheme="race", depth=12, epochs=2),
        WineTraining(depth=5, std=2.0, learning_rate=0.05, epochs=5),  # some seeds diverge
        *(WineTraining(**{"epochs": 2, "seeds": 8} | changes) for changes in EXTREMES[:3]),
    ]


def sweep(widget: WineTraining) -> pd.DataFrame:
    """What torch makes of the settings, with the loss of every batch."""
    return run_sweep(dataclasses.replace(widget.spec(), loss_points=10**6), progress=False)


def tables(widget: WineTraining) -> list[pd.DataFrame]:
    table = sweep(widget)
    lost = table["diverged_step"].astype(float)
    start = {"scheme": table["scheme"], "seed": table["seed"]}
    norms = np.stack([run.reshape(-1, widget.depth)[0] for run in table["gradient_norm"]])
    before = {f"gradient_norm_{k + 1}": norms[:, k] for k in range(widget.depth)}
    first = pd.DataFrame({**start, "step": 0, **before, "diverged_step": lost})
    after = {name: table[name] for name in ("test_loss", "test_accuracy")}
    steps = table["loss_step"].iloc[0][-1]
    last = pd.DataFrame({**start, "step": steps, **after})[lost.isna()]
    return [part.set_index([*start, "step"]) for part in (first, last) if len(part)]


def check(widget: WineTraining, shown: Shown) -> None:
    table = sweep(widget)
    check_sentence(shown.message, table)
    for _, run in table.iterrows():
        lost = run["diverged_step"]
        fate = f"{run['test_accuracy']:.0%}" if pd.isna(lost) else f"diverged at step {lost}"
        assert f"seed {run['seed']}: {fate}" in " ".join(shown.text.split())
    steps = table["loss_step"].iloc[0][-1]
    if table["diverged_step"].isna().any():
        assert f"layer's gradient after {steps} steps" in shown.text
    same = shown.names["table"]
    assert list(same["scheme"]) == list(table["scheme"])
    for name in ("test_loss", "test_accuracy", "diverged_step"):
        np.testing.assert_allclose(same[name].astype(float), table[name].astype(float), rtol=1e-6)
    norms = [run[0] for run in table["gradient_norm"]]
    np.testing.assert_allclose(same["first_gradient"], norms)


def check_sentence(sentence: str, table: pd.DataFrame) -> None:
    """How many learn, how well, and which diverge, is what Python's table of the sweep says."""
    lost = table[table["diverged_step"].notna()]
    if len(lost) == len(table):
        assert re.search(r"[Aa]ll \d seeds diverged|[Ss]eed 0 diverged", sentence)
        return
    assert sentence.startswith(f"After all {table['loss_step'].iloc[0][-1]} steps: ")
    for _, runs in table.groupby("scheme", sort=False):
        alive = runs[runs["diverged_step"].isna()]
        learned = int((alive["test_accuracy"] >= 0.9).sum())
        assert f"{learned} of {len(runs)} seed" in sentence
        if len(alive):
            assert f"{alive['test_accuracy'].mean():.0%}" in sentence
    for _, run in lost.iterrows():
        assert re.search(rf"[Ss]eeds? [\d, and]*{run['seed']}\b.* diverged|all \d+ seeds", sentence)
    assert ("diverged" in sentence) == bool(len(lost))


REFUSED = [
    ("scheme", "glorot", "xavier"),
    ("std", 0.0, "0.0001"),
    ("std", 11.0, "10.0"),
    ("depth", 31, "30"),
    ("depth", 2.5, "int"),
    ("width", 48, "64"),
    ("optimizer", "lion", "momentum"),
    ("learning_rate", -0.1, "0.0001"),
    ("batch_size", 133, "128"),
    ("epochs", 0, "1"),
    ("seeds", 9, "8"),
    ("std", "0.1", "float"),
]

CASE = Case(
    "WineTraining(depth=4, width=8, epochs=2, seeds=2)",
    "std of the weights", "std", {"std": 0.5}, 0.0, "0.0001", ("std", "1e9"), 10,
    34, copies, check, tables, (1e-3, 1e-35), work=re.compile("^Run"),
    refused=REFUSED,
)  # fmt: skip
