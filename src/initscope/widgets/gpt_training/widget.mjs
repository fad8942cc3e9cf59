// A GPT of 12 layers that is pretrained in the page, and the std of its queries, keys and values.

import { COLORS, Chart, legend } from "../lib/chart.mjs";
import { make, reducedMotion } from "../lib/dom.mjs";
import { short } from "../lib/format.mjs";
import { frame } from "../lib/frame.mjs";
import { inflate } from "../lib/inflate.mjs";
import { logTicks } from "../lib/ticks.mjs";
import { startWorker } from "../lib/worker.mjs";
import { MARGIN, median, python, smoothLosses, summary, table } from "./message.mjs";
import { OPTIMIZER_OPTIONS, RIVAL_OPTIONS, predictionOf, runsOf } from "./runs.mjs";
import { LAYERS, serve, tokenized } from "./training.mjs";

// This module's own text is also that of the worker.
// @ts-ignore: in a page there is no WorkerGlobalScope
if (typeof WorkerGlobalScope !== "undefined" && globalThis instanceof WorkerGlobalScope) {
  const receive = serve((answer) => globalThis.postMessage(answer), 40);
  globalThis.onmessage = ({ data }) => receive(data);
}

const SLICE = 8; // milliseconds of work at once where there is no worker
const DRAW_EVERY = 250; // milliseconds between pictures while it trains
const SPEAK_EVERY = 1500; // and between sentences
const POINTS = 100; // of a curve
const PANELS = ["Q (queries)", "K (keys)", "V (values)"];
const LOST = "#cc4f5c";

const CONTROLS = {
  std: { label: "std at the start", kind: "log", min: 1e-3, max: 1 },
  learning_rate: { label: "learning rate", kind: "log", min: 1e-5, max: 0.1 },
  weight_decay: { label: "weight decay", kind: "log", min: 0.01, max: 10, zero: true },
  width: { label: "width", kind: "steps", options: [16, 32, 48, 64] },
  optimizer: { label: "optimizer", kind: "choice", options: OPTIMIZER_OPTIONS },
  rival: { label: "second run", kind: "choice", options: RIVAL_OPTIONS },
  steps: { label: "updates", kind: "log", min: 10, max: 3000, whole: true, group: "More settings" },
  seed: { label: "seed", kind: "integer", min: 0, max: 99, group: "More settings" },
  residual_scaling: { label: "1/√(2L) where a branch ends", kind: "switch", group: "More settings" },
};

/** What each button sets, beside what the widget started with. */
const PRESETS = {
  "To equilibrium": {},
  "Two starts": { rival: "small_start" },
  "Rate 0.01": { learning_rate: 0.01, weight_decay: 0.5, steps: 300 },
  "AdamW or SGD": { rival: "optimizer" },
};

