// The widget: a random network, its signal and its gradient, layer by layer.

import { COLORS, legend } from "../lib/chart.mjs";
import { keepRoom, make } from "../lib/dom.mjs";
import { percent, power, short } from "../lib/format.mjs";
import { frame } from "../lib/frame.mjs";
import { ticks } from "../lib/ticks.mjs";
import { startWorker } from "../lib/worker.mjs";
import { formula } from "./formula.mjs";
import { goodStd, meanLogs, powerText, sentence } from "./message.mjs";
import { NUMBER_FORMATS, elsewhere, histogram, serve, shownLayers } from "./network.mjs";
import { StageChart, reader } from "./stage_chart.mjs";
import { rounded, stdSlider } from "./std_slider.mjs";
import { SLOPES, STD_RANGE, finiteWidth, keeping, propagate, schemeStd } from "./theory.mjs";

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
    label: "std of the weights", kind: "log", min: STD_RANGE[0], max: STD_RANGE[1], hidden: true,
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
  fit_axis: { label: "fit axis", kind: "switch", hint: "axes that follow the curves, without walls" },
};
for (const control of Object.values(CONTROLS)) if (!control.hidden) control.group = "More settings";

/** The buttons below the slider: text -> the settings at a width. */
const PRESETS = {
  "too small": (width) => ({ scheme: "free", std: rounded(schemeStd("kaiming", width) / 10) }),
  Xavier: (width) => ({ scheme: "xavier", std: schemeStd("xavier", width) }),
  Kaiming: (width) => ({ scheme: "kaiming", std: schemeStd("kaiming", width) }),
  "too large": (width) => ({ scheme: "free", std: rounded(10 * schemeStd("kaiming", width)) }),
};

/** The axis, in powers of ten of a size: it holds all that float32 does, and stands still. */
const FIXED = [-45, 45];
/** Where float32 ends: its smallest normal and its largest number. */
const WALLS = ["smallest", "largest"].map((side) => Math.log10(NUMBER_FORMATS.float32[side]));
const inside = (y) => Math.max(WALLS[0], Math.min(WALLS[1], y));

/** log10 of the rms from logs of variances, decimal or in units of `unit`. */
const rmsOf = (logs, unit = 1) => Array.from(logs, (log) => log / (2 * unit));
/** Mean over networks of logs of variances: of those computed, or estimated, or else what theory says. */
function meansOf({ networks, guesses, theory }) {
  const found = networks.length ? networks : guesses;
  return Object.fromEntries(["forward", "backward"].map((name) => [
    name, found.length ? meanLogs(found.map((network) => network[name])) : Array.from(theory[name], (log) => log / LN10),
  ]));
}
/** What a network is drawn from, but for the std; and what decides which stds keep the variance. */
const keptBy = ({ activation, depth, width, bias_std: bias, residual, layer_norm: norm }) => [activation, depth, width, bias, residual, norm].join(" ");
const kindOf = (settings) => `${keptBy(settings)} ${settings.seed}`;
/** The layer that signal or gradient come to last. */
const endOf = (name, depth) => (name === "forward" ? depth : Math.min(1, depth));

/** The first layer on the way, {layer, y}, whose size y float32 cannot hold; undefined if there is none. */
function beyond(logs, forward) {
  const layers = [...logs.keys()];
  if (!forward) layers.reverse();
  const layer = layers.find((l) => inside(logs[l]) !== logs[l]);
  return layer === undefined ? undefined : { layer, y: logs[layer] };
}

/** A curve as far as float32 holds it: it ends on the wall, at the layer where it happens. */
function upToWall(logs, forward) {
  const wall = beyond(logs, forward);
  const layers = [...logs.keys()];
  if (!wall) return { x: layers, y: logs };
  const left = forward ? layers.filter((l) => l <= wall.layer) : layers.filter((l) => l >= wall.layer);
  return { x: left, y: left.map((l) => inside(logs[l])) };
}

/** Where the axis of layers is labelled; the first label says what they are. */
function layerTicks(depth, width) {
  return ticks(0, depth, Math.max(2, Math.floor(width / 60))).filter(Number.isInteger).map((l) => [l, l === 0 ? "layer 0" : String(l)]);
}

/** A piece of a formula as an element. */
function set({ text, of, raised, lowered }) {
  const tag = raised ? "sup" : lowered ? "sub" : "span";
  return make(tag, { class: of && `ins-${of}` }, text);
}

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

