"""Weight matrices in training on noise, and in theory."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import tiny_transformers as tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import AdamW
from weight_tables import rows, trajectories

from initscope.analysis.noise import growth_over_noise, predicted_std
from initscope.analysis.trajectories import (
    statistic_table,
)
from initscope.errors import UsageError
from initscope.theory import adamw_variance_trajectory
from initscope.tracking import VarianceTracker, variance_budget

# What an earlier test left unclosed may come to light here, whenever Python tidies up.
pytestmark = pytest.mark.filterwarnings("error", "default::pytest.PytestUnraisableExceptionWarning")

BETAS = (0.9, 0.999)


# --- Theory --------------------------------------------------------------------------------


@settings(max_examples=15)
@given(
    starts=st.lists(st.floats(0, 1), min_size=1, max_size=4),
    steps=st.lists(st.integers(0, 60), min_size=1, max_size=5, unique=True).map(sorted),
    decay=st.floats(0, 1),
    beta1=st.floats(0, 0.99),
    seed=st.integers(0, 99),
)
def test_prediction_is_that_of_the_theory_for_each_matrix(
    starts: list[float], steps: list[int], decay: float, beta1: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    rates, diffusion = random.uniform(0, 0.01, 70), random.uniform(0, 3, len(starts))
    # All but the first column is to be ignored.
    std = {"q": [[start] + [math.nan] * (len(steps) - 1) for start in starts]}
    found = predicted_std(trajectories(std, steps), rates, decay, (beta1, 0.95), diffusion)
    assert list(found.columns) == steps
    first = steps[0]
    for layer, (start, of_matrix) in enumerate(zip(starts, diffusion, strict=True), start=1):
        curve = [start]
        if steps[-1] > first:
            variance = adamw_variance_trajectory(
                start, rates[first : steps[-1]], decay, (beta1, 0.95), diffusion=of_matrix
            )
            curve += list(np.sqrt(variance))
        expected = [curve[step - first] for step in steps]
        assert found.loc[("q", layer)].tolist() == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_steps_of_an_index_of_objects_are_steps_too() -> None:
    std = trajectories({"q": [[0.1, 0.2]]}, [0, 3])
    objects = std.set_axis(pd.Index([0, 3], dtype=object), axis=1)
    found = predicted_std(objects, [0.01] * 3, 0.1, BETAS)
    assert (found.to_numpy() == predicted_std(std, [0.01] * 3, 0.1, BETAS).to_numpy()).all()


def test_prediction_by_hand() -> None:
    # Without momentum each update adds eta^2, and decay takes its share.
    rates, std = [0.1, 0.2, 0.4], trajectories({"q": [[1.0, 9.0, 9.0]]}, [0, 1, 3])
    first = (1 - 0.1 * 0.5) ** 2 + 0.1**2
    third = ((first * 0.9**2) + 0.2**2) * 0.8**2 + 0.4**2
    found = predicted_std(std, rates, 0.5, (0.0, 0.9))
    assert found.loc[("q", 1)].tolist() == pytest.approx([1, first**0.5, third**0.5])
    # Learning rates are those of updates 1, 2, ..., wherever the table begins.
    found = predicted_std(std[[1, 3]] / 9, rates, 0.0, (0.0, 0.9))
    assert found.loc[("q", 1)].tolist() == pytest.approx([1, (1 + 0.2**2 + 0.4**2) ** 0.5])


def test_diffusion_finds_its_matrix() -> None:
    std = trajectories({"v": [[0.0, 1.0]], "q": [[0.0, 1.0]]}, [0, 1])
    growth = pd.Series([4.0, 9.0], pd.MultiIndex.from_tuples([("q", 1), ("v", 1)]))
    found = predicted_std(std, [0.1], 0.0, BETAS, growth)[1]
    assert (found["q", 1], found["v", 1]) == pytest.approx((0.2, 0.3))


def test_prediction_of_matrices_that_start_at_zero_or_diverged() -> None:
    std = trajectories({"q": [[0.0, 1.0], [math.nan, 1.0], [math.inf, 1.0]]}, [0, 1])
    found = predicted_std(std, [0.1], 0.1, BETAS).to_numpy()
    np.testing.assert_allclose(found, [[0, 0.1], [math.nan] * 2, [math.nan] * 2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": [0.1] * 4}, "lr holds 4 learning rates, but .* up to step 5"),
        ({"lr": 0.1}, "lr must hold the learning rate of each update"),
        ({"lr": []}, "lr holds 0 learning rates"),
        ({"lr": [-0.1] * 5}, "lr must be finite and at least 0"),
        ({"weight_decay": -1}, "weight_decay must be"),
        ({"betas": (1.0, 0.9)}, "beta1 must be"),
        ({"diffusion": -1.0}, "diffusion must be"),
        ({"diffusion": pd.Series({("k", 1): 1.0})}, "diffusion must not be NaN"),
    ],
)
def test_a_prediction_that_cannot_be_made(changes: dict, message: str) -> None:
    options = {"lr": [0.1] * 5, "weight_decay": 0.1, "betas": BETAS} | changes
    with pytest.raises(UsageError, match=message):
        predicted_std(trajectories({"q": [[1.0, 1.0]]}, [0, 5]), **options)


# --- What the steps add --------------------------------------------------------------------

N_STEPS = 200
DECAY = 0.3
RATES = np.concatenate([np.linspace(1e-4, 3e-3, 40), np.linspace(3e-3, 1e-3, N_STEPS - 40)])
"""Warm-up and decay."""

UNEVEN = {0, 1, 2, 5, 17, 18, 60, 123, 124, N_STEPS}
"""Steps that are recorded in a run that was stopped and went on."""


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Of a tiny GPT-2, AdamW on gradients that are noise, every step; some weights start at 0."""
    model = tiny.build("gpt2").double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for block in model.transformer.h:
            block.attn.c_proj.weight.zero_()
            block.mlp.c_fc.weight.mul_(0.1)
    optimizer = AdamW(model.parameters(), betas=BETAS, weight_decay=DECAY)
    kinds = ("weight", "update")
    with VarianceTracker(
        model, optimizer, every=1, quantities=kinds, distribution_every={0}
    ) as tracker:
        for rate in RATES:
            optimizer.param_groups[0]["lr"] = rate
            for parameter in model.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=generator).double()
            optimizer.step()
    return tracker.to_frame()


