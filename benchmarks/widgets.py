"""Time the widgets in a real browser: run ``python benchmarks/widgets.py``.

A drag is a series of input events on a slider, each sent when the picture of the one before is
finished. A frame is the time from the event to the end of drawing and layout, in headless Chromium.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from conftest import CHROMIUM_FLAGS, chromium
from widget_page import widget_page

from initscope.widgets import SignalPropagation
from initscope.widgets.signal_propagation.widget import ACTIVATIONS


class Timing(NamedTuple):
    """One line of the table: times in milliseconds, what they should stay below, and a remark."""

    what: str
    frames: list[float]
    aim: float | None = None
    remark: str = ""


def show(timing: Timing) -> None:
    """Print a line of the table."""
    frames = timing.frames
    kept = ""
    if timing.aim is not None:
        inside = sum(frame <= timing.aim for frame in frames)
        kept = f"{inside} of {len(frames)} within {timing.aim:.0f}"
    print(
        f"{timing.what:<42}{statistics.median(frames):>8.1f}{max(frames):>8.1f}  {kept:<20}"
        f"{timing.remark}",
        flush=True,
    )


def opened(browser: Browser, widget: object) -> Page:
    """A page from a file with one widget on it."""
    page = browser.new_page(viewport={"width": 900, "height": 1000})
    with tempfile.NamedTemporaryFile("w", suffix=".html", delete=False) as file:
        file.write(widget_page([widget]))
    page.goto(Path(file.name).as_uri())
    return page


DRAG = """async ({ label, from, to, frames, drawn }) => {
  const slider = [...document.querySelectorAll("label")]
    .find((element) => element.textContent.startsWith(label)).querySelector("input");
  const view = document.querySelector(".ins-view");
  const next = () => new Promise((done) => requestAnimationFrame(done));
  // The main thread's longest silence, seen by a timer.
  let [longest, last, watching] = [0, performance.now(), true];
  (function tick() {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    if (watching) setTimeout(tick, 0);
  })();
  const found = { first: [], all: [] };
  for (let k = 0; k < frames; k += 1) {
    const start = performance.now();
    const before = view.dataset.std;
    slider.value = from + ((to - from) * (k + 1)) / frames;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    let first = 0;
    await new Promise((done) => {
      const look = () => {
        const [some, total] = view.dataset.networks.split("/");
        if (view.dataset.std === before) return;
        view.getBoundingClientRect(); // layout
        first ||= performance.now() - start;
        if (some !== total) return;
        observer.disconnect();
        done();
      };
      const observer = new MutationObserver(look);
      observer.observe(view, { attributes: true });
    });
    found.first.push(first);
    found.all.push(performance.now() - start);
    await next();
  }
  watching = false;
  return { ...found, longest };
}"""

# What one writes first: arrays of arrays, three nested loops, on the page's own thread.
PLAIN_LOOP = """({ depth, width, networks, frames, activation }) => {
  const phi = { relu: (x) => Math.max(x, 0), leaky_relu: (x) => (x > 0 ? x : 0.01 * x),
    gelu: (x) => 0.5 * x * (1 + Math.tanh(0.7978845608 * (x + 0.044715 * x ** 3))),
    tanh: Math.tanh, linear: (x) => x }[activation];
  const slope = (x) => (phi(x + 1e-6) - phi(x - 1e-6)) / 2e-6;
  const normal = () =>
    Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(6.283185307 * Math.random());
  const row = () => Array.from({ length: width }, normal);
  const all = Array.from({ length: networks }, () =>
    Array.from({ length: depth }, () => Array.from({ length: width }, row)));
  const times = [];
  let sink = 0;
  for (let frame = 0; frame < frames; frame += 1) {
    const start = performance.now();
    const std = 0.05 + 0.001 * frame;
    for (const weights of all) {
      let h = row();
      const kept = [];
      for (const W of weights) {
        const z = [];
        for (let i = 0; i < width; i += 1) {
          let sum = 0;
          for (let j = 0; j < width; j += 1) sum += std * W[i][j] * h[j];
          z.push(sum);
        }
        kept.push(z);
        h = z.map(phi);
      }
      let g = row();
      for (let l = depth - 1; l >= 0; l -= 1) {
        const back = [];
        for (let j = 0; j < width; j += 1) {
          let sum = 0;
          for (let i = 0; i < width; i += 1) sum += std * weights[l][i][j] * g[i];
          back.push(l > 0 ? sum * slope(kept[l - 1][j]) : sum);
        }
        g = back;
      }
      sink += g[0];
    }
    times.push(performance.now() - start);
  }
  window.sink = sink;
  return times;
}"""


def signal_propagation(browser: Browser) -> Iterator[Timing]:
    """Drag the std slider at 50 layers of 256 units."""
    networks = 5
    for activation in ACTIVATIONS:
        page = opened(browser, SignalPropagation(activation=activation, draws=networks))
        page.wait_for_function(
            "document.querySelector('.ins-view')?.dataset.networks === '5/5'", timeout=60_000
        )
        drag = {"label": "std of the weights", "from": -0.8, "to": 0.8, "frames": 60}
        found = page.evaluate(DRAG, drag)
        yield Timing(f"{activation}: new picture", found["first"], 50.0)
        yield Timing(
            f"{activation}: all {networks} networks",
            found["all"],
            remark=f"page silent for {found['longest']:.0f} at most",
        )
        shape = {"depth": 50, "width": 256, "frames": 5, "activation": activation}
        for count in (1, networks):
            times = page.evaluate(PLAIN_LOOP, {**shape, "networks": count})
            yield Timing(
                f"{activation}: plain loop, {count} network{'s' * (count > 1)}, not drawn", times
            )
        page.close()


WIDGETS: dict[str, Callable[[Browser], Iterator[Timing]]] = {
    "Signal propagation, std slider, 50 layers of 256": signal_propagation,
}
"""What is timed: a heading, and what gives its lines."""


def main() -> None:
    """Print a table for each widget."""
    with sync_playwright() as playwright:
        path = chromium(playwright.chromium.executable_path)
        if path is None:
            print("No Chromium found: the widgets were not timed.")
            return
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        for heading, timings in WIDGETS.items():
            load = os.getloadavg()[0]
            print(f"{heading}; milliseconds a frame (load {load:.1f}, {os.cpu_count()} cores)")
            print(f"{'':<42}{'median':>8}{'worst':>8}")
            for timing in timings(browser):
                show(timing)
        browser.close()


if __name__ == "__main__":
    main()
