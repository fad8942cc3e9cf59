// What the settings ask for: one run or two, and what AdamW's theory says of each before it is made.

import { equilibrium, trajectory } from "../adamw_equilibrium/theory.mjs";
import { short } from "../lib/format.mjs";
import { BETAS } from "./training.mjs";

const OPTIMIZER_NAMES = { adamw: "AdamW", momentum: "SGD, momentum 0.9", sgd: "SGD" };

/** The second run: in which setting it differs from the first, and how. */
const RIVALS = {
  none: { text: "none" },
  small_start: { text: "a start 10 times smaller", change: ({ std }) => ({ std: std / 10 }) },
  large_start: { text: "a start 3 times larger", change: ({ std }) => ({ std: 3 * std }) },
  strong_decay: { text: "4 times the decay", change: ({ decay }) => ({ decay: 4 * decay }) },
  no_decay: { text: "no decay", change: () => ({ decay: 0 }) },
  fast: { text: "3 times the rate", change: ({ rate }) => ({ rate: 3 * rate }) },
  optimizer: { text: "other optimizer", change: ({ optimizer }) => ({ optimizer: optimizer === "adamw" ? "momentum" : "adamw" }) },
  scaling: { text: "other residual scaling", change: ({ scaled }) => ({ scaled: !scaled }) },
};

/** [value, text] of each, for the controls. */
export const OPTIMIZER_OPTIONS = Object.entries(OPTIMIZER_NAMES);
export const RIVAL_OPTIONS = Object.entries(RIVALS).map(([name, { text }]) => [name, text]);

const LABELS = {
  std: (value) => `std ${short(value)}`,
  decay: (value) => `decay ${short(value)}`,
  rate: (value) => `rate ${short(value)}`,
  optimizer: (value) => OPTIMIZER_NAMES[value],
  scaled: (value) => (value ? "with 1/√(2L)" : "without 1/√(2L)"),
};

/**
 * The runs that the settings of the controls ask for, as `Run` takes them, each with a `label`: what is
 * its own in it; empty where it is alone.
 */
export function runsOf(s) {
  const first = {
    std: s.std, scaled: s.residual_scaling, width: s.width, optimizer: s.optimizer,
    rate: s.learning_rate, decay: s.weight_decay, seed: s.seed,
  };
  const { change } = RIVALS[s.rival];
  if (!change) return [{ ...first, label: "" }];
  const changes = change(first);
  const [name] = Object.keys(changes);
  return [first, { ...first, ...changes }].map((run) => ({ ...run, label: LABELS[name](run[name]) }));
}

/**
 * What theory says of a run of so many steps: {std, equilibrium}, the std at steps 0, 1, ..., and where it
 * settles; infinite without decay. Null for SGD, whose steps are as large as the gradients.
 */
export function predictionOf({ std, optimizer, rate, decay }, steps) {
  if (optimizer !== "adamw") return null;
  const settings = {
    std0: std, lr: rate, weight_decay: decay, beta1: BETAS[0], beta2: BETAS[1], steps,
    schedule: "constant", warmup: 0, final: 1, decay_schedule: "constant",
  };
  return { std: [std, ...trajectory(settings).std], equilibrium: equilibrium(settings, rate) };
}
