"""Chapters executed for real: by papermill, in kernels of their own."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import yaml

from initscope.cli import main
from initscope.reproduce import reproduce
from initscope.reproduce.normalize import WIDGET_STATE, dumps, normalize

RICH = [
    "import os, sys\nprint(os.getcwd()); print(sys.executable == {executable!r}, seeds, profile)",
    "%config InlineBackend.figure_formats = ['svg']\n"
    "import matplotlib.pyplot as plt\n"
    "plt.rcParams['svg.hashsalt'] = 'fixed'\n"
    "plt.plot([1, 2]);",
    "from myst_nb import glue\nglue('band', 0.25)",
    "import ipywidgets as w\n"
    "left, right = w.IntSlider(), w.FloatSlider()\n"
    "link = w.jslink((left, 'value'), (right, 'value'))\n"
    "w.HBox([left, right])",
    "from tqdm import tqdm\nfrom tqdm.auto import tqdm as in_widgets\n"
    "for _ in in_widgets(tqdm(range(9), desc='sweep')): print('step')\n"
    "object()",
]


class Project:
    """A folder of chapters with a profile, and how to look at them."""

    def __init__(self, root: Path) -> None:
        self.notebooks = root / "notebooks"
        (self.notebooks / "profiles" / "smoke").mkdir(parents=True)
        self.profile("{}")

    def profile(self, text: str) -> None:
        """Write the profile smoke: from chapters and their parameters, a file a chapter."""
        folder = self.notebooks / "profiles" / "smoke"
        for path in folder.iterdir():
            path.unlink()
        for chapter, parameters in yaml.safe_load(text).items():
            (folder / f"{chapter}.yaml").write_text(yaml.safe_dump(parameters))

    def write(self, name: str, *cells: str, parameters: str | None = None) -> Path:
        notebook = nbformat.v4.new_notebook()
        if parameters is not None:
            tags = {"tags": ["parameters", "remove-cell"]}
            notebook.cells.append(nbformat.v4.new_code_cell(parameters, metadata=tags))
        notebook.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
        path = self.notebooks / f"{name}.ipynb"
        nbformat.write(notebook, path)
        return path

    def files(self) -> set[str]:
        return {path.name for path in self.notebooks.iterdir()}

    def sources(self, name: str) -> list[str]:
        return [cell.source for cell in nbformat.read(self.notebooks / f"{name}.ipynb", 4).cells]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "a {project}")


def test_the_same_results_give_the_same_bytes(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A kernel python3 that is not ours and a matplotlib backend without figures change nothing.
    foreign = tmp_path / "jupyter" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    spec = {"argv": ["/nonexistent/python"], "display_name": "Other", "language": "python"}
    (foreign / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    cells = [RICH[0].format(executable=sys.executable), *RICH[1:]]
    path = project.write("05_rich", *cells, parameters="profile = ''\nseeds = 5")
    project.profile("05_rich: {seeds: 2}")

    lines: list[str] = []
    outcomes = reproduce(notebooks=project.notebooks, say=lines.append)
    first = path.read_text()
    again = reproduce(["5"], notebooks=project.notebooks, say=lines.append)

    assert [outcome.ok for outcome in (*outcomes, *again)] == [True, True], lines
    assert path.read_text() == first
    assert project.files() == {"05_rich.ipynb", "profiles"}
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    assert dumps(normalize(notebook)) == first
    outputs = {cell.execution_count: cell.outputs for cell in notebook.cells}
    assert list(outputs) == [1, 2, 3, 4, 5, 6, 7]
    assert outputs[3][0].text == "./notebooks\nTrue 2 smoke\n"
    assert "<svg" in outputs[4][0].data["image/svg+xml"]
    assert "dc:date" not in outputs[4][0].data["image/svg+xml"]
    assert outputs[5][0].metadata.scrapbook.name == "band"
    assert outputs[6][0].data["application/vnd.jupyter.widget-view+json"].model_id in (
        notebook.metadata.widgets[WIDGET_STATE].state
    )
    assert "LinkModel" in first
    assert "ProgressModel" not in first
    assert [output.get("text") for output in outputs[7]] == ["step\n" * 9, None]
    assert str(tmp_path) not in first


def test_an_injected_cell_of_an_earlier_run_is_gone(project: Project) -> None:
    project.write("01_a", "print(seeds)", parameters="seeds = 5")
    reproduce(notebooks=project.notebooks, parameters={"seeds": 2})
    injected = nbformat.read(project.notebooks / "01_a.ipynb", 4).cells[1]
    assert injected.source == "# Parameters\nseeds = 2"
    assert injected.metadata.tags == ["injected-parameters", "remove-cell"]

    reproduce(notebooks=project.notebooks)
    assert project.sources("01_a") == ["seeds = 5", "print(seeds)"]


def test_parameters_arrive_as_they_were_given(project: Project) -> None:
    values = {"a": [1, 2.5, float("inf")], "b": 'say "hi" \\ {é}', "c": None, "d": {"k": [True]}}
    declared = "\n".join(f"{name} = None" for name in values)
    check = "print(repr([a, b, c, d]).replace('inf', \"float('inf')\"))"
    project.write("01_a", check, parameters=declared)
    (outcome,) = reproduce(notebooks=project.notebooks, parameters=values)
    assert outcome.ok
    printed = nbformat.read(outcome.path, 4).cells[-1].outputs[0].text
    assert eval(printed) == list(values.values())


def test_failures_keep_what_is_published_and_do_not_stop_the_others(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warn = "import sys\nfrom tqdm import tqdm\nfor _ in tqdm(range(3)): pass\n"
    warn += "import warnings; warnings.warn('too few seeds')"
    published = {
        project.write("01_error", "print('so far')", "1 / 0", "print('never')"): "cell 2: "
        "ZeroDivisionError: division by zero",
        project.write("02_warning", warn): "cell 1 wrote to standard error: ",
        project.write("03_exit", "import sys; sys.exit()", "print('never')"): "cell 1: SystemExit",
        project.write(
            "04_killed", "print('alive')", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
        ): "its kernel died",
        project.write("05_fine", "print('fine')"): "",
    }
    before = {path: path.read_bytes() for path in published}
    failed = project.notebooks.parent / "_build" / "failed"

    outcomes = reproduce(notebooks=project.notebooks)

    printed, live = capsys.readouterr()
    for outcome, (path, error) in zip(outcomes, published.items(), strict=True):
        assert outcome.error.startswith(error)
        assert outcome.ok == (not error)
        assert outcome.error in printed.splitlines()[-1 - 5 + outcomes.index(outcome) + 1]
        if error:
            assert path.read_bytes() == before[path]
            assert outcome.path == failed / path.name
            assert str(outcome.path) in printed
    assert "UserWarning: too few seeds" in outcomes[1].error
    assert "3/3" in live  # progress is visible while a chapter runs
    assert r"so far\n" in (failed / "01_error.ipynb").read_text()
    assert r"alive\n" in (failed / "04_killed.ipynb").read_text()
    assert "fine" in (project.notebooks / "05_fine.ipynb").read_text()
    assert len(project.files()) == 6

    project.write("01_error", "print('mended')")
    assert reproduce(["1"], notebooks=project.notebooks)[0].ok
    assert not (failed / "01_error.ipynb").exists()


def test_output_elsewhere_leaves_the_published_notebook_alone(
    project: Project, tmp_path: Path
) -> None:
    path = project.write("01_a", "print('here')")
    before = path.read_bytes()
    lines: list[str] = []
    out = tmp_path / "deep" / "out"
    (outcome,) = reproduce(notebooks=project.notebooks, output=out, say=lines.append)
    assert outcome.path == out / "01_a.ipynb"
    assert "here" in outcome.path.read_text()
    assert path.read_bytes() == before
    assert "stay as they are" in lines[1]


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A device without space: our own where we could delete the system's by mistake."""
    device = Path("/dev/full")
    try:
        if os.geteuid() == 0:
            device = tmp_path / "full"
            os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 7))
        device.open("w").close()
    except OSError as error:
        pytest.skip(f"no device without space to be had: {error}")
    return device


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_full_disk_is_one_clear_error(project: Project, full: Path, when: str) -> None:
    work = project.notebooks.resolve() / f".01_a.{os.getpid()}.ipynb"
    fill = f"import os; os.remove({str(work)!r}); os.symlink({str(full)!r}, {str(work)!r})"
    path = project.write("01_a", fill if when == "during" else "1")
    if when == "before":
        work.symlink_to(full)
    before = path.read_bytes()
    with pytest.raises(OSError, match=r"disk is full.*01_a\.ipynb could not be written") as caught:
        reproduce(notebooks=project.notebooks)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == before
    assert project.files() == {"01_a.ipynb", "profiles"}
    assert full.exists()


