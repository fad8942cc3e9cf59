"""A GPT that trains in the browser: the same numbers as torch, and what a reader can do with it."""

from __future__ import annotations

import importlib.util
import io
import math
import re
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from playwright.sync_api import Page
from widget_cases.gpt_training import check_sentence, trained
from widget_page import ROOT, Open, downloaded, pictures, said, widget_page

from initscope.models import gpt2
from initscope.widgets.base import SettingError
from initscope.widgets.bundle import SCRIPTS
from initscope.widgets.gpt_training import widget as gpt_module
from initscope.widgets.gpt_training.widget import MATRICES, OPTIMIZERS, RIVALS, GPTTraining

CONTROLS = (
    *("std", "learning_rate", "weight_decay", "width", "optimizer", "rival", "steps", "seed"),
    "residual_scaling",
)


def module(name: str) -> str:
    return (SCRIPTS / name).as_uri()


PROBE = f"""
import {{ finish }} from "{module("lib/dense.mjs")}";
import {{ Workspace, parameterShapes }} from "{module("gpt_training/model.mjs")}";
import * as training from "{module("gpt_training/training.mjs")}";
import {{ predictionOf, runsOf }} from "{module("gpt_training/runs.mjs")}";
import * as message from "{module("gpt_training/message.mjs")}";

export const constants = () => ({{ ...training, ...message }});

/** Loss and gradients of one batch, from weights that are given by name. */
export function gradients(sizes, weights, inputs, targets) {{
  const parameters = Object.fromEntries(
    parameterShapes(sizes).map(([name]) => [name, Float32Array.from(weights[name])]));
  const space = new Workspace(sizes);
  const loss = finish(space.backward(parameters, inputs, targets));
  return {{ loss, gradients: space.gradients }};
}}

/** A parameter after each of some updates with given gradients. */
export function updates(optimizer, parameter, gradients, rate, decay) {{
  const [state, values] = [{{}}, Float32Array.from(parameter)];
  return gradients.map((gradient) => {{
    training.OPTIMIZERS[optimizer](state, values, Float32Array.from(gradient), rate, decay);
    return [...values];
  }});
}}

function withPredictions(settings) {{
  return runsOf(settings).map((run) => (
    {{ ...run, prediction: predictionOf(run, settings.steps), records: [], diverged: null }}));
}}

export const predictions = (settings) => withPredictions(settings).map((run) => run.prediction);

/** What is said of records that were made elsewhere, and the rows of the download. */
export function told(settings, recorded, vocabulary, diverged = []) {{
  const runs = withPredictions(settings);
  recorded.forEach((records, k) => {{
    runs[k].records = records;
    runs[k].diverged = diverged[k] ?? null;
  }});
  const steps = recorded.flat().map((one) => one.step);
  const step = Math.max(0, ...steps, ...diverged.map((at) => at ?? 0));
  return {{
    sentence: message.summary(runs, step, settings.steps, vocabulary),
    table: message.table(runs, settings.steps),
  }};
}}

/** Whole runs, as the worker makes them. */
export function train(settings, text) {{
  return runsOf(settings).map((run) => training.trained(run, text, settings.steps));
}}
"""


@pytest.fixture(scope="module")
def js(tmp_path_factory: pytest.TempPathFactory, node: Callable[..., Any]) -> Callable[..., Any]:
    """Call a function of PROBE."""
    path = tmp_path_factory.mktemp("js") / "probe.mjs"
    path.write_text(PROBE)
    return lambda function, *arguments: node(path, function, *arguments)


def settings_of(widget: GPTTraining) -> dict[str, Any]:
    return {name: getattr(widget, name) for name in CONTROLS}


def records_of(table: pd.DataFrame) -> list[list[dict[str, Any]]]:
    """The records of the runs in a table of Python, as JavaScript has them."""
    return [
        [
            {
                "step": int(row["step"]),
                "loss": None if math.isnan(row["loss"]) else row["loss"],
                "std": np.reshape(row[MATRICES].to_numpy(float), (3, 12)).tolist(),
            }
            for _, row in run.iterrows()
        ]
        for _, run in table.groupby("run")
    ]


# --- The mathematics, without a browser -----------------------------------------------------------


def test_both_sides_train_the_same_model(js) -> None:
    found = js("constants")
    names = {"LAYERS", "CONTEXT", "PASSAGES", "BETAS", "MOMENTUM", "ROLES", "MARGIN"}
    for name in names:
        assert np.array_equal(found[name], getattr(gpt_module, name)), name


