"""The AdamW widget: its mathematics against Python and torch, itself in a browser and a kernel."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import Locator, Page
from widget_cases.adamw_equilibrium import EXTREMES, SHORT_RUN, random_settings
from widget_page import CROWDED, SENTENCES, Open, downloaded, drawn, pictures, press, said

from initscope.theory import (
    adamw_equilibrium_rms,
    adamw_rotation,
    adamw_update_rms,
    adamw_variance_trajectory,
    data_memory,
)
from initscope.theory.learning_rates import SCHEDULES, learning_rates
from initscope.theory.published_runs import PUBLISHED_RUNS
from initscope.widgets import AdamWEquilibrium, BookWidget
from initscope.widgets.adamw_equilibrium.widget import _RANGES, DECAY_SCHEDULES
from initscope.widgets.bundle import SCRIPTS

MATH = "adamw_equilibrium/theory.mjs"
TEXT = "adamw_equilibrium/message.mjs"


CASES = [random_settings(seed) for seed in range(16)] + [
    {**SHORT_RUN, **extreme} for extreme in EXTREMES
]


def numbers(values: list) -> np.ndarray:
    """What the engine returns as JSON, "Infinity" and the like included."""
    return np.array([float(value) for value in values])


def rates_and_decays(s: dict) -> tuple[np.ndarray, np.ndarray]:
    lr = learning_rates(s["lr"], s["schedule"], s["steps"], s["warmup"], s["final"])
    factor = np.ones(s["steps"])
    if s["lr"] and s["decay_schedule"] == "rate":
        factor = lr / s["lr"]
    if s["lr"] and s["decay_schedule"] == "independent":
        factor = np.array([s["lr"] / rate if rate else 0.0 for rate in lr])
    return lr, s["weight_decay"] * factor


def predicted(s: dict) -> np.ndarray:
    lr, decay = rates_and_decays(s)
    with np.errstate(over="ignore", invalid="ignore"):
        variance = adamw_variance_trajectory(
            s["std0"], lr, decay, (s["beta1"], s["beta2"]), snr=s["snr"], drift=s["drift"],
            epsilon=s["epsilon"], gradient_rms=np.geomspace(1, s["final_gradient"], s["steps"]),
            diffusion=s["diffusion"], alignment=s["alignment"],
        )  # fmt: skip
    return np.sqrt(np.maximum(variance, 0))


@pytest.fixture(scope="module")
def sentence(node, tmp_path_factory) -> Callable[[AdamWEquilibrium], str]:
    """What JavaScript says of a widget's settings."""
    module = tmp_path_factory.mktemp("sentence") / "say.mjs"
    module.write_text(
        f'import {{ dataMemory, sampleSteps, trajectory }} from "{(SCRIPTS / MATH).as_uri()}";\n'
        f'import {{ sentence }} from "{(SCRIPTS / TEXT).as_uri()}";\n'
        "export const say = (s) => {\n"
        "  const at = sampleSteps(s.steps);\n"
        "  return sentence(s, trajectory(s, at), dataMemory(s, at));\n};\n"
    )
    names = [*_RANGES, "schedule", "decay_schedule"]
    return lambda widget: node(module, "say", {name: getattr(widget, name) for name in names})


@pytest.fixture(scope="module")
def javascript(node, tmp_path_factory) -> list[dict]:
    """What the modules of the widget make of each of CASES, from one call of the engine."""
    module = tmp_path_factory.mktemp("modules") / "all.mjs"
    module.write_text(
        f'import * as math from "{(SCRIPTS / MATH).as_uri()}";\n'
        f'import {{ sentence }} from "{(SCRIPTS / TEXT).as_uri()}";\n'
        """export const all = (cases) => cases.map((s) => ({
            run: math.trajectory(s),
            update: math.updateRms(s),
            exact: math.equilibriumRms(s),
            limit: math.equilibriumRms({ ...s, beta1: undefined }),
            rotation: math.rotation(s),
            settled: math.equilibrium(s, s.lr),
            memory: math.dataMemory(s, math.trajectory(s).step),
            sentence: sentence(
                s, math.trajectory(s, math.sampleSteps(s.steps)), math.dataMemory(s, [1])),
        }));"""
    )
    return node(module, "all", CASES)


