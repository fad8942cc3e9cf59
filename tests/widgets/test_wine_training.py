"""Training in the browser: the same numbers as torch, and what a reader can do with it."""

from __future__ import annotations

import io
import itertools
import math
import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import traitlets
from playwright.sync_api import Locator, Page
from widget_cases.wine_training import EXTREMES, check_sentence, random_widget, sweep
from widget_page import Open, pictures

from initscope.data import load_wine
from initscope.models import MLP
from initscope.sweep import run_sweep
from initscope.theory import scheme_std
from initscope.widgets.bundle import SCRIPTS
from initscope.widgets.wine_training.widget import OPTIMIZERS, WineTraining, wine_rows

CONTROLS = (
    "scheme",
    "std",
    "depth",
    "width",
    "optimizer",
    "learning_rate",
    "batch_size",
    "epochs",
    "seeds",
)

PROBE = f"""
import {{ Network, Training, Workspace, accuracy, standardized }}
  from "{(SCRIPTS / "wine_training/training.mjs").as_uri()}";
import {{ finish }} from "{(SCRIPTS / "lib/dense.mjs").as_uri()}";
import {{ summary, table }} from "{(SCRIPTS / "wine_training/message.mjs").as_uri()}";
import {{ trainingSettings }} from "{(SCRIPTS / "wine_training/widget.mjs").as_uri()}";
import {{ Generator, fillNormal, permutation, seedSequence }}
  from "{(SCRIPTS / "lib/torch_random.mjs").as_uri()}";

export const split = (data, seed) => standardized(data, seed);

export function draws(seed, sizes) {{
  const generator = new Generator(seed);
  const normal = sizes.map((n) => [...fillNormal(new Float32Array(n), 0.5, generator)]);
  return {{ normal, order: permutation(133, generator) }};
}}

export const sequence = (words) => seedSequence(words);

/** One network in float64 from the weights given, on the same batch at every step. */
export function one({{ widths, weights, inputs, labels, optimizer, rate, steps }}) {{
  const doubles = (values) => Float64Array.from(values);
  const space = new Workspace(widths, labels.length, Float64Array);
  const biases = widths.slice(1).map((n) => new Float64Array(n));
  const network = new Network(weights.map(doubles), biases);
  const found = {{ losses: [], norms: [], accuracies: [] }};
  for (let step = 0; step < steps; step += 1) {{
    const batch = doubles(inputs);
    finish(space.forward(network.weights, network.biases, batch, labels.length));
    found.accuracies.push(accuracy(space.logits, labels, widths.at(-1)));
    found.losses.push(finish(space.backward(network.weights, network.biases, batch, labels)));
    found.norms.push(space.weightGradients.map((g) => Math.hypot(...g)));
    network.update(space, optimizer, rate);
  }}
  return {{ ...found, weights: network.weights.map((w) => [...w]) }};
}}

/** A whole training as the widget does it. */
export function train(data, settings, steps = Infinity) {{
  const training = new Training(data, trainingSettings(settings));
  finish(training.start());
  const before = summary(training);
  const drawn = training.runs.map((run) => run.network.weights.map((w) => [...w.slice(0, 40)]));
  while (!training.finished && training.step < steps) finish(training.advance());
  const runs = training.runs.map(({{ scheme, seed, diverged, records, batchLosses }}) => (
    {{ scheme, seed, diverged, records, batchLosses }}));
  return {{ runs, before, drawn, after: summary(training), table: table(training) }};
}}
"""


@pytest.fixture(scope="module")
def js(tmp_path_factory: pytest.TempPathFactory, node: Callable[..., Any]) -> Callable[..., Any]:
    """Call a function of PROBE; numbers that are not finite come as floats."""
    module = tmp_path_factory.mktemp("js") / "probe.mjs"
    module.write_text(PROBE)

    def numbers(value: Any) -> Any:
        if isinstance(value, list):
            return [numbers(v) for v in value]
        if isinstance(value, dict):
            return {k: numbers(v) for k, v in value.items()}
        return float(value) if value in ("NaN", "Infinity", "-Infinity") else value

    return lambda function, *arguments: numbers(node(module, function, *arguments))


def settings_of(widget: WineTraining) -> dict[str, Any]:
    return {name: getattr(widget, name) for name in CONTROLS}


def initial_norms(run: pd.Series) -> np.ndarray:
    return run["gradient_norm"].reshape(-1, run["depth"])[0]


