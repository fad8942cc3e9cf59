"""Which chapters run with which parameters, and every refusal."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path

import nbformat
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from initscope.errors import UsageError
from initscope.reproduce.parameters import Parameter, declared_parameters, plan, select_chapters

DECLARED = """\
profile = "cpu"
seeds = 5  # a comment with = in it
lr = 1.0e-2
stds: list[float] = [1.0, 2]
names = ("a", "b")
bias: float | None = None
anything = None
verbose = False
options = {"momentum": 0.9}
root = Path("results")
"""


def write_chapter(path: Path, parameters: str | None = DECLARED, *cells: str) -> None:
    notebook = nbformat.v4.new_notebook()
    if parameters is not None:
        tags = {"tags": ["parameters", "remove-cell"]}
        notebook.cells.append(nbformat.v4.new_code_cell(parameters, metadata=tags))
    notebook.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    notebooks = tmp_path / "notebooks"
    write_chapter(notebooks / "01_variance.ipynb", None)
    write_chapter(notebooks / "05_std_sweep.ipynb")
    write_chapter(notebooks / "06_schemes.ipynb", "seeds = 3")
    profile(notebooks, "seeds: 2\nstds: [1, 2.5]")
    return notebooks


def profile(notebooks: Path, text: str, chapter: str = "05_std_sweep", name: str = "smoke") -> None:
    path = notebooks / "profiles" / name / f"{chapter}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def refusal(*arguments: object) -> str:
    with pytest.raises(UsageError) as caught:
        plan(*arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["5", "05", "05_std_sweep", "05_std_sweep.ipynb", "PATH"])
def test_a_chapter_goes_by_number_name_and_path(folder: Path, name: str) -> None:
    name = name.replace("PATH", str(folder / "05_std_sweep.ipynb"))
    assert list(select_chapters([name], folder)) == ["05_std_sweep"]


def test_all_chapters_by_default_each_once_and_in_order(folder: Path) -> None:
    assert list(select_chapters([], folder)) == ["01_variance", "05_std_sweep", "06_schemes"]
    assert list(select_chapters(["6", "1", "06"], folder)) == ["01_variance", "06_schemes"]


def test_profile_gives_parameters_and_its_name_and_the_command_line_overrides(
    folder: Path,
) -> None:
    variance, sweep, schemes = plan([], "smoke", folder, {"seeds": 7, "lr": 1})
    assert variance.parameters == {}
    assert sweep.parameters == {"profile": "smoke", "seeds": 7, "stds": [1, 2.5], "lr": 1}
    assert schemes.parameters == {"seeds": 7}


@pytest.mark.parametrize("content", ["", "# nothing", "{}", "profile: smoke"])
def test_an_empty_profile_leaves_the_defaults(folder: Path, content: str) -> None:
    profile(folder, content)
    assert plan(["5"], "smoke", folder, {})[0].parameters == {"profile": "smoke"}


def test_declarations_that_papermill_does_not_see_are_seen(folder: Path) -> None:
    declared = declared_parameters(nbformat.read(folder / "05_std_sweep.ipynb", 4))
    assert list(declared) == re.findall(r"^\w+", DECLARED, re.MULTILINE)
    assert declared["seeds"].types == {int}
    assert declared["bias"].types == {float, type(None)}
    assert declared["stds"].items == {float}
    assert declared["names"].types == {list}
    assert declared["anything"].types == declared["root"].types == frozenset()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lr", "1e-3", "lr must be a number, not the text '1e-3'. In YAML, write 1.0e-3."),
        ("lr", "1.5e3", "not the text '1.5e3'. In YAML, write 1.5e+3."),
        ("lr", "3", "not the text '3'. Leave out the quotes."),
        ("lr", "fast", "lr must be a number, not the text 'fast'."),
        ("lr", True, "lr must be a number, not True."),
        ("lr", None, "lr must be a number, not None."),
        ("lr", [0.1], "lr must be a number, not [0.1]."),
        ("seeds", 2.0, "seeds must be a whole number, not 2.0."),
        ("seeds", False, "seeds must be a whole number, not False."),
        ("verbose", 1, "verbose must be true or false, not 1."),
        ("stds", 0.1, "stds must be a list, not 0.1."),
        ("stds", "0.1", "stds must be a list, not the text '0.1'."),
        ("stds", [1, "1e-3"], "each item of stds must be a number, not the text '1e-3'."),
        ("stds", [True], "each item of stds must be a number, not True."),
        ("names", [1], "each item of names must be text, not 1."),
        ("bias", "none", "bias must be a number or null, not the text 'none'."),
        ("options", [0.9], "options must be a mapping, not [0.9]."),
        ("options", {"momentum": "0,9"}, "each item of options must be a number"),
        ("profile", "cpu", "the parameter profile is set by --profile"),
        ("seed", 1, "unknown parameter of 05_std_sweep 'seed'. Did you mean 'seeds'"),
    ],
)
def test_wrong_values_are_refused_with_what_is_right(
    folder: Path, name: str, value: object, message: str
) -> None:
    assert message in refusal(["5"], "smoke", folder, {name: value})
    profile(folder, yaml.safe_dump({name: value}))
    in_profile = refusal([], "smoke", folder, {})
    assert message in in_profile
    assert "05_std_sweep" in in_profile


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", 1),
        ("lr", math.inf),
        ("stds", []),
        ("stds", [1, 2.0]),
        ("names", ["c"]),
        ("bias", None),
        ("bias", 1),
        ("anything", "text"),
        ("root", "elsewhere"),
        ("options", {}),
    ],
)
def test_right_values_are_taken_as_they_are(folder: Path, name: str, value: object) -> None:
    assert plan(["5"], "smoke", folder, {name: value})[0].parameters[name] == value


@given(st.integers() | st.floats(allow_nan=False) | st.booleans() | st.text() | st.none())
def test_a_value_fits_its_own_type_and_only_whole_numbers_fit_another(value: object) -> None:
    for kind in (int, float, bool, str, type(None)):
        fits = type(value) is kind or (type(value) is int and kind is float)
        parameter = Parameter("x", frozenset({kind}))
        if fits:
            parameter.check(value, "here")
        else:
            with pytest.raises(UsageError, match="x must be"):
                parameter.check(value, "here")


def test_unknown_chapter_profile_and_parameter_name_the_nearest(
    folder: Path, tmp_path: Path
) -> None:
    assert "Did you mean '05_std_sweep'?" in refusal(["05_std_swep"], "smoke", folder, {})
    assert "unknown chapter '7'" in refusal(["7"], "smoke", folder, {})
    assert "unknown chapter" in refusal([str(folder / "07_no.ipynb")], "smoke", folder, {})
    assert "lies outside" in refusal([str(tmp_path / "05_std_sweep.ipynb")], "smoke", folder, {})
    assert "Did you mean 'smoke'?" in refusal([], "smok", folder, {})
    assert "Did you mean 'seeds'" in refusal([], "smoke", folder, {"sseeds": 1})
    assert "declares no parameters" in refusal(["1"], "smoke", folder, {"seeds": 1})


@pytest.mark.parametrize(
    ("chapter", "content", "message"),
    [
        ("05_std_swep", "", "Did you mean '05_std_sweep'?"),
        ("05_std_sweep", "3", "05_std_sweep.yaml must hold a mapping (name: value), not 3"),
        ("05_std_sweep", "- seeds", "must hold a mapping (name: value)"),
        ("05_std_sweep", "seeds: [", "05_std_sweep.yaml is not valid YAML"),
        ("05_std_sweep", "seeds: 1\nseeds: 2", "seeds stands there twice"),
        ("01_variance", "seeds: 1", "01_variance declares no parameters, so not 'seeds'"),
        ("06_schemes", "profile: smoke", "the parameter profile is set by --profile"),
    ],
)
def test_a_profile_with_a_mistake_is_refused(
    folder: Path, chapter: str, content: str, message: str
) -> None:
    profile(folder, content, chapter)
    assert message in refusal([], "smoke", folder, {})


def test_missing_folders_and_broken_notebooks(folder: Path, tmp_path: Path) -> None:
    assert "there is no folder" in refusal([], "smoke", tmp_path / "none", {})
    (tmp_path / "empty").mkdir()
    assert "holds no chapter" in refusal([], "smoke", tmp_path / "empty", {})
    (folder / "01_variance.ipynb").write_text('{"cells": [')
    assert "01_variance.ipynb is not a notebook" in refusal([], "smoke", folder, {})
    (folder / "01_variance.ipynb").write_text('{"a": 1}')
    assert "01_variance.ipynb is not a notebook" in refusal([], "smoke", folder, {})
    write_chapter(folder / "01_variance.ipynb", "seeds = = 1")
    assert "the parameters cell is not Python" in refusal([], "smoke", folder, {})
    shutil.rmtree(folder / "profiles" / "smoke")
    assert "holds no profile" in refusal([], "smoke", folder, {})
