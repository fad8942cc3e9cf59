"""The map of recorded sweeps: packing, the numbers, the widget in browser and kernel."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Page
from widget_cases.case import configure
from widget_cases.stability_map import (
    FILES,
    FOLDER,
    extreme_sweep,
    random_settings,
    recorded_sweeps,
)
from widget_page import SENTENCES, Open, pictures, said

from initscope.analysis import stability_bands, widths_of
from initscope.errors import UsageError
from initscope.theory import critical_std, stability_band
from initscope.widgets import StabilityMap
from initscope.widgets.bundle import SCRIPTS
from initscope.widgets.stability_map.sweeps import FIELDS, NEVER, describe_sweep, pack, unpack
from initscope.widgets.stability_map.widget import QUANTITIES

CONTROLS = ("sweep", "quantity", "training", "network", "std", "seed")
LOGS = [name for name, field in FIELDS.items() if field.kind == "log"]


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return {name: pd.read_parquet(FOLDER / f"{file}.parquet") for name, file in FILES.items()}


@pytest.fixture(scope="module")
def recorded() -> StabilityMap:
    return recorded_sweeps()


@pytest.fixture
def widget(recorded: StabilityMap) -> StabilityMap:
    return StabilityMap(recorded=recorded.recorded, numbers=recorded.numbers)


@pytest.fixture(scope="module")
def extreme() -> pd.DataFrame:
    return extreme_sweep()


def runs_of(table: pd.DataFrame, chosen: dict[str, Any]) -> pd.DataFrame:
    """The rows of a table that a cell stands for, by seed."""
    optimizer, rate = chosen["training"].split()
    runs = table[
        (table["widths"] == chosen["network"])
        & (table["optimizer"] == optimizer)
        & (table["learning_rate"] == float(rate))
        & (table["std"] == chosen["std"])
    ]
    return runs.sort_values("seed")


# Packing


def test_packed_numbers_are_as_precise_as_they_say(tables: dict[str, pd.DataFrame]) -> None:
    described = [describe_sweep(name, table, 9) for name, table in tables.items()]
    exact = [arrays for _, arrays in described]
    for precision in (0.005, 0.02, 0.2):
        read = unpack([d for d, _ in described], pack(exact, precision), precision)
        for sweep, again in zip(exact, read, strict=True):
            for before, after in zip(sweep, again, strict=True):
                compare_packed(before, after, precision)


def compare_packed(before: dict, after: dict, precision: float) -> None:
    for name in LOGS:
        x, y = before[name], after[name]
        known = np.isfinite(x) & (x != 0)
        np.testing.assert_array_equal(y[~known], x[~known])  # 0, infinite, not there
        np.testing.assert_allclose(y[known], x[known], rtol=precision * 1.0001)
    np.testing.assert_array_equal(after["diverged"], before["diverged"])
    np.testing.assert_allclose(after["accuracy"], before["accuracy"], atol=5.001e-5)
    np.testing.assert_allclose(after["dead_end"], before["dead_end"], atol=5.001e-3)


def test_extreme_numbers_survive_packing() -> None:
    values = np.array([0.0, np.inf, np.nan, 1e-140, 1e140, 1.0, 1e-45, 3.4e38])
    description = {
        "steps": [1],
        "seeds": [0],
        "trainings": [{}],
        "stds": values.tolist(),
        "networks": [{"depth": 1}],
    }
    ones = np.ones((1, 1, 1, len(values)))
    arrays = {name: ones * (values if name in LOGS else 1.0) for name in FIELDS}
    arrays["dead_end"] = np.ones((1, 1, 0, len(values)))
    arrays["diverged"] = ones * np.array([NEVER, 0, np.nan, 1, 2, 3, 60_000, 5])
    (((read),),) = unpack([description], pack([[arrays]], 0.02), 0.02)
    np.testing.assert_array_equal(read["diverged"], arrays["diverged"])
    assert read["dead_end"].shape == (1, 1, 0, len(values))
    for name in LOGS:
        np.testing.assert_allclose(read[name].ravel(), values, rtol=0.0201)


def test_the_cells_hold_the_numbers_of_the_tables(
    widget: StabilityMap, tables: dict[str, pd.DataFrame]
) -> None:
    for chosen in random_settings(widget, 10, 1):
        configure(widget, chosen)
        cell, runs = widget.cell(), runs_of(tables[chosen["sweep"]], chosen)
        assert len(runs) == len(cell["accuracy"]) > 1
        np.testing.assert_allclose(cell["accuracy"], runs["test_accuracy"], atol=5.001e-5)
        np.testing.assert_array_equal(
            cell["diverged"], runs["diverged_step"].astype(float).fillna(NEVER)
        )
        np.testing.assert_allclose(cell["loss"][:, -1], runs["train_loss"], rtol=0.0201)
        depth = len(widths_of(chosen["network"])) - 1
        for name in ("forward", "backward"):
            of_runs = np.stack(runs[f"{name}_variance"].to_list())
            np.testing.assert_allclose(cell[f"{name}_start"], of_runs[:, :depth], rtol=0.0201)
            np.testing.assert_allclose(cell[f"{name}_end"], of_runs[:, -depth:], rtol=0.0201)


@pytest.mark.parametrize("training", ["sgd 0.1", "adam 0.001"])
@pytest.mark.parametrize(
    ("sweep", "by"), [("MNIST by depth", "depth"), ("MNIST by width", "widths")]
)
def test_the_map_holds_the_medians_of_the_tables(
    widget: StabilityMap, tables: dict[str, pd.DataFrame], sweep: str, by: str, training: str
) -> None:
    configure(widget, {"sweep": sweep, "training": training, "network": widths(3)})
    table = tables[sweep][tables[sweep]["optimizer"] == training.split()[0]]
    last, first = (
        [v[k] for v, k in zip(table["forward_variance"], places, strict=True)]
        for places in (table["depth"] - 1, 0 * table["depth"])
    )
    with np.errstate(divide="ignore"):
        change = np.log10(np.array(last) / first)
    table = table.assign(gone=table["diverged_step"].notna(), change=change)
    shown = next(s for s in widget.recorded["sweeps"] if s["name"] == sweep)["networks"]
    order = [sorted(table[by].unique()).index(network[by]) for network in shown]

    def over_the_map(column: str, how: str) -> np.ndarray:
        return table.pivot_table(column, by, "std", aggfunc=how).to_numpy()[order]

    _, values, diverged = widget.grid()
    np.testing.assert_allclose(values, over_the_map("test_accuracy", "median"), atol=5.001e-5)
    np.testing.assert_allclose(diverged, over_the_map("gone", "mean"))
    widget.quantity = "signal"
    np.testing.assert_allclose(
        widget.grid()[1], over_the_map("change", "median"), atol=2 * math.log10(1.0201)
    )


def test_theory_is_carried_along(widget: StabilityMap) -> None:
    for sweep in widget.recorded["sweeps"]:
        for network in sweep["networks"]:
            widths = widths_of(network["widths"])
            band = stability_band(widths, sweep["activation"])
            assert (network["low"], network["high"]) == (band.low, band.high)
            relu = sweep["activation"] == "relu"
            assert network["critical"] == (critical_std(widths) if relu else None)


def test_tables_that_are_no_sweep_are_refused(tables: dict[str, pd.DataFrame]) -> None:
    table = tables["Wine with tanh"]
    with pytest.raises(UsageError, match="give at least one sweep"):
        StabilityMap.from_tables({})
    with pytest.raises(UsageError, match="'mine' is no table of run_sweep: it lacks loss"):
        StabilityMap.from_tables({"mine": table.drop(columns="loss")})
    with pytest.raises(UsageError, match="two runs of one place"):
        StabilityMap.from_tables({"mine": pd.concat([table, table])})
    with pytest.raises(UsageError, match="mixes runs of different activation: tanh, relu"):
        StabilityMap.from_tables({"mine": pd.concat([table, tables["Wine by training"]])})
    with pytest.raises(UsageError, match="no runs of scheme 'normal'"):
        StabilityMap.from_tables({"mine": table.assign(scheme="kaiming")})
    with pytest.raises(UsageError, match="precision must lie between"):
        StabilityMap.from_tables({"mine": table}, precision=0)
    with pytest.raises(UsageError, match="points must be at least 2"):
        StabilityMap.from_tables({"mine": table}, points=1)
    with pytest.raises(UsageError, match="from_tables"):
        StabilityMap()


# Settings


def test_settings_follow_the_sweep(widget: StabilityMap) -> None:
    widget.std = 0.09
    assert widget.std == 0.1
    widget.seed, widget.training = 2, "adam 0.001"
    widget.sweep = "Wine with tanh"
    assert (widget.network, widget.training, widget.seed) == ("13-64-32-3", "sgd 0.1", 2)
    wide = StabilityMap(
        recorded=widget.recorded,
        numbers=widget.numbers,
        sweep="MNIST by width",
        network="784-512-512-10",
        std=1.0,
    )
    assert (wide.network, wide.std) == ("784-512-512-10", 1.0)


@pytest.mark.parametrize("sweep", ["MNIST by depth", "Wine by training"])
def test_a_run_learns_where_the_definition_of_the_band_says_so(
    ask: Ask, widget: StabilityMap, tables: dict[str, pd.DataFrame], sweep: str
) -> None:
    widget.sweep = sweep
    bands = stability_bands(tables[sweep])
    assert bands["low"].notna().sum() > 4
    for band in bands.itertuples():
        widget.network = band.widths
        widget.training = f"{band.optimizer} {band.learning_rate:g}"
        runs = tables[sweep][
            (tables[sweep]["widths"] == band.widths)
            & (tables[sweep]["optimizer"] == band.optimizer)
            & (tables[sweep]["learning_rate"] == band.learning_rate)
        ]
        chance = 1 / int(band.widths.split("-")[-1])
        enough = runs["test_accuracy"] >= chance + 0.9 * (band.best_accuracy - chance)
        learn = (enough & (not math.isnan(band.low))).groupby(runs["std"]).sum()
        settings = []
        for std in learn.index[::4]:
            widget.std = std
            settings.append({name: getattr(widget, name) for name in CONTROLS})
        for std, one in zip(learn.index[::4], ask(widget, settings), strict=True):
            assert f": {learn[std]} of " in one["sentence"]


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_the_figure_shows_what_the_settings_say(widget: StabilityMap, quantity: str) -> None:
    configure(widget, {"quantity": quantity, "network": widths(8), "std": 0.1, "seed": 1})
    figure = widget.figure()
    axes, below, bar = figure.axes
    assert axes.collections[0].get_array().shape == (7, 31)
    assert bar.get_xlabel() == QUANTITIES[quantity]
    box = max(axes.lines, key=lambda line: line.get_zorder())
    assert min(box.get_ydata()) == 4 - 0.5
    assert min(box.get_xdata()) < 0.1 < max(box.get_xdata())
    bold = max(below.lines, key=lambda line: (line.get_linestyle() == "-", line.get_linewidth()))
    np.testing.assert_array_equal(bold.get_ydata(), widget.cell()["loss"][1])


def widths(depth: int) -> str:
    return "-".join(["784", *["128"] * (depth - 1), "10"])


def test_figures_of_an_extreme_sweep(extreme: pd.DataFrame) -> None:
    widget = StabilityMap.from_tables({"mine": extreme})
    for quantity in QUANTITIES:
        widget.quantity = quantity
        for network in ("13-3", "13-1-3"):
            widget.network = network
            widget.figure().canvas.draw()


# JavaScript against Python

Ask = Callable[..., Any]


@pytest.fixture
def ask(node: Callable[..., Any], tmp_path: Path) -> Ask:
    """Numbers and sentences of JavaScript for a list of settings of a widget."""

    def call(widget: StabilityMap, settings: list[dict[str, Any]]) -> list[dict[str, Any]]:
        # By way of files, for the record is longer than an argument of a program may be.
        (tmp_path / "recorded.json").write_text(json.dumps(widget.recorded, allow_nan=False))
        (tmp_path / "numbers").write_bytes(widget.numbers)
        module = tmp_path / "module.mjs"
        module.write_text(
            'import { readFileSync } from "node:fs";\n'
            f'import {{ inflate }} from "{(SCRIPTS / "lib" / "inflate.mjs").as_uri()}";\n'
            "import { cell, mapped, sentence, unpack }"
            f' from "{(SCRIPTS / "stability_map/sweeps.mjs").as_uri()}";\n'
            "const read = (name) => readFileSync(new URL(name, import.meta.url));\n"
            'const bytes = await inflate(read("numbers"));\n'
            'const sweeps = unpack(JSON.parse(read("recorded.json")), bytes);\n'
            "export const ask = (settings) => settings.map(({ sweep, at, seed, quantity }) => {\n"
            "  const runs = cell(sweeps[sweep], at);\n"
            "  const row = sweeps[sweep].stds.map((_, std) =>\n"
            "    mapped(quantity, cell(sweeps[sweep], { ...at, std }), seed));\n"
            "  return { runs, row, sentence: sentence(sweeps[sweep], at, seed) };\n"
            "});\n"
        )
        places = []
        for chosen in settings:
            names = [sweep["name"] for sweep in widget.recorded["sweeps"]]
            sweep = widget.recorded["sweeps"][names.index(chosen["sweep"])]
            places.append(
                {
                    "sweep": names.index(chosen["sweep"]),
                    "quantity": chosen["quantity"],
                    "at": {
                        "network": [n["widths"] for n in sweep["networks"]].index(
                            chosen["network"]
                        ),
                        "training": [t["key"] for t in sweep["trainings"]].index(
                            chosen["training"]
                        ),
                        "std": sweep["stds"].index(chosen["std"]),
                    },
                    "seed": None
                    if chosen["seed"] == "median"
                    else sweep["seeds"].index(chosen["seed"]),
                }
            )
        return node(module, "ask", places)

    return call


def compare(ask: Ask, widget: StabilityMap, settings: list[dict[str, Any]]) -> None:
    for chosen, theirs in zip(settings, ask(widget, settings), strict=True):
        configure(widget, chosen)
        for name, values in widget.cell().items():
            their = np.array(theirs["runs"][name], dtype=float).reshape(values.shape)
            np.testing.assert_allclose(their, values, rtol=1e-9, err_msg=name)
        sweep = next(s for s in widget.recorded["sweeps"] if s["name"] == chosen["sweep"])
        by = "networks" if len(sweep["networks"]) > 1 else "trainings"
        key = "network" if by == "networks" else "training"
        row = [entry["widths" if key == "network" else "key"] for entry in sweep[by]]
        ours = widget.grid()[1][row.index(chosen[key])]
        np.testing.assert_allclose(np.array(theirs["row"], dtype=float), ours, rtol=1e-9, atol=1e-9)


def test_javascript_reads_what_python_does(ask: Ask, widget: StabilityMap) -> None:
    compare(ask, widget, random_settings(widget, 150, 2))


def test_the_sentence(ask: Ask, widget: StabilityMap) -> None:
    settings = random_settings(widget, 40, 2)
    assert [one["sentence"] for one in ask(widget, settings)] == SENTENCES["StabilityMap"]


def said_of(ask: Ask, widget: StabilityMap) -> str:
    """What JavaScript says at the settings of a widget."""
    (one,) = ask(widget, [{name: getattr(widget, name) for name in CONTROLS}])
    return one["sentence"]


def test_javascript_agrees_on_an_extreme_sweep(ask: Ask, extreme: pd.DataFrame) -> None:
    widget = StabilityMap.from_tables({"mine": extreme})
    assert {n["depth"] for n in widget.recorded["sweeps"][0]["networks"]} == {1, 2, 3}
    settings = random_settings(widget, 80, 3)
    compare(ask, widget, settings)
    last = extreme.iloc[-1]
    missing = {"training": "adam 0.01", "network": last["widths"], "std": 1e30, "seed": 8}
    configure(widget, missing)
    assert said_of(ask, widget).endswith("Adam at rate 0.01: not recorded.")
    compare(ask, widget, [{"sweep": "mine", "quantity": "accuracy", **missing}])


# The browser


def choose(page: Page, name: str, value: str) -> None:
    page.get_by_role("combobox", name=name, exact=True).select_option(value)


@pytest.mark.browser
def test_mouse_keyboard_and_touch(open_page: Open, widget: StabilityMap) -> None:
    page = open_page(widget)
    chart = page.locator(".ins-map")
    chart.focus()
    page.keyboard.press("Home")
    assert "std 1e-4," in said(page)
    assert page.get_by_role("slider", name="std").get_attribute("aria-valuetext") == "1e-4"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    assert said(page).startswith("8 weight layers, std 1.47e-4, SGD")
    assert page.get_by_role("slider", name="depth").get_attribute("aria-valuetext") == (
        "8 weight layers"
    )
    for _ in range(9):
        page.keyboard.press("ArrowDown")
    assert said(page).startswith("2 weight layers, std 1.47e-4, SGD")
    page.get_by_role("slider", name="depth").focus()
    page.keyboard.press("End")
    assert said(page).startswith("16 weight layers,")

    box = page.locator(".ins-map .ins-chart").bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 60)
    assert said(page).startswith("16 weight layers, std 1.47e-4")
    page.mouse.down()
    first = said(page)
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 100)
    second = said(page)
    page.mouse.up()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 60)
    assert "1.47e-4" not in first
    assert second != first
    assert said(page) == second

    phone = open_page(widget, width=390)
    chart = phone.locator(".ins-map .ins-chart")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    before = said(phone)
    phone.touchscreen.tap(box["x"] + 0.9 * box["width"], box["y"] + 30)
    assert said(phone).startswith("16 weight layers, std")
    assert said(phone) != before


@pytest.mark.browser
def test_each_quantity_and_seed_has_its_picture(open_page: Open, widget: StabilityMap) -> None:
    page = open_page(widget)
    row = [n["widths"] for n in widget.recorded["sweeps"][0]["networks"]].index(widget.network)
    found = set()
    for seed in ("median", 1):
        choose(page, "seeds", str(seed))
        for quantity in QUANTITIES:
            choose(page, "color", quantity)
            found.add(pictures(page)[0])
            values = configure(widget, {"seed": seed, "quantity": quantity}).grid()[1][row]
            best = widget.recorded["sweeps"][0]["stds"][np.nanargmax(values)]
            label = page.locator(".ins-map .ins-chart").get_attribute("aria-label")
            assert float(label.rsplit("at std ")[1].rstrip(".")) == pytest.approx(best, rel=5e-3)
    assert len(found) == 2 * len(QUANTITIES)
