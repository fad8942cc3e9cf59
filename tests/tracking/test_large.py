"""Matrices of large vocabularies: bins instead of a sort, and a clock of their own."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import tiny_transformers as tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import AdamW

from initscope.errors import UsageError
from initscope.tracking import VarianceTracker, read_histograms, read_variances, statistics
from initscope.tracking.binned import RELATIVE_WIDTH, BinnedValues
from initscope.tracking.matrices import find_weight_matrices
from initscope.tracking.statistics import QUANTILES

DRAWS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "heavy tails": lambda rng, n: rng.standard_t(3, size=n),
    "far from 0": lambda rng, n: rng.normal(5, 0.3, size=n),
    "below 0": lambda rng, n: -rng.exponential(size=n),
    "mostly 0": lambda rng, n: rng.normal(size=n) * (rng.random(n) < 0.3),
    "two values": lambda rng, n: rng.choice([-0.5, 2.0], n),
}


@settings(max_examples=60)
@given(
    kind=st.sampled_from(sorted(DRAWS)), n=st.integers(1, 5000), scale=st.floats(1e-20, 1e15),
    seed=st.integers(0, 2**16),
)  # fmt: skip
def test_quantiles_of_bins_are_within_their_width(
    kind: str, n: int, scale: float, seed: int
) -> None:
    values = (scale * DRAWS[kind](np.random.default_rng(seed), n)).astype(np.float32)
    found = BinnedValues(values).quantiles(QUANTILES)
    # Between two order statistics that lie far apart the way of interpolating counts.
    for quantile, got in zip(QUANTILES, found, strict=True):
        low = np.quantile(values, quantile, method="lower").astype(float)
        high = np.quantile(values, quantile, method="higher").astype(float)
        smallest = 1e-38  # the width of the bin at 0
        assert low - RELATIVE_WIDTH * abs(low) - smallest <= got
        assert got <= high + RELATIVE_WIDTH * abs(high) + smallest


@pytest.mark.parametrize("kind", ["normal", "heavy tails", "far from 0", "below 0"])
def test_a_million_in_bins(kind: str) -> None:
    values = DRAWS[kind](np.random.default_rng(0), 2**20).astype(np.float32)
    binned = BinnedValues(values)
    exact = np.quantile(values.astype(float), QUANTILES)
    error = np.abs(binned.quantiles(QUANTILES) - exact)
    assert (error <= np.abs(exact) / 128 + 1e-6 * values.std()).all()
    mean, std, kurtosis = binned.moments()
    wide = values.astype(float)
    assert mean == pytest.approx(wide.mean(), abs=1e-3 * wide.std())
    assert std == pytest.approx(wide.std(), rel=1e-3)
    if kind != "heavy tails":
        assert kurtosis == pytest.approx(scipy.stats.kurtosis(wide, fisher=False), rel=1e-3)
    edges = np.linspace(-5 * std, 5 * std, 41)
    expected, _ = np.histogram(wide.clip(edges[0], edges[-1]), edges)
    counts = binned.histogram(edges)
    assert counts.sum() == len(values)
    assert np.abs(counts - expected).max() <= 1e-3 * len(values)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_so(bad: float) -> None:
    values = np.ones(100, dtype=np.float32)
    values[:60] = bad
    assert np.isnan(BinnedValues(values).quantiles([0.5])[0]) == np.isnan(bad)
    assert np.isinf(BinnedValues(values).quantiles([0.9])[0]) == np.isinf(bad)
    assert np.isnan(BinnedValues(values).moments()[2])


def test_a_tracker_counts_in_bins_what_is_too_large_to_sort(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    model = tiny.gpt2(n_embd=64, vocab_size=1000)
    frames = []
    for largest in (2**22, 10_000):
        monkeypatch.setattr(statistics, "LARGEST_SORTED", largest)
        names = ["token_embedding", "q"]
        with VarianceTracker(model, quantities=["weight"], histograms=names) as tracker:
            pass
        frames.append((tracker.to_frame(), tracker.histograms_to_frame()))
    (one, sorted_), (other, binned) = frames
    same = one["value"] == other["value"]
    moments = one["stat"].isin(["mean", "std", "rms"])
    assert same[moments].all()
    assert same[one["role"] == "q"].all()
    large = one["role"] == "token_embedding"
    assert not same[large & ~moments].any()
    size = one[large & (one["stat"] == "std")]["value"].item()
    np.testing.assert_allclose(
        other[large & ~moments]["value"],
        one[large & ~moments]["value"],
        rtol=0.01,
        atol=0.01 * size,
    )
    for (_, a), (_, b) in zip(sorted_.iterrows(), binned.iterrows(), strict=True):
        assert sum(a["counts"]) == sum(b["counts"])
        assert np.abs(np.array(a["counts"]) - b["counts"]).max() <= 0.002 * sum(a["counts"])


def test_embeddings_have_a_clock_of_their_own() -> None:
    torch.manual_seed(0)
    model = tiny.llama()
    optimizer = AdamW(model.parameters())
    quantities = ("weight", "gradient", "update", "activation")
    with VarianceTracker(
        model, optimizer, every=2, embeddings_every={0, 3}, distribution_every={4},
        quantities=quantities, histograms=["q", "output"],
    ) as tracker:  # fmt: skip
        tokens = torch.arange(10)[None]
        for _ in range(5):
            optimizer.zero_grad()
            model(input_ids=tokens, labels=tokens).loss.backward()
            optimizer.step()
    frame = tracker.to_frame()
    signals = frame["stat"].str.startswith(("forward", "backward"))
    large = frame["role"].isin(["token_embedding", "output"])
    assert set(frame[large & ~signals]["step"]) == {0, 3}
    assert set(frame[~large]["step"]) == {0, 2, 3, 4}
    at_three = frame[large & ~signals & (frame["step"] == 3)]
    assert set(at_three["kind"]) == {"weight", "gradient", "update"}
    histograms = tracker.histograms_to_frame()
    assert set(histograms["role"]) == {"q"}
    with pytest.raises(UsageError, match="embeddings_every must be a whole number"):
        VarianceTracker(model, embeddings_every=0)


class Words(torch.nn.Sequential):
    """An embedding of more than a million numbers, and a small layer behind it."""

    def __init__(self) -> None:
        super().__init__(torch.nn.Embedding(17_500, 64), torch.nn.Linear(64, 3))

    def train_step(self, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        self(torch.arange(0, 17_500, 7)).square().mean().backward()
        optimizer.step()


def test_a_large_vocabulary_is_measured_less_often_by_default_and_this_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "initscope.tracking")
    model = Words()
    optimizer = AdamW(model.parameters())
    with VarianceTracker(
        model, optimizer, every=3, distribution_every=10, out_folder=tmp_path
    ) as tracker:
        for _ in range(24):
            model.train_step(optimizer)
            tracker.to_frame()
    assert "; 0 only every 12 steps and at those of distribution_every (embeddings_every=3 for" in (
        caplog.text
    )
    for frame in (tracker.to_frame(), read_variances(tmp_path)):
        steps = {role: set(rows["step"]) for role, rows in frame.groupby("role")}
        assert steps["1"] == {0, 3, 6, 9, 10, 12, 15, 18, 20, 21, 24}
        assert steps["0"] == {0, 10, 12, 20, 24}
        assert frame.attrs["coarse"] == [[0, "0"]]
        assert frame.attrs["coarse_steps"].startswith("only every 12 steps")
    assert read_histograms(tmp_path).attrs["coarse"] == [[0, "0"]]
    # A run that goes on keeps the note; one that replaces it has none, as it has none to make.
    with VarianceTracker(model, step=24, every=12, out_folder=tmp_path):
        pass
    assert read_variances(tmp_path).attrs["coarse"] == [[0, "0"]]
    with VarianceTracker(model, every=12, out_folder=tmp_path, overwrite=True):
        pass
    assert read_variances(tmp_path).attrs == {}


@pytest.mark.parametrize(
    ("options", "coarse"),
    [
        ({"every": 1}, True),
        ({"every": 9}, True),
        ({"every": 10}, False),
        ({"every": {0, 1, 2}}, False),
        ({"every": lambda step: step < 3}, False),
        ({"every": 1, "embeddings_every": 1}, False),
    ],
)
def test_it_is_as_often_as_the_rest_where_steps_are_far_apart_or_picked(
    options: dict[str, Any], coarse: bool
) -> None:
    model = Words()
    optimizer = AdamW(model.parameters())
    with VarianceTracker(model, optimizer, **options) as tracker:
        for _ in range(2):
            model.train_step(optimizer)
    frame = tracker.to_frame()
    steps = {role: set(rows["step"]) for role, rows in frame.groupby("role")}
    assert (steps["0"] != steps["1"]) == (coarse and options["every"] == 1)
    assert bool(tracker.coverage.coarse) == coarse
    small = torch.nn.Sequential(torch.nn.Embedding(100, 8), torch.nn.Linear(8, 3))
    assert VarianceTracker(small, every=1).coverage.coarse == ()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("optimizer", ["AdamW", "SGD", "Adagrad"])
def test_a_large_update_piece_by_piece_is_that_of_the_whole(
    optimizer: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = []
    for piece in (2**40, 9 * 64, 2**17):  # the second leaves a last piece that is shorter
        torch.manual_seed(0)
        model = Words().to(dtype)
        made = getattr(torch.optim, optimizer)(model.parameters(), lr=0.01, weight_decay=0.1)
        monkeypatch.setattr(statistics, "PIECE", piece)
        embedding = statistics.group_by_parameter(find_weight_matrices(model))[0]
        assert (len(embedding.pieces) > 1) == (piece < 2**40)
        with VarianceTracker(
            model, made, every={2}, quantities=["update"], distribution_every=set()
        ) as tracker:
            for _ in range(2):
                model.train_step(made)
        frames.append(tracker.to_frame())
    assert {"rms", "rotation", "decay", "alignment", "step"} <= set(frames[0]["stat"])
    whole = frames[0]
    # What is left when terms of the order of 1 are subtracted has their rounding.
    spacing = np.where(whole["stat"] == "rounding", 2e-7, 0.0)
    for frame in frames[1:]:
        pd.testing.assert_frame_equal(whole.drop(columns="value"), frame.drop(columns="value"))
        error = (frame["value"] - whole["value"]).abs()
        assert (error <= 2e-5 * whole["value"].abs() + spacing).all()


def test_pieces_take_each_row_once() -> None:
    group = statistics.group_by_parameter(find_weight_matrices(Words()))[0]
    rows = torch.arange(17_500)
    assert torch.cat([rows[piece] for piece in group.pieces]).tolist() == rows.tolist()
    assert len(group.pieces) == 9
