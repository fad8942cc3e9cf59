"""AdamW on noise against the weights of models that others trained."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import integrate

from initscope.analysis import (
    alignment_in_training,
    implied_decays,
    implied_gradients,
    measured_over_predicted,
    predicted_through_training,
    recipe_table,
    share_of_std,
    weibull_std,
)
from initscope.data import load_checkpoint_stds, load_training_logs, load_weibull_scales
from initscope.errors import UsageError
from initscope.theory import RECIPES, adamw_variance_trajectory

PUBLISHED = Path(os.environ.get("INITSCOPE_DATA", "")) / "published_runs"

with_data = pytest.mark.skipif(
    not (os.environ.get("INITSCOPE_DATA") and (PUBLISHED / "settings.yaml").is_file()),
    reason="needs published_runs in the folder that INITSCOPE_DATA names",
)


def table_of(**scales: float) -> pd.DataFrame:
    """A table of scales from model__component=scale."""
    rows = [(*name.replace("_", "-", 1).split("__"), scale) for name, scale in scales.items()]
    return pd.DataFrame(rows, columns=["model", "component", "scale"])


# --- The noise law, solved apart -------------------------------------------------------------


def solve_ode(start: float, peak: float, steps: int, decay: float, rate_of) -> float:
    """The std at the end by d rho / dt = eta^2 - 2 eta lambda rho, in units of the peak rate."""

    def growth(t: float, rho: np.ndarray) -> np.ndarray:
        eta = peak * rate_of(t)
        return eta**2 - 2 * eta * decay * rho

    solution = integrate.solve_ivp(growth, (0, steps), [start**2], rtol=1e-8, max_step=steps / 300)
    return math.sqrt(solution.y[0, -1])


def cosine(steps: float, warmup: float, final: float = 0.1):
    """The rate of a time over the peak: a linear rise, then half a cosine."""

    def rate_of(t: float) -> float:
        if t < warmup:
            return t / warmup
        turned = math.cos(math.pi * min(1.0, (t - warmup) / (steps - warmup)))
        return final + (1 - final) * (1 + turned) / 2

    return rate_of


@pytest.fixture(scope="module")
def settings() -> dict:
    """The settings as they came with the measurements: not those of the package."""
    return yaml.safe_load((PUBLISHED / "settings.yaml").read_text())


def ode_ratios(settings: dict, scales: pd.DataFrame, decay: float | None = None) -> pd.Series:
    """Measured over predicted for all of Pythia's matrices, from the settings as they came."""
    found = {}
    for model, component, scale in scales[["model", "component", "scale"]].itertuples(index=False):
        if not model.startswith("pythia"):
            continue
        given = settings[model]
        width, layers = given["width"], given["layers"]
        writes = component in ("o", "ffn_out")
        start = 2 / (layers * math.sqrt(width)) if writes else math.sqrt(2 / (5 * width))
        if given["init"] is None:  # GPT-NeoX's own
            start = 0.02 / math.sqrt(2 * layers) if writes else 0.02
        steps = given["steps"]
        end = solve_ode(
            start,
            given["learning_rate"],
            steps,
            given["weight_decay"] if decay is None else decay,
            cosine(steps, given["warmup_steps"], given["final_fraction"]),
        )
        found[model, component] = scale / 0.8875 / end
    return pd.Series(found)


def of_pythia(table: pd.DataFrame, column: str) -> pd.Series:
    """One column of the rows of Pythia, by model and component."""
    return table[table["model"].str.startswith("pythia")].set_index(["model", "component"])[column]


@with_data
def test_ratios_are_those_of_an_equation_solved_apart(settings):
    scales = load_weibull_scales()
    ratios = of_pythia(measured_over_predicted(scales), "ratio_low")
    expected = ode_ratios(settings, scales)
    assert len(ratios) == 16
    np.testing.assert_allclose(ratios, expected[ratios.index], rtol=2e-3)
    # The decay that the paper of Pythia prints would be seen.
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(
            ratios, ode_ratios(settings, scales, 0.01)[ratios.index], rtol=0.3
        )