async function render(context) {
  const { model } = context;
  const text = new TextDecoder().decode(await inflate(model.get("deflated")));
  const vocabulary = tokenized(text).characters.length;
  const start = Object.fromEntries(Object.keys(CONTROLS).map((name) => [name, model.get(name)]));
  let runs = [];
  let step = 0;
  let running = false;
  let training = null; // where it is done: nowhere, before the reader asks for it
  let request = 0;
  let drawnAt = 0;
  let drawnTenth = -1;
  let spokenAt = 0;
  let clock = null; // when the updates that are counted began, to tell how long the rest takes

  const f = frame(context, {
    title: "Pretrain a GPT here",
    controls: CONTROLS,
    update: restart,
    python,
    table: () => table(runs, f.settings().steps),
    longest: ({ rival }) => (rival === "none" ? 450 : 760),
  });

  const presets = make("div", { class: "ins-buttons ins-presets ins-wide" }, ...Object.entries(PRESETS).map(
    ([name, changes]) => make("button", { type: "button", onclick: () => f.set({ ...start, ...changes }) }, name),
  ));
  const run = make("button", { type: "button", onclick: () => {
    if (finished()) restart(f.settings());
    running = !running;
    clock = null;
    ask(running ? f.settings().steps : 0);
  } }, "Train");
  const one = make("button", { type: "button", onclick: () => {
    if (finished()) return;
    running = false;
    ask(step + 1);
  } }, "Step");
  const again = make("button", { type: "button", onclick: () => restart(f.settings()) }, "Restart");
  const progress = make("progress", { max: 1, ".value": 0, "aria-label": "training" });
  const counter = make("span", { class: "ins-value ins-counter" });
  const player = make("div", { class: "ins-buttons ins-wide" }, run, one, again, progress, counter);
  const key = make("div", { class: "ins-wide" });
  f.view.append(presets, player, key);
  const place = (title, label, options) => {
    const box = make("div", { class: "ins-panel" }, make("p", { class: "ins-panel-title" }, title));
    f.view.append(box);
    return new Chart(box, { label, xLabel: "update", height: 215, ...options });
  };
  const panels = PANELS.map((title) => place(title, title, { yLabel: "std", yLog: true }));
  const lossPanel = place("Loss", "loss", { yLabel: "nats a character" });

  const alive = () => runs.filter(({ diverged }) => diverged === null);
  const finished = () => step === f.settings().steps || (step > 0 && alive().length === 0);

  /** Back to before the first update, with nothing at work. */
  function restart(settings) {
    halt();
    runs = runsOf(settings).map((one) => ({ ...one, prediction: predictionOf(one, settings.steps), records: [], diverged: null }));
    step = 0;
    drawnTenth = -1;
    f.note("std", `GPT-2's scale: ${short(0.02 * Math.sqrt(768 / settings.width))}`);
    show();
  }

  function halt() {
    running = false;
    training?.ask({ until: 0 });
    training?.stop();
    training = null;
  }

  /** Train up to an update; a smaller one than is reached pauses. */
  function ask(until) {
    if (!training) {
      training = startWorker(model.get("_esm"), heard, (answer) => serve(answer, SLICE));
      training.ask({ start: { runs: runs.map(({ label, prediction, records, diverged, ...settings }) => settings), text } });
    }
    training.ask({ until });
    show();
  }

  function heard({ records, diverged }) {
    for (const [k, record] of records) {
      runs[k].records.push(record);
      step = record.step;
    }
    diverged.forEach((at, k) => { runs[k].diverged = at; });
    step = Math.max(step, ...runs.map((one) => one.diverged ?? 0));
    if (running) clock ??= { step, time: performance.now() };
    if (running && finished()) running = false;
    if (!running) show();
    else request ||= requestAnimationFrame(now);
  }

  /** While it trains: the counter at once, pictures and sentences now and then. */
  function now(time) {
    request = 0;
    showButtons();
    const { steps } = f.settings();
    // With less motion wanted, ten pictures show a training.
    const tenth = Math.floor((10 * step) / steps);
    if (reducedMotion() ? tenth !== drawnTenth : time - drawnAt > DRAW_EVERY) {
      drawnAt = time;
      drawnTenth = tenth;
      draw();
    }
    if (time - spokenAt > SPEAK_EVERY) {
      spokenAt = time;
      f.say(summary(runs, step, steps, vocabulary));
    }
  }

  function show() {
    cancelAnimationFrame(request);
    request = 0;
    showButtons();
    draw();
    f.say(summary(runs, step, f.settings().steps, vocabulary));
  }

  function showButtons() {
    const { steps } = f.settings();
    const ended = finished();
    run.textContent = running ? "Pause" : ended ? "Train again" : step ? "Continue" : "Train";
    one.setAttribute("aria-disabled", String(ended));
    // Nobody wants a sentence a second read out.
    if (running) f.message.setAttribute("aria-live", "off");
    else f.message.removeAttribute("aria-live");
    const done = clock && step > clock.step + 3 ? (performance.now() - clock.time) / (step - clock.step) : null;
    const left = running && done ? `, ${Math.ceil((done * (steps - step)) / 1000)} s left` : "";
    counter.textContent = `update ${step.toLocaleString("en")} of ${steps.toLocaleString("en")}${left}`;
    progress.value = step / steps;
    progress.setAttribute("aria-valuetext", counter.textContent);
    counter.dataset.step = String(step);
  }

  function draw() {
    const { steps } = f.settings();
    const race = runs.length > 1;
    const color = (k) => COLORS[k];
    key.replaceChildren(legend([
      ...runs.map(({ label }, k) => ({ text: race ? `${label}: a line a layer, bold the median` : "a line a layer, bold the median", color: color(k), longest: race ? "SGD with momentum 0.9: a line a layer, bold the median" : undefined })),
      { text: "layer 1", color: color(0), dash: "1.5 3" },
      { text: `AdamW's prediction; shade: within ${100 * MARGIN}%`, color: "currentColor", dash: "6 4" },
      { text: "diverged", color: LOST, shape: "cross", hidden: runs.every(({ diverged }) => diverged === null) },
    ]));
    panels.forEach((chart, role) => drawStds(chart, role, steps, color));
    drawLosses(steps, color);
  }

  /** Few enough of the records to be drawn quickly, the last one among them. */
  function sampled(records) {
    const stride = Math.ceil(records.length / POINTS);
    return records.filter((_, k) => k % stride === 0 || k === records.length - 1);
  }

  function drawStds(chart, role, steps, color) {
    const ahead = Array.from({ length: POINTS + 1 }, (_, k) => Math.round((k * steps) / POINTS));
    const layers = [];
    const shown = [];
    const told = [];
    for (const { prediction, label, std } of runs) {
      shown.push(std);
      if (!prediction) continue;
      const y = ahead.map((at) => prediction.std[at]);
      layers.push(
        { kind: "band", x: ahead, low: y.map((v) => v * (1 - MARGIN)), high: y.map((v) => v * (1 + MARGIN)), opacity: 0.13 },
        { kind: "line", x: ahead, y, dash: "6 4", width: 1.5 },
      );
      shown.push(...y);
      told.push(`${label ? `${label}: ` : ""}predicted ${short(y[0])} at the start and ${short(y.at(-1))} after ${steps} updates`);
    }
    runs.forEach(({ records, label, diverged, std }, k) => {
      if (!records.length) {
        layers.push({ kind: "points", x: [0], y: [std], color: color(k), radius: 4 });
        told.push(`${label ? `${label}: ` : ""}starts at ${short(std)}`);
        return;
      }
      const few = sampled(records);
      const x = few.map((record) => record.step);
      const line = (y, more) => ({ kind: "line", x, y, color: color(k), ...more });
      for (let l = LAYERS - 1; l >= 0; l -= 1) {
        layers.push(line(few.map((record) => record.std[role][l]), { width: l ? 0.8 : 1.4, dash: l ? undefined : "1.5 3" }));
      }
      const middle = few.map((record) => median(record.std[role]));
      layers.push(line(middle, { width: 3 }));
      const head = { x: x.slice(-1), y: middle.slice(-1) };
      layers.push(diverged === null ? { kind: "points", ...head, color: color(k), radius: 4 } : { kind: "points", ...head, color: LOST, radius: 5, shape: "cross" });
      const last = records.at(-1).std[role];
      shown.push(...few.flatMap((record) => record.std[role]));
      told.push(`${label ? `${label}: ` : ""}after ${records.at(-1).step} updates ${short(Math.min(...last))} to ${short(Math.max(...last))} over the layers, median ${short(median(last))}`);
    });
    const finite = shown.filter((v) => v > 0 && Number.isFinite(v));
    // Half a decade of room, so that the axis stands still unless a layer leaves.
    const y = [Math.min(...finite) / 1.6, Math.max(...finite) * 1.6];
    chart.options.yTicks = axisTicks(y);
    chart.draw({ x: [0, steps], y, layers });
    chart.describe(`Std of ${PANELS[role]} against updates. ${told.join("; ")}.`);
  }

  function axisTicks(y) {
    return logTicks(...y, 5).map((value) => [value, short(value)]);
  }

  function drawLosses(steps, color) {
    const guessing = Math.log(vocabulary);
    /** @type {import("../lib/chart.mjs").Layer[]} */
    const layers = [{ kind: "hline", at: guessing, dash: "4 3", width: 1, label: "guessing" }];
    const shown = [0, guessing];
    const told = [];
    runs.forEach(({ records, label }, k) => {
      const smooth = smoothLosses(records);
      if (!smooth.length) return;
      const few = sampled(records.slice(1).map((record, i) => ({ step: record.step, loss: smooth[i] })));
      layers.push({ kind: "line", x: few.map((record) => record.step), y: few.map((record) => record.loss), color: color(k) });
      shown.push(...few.map(({ loss }) => loss));
      told.push(`${label ? `${label}: ` : ""}${short(smooth.at(-1))} after ${records.at(-1).step} updates`);
    });
    lossPanel.draw({ x: [0, steps], y: [0, 1.12 * Math.min(Math.max(...shown), 4 * guessing)], layers });
    lossPanel.describe(`Loss of the batch, mean over ten updates, over ${steps} updates; guessing has ${short(guessing)}. ${told.join("; ") || "Not trained yet"}.`);
  }

  return () => {
    halt();
    cancelAnimationFrame(request);
    f.destroy();
    for (const chart of [...panels, lossPanel]) chart.destroy();
  };
}

export default { render };
