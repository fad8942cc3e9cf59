"""Binder: what runs on the little it installs, without torch."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
from installed import ROOT, run, with_all_they_need, with_only, without

HEAVY = ("torch", "transformers", "tokenizers", "accelerate", "datasets", "sklearn")

# Executes the cells of a chapter one after another, as a kernel does.
RUN = """
import json
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in json.load(open({path!r}))["cells"]:
    if cell["cell_type"] == "code":
        shell.run_cell("".join(cell["source"])).raise_error()
"""


def installed_by_binder() -> set[str]:
    """The packages that .binder/requirements.txt brings, with all that those need."""
    lines = (ROOT / ".binder" / "requirements.txt").read_text().splitlines()
    assert "-c ../requirements.txt" in lines
    return with_all_they_need(line for line in lines if line and line[0] not in "#-")


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


def test_torch_is_not_installed() -> None:
    assert not installed_by_binder() & {"torch", "transformers", "scikit-learn", "datasets"}


@pytest.mark.parametrize("page", binder_chapters())
def test_a_chapter_with_a_button_runs_on_what_binder_installs(page: str, tmp_path: Path) -> None:
    # In a copy: it writes its findings, and a book that is older than they are is built again.
    chapter = Path(page).name
    for part in (f"{chapter}.ipynb", "claims", f"results/{chapter}"):
        source, copy = ROOT / "notebooks" / part, tmp_path / part
        if source.is_dir():
            shutil.copytree(source, copy)
        else:
            shutil.copy(source, copy)
    findings = sorted(tmp_path.rglob("findings/*.json"))
    assert findings
    for finding in findings:
        finding.unlink()
    run(with_only(installed_by_binder()) + RUN.format(path=f"{chapter}.ipynb"), tmp_path)
    assert sorted(tmp_path.rglob("findings/*.json")) == findings


def test_figures_theory_and_widgets_need_no_torch(tmp_path: Path) -> None:
    names = (
        *("analysis.comparison", "analysis.extremes", "analysis.trajectories", "chapter", "claims"),
        *("plots", "theory", "tracking.tables", "widgets"),
    )
    imports = "".join(f"import initscope.{name}\n" for name in names)
    run(without(HEAVY) + imports, tmp_path)
