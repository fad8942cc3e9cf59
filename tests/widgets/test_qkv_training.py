"""Q, K and V through training: the record, the mathematics, the widget in browser and kernel."""

from __future__ import annotations

import contextlib
import gzip
import importlib.util
import io
import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import traitlets
from axe_playwright_python.sync_playwright import Axe
from hypothesis import given, settings
from hypothesis import strategies as st
from live_kernel import LiveKernel
from playwright.sync_api import Browser, Page, Route

from initscope.errors import UsageError
from initscope.theory import adamw_variance_trajectory
from initscope.widgets import QKVTraining
from initscope.widgets.bundle import STATIC
from initscope.widgets.qkv_training import COLUMNS, HISTOGRAM_COLUMNS, _short, adamw_prediction

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from widget_page import ROOT, widget_page

MATH = "qkv_training_math.mjs"
FOLDER = ROOT / "notebooks" / "results" / "07_gpt2_qkv_dynamics"
CONTROLS = ("step", "role", "layer", "quantity", "show_prediction")


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return pd.read_parquet(FOLDER / "weights.parquet")


@pytest.fixture
def widget() -> QKVTraining:
    return QKVTraining.from_folder(FOLDER)


def small(values: Any, roles: str = "q") -> pd.DataFrame:
    """A frame of the std in `values`, of shape (layers, steps), the same for all roles."""
    rows = [
        (10 * step, layer, role, "weight", "std", value)
        for layer, row in enumerate(values, start=1)
        for step, value in enumerate(row)
        for role in roles
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def curves(frame: pd.DataFrame) -> pd.DataFrame:
    """A row for each layer, a column for each step."""
    return frame.pivot(index="layer", columns="step", values="value")  # noqa: PD010


def random_settings(widget: QKVTraining, n: int, seed: int) -> list[dict[str, Any]]:
    draw = np.random.default_rng(seed)
    record = widget.record
    return [
        {
            "step": int(draw.choice(record["steps"])),
            "role": str(draw.choice(record["roles"])),
            "layer": int(draw.choice(record["layers"])),
            "quantity": str(draw.choice(["std", "ratio"])),
            "show_prediction": bool(draw.random() < 0.75),
        }
        for _ in range(n)
    ]


def configure(widget: QKVTraining, chosen: dict[str, Any]) -> QKVTraining:
    for name, value in chosen.items():
        setattr(widget, name, value)
    return widget


# The record


def test_the_record_is_of_the_settings_of_its_script(frame: pd.DataFrame) -> None:
    import pyarrow.parquet as pq

    spec = importlib.util.spec_from_file_location("record", FOLDER / "record.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    training = pd.read_parquet(FOLDER / "training.parquet")
    for name in ("weights", "histograms", "training"):
        metadata = json.loads(pq.read_schema(FOLDER / f"{name}.parquet").metadata[b"initscope"])
        assert metadata["settings"] == script.SETTINGS
        assert {"torch", "device", "machine"} <= metadata["environment"].keys()
        assert metadata["seconds"] > 0
    steps = script.SETTINGS["steps"]
    assert training.step.tolist() == list(range(1, steps + 1))
    rates = [script.learning_rate(step) for step in training.step]
    np.testing.assert_allclose(training.lr, rates, rtol=1e-6)
    assert training.loss[-100:].mean() < training.loss[:10].mean() - 1
    every = script.SETTINGS["record_every"]
    assert sorted(set(frame.step)) == list(range(0, steps + 1, every))
    assert sum(path.stat().st_size for path in FOLDER.glob("*.parquet")) < 300_000


def test_the_record_starts_as_gpt2_is_initialized(frame: pd.DataFrame) -> None:
    """The script's own way of splitting, and what initialize_ says that it gave."""
    from initscope.init import initialize_
    from initscope.models import gpt2

    model = gpt2("nano12")
    given = initialize_(model, "gpt2", generator=torch.Generator().manual_seed(0))
    start = frame[(frame.step == 0) & (frame.stat == "std")].set_index(["layer", "role"]).value
    width = model.config.n_embd
    for layer, block in enumerate(model.transformer.h, start=1):
        for k, role in enumerate("qkv"):
            part = block.attn.c_attn.weight[:, k * width : (k + 1) * width]
            assert start[layer, role] == pytest.approx(part.std(correction=0).item(), rel=1e-5)
        name = f"transformer.h.{layer - 1}.mlp.c_proj.weight"
        assert start[layer, "mlp_proj"] == pytest.approx(given[name], rel=0.03)


# Python


def test_predictions_are_those_of_the_theory() -> None:
    lr = np.linspace(1e-3, 1e-4, 20)
    frame = small([[0.02, 0.03, 0.04], [0.05, 0.05, 0.05]])
    predicted = adamw_prediction(frame, lr, 0.1, (0.9, 0.95))
    assert list(predicted.columns) == list(COLUMNS)
    table = curves(predicted)
    theory = np.sqrt(adamw_variance_trajectory([0.02, 0.05], lr, 0.1, (0.9, 0.95)))
    np.testing.assert_allclose(table, np.column_stack([[0.02, 0.05], theory[:, [9, 19]]]))
    with pytest.raises(UsageError, match="lr holds 5 steps, but the run was recorded over 20"):
        adamw_prediction(frame, lr[:5], 0.1, (0.9, 0.95))


def test_prediction_follows_torchs_optimizer() -> None:
    """Weights driven by noise, as the theory assumes: within the 2.5% that it states."""
    generator = torch.Generator().manual_seed(1)
    weight = torch.nn.Parameter(0.02 * torch.randn(200, 200, generator=generator))
    optimizer = torch.optim.AdamW([weight], betas=(0.9, 0.95), weight_decay=0.1)
    lr = 1e-3 * np.minimum(1, np.arange(1, 201) / 50)
    std = [weight.std(correction=0).item()]
    for step, rate in enumerate(lr, start=1):
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = torch.randn(weight.shape, generator=generator)
        optimizer.step()
        if step % 100 == 0:
            std.append(weight.std(correction=0).item())
    rows = [(100 * k, 1, "q", "weight", "std", value) for k, value in enumerate(std)]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    widget = QKVTraining.from_record(
        frame, predictions=adamw_prediction(frame, lr, 0.1, (0.9, 0.95)), roles=["q"]
    )
    assert std[-1] > 1.05 * std[0]
    assert widget.summary()["off"] < 0.025


def test_the_discrepancy_is_the_mean_over_the_layers(
    widget: QKVTraining, frame: pd.DataFrame
) -> None:
    training = pd.read_parquet(FOLDER / "training.parquet")
    rows = frame[(frame.kind == "weight") & (frame.stat == "std")]
    for role in "qkv":
        std = curves(rows[rows.role == role])
        theory = np.sqrt(adamw_variance_trajectory(std[0], training.lr, 0.1, (0.9, 0.95)))
        widget.role = role
        expected = np.mean(np.abs(std.to_numpy()[:, -1] / theory[:, -1] - 1))
        assert widget.summary()["off_at_end"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "step",
            7,
            r"step must be one of the 121 recorded steps, 0 to 1200; the nearest is 10, not",
        ),
        ("step", "late", "step"),
        ("layer", 13, "layer must be a recorded layer, 1 to 12, not 13"),
        ("role", "x", "role must be 'q' or 'k' or 'v', not 'x'"),
        ("quantity", "variance", "quantity must be 'std' or 'ratio'"),
        ("show_prediction", "yes", "show_prediction"),
    ],
)
def test_what_was_not_recorded_cannot_be_set(
    widget: QKVTraining, name: str, value: object, message: str
) -> None:
    before = getattr(widget, name)
    with pytest.raises(traitlets.TraitError, match=message):
        setattr(widget, name, value)
    assert getattr(widget, name) == before
    with pytest.raises(traitlets.TraitError, match=message):
        QKVTraining.from_folder(FOLDER, **{name: value})


