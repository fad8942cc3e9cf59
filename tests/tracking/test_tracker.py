"""The tracker in a plain training loop: each number against an independent computation."""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.stats
import tiny_transformers as tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW

from initscope.errors import UsageError
from initscope.models.architectures import UnitRange
from initscope.schema import TRACKING_SCHEMAS, VARIANCES
from initscope.tracking import VarianceTracker, read_histograms, read_variances, weight_matrices
from initscope.tracking import moments as matrix_moments
from initscope.tracking.matrices import WeightMatrix, find_weight_matrices
from initscope.tracking.moments import MatrixMoments
from initscope.tracking.statistics import (
    QUANTILES,
    DeviceToHostCopy,
    _quantiles,
    group_by_parameter,
    histogram_counts,
    kurtosis_and_quantiles,
)
from initscope.tracking.tables import VarianceTable

ALL = ("weight", "gradient", "update", "activation")


def batches(n: int) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    for _ in range(n):
        yield torch.randint(64, (4, 10), generator=generator)


def train(
    model: nn.Module, steps: int, *, observe: Callable[[int], None] = lambda _: None, **options
) -> VarianceTracker:
    optimizer = AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    with VarianceTracker(model, optimizer, **options) as tracker:
        for step, tokens in enumerate(batches(steps), start=1):
            optimizer.zero_grad()
            model(input_ids=tokens, labels=tokens).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            observe(step)
    return tracker


def value(frame: pd.DataFrame, step: int, layer: int, role: str, kind: str, stat: str) -> float:
    wanted = {"step": step, "layer": layer, "role": role, "kind": kind, "stat": stat}
    rows = frame[(frame[list(wanted)] == pd.Series(wanted)).all(axis=1)]
    assert len(rows) == 1, wanted
    return rows["value"].item()


# --- statistics of matrices of any shape -----------------------------------------------------


def as_matrices(
    weight: torch.Tensor, units: int, parts: list[UnitRange | None]
) -> list[WeightMatrix]:
    parameter = nn.Parameter(weight)
    return [
        WeightMatrix(1, f"part{k}", "", parameter, nn.Identity(), units, part)
        for k, part in enumerate(parts)
    ]


