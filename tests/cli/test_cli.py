"""The command line: what it says, and the status it leaves."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from initscope import __version__
from initscope.cli import main


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one chapter and one profile; the working folder."""
    notebooks = tmp_path / "notebooks"
    (notebooks / "profiles" / "smoke").mkdir(parents=True)
    (notebooks / "profiles" / "smoke" / "01_a.yaml").write_text("lr: 0.5")
    parameters = nbformat.v4.new_code_cell("lr = 0.1", metadata={"tags": ["parameters"]})
    use = nbformat.v4.new_code_cell("assert lr < 1, 'too fast'\nprint(lr)")
    nbformat.write(nbformat.v4.new_notebook(cells=[parameters, use]), notebooks / "01_a.ipynb")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_help_names_every_command_and_explains_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    overview = capsys.readouterr().out
    for command in ("reproduce", "sweep", "pretrain", "predict", "show"):
        assert f"python -m initscope {command}" in overview
        with pytest.raises(SystemExit):
            main([command, "--help"])
        explained = capsys.readouterr().out
        assert "example" in explained
        overview += explained
    assert max(map(len, overview.splitlines())) <= 80
    # A paragraph takes the width that there is.
    monkeypatch.setenv("COLUMNS", "60")
    with pytest.raises(SystemExit):
        main(["--help"])
    about = capsys.readouterr().out.partition("options:")[0].splitlines()
    assert 50 < max(map(len, about)) <= 60


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom initscope.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print({'torch', 'numpy', 'papermill', 'nbformat', 'yaml'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.endswith("set()\n")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"initscope {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [[], ["reprodce"], ["reproduce", "--profil"], ["sweep"], ["pretrain"]]
)
def test_a_mistake_in_the_command_shows_the_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: python -m initscope" in capsys.readouterr().err


def test_list_shows_parameters_and_runs_nothing(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (project / "notebooks" / "01_a.ipynb").read_bytes()
    assert main(["reproduce", "--list", "-p", "lr", "2"]) == 0
    assert capsys.readouterr().out == "01_a  lr=2\n"
    assert (project / "notebooks" / "01_a.ipynb").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--profile", "smoky"], "Did you mean 'smoke'?"),
        (["2"], "unknown chapter '2'"),
        (["-p", "lr", "1e-3"], "-p lr: lr must be a number, not the text '1e-3'"),
        (["-p", "lr", "[1,"], "-p lr: '[1,' is not a YAML value."),
        (["-p", "rate", "1"], "unknown parameter of 01_a 'rate'"),
        (["--notebooks", "elsewhere"], "there is no folder elsewhere"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["reproduce", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err


def test_reproduce_succeeds_with_0_and_fails_with_1(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", "1", "--output", "out"]) == 0
    assert "0.5" in (project / "out" / "01_a.ipynb").read_text()
    assert main(["reproduce", "-p", "lr", "3"]) == 1
    out = capsys.readouterr().out
    assert "AssertionError: too fast" in out
    assert str(Path("_build", "failed", "01_a.ipynb")) in out


def test_reproduce_says_where_numbers_stand_beside_the_published_ones(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chapter = project / "notebooks" / "01_a.ipynb"
    notebook = nbformat.read(chapter, 4)
    notebook.cells[1].source = "from myst_nb import glue\nglue('twice', 2 * lr, display=False)"
    nbformat.write(notebook, chapter)
    assert main(["reproduce"]) == 0
    assert "Your numbers" not in capsys.readouterr().out  # nothing is published yet
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "First"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *command], check=True)

    assert main(["reproduce"]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    where = Path("_build", "numbers.csv")
    beside = f"Your numbers beside the published ones: {where} "
    assert said == f"{beside}(1 number, none of them another than the published one)."
    assert pd.read_csv(where)["outcome"].tolist() == ["same"]

    assert main(["reproduce", "-p", "lr", "0.75", "--output", "mine"]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert str(Path("mine", "numbers.csv")) in said
    assert "of them 1 another than the published one, 0 of these within the tolerance" in said
    (row,) = pd.read_csv(project / "mine" / "numbers.csv").to_dict("records")
    assert (row["published"], row["yours"], row["difference"]) == (1.0, 1.5, 0.5)


def test_a_stop_before_anything_is_known_is_one_line(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("initscope.reproduce.parameters.plan", interrupted)
    assert main(["reproduce", "--list"]) == 130
    assert capsys.readouterr().err.strip() == "stopped"


def test_sweep_writes_the_table_named_after_its_specification(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = project / "tiny.yaml"
    spec.write_text("dataset: wine\nhidden: [[4]]\nstds: [0.1, 1.0e+30]\nseeds: 2\n")
    assert main(["sweep", "--spec", str(spec), "--out", "results"]) == 0
    assert "4 networks, 2 diverged" in capsys.readouterr().out
    assert len(pd.read_parquet(project / "results" / "tiny.parquet")) == 4

    spec.write_text("dataset: wine\nstdss: [0.1]\n")
    assert main(["sweep", "--spec", str(spec), "--out", "results"]) == 2
    assert "Did you mean 'stds'" in capsys.readouterr().err
    spec.write_text("wine")
    assert main(["sweep", "--spec", str(spec), "--out", "results"]) == 2
    assert "must hold a mapping" in capsys.readouterr().err
    assert main(["sweep", "--spec", "none.yaml", "--out", "results"]) == 2
    assert capsys.readouterr().err == "error: there is no file none.yaml.\n"


TINY = "dataset: wine\nhidden: [[4]]\nstds: [0.1, 0.2]\nschemes: [{name: kaiming, mode: fan_out}]\n"


def test_a_dry_run_says_what_it_costs_and_writes_nothing(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = project / "tiny.yaml"
    spec.write_text(TINY)
    arguments = ["sweep", "--spec", str(spec), "--out", "results"]
    assert main([*arguments, "--dry-run", "--executor", "processes", "--workers", "3"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("3 networks in 1 chunk, 0 of them already there.\nTo train: 3 networks,")
    assert "networks, 701 kFLOP, with " in out
    assert " MB a worker" in out
    assert not (project / "results").exists()
    assert main(arguments) == 0
    before = (project / "results" / "tiny.parquet").read_bytes()
    capsys.readouterr()
    assert main([*arguments, "--dry-run"]) == 0
    assert "All are trained, 701 kFLOP that took " in capsys.readouterr().out
    assert (project / "results" / "tiny.parquet").read_bytes() == before


def test_two_worker_processes_give_the_same_table(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = project / "tiny.yaml"
    spec.write_text(TINY)
    arguments = ["sweep", "--spec", str(spec), "--threads", "1", "--out"]
    assert main([*arguments, "here"]) == 0
    assert main([*arguments, "there", "--executor", "processes", "--workers", "2"]) == 0
    assert capsys.readouterr().out.count("3 networks, 0 diverged") == 2
    here, there = (pd.read_parquet(project / out / "tiny.parquet") for out in ("here", "there"))
    pd.testing.assert_frame_equal(here, there, check_exact=True)
    assert here["scheme"].tolist() == ["normal", "normal", "kaiming(mode=fan_out)"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "2"], "--workers says where the workers are: name an --executor too"),
        (["--scheduler", "tcp://a:1"], "--scheduler says where the workers are"),
        (["--executor", "processes", "--scheduler", "a"], "a scheduler is for the executor dask"),
        (["--device", "gpu"], "device 'gpu' is not to be had here"),
        (["--device", "gpu", "--dry-run"], "device 'gpu' is not to be had here"),
    ],
)
def test_bad_options_of_a_sweep_are_one_line_and_status_2(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (project / "tiny.yaml").write_text(TINY)
    assert main(["sweep", "--spec", "tiny.yaml", "--out", "results", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err


@pytest.mark.parametrize("number", ["0", "-1", "1.5", "two"])
def test_counts_are_whole_numbers_of_at_least_1(
    number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["sweep", "--spec", "a", "--out", "b", "--workers", number])
    assert stop.value.code == 2
    assert "whole number of at least 1" in capsys.readouterr().err


def test_a_missing_extra_says_what_to_install(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    (project / "tiny.yaml").write_text(TINY)
    command = ["sweep", "--spec", "tiny.yaml", "--out", "results", "--executor", "dask"]
    assert main(command) == 2
    assert "pip install 'initscope[dask]'" in capsys.readouterr().err


# --- Mistakes are found at once ------------------------------------------------------------

MISTAKES = [
    ["sweep", "--spec", "none.yaml", "--out", "out"],
    ["sweep", "--spec", "bad.yaml", "--out", "out"],
    ["sweep", "--spec", "tiny.yaml", "--out", "tiny.yaml"],
    ["sweep", "--spec", "tiny.yaml", "--out", "out", "--threads", "1000000"],
    ["sweep", "--spec", "tiny.yaml", "--out", "out", "--executor", "dask", "--workers", "1000000"],
    ["sweep", "--spec", "tiny.yaml", "--out", "out", "--device", "mps"],
    ["sweep", "--spec", "large.yaml", "--out", "out", "--dry-run"],
    ["pretrain", "--text", "nonsense", "--out", "out", "--dry-run"],
    ["pretrain", "--text", "stdlib", "--out", "tiny.yaml"],
    ["pretrain", "--text", "stdlib", "--out", "out", "-p", "n_layer", "1000000000"],
    ["pretrain", "--text", "stdlib", "--out", "out", "-p", "std", "1e-2"],
    ["pretrain", "--text", "stdlib", "--out", "out", "--micro-batch-size", "3"],
    ["pretrain", "--text", "stdlib", "--out", "out", "--precision", "fp16"],
    ["predict", "--config", "none.json"],
    ["show", "none"],
    ["show", "notebooks", "tiny.yaml"],
    ["predict", "--config", "bad.yaml"],
    ["reproduce", "-p", "lr", "1e-3"],
    ["reproduce", "--notebooks", "notebooks", "--output", "notebooks"],
]


def test_mistakes_are_found_without_torch(project: Path) -> None:
    """Its import, and those of transformers and pandas, take seconds."""
    (project / "tiny.yaml").write_text(TINY)
    (project / "bad.yaml").write_text("stds: [1e-3]\n")
    (project / "large.yaml").write_text("stds: [0.1]\nhidden: [[1000000, 1000000]]\n")
    code = (
        "import sys\nfrom initscope.cli import main\n"
        f"for arguments in {MISTAKES!r}: assert main(arguments) == 2, arguments\n"
        "slow = {'torch', 'transformers', 'datasets', 'pandas', 'sklearn'}\n"
        "slow |= {f'scipy.{part}' for part in ('interpolate', 'optimize', 'special', 'stats')}\n"
        "print(slow & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == "set()\n", run.stderr
    assert run.stderr.count("error: ") == run.stderr.count("\n") == len(MISTAKES)
    assert not (project / "out").exists()


@pytest.mark.parametrize("name", ["initscope", "initscope.exe"])
def test_the_installed_command_calls_itself_by_its_name(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [str(Path("somewhere", name)), "sweep"])
    for arguments in (["--help"], ["sweep", "--help"], ["pretrain", "--help"], ["sweep"]):
        with pytest.raises(SystemExit):
            main(arguments)
    out, err = capsys.readouterr()
    assert out.count("usage: initscope") == 3
    assert "  initscope sweep --spec FILE --out results" in out
    assert "torchrun --nproc-per-node 8 -m initscope pretrain" in out
    assert "python -m initscope" not in out + err
    assert "initscope sweep: error: the following arguments are required" in err


def test_the_module_calls_itself_by_the_way_it_is_started() -> None:
    command = [sys.executable, "-m", "initscope", "sweep"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr.startswith("usage: python -m initscope sweep ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threads", "1000000"], "1,000,000 threads would start more than this machine"),
        (["--executor", "processes", "--workers", "9999"], "9,999 workers would start more"),
        (
            ["--executor", "processes", "--workers", "60", "--threads", "9999"],
            "60 workers x 9,999 threads would start more",
        ),
    ],
)
def test_no_more_threads_and_processes_than_are_of_use(
    project: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    (project / "tiny.yaml").write_text(TINY)
    assert main(["sweep", "--spec", "tiny.yaml", "--out", "results", *options]) == 2
    assert message in capsys.readouterr().err


def test_threads_of_a_machine_elsewhere_are_its_own_affair(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)  # or the scheduler would be looked for
    (project / "tiny.yaml").write_text(TINY)
    command = ["sweep", "--spec", "tiny.yaml", "--out", "results", "--executor", "dask"]
    assert main([*command, "--scheduler", "tcp://a:1", "--threads", "1000000"]) == 2
    assert "pip install 'initscope[dask]'" in capsys.readouterr().err


# --- What a user has written is not to be deleted ------------------------------------------


@pytest.mark.parametrize("command", [["sweep"], ["pretrain", "--text", "stdlib"]])
def test_a_file_in_the_place_of_the_results_stays(
    command: list[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not "Remove ok.yaml to train again"."""
    (project / "ok.yaml").write_text("" if command[0] == "pretrain" else TINY)
    assert main([*command, "--spec", "ok.yaml", "--out", "ok.yaml"]) == 2
    err = capsys.readouterr().err
    assert "ok.yaml' is a file. Name another out folder." in err
    assert "emove" not in err


@pytest.mark.parametrize("run", ["{}", "[", '{"format": 1, "spec": {"std": 7}}'])
def test_what_else_is_in_the_folder_of_a_run_is_not_to_be_removed(
    run: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The specification of the user is in it, for example."""
    out = project / "mine"
    (out / "record").mkdir(parents=True)
    (out / "record" / "run.json").write_text(run)
    (out / "ok.yaml").write_text("preset: nano12\ntext: stdlib\n")
    assert main(["pretrain", "--spec", str(out / "ok.yaml"), "--out", str(out)]) == 2
    err = capsys.readouterr().err
    assert "name another out folder" in err.lower()
    assert not re.search(rf"remove (that|it\b|{re.escape(str(out))}(?!/))", err, re.IGNORECASE)


def test_a_table_that_is_not_ours_is_not_to_be_removed(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "tiny.yaml").write_text(TINY)
    pd.DataFrame({"mine": [1]}).to_parquet(project / "tiny.parquet")
    assert main(["sweep", "--spec", "tiny.yaml", "--out", "."]) == 2
    err = capsys.readouterr().err
    assert "tiny.parquet is not a readable table of a sweep" in err
    assert "emove" not in err
    assert pd.read_parquet(project / "tiny.parquet")["mine"].tolist() == [1]


@pytest.mark.parametrize("output", ["notebooks", "notebooks/../notebooks/", "link", "link/."])
def test_the_published_notebooks_are_no_place_to_leave_them_alone(
    output: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "link").symlink_to("notebooks")
    before = (project / "notebooks" / "01_a.ipynb").read_bytes()
    assert main(["reproduce", "--output", output]) == 2
    assert "is the folder of the published notebooks" in capsys.readouterr().err
    (project / "file").write_text("")
    assert main(["reproduce", "--output", "file"]) == 2
    assert "is a file. Name another output folder." in capsys.readouterr().err
    assert (project / "notebooks" / "01_a.ipynb").read_bytes() == before