const tick = (value) => (Number.isInteger(Math.round(value * 1e6) / 1e6) ? power(Math.round(value)) : "");

/** Milliseconds of work at once where there is no worker. */
const SLICE = 8;

const FORMULAS = {
  plain: "z₁ = W₁x + b₁, then zₗ = Wₗ φ(zₗ₋₁) + bₗ",
  residual: "z₀ = x, then zₗ = zₗ₋₁ + Wₗ φ(zₗ₋₁) + bₗ",
};

const NO_SPREAD = " The spread at finite width is known for the plain network only: no band is drawn.";
const SATURATED = " Hardly any unit is not saturated: theory for wide layers says nothing of this gradient and of the spread, and neither is drawn.";

/** A scheme sets the std; a std that a scheme would set is of that scheme. */
function settle(settings) {
  const { scheme, std, width } = settings;
  if (scheme !== "free") return { ...settings, std: schemeStd(scheme, width) };
  const same = ["kaiming", "xavier"].find((name) => Math.abs(std / schemeStd(name, width) - 1) < 1e-3);
  return same ? { ...settings, scheme: same } : settings;
}

function render(context) {
  const { model } = context;
  const f = frame(context, {
    title: "Signal propagation",
    controls: CONTROLS,
    update,
    python,
    table,
    longest: () => 312,
    settle,
  });
  const widget = context.el.querySelector(".ins-widget");
  widget.classList.add("ins-stage");
  f.panel.classList.add("ins-many");
  for (const [name, color] of [["width", "ins-width"], ["depth", "ins-depth"]]) {
    const label = [...f.panel.querySelectorAll(".ins-label")].find((one) => one.textContent === CONTROLS[name].label);
    label?.classList.add(color);
  }
  // The name is for who hears it, and for files; the others read what there is to see.
  widget.querySelector(".ins-title").classList.add("ins-spoken");
  const count = make("span", { class: "ins-depth" });
  const line = make("p", { class: "ins-line" }, count, ". One number decides.");

  const panels = ["forward", "backward"].map((name) => {
    const title = make("p", { class: "ins-panel-title" });
    const values = make("p", { class: "ins-values" });
    return { name, title, values, element: make("div", { class: "ins-panel" }, title, values) };
  });
  const slider = stdSlider((changes) => f.set({ scheme: "free", ...changes }), CONTROLS.std.format);
  const presets = Object.entries(PRESETS).map(([text, settingsFor]) => ({
    settingsFor,
    button: make("button", { type: "button", "aria-pressed": "false", onclick: () => f.set(settingsFor(f.settings().width)) }, text),
  }));
  const choices = make("div", { class: "ins-buttons ins-presets ins-wide" }, ...presets.map(({ button }) => button));
  f.message.classList.add("ins-verdict", "ins-wide");
  const lines = [0, 1].map(() => make("span", {}));
  const formulaLine = make("p", { class: "ins-alive ins-wide" }, ...lines);
  keepRoom(formulaLine, 140);
  const head = make("div", { class: "ins-wide" });
  const sizesPanel = make("div", { class: "ins-wide ins-panel" });
  const sizesTitle = make("p", { class: "ins-panel-title" }, "How large single values are");
  const sizesValues = make("p", { class: "ins-values" });
  const sizesLegend = make("div");
  sizesPanel.append(sizesTitle, sizesValues, sizesLegend);
  const foot = make("p", { class: "ins-note ins-wide ins-formula" });
  slider.element.classList.add("ins-wide");
  const steps = context.page?.steps; // of the page's story, each with buttons that set this stage
  steps?.classList.add("ins-wide");
  f.view.append(...panels.map(({ element }) => element), slider.element, choices, ...(steps ? [steps] : []), f.message, formulaLine, head, sizesPanel, foot);
  f.view.before(line);
  f.view.after(f.panel); // what there is besides is folded, below

  const again = make("button", {
    type: "button",
    onclick: () => f.set({ seed: (f.settings().seed + 1) % (CONTROLS.seed.max + 1) }),
  }, "Draw other networks");
  const keep = make("button", {
    type: "button",
    onclick: () => f.set({ scheme: "free", std: Number(goodStd(shown.kept)) }),
  }, "Set the std that keeps the signal");
  f.buttons.prepend(keep, again);

  /** The taller the more room there is, in three steps: so it does not depend on the window's height. */
  let room = 0;
  const rooms = new ResizeObserver(([{ contentRect }]) => { room = contentRect.width; }); // before the charts' own
  rooms.observe(f.view);
  const heightNow = () => {
    if (!room) room = f.view.clientWidth;
    const width = room || 640;
    if (width >= 600) return 230;
    return width >= 480 ? 140 : 165;
  };
  const charts = panels.map(({ name, element }) => new StageChart(element, {
    label: name === "forward" ? "size of the signal" : "size of the gradient",
    left: 46, bottom: 24, yFormat: tick, heightNow, height: heightNow(),
  }));
  const sizesChart = new StageChart(sizesPanel, {
    label: "sizes of single values", xLabel: "size |z| of a pre-activation", yLabel: "share of units", heightNow: () => 170, height: 170,
    xFormat: tick, yFormat: (share) => percent(share),
  });

  // One crosshair: at a layer, or at a bin of the histogram.
  let at = { layer: null, bin: null };
  const choose = (changes) => {
    at = { layer: null, bin: null, ...changes };
    read();
  };
  const readers = panels.map(({ name }, k) => reader(charts[k], {
    label: `Layer of the ${name === "forward" ? "signal" : "gradient"} that is read`,
    count: () => shown?.settings.depth ?? 1,
    start: () => endOf(name, shown?.settings.depth ?? 1),
    text: () => panels.map(({ title, values }) => `${title.textContent}, ${values.textContent}`).join("; "),
    at: (event) => charts[k].nearest(event),
  }, (layer) => choose({ layer })));
  const sizesReader = reader(sizesChart, {
    label: "Size of single values that is read",
    count: () => (counted ? counted.edges.length - 2 : 1),
    start: () => (counted ? counted.edges.findIndex((edge) => edge >= 0) : 0),
    text: () => sizesValues.textContent,
    at: (event) => ((sizesChart.nearest(event) - counted.edges[0]) / (counted.edges[1] - counted.edges[0])) - 0.5,
  }, (bin) => choose({ bin }));
  let counted = null; // the bins of the histogram that is drawn: {layers, edges, shares}

  let shown = null; // what is drawn
  let wanted = null; // the settings that are asked for last
  let sent = null; // those that are computed now
  let sentId = 0; // and when they were asked for
  let id = 0;
  let late = 0;
  let rest = 0;
  /** @type {any[]} */
  let known = []; // of each network its last result, {settings, theory, result}
  /** @type {{ of: string, kept: any }} */
  let keptFor = { of: "", kept: null };
  const compute = startWorker(model.get("_esm"), ({ id: answered, settings, theory, kept, networks }) => {
    if (kindOf(settings) === kindOf(wanted)) {
      networks.forEach((result, k) => { known[k] = { settings, theory, result }; });
    }
    if (kept) keptFor = { of: keptBy(settings), kept };
    // Also where the controls have moved on: what is asked for next would wait for it forever.
    if (answered === sentId && networks.length === settings.draws) sent = null;
    if (answered !== id && !rest && sent !== wanted) send(); // the controls have moved on
    sketch();
  }, (answer) => serve(answer, SLICE));

  function send() {
    rest = 0;
    sent = wanted;
    sentId = id;
    compute.ask({ id, settings: wanted });
  }

  /** Say it where networks stay behind the controls for longer than a glance. */
  function busy(yes) {
    clearTimeout(late);
    late = 0;
    if (!yes) f.view.setAttribute("aria-busy", "false");
    else late = setTimeout(() => f.view.setAttribute("aria-busy", "true"), 150);
  }

  /** Draw what is known of the settings that are wanted; whether that is all there is to know. */
  function sketch() {
    const settings = wanted;
    const theory = propagate(settings);
    const found = known.slice(0, settings.draws).map((one) => elsewhere(one, settings, theory));
    const networks = found.filter(({ exact }) => exact).map(({ result }) => result);
    if (SLOPES[settings.activation] && keptFor.of !== keptBy(settings)) keptFor = { of: keptBy(settings), kept: keeping(settings) };
    shown = {
      settings, theory, band: finiteWidth(settings, theory), kept: keptFor.of === keptBy(settings) ? keptFor.kept : null, networks,
      guesses: found.filter(({ exact }) => !exact).map(({ result }) => result),
    };
    const all = networks.length === settings.draws && shown.kept !== null;
    draw();
    if (all || !late) busy(!all);
    // For tests and timings: what is drawn.
    Object.assign(f.view.dataset, { networks: `${networks.length}/${settings.draws}`, std: settings.std, drawn: networks.length ? id : "" });
    return all;
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
    count.textContent = `${settings.depth} ${settings.depth === 1 ? "layer" : "layers"}`;
    slider.show(settings);
    for (const { button, settingsFor } of presets) {
      const { std } = settingsFor(settings.width);
      button.setAttribute("aria-pressed", String(Math.abs(settings.std / std - 1) < 1e-3));
    }
    if (known.length && known[0] && kindOf(known[0].settings) !== kindOf(settings)) known = [];
    id += 1;
    f.view.dataset.asked = String(id);
    clearTimeout(rest);
    rest = 0;
    if (sketch()) return;
    // What can be sketched is computed when the slider rests; else the pictures follow as fast as they come.
    if (known.length) rest = setTimeout(send, 80);
    else if (!sent) send();
  }

  function draw() {
    const { settings, theory, band, kept, networks, guesses } = shown;
    const { depth, draws, residual, layer_norm: layerNorm, fit_axis: fit } = settings;
    const plain = !residual && !layerNorm;
    const layers = Array.from({ length: depth + 1 }, (_, l) => l);
    const means = meansOf(shown);
    const directions = panels.map(({ name }) => ({
      name,
      // With nearly all units saturated a mean over infinitely many says nothing of so few.
      theory: plain && !band && name === "backward" ? [] : rmsOf(theory[name], LN10),
      low: band && rmsOf(band[name].low, LN10),
      high: band && rmsOf(band[name].high, LN10),
      networks: networks.map((network) => rmsOf(network[name])),
      guesses: guesses.map((network) => rmsOf(network[name])),
    }));
    const range = fit
      ? axisRange(directions.flatMap((d) => [...d.theory, ...(d.low ?? []), ...(d.high ?? []), ...d.networks.flatMap((n) => [...n])]))
      : FIXED;
    directions.forEach((d, k) => {
      const color = [FORWARD, BACKWARD][k];
      const forward = d.name === "forward";
      const cut = (y) => (fit ? { x: layers, y } : upToWall(y, forward));
      const wall = !fit && beyond(rmsOf(means[d.name]), forward);
      /** @type {any[]} */
      const drawn = [...formatLines(range, wall)];
      if (band) drawn.push({ kind: "band", x: layers, low: d.low.map(inside), high: d.high.map(inside), color, opacity: 0.22 });
      for (const network of d.guesses) drawn.push({ kind: "curve", name: "ins-guess", ...cut(network), color, width: 1.3, opacity: 0.5 });
      for (const network of d.networks) drawn.push({ kind: "curve", name: "ins-network", ...cut(network), color, width: 1.3 });
      drawn.push({ kind: "curve", name: "ins-theory", ...cut(d.theory), dash: "5 4", width: 1.6 });
      if (wall) {
        drawn.push({
          kind: "end", x: wall.layer, y: wall.y > 0 ? WALLS[1] : WALLS[0], text: wall.y > 0 ? "∞" : "0", detail: `layer ${wall.layer}`,
          side: forward ? "left" : "right",
        });
      }
      charts[k].options.xTicks = layerTicks(depth, charts[k].width);
      charts[k].draw({ x: [0, depth], y: range, layers: drawn });
    });
    const { forward, backward } = means;
    charts[0].describe(`Size (rms) of the pre-activations of layers 0 to ${depth}, logarithmic axis. Their variance is ${short(10 ** forward[0], 2)} at the input, 10 to the power ${short(forward[depth], 3)} at layer ${depth}; theory: 10 to the power ${short(theory.forward[depth] / LN10, 3)}.`);
    charts[1].describe(`Size (rms) of the gradient of layers ${depth} to 0, logarithmic axis. Its variance is 1 at layer ${depth}, 10 to the power ${short(backward[1], 3)} at layer 1; theory: 10 to the power ${short(theory.backward[1] / LN10, 3)}.`);
    drawSizes(settings, [...networks, ...guesses]);
    drawHead(settings, networks.length, Boolean(band));
    formula(settings, theory.forward).forEach((pieces, k) => lines[k].replaceChildren(...pieces.map(set)));
    read();
    slider.band(kept);
    keep.disabled = !kept || Number.isNaN(kept.low);
    if (networks.length === 1 || networks.length === draws) f.say(sentence(settings, forward, backward, kept));
  }

  /** Say what is at the crosshair, or where signal and gradient end up, and mark it. */
  function read() {
    if (!shown) return;
    const { settings: { depth }, networks, theory } = shown;
    const layer = at.layer === null ? null : Math.min(at.layer, depth);
    const means = meansOf(shown);
    panels.forEach(({ name, title, values }, k) => {
      const here = layer ?? endOf(name, depth);
      const logs = networks.map((network) => network[name][here]);
      const [low, high] = [Math.min(...logs), Math.max(...logs)].map(powerText);
      title.textContent = `${name === "forward" ? "Signal" : "Gradient"}, layer ${here}: rms ${powerText(means[name][here] / 2)}`;
      const predicted = powerText(theory[name][here] / LN10);
      const measured = low === high ? low : `${low} to ${high}`;
      values.textContent = networks.length ? `variance ${measured}; theory ${predicted}` : `variance by theory ${predicted}`;
      charts[k].cross(layer === null ? null : { x: here, ys: [{ y: means[name][here] / 2, color: [FORWARD, BACKWARD][k] }] });
      readers[k].show(layer);
    });
    const bin = at.bin === null || !counted ? null : Math.min(at.bin, counted.edges.length - 2);
    if (bin !== null) {
      const [from, to] = [counted.edges[bin], counted.edges[bin + 1]].map((log) => powerText(log));
      const shares = counted.layers.map((l, k) => `layer ${l} ${percent(counted.shares[k][bin], 1)}`);
      sizesValues.textContent = `|z| from ${from} to ${to}: ${shares.join(", ")} of the units`;
      sizesChart.cross({ x: (counted.edges[bin] + counted.edges[bin + 1]) / 2, ys: counted.shares.map((share, k) => ({ y: share[bin], color: LAYER_COLORS[k] })) });
    } else {
      const here = layer ?? depth;
      sizesValues.textContent = `rms of layer ${here}: ${powerText(means.forward[here] / 2)}`;
      sizesChart.cross(layer === null ? null : { x: means.forward[here] / 2, ys: [] });
    }
    sizesReader.show(bin);
  }

  /** Walls where float32 ends, lines where float16 does; `hit`: the wall at which a curve ends. */
  /** @param {number[]} range */
  function* formatLines([low, high], hit) {
    yield { kind: "hline", at: 0, width: 0.8, opacity: 0.7 };
    for (const side of ["largest", "smallest"]) {
      const [near, far] = ["float16", "float32"].map((name) => Math.log10(NUMBER_FORMATS[name][side]));
      const end = side === "largest" ? high : low;
      const past = (at) => (side === "largest" ? at < end : at > end);
      const words = side === "largest" ? "overflows above" : "underflows below";
      // Words on the side of a line that is not the middle, and inside a wall.
      const below = side === "smallest";
      if (past(near)) {
        yield { kind: "hline", at: near, color: "var(--ins-muted)", dash: "1 3", width: 1.4 };
        // A label only where there is room for it.
        const room = Math.abs((past(far) ? far : end) - near) > 0.08 * (high - low);
        if (room) yield { kind: "beside", at: near, below, text: `float16 ${words}` };
      }
      if (past(far)) {
        yield { kind: "hspan", from: far, to: end, color: "var(--ins-muted)", opacity: 0.35 };
        yield { kind: "hline", at: far, color: "var(--ins-text)", width: 2.4 };
        const away = hit && hit.y < 0 === below ? 10 : 0; // there stands the sign of the curve's end
        yield { kind: "beside", at: far, below: !below, away, text: `float32 ${words}` };
      }
    }
  }

  function drawHead({ residual, layer_norm: layerNorm, draws }, done, banded) {
    const plain = !residual && !layerNorm;
    const some = done < draws ? `${done} of ${draws} random networks` : draws === 1 ? "a random network" : `${draws} random networks`;
    head.replaceChildren(legend([
      { text: `signal in ${some}`, color: FORWARD, longest: "signal in 10 of 10 random networks" },
      { text: "gradient", color: BACKWARD },
      { text: "theory (infinite width)", color: "currentColor", dash: "5 4" },
      { text: "95% of networks of this width, by theory", color: FORWARD, shape: "area", hidden: !banded || !plain },
    ]));
    const norm = layerNorm ? ", with φ applied to LayerNorm(z)" : "";
    let noBand = "";
    if (!plain) noBand = NO_SPREAD;
    else if (!banded) noBand = SATURATED;
    const network = `The network: ${residual ? FORMULAS.residual : FORMULAS.plain}${norm}. Variance: the mean square over the units, 1 for the input x and for the gradient at the output; rms: its root, drawn above. Pale: an estimate, until the network is computed. float32 and bfloat16 end at the walls, float16 at the dotted lines.`;
    foot.textContent = network + noBand;
    keepRoom(foot, network.length + Math.max(NO_SPREAD.length, SATURATED.length));
  }

  function drawLayers({ depth }) {
    const layers = shownLayers(depth);
    sizesLegend.replaceChildren(legend(LAYER_COLORS.map((color, k) => ({
      text: `layer ${layers[k] ?? ""}`, color, shape: "area", longest: "layer 100", hidden: k >= layers.length,
    }))));
  }

  function drawSizes({ depth }, networks) {
    const layers = shownLayers(depth);
    const logs = layers.map((_, k) => networks.map((network) => network.sizes[k]));
    const all = new Float64Array(logs.flat().reduce((sum, values) => sum + values.length, 0));
    let used = 0;
    for (const values of logs.flat()) for (const value of values) if (Number.isFinite(value)) all[used++] = value;
    // The few values close to 0 would stretch the axis: leave out the smallest 0.2%.
    const sorted = all.subarray(0, used).sort();
    const [least, largest] = sorted.length ? [sorted[Math.floor(0.002 * sorted.length)], sorted[sorted.length - 1]] : [-1, 1];
    const [low, high] = [Math.floor(Math.min(least, -1)) , Math.ceil(Math.max(largest + 0.1, 1))];
    const bins = Math.min(160, 6 * (high - low));
    const edges = Array.from({ length: bins + 1 }, (_, i) => low + (i * (high - low)) / bins);
    const heights = logs.map((values) => histogram(values, edges));
    const top = Math.max(...heights.flatMap((h) => [...h]), networks.length ? 1e-9 : 0.2) * 1.25;
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
    heights.forEach((h, k) => drawing.layers.push({ kind: "steps", edges, heights: h, color: LAYER_COLORS[k], opacity: 0.5 }));
    counted = { layers, edges, shares: heights };
    sizesChart.draw(drawing);
    drawLayers({ depth });
    sizesChart.describe(`Histogram of the sizes of single pre-activations, logarithmic axis. ${layers.map((l, k) => `Layer ${l}: median ${medianText(logs[k])}`).join("; ")}.`);
  }

  /** What is drawn: variances by layer, then the histogram of sizes. */
  function table() {
    const columns = [
      "direction", "layer", "log10_size_from", "log10_size_to", "share", "log10_theory", "log10_low", "log10_high",
      ...(shown?.networks ?? []).map((_, k) => `log10_network_${k}`),
    ];
    const rows = [];
    if (shown) {
      const nothing = ["", "", ""];
      for (const name of ["forward", "backward"]) {
        for (let l = 0; l <= shown.settings.depth; l += 1) {
          const bounds = shown.band ? [shown.band[name].low[l] / LN10, shown.band[name].high[l] / LN10] : ["", ""];
          rows.push([name, l, ...nothing, shown.theory[name][l] / LN10, ...bounds, ...shown.networks.map((network) => network[name][l])]);
        }
      }
      const rest = columns.slice(5).map(() => "");
      counted.layers.forEach((layer, k) => counted.shares[k].forEach((share, i) =>
        rows.push(["size", layer, counted.edges[i], counted.edges[i + 1], share, ...rest])));
    }
    return { columns, rows };
  }

  return () => {
    clearTimeout(late);
    clearTimeout(rest);
    compute.stop();
    f.destroy();
    rooms.disconnect();
    for (const chart of [...charts, sizesChart]) chart.destroy();
  };
}

function medianText(logs) {
  const values = Float64Array.from(logs.flatMap((one) => [...one])).sort();
  if (!values.length) return "not known yet";
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