@settings(max_examples=60)
@given(
    groups=st.integers(1, 3),
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    n_in=st.integers(1, 6),
    units=st.integers(0, 1),
    mean=st.sampled_from([0.0, 5.0]),
    scale=st.sampled_from([1e-12, 0.02, 1e12]),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]),
    seed=st.integers(0, 2**16),
)
def test_statistics_are_those_of_scipy(
    groups: int, lengths: list, n_in: int, units: int, mean: float, scale: float,
    dtype: torch.dtype, seed: int,
) -> None:  # fmt: skip
    if dtype == torch.float16:
        scale = 0.02
    generator = torch.Generator().manual_seed(seed)
    n_out = groups * sum(lengths)
    shape = (n_out, n_in) if units == 0 else (n_in, n_out)
    weight = (scale * (mean + torch.randn(shape, generator=generator))).to(dtype)
    starts = np.cumsum([0, *lengths[:-1]])
    parts = [UnitRange(groups, int(s), n) for s, n in zip(starts, lengths, strict=True)]
    matrices = as_matrices(weight, units, parts)
    grouped = group_by_parameter(matrices)
    with torch.no_grad():
        moments = MatrixMoments(grouped).measure([matrices[0].parameter], "weight")
        found = DeviceToHostCopy([moments, kurtosis_and_quantiles(grouped, QUANTILES)])
    (means, stds, squares), (kurtosis, *quantiles) = (array.T for array in found.values())
    exact = 1e-12 if dtype == torch.float64 else 2e-5
    for k, matrix in enumerate(matrices):
        plain = matrix.weight.double().numpy().ravel()
        size = np.sqrt(np.mean(plain**2))
        assert means[k] == pytest.approx(plain.mean(), abs=exact * size)
        assert stds[k] == pytest.approx(plain.std(), abs=exact * size)
        assert squares[k] == pytest.approx(size, rel=exact)
        expected = np.quantile(plain, QUANTILES)
        np.testing.assert_allclose([q[k] for q in quantiles], expected, atol=exact * size)
        if plain.std() > 1e-3 * size:
            fourth = scipy.stats.kurtosis(plain, fisher=False)
            assert kurtosis[k] == pytest.approx(fourth, rel=1e-11 if exact < 1e-9 else 2e-3)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**16),
    n_parameters=st.integers(1, 8),
    longest_row=st.integers(1, 20),
    largest_stack=st.sampled_from([1, 100, 10**6]),
)
def test_moments_do_not_depend_on_how_matrices_are_stacked(
    seed: int, n_parameters: int, longest_row: int, largest_stack: int
) -> None:
    rng = np.random.default_rng(seed)
    matrices = []
    for _ in range(n_parameters):
        rows, columns = rng.choice([1, 2, 6, 8, 12], 2)
        units = int(rng.integers(2))
        ends = sorted({0, *rng.integers(0, (rows, columns)[units], 2), (rows, columns)[units]})
        parts = [UnitRange(1, int(a), int(b - a)) for a, b in itertools.pairwise(ends)]
        kept = [part for part in parts if rng.random() < 0.8]  # units of no matrix
        weight = torch.from_numpy(rng.normal(rng.normal(), rng.random() + 0.1, (rows, columns)))
        matrices += as_matrices(weight, units, kept or parts)
    groups = group_by_parameter(matrices)
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(matrix_moments, "LONGEST_ROW", longest_row)
        patch.setattr(matrix_moments, "LARGEST_STACK", largest_stack)
        moments = MatrixMoments(groups)
        tensors = [group.parameter for group in groups]
        (found,) = DeviceToHostCopy([moments.measure(tensors, "weight")]).values()
        on_gpu = matrix_moments._mean_std_rms(moments._by_matrix(tensors).numpy())
    plain = [matrix.weight.numpy() for matrix in matrices]
    expected = [(w.mean(), w.std(), np.sqrt(np.mean(w**2))) for w in plain]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(on_gpu, expected, rtol=1e-12, atol=1e-14)


def test_a_large_mean_does_not_hide_the_variance() -> None:
    weight = 3000 + torch.randn((96, 64), generator=torch.Generator().manual_seed(1))
    groups = group_by_parameter(as_matrices(weight, 0, [None]))
    (found,) = DeviceToHostCopy([MatrixMoments(groups).measure([weight], "weight")]).values()
    assert found[0, 1] == pytest.approx(weight.double().numpy().std(), rel=1e-4)


def test_large_matrices_are_as_exact_as_small_ones() -> None:
    weight = torch.rand((3000, 1024), generator=torch.Generator().manual_seed(1)) - 0.5
    groups = group_by_parameter(as_matrices(weight, 0, [None]))
    (found,) = DeviceToHostCopy([MatrixMoments(groups).measure([weight], "weight")]).values()
    assert found[0, 1] == pytest.approx(weight.double().numpy().std(), rel=3e-7)


def test_equal_parts_are_reduced_at_once() -> None:
    model = tiny.gpt_neox()
    fused = [g for g in group_by_parameter(find_weight_matrices(model)) if len(g.matrices) == 3]
    assert len(fused) == 2
    assert all(len(list(group.views(group.parameter))) == 1 for group in fused)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("special", [[], [math.inf, -math.inf], [math.nan]])
