"""What a chapter needs wherever it is run: its folder, a word before long work, its result."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import initscope.pretrain.run
from initscope.chapter import (
    announced,
    enter,
    findings_table,
    is_recorded,
    put,
    recorded_variances,
    result,
    runs_left,
    source_note,
    sweeps_left,
)
from initscope.claims import Cases, Claim, Effect, Finding, read_claims
from initscope.errors import UsageError
from initscope.pretrain import PretrainSpec, read_record
from initscope.records import recorded
from initscope.reproduce import reproduce
from initscope.reproduce.parameters import plan, require_modules, tagged
from initscope.sweep import SweepSpec, run_sweep
from initscope.sweep.cost import format_duration, format_flops, sweep_cost

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = sorted(ROOT.glob("notebooks/[0-9][0-9]_*.ipynb"))
each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
CHAPTER = "05_mine"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one chapter; the working folder lies outside of it."""
    for folder in ("project/notebooks", "project/book/deep", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "project" / "notebooks" / f"{CHAPTER}.ipynb").write_text("{}")
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "project"


@pytest.mark.parametrize("start", [".", "notebooks", "book/deep", "notebooks/results"])
def test_a_chapter_finds_its_folder_from_anywhere_in_the_project(
    project: Path, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / start).mkdir(exist_ok=True)
    monkeypatch.chdir(project / start)
    enter(CHAPTER)
    assert Path.cwd() == project / "notebooks"
    enter(CHAPTER)  # a cell may be run twice
    assert Path.cwd() == project / "notebooks"


