"""The AdamW widget: its mathematics against Python and torch, itself in a browser and a kernel."""

import csv
import io
import math
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import traitlets
from playwright.sync_api import Browser, Page
from widget_page import SENTENCES, widget_page

from initscope.theory import (
    adamw_equilibrium_rms,
    adamw_rotation,
    adamw_update_rms,
    adamw_variance_trajectory,
)
from initscope.theory.learning_rates import SCHEDULES, learning_rates
from initscope.theory.published_runs import PUBLISHED_RUNS
from initscope.widgets import AdamWEquilibrium, BookWidget
from initscope.widgets.adamw_equilibrium.widget import _RANGES
from initscope.widgets.bundle import SCRIPTS

MATH = "adamw_equilibrium/theory.mjs"
TEXT = "adamw_equilibrium/message.mjs"


def log_uniform(draw: random.Random, low: float, high: float) -> float:
    return float(f"{10 ** draw.uniform(math.log10(low), math.log10(high)):.4g}")


def random_settings(seed: int, most_steps: float = 3e4) -> dict:
    draw = random.Random(seed)
    return {
        "lr": log_uniform(draw, 1e-5, 1e-2),
        "weight_decay": log_uniform(draw, 1e-2, 3),
        "schedule": SCHEDULES[seed % 4],
        "warmup": draw.choice([0, 1, 30, 1000]),
        "final": round(draw.uniform(0, 1), 2),
        "steps": int(log_uniform(draw, 100, most_steps)),
        "std0": log_uniform(draw, 1e-3, 1),
        "beta1": round(draw.uniform(0, 0.99), 2),
        "beta2": round(draw.uniform(0.9, 0.999), 4),
        "snr": draw.choice([0.0, 0.0, log_uniform(draw, 1e-4, 10)]),
        "diffusion": draw.choice([1.0, log_uniform(draw, 0.1, 100)]),
        "alignment": draw.choice([0.0, round(draw.uniform(-0.5, 0.5), 3)]),
    }


EXTREMES = [
    {"lr": 0.0},
    {"weight_decay": 0.0},
    {"weight_decay": 0.0, "snr": 0.5},
    {"lr": 0.1, "weight_decay": 10.0, "alignment": 0.5},  # more than all decays in a step
    {"lr": 0.1, "weight_decay": 0.0, "alignment": -0.5, "steps": 20_000},  # grows to infinity
    {"steps": 10, "warmup": 100_000},
    {"beta1": 0.0, "final": 0.0},
    {"beta1": 0.99, "std0": 10.0, "diffusion": 100.0},
    {"alignment": -0.1},
    {"std0": 1e-4, "lr": 1e-6, "weight_decay": 1e-4},
]
SMALL = {**PUBLISHED_RUNS["shakespeare"], "steps": 2000}
CASES = [random_settings(seed) for seed in range(16)] + [
    {**SMALL, **extreme} for extreme in EXTREMES
]


def numbers(values: list) -> np.ndarray:
    """What the engine returns as JSON, "Infinity" and the like included."""
    return np.array([float(value) for value in values])


def predicted(s: dict) -> np.ndarray:
    lr = learning_rates(s["lr"], s["schedule"], s["steps"], s["warmup"], s["final"])
    with np.errstate(over="ignore", invalid="ignore"):
        variance = adamw_variance_trajectory(
            s["std0"], lr, s["weight_decay"], (s["beta1"], s["beta2"]),
            snr=s["snr"], diffusion=s["diffusion"], alignment=s["alignment"],
        )  # fmt: skip
    return np.sqrt(variance)


@pytest.fixture(scope="module")
def sentence(node, tmp_path_factory) -> Callable[[AdamWEquilibrium], str]:
    """What JavaScript says of a widget's settings."""
    module = tmp_path_factory.mktemp("sentence") / "say.mjs"
    module.write_text(
        f'import {{ sampleSteps, trajectory }} from "{(SCRIPTS / MATH).as_uri()}";\n'
        f'import {{ sentence }} from "{(SCRIPTS / TEXT).as_uri()}";\n'
        "export const say = (s) => sentence(s, trajectory(s, sampleSteps(s.steps)));\n"
    )
    names = [*_RANGES, "schedule"]
    return lambda widget: node(module, "say", {name: getattr(widget, name) for name in names})