class Endless:
    """A command that executes a chapter without end, stopped in the middle of it."""

    def __init__(self, project: Project, mark: Path) -> None:
        project.write("01_a", "print('finished')")
        self.chapter = project.write(
            "02_b",
            "import os, pathlib, time\n"
            f"pathlib.Path({str(mark) + '.new'!r}).write_text(str(os.getpid()))\n"
            f"os.rename({str(mark) + '.new'!r}, {str(mark)!r})\n"
            "time.sleep(300)",
        )
        project.write("03_c", "print('never')")
        self.before = self.chapter.read_bytes()
        self.project = project
        self.mark = mark

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "initscope", "reproduce", "--notebooks", "notebooks"],
            cwd=self.project.notebooks.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def stop(self, number: int) -> tuple[int, str, str]:
        """Send a signal when it is in its second chapter; its exit status and what it wrote."""
        with self.start() as process:
            try:
                while not self.mark.exists():
                    assert process.poll() is None, process.communicate()
                    time.sleep(0.05)
                process.send_signal(number)
                out, err = process.communicate(timeout=60)
            finally:
                process.kill()
        return process.returncode, out, err

    def kernel_ends(self) -> bool:
        """Whether the kernel ends; the second that it may take is one of a busy machine."""
        for _ in range(600):
            try:
                os.kill(int(self.mark.read_text()), 0)
            except ProcessLookupError:
                return True
            time.sleep(0.05)
        return False


