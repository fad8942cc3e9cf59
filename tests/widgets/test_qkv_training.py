"""Q, K and V through training: the records, the mathematics, the widget in browser and kernel."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import traitlets
from playwright.sync_api import Page
from widget_cases.case import configure
from widget_cases.qkv_training import FOLDERS, PRECISION, random_settings, small_run
from widget_page import SENTENCES, Open, drawn, press, said

from initscope.errors import UsageError
from initscope.pretrain.records import PretrainRecord, read_record
from initscope.pretrain.spec import PretrainSpec
from initscope.theory import adamw_variance_trajectory
from initscope.tracking import COLUMNS, HISTOGRAM_COLUMNS
from initscope.widgets import QKVTraining
from initscope.widgets.bundle import SCRIPTS
from initscope.widgets.qkv_training.pretrained_runs import adamw_prediction
from initscope.widgets.qkv_training.runs import pack, unpack

MATH = "qkv_training/message.mjs"
CONTROLS = ("run", "step", "role", "layer", "quantity", "show_prediction")


@pytest.fixture(scope="module")
def records() -> dict[str, PretrainRecord]:
    return {label: read_record(folder) for label, folder in FOLDERS.items()}


@pytest.fixture(scope="module")
def made() -> QKVTraining:
    return QKVTraining.from_folders(FOLDERS)


@pytest.fixture
def widget(made: QKVTraining) -> QKVTraining:
    return QKVTraining(made.recorded, made.numbers)


def curves(frame: pd.DataFrame) -> pd.DataFrame:
    """A row for each layer, a column for each step."""
    return frame.pivot(index="layer", columns="step", values="value")  # noqa: PD010


def weight_std(record: PretrainRecord, role: str) -> pd.DataFrame:
    """A row for each layer, a column for each step."""
    rows = record.variances
    return curves(rows[(rows.kind == "weight") & (rows.stat == "std") & (rows.role == role)])


# The records


def test_what_is_shown_is_what_was_recorded(
    made: QKVTraining, records: dict[str, PretrainRecord]
) -> None:
    assert list(made.runs) == list(FOLDERS)
    for label, record in records.items():
        run = made.runs[label]
        assert len(run.steps) <= 61
        assert run.histogram_steps == [0, 1000, 2000, 3000]
        assert run.ending == ""
        for role in "qkv":
            std = weight_std(record, role)
            assert {run.steps[0], run.steps[-1]} == {0, max(std.columns)} == {0, 3000}
            shown = run.roles[role]
            assert shown.layers == list(std.index) == list(range(1, 13))
            np.testing.assert_allclose(shown.std, std[run.steps], rtol=PRECISION)
            rows = record.histograms.set_index(["step", "layer", "role"])
            for place in np.ndindex(shown.counts.shape[:2]):
                counted = rows.loc[(run.histogram_steps[place[1]], place[0] + 1, role)]
                pairs = np.reshape(counted.counts, (-1, 2)).sum(axis=1)
                np.testing.assert_array_equal(shown.counts[place], pairs)
                ends = [counted.low, counted.high]
                np.testing.assert_allclose(shown.edges[place], ends, rtol=3 * PRECISION)
    assert {100, 200, 1500} <= set.intersection(*(set(run.steps) for run in made.runs.values()))


def test_learning_rates_are_those_that_were_logged(records: dict[str, PretrainRecord]) -> None:
    for record in records.values():
        rates = PretrainSpec.from_dict(record.run["spec"]).learning_rates()
        logged = record.training.set_index("step").learning_rate
        assert rates[logged.index - 1].tolist() == logged.tolist()


def test_runs_start_from_the_std_they_were_given(records: dict[str, PretrainRecord]) -> None:
    for record in records.values():
        spec = record.run["spec"]
        np.testing.assert_allclose(weight_std(record, "q")[0], spec["std"], rtol=0.03)
        scaled = spec["std"] / math.sqrt(2 * spec["n_layer"])
        np.testing.assert_allclose(weight_std(record, "mlp_out")[0], scaled, rtol=0.03)


def test_any_role_of_the_record_can_be_shown(ask: Ask) -> None:
    roles = ["mlp_out", "token_embedding"]
    widget = QKVTraining.from_folder(FOLDERS["seed 0"], roles=roles, layer=2)
    assert "the std of MLP out is" in ask("sentence", widget)
    assert "recorded" in widget.figure().axes[2].get_title()  # histograms are of q, k and v
    widget.role = "token_embedding"
    assert widget.layer == 0
    said = ask("sentence", widget)
    assert "the std of token embedding is" in said
    assert "(layer 0)" in said
    widget.figure().canvas.draw()
    widget.role = "mlp_out"
    assert widget.layer == 1


@pytest.fixture(scope="module")
def cut_short(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs that were stopped, without weight decay, and that diverged."""
    from initscope.pretrain import pretrain

    root = tmp_path_factory.mktemp("runs")
    text = root / "modules"
    text.mkdir()
    for split, module in (("train", contextlib), ("validation", re)):
        source = pa.table({"text": [Path(str(module.__file__)).read_text()]})
        pq.write_table(source, text / f"{split}-00000-of-00001.parquet")
    sizes = {"preset": "nano12", "n_layer": 2, "n_embd": 16, "n_head": 2, "context": 16}
    sizes |= {"batch_size": 4, "evaluate_every": 12, "evaluate_passages": 4, "track_every": 1}
    stopped = PretrainSpec(text=str(text), **sizes, weight_decay=0.0, log_every=4, steps=12)
    wild = {
        "learning_rate": 10.0,
        "final_learning_rate": 10.0,
        "weight_decay": 1.0,
        "warmup_steps": 0,
    }
    diverged = PretrainSpec(text=str(text), **sizes, **wild, log_every=1, steps=60)
    for name, spec, seconds in (("stopped", stopped, 0.0), ("diverged", diverged, None)):
        pretrain(spec, root / name, seconds, device="cpu", progress=False)
    return {name: root / name for name in ("stopped", "diverged")}