def test_quantiles_are_those_of_the_order_that_torch_makes(
    special: list[float], dtype: torch.dtype
) -> None:
    values = torch.randn(1009, dtype=dtype, generator=torch.Generator().manual_seed(0))
    values[: len(special)] = torch.tensor(special, dtype=dtype)
    before = values.clone()
    found = _quantiles(values, QUANTILES)
    expected = torch.quantile(values, torch.tensor(QUANTILES, dtype=dtype))
    torch.testing.assert_close(found, expected, equal_nan=True)
    assert found.isnan().all() == values.isnan().any()
    assert torch.equal(values.nan_to_num(), before.nan_to_num())  # they are left in their order


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_recorded(bad: float) -> None:
    model = tiny.gpt2()
    with torch.no_grad():
        next(view for _, role, view in weight_matrices(model) if role == "v")[0, 0] = bad
    with VarianceTracker(model, quantities=["weight"]) as tracker:
        pass
    frame = tracker.to_frame().query("layer == 1 and stat in ('std', 'kurtosis')")
    assert frame[frame["role"] == "v"]["value"].isna().all()
    assert np.isfinite(frame[frame["role"] != "v"]["value"]).all()


def test_histograms_count_every_weight_within_five_std() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(300, 40, generator=generator)
    weight[0, :2] = torch.tensor([100.0, -100.0])  # tails, beyond five std
    (matrix,) = as_matrices(weight, 0, [None])
    (row,) = DeviceToHostCopy([histogram_counts([matrix])]).values()[0]
    low, high, counts = row[0], row[1], row[2:]
    plain = weight.double().numpy()
    assert high == -low == pytest.approx(5 * plain.std(), rel=1e-6)
    expected, _ = np.histogram(plain.clip(low, high), 40, (low, high))
    assert counts.sum() == plain.size
    assert np.abs(counts - expected).sum() <= 4  # a weight at the edge of a bin
    assert counts[0] >= 1
    assert counts[-1] >= 1


# --- through training ------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox", "bert"])
def test_rows_are_what_a_plain_loop_measures(family: str) -> None:
    torch.manual_seed(0)
    model = tiny.FAMILIES[family]().train()
    plain: dict[tuple, float] = {}

    def measure(step: int) -> None:
        for matrix in find_weight_matrices(model):
            name = (step, matrix.layer, matrix.role)
            weight = matrix.weight.double().numpy()
            plain[*name, "weight", "mean"] = weight.mean()
            plain[*name, "weight", "std"] = weight.std()
            plain[*name, "weight", "rms"] = np.sqrt((weight**2).mean())
            if step % 4 == 0:
                fourth = scipy.stats.kurtosis(weight.ravel(), fisher=False)
                plain[*name, "weight", "kurtosis"] = fourth
                plain[*name, "weight", "quantile_0.05"] = np.quantile(weight, 0.05)
            if step > 0:
                gradient = matrix.of(matrix.parameter.grad).double().numpy()
                plain[*name, "gradient", "mean"] = gradient.mean()
                plain[*name, "gradient", "std"] = gradient.std()
                plain[*name, "gradient", "rms"] = np.sqrt((gradient**2).mean())

    measure(0)
    quantities = ("weight", "gradient")
    tracker = train(
        model, 4, observe=measure, every=1, distribution_every=4, quantities=quantities,
        quantiles=[0.05],
    )  # fmt: skip
    frame = tracker.to_frame()
    keys = ["step", "layer", "role", "kind", "stat"]
    found = frame.set_index(keys)["value"].to_dict()
    assert len(found) == len(frame)
    assert found.keys() == plain.keys()
    for key, expected in plain.items():
        scale = plain[*key[:4], "rms"] if key[-1] == "mean" else abs(expected)
        assert found[key] == pytest.approx(expected, abs=1e-5 * scale + 1e-12), key


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_signals_are_those_of_the_first_batch(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = tiny.gpt2().to(dtype)
    optimizer = AdamW(model.parameters())
    first, second = batches(2)
    seen: dict[str, torch.Tensor] = {}
    attention = model.transformer.h[1].attn.c_attn

    def keep(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        if "output" not in seen and torch.is_grad_enabled():
            seen["output"] = output.detach().double()
            output.register_hook(lambda g: seen.__setitem__("gradient", g.double()))

    handle = attention.register_forward_hook(keep)
    with VarianceTracker(model, optimizer, every=1, quantities=["activation"]) as tracker:
        with torch.no_grad():
            model(input_ids=second)  # an evaluation is not measured
        for tokens in (first, second):
            model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
    handle.remove()
    frame = tracker.to_frame()
    for part, role in enumerate("qkv"):
        for kind, what, direction in (
            ("activation", "output", "forward"),
            ("gradient", "gradient", "backward"),
        ):
            signal_ = seen[what].chunk(3, dim=-1)[part]
            expected = {
                "variance": signal_.var(correction=0).item(),
                "mean_square": signal_.square().mean().item(),
            }
            for stat, wanted in expected.items():
                got = value(frame, 1, 2, role, kind, f"{direction}_{stat}")
                assert got == pytest.approx(wanted, rel=1e-5)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        (3, [0, 3, 6]),
        ({0, 1, 2, 4, 7}, [0, 1, 2, 4, 7]),
        ([5], [5]),
        (lambda step: step & (step - 1) == 0, [0, 1, 2, 4]),
        (np.int64(4), [0, 4]),
    ],
)
def test_the_clock(every: object, expected: list[int]) -> None:
    tracker = train(tiny.gpt2(), 7, every=every, distribution_every={5}, quantities=["weight"])
    frame = tracker.to_frame()
    assert sorted(frame["step"].unique()) == sorted({*expected, 5})
    assert frame[frame["stat"] == "kurtosis"]["step"].unique().tolist() == [5]
    assert tracker.histograms_to_frame()["step"].unique().tolist() == [5]


