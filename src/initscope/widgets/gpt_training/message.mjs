// What a pretraining has come to: as sentences, as rows of numbers, and as Python.

import { short } from "../lib/format.mjs";
import { runsOf } from "./runs.mjs";
import { BETAS, CONTEXT, LAYERS, MOMENTUM, PASSAGES, ROLES } from "./training.mjs";

/** How near the median of the layers has to come to the theory for it to count as right. */
export const MARGIN = 0.15;
const NEAR = 0.05; // of its equilibrium a prediction has settled
const SMOOTHED = 10; // updates whose mean is called the loss

const NAMES = ROLES.map((role) => role.toUpperCase());
const listed = (items) => (items.length < 2 ? items.join("") : `${items.slice(0, -1).join(", ")} and ${items.at(-1)}`);
const percent = (share) => `${(100 * share).toFixed(0)}%`;
const count = (steps) => steps.toLocaleString("en");

/** The middle of some numbers. */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The loss at each record but the first: mean over the updates so far, at most ten. */
export function smoothLosses(records) {
  const losses = records.slice(1).map(({ loss }) => loss);
  return losses.map((_, k) => {
    const last = losses.slice(Math.max(0, k + 1 - SMOOTHED), k + 1);
    return last.reduce((sum, loss) => sum + loss, 0) / last.length;
  });
}

/**
 * How the theory fared at the last record: {medians, off, right, inside, spreads}. `off` is by what share
 * the median of the layers lies above the prediction, for each of Q, K and V; `right` whether that is within
 * the margin; `inside` how many matrices are; `spreads` the largest std over the smallest.
 */
export function judged(records, prediction) {
  const { step, std } = records.at(-1);
  const medians = std.map(median);
  const spreads = std.map((layers) => Math.max(...layers) / Math.min(...layers));
  if (!prediction) return { medians, spreads };
  const guess = prediction.std[step];
  const off = medians.map((value) => value / guess - 1);
  return {
    medians, spreads, off,
    right: off.map((share) => Math.abs(share) <= MARGIN),
    inside: std.flat().filter((value) => Math.abs(value / guess - 1) <= MARGIN).length,
  };
}

/** The first step from which on all values stay within a share of a goal; null if the last does not. */
export function settledSince(rows, goal, share) {
  let since = null;
  for (const { step, values } of rows) {
    if (values.every((value) => Math.abs(value / goal - 1) <= share)) since ??= step;
    else since = null;
  }
  return since;
}

/** What is foretold of one run. */
function foretold({ std, decay, optimizer }, prediction, steps) {
  if (!prediction) {
    return `for ${optimizer === "sgd" ? "SGD" : "SGD with momentum"} there is no prediction: its steps are as large as the gradients`;
  }
  const end = prediction.std[steps];
  if (prediction.equilibrium === Infinity) return `${decay === 0 ? "without decay" : "with so much decay"} there is no equilibrium: from std ${short(std)} to ${short(end)} after ${count(steps)} updates`;
  const since = settledSince(prediction.std.map((value, step) => ({ step, values: [value] })), prediction.equilibrium, NEAR);
  const goal = `from std ${short(std)} toward the equilibrium ${short(prediction.equilibrium)}`;
  return since === null ? `${goal}, which this run is too short for: it ends at ${short(end)}` : `${goal}, within 5% of it by update ${count(since)}`;
}

const stds = ({ medians }) => medians.map((value, k) => `${NAMES[k]} ${short(value)}`).join(", ");

/** What has become of one run that has not diverged. */
function state(run, prediction, ended) {
  const verdict = judged(run.records, prediction);
  const { step } = run.records.at(-1);
  if (!prediction) return `medians of the ${LAYERS} layers ${stds(verdict)}`;
  const now = `medians of the ${LAYERS} layers ${stds(verdict)}, predicted ${short(prediction.std[step])}`;
  if (!ended) return now;
  const wrong = [...ROLES.keys()].filter((k) => !verdict.right[k]);
  const how = wrong.map((k) => `${NAMES[k]} lies ${percent(Math.abs(verdict.off[k]))} ${verdict.off[k] > 0 ? "above" : "below"}`);
  const ruling = wrong.length === 0 ? "the theory was right for Q, K and V"
    : wrong.length === 3 ? `the theory was wrong: ${listed(how)} it`
      : `the theory was right for ${listed(NAMES.filter((_, k) => verdict.right[k]))} and wrong for ${listed(NAMES.filter((_, k) => !verdict.right[k]))}: ${listed(how)} it`;
  return `${now}: ${ruling} (${verdict.inside} of ${3 * LAYERS} matrices within ${percent(MARGIN)})`;
}

/** Whether one run has come to rest where theory says. */
function rest(run, prediction) {
  if (!prediction || prediction.equilibrium === Infinity) return "";
  const rows = run.records.map(({ step, std }) => ({ step, values: std.map(median) }));
  const since = settledSince(rows, prediction.equilibrium, MARGIN);
  if (since === null) return ` The equilibrium ${short(prediction.equilibrium)} is not reached.`;
  return ` All three medians are within ${percent(MARGIN)} of the equilibrium ${short(prediction.equilibrium)} since update ${count(since)}.`;
}

/** What the two runs have come to beside each other. */
function raced([first, second]) {
  const [a, b] = [first, second].map(({ records }) => records.at(-1).std.map(median));
  const apart = Math.max(...a.map((value, k) => Math.max(value / b[k], b[k] / value)));
  const ratio = first.std / second.std;
  const started = ratio === 1 ? "" : `, after starts ${short(Math.max(ratio, 1 / ratio))} times apart`;
  return ` The two runs end ${apart < 1.005 ? "at the same medians" : `with medians up to ${short(apart)} times apart`}${started}.`;
}