def relative(found: Any, expected: Any) -> float:
    """Largest difference relative to the expected; numbers too small for float32 count as 0."""
    found, expected = np.asarray(found, float), np.asarray(expected, float)
    assert found.shape == expected.shape
    assert (np.isfinite(found) == np.isfinite(expected)).all()
    sound = np.isfinite(expected)
    difference = np.abs(found - expected)[sound]
    return float(np.max(difference / (np.abs(expected[sound]) + 1e-35), initial=0))


# --- The mathematics, without a browser -----------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 7, 2**32 - 1])
def test_random_numbers_are_those_of_torch(js, seed: int) -> None:
    sizes = [1, 20, 5, 16, 416, 3, 15, 1024, 7, 33]
    found = js("draws", seed, sizes)
    generator = torch.Generator().manual_seed(seed)
    for values, n in zip(found["normal"], sizes, strict=True):
        expected = torch.empty(n).normal_(0, 0.5, generator=generator).numpy()
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)
    assert found["order"] == torch.randperm(133, generator=generator).tolist()


@pytest.mark.parametrize("words", [[0, 0], [3, 99], [7, 12345], [1, 2, 3, 4, 5]])
def test_the_order_of_batches_has_the_seeds_of_numpy(js, words: list[int]) -> None:
    low, high = js("sequence", words)
    state = int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])
    assert (low, high) == (state & 0xFFFFFFFF, state >> 32)


@pytest.mark.parametrize("seed", range(8))
def test_the_data_are_those_of_load_wine(js, seed: int) -> None:
    found, wine = js("split", wine_rows(), seed), load_wine(seed=seed)
    for name, inputs, labels in (
        ("", wine.train_inputs, wine.train_labels),
        ("test", wine.test_inputs, wine.test_labels),
    ):
        shown = np.reshape(found[f"{name}Inputs" if name else "inputs"], inputs.shape)
        np.testing.assert_allclose(shown, inputs, rtol=1e-6, atol=1e-6)
        assert found[f"{name}Labels" if name else "labels"] == labels.tolist()


def torch_training(case: dict[str, Any]) -> dict[str, Any]:
    """The same as `one` of the probe, by torch's autograd and optimizers in float64."""
    model = MLP(case["widths"]).double()
    with torch.no_grad():
        for layer, weight in zip(model.linear_layers, case["weights"], strict=True):
            layer.weight.copy_(torch.tensor(weight).reshape(layer.weight.shape))
            layer.bias.zero_()
    build = {
        "sgd": lambda p: torch.optim.SGD(p, lr=case["rate"]),
        "momentum": lambda p: torch.optim.SGD(p, lr=case["rate"], momentum=0.9),
        "adam": lambda p: torch.optim.Adam(p, lr=case["rate"]),
    }
    optimizer = build[case["optimizer"]](model.parameters())
    labels = torch.tensor(case["labels"])
    inputs = torch.tensor(case["inputs"], dtype=torch.double).reshape(len(labels), -1)
    found: dict[str, Any] = {"losses": [], "norms": [], "accuracies": []}
    for _ in range(case["steps"]):
        optimizer.zero_grad()
        logits = model(inputs)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        loss.backward()
        right = (logits.argmax(1) == labels) & logits.isfinite().all(1)
        found["losses"].append(loss.item())
        found["accuracies"].append(right.double().mean().item())
        found["norms"].append([layer.weight.grad.norm().item() for layer in model.linear_layers])
        optimizer.step()
    found["weights"] = [layer.weight.detach().flatten().tolist() for layer in model.linear_layers]
    return found


