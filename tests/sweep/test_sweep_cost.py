"""What a sweep costs, said before it is run."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
import torch
from sweeps import N_CHUNKS, SPLIT, keep_chunks, run

from initscope.errors import UsageError
from initscope.sweep import Optimizer, SweepSpec, chunks_of
from initscope.sweep.cost import duration, sweep_cost


def test_what_is_left_is_counted(tmp_path: Path) -> None:
    whole = sweep_cost(SPLIT, tmp_path / "new", probe_seconds=0.1)
    assert (whole.n_runs, whole.n_chunks) == (18, N_CHUNKS)
    assert (whole.n_runs_left, whole.n_chunks_left) == (18, N_CHUNKS)
    products = 13 * 64 + 64 * 32 + 32 * 3
    updates = 80 * 32 * (6 * products - 2 * 13 * 64)
    evaluations = 21 * 45 * 2 * products
    assert whole.flops == 18 * (updates + evaluations)
    assert 0.1e6 < whole.memory <= 1e6
    assert whole.seconds > 0
    assert list(tmp_path.iterdir()) == []

    kept = keep_chunks(SPLIT, tmp_path, slice(0, 4))
    kept[0].write_bytes(b"noise")
    rest = sweep_cost(SPLIT, tmp_path, probe_seconds=0.1)
    assert rest.n_chunks_left == N_CHUNKS - 3
    assert rest.n_runs_left == 18 - 3 - 3 - 2
    assert rest.flops == pytest.approx(whole.flops * rest.n_runs_left / 18)
    assert "9 chunks, 3 of them already there" in str(rest)
    assert kept[0].read_bytes() == b"noise"

    run(SPLIT, tmp_path)
    finished = sweep_cost(SPLIT, tmp_path)
    assert (finished.n_runs, finished.n_runs_left, finished.seconds) == (18, 0, 0)
    assert str(finished) == (
        f"18 networks in 9 chunks. All are trained: {tmp_path / 'sweep.parquet'}."
    )
    with pytest.raises(UsageError, match="another specification"):
        sweep_cost(SweepSpec(stds=(0.1,)), tmp_path)
    with pytest.raises(UsageError, match="device 'gpu' is not to be had here"):
        sweep_cost(SPLIT, device="gpu")


def test_the_time_is_about_what_it_takes() -> None:
    spec = SweepSpec(
        hidden=((64, 32), (24,) * 8),
        stds=(0.01, 0.1, 1.0),
        schemes=("kaiming", "xavier"),
        optimizers=(Optimizer("sgd", 0.1), Optimizer("sgd", 0.2), Optimizer("adam", 0.01)),
        seeds=2,
        epochs=30,
        evaluations_per_epoch=2,
    )
    run(spec)
    estimates, times = [], []
    for _ in range(3):
        estimates.append(sweep_cost(spec, probe_seconds=0.5).seconds)
        start = time.perf_counter()
        run(spec)
        times.append(time.perf_counter() - start)
    ratio = sorted(estimates)[1] / sorted(times)[1]
    assert 1 / 3 < ratio < 3, (estimates, times)


def test_several_workers_share_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("initscope.sweep.cost._seconds", lambda *_: 36.0)
    assert sweep_cost(SPLIT).seconds == 36
    assert sweep_cost(SPLIT, workers=4).seconds == 9
    assert sweep_cost(SPLIT, workers=1000).seconds == 36 / N_CHUNKS
    assert "about 9.0 s with 4 workers" in str(sweep_cost(SPLIT, workers=4))


def test_many_kinds_of_networks_are_measured_in_bounded_time() -> None:
    spec = SweepSpec(
        dataset="digits",
        hidden=tuple((width,) * depth for width, depth in itertools.product((32, 48), range(1, 9))),
        stds=(0.1,),
        optimizers=tuple(Optimizer("sgd", 0.1 * k, 0.9 * (k % 2)) for k in range(1, 9)),
        seeds=4,
        epochs=50,
    )
    assert len({(c.widths, c.optimizer) for c in chunks_of(spec)}) == 16 * 8
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    start = time.perf_counter()
    cost = sweep_cost(spec, probe_seconds=0.5)
    assert time.perf_counter() - start < 5
    assert cost.seconds > 5
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


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
    assert duration(seconds) == text
