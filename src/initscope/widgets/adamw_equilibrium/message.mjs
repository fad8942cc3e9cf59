// What the AdamW widget says: the sentence, and the Python that makes the same point.

import { equilibrium } from "./theory.mjs";
import { percent, short } from "../lib/format.mjs";

export const whole = (value) => Math.round(value).toLocaleString("en");

/** A number of steps: a few with decimals, many as whole ones. */
export const stepCount = (value) => (value < 100 ? short(value) : whole(value));

/** Steps in which the variance comes nearer to its equilibrium by a factor e: 1 / (2 lr x decay); infinite where nothing decays. */
export function timeConstant({ lr, weight_decay, alignment }) {
  const pull = lr * (weight_decay + alignment);
  return pull > 0 ? 1 / (2 * pull) : Infinity;
}

/** What happens, in words; `run` is a trajectory up to the last step. */
export function sentence(s, run) {
  const end = run.std[run.std.length - 1];
  const start = `From std ${short(s.std0)}`;
  if (s.lr === 0) return `With learning rate 0 nothing moves: the std stays at ${short(s.std0)}.`;
  const pull = s.weight_decay + s.alignment;
  if (!(pull > 0)) {
    const why = s.alignment === 0 ? "With weight decay 0 there is no equilibrium"
      : "The alignment of the gradients undoes the weight decay, so there is no equilibrium";
    const how = pull === 0 && s.snr === 0
      ? `the mean square grows by about ${s.diffusion === 1 ? "" : `${short(s.diffusion)} `}lr² a step` : "the weights keep growing";
    return `${why}: ${how}, from std ${short(s.std0)} to ${short(end)} after ${whole(s.steps)} steps.`;
  }
  const left = run.initial[run.initial.length - 1];
  const lastRate = run.lr[run.lr.length - 1];
  const heading = `${start} the weights head for ${short(equilibrium(s, s.lr))}, the equilibrium at the peak rate; `
    + `the time constant of the variance is ${stepCount(timeConstant(s))} steps.`;
  const length = `${whole(s.steps)} steps`;
  if (run.forgotten === null) {
    return `${heading} The run of ${length} is only ${short(run.timeConstants, 2)} time constants long, at the rates it takes: `
      + `the initial std still shows at the end, where ${percent((left / end) ** 2)} of the mean square is left from `
      + `initialization and the std is ${short(end)}, against ${short(Math.sqrt(Math.max(0, end * end - left * left)))} from a start at 0.`;
  }
  const after = Math.abs(lastRate / s.lr - 1) < 1e-9 ? `The std ends at ${short(end)}.`
    : `The std then follows the rate and ends at ${short(end)}; the equilibrium of the last rate is ${short(equilibrium(s, lastRate))}.`;
  return `${heading} The run of ${length} is ${short(run.timeConstants, 2)} time constants long, at the rates it takes: `
    + `by step ${whole(run.forgotten)}, with less than 1% of the mean square left from initialization, its scale is forgotten. ${after}`;
}

/** A cell of Python that computes the same trajectory. */
export function python(s) {
  const shapes = {
    constant: "np.ones(steps)",
    cosine: `${s.final} + (1 - ${s.final}) * (1 + np.cos(np.pi * progress)) / 2`,
    linear: `${s.final} + (1 - ${s.final}) * (1 - progress)`,
    wsd: `${s.final} + (1 - ${s.final}) * np.minimum(1, (steps - step) / (0.2 * steps))`,
  };
  const progress = ["cosine", "linear"].includes(s.schedule)
    ? [`progress = np.clip((step - ${s.warmup}) / ${Math.max(1, s.steps - s.warmup)}, 0, 1)`] : [];
  const extra = [["snr", 0], ["diffusion", 1], ["alignment", 0]].filter(([name, none]) => s[name] !== none);
  const given = (names) => extra.filter(([name]) => names.includes(name)).map(([name]) => `, ${name}=${s[name]}`).join("");
  const pull = s.weight_decay + s.alignment;
  const signal = s.snr > 0 && pull > 0
    ? [`equilibrium = np.sqrt((equilibrium**2 + ${s.snr} / (${s.weight_decay} + ${s.alignment})**2) / (1 + ${s.snr}))  # with the signal`] : [];
  return [
    "import matplotlib.pyplot as plt",
    "import numpy as np",
    "",
    "from initscope.theory import adamw_equilibrium_rms, adamw_variance_trajectory",
    "",
    `peak, weight_decay, betas, steps = ${s.lr}, ${s.weight_decay}, (${s.beta1}, ${s.beta2}), ${s.steps}`,
    "step = np.arange(1, steps + 1)",
    ...progress,
    `lr = peak * (${shapes[s.schedule]})`,
    ...(s.warmup > 0 ? [`lr *= np.minimum(1, step / ${s.warmup})`] : []),
    "",
    `variance = adamw_variance_trajectory(${s.std0}, lr, weight_decay, betas${given(["snr", "diffusion", "alignment"])})`,
    `equilibrium = adamw_equilibrium_rms(peak, weight_decay, betas=betas${given(["diffusion", "alignment"])})`,
    ...signal,
    'print(f"std {np.sqrt(variance[-1]):.6g} after {steps} steps, equilibrium {equilibrium:.6g}")',
    "plt.plot(step, np.sqrt(variance))",
    ...(s.lr > 0 && pull > 0 ? ['plt.axhline(equilibrium, linestyle="--")'] : []),
  ].join("\n");
}