@with_data
def test_settings_are_those_that_came_with_the_measurements(settings):
    for model, given in settings.items():
        recipe = RECIPES[model]
        for mine, theirs in (
            (recipe.width, given["width"]),
            (recipe.layers, given["layers"]),
            (recipe.lr, given["learning_rate"]),
            (recipe.schedule, given["schedule"]),
            (recipe.final, given["final_fraction"]),
            (recipe.warmup, given["warmup_steps"]),
            (recipe.weight_decay, given["weight_decay"]),
            (list(recipe.betas), given["betas"]),
            (recipe.epsilon, given["epsilon"]),
        ):
            assert mine == theirs, model
        updates = given.get("steps") or given["tokens"] / given["batch_tokens"]
        cooled = 0 if model == "olmo-2-7b" else recipe.cooldown  # 50 billion tokens besides there
        assert recipe.steps + cooled == pytest.approx(updates, abs=1)


@with_data
def test_what_the_chapter_says_of_published_models():
    scales, checkpoints = load_weibull_scales(), load_checkpoint_stds()
    share = share_of_std(scales, checkpoints)
    assert share == pytest.approx(0.920, abs=1e-3)
    table = measured_over_predicted(scales, share).set_index(["model", "component"])
    low, high = table["ratio_low"], table["ratio_high"]
    np.testing.assert_allclose(high / low, 1 / share)
    queries = low.xs("qkv", level="component")
    assert queries.between(0.93, 1.0).all()
    assert high.xs("o", level="component")[["pythia-70m", "pythia-160m"]].max() < 0.7
    assert high["olmo-1-7b"].max() < 0.25
    assert low["olmo-2-7b"].drop(["q", "k"]).between(0.94, 1.02).all()
    decays = implied_decays(scales[scales["model"].str.startswith("pythia")], share)
    decays = decays.set_index(["model", "component"])
    assert (decays["low"] < decays["high"]).all()
    assert decays["low"].min() > 0.08  # and not .01
    queries = decays.xs("qkv", level="component")
    assert ((queries["low"] < 0.1) & (queries["high"] > 0.1)).all()


# --- Weibull scales --------------------------------------------------------------------------


def fit(weights: np.ndarray) -> tuple[float, float]:
    """Shape and scale: a line through ln(-ln(1 - F)) against ln |w|, between the deciles."""
    size = np.sort(np.abs(weights))
    above = (np.arange(len(size)) + 0.5) / len(size)
    inner = (above > 0.1) & (above < 0.9)
    slope, offset = np.polyfit(np.log(size[inner]), np.log(-np.log1p(-above[inner])), 1)
    return slope, math.exp(-offset / slope)


def test_a_weibull_scale_of_normal_weights_gives_their_std():
    random = np.random.default_rng(0)
    shape, scale = fit(0.03 * random.normal(size=1_000_000))
    assert shape == pytest.approx(1.2054, abs=3e-3)
    assert weibull_std(scale) == pytest.approx(0.03, rel=2e-3)
    # Heavy tails lie outside of what is fitted.
    heavy = random.standard_t(4, size=1_000_000)
    shape, scale = fit(heavy)
    assert shape < 1.15
    assert weibull_std(scale) < 0.95 * heavy.std()
    seen = weibull_std(scale) / heavy.std()
    assert weibull_std(scale, seen) == pytest.approx(heavy.std())


def test_share_is_of_all_matrices_together():
    scales = table_of(pythia_70m__o=0.01, pythia_70m__ffn_in=0.02, pythia_70m__ffn_out=0.03)
    checkpoints = pd.DataFrame({"step": [9, 3], "std": [0.04, 0.01]})
    together = math.sqrt((0.01**2 + 4 * 0.02**2 + 4 * 0.03**2) / 9) / 0.88746
    assert share_of_std(scales, checkpoints) == pytest.approx(together / 0.04)


# --- Tables ----------------------------------------------------------------------------------


def test_what_is_as_predicted_has_the_ratio_1_and_the_decay_of_the_recipe():
    first = measured_over_predicted(table_of(pythia_1b__qkv=0.02, pythia_1b__ffn_out=0.02))
    assert first["width"].tolist() == [2048, 2048]
    assert first["start"].tolist() == [
        pytest.approx(math.sqrt(2 / (5 * 2048))),
        pytest.approx(2 / (16 * math.sqrt(2048))),
    ]
    exact = first.assign(scale=first["predicted"] * 0.88746)[["model", "component", "scale"]]
    found = measured_over_predicted(exact, share=0.8)
    assert found["ratio_low"].tolist() == pytest.approx([1, 1])
    assert found["ratio_high"].tolist() == pytest.approx([1.25, 1.25])
    decays = implied_decays(exact, share=0.9)
    assert decays["high"].tolist() == pytest.approx([0.1, 0.1], rel=1e-4)
    assert (decays["low"] < 0.099).all()
    assert (decays["configured"] == 0.1).all()
    # No decay at all would leave less than this.
    assert implied_decays(exact.assign(scale=0.5))["low"].isna().all()


