"""The README in a stranger's hands: its code runs, its commands exist, links and times hold."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [
    line for language, text in BLOCKS if language == "bash" for line in text.splitlines() if line
]
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
TIME = re.compile(rf"\b(\d+|{'|'.join(NUMBERS)}) ?(s|seconds?|min|minutes?|h|hours?)\b")


def times(text: str) -> set[tuple[int, str]]:
    """Every time in a text, as a number and the first letter of its unit."""
    found = TIME.findall(text)
    return {
        (NUMBERS.index(n) + 1 if n in NUMBERS else int(n), unit[0].lower()) for n, unit in found
    }


def make(*arguments: str) -> str:
    """What make prints, in the root of the project."""
    program = shutil.which("make")
    if program is None:
        pytest.skip("no make on this machine")
    done = subprocess.run(
        [program, "--no-print-directory", *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_block_is_code_that_is_tested_here() -> None:
    assert {language for language, _ in BLOCKS} == {"python", "bash"}
    assert len(PYTHON) >= 4
    assert "..." not in "".join(PYTHON).replace("callbacks=[...]", "")


# Where there is no GPU, torch says that Trainer's default does nothing.
@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true")
@pytest.mark.parametrize("code", PYTHON, ids=[text.splitlines()[-1][:30] for text in PYTHON])
def test_python_runs_as_it_is_written(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
    if "print(" in code.replace("lambda change: print", ""):
        assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_exists(command: str, tmp_path: Path) -> None:
    words = shlex.split(command, comments=True)
    program, *arguments = words
    if program == "make":
        make("--dry-run", *arguments)
    elif program == "apt-get":  # .ci/run runs these lines as they stand
        assert arguments[0] in ("update", "install")
    elif program == "git":
        known = subprocess.run(["git", arguments[0], "-h"], capture_output=True, text=True)
        assert "usage: git " + arguments[0] in known.stdout + known.stderr
    elif program.endswith("/papermill"):
        from papermill.cli import papermill

        for path in (arguments[0], arguments[arguments.index("-f") + 1]):
            assert (ROOT / path).is_file()
        assert {"-f", "-p"} <= {name for option in papermill.params for name in option.opts}
    else:
        assert words[:3] == [".venv/bin/python", "-m", "initscope"]
        if "--output" in words:  # what it would do, without doing it
            words = [*words[: words.index("--output")], "--list"]
        done = subprocess.run(
            [sys.executable, *words[1:]], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_relative_links_lead_to_files() -> None:
    links = re.findall(r"\]\((?!\w+:)([^)#\s]+)", README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_times_are_those_of_make_help() -> None:
    said: dict[str, set[tuple[int, str]]] = {}
    target = ""
    for line in make("help").splitlines():
        if found := re.match(r"make (\w+)", line):
            target = found[1]
        said.setdefault(target, set()).update(times(line))
    assert said["test"]
    assert times("three minutes, 30 s, 4 h") == {(3, "m"), (30, "s"), (4, "h")}

    compared = 0
    for command in COMMANDS:
        code, _, comment = command.partition("#")
        if code.startswith("make "):
            of_target = said[code.split()[1]]
            assert times(comment) <= of_target, command
            if code.split()[1] in ("book", "test"):
                assert times(comment) == of_target, command
            compared += len(times(comment))
    assert compared >= 5
    (sentence,) = re.findall(r"`make chapters` executes[^.]*\.", README)
    assert times(sentence) == said["chapters"]
    # What `make` itself says before it begins must not be another time.
    recipe = (ROOT / "Makefile").read_text()
    for echoed, name in (
        ("Executing the chapters: about ", "chapters"),
        ("Measuring speed and memory: about ", "bench"),
        ("versions of transformers for a moment: about ", "compatibility"),
        ("Checking style and types: about ", "lint"),
        ("Say how much: ", "reproduce"),
    ):
        (line,) = re.findall(re.escape(echoed) + r".*", recipe)
        assert times(line) <= said[name], line
