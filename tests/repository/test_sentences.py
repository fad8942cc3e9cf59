"""What sentences of the committed chapters say of their own tables: both from one row."""

import ast
import functools
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
GLUED = "application/papermill.record/text/plain"


@functools.cache
def outputs(chapter: str) -> list[dict[str, Any]]:
    (path,) = ROOT.glob(f"notebooks/{chapter}_*.ipynb")
    cells = json.loads(path.read_text(encoding="utf8"))["cells"]
    return [output for cell in cells for output in cell.get("outputs", [])]


def glued(chapter: str) -> dict[str, Any]:
    """The values that a chapter puts into its prose, by name."""
    found: dict[str, Any] = {}
    for output in outputs(chapter):
        if GLUED in output.get("data", {}):
            text = "".join(output["data"][GLUED])
            name = output["metadata"]["scrapbook"]["name"]
            found[name] = ast.literal_eval(text) if text[0] in "'\"" else float(text)
    return found


def table_with(chapter: str, column: str) -> list[dict[str, str]]:
    """The rows, by column, of the one table of a chapter that has this column."""
    found = []
    for output in outputs(chapter):
        html = "".join(output.get("data", {}).get("text/html", ""))
        for text in re.findall(r"<table.*?</table>", html, re.DOTALL):
            head, body = ElementTree.fromstring(text.replace("&nbsp;", " "))
            names = ["".join(cell.itertext()) for cell in head[0]]
            # Of a row, what the names of the columns stand above: the last cells.
            rows = [["".join(c.itertext()) for c in row if c.tag == "td"] for row in body]
            names = [name for name in names if name]
            if column in names:
                found.append([dict(zip(names, row, strict=True)) for row in rows])
    (rows,) = found
    return rows


def number(text: str) -> float:
    return float(text.strip("%+"))


@pytest.mark.parametrize("chapter", ["01", "02"])
def test_the_largest_deviation_and_its_standard_errors_are_of_one_row(chapter: str) -> None:
    rows = table_with(chapter, "mean off by")
    said = glued(chapter)
    if chapter == "01":
        off, errors = 100 * said["worst_mean_off"], said["worst_mean_errors"]
        most = said["most_errors"]
    else:
        numbers = re.search(
            r"up to ([\d.]+)%.*; that is ([\d.]+) standard.*no deviation exceeds ([\d.]+) ",
            said["deviation_text"],
        )
        assert numbers
        off, errors, most = map(float, numbers.groups())
    largest = max(rows, key=lambda row: number(row["mean off by"]))
    assert off == pytest.approx(number(largest["mean off by"]), abs=0.051)
    assert errors == pytest.approx(number(largest["standard errors"]), abs=0.051)
    # The rows are those of the largest share: elsewhere there may be more standard errors.
    assert most >= max(number(row["standard errors"]) for row in rows) - 0.051


def test_the_widths_tell_fan_in_from_fan_out() -> None:
    """By each rule one direction stays level; the other ends where no other rule would."""
    said = glued("01")
    for rule in ("in", "out"):
        predicted, error = said[f"fan_{rule}_ratio"], said[f"fan_{rule}_error"]
        measured, level = said[f"fan_{rule}_measured"], said[f"fan_{rule}_level"]
        assert measured == pytest.approx(predicted, abs=4 * error)
        assert level == pytest.approx(1, abs=0.25)
        for other in {1.0, 1 / predicted, said["fan_in_ratio"], said["fan_out_ratio"]}:
            assert other == predicted or abs(np.log(other / predicted)) > 6 * error / measured


def test_the_best_of_the_deepest_networks_beats_the_edge() -> None:
    said = glued("02")
    assert said["best_deep_accuracy"] > said["edge_accuracy"]


def layers(network: str) -> int:
    """The weight layers of a network that a table names like 784-128×3-10."""
    hidden = [int(part.split("×")[1]) if "×" in part else 1 for part in network.split("-")[1:-1]]
    return sum(hidden) + 1


def interval(text: str) -> tuple[float, float]:
    low, high = text.split(" to ")
    return float(low), float(high)


def test_the_largest_ratio_of_compact_networks_is_of_the_row_that_is_named() -> None:
    said = glued("06")
    rows = [row for row in table_with("06", "ratio of updates") if layers(row["network"]) <= 4]
    assert len(rows) == said["n_compact"]
    largest = max(rows, key=lambda row: number(row["ratio of updates"]))
    assert number(largest["ratio of updates"]) == pytest.approx(said["compact_most"], abs=0.0051)
    assert said["compact_most_where"].endswith(f", {largest['training']}")
    assert f", {layers(largest['network'])} layers" in said["compact_most_where"]
    words = f"ratio of updates is {said['compact_most']:.2f} ({said['compact_most_where']})"
    assert words in said["summary"]


@pytest.mark.parametrize(
    ("column", "key", "threshold", "digits"),
    [("ratio of updates", "E2a", 1.05, 2), ("difference in test accuracy", "E2c", 0.005, 4)],
)
def test_a_finding_counts_the_intervals_of_its_table(
    column: str, key: str, threshold: float, digits: int
) -> None:
    (path,) = ROOT.glob(f"notebooks/results/06_*/cpu/findings/{key}.json")
    finding = json.loads(path.read_text(encoding="utf8"))
    rows, last = table_with("06", column), 0.51 * 10**-digits
    for scope in ("in_scope", "beyond"):
        ends = [
            interval(row["interval"])
            for row in rows
            if (layers(row["network"]) <= 4) == (scope == "in_scope")
        ]
        cases = finding[scope]
        above = [low for low, _ in ends]
        below = [-high for _, high in ends]
        for count, values, edge in (
            (cases["support"], above, threshold),
            (cases["contradict"], below, -threshold),
        ):
            surely = sum(value > edge + last for value in values)
            perhaps = sum(value > edge - last for value in values)
            assert surely <= count <= perhaps
        assert len(ends) == cases["support"] + cases["contradict"] + cases["undecided"]
