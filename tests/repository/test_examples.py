"""Examples in docstrings run and give what they say; those of theory: test_theory_package.py.

Whatever a package exports shows one.
"""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import initscope

WITH_EXAMPLES = [
    module.name
    for module in pkgutil.walk_packages(initscope.__path__, "initscope.")
    if not module.name.startswith("initscope.theory")
    and ">>> " in Path(module.module_finder.find_spec(module.name).origin).read_text("utf8")
]


def test_there_are_examples() -> None:
    assert len(WITH_EXAMPLES) > 20


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_run(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0


# --- What is exported shows an example ------------------------------------------------------

PACKAGES = [
    module.name
    for module in pkgutil.walk_packages(initscope.__path__, "initscope.")
    if module.ispkg or module.name in ("initscope.init", "initscope.claims")
]

NO_EXAMPLE = {
    "initscope.cli.main": "is the command line",
    "initscope.data.Text": "load_text makes it",
    "initscope.data.load_checkpoint_stds": "needs the files of published_runs",
    "initscope.data.load_mnist": "needs the files of MNIST",
    "initscope.data.load_training_logs": "needs the files of published_runs",
    "initscope.data.load_weibull_scales": "needs the files of published_runs",
    "initscope.predict.ModelPrediction": "predict makes it",
    "initscope.pretrain.PretrainRecord": "read_record makes it",
    "initscope.pretrain.describe_outcome": "needs the record of a training run",
    "initscope.pretrain.load_spec_text": "is load_text, which has one",
    "initscope.pretrain.pretrain": "trains for longer than an example may",
    "initscope.pretrain.read_record": "needs the record of a training run",
    "initscope.reproduce.Outcome": "reproduce makes it",
    "initscope.reproduce.reproduce": "executes chapters, which a package alone does not have",
    "initscope.tracking.LayerRecord": "record_variances makes it",
    "initscope.widgets.BookWidget": "is the base of the widgets",
    "initscope.widgets.show": "prints something else in a notebook than outside of one",
    "initscope.widgets.QKVTraining": "needs the record of a training run",
}
"""What is exported without an example, and why."""


def exported() -> dict[str, object]:
    """Functions and classes by package and name; results by name and errors left out."""
    found = {}
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            ours = getattr(value, "__module__", "").startswith("initscope.")
            if not ours or not (inspect.isfunction(value) or inspect.isclass(value)):
                continue
            if not (inspect.isclass(value) and issubclass(value, tuple | BaseException)):
                found[f"{package}.{name}"] = value
    return found


def test_what_is_exported_shows_an_example_or_there_is_a_reason() -> None:
    found = exported()
    assert len(found) > 150
    # A line that is skipped is no example; where a module has one, all of them are run, above.
    parse = doctest.DocTestParser().get_examples
    shown = {
        name
        for name, value in found.items()
        if any(doctest.SKIP not in e.options for e in parse(inspect.getdoc(value) or ""))
    }
    assert sorted(found.keys() - shown) == sorted(NO_EXAMPLE)


def test_modules_with_examples_are_run() -> None:
    found = {inspect.getmodule(value).__name__ for value in exported().values()}
    elsewhere = {name for name in found if name.startswith("initscope.theory")}
    without = {inspect.getmodule(exported()[name]).__name__ for name in NO_EXAMPLE}
    assert found - elsewhere - without <= set(WITH_EXAMPLES)
