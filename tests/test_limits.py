"""Out of memory, files and disk, for real: each is one sentence, and nothing is lost."""

from __future__ import annotations

import contextlib
import errno
import io
import multiprocessing
import os
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from sweeps import assert_same as assert_same_table
from sweeps import chunk_files, run
from test_pretrain import (  # noqa: F401  (fixtures)
    assert_same,
    command,
    data,
    undisturbed,
)

from initscope.cli import main
from initscope.errors import OutOfResources, UsageError, lack_of_resources
from initscope.memory import ADDRESS_SPACE, format_bytes
from initscope.pretrain import read_record
from initscope.sweep import SweepSpec
from initscope.sweep.executors import processes

resource = pytest.importorskip("resource")


def limited(
    environment: dict[str, str],
    arguments: list[str],
    limit: str,
    value: int,
    answer: Connection,
) -> None:
    """The command line in this process, which may have so much of something."""
    os.environ.update(environment)  # that of the server is older than this test
    import torch

    import initscope.pretrain.trainer  # noqa: F401

    torch.set_num_threads(1)
    number = getattr(resource, limit)
    if limit == "RLIMIT_AS":  # beyond what is in use
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        value += pages * resource.getpagesize()
    resource.setrlimit(number, (value, resource.getrlimit(number)[1]))
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()) as shown,
    ):
        try:
            status = main(arguments)
        except BaseException as error:
            status = -1
            shown.write(repr(error))
    resource.setrlimit(number, (resource.getrlimit(number)[1],) * 2)
    answer.send((status, shown.getvalue()))


def run_limited(
    server: multiprocessing.context.BaseContext, arguments: list[str], limit: str, value: int
) -> tuple[int, str]:
    """Exit status and the last line on stderr, after the progress bar."""
    answer, theirs = server.Pipe(duplex=False)
    child = server.Process(target=limited, args=(dict(os.environ), arguments, limit, value, theirs))
    child.start()
    theirs.close()
    status, shown = answer.recv()
    child.join()
    answer.close()
    line = shown.rpartition("error: ")[2]
    assert line.count("\n") == 1, shown
    assert "Traceback" not in shown
    return status, line.strip()


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("model.safetensors", "a file became larger than a limit of this system allows (ulimit"),
        ("optimizer.pt", "a file could not be written to its end: the disk is full, or a file"),
    ],
)
def test_a_limit_on_files_is_one_sentence_and_nothing_is_lost(
    file: str,
    message: str,
    tmp_path: Path,
    server: multiprocessing.context.BaseContext,
    undisturbed: tuple[Path, Any],  # noqa: F811
) -> None:
    status, line = run_limited(
        server,
        command(tmp_path, "--checkpoint-every", "4"),
        "RLIMIT_FSIZE",
        (undisturbed[0] / "checkpoints" / "checkpoint-12" / file).stat().st_size - 1,
    )
    assert status == 1
    assert line.startswith(message)
    assert line.endswith("Stopped before the first checkpoint: the same call starts again.")
    assert main(command(tmp_path, "--checkpoint-every", "4")) == 0
    assert_same(read_record(tmp_path), undisturbed[1])


@pytest.mark.skipif(sys.platform != "linux", reason="what is in use is read from /proc")
def test_too_little_memory_is_one_sentence(
    tmp_path: Path, server: multiprocessing.context.BaseContext
) -> None:
    big = ("-p", "n_embd", "2048", "-p", "n_layer", "4")
    status, line = run_limited(server, command(tmp_path, *big), "RLIMIT_AS", 2**28)
    assert status in (1, 2)
    assert "memory" in line


