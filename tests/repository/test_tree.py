"""The tree as it is committed: small, complete, and free of what belongs to one machine."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import initscope

ROOT = Path(__file__).resolve().parents[2]
MEGABYTE = 1024 * 1024

# Written in two parts, so that this file does not contain what it forbids.
FORBIDDEN = {
    "an absolute path of one machine": re.compile(
        r"(?<![\w.~:/$-])/(?:" + "home|root|work|opt|Users|mnt|scratch" + r")/[\w.-]+"
    ),
    "the host of a package registry": re.compile(
        r"(?:pypi|pythonhosted|anaconda|npmjs|jsdelivr|unpkg)" + r"\.(?:org|com|net)"
        r"|download\.pytorch" + r"\.org|deb\.debian" + r"\.org"
    ),
}


def tracked() -> list[Path]:
    """Every file that git knows, with its current content, or a skip outside a clone."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("not a git clone")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def chapters() -> list[Path]:
    return sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def requirements() -> dict[str, Version]:
    """Package name, normalized, -> version pinned in requirements.txt."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    for pin in pins:
        assert [clause.operator for clause in pin.specifier] == ["=="], f"{pin} is no exact pin"
    return {normalized(pin.name): Version(next(iter(pin.specifier)).version) for pin in pins}


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_tree_is_small() -> None:
    sizes = {path: path.stat().st_size for path in tracked()}
    assert sizes
    assert sum(sizes.values()) < 30_000_000
    large = {path.relative_to(ROOT).as_posix(): s for path, s in sizes.items() if s > 2 * MEGABYTE}
    assert large == {}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_names(what: str) -> None:
    found = []
    for path in tracked():
        content = path.read_bytes()
        if b"\0" in content:  # parquet, PNG
            continue
        for number, line in enumerate(content.decode().splitlines(), 1):
            if match := FORBIDDEN[what].search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {match.group()}")
    assert found == []


@pytest.mark.parametrize("line", ["cd /home" + "/ann/book", "x = '/root" + "/data'"])
def test_machine_paths_are_recognized(line: str) -> None:
    assert FORBIDDEN["an absolute path of one machine"].search(line)


@pytest.mark.parametrize("line", ["a/home/b", "https://example.com/home/x", "$HOME/data", "/tmp/x"])
def test_other_paths_are_not(line: str) -> None:
    assert not FORBIDDEN["an absolute path of one machine"].search(line)


def test_every_page_of_the_table_of_contents_exists() -> None:
    toc = (ROOT / "book" / "_toc.yml").read_text()
    pages = re.findall(r"(?:root|file): (\S+)", toc)
    assert pages
    for page in pages:
        assert any((ROOT / f"{page}{suffix}").is_file() for suffix in (".md", ".ipynb")), page


def test_every_chapter_is_in_the_table_of_contents() -> None:
    toc = (ROOT / "book" / "_toc.yml").read_text()
    assert chapters()
    for chapter in chapters():
        assert f"file: notebooks/{chapter.stem}" in toc


@pytest.mark.parametrize("chapter", chapters(), ids=lambda path: path.stem)
def test_a_chapter_is_committed_executed_and_clean(chapter: Path) -> None:
    cells = json.loads(chapter.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code" and "".join(cell["source"])]
    assert code
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    for output in (output for cell in code for output in cell["outputs"]):
        assert output["output_type"] != "error"
        assert output.get("name") != "stderr"


def test_the_pins_are_within_the_ranges_of_the_package() -> None:
    pins = requirements()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = dict(project["optional-dependencies"])
    # Nothing that is built or tested here needs a cluster or Lightning; `all` names other extras.
    for left_out in ("lightning", "mpi", "slurm", "all"):
        del extras[left_out]
    ranges = [*project["dependencies"], *(item for extra in extras.values() for item in extra)]
    for requirement in map(Requirement, ranges):
        name = normalized(requirement.name)
        assert name in pins, f"{name} is not pinned"
        assert requirement.specifier.contains(pins[name]), f"{name} {pins[name]}: {requirement}"
    assert pins["torch"].local is None


def test_the_pins_can_be_installed_by_the_oldest_python_that_is_asked_for() -> None:
    """A new Debian 12 has Python 3.11.2: a pin for 3.11.5 or newer, and nothing is installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = Version(project["requires-python"].removeprefix(">="))
    pins = requirements()
    asked = {
        name: SpecifierSet(found.metadata.get("Requires-Python", ""))
        for found in distributions()
        if str(pins.get(name := normalized(found.name))) == found.version.partition("+")[0]
    }
    assert len(asked) > 0.9 * len(pins)
    assert {name: str(range) for name, range in asked.items() if oldest not in range} == {}


def test_the_citation_is_complete_and_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "license", "version"} <= citation.keys()
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == initscope.__version__
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == initscope.__version__
    assert set(citation["license"]) == {"MIT", "CC-BY-4.0"}
    assert any("2510.09423" in source["doi"] for source in citation["references"])


def test_what_accepts_a_change_installs_what_the_readme_says() -> None:
    """By the very lines of README.md, which it reads: no list of its own could differ."""
    (line,) = re.findall(r"^apt-get install .*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    packages = {word for word in line.split()[2:] if not word.startswith("-")}
    assert packages == {
        "git",
        "make",
        "nodejs",
        "node-typescript",
        "chromium-headless-shell",
        "libatomic1",
        "python3-venv",
    }
    script = (ROOT / ".ci" / "run").read_text()
    assert "grep '^apt-get ' README.md" in script
    assert not re.search(r"apt-get\s+\w+ ", script.replace("grep '^apt-get ' README.md", ""))


def test_both_licenses_are_stated() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "MIT License" in text
    assert "https://creativecommons.org/licenses/by/4.0/legalcode" in text