def test_frames_that_hold_no_record_are_refused() -> None:
    frame = small([[0.02, 0.03]], "qkv")
    with pytest.raises(UsageError, match="frame has no column stat"):
        QKVTraining.from_record(frame.drop(columns="stat"))
    with pytest.raises(UsageError, match="no row with kind 'weight' and stat 'std'"):
        QKVTraining.from_record(frame.assign(stat="mean"))
    with pytest.raises(UsageError, match="two rows for one step, layer and role"):
        QKVTraining.from_record(pd.concat([frame, frame]))
    with pytest.raises(UsageError, match="unknown role 'mlp_fc'"):
        QKVTraining.from_record(frame, roles=["q", "mlp_fc"])
    with pytest.raises(UsageError, match="roles must be a list"):
        QKVTraining.from_record(frame, roles="qkv")
    counted = pd.DataFrame([(5, 1, "q", -1.0, 1.0, [1, 2])], columns=list(HISTOGRAM_COLUMNS))
    with pytest.raises(UsageError, match=r"std was not recorded: \[5\]"):
        QKVTraining.from_record(frame, counted)
    with pytest.raises(UsageError, match="histograms has no column low"):
        QKVTraining.from_record(frame, counted.drop(columns="low"))
    with pytest.raises(UsageError, match="from_record"):
        QKVTraining()


