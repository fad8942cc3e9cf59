"""A machine on which only some packages are installed, in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]

# Modules of these names are not found, as where they are not installed.
_WITHOUT = """
import sys
from importlib.machinery import PathFinder
class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name in {names!r} else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""


def normalized(name: str) -> str:
    """The name of a package as its index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def asked_for(*extras: str) -> set[str]:
    """Packages that pyproject.toml asks for, with these extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return {normalized(Requirement(line).name) for line in lines}


def with_all_they_need(names: Iterable[str]) -> set[str]:
    """Packages, and those that they need."""
    todo, found = {(normalized(name), "") for name in names}, set()
    done = set()
    while todo:
        name, extra = todo.pop()
        done.add((name, extra))
        found.add(name)
        for needed in map(Requirement, requires(name) or ()):
            if not needed.marker or needed.marker.evaluate({"extra": extra}):
                todo |= {(normalized(needed.name), e) for e in ("", *needed.extras)} - done
    return found


def without(modules: Iterable[str]) -> str:
    """Code after which these modules cannot be imported."""
    return _WITHOUT.format(names=tuple(modules))


def with_only(packages: set[str]) -> str:
    """Code after which no module can be imported that these packages do not bring."""
    there = packages | {"initscope", "pip", "setuptools"}
    return without(
        module
        for module, names in packages_distributions().items()
        if there.isdisjoint(map(normalized, names))
    )


def run(code: str, folder: Path) -> None:
    """Run Python in a process of its own; nothing may be left undone."""
    code += "\nprint('all of it ran')"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("all of it ran\n")
