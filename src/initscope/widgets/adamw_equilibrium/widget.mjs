// The std of a weight matrix in a training run with AdamW, and where it settles.

import {
  dataMemory, equilibrium, learningRate, rotation, sampleSteps, Simulation, simulatedCoordinates, trajectory,
} from "./theory.mjs";
import { python, sentence, stepCount, timeConstant, whole } from "./message.mjs";
import { Chart, COLORS, legend } from "../lib/chart.mjs";
import { make, reducedMotion } from "../lib/dom.mjs";
import { part, percent, short } from "../lib/format.mjs";
import { frame } from "../lib/frame.mjs";

const NOISE = "Gradients that are not pure noise";
const MORE = "More of AdamW";

export const CONTROLS = {
  preset: {
    label: "preset", kind: "choice",
    options: [
      ["custom", "your own"],
      ["nanogpt", "nanoGPT 124M"],
      ["shakespeare", "Shakespeare char"],
      ["gpt3-175b", "GPT-3 175B"],
      ["llama-7b", "LLaMA 7B"],
      ["llama-65b", "LLaMA 65B"],
    ],
    hint: "nanoGPT 124M and Shakespeare char: train.py of nanoGPT, its defaults and config/train_shakespeare_char.py. "
      + "GPT-3: Brown et al. 2020, table 2.1 and appendix B; 300 billion tokens in batches of 3.2 million, where the "
      + "batch grows at first and the cosine ends after 260 billion. "
      + "LLaMA: Touvron et al. 2023, table 2; 1.0 and 1.4 trillion tokens in batches of 4 million. "
      + "Std 0.02 is GPT-2's; the LLaMA paper gives none.",
  },
  lr: { label: "peak learning rate", kind: "log", min: 1e-6, max: 0.1, zero: true },
  weight_decay: { label: "weight decay", kind: "log", min: 1e-4, max: 10, zero: true },
  schedule: {
    label: "schedule", kind: "choice",
    options: [["constant", "constant"], ["cosine", "cosine"], ["linear", "linear"], ["wsd", "warm-up, stable, decay"]],
    hint: "After a linear warm-up. Warm-up, stable, decay (WSD): a linear decay over the last fifth of the steps.",
  },
  warmup: { label: "warm-up steps", kind: "log", min: 1, max: 1e5, whole: true, zero: true, format: whole },
  final: { label: "last rate / peak", kind: "linear", min: 0, max: 1, step: 0.01 },
  steps: { label: "steps", kind: "log", min: 10, max: 1e6, whole: true, format: whole },
  std0: { label: "std at initialization", kind: "log", min: 1e-4, max: 10 },
  log_steps: { label: "logarithmic steps", kind: "switch" },
  log_std: { label: "logarithmic std", kind: "switch" },
  snr: {
    label: "signal to noise", kind: "log", min: 1e-4, max: 10, zero: true, group: NOISE,
    hint: "Square of the gradient's mean over its variance; the mean keeps its direction through the whole run.",
  },
  drift: {
    label: "drift g", kind: "log", min: 1e-6, max: 0.1, zero: true, group: NOISE,
    hint: "A push along the weights: the mean square grows by g × lr a step, in proportion to the rate, where noise "
      + "adds in proportion to its square. AdamW's own steps cannot push by more than about twice the std.",
  },
  diffusion: {
    label: "diffusion D", kind: "log", min: 0.1, max: 100, group: NOISE,
    hint: "Growth of the mean square over lr² a step: 1 for gradients independent from step to step, more where they agree.",
  },
  alignment: {
    label: "alignment α", kind: "linear", min: -0.5, max: 0.5, step: 0.005, group: NOISE,
    hint: "A pull of the gradient along the weights (below 0: a push), added to the weight decay.",
  },
  final_gradient: {
    label: "last gradient / first", kind: "log", min: 0.01, max: 100, group: NOISE,
    hint: "Root mean square of the gradient; it changes by the same factor at each step. The second moment remembers "
      + "about 1/(1 - beta2) steps: where gradients fall, it is too large, and steps are smaller.",
  },
  decay_schedule: {
    label: "weight decay per step", kind: "choice", group: MORE,
    options: [["constant", "constant (AdamW)"], ["rate", "as the rate (AdamC)"], ["independent", "independent of rate"]],
    hint: "AdamW multiplies a constant weight decay by the rate. AdamC (Defazio 2025): the weight decay, too, is in "
      + "proportion to the rate. Independent: rate × weight decay is the same at each step.",
  },
  beta1: { label: "beta1", kind: "linear", min: 0, max: 0.99, step: 0.01, group: MORE },
  beta2: {
    label: "beta2", kind: "linear", min: 0.9, max: 0.9999, step: 0.0001, group: MORE,
    format: (value) => short(value, 4),
    hint: "Enters in the simulation, and where gradients grow or fall: the prediction takes the second moment at its mean.",
  },
  epsilon: {
    label: "epsilon / first gradient", kind: "log", min: 1e-3, max: 1000, zero: true, group: MORE,
    hint: "AdamW's epsilon over the root mean square of the gradient at the first step: steps are 1 / (1 + this) as long.",
  },
};

