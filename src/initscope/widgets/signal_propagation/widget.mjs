// The widget: a random network, its signal and its gradient, layer by layer.

import { COLORS, Chart, legend } from "../lib/chart.mjs";
import { keepRoom, make } from "../lib/dom.mjs";
import { percent, power, short } from "../lib/format.mjs";
import { frame } from "../lib/frame.mjs";
import { goodStd, meanLogs, sentence } from "./message.mjs";
import { NUMBER_FORMATS, histogram, serve, shownLayers } from "./network.mjs";
import { STD_RANGE, schemeStd } from "./theory.mjs";

// This module's own text is also that of the worker.
// @ts-ignore: in a page there is no WorkerGlobalScope
if (typeof WorkerGlobalScope !== "undefined" && globalThis instanceof WorkerGlobalScope) {
  globalThis.onmessage = (() => {
    const receive = serve((answer) => globalThis.postMessage(answer), 40);
    return ({ data }) => receive(data);
  })();
}

const ACTIVATIONS = [["relu", "ReLU"], ["leaky_relu", "LeakyReLU"], ["gelu", "GELU"], ["tanh", "tanh"], ["linear", "linear (none)"]];
const SCHEMES = [["free", "free"], ["kaiming", "Kaiming √(2/n)"], ["xavier", "Xavier 1/√n"], ["lecun", "LeCun 1/√n"]];
const [FORWARD, BACKWARD] = COLORS;
const LAYER_COLORS = [COLORS[2], COLORS[3], COLORS[4]];
const LN10 = Math.LN10;

const CONTROLS = {
  std: {
    label: "std of the weights", kind: "log", min: STD_RANGE[0], max: STD_RANGE[1], perDecade: 200,
    format: (value) => short(value, 4),
  },
  scheme: { label: "scheme", kind: "choice", options: SCHEMES, hint: "n: the width, fan-in and fan-out of every layer" },
  activation: { label: "activation", kind: "choice", options: ACTIVATIONS },
  depth: { label: "depth (layers)", kind: "integer", min: 1, max: 100 },
  width: { label: "width (units)", kind: "steps", options: [16, 32, 64, 128, 256, 512] },
  bias_std: { label: "std of biases", kind: "linear", min: 0, max: 2, step: 0.01 },
  draws: { label: "networks drawn", kind: "integer", min: 1, max: 10 },
  seed: { label: "seed", kind: "integer", min: 0, max: 99 },
  residual: { label: "residual branches", kind: "switch", hint: "z = z + W φ(z) + b in every layer" },
  layer_norm: { label: "LayerNorm", kind: "switch", hint: "before every activation" },
};

/** Powers of ten round the values that are shown, in few steps, so that the axis seldom moves. */
const STEPS = [3, 6, 12, 24, 48, 100, 200, 400, 1000];
function axisRange(values, steps = STEPS) {
  let [low, high] = [0, 0];
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const out = (size) => steps.find((step) => step >= size) ?? size;
  return [-Math.min(out(-low), 1000), Math.min(out(high), 1000)];
}

const whole = (value) => (Number.isInteger(Math.round(value * 1e6) / 1e6) ? String(Math.round(value)) : "");
const tick = (value) => (Number.isInteger(Math.round(value * 1e6) / 1e6) ? power(Math.round(value)) : "");

/** Where `compute` is done: in a worker, or where there can be none, here in small slices. */
function computer(text, answer) {
  const here = () => serve(answer, 8);
  let receive = null;
  let worker = null;
  let last = null;
  try {
    if (!text) throw new Error("no text to start a worker from");
    const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
    worker = new Worker(url, { type: "module" });
    worker.onmessage = ({ data }) => {
      URL.revokeObjectURL(url); // it has started
      answer(data);
    };
    worker.onerror = (event) => { // the page forbids workers
      event.preventDefault();
      worker.terminate();
      worker = null;
      receive = here();
      if (last) receive(last);
    };
    receive = (message) => worker.postMessage(message);
  } catch {
    receive = here();
  }
  return {
    ask(message) {
      last = message;
      receive(message);
    },
    stop() {
      worker?.terminate();
      answer = () => {};
    },
  };
}

