"""The reference of the package: every public name, as it is, read without running anything."""

from __future__ import annotations

import importlib
import inspect
import logging
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode

import griffe
import pytest
from book_pages import CHAPTERS, DOCUMENTS, ROOT, Open, parsed
from bs4 import BeautifulSoup, Tag

import initscope
import initscope.tracking

sys.path.insert(0, str(ROOT / "book" / "_ext"))

import api_reference

PAGES = [name for name in DOCUMENTS if name.startswith("book/api/")]
MODULES = re.findall(
    r"```\{api\} (\S+)", "".join((ROOT / f"{name}.md").read_text("utf8") for name in PAGES)
)


def exported(module: str) -> list[str]:
    return list(getattr(importlib.import_module(module), "__all__", ()))


@pytest.fixture(scope="module")
def pages(site: Path) -> list[BeautifulSoup]:
    return [parsed(site, name) for name in PAGES]


@pytest.fixture(scope="module")
def entries(pages: list[BeautifulSoup]) -> dict[str, Tag]:
    """The entry of each name, by its path: its signature and what is said of it."""
    found = [tag for page in pages for tag in page.select("dl.py > dt[id]")]
    assert len({tag["id"] for tag in found}) == len(found)
    return {str(tag["id"]): tag.parent for tag in found if tag.parent is not None}


def test_every_package_that_exports_something_is_there() -> None:
    packages = {
        module.name
        for module in pkgutil.iter_modules(initscope.__path__, "initscope.")
        if module.ispkg and module.name != "initscope.cli"  # it says itself what it takes
    }
    files = ROOT.joinpath("src", "initscope").glob("*.py")
    modules = {f"initscope.{path.stem}" for path in files if "\n__all__ = [" in path.read_text()}
    modules.remove("initscope.initialization_report")  # initscope.init exports it
    assert len(modules) > 3
    assert packages | modules <= set(MODULES)
    assert len(MODULES) == len(set(MODULES))


@pytest.mark.parametrize("module", MODULES)
def test_every_exported_name_has_its_entry(module: str, entries: dict[str, Tag]) -> None:
    for name in exported(module):
        said = entries[f"{module}.{name}"]
        assert len(said.get_text().split()) > 4, f"{name}: nothing is said of it"


@pytest.mark.parametrize("module", MODULES)
def test_signatures_are_those_of_the_functions(module: str, entries: dict[str, Tag]) -> None:
    for name in exported(module):
        value = getattr(importlib.import_module(module), name)
        if not inspect.isfunction(value):
            continue
        shown = entries[f"{module}.{name}"].select_one("dt")
        assert shown is not None
        parameters = [tag.select_one(".n") for tag in shown.select(".sig-param")]
        found = [tag.get_text() for tag in parameters if tag is not None]
        assert found == list(inspect.signature(value).parameters), name


def test_each_parameter_of_a_long_signature_has_a_line(entries: dict[str, Tag]) -> None:
    """That is no item of a list without terms."""
    signatures = {name: entry.select_one("dt") for name, entry in entries.items()}
    long = signatures["initscope.tracking.VarianceTracker"]
    assert long is not None
    lines = [line.get_text() for line in long.select(".sig-line")]
    parameters = list(inspect.signature(initscope.tracking.VarianceTracker).parameters)
    named = [re.sub(r"\W.*", "", line) for line in lines]
    assert [name for name in named if name] == parameters
    assert lines[0] == "model: nn.Module,"
    for name, signature in signatures.items():
        assert signature is not None
        assert signature.select("dl") == []
        if len(signature.get_text()) < 60:
            assert signature.select(".sig-line") == [], name
    assert "WidthInterval(low: Propagation, high: Propagation)" in str(
        signatures["initscope.theory.WidthInterval"].get_text()
    )


def test_a_type_leads_to_what_it_is(entries: dict[str, Tag]) -> None:
    """Of two that are called alike, torch's has its full name, and the sweep's its entry."""
    signatures = {name: entry.select_one("dt") for name, entry in entries.items()}
    of_torch = signatures["initscope.tracking.VarianceTracker"]
    assert of_torch is not None
    assert "optimizer: torch.optim.Optimizer | Sequence[torch" in of_torch.get_text()
    assert of_torch.select("a.reference") == []
    goals = {}
    for signature in signatures.values():
        assert signature is not None
        assert not re.search(r"[:>|\[] ?initscope\.", signature.get_text())  # the short name
        for link in signature.select("a.reference"):
            goals.setdefault(link.get_text(), set()).add(str(link["href"]).rpartition("#")[2])
    assert goals["Optimizer"] == {"initscope.sweep.Optimizer"}
    assert len(goals) > 30
    for name, paths in goals.items():
        (path,) = paths
        module, _, last = path.rpartition(".")
        assert last == name
        assert name in exported(module)


