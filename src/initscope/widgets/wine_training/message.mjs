// What a training has come to, as a sentence and as rows of numbers.

import { percent, short } from "../lib/format.mjs";
import { LEARNED } from "./training.mjs";

export const NAMES = { normal: "one std", lecun: "LeCun", xavier: "Xavier", kaiming: "Kaiming" };

/** A norm below which gradients are called gone; Adam's epsilon is as large. */
const VANISHED = 1e-8;

const listed = (items) => (items.length < 2 ? items.join("") : `${items.slice(0, -1).join(", ")} and ${items.at(-1)}`);
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const last = (run) => run.records.at(-1);

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The runs of each scheme: [{scheme, name, runs, alive}]. */
export function groupsOf(training) {
  return training.settings.schemes.map((scheme) => {
    const runs = training.runs.filter((run) => run.scheme === scheme);
    return { scheme, name: NAMES[scheme], runs, alive: runs.filter((run) => run.diverged === null) };
  });
}

/** "Seeds 1 and 3 diverged at steps 4 and 9.", or nothing. */
function diverged({ name, runs, alive }, race) {
  const lost = runs.filter((run) => run.diverged !== null);
  if (lost.length === 0) return "";
  const whose = race ? `${name}: ` : "";
  const one = lost.length === 1;
  const who = alive.length === 0 && !one ? `all ${lost.length} seeds` : `seed${one ? "" : "s"} ${listed(lost.map((run) => run.seed))}`;
  const steps = [...new Set(lost.map((run) => run.diverged))];
  const when = steps.length > 1 && lost.length > 3
    ? `from step ${Math.min(...steps)} on`
    : `at step${steps.length > 1 ? "s" : ""} ${listed(steps.length > 1 ? lost.map((run) => run.diverged) : steps)}`;
  const text = `${who} diverged ${steps.length === 1 && steps[0] === 0 ? "before the first update" : when}.`;
  return ` ${whose}${whose ? text : text[0].toUpperCase() + text.slice(1)}`;
}

/** Whether the first layer's gradients are gone, or so large that an update throws the weights away. */
function outlook(groups, race, { optimizer, learningRate }, ahead) {
  const found = groups.filter(({ alive }) => alive.length > 0).map(({ name, alive }) => {
    const first = Math.max(...alive.map((run) => last(run).gradientNorms[0]));
    if (first < VANISHED) {
      const whose = race ? ` with ${name}` : "";
      const move = ahead ? "will not move" : "does not move";
      const effect = optimizer === "adam" ? "1e-8, Adam's epsilon: it hardly moves" : `1e-8: it ${move}`;
      return ` All gradients of the first layer${whose} are below ${effect}.`;
    }
    const largest = median(alive.map((run) => Math.max(...last(run).gradientNorms)));
    if (ahead && optimizer !== "adam" && learningRate * largest > 100) {
      return ` Gradients this large${race ? ` (${name})` : ""} will throw the weights far off.`;
    }
    return "";
  });
  return found.join("");
}

/** What has happened so far, in words. */
export function summary(training) {
  const { settings, step, nSteps } = training;
  if (!training.ready) return "Drawing the networks …";
  const groups = groupsOf(training);
  const race = groups.length > 1;
  const losses = groups.map((group) => diverged(group, race)).join("");
  if (training.alive.length === 0) return losses.trim();
  const guessing = Math.log(training.classes);

  if (step === 0) {
    const states = groups.filter(({ alive }) => alive.length > 0).map(({ name, alive }) => {
      const middle = (get) => short(median(alive.map((run) => get(last(run)))), 2);
      const [first, final] = [(r) => r.gradientNorms[0], (r) => r.gradientNorms.at(-1)];
      const norms = settings.depth === 1
        ? `gradient norm ${middle(first)}`
        : `gradient norm ${middle(first)} in the first layer, ${middle(final)} in the last`;
      return `${race ? `${name}: ` : ""}loss ${middle((r) => r.loss)}, ${norms}`;
    });
    const seeds = settings.seeds > 1 ? `, medians of ${settings.seeds} seeds` : "";
    const before = `Before training (guessing has loss ${guessing.toFixed(2)}${seeds}): ${states.join("; ")}.`;
    return before + losses + outlook(groups, race, settings, true);
  }

  const many = step.toLocaleString("en");
  const when = step === nSteps ? `After all ${many} steps` : `After ${many} step${step === 1 ? "" : "s"}`;
  const states = groups.map(({ name, runs, alive }) => {
    const learned = alive.filter((run) => last(run).accuracy >= LEARNED).length;
    const noun = runs.length === 1 ? "seed learns" : "seeds learn";
    const count = `${learned} of ${runs.length} ${noun}`;
    const rest = alive.length < runs.length ? " of the rest" : "";
    const score = alive.length ? `mean test accuracy${rest} ${percent(mean(alive.map((run) => last(run).accuracy)))}` : "none is left";
    return race ? `${name}: ${count}, ${score}` : `${count} (test accuracy of at least ${percent(LEARNED)}); ${score}`;
  });
  const stuck = groups.filter(({ alive }) => alive.length
    && alive.every((run) => last(run).accuracy < LEARNED && last(run).loss > 0.95 * guessing && last(run).loss < 1.05 * guessing));
  const going = outlook(groups, race, settings, false);
  const guess = stuck.length && !going
    ? ` The loss${race ? ` with ${listed(stuck.map(({ name }) => name))}` : ""} is that of guessing, ${guessing.toFixed(2)}.` : "";
  return `${when}: ${states.join("; ")}.${losses}${guess}${going}`;
}

/** Every record as a row, for the download. */
export function table(training) {
  const layers = Array.from({ length: training.settings.depth }, (_, k) => `gradient_norm_${k + 1}`);
  const columns = ["scheme", "std", "seed", "step", "train_loss", "test_loss", "test_accuracy", "diverged_step", ...layers];
  const { std } = training.settings;
  const rows = training.runs.flatMap((run) => run.records.map((record) => [
    run.scheme, run.scheme === "normal" ? std : "", run.seed, record.step, record.loss, record.testLoss,
    record.accuracy, run.diverged ?? "", ...record.gradientNorms,
  ]));
  return { columns, rows };
}