@pytest.mark.parametrize(
    ("layers", "width", "heads", "context", "vocabulary", "passages", "std"),
    [
        (12, 32, 4, 32, 69, 8, 0.1),
        (12, 16, 4, 32, 69, 2, 0.02),
        (2, 12, 3, 5, 7, 3, 0.5),
        (1, 8, 1, 1, 2, 1, 1.0),
        (3, 48, 4, 17, 31, 2, 0.3),
    ],
)
def test_loss_and_gradients_are_those_of_torch(
    js, layers, width, heads, context, vocabulary, passages, std
) -> None:
    generator = torch.Generator().manual_seed(1)
    model = gpt2(
        "nano12",
        n_layer=layers,
        n_embd=width,
        n_head=heads,
        n_positions=context,
        vocab_size=vocabulary,
    )
    with torch.no_grad():
        for parameter in model.parameters():  # gains and biases too
            parameter.add_(torch.empty_like(parameter).normal_(0, std, generator=generator))
    tokens = torch.randint(0, vocabulary, (2, passages, context), generator=generator)
    logits = model(tokens[0]).logits.flatten(0, 1)
    loss = torch.nn.functional.cross_entropy(logits, tokens[1].flatten())
    loss.backward()
    named = {
        name.removeprefix("transformer."): parameter for name, parameter in model.named_parameters()
    }
    sizes = {
        "layers": layers,
        "width": width,
        "heads": heads,
        "context": context,
        "vocabulary": vocabulary,
        "passages": passages,
    }
    weights = {name: p.detach().flatten().tolist() for name, p in named.items()}
    found = js("gradients", sizes, weights, *(t.flatten().tolist() for t in tokens))
    assert found["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert found["gradients"].keys() == named.keys()
    for name, parameter in named.items():
        expected = parameter.grad.flatten().numpy()
        ours = np.array([float(value) for value in np.ravel(found["gradients"][name])])
        # The keys' biases have none: what is there is rounding, a billionth of the others.
        size = np.linalg.norm(expected)
        assert np.linalg.norm(ours - expected) <= 1e-4 * size + 1e-7, name
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("decay", [0.0, 3.0])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_updates_are_those_of_torch(js, optimizer: str, decay: float) -> None:
    rng = np.random.default_rng(0)
    start = rng.standard_normal(40).astype(np.float32)
    gradients = (10 ** rng.uniform(-6, 1, (6, 40)) * rng.standard_normal((6, 40))).astype("f4")
    gradients[:, :3] = 0  # Adam divides by epsilon there
    parameter = torch.nn.Parameter(torch.tensor(start))
    given = {"lr": 0.01, "weight_decay": decay}
    rule = (
        torch.optim.AdamW([parameter], betas=gpt_module.BETAS, **given)
        if optimizer == "adamw"
        else torch.optim.SGD([parameter], momentum=0.9 * (optimizer == "momentum"), **given)
    )
    expected = []
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient)
        rule.step()
        expected.append(parameter.detach().numpy().copy())
    found = js("updates", optimizer, start.tolist(), gradients.tolist(), 0.01, decay)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"rival": "optimizer", "seed": 7},
        {"rival": "scaling", "std": 0.02, "weight_decay": 0.0},
        {"optimizer": "sgd", "learning_rate": 0.1, "width": 48, "seed": 99},
    ],
)
def test_the_page_makes_the_runs_of_torch(js, changes: dict[str, Any]) -> None:
    """Weights and batches are drawn in JavaScript; float32 on both sides."""
    widget = GPTTraining(**{"steps": 12, "width": 16} | changes)
    found = js("train", settings_of(widget), widget.text)
    table = widget.train()
    assert len(found) == len(widget.runs()) == table["run"].nunique()
    for run, (_, expected) in zip(found, table.groupby("run"), strict=True):
        assert run["diverged"] is None
        assert [record["step"] for record in run["records"]] == expected["step"].tolist()
        losses = [record["loss"] for record in run["records"]]
        np.testing.assert_allclose(losses[1:], expected["loss"][1:], rtol=1e-4)
        stds = [np.ravel(record["std"]) for record in run["records"]]
        np.testing.assert_allclose(stds, expected[MATRICES], rtol=1e-4)


