"""On a machine with nothing but Python: what needs a browser is skipped, in one line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def run(tmp_path: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run some tests where no program is found, neither a browser nor Node.js."""
    nothing = {"PATH": str(tmp_path), "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path)}
    kept = {k: v for k, v in os.environ.items() if k not in ("CI", "INITSCOPE_BROWSER")}
    tests = [str(TESTS / name) for name in ("book/test_loader.py", "widgets/test_lib.py")]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *tests, *options],
        cwd=TESTS.parent,
        env=kept | nothing | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("driver", ["", "false"], ids=["starts", "does not start"])
def test_one_line_says_what_was_skipped(tmp_path: Path, driver: str) -> None:
    broken = {"PLAYWRIGHT_NODEJS_PATH": str(shutil.which(driver))} if driver else {}
    # In processes of their own, as `make test` runs them.
    done = run(tmp_path, "-n", "1", **broken)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if "Chromium" in line or "Node.js" in line]
    assert len(lines) == 1, done.stdout
    skipped = re.fullmatch(
        r"Skipped: (\d+) need Chromium, (\d+) need Node.js. README.md says how to install them.",
        lines[0],
    )
    assert skipped is not None
    assert int(skipped[1]) > 10
    assert int(skipped[2]) > 10
    assert "warning" not in done.stdout


def test_where_all_has_to_be_tested_it_fails(tmp_path: Path) -> None:
    one = "test_a_page_without_widgets_is_left_as_it_is"
    done = run(tmp_path, "-k", one, INITSCOPE_BROWSER="required")
    assert done.returncode == 1
    assert "No Chromium found" in done.stdout


def test_a_driver_that_does_not_start_is_named_where_it_has_to(tmp_path: Path) -> None:
    """As Playwright's does where a library of the system is missing."""
    driver = tmp_path / "driver"
    driver.write_text(
        "#!/bin/sh\necho libatomic.so.1: cannot open shared object file >&2\nexit 127\n"
    )
    driver.chmod(0o755)
    one = "test_a_page_without_widgets_is_left_as_it_is"
    there = {"INITSCOPE_BROWSER": "required", "PLAYWRIGHT_NODEJS_PATH": str(driver)}
    done = run(tmp_path, "-k", one, **there)
    assert done.returncode == 1
    assert "its driver says libatomic.so.1: cannot open shared object file" in done.stdout
