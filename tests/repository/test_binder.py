"""Binder: what runs on the little it installs, without torch."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "tokenizers", "accelerate", "datasets", "sklearn")

# To import a module of these names is an error, as where it is not installed.
WITHOUT = """
import json, sys
class Missing:
    def find_spec(name, path=None, target=None):
        if name in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing)
"""

# Executes the cells of a chapter one after another, as a kernel does.
RUN = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in json.load(open({path!r}))["cells"]:
    if cell["cell_type"] == "code":
        shell.run_cell("".join(cell["source"])).raise_error()
"""


def normalized(name: str) -> str:
    return name.replace("_", "-").lower()


def installed_by_binder() -> set[str]:
    """The packages that .binder/requirements.txt brings, with all that those need."""
    lines = (ROOT / ".binder" / "requirements.txt").read_text().splitlines()
    assert "-c ../requirements.txt" in lines
    todo = [normalized(line) for line in lines if line and line[0] not in "#-"]
    found: set[str] = set()
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            needed = map(Requirement, requires(name) or ())
            todo += [normalized(r.name) for r in needed if not r.marker or r.marker.evaluate()]
    return found


def binder_chapters() -> tuple[str, ...]:
    """The pages on which there is a button for Binder."""
    spec = importlib.util.spec_from_file_location(
        "launch_buttons", ROOT / "book" / "_ext" / "launch_buttons.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return tuple(module.BINDER)


def run(code: str, folder: Path) -> None:
    """Run Python in a process of its own; nothing may be left undone."""
    code += "\nprint('all of it ran')"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("all of it ran\n")


def test_torch_is_not_installed() -> None:
    assert not installed_by_binder() & {"torch", "transformers", "scikit-learn", "datasets"}


@pytest.mark.parametrize("page", binder_chapters())
def test_a_chapter_with_a_button_runs_on_what_binder_installs(page: str, tmp_path: Path) -> None:
    there = installed_by_binder() | {"initscope", "pip", "setuptools"}
    absent = [
        module
        for module, packages in packages_distributions().items()
        if there.isdisjoint(map(normalized, packages))
    ]
    assert set(absent) > {"torch", "papermill", "sklearn"}
    path = str(ROOT / f"{page}.ipynb")
    run(WITHOUT.format(names=tuple(absent)) + RUN.format(path=path), tmp_path)


def test_figures_theory_and_widgets_need_no_torch(tmp_path: Path) -> None:
    names = (
        *("analysis.comparison", "analysis.extremes", "analysis.trajectories", "chapter", "claims"),
        *("plots", "theory", "tracking.tables", "widgets"),
    )
    imports = "".join(f"import initscope.{name}\n" for name in names)
    run(WITHOUT.format(names=HEAVY) + imports, tmp_path)