const FORMULAS = {
  plain: "z₁ = W₁x + b₁, then zₗ = Wₗ φ(zₗ₋₁) + bₗ",
  residual: "z₀ = x, then zₗ = zₗ₋₁ + Wₗ φ(zₗ₋₁) + bₗ",
};

const NO_SPREAD = " The spread at finite width is known for the plain network only: no band is drawn.";
const SATURATED = " Hardly any unit is not saturated: theory for wide layers says nothing of this gradient and of the spread, and neither is drawn.";

function render(context) {
  const { model } = context;
  const f = frame(context, {
    title: "Signal propagation",
    controls: CONTROLS,
    update,
    python,
    table,
    longest: () => 312,
  });
  const [stdControl] = f.panel.children;
  stdControl.classList.add("ins-wide");
  const good = make("span", { class: "ins-strip-good" });
  const goodText = make("span", { class: "ins-strip-text" });
  stdControl.append(make("span", { class: "ins-strip", "aria-hidden": "true" }, good, goodText));
  f.panel.classList.add("ins-many");
  // What happened comes first, then the pictures.
  const message = context.el.querySelector(".ins-message");
  message.classList.add("ins-verdict");
  f.view.before(message);
  const again = make("button", {
    type: "button",
    onclick: () => f.set({ seed: (f.settings().seed + 1) % (CONTROLS.seed.max + 1) }),
  }, "Draw other networks");
  const keep = make("button", {
    type: "button",
    onclick: () => f.set({ scheme: "free", std: Number(goodStd(shown.kept)) }),
  }, "Set the std that keeps the signal");
  f.buttons.prepend(keep, again);

  const head = make("div", { class: "ins-wide" });
  const panels = ["Signal: forward, from the input →", "← Gradient: backward, from the output"].map((title) =>
    make("div", { class: "ins-panel" }, make("p", { class: "ins-panel-title" }, title)));
  const sizesPanel = make("div", { class: "ins-wide ins-panel" });
  const sizesTitle = make("p", { class: "ins-panel-title" });
  const sizesLegend = make("div");
  sizesPanel.append(sizesTitle, sizesLegend);
  const foot = make("p", { class: "ins-note ins-wide ins-formula" });
  f.view.append(head, ...panels, sizesPanel, foot);
  const charts = ["variance of the pre-activations", "variance of the gradient"].map((label, k) =>
    new Chart(panels[k], { label, xLabel: "layer", yLabel: "variance", xFormat: whole, yFormat: tick, height: 260 }));
  const sizesChart = new Chart(sizesPanel, {
    label: "sizes of single values", xLabel: "size |z| of a pre-activation", yLabel: "share of units", height: 170, xFormat: tick, yFormat: (share) => percent(share),
  });

  let shown = null; // the answer that is drawn
  let wanted = null; // the settings that are asked for last
  let sent = null;
  let id = 0;
  let waiting = false;
  let late = 0;
  const compute = computer(model.get("_esm"), (answer) => {
    if (answer.id !== id) return;
    waiting = false;
    shown = answer;
    if (wanted !== sent) send();
    else stale(false);
    draw();
  });

  function send() {
    waiting = true;
    sent = wanted;
    id += 1;
    f.view.dataset.asked = String(id);
    compute.ask({ id, settings: wanted });
  }

  /** Say it where a picture stays behind its controls for longer than a glance. */
  function stale(yes) {
    clearTimeout(late);
    late = 0;
    if (yes) late = setTimeout(() => mark(true), 150);
    else mark(false);
  }
  function mark(yes) {
    f.view.classList.toggle("ins-stale", yes);
    f.view.setAttribute("aria-busy", String(yes));
  }

  function update(settings, changed) {
    // A scheme sets the slider; moving the slider leaves the scheme.
    if (settings.scheme !== "free") {
      const std = schemeStd(settings.scheme, settings.width);
      const same = Math.abs(settings.std / std - 1) < 1e-3;
      if (!same && (changed.has("scheme") || changed.has("width"))) return f.set({ std });
      if (!same) return f.set({ scheme: "free" });
      settings.std = std;
    }
    wanted = settings;
    if (!shown) { // what is around the charts has its place before there is anything to show
      drawHead(settings, 0, true);
      drawLayers(settings);
    }
    if (!late && !f.view.classList.contains("ins-stale")) stale(true);
    if (!waiting) send();
  }

  function draw() {
    const { settings, theory, band, kept, networks } = shown;
    const { depth, draws, residual, layer_norm: layerNorm } = settings;
    const plain = !residual && !layerNorm;
    const layers = Array.from({ length: depth + 1 }, (_, l) => l);
    const inTens = (logs) => Array.from(logs, (log) => log / LN10);
    const directions = ["forward", "backward"].map((name) => ({
      name,
      // With nearly all units saturated a mean over infinitely many says nothing of so few.
      theory: plain && !band && name === "backward" ? [] : inTens(theory[name]),
      low: band && inTens(band[name].low),
      high: band && inTens(band[name].high),
      networks: networks.map((network) => network[name]),
    }));
    const range = axisRange(directions.flatMap((d) => [...d.theory, ...(d.low ?? []), ...(d.high ?? []), ...d.networks.flatMap((n) => [...n])]));
    directions.forEach((d, k) => {
      const color = [FORWARD, BACKWARD][k];
      /** @type {import("../lib/chart.mjs").Drawing} */
      const drawing = { x: [0, depth], y: range, layers: [...formatLines(range)] };
      if (band) drawing.layers.push({ kind: "band", x: layers, low: d.low, high: d.high, color, opacity: 0.22 });
      for (const network of d.networks) drawing.layers.push({ kind: "line", x: layers, y: network, color, width: 1.1 });
      drawing.layers.push({ kind: "line", x: layers, y: d.theory, dash: "5 4", width: 1.6 });
      charts[k].draw(drawing);
    });
    const [forward, backward] = directions.map((d) => meanLogs(d.networks));
    const text = sentence(settings, forward, backward, kept);
    charts[0].describe(`Variance of the pre-activations of layers 0 to ${depth}, logarithmic axis: ${short(10 ** forward[0], 2)} at the input, 10 to the power ${short(forward[depth], 3)} at layer ${depth}; theory: 10 to the power ${short(theory.forward[depth] / LN10, 3)}.`);
    charts[1].describe(`Variance of the gradient of layers ${depth} to 0, logarithmic axis: 1 at layer ${depth}, 10 to the power ${short(backward[1], 3)} at layer 1; theory: 10 to the power ${short(theory.backward[1] / LN10, 3)}.`);
    drawSizes(settings, networks);
    drawHead(settings, networks.length, Boolean(band));
    const where = kept && !Number.isNaN(kept.low) ? [kept.low, kept.high] : null;
    good.hidden = goodText.hidden = !where;
    keep.disabled = !where;
    if (where) {
      const at = (value) => (100 * Math.log(value / STD_RANGE[0])) / Math.log(STD_RANGE[1] / STD_RANGE[0]);
      good.style.left = `${at(where[0])}%`;
      good.style.width = `${at(where[1]) - at(where[0])}%`;
      goodText.textContent = "keeps both";
      goodText.style.left = `clamp(2.8rem, ${(at(where[0]) + at(where[1])) / 2}%, 100% - 2.8rem)`;
    }
    if (networks.length === 1 || networks.length === draws) f.say(text);
    // For tests and timings: what is drawn.
    Object.assign(f.view.dataset, { networks: `${networks.length}/${draws}`, std: settings.std, drawn: id });
  }

  /** Lines at the ends of the number formats' ranges that lie on the axis. */
  /** @param {number[]} range */
  function* formatLines([low, high]) {
    yield { kind: "hline", at: 0, width: 0.8, opacity: 0.7 };
    const limit = (at, label) => ({ kind: "hline", at, color: "var(--ins-muted)", dash: "1 3", width: 1.4, label });
    for (const side of ["largest", "smallest"]) {
      const [near, far] = ["float16", "float32"].map((name) => 2 * Math.log10(NUMBER_FORMATS[name][side]));
      const end = side === "largest" ? high : low;
      const past = (at) => (side === "largest" ? at < end : at > end);
      const words = side === "largest" ? "overflows above" : "underflows below";
      // A label only where there is room for it.
      const room = Math.abs((past(far) ? far : end) - near) > 0.08 * (high - low);
      if (past(near)) yield limit(near, room ? `float16 ${words}` : undefined);
      if (past(far)) yield limit(far, `float32, bfloat16 ${words}`);
    }
  }

  function drawHead({ residual, layer_norm: layerNorm, draws }, done, banded) {
    const plain = !residual && !layerNorm;
    const some = done < draws ? `${done} of ${draws} random networks` : draws === 1 ? "a random network" : `${draws} random networks`;
    head.replaceChildren(legend([
      { text: `${some}: signal`, color: FORWARD, longest: "10 of 10 random networks: signal" },
      { text: "gradient", color: BACKWARD },
      { text: "theory (infinite width)", color: "currentColor", dash: "5 4" },
      { text: "95% of networks of this width, by theory", color: FORWARD, shape: "area", hidden: !banded || !plain },
    ]));
    const norm = layerNorm ? ", with φ applied to LayerNorm(z)" : "";
    let noBand = "";
    if (!plain) noBand = NO_SPREAD;
    else if (!banded) noBand = SATURATED;
    const network = `The network: ${residual ? FORMULAS.residual : FORMULAS.plain}${norm}. Variance: the mean square over the units, 1 for the input x and for the gradient at the output.`;
    foot.textContent = network + noBand;
    keepRoom(foot, network.length + Math.max(NO_SPREAD.length, SATURATED.length));
  }

  function drawLayers({ depth }) {
    sizesTitle.textContent = "How large single values are";
    const layers = shownLayers(depth);
    sizesLegend.replaceChildren(legend(LAYER_COLORS.map((color, k) => ({
      text: `layer ${layers[k] ?? ""}`, color, shape: "area", longest: "layer 100", hidden: k >= layers.length,
    }))));
  }

  function drawSizes({ depth }, networks) {
    const layers = shownLayers(depth);
    const logs = layers.map((_, k) => networks.map((network) => network.sizes[k]));
    const finite = logs.flat(2).flatMap((values) => [...values]).filter(Number.isFinite);
    // The few values close to 0 would stretch the axis: leave out the smallest 0.2%.
    const sorted = Float64Array.from(finite).sort();
    const [least, largest] = sorted.length ? [sorted[Math.floor(0.002 * sorted.length)], sorted[sorted.length - 1]] : [-1, 1];
    const [low, high] = [Math.floor(Math.min(least, -1)) , Math.ceil(Math.max(largest + 0.1, 1))];
    const bins = Math.min(160, 6 * (high - low));
    const edges = Array.from({ length: bins + 1 }, (_, i) => low + (i * (high - low)) / bins);
    const heights = logs.map((values) => histogram(values, edges));
    const top = Math.max(...heights.flatMap((h) => [...h]), 1e-9) * 1.25;
    /** @type {import("../lib/chart.mjs").Drawing} */
    const drawing = { x: [low, high], y: [0, top], layers: [] };
    /** @type {["largest" | "smallest", string, number][]} */
    const sides = [["largest", "beyond", high], ["smallest", "below", low]];
    for (const [side, word, end] of sides) {
      const [near, far] = ["float16", "float32"].map((name) => Math.log10(NUMBER_FORMATS[name][side]));
      const cut = (at) => (side === "largest" ? Math.min(at, end) : Math.max(at, end));
      /** @type {[number, number, string, number][]} */
      const spans = [[near, far, "float16", 0.12], [far, end, "float32", 0.24]];
      for (const [from, to, name, opacity] of spans) {
        const [a, b] = [cut(from), cut(to)];
        if ((b - a) * (side === "largest" ? 1 : -1) <= 0) continue;
        const room = (Math.abs(b - a) / (high - low)) * sizesChart.width > 110;
        drawing.layers.push({ kind: "vspan", from: a, to: b, color: "var(--ins-muted)", opacity, label: room ? `${word} ${name}` : undefined });
      }
    }
    heights.forEach((h, k) => drawing.layers.push({ kind: "bars", edges, heights: h, color: LAYER_COLORS[k], opacity: 0.6 }));
    sizesChart.draw(drawing);
    drawLayers({ depth });
    sizesChart.describe(`Histogram of the sizes of single pre-activations, logarithmic axis. ${layers.map((l, k) => `Layer ${l}: median ${medianText(logs[k])}`).join("; ")}.`);
  }

  function table() {
    const columns = ["direction", "layer", "log10_theory", "log10_low", "log10_high", ...(shown?.networks ?? []).map((_, k) => `log10_network_${k}`)];
    const rows = [];
    if (shown) {
      for (const name of ["forward", "backward"]) {
        for (let l = 0; l <= shown.settings.depth; l += 1) {
          const bounds = shown.band ? [shown.band[name].low[l] / LN10, shown.band[name].high[l] / LN10] : ["", ""];
          rows.push([name, l, shown.theory[name][l] / LN10, ...bounds, ...shown.networks.map((network) => network[name][l])]);
        }
      }
    }
    return { columns, rows };
  }

  return () => {
    clearTimeout(late);
    compute.stop();
    f.destroy();
    for (const chart of [...charts, sizesChart]) chart.destroy();
  };
}