/** A share as a percentage, or as a multiple if it is large. */
const remains = (value) => (Math.abs(value) > 10 ? `${short(value)} times` : part(value));

const [BLUE, ORANGE, GREEN, PURPLE, RED] = COLORS;

function render(context) {
  const { model } = context;
  /** @type {Record<string, Record<string, any>>} */
  const presets = model.get("published_runs");
  // The settings that a preset sets.
  const presetNames = Object.keys(presets.nanogpt);
  const sameAs = (preset, s) => presetNames.every((name) => presets[preset][name] === s[name]);
  const f = frame(context, { title: "AdamW equilibrium", controls: CONTROLS, update, python, table, longest: () => 580, settle });
  const legendPlace = make("div", { class: "ins-wide" });
  const facts = make("dl", { class: "ins-facts ins-wide" });
  f.view.append(legendPlace);
  const main = make("div", { class: "ins-wide" });
  // Side by side where there is room.
  const rates = make("div");
  const weights = make("div");
  f.view.append(main, rates, weights, facts);
  const chart = new Chart(main, { label: "std of the weights", xLabel: "step", yLabel: "std of the weights", xFormat: whole, height: 290 });
  const rateChart = new Chart(rates, { label: "learning rate", xLabel: "step", yLabel: "learning rate", xFormat: whole, height: 150 });
  const memoryChart = new Chart(weights, { label: "weight of each update", xLabel: "step", yLabel: "weight / mean", xFormat: whole, height: 150 });
  const button = make("button", { type: "button", onclick: () => {
    if (simulation && !simulation.done) {
      stop();
      draw(run.settings);
    } else start();
  } }, "Simulate");
  const progress = make("span", { class: "ins-label", hidden: true });
  f.buttons.prepend(button, progress);

  let run = null;
  let simulation = null;
  let drawn = 0; // points of the simulation in the picture
  let seed = 0;
  let frameRequest = 0;

  /** A link may name a preset alone; what it says besides holds over the preset. */
  function settle(settings, named) {
    const linked = named.has("preset") && presets[settings.preset];
    if (!linked) return settings;
    return { ...settings, ...Object.fromEntries(presetNames.filter((name) => !named.has(name)).map((name) => [name, linked[name]])) };
  }

  function update(settings, changed) {
    let s = settings;
    if (changed.size === 1 && changed.has("preset") && presets[s.preset]) {
      f.set(presets[s.preset]);
      s = f.settings();
    } else if (s.preset !== "custom" && !sameAs(s.preset, s)) {
      f.set({ preset: "custom" });
      s = f.settings();
    }
    f.enable("final", s.schedule !== "constant");
    if (!run || !presetNames.every((name) => run.settings[name] === s[name])) {
      stop();
      simulation = null;
      const at = sampleSteps(s.steps);
      run = { ...trajectory(s, at), memory: dataMemory(s, at), settings: s };
    }
    button.disabled = s.diffusion !== 1;
    button.title = s.diffusion === 1
      ? `AdamW itself on ${whole(simulatedCoordinates(s.steps))} independent weights whose gradients are normal noise`
      : "Simulated gradients are independent from step to step: set diffusion to 1.";
    draw(s);
  }

  /** Std from another initial std: the mean square of the initialization is a part of the sum. */
  const fromStart = (factor) => run.std.map((std, i) => Math.sqrt(
    Math.max(0, std * std - run.initial[i] ** 2) + (factor * run.initial[i]) ** 2,
  ));

  function draw(s) {
    const { step, memory } = run;
    const peak = equilibrium(s, s.lr);
    const settles = Number.isFinite(peak) && s.lr > 0;
    const moving = Float64Array.from(run.lr, (rate, i) => equilibrium(s, rate, run.gradient[i]));
    const [low, high] = [fromStart(0.5), fromStart(2)];
    const finite = (values) => [...values].filter((value) => Number.isFinite(value));
    const largest = Math.max(s.std0, ...finite(run.std));
    const shown = settles && peak < 6 * largest;
    // Room above the lines for the labels of the marks.
    const top = Math.min(1e300, 1.22 * Math.max(largest, ...finite(high), shown ? peak : 0));
    const smallest = Math.min(...finite([...run.std, ...low, shown ? peak : Infinity]).filter((value) => value > 0), s.std0 / 2);
    const x = s.log_steps ? [1, Math.max(10, s.steps)] : [0, s.steps];
    const y = s.log_std ? [Math.max(smallest / 1.3, top * 1e-9), top * 1.4] : [0, top];
    chart.options.xLog = s.log_steps;
    chart.options.yLog = s.log_std;
    rateChart.options.xLog = s.log_steps;
    memoryChart.options.xLog = s.log_steps;
    const constant = timeConstant(s);
    /** @type {import("../lib/chart.mjs").Layer[]} */
    const layers = [
      { kind: "line", x: step, y: low, color: BLUE, width: 0.8 },
      { kind: "line", x: step, y: high, color: BLUE, width: 0.8 },
      { kind: "line", x: step, y: run.initial, color: PURPLE, dash: "2 3" },
    ];
    if (constant <= s.steps) layers.push({ kind: "vline", at: constant, color: "currentColor", opacity: 0.7, dash: "1 3", width: 1.2, label: "one time constant" });
    if (settles && run.forgotten) layers.push({ kind: "vline", at: run.forgotten, color: PURPLE, dash: "2 3", width: 1.2, label: "initialization forgotten", row: 1 });
    if (shown) layers.push({ kind: "hline", at: peak, color: ORANGE, width: 1.2 });
    if (settles) layers.push({ kind: "line", x: step, y: moving, color: ORANGE, dash: "6 4" });
    layers.push({ kind: "line", x: step, y: run.std, color: BLUE, width: 2.4 });
    const simulated = simulation && (simulation.done || !reducedMotion()) ? simulation : null;
    if (simulated?.std.length) {
      const { margin } = simulated;
      layers.push({ kind: "band", x: simulated.step, low: simulated.std.map((v) => v * (1 - margin)), high: simulated.std.map((v) => v * (1 + margin)), color: GREEN, opacity: 0.22 });
      layers.push({ kind: "points", x: simulated.step, y: simulated.std, color: GREEN, radius: 2.4 });
    }
    chart.draw({ x, y, layers });
    rateChart.draw({ x, y: [0, s.lr > 0 ? 1.1 * s.lr : 1e-3], layers: [{ kind: "line", x: step, y: run.lr, color: ORANGE }] });
    drawMemory(x, run.memory);

    legendPlace.replaceChildren(legend([
      { text: "predicted std", color: BLUE },
      { text: "from half or twice the initial std", color: BLUE, width: 0.8 },
      {
        text: `equilibrium of the peak rate${shown ? "" : " (above the picture)"}`, color: ORANGE, hidden: !settles,
        longest: "equilibrium of the peak rate (above the picture)",
      },
      { text: "equilibrium of the rate at the step", color: ORANGE, dash: "6 4", hidden: !settles },
      { text: "left of the initialization", color: PURPLE, dash: "2 3" },
      { text: "weight of an update in the last weights", color: RED },
      {
        text: `AdamW on ${whole(simulated?.coordinates ?? 0)} simulated weights, 95% interval`, color: GREEN, shape: "point",
        hidden: !simulated, longest: "AdamW on 100,000 simulated weights, 95% interval",
      },
    ]));

    const end = run.std[run.std.length - 1];
    const share = (run.initial[run.initial.length - 1] / end) ** 2;
    const shownFacts = [
      ["equilibrium at the peak rate", settles ? short(peak, 4) : "none"],
      ["time constant of the variance", settles ? `${stepCount(constant)} steps` : "none"],
      ["length of the run", settles ? `${short(run.timeConstants)} time constants` : `${whole(s.steps)} steps`],
      ["std at the end", short(end, 4)],
      ["left of initialization", share >= 0 ? `${remains(share)} of the square` : "not a number"],
      ["half of what is known", memory.half ? `from the last ${short((100 * memory.half) / s.steps, 2)}%` : "none"],
      ["left of each initial weight", remains(memory.start)],
      ["rotation a step at equilibrium", settles ? `${short((rotation(s) * 180) / Math.PI)}°` : "none"],
    ];
    facts.replaceChildren(...shownFacts.map(([name, value]) => make("div", {}, make("dt", {}, name),
      // The longest of all.
      make("dd", { class: "ins-sized", "data-longest": "below 0.05% of the square" }, make("span", {}, value)))));

    const text = sentence(s, run, memory);
    const told = simulation?.done ? ` ${simulationSentence()}` : "";
    f.say(text + told);
    chart.describe(`Std of the weights against the step, from 0 to ${whole(s.steps)}. ${text}${told}`);
    const last = run.lr[run.lr.length - 1];
    const middle = learningRate(s)(Math.max(1, Math.round(s.steps / 2)));
    rateChart.describe(`Learning rate against the step: ${short(run.lr[0])} at first, ${short(middle)} halfway, ${short(last)} at the end.`);
  }

  function drawMemory(x, { start, weight, half }) {
    const [first, last] = x;
    const from = Math.max(first, last - half + 0.5);
    const marks = half ? [
      { kind: "vspan", from, to: last, color: RED },
      { kind: "vline", at: from, color: RED, width: 1, label: "half of the weight" },
    ] : [];
    /** @type {import("../lib/chart.mjs").Layer[]} */
    const layers = [
      ...marks,
      { kind: "hline", at: 1, color: "currentColor", opacity: 0.5, dash: "4 3", width: 1 },
      { kind: "line", x: run.step, y: weight, color: RED },
      { kind: "vline", at: first, color: PURPLE, dash: "2 3", width: 1.2, row: 1, label: `left of the start: ${remains(start)}` },
    ];
    const finite = weight.filter(Number.isFinite);
    memoryChart.draw({ x, y: [Math.min(0, ...finite), 1.5 * Math.max(1, ...finite)], layers });
    memoryChart.describe(`Weight of each update in the last weights, over the mean, against the step: ${short(weight[0])} at first, `
      + `${short(weight[weight.length - 1])} at the end${half ? `; half of it is that of the last ${whole(half)} updates` : ""}. `
      + `Of each initial weight ${remains(start)} is left.`);
  }

  function simulationSentence() {
    const last = simulation.std[simulation.std.length - 1];
    const margin = (last * simulation.margin).toLocaleString("en", { maximumSignificantDigits: 2 });
    return `Simulated, AdamW on ${whole(simulation.coordinates)} weights with random gradients ends at ${short(last)} ± ${margin}.`;
  }

  function start() {
    seed += 1;
    simulation = new Simulation(run.settings, seed);
    drawn = 0;
    button.textContent = "Stop";
    frameRequest = requestAnimationFrame(advance);
  }

  function advance() {
    // Two thirds of a frame: the page has the rest.
    simulation.advance(10);
    progress.hidden = simulation.done;
    progress.textContent = percent(simulation.state.t / run.settings.steps);
    if (simulation.done) button.textContent = "Simulate again";
    else frameRequest = requestAnimationFrame(advance);
    if (simulation.done || (simulation.std.length !== drawn && !reducedMotion())) {
      drawn = simulation.std.length;
      draw(f.settings());
    }
  }

  function stop() {
    cancelAnimationFrame(frameRequest);
    progress.hidden = true;
    button.textContent = "Simulate";
    if (simulation && !simulation.done) simulation = null;
  }

  function table() {
    const s = run.settings;
    const measured = new Map(simulation?.done ? simulation.step.map((step, i) => [step, simulation.std[i]]) : []);
    const steps = [...new Set([...run.step, ...measured.keys()])].sort((a, b) => a - b);
    const at = trajectory(s, steps);
    const { weight } = dataMemory(s, steps);
    return {
      columns: [
        "step", "learning_rate", "std", "equilibrium_of_the_rate", "left_of_initialization", "simulated_std",
        "weight_decay", "gradient_rms", "weight_of_the_update",
      ],
      rows: steps.map((step, i) => [
        step, at.lr[i], at.std[i], equilibrium(s, at.lr[i], at.gradient[i]), at.initial[i], measured.get(step) ?? "",
        at.decay[i], at.gradient[i], weight[i],
      ]),
    };
  }

  return () => {
    cancelAnimationFrame(frameRequest);
    f.destroy();
    chart.destroy();
    rateChart.destroy();
    memoryChart.destroy();
  };
}

export default { render };
