"""The command line: what it says, and the status it leaves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from initscope import __version__
from initscope.__main__ import main


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


def test_help_names_every_command_and_explains_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    overview = capsys.readouterr().out
    for command in ("reproduce", "sweep", "pretrain"):
        assert f"python -m initscope {command}" in overview
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert "example" in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom initscope.__main__ import main\n"
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


def test_a_stop_before_anything_is_known_is_one_line(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("initscope.chapters.plan", interrupted)
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
    assert "TFLOP" in out
    assert " MB a worker" in out
    assert "with 3 workers" in out
    assert not (project / "results").exists()
    assert main(arguments) == 0
    before = (project / "results" / "tiny.parquet").read_bytes()
    capsys.readouterr()
    assert main([*arguments, "--dry-run"]) == 0
    assert "All are trained: " in capsys.readouterr().out
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