def test_examples_are_shown(pages: list[BeautifulSoup], entries: dict[str, Tag]) -> None:
    shown = sum(page.get_text().count(">>> ") for page in pages)
    assert shown > 300
    said = entries["initscope.theory.gain"]
    assert said.select_one(".highlight .gp") is not None
    assert {"Parameters:", "Raises:"} <= {tag.get_text().strip() for tag in said.select("dt")}


def test_names_in_docstrings_lead_to_their_entries(pages: list[BeautifulSoup]) -> None:
    links = [tag for page in pages for tag in page.select("dd a.reference.internal[href]")]
    assert len(links) > 300
    for page in pages:
        assert ":func:" not in page.get_text()
        assert ":class:" not in page.get_text()
        assert not page.select("article cite"), "a backtick that is no code"


def test_the_pages_are_light(site: Path) -> None:
    for name in PAGES:
        assert (site / f"{name}.html").stat().st_size < 900_000, name


def test_chapters_lead_to_the_reference(site: Path) -> None:
    goals = [
        link["href"]
        for name in CHAPTERS
        for link in parsed(site, name).select("article a[href*='/api/'] code")
        for link in [link.find_parent("a")]
    ]
    assert len(goals) > 10
    assert any(
        goal.endswith("theory.html#initscope.theory.finite_width_interval") for goal in goals
    )


@pytest.mark.browser
def test_the_search_finds_names(visit: Open, address: str) -> None:
    opened = visit("search.html")
    for name, path in (
        ("adamw_equilibrium_rms", "theory.html#initscope.theory.adamw_equilibrium_rms"),
        ("VarianceTracker", "training.html#initscope.tracking.VarianceTracker"),
    ):
        opened.page.goto(f"{address}/search.html?{urlencode({'q': name})}")
        link = opened.page.locator(f"#search-results a[href*='{path}']").first
        link.wait_for()
    assert opened.errors == []


