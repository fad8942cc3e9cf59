// Networks on UCI Wine that train in the page, several seeds side by side.

import { COLORS, Chart, legend } from "../lib/chart.mjs";
import { make, reducedMotion } from "../lib/dom.mjs";
import { percent, short } from "../lib/format.mjs";
import { frame } from "../lib/frame.mjs";
import { SCHEMES, Training } from "./training.mjs";
import { groupsOf, summary, table } from "./message.mjs";

const SLICE = 12; // milliseconds of training in a frame, so that the page keeps answering
const SPEAK_EVERY = 1500; // milliseconds between sentences while it runs
const LOST = "#cc4f5c";
const FEATURES = 13;

const CONTROLS = {
  scheme: {
    label: "initialization",
    kind: "choice",
    options: [
      ["normal", "one std"],
      ["lecun", "LeCun"],
      ["xavier", "Xavier"],
      ["kaiming", "Kaiming"],
      ["race", "Xavier vs. Kaiming"],
    ],
  },
  std: { label: "std of the weights", kind: "log", min: 1e-4, max: 10 },
  depth: { label: "depth (weight layers)", kind: "integer", min: 1, max: 30 },
  width: { label: "width", kind: "steps", options: [1, 2, 4, 8, 16, 32, 64, 128] },
  optimizer: {
    label: "optimizer",
    kind: "choice",
    options: [["sgd", "SGD"], ["momentum", "SGD, momentum 0.9"], ["adam", "Adam"]],
  },
  learning_rate: { label: "learning rate", kind: "log", min: 1e-4, max: 10 },
  batch_size: { label: "batch size", kind: "steps", options: [4, 8, 16, 32, 64, 128] },
  epochs: { label: "epochs", kind: "integer", min: 1, max: 100 },
  seeds: { label: "seeds", kind: "integer", min: 1, max: 8 },
};

/** What the settings of the controls ask of `Training`. */
export function trainingSettings(s) {
  return {
    schemes: s.scheme === "race" ? ["xavier", "kaiming"] : [s.scheme],
    std: s.std,
    seeds: s.seeds,
    depth: s.depth,
    width: s.width,
    optimizer: s.optimizer,
    learningRate: s.learning_rate,
    batchSize: s.batch_size,
    epochs: s.epochs,
  };
}

/** The std of Kaiming initialization for the chosen widths, beside the slider. */
export function kaimingNote({ depth, width }) {
  const first = `√(2/fan-in): ${short(SCHEMES.kaiming(FEATURES), 3)}`;
  return depth === 1 ? first : `${first}, then ${short(SCHEMES.kaiming(width), 3)}`;
}

/** The cell that trains the same networks with initscope. */
export function pythonCode(s) {
  const which = s.scheme === "normal" ? `stds=(${s.std},)`
    : `schemes=(${trainingSettings(s).schemes.map((scheme) => `"${scheme}"`).join(", ")},)`;
  const kind = s.optimizer === "adam" ? "adam" : "sgd";
  const momentum = s.optimizer === "momentum" ? ", momentum=0.9" : "";
  return `from initscope.sweep import Optimizer, SweepSpec, run_sweep

# The weights, the splits and the batches are those of the page: the same runs, rounding apart.
spec = SweepSpec(
    dataset="wine",
    hidden=((${s.width},) * ${s.depth - 1},),  # ${s.depth} weight layer${s.depth === 1 ? "" : "s"}
    ${which},
    optimizers=(Optimizer("${kind}", learning_rate=${s.learning_rate}${momentum}),),
    batch_size=${s.batch_size},
    epochs=${s.epochs},
    seeds=${s.seeds},
)
table = run_sweep(spec, progress=False)
# Norm of the first layer's gradient before training
table["first_gradient"] = [norms[0] for norms in table["gradient_norm"]]
table[["scheme", "seed", "first_gradient", "diverged_step", "test_loss", "test_accuracy"]]`;
}

