"""The real chapters, executed as a reader executes them, in a copy of their folder."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from papermill.iorw import read_yaml_file

from initscope.reproduce import reproduce
from initscope.reproduce.compare import TOLERANCE, differences, facts_in, facts_of
from initscope.reproduce.parameters import plan

ROOT = Path(__file__).resolve().parents[2]
RECORDED = {"05_std_sweep"}
"""Chapters that show nothing but what is recorded."""
CHAPTERS = sorted(path.stem for path in ROOT.glob("notebooks/[0-9][0-9]_*.ipynb"))
SVG = "image/svg+xml"
TAG, NUMBER = re.compile("<[^>]*>"), re.compile(r"-?\d+(?:\.\d+)?")
SMOKE = {
    path.stem: values
    for path in sorted(ROOT.glob("notebooks/profiles/smoke/*.yaml"))
    if (values := yaml.safe_load(path.read_text()))
}
"""Parameters by chapter; one that is not there is the same in every profile."""


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """The chapters with their committed records; no network and no folder of data."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("INITSCOPE_DATA", raising=False)
    monkeypatch.setenv("INITSCOPE_CACHE", str(tmp_path / "cache"))
    ignore = shutil.ignore_patterns(".ipynb_checkpoints")
    copied = Path(shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=ignore))
    for records in copied.glob("results/*/smoke"):  # of earlier runs here, not committed
        shutil.rmtree(records)
    return copied


def test_there_are_chapters():
    assert CHAPTERS


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_words_at_the_end_are_for_readers_outside_the_book(chapter):
    cells = json.loads((ROOT / "notebooks" / f"{chapter}.ipynb").read_text())["cells"]
    (heading,) = [c for c in cells if "".join(c["source"]).startswith("## The result in words")]
    assert "remove-cell" in heading["metadata"]["tags"]


@pytest.mark.chapter
@pytest.mark.timeout(600)
@pytest.mark.parametrize("chapter", SMOKE)
def test_smoke_profile_runs_offline(chapter, notebooks):
    (outcome,) = reproduce([chapter], "smoke", notebooks)
    assert outcome.error == ""
    if records := SMOKE[chapter].get("results"):
        assert list((notebooks / records).iterdir()), "nothing was measured"


@pytest.mark.chapter
@pytest.mark.timeout(600)
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_published_chapter_comes_out_again(chapter, notebooks):
    """Executed again with the published profile, a chapter says the same.

    No data is at hand here, so what needs MNIST can only come from the records. A chapter that
    shows nothing but records comes out letter for letter, but for the last digit of coordinates in
    its pictures, which another processor may round differently. Others draw networks while they
    run: there every number in the prose, the tables and the verdict is compared.
    """
    (outcome,) = reproduce([chapter], "cpu", notebooks)
    assert outcome.error == ""
    published, again = (
        (folder / f"{chapter}.ipynb").read_text(encoding="utf8")
        for folder in (ROOT / "notebooks", notebooks)
    )
    cells = [json.loads(text)["cells"] for text in (published, again)]
    for number, (old, new) in enumerate(zip(*cells, strict=True)):
        assert old["source"] == new["source"], f"cell {number} has another source"
        assert len(old.get("outputs", [])) == len(new.get("outputs", []))
        if chapter in RECORDED:
            same = without_coordinates(old) == without_coordinates(new)
            assert same, f"cell {number} comes out differently"
            assert coordinates(old) == pytest.approx(coordinates(new), abs=0.021)
    assert any("glued" in name for name in said_by(chapter, ROOT / "notebooks"))
    said = [said_by(chapter, folder) for folder in (ROOT / "notebooks", notebooks)]
    assert differences(*said, TOLERANCE) == []


@pytest.mark.chapter
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("chapter", "where", "options"),
    [("05_std_sweep", ".", []), ("02_criticality", "notebooks/results", ["-f", "cpu"])],
    ids=["as it is", "with a profile"],
)
def test_papermill_itself_takes_the_records_from_any_folder(chapter, where, options, notebooks):
    """No data is at hand: what would be trained on MNIST fails here."""
    options = [
        str(notebooks / "profiles" / o / f"{chapter}.yaml") if o == "cpu" else o for o in options
    ]
    before = {path: path.read_bytes() for path in notebooks.glob("results/**/*.parquet")}
    output = notebooks.parent / "out.ipynb"
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", "--kernel", "python3"]
    done = subprocess.run(
        [*command, str(notebooks / f"{chapter}.ipynb"), str(output), *options],
        cwd=notebooks.parent / where,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    published, again = (
        facts_of({f"{chapter}.ipynb": path.read_text(encoding="utf8")})
        for path in (ROOT / f"notebooks/{chapter}.ipynb", output)
    )
    assert again
    assert differences(published, again, 1e-3) == []
    assert "About to train" not in output.read_text()
    assert {path: path.read_bytes() for path in notebooks.glob("results/**/*.parquet")} == before


@pytest.mark.parametrize("profile", ["cpu", "gpu", "smoke"])
def test_papermill_reads_the_parameters_of_every_chapter_as_they_are(profile):
    folder = ROOT / "notebooks" / "profiles" / profile
    assert sorted(path.stem for path in folder.iterdir()) == CHAPTERS
    runs = plan([], profile, ROOT / "notebooks", {})
    for run in runs:
        # papermill merges what the file holds into the parameters; empty files it cannot read.
        assert {} | read_yaml_file(str(folder / f"{run.chapter}.yaml")) == run.parameters


def pictures(cell):
    """The SVG texts of a cell's outputs."""
    found = [output.get("data", {}).get(SVG, "") for output in cell.get("outputs", [])]
    return ["".join(text) for text in found]


def coordinates(cell):
    """Numbers in the tags of a cell's pictures; those between tags are labels."""
    tags = (tag for text in pictures(cell) for tag in TAG.findall(text))
    return [float(number) for tag in tags for number in NUMBER.findall(tag)]


def without_coordinates(cell):
    """The cell with a mark in the place of each coordinate."""
    shown = [TAG.sub(lambda tag: NUMBER.sub("#", tag[0]), text) for text in pictures(cell)]
    outputs = [
        {**output, "data": {k: v for k, v in output["data"].items() if k != SVG}}
        if "data" in output
        else output
        for output in cell.get("outputs", [])
    ]
    return shown, {**cell, "outputs": outputs}


def said_by(chapter, folder):
    """What the chapter in this folder, and its verdict, say."""
    own = (f"{chapter} ", f"results/{chapter}/")
    return {name: text for name, text in facts_in(folder).items() if name.startswith(own)}
