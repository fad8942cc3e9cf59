"""The real chapters, executed as a reader executes them, in a copy of their folder."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from initscope.reproduce import reproduce

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = sorted(path.stem for path in ROOT.glob("notebooks/[0-9][0-9]_*.ipynb"))


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """The chapters with their committed records; no network and no folder of data."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("INITSCOPE_DATA", raising=False)
    monkeypatch.setenv("INITSCOPE_CACHE", str(tmp_path / "cache"))
    ignore = shutil.ignore_patterns("smoke", ".ipynb_checkpoints")
    return Path(shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=ignore))


def test_there_are_chapters():
    assert CHAPTERS


@pytest.mark.timeout(600)
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_smoke_profile_runs_offline(chapter, notebooks):
    (outcome,) = reproduce([chapter], "smoke", notebooks)
    assert outcome.error == ""
    profile = yaml.safe_load((notebooks / "profiles" / "smoke.yaml").read_text())
    if records := profile.get(chapter, {}).get("results"):
        assert list((notebooks / records).iterdir()), "nothing was measured"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_published_chapter_is_what_its_records_give(chapter, notebooks):
    """Executed again from the records, a chapter comes out byte for byte.

    No data is at hand here, so nothing can be trained: every number is in the records.
    """
    (outcome,) = reproduce([chapter], "cpu", notebooks)
    assert outcome.error == ""
    published, again = (
        (folder / f"{chapter}.ipynb").read_text(encoding="utf8")
        for folder in (ROOT / "notebooks", notebooks)
    )
    cells = (json.loads(text)["cells"] for text in (published, again))
    for number, (old, new) in enumerate(zip(*cells, strict=True)):
        assert old == new, f"cell {number} comes out differently"
    assert published == again