def test_terms_add_up_to_the_end(table: pd.DataFrame) -> None:
    found = growth_over_noise(table, RATES)
    total = found[["start", "decay", "alignment", "step"]].sum(axis=1)
    np.testing.assert_allclose(total, found["end"], rtol=1e-11)
    weights = statistic_table(table, "weight", "rms")
    np.testing.assert_allclose(found["start"], weights[0] ** 2, rtol=1e-12)
    np.testing.assert_allclose(found["end"], weights[N_STEPS] ** 2, rtol=1e-12)
    assert list(found.index) == list(weights.index)
    assert set(found.index.get_level_values("layer")) == {0, 1, 2}
    assert list(growth_over_noise(table, RATES, ["v", "q"]).index) == [
        ("v", 1), ("v", 2), ("q", 1), ("q", 2),
    ]  # fmt: skip


def test_noise_grows_as_noise(table: pd.DataFrame) -> None:
    found = growth_over_noise(table, RATES)
    # What the theory, whose first updates have no momentum yet, makes of the same sum.
    square = np.append(0.0, adamw_variance_trajectory(0.0, RATES, DECAY, BETAS))
    added = square[1:] - (1 - RATES * DECAY) ** 2 * square[:-1]
    expected = added.sum() / (RATES**2).sum()
    assert expected == pytest.approx(1, abs=0.1)
    # A mean over N elements: of squares of what is added, and of its product with the start.
    gained = square[-1]
    sizes = {"position_embedding": 32 * 32, "token_embedding": 64 * 32}
    sizes |= dict.fromkeys(("q", "k", "v", "attention_out"), 32 * 32)
    sizes |= dict.fromkeys(("mlp_in", "mlp_out"), 32 * 128)
    scores = []
    for (role, _), row in found.iterrows():
        variance = (2 * gained**2 + 4 * row["start"] * gained) / sizes[role]
        tolerance = 0.03 * expected + 4.5 * math.sqrt(variance) / (RATES**2).sum()
        assert row["growth"] == pytest.approx(expected, abs=tolerance), role
        scores.append((row["growth"] - expected) / tolerance)
    # A matrix that starts at 0 says it best.
    zero = found.loc["attention_out"]
    assert (zero["start"] == 0).all()
    assert zero["growth"].to_numpy() == pytest.approx(expected, rel=0.15)
    assert abs(np.mean(scores)) < 0.5


def test_a_signal_grows_faster_than_noise() -> None:
    weight = torch.nn.Parameter(torch.zeros(4, 4, dtype=torch.float64))
    optimizer = AdamW([weight], lr=0.01, betas=BETAS, weight_decay=0.0)
    found = [rows({"weight": [[0.0]]}, [0], stat="rms")]
    for step in range(1, 21):
        weight.grad = torch.ones(4, 4, dtype=torch.float64)
        optimizer.step()
        square = weight.detach().square().mean().item()
        found.append(variance_budget(optimizer, step=step))
        found.append(rows({"weight": [[math.sqrt(square)]]}, [step], stat="rms"))
    growth = growth_over_noise(pd.concat(found), [0.01] * 20)
    # Each step has the length of the learning rate: (20 eta)^2 over 20 eta^2.
    assert growth.loc[("weight", 1), "growth"] == pytest.approx(20, rel=1e-6)


