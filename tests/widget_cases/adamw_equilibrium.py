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
from initscope.widgets.adamw_equilibrium.widget import DECAY_SCHEDULES
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
        "drift": draw.choice([0.0, log_uniform(draw, 1e-6, 0.1)]),
        "epsilon": draw.choice([0.0, log_uniform(draw, 1e-3, 1000)]),
        "final_gradient": draw.choice([1.0, log_uniform(draw, 0.01, 100)]),
        "decay_schedule": DECAY_SCHEDULES[seed // 4 % 3],
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
    {"decay_schedule": "independent", "final": 0.0, "lr": 0.1, "weight_decay": 6.0},
    {"decay_schedule": "rate", "final": 0.0, "schedule": "wsd", "warmup": 0},
    {"decay_schedule": "rate", "alignment": -0.05},  # grows where the rate is low
    {"decay_schedule": "independent", "lr": 0.0},
    {"epsilon": 1000.0, "final_gradient": 0.01, "schedule": "constant", "warmup": 0},
    {"final_gradient": 0.01, "beta2": 0.9999, "weight_decay": 1.0},
    {"final_gradient": 100.0, "beta2": 0.9999, "beta1": 0.0},
    {"drift": 0.1, "weight_decay": 0.0},
    {"drift": 0.1, "lr": 0.1, "weight_decay": 10.0, "alignment": 0.5},  # less than nothing left
    {"drift": 1e-3, "snr": 0.01, "epsilon": 0.5, "weight_decay": 1.0},
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
            "weight_decay": widget.weight_decays(),
            "gradient_rms": widget.gradient_rms(),
            "weight_of_the_update": weight_over_mean(widget),
            "learning_rate": rates,
            "left_of_initialization": widget.initial_part(),
            "equilibrium_of_the_rate": widget.equilibrium(rates, widget.gradient_rms()),
            "simulated_std": NAN,
        }
    step = pd.Index(range(1, widget.steps + 1), name="step")
    return [pd.DataFrame(columns, index=step)]


def weight_over_mean(widget: AdamWEquilibrium) -> np.ndarray:
    """The weight of each update in the last weights, from the product of what each step keeps."""
    rates = widget.learning_rates()
    keep = 1 - rates * (widget.weight_decays() + widget.alignment)
    later = np.append(np.cumprod(keep[:0:-1])[::-1], 1.0)
    return rates * later / np.abs(rates * later).mean()


def check_memory(widget: AdamWEquilibrium, shown: Shown, facts: dict[str, str]) -> None:
    """Compare with Python's numbers which part of the run the last weights know."""
    left = widget.initial_part()[-1] / widget.std0
    (shown_left,) = numbers_in(facts["left of each initial weight"].rstrip("% times"))
    unit = 1 if left > 10 else 0.01
    assert abs(shown_left) * unit == pytest.approx(left, rel=5e-3, abs=0.5 * unit)
    if abs(left) < 0.1:
        assert abs(shown_left) * unit == pytest.approx(left, abs=0.05 * unit)
    if widget.lr == 0:
        assert "know" not in shown.message
        assert facts["half of what is known"] == "none"
        return
    weight = np.abs(weight_over_mean(widget))
    printed = re.fullmatch(
        r"(\S+) of the start is left; half of the weight is that of the last (\d+) updates",
        shown.printed.splitlines()[1],
    )
    assert abs(float(printed[1])) == pytest.approx(left, rel=1e-5)
    half = int(printed[2])
    assert weight[-half:].sum() >= 0.5 * weight.sum() * (1 - 1e-12)
    assert weight[len(weight) - half + 1 :].sum() < 0.5 * weight.sum()
    share = 100 * half / widget.steps
    assert numbers_in(facts["half of what is known"]) == [near(share, 2)]
    said = re.search(r"is from the last (?:([\d,]+) )?updates?, (\S+)% of the run\.", shown.message)
    assert int((said[1] or "1").replace(",", "")) == half
    assert float(said[2]) == near(share, 2)
    # Who does not see the picture hears the same.
    assert f"half of it is that of the last {half:,} updates" in shown.text


def check(widget: AdamWEquilibrium, shown: Shown) -> None:
    facts = dict(re.findall(r"^(.+)\n+(.+)$", shown.text.split("FACTS\n")[1], re.MULTILINE))
    end, settled = widget.trajectory()[-1], float(widget.equilibrium())
    line = r"^std (\S+) after (\d+) steps, equilibrium (\S+)$"
    (found,) = re.findall(line, shown.printed, re.MULTILINE)
    assert int(found[1]) == widget.steps
    assert float(found[2]) == pytest.approx(settled, rel=1e-5)
    if not math.isfinite(end):
        assert "infinity" in shown.message
        return
    assert float(found[0]) == pytest.approx(end, rel=1e-5)
    check_memory(widget, shown, facts)
    assert numbers_in(facts["std at the end"]) == [near(end, 4)]
    if widget.lr == 0 or not math.isfinite(settled):
        assert facts["rotation a step at equilibrium"] == "none"
        return
    assert numbers_in(facts["equilibrium at the peak rate"]) == [near(settled, 4)]
    turn = adamw_rotation(
        widget.lr, widget.weight_decay, (widget.beta1, widget.beta2),
        widget.snr, widget.diffusion, widget.alignment,
    )  # fmt: skip
    # A drift makes the weights larger and leaves the step as it is.
    pull = widget.weight_decay + widget.alignment
    noise = widget.diffusion * widget.lr / (2 * pull) / (1 + widget.epsilon) ** 2
    turn = turn * np.sqrt(noise / (noise + widget.drift / (2 * pull)))
    assert float(facts["rotation a step at equilibrium"][:-1]) == near(math.degrees(turn))


REFUSED = [
    ("lr", 5.0, "lr must be 0 or between 1e-06 and 0.1, not 5"),
    ("lr", math.nan, "lr must be 0 or between 1e-06 and 0.1, not nan"),
    ("steps", 0, "steps must be between 10 and 1,000,000, not 0"),
    ("std0", math.inf, "std0 must be between 0.0001 and 10, not inf"),
    ("warmup", -1, "warmup must be 0 or between 1 and 100,000"),
    ("epsilon", 1e-4, "epsilon must be 0 or between 0.001 and 1,000, not 0.0001"),
    ("drift", -0.01, "drift must be 0 or between 1e-06 and 0.1, not -0.01"),
    ("final_gradient", 0.0, "final_gradient must be between 0.01 and 100, not 0"),
    ("decay_schedule", "AdamC", "constant.*rate.*independent"),
    ("schedule", "step", "constant.*cosine.*linear.*wsd"),
    ("preset", "gpt5", "nanogpt.*llama-7b"),
    ("lr", "fast", "float"),
]

CASE = Case(
    "AdamWEquilibrium(preset='nanogpt')",
    "std at initialization", "std0", {"std0": 0.5}, 11,
    "std0 must be between 0.0001 and 10, not 11", ("steps", "1"), 10,
    26, copies, check, tables,
    refused=REFUSED,
)  # fmt: skip