@pytest.fixture(scope="module")
def javascript(node, tmp_path_factory) -> list[dict]:
    """What the modules of the widget make of each of CASES, from one call of the engine."""
    module = tmp_path_factory.mktemp("modules") / "all.mjs"
    module.write_text(
        f'import * as math from "{(SCRIPTS / MATH).as_uri()}";\n'
        f'import {{ python, sentence }} from "{(SCRIPTS / TEXT).as_uri()}";\n'
        """export const all = (cases) => cases.map((s) => ({
            run: math.trajectory(s),
            update: math.updateRms(s),
            exact: math.equilibriumRms(s),
            limit: math.equilibriumRms({ ...s, beta1: undefined }),
            rotation: math.rotation(s),
            settled: math.equilibrium(s, s.lr),
            sentence: sentence(s, math.trajectory(s, math.sampleSteps(s.steps))),
            python: python(s),
        }));"""
    )
    return node(module, "all", CASES)


every_case = pytest.mark.parametrize("case", range(len(CASES)))


@every_case
def test_every_step_as_in_python(javascript, case: int) -> None:
    s, run = CASES[case], javascript[case]["run"]
    lr = learning_rates(s["lr"], s["schedule"], s["steps"], s["warmup"], s["final"])
    np.testing.assert_allclose(numbers(run["lr"]), lr, rtol=1e-9, atol=1e-15 * s["lr"])
    widget = AdamWEquilibrium(**s)
    expected, found = predicted(s), numbers(run["std"])
    usable = np.isfinite(expected)  # the one outgrows the format some steps before the other
    assert usable.any()
    np.testing.assert_allclose(found[usable], expected[usable], rtol=1e-9)
    np.testing.assert_array_equal(widget.trajectory()[usable], expected[usable])
    left = numbers(run["initial"])[usable]
    np.testing.assert_allclose(left, widget.initial_part()[usable], rtol=1e-9, atol=1e-140)


@every_case
def test_closed_forms_as_in_python(javascript, case: int) -> None:
    s, found = CASES[case], javascript[case]
    betas = (s["beta1"], s["beta2"])
    given = {key: s[key] for key in ("diffusion", "alignment")}
    expected = {
        "update": adamw_update_rms(betas, s["snr"]),
        "exact": adamw_equilibrium_rms(s["lr"], s["weight_decay"], betas=betas, **given),
        "limit": adamw_equilibrium_rms(s["lr"], s["weight_decay"], **given),
        "rotation": adamw_rotation(s["lr"], s["weight_decay"], betas, s["snr"], **given),
        "settled": AdamWEquilibrium(**s).equilibrium(),
    }
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value, rel=1e-9), name


@every_case
def test_the_sentence(javascript, case: int) -> None:
    assert javascript[case]["sentence"] == SENTENCES["AdamWEquilibrium"][case]


