// One row of attention at a std of its logits, and how far rows concentrate by theory.

import { attention, criticalStd, drawRows, limit, participation, ROWS, summary } from "./theory.mjs";
import { findings, python, sentence, whole } from "./message.mjs";
import { Chart, COLORS, legend } from "../lib/chart.mjs";
import { make } from "../lib/dom.mjs";
import { short } from "../lib/format.mjs";
import { frame } from "../lib/frame.mjs";

export const CONTROLS = {
  logit_std: {
    label: "std of the logits, b", kind: "linear", min: 0, max: 8, step: 0.05,
    hint: "With normal weights b = d s² before training, for width d and weights of Q and K of std s.",
  },
  n_keys: { label: "keys, T", kind: "choice", options: [16, 64, 256, 1024].map((keys) => [keys, whole(keys)]) },
  seed: { label: "seed", kind: "integer", min: 0, max: 999, hidden: true },
};

const [BLUE, ORANGE, GREEN, PURPLE] = COLORS;
const GRID = Array.from({ length: 81 }, (_, k) => k / 10);

function render(context) {
  const f = frame(context, {
    title: "When attention saturates", controls: CONTROLS, update, python, table, longest: () => 290,
  });
  const legendPlace = make("div", { class: "ins-wide" });
  const facts = make("dl", { class: "ins-facts ins-wide" });
  f.view.append(legendPlace);
  const left = new Chart(f.view, {
    label: "one row of attention", xLabel: "attention, largest weight first", yLabel: "weight of the key", height: 260,
  });
  const right = new Chart(f.view, {
    label: "mean sum of squares", xLabel: "std of the logits, b", xTicks: [0, 2, 4, 6, 8], yLabel: "Σp²", yLog: true, height: 260,
  });
  f.view.append(facts);
  f.buttons.prepend(make("button", {
    type: "button", onclick: () => f.set({ seed: (f.settings().seed + 1) % (CONTROLS.seed.max + 1) }),
  }, "Draw again"));
  legendPlace.append(legend([
    { text: "weights of one row: each as wide as it is high, so the area is its Σp²", color: BLUE, shape: "area" },
    { text: "Σp² of this row", color: PURPLE, shape: "cross" },
    { text: `mean of ${ROWS} rows, 95% interval`, color: GREEN, shape: "point" },
    { text: "mean by theory, the integral", color: BLUE },
    { text: "limits of many keys: exp(b²)/T, then 1\u00a0−\u00a0√(2\u00a0ln\u00a0T)/b", color: ORANGE, dash: "6 4" },
    { text: "neither holds", color: "currentColor", shape: "area" },
  ]));

  let normals = null;

  function update(s, changed) {
    if (changed.has("n_keys") || changed.has("seed")) normals = drawRows(s.n_keys, s.seed);
    const { logit_std: at, n_keys: keys } = s;
    const found = findings(s, normals);
    const critical = criticalStd(keys);

    const limited = [...GRID, critical / Math.sqrt(3), 1.001 * critical].sort((a, b) => a - b); // with its ends

    const edges = [0];
    for (const weight of found.weights) edges.push(edges[edges.length - 1] + weight);
    left.draw({ x: [0, 1], y: [0, 1], layers: [{ kind: "bars", edges, heights: found.weights, color: BLUE }] });
    const interval = { x: [at, at], y: [found.mean - found.error, found.mean + found.error] };
    right.draw({
      x: [-0.2, 8.2], // room for the marks at its ends
      y: [0.7 / keys, 2.5], // room for a label above 1
      layers: [
        { kind: "vspan", from: critical / Math.sqrt(3), to: critical, color: "currentColor", opacity: 0.1 },
        { kind: "vline", at: critical, color: "currentColor", dash: "2 3", width: 1.2, label: "√(2 ln T)" },
        { kind: "line", x: GRID, y: GRID.map((b) => participation(keys, b)), color: BLUE },
        { kind: "line", x: limited, y: limited.map((b) => limit(keys, b)), color: ORANGE, dash: "6 4" },
        { kind: "line", ...interval, color: GREEN, width: 2.4 },
        { kind: "points", x: [at], y: [found.mean], color: GREEN, radius: 5 },
        { kind: "points", x: [at], y: [found.row], color: PURPLE, radius: 5, shape: "cross" },
      ],
    });

    const shownFacts = [
      ["Σp² of this row", short(found.row)],
      [`mean of ${ROWS} rows`, `${short(found.mean)} ± ${short(found.error, 2)}`],
      ["mean by theory", short(found.predicted)],
      ["limit of many keys", Number.isNaN(found.limit) ? "none here" : short(found.limit)],
      ["critical b, √(2 ln T)", short(critical)],
      ["critical b over √3", short(critical / Math.sqrt(3))],
    ];
    facts.replaceChildren(...shownFacts.map(([name, value]) => make("div", {}, make("dt", {}, name),
      make("dd", { class: "ins-sized", "data-longest": "0.00123 ± 0.0012" }, make("span", {}, value)))));
    f.note("logit_std", `Q, K: std ${short(Math.sqrt(at / 768), 2)} at width 768`);

    f.say(sentence(s, found));
    left.describe(`Attention of one query to ${whole(keys)} keys, largest weight first: ${short(found.weights[0], 2)}, then ${short(found.weights[1], 2)}. The sum of squares is ${short(found.row)}.`);
    right.describe(`Sum of squared weights against the std of the logits for ${whole(keys)} keys, from 1/${whole(keys)} upward. At ${short(at)} theory says ${short(found.predicted)} for the mean, ${ROWS} rows have ${short(found.mean)}, this row has ${short(found.row)}.`);
  }

  function table() {
    const { n_keys: keys } = f.settings();
    return {
      columns: ["n_keys", "logit_std", "predicted", "limit", "row", "mean_of_rows", "error_of_mean"],
      rows: GRID.map((b) => {
        const { squares } = attention(normals, keys, b);
        const { mean, error } = summary(squares);
        const many = limit(keys, b);
        return [keys, b, participation(keys, b), Number.isNaN(many) ? "" : many, squares[0], mean, error];
      }),
    };
  }

  return () => {
    f.destroy();
    left.destroy();
    right.destroy();
  };
}

export default { render };
