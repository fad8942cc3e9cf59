"""The workflows: their steps are the commands that anybody runs, and they may do no more.

What they themselves are checked by, `zizmor --offline .github/workflows`, is not installed here.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
README = (ROOT / "README.md").read_text(encoding="utf8").splitlines()


def read(path: Path) -> dict[str, Any]:
    workflow: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf8"))
    workflow["on"] = workflow.pop(True)  # YAML takes the word for a truth value
    return workflow


def jobs() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every job: a name for it, what it says, and the workflow it is of."""
    for path in WORKFLOWS:
        workflow = read(path)
        for name, job in workflow["jobs"].items():
            yield f"{path.stem} {name}", job, workflow


def commands() -> list[tuple[str, str]]:
    """Every line that a step runs, with the name of its job."""
    return [
        (name, line)
        for name, job, _ in jobs()
        for step in job.get("steps", [])
        for line in step.get("run", "").splitlines()
    ]


def makes(line: str) -> list[str]:
    """The targets that a line hands to make, with its options, also inside of another command."""
    return re.findall(r"(?:^|\$\()make ([^)]*)", line)


def test_there_are_workflows_that_test_and_publish() -> None:
    assert [path.stem for path in WORKFLOWS] == ["publish", "tests"]
    lines = [line for _, line in commands()]
    assert ".ci/run" in lines
    assert {"make archive", "make editions"} <= set(lines)
    assert len(lines) == len([line for line in lines if line.strip()])


@pytest.mark.parametrize(("job", "line"), commands())
def test_a_step_runs_what_there_is(job: str, line: str) -> None:
    program = shlex.split(line)[0]
    for arguments in makes(line):
        make = shutil.which("make")
        if make is None:
            pytest.skip("no make on this machine")
        done = subprocess.run(
            [make, "--dry-run", *shlex.split(arguments)], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    if program == "apt-get":
        assert line in README  # what a reader is told to install, and nothing else
    elif "/" in program:
        assert (ROOT / program).stat().st_mode & 0o100, f"{program} cannot be executed"
    else:
        assert program in ("git", "gh", "test", "make")
    for named in re.findall(r"--notes-file (\S+)", line):
        assert (ROOT / named).is_file()


def test_what_is_uploaded_is_what_make_makes() -> None:
    made = {
        f"_build/{folder}"
        for name in ("archive", "editions")
        for folder in re.findall(
            r'ROOT / "_build" / "(\w+)"', (ROOT / "book" / f"{name}.py").read_text(encoding="utf8")
        )
    }
    handed = {step["with"]["path"] for _, job, _ in jobs() for step in job.get("steps", [])
              if "path" in step.get("with", {})}  # fmt: skip
    assert handed == made == {"_build/html", "_build/archive", "_build/editions"}


def test_what_is_released_has_one_name_each() -> None:
    """Two files of one name, such as two SHA256SUMS, and the release fails."""
    (line,) = [line for _, line in commands() if line.startswith("gh release create")]
    assert line.endswith(" _build/archive/* _build/editions/*")
    sums = {
        re.findall(r'"(SHA256SUMS[\w-]*)"', (ROOT / "book" / f"{name}.py").read_text("utf8"))[0]
        for name in ("archive", "editions")
    }
    assert len(sums) == 2


def test_a_tag_is_published_only_if_it_is_that_of_the_version(tmp_path: Path) -> None:
    (line,) = [line for _, line in commands() if line.startswith("test ")]
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    for tag, status in ((f"v{version[1]}", 0), ("v9.9.9", 1), (version[1], 1)):
        done = subprocess.run(
            ["sh", "-ec", line], cwd=ROOT, env={"GITHUB_REF_NAME": tag, "PATH": "/usr/bin:/bin"}
        )
        assert done.returncode == status, tag


def test_nothing_is_published_before_the_tests_have_passed() -> None:
    publish = read(ROOT / ".github" / "workflows" / "publish.yml")
    assert publish["on"] == {"push": {"tags": ["v*"]}}
    assert publish["jobs"]["tests"]["uses"] == "./.github/workflows/tests.yml"
    assert publish["jobs"]["book"]["needs"] == "tests"
    assert {publish["jobs"][name]["needs"] for name in ("pages", "release")} == {"book"}
    assert "workflow_call" in read(ROOT / ".github" / "workflows" / "tests.yml")["on"]


def test_a_job_may_write_only_what_it_is_for() -> None:
    writes = {}
    for name, job, workflow in jobs():
        allowed = job.get("permissions", workflow["permissions"])
        writes[name] = {what for what, how in allowed.items() if how == "write"}
        for step in job.get("steps", []):
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False
            if "uses" in step:
                assert re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]), step["uses"]
            # What comes from outside is handed over as a variable, not written into a command.
            assert "${{" not in step.get("run", "")
    assert {name: what for name, what in writes.items() if what} == {
        "publish pages": {"pages", "id-token"},
        "publish release": {"contents"},
    }


def test_every_version_has_an_entry_in_the_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf8")
    versions = re.findall(r"^## (\d+\.\d+\.\d+)", text, re.MULTILINE)
    current = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert current is not None
    assert versions[0] == current[1]
    numbers = [tuple(map(int, version.split("."))) for version in versions]
    assert numbers == sorted(set(numbers), reverse=True)