@every_case
def test_the_python_shown_says_the_same(javascript, case: int, capsys, monkeypatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    import matplotlib.pyplot as plt

    found = javascript[case]
    with np.errstate(over="ignore", invalid="ignore"):
        exec(compile(found["python"], "shown", "exec"), {})
    plt.close("all")
    said = capsys.readouterr().out
    printed = re.fullmatch(r"std (\S+) after (\d+) steps, equilibrium (\S+)\n", said)
    assert printed
    assert int(printed[2]) == CASES[case]["steps"]
    assert float(printed[3]) == pytest.approx(float(found["settled"]), rel=1e-5)
    end = float(found["run"]["std"][-1])
    assert float(printed[1]) == pytest.approx(end, rel=1e-5) or not np.isfinite(end)


@pytest.mark.parametrize("beta1", [0.0, 0.9])
def test_in_a_time_constant_the_distance_of_the_variance_falls_by_e(node, beta1: float) -> None:
    """In the browser, and in the still picture."""
    s = {**SMALL, "lr": 1e-3, "weight_decay": 1.0, "schedule": "constant", "warmup": 0}
    s |= {"beta1": beta1, "steps": 20_000, "std0": 0.2}
    constant = node(TEXT, "timeConstant", {**s, "alignment": 0})
    found = node(MATH, "trajectory", s, [1000, 1000 + round(constant), s["steps"]])
    first, later, end = np.square(found["std"])
    assert (later - end) / (first - end) == pytest.approx(math.exp(-1), rel=1e-2)
    assert found["timeConstants"] * constant == pytest.approx(s["steps"])
    above = AdamWEquilibrium(**s).figure().axes[0]
    marks = {mark.get_text().strip(): mark.xy[0] for mark in above.texts}
    assert marks["one time constant"] == pytest.approx(constant)


@pytest.mark.parametrize("s", CASES[:16:4])
def test_a_constant_rate_leads_to_the_equilibrium(node, s: dict) -> None:
    s = {**s, "lr": 0.01, "weight_decay": 1.0, "schedule": "constant", "warmup": 0, "steps": 20_000}
    end = node(MATH, "trajectory", s, [s["steps"]])["std"][0]
    assert end == pytest.approx(float(node(MATH, "equilibrium", s, s["lr"])), rel=1e-6)


def test_the_same_gradients_lead_where_torch_leads(node) -> None:
    generator = torch.Generator().manual_seed(1)
    start = 0.02 * torch.randn(20, dtype=torch.float64, generator=generator)
    gradients = torch.randn(40, 20, dtype=torch.float64, generator=generator)
    gradients[5] = 0.0
    rates = [1e-3 * (1 + k) for k in range(40)]
    for weight_decay, betas in [(0.1, (0.9, 0.95)), (0.0, (0.0, 0.999)), (3.0, (0.99, 0.9))]:
        parameter = torch.nn.Parameter(start.clone())
        optimizer = torch.optim.AdamW([parameter], betas=betas, weight_decay=weight_decay)
        for rate, gradient in zip(rates, gradients, strict=True):
            optimizer.param_groups[0]["lr"] = rate
            parameter.grad = gradient.clone()
            optimizer.step()
        settings = {"weight_decay": weight_decay, "beta1": betas[0], "beta2": betas[1]}
        found = node(MATH, "adamwRun", start.tolist(), gradients.tolist(), rates, settings)
        np.testing.assert_allclose(found, parameter.detach(), rtol=1e-9)


@pytest.mark.parametrize(
    "change",
    [{}, {"weight_decay": 1.0}, {"weight_decay": 0.0, "snr": 0.1}, {"beta2": 0.999, "std0": 0.2}],
)
def test_the_simulation_follows_the_prediction(node, change: dict) -> None:
    s = {**SMALL, "lr": 3e-3, **change}
    run = node(MATH, "simulate", s, 3)
    assert run["coordinates"] == 4000
    # 4,000 weights: 1.1% standard error; the second moment fluctuates: up to 2.5%.
    ratio = np.array(run["std"]) / predicted(s)[np.array(run["step"]) - 1]
    np.testing.assert_allclose(ratio, 1, atol=0.06)
    assert len(run["step"]) > 30
    assert run["step"][-1] == s["steps"]
    assert node(MATH, "simulate", s, 4)["std"] != run["std"]


def test_a_million_steps_do_not_freeze_the_page(node, tmp_path: Path) -> None:
    module = tmp_path / "time.mjs"
    module.write_text(
        f'import {{ Simulation, trajectory, sampleSteps }} from "{(SCRIPTS / MATH).as_uri()}";\n'
        # Of this process alone, whatever else the machine does.
        "const busy = () => { const { user, system } = process.cpuUsage(); "
        "return (user + system) / 1e6; };\n"
        "export function seconds(s) {\n"
        "  const times = [1, 2, 3].map(() => {\n"
        "    const start = busy();\n"
        "    trajectory(s, sampleSteps(s.steps));\n"
        "    return busy() - start;\n"
        "  });\n"
        "  return Math.min(...times);\n}\n"
        "export function slice(s) {\n"
        "  const run = new Simulation(s);\n"
        "  const start = busy();\n"
        "  run.advance(10);\n"
        "  return [busy() - start, run.state.t, run.done];\n}\n"
    )
    for schedule in SCHEDULES:
        s = {**PUBLISHED_RUNS["nanogpt"], "steps": 1_000_000, "schedule": schedule}
        assert node(module, "seconds", s) < 0.2  # 14 to 28 ms on a laptop's core
    seconds, taken, done = node(module, "slice", s)
    assert seconds < 0.2
    assert taken > 0
    assert not done


def test_choices_and_ranges_are_the_same_in_both_languages(node, tmp_path: Path) -> None:
    module = tmp_path / "read.mjs"
    module.write_text(
        f'import {{ CONTROLS }} from "{(SCRIPTS / "adamw_equilibrium/widget.mjs").as_uri()}";\n'
        "export const controls = () => CONTROLS;\n"
    )
    controls = node(module, "controls")
    for name, (low, high, zero) in _RANGES.items():
        control = controls[name]
        assert (control["min"], control["max"], control.get("zero", False)) == (low, high, zero)
    for name, values in (("schedule", SCHEDULES), ("preset", ("custom", *PUBLISHED_RUNS))):
        assert tuple(value for value, _ in controls[name]["options"]) == values
    own = set(AdamWEquilibrium.class_trait_names(sync=True)) - set(BookWidget.class_trait_names())
    assert set(controls) == own - {"published_runs"}


def test_published_numbers() -> None:
    """What the presets rest on, from the totals that the papers give."""
    assert round(300e9 / 3.2e6) == PUBLISHED_RUNS["gpt3-175b"]["steps"]
    assert round(375e6 / 3.2e6) == PUBLISHED_RUNS["gpt3-175b"]["warmup"]
    assert round(1.0e12 / 4e6) == PUBLISHED_RUNS["llama-7b"]["steps"]
    assert round(1.4e12 / 4e6) == PUBLISHED_RUNS["llama-65b"]["steps"]


# Python


def test_a_preset_sets_the_rest_and_a_change_leaves_it() -> None:
    widget = AdamWEquilibrium(preset="llama-7b")
    assert (widget.lr, widget.steps, widget.preset) == (3e-4, 250_000, "llama-7b")
    widget.log_std = True
    assert widget.preset == "llama-7b"
    widget.lr = 1e-3
    assert widget.preset == "custom"
    widget.preset = "gpt3-175b"
    assert (widget.lr, widget.warmup, widget.preset) == (6e-5, 117, "gpt3-175b")
    mixed = AdamWEquilibrium(preset="gpt3-175b", lr=1e-3)
    assert (mixed.lr, mixed.steps, mixed.preset) == (1e-3, 93_750, "custom")
    assert AdamWEquilibrium(steps=1000).preset == "custom"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 5.0}, "lr must be 0 or between 1e-06 and 0.1, not 5"),
        ({"lr": float("nan")}, "lr must be 0 or between 1e-06 and 0.1, not nan"),
        ({"steps": 0}, "steps must be between 10 and 1,000,000, not 0"),
        ({"std0": float("inf")}, "std0 must be between 0.0001 and 10, not inf"),
        ({"warmup": -1}, "warmup must be 0 or between 1 and 100,000"),
        ({"schedule": "step"}, "constant.*cosine.*linear.*wsd"),
        ({"preset": "gpt5"}, "nanogpt.*llama-7b"),
        ({"lr": "fast"}, "float"),
    ],
)
def test_what_is_out_of_range_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(traitlets.TraitError, match=message):
        AdamWEquilibrium(**settings)


