"""What this machine has, and what is refused for it."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from initscope.checks import is_number, result_folder
from initscope.devices import check_device_name, check_threads, largest_number_of_threads
from initscope.errors import UsageError, given, shown
from initscope.memory import available_memory, format_bytes, require_memory
from initscope.models import GPT2_PRESETS, gpt2
from initscope.models.gpt import training_flops_per_token
from initscope.predict import predict
from initscope.pretrain.spec import PretrainSpec
from initscope.sweep.chunks import bytes_per_run, chunks_of, require_room
from initscope.sweep.schedule import fewest_probes, probe_steps
from initscope.sweep.spec import SweepSpec
from initscope.theory import (
    adamw_variance_trajectory,
    residual_gradient_variance,
    residual_stream_variance,
)


def test_memory_is_what_the_system_says_or_a_limit_below() -> None:
    total = psutil.virtual_memory().total + psutil.swap_memory().total
    assert psutil.Process().memory_info().rss < available_memory() <= total
    require_memory(available_memory(), "something", "change it")
    with pytest.raises(UsageError, match=r"about .* of memory for something, and .*: change it\."):
        require_memory(available_memory() + 1, "something", "change it")


def test_a_limit_of_the_process_counts() -> None:
    pytest.importorskip("resource")
    code = (
        "import resource\nfrom initscope.memory import available_memory\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**30, -1))\nprint(available_memory())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(run.stdout) <= 2**30


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (512, "512 bytes"),
        (1.49e9, "1.49 GB"),
        (25.3e9, "25.3 GB"),
        (3.2e12, "3.2 TB"),
        (3.2e15, "3,200 TB"),
        (1e30, "1e+18 TB"),
    ],
)
def test_sizes_are_said_to_three_digits(n_bytes: float, text: str) -> None:
    assert format_bytes(n_bytes) == text


def test_threads_have_a_limit_that_leaves_room_for_all_cores() -> None:
    cores = os.cpu_count() or 1
    largest = largest_number_of_threads()
    assert largest >= max(64, 2 * cores)
    check_threads(largest)
    check_threads(1, largest)
    for threads, workers in ((largest + 1, None), (None, largest + 1), (largest, 2), (10**18, 2)):
        with pytest.raises(UsageError, match=f"give at most {largest} "):
            check_threads(threads, workers)


@pytest.mark.parametrize("device", [None, "cpu", "cuda", "cuda:0", "cuda:15"])
def test_devices_that_can_be(device: str | None) -> None:
    check_device_name(device)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("mps", "give cpu, cuda, or cuda:N .* no float64"),
        ("gpu", "A GPU is called cuda"),
        ("cpu:1", "give cpu"),
        ("meta", "give cpu"),
        ("cuda:", "give cpu"),
        ("CUDA", "give cpu"),
        (5, "device 5 is not to be had here"),
    ],
)
def test_devices_that_cannot_be(device: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_device_name(device)


def test_a_gpu_of_several_is_chosen_otherwise_in_pretraining() -> None:
    with pytest.raises(UsageError, match="CUDA_VISIBLE_DEVICES"):
        check_device_name("cuda:1", numbered=False)


def test_results_go_to_folders(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    (tmp_path / "broken").symlink_to("nowhere")
    nameless = (Path("a\0b"), Path("x" * 999))
    for folder in (file, file / "inner", tmp_path / "broken" / "inner", *nameless):
        with pytest.raises(UsageError, match="the out folder"):
            result_folder("out folder", folder)
    (tmp_path / "link").symlink_to(tmp_path)
    for folder in (tmp_path, tmp_path / "new" / "inner", tmp_path / "link" / "new"):
        result_folder("out folder", folder)
    assert not (tmp_path / "new").exists()


# --- What is needed is counted from below --------------------------------------------------


@pytest.mark.parametrize("preset", GPT2_PRESETS)
@pytest.mark.parametrize("sizes", [{}, {"n_layer": 3, "n_embd": 24, "n_head": 3, "context": 7}])
def test_parameters_are_counted_as_the_model_has_them(preset: str, sizes: dict[str, int]) -> None:
    spec = PretrainSpec(text="stdlib", preset=preset, vocab_size=300, **sizes)
    names = {"context": "n_positions"}
    model = gpt2(preset, vocab_size=300, **{names.get(k, k): v for k, v in sizes.items()})
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    assert spec.count_parameters() == (n_parameters, training_flops_per_token(model))


def test_the_fewest_probes_are_no_more_than_there_are() -> None:
    for n_steps in (*range(1, 40), 100, 1000):
        for probes in (*range(2, 40), 100, 1000, 30_000):
            steps = probe_steps(n_steps, probes)
            assert fewest_probes(n_steps, probes) <= len(steps)
            assert steps == sorted(set(steps))
            assert (steps[0], steps[-1]) == (0, n_steps)
    assert probe_steps(50, 10**15) == list(range(51))
    assert fewest_probes(10**9, 10**15) == 10**9 + 1


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_a_sweep_that_just_fits_is_not_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No bound is above the measure by which chunks are split, plus what all networks need."""
    spec = SweepSpec.from_dict(
        {"stds": [0.1], "hidden": [[200, 300]], "optimizers": [{"name": name}], "batch_size": 100}
    )
    each = bytes_per_run(spec, (13, 200, 300, 3), spec.optimizers[0])
    drawn = 12 * sum((i + 1) * o for i, o in ((13, 200), (200, 300), (300, 3)))
    monkeypatch.setattr("initscope.memory.available_memory", lambda: max(each, drawn))
    require_room(spec)
    monkeypatch.setattr("initscope.memory.available_memory", lambda: drawn - 1)
    with pytest.raises(UsageError, match="of hidden widths 200-300"):
        require_room(spec)