def of_shakespeare(scale: float) -> pd.DataFrame:
    """A table of one scale, of a recipe of few updates."""
    return pd.DataFrame({"model": ["shakespeare"], "component": ["q"], "scale": [scale]})


def test_a_gradient_that_is_found_gives_the_std_that_it_was_found_from():
    recipe = dataclasses.replace(RECIPES["shakespeare"], epsilon=1e-5)
    lr, decay, start = recipe.learning_rates(), recipe.weight_decay, recipe.std0
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, "shakespeare", recipe)
        for rms in (2e-6, 1e-5, 3e-4):
            variance = adamw_variance_trajectory(
                start, lr, decay, recipe.betas, epsilon=1e-5, gradient_rms=rms
            )
            scale = 0.88746 * math.sqrt(variance[-1])
            found = implied_gradients(of_shakespeare(scale), share=1.0)
            assert found["low"][0] == pytest.approx(rms, rel=1e-3)
            # Larger weights are those of a larger gradient.
            found = implied_gradients(of_shakespeare(scale), share=0.99)
            assert not found["high"][0] <= found["low"][0]
        for scale in (0.2, 0.001):  # more than without epsilon; less than is left of the start
            assert implied_gradients(of_shakespeare(scale))["low"].isna().all()
    with pytest.raises(UsageError, match="'llama-7b' says no epsilon"):
        implied_gradients(table_of(llama_7b__q=0.01))


def test_models_without_settings_are_left_out():
    scales = table_of(pythia_1b__o=0.02, qwen3_8b__o=0.02)
    assert measured_over_predicted(scales)["model"].tolist() == ["pythia-1b"]
    with pytest.raises(UsageError, match="no model whose settings are known"):
        measured_over_predicted(table_of(qwen3_8b__o=0.02))


def test_the_std_through_training_is_that_of_the_equation():
    steps = [0, 500, 5000, 20_000]
    recorded = pd.DataFrame({"step": steps, "std": [0.02, 0.02, 0.03, 0.04]})
    rate_of = cosine(20_000, 200)
    for peak, decay in ((1e-3, 0.2), (3e-4, 0.01)):
        found = predicted_through_training(
            recorded, "wikitext-70m", peak_lr=peak, weight_decay=decay
        )
        assert found["measured"].tolist() == recorded["std"].tolist()
        expected = [solve_ode(0.02, peak, max(step, 1), decay, rate_of) for step in steps]
        assert found["predicted"].tolist() == pytest.approx(expected, rel=0.01)
        assert found["lr"].tolist() == pytest.approx([peak * rate_of(step) for step in steps])
        np.testing.assert_allclose(found["ratio"], found["measured"] / found["predicted"])
    # Matrices that start apart are taken together by their squares.
    start = predicted_through_training(recorded[:1], "pythia-70m")["predicted"][0]
    stds = RECIPES["pythia-70m"].residual_std0, RECIPES["pythia-70m"].std0
    assert start == pytest.approx(math.sqrt((5 * stds[0] ** 2 + 4 * stds[1] ** 2) / 9))


@with_data
def test_runs_of_other_decays_end_where_they_do():
    logs = load_training_logs()
    ends = {}
    for run, log in logs.groupby("run"):
        peak, decay = log[["peak_lr", "weight_decay"]].iloc[0]
        table = predicted_through_training(log, "wikitext-70m", peak_lr=peak, weight_decay=decay)
        ends[run] = table["ratio"].iloc[-1]
        if peak == 1e-3:  # the first updates come late
            assert table["ratio"].min() == pytest.approx(0.80, abs=0.02)
            assert table["step"][table["ratio"].idxmin()] == 1000
    assert min(ends.values()) > 0.95
    assert max(ends.values()) == ends["eta_1e-3_decay_0.2"] == pytest.approx(1.184, abs=2e-3)


@with_data
def test_rates_of_the_logs_are_those_of_the_recipe():
    rates = RECIPES["wikitext-70m"].learning_rates()
    lines = (PUBLISHED / "runs_70m" / "eta_1e-3_decay_0.01_seed_3.jsonl").read_text().splitlines()
    logged = pd.DataFrame(map(json.loads, lines))
    found = rates[logged["step"].to_numpy() - 1]
    np.testing.assert_allclose(found, logged["eta"], rtol=2e-3, atol=1e-6)