def test_runs_that_did_not_end_are_shown_as_far_as_they_came(
    ask: Ask, cut_short: dict[str, Path]
) -> None:
    widget = QKVTraining.from_folders(cut_short)
    assert widget.shown.steps == [0, 1, 2, 3, 4]
    said = ask("sentence", widget)
    assert said.startswith("Stopped, step 4: the std of Q is 0.")
    assert said.endswith(
        "Weight decay is 0: in theory there is no equilibrium, and the std grows with every step. "
        "The record ends at step 4 of 12."
    )
    assert (np.diff(widget.matrices.predicted) > 0).all()
    compare(ask, widget)
    widget.run = "diverged"
    step = read_record(cut_short["diverged"]).run["diverged_step"]
    assert ask("sentence", widget).endswith(f"The run diverged at step {step}.")
    for step in widget.shown.steps:
        widget.step = step
        compare(ask, widget)
    widget.figure().canvas.draw()


# Python


def test_predictions_are_those_of_the_theory() -> None:
    lr = np.linspace(1e-3, 1e-4, 20)
    frame = small_run([[0.02, 0.03, 0.04], [0.05, 0.05, 0.05]])
    predicted = adamw_prediction(frame, lr, 0.1, (0.9, 0.95))
    assert list(predicted.columns) == list(COLUMNS)
    table = curves(predicted)
    theory = np.sqrt(adamw_variance_trajectory([0.02, 0.05], lr, 0.1, (0.9, 0.95)))
    np.testing.assert_allclose(table, np.column_stack([[0.02, 0.05], theory[:, [9, 19]]]))
    with pytest.raises(UsageError, match=r"lr holds 5 learning rates, but .* up to step 20"):
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
    widget: QKVTraining, records: dict[str, PretrainRecord]
) -> None:
    for label, record in records.items():
        spec = PretrainSpec.from_dict(record.run["spec"])
        for role in "qkv":
            std = weight_std(record, role)
            theory = adamw_variance_trajectory(
                std[0], spec.learning_rates(), spec.weight_decay, spec.betas
            )
            configure(widget, {"run": label, "role": role})
            expected = np.mean(np.abs(std.to_numpy()[:, -1] / np.sqrt(theory[:, -1]) - 1))
            assert widget.summary()["off_at_end"] == pytest.approx(expected, abs=4 * PRECISION)


