"""The page "Use it on your model": every piece of code runs as it stands."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "book" / "use_it.md").read_text(encoding="utf8")
SECTIONS = re.findall(r"^## (.+?)$\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
CODE = {
    title: re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    for title, text in SECTIONS
}
COMMANDS = re.findall(r"^python -m initscope .*$", PAGE, re.MULTILINE)

EXPECTED = {  # something that its output has to say
    "A loop of your own": r"100\.00% of all numbers[\s\S]*\n\[\]\n",
    "Llama under the Trainer": r"ratio[\s\S]* q ",
    "A vision transformer": r"weight +std",
    "LoRA": r"lora_BA",
    "Lightning": r"weight  std",
    "Loggers": r'"step": 20, .*"weight_std/q/layer_01": 0\.0',
    "Another width": r"model output",
    "Several starts at once": r"kaiming +(0\.[89]|1)",
}


def test_every_section_shows_code() -> None:
    assert CODE.keys() == EXPECTED.keys()
    assert all(len(code) == 1 for code in CODE.values())
    assert "use_it" in (ROOT / "book" / "_toc.yml").read_text()


@pytest.mark.parametrize("title", CODE)
def test_code_runs_as_it_stands(title: str, tmp_path: Path) -> None:
    """Each in a process of its own, as a reader starts it."""
    (code,) = CODE[title]
    (tmp_path / "code.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "code.py"], cwd=tmp_path, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(EXPECTED[title], done.stdout), done.stdout[-2000:]
    if (tmp_path / "variances").exists():
        show = subprocess.run(
            [sys.executable, "-m", "initscope", "show", "variances"],
            cwd=tmp_path, capture_output=True, text=True, timeout=100,
        )  # fmt: skip
        assert re.search(r"std at .*\n.* start", show.stdout), show.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_knows_its_options(command: str) -> None:
    from initscope.cli import _parser

    words = shlex.split(command, comments=True)[3:]
    assert _parser("initscope").parse_args(words).run


def test_the_table_of_trackers_is_that_of_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its numbers are of one run on one machine; all else is what the benchmark writes now."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    trackers = importlib.import_module("trackers")
    _, _, rest = PAGE.partition(trackers.BEGIN)
    on_page, end, _ = rest.partition(trackers.END)
    assert end
    rows = re.findall(r"^\| (.+?) \| ([\d.]+%) \| (.+?) \|$", on_page, re.MULTILINE)
    found = {name: float(share.removesuffix("%")) / 100 for name, share, _ in rows}
    assert list(found) == [one.name for one in trackers.TRACKERS]
    (load,) = re.findall(r"load ([\d.]+) at the start", on_page)
    without_versions = r"\(torch .*?, load"
    expected, shown = trackers.table(found, float(load)).strip(), on_page.strip()
    assert re.sub(without_versions, "", shown) == re.sub(without_versions, "", expected)