@pytest.mark.parametrize("memory_mb", [1, 2, 5, 7, 10, 100])
@pytest.mark.parametrize(("n_stds", "seeds"), [(1, 1), (7, 1), (3, 10), (5, 3), (1, 11)])
def test_no_more_networks_are_counted_at_once_than_train(
    memory_mb: int, n_stds: int, seeds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stds = tuple(range(1, n_stds + 1))
    spec = SweepSpec(hidden=((200, 300),), stds=stds, seeds=seeds, memory_mb=memory_mb)
    said: list[str] = []
    monkeypatch.setattr(
        "initscope.sweep.chunks.require_memory", lambda needed, what, advice: said.append(what)
    )
    require_room(spec)
    (at_once,) = (int(what.split()[0]) for what in said if "train at once" in what)
    sizes = [chunk.n_runs for chunk in chunks_of(spec)]
    assert min(sizes) <= at_once <= max(sizes)


GPT = {"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 2, "vocab_size": 9}


@pytest.mark.parametrize(
    "compute",
    [
        lambda: residual_stream_variance(6, 32, 400, 0.02),
        lambda: residual_gradient_variance(2, 32, 200, 0.02),
        lambda: residual_gradient_variance(6, 32, 200, 0.02),
        lambda: adamw_variance_trajectory(0.02, 1e-3, 0.1, steps=20_000),
        lambda: predict(GPT, learning_rate=1e-3, weight_decay=0.1, steps=50_000),
    ],
    ids=["stream", "gradient", "more blocks", "trajectory", "prediction"],
)
def test_what_theory_asks_for_is_needed_and_much_of_it(
    compute: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    compute()  # tables that stay are made
    asked: list[float] = []
    for name, module in list(sys.modules.items()):
        if name.startswith("initscope.") and hasattr(module, "require_memory"):
            monkeypatch.setattr(module, "require_memory", lambda needed, *_: asked.append(needed))
    tracemalloc.start()
    compute()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert max(asked) <= most <= 3 * max(asked)


def test_what_a_gpu_or_another_machine_trains_is_not_counted_here() -> None:
    spec = SweepSpec(stds=(0.1,), hidden=((10**4,),), seeds=10**6, memory_mb=10**9)
    require_room(spec, "cuda")
    require_room(spec, elsewhere=True)
    with pytest.raises(UsageError, match="make memory_mb smaller"):
        require_room(spec)


# --- What is said --------------------------------------------------------------------------


def test_what_was_given_is_shown_in_one_short_line() -> None:
    nested: list[object] = []
    nested.append(nested)
    for value in (nested, [[[[[1]]]]], "x" * 10**6, [0] * 10**6, 10**5000, {"a": "b" * 10**5}):
        assert len(shown(value)) <= 700
    assert shown("a\nb\0") == r"'a\nb\x00'"
    assert shown([0.1, "1e-3"]) == "[0.1, '1e-3']"


@pytest.mark.parametrize(
    ("value", "whole", "hint"),
    [
        ("1e-3", False, " In YAML, write 1.0e-3."),
        ("1e3", True, " Write 1000, without quotes."),
        ("1.5e-3", True, " In YAML, write 1.5e-3."),
        ("12", False, " Leave out the quotes."),
        ([1, ["a", "2e5"]], False, " In YAML, write 2.0e+5."),
        ("nan", False, ""),
        ("a", False, ""),
        (0.1, False, ""),
    ],
)
def test_a_number_that_yaml_took_for_text_gets_a_hint(
    value: object, whole: bool, hint: str
) -> None:
    assert given(value, whole=whole) == f"{shown(value)}.{hint}"


@pytest.mark.parametrize("whole", [True, False])
def test_numbers_too_large_for_a_float_are_compared_all_the_same(whole: bool) -> None:
    assert is_number(10**400, 1, whole=whole) is whole
    assert not is_number(-(10**400), 1, whole=whole)