def random_case(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    depth, width = int(rng.integers(1, 7)), int(rng.choice([1, 2, 5, 8, 13]))
    widths = [13, *[width] * (depth - 1), 3]
    std = 10 ** rng.uniform(-1.5, 0.2)
    batch = int(rng.integers(1, 30))
    return {
        "widths": widths,
        "weights": [
            (std * rng.standard_normal(a * b)).tolist() for a, b in itertools.pairwise(widths)
        ],
        "inputs": rng.standard_normal(batch * 13).tolist(),
        "labels": rng.integers(0, 3, batch).tolist(),
        "optimizer": OPTIMIZERS[seed % 3],
        "rate": 10 ** rng.uniform(-3, -1),
        "steps": 50,
    }


@pytest.mark.parametrize("seed", range(10))
def test_training_is_that_of_torch(js, seed: int) -> None:
    """Losses, accuracies, gradient norms and weights after 50 steps, in float64."""
    case = random_case(seed)
    found, expected = js("one", case), torch_training(case)
    for name in ("losses", "norms"):
        assert relative(found[name], expected[name]) < 1e-4, name
    assert found["accuracies"] == pytest.approx(expected["accuracies"])
    for weight, same in zip(found["weights"], expected["weights"], strict=True):
        np.testing.assert_allclose(weight, same, rtol=1e-4, atol=1e-10)


@pytest.mark.parametrize("seed", [0, 1, 4, 6, 7])
def test_a_training_diverges_at_the_step_at_which_torch_does(js, seed: int) -> None:
    widths = [13, *[24] * 5, 3]
    rng = np.random.default_rng(seed)
    case = random_case(seed) | {"widths": widths, "rate": 0.1, "steps": 25}
    case["weights"] = [
        rng.standard_normal(a * b).round(5).tolist() for a, b in itertools.pairwise(widths)
    ]
    found, expected = js("one", case), torch_training(case)
    lost = [np.flatnonzero(~np.isfinite(np.array(f["losses"], float))) for f in (found, expected)]
    assert len(lost[1])
    assert lost[0][0] == lost[1][0]


@pytest.mark.parametrize("seed", range(10))
def test_the_page_trains_the_runs_of_a_sweep(js, seed: int) -> None:
    """Weights, splits and batches are drawn in JavaScript; float32 on both sides."""
    widget = random_widget(random.Random(seed))
    found = js("train", wine_rows(), settings_of(widget))
    table = sweep(widget)
    assert len(table) == len(found["runs"])
    for _, expected in table.iterrows():
        (run,) = [
            r
            for r in found["runs"]
            if (r["scheme"], r["seed"]) == (expected["scheme"], expected["seed"])
        ]
        assert relative(run["records"][0]["gradientNorms"], initial_norms(expected)) < 1e-4
        assert run["diverged"] == (
            None if pd.isna(expected["diverged_step"]) else expected["diverged_step"]
        )
        assert relative(run["batchLosses"][:3], expected["loss"][:3]) < 1e-3
        if run["diverged"] is None:
            last = run["records"][-1]
            assert last["step"] == expected["loss_step"][-1]
            # Rounding grows with every step; after these few it is still small.
            assert last["testLoss"] == pytest.approx(expected["test_loss"], rel=0.01)
            assert last["accuracy"] == pytest.approx(expected["test_accuracy"], abs=0.03)
    check_sentence(found["after"], table)


@pytest.mark.parametrize("changes", EXTREMES)
def test_extreme_settings(js, changes: dict[str, Any]) -> None:
    widget = WineTraining(**{"seeds": 4, "epochs": 4} | changes)
    found = js("train", wine_rows(), settings_of(widget))
    table = sweep(widget)
    for run, (_, expected) in zip(found["runs"], table.iterrows(), strict=True):
        assert relative(run["records"][0]["gradientNorms"], initial_norms(expected)) < 1e-4
        # Rounding may move the step at which a number overflows, but hardly.
        lost, same = run["diverged"], expected["diverged_step"]
        assert (lost is None) == bool(pd.isna(same))
        assert lost is None or abs(lost - same) <= 1
        steps = [record["step"] for record in run["records"]]
        assert steps == sorted(set(steps))
        for record in run["records"][:-1]:
            assert math.isfinite(record["loss"])


def test_a_diverged_run_disturbs_no_other(js) -> None:
    widget = WineTraining(depth=5, std=2.0, learning_rate=0.05, epochs=5)
    together = js("train", wine_rows(), settings_of(widget))["runs"]
    assert {run["diverged"] is None for run in together} == {True, False}
    widget.seeds = 1
    (alone,) = js("train", wine_rows(), settings_of(widget))["runs"]
    assert together[0]["diverged"] is None
    assert together[0] == alone


def test_a_race_differs_in_the_scale_of_the_weights_only(js) -> None:
    widget = WineTraining(scheme="race", depth=4, width=8, seeds=2, epochs=1)
    found = js("train", wine_rows(), settings_of(widget))
    widths = (13, 8, 8, 8, 3)
    for seed in range(2):
        xavier, kaiming = found["drawn"][seed], found["drawn"][2 + seed]
        for k, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
            ratio = scheme_std("xavier", fan_in, fan_out) / scheme_std("kaiming", fan_in, fan_out)
            np.testing.assert_allclose(xavier[k], ratio * np.array(kaiming[k]), rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"std": 0.01}, r"All gradients of the first layer are below 1e-8: it will not move\."),
        ({"std": 0.25}, r"Before training \(guessing has loss 1\.10, medians of 5 seeds\): loss "),
        ({"std": 2.0}, r"Gradients this large will throw the weights far off\."),
        ({"std": 10.0, "depth": 30}, r"^All 5 seeds diverged before the first update\.$"),
        ({"scheme": "race"}, r": Xavier: loss .*; Kaiming: loss .* in the last\."),
        ({"std": 0.25, "depth": 1}, r"gradient norm [\d.]+\.$"),
    ],
)
def test_the_sentence_before_training(js, changes: dict[str, Any], sentence: str) -> None:
    settings = settings_of(WineTraining(**changes))
    assert re.search(sentence, js("train", wine_rows(), settings, 0)["before"])


