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

from initscope.normalize import WIDGET_STATE, dumps, normalize
from initscope.reproduce import reproduce

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


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_stops_the_kernel_and_keeps_what_is_finished(
    project: Project, tmp_path: Path
) -> None:
    mark = tmp_path / "kernel.pid"
    project.write("01_a", "print('finished')")
    endless = project.write(
        "02_b",
        "import os, pathlib, time\n"
        f"pathlib.Path({str(mark) + '.new'!r}).write_text(str(os.getpid()))\n"
        f"os.rename({str(mark) + '.new'!r}, {str(mark)!r})\n"
        "time.sleep(300)",
    )
    project.write("03_c", "print('never')")
    before = endless.read_bytes()
    command = [sys.executable, "-m", "initscope", "reproduce", "--notebooks", "notebooks"]
    with subprocess.Popen(
        command,
        cwd=project.notebooks.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            while not mark.exists():
                assert process.poll() is None, process.communicate()
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert err.strip() == "stopped in 02_b; its notebook is as it was. Finished before: 01_a."
    assert out.splitlines()[-1].endswith("ok")
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)
    assert "finished" in (project.notebooks / "01_a.ipynb").read_text()
    assert endless.read_bytes() == before
    assert project.files() == {"01_a.ipynb", "02_b.ipynb", "03_c.ipynb", "profiles"}