def test_without_an_optimizer_the_loop_says_when() -> None:
    model = tiny.gpt2()
    with VarianceTracker(model, every=2) as tracker:
        for tokens in batches(4):
            model(input_ids=tokens, labels=tokens).loss.backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= 0.1 * parameter.grad
            tracker.after_optimizer_step()
            model.zero_grad()
    frame = tracker.to_frame()
    assert sorted(frame["step"].unique()) == [0, 2, 4]
    assert set(frame[frame["step"] == 4]["kind"]) == {"weight", "gradient"}


def test_a_step_that_the_optimizer_left_out_has_no_update() -> None:
    # As mixed precision does with float16 where a gradient overflows.
    model = tiny.gpt2()
    optimizer = AdamW(model.parameters())
    tracker = VarianceTracker(model, optimizer, every=1)
    tracker.start()
    for updated in (True, False):
        model(input_ids=next(batches(1))).logits.square().mean().backward()
        tracker.before_optimizer_step()
        if updated:
            optimizer.step()
        tracker.after_optimizer_step(updated=updated)
    kinds = tracker.to_frame().groupby("step")["kind"].agg(set)
    assert kinds[1] == {"weight", "gradient", "update"}
    assert kinds[2] == {"weight", "gradient"}


def checkpointing(model: nn.Module, reentrant: bool) -> None:
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})


@pytest.mark.parametrize("checkpoint", [None, False, True])
def test_training_is_the_same_bit_by_bit(checkpoint: bool | None) -> None:
    def run(tracked: bool) -> tuple[list[torch.Tensor], pd.DataFrame | None]:
        torch.manual_seed(7)
        random.seed(7)
        np.random.seed(7)  # noqa: NPY002 - that the global state stays as it is is the point
        model = tiny.gpt2(**tiny.DROPOUT).train()
        if checkpoint is not None:
            checkpointing(model, checkpoint)
        frame = None
        if tracked:
            frame = train(model, 5, every=1, distribution_every=2, quantities=ALL).to_frame()
        else:
            optimizer = AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
            for tokens in batches(5):
                optimizer.zero_grad()
                model(input_ids=tokens, labels=tokens).loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                optimizer.step()
        numpy_state = np.random.get_state()[1].astype(np.int64)  # noqa: NPY002
        gradients = [p.grad for p in model.parameters()]
        rest = [
            torch.get_rng_state(),
            torch.tensor(numpy_state),
            torch.tensor(random.getstate()[1]),
        ]
        return [*model.state_dict().values(), *gradients, *rest], frame

    plain, _ = run(False)
    tracked, frame = run(True)
    assert len(plain) == len(tracked)
    assert all(torch.equal(a, b) for a, b in zip(plain, tracked, strict=True))
    counts = frame[frame["step"] > 0].groupby(["kind", "stat"]).size()
    assert counts["activation", "forward_variance"] == 14 * 5  # once a step, checkpointed or not
    assert counts["gradient", "backward_variance"] == 14 * 5