every_case = pytest.mark.parametrize("case", range(len(CASES)))


@every_case
def test_every_step_as_in_python(javascript, case: int) -> None:
    s, run = CASES[case], javascript[case]["run"]
    lr, decay = rates_and_decays(s)
    np.testing.assert_allclose(numbers(run["lr"]), lr, rtol=1e-9, atol=1e-15 * s["lr"])
    np.testing.assert_allclose(numbers(run["decay"]), decay, rtol=1e-9)
    widget = AdamWEquilibrium(**s)
    np.testing.assert_allclose(widget.weight_decays(), decay, rtol=1e-12)
    gradient = np.geomspace(1, s["final_gradient"], s["steps"])
    np.testing.assert_allclose(numbers(run["gradient"]), gradient, rtol=1e-9)
    expected, found = predicted(s), numbers(run["std"])
    usable = np.isfinite(expected)  # the one outgrows the format some steps before the other
    assert usable.any()
    np.testing.assert_allclose(found[usable], expected[usable], rtol=1e-9)
    np.testing.assert_allclose(widget.trajectory()[usable], expected[usable], rtol=1e-10)
    left = numbers(run["initial"])[usable]
    np.testing.assert_allclose(left, widget.initial_part()[usable], rtol=1e-9, atol=1e-140)


@every_case
def test_what_the_last_weights_keep_as_in_python(javascript, case: int) -> None:
    s, found = CASES[case], javascript[case]["memory"]
    widget, (lr, decay) = AdamWEquilibrium(**s), rates_and_decays(s)
    start, weight = data_memory(lr, decay, alignment=s["alignment"])
    total = np.abs(weight).sum()
    assert widget.half_of_memory() == found["half"]
    if not np.isfinite(total):
        assert found["half"] == 0
        return
    assert found["start"] == pytest.approx(start, rel=1e-9, abs=1e-140)
    if s["lr"] == 0:
        assert found["half"] == 0
        return
    expected = weight / total * s["steps"]
    np.testing.assert_allclose(numbers(found["weight"]), expected, rtol=1e-9, atol=1e-140)
    last = np.abs(weight[::-1])
    half = found["half"]
    assert last[:half].sum() >= total / 2 * (1 - 1e-12)
    assert last[: half - 1].sum() < total / 2


def test_half_of_what_a_constant_rate_leaves() -> None:
    """Counted by hand: all updates alike without decay; with it, half after ln 2 of its times."""
    s = {**SHORT_RUN, "schedule": "constant", "warmup": 0, "weight_decay": 0.0, "steps": 1000}
    assert AdamWEquilibrium(**s).half_of_memory() == 500
    assert AdamWEquilibrium(**{**s, "steps": 1001}).half_of_memory() == 501
    assert AdamWEquilibrium(**{**s, "lr": 0.0}).half_of_memory() == 0
    long = AdamWEquilibrium(**{**s, "lr": 0.01, "weight_decay": 0.1, "steps": 100_000})
    assert long.half_of_memory() == pytest.approx(math.log(2) / 1e-3, rel=2e-3)


@every_case
def test_closed_forms_as_in_python(javascript, case: int) -> None:
    s, found = CASES[case], javascript[case]
    betas = (s["beta1"], s["beta2"])
    given = {key: s[key] for key in ("diffusion", "alignment")}
    expected = {
        "update": adamw_update_rms(betas, s["snr"]),
        "exact": adamw_equilibrium_rms(s["lr"], s["weight_decay"], betas=betas, **given),
        "limit": adamw_equilibrium_rms(s["lr"], s["weight_decay"], **given),
        "rotation": adamw_rotation(s["lr"], s["weight_decay"], betas, s["snr"], **given)
        * share_of_noise(s),
        "settled": AdamWEquilibrium(**s).equilibrium(),
    }
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value, rel=1e-9), name