def test_nothing_is_imported_to_make_it() -> None:
    """Neither torch nor a part of the package that computes."""
    code = (
        "import sys; sys.path.insert(0, 'book/_ext'); import api_reference as api\n"
        f"for name in {MODULES!r}:\n"
        "    module = api.target_of(api.package()[name.removeprefix('initscope.')])\n"
        "    assert len(api.reference(module)) > 15\n"
        "loaded = {m.partition('.')[0] for m in sys.modules}\n"
        "print(sorted(loaded & {'torch', 'numpy', 'initscope'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def module_of(folder: Path, docstring: str) -> griffe.Module:
    (folder / "sample").mkdir()
    text = f'__all__ = ["one"]\ndef one(a: int, *, b: float = 2.0) -> str:\n    """{docstring}"""\n'
    (folder / "sample" / "__init__.py").write_text(text)
    module = griffe.load("sample", search_paths=[str(folder)], allow_inspection=False)
    assert isinstance(module, griffe.Module)
    return module


def test_a_role_that_leads_nowhere_fails_the_build(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = module_of(tmp_path, "Return what :func:`initscope.theory.nothing` does.")["one"]
    with caplog.at_level(logging.WARNING):  # with -W a warning is an error
        text = api_reference.docstring_of(one)
    assert "names initscope.theory.nothing, which there is not" in caplog.text
    assert "``initscope.theory.nothing``" in text


def test_roles_lead_to_public_names_and_others_are_code() -> None:
    scope = api_reference.target_of(api_reference.package()["theory.gain"])
    for role, shown in {
        ":func:`gain`": ":py:func:`gain <initscope.theory.gain>`",
        ":func:`~initscope.theory.gains.gain`": ":py:func:`gain <initscope.theory.gain>`",
        ":data:`~initscope.init.SCHEMES`": ":py:data:`SCHEMES <initscope.theory.SCHEMES>`",
        ":func:`length_map`": ":py:func:`length_map <initscope.theory.length_map>`",
        ":func:`initscope.theory.chi`": ":py:func:`chi <initscope.theory.chi>`",  # its own package
        ":func:`initscope.init.fans`": ":py:func:`initscope.init.fans <initscope.init.fans>`",
        ":func:`resolve`": "``resolve``",  # of ours, and not exported
        ":class:`torch.nn.Module`": "``torch.nn.Module``",
    }.items():
        assert api_reference.with_full_names(role, scope) == shown


@pytest.mark.parametrize(
    "name",
    [
        *("theory.ACTIVATIONS", "theory.NUMBER_FORMATS", "theory.RECIPES", "theory.SCHEMES"),
        *("init.DISTRIBUTIONS", "init.MODES", "models.ACTIVATIONS", "models.GPT2_PRESETS"),
        *("data.DATASETS", "tracking.COLUMNS", "tracking.HISTOGRAM_COLUMNS"),
    ],
)
def test_a_table_lists_its_names(name: str) -> None:
    module, _, constant = name.rpartition(".")
    found = api_reference.exported(
        api_reference.target_of(api_reference.package()[module]), constant
    )
    assert found.docstring is not None
    said = set(re.findall(r"[\w.-]*\w", found.docstring.value))
    assert set(getattr(importlib.import_module(f"initscope.{module}"), constant)) <= said


def test_names_that_are_explained_together_stay_together(tmp_path: Path) -> None:
    text = "Do.\n\n    {}\n    ----------\n    one, two\n        Both.\n    "
    for section in ("Parameters", "Attributes"):
        folder = tmp_path / section
        folder.mkdir()
        lines = api_reference.docstring_of(module_of(folder, text.format(section))["one"])
        assert f":{section}: **one, two** -- Both." in lines


def test_an_example_after_notes_has_its_heading() -> None:
    lines = api_reference.with_headings("Do.\n\nNotes\n-----\nSlow.\n\nA lot.\n\n>>> 1\n1")
    assert lines.splitlines()[-6:] == ["A lot.", "", "Examples", "--------", ">>> 1", "1"]
    assert lines.count("Notes") == 1


def test_the_first_sentence_ends_on_its_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The table of a package's names shows that line alone."""
    one = module_of(tmp_path, "Return one\n    of two.")["one"]
    with caplog.at_level(logging.WARNING):
        api_reference.first_line(one)
    assert "the first sentence of sample.one does not end on its line" in caplog.text


def test_a_signature_shows_what_a_caller_can_give(tmp_path: Path) -> None:
    sources = {
        "private": "@dataclass\nclass one:\n    a: int\n    _b: dict[str, int] = dict()\n",
        "filled": "@dataclass\nclass one:\n    a: int = cast(int, None)\n",
        "context": "@contextlib.contextmanager\ndef one() -> Iterator[int]: ...\n",
        "short": "Of = str | Array\nArray = npt.NDArray[float]\nAny_ = list[Of]\n"
        "def one(a: Of, b: Any_ | None = None, c: Path | None = None): ...\n",
    }
    shown = {}
    for name, source in sources.items():
        (tmp_path / f"{name}.py").write_text(f"from dataclasses import dataclass\n{source}")
        module = griffe.load(name, search_paths=[str(tmp_path)], allow_inspection=False)
        shown[name] = api_reference.signature_of(module["one"])
    assert shown == {
        "private": "one(a: int)",
        "filled": "one(a: int | None = None)",
        "context": "one() -> AbstractContextManager[int]",
        "short": "one(a: str | Array, b: list[str | Array] | None = None, c: Path | None = None)",
    }


def test_the_value_of_a_constant_is_shown_if_it_is_short() -> None:
    shown = {
        name: api_reference._value_of(api_reference.target_of(api_reference.package()[name]))
        for name in ("analysis.PAPER_BAND", "theory.RECIPES", "theory.gain")
    }
    assert shown == {
        "analysis.PAPER_BAND": [":value: (0.01, 0.1)"],
        "theory.RECIPES": [],
        "theory.gain": [],
    }


def test_a_signature_is_as_it_is_written(tmp_path: Path) -> None:
    one = module_of(tmp_path, "Return one.")["one"]
    assert api_reference.signature_of(one) == "one(a: int, *, b: float = 2.0) -> str"
    budget = api_reference.target_of(api_reference.package()["tracking.VarianceTracker"])
    assert "self" not in api_reference.signature_of(budget)
    assert "every: int | Collection[int] | " in api_reference.signature_of(budget)
