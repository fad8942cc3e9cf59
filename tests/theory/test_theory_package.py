"""The package as a whole: examples that run, no torch, everything exported."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

from initscope import theory

MODULES = sorted(module.name for module in pkgutil.iter_modules(theory.__path__))


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    module = importlib.import_module(f"initscope.theory.{name}")
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("name", sorted(theory.__all__))
def test_public_names_are_documented(name):
    thing = getattr(theory, name)
    if callable(thing):
        assert thing.__doc__
        if thing.__module__.startswith("initscope") and not isinstance(thing, type):
            assert "Parameters" in thing.__doc__
            assert "Raises" in thing.__doc__
            assert ">>> " in thing.__doc__


def test_imports_neither_torch_nor_anything_heavier_than_scipy():
    code = "import sys, initscope.theory; print(*sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "transformers", "pandas", "matplotlib", "sklearn"} & set(loaded)