def test_the_figure_shows_what_the_settings_say(widget: QKVTraining) -> None:
    configure(widget, {"step": 800, "role": "k", "layer": 3, "quantity": "ratio"})
    over, across, counted = widget.figure().axes
    bold = max(over.lines, key=lambda line: line.get_linewidth())
    row = np.array(widget.record["std"]["k"][2])
    np.testing.assert_allclose(bold.get_ydata(), row / row[0])
    assert len(over.lines) == 12 + 1 + 1  # layers, prediction, step
    assert len(across.lines) == 3 + 1
    assert counted.get_title() == "K of layer 3 at step 800"
    widget.show_prediction = False
    assert [len(axes.lines) for axes in widget.figure().axes[:2]] == [12 + 1, 3]


# JavaScript against Python


Ask = Callable[..., Any]


@pytest.fixture
def ask(node: Callable[..., Any], tmp_path: Path) -> Ask:
    """Call a function of the mathematics with a widget's record and settings: ``ask(name, w)``."""

    def call(function: str, widget: QKVTraining) -> Any:
        # By way of a file, for the record is longer than an argument of a program may be.
        (tmp_path / "record.json").write_text(json.dumps(widget.record, allow_nan=False))
        module = tmp_path / "module.mjs"
        module.write_text(
            'import { readFileSync } from "node:fs";\n'
            f'import {{ decode, {function} }} from "{(STATIC / MATH).as_uri()}";\n'
            'const record = readFileSync(new URL("record.json", import.meta.url));\n'
            f"export const ask = (settings) => {function}(decode(JSON.parse(record)), settings);\n"
        )
        return node(module, "ask", {name: getattr(widget, name) for name in CONTROLS})

    return call


def compare(ask: Ask, widget: QKVTraining) -> None:
    """Numbers to 1e-4 and the sentence to the letter."""
    ours, theirs = widget.summary(), ask("summary", widget)
    for mine, name in (
        ("growth", "growth"),
        ("spread", "spread"),
        ("spread_at_start", "spreadAtStart"),
        ("measured", "measured"),
        ("predicted", "predicted"),
        ("off", "off"),
        ("off_at_end", "offAtEnd"),
    ):
        assert float(theirs[name]) == pytest.approx(ours[mine], rel=1e-4, nan_ok=True), name
    for end in ("low", "high"):
        their = (theirs[end], theirs[f"{end}Layer"]) if end in theirs else None
        assert their == (ours[end] and pytest.approx(ours[end], rel=1e-4))
    assert theirs["missing"] == ours["missing"]
    assert ask("sentence", widget) == widget.message


@pytest.mark.parametrize("seed", range(12))
def test_javascript_says_what_python_says(ask: Ask, widget: QKVTraining, seed: int) -> None:
    compare(ask, configure(widget, random_settings(widget, 1, seed)[0]))


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    "values",
    [
        [[0.02]],
        [[0.02, 0.05]],
        [[0.02, NAN], [0.02, 0.03]],
        [[0.02, INF], [0.03, NAN]],
        [[NAN, 0.03], [0.02, 0.03]],
        [[0.0, 0.03], [0.02, 0.03]],
        [[1e-30, 1e3], [1e-30, 1e30]],
        [[0.02, 0.02], [0.02, 0.02]],
    ],
)
@pytest.mark.parametrize("quantity", ["std", "ratio"])
def test_unlikely_records(ask: Ask, values: list, quantity: str) -> None:
    frame = small(values)
    lr = np.full(10 * len(values[0]), 1e-3)
    widget = QKVTraining.from_record(
        frame,
        predictions=adamw_prediction(frame, lr, 0.1, (0.9, 0.95)),
        roles=["q"],
        quantity=quantity,
    )
    widget.figure().canvas.draw()
    for step in widget.record["steps"]:
        widget.step = step
        compare(ask, widget)


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-12, 1e12), st.integers(1, 6))
def test_numbers_as_text_hold_their_digits(value: float, digits: int) -> None:
    text = _short(value, digits).replace(",", "")
    assert float(text) == pytest.approx(value, rel=0.51 * 10 ** (1 - digits))