def test_checkpointing_changes_no_statistic() -> None:
    frames = []
    for checkpoint in (None, False, True):
        torch.manual_seed(7)
        model = tiny.gpt2().train()
        if checkpoint is not None:
            checkpointing(model, checkpoint)
        frame = train(model, 2, every=1, quantities=ALL).to_frame()
        frames.append(
            frame.sort_values(["step", "kind", "stat", "layer", "role"], ignore_index=True)
        )
    pd.testing.assert_frame_equal(frames[0], frames[1], rtol=1e-5)
    pd.testing.assert_frame_equal(frames[0], frames[2], rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_accumulated_in_full(dtype: torch.dtype) -> None:
    model = tiny.gpt2().to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(100.0 if parameter.dim() > 1 else 1.0)  # fourth powers overflow float16
    with VarianceTracker(model, quantities=["weight"]) as tracker:
        pass
    frame = tracker.to_frame()
    for layer, role, view in weight_matrices(model):
        plain = view.double().numpy().ravel()
        assert value(frame, 0, layer, role, "weight", "std") == pytest.approx(plain.std(), rel=1e-5)
        found = value(frame, 0, layer, role, "weight", "kurtosis")
        assert found == pytest.approx(scipy.stats.kurtosis(plain, fisher=False), rel=1e-4)


def test_wrapped_for_several_devices() -> None:
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    try:
        frames = []
        for wrap in (lambda model: model, DistributedDataParallel):
            torch.manual_seed(0)
            frames.append(train(wrap(tiny.gpt2()), 2, every=1, quantities=ALL).to_frame())
        pd.testing.assert_frame_equal(*frames)
    finally:
        torch.distributed.destroy_process_group()


def test_weights_of_a_compiled_model() -> None:
    model = tiny.gpt2()
    compiled = torch.compile(model, backend="eager")
    tracker = train(compiled, 2, every=1)
    assert set(tracker.to_frame()["kind"]) == {"weight", "gradient", "update"}


@pytest.mark.parametrize("how", ["wrapped", "wrapped before", "method", "block"])
def test_activations_of_what_is_compiled_later_are_recorded_or_refused(how: str) -> None:
    """As `accelerate launch --dynamo_backend` does: the tracker is given the model inside."""
    torch.compiler.reset()
    torch.manual_seed(0)
    model = tiny.gpt2()
    trained = torch.compile(model, backend="eager") if how.startswith("wrapped") else model
    tokens = next(batches(1))
    if how == "wrapped before":  # compiled without hooks
        trained(input_ids=tokens, labels=tokens).loss.backward()
    optimizer = AdamW(model.parameters())
    tracker = VarianceTracker(model, optimizer, every=1, quantities=ALL)
    if how == "method":
        model.compile(backend="eager")
    elif how == "block":
        model.transformer.h[1] = torch.compile(model.transformer.h[1], backend="eager")
    refused = ""
    try:
        with tracker:
            for _ in range(3):
                optimizer.zero_grad()
                trained(input_ids=tokens, labels=tokens).loss.backward()
                optimizer.step()
    except UsageError as error:
        refused = str(error)
    assert refused or how == "wrapped"
    if refused:
        assert "activation" in refused
        assert "compiled" in refused
    else:
        counts = tracker.to_frame().query("stat == 'forward_variance'").groupby("step").size()
        assert counts.to_dict() == {1: 14, 2: 14, 3: 14}


def test_steps_without_a_pass_are_no_error() -> None:
    with VarianceTracker(tiny.gpt2(), every=1, quantities=ALL[:2] + ALL[3:]) as tracker:
        tracker.begin_step()
        tracker.after_optimizer_step()
    assert set(tracker.to_frame()["kind"]) == {"weight"}


def test_frozen_matrices_have_weights_alone() -> None:
    model = tiny.gpt2()
    model.transformer.h[0].requires_grad_(False)
    frame = train(model, 1, every=1).to_frame().query("step == 1")
    assert set(frame[frame["layer"] == 1]["kind"]) == {"weight"}
    assert set(frame[frame["layer"] == 2]["kind"]) == {"weight", "gradient", "update"}


def test_hooks_are_gone_after_an_exception_and_what_was_recorded_stays() -> None:
    model = tiny.gpt2()
    optimizer = AdamW(model.parameters())
    tracker = VarianceTracker(model, optimizer, every=1, quantities=ALL)

    def interrupted() -> None:
        with tracker:
            for tokens in batches(2):
                model(input_ids=tokens, labels=tokens).loss.backward()
                optimizer.step()
            model(input_ids=tokens)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not any(module._forward_hooks for module in model.modules())
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks
    assert tracker.to_frame()["step"].max() == 2


# --- on disk ---------------------------------------------------------------------------------


def test_readable_while_it_runs_and_one_file_in_the_end(tmp_path: Path) -> None:
    seen = []
    model = tiny.gpt2()
    folder = tmp_path / "new" / "folder"
    train(
        model, 4, every=1, distribution_every=2, out_folder=folder,
        observe=lambda _: seen.append(read_variances(folder)),
    )  # fmt: skip
    assert [frame["step"].max() for frame in seen] == [1, 2, 3, 4]
    assert sorted(path.name for path in folder.iterdir()) == [
        "histograms.parquet",
        "variances.parquet",
    ]
    frame = read_variances(folder)
    in_file = pd.read_parquet(folder / "variances.parquet")
    assert in_file["value"].dtype == "float32"
    assert frame.equals(in_file.astype({"value": "float64"}))
    before = seen[-1]["value"].to_numpy()
    np.testing.assert_allclose(frame["value"].iloc[: len(before)], before, rtol=1e-7, atol=1e-30)
    assert frame.columns.tolist() == ["step", "layer", "role", "kind", "stat", "value"]
    assert sorted(read_histograms(folder)["step"].unique()) == [0, 2, 4]


@pytest.mark.parametrize("stop", [2, 3])
def test_a_run_that_goes_on_drops_what_came_after(tmp_path: Path, stop: int) -> None:
    model = tiny.gpt2()
    train(model, 4, every=1, quantities=["weight"], out_folder=tmp_path)
    before = read_variances(tmp_path)
    with VarianceTracker(
        model, every=1, quantities=["weight"], out_folder=tmp_path, step=stop
    ) as tracker:
        kept = read_variances(tmp_path)
        pd.testing.assert_frame_equal(kept, before[before["step"] <= stop])
        tracker.after_optimizer_step()
    assert read_variances(tmp_path)["step"].unique().tolist() == list(range(stop + 2))


def track_without_end(folder: Path, step_ended: Connection) -> None:
    model = tiny.gpt2()
    optimizer = torch.optim.AdamW(model.parameters())
    tokens = torch.arange(10)[None]
    with VarianceTracker(model, optimizer, every=1, distribution_every=1, out_folder=folder):
        while True:
            model(input_ids=tokens, labels=tokens).loss.backward()
            optimizer.step()
            step_ended.send(None)


def test_whole_after_a_kill(tmp_path: Path, server: multiprocessing.context.BaseContext) -> None:
    step_ended, its_end = server.Pipe(duplex=False)
    process = server.Process(target=track_without_end, args=(tmp_path, its_end))
    process.start()
    its_end.close()
    try:
        for _ in range(20):
            step_ended.recv()
        time.sleep(0.01)
    finally:
        process.kill()
        process.join()
        step_ended.close()
    frame = read_variances(tmp_path)
    assert frame["step"].max() >= 20  # every step that had ended
    assert len(set(frame.groupby("step").size().iloc[1:])) == 1  # and each whole
    assert read_histograms(tmp_path)["step"].max() >= 20


@settings(max_examples=30)
@given(cut=st.floats(0, 1))
def test_a_stream_cut_off_anywhere_is_read_up_to_there(
    tmp_path_factory: pytest.TempPathFactory, cut: float
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    tracker = VarianceTracker(tiny.gpt2(), every=1, quantities=["weight"], out_folder=folder)
    tracker.start()
    for _ in range(3):
        tracker.after_optimizer_step()
    path = folder / "variances.arrows"
    whole = read_variances(folder)
    path.write_bytes(path.read_bytes()[: int(cut * path.stat().st_size)])
    found = read_variances(folder)
    assert found.equals(whole[: len(found)])
    assert len(found) == 0 or found["step"].value_counts().isin(whole["step"].value_counts()).all()
    # A run goes on from there.
    table = VarianceTable(folder, VARIANCES)
    kept = table.open(1)
    assert kept == (None if len(found) == 0 else min(1, found["step"].max()))
    table.close()
    there = whole[whole["step"] <= (-1 if kept is None else kept)]
    rounded = there["value"].astype("float32").astype("float64")
    assert read_variances(folder).equals(there.assign(value=rounded))


def stream_of(folder: Path) -> tuple[Path, pd.DataFrame]:
    """The stream of a run that is under way, and the rows in it."""
    tracker = VarianceTracker(tiny.gpt2(), every=1, quantities=["weight"], out_folder=folder)
    tracker.start()
    for _ in range(3):
        tracker.after_optimizer_step()
    return folder / "variances.arrows", read_variances(folder)


@settings(max_examples=100)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_cuts_a_stream_and_is_told(
    place: float, bit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path, whole = stream_of(tmp_path_factory.mktemp("flipped"))
    bad = bytearray(path.read_bytes())
    bad[int(place * len(bad))] ^= 1 << bit
    path.write_bytes(bad)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        found = read_variances(path.parent)
    assert found.equals(whole[: len(found)])
    if len(found) < len(whole):
        last = f"up to step {found['step'].max()}." if len(found) else "nothing of it."
        assert said.getvalue().startswith(f"{path} is damaged") or "within a batch" in (
            said.getvalue()
        )
        assert said.getvalue().rstrip().endswith(last)
    else:
        assert not said.getvalue()  # it is in what fills a batch up


def test_a_stream_filled_with_zeros_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = stream_of(tmp_path)
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2] + bytes(len(good) - len(good) // 2))
    assert read_variances(tmp_path)["step"].max() < 3
    assert "is damaged" in capsys.readouterr().out


def test_a_stream_of_an_older_version_is_read_and_gone_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, whole = stream_of(tmp_path)
    # Double precision, no checksums, and after an interruption several steps in one batch.
    table = pa.Table.from_pandas(whole, TRACKING_SCHEMAS[VARIANCES], preserve_index=False)
    n = int((whole["step"] < 2).sum())
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        for rows in (table[:n], table[n:]):
            writer.write_batch(rows.combine_chunks().to_batches()[0])
    assert read_variances(tmp_path).equals(whole)
    table = VarianceTable(tmp_path, VARIANCES)
    assert table.open(0) == 0
    table.close()
    assert read_variances(tmp_path).equals(whole[whole["step"] == 0])
    assert capsys.readouterr().out == ""


def test_the_checksum_of_a_table_is_the_same_after_it_was_closed_and_opened(
    tmp_path: Path,
) -> None:
    path, _ = stream_of(tmp_path)
    table = VarianceTable(tmp_path, VARIANCES)
    by_step = table.digests()
    assert list(by_step) == [-1, 0, 1, 2, 3]
    assert len(set(by_step.values())) == 5
    for last in (3, 1):
        table.open(last)
        assert table.digest() == by_step[last]
        table.close()
        assert not path.exists()
        assert table.digests() == {step: by_step[step] for step in by_step if step <= last}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="stat"), "it has no column stat"),
        (lambda f: f.assign(step=f["step"].astype(str)), "column step is of the type"),
        (lambda f: f.assign(value=f["value"].where(f.index != 3)), "1 values of its column value"),
        (lambda f: pd.concat([f, f[:2]]), "2 of its rows are there twice"),
    ],
)
def test_a_table_that_is_not_what_it_must_be_is_one_clear_error(
    change: Callable[[pd.DataFrame], pd.DataFrame], message: str, tmp_path: Path
) -> None:
    train(tiny.gpt2(), 2, every=1, out_folder=tmp_path)
    frame = pd.read_parquet(tmp_path / "variances.parquet")
    frame.to_parquet(tmp_path / "variances.parquet", index=False)  # of another program
    assert len(read_variances(tmp_path)) == len(frame)
    change(frame).to_parquet(tmp_path / "variances.parquet", index=False)
    with pytest.raises(UsageError, match=rf"variances\.parquet is damaged \(.*{message}"):
        read_variances(tmp_path)


