// Draw another: random networks one by one, and the log-normal that grows out of them.

import { LAYERS, logNorms } from "./networks.mjs";
import { findings, python, sentence } from "./message.mjs";
import { DEVIATION, histogram, moments } from "./theory.mjs";
import { Chart, COLORS, legend } from "../lib/chart.mjs";
import { make, reducedMotion } from "../lib/dom.mjs";
import { short } from "../lib/format.mjs";
import { frame } from "../lib/frame.mjs";
import { normalDensity } from "../lib/gaussian.mjs";

export const CONTROLS = {
  width: { label: "width, units of a layer", kind: "steps", options: [4, 8, 16, 32, 64, 128] },
  depth: { label: "depth, hidden layers", kind: "integer", min: 1, max: LAYERS },
  activation: { label: "activation", kind: "choice", options: [["relu", "ReLU"], ["linear", "linear (none)"]] },
  networks: { label: "networks drawn", kind: "integer", min: 0, max: 500, hidden: true },
  seed: { label: "seed", kind: "integer", min: 0, max: 99, hidden: true },
};

const [BLUE, ORANGE, GREEN] = COLORS;
const MOST = CONTROLS.networks.max;
const SLICE = 16; // milliseconds of drawing networks, between which the page can do something else
const PAUSE = 150; // milliseconds between two pictures of many that are drawn
const BINS = 24;
const REACH = 4; // standard deviations on the axis
const WALKS = 60; // of the networks shown in the left chart
const TOPS = [5, 10, 20, 40, 60, 80, 120, 160, 250, 500]; // ends of the axis of counts, so that it seldom moves

