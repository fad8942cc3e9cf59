// A map of recorded sweeps: move over std and depth, width or training, and see those very runs.

import { Chart, legend } from "../lib/chart.mjs";
import { make } from "../lib/dom.mjs";
import { percent, power, short } from "../lib/format.mjs";
import { frame } from "../lib/frame.mjs";
import { inflate } from "../lib/inflate.mjs";
import { PAPER_BAND, cell, mapped, median, outcome, present, sentence, unpack } from "./sweeps.mjs";

const START = "#3f83c9";
const END = "#d9772b";
const GONE = "#cc4f5c";
const LIGHT = "#ffffff";
const DARK = "#14181e";
const NO_NUMBER = "#6d6d6d"; // most seeds diverged

const RAMP = ["#4a2f7a", "#3b6fb6", "#2fa3a0", "#7cc36a", "#f2d648"];
const FADED = [...RAMP].reverse();
const BOTH_WAYS = ["#2b5fa8", "#8fb4dc", "#eeeeee", "#e6ab7c", "#a8500f"];

const decades = (from, to, by, text = power) => {
  const found = [];
  for (let e = from; e <= to; e += by) found.push([e, text(e)]);
  return found;
};
const shares = [0, 0.25, 0.5, 0.75, 1].map((v) => [v, percent(v)]);
const log10 = (value) => Math.log10(value);
const same = (value) => value;
const ends = (list) => list.map(([v, text], i) => [
  v, i === 0 ? `≤ ${text}` : i === list.length - 1 ? `≥ ${text}` : text,
]);

/** How a quantity is shown: on what scale, from `low` to `high`, in which colors. */
const SCALES = {
  accuracy: { text: "test accuracy after training", scale: same, low: 0, high: 1, colors: RAMP, ticks: shares, show: (v) => percent(v, 1) },
  loss: { text: "training loss at the end", scale: log10, low: -2, high: 1, colors: FADED, ticks: ends(decades(-2, 1, 1, (e) => short(10 ** e))), show: (v) => short(v, 2) },
  divergence: { text: "updates until divergence, + 1", scale: (v) => log10(v + 1), low: 0, high: 4, colors: RAMP, ticks: decades(0, 4, 1), show: (v) => short(v) },
  signal: { text: "variance of the last layer over the first, before training", scale: same, low: -10, high: 10, colors: BOTH_WAYS, ticks: ends(decades(-10, 10, 5)), show: (v) => short(10 ** v, 2) },
  gradient: { text: "gradient variance of the first layer over the last, before training", scale: same, low: -10, high: 10, colors: BOTH_WAYS, ticks: ends(decades(-10, 10, 5)), show: (v) => short(10 ** v, 2) },
  dead: { text: "dead units of the last hidden layer, after training", scale: same, low: 0, high: 1, colors: FADED, ticks: shares, show: (v) => percent(v) },
};

function shade({ scale, low, high, colors }, value) {
  const position = Math.min(1, Math.max(0, (scale(value) - low) / (high - low))) * (colors.length - 1);
  const k = Math.min(colors.length - 2, Math.floor(position));
  const channel = (color, i) => parseInt(color.slice(1 + 2 * i, 3 + 2 * i), 16);
  const mixed = [0, 1, 2].map((i) => Math.round(
    channel(colors[k], i) + (position - k) * (channel(colors[k + 1], i) - channel(colors[k], i)),
  ));
  return `rgb(${mixed.join(",")})`;
}

/** What the rows of the map are: the networks, or if there is only one, the trainings. */
function rowsOf(sweep) {
  if (sweep.networks.length > 1) {
    const names = { depth: "weight layers", width: "hidden width", network: "network" };
    return { by: "network", label: names[sweep.axis], entries: sweep.networks };
  }
  return { by: "training", label: "optimizer and rate", entries: sweep.trainings };
}

const union = (lists) => {
  const found = new Map(lists.flat().map(([value, text]) => [value, [value, text]]));
  return [...found.values()];
};
const networkOptions = (sweep) => sweep.networks.map((n) => [n.widths, sweep.axis === "network" ? n.short : n.text]);
const trainingOptions = (sweep) => sweep.trainings.map((t) => [t.key, t.short]);
const seedOptions = (sweep) => [["median", "median of all"], ...sweep.seeds.map((s) => [s, `seed ${s}`])];