@with_data
def test_alignment_of_the_logs_is_with_the_weights_after_the_step():
    logs = load_training_logs()
    found = alignment_in_training(logs)
    first = found[(found["run"] == "eta_1e-3_decay_0.01") & (found["step"] <= 5000)]
    assert first["over_length"].between(19, 23).all()
    assert first["noise"].to_numpy() == pytest.approx(20)
    np.testing.assert_allclose(first["share"], first["noise_share"], atol=0.02)
    # The terms of the logs add up to what the norm does: alignment less length less decay.
    log = logs[logs["run"] == "eta_1e-3_decay_0.01_seed_3"].set_index("step")
    norm = 6 * 9 * 512**2 * log["std"] ** 2
    change = log["alignment"] - log["length"] - log["decay"]
    between = (change + change.shift(-1))[:-1] / 2 * np.diff(log.index)
    assert between.sum() == pytest.approx(norm.iloc[-1] - norm.iloc[0], rel=0.01)


def test_alignment_by_hand():
    logs = pd.DataFrame(
        {
            "run": ["a", "a"],
            "step": [1, 2],
            "alignment": [3.0, np.nan],
            "length": [0.5, np.nan],
            "decay": [0.5, np.nan],
        }
    )
    found = alignment_in_training(logs, beta1=0.5)
    assert found["over_length"].tolist() == [6.0]
    assert found["noise"].tolist() == [4.0]
    assert found["share"].tolist() == [0.75]
    assert found["noise_share"].tolist() == [pytest.approx(2 / 3)]
    with pytest.raises(UsageError, match="no row with alignment"):
        alignment_in_training(logs[1:])


def test_recipes_in_one_table():
    table = recipe_table()
    assert list(table.index) == list(RECIPES)
    row = table.loc["llama-7b"]
    assert row["equilibrium"] == pytest.approx(math.sqrt(3e-4 / 0.2))
    assert row["time_constant"] == pytest.approx(1 / (2 * 3e-4 * 0.1))
    # Warm-up, then half a cosine: the sum of the rates in closed form.
    total = 3e-4 * (2000 / 2 + 0.55 * 248_000)
    assert row["time_constants"] == pytest.approx(2 * 0.1 * total, rel=1e-4)
    assert row["start_left"] == pytest.approx(math.exp(-0.1 * total), rel=1e-3)
    end = solve_ode(0.02, 3e-4, 250_000, 0.1, cosine(250_000, 2000))
    assert row["end"] == pytest.approx(end, rel=2e-3)
    assert row["over_kaiming"] == pytest.approx(row["end"] / math.sqrt(2 / 4096))
    assert table["in_band"].all()
    # The decay of a single recipe is not that of the others.
    assert table.loc["wikitext-70m", "equilibrium"] == pytest.approx(math.sqrt(1e-3 / 0.02))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: weibull_std(-1.0), "scale must be finite"),
        (lambda: weibull_std(1.0, 0.0), "share must be above 0"),
        (lambda: measured_over_predicted(table_of(pythia_1b__o=0.02), 0.0), "share must be"),
        (lambda: measured_over_predicted(table_of(pythia_1b__o=-0.02)), "scale of the table"),
        (lambda: measured_over_predicted(table_of(pythia_1b__head=0.02)), "unknown component"),
        (lambda: measured_over_predicted(pd.DataFrame({"model": ["a"]})), "no column scale"),
        (
            lambda: share_of_std(table_of(pythia_70m__o=0.01), pd.DataFrame({"step": [1]})),
            "no column std",
        ),
        (
            lambda: share_of_std(
                table_of(pythia_70m__o=0.01), pd.DataFrame({"step": [1], "std": [0.1]})
            ),
            "no ffn_in, ffn_out of 'pythia-70m'",
        ),
        (
            lambda: predicted_through_training(
                pd.DataFrame({"step": [20_001], "std": [0.1]}), "wikitext-70m"
            ),
            "updates 0 to 20000",
        ),
        (
            lambda: predicted_through_training(
                pd.DataFrame({"step": [1], "std": [0.1]}), "wikitext"
            ),
            "unknown recipe",
        ),
        (
            lambda: predicted_through_training(
                pd.DataFrame({"step": [1], "std": [0.1]}), "wikitext-70m", peak_lr=-1.0
            ),
            "peak_lr must be",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()
