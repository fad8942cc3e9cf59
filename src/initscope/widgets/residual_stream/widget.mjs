// The residual stream of a transformer before training, bar by bar: what each branch adds.

import { findings, python, sentence } from "./message.mjs";
import { Chart, COLORS, legend } from "../lib/chart.mjs";
import { make } from "../lib/dom.mjs";
import { part, short } from "../lib/format.mjs";
import { frame } from "../lib/frame.mjs";

export const CONTROLS = {
  norm: {
    label: "LayerNorm", kind: "choice", options: [["pre", "pre-LN, in the branch"], ["post", "post-LN, after the sum"]],
    hint: "Pre-LN: x + f(LN(x)), as in GPT-2. Post-LN: LN(x + f(x)), as in the first transformer.",
  },
  scaled: { label: "1/√(2L) on what writes to the stream", kind: "switch", hint: "The std of the output matrices of attention and MLP is divided by √(2L)." },
  n_layer: { label: "blocks, L", kind: "integer", min: 1, max: 48 },
  std: { label: "std of the weights", kind: "log", min: 0.002, max: 0.04, perDecade: 60 },
  n_embd: { label: "channels, d", kind: "steps", options: [384, 768, 1024] },
};

const [BLUE, ORANGE, GREEN, PURPLE] = COLORS;

function render(context) {
  const f = frame(context, {
    title: "The residual stream, bar by bar", controls: CONTROLS, update, python, table, longest: () => 320,
  });
  f.view.append(make("div", { class: "ins-wide" }, legend([
    { text: "what a branch meets: the stream", color: BLUE, shape: "area" },
    { text: "what attention adds", color: ORANGE, shape: "area" },
    { text: "what the MLP adds", color: GREEN, shape: "area" },
    { text: "the gradient, going back", color: PURPLE, shape: "point" },
  ])));
  const bars = new Chart(f.view, { label: "the stream", xLabel: "block, attention and MLP", yLabel: "variance of the stream", height: 290 });
  bars.element.classList.add("ins-wide");
  const back = new Chart(f.view, { label: "the gradient", xLabel: "after block", yLabel: "variance of the gradient", yLog: true, height: 210 });
  const facts = make("dl", { class: "ins-facts" });
  f.view.append(facts);
  let found = null;

  function update(s) {
    found = findings(s);
    const { branches, gradient, embeddings } = found;
    // The embeddings stand left of 0; a block has a bar for each of its branches.
    const edges = Array.from({ length: 2 * s.n_layer + 2 }, (_, i) => (i - 1) / 2);
    const tops = [embeddings, ...branches.map(({ before, added }) => before + added)];
    const met = [embeddings, ...branches.map(({ before }) => before)];
    const only = (first) => tops.map((top, i) => (i > 0 && i % 2 === first ? top : 0));
    const stride = Math.max(1, Math.ceil(s.n_layer / 12));
    bars.options.xTicks = Array.from({ length: s.n_layer }, (_, l) => l + 1)
      .filter((l) => l === 1 || l % stride === 0).map((l) => [l - 0.5, String(l)]);
    bars.draw({
      x: [-0.6, s.n_layer + 0.1],
      y: [0, 1.12 * Math.max(...tops)],
      layers: [
        { kind: "bars", edges, heights: only(1), color: ORANGE, opacity: 0.85 },
        { kind: "bars", edges, heights: only(0), color: GREEN, opacity: 0.85 },
        { kind: "bars", edges, heights: met, color: BLUE, opacity: 1 },
      ],
    });
    const layers = gradient.slice(1).map((_, l) => l + 1);
    const shown = gradient.slice(1);
    back.options.xTicks = layers.filter((l) => l === 1 || l % stride === 0);
    back.draw({
      x: [0.5, s.n_layer + 0.5],
      y: [Math.min(0.5, ...shown) / 1.5, Math.max(2, ...shown) * 1.5],
      layers: [
        { kind: "hline", at: 1, color: "currentColor", dash: "4 3", width: 1 },
        { kind: "line", x: layers, y: shown, color: PURPLE, width: 1.6 },
        { kind: "points", x: layers, y: shown, color: PURPLE, radius: 3 },
      ],
    });

    const shownFacts = [
      ["variance of the embeddings", short(embeddings)],
      ["of the stream at the end", short(found.end)],
      [s.scaled ? "at the end without 1/√(2L)" : "at the end with 1/√(2L)", Number.isNaN(found.other) ? short(found.end) : short(found.other)],
      ["part that attention adds", part(found.share)],
      ["gradient after block 1", short(gradient[1])],
      ["variance of the attention logits", short((s.n_embd * s.std ** 2) ** 2)],
    ];
    facts.replaceChildren(...shownFacts.map(([name, value]) => make("div", {}, make("dt", {}, name),
      make("dd", { class: "ins-sized", "data-longest": "1.23e-10" }, make("span", {}, value)))));
    const text = sentence(s, found);
    f.say(text);
    const ends = branches.slice(-2).map(({ added }) => short(added));
    bars.describe(`Variance of the residual stream, ${s.norm === "post" ? "post-LN" : "pre-LN"}, by block: ${short(embeddings)} in the embeddings, `
      + `${short(found.end)} after block ${s.n_layer}. Attention adds ${short(branches[0].added)} in the first block and ${ends[0]} in the last, the MLP ${short(branches[1].added)} and ${ends[1]}.`);
    back.describe(`Variance of the gradient along the stream, relative to that after the last block: ${short(gradient[1])} after block 1, `
      + `between ${short(Math.min(...shown))} and ${short(Math.max(...shown))} in all.`);
  }

  function table() {
    const { n_layer, n_embd, std, scaled, norm } = f.settings();
    const start = [n_layer, n_embd, std, scaled, norm];
    return {
      columns: ["n_layer", "n_embd", "std", "scaled", "norm", "block", "attention", "between", "mlp", "variance", "gradient"],
      rows: found.variance.map((variance, l) => [
        ...start, l, l ? found.branches[2 * l - 2].added : "", l ? found.branches[2 * l - 1].before : "",
        l ? found.branches[2 * l - 1].added : "", variance, found.gradient[l],
      ]),
    };
  }

  return () => {
    f.destroy();
    bars.destroy();
    back.destroy();
  };
}

export default { render };