def test_histograms_are_densities_of_the_recorded_std(
    ask: Ask, node: Callable[..., Any], widget: QKVTraining
) -> None:
    for chosen in random_settings(widget, 4, 5):
        shown = ask("histogram", configure(widget, chosen))
        edges, density = np.array(shown["edges"]), np.array(shown["density"])
        assert (density * np.diff(edges)).sum() == pytest.approx(1)
        middle = (edges[1:] + edges[:-1]) / 2
        measured = math.sqrt((density * np.diff(edges) * middle**2).sum())
        assert measured == pytest.approx(shown["std"], rel=0.03)
        x = np.linspace(-0.1, 0.1, 5)
        normal = torch.distributions.Normal(0.0, shown["std"]).log_prob(torch.tensor(x)).exp()
        np.testing.assert_allclose(
            node(MATH, "normalDensity", x.tolist(), shown["std"]), normal, rtol=1e-4
        )


def test_the_python_shown_makes_the_same_point(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "notebooks")
    widget = QKVTraining.from_folder(Path("results/07_gpt2_qkv_dynamics"))
    cases = random_settings(widget, 4, 2)
    cases += [{**cases[0], "step": 0, "show_prediction": True}]
    for chosen in cases:
        configure(widget, chosen)
        check_printed(run(ask("python", widget), {}), widget)


def test_the_python_shown_for_a_run_of_your_own(ask: Ask) -> None:
    frame = small([[0.02, 0.03], [0.02, 0.05]], "qkv")
    predictions = adamw_prediction(frame, np.full(10, 1e-3), 0.1, (0.9, 0.95))
    widget = QKVTraining.from_record(frame, predictions=predictions)
    code = ask("python", widget)
    check_printed(run(code, {"frame": frame, "predictions": predictions}), widget)


def run(code: str, names: dict[str, Any]) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, names)
    return printed.getvalue()


def check_printed(printed: str, widget: QKVTraining) -> None:
    """Compare the printed lines with the widget's numbers."""

    def numbers(start: str) -> list[float]:
        line = next(line for line in printed.splitlines() if line.startswith(start))
        return [
            float(n) for n in re.findall(r"(?<![\w.])-?[\d.]+(?:e[+-]\d+)?", line[len(start) :])
        ]

    quantity, widget.quantity = widget.quantity, "std"
    ours = widget.summary()
    assert numbers("smallest std:") == pytest.approx(ours["low"], rel=1e-4)
    assert numbers("largest std:") == pytest.approx(ours["high"], rel=1e-4)
    assert numbers("growth:") == pytest.approx([ours["growth"]], rel=1e-4)
    expected = [ours["spread"], ours["spread_at_start"]]
    assert numbers("largest over smallest:") == pytest.approx(expected, rel=1e-4)
    assert ("AdamW" in printed) == widget.show_prediction
    if widget.show_prediction:
        layer, *values = numbers("layer ")
        assert layer == widget.layer
        assert values == pytest.approx([ours["measured"], ours["predicted"]], rel=1e-4)
        off = [value / 100 for value in numbers("AdamW theory is off by ")]
        assert off == pytest.approx([ours["off"], ours["off_at_end"]], rel=1e-4, abs=1e-5)
    widget.quantity = quantity


# A live kernel


def test_a_live_kernel_hears_the_slider(kernel: LiveKernel) -> None:
    """What the front end of a notebook sends arrives at ``observe``."""
    kernel.run(
        "from initscope.widgets import QKVTraining\n"
        "w = QKVTraining.from_folder('results/07_gpt2_qkv_dynamics')\n"
        "seen = []\n"
        "w.observe(lambda change: seen.append((change.old, change.new)), 'step')"
    )
    for state in ({"step": 400}, {"step": 7}):
        kernel.send("w", state)
    assert "400 [(1200, 400)]" in kernel.run("w.layer = 2\nprint(w.step, seen)")
    refused = kernel.run("try:\n    w.step = 7\nexcept Exception as error:\n    print(error)")
    assert "step must be one of the 121 recorded steps" in refused