/** Each line drawn twice, so that it is seen on every color. */
const outlined = (x, y, width = 1.3, dash) => [
  { kind: "line", x, y, color: LIGHT, width: width + 2 },
  { kind: "line", x, y, color: DARK, width, dash },
];
const box = (a, b, c, d) => [[a, b, b, a, a, b], [c, c, d, d, c, c]]; // round its last corner too

/** Edges of cells round centers that are evenly spaced on a log axis. */
function edges(centers) {
  const logs = centers.map(Math.log);
  const half = logs.length > 1 ? (logs[1] - logs[0]) / 2 : 0.2;
  const middle = logs.slice(1).map((v, i) => (v + logs[i]) / 2);
  return [logs[0] - half, ...middle, logs[logs.length - 1] + half].map(Math.exp);
}

async function render(context) {
  const { model } = context;
  const recorded = model.get("recorded");
  const sweeps = unpack(recorded, await inflate(model.get("numbers")));
  const named = (name) => sweeps.find((sweep) => sweep.name === name) ?? sweeps[0];

  const controls = {
    sweep: { label: "sweep", kind: "choice", options: sweeps.map((s) => [s.name, s.name]) },
    quantity: {
      label: "color", kind: "choice", options: [
        ["accuracy", "test accuracy"], ["loss", "training loss"], ["divergence", "step of divergence"],
        ["signal", "signal before training"], ["gradient", "gradient before training"], ["dead", "dead units"],
      ],
    },
    training: { label: "training", kind: "choice", options: union(sweeps.map(trainingOptions)) },
    seed: { label: "seeds", kind: "choice", options: union(sweeps.map(seedOptions)) },
    std: {
      label: "std", kind: "steps", options: [...new Set(sweeps.flatMap((s) => s.stds))].sort((a, b) => a - b),
    },
    network: { label: "network", kind: "choice", slider: true, options: union(sweeps.map(networkOptions)) },
  };
  const f = frame(context, { title: "Stability map", controls, update, python, table, longest: () => longestSentence });

  const map = new Chart(f.view, { label: "map", xLabel: "initial std of the weights", xLog: true });
  const bar = make("div", { class: "ins-colorbar ins-wide" });
  const signs = make("div", { class: "ins-wide" });
  map.element.classList.add("ins-wide", "ins-map");
  map.element.tabIndex = 0;
  map.element.setAttribute("role", "application");
  f.view.prepend(bar);
  f.message.classList.add("ins-wide");
  f.view.append(signs, f.message); // what it says is about the map, so it stands there

  const panel = (title, options) => {
    const holder = make("div", { class: "ins-panel" }, make("p", { class: "ins-note" }, title));
    f.view.append(holder);
    return [holder, options && new Chart(holder, options)];
  };
  const [lossPanel, lossChart] = panel("Training loss of the selected cell", {
    label: "loss", xLabel: "update", yLog: true, height: 210,
  });
  const [seedPanel] = panel("Its seeds");
  const seedTable = make("div", { class: "ins-scroll", tabindex: 0, role: "group", "aria-label": "Seeds of the selected cell" });
  seedPanel.append(seedTable);
  const layered = { xLabel: "weight layer", yLabel: "variance", yLog: true, height: 210 };
  const [forwardPanel, forwardChart] = panel("Signal: variance of pre-activations", { label: "signal", ...layered });
  const [, backwardChart] = panel("Variance of their gradients", { label: "gradient", ...layered });
  lossPanel.append(legend([{ text: "one seed", color: START }, { text: "guessing", color: "currentColor", dash: "4 3" },
    { text: "a seed diverges", color: GONE, shape: "point" }]));
  forwardPanel.append(legend([{ text: "before training", color: START, dash: "5 3" }, { text: "after", color: END },
    { text: "range of seeds", color: START, shape: "area" }]));
  f.view.append(make("p", { class: "ins-note ins-wide" },
    "A seed learns if its accuracy goes 90% of the way from guessing to the best median of its row. Between the"
    + " edges of the theory band no variance changes by over a factor of 10 more than under the best std."
    + ` Losses and variances are right to within ${percent(recorded.precision)}.`));

  // Where the settings point to, as indices.
  function place(s) {
    const sweep = named(s.sweep);
    const index = (list, yes) => Math.max(0, list.findIndex(yes));
    return {
      sweep,
      seed: s.seed === "median" ? null : index(sweep.seeds, (seed) => seed === s.seed),
      at: {
        network: index(sweep.networks, (n) => n.widths === s.network),
        training: index(sweep.trainings, (t) => t.key === s.training),
        std: index(sweep.stds, (std) => std === s.std),
      },
    };
  }

  /** Numbers and outcomes of all cells of the map: [row][column]. */
  function grid(s) {
    const { sweep, at, seed } = place(s);
    const { by, entries } = rowsOf(sweep);
    return entries.map((_, row) => sweep.stds.map((__, std) => {
      const here = { ...at, [by]: row, std };
      const runs = cell(sweep, here);
      return { at: here, value: mapped(s.quantity, runs, seed), ...outcome(sweep, here, runs, seed) };
    }));
  }
  let cells = [];
  let longestSentence = 0;

  function update(s, changed) {
    if (changed.has("sweep")) {
      const sweep = named(s.sweep);
      f.offer("training", { options: trainingOptions(sweep) });
      f.offer("seed", { options: seedOptions(sweep) });
      f.offer("std", { options: sweep.stds });
      f.offer("network", {
        options: networkOptions(sweep), label: { depth: "depth", width: "width", network: "network" }[sweep.axis],
      });
      f.enable("network", sweep.networks.length > 1);
      f.enable("training", sweep.trainings.length > 1);
      s = f.settings();
    }
    const { by } = rowsOf(named(s.sweep));
    if (["sweep", "quantity", "seed", by === "network" ? "training" : "network"].some((n) => changed.has(n))) {
      cells = grid(s);
      const { sweep, seed } = place(s);
      longestSentence = Math.max(...cells.flat().map((here) => sentence(sweep, here.at, seed).length));
    }
    drawMap(s);
    drawCell(s);
  }

  function drawMap(s) {
    const { sweep, at } = place(s);
    const { by, label, entries } = rowsOf(sweep);
    const scale = { ...SCALES[s.quantity] };
    if (s.quantity === "divergence") {
      scale.high = Math.max(1, Math.ceil(log10(sweep.last_probe + 1)));
      scale.ticks = decades(0, scale.high, 1);
    }
    const xEdges = edges(sweep.stds);
    /** @type {number[][]} */
    const some = [[], []];
    /** @type {number[][]} */
    const all = [[], []];
    const colors = cells.map((row, j) => row.map((here, i) => {
      if (here.diverge > 0) {
        const [a, b] = [xEdges[i], xEdges[i + 1]];
        const inset = (b / a) ** 0.18;
        const [c, d] = [j - 0.34, j + 0.34];
        some[0].push(a * inset, b / inset, NaN);
        some[1].push(c, d, NaN);
        if (here.diverge === here.runs) {
          all[0].push(a * inset, b / inset, NaN);
          all[1].push(d, c, NaN);
        }
      }
      if (!Number.isNaN(here.value)) return shade(scale, here.value);
      return s.quantity !== "divergence" && here.diverge > 0 ? NO_NUMBER : null;
    }));
    const paper = PAPER_BAND.flatMap((std) => [
      { kind: "line", x: [std, std], y: [-0.5, entries.length], color: DARK, width: 3 },
      { kind: "line", x: [std, std], y: [-0.5, entries.length], color: LIGHT, width: 1.8, dash: "3 3" },
    ]);
    const theory = entries.flatMap((entry, row) => {
      const network = by === "network" ? entry : sweep.networks[at.network];
      const middle = network.critical === null ? [] : outlined([network.critical, network.critical], [row - 0.5, row + 0.5], 1.6);
      return [...outlined(...box(network.low, network.high, row - 0.38, row + 0.38), 1), ...middle];
    });
    const cross = [some, all].flatMap(([x, y]) => [
      { kind: "line", x, y, color: DARK, width: 2.4, opacity: 0.55 }, { kind: "line", x, y, color: LIGHT, width: 1.1 },
    ]);
    const chosen = box(xEdges[at.std], xEdges[at.std + 1], at[by] - 0.5, at[by] + 0.5);
    Object.assign(map.options, {
      yLabel: label,
      yTicks: entries.map((entry, row) => [row, entry.short]),
      left: Math.max(46, 30 + 6.4 * Math.max(...entries.map((entry) => entry.short.length))),
      height: Math.min(460, 62 + Math.max(3, entries.length) * 30),
    });
    map.draw({
      x: [xEdges[0], xEdges[xEdges.length - 1]],
      y: [-0.5, entries.length - 0.5],
      layers: [
        { kind: "cells", xEdges, yEdges: entries.map((_, j) => j - 0.5).concat(entries.length - 0.5), colors },
        ...cross, ...paper, ...theory,
        { kind: "line", x: chosen[0], y: chosen[1], color: DARK, width: 5.5 },
        { kind: "line", x: chosen[0], y: chosen[1], color: "#ff5a4f", width: 3 },
      ],
    });
    const row = cells[at[by]];
    const known = row.filter((here) => !Number.isNaN(here.value));
    const best = known.reduce((a, b) => (b.value > a.value ? b : a), known[0]);
    const name = `${scale.text}, ${entries.length} rows (${label}) by ${sweep.stds.length} stds`;
    map.describe(`Map of ${name}. In the selected row, ${entries[at[by]].text}, the highest is `
      + `${best ? `${scale.show(best.value)} at std ${short(sweep.stds[best.at.std])}` : "no number"}.`);
    map.element.setAttribute("aria-label", `Map of ${name}. Arrow keys move the selected cell.`);

    bar.replaceChildren(
      make("span", { class: "ins-label" }, `${scale.text}${s.seed === "median" ? " (median over seeds)" : ` (seed ${s.seed})`}`),
      make("div", { class: "ins-ramp", style: `background: linear-gradient(to right, ${scale.colors.join(", ")})`, "aria-hidden": "true" }),
      make("div", { class: "ins-row" }, ...scale.ticks.map(([, text]) => make("span", {}, text))),
    );
    const hasCritical = sweep.networks.some((n) => n.critical !== null);
    signs.replaceChildren(make("ul", { class: "ins-legend" },
      sign("selected", ["M3,2H19V12H3Z", DARK, 5], ["M3,2H19V12H3Z", "#ff5a4f", 3]),
      sign("theory band", ["M4,2H18V12H4Z", LIGHT, 3], ["M4,2H18V12H4Z", DARK, 1]),
      ...(hasCritical ? [sign("√(2/n), n the mean fan-in", ["M11,0V14", LIGHT, 4], ["M11,0V14", DARK, 1.8])] : []),
      sign("the paper's band, 0.01 to 0.1", ["M5,0V14M17,0V14", DARK, 3], ["M5,0V14M17,0V14", LIGHT, 1.8, "3 3"]),
      ...(s.seed === "median" ? [
        sign("some seeds diverge", ["M5,12L17,2", DARK, 3], ["M5,12L17,2", LIGHT, 1.3]),
        sign("all do", ["M5,12L17,2M5,2L17,12", DARK, 3], ["M5,12L17,2M5,2L17,12", LIGHT, 1.3]),
      ] : [sign("diverges", ["M5,12L17,2M5,2L17,12", DARK, 3], ["M5,12L17,2M5,2L17,12", LIGHT, 1.3])]),
      ...(s.quantity === "divergence" ? [make("li", {}, "no color: none diverges")] : [
        sign("no number: most diverged", ["M0,7H22", NO_NUMBER, 14]),
      ]),
    ));
  }

  function drawCell(s) {
    const { sweep, at, seed } = place(s);
    const runs = cell(sweep, at);
    const seeds = present(runs);
    const shown = seeds.filter((k) => seed === null || k === seed);
    const guess = -Math.log(sweep.chance);
    const gone = shown.filter((k) => runs.diverged[k] >= 0);
    const losses = seeds.flatMap((k) => runs.loss[k]).filter((v) => v > 0 && Number.isFinite(v));
    // A loss of 0 in float32 would stretch the axis over decades that nobody reads.
    const low = Math.max(1e-5, Math.min(guess, ...losses) / 1.5);
    const high = Math.max(guess, ...losses) * 1.6;
    const middle = sweep.steps.map((_, i) => median(shown.map((k) => runs.loss[k][i])));
    const diverged = gone.map((k) => runs.diverged[k]);
    lossChart.draw({
      x: [0, sweep.steps[sweep.steps.length - 1]],
      y: [low, high],
      layers: [
        ...seeds.map((k) => ({ kind: "line", x: sweep.steps, y: runs.loss[k], color: START, width: seed === null || k === seed ? 0.9 : 0.4 })),
        { kind: "line", x: sweep.steps, y: middle, color: seed === null ? "currentColor" : START, width: 2.2 },
        { kind: "hline", at: guess, dash: "4 3", width: 1 },
        { kind: "points", x: diverged, y: diverged.map(() => high / 1.15), color: GONE, radius: 3.5 },
      ],
    });
    const end = median(shown.map((k) => runs.loss[k][sweep.steps.length - 1]));
    lossChart.describe(`Training loss over ${sweep.steps[sweep.steps.length - 1]} updates, ${shown.length} seeds. `
      + `${Number.isFinite(end) ? `It ends at ${short(end, 2)} (median); guessing is ${short(guess, 2)}.` : "Most seeds diverge."}`);

    const layers = Array.from({ length: sweep.networks[at.network].depth }, (_, i) => i + 1);
    for (const [chart, name, what] of [[forwardChart, "forward", "the signal"], [backwardChart, "backward", "the gradient"]]) {
      const along = (list, pick) => layers.map((_, l) => pick(list.map((k) => runs[`${name}_${pick.when}`][k][l])));
      const of = (when, pick) => along(shown, Object.assign((v) => pick(v), { when }));
      const finite = (v) => v.filter((x) => x > 0 && Number.isFinite(x));
      const smallest = (v) => (finite(v).length ? Math.min(...finite(v)) : NaN);
      const largest = (v) => (finite(v).length ? Math.max(...finite(v)) : NaN);
      const before = of("start", median);
      const after = of("end", median);
      const all = finite(["start", "end"].flatMap((when) => [...of(when, smallest), ...of(when, largest)]));
      const range = all.length ? [Math.min(...all) / 2, Math.max(...all) * 2] : [0.1, 10];
      chart.options.xTicks = layers.filter((l) => layers.length <= 8 || l % Math.ceil(layers.length / 8) === 0);
      chart.draw({
        x: [0.7, layers.length + 0.3],
        // At least three decades, so that what hardly changes looks like it.
        y: [Math.min(range[0], range[1] / 1e3), range[1]],
        layers: [["start", START, before, "5 3"], ["end", END, after]].flatMap(([when, color, y, dash]) => [
          { kind: "band", x: layers, low: of(when, smallest), high: of(when, largest), color, opacity: 0.16 },
          { kind: "line", x: layers, y, color, dash },
          { kind: "points", x: layers, y, color },
        ]),
      });
      const [a, b] = [before[0], before[before.length - 1]].map((v) => short(v, 2));
      const [c, d] = [after[0], after[after.length - 1]].map((v) => (Number.isFinite(v) ? short(v, 2) : "no number"));
      chart.describe(`Variance of ${what} from layer 1 to ${layers.length}: before training ${a} to ${b}, after ${c} to ${d}.`);
    }

    const cellsOf = (k) => {
      const finalLoss = runs.loss[k][sweep.steps.length - 1];
      return [
        sweep.seeds[k], percent(runs.accuracy[k], 1), Number.isNaN(finalLoss) ? "none" : short(finalLoss, 2),
        runs.diverged[k] < 0 ? "no" : `after ${short(runs.diverged[k])}`,
      ];
    };
    const line = (tag, entries, attributes) => make("tr", attributes, ...entries.map((entry) => make(tag, {}, String(entry))));
    seedTable.replaceChildren(make("table", { class: "ins-table" },
      make("thead", {}, line("th", ["seed", "accuracy", "loss", "diverges"], {})),
      make("tbody", {}, ...seeds.map((k) => line("td", cellsOf(k), { class: k === seed ? "ins-chosen" : null }))),
    ));
    f.say(sentence(sweep, at, seed));
  }

  // Pointer and keys on the map.
  let dragging = false;
  const select = (row, column) => {
    const { sweep } = place(f.settings());
    const { by, entries } = rowsOf(sweep);
    const inside = (value, count) => Math.min(count - 1, Math.max(0, value));
    const entry = entries[inside(row, entries.length)];
    f.set({ std: sweep.stds[inside(column, sweep.stds.length)], [by]: by === "network" ? entry.widths : entry.key });
  };
  const point = (event) => {
    const value = map.at(event);
    if (!value) return;
    const { sweep } = place(f.settings());
    const distance = (std) => Math.abs(Math.log(std / value.x));
    const column = sweep.stds.reduce((best, std, i) => (distance(std) < distance(sweep.stds[best]) ? i : best), 0);
    select(Math.round(value.y), column);
  };
  map.svg.addEventListener("pointerdown", (event) => {
    if (event.button > 0) return;
    dragging = true;
    map.svg.setPointerCapture(event.pointerId);
    point(event);
  });
  map.svg.addEventListener("pointermove", (event) => dragging && point(event));
  for (const name of ["pointerup", "pointercancel"]) map.svg.addEventListener(name, () => { dragging = false; });
  map.element.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, 0], ArrowDown: [-1, 0], Home: [0, -1e9], End: [0, 1e9] }[event.key];
    if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const { sweep, at } = place(f.settings());
    select(at[rowsOf(sweep).by] + move[0], at.std + move[1]);
  });

  function python(s) {
    const { sweep, at, seed } = place(s);
    const network = sweep.networks[at.network];
    const training = sweep.trainings[at.training];
    const source = sweep.file
      ? `table = pd.read_parquet(${JSON.stringify(sweep.file)})`
      : `# table: the result of run_sweep that the map shows as ${JSON.stringify(sweep.name)}`;
return [
      "import numpy as np",
      "import pandas as pd",
      "",
      "from initscope.analysis import widths_of",
      "from initscope.theory import stability_band",
      "",
      source,
      "runs = table[",
      '    (table["scheme"] == "normal")',
      `    & (table["widths"] == "${network.widths}")`,
      `    & (table["optimizer"] == "${training.optimizer}")`,
      `    & (table["learning_rate"] == ${training.learning_rate})`,
      `    & (table["momentum"] == ${training.momentum})`,
      `    & (table["std"] == ${sweep.stds[at.std]})`,
      ...(seed === null ? [] : [`    & (table["seed"] == ${sweep.seeds[seed]})`]),
      "]",
      'print(runs[["seed", "test_accuracy", "train_loss", "diverged_step"]].to_string(index=False))',
      'accuracy = runs["test_accuracy"].median()',
      'print(f"median accuracy {accuracy:.1%}")',
      "",
      "# Before training, median over seeds: the variance of the last weight layer over the first.",
      `depth = ${network.depth}`,
      'change = np.median([np.log10(v[depth - 1] / v[0]) for v in runs["forward_variance"]])',
      'print(f"the variance of the signal is multiplied by {10**change:.2g}")',
      `band = stability_band(widths_of("${network.widths}"), "${sweep.activation}")`,
      'print(f"theory band: {band.low:.2g} to {band.high:.2g}")',
    ].join("\n");
  }

  /** The map, then the selected cell: one row a number. */
  function table() {
    const s = f.settings();
    const { sweep, at, seed } = place(s);
    const start = (here) => [
      sweep.name, sweep.networks[here.network].widths, sweep.trainings[here.training].key, sweep.stds[here.std],
    ];
    const text = (value) => (Number.isNaN(value) ? "" : Number(value.toPrecision(6)));
    const rows = cells.flat().map((here) => [...start(here.at), s.seed, `map: ${s.quantity}`, "", "", text(here.value)]);
    const runs = cell(sweep, at);
    for (const k of present(runs).filter((k) => seed === null || k === seed)) {
      const one = (stat, step, layer, value) => rows.push([...start(at), sweep.seeds[k], stat, step, layer, text(value)]);
      one("test_accuracy", "", "", runs.accuracy[k]);
      one("diverged_step", "", "", runs.diverged[k] < 0 ? NaN : runs.diverged[k]);
      runs.loss[k].forEach((value, i) => one("train_loss", sweep.steps[i], "", value));
      for (const name of ["forward", "backward"]) {
        for (const [when, step] of [["start", 0], ["end", sweep.last_probe]]) {
          runs[`${name}_${when}`][k].forEach((value, l) => one(`${name}_variance`, step, l + 1, value));
        }
      }
      runs.dead_end[k].forEach((value, l) => one("dead_fraction", sweep.last_probe, l + 1, value));
    }
    return { columns: ["sweep", "widths", "training", "std", "seed", "stat", "step", "layer", "value"], rows };
  }

  return () => {
    f.destroy();
    for (const chart of [map, lossChart, forwardChart, backwardChart]) chart.destroy();
  };
}

/** An entry of the legend: strokes [path, color, width, dash] on a sample of the map. */
function sign(text, ...strokes) {
  const sample = make("svg:svg", { width: 22, height: 14, "aria-hidden": "true" },
    make("svg:rect", { width: 22, height: 14, fill: "#7d9ab5" }),
    ...strokes.map(([d, stroke, width, dash]) => make("svg:path", {
      d, stroke, fill: "none", "stroke-width": width, "stroke-dasharray": dash,
    })));
  return make("li", {}, sample, text);
}

export default { render };
