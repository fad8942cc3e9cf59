"""Sweeps on the workers of an executor: the same table, whatever becomes of a worker."""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from multiprocessing import forkserver
from pathlib import Path

import dask
import pandas as pd
import psutil
import pytest
import torch
import yaml
from distributed import Client, LocalCluster
from sweeps import N_CHUNKS, SPLIT, assert_same, chunk_files, keep_chunks, run

from initscope.cli import main
from initscope.errors import UsageError
from initscope.sweep import SweepSpec, chunks_of
from initscope.sweep import run as sweep
from initscope.sweep.executors import open_executor, processes

# Long enough that something can happen in the middle: 18 chunks.
LONG = dataclasses.replace(SPLIT, seeds=6, epochs=60)

# Its first network would need 400 TB: torch raises on whichever worker meets it.
TOO_LARGE = SweepSpec(hidden=((10**7, 10**7), (8,), (6,)), stds=(0.1,), epochs=2)


@functools.cache
def undisturbed(threads: int) -> pd.DataFrame:
    """What comes of LONG when nothing happens to it."""
    return run(LONG, threads=threads)


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    end = time.perf_counter() + seconds
    while not condition():
        assert time.perf_counter() < end, "this did not come about"
        time.sleep(0.002)


# --- Dask ----------------------------------------------------------------------------------


def test_a_dask_worker_killed_in_the_middle_changes_nothing(
    tmp_path: Path, server: multiprocessing.context.BaseContext
) -> None:
    tables: list[pd.DataFrame] = []
    with (
        # Three processes import torch otherwise, the last in place of the one that is killed.
        dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}),
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        victim, other = client.run(os.getpid).values()
        sweep_in_background = threading.Thread(
            target=lambda: tables.append(
                run(LONG, tmp_path, executor=client.get_executor(), threads=1)
            )
        )
        sweep_in_background.start()
        wait_for(lambda: len(chunk_files(tmp_path, LONG)) >= 3)
        os.kill(victim, signal.SIGKILL)
        kept = len(chunk_files(tmp_path, LONG))
        sweep_in_background.join(120)
        assert not psutil.pid_exists(victim) or victim not in client.run(os.getpid).values()
        assert other in client.run(os.getpid).values()
    assert 3 <= kept < len(chunks_of(LONG))
    (table,) = tables
    assert_same(table, undisturbed(threads=1))
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.parquet"]


def test_dask_by_name(tmp_path: Path) -> None:
    spec = SweepSpec(hidden=((8,),), stds=(0.1, 1.0), seeds=2)
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        with open_executor("dask", scheduler=cluster.scheduler_address) as executor:
            assert_same(run(spec, executor=executor), run(spec))
        assert cluster.scheduler.workers  # it is not ours to shut down


def test_a_scheduler_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}),
        pytest.raises(UsageError, match="no Dask scheduler answers at tcp"),
        open_executor("dask", scheduler="tcp://127.0.0.1:1"),
    ):
        pass


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(UsageError, match=r"needs .* distributed: pip install 'initscope\[dask\]'"),
        open_executor("dask"),
    ):
        pass


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dusk",), "unknown executor 'dusk'. Did you mean 'dask'"),
        (("processes", 0), "workers must be a whole number of at least 1, not 0"),
        (("processes", None, "tcp://a:1"), "a scheduler is for the executor dask only"),
        (("dask", 2, "tcp://a:1"), "give either scheduler or workers"),
    ],
)
def test_bad_executors_are_one_clear_error(arguments: tuple, message: str) -> None:
    with pytest.raises(UsageError, match=message), open_executor(*arguments):
        pass


# --- Chunks that fail ----------------------------------------------------------------------


class Counting(ThreadPoolExecutor):
    """Remembers the largest number of tasks that it held at once."""

    most = held = 0

    def submit(self, *arguments: object, **options: object) -> Future:
        self.held += 1
        self.most = max(self.most, self.held)
        future = super().submit(*arguments, **options)
        future.add_done_callback(self.finished)
        return future

    def finished(self, _: Future) -> None:
        self.held -= 1


def test_a_limited_number_of_chunks_is_submitted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "SUBMITTED_AT_ONCE", 3)
    with Counting(1) as executor:
        assert_same(run(SPLIT, executor=executor), run(SPLIT))
    assert executor.most == 3


def test_a_chunk_that_fails_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ThreadPoolExecutor(1) as executor:
        with pytest.raises(UsageError, match=r"needs about .* for a network of widths") as caught:
            run(TOO_LARGE, tmp_path, executor=executor)
        assert caught.value.__notes__ == ["1 of 3 chunks failed on the workers."]
        assert "A chunk failed on a worker" in capsys.readouterr().out
        kept = chunk_files(tmp_path, TOO_LARGE)
        assert len(kept) == 2
        # What is kept is not trained again.
        with pytest.raises(UsageError) as caught:
            run(TOO_LARGE, tmp_path, executor=executor)
        assert caught.value.__notes__ == ["1 of 1 chunks failed on the workers."]
    assert chunk_files(tmp_path, TOO_LARGE) == kept