/** What is to be seen, in words. `runs` are those of runsOf with `records`, `diverged` and `prediction`. */
export function summary(runs, step, steps, vocabulary) {
  const named = (run, text) => (run.label ? `${run.label}: ${text}` : text);
  const guessing = Math.log(vocabulary);
  if (step === 0) {
    const capital = (text) => text[0].toUpperCase() + text.slice(1);
    const ahead = runs.map((run) => named(run, foretold(run, run.prediction, steps))).join("; ");
    const rule = runs.some(({ prediction }) => prediction)
      ? ` The theory will count as right where the median of the ${LAYERS} layers ends within ${percent(MARGIN)} of its curve.` : "";
    const start = runs.some(({ prediction }) => prediction) ? "AdamW's prediction for Q, K and V: " : "";
    return `${start}${start ? ahead : capital(ahead)}. Make your own guess, then press Train.${rule}`;
  }
  const lost = runs.filter(({ diverged }) => diverged !== null);
  const fates = lost.map((run) => ` ${run.label || "The run"} diverged at update ${count(run.diverged)}: its loss is no number.`).join("");
  const alive = runs.filter(({ diverged }) => diverged === null);
  if (alive.length === 0) return `All training has ended.${fates}`;
  const ended = step === steps;
  const when = ended ? `After all ${count(steps)} updates: ` : `After ${count(step)} of ${count(steps)} updates: `;
  const states = alive.map((run) => named(run, state(run, run.prediction, ended))).join("; ");
  const losses = alive.map((run) => short(smoothLosses(run.records).at(-1))).join(" and ");
  const more = ended ? alive.map((run) => rest(run, run.prediction)) : [];
  const several = alive.length > 1;
  const rests = several ? more.map((text, k) => text && ` ${alive[k].label}:${text}`) : more;
  const bands = ended && !several
    ? ` Largest std over smallest among the layers: ${judged(alive[0].records).spreads.map((ratio, k) => `${NAMES[k]} ${short(ratio)}`).join(", ")}.` : "";
  return `${when}${states}.${rests.join("")}${bands}${ended && several ? raced(alive) : ""}${fates} Loss ${losses} nats a character (guessing: ${short(guessing)}).`;
}

/** Every update of every run as a row, for the download; what is not trained yet is empty. */
export function table(runs, steps) {
  const matrices = ROLES.flatMap((role) => Array.from({ length: LAYERS }, (_, l) => `${role}_${l + 1}`));
  const columns = ["run", "step", "loss", "predicted", ...matrices];
  const rows = runs.flatMap((run, k) => Array.from({ length: steps + 1 }, (_, step) => {
    const record = run.records[step];
    const measured = record ? record.std.flat() : matrices.map(() => "");
    return [k + 1, step, record?.loss ?? "", run.prediction?.std[step] ?? "", ...measured];
  }));
  return { columns, rows };
}

const PYTHON_NAMES = { std: "std", scaled: "residual_scaling", rate: "learning_rate", decay: "weight_decay", optimizer: "optimizer" };
const value = (given) => (typeof given === "boolean" ? (given ? "True" : "False") : typeof given === "string" ? `"${given}"` : String(given));

/** A cell of Python that makes the same runs with torch. */
export function python(s) {
  const [first, second] = runsOf(s);
  const given = Object.keys(PYTHON_NAMES).map((name) => `${PYTHON_NAMES[name]}=${value(first[name])}`);
  const changed = second && Object.keys(PYTHON_NAMES).filter((name) => first[name] !== second[name])
    .map((name) => `${PYTHON_NAMES[name]}=${value(second[name])}`).join(", ");
  return `${["import pandas as pd", "import torch"].join("\n")}

from initscope.init import initialize_
from initscope.models import gpt2
from initscope.tracking import weight_matrices
from initscope.widgets import GPTTraining

text = GPTTraining().text
characters = sorted(set(text))
tokens = torch.tensor([characters.index(character) for character in text])


def pretrain(${given.slice(0, 2).join(", ")}, ${given.slice(2).join(", ")}):
    """The std of Q, K and V of every layer after each update; the loss before it."""
    generator = torch.Generator().manual_seed(${s.seed})
    model = gpt2("nano12", n_embd=${s.width}, n_positions=${CONTEXT}, vocab_size=len(characters))
    initialize_(model, "gpt2", std=std, residual_scaling=residual_scaling, generator=generator)
    # As GPT-2 is trained: biases and norms do not decay.
    groups = [
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0},
    ]
    if optimizer == "adamw":
        optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(${BETAS.join(", ")}))
    else:
        momentum = ${MOMENTUM} if optimizer == "momentum" else 0.0
        optimizer = torch.optim.SGD(groups, lr=learning_rate, momentum=momentum)

    def record(step, loss):
        std = {f"{role}_{layer}": matrix.std().item()
               for layer, role, matrix in weight_matrices(model) if role in ("q", "k", "v")}
        return {"step": step, "loss": loss, **std}

    rows = [record(0, float("nan"))]
    for step in range(1, ${s.steps} + 1):
        starts = torch.randint(0, len(tokens) - ${CONTEXT}, (${PASSAGES}, 1), generator=generator)
        passages = tokens[starts + torch.arange(${CONTEXT} + 1)]
        logits = model(passages[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), passages[:, 1:].flatten())
        if not loss.isfinite():
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rows.append(record(step, loss.item()))
    return pd.DataFrame(rows)


runs = [pretrain()${second ? `, pretrain(${changed})` : ""}]
pd.concat(runs, keys=range(1, ${second ? 3 : 2}), names=["run", None]).reset_index("run")`;
}
