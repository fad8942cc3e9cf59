"""Examples in docstrings run and give what they say; those of theory: test_theory_package.py."""

from __future__ import annotations

import doctest
import importlib
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