@pytest.mark.skipif(sys.platform != "linux", reason="what is in use is read from /proc")
def test_a_library_that_does_not_fit_into_memory_is_one_sentence(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text("dataset: wine\nhidden: [[4]]\nstds: [0.1]\nepochs: 1\n")
    program = (
        "import resource, sys, pathlib\n"
        "import numpy, pandas, pyarrow.parquet, yaml, tqdm\n"
        "from initscope import memory\n"
        "from initscope.cli import main\n"
        "memory.ADDRESS_SPACE['sweep'] = 0  # what is left is more, and not enough all the same\n"
        "used = int(pathlib.Path('/proc/self/statm').read_text().split()[0])\n"
        "limit = used * resource.getpagesize() + 2**26\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        f"sys.exit(main(['sweep', '--spec', {str(spec)!r}, '--out', {str(tmp_path / 'out')!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is not enough memory for this, or a limit (ulimit")
    assert len(done.stderr.splitlines()) == 1


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a limit on addresses")


@LINUX
@pytest.mark.parametrize(
    ("command", "kilobytes"),
    [
        ("sweep --spec spec.yaml --out out", 400_000),
        ("sweep --spec spec.yaml --out out", 1_300_000),
        ("pretrain --text stdlib --out out", 400_000),
        ("pretrain --text stdlib --out out", 1_700_000),
        ("reproduce 1 --output out", 300_000),
        ("reproduce 1 --output out", 1_400_000),
    ],
)
def test_a_limit_that_libraries_do_not_fit_in_is_refused_before_they_are_loaded(
    command: str, kilobytes: int, tmp_path: Path
) -> None:
    """Some hang otherwise, and some abort the process."""
    (tmp_path / "spec.yaml").write_text("dataset: wine\nstds: [0.1]\nepochs: 1\n")
    limited = f"ulimit -v {kilobytes}; exec {sys.executable} -m initscope {command}"
    done = subprocess.run(["sh", "-c", limited], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    name = command.partition(" ")[0]
    needed = format_bytes(ADDRESS_SPACE[name])
    assert line.startswith(f"error: {name} needs at least {needed} of memory")
    assert f"leaves it {format_bytes(kilobytes * 1024)}: raise the limit" in line
    assert not (tmp_path / "out").exists()


@LINUX
@pytest.mark.parametrize("command", ADDRESS_SPACE)
def test_a_limit_above_what_is_needed_is_not_refused(command: str) -> None:
    needed = ADDRESS_SPACE[command]
    program = (
        "import resource, sys\n"
        "from initscope.memory import require_address_space\n"
        "resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), -1))\n"
        f"require_address_space({command!r})"
    )
    for limit, fits in ((needed, True), (needed - 1, False)):
        done = subprocess.run([sys.executable, "-c", program, str(limit)], capture_output=True)
        assert (done.returncode == 0) is fits


def leave(n_bytes: int) -> None:
    """Let this process have no more addresses than it has, and so many."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + n_bytes, resource.RLIM_INFINITY))


@LINUX
def test_too_little_memory_on_a_worker_is_one_sentence_and_nothing_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = SweepSpec(hidden=((2000, 3000), (8,), (6,)), stds=(0.1,), epochs=1)
    with processes(1) as pool:
        pool.submit(leave, 2**25).result()  # of the 72 MB that the weights and their gradients take
        with pytest.raises(OutOfResources) as caught:
            run(spec, tmp_path, executor=pool, threads=1)
    assert str(caught.value) == (
        "there is not enough memory for this, or a limit (ulimit -v) leaves too little of it. "
        f"Stopped after 2 of 3 chunks: those 2 are kept in {tmp_path}, and the same call goes on "
        "from there."
    )
    assert lack_of_resources(caught.value) == str(caught.value)  # what the command line says
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith("A chunk failed on a worker (there is not enough memory for this")
    assert len(chunk_files(tmp_path, spec)) == 2
    alone = run(spec, threads=1)
    with processes(1) as pool:
        assert_same_table(run(spec, tmp_path, executor=pool, threads=1), alone)


def chained(outer: Exception, inner: Exception) -> Exception:
    try:
        raise outer from inner
    except Exception as error:
        return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk is full"),
        (OSError(errno.EFBIG, "File too large"), "ulimit -f"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "memory"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos"), "to its end"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "memory"),
        (chained(ValueError("of a library"), MemoryError()), "memory"),
        (OutOfResources("said already."), "said already."),
    ],
)
def test_what_lacks_is_told_from_what_libraries_say(error: Exception, words: str) -> None:
    assert words in lack_of_resources(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("not enough memory"),  # not what it is about
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        OSError(errno.ENOENT, "No such file"),
        ImportError("No module named 'torch'"),
        UsageError("the disk"),
    ],
)
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    assert lack_of_resources(error) == ""
