// Q, K and V through training: a recorded run, step by step.

import { Chart, COLORS, legend } from "./lib/chart.mjs";
import { make, reducedMotion } from "./lib/dom.mjs";
import { frame } from "./lib/frame.mjs";
import {
  curves, decode, depthColor, extent, histogram, nearest, normalDensity, python, sentence, summary, table,
} from "./qkv_training_math.mjs";

const MILLISECONDS_A_STEP = 110;

function render(context) {
  const { model } = context;
  const record = decode(model.get("record"));
  const { steps, layers, roles } = record;
  const predicted = roles.some((role) => record.predicted[role]);
  const last = steps[steps.length - 1];
  const names = { q: "Q (queries)", k: "K (keys)", v: "V (values)" };
  const controls = {
    step: {
      label: "Step", kind: "steps", options: steps,
      format: (step) => `${step.toLocaleString("en")} of ${last.toLocaleString("en")}`,
    },
    role: { label: "Matrix", kind: "choice", options: roles.map((role) => [role, names[role] ?? role]) },
    layer: { label: "Layer", kind: "steps", options: layers, hint: "the bold line, and the histogram" },
    quantity: {
      label: "Quantity", kind: "choice", options: [["std", "std of the weights"], ["ratio", "std / initial std"]],
    },
    show_prediction: { label: "AdamW prediction", kind: "switch" },
  };
  const f = frame(context, {
    title: "Q, K and V through training",
    controls,
    update,
    python: (settings) => python(record, settings),
    table: () => table(record, f.settings()),
  });
  f.enable("show_prediction", predicted);

  // The slider of the steps is long, with the button that plays them beside it.
  const play = make("button", { type: "button", onclick: toggle });
  const slider = f.panel.firstElementChild;
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
  const layerChart = new Chart(across.box, { label: "", xLabel: "layer", height: 230, xTicks: layerTicks() });
  const weightChart = new Chart(counted.box, { label: "", xLabel: "weight", yLabel: "density", height: 230 });
  const charts = [curveChart, layerChart, weightChart];

  function layerTicks() {
    const stride = Math.ceil(layers.length / 12);
    return layers.filter((_, k) => k % stride === 0);
  }

  // On the charts themselves: a step over the curves, a layer over the profile.
  follow(curveChart, (at) => ({ step: steps[nearest(steps, at.x)] }));
  follow(layerChart, (at) => ({ layer: layers[nearest(layers, at.x)] }));
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

  function update(settings) {
    const { role, quantity } = settings;
    const s = summary(record, settings);
    const index = steps.indexOf(s.step);
    const chosen = layers.indexOf(settings.layer);
    const name = role.toUpperCase();
    const what = quantity === "std" ? "std" : "std / initial std";
    const guess = settings.show_prediction && record.predicted[role] ? curves(record, role, quantity, "predicted") : null;
    const dashed = { color: "currentColor", dash: "6 4", width: 1.8 };

    const rows = curves(record, role, quantity);
    const key = [0, Math.floor((layers.length - 1) / 2), layers.length - 1];
    over.heading.textContent = `${name} in every layer, step by step; layer ${settings.layer} in bold`;
    over.key.replaceChildren(legend([
      ...[...new Set(key)].map((k) => ({ text: `layer ${layers[k]}`, color: depthColor(k, layers.length) })),
      ...(guess ? [{ text: `AdamW prediction, layer ${settings.layer}`, ...dashed }] : []),
    ]));
    const order = [...layers.keys()].filter((k) => k !== chosen);
    const line = (k, width, opacity) => ({
      kind: "line", x: steps, y: rows[k], color: depthColor(k, layers.length), width, opacity,
    });
    const shared = extent([...rows, ...(guess ?? [])]);
    curveChart.options.yLabel = what;
    curveChart.draw({
      x: [steps[0], last],
      y: shared,
      layers: [
        { kind: "vline", at: s.step, color: "currentColor", width: 1, opacity: 0.7 },
        ...order.map((k) => line(k, 1.3, 0.8)),
        line(chosen, 3.6, 1),
        ...(guess ? [{ kind: "line", x: steps, y: guess[chosen], ...dashed }] : []),
      ],
    });

    const color = (other) => COLORS[roles.indexOf(other) % COLORS.length];
    const at = (table) => table.map((row) => row[index]);
    across.heading.textContent = `Every layer at step ${s.step.toLocaleString("en")}`;
    across.key.replaceChildren(legend([
      ...roles.map((other) => ({ text: other.toUpperCase(), color: color(other), shape: "point" })),
      ...(guess ? [{ text: `AdamW prediction, ${name}`, ...dashed }] : []),
    ]));
    const all = roles.flatMap((other) => curves(record, other, quantity));
    layerChart.options.yLabel = what;
    layerChart.draw({
      x: [layers[0] - 0.5, layers[layers.length - 1] + 0.5],
      y: extent([...all, ...(guess ?? [])]),
      layers: [
        { kind: "vline", at: settings.layer, color: "currentColor", width: 1, opacity: 0.35 },
        ...(guess ? [{ kind: "line", x: layers, y: at(guess), ...dashed }] : []),
        ...roles.flatMap((other) => {
          const y = at(curves(record, other, quantity));
          const bold = other === role;
          return [
            { kind: "line", x: layers, y, color: color(other), width: bold ? 2.6 : 1.2, opacity: bold ? 1 : 0.7 },
            { kind: "points", x: layers, y, color: color(other), radius: bold ? 4 : 2.8 },
          ];
        }),
      ],
    });

    const bins = histogram(record, settings);
    counted.heading.textContent = bins
      ? `Weights of ${name} in layer ${settings.layer}, recorded at step ${bins.step.toLocaleString("en")}`
      : `No histogram of ${name} in layer ${settings.layer} was recorded`;
    counted.key.hidden = !bins;
    counted.key.replaceChildren(legend([
      { text: "weights", color: color(role), shape: "area" },
      { text: "normal of the same std", ...dashed, dash: undefined },
    ]));
    // One scale for all steps, so that scrubbing shows the distribution widen.
    const everyBins = record.histograms.steps.map((step) => histogram(record, { ...settings, step })).filter(Boolean);
    const widest = Math.max(1e-12, ...everyBins.map((one) => one.edges[one.edges.length - 1]).filter(Number.isFinite));
    const tallest = Math.max(1e-12, ...everyBins.flatMap((one) => one.density).filter(Number.isFinite));
    const x = Array.from({ length: 161 }, (_, k) => widest * (k / 80 - 1));
    weightChart.draw({
      x: [-widest, widest],
      y: [0, 1.08 * tallest],
      layers: bins ? [
        { kind: "bars", edges: bins.edges, heights: bins.density, color: color(role), opacity: 0.55 },
        { kind: "line", x, y: normalDensity(x, bins.std), color: "currentColor", width: 1.6 },
      ] : [],
    });

    const told = sentence(record, settings);
    f.say(told);
    curveChart.describe(`${what} of ${name} in ${layers.length} layers over ${steps.length} recorded steps. ${told}`);
    layerChart.describe(`${what} of ${roles.map((r) => r.toUpperCase()).join(", ")} by layer at step ${s.step}. ${told}`);
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