function render(context) {
  const f = frame(context, {
    title: "Draw another", controls: CONTROLS, update, python, table, longest: () => 340,
  });
  const legendPlace = make("div", { class: "ins-wide" }, legend([
    { text: "networks", color: BLUE, width: 1 },
    { text: "the newest", color: ORANGE, width: 2.4 },
    { text: "by theory: mean, and 95% of the networks", color: GREEN, shape: "area" },
    { text: "infinite width", color: "currentColor", dash: "4 3" },
  ]));
  f.view.append(legendPlace);
  const label = "ln of what is left of the signal";
  const walks = new Chart(f.view, { label: "networks by layer", xLabel: "layer", xWhole: true, yLabel: label, height: 280 });
  const bars = new Chart(f.view, { label: "histogram", xLabel: label, yLabel: "networks", height: 280 });
  const facts = make("dl", { class: "ins-facts ins-wide" });
  f.view.append(facts);

  const draw = make("button", { type: "button", onclick: () => add(1) }, "Draw another");
  const more = make("button", { type: "button", onclick: () => add(50) }, "Draw 50");
  const keep = make("button", { type: "button", "aria-pressed": "false", style: "min-width: 8.2rem", onclick: () => going(!timer) }, "Keep drawing");
  const again = make("button", { type: "button", onclick: () => {
    going(false);
    f.set({ networks: 0, seed: (f.settings().seed + 1) % 100 });
  } }, "Start over");
  // Above the pictures: on a phone the sentence is far below.
  f.view.prepend(make("div", { class: "ins-buttons ins-wide" }, draw, more, keep, again));

  let kind = "";
  /** @type {Float64Array[]} */
  let paths = [];
  let job = 0;
  let timer = 0;
  let shownAt = -Infinity; // with the first network a picture is there at once

  const add = (count) => f.set({ networks: Math.min(MOST, f.settings().networks + count) });
  function going(yes) {
    clearInterval(timer);
    // With less motion wanted, few pictures show many networks.
    const [count, pause] = reducedMotion() ? [50, 1500] : [1, 80];
    timer = yes ? setInterval(() => {
      const { networks } = f.settings();
      if (networks === MOST || !f.view.isConnected) going(false);
      else if (!job) add(count);
    }, pause) : 0;
    keep.textContent = yes ? "Pause" : "Keep drawing";
    keep.setAttribute("aria-pressed", String(Boolean(yes)));
    if (!yes && !job) say();
  }

  function update(s) {
    const wanted = `${s.activation} ${s.width} ${s.seed}`;
    if (wanted !== kind) [kind, paths] = [wanted, []];
    clearTimeout(job);
    job = 0;
    work();
  }

  /** Draw networks for a slice of time, then the picture; go on if there are more. */
  function work() {
    const s = f.settings();
    const until = performance.now() + SLICE;
    while (paths.length < s.networks && performance.now() < until) paths.push(logNorms(s, paths.length));
    job = paths.length < s.networks ? setTimeout(work, 0) : 0;
    f.view.dataset.networks = `${Math.min(paths.length, s.networks)}/${s.networks}`;
    const now = performance.now();
    if (job && (reducedMotion() || now - shownAt < PAUSE)) return;
    shownAt = now;
    show(s);
  }

  const seen = (s) => findings(s, paths.slice(0, s.networks));
  let spoken = 0;
  function say() {
    const s = f.settings();
    f.say(sentence(s, seen(s)));
    spoken = performance.now();
  }

  function show(s) {
    const found = seen(s);
    const { mean, variance } = found.theory;
    const std = Math.sqrt(variance);
    const range = [mean - REACH * std, Math.max(mean + REACH * std, 0.3)];
    const shown = paths.slice(0, s.networks);
    const layers = Array.from({ length: s.depth + 1 }, (_, l) => l);
    const law = layers.map((l) => moments({ ...s, depth: l }));
    const end = (sign) => law.map((one) => one.mean + sign * DEVIATION * Math.sqrt(one.variance));
    walks.draw({
      x: [0, s.depth],
      y: range,
      layers: [
        { kind: "hline", at: 0, color: "currentColor", dash: "4 3", width: 1 },
        { kind: "band", x: layers, low: end(-1), high: end(1), color: GREEN, opacity: 0.2 },
        ...shown.slice(-WALKS, -1).map((path) => ({ kind: "line", x: layers, y: path, color: BLUE, width: 0.7, opacity: 0.9 })),
        { kind: "line", x: layers, y: law.map((one) => one.mean), color: GREEN, width: 2 },
        ...shown.slice(-1).map((path) => ({ kind: "line", x: layers, y: path, color: ORANGE, width: 2.4 })),
      ],
    });

    const counts = histogram(found.alive, range[0], range[1], BINS);
    const size = (range[1] - range[0]) / BINS;
    const scale = (Math.max(1, found.alive.length) * size) / std;
    const x = Array.from({ length: 97 }, (_, i) => range[0] + ((range[1] - range[0]) * i) / 96);
    const highest = Math.max(...counts, scale * normalDensity(0)) * 1.08;
    bars.draw({
      x: range,
      y: [0, TOPS.find((top) => top >= highest) ?? highest],
      layers: [
        { kind: "bars", edges: Array.from({ length: BINS + 1 }, (_, i) => range[0] + i * size), heights: counts, color: BLUE, opacity: 0.45 },
        { kind: "line", x, y: x.map((value) => scale * normalDensity((value - mean) / std)), color: GREEN, width: 2.4 },
        { kind: "vline", at: 0, color: "currentColor", dash: "4 3", width: 1 },
        ...(Number.isFinite(found.newest) ? [{ kind: "vline", at: found.newest, color: ORANGE, width: 2.4 }] : []),
      ],
    });

    const { sample } = found;
    const interval = (value, error) => (Number.isNaN(value) ? "none yet" : Number.isNaN(error) ? short(value) : `${short(value)} ± ${short(error, 2)}`);
    const shownFacts = [
      ["networks drawn", found.dead ? `${found.drawn}, ${found.dead} dead` : String(found.drawn)],
      ["mean of the logarithm", interval(sample.mean, sample.meanError)],
      ["mean by theory", short(mean)],
      ["variance of the logarithm", interval(sample.variance, sample.varianceError)],
      ["variance by theory", short(variance)],
      [`variance by the rule ${s.activation === "relu" ? 5 : 2} Σ 1/n`, short(found.first)],
    ];
    facts.replaceChildren(...shownFacts.map(([name, value]) => make("div", {}, make("dt", {}, name),
      make("dd", { class: "ins-sized", "data-longest": "-0.00123 ± 0.00012" }, make("span", {}, value)))));
    draw.disabled = more.disabled = s.networks >= MOST;
    const text = sentence(s, found);
    walks.describe(`Logarithm of what is left of the signal, by layer, of ${found.drawn} networks of ${s.width} units: 0 at the input; `
      + `after layer ${s.depth} theory says ${short(mean)} on average, and for 95% of them ${short(end(-1)[s.depth])} to ${short(end(1)[s.depth])}.`);
    bars.describe(`How many of ${found.drawn} networks end where, beside the normal curve with mean ${short(mean)} and variance ${short(variance)}. `
      + `The fullest of ${BINS} bins holds ${Math.max(...counts)}.`);
    // While it keeps drawing, now and then is enough for who hears it.
    if ((!timer && !job) || performance.now() - spoken > 2500) {
      f.say(text);
      spoken = performance.now();
    }
  }

  function table() {
    const s = f.settings();
    return {
      columns: ["activation", "width", "seed", "network", "layer", "log_norm"],
      rows: paths.slice(0, s.networks).flatMap((path, number) => Array.from(path.slice(0, s.depth + 1), (value, layer) => [
        s.activation, s.width, s.seed, number, layer, Number.isFinite(value) ? value : "",
      ])),
    };
  }

  return () => {
    clearTimeout(job);
    clearInterval(timer);
    f.destroy();
    walks.destroy();
    bars.destroy();
  };
}

export default { render };