def test_another_run_keeps_what_it_has(widget: QKVTraining) -> None:
    configure(widget, {"run": "std 0.005", "step": 50, "role": "k", "layer": 3})
    widget.run = "seed 0"
    assert (widget.step, widget.role, widget.layer) == (40, "k", 3)  # recorded every 20 steps
    widget.step = 1000
    widget.run = "weight decay 0.3"
    assert widget.step == 1000


def test_a_run_that_is_not_there_is_refused(widget: QKVTraining) -> None:
    known = "run must be 'seed 0' or 'std 0.005' or 'weight decay 0.3', not 'seed 9'"
    with pytest.raises(traitlets.TraitError, match=known):
        widget.run = "seed 9"
    assert widget.run == "seed 0"


def test_frames_that_hold_no_record_are_refused() -> None:
    frame = small_run([[0.02, 0.03]], "qkv")
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
    bins = [(10 * k, 1, "q", -1.0, 1.0, [1] * (2 + k)) for k in range(2)]
    with pytest.raises(UsageError, match=r"the same number of bins, not \[2, 3\]"):
        QKVTraining.from_record(frame, pd.DataFrame(bins, columns=list(HISTOGRAM_COLUMNS)))
    with pytest.raises(UsageError, match="points must be at least 2"):
        QKVTraining.from_record(frame, points=1)
    with pytest.raises(UsageError, match="from_record"):
        QKVTraining()


def test_folders_that_hold_no_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no record of a pretraining run"):
        QKVTraining.from_folder(tmp_path)
    for none in ({}, [FOLDERS["seed 0"]]):
        with pytest.raises(UsageError, match="folders must be labels and the folders of runs"):
            QKVTraining.from_folders(none)
    with pytest.raises(UsageError, match="the label of a run must be a text, not 0"):
        QKVTraining.from_folders({0: FOLDERS["seed 0"]})
    with pytest.raises(UsageError, match=r"unknown role 'mlp_inn'\. Did you mean 'mlp_in'"):
        QKVTraining.from_folder(FOLDERS["std 0.005"], roles=["q", "mlp_inn"])


def test_few_points_are_the_first_the_last_and_even_ones() -> None:
    widget = QKVTraining.from_record(small_run([range(1, 102)]), roles=["q"], points=6)
    assert widget.shown.steps == [0, 200, 400, 600, 800, 1000]
    assert widget.shown.roles["q"].std.tolist() == [[1, 21, 41, 61, 81, 101]]


def test_the_figure_shows_what_the_settings_say(widget: QKVTraining) -> None:
    configure(widget, {"step": 1000, "role": "k", "layer": 3, "quantity": "ratio"})
    over, across, counted = widget.figure().axes
    bold = max(over.lines, key=lambda line: line.get_linewidth())
    row = widget.matrices.std[2]
    np.testing.assert_allclose(bold.get_ydata(), row / row[0])
    assert len(over.lines) == 12 + 1 + 1  # layers, prediction, step
    assert len(across.lines) == 3 + 1
    assert over.get_title() == "seed 0, K, every layer"
    assert counted.get_title() == "K, layer 3, step 1,000"
    assert "Q" in [text.get_text() for text in across.get_legend().get_texts()]
    limits = over.get_ylim()
    widget.run = "std 0.005"
    assert widget.figure().axes[0].get_ylim() == limits
    widget.show_prediction = False
    assert [len(axes.lines) for axes in widget.figure().axes[:2]] == [12 + 1, 3]


# JavaScript against Python


Ask = Callable[..., Any]