# The browser


Open = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Open a page of widgets; what it reports and asks of others fails the test."""
    complaints: list[str] = []
    contexts = []

    def open_page(
        widgets: list, query: str = "", dark: bool = False, width: int = 900, **options: Any
    ) -> Page:
        path = tmp_path / "page.html"
        path.write_text(widget_page(widgets, dark=dark))
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)

        def only_this_page(route: Route) -> None:
            if route.request.url.startswith(("file:", "blob:", "data:")):
                route.continue_()
            else:
                complaints.append(f"asks for {route.request.url}")
                route.abort()

        context.route("**/*", only_this_page)
        page = context.new_page()
        page.on(
            "console",
            lambda message: (
                complaints.append(message.text) if message.type in ("error", "warning") else None
            ),
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path.as_uri() + query)
        page.wait_for_selector("html[data-widgets=ready]", state="attached")
        page.wait_for_function(
            "[...document.querySelectorAll('.ins-message')].every((p) => p.textContent)"
        )
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def frames(page: Page) -> None:
    """Let the widget draw."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def sentence(page: Page) -> str:
    frames(page)
    return page.locator(".ins-message").first.inner_text()


def set_controls(page: Page, widget: QKVTraining, chosen: dict[str, Any]) -> None:
    for name, label in (("step", "Step"), ("layer", "Layer")):
        position = widget.record[f"{name}s"].index(chosen[name])
        page.get_by_role("slider", name=label).fill(str(position))
    page.get_by_label("Matrix").select_option(chosen["role"])
    page.get_by_label("Quantity").select_option(chosen["quantity"])
    page.get_by_label("AdamW prediction").set_checked(chosen["show_prediction"])


@pytest.mark.browser
def test_the_page_shows_pythons_numbers(visit: Open, widget: QKVTraining) -> None:
    page = visit([widget])
    assert sentence(page) == widget.message
    pictures = set()
    for chosen in random_settings(widget, 10, 0):
        set_controls(page, widget, chosen)
        assert sentence(page) == configure(widget, chosen).message
        pictures.add(page.locator(".ins-view").inner_html())
    assert len(pictures) == 10


@pytest.mark.browser
def test_mouse_keyboard_and_touch(visit: Open, widget: QKVTraining) -> None:
    page = visit([widget])
    step = page.get_by_role("slider", name="Step")
    step.focus()
    page.keyboard.press("Home")
    assert sentence(page).startswith("Step 0:")
    page.keyboard.press("ArrowRight")
    assert sentence(page).startswith("Step 10:")
    assert step.get_attribute("aria-valuetext") == "10 of 1,200"

    over, profile, _ = page.locator(".ins-chart").all()
    box = over.bounding_box()
    over.hover(position={"x": 400, "y": 100})
    page.mouse.down()
    first = sentence(page)
    page.mouse.move(box["x"] + 600, box["y"] + 100)
    page.mouse.up()
    assert not first.startswith("Step 10:")
    assert sentence(page) != first
    before = page.get_by_role("slider", name="Layer").input_value()
    profile.click(position={"x": 80, "y": 100})
    frames(page)
    assert before != page.get_by_role("slider", name="Layer").input_value() == "0"

    phone = visit([widget], width=390, has_touch=True)
    chart = phone.locator(".ins-chart").first
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    phone.touchscreen.tap(box["x"] + 120, box["y"] + 100)
    assert not sentence(phone).startswith("Step 1,200")


@pytest.mark.browser
def test_play_runs_through_the_steps_and_can_be_paused(visit: Open, widget: QKVTraining) -> None:
    page = visit([widget])
    page.get_by_role("button", name="Play").click()  # from the end on to the start
    page.wait_for_function(
        "/^Step (10|20|30|40):/.test(document.querySelector('.ins-message').textContent)"
    )
    assert page.locator(".ins-message").get_attribute("aria-live") == "off"
    page.get_by_role("button", name="Pause").click()
    stopped = sentence(page)
    page.wait_for_timeout(300)
    assert sentence(page) == stopped
    assert page.locator(".ins-message").get_attribute("aria-live") is None