@pytest.mark.parametrize(
    ("changes", "steps", "sentence"),
    [
        ({"std": 0.01, "epochs": 2}, 8, r"^After all 8 steps: 0 of 5 .* it does not move\.$"),
        ({"std": 0.1, "epochs": 2}, 5, r"^After 5 steps: 0 of 5 .* is that of guessing, 1\.10\.$"),
        ({"depth": 2, "seeds": 1}, 1, r"^After 1 step: 0 of 1 seed learns \(test accuracy of at"),
        ({"depth": 1, "seeds": 1, "batch_size": 4, "epochs": 40}, 1320, r"After all 1,320 steps: "),
        ({"depth": 2}, 200, r"^After all 200 steps: 5 of 5 seeds learn .* accuracy 9\d%\.$"),
        ({"depth": 5, "std": 2.0, "learning_rate": 0.05}, 9, r"Seeds .* and \d diverged at step"),
        ({"scheme": "race", "depth": 20}, 4, r"^After 4 steps: Xavier: 0 of 5.*; Kaiming: 0 of 5"),
    ],
)
def test_the_sentence_in_training(js, changes: dict, steps: int, sentence: str) -> None:
    settings = settings_of(WineTraining(**changes))
    assert re.search(sentence, js("train", wine_rows(), settings, steps)["after"])


# --- The Python side ------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "width"), [(1, 32), (2, 8), (30, 128)])
def test_the_std_of_kaiming_is_named_beside_the_slider(node, depth: int, width: int) -> None:
    text = node("wine_training/widget.mjs", "kaimingNote", {"depth": depth, "width": width})
    fans = [13] if depth == 1 else [13, width]
    stated = [float(number) for number in re.findall(r"0\.\d+", text)]
    assert stated == [pytest.approx(math.sqrt(2 / fan), abs=6e-4) for fan in fans]


def test_the_data_are_not_changed() -> None:
    with pytest.raises(traitlets.TraitError):
        WineTraining().wine = {}


@pytest.mark.parametrize(
    "changes",
    [{}, {"scheme": "race", "depth": 20}, EXTREMES[0], EXTREMES[1], EXTREMES[4]],
)
def test_the_still_picture_shows_the_runs(changes: dict[str, Any]) -> None:
    widget = WineTraining(**{"epochs": 10} | changes)
    table = run_sweep(widget.spec(), progress=False)
    figure = widget.figure(table)
    losses, norms = figure.axes
    for _, runs in table.groupby("scheme"):
        learned = int((runs["test_accuracy"] >= 0.9).sum())
        assert f"{learned} of {len(runs)}" in losses.get_title()
    drawn = [line for line in losses.get_lines() if len(line.get_xdata()) > 2]
    lost = int(table["diverged_step"].notna().sum())
    assert len(table) - lost <= len(drawn) <= len(table)
    crosses = [line for line in losses.get_lines() if line.get_marker() == "x"]
    assert len(crosses) == lost
    first = table[table["scheme"] == table["scheme"].iloc[0]]
    before = np.array([initial_norms(run) for _, run in first.iterrows()])
    before = before[np.isfinite(before).all(1)]
    if len(before) and (before > 0).all():  # neither diverged nor vanished in float32
        shown = norms.get_lines()[0].get_ydata()
        np.testing.assert_allclose(shown, np.exp(np.log(before).mean(0)), rtol=1e-6)
    figure.savefig(io.BytesIO(), format="svg")


def test_what_is_not_trained_is_shown_so() -> None:
    losses, norms = WineTraining().figure().axes
    assert losses.get_title() == "not trained yet"
    (guessing,) = losses.get_lines()
    assert guessing.get_ydata()[0] == pytest.approx(math.log(3))
    assert not norms.get_lines()