function medianText(logs) {
  const values = logs.flatMap((one) => [...one]).sort((a, b) => a - b);
  return `10 to the power ${short(values[Math.floor(values.length / 2)], 3)}`;
}

/** The code cell that makes the same point. */
function python(settings) {
  const { activation, depth, width, draws, seed, residual, layer_norm: layerNorm } = settings;
  const name = activation === "linear" ? "identity" : activation;
  const std = settings.scheme === "free" ? String(settings.std) : `scheme_std("${settings.scheme}", width, width)`;
  const needed = settings.scheme === "free" ? "" : ", scheme_std";
  const yes = (value) => (value ? "True" : "False");
  const plain = !residual && !layerNorm;
  const start = `width, depth = ${width}, ${depth}\nstd, bias_std = ${std}, ${settings.bias_std}\n`;
  const body = plain
    ? `import numpy as np

from initscope.monte_carlo import variance_profiles
from initscope.theory import propagate${needed}

${start}
widths = [width] * (depth + 1)
theory = propagate(widths, "${name}", std, bias_std)
networks = variance_profiles(widths, "${name}", std, bias_std, networks=${draws}, seed=${seed})
`
    : `import numpy as np

from initscope.monte_carlo import residual_profiles
from initscope.theory import residual_propagate${needed}

${start}
options = dict(residual=${yes(residual)}, layer_norm=${yes(layerNorm)})
theory = residual_propagate(width, depth, "${name}", std, bias_std, **options)
networks = residual_profiles(
    width, depth, "${name}", std, bias_std, **options, networks=${draws}, seed=${seed}
)
`;
  return `${body}
values = networks.pivot(index="network", columns=["direction", "layer"], values="value")
for direction, layer in [("forward", depth), ("backward", 1)]:
    measured = np.exp(np.log(values[direction, layer]).mean())
    predicted = getattr(theory, direction)[layer]
    print(f"{direction}, layer {layer}: theory {predicted:.4g}, networks {measured:.4g}")
`;
}

export default { render };
