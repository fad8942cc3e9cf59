"""The comparison of all numbers finds what is another, what is gone and what is new."""

import csv
import json
import subprocess

import compare_numbers
import pytest

from initscope.errors import UsageError
from initscope.reproduce.compare import (
    count_in_words,
    differences,
    facts_at,
    facts_in,
    facts_of,
    numbers_beside,
    write_numbers,
)


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


def commit_all(folder):
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "First"]):
        subprocess.run([*git, *command], cwd=folder, check=True)


def test_a_revision_is_compared_with_the_working_tree(tmp_path, capsys):
    notebooks = folder_of(tmp_path / "notebooks", glued("share", "0.25"))
    with pytest.raises(UsageError, match="compare in a clone of the project"):
        facts_at("HEAD", notebooks)
    commit_all(tmp_path)
    assert facts_at("HEAD", notebooks) == facts_in(notebooks) != {}
    assert compare_numbers.main("HEAD", notebooks) == 0
    assert capsys.readouterr().out == ""
    folder_of(notebooks, glued("share", "0.5"))
    assert compare_numbers.main("HEAD", notebooks) == 1
    assert "glued share" in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"at no-such-tag"):
        facts_at("no-such-tag", notebooks)


def test_the_committed_chapters_say_something_of_every_kind():
    kinds = " ".join(facts_in(compare_numbers.NOTEBOOKS))
    for kind in ("glued", "table", "stream", "text", "in_scope."):
        assert kind in kinds
    assert facts_of({"results/a/cpu/run.json": '{"status": "finished"}'}) == {}


PUBLISHED = {"same": "0.25", "rounded": "0.12345678", "seed": "3", "gone": "1", "words": "'a 2'"}
YOURS = {"same": "0.25", "rounded": "0.1234561", "seed": "4", "words": "'b 2'", "more": "7"}


def facts(values):
    return {f"01_a glued {name}": value for name, value in values.items()}


def test_every_glued_number_stands_beside_the_published_one():
    published = {**facts(PUBLISHED), "01_a table 1": "5", "02_b glued other": "1"}
    rows = {row.name: row for row in numbers_beside(published, facts(YOURS))}
    assert set(rows) == {*PUBLISHED, *YOURS}  # neither tables nor chapters that were not executed
    outcomes = {name: row.outcome for name, row in rows.items()}
    assert outcomes == {
        "same": "same",
        "rounded": "within",
        "seed": "beyond",
        "gone": "missing",
        "words": "beyond",
        "more": "new",
    }
    assert rows["same"].difference == 0
    assert rows["rounded"].difference == pytest.approx(-6.8e-7, rel=1e-6)
    assert rows["rounded"].tolerance == pytest.approx(0.12345678e-3)
    assert (rows["seed"].difference, rows["seed"].tolerance) == (1, pytest.approx(0.003))
    assert (rows["words"].difference, rows["words"].tolerance) == (None, None)
    assert (rows["gone"].yours, rows["more"].published) == (None, None)
    assert count_in_words(list(rows.values())) == (
        "6 numbers, of them 5 another than the published one, 1 of these within the tolerance"
    )


def test_what_is_no_finite_number_has_no_difference():
    for text in ("nan", "inf", "True", "[1, 2]", "12%", ""):
        (row,) = numbers_beside({"01_a glued x": text}, {"01_a glued x": "1"})
        assert (row.difference, row.outcome) == (None, "beyond")


def test_the_table_holds_them_all(tmp_path):
    rows = numbers_beside(facts(PUBLISHED), facts(YOURS))
    write_numbers(tmp_path / "numbers.csv", rows)
    with (tmp_path / "numbers.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["name"] for row in read] == [row.name for row in rows]
    assert [row["yours"] for row in read] == [row.yours or "" for row in rows]
    assert read[0]["published"] == "0.25"
    assert float(read[2]["difference"]) == 1


def test_no_number_of_the_committed_chapters_is_another():
    """A table of what differs, were it made now of what git has, would be empty."""
    said = facts_in(compare_numbers.NOTEBOOKS)
    rows = numbers_beside(said, said)
    assert len(rows) > 500
    assert {row.outcome for row in rows} == {"same"}
    assert all(row.difference in (0, None) for row in rows)
    assert sum(row.difference is not None for row in rows) > 400