@pytest.mark.parametrize("s", [{}, {"log_steps": True, "log_std": True}, *EXTREMES])
def test_the_still_picture_is_drawn(s: dict, tmp_path: Path) -> None:
    widget = AdamWEquilibrium(**{**SMALL, **s})
    figure = widget.figure()
    figure.savefig(tmp_path / "figure.svg", transparent=True)
    above, below = figure.axes
    labels = {line.get_label(): line for line in above.get_lines()}
    drawn = labels["predicted std"].get_ydata()
    with np.errstate(over="ignore"):
        assert drawn[-1] == widget.trajectory()[-1] or not np.isfinite(drawn[-1])
    settles = widget.lr > 0 and widget.weight_decay + widget.alignment > 0
    assert ("equilibrium of the rate at the step" in labels) == settles
    assert above.get_xscale() == ("log" if widget.log_steps else "linear")
    assert below.get_ylabel() == "learning rate"


# In the browser


class Widget:
    """One widget on an open page, and what the browser complains of."""

    def __init__(self, page: Page, copy: int = 0) -> None:
        self.page = page
        self.root = page.locator(".ins-widget").nth(copy)

    def control(self, label: str):
        name = self.page.locator(".ins-label", has_text=re.compile(f"^{label}$"))
        return self.root.locator(".ins-control").filter(has=name).locator("input, select")

    def drawn(self) -> None:
        """Wait until what was asked for before is drawn: with the next picture of the browser."""
        frame = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        self.page.evaluate(frame)

    @property
    def message(self) -> str:
        self.drawn()
        return self.root.locator(".ins-message").inner_text()

    @property
    def picture(self) -> str:
        self.drawn()
        return self.root.locator("svg.ins-chart").first.inner_html()

    @property
    def facts(self) -> list[str]:
        self.drawn()
        return self.root.locator(".ins-facts dd").all_inner_texts()

    def slide(self, label: str, value: float) -> None:
        self.control(label).evaluate(
            "(input, value) => { input.value = value;"
            " input.dispatchEvent(new Event('input', {bubbles: true})); }",
            value,
        )

    def button(self, name: str):
        return self.root.get_by_role("button", name=name)


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator:
    """Open widgets on a page from a file; complaints and outside requests fail the test."""
    complaints: list[str] = []
    asked: list[str] = []
    contexts = []

    def open_page(widgets=None, query: str = "", dark: bool = False, width: int = 900, **options):
        path = tmp_path / f"page{len(contexts)}.html"
        path.write_text(widget_page(widgets or [AdamWEquilibrium(preset="shakespeare")], dark))
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda m: complaints.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{path.as_uri()}?{query}" if query else path.as_uri())
        page.wait_for_selector("html[data-widgets=ready]")
        page.wait_for_function(
            "[...document.querySelectorAll('.ins-message')].every((e) => e.textContent)"
        )
        return Widget(page)

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "blob:", "data:"))] == []


