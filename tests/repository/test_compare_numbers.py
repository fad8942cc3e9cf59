"""The comparison of all numbers finds what is another, what is gone and what is new."""

import json
import subprocess

import compare_numbers
import pytest
from compare_numbers import differences, facts_at, facts_in, facts_of


def glued(name, value):
    return {
        "output_type": "display_data",
        "data": {"application/papermill.record/text/plain": value},
        "metadata": {"scrapbook": {"name": name}},
    }


def table(*cells, style="T_1"):
    rows = "".join(f"<td>{cell}</td>" for cell in cells)
    html = f"<style>#{style} {{ width: 3px }}</style><table id={style}><tr>{rows}</tr></table>"
    return {"output_type": "execute_result", "data": {"text/html": [html], "text/plain": "-"}}


def stream(text):
    return {"output_type": "stream", "name": "stdout", "text": [text]}


def folder_of(path, *outputs, measurement=7):
    cells = [{"cell_type": "markdown"}, {"cell_type": "code", "outputs": list(outputs)}]
    record = {"outcome": "holds", "measurements": {"runs": measurement}}
    (path / "results" / "01_a" / "cpu").mkdir(parents=True, exist_ok=True)
    (path / "01_a.ipynb").write_text(json.dumps({"cells": cells}))
    (path / "results" / "01_a" / "cpu" / "claim.json").write_text(json.dumps(record))
    return path


@pytest.fixture
def before(tmp_path):
    outputs = (glued("share", "0.25"), table("0.41", 3), stream("from layer 61\n"))
    return facts_in(folder_of(tmp_path / "before", *outputs))


@pytest.mark.parametrize(
    ("outputs", "measurement", "line"),
    [
        (
            (glued("share", "0.26"), table("0.41", 3), stream("from layer 61\n")),
            7,
            "changed: 01_a glued share: '0.25' is now '0.26'",
        ),
        (
            (glued("share", "0.25"), table("0.42", 3), stream("from layer 61\n")),
            7,
            "changed: 01_a table 1: '0.41 | 3' is now '0.42 | 3'",
        ),
        (
            (glued("share", "0.25"), table("0.41", 3), stream("from layer 62\n")),
            7,
            r"changed: 01_a stream 1: 'from layer 61\n' is now 'from layer 62\n'",
        ),
        (
            (glued("share", "0.25"), table("0.41", 3), stream("from layer 61\n")),
            8,
            "changed: results/01_a/cpu/claim.json measurements.runs: '7' is now '8'",
        ),
        (
            (table("0.41", 3), stream("from layer 61\n")),
            7,
            "missing: 01_a glued share, was 0.25",
        ),
        (
            (
                glued("share", "0.25"),
                glued("more", "1"),
                table("0.41", 3),
                stream("from layer 61\n"),
            ),
            7,
            "new: 01_a glued more = 1",
        ),
    ],
)
def test_what_differs_is_named(before, tmp_path, outputs, measurement, line):
    after = facts_in(folder_of(tmp_path / "after", *outputs, measurement=measurement))
    assert differences(before, after) == [line]


def test_the_style_of_a_table_is_nothing_that_a_chapter_says(tmp_path):
    first, second = (
        facts_in(folder_of(tmp_path / style, table("1", style=style))) for style in ("T_1", "T_2")
    )
    assert first["01_a table 1"] == "1"
    assert differences(first, second) == []


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("1.0000001", "1.0000002", True),
        ("0.123 of 5", "0.124 of 5", True),
        ("0.123 of 5", "0.125 of 5", False),
        ("12 runs", "13 runs", False),
        ("12 runs", "12 rows", False),
        ("1.2e-05", "1.3e-05", True),
        ("1.2e-05", "1.2e-06", False),
        ("−7.5%", "−7.6%", True),
        ("-7.5", "7.5", False),
    ],
)
def test_a_tolerance_is_for_rounding_alone(old, new, same):
    assert (differences({"a": old}, {"a": new}, 1e-3) == []) is same
    assert differences({"a": old}, {"a": new})


def test_a_revision_is_compared_with_the_working_tree(tmp_path, monkeypatch, capsys):
    folder_of(tmp_path / "notebooks", glued("share", "0.25"))
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "First"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    monkeypatch.setattr(compare_numbers, "ROOT", tmp_path)
    assert facts_at("HEAD", tmp_path) == facts_in(tmp_path / "notebooks") != {}
    assert compare_numbers.main("HEAD") == 0
    assert capsys.readouterr().out == ""
    folder_of(tmp_path / "notebooks", glued("share", "0.5"))
    assert compare_numbers.main("HEAD") == 1
    assert "glued share" in capsys.readouterr().out


def test_the_committed_chapters_say_something_of_every_kind():
    kinds = " ".join(facts_in(compare_numbers.ROOT / "notebooks"))
    for kind in ("glued", "table", "stream", "text", "in_scope."):
        assert kind in kinds
    assert facts_of({"results/a/cpu/run.json": '{"status": "finished"}'}) == {}