def share_of_noise(s: dict) -> float:
    """Rms at equilibrium without the drift, as a share of that with it, where decay is slow."""
    noise = s["diffusion"] * s["lr"] / (1 + s["epsilon"]) ** 2
    return math.sqrt(noise / (noise + s["drift"])) if noise else 1.0


@every_case
def test_the_sentence(javascript, case: int) -> None:
    assert javascript[case]["sentence"] == SENTENCES["AdamWEquilibrium"][case]


@pytest.mark.parametrize("beta1", [0.0, 0.9])
def test_in_a_time_constant_the_distance_of_the_variance_falls_by_e(node, beta1: float) -> None:
    """In the browser, and in the still picture."""
    s = {**SHORT_RUN, "lr": 1e-3, "weight_decay": 1.0, "schedule": "constant", "warmup": 0}
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
    for change in ({}, {"drift": 0.01}, {"epsilon": 3.0}, {"drift": 1e-3, "snr": 0.1}):
        now = {**s, "final_gradient": 1.0, **change}
        end = node(MATH, "trajectory", now, [now["steps"]])["std"][0]
        assert end == pytest.approx(float(node(MATH, "equilibrium", now, now["lr"])), rel=1e-6)


@pytest.mark.parametrize("gradient", [0.01, 1.0, 100.0])
def test_the_equilibrium_of_a_later_gradient(node, gradient: float) -> None:
    """Where the gradient is by so much another, epsilon is by so much less or more of it."""
    s = {**SHORT_RUN, "epsilon": 0.3, "snr": 0.1}
    other = {**s, "epsilon": 0.3 / gradient}
    found = node(MATH, "equilibrium", s, 1e-3, gradient)
    assert found == pytest.approx(node(MATH, "equilibrium", other, 1e-3))
    assert AdamWEquilibrium(**s).equilibrium(1e-3, gradient) == pytest.approx(found, rel=1e-9)


def test_decay_in_proportion_to_the_rate_keeps_the_std_where_it_is() -> None:
    """AdamC was made for that; where rate times decay is constant, the std falls with the rate."""
    s = {**SHORT_RUN, "weight_decay": 1.0, "steps": 20_000}
    stays, falls, faster = (
        AdamWEquilibrium(**{**s, "decay_schedule": one})
        for one in ("rate", "constant", "independent")
    )
    assert stays.equilibrium(1e-4) == pytest.approx(stays.equilibrium(), rel=1e-2)
    assert falls.equilibrium(1e-4) == pytest.approx(falls.equilibrium() / 10**0.5, rel=1e-2)
    assert faster.equilibrium(1e-4) == pytest.approx(faster.equilibrium() / 10, rel=1e-2)
    np.testing.assert_allclose(faster.learning_rates() * faster.weight_decays(), 1e-3)


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
    [
        {},
        {"weight_decay": 1.0},
        {"weight_decay": 0.0, "snr": 0.1},
        {"beta2": 0.999, "std0": 0.2},
        {"drift": 3e-3},
        {"epsilon": 1.0, "drift": 3e-3, "snr": 0.3},
        {"final_gradient": 0.01, "beta2": 0.999, "weight_decay": 1.0},
        {"final_gradient": 0.01, "beta2": 0.999, "weight_decay": 1.0, "drift": 3e-3},
        {"weight_decay": 3.0, "decay_schedule": "rate"},
        {"weight_decay": 3.0, "decay_schedule": "independent", "epsilon": 0.5},
    ],
)
def test_the_simulation_follows_the_prediction(node, change: dict) -> None:
    s = {**SHORT_RUN, "lr": 3e-3, **change}
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
        "import { Simulation, dataMemory, trajectory, sampleSteps }"
        f' from "{(SCRIPTS / MATH).as_uri()}";\n'
        # Of this process alone, whatever else the machine does.
        "const busy = () => { const { user, system } = process.cpuUsage(); "
        "return (user + system) / 1e6; };\n"
        "export function seconds(s) {\n"
        "  const times = [1, 2, 3].map(() => {\n"
        "    const start = busy();\n"
        "    trajectory(s, sampleSteps(s.steps));\n"
        "    dataMemory(s, sampleSteps(s.steps));\n"
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
        assert node(module, "seconds", s) < 0.2  # 60 ms on a server's core
        every = {"final_gradient": 0.1, "decay_schedule": "independent", "drift": 1e-3}
        assert node(module, "seconds", {**s, **every}) < 0.4  # 110 ms
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
    choices = {
        "schedule": SCHEDULES,
        "decay_schedule": DECAY_SCHEDULES,
        "preset": ("custom", *PUBLISHED_RUNS),
    }
    for name, values in choices.items():
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


