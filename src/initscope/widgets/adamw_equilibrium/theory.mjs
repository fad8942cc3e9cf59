// The std of a weight matrix under AdamW: initscope.theory.adamw in the browser, and AdamW itself.
//
// Settings are named as the traits of the widget: std0, lr (the peak), weight_decay, beta1, beta2,
// schedule, warmup, final (the last rate as a share of the peak), steps, snr, diffusion, alignment.

import { fillNormal, uniforms } from "../lib/random.mjs";

/** Root mean square of the Adam update, before the learning rate. */
export function updateRms({ beta1, snr = 0 }) {
  const kept = (1 - beta1) / (1 + beta1);
  return Math.sqrt((snr + kept) / (1 + snr));
}

/** Mean square where decay and random steps balance at a rate, without signal; beta1 for the exact one. */
function noiseSquare({ weight_decay, diffusion = 1, alignment = 0, beta1 }, lr) {
  const pull = weight_decay + alignment;
  if (beta1 === undefined) return pull > 0 ? (diffusion * lr) / (2 * pull) : Infinity;
  const keep = 1 - lr * pull;
  const smoothed = (((1 - beta1) / (1 + beta1)) * (1 + keep * beta1)) / (1 - keep * beta1);
  const shrinkage = pull * (1 + keep);
  return shrinkage > 0 ? (diffusion * lr * smoothed) / shrinkage : Infinity;
}

/** As theory.adamw_equilibrium_rms: with beta1 the exact fixed point, without it the limit of slow decay. */
export function equilibriumRms(settings) {
  return Math.sqrt(noiseSquare(settings, settings.lr));
}

/** The std that the recursion would settle at if the rate stayed at `lr`, a constant signal included. */
export function equilibrium(settings, lr) {
  const { weight_decay, alignment = 0, snr = 0 } = settings;
  const square = noiseSquare(settings, lr) / (1 + snr);
  const pull = weight_decay + alignment;
  return Math.sqrt(square + (snr > 0 && pull > 0 ? snr / (1 + snr) / pull ** 2 : 0));
}

/** Angle in radians by which the weights turn in a step at equilibrium; 0 where there is none. */
export function rotation(settings) {
  const step = settings.lr * updateRms(settings);
  const rms = equilibriumRms({ ...settings, beta1: undefined });
  return step > 0 ? step / rms : 0;
}

/** The learning rate at steps 1, 2, ..., `steps`, as a function of the step. */
export function learningRate({ lr, schedule, warmup, final, steps }) {
  const length = Math.max(1, steps - warmup);
  const shapes = {
    constant: () => 1,
    cosine: (t) => final + ((1 - final) * (1 + Math.cos(Math.PI * Math.max(0, (t - warmup) / length)))) / 2,
    linear: (t) => final + (1 - final) * (1 - Math.max(0, (t - warmup) / length)),
    wsd: (t) => final + (1 - final) * Math.min(1, (steps - t) / (0.2 * steps)),
  };
  const shape = shapes[schedule];
  return (t) => (t < warmup ? (lr * t) / warmup : lr) * shape(t);
}

/** Steps to draw: `count` evenly spaced and `count` at even ratios, the last one included. */
export function sampleSteps(steps, count = 240) {
  const found = new Set([1, steps]);
  for (let k = 0; k <= count; k += 1) {
    found.add(Math.max(1, Math.round((steps * k) / count)));
    found.add(Math.round(steps ** (k / count)));
  }
  return [...found].sort((a, b) => a - b);
}

/**
 * The std after the steps `at` (rising; all if not given), by the exact recursion of theory.adamw_variance_trajectory.
 *
 * Returns {step, lr, std, initial, timeConstants, forgotten}: `initial` is the std that is left of
 * the weights drawn at initialization, the sum of squares of which is part of the mean square;
 * `timeConstants`, of the variance, is twice the sum of rate times decay; `forgotten` the first step at which less than 1% of
 * the mean square comes from initialization, null if there is none.
 */
export function trajectory(settings, at = Array.from({ length: settings.steps }, (_, i) => i + 1)) {
  const { std0, weight_decay, beta1, snr = 0, diffusion = 1, alignment = 0 } = settings;
  const rate = learningRate(settings);
  const pull = weight_decay + alignment;
  const last = at[at.length - 1];
  const result = {
    step: Float64Array.from(at),
    lr: new Float64Array(at.length),
    std: new Float64Array(at.length),
    initial: new Float64Array(at.length),
  };
  const noise = (diffusion * (1 - beta1) ** 2) / (1 + snr);
  const signal = Math.sqrt(snr / (1 + snr)) * (1 - beta1);
  let power = 1; // beta1^t
  let square = std0 * std0; // mean square of the part that noise and initialization drive
  let momentum = 0; // mean square of the noise in momentum
  let covariance = 0; // of momentum's noise and the weight
  let mean = 0; // of momentum
  let drift = 0; // of the weight
  let left = std0;
  let timeConstants = 0;
  let forgotten = null;
  let next = 0;
  for (let t = 1; t <= last; t += 1) {
    const eta = rate(t);
    const keep = 1 - eta * pull;
    // Without this, numbers too small for the format would be carried along, slowly, for ever.
    power = power < 1e-30 ? 0 : power * beta1;
    const size = eta / (1 - power);
    momentum = beta1 * beta1 * momentum + noise;
    const carried = beta1 * covariance;
    square = keep * keep * square - 2 * keep * size * carried + size * size * momentum;
    covariance = keep * carried - size * momentum;
    mean = beta1 * mean + signal;
    drift = keep * drift - size * mean;
    left = Math.abs(left) < 1e-150 ? 0 : left * keep;
    timeConstants += 2 * eta * pull;
    if (forgotten === null && left * left < 0.01 * (square + drift * drift)) forgotten = t;
    if (t === at[next]) {
      result.lr[next] = eta;
      result.std[next] = Math.sqrt(square + drift * drift);
      result.initial[next] = Math.abs(left);
      next += 1;
    }
  }
  return { ...result, timeConstants, forgotten };
}