@pytest.mark.browser
def test_nothing_moves_by_itself_where_less_motion_is_wanted(
    visit: Open, widget: QKVTraining
) -> None:
    page = visit([widget], reduced_motion="reduce")
    page.get_by_role("button", name="Next step").click()
    assert sentence(page).startswith("Step 0:")
    page.wait_for_timeout(300)
    assert sentence(page).startswith("Step 0:")


@pytest.mark.browser
def test_a_link_restores_what_was_seen(visit: Open, widget: QKVTraining) -> None:
    page = visit([widget])
    chosen = random_settings(widget, 1, 3)[0]
    set_controls(page, widget, chosen)
    seen = sentence(page)
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(); }")
    page.get_by_text("Copy link to this configuration").click()
    link = page.locator(".ins-address").input_value()
    again = visit([widget], "?" + link.split("?", 1)[1])
    assert sentence(again) == seen
    bad = visit([widget], "?QKVTraining.step=<b>&QKVTraining.role=xx&QKVTraining.layer=99&other=1")
    note = bad.locator(".ins-note").inner_text()
    assert "step=<b>" in note
    assert "role=xx" in note
    assert "(layer" in sentence(bad)


@pytest.mark.browser
def test_ten_copies_on_one_page(visit: Open, frame: pd.DataFrame) -> None:
    many = [QKVTraining.from_folder(FOLDER, layer=1 + k) for k in range(10)]
    page = visit(many, "?QKVTraining-3.step=400")
    frames(page)
    told = page.locator(".ins-message").all_inner_texts()
    many[2].step = 400
    assert told == [widget.message for widget in many]


@pytest.mark.browser
@pytest.mark.parametrize(
    "values", [[[0.02]], [[0.02, NAN], [1e3, INF]], [[0.0, 0.0]], [[1e-30, 1e30]]]
)
def test_extreme_records_on_a_page(visit: Open, values: list) -> None:
    page = visit([QKVTraining.from_record(small(values), roles=["q"])])
    assert page.get_by_label("AdamW prediction").is_disabled()
    for quantity in ("ratio", "std"):
        page.get_by_label("Quantity").select_option(quantity)
        assert "NaN" not in sentence(page)
    assert "NaN" not in page.locator(".ins-view").inner_html()


@pytest.mark.browser
def test_the_download_is_what_is_shown(visit: Open, widget: QKVTraining) -> None:
    page = visit([configure(widget, {"step": 400, "role": "v", "layer": 2})])
    with page.expect_download() as download:
        page.get_by_text("Download CSV").click()
    assert download.value.suggested_filename == "q-k-and-v-through-training.csv"
    table = pd.read_csv(download.value.path())
    assert list(table.columns) == list(COLUMNS)
    for name, stat in (("std", "std"), ("predicted", "predicted_std")):
        shown = curves(table[(table.role == "v") & (table.stat == stat)])
        np.testing.assert_allclose(shown, widget.record[name]["v"])
    others = table[(table.role == "q") & (table.stat == "std")]
    assert set(others.step) == {400}
    counts = table[table.stat.str.startswith("count")]
    index = widget.record["histograms"]["steps"].index(400)
    assert counts.value.tolist() == widget.record["histograms"]["bins"]["v"][1][index][2]


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
def test_the_widget_is_accessible(visit: Open, widget: QKVTraining, dark: bool) -> None:
    page = visit([widget], dark=dark)
    page.get_by_text("Show me the Python").click()
    found = Axe().run(page).response["violations"]
    assert [(v["id"], [n["html"][:120] for n in v["nodes"]]) for v in found] == []
    names = [chart.get_attribute("aria-label") for chart in page.locator(".ins-chart").all()]
    assert len(set(names)) == 3
    assert widget.message in names[0]


@pytest.mark.browser
def test_the_widget_fits_a_phone(visit: Open, widget: QKVTraining) -> None:
    page = visit([widget], width=390)
    page.get_by_text("Show me the Python").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_page_stays_small(widget: QKVTraining) -> None:
    assert len(gzip.compress(widget_page([widget]).encode(), 9)) < 150_000
    assert len(gzip.compress(json.dumps(widget.record).encode(), 9)) < 60_000
