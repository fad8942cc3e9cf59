// The std of a weight matrix under AdamW: initscope.theory.adamw in the browser, and AdamW itself.
//
// Settings are named as the traits of the widget: std0, lr (the peak), weight_decay, beta1, beta2,
// schedule, warmup, final (the last rate as a share of the peak), steps, decay_schedule, epsilon,
// snr, drift, diffusion, alignment, final_gradient. Gradients are in units of the first's rms.

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

/** The std that the recursion would settle at if rate and gradient stayed as they are, signal and drift included. */
export function equilibrium(settings, lr, gradient = 1) {
  const { alignment = 0, snr = 0, drift = 0, epsilon = 0 } = settings;
  const weight_decay = weightDecay(settings)(lr);
  const noise = noiseSquare({ ...settings, weight_decay }, lr);
  if (noise === Infinity) return noise;
  const pull = weight_decay + alignment;
  const keep = 1 - lr * pull;
  const shorter = 1 / (1 + epsilon / gradient);
  const signal = snr / pull ** 2;
  return Math.sqrt(Math.max(0, (shorter ** 2 * (noise + signal)) / (1 + snr) + (drift * keep) / (pull * (1 + keep))));
}

/** Angle in radians by which the weights turn in a step at equilibrium; 0 where there is none. */
export function rotation(settings) {
  const { lr, weight_decay, alignment = 0, drift = 0, epsilon = 0 } = settings;
  const rms = equilibriumRms({ ...settings, beta1: undefined });
  if (!(lr > 0 && rms < Infinity)) return 0;
  // Epsilon makes the step, and what noise amounts to, smaller by the same factor.
  return (lr * updateRms(settings)) / Math.hypot(rms, (1 + epsilon) * Math.sqrt(drift / (2 * (weight_decay + alignment))));
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

/** The weight decay at a rate, as a function of the rate; 0 where it is independent of a rate of 0. */
export function weightDecay({ lr, weight_decay, decay_schedule }) {
  if (lr > 0 && decay_schedule === "rate") return (rate) => (weight_decay * rate) / lr;
  if (lr > 0 && decay_schedule === "independent") return (rate) => (rate > 0 ? (weight_decay * lr) / rate : 0);
  return () => weight_decay;
}

/** The root mean square of the gradient at a step, as a function of the step. */
export function gradientRms({ final_gradient = 1, steps }) {
  return final_gradient === 1 ? () => 1 : (t) => final_gradient ** ((t - 1) / (steps - 1));
}

/** The root of v, of gradients with the rms that it is called with, one step after the other. */
function rootOfV({ beta2, final_gradient = 1 }) {
  let power = 1; // beta2^t
  let second = 0; // v
  return final_gradient === 1 ? () => 1 : (rms) => {
    power = power < 1e-30 ? 0 : power * beta2;
    second = beta2 * second + (1 - beta2) * rms * rms;
    return Math.sqrt(second / (1 - power));
  };
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
 * Returns {step, lr, decay, gradient, std, initial, timeConstants, forgotten}: `initial` is the std that is left of
 * the weights drawn at initialization, the sum of squares of which is part of the mean square;
 * `timeConstants`, of the variance, is twice the sum of rate times decay; `forgotten` the first step at which less than 1% of
 * the mean square comes from initialization, null if there is none.
 */
export function trajectory(settings, at = Array.from({ length: settings.steps }, (_, i) => i + 1)) {
  const { std0, beta1, snr = 0, drift = 0, epsilon = 0, diffusion = 1, alignment = 0 } = settings;
  const rate = learningRate(settings);
  const decay = weightDecay(settings);
  const rms = gradientRms(settings);
  const root = rootOfV(settings);
  const last = at[at.length - 1];
  const result = {
    step: Float64Array.from(at),
    lr: new Float64Array(at.length),
    decay: new Float64Array(at.length),
    gradient: new Float64Array(at.length),
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
  let moved = 0; // mean of the weight
  let left = std0;
  let timeConstants = 0;
  let forgotten = null;
  let next = 0;
  for (let t = 1; t <= last; t += 1) {
    const eta = rate(t);
    const pull = decay(eta) + alignment;
    const keep = 1 - eta * pull;
    const gradient = rms(t);
    // Without this, numbers too small for the format would be carried along, slowly, for ever.
    power = power < 1e-30 ? 0 : power * beta1;
    const size = eta / (1 - power) / (root(gradient) + epsilon);
    momentum = beta1 * beta1 * momentum + noise * gradient * gradient;
    const carried = beta1 * covariance;
    square = keep * keep * square - 2 * keep * size * carried + size * size * momentum + keep * drift * eta;
    covariance = keep * carried - size * momentum;
    mean = beta1 * mean + signal * gradient;
    moved = keep * moved - size * mean;
    left = Math.abs(left) < 1e-150 ? 0 : left * keep;
    timeConstants += 2 * eta * pull;
    if (forgotten === null && left * left < 0.01 * (square + moved * moved)) forgotten = t;
    if (t === at[next]) {
      result.lr[next] = eta;
      result.decay[next] = decay(eta);
      result.gradient[next] = gradient;
      // Where a step decays more than all there is, a drift would leave less than nothing.
      result.std[next] = Math.sqrt(Math.max(0, square + moved * moved));
      result.initial[next] = Math.abs(left);
      next += 1;
    }
  }
  return { ...result, timeConstants, forgotten };
}

/**
 * What the last weights keep, as theory.data_memory: the share `start` of each initial weight, and the `weight` of the
 * updates `at`, over the mean size of all; `half`, how many of the last updates have half of all weight, 0 if none has any.
 */
export function dataMemory(settings, at) {
  const { steps, alignment = 0 } = settings;
  const rate = learningRate(settings);
  const decay = weightDecay(settings);
  const weights = new Float64Array(steps);
  let start = 1;
  let total = 0;
  for (let t = steps; t >= 1; t -= 1) {
    const eta = rate(t);
    weights[t - 1] = eta * start;
    total += Math.abs(weights[t - 1]);
    start = Math.abs(start) < 1e-150 ? 0 : start * (1 - eta * (decay(eta) + alignment));
  }
  let half = 0;
  if (total > 0 && total < Infinity) {
    for (let held = 0; held < total / 2; half += 1) held += Math.abs(weights[steps - 1 - half]);
  }
  return { start, weight: Float64Array.from(at, (t) => (weights[t - 1] / total) * steps), half };
}

/** One step of AdamW as torch.optim.AdamW takes it, for all coordinates of `state`. */
export function adamwStep(state, gradient, rate, { weight_decay, beta1, beta2, alignment = 0, epsilon = 1e-8 }) {
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
    weight[i] = keep * weight[i] - (size * m) / (Math.sqrt(v * correction) + epsilon);
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

/** AdamW on independent coordinates whose gradients are noise, with a constant signal if snr > 0 and a push along the weights if drift > 0. */
export class Simulation {
  constructor(settings, seed = 1) {
    this.settings = settings;
    this.coordinates = simulatedCoordinates(settings.steps);
    this.rate = learningRate(settings);
    this.decay = weightDecay(settings);
    this.rms = gradientRms(settings);
    this.root = rootOfV(settings);
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
    const { settings, state, gradient, marks, coordinates } = this;
    const { snr = 0, drift = 0, epsilon = 0 } = settings;
    const signal = Math.sqrt(snr);
    const unit = Math.sqrt(1 + snr); // rms of a gradient as it is drawn
    const now = { ...settings, epsilon: epsilon * unit || 1e-8 };
    const meanSquare = () => state.weight.reduce((sum, w) => sum + w * w, 0) / coordinates;
    while (!this.done && performance.now() < until) {
      const chunk = Math.min(settings.steps, state.t + Math.ceil(20_000 / this.coordinates));
      while (state.t < chunk) {
        this.fill(gradient);
        if (signal) for (let i = 0; i < gradient.length; i += 1) gradient[i] += i % 2 ? signal : -signal;
        const rate = this.rate(state.t + 1);
        const rms = this.rms(state.t + 1);
        // So that update and weight have the mean product -drift / 2.
        const push = drift && (drift / 2 / meanSquare()) * (this.root(rms) + epsilon) * unit;
        for (let i = 0; i < gradient.length; i += 1) gradient[i] = rms * gradient[i] - push * state.weight[i];
        now.weight_decay = this.decay(rate);
        adamwStep(state, gradient, rate, now);
        if (state.t === marks[this.step.length]) {
          this.step.push(state.t);
          this.std.push(Math.sqrt(meanSquare()));
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
