"""Runs of AdamW, published, random and extreme: for the contract of all widgets."""

from __future__ import annotations

import math
import random
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from initscope.theory import adamw_rotation
from initscope.theory.learning_rates import SCHEDULES
from initscope.theory.published_runs import PUBLISHED_RUNS
from initscope.widgets import AdamWEquilibrium
from widget_cases.case import Case, Shown, near, numbers_in

NAN = math.nan


def log_uniform(draw: random.Random, low: float, high: float) -> float:
    return float(f"{10 ** draw.uniform(math.log10(low), math.log10(high)):.4g}")


def random_settings(seed: int, most_steps: float = 3e4) -> dict[str, Any]:
    draw = random.Random(seed)
    return {
        "lr": log_uniform(draw, 1e-5, 1e-2),
        "weight_decay": log_uniform(draw, 1e-2, 3),
        "schedule": SCHEDULES[seed % 4],
        "warmup": draw.choice([0, 1, 30, 1000]),
        "final": round(draw.uniform(0, 1), 2),
        "steps": int(log_uniform(draw, 100, most_steps)),
        "std0": log_uniform(draw, 1e-3, 1),
        "beta1": round(draw.uniform(0, 0.99), 2),
        "beta2": round(draw.uniform(0.9, 0.999), 4),
        "snr": draw.choice([0.0, 0.0, log_uniform(draw, 1e-4, 10)]),
        "diffusion": draw.choice([1.0, log_uniform(draw, 0.1, 100)]),
        "alignment": draw.choice([0.0, round(draw.uniform(-0.5, 0.5), 3)]),
    }


EXTREMES: list[dict[str, Any]] = [
    {"lr": 0.0},
    {"weight_decay": 0.0},
    {"weight_decay": 0.0, "snr": 0.5},
    {"lr": 0.1, "weight_decay": 10.0, "alignment": 0.5},  # more than all decays in a step
    {"lr": 0.1, "weight_decay": 0.0, "alignment": -0.5, "steps": 20_000},  # grows to infinity
    {"steps": 10, "warmup": 100_000},
    {"beta1": 0.0, "final": 0.0},
    {"beta1": 0.99, "std0": 10.0, "diffusion": 100.0},
    {"alignment": -0.1},
    {"std0": 1e-4, "lr": 1e-6, "weight_decay": 1e-4},
]
SHORT_RUN = {**PUBLISHED_RUNS["shakespeare"], "steps": 2000}


def copies() -> list[AdamWEquilibrium]:
    axes = [{}, {"log_std": True, "log_steps": True}]
    return [
        *(AdamWEquilibrium(**random_settings(seed)) for seed in range(100, 106)),
        *(
            AdamWEquilibrium(**{**SHORT_RUN, **one, **axes[k % 2]})
            for k, one in enumerate(EXTREMES)
        ),
    ]


def tables(widget: AdamWEquilibrium) -> list[pd.DataFrame]:
    rates = widget.learning_rates()
    with np.errstate(over="ignore", invalid="ignore"):
        columns = {
            "std": widget.trajectory(),
            "learning_rate": rates,
            "left_of_initialization": widget.initial_part(),
            "equilibrium_of_the_rate": widget.equilibrium(rates),
            "simulated_std": NAN,
        }
    step = pd.Index(range(1, widget.steps + 1), name="step")
    return [pd.DataFrame(columns, index=step)]


def check(widget: AdamWEquilibrium, shown: Shown) -> None:
    facts = dict(re.findall(r"^(.+)\n+(.+)$", shown.text.split("FACTS\n")[1], re.MULTILINE))
    end, settled = widget.trajectory()[-1], float(widget.equilibrium())
    (found,) = re.findall(r"^std (\S+) after (\d+) steps, equilibrium (\S+)\n$", shown.printed)
    assert int(found[1]) == widget.steps
    assert float(found[2]) == pytest.approx(settled, rel=1e-5)
    if not math.isfinite(end):
        assert "infinity" in shown.message
        return
    assert float(found[0]) == pytest.approx(end, rel=1e-5)
    assert numbers_in(facts["std at the end"]) == [near(end, 4)]
    if widget.lr == 0 or not math.isfinite(settled):
        assert facts["rotation a step at equilibrium"] == "none"
        return
    assert numbers_in(facts["equilibrium at the peak rate"]) == [near(settled, 4)]
    turn = adamw_rotation(
        widget.lr, widget.weight_decay, (widget.beta1, widget.beta2),
        widget.snr, widget.diffusion, widget.alignment,
    )  # fmt: skip
    assert float(facts["rotation a step at equilibrium"][:-1]) == near(math.degrees(turn))


REFUSED = [
    ("lr", 5.0, "lr must be 0 or between 1e-06 and 0.1, not 5"),
    ("lr", math.nan, "lr must be 0 or between 1e-06 and 0.1, not nan"),
    ("steps", 0, "steps must be between 10 and 1,000,000, not 0"),
    ("std0", math.inf, "std0 must be between 0.0001 and 10, not inf"),
    ("warmup", -1, "warmup must be 0 or between 1 and 100,000"),
    ("schedule", "step", "constant.*cosine.*linear.*wsd"),
    ("preset", "gpt5", "nanogpt.*llama-7b"),
    ("lr", "fast", "float"),
]

CASE = Case(
    "AdamWEquilibrium(preset='nanogpt')",
    "std at initialization", "std0", {"std0": 0.5}, 11,
    "std0 must be between 0.0001 and 10, not 11", ("steps", "1"), 10,
    27, copies, check, tables,
    refused=REFUSED,
)  # fmt: skip