@pytest.mark.parametrize("s", [{}, {"log_steps": True, "log_std": True}, *EXTREMES])
def test_the_still_picture_is_drawn(s: dict, tmp_path: Path) -> None:
    widget = AdamWEquilibrium(**{**SHORT_RUN, **s})
    figure = widget.figure()
    figure.savefig(tmp_path / "figure.svg", transparent=True)
    above, below, memory = figure.axes
    labels = {line.get_label(): line for line in above.get_lines()}
    drawn = labels["predicted std"].get_ydata()
    with np.errstate(over="ignore"):
        assert drawn[-1] == widget.trajectory()[-1] or not np.isfinite(drawn[-1])
    settles = widget.lr > 0 and widget.weight_decay + widget.alignment > 0
    assert ("equilibrium of the rate at the step" in labels) == settles
    assert above.get_xscale() == ("log" if widget.log_steps else "linear")
    assert below.get_ylabel() == "learning rate"
    assert memory.get_xscale() == above.get_xscale()
    weights = memory.get_lines()[0].get_ydata()
    half, shaded = widget.half_of_memory(), memory.patches
    assert len(shaded) == (half > 0)
    if half:
        updates = np.abs(widget.memory().updates)
        assert weights[-1] == pytest.approx(updates[-1] / updates.mean())
        left, right = shaded[0].get_extents().transformed(memory.transData.inverted()).intervalx
        assert (left, right) == pytest.approx((widget.steps - half + 0.5, widget.steps))
        assert f"last {half:,} updates" in memory.get_title(loc="left")


# In the browser


def control(page: Page, label: str) -> Locator:
    """The input with exactly this label."""
    name = page.locator(".ins-label", has_text=re.compile(f"^{label}$"))
    return page.locator(".ins-control").filter(has=name).locator("input, select")


@pytest.mark.browser
def test_presets_set_the_rest(open_page: Open, sentence) -> None:
    page = open_page(AdamWEquilibrium(preset="shakespeare"))
    for preset in PUBLISHED_RUNS:
        control(page, "preset").select_option(preset)
        assert said(page) == sentence(AdamWEquilibrium(preset=preset))
    control(page, "weight decay").fill("-2")
    drawn(page)
    assert control(page, "preset").input_value() == "custom"


@pytest.mark.browser
@pytest.mark.parametrize("steps", [600_000, 1_000_000])
def test_long_numbers_below_a_chart_stand_apart(open_page: Open, steps: int) -> None:
    page = open_page(AdamWEquilibrium(steps=steps))
    for width in range(300, 1001, 20):
        page.set_viewport_size({"width": width, "height": 800})
        drawn(page)
        assert page.evaluate(CROWDED) == [], width
        assert min(picture.count('text-anchor="') for picture in pictures(page)) > 4, width


@pytest.mark.browser
@pytest.mark.parametrize("changes", [{}, {"lr": 0.001}], ids=["alone", "but for the rate"])
def test_a_preset_in_the_address_sets_the_rest(open_page: Open, sentence, changes: dict) -> None:
    settings = {"preset": "llama-7b", **changes}
    query = "&".join(f"AdamWEquilibrium.{name}={value}" for name, value in settings.items())
    page = open_page(AdamWEquilibrium(preset="shakespeare"), query=query)
    assert said(page) == sentence(AdamWEquilibrium(**settings))