@pytest.mark.browser
def test_numbers_are_those_of_python_at_random_settings(opened, sentence) -> None:
    widgets = [AdamWEquilibrium(**random_settings(seed)) for seed in range(100, 110)]
    page = opened(widgets).page
    for copy, python in enumerate(widgets):
        shown = Widget(page, copy)
        assert shown.message == sentence(python)
        facts = shown.facts
        assert float(facts[3].replace(",", "")) == pytest.approx(python.trajectory()[-1], rel=6e-4)
        if python.weight_decay + python.alignment > 0:
            assert float(facts[0].replace(",", "")) == pytest.approx(python.equilibrium(), rel=6e-4)
            turn = adamw_rotation(
                python.lr, python.weight_decay, (python.beta1, python.beta2),
                python.snr, python.diffusion, python.alignment,
            )  # fmt: skip
            assert float(facts[5].rstrip("°")) == pytest.approx(np.degrees(turn), rel=6e-3)
        else:
            assert facts[0] == "none"
    assert len({Widget(page, copy).picture for copy in range(10)}) == 10


@pytest.mark.browser
def test_presets_set_the_rest(opened, sentence) -> None:
    widget = opened()
    for preset in PUBLISHED_RUNS:
        widget.control("preset").select_option(preset)
        assert widget.message == sentence(AdamWEquilibrium(preset=preset))
    widget.slide("weight decay", -2)
    widget.drawn()
    assert widget.control("preset").input_value() == "custom"