def test_a_run_that_diverges_ends_where_it_does_in_torch(js) -> None:
    # Each update multiplies the weights by -3.
    widget = GPTTraining(
        steps=100, width=16, optimizer="sgd", learning_rate=0.1, weight_decay=10.0,
        rival="strong_decay",
    )  # fmt: skip
    found = js("train", settings_of(widget), widget.text)
    lost = [run["diverged"] for run in found]
    assert any(lost), "choose settings that diverge"
    for at, (_, run) in zip(lost, widget.train().groupby("run"), strict=True):
        # Sums of squares overflow a little later in JavaScript, which makes them in float64.
        assert (at is None) == (len(run) == widget.steps + 1)
        assert at is None or 0 <= at - len(run) <= 3
    told = js(
        "told", settings_of(widget), [run["records"] for run in found], len(set(widget.text)), lost
    )
    assert re.search(r"diverged at update \d+: its loss is no number", told["sentence"])


@pytest.mark.parametrize("rival", RIVALS)
def test_the_predictions_are_pythons(js, rival: str) -> None:
    widget = GPTTraining(rival=rival, steps=300, learning_rate=0.004, weight_decay=1.5)
    found = js("predictions", settings_of(widget))
    expected = widget.predictions()
    assert len(found) == len(expected)
    for theirs, ours in zip(found, expected, strict=True):
        assert (theirs is None) == (ours is None)
        if ours is not None:
            np.testing.assert_allclose(theirs["std"], ours, rtol=1e-9)


# --- What is said ---------------------------------------------------------------------------------


def made_up(widget: GPTTraining, factors: list[float], steps: int | None = None) -> pd.DataFrame:
    """Runs in which Q, K and V are so many times what is predicted, in every layer."""
    tables = []
    for k, prediction in enumerate(widget.predictions()):
        known = np.full(widget.steps + 1, widget.std) if prediction is None else prediction
        known = known[: None if steps is None else steps + 1]
        columns = {
            name: known * factors["qkv".index(name[0])] * (1 + 0.001 * int(name[2:]))
            for name in MATRICES
        }
        step = np.arange(len(known))
        loss = np.where(step == 0, np.nan, 2.5)
        tables.append(pd.DataFrame({"run": k + 1, "step": step, "loss": loss, **columns}))
    return pd.concat(tables)


@pytest.mark.parametrize(
    ("factors", "words"),
    [
        ([1.0, 1.1, 0.9], r"right for Q, K and V \(36 of 36"),
        ([1.0, 1.3, 0.9], r"right for Q and V and wrong for K: K lies 31% above it \(24 of 36"),
        ([0.5, 1.3, 0.9], r"right for V and wrong for Q and K: Q lies 50% below and K lies 31%"),
        ([0.5, 1.3, 0.2], r"the theory was wrong: Q lies 50% below, K lies 31% above and V lies"),
    ],
)
@pytest.mark.parametrize("rival", ["none", "small_start", "optimizer"])
def test_the_sentence_after_training(js, factors, words: str, rival: str) -> None:
    widget = GPTTraining(steps=400, learning_rate=0.003, weight_decay=3.0, rival=rival)
    table = made_up(widget, factors)
    told = js("told", settings_of(widget), records_of(table), 69)["sentence"]
    check_sentence(told, table, widget)
    assert re.search(words, told)
    reached = re.search(r"since update (\d+)", told)
    assert bool(reached) == (max(abs(f - 1) for f in factors) < 0.15)
    assert bool(re.search("is not reached", told)) != bool(reached)
    assert "Loss 2.5" in told
    assert ("The two runs end" in told) == (rival != "none")
    assert ("after starts 10 times apart" in told) == (rival == "small_start")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, r"^AdamW's prediction for Q, K and V: from std 0.1 toward the equilibrium 0\.0\d+, "),
        ({"steps": 20}, r"which this run is too short for: it ends at 0\.0[89]"),
        ({"weight_decay": 0.0}, r"without decay there is no equilibrium: from std 0.1 to 0.1\d+"),
        ({"optimizer": "sgd"}, r"^For SGD there is no prediction: its steps .* press Train\.$"),
        ({"rival": "small_start"}, r"std 0.1: from std 0.1 toward .*; std 0.01: from std 0.01 "),
        ({"rival": "optimizer"}, r"AdamW: from .*; SGD, momentum 0.9: for SGD with momentum"),
    ],
)
def test_the_sentence_before_training(js, changes: dict[str, Any], words: str) -> None:
    told = js("told", settings_of(GPTTraining(**changes)), [], 69)["sentence"]
    assert re.search(words, told)
    assert ("median of the 12 layers ends within 15% of its curve" in told) == (
        changes != {"optimizer": "sgd"}
    )