class Breaking(Executor):
    """Finishes tasks at once, and cannot take any more after some."""

    def __init__(self, takes: int) -> None:
        self.takes = takes

    def submit(self, function: Callable, /, *arguments: object, **options: object) -> Future:
        if not self.takes:
            raise RuntimeError("cannot schedule new futures after shutdown")
        self.takes -= 1
        future: Future = Future()
        future.set_result(function(*arguments, **options))
        return future


def test_what_is_finished_is_kept_when_the_executor_breaks(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="cannot schedule new futures"):
        run(SPLIT, tmp_path, executor=Breaking(takes=4))
    assert len(chunk_files(tmp_path, SPLIT)) == 4


# --- Processes, on the command line --------------------------------------------------------


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    spec = tmp_path / "sweep.yaml"
    spec.write_text(yaml.safe_dump(LONG.to_dict()))
    return [
        *(sys.executable, "-m", "initscope", "sweep", "--spec", str(spec)),
        *("--out", str(tmp_path / "out"), "--executor", "processes", "--workers", "2"),
    ]


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL"])
def test_no_worker_outlives_the_command_and_what_is_finished_is_kept(
    how: str, command: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for(lambda: process.poll() is not None or chunk_files(out, LONG))
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    if how == "SIGINT":  # a terminal sends Ctrl-C to all of them
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.kill()
    _, err = process.communicate(timeout=60)
    kept = len(chunk_files(out, LONG))
    assert 1 <= kept < len(chunks_of(LONG))
    if how == "SIGINT":
        assert process.returncode == 130, err
        assert "Traceback" not in err, err
        assert f"Stopped after {kept} of {len(chunks_of(LONG))} chunks" in err.splitlines()[-1]
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []
    threads = max(1, (os.cpu_count() or 1) // 2)
    assert_same(run(LONG, out, threads=threads), undisturbed(threads))


def test_a_killed_worker_is_one_line(
    command: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = set(psutil.Process().children(recursive=True))

    def kill_a_worker() -> None:
        wait_for(lambda: chunk_files(tmp_path / "out", LONG))
        started = set(psutil.Process().children(recursive=True)) - before
        max(started, key=lambda child: child.create_time()).kill()  # a worker: they come last

    killer = threading.Thread(target=kill_a_worker)
    killer.start()
    arguments = command[command.index("sweep") :]
    assert main(arguments) == 1
    killer.join()
    err = capfd.readouterr().err
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("error: a worker was killed")


def test_workers_know_the_environment_of_their_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("before", "after"):  # the process they are forked from knows the first at most
        monkeypatch.setenv("INITSCOPE_TEST", value)
        with processes(1) as pool:
            assert pool.submit(os.getenv, "INITSCOPE_TEST").result() == value


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every worker starts by itself")
def test_what_workers_are_forked_from_does_not_hear_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = []

    def note_mask() -> None:
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))

    monkeypatch.setattr(forkserver, "ensure_running", note_mask)
    with processes(1):
        pass
    note_mask()
    blocked_at_its_start, later = masks
    assert signal.SIGINT in blocked_at_its_start
    assert signal.SIGINT not in later


# --- The same numbers everywhere -----------------------------------------------------------


def test_threads_are_set_recorded_and_restored(tmp_path: Path) -> None:
    spec = SweepSpec(hidden=((8,),), stds=(0.1,))
    before = torch.get_num_threads()
    for threads in (1, 2):
        table = run(spec, threads=threads)
        (environment,) = table.attrs["environments"]
        assert environment["device"].startswith(f"{threads} of ")
        assert torch.get_num_threads() == before
    with processes(1) as executor:
        table = run(spec, executor=executor, threads=2)
    assert table.attrs["environments"][0]["device"].startswith("2 of ")
    for bad in (0, 1.5, "2"):
        with pytest.raises(UsageError, match="threads must be a whole number"):
            run(spec, threads=bad)


def test_reduced_precision_outside_makes_no_difference() -> None:
    spec = SweepSpec(hidden=((32, 16),), stds=(0.1, 0.5), epochs=3)
    expected = run(spec)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert_same(run(spec), expected)
            assert torch.is_autocast_enabled("cpu")
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_chunks_that_are_there_are_not_sent_to_workers(tmp_path: Path) -> None:
    keep_chunks(SPLIT, tmp_path, slice(1, N_CHUNKS))
    with Counting(1) as executor:
        assert_same(run(SPLIT, tmp_path, executor=executor), run(SPLIT))
    assert executor.most == 1