function render(context) {
  let training;
  let job = null; // the generator at work: drawing the networks, or one update of all
  let running = false;
  let stepsAsked = 0;
  let request = 0;
  let spoken = 0;
  let drawnTenth = -1;

  const f = frame(context, {
    title: "Train it here: UCI Wine",
    controls: CONTROLS,
    update: restart,
    python: pythonCode,
    table: () => table(training),
    longest: (settings) => (settings.scheme === "race" ? 430 : 260),
  });

  const run = make("button", { type: "button", onclick: () => {
    if (training.finished) restart(f.settings());
    running = !running;
    work();
  } }, "Run");
  const step = make("button", { type: "button", onclick: () => {
    if (step.getAttribute("aria-disabled") === "true") return;
    running = false;
    stepsAsked += 1;
    work();
  } }, "Step");
  const again = make("button", { type: "button", onclick: () => {
    running = false;
    restart(f.settings());
  } }, "Restart");
  const progress = make("progress", { max: 1, ".value": 0, "aria-label": "training" });
  const counter = make("span", { class: "ins-value ins-counter" });
  const player = make("div", { class: "ins-buttons ins-wide" }, run, step, again, progress, counter);
  const runs = make("div", { class: "ins-wide" });
  const key = make("div", { class: "ins-wide" });
  f.view.append(player, runs, key);
  const charts = {
    loss: new Chart(f.view, { label: "training loss", xLabel: "step", yLabel: "training loss", yLog: true }),
    accuracy: new Chart(f.view, { label: "test accuracy", xLabel: "step", yLabel: "test accuracy" }),
  };
  const normKey = make("div", { class: "ins-wide" });
  f.view.append(normKey);
  charts.gradient = new Chart(f.view, { label: "gradient norms", xLabel: "weight layer", xWhole: true, yLabel: "gradient norm", yLog: true });
  charts.gradient.element.classList.add("ins-wide");

  function restart(settings) {
    training = new Training(context.model.get("wine"), trainingSettings(settings));
    job = training.start();
    stepsAsked = 0;
    drawnTenth = -1;
    f.enable("std", settings.scheme === "normal");
    f.note("std", kaimingNote(settings));
    // What is around the charts has its place before the networks are drawn.
    const groups = groupsOf(training);
    drawKeys(groups);
    if (!runs.hasChildNodes() || runs.childElementCount !== groups.length) drawRuns(groups);
    work();
  }

  /** What to do after an update is complete. */
  function next() {
    if (training.finished) running = false;
    else if (running) return training.advance();
    else if (stepsAsked > 0) {
      stepsAsked -= 1;
      return training.advance(true);
    }
    stepsAsked = 0;
    return training.measured ? null : training.measureAll(); // paused between two records
  }

  function work() {
    request ||= requestAnimationFrame(slice);
    showButtons();
  }

  function slice() {
    request = 0;
    const until = performance.now() + SLICE;
    job ??= next();
    let recorded = false;
    while (job && !recorded && performance.now() < until) {
      if (!job.next().done) continue;
      recorded = training.measured;
      job = next();
    }
    const still = running || job !== null;
    // With less motion wanted, ten pictures show a training; otherwise one an epoch.
    const tenth = Math.floor((10 * training.step) / training.nSteps);
    if (!still || (recorded && (!reducedMotion() || tenth !== drawnTenth))) {
      drawnTenth = tenth;
      draw();
      showButtons();
    }
    if (still) request = requestAnimationFrame(slice);
    const now = performance.now();
    if (!still || (recorded && now - spoken > SPEAK_EVERY)) {
      spoken = now;
      f.say(summary(training));
    }
  }

  function showButtons() {
    const { finished, nSteps } = training;
    run.textContent = running ? "Pause" : finished ? "Run again" : training.step ? "Continue" : "Run";
    step.setAttribute("aria-disabled", String(finished));
    counter.textContent = `step ${training.step.toLocaleString("en")} of ${nSteps.toLocaleString("en")}`;
    progress.value = training.step / nSteps;
    progress.setAttribute("aria-valuetext", counter.textContent);
  }

  function draw() {
    if (!training.ready) return;
    const groups = groupsOf(training).map((group, k) => ({ ...group, color: COLORS[k] }));
    drawRuns(groups);
    drawCurves(groups);
    drawGradients(groups);
    drawKeys(groups);
  }

  function drawKeys(groups) {
    const race = groups.length > 1;
    key.replaceChildren(legend([
      ...(race ? groups.map(({ name }, k) => ({ text: `${name}, one line a seed`, color: COLORS[k] })) : [{ text: "one line a seed", color: COLORS[0] }]),
      { text: "diverged", color: LOST, shape: "cross" },
    ]));
    const color = race ? "currentColor" : COLORS[0];
    normKey.replaceChildren(legend([
      { text: "gradients before training, mean of the seeds", color, dash: "5 4" },
      { text: "now", color },
      { text: "now, all seeds", color, shape: "area" },
    ]));
  }

  function drawRuns(groups) {
    const race = groups.length > 1;
    // Seeds that are not trained keep their places.
    const unseen = (members) => Array.from({ length: CONTROLS.seeds.max - members.length }, () => make("li", { class: "ins-unseen" }, "seed"));
    const fate = (r) => (r.diverged === null ? [r.records.length ? percent(r.records.at(-1).accuracy) : ""]
      // Short where all can see that it diverged, by the color and the curve; in words for who cannot.
      : [make("span", { class: "ins-spoken" }, "diverged at "), `step ${r.diverged}`]);
    runs.replaceChildren(...groups.map(({ name, color, runs: members }) => make(
      "ul", { class: "ins-runs", "aria-label": race ? `${name}: test accuracy of each seed` : "test accuracy of each seed" },
      ...(race ? [make("li", { class: "ins-runs-name" }, name)] : []),
      ...members.map((r) => make(
        "li", { style: `border-color: ${r.diverged === null ? color : LOST}` },
        `seed ${r.seed}: `,
        make("b", {}, ...fate(r)),
      )),
      ...unseen(members),
    )));
  }

  function drawCurves(groups) {
    const x = [-0.015 * training.nSteps, training.nSteps * 1.015];
    const curves = (get) => groups.flatMap(({ color, runs: members }) => members.flatMap((r) => {
      const finite = r.records.filter((record) => Number.isFinite(record.loss));
      const line = { x: finite.map((record) => record.step), y: finite.map(get), color };
      const head = { x: line.x.slice(-1), y: line.y.slice(-1) };
      return [
        { kind: "line", ...line, width: 1.3 },
        r.diverged === null
          ? { kind: "points", ...head, color, radius: 3 }
          : { kind: "points", ...head, color: LOST, radius: 4, shape: "cross" },
      ];
    }));
    const guessing = Math.log(training.classes);
    const losses = training.runs.flatMap((r) => r.records.map((record) => record.loss)).filter((l) => l > 0 && Number.isFinite(l));
    const low = 10 ** Math.floor(Math.log10(Math.max(1e-8, Math.min(0.5, ...losses))));
    const high = 10 ** Math.ceil(Math.log10(Math.max(2, ...losses)));
    charts.loss.draw({
      x,
      y: [low, high],
      layers: [{ kind: "hline", at: guessing, dash: "4 3", width: 1, label: "guessing" }, ...curves((record) => record.loss)],
    });
    charts.accuracy.draw({
      x,
      y: [0, 1.03],
      layers: [
        { kind: "hline", at: largestClass(), dash: "4 3", width: 1, label: "always the largest class" },
        ...curves((record) => record.accuracy),
      ],
    });
    const range = (get, show) => groups.map(({ name, alive }) => {
      const values = alive.map((r) => get(r.records.at(-1)));
      return values.length ? `${name}: ${show(Math.min(...values))} to ${show(Math.max(...values))}` : `${name}: all diverged`;
    }).join("; ");
    charts.loss.describe(`Training loss against steps, up to step ${training.step}, over the seeds. ${range((r) => r.loss, (v) => short(v))}.`);
    charts.accuracy.describe(`Test accuracy against steps, up to step ${training.step}, over the seeds. ${range((r) => r.accuracy, percent)}.`);
  }

  /** Share of the largest class among the test rows: the accuracy of the best constant answer. */
  function largestClass() {
    const { testLabels } = training.sets[0];
    const counts = Array.from({ length: training.classes }, (_, c) => testLabels.filter((label) => label === c).length);
    return Math.max(...counts) / testLabels.length;
  }

  function drawGradients(groups) {
    const { depth } = training.settings;
    const layers = Array.from({ length: depth }, (_, k) => k + 1);
    const geometric = (values) => Math.exp(values.reduce((sum, v) => sum + Math.log(v), 0) / values.length);
    const parts = [];
    const shown = [];
    const said = [];
    for (const { name, color, runs: members, alive } of groups) {
      const at = (list, which) => layers.map((_, k) => list.map((r) => r.records.at(which).gradientNorms[k]));
      const sound = members.filter((r) => r.diverged !== 0);
      const start = at(sound, 0).map(geometric);
      const now = at(alive, -1);
      const line = now.map(geometric);
      const [low, high] = [Math.min, Math.max].map((f) => now.map((values) => f(...values)));
      if (alive.length) parts.push({ kind: "band", x: layers, low, high, color });
      parts.push({ kind: "line", x: layers, y: start, color, dash: "5 4", width: 1.5 });
      if (alive.length) {
        parts.push({ kind: "line", x: layers, y: line, color }, { kind: "points", x: layers, y: line, color });
        said.push(`${name}: ${short(line[0])} in the first layer, ${short(line.at(-1))} in the last`);
      }
      shown.push(...start, ...low, ...high);
    }
    const usable = shown.filter((v) => v > 0 && Number.isFinite(v));
    const [least, most] = usable.length ? [Math.min(...usable), Math.max(...usable)] : [0.1, 10];
    charts.gradient.options.xTicks = layers.filter((k) => k === 1 || k % Math.ceil(depth / 10) === 0);
    charts.gradient.draw({
      x: [0.5, depth + 0.5],
      y: [10 ** Math.floor(Math.log10(least)), 10 ** Math.max(Math.ceil(Math.log10(most)), Math.floor(Math.log10(least)) + 1)],
      layers: parts,
    });
    charts.gradient.describe(`Norm of each weight layer's gradient after ${training.step} steps, geometric mean over the seeds. ${said.join("; ")}.`);
  }

  return () => {
    cancelAnimationFrame(request);
    f.destroy();
    for (const chart of Object.values(charts)) chart.destroy();
  };
}

export default { render };
