// A phase diagram to point into: which phase, what becomes of two inputs, what depth trains.

import { Draws, NETWORKS, correlations } from "./network.mjs";
import { NAMES, RULE, findings, python, sentence } from "./message.mjs";
import { correlationMap, criticalLine, criticalWeight, diagram } from "./theory.mjs";
import { Chart, COLORS, legend } from "../lib/chart.mjs";
import { make } from "../lib/dom.mjs";
import { short } from "../lib/format.mjs";
import { frame } from "../lib/frame.mjs";

const MORE = "Inputs and networks";

export const CONTROLS = {
  activation: { label: "activation", kind: "choice", options: Object.entries(NAMES) },
  sigma_w2: {
    label: "variance of the weights, σ_w²", kind: "linear", min: 0.05, max: 4, step: 0.01,
    hint: "Variance of a weight, times the fan-in.",
  },
  sigma_b2: { label: "variance of the biases, σ_b²", kind: "linear", min: 0, max: 1, step: 0.01 },
  correlation: { label: "correlation of the two inputs", kind: "linear", min: 0, max: 0.99, step: 0.01, group: MORE },
  depth: { label: "layers", kind: "integer", min: 2, max: 50, group: MORE },
  width: { label: "width of the networks", kind: "steps", options: [16, 32, 64, 128], group: MORE },
  seed: { label: "seed", kind: "integer", min: 0, max: 99, hidden: true },
};

const [BLUE, ORANGE, GREEN, PURPLE, RED] = COLORS;
const [DARK, LIGHT, CHOSEN] = ["#14181e", "#ffffff", "#ff5a4f"];
const RAMP = ["#3b6fb6", "#a9c3df", "#ecebe4", "#e9b48a", "#c25b1e"]; // as in the figure of this chapter
const UNBOUNDED = "#c4c4c4";
const FULL = 0.7; // |ln chi_1| of a full color
const [COLUMNS, ROWS] = [48, 24];
const [WEIGHTS, BIASES] = [[0, 4], [0, 1]];
const edgesOf = (from, to, count) => Array.from({ length: count + 1 }, (_, i) => from + ((to - from) * i) / count);
const centers = (edges) => edges.slice(1).map((edge, i) => (edge + edges[i]) / 2);
const X_EDGES = edgesOf(WEIGHTS[0], WEIGHTS[1], COLUMNS);
const Y_EDGES = edgesOf(BIASES[0], BIASES[1], ROWS);
const LINE = Array.from({ length: 240 }, (_, i) => 10 ** (-4 + (6.6 * i) / 239)); // variances q along the edge

function shade(chi) {
  if (Number.isNaN(chi)) return UNBOUNDED;
  const at = ((Math.max(-FULL, Math.min(FULL, Math.log(chi))) + FULL) / (2 * FULL)) * (RAMP.length - 1);
  const k = Math.min(RAMP.length - 2, Math.floor(at));
  const mixed = [1, 3, 5].map((i) => {
    const [from, to] = [RAMP[k], RAMP[k + 1]].map((color) => parseInt(color.slice(i, i + 2), 16));
    return Math.round(from + (at - k) * (to - from));
  });
  return `rgb(${mixed.join(",")})`;
}

/** A chart whose chosen point is moved without drawing the rest anew. */
class PointedChart extends Chart {
  constructor(parent, options) {
    super(parent, options);
    this.marker = make("svg:g", { "aria-hidden": "true" });
    this.place = null;
  }

  draw(drawing) {
    super.draw(drawing);
    this.svg.append(this.marker);
    this.mark(this.place);
  }

  mark(place) {
    this.place = place;
    if (!place || !this.drawing) return;
    const [px, py] = this.scales(this.drawing);
    const ring = { cx: px(place.x), cy: py(place.y), r: 7, fill: "none" };
    this.marker.replaceChildren(
      make("svg:circle", { ...ring, stroke: DARK, "stroke-width": 5 }),
      make("svg:circle", { ...ring, stroke: CHOSEN, "stroke-width": 2.6 }),
    );
  }
}

/** An entry of the legend for what is drawn on the map: strokes [path, color, width, dash] on a ground. */
function sign(text, ground, ...strokes) {
  return make("li", {}, make("svg:svg", { width: 22, height: 14, "aria-hidden": "true" },
    make("svg:rect", { width: 22, height: 14, fill: ground }),
    ...strokes.map(([d, stroke, width, dash]) => make("svg:path", {
      d, stroke, fill: "none", "stroke-width": width, "stroke-dasharray": dash,
    })),
  ), text);
}