@pytest.mark.browser
def test_the_schedule_decides_which_updates_are_remembered(open_page: Open, sentence) -> None:
    page = open_page(AdamWEquilibrium(preset="shakespeare"))
    control(page, "weight decay").fill("0")  # 1
    page.get_by_text("More of AdamW").click()
    seen = set()
    for schedule in SCHEDULES:
        control(page, "schedule").select_option(schedule)
        for decay_schedule in DECAY_SCHEDULES:
            control(page, "weight decay per step").select_option(decay_schedule)
            changes = {"schedule": schedule, "decay_schedule": decay_schedule, "weight_decay": 1.0}
            widget = AdamWEquilibrium(**{**PUBLISHED_RUNS["shakespeare"], **changes})
            assert said(page) == sentence(widget)
            half = widget.half_of_memory()
            assert f"is from the last {half:,} updates" in said(page)
            memory = page.locator(".ins-chart").nth(2)
            assert f"the last {half:,} updates" in (memory.get_attribute("aria-label") or "")
            # What is shaded is that part of the axis, at its end.
            shaded = [
                float(memory.locator("rect").get_attribute(name) or "") for name in ("x", "width")
            ]
            level = memory.locator("line.ins-grid").last
            left, right = (float(level.get_attribute(name) or "") for name in ("x1", "x2"))
            assert shaded[1] / (right - left) == pytest.approx((half - 0.5) / 5000)
            assert sum(shaded) == pytest.approx(right)
            seen.add(half)
    assert len(seen) > 9  # a constant rate leaves little to choose


@pytest.mark.browser
def test_simulation(open_page: Open) -> None:
    settings = {**SHORT_RUN, "steps": 3000}
    page = open_page(AdamWEquilibrium(**settings), reduced_motion="no-preference")
    before = pictures(page)
    press(page, "Simulate")
    page.get_by_role("button", name="Simulate again").wait_for()
    assert pictures(page)[0].count("<circle") > 30
    found = re.search(r"on 4,000 weights .* ends at ([\d.]+) ± ([\d.]+)\.", said(page))
    assert found
    assert float(found[1]) == pytest.approx(predicted(settings)[-1], abs=2 * float(found[2]))
    table = downloaded(page)
    simulated = table[table["simulated_std"] != ""].astype(float)
    assert len(simulated) > 30
    np.testing.assert_allclose(simulated["simulated_std"], simulated["std"], rtol=0.1)
    control(page, "logarithmic std").check()
    assert "<circle" in pictures(page)[0]  # another axis, the same simulation
    control(page, "logarithmic std").uncheck()
    control(page, "steps").fill("6")  # a million: takes long enough to be stopped
    assert "<circle" not in pictures(page)[0]
    press(page, "Simulate")
    press(page, "Stop")
    page.get_by_role("button", name="Simulate", exact=True).wait_for()
    press(page, "Reset")
    assert pictures(page) == before
    page.get_by_text("Gradients that are not pure noise").click()
    control(page, "diffusion D").fill("1")
    drawn(page)
    assert page.get_by_role("button", name="Simulate").is_disabled()


@pytest.mark.browser
def test_with_less_motion_the_simulation_is_drawn_at_its_end(open_page: Open) -> None:
    page = open_page(AdamWEquilibrium(preset="shakespeare"))
    control(page, "steps").fill("6")  # a million: takes seconds
    press(page, "Simulate")
    page.wait_for_timeout(300)
    assert "<circle" not in pictures(page)[0]  # nothing moves until all is there
    press(page, "Stop")
    press(page, "Reset")
    press(page, "Simulate")
    page.get_by_role("button", name="Simulate again").wait_for()
    assert "<circle" in pictures(page)[0]
