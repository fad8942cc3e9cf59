"""`initscope show`: a recorded run in the terminal, as a page, beside another, while it goes on."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from playwright.sync_api import Browser
from torch import nn

from initscope.analysis import compared_runs, run_summary
from initscope.cli import main
from initscope.errors import UsageError
from initscope.models import MLP, gpt2
from initscope.tracking import VarianceTracker, read_variances
from initscope.widgets.page import page

SIZES = {"n_layer": 2, "n_embd": 16, "n_head": 2, "n_positions": 8, "vocab_size": 32}


def record(folder: Path, rate: float, *, end: bool = True) -> VarianceTracker:
    """The record of a small GPT-2; what it keeps open if it is not to end."""
    torch.manual_seed(0)
    model = gpt2("nano12", **SIZES)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    tracker = VarianceTracker(model, optimizer, every=2, distribution_every=4, out_folder=folder)
    tracker.__enter__()
    for _ in range(8):
        optimizer.zero_grad()
        model(torch.arange(8)[None]).logits.square().mean().backward()
        optimizer.step()
    if end:
        tracker.__exit__(None, None, None)
    else:
        tracker.flush()
    return tracker


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    record(folder / "slow", 1e-3)
    record(folder / "fast", 1e-2)
    return folder


@pytest.fixture(autouse=True)
def _there(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)


def columns(out: str, role: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines() if line.startswith(f"  {role} ")]


def test_a_run_is_a_line_a_role(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "fast"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("fast: step 8, ended\n")
    table = run_summary(read_variances("fast"))
    ((_, layers, start, end, growth, *_),) = columns(out, "mlp_out")
    row = table.loc["mlp_out"]
    assert (layers, float(start), float(end)) == ("2", *(float(f"{row[n]:.3g}") for n in (
        "std_start", "std_end"
    )))  # fmt: skip
    assert float(growth) == pytest.approx(row["growth"], rel=0.01)
    assert len(columns(out, "q")) == 1
    names, more = out.splitlines()[1:3]
    assert (names.split(), more.split()[:3]) == (
        ["std", "at", "std", "layers", "rotation", "gradient"], ["role", "layers", "start"]
    )  # fmt: skip
    assert max(map(len, out.splitlines())) <= 80


def test_the_summary_is_that_of_the_rows() -> None:
    variances = read_variances("fast")
    rows = variances.query("role == 'v' and kind == 'weight' and stat == 'std'")
    first, last = (rows[rows["step"] == step]["value"].to_numpy() for step in (0, 8))
    row = run_summary(variances).loc["v"]
    assert row["std_end"] == pytest.approx(np.median(last))
    assert row["growth"] == pytest.approx(np.median(last / first))
    assert row["spread"] == pytest.approx(last.max() / last.min())
    turned = variances.query("role == 'v' and stat == 'rotation' and step == 8")["value"]
    assert row["rotation"] == pytest.approx(turned.median())


def test_two_runs_are_compared_at_a_step_of_both(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "slow", "fast"]) == 0
    out = capsys.readouterr().out
    assert "median std at step 8, the second over the first:" in out
    slow, fast = read_variances("slow"), read_variances("fast")
    table = compared_runs(slow, fast)
    assert float(columns(out, "q")[-1][3]) == pytest.approx(table.loc["q", "ratio"], rel=0.01)
    assert table.loc["q", "ratio"] > 1.1
    earlier = compared_runs(slow[slow["step"] <= 4], fast)
    assert earlier.attrs["step"] == 4
    with pytest.raises(UsageError, match="no recorded step in common"):
        compared_runs(slow.assign(step=slow["step"] + 1), fast)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "there is no folder none"),
        (["slow", "fast", "slow"], "one folder, or two"),
        (["slow", "slow"], "with another one"),
        (["."], "nothing was recorded there"),
        (["slow", "--html", "fast"], "is a folder: name a file"),
        (["slow", "--html", "none/a.html"], "in a folder that is not there"),
    ],
)
def test_what_cannot_be_shown_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


def test_a_run_under_way_is_followed_to_its_end(tmp_path: Path) -> None:
    tracker = record(tmp_path / "going", 1e-3, end=False)
    command = [sys.executable, "-m", "initscope", "show", str(tmp_path / "going"), "--live",
               "--every", "0.2", "--html", str(tmp_path / "page.html")]  # fmt: skip
    shown = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert shown.stdout is not None
    try:
        assert "step 8, running" in shown.stdout.readline()
        deadline = time.monotonic() + 60
        while not (tmp_path / "page.html").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert 'http-equiv="refresh"' in (tmp_path / "page.html").read_text()
        assert shown.poll() is None
        tracker.__exit__(None, None, None)
        assert shown.wait(120) == 0
        assert "step 8, ended" in shown.stdout.read()
        assert 'http-equiv="refresh"' not in (tmp_path / "page.html").read_text()
    finally:
        shown.kill()
        shown.stdout.close()


def test_a_model_without_attention_has_a_page_too(tmp_path: Path) -> None:
    model = MLP([4, 3, 2])
    with VarianceTracker(model, quantities=["weight"], out_folder=tmp_path / "mlp") as tracker:
        nn.init.ones_(model[0].weight)
        tracker.after_optimizer_step()
    assert main(["show", str(tmp_path / "mlp"), "--html", str(tmp_path / "mlp.html")]) == 0
    assert "ins-widget" in (tmp_path / "mlp.html").read_text()


@pytest.mark.browser
def test_the_page_lives_without_a_network(tmp_path: Path, browser: Browser) -> None:
    assert main(["show", "slow", "fast", "--html", str(tmp_path / "page.html")]) == 0
    text = (tmp_path / "page.html").read_text()
    assert 'src="' not in text
    context = browser.new_context(offline=True, viewport={"width": 390, "height": 900})
    found = context.new_page()
    errors: list[str] = []
    found.on("pageerror", lambda error: errors.append(str(error)))
    found.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    found.goto((tmp_path / "page.html").as_uri())
    found.wait_for_selector("html[data-widgets=ready] .ins-widget svg", timeout=60_000)
    message = found.locator(".ins-message")
    before = message.inner_text()
    assert before
    found.locator("select").first.select_option("fast")
    found.wait_for_timeout(500)
    assert message.inner_text() != before
    assert found.locator("h2").all_inner_texts() == [
        "slow: step 8, ended",
        "fast: step 8, ended",
        "median std at step 8, the second over the first",
    ]  # fmt: skip
    assert found.evaluate("document.documentElement.scrollWidth") <= 390
    assert errors == []
    context.close()


def test_only_a_widget_has_a_page() -> None:
    with pytest.raises(UsageError, match="widget must be a widget"):
        page(pd.DataFrame(), "none")  # type: ignore[arg-type]