function render(context) {
  const f = frame(context, {
    title: "Order and chaos", controls: CONTROLS, update, python, table, longest: () => 300,
  });
  const panel = (...inside) => {
    const holder = make("div", { class: "ins-panel" }, ...inside);
    f.view.append(holder);
    return holder;
  };
  const edge = "M2,7H20";
  const mapPanel = panel(make("ul", { class: "ins-legend" },
    sign("ordered", RAMP[0]), sign("chaotic", RAMP[4]),
    sign("edge of chaos", RAMP[2], [edge, LIGHT, 5], [edge, DARK, 1.8]),
    sign("an edge that repels", RAMP[2], [edge, LIGHT, 5], [edge, DARK, 1.8, "2 3"]),
    sign("grows without bound", UNBOUNDED),
  ));
  const map = new PointedChart(mapPanel, {
    label: "phase diagram", xLabel: "variance of the weights, σ_w²", yLabel: "variance of the biases, σ_b²", height: 280,
  });
  map.element.classList.add("ins-map");
  map.element.tabIndex = 0;
  map.element.setAttribute("role", "application");
  const layerPanel = panel(legend([
    { text: "theory", color: BLUE, width: 2.4 },
    { text: `${NETWORKS} random networks`, color: GREEN, width: 1 },
    { text: "c*, its end", color: ORANGE, dash: "6 4" },
    { text: `${RULE} depth scales`, color: PURPLE, dash: "2 3" },
  ]));
  const layerChart = new Chart(layerPanel, {
    label: "correlation by layer", xLabel: "layer (0: the inputs)", xWhole: true, yLabel: "correlation of two inputs", height: 280,
  });
  const mapOfCorrelation = panel(legend([
    { text: "correlation map at the fixed point", color: BLUE, width: 2.4 },
    { text: "from layer to layer", color: RED, width: 1.2 },
    { text: "no change", color: "currentColor", dash: "4 3" },
  ]));
  const stairChart = new Chart(mapOfCorrelation, {
    label: "correlation map", xLabel: "correlation c", yLabel: "one layer on", height: 250,
  });
  const facts = make("dl", { class: "ins-facts" });
  panel(facts);
  f.buttons.prepend(
    make("button", { type: "button", onclick: () => {
      const { activation, sigma_b2: bias } = f.settings();
      const weight = criticalWeight(activation, bias);
      f.set(Number.isNaN(weight) ? { sigma_w2: criticalWeight(activation, 0), sigma_b2: 0 } : { sigma_w2: weight });
    } }, "To the edge of chaos"),
    make("button", { type: "button", onclick: () => f.set({ seed: (f.settings().seed + 1) % 100 }) }, "Other networks"),
  );

  const draws = new Draws();
  let networks = [];

  function update(s, changed) {
    const { activation, sigma_w2: weight, sigma_b2: bias } = s;
    const found = findings(s);
    if (changed.has("activation")) drawMap(activation);
    map.mark({ x: weight, y: bias });
    map.element.setAttribute("aria-label", `Phase diagram of ${NAMES[activation]}. Arrow keys move the chosen point, `
      + `now at σ_w² = ${short(weight)}, σ_b² = ${short(bias)}.`);

    networks = Array.from({ length: NETWORKS }, (_, k) => correlations(s, k, draws));
    const layers = Array.from({ length: s.depth + 1 }, (_, l) => l);
    /** @type {import("../lib/chart.mjs").Layer[]} */
    const limits = [["correlation", "ξ_c"], ["gradient", "ξ_grad"]].flatMap(([kind, name], row) => (RULE * found[kind] <= s.depth
      ? [{ kind: "vline", at: RULE * found[kind], color: PURPLE, dash: "2 3", width: 1.4, label: `${RULE} ${name}`, row }] : []));
    layerChart.draw({
      x: [0, s.depth],
      y: [-0.5, 1.04],
      layers: [
        ...(found.phase === "unbounded" ? [] : [
          { kind: "hline", at: found.c, color: ORANGE, dash: "6 4", width: 1.6 }, ...merged(limits)]),
        ...networks.map((y) => ({ kind: "line", x: layers, y, color: GREEN, width: 1 })),
        { kind: "line", x: layers, y: found.path.correlation, color: BLUE, width: 2.4 },
      ],
    });
    drawStairs(s, found);

    const known = (value, show = (v) => short(v)) => (Number.isNaN(value) ? "none" : show(value));
    const layersOf = (value) => known(value, (v) => (v === Infinity ? "no end" : `${short(v)} layers`));
    const shownFacts = [
      ["gradient, factor a layer, χ₁", known(found.chi)],
      ["variance at the fixed point, q*", known(found.q)],
      ["correlation there, c*", found.phase === "unbounded" ? "none" : known(found.c)],
      ["depth scale of the correlation, ξ_c", found.phase === "unbounded" ? "none" : layersOf(found.correlation)],
      ["of the gradient, ξ_grad", layersOf(found.gradient)],
      ["of the variance, ξ_q", found.phase === "unbounded" ? "none" : layersOf(found.length)],
    ];
    facts.replaceChildren(...shownFacts.map(([name, value]) => make("div", {}, make("dt", {}, name),
      make("dd", { class: "ins-sized", "data-longest": "1.23e10 layers" }, make("span", {}, value)))));
    const text = sentence(s, found);
    f.say(text);
    const ends = networks.map((along) => short(along[s.depth], 2));
    layerChart.describe(`Correlation of two inputs of ${NAMES[activation]} networks by layer: ${short(s.correlation)} at first, `
      + `${short(found.path.correlation[s.depth])} in layer ${s.depth} by theory; ${ends.join(", ")} in ${NETWORKS} random networks of width ${s.width}.`);
  }

  /** One mark where both scales are the same, as in the ordered phase. */
  function merged(marks) {
    if (marks.length < 2 || Math.abs(marks[0].at - marks[1].at) > 1e-6 * marks[0].at) return marks;
    return [{ ...marks[0], label: `${RULE} ξ` }];
  }

  function drawMap(activation) {
    const chi = diagram(activation, centers(X_EDGES), centers(Y_EDGES));
    const line = activation === "relu" ? [] : criticalLine(activation, LINE);
    const part = (stable) => line.map((point) => (point.stable === stable ? point.bias : NaN));
    const x = line.map(({ weight }) => weight);
    const outlined = (y, dash) => [
      { kind: "line", x, y, color: LIGHT, width: 4 }, { kind: "line", x, y, color: DARK, width: 1.8, dash },
    ];
    map.draw({
      x: WEIGHTS,
      y: BIASES,
      layers: [
        { kind: "cells", xEdges: X_EDGES, yEdges: Y_EDGES, colors: chi.map((row) => row.map(shade)) },
        ...outlined(part(false), "2 3"), ...outlined(part(true)),
        ...(activation === "relu" ? [ // its edge is one point
          { kind: "points", x: [2], y: [0], color: LIGHT, radius: 7 }, { kind: "points", x: [2], y: [0], color: DARK, radius: 5 },
        ] : []),
      ],
    });
    map.describe(`Phase diagram of ${NAMES[activation]}: the factor a layer by which gradients change, over the variance of the weights from 0 to 4 and of the biases from 0 to 1.`);
  }

  function drawStairs({ activation, sigma_w2: weight, sigma_b2: bias }, { q, c, phase, path: { correlation: along } }) {
    const unbounded = phase === "unbounded";
    const next = correlationMap(activation, weight, bias, unbounded ? 1e8 : q);
    const grid = Array.from({ length: 81 }, (_, i) => i / 80);
    // Steps of the iteration: up to the next layer's correlation, then over to it.
    const steps = along.slice(1);
    const xs = steps.flatMap((value, i) => (i + 1 < steps.length ? [value, value] : [value]));
    const ys = steps.flatMap((value, i) => (i + 1 < steps.length ? [value, steps[i + 1]] : [value]));
    stairChart.draw({
      x: [0, 1],
      y: [0, 1],
      layers: [
        { kind: "line", x: [0, 1], y: [0, 1], color: "currentColor", dash: "4 3", width: 1 },
        { kind: "line", x: grid, y: grid.map(next), color: BLUE, width: 2.4 },
        { kind: "line", x: xs, y: ys, color: RED, width: 1.2 },
        ...(unbounded ? [] : [{ kind: "points", x: [c], y: [c], color: ORANGE, radius: 5 }]),
      ],
    });
    stairChart.describe(unbounded
      ? `Correlation map of a signal that has grown large: from ${short(next(0))} at correlation 0 to 1 at 1.`
      : `Correlation one layer on against the correlation, at the fixed point of the variance: from ${short(next(0))} at 0 to 1 at 1, `
        + `and layers lead to ${short(c)}. In the layers shown it goes from ${short(along[1])} to ${short(along[along.length - 1])}.`);
  }

  // Pointer and keys on the map.
  let dragging = false;
  const inside = ({ min, max }, value) => Number(Math.min(max, Math.max(min, value)).toFixed(2));
  const select = (x, y) => f.set({ sigma_w2: inside(CONTROLS.sigma_w2, x), sigma_b2: inside(CONTROLS.sigma_b2, y) });
  const to = (event) => {
    const value = map.at(event);
    if (value) select(value.x, value.y);
  };
  map.svg.addEventListener("pointerdown", (event) => {
    if (event.button > 0) return;
    dragging = true;
    map.svg.setPointerCapture(event.pointerId);
    to(event);
  });
  map.svg.addEventListener("pointermove", (event) => dragging && to(event));
  for (const name of ["pointerup", "pointercancel"]) map.svg.addEventListener(name, () => { dragging = false; });
  map.element.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-0.05, 0], ArrowRight: [0.05, 0], ArrowUp: [0, 0.02], ArrowDown: [0, -0.02], Home: [-4, 0], End: [4, 0] }[event.key];
    if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const s = f.settings();
    select(s.sigma_w2 + move[0], s.sigma_b2 + move[1]);
  });

  function table() {
    const s = f.settings();
    const { variance, correlation } = findings(s).path;
    const number = (value) => (Number.isNaN(value) ? "" : value);
    return {
      columns: ["activation", "sigma_w2", "sigma_b2", "layer", "variance", "correlation", ...networks.map((_, k) => `network_${k + 1}`)],
      rows: variance.map((q, l) => [
        s.activation, s.sigma_w2, s.sigma_b2, l, q, correlation[l], ...networks.map((along) => number(along[l])),
      ]),
    };
  }

  return () => {
    f.destroy();
    for (const chart of [map, layerChart, stairChart]) chart.destroy();
  };
}

export default { render };