def test_a_copy_of_a_chapter_is_run_where_it_lies(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = project / "copy"
    copy.mkdir()
    (copy / f"{CHAPTER}.ipynb").write_text("{}")
    monkeypatch.chdir(copy)
    # Of another notebook, which started this in a process of its own.
    monkeypatch.setenv("JPY_SESSION_NAME", str(project / "notebooks" / "mine.ipynb"))
    enter(CHAPTER)
    assert Path.cwd() == copy


def test_elsewhere_nothing_changes(project: Path) -> None:
    before = Path.cwd()
    enter(CHAPTER)
    assert Path.cwd() == before


def test_the_front_end_may_name_the_notebook(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", str(project / "notebooks" / f"{CHAPTER}.ipynb"))
    enter(CHAPTER)
    assert Path.cwd() == project / "notebooks"


@pytest.mark.parametrize("name", ["PAPERMILL_INPUT_PATH", "__vsc_ipynb_file__"])
def test_a_variable_of_the_notebook_may_name_it(project: Path, name: str) -> None:
    code = f"""
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.user_ns[{name!r}] = "../project/notebooks/{CHAPTER}.ipynb"
shell.run_cell("import os; from initscope.chapter import enter; enter({CHAPTER!r}); "
               "print('NOW', os.getcwd())").raise_error()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"NOW {project / 'notebooks'}" in done.stdout, done.stderr


def test_in_this_project_a_real_chapter_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package knows where it lies, if it is installed as editable."""
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.chdir(tmp_path)
    enter("05_std_sweep")
    assert Path.cwd() == ROOT / "notebooks"


@each_chapter
def test_every_chapter_enters_its_folder_before_anything_else(path: Path) -> None:
    code = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    first = next(c for c in code if not {"parameters", "injected-parameters"} & set(tags(c)))
    assert f'enter("{path.stem}")' in "".join(first["source"])
    assert first["outputs"] == []


def alone(path: Path, repository: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the first cell of a chapter where nothing of the project is, not even the package."""
    cells = ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]]
    (cell,) = [cell for cell in cells if "import enter" in cell]
    code, changed = re.subn(r'(?m)^repository = ".*?"', f"repository = {repository!r}", cell)
    assert changed == 1
    return subprocess.run(  # without site-packages
        [sys.executable, "-I", "-S", "-c", code], cwd=folder, capture_output=True, text=True
    )


@each_chapter
def test_a_chapter_alone_says_what_it_lacks(path: Path, tmp_path: Path) -> None:
    done = alone(path, "", tmp_path)
    assert done.returncode == 1
    assert "needs the package initscope, which is not installed here" in done.stderr
    assert done.stdout == ""


def test_a_chapter_alone_says_what_it_will_do_before_it_does_it(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "no-repository")
    done = alone(CHAPTERS[5], nowhere, tmp_path)
    assert re.search(rf"1\. the project is downloaded from {nowhere}", done.stdout)
    assert "installed, with what it needs and is missing: some minutes" in done.stdout
    assert "It trains nothing" in done.stdout
    assert "CalledProcessError" in done.stderr  # there is nothing to clone


def tags(cell: dict) -> list[str]:
    return list(cell["metadata"].get("tags", []))


@each_chapter
def test_as_it_is_a_chapter_takes_the_published_records(path: Path) -> None:
    """Its own defaults are those of the published profile: no parameters, no training."""
    (run,) = plan([path.stem], "cpu", ROOT / "notebooks", {})
    (cell,) = [cell for cell in run.notebook.cells if tagged(cell, "parameters")]
    defaults: dict[str, object] = {}
    exec(cell.source, defaults)
    for name, value in run.parameters.items():
        if name != "device":  # that the profile names the CPU changes nothing in the records
            assert defaults[name] == value
    if "results" in defaults:
        assert (ROOT / "notebooks" / str(defaults["results"])).is_dir()


@each_chapter
def test_the_result_stands_in_words_at_the_end(path: Path) -> None:
    """What the prose shows as {glue:text}, which is readable in the book alone."""
    cells = json.loads(path.read_text())["cells"]
    (output,) = cells[-1]["outputs"]
    shown = "".join(output["data"]["text/markdown"])
    (summary,) = [
        "".join(output["data"]["application/papermill.record/text/plain"])
        for cell in cells
        for output in cell.get("outputs", [])
        if output.get("metadata", {}).get("scrapbook", {}).get("name") == "summary"
    ]
    assert ast.literal_eval(summary) in shown
    records = ROOT / "notebooks" / "results" / path.stem / "cpu" / "findings"
    findings = [Finding.read(record) for record in records.glob("*.json")]
    for finding in findings:
        assert f"\n- **{finding.claim}: {finding.in_words}.** {finding.summary}" in shown
    claims = ROOT / "notebooks" / "claims" / f"{path.stem}.yaml"
    keys = set(read_claims(claims)) if claims.is_file() else set()
    assert {finding.claim for finding in findings} == keys
    assert bool(keys) == (path.stem[:2] in ("05", "06", "07", "08", "09"))
    # Letters that Markdown takes for itself would not be read.
    assert not re.search(r"\w_\w|`|\$", shown)
    assert "remove-cell" in tags(cells[-1])  # in the book the prose says it


def test_a_result_in_words() -> None:
    claim = Claim("edge", "predictions", {"expected": "It stays.", "refuted_by": "It moves."})
    finding = Finding.of(
        claim, Cases(3, 1), summary="One moves.", runs=4, figure="fig-a", files=[__file__]
    )
    assert result("Some do.").data == "**What comes out.** Some do."
    assert result("Some do.", [finding]).data == (
        "**What comes out.** Some do.\n\n- **edge: does not hold: 3 of 4 cases.** One moves."
    )


def test_findings_as_a_table() -> None:
    texts = {
        "words": "All train.",
        "source": "abstract",
        "scope": "Small.",
        "beyond": "Deep.",
        "statistic": "Share.",
        "holds_if": "All do.",
    }
    claims = {
        "E1": Claim("E1", "claims", texts),
        "edge-stays": Claim(
            "edge-stays", "predictions", {"expected": "It stays.", "refuted_by": "It moves."}
        ),
    }
    effect = Effect("share", 0.75, 0.5, 0.9)
    about = {"summary": "Most.", "figure": "fig-a", "files": [__file__]}
    findings = [
        Finding.of(claims["E1"], Cases(3, 1), Cases(0, 2), runs=4000, effect=effect, **about),
        Finding.of(claims["edge-stays"], Cases(2, 0), runs=4, **about),
    ]
    shown = findings_table(claims, findings)
    assert "All train." in shown.to_html()
    table = shown.data
    assert table.index.tolist() == ["E1", "edge stays"]
    assert table.loc["E1"].tolist() == [
        "All train.",
        "holds in part: 3 of 4 cases",
        "does not hold: 0 of 2 cases",
        "share: 0.75 (0.5 to 0.9)",
        "4,000",
    ]
    assert table.loc["edge stays"].tolist() == ["It stays.", "holds: 2 of 2 cases", "", "", "4"]
    with pytest.raises(UsageError, match="there is no claim edge-stays"):
        findings_table({"E1": claims["E1"]}, findings)


# --- Before it trains ----------------------------------------------------------------------

SMALL = SweepSpec(dataset="wine", stds=(0.1,), hidden=((4,),), seeds=2, epochs=1, name="small")
LONG = SweepSpec(dataset="wine", stds=(0.1, 1.0), hidden=((8,),), seeds=4, epochs=500, name="long")


def test_nothing_is_said_where_nothing_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_sweep(SMALL, out=tmp_path, progress=False)
    assert sweeps_left([SMALL], tmp_path) == []
    with announced(sweeps_left([SMALL], tmp_path), out=tmp_path):
        pass
    assert capsys.readouterr().out == ""


def test_little_work_is_named_and_not_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with announced(sweeps_left([SMALL], tmp_path), out=tmp_path):
        said = capsys.readouterr().out
    assert "About to train 2 networks" in said
    assert str(tmp_path) in said
    assert "FLOP" not in said


def test_long_work_says_how_much_and_how_to_take_the_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results" / "mine"
    left = sweeps_left([SMALL, LONG], out)
    assert left == [SMALL, LONG]
    with announced(left, out=out):
        said = capsys.readouterr().out  # before, not after
    assert "About to train 10 networks" in said
    flops = sum(sweep_cost(spec).flops for spec in left)
    assert f"That is {format_flops(flops)}. Stopped, it goes on" in said
    assert "notebooks/results/" in said
    assert list(tmp_path.iterdir()) == []  # counting writes nothing
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("number", ["05", "07"])
def test_long_work_says_how_long_the_published_records_took(
    number: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (results,) = (ROOT / "notebooks" / "results").glob(f"{number}_*")
    if number == "05":
        metadata = [pq.read_schema(path).metadata for path in results.glob("cpu/*.parquet")]
        records = [json.loads(m[b"initscope"]) for m in metadata if b"initscope" in m]
    else:
        records = [json.loads(p.read_text()) for p in results.glob("cpu/*/record/run.json")]
    took = format_duration(sum(record["seconds"] for record in records))
    with announced([LONG], out=results / "mine"):
        assert f"the records in\n  {results}\ntook {took}." in capsys.readouterr().out


def test_pretraining_is_announced_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = {"preset": "nano12", "n_layer": 1, "n_embd": 8, "n_head": 1, "context": 8}
    specs = {
        f"seed-{seed}": PretrainSpec.from_dict(
            {**tiny, "batch_size": 2, "text": ["stdlib"], "steps": 1500, "seed": seed}
        )
        for seed in range(2)
    }
    left = runs_left(specs, tmp_path)
    assert left == specs
    with announced(runs=left, out=tmp_path / "results" / "mine", device="cpu"):
        said = capsys.readouterr().out
    assert "About to train 2 language models" in said
    _, per_token = specs["seed-0"].count_parameters()
    assert f"That is {format_flops(2 * 1500 * 16 * per_token)}." in said


def test_published_runs_are_not_trained_again() -> None:
    results = ROOT / "notebooks" / "results" / "07_gpt2_qkv_dynamics" / "cpu"
    run = json.loads((results / "seed-1" / "record" / "run.json").read_text())
    spec = PretrainSpec.from_dict(run["spec"])
    assert runs_left({"seed-1": spec}, results) == {}
    assert runs_left({"seed-9": spec}, results) == {"seed-9": spec}


def test_many_runs_are_one_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = {"preset": "nano12", "n_layer": 1, "n_embd": 8, "n_head": 1, "context": 8}
    specs = {
        name: PretrainSpec.from_dict(
            {**tiny, "batch_size": 2, "text": ["stdlib"], "steps": 4, "track_every": 2, "std": std}
        )
        for name, std in (("narrow", 0.02), ("wide", 0.1))
    }
    path = tmp_path / "results" / "grid.parquet"
    stats = [("weight", "std"), ("gradient", "rms")]
    found = recorded_variances(path, specs, stats, "cpu")
    assert (path.with_suffix("") / ".gitignore").read_text() == "*\n"
    for name in specs:
        run = read_record(path.with_suffix("") / name)
        of_run = found[found["run"] == name].set_index(["kind", "stat", "role", "layer", "step"])
        rows = run.variances.set_index(["kind", "stat", "role", "layer", "step"])["value"]
        kept = rows[[(kind, stat) in stats for kind, stat in rows.index.droplevel([2, 3, 4])]]
        assert len(of_run) == len(kept) + 1
        np.testing.assert_allclose(of_run.loc[kept.index, "value"], kept, rtol=1e-6)
        loss = of_run.loc["evaluation", "loss", "model", 0, 4]["value"]
        assert loss == pytest.approx(run.evaluation["loss"].iloc[-1], rel=1e-6)

    def no_training(*arguments: object, **options: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(initscope.pretrain.run, "pretrain", no_training)
    monkeypatch.setitem(vars(initscope.pretrain), "pretrain", no_training)
    shutil.rmtree(path.with_suffix(""))
    pd.testing.assert_frame_equal(recorded_variances(path, specs, stats, "cpu"), found)
    with pytest.raises(AssertionError, match="trained again"):
        recorded_variances(path, {"narrow": specs["narrow"]}, stats, "cpu")


def test_a_statistic_that_was_not_recorded_is_named(tmp_path: Path) -> None:
    spec = PretrainSpec(
        text="stdlib", preset="nano12", n_layer=1, n_embd=8, n_head=1, context=8, batch_size=2,
        steps=2, track_quantities=("weight",),
    )  # fmt: skip
    path = tmp_path / "a.parquet"
    with pytest.raises(UsageError, match="run one has no statistic rms of kind gradient"):
        recorded_variances(path, {"one": spec}, [("gradient", "rms")], "cpu")
    assert not path.exists()


def test_whether_a_record_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    assert not is_recorded(path, {"draws": 2})
    recorded(path, {"draws": 2}, lambda: pd.DataFrame({"x": [1.0, 2.0]}))
    assert is_recorded(path, {"draws": 2})
    assert not is_recorded(path, {"draws": 3})


@pytest.mark.parametrize("number", ["02", "05", "06", "07"])
def test_chapters_that_train_announce_it(number: str) -> None:
    (path,) = ROOT.glob(f"notebooks/{number}_*.ipynb")
    cells = ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]]
    training = [cell for cell in cells if "with announced(" in cell]
    assert training
    for cell in training:
        assert re.search(
            r"with announced\(.*\):\n( .*\n)*? +.*(run_sweep|pretrain|recorded)\(", cell
        )


def test_a_chapter_that_trained_looks_like_one_that_read_its_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = """
from initscope.chapter import announced, sweeps_left
from initscope.sweep import SweepSpec, run_sweep
spec = SweepSpec(dataset="wine", stds=(0.1,), hidden=((4,),), seeds=2, epochs=1, name="small")
with announced(sweeps_left([spec], "results"), out="results"):
    table = run_sweep(spec, out="results", progress=True)
len(table)
"""
    (tmp_path / "profiles" / "smoke").mkdir(parents=True)
    path = tmp_path / "01_a.ipynb"
    cell = nbformat.v4.new_code_cell(source.strip())
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    texts, said = [], []
    for _ in range(2):
        (outcome,) = reproduce(notebooks=tmp_path)
        assert outcome.error == ""
        texts.append(path.read_text())
        said.append(capsys.readouterr().out)
    assert "About to train 2 networks" in said[0]  # while it runs, on the terminal
    assert "About to train" not in said[1]
    assert texts[0] == texts[1]
    assert "About to train" not in texts[0]


def test_a_module_that_is_missing_is_named_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "profiles" / "smoke").mkdir(parents=True)
    (tmp_path / "profiles" / "smoke" / "01_a.yaml").write_text("{}")
    source = "%matplotlib inline", "from no_such_module.part import thing", "import os"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in source])
    nbformat.write(notebook, tmp_path / "01_a.ipynb")
    (run,) = plan([], "smoke", tmp_path, {})
    with pytest.raises(UsageError, match=r"01_a needs the module no_such_module, .* pip install"):
        require_modules(run)


def test_the_note_under_a_figure_leads_to_data_and_command() -> None:
    note = source_note("05_std_sweep", "cpu", "results/a.parquet", "results/b.parquet").data
    assert "[a.parquet](results/a.parquet), [b.parquet](results/b.parquet)" in note
    assert "`python -m initscope reproduce 05_std_sweep --profile cpu`" in note


def test_data_of_one_name_is_told_apart_by_its_folder() -> None:
    files = [f"results/cpu/{run}/record/variances.parquet" for run in ("seed-0", "std-0.05")]
    note = source_note("07", "cpu", *files).data
    first, second = files
    assert note.startswith(
        f"*Data:* variances.parquet of [seed-0]({first}), [std-0.05]({second}). *Made by:* "
    )
    assert "*Data:* [variances.parquet](results" in source_note("07", "cpu", first).data


def test_numbers_for_the_prose_are_plain_and_rounded_where_asked(monkeypatch) -> None:
    glued: dict[str, object] = {}
    monkeypatch.setattr(
        "myst_nb.glue", lambda name, value, display: glued.update({name: value} | {"": display})
    )
    put(a=np.float64(1 / 3), b=np.int64(3), c="text")
    assert glued == {"a": 1 / 3, "b": 3, "c": "text", "": False}
    assert [type(glued[name]) for name in "abc"] == [float, int, str]
    put(significant=3, a=np.float64(1 / 3), b=3, c="text")
    assert (glued["a"], glued["b"], glued["c"]) == (0.333, 3, "text")


def cells_of(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


def lines_of(cell: nbformat.NotebookNode) -> int:
    """Lines of code: neither blank, nor a comment alone, nor of an import."""
    lines = cell.source.splitlines()
    for statement in ast.parse(cell.source).body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            rows = range(statement.lineno - 1, statement.end_lineno or 0)
            lines = ["" if row in rows else line for row, line in enumerate(lines)]
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in lines)


@each_chapter
def test_no_hidden_cell_is_long(path: Path) -> None:
    for cell in cells_of(path):
        tags = set(cell.metadata.get("tags", []))
        if tags & {"parameters", "injected-parameters"}:  # values alone
            body = ast.parse(cell.source).body
            assert all(isinstance(line, ast.Assign) for line in body)
            assert all(ast.literal_eval(line.value) is not ... for line in body)
        elif tags & {"hide-input", "remove-input", "hide-cell", "remove-cell"}:
            assert lines_of(cell) <= 30, f"{lines_of(cell)} hidden lines:\n{cell.source}"


@each_chapter
def test_what_chapters_share_is_in_the_package(path: Path) -> None:
    for cell in cells_of(path):
        assert "import glue" not in cell.source
        assert "def put(" not in cell.source