@pytest.mark.browser
def test_a_preset_in_the_address_sets_the_rest(opened, sentence) -> None:
    named = opened(query="AdamWEquilibrium.preset=llama-7b")
    assert named.message == sentence(AdamWEquilibrium(preset="llama-7b"))
    mixed = opened(query="AdamWEquilibrium.preset=llama-7b&AdamWEquilibrium.lr=0.001")
    assert mixed.message == sentence(AdamWEquilibrium(preset="llama-7b", lr=1e-3))


@pytest.mark.browser
@pytest.mark.parametrize("logarithmic", [False, True])
def test_extreme_settings(opened, sentence, logarithmic: bool) -> None:
    axes = {"log_std": logarithmic, "log_steps": logarithmic}
    widgets = [AdamWEquilibrium(**{**SMALL, **extreme, **axes}) for extreme in EXTREMES]
    page = opened(widgets).page
    for copy, python in enumerate(widgets):
        shown = Widget(page, copy)
        picture = shown.picture
        assert "NaN" not in picture
        assert 'd="M' in picture
        if np.isfinite(python.trajectory()[-1]):
            assert shown.message == sentence(python)
        else:
            assert "infinity" in shown.message


@pytest.mark.browser
def test_simulation(opened) -> None:
    widget = opened([AdamWEquilibrium(**{**SMALL, "steps": 3000})])
    before = widget.picture
    widget.button("Simulate").click()
    widget.button("Simulate again").wait_for()
    assert widget.picture.count("<circle") > 30
    found = re.search(r"on 4,000 weights .* ends at ([\d.]+) ± ([\d.]+)\.", widget.message)
    assert found
    end = predicted({**SMALL, "steps": 3000})[-1]
    assert float(found[1]) == pytest.approx(end, abs=2 * float(found[2]))
    widget.control("logarithmic std").check()
    assert "<circle" in widget.picture  # another axis, the same simulation
    widget.control("logarithmic std").uncheck()
    widget.slide("steps", 6)  # a million: takes long enough to be stopped
    assert "<circle" not in widget.picture
    widget.button("Simulate").click()
    widget.button("Stop").click()
    widget.button("Simulate").wait_for()
    widget.button("Reset").click()
    assert widget.picture == before
    widget.root.locator("summary").click()
    widget.slide("diffusion D", 1)
    widget.drawn()
    assert widget.button("Simulate").is_disabled()


@pytest.mark.browser
def test_csv_holds_what_is_shown(opened) -> None:
    widget = opened()
    with widget.page.expect_download() as download:
        widget.button("Download CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    python = AdamWEquilibrium(preset="shakespeare")
    step = np.array([int(row["step"]) for row in rows])
    assert step[0] == 1
    assert step[-1] == 5000
    columns = {
        "std": python.trajectory(),
        "learning_rate": python.learning_rates(),
        "left_of_initialization": python.initial_part(),
        "equilibrium_of_the_rate": python.equilibrium(python.learning_rates()),
    }
    for name, values in columns.items():
        found = np.array([float(row[name]) for row in rows])
        np.testing.assert_allclose(found, values[step - 1], rtol=1e-9, atol=1e-15)
    assert {row["simulated_std"] for row in rows} == {""}


@pytest.mark.browser
def test_with_less_motion_the_simulation_is_drawn_at_its_end(opened) -> None:
    widget = opened(reduced_motion="reduce")
    widget.slide("steps", 6)  # a million: takes seconds
    widget.button("Simulate").click()
    widget.page.wait_for_timeout(300)
    assert "<circle" not in widget.picture  # nothing moves until all is there
    widget.button("Stop").click()
    widget.button("Reset").click()
    widget.button("Simulate").click()
    widget.button("Simulate again").wait_for()
    assert "<circle" in widget.picture