@pytest.fixture
def endless(project: Project, tmp_path: Path) -> Endless:
    return Endless(project, tmp_path / "kernel.pid")


CHAPTERS = {"01_a.ipynb", "02_b.ipynb", "03_c.ipynb", "profiles"}


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_stop_the_kernel_and_keep_what_is_finished(
    endless: Endless, number: int, status: int
) -> None:
    found, out, err = endless.stop(number)
    assert found == status
    assert err.strip() == "stopped in 02_b; its notebook is as it was. Finished before: 01_a."
    assert out.splitlines()[-1].endswith("ok")
    with pytest.raises(ProcessLookupError):
        os.kill(int(endless.mark.read_text()), 0)
    assert "finished" in (endless.project.notebooks / "01_a.ipynb").read_text()
    assert endless.chapter.read_bytes() == endless.before
    assert endless.project.files() == CHAPTERS


def test_killed_it_leaves_no_kernel_and_the_next_one_tidies(endless: Endless) -> None:
    assert endless.stop(signal.SIGKILL)[0] == -signal.SIGKILL
    assert endless.kernel_ends()
    left = endless.project.files() - CHAPTERS
    assert len(left) == 2  # the notebook that was executed, and the lock, which nobody holds
    mine = endless.project.notebooks / ".notes.12.ipynb"
    mine.write_text("")
    # Killed a moment later, it would have left this one.
    (endless.project.notebooks / f".01_a.ipynb.{'0a' * 16}").write_text("")
    assert reproduce(["3"], notebooks=endless.project.notebooks)[0].ok
    assert endless.project.files() == CHAPTERS | {mine.name}


@pytest.mark.skipif(sys.platform != "linux", reason="a kernel elsewhere looks once a second")
def test_a_kernel_ends_with_its_parent_even_while_it_is_busy(endless: Endless) -> None:
    # One call into C that never lets Python's threads run: nothing in the kernel could look.
    busy = endless.chapter.read_text().replace("time.sleep(300)", "sum(range(10**12))")
    endless.chapter.write_text(busy)
    assert endless.stop(signal.SIGKILL)[0] == -signal.SIGKILL
    assert endless.kernel_ends()


def times(folder: Path) -> dict[Path, tuple[int, int]]:
    """When each file was changed, in content or otherwise, and each folder."""
    found = ((path, path.stat()) for path in [folder, *folder.rglob("*")])
    return {path: (stat.st_mtime_ns, stat.st_ctime_ns) for path, stat in found}


def test_two_at_once_in_one_folder_are_refused(
    endless: Endless, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["reproduce", "1", "--notebooks", str(endless.project.notebooks)]
    with endless.start() as process:
        try:
            while not endless.mark.exists():
                assert process.poll() is None, process.communicate()
                time.sleep(0.05)
            before = times(endless.project.notebooks)
            assert main(arguments) == 2
            assert times(endless.project.notebooks) == before
            shown = capsys.readouterr()
            assert shown.out == ""
            (line,) = shown.err.splitlines()
            assert "is being written by an execution of chapters" in line
            assert f"process {process.pid} on " in line
            # Into another folder it may.
            assert main([*arguments, "--output", str(tmp_path / "out")]) == 0
        finally:
            process.kill()