/** One step of AdamW as torch.optim.AdamW takes it, for all coordinates of `state`. */
export function adamwStep(state, gradient, rate, { weight_decay, beta1, beta2, alignment = 0 }) {
  const { weight, first, second } = state;
  state.t += 1;
  const keep = 1 - rate * (weight_decay + alignment);
  const size = rate / (1 - beta1 ** state.t);
  const correction = 1 / (1 - beta2 ** state.t);
  for (let i = 0; i < weight.length; i += 1) {
    const g = gradient[i];
    const m = beta1 * first[i] + (1 - beta1) * g;
    const v = beta2 * second[i] + (1 - beta2) * g * g;
    first[i] = m;
    second[i] = v;
    weight[i] = keep * weight[i] - (size * m) / (Math.sqrt(v * correction) + 1e-8);
  }
}

/** Weights after AdamW steps with the gradients given, one list for each step. */
export function adamwRun(weights, gradients, rates, settings) {
  const n = weights.length;
  const state = {
    weight: Float64Array.from(weights), first: new Float64Array(n), second: new Float64Array(n), t: 0,
  };
  gradients.forEach((gradient, k) => adamwStep(state, gradient, rates[k], settings));
  return state.weight;
}

/** How many coordinates to simulate: as many as about ten seconds allow. */
export function simulatedCoordinates(steps) {
  return Math.round(Math.min(4000, Math.max(600, 6e8 / steps)));
}

const NORMALS = 65536;

/** A function that fills an array with noise: normal numbers drawn from a table of NORMALS of them. */
function noiseSource(seed) {
  // Drawing from a table is five times as fast, and draws are independent all the same. The table
  // has mean 0 and mean square 1 exactly.
  const table = fillNormal(new Float64Array(NORMALS), uniforms(seed));
  const mean = table.reduce((sum, z) => sum + z, 0) / NORMALS;
  const std = Math.sqrt(table.reduce((sum, z) => sum + (z - mean) ** 2, 0) / NORMALS);
  for (let i = 0; i < NORMALS; i += 1) table[i] = (table[i] - mean) / std;
  let state = (Math.imul(seed, 0x9e3779b1) ^ 0x2545f491) | 1;
  return (out) => {
    let x = state;
    for (let i = 0; i < out.length; i += 1) {
      x ^= x << 13; // xorshift32
      x ^= x >>> 17;
      x ^= x << 5;
      out[i] = table[x >>> 16];
    }
    state = x;
  };
}

/** AdamW on independent coordinates whose gradients are noise, with a constant signal if snr > 0. */
export class Simulation {
  constructor(settings, seed = 1) {
    this.settings = settings;
    this.coordinates = simulatedCoordinates(settings.steps);
    this.rate = learningRate(settings);
    this.marks = sampleSteps(settings.steps, 30);
    this.step = [];
    this.std = [];
    const n = this.coordinates;
    this.fill = noiseSource(seed);
    this.gradient = new Float64Array(n);
    this.state = { weight: new Float64Array(n), first: new Float64Array(n), second: new Float64Array(n), t: 0 };
    const { weight } = this.state;
    fillNormal(weight, uniforms(seed + 1));
    const drawn = Math.sqrt(weight.reduce((sum, w) => sum + w * w, 0) / n);
    for (let i = 0; i < n; i += 1) weight[i] *= settings.std0 / drawn; // the std0 of this sample exactly
  }

  get done() {
    return this.state.t >= this.settings.steps;
  }

  /** Take steps for about `milliseconds`. */
  advance(milliseconds) {
    const until = performance.now() + milliseconds;
    const { settings, state, gradient, marks } = this;
    const signal = Math.sqrt(settings.snr ?? 0);
    while (!this.done && performance.now() < until) {
      const chunk = Math.min(settings.steps, state.t + Math.ceil(20_000 / this.coordinates));
      while (state.t < chunk) {
        this.fill(gradient);
        if (signal) for (let i = 0; i < gradient.length; i += 1) gradient[i] += i % 2 ? signal : -signal;
        adamwStep(state, gradient, this.rate(state.t + 1), settings);
        if (state.t === marks[this.step.length]) {
          this.step.push(state.t);
          this.std.push(Math.sqrt(state.weight.reduce((sum, w) => sum + w * w, 0) / this.coordinates));
        }
      }
    }
  }

  /** Half the width of a 95% interval of a std, as a share of it: the coordinates are few. */
  get margin() {
    return 1.96 / Math.sqrt(2 * this.coordinates);
  }
}

/** The whole simulation at once: its std after the steps it marks. */
export function simulate(settings, seed) {
  const run = new Simulation(settings, seed);
  while (!run.done) run.advance(1000);
  return { step: run.step, std: run.std, coordinates: run.coordinates };
}