def test_the_sentence_in_training(js) -> None:
    widget = GPTTraining(steps=400)
    table = made_up(widget, [1.0, 1.3, 0.5], 120)
    told = js("told", settings_of(widget), records_of(table), 69)
    assert told["sentence"].startswith("After 120 of 400 updates: medians of the 12 layers Q ")
    assert "right" not in told["sentence"]
    assert len(told["table"]["rows"]) == 401  # what is predicted is there for all


def test_the_sentence_of_the_run_in_the_chapter(js) -> None:
    """What the page says at the end of the preset, from the run that chapter 07 made with torch."""
    widget = GPTTraining()
    table = pd.read_parquet(
        ROOT / "notebooks" / "results" / "07_gpt2_qkv_dynamics" / "cpu" / "gpt_in_the_page.parquet"
    )
    assert table["step"].iloc[-1] == widget.steps
    told = js("told", settings_of(widget), records_of(table), 69)["sentence"]
    check_sentence(told, table, widget)
    np.testing.assert_allclose(
        table["predicted"], widget.predictions()[0][table["step"]], rtol=1e-12
    )


def test_the_page_gets_the_text() -> None:
    widget = GPTTraining()
    assert widget.text.startswith("CHAPTER I.\n\n1801")
    assert len(set(widget.text)) == 69
    assert zlib.decompress(widget.deflated).decode() == widget.text
    with pytest.raises(SettingError, match="text"):
        GPTTraining(text="other")


@pytest.mark.parametrize("rival", ["none", "small_start", "optimizer"])
def test_the_still_picture_shows_the_runs(rival: str) -> None:
    widget = GPTTraining(steps=10, width=16, rival=rival)
    before = widget.figure()
    assert [axes.get_title() for axes in before.axes][:1] == ["Q (queries)"]
    table = trained(widget)
    figure = widget.figure(table)
    for axes, role in zip(figure.axes, "qkv", strict=False):
        drawn = [line.get_ydata() for line in axes.get_lines()]
        for _, run in table.groupby("run"):
            middle = run.filter(regex=f"^{role}_").median(axis=1)
            assert any(len(y) == len(middle) and np.allclose(y, middle) for y in drawn)
        for prediction in widget.predictions():
            assert prediction is None or any(np.array_equal(y, prediction) for y in drawn)  # all 11
        assert len(drawn) == 13 * len(widget.runs()) + sum(
            prediction is not None for prediction in widget.predictions()
        )
    figure.savefig(io.BytesIO(), format="svg")


# --- In the browser -------------------------------------------------------------------------------

WATCHED = """
    window.started = 0;
    window.exponentials = 0;
    const exp = Math.exp;
    Math.exp = (x) => { window.exponentials += 1; return exp(x); };
    window.Worker = class extends Worker {
      constructor(...given) { super(...given); window.started += 1; }
    };
    null
"""


def button(page: Page, name: str) -> Any:
    return page.get_by_role("button", name=name, exact=True)


def step_now(page: Page) -> int:
    return int(page.locator(".ins-counter").first.get_attribute("data-step") or 0)


def counted(page: Page, step: int) -> None:
    page.locator(f'.ins-counter[data-step="{step}"]').wait_for(timeout=60_000)


def beyond(page: Page, step: int) -> None:
    """Wait until more updates than that are made."""
    for _ in range(600):
        if step_now(page) > step:
            return
        page.wait_for_timeout(100)
    raise AssertionError("it does not train")


def watched(open_page: Open, widget: GPTTraining, **options: Any) -> Page:
    page = open_page(widget, **options)
    page.evaluate(WATCHED)
    return page


@pytest.mark.browser
def test_the_buttons_by_mouse_and_keyboard(open_page: Open) -> None:
    page = watched(open_page, GPTTraining(width=16, steps=200), reduced_motion="no-preference")
    start = pictures(page)
    page.wait_for_timeout(200)
    assert (step_now(page), page.evaluate("window.started"), page.workers) == (0, 0, [])

    button(page, "Step").click()
    counted(page, 1)
    assert said(page).startswith("After 1 of 200 updates: ")
    button(page, "Step").focus()
    page.keyboard.press("Enter")
    counted(page, 2)
    assert pictures(page) != start
    page.wait_for_timeout(200)
    assert (step_now(page), page.evaluate("window.started")) == (2, 1)

    button(page, "Continue").focus()
    page.keyboard.press("Space")
    pause = button(page, "Pause")
    pause.wait_for()
    assert pause.evaluate("button => button === document.activeElement")
    beyond(page, 5)
    page.keyboard.press("Space")
    button(page, "Continue").wait_for()
    page.wait_for_timeout(700)  # the update that was at work is still told
    paused = step_now(page)
    assert said(page).startswith(f"After {paused} of 200 updates: ")
    page.wait_for_timeout(300)
    assert 5 < step_now(page) == paused < 200

    button(page, "Restart").click()
    assert pictures(page) == start
    assert said(page).startswith("AdamW's prediction")
    assert step_now(page) == 0