# --- In the browser -------------------------------------------------------------------------------


def heard(page: Page, pattern: str) -> None:
    """Wait until the widget says what is expected."""
    message = page.locator(".ins-message").filter(has_text=re.compile(pattern))
    message.wait_for(timeout=20_000)


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def counted(page: Page, step: int, of: int = 200) -> None:
    page.get_by_text(f"step {step} of {of}", exact=True).wait_for(timeout=20_000)


def step_now(page: Page) -> int:
    return int(re.findall(r"step (\d+) of", page.locator(".ins-widget").first.inner_text())[0])


@pytest.mark.browser
def test_the_buttons_by_mouse_and_keyboard(open_page: Open) -> None:
    page = open_page(WineTraining(depth=10, epochs=100), reduced_motion="no-preference")
    assert step_now(page) == 0
    page.wait_for_timeout(200)
    assert step_now(page) == 0, "it has started by itself"
    start = pictures(page)

    button(page, "Step").click()
    counted(page, 1, 400)
    heard(page, "^After 1 step:")
    button(page, "Step").focus()
    page.keyboard.press("Enter")
    counted(page, 2, 400)
    assert pictures(page) != start

    button(page, "Continue").focus()
    page.keyboard.press("Space")
    pause = button(page, "Pause")
    pause.wait_for()
    assert pause.evaluate("button => button === document.activeElement")
    page.wait_for_function("document.querySelector('progress').value > 0.1")
    page.keyboard.press("Space")
    button(page, "Continue").wait_for()
    page.wait_for_timeout(100)
    paused = step_now(page)
    heard(page, f"^After {paused} steps:")
    page.wait_for_timeout(200)
    assert 0 < step_now(page) == paused < 400

    button(page, "Restart").click()
    counted(page, 0, 400)
    heard(page, "^Before training")
    assert pictures(page) == start

    page.get_by_label("epochs").fill("3")
    button(page, "Run").click()
    heard(page, "^After all 12 steps")
    button(page, "Run again").wait_for()
    assert button(page, "Step").get_attribute("aria-disabled") == "true"
    button(page, "Step").click(force=True)
    counted(page, 12, 12)
    button(page, "Run again").click()
    heard(page, "^After all 12 steps")
    counted(page, 12, 12)


@pytest.mark.browser
def test_a_change_restarts(open_page: Open) -> None:
    page = open_page(WineTraining(epochs=2))
    button(page, "Run").click()
    heard(page, "^After all 8 steps")
    page.get_by_label("initialization").select_option("race")
    heard(page, "^Before training")
    assert page.get_by_label("std of the weights").is_disabled()
    counted(page, 0, 8)
    button(page, "Run").wait_for()
    # While it runs, it goes on with the new setting.
    page.get_by_label("epochs").fill("100")
    button(page, "Run").click()
    button(page, "Pause").wait_for()
    page.get_by_label("epochs").fill("3")
    heard(page, "^After all 12 steps")


@pytest.mark.browser
def test_the_page_does_not_freeze(open_page: Open) -> None:
    """The largest networks that can be chosen leave the page frame after frame."""
    widget = WineTraining(scheme="kaiming", depth=30, width=128, seeds=2)
    page = open_page(widget, reduced_motion="no-preference")
    button(page, "Run").click()
    longest = page.evaluate(
        """() => new Promise((done) => {
            const times = [];
            const tick = (now) => {
              times.push(now);
              if (times.at(-1) - times[0] < 800) requestAnimationFrame(tick);
              else done(Math.max(...times.slice(1).map((t, i) => t - times[i])));
            };
            requestAnimationFrame(tick);
        })"""
    )
    assert longest < 500
    button(page, "Pause").click()
    button(page, "Continue").wait_for()


@pytest.mark.browser
def test_less_motion_means_fewer_pictures(open_page: Open) -> None:
    drawn = {}
    for motion in ("reduce", "no-preference"):
        page = open_page(WineTraining(depth=3, epochs=30), reduced_motion=motion)
        page.evaluate(
            """() => {
              window.drawn = 0;
              new MutationObserver(() => { window.drawn += 1; })
                .observe(document.querySelector(".ins-chart"), { childList: true });
            }"""
        )
        page.wait_for_timeout(150)
        assert page.evaluate("window.drawn") == 0
        button(page, "Run").click()
        heard(page, "^After all 120 steps")
        drawn[motion] = page.evaluate("window.drawn")
    assert 2 <= drawn["reduce"] <= 14
    assert drawn["no-preference"] >= 30