@pytest.fixture
def ask(node: Callable[..., Any], tmp_path: Path) -> Ask:
    """Call a function of the mathematics with a widget's record and settings: ``ask(name, w)``."""

    def call(function: str, widget: QKVTraining) -> Any:
        # By way of files, for the record is longer than an argument of a program may be.
        (tmp_path / "recorded.json").write_text(json.dumps(widget.recorded, allow_nan=False))
        (tmp_path / "numbers").write_bytes(widget.numbers)
        module = tmp_path / "module.mjs"
        module.write_text(
            'import { readFileSync } from "node:fs";\n'
            f'import {{ inflate }} from "{(SCRIPTS / "lib" / "inflate.mjs").as_uri()}";\n'
            f'import {{ unpack }} from "{(SCRIPTS / "qkv_training/runs.mjs").as_uri()}";\n'
            f'import {{ {function} }} from "{(SCRIPTS / MATH).as_uri()}";\n'
            "const read = (name) => readFileSync(new URL(name, import.meta.url));\n"
            'const bytes = await inflate(read("numbers"));\n'
            'const runs = unpack(JSON.parse(read("recorded.json")), bytes);\n'
            "const named = ({ run }) => runs.find(({ label }) => label === run);\n"
            f"export const ask = (settings) => {function}(named(settings), settings);\n"
        )
        return node(module, "ask", {name: getattr(widget, name) for name in CONTROLS})

    return call


def compare(ask: Ask, widget: QKVTraining) -> None:
    """The numbers of Python and of JavaScript, to 1e-4."""
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


def test_the_sentence(ask: Ask, widget: QKVTraining) -> None:
    settings = random_settings(widget, len(SENTENCES["QKVTraining"]), 0)
    for chosen, expected in zip(settings, SENTENCES["QKVTraining"], strict=True):
        assert ask("sentence", configure(widget, chosen)) == expected


@pytest.mark.parametrize("seed", range(12))
def test_javascript_counts_what_python_counts(ask: Ask, widget: QKVTraining, seed: int) -> None:
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
    frame = small_run(values)
    lr = np.full(10 * len(values[0]), 1e-3)
    widget = QKVTraining.from_record(
        frame,
        predictions=adamw_prediction(frame, lr, 0.1, (0.9, 0.95)),
        roles=["q"],
        quantity=quantity,
    )
    widget.figure().canvas.draw()
    for step in widget.shown.steps:
        widget.step = step
        compare(ask, widget)


def test_numbers_survive_their_packing() -> None:
    values = [[1e-30, 0.0, 0.02], [math.inf, math.nan, 1e30], [0.0200001, 0.02, 3.0]]
    frame = small_run(values)
    bins = pd.DataFrame(
        [
            (0, 1, "q", -1e-30, 2e-30, [0, 2**31 - 1]),
            (20, 3, "q", -9.0, 1.0, [7, 0]),
            (20, 1, "q", math.nan, math.nan, [0, 0]),
        ],
        columns=list(HISTOGRAM_COLUMNS),
    )
    made = QKVTraining.from_record(frame, bins, roles=["q"])
    (run,) = unpack(*pack(unpack(made.recorded["runs"], made.numbers)))
    found = run.roles["q"]
    np.testing.assert_allclose(found.std, values, rtol=PRECISION)
    np.testing.assert_allclose(found.edges[0, 0], [-1e-30, 2e-30], rtol=3 * PRECISION)
    np.testing.assert_allclose(found.edges[2, 1], [-9, 1], rtol=3 * PRECISION)
    assert found.counts[0, 0].tolist() == [0, 2**31 - 1]
    assert np.isnan(found.edges[1]).all()
    assert np.isnan(found.edges[0, 1]).all()


def test_histograms_are_densities_of_the_recorded_std(
    ask: Ask, node: Callable[..., Any], widget: QKVTraining
) -> None:
    for chosen in random_settings(widget, 4, 5):
        shown = ask("histogram", configure(widget, chosen))
        edges, density = np.array(shown["edges"]), np.array(shown["density"])
        assert (density * np.diff(edges)).sum() == pytest.approx(1)
        middle = (edges[1:] + edges[:-1]) / 2
        measured = math.sqrt((density * np.diff(edges) * middle**2).sum())
        assert measured == pytest.approx(shown["std"], rel=0.05)
        x = np.linspace(-0.1, 0.1, 5)
        normal = torch.distributions.Normal(0.0, shown["std"]).log_prob(torch.tensor(x)).exp()
        np.testing.assert_allclose(
            node(MATH, "normalDensity", x.tolist(), shown["std"]), normal, rtol=1e-4
        )