@pytest.mark.browser
def test_the_page_does_none_of_the_work(open_page: Open) -> None:
    """Of the exponentials of attention and GELU, a hundred thousand an update, none is its own."""
    page = watched(open_page, GPTTraining(width=16, steps=10, rival="scaling"))
    button(page, "Train").click()
    counted(page, 10)
    assert said(page).startswith("After all 10 updates: ")
    assert page.evaluate("window.started") == 1
    assert page.evaluate("window.exponentials") < 1000
    assert len(page.workers) == 1
    assert len(downloaded(page)) == 22
    button(page, "Train again").click()
    counted(page, 10)
    assert page.evaluate("window.started") == 2


@pytest.mark.browser
def test_a_change_ends_the_training(open_page: Open) -> None:
    page = watched(open_page, GPTTraining(width=32, steps=3000))
    button(page, "Train").click()
    beyond(page, 1)
    assert len(page.workers) == 1
    page.get_by_label("second run").select_option("small_start")
    button(page, "Train").wait_for()
    page.wait_for_timeout(300)
    assert page.workers == []
    assert (step_now(page), page.evaluate("window.started")) == (0, 1)
    assert "std 0.01: from std 0.01 toward" in said(page)


@pytest.mark.browser
def test_buttons_set_what_they_say(open_page: Open) -> None:
    page = open_page(GPTTraining(width=16, steps=10))
    button(page, "AdamW or SGD").click()
    assert "SGD, momentum 0.9: for SGD with momentum" in said(page)
    button(page, "Train").click()
    counted(page, 10)
    told = said(page)
    assert re.match("After all 10 updates: AdamW: medians .*; SGD, momentum 0.9: medians", told)
    rows = downloaded(page)
    check_sentence(told, trained(GPTTraining(width=16, steps=10, rival="optimizer")),
                   GPTTraining(width=16, steps=10, rival="optimizer"))  # fmt: skip
    assert rows.groupby("run").size().tolist() == [11, 11]
    button(page, "To equilibrium").click()
    assert said(page).startswith("AdamW's prediction for Q, K and V: from std 0.1 ")


NO_WORKERS = """<meta http-equiv="Content-Security-Policy" content="worker-src 'none'">"""


@pytest.mark.browser
def test_where_no_worker_can_be_started_the_page_trains_itself(browser, tmp_path) -> None:
    html = widget_page([GPTTraining(width=16, steps=10)])
    told = []
    for script, head in (("", ""), ("delete window.Worker", ""), ("", NO_WORKERS)):
        (tmp_path / "page.html").write_text(html.replace("<head>", f"<head>{head}"))
        page = browser.new_page()
        page.add_init_script(script)
        page.goto((tmp_path / "page.html").as_uri())
        page.locator("html[data-settled]").wait_for(state="attached")
        button(page, "Train").click()
        counted(page, 10)
        told.append(said(page))
        page.close()
    assert len(set(told)) == 1
    assert told[0].startswith("After all 10 updates")


@pytest.mark.browser
def test_the_policy_of_the_books_pages_lets_it_train(browser, tmp_path) -> None:
    """In a worker, from a file, and without the right to compile anything."""
    path = ROOT / "book" / "_ext" / "safe_pages.py"
    spec = importlib.util.spec_from_file_location("safe_pages", path)
    assert spec is not None
    assert spec.loader is not None
    safe_pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(safe_pages)
    html = widget_page([GPTTraining(width=16, steps=10)])
    policy = safe_pages.policy(html)
    assert "eval" not in policy
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    (tmp_path / "page.html").write_text(html.replace("<head>", f"<head>{meta}"))
    page = browser.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text))
    page.goto((tmp_path / "page.html").as_uri())
    page.locator("html[data-settled]").wait_for(state="attached")
    button(page, "Train").click()
    counted(page, 10)
    assert len(page.workers) == 1
    assert wrong == []
    page.close()