# --- bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every must be a whole number of steps of at least 1"),
        ({"every": 2.5}, "every must be a whole number"),
        ({"every": "often"}, "every must be a whole number"),
        ({"every": {1, -1}}, "every must be a whole number"),
        ({"distribution_every": True}, "distribution_every must be a whole number"),
        ({"quantities": ["weights"]}, "unknown quantity 'weights'. Did you mean 'weight'"),
        ({"quantities": "weight"}, "quantities must be a list"),
        ({"quantities": []}, "quantities must be a list"),
        ({"quantities": ["update"]}, "give the optimizer too"),
        ({"quantiles": [0.5, 2]}, "quantiles must be numbers from 0 to 1, not 2"),
        ({"histograms": ["w"]}, "unknown role of histograms 'w'"),
    ],
)
def test_bad_options_are_one_clear_error(options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        VarianceTracker(tiny.gpt2(), **options)


def test_bad_models_and_optimizers_are_one_clear_error() -> None:
    model = tiny.gpt2()
    with pytest.raises(UsageError, match="has no weight matrix"):
        VarianceTracker(nn.LayerNorm(3))
    with pytest.raises(UsageError, match="must be one of torch's optimizers, not 3"):
        VarianceTracker(model, 3)
    with pytest.raises(UsageError, match="the list is empty"):
        VarianceTracker(model, [])
    with pytest.raises(UsageError, match="none of the 10 weight matrices is in a parameter group"):
        VarianceTracker(model, AdamW(tiny.gpt2().parameters()))
    with pytest.raises(UsageError, match="activations of a compiled model"):
        VarianceTracker(torch.compile(model), quantities=["activation"])


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UsageError, match=r"cannot be written .*Name another one"),
        VarianceTracker(tiny.gpt2(), out_folder=tmp_path / "file" / "folder"),
    ):
        pass


def test_an_earlier_run_is_not_replaced_unasked(tmp_path: Path) -> None:
    train(tiny.gpt2(), 2, every=1, out_folder=tmp_path)
    before = read_variances(tmp_path)
    with pytest.raises(UsageError, match="variances of an earlier run, up to step 2"):
        train(tiny.gpt2(), 1, every=1, out_folder=tmp_path)
    assert read_variances(tmp_path).equals(before)
    train(tiny.gpt2(), 1, every=1, out_folder=tmp_path, overwrite=True)
    assert read_variances(tmp_path)["step"].max() == 1


def test_nothing_recorded_or_damaged_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing was recorded there"):
        read_variances(tmp_path)
    (tmp_path / "variances.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UsageError, match=r"variances\.parquet is damaged"):
        read_variances(tmp_path)