# The browser


def axis(page: Page) -> list[str]:
    """Labels of the first chart."""
    drawn(page)
    return page.locator(".ins-chart").first.locator("text").all_text_contents()


@pytest.mark.browser
def test_another_run_is_drawn_on_the_same_axes(
    open_page: Open, widget: QKVTraining, ask: Ask
) -> None:
    page = open_page(configure(widget, {"step": 1000, "role": "k", "layer": 3}))
    labels = axis(page)
    assert {"0.005", "0.02", "0.05"} <= set(labels)
    for label in widget.runs:
        page.get_by_role("combobox", name="Run").select_option(label)
        widget.run = label
        assert said(page) == ask("sentence", widget)
        assert axis(page) == labels


@pytest.mark.browser
def test_mouse_keyboard_and_touch(open_page: Open, widget: QKVTraining) -> None:
    page = open_page(widget)
    step = page.get_by_role("slider", name="Step")
    step.focus()
    page.keyboard.press("Home")
    assert said(page).startswith("Seed 0, step 0:")
    page.keyboard.press("ArrowRight")
    assert said(page).startswith("Seed 0, step 40:")
    assert step.get_attribute("aria-valuetext") == "40 of 3,000"
    page.get_by_role("combobox", name="Run").focus()
    page.keyboard.press("ArrowDown")
    assert said(page).startswith("Std 0.005, step 50:")
    assert page.evaluate("document.activeElement.value") == "std 0.005"

    over, profile, _ = page.locator(".ins-chart").all()
    box = over.bounding_box()
    over.hover(position={"x": 400, "y": 100})
    page.mouse.down()
    first = said(page)
    page.mouse.move(box["x"] + 600, box["y"] + 100)
    page.mouse.up()
    assert not first.startswith("Std 0.005, step 50:")
    assert said(page) != first
    before = page.get_by_role("slider", name="Layer").input_value()
    profile.click(position={"x": 80, "y": 100})
    drawn(page)
    assert before != page.get_by_role("slider", name="Layer").input_value() == "0"

    phone = open_page(widget, width=390)
    chart = phone.locator(".ins-chart").first
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    phone.touchscreen.tap(box["x"] + 120, box["y"] + 100)
    assert not said(phone).startswith("Seed 0, step 3,000")


@pytest.mark.browser
def test_play_runs_through_the_steps_and_can_be_paused(
    open_page: Open, widget: QKVTraining
) -> None:
    page = open_page(widget, reduced_motion="no-preference")
    press(page, "Play")  # from the end on to the start
    page.wait_for_function(
        "/step (40|100|140|200):/.test(document.querySelector('.ins-message').textContent)"
    )
    assert page.locator(".ins-message").get_attribute("aria-live") == "off"
    press(page, "Pause")
    stopped = said(page)
    page.wait_for_timeout(300)
    assert said(page) == stopped
    assert page.locator(".ins-message").get_attribute("aria-live") is None


@pytest.mark.browser
def test_nothing_moves_by_itself_where_less_motion_is_wanted(
    open_page: Open, widget: QKVTraining
) -> None:
    page = open_page(widget)
    press(page, "Next step")
    assert said(page).startswith("Seed 0, step 0:")
    page.wait_for_timeout(300)
    assert said(page).startswith("Seed 0, step 0:")


@pytest.mark.browser
def test_what_was_not_recorded_is_not_offered(open_page: Open) -> None:
    page = open_page(QKVTraining.from_record(small_run([[0.02, 0.03]]), roles=["q"]))
    assert page.get_by_label("AdamW prediction").is_disabled()
    assert page.get_by_role("combobox", name="Run").count() == 0  # where there is only one


def test_runs_take_little_room(widget: QKVTraining) -> None:
    """Fifteen of them are to fit into a page; see the tests of the book."""
    assert len(widget.numbers) / len(FOLDERS) < 7_000
