"""What a sweep costs, said before it is run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sweeps import N_CHUNKS, SPLIT, keep_chunks, run

from initscope.errors import UsageError
from initscope.sweep import SweepSpec, chunks_of
from initscope.sweep.cost import format_duration, format_flops, sweep_cost
from initscope.sweep.training import run_chunk


def recorded(path: Path) -> float:
    return json.loads(pq.read_schema(path).metadata[b"initscope"])["seconds"]


def test_what_is_left_is_counted_and_what_is_there_was_recorded(tmp_path: Path) -> None:
    whole = sweep_cost(SPLIT, tmp_path / "new")
    assert (whole.n_runs, whole.n_chunks) == (18, N_CHUNKS)
    assert (whole.n_runs_left, whole.n_chunks_left) == (18, N_CHUNKS)
    products = 13 * 64 + 64 * 32 + 32 * 3
    updates = 80 * 32 * (6 * products - 2 * 13 * 64)
    evaluations = 21 * 45 * 2 * products
    statistics = 6 * 133 * (6 * products - 2 * 13 * 64)  # of all the training examples there are
    assert whole.flops == whole.flops_left == 18 * (updates + evaluations + statistics)
    assert 0.1e6 < whole.memory <= 1e6
    assert whole.seconds_recorded == 0
    to_train = f"To train: 18 networks, {format_flops(whole.flops)}, with "
    assert f"9 chunks, 0 of them already there.\n{to_train}" in str(whole)
    assert list(tmp_path.iterdir()) == []

    kept = keep_chunks(SPLIT, tmp_path, slice(0, 4))
    kept[0].write_bytes(b"noise")
    rest = sweep_cost(SPLIT, tmp_path)
    assert rest.n_chunks_left == N_CHUNKS - 3
    assert rest.n_runs_left == 18 - 3 - 3 - 2
    assert rest.flops == whole.flops
    assert rest.flops_left == pytest.approx(whole.flops * rest.n_runs_left / 18)
    assert rest.seconds_recorded == pytest.approx(sum(map(recorded, kept[1:])))
    assert (
        f"9 chunks, 3 of them already there; their {format_flops(whole.flops * 8 / 18)} took "
        f"{format_duration(rest.seconds_recorded)} of a worker.\nTo train: "
    ) in str(rest)
    assert kept[0].read_bytes() == b"noise"

    run(SPLIT, tmp_path)
    finished = sweep_cost(SPLIT, tmp_path)
    assert (finished.n_runs, finished.n_runs_left, finished.flops_left) == (18, 0, 0)
    table = tmp_path / "sweep.parquet"
    assert finished.seconds_recorded == recorded(table) > 0
    assert str(finished) == (
        f"18 networks in 9 chunks. All are trained, {format_flops(whole.flops)} that took "
        f"{format_duration(recorded(table))} of a worker: {table}."
    )
    with pytest.raises(UsageError, match="another specification"):
        sweep_cost(SweepSpec(stds=(0.1,)), tmp_path)
    with pytest.raises(UsageError, match="device 'gpu' is not to be had here"):
        sweep_cost(SPLIT, device="gpu")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (9.44, "9.4 s"),
        (99.4, "99 s"),
        (100, "1.7 min"),
        (3000, "50 min"),
        (6000, "1.7 h"),
        (1e6, "278 h"),
    ],
)
def test_times_in_words(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("flops", "text"),
    [
        (0, "0 FLOP"),
        (999, "999 FLOP"),
        (999.6, "1 kFLOP"),
        (2.5e12, "2.5 TFLOP"),
        (1e22, "10,000 EFLOP"),
    ],
)
def test_operations_in_words(flops: float, text: str) -> None:
    assert format_flops(flops) == text


def test_progress_counts_what_the_cost_counts() -> None:
    """Updates, evaluations of the test and the validation set, and layer statistics."""
    spec = dataclasses.replace(
        SPLIT, evaluations_per_epoch=2, validation_size=20, epochs=3, probes=4, probe_size=50
    )
    chunk = chunks_of(spec)[0]
    advanced: list[int] = []
    run_chunk(chunk, advance=advanced.append)
    assert len(advanced) == chunk.n_steps + 1 + 3 * 2 + 4
    assert sum(advanced) == chunk.flops
    products = 13 * 64 + 64 * 32 + 32 * 3
    assert advanced[0] == chunk.n_runs * (45 + 20) * 2 * products
    assert advanced[1] == advanced[-1] == chunk.n_runs * 50 * (6 * products - 2 * 13 * 64)
