"""A browser, a JavaScript engine, and processes that start at once, for the tests that need them.

Without a browser or an engine, those tests are skipped, and one line at the end says so; they fail
if ``INITSCOPE_BROWSER=required``.
"""

from __future__ import annotations

import gc
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
from book_pages import address, look, site, visit  # noqa: F401
from hypothesis import settings
from live_kernel import kernel, running_kernel  # noqa: F401
from playwright.sync_api import Browser, sync_playwright
from widget_page import open_page  # noqa: F401

settings.register_profile("without a clock", deadline=None)  # a busy machine is no failure
settings.load_profile("without a clock")

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # no other host is reached
]

NEEDED = ("Chromium", "Node.js")

# One test of these can take as long as hundreds of others.
LONG = (
    "test_notebooks.py",
    "test_executors.py",
    "test_pretrain.py",
    "test_damage.py",
)

SCRIPTS = Path(__file__).resolve().parents[1] / "src" / "initscope" / "widgets"

# One engine answers all calls, a line each: to start takes it longer than most calls take.
ANSWER_CALLS = """
    import { createInterface } from "node:readline";
    const plain = (key, value) => ArrayBuffer.isView(value) ? [...value]
        : typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
    const answer = async ([module, name, given]) => {
        try {
            return { result: (await (await import(module))[name](...given)) ?? null };
        } catch (error) {
            return { error: String(error?.stack ?? error) };
        }
    };
    for await (const line of createInterface({ input: process.stdin })) {
        console.log(JSON.stringify(await answer(JSON.parse(line)), plain));
    }
"""


def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores: a test that waits for a browser leaves one idle."""
    return (os.cpu_count() or 1) + 1


def pytest_configure() -> None:
    """Imports make millions of objects and no garbage: do not look for any while they go on."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Leave out of every later search for garbage what the imports have made.

    A search through torch, transformers and all takes half a second, and Trainer asks for one
    every time it trains: a tenth of the time of all tests.
    """
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes long first: begun last, it would run alone while the other cores wait."""
    items.sort(key=lambda item: item.path.name not in LONG)


def missing(message: str) -> None:
    """Skip what cannot be tested here, or fail where everything has to be."""
    if os.environ.get("INITSCOPE_BROWSER") == "required":
        pytest.fail(message)
    pytest.skip(message)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line what could not be tested for want of a browser or an engine."""
    reasons = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    counts = {what: sum(f"No {what} found" in why for why in reasons) for what in NEEDED}
    lacking = [f"{count} need {what}" for what, count in counts.items() if count]
    if lacking:
        terminalreporter.write_line(
            f"Skipped: {', '.join(lacking)}. README.md says how to install them."
        )


def chromium(bundled: str) -> str | None:
    """Path of a Chromium: the system's, or the one Playwright installed for itself."""
    # The headless shell comes first: it has no windows, and a page costs it two thirds of the time.
    names = ("chromium-headless-shell", "chromium", "chromium-browser")
    names += ("google-chrome-stable", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    return found or (bundled if Path(bundled).exists() else None)


@cache
def why_not_driven() -> str:
    """What Playwright's driver says instead of starting; empty if it starts.

    On a machine with little installed it may lack a library.
    """
    asked = [sys.executable, "-m", "playwright", "--version"]
    done = subprocess.run(asked, capture_output=True, text=True)
    return "" if done.returncode == 0 else (done.stderr.strip() or "nothing").splitlines()[-1]


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Let the programs that a test starts hear Ctrl-C.

    Where the tests run in the background of a script, SIGINT is ignored, and programs inherit that.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, closed with this module: Playwright's event loop would disturb other tests."""
    if why := why_not_driven():
        missing(f"No Chromium found that Playwright can drive: its driver says {why}")
    with sync_playwright() as playwright:
        path = chromium(playwright.chromium.executable_path)
        if path is None:
            missing("No Chromium found")
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def node() -> Iterator[Callable[..., Any]]:
    """Call a function of one of the widgets' modules: ``node("lib/format.mjs", "short", 0.5)``.

    Arguments go as JSON, and the result comes back as JSON; typed arrays come as lists, numbers
    that are not finite as the texts "NaN", "Infinity" and "-Infinity".
    """
    path = shutil.which("node")
    if path is None:
        missing("No Node.js found")
    engine = subprocess.Popen(
        [str(path), "--input-type=module", "--eval", ANSWER_CALLS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert engine.stdin is not None
    assert engine.stdout is not None
    calls = itertools.count()

    def call(module: str | Path, function: str, *arguments: object) -> Any:
        # With a query of its own the module is read anew: a test may have written another text.
        url = f"{(SCRIPTS / module).as_uri()}?{next(calls)}"
        print(json.dumps([url, function, arguments]), file=engine.stdin, flush=True)
        answer = engine.stdout.readline()
        assert answer, f"Node.js stopped with exit status {engine.wait()}"
        answer = json.loads(answer)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    yield call
    engine.stdin.close()
    engine.wait()
    engine.stdout.close()


@pytest.fixture(scope="module")
def server() -> multiprocessing.context.BaseContext:
    """Processes that start within milliseconds, torch, transformers and all already imported."""
    from initscope.sweep.executors import IMPORTED_ONCE  # imports torch

    if "forkserver" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system has no forkserver")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [*IMPORTED_ONCE, "initscope.sweep", "initscope.pretrain.trainer"]
    )
    forkserver.ensure_running()  # before anyone else has other imports in mind for it
    return context
