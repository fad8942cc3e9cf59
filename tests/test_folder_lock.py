"""One writer a folder, with real processes, kills and races."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from initscope import folder_lock
from initscope.errors import UsageError
from initscope.folder_lock import LOCK, write_lock


def hold(folder: str, told: Connection) -> None:
    with write_lock(Path(folder), "a test"):
        told.send(os.getpid())
        told.recv()


class Owner:
    """A process that holds the lock of a folder."""

    def __init__(self, server: multiprocessing.context.BaseContext, folder: Path) -> None:
        self.ours, its = server.Pipe()
        self.process = server.Process(target=hold, args=(str(folder), its))
        self.process.start()
        its.close()
        self.ours.recv()

    def end(self, number: int | None = None) -> None:
        if number is None:
            self.ours.send(None)
        else:
            os.kill(self.process.pid or 0, number)
        self.process.join()
        self.ours.close()


def test_the_second_is_told_who_holds_it(
    tmp_path: Path, server: multiprocessing.context.BaseContext
) -> None:
    owner = Owner(server, tmp_path / "out")
    before = (tmp_path / "out" / LOCK).read_bytes()
    with (
        pytest.raises(UsageError) as caught,
        write_lock(tmp_path / "out", "another"),
    ):
        pass
    assert str(caught.value).startswith(
        f"{tmp_path / 'out'} is being written by a test, process {owner.process.pid} on "
        f"{socket.gethostname()}, since 2"
    )
    assert len(str(caught.value).splitlines()) == 1
    assert (tmp_path / "out" / LOCK).read_bytes() == before
    owner.end()
    assert not (tmp_path / "out").exists()  # it was made for the lock alone


def test_a_killed_holder_holds_nothing(
    tmp_path: Path, server: multiprocessing.context.BaseContext
) -> None:
    Owner(server, tmp_path).end(signal.SIGKILL)
    assert (tmp_path / LOCK).exists()
    with write_lock(tmp_path, "another"):
        assert json.loads((tmp_path / LOCK).read_text())["process"] == os.getpid()
    assert not (tmp_path / LOCK).exists()


def test_folders_that_were_made_go_if_nothing_is_in_them(tmp_path: Path) -> None:
    with write_lock(tmp_path / "a" / "b", "a test"):
        pass
    assert list(tmp_path.iterdir()) == []
    with write_lock(tmp_path / "a" / "b", "a test"):
        (tmp_path / "a" / "b" / "file").write_text("")
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["file"]


def test_there_is_one_at_a_time_whoever_comes_and_goes(tmp_path: Path) -> None:
    """The file is removed by its owner: one who has opened it just before must not be let in."""
    inside: list[int] = []
    most: list[int] = []
    got = [0] * 4

    def work(number: int) -> None:
        while got[number] < 50:
            try:
                with write_lock(tmp_path / "out", "a test"):
                    inside.append(number)
                    most.append(len(inside))
                    inside.remove(number)
                    got[number] += 1
            except UsageError:
                pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [50] * 4
    assert max(most) == 1


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks."""

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(folder_lock.fcntl, "flock", flock)


def gone() -> int:
    """Number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


@pytest.mark.usefixtures("no_locks")
@pytest.mark.parametrize("what", ["alive", "another user's", "elsewhere"])
def test_without_locks_a_holder_that_may_be_alive_is_believed(tmp_path: Path, what: str) -> None:
    owner = folder_lock._this_process() | {"what": "a test"}
    if what == "another user's":
        owner |= {"process": 1, "began": folder_lock._process_start(1)}
    if what == "elsewhere":
        owner |= {"host": "another", "process": gone()}
    (tmp_path / LOCK).write_text(json.dumps(owner))
    with (
        pytest.raises(UsageError, match=f"a test, process {owner['process']} on"),
        write_lock(tmp_path, "another"),
    ):
        pass


@pytest.mark.usefixtures("no_locks")
@pytest.mark.parametrize("what", ["gone", "number given again", "half", "[]", '{"process": "x"}'])
def test_without_locks_a_holder_that_is_gone_is_not(tmp_path: Path, what: str) -> None:
    owner = folder_lock._this_process()
    if what == "gone":
        owner["process"] = gone()
    if what == "number given again":
        owner["began"] = "0"
    plain = what if what[0] in "h[{" else json.dumps(owner)
    (tmp_path / LOCK).write_text(plain)
    with write_lock(tmp_path, "another"):
        assert json.loads((tmp_path / LOCK).read_text())["what"] == "another"


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UsageError, match=r"cannot be written .*Name another one"),
        write_lock(tmp_path / "file" / "folder", "a test"),
    ):
        pass