def test_uneven_steps_stand_for_those_before_them(table: pd.DataFrame) -> None:
    found = growth_over_noise(table[table["step"].isin(UNEVEN)], RATES)
    kept = sorted(UNEVEN)
    terms = {t: statistic_table(table, "update", t) for t in ("decay", "alignment", "step")}
    for term, all_steps in terms.items():
        expected = sum(all_steps[new] * (new - old) for old, new in itertools.pairwise(kept))
        np.testing.assert_allclose(found[term], expected, rtol=1e-9)
    noise = sum(RATES[new - 1] ** 2 * (new - old) for old, new in itertools.pairwise(kept))
    np.testing.assert_allclose(found["growth"], (found["alignment"] + found["step"]) / noise)
    # The ends are exact.
    exact = growth_over_noise(table, RATES)
    np.testing.assert_allclose(found[["start", "end"]], exact[["start", "end"]], rtol=1e-9)


def test_a_table_that_begins_later(table: pd.DataFrame) -> None:
    found = growth_over_noise(table[table["step"] >= 50], RATES)
    total = found[["start", "decay", "alignment", "step"]].sum(axis=1)
    np.testing.assert_allclose(total, found["end"], rtol=1e-11)
    weights = statistic_table(table, "weight", "rms")
    np.testing.assert_allclose(found["start"], weights[50] ** 2, rtol=1e-12)
    terms = sum(statistic_table(table, "update", t) for t in ("alignment", "step"))
    expected = terms.loc[:, 51:].sum(axis=1) / (RATES[50:] ** 2).sum()
    np.testing.assert_allclose(found["growth"], expected)


def test_a_diverged_run_and_a_term_that_is_missing(table: pd.DataFrame) -> None:
    diverged = table.copy()
    last = (diverged["step"] == N_STEPS) & (diverged["role"] == "q")
    diverged.loc[last, "value"] = math.nan
    missing = (table["step"] == 7) & (table["role"] == "v") & (table["kind"] == "update")
    found = growth_over_noise(diverged[~missing], RATES)
    assert found.loc["q", "growth"].isna().all()
    assert found.loc["q", "end"].isna().all()
    assert found.loc["q", "start"].notna().all()
    assert found.loc["v", "growth"].isna().all()
    assert found.loc["k", "growth"].notna().all()


def test_frozen_matrices_have_no_row(table: pd.DataFrame) -> None:
    frozen = (table["role"] == "k") & (table["layer"] == 1) & (table["kind"] == "update")
    found = growth_over_noise(table[~frozen], RATES)
    assert ("k", 1) not in found.index
    pd.testing.assert_frame_equal(found, growth_over_noise(table, RATES).drop(("k", 1)))


def test_growth_that_cannot_be_found(table: pd.DataFrame) -> None:
    with pytest.raises(UsageError, match=r"lr holds 199 learning rates, but .* up to step 200"):
        growth_over_noise(table, RATES[:-1])
    with pytest.raises(UsageError, match="lr must hold the learning rate of each update"):
        growth_over_noise(table, 1e-3)
    with pytest.raises(UsageError, match="no rows of kind 'update' and stat 'decay'"):
        growth_over_noise(table[table["kind"] != "update"], RATES)
    with pytest.raises(UsageError, match="no rows of kind 'weight' and stat 'rms'"):
        growth_over_noise(table[table["kind"] == "update"], RATES)
    with pytest.raises(UsageError, match="no update after step 200"):
        growth_over_noise(table[table["step"] == N_STEPS], RATES)
    with pytest.raises(UsageError, match="unknown role 'query'"):
        growth_over_noise(table, RATES, ["query"])


def test_the_gradients_of_a_run_shrink_its_steps_matrix_by_matrix() -> None:
    steps = [0, 50, 100]
    index = pd.MultiIndex.from_tuples([("q", 1), ("v", 1)], names=["role", "layer"])
    std = pd.DataFrame([[0.02, 0.03, 0.04], [0.05, 0.06, 0.07]], index, steps)
    # In another order, and one matrix more.
    gradients = pd.DataFrame(
        {("v", 1): [2.0, 4.0], ("k", 1): [9.0, 9.0], ("q", 1): [1.0, 1.0]}, [20, 60]
    ).T.rename_axis(["role", "layer"])
    lr = np.linspace(1e-2, 1e-3, 100)
    found = predicted_std(std, lr, 0.1, (0.9, 0.95), epsilon=1.0, gradient_rms=gradients)
    q = adamw_variance_trajectory(0.02, lr, 0.1, (0.9, 0.95), epsilon=1.0, gradient_rms=1.0)
    of_v = np.interp(np.arange(1, 101), [20, 60], [2.0, 4.0])
    v = adamw_variance_trajectory(0.05, lr, 0.1, (0.9, 0.95), epsilon=1.0, gradient_rms=of_v)
    np.testing.assert_allclose(found.loc["q", 1], [0.02, *np.sqrt(q[[49, 99]])], rtol=1e-12)
    np.testing.assert_allclose(found.loc["v", 1], [0.05, *np.sqrt(v[[49, 99]])], rtol=1e-12)
    with pytest.raises(UsageError, match="a row for each matrix"):
        predicted_std(std, lr, 0.1, (0.9, 0.95), gradient_rms=gradients.loc[["v"]])
    with pytest.raises(UsageError, match="give gradient_rms"):
        predicted_std(std, lr, 0.1, (0.9, 0.95), epsilon=1.0)
