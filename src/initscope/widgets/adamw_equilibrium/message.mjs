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

/** Which part of the data the last weights know, in words; nothing where no update counts. */
function remembered({ steps }, { half }) {
  if (!half) return "";
  const last = half === 1 ? "the last update" : `the last ${whole(half)} updates`;
  return ` Half of what the last weights know of the data is from ${last}, ${short((100 * half) / steps, 2)}% of the run.`;
}

/** What happens, in words; `run` is a trajectory up to the last step, `memory` what its last weights keep. */
export function sentence(s, run, memory) {
  return told(s, run) + remembered(s, memory);
}

function told(s, run) {
  const end = run.std[run.std.length - 1];
  const start = `From std ${short(s.std0)}`;
  if (s.lr === 0) return `With learning rate 0 nothing moves: the std stays at ${short(s.std0)}.`;
  const pull = s.weight_decay + s.alignment;
  if (!(pull > 0)) {
    const why = s.alignment === 0 ? "With weight decay 0 there is no equilibrium"
      : "The alignment of the gradients undoes the weight decay, so there is no equilibrium";
    const noise = s.snr === 0 && s.drift === 0 && s.epsilon === 0 && s.final_gradient === 1;
    const how = pull === 0 && noise
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
  const last = equilibrium(s, lastRate, run.gradient[run.gradient.length - 1]);
  const same = Math.abs(last / equilibrium(s, s.lr) - 1) < 1e-9;
  const follows = Math.abs(lastRate / s.lr - 1) < 1e-9 ? "gradient" : "rate";
  const after = same || last === Infinity ? `The std ends at ${short(end)}.`
    : `The std then follows the ${follows} and ends at ${short(end)}; the equilibrium of the last ${follows} is ${short(last)}.`;
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
  const extra = [["snr", 0], ["drift", 0], ["epsilon", 0], ["diffusion", 1], ["alignment", 0]].filter(([name, none]) => s[name] !== none);
  const given = (names) => extra.filter(([name]) => names.includes(name)).map(([name]) => `, ${name}=${s[name]}`).join("");
  const pull = s.weight_decay + s.alignment;
  const settles = pull > 0;
  const perStep = s.lr > 0 && {
    rate: "weight_decay * lr / peak",
    // A rate of 0 decays nothing.
    independent: "np.divide(weight_decay * peak, lr, out=np.zeros(steps), where=lr > 0)",
  }[s.decay_schedule];
  const decay = perStep ? "decay" : "weight_decay";
  const grows = s.final_gradient !== 1;
  const gradient = grows ? ", gradient_rms=gradient" : s.epsilon > 0 ? ", gradient_rms=1.0" : "";
  const memory = s.lr > 0 ? [
    "",
    "# What the last weights keep of the start, and of each update.",
    `start, weight = data_memory(lr, ${decay}${given(["alignment"])})`,
    "held = np.cumsum(np.abs(weight[::-1]))",
    "half = np.searchsorted(held, held[-1] / 2) + 1",
    'print(f"{start:.6g} of the start is left; half of the weight is that of the last {half} updates")',
    "",
    "_, (above, below) = plt.subplots(2, sharex=True)",
    "below.plot(step, weight)",
  ] : ["_, above = plt.subplots()"];
  const more = [];
  if (settles && s.snr > 0) more.push(`equilibrium = np.sqrt((equilibrium**2 + ${s.snr} / pull**2) / (1 + ${s.snr}))  # with the signal`);
  if (s.epsilon > 0) more.push(`equilibrium /= 1 + ${s.epsilon}  # of the first gradient`);
  if (settles && s.drift > 0) {
    more.push(
      "keep = 1 - peak * pull",
      `equilibrium = np.sqrt(max(0, equilibrium**2 + ${s.drift} * keep / (pull * (1 + keep))))  # with the drift`,
    );
  }
  if (more.length && settles && (s.snr > 0 || s.drift > 0)) more.unshift(`pull = ${s.weight_decay} + ${s.alignment}`);
  return [
    "import matplotlib.pyplot as plt",
    "import numpy as np",
    "",
    `from initscope.theory import adamw_equilibrium_rms, adamw_variance_trajectory${s.lr > 0 ? ", data_memory" : ""}`,
    "",
    `peak, weight_decay, betas, steps = ${s.lr}, ${s.weight_decay}, (${s.beta1}, ${s.beta2}), ${s.steps}`,
    "step = np.arange(1, steps + 1)",
    ...progress,
    `lr = peak * (${shapes[s.schedule]})`,
    ...(s.warmup > 0 ? [`lr *= np.minimum(1, step / ${s.warmup})`] : []),
    ...(perStep ? [`decay = ${perStep}`] : []),
    ...(grows ? [`gradient = ${s.final_gradient} ** ((step - 1) / (steps - 1))`] : []),
    "",
    `variance = adamw_variance_trajectory(${s.std0}, lr, ${decay}, betas${given(extra.map(([name]) => name))}${gradient})`,
    `equilibrium = adamw_equilibrium_rms(peak, weight_decay, betas=betas${given(["diffusion", "alignment"])})`,
    ...more,
    'print(f"std {np.sqrt(variance[-1]):.6g} after {steps} steps, equilibrium {equilibrium:.6g}")',
    ...memory,
    "above.plot(step, np.sqrt(variance))",
    ...(s.lr > 0 && settles ? ['above.axhline(equilibrium, linestyle="--")'] : []),
  ].join("\n");
}
