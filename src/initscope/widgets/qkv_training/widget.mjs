// Q, K and V through training: recorded runs, step by step.

import { Chart, COLORS, legend } from "../lib/chart.mjs";
import { make, reducedMotion } from "../lib/dom.mjs";
import { frame } from "../lib/frame.mjs";
import { inflate } from "../lib/inflate.mjs";
import {
  axisTicks, capital, curves, depthColor, histogram, limits, nearest, normalDensity, python, sentence, summary, table,
} from "./message.mjs";
import { unpack } from "./runs.mjs";

const MILLISECONDS_A_STEP = 110;
const LONG = { q: "Q (queries)", k: "K (keys)", v: "V (values)" };

async function render(context) {
  const { model } = context;
  const recorded = model.get("recorded");
  const runs = unpack(recorded, await inflate(model.get("numbers")));
  const runOf = (settings) => runs.find((one) => one.label === settings.run) ?? runs[0];
  let run = runOf({ run: model.get("run") });
  const sorted = (numbers) => [...new Set(numbers)].sort((a, b) => a - b);
  const layersOf = (...some) => sorted(some.flatMap((one) => Object.values(one.roles).flatMap(({ layers }) => layers)));
  const roleOptions = (...some) => recorded.roles
    .map((role) => [role, some.find((one) => one.roles[role])?.roles[role].name])
    .filter(([, name]) => name)
    .map(([role, name]) => [role, LONG[role] ?? capital(name)]);

  // At first what any run has, so that an address can name it.
  /** @type {Record<string, any>} */
  const controls = {
    run: { label: "Run", kind: "choice", options: runs.map(({ label }) => [label, label]) },
    step: {
      label: "Step", kind: "steps", options: sorted(runs.flatMap(({ steps }) => steps)),
      format: (step) => `${step.toLocaleString("en")} of ${run.steps[run.steps.length - 1].toLocaleString("en")}`,
    },
    role: { label: "Matrix", kind: "choice", options: roleOptions(...runs) },
    layer: { label: "Layer", kind: "steps", options: layersOf(...runs), hint: "the bold line, and the histogram" },
    quantity: {
      label: "Quantity", kind: "choice", options: [["std", "std of the weights"], ["ratio", "std / initial std"]],
    },
    show_prediction: { label: "AdamW prediction", kind: "switch" },
  };
  if (runs.length === 1) delete controls.run;
  const f = frame(context, {
    title: recorded.roles.every((role) => LONG[role]) ? "Q, K and V through training" : "Weight matrices through training",
    controls,
    update,
    python: (settings) => python(runOf(settings), settings),
    longest: (settings) => Math.max(...run.steps.map((step) => sentence(run, { ...settings, step }).length)),
    table: () => table(run, f.settings()),
  });

  // The slider of the steps is long, with the button that plays them beside it.
  const play = make("button", { type: "button", onclick: toggle });
  const slider = f.panel.querySelector("input[type=range]").closest(".ins-control");
  f.panel.prepend(make("div", { class: "ins-player" }, play, slider));
  slider.addEventListener("input", stop);

  function place(wide) {
    const heading = make("p", { class: "ins-label" });
    const key = make("div");
    const box = make("div", { class: wide ? "ins-wide" : "" }, heading, key);
    f.view.append(box);
    return { box, heading, key };
  }
  const over = place(true);
  const across = place(false);
  const counted = place(false);
  const curveChart = new Chart(over.box, { label: "", xLabel: "step", height: 270 });
  const layerChart = new Chart(across.box, { label: "", xLabel: "layer", xWhole: true, height: 230 });
  const weightChart = new Chart(counted.box, { label: "", xLabel: "weight", yLabel: "density", height: 230 });
  const charts = [curveChart, layerChart, weightChart];

  // On the charts themselves: a step over the curves, a layer over the profile.
  follow(curveChart, (at) => ({ step: run.steps[nearest(run.steps, at.x)] }));
  follow(layerChart, (at) => {
    const { layers } = run.roles[f.settings().role];
    return { layer: layers[nearest(layers, at.x)] };
  });
  function follow(chart, settingsAt) {
    chart.svg.classList.add("ins-follow");
    const move = (event) => {
      const at = (event.type === "pointerdown" || event.buttons) && chart.at(event);
      if (!at) return;
      stop();
      f.set(settingsAt(at));
    };
    chart.svg.addEventListener("pointerdown", move);
    chart.svg.addEventListener("pointermove", move);
  }

  let timer = 0;
  const status = context.el.querySelector(".ins-message");
  function stop() {
    clearTimeout(timer);
    timer = 0;
    status.removeAttribute("aria-live");
    play.textContent = reducedMotion() ? "Next step" : "Play";
  }
  function advance() {
    const { steps } = run;
    const next = (steps.indexOf(f.settings().step) + 1) % steps.length; // from the end to the start
    f.set({ step: steps[next] });
    return next < steps.length - 1;
  }
  function toggle() {
    if (timer) stop();
    else if (reducedMotion()) advance();
    else {
      play.textContent = "Pause";
      status.setAttribute("aria-live", "off"); // nobody wants ten sentences a second read out
      tick();
    }
  }
  function tick() {
    timer = setTimeout(tick, MILLISECONDS_A_STEP);
    if (!advance() || !context.el.isConnected) stop();
  }
  stop();

  const ends = runs.flatMap(({ steps }) => [steps[0], steps[steps.length - 1]]);
  const x = [Math.min(...ends), Math.max(...ends)];
  // The same axes for all runs, so that choosing another shows how it differs.
  const scales = new Map();
  function scale(chart, roles, quantity) {
    const key = [...roles, quantity].join();
    if (!scales.has(key)) scales.set(key, limits(runs, roles, quantity));
    const y = scales.get(key);
    Object.assign(chart.options, { yLabel: quantity === "std" ? "std" : "std / initial std", yLog: true, yTicks: axisTicks(y) });
    return y;
  }

  let offered = {};
  function update(settings) {
    run = runOf(settings);
    if (run !== offered.run) {
      f.offer("role", { options: roleOptions(run) });
      f.offer("step", { options: run.steps });
      settings = f.settings();
    }
    if (run !== offered.run || settings.role !== offered.role) {
      const { layers, predicted } = run.roles[settings.role];
      f.offer("layer", { options: layers });
      f.enable("show_prediction", predicted.length > 0);
      settings = f.settings();
    }
    offered = { run, role: settings.role };
    const { role, quantity } = settings;
    const { steps } = run;
    const matrices = run.roles[role];
    const { layers, name } = matrices;
    const s = summary(run, settings);
    const index = steps.indexOf(s.step);
    const chosen = layers.indexOf(settings.layer);
    const what = quantity === "std" ? "std" : "std / initial std";
    const guess = settings.show_prediction && matrices.predicted.length ? curves(matrices, quantity, "predicted") : null;
    const dashed = { color: "currentColor", dash: "6 4", width: 1.8 };

    const rows = curves(matrices, quantity);
    // The first layer is dotted: it is told from the last without color, too.
    const dots = (k) => (k === 0 && layers.length > 1 ? "1.5 3" : undefined);
    const key = [0, Math.floor(layers.length / 2), layers.length - 1];
    over.heading.textContent = `${capital(name)}, every layer, step by step; layer ${settings.layer} in bold`;
    over.key.replaceChildren(legend([
      ...[...new Set(key)].map((k) => ({ text: `layer ${layers[k]}`, color: depthColor(k, layers.length), dash: dots(k) })),
      ...(guess ? [{ text: `AdamW prediction, layer ${settings.layer}`, ...dashed }] : []),
    ]));
    const order = [...layers.keys()].filter((k) => k !== chosen);
    const line = (k, width) => ({
      kind: "line", x: steps, y: rows[k], color: depthColor(k, layers.length), width, dash: dots(k),
    });
    curveChart.draw({
      x,
      y: scale(curveChart, [role], quantity),
      layers: [
        { kind: "vline", at: s.step, color: "currentColor", width: 1, opacity: 0.7 },
        ...order.map((k) => line(k, k === 0 || k === layers.length - 1 ? 2 : 1.1)),
        line(chosen, 3.6),
        ...(guess ? [{ kind: "line", x: steps, y: guess[chosen], ...dashed }] : []),
      ],
    });

    const others = Object.keys(run.roles);
    const named = (other) => run.roles[other].name;
    const color = (other) => COLORS[recorded.roles.indexOf(other) % COLORS.length];
    const at = (table) => table.map((row) => row[index]);
    across.heading.textContent = `Every layer at step ${s.step.toLocaleString("en")}`;
    across.key.replaceChildren(legend([
      ...others.map((other) => ({ text: named(other), color: color(other), shape: "point" })),
      ...(guess ? [{ text: `AdamW prediction, ${name}`, ...dashed }] : []),
    ]));
    const every = layersOf(run);
    const stride = Math.ceil(every.length / 12);
    layerChart.options.xTicks = every.filter((_, k) => k % stride === 0);
    layerChart.draw({
      x: [every[0] - 0.5, every[every.length - 1] + 0.5],
      y: scale(layerChart, others, quantity),
      layers: [
        { kind: "vline", at: settings.layer, color: "currentColor", width: 1, opacity: 0.7 },
        ...(guess ? [{ kind: "line", x: layers, y: at(guess), ...dashed }] : []),
        ...others.flatMap((other) => {
          const known = run.roles[other].layers;
          const y = at(curves(run.roles[other], quantity));
          const bold = other === role;
          return [
            { kind: "line", x: known, y, color: color(other), width: bold ? 2.6 : 1 },
            { kind: "points", x: known, y, color: color(other), radius: bold ? 4 : 2.8 },
          ];
        }),
      ],
    });

    const bins = histogram(run, settings);
    counted.heading.textContent = bins
      ? `${capital(name)}, layer ${settings.layer}: weights recorded at step ${bins.step.toLocaleString("en")}`
      : `${capital(name)}, layer ${settings.layer}: no histogram was recorded`;
    counted.key.hidden = !bins;
    counted.key.replaceChildren(legend([
      { text: "weights", color: color(role), shape: "area" },
      { text: "normal of the same std", ...dashed, dash: undefined },
    ]));
    // One width for all steps, so that scrubbing shows the distribution widen.
    const widest = Math.max(1e-12, ...matrices.histograms[chosen].flatMap(({ low, high }) => [-low, high]));
    const weights = Array.from({ length: 161 }, (_, k) => widest * (k / 80 - 1));
    weightChart.draw({
      x: [-widest, widest],
      y: [0, 1.08 * Math.max(1e-12, ...(bins ? [...bins.density, 0.4 / bins.std] : []))],
      layers: bins ? [
        { kind: "bars", edges: bins.edges, heights: bins.density, color: color(role), opacity: 0.55 },
        { kind: "line", x: weights, y: normalDensity(weights, bins.std), color: "currentColor", width: 1.6 },
      ] : [],
    });

    const told = sentence(run, settings);
    f.say(told);
    curveChart.describe(`${what} of ${name} in ${layers.length} layers over ${steps.length} recorded steps. ${told}`);
    layerChart.describe(`${what} of ${others.map(named).join(", ")} by layer at step ${s.step}. ${told}`);
    weightChart.describe(bins
      ? `Histogram of ${name} in layer ${settings.layer} at step ${bins.step}, with a normal of std ${bins.std.toPrecision(3)}.`
      : counted.heading.textContent);
  }

  return () => {
    stop();
    f.destroy();
    charts.forEach((chart) => chart.destroy());
  };
}

export default { render };
