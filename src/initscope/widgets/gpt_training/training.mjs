// Pretraining of small GPTs, one or two side by side: weights and batches as torch draws them from a
// seed, AdamW and SGD as torch updates, and the std of Q, K and V of every layer after each update.

import { finish } from "../lib/dense.mjs";
import { Generator, fillNormal } from "../lib/torch_random.mjs";
import { Workspace, parameterShapes, zeros } from "./model.mjs";

export const LAYERS = 12;
export const HEADS = 4;
export const CONTEXT = 32; // characters of a passage
export const PASSAGES = 8; // in a batch
export const BETAS = [0.9, 0.95];
export const MOMENTUM = 0.9;
const ADAM_EPSILON = 1e-8;

export const ROLES = ["q", "k", "v"];

/** The characters of a text, sorted, and the text as their numbers. */
export function tokenized(text) {
  const characters = [...new Set(text)].sort();
  const numbers = new Map(characters.map((character, k) => [character, k]));
  return { characters, tokens: Int32Array.from([...text], (character) => numbers.get(character) ?? 0) };
}

/**
 * Weights as initscope's `initialize_(model, "gpt2", std=..., residual_scaling=..., generator=...)`
 * draws them: normal, smaller where a branch ends; gains 1, biases 0.
 */
export function drawn(sizes, { std, scaled }, generator) {
  const parameters = zeros(sizes);
  for (const [name, values] of Object.entries(parameters)) {
    if (/ln_\w+\.weight$/.test(name)) values.fill(1);
    else if (name.endsWith("weight")) {
      const ends = scaled && name.endsWith("c_proj.weight");
      fillNormal(values, ends ? std / Math.sqrt(2 * sizes.layers) : std, generator);
    }
  }
  return parameters;
}

/** A batch: passages that begin where `torch.randint(0, n - context, (passages,))` says, and what follows each token. */
export function batch(tokens, { context, passages }, generator) {
  const inputs = new Int32Array(passages * context);
  const targets = new Int32Array(passages * context);
  for (let passage = 0; passage < passages; passage += 1) {
    const start = generator.bits() % (tokens.length - context);
    inputs.set(tokens.subarray(start, start + context), passage * context);
    targets.set(tokens.subarray(start + 1, start + context + 1), passage * context);
  }
  return { inputs, targets };
}

/**
 * Updates of torch.optim.AdamW and SGD: `rule(state, parameter, gradient, rate, decay)` changes the
 * parameter in place. `state` is an object of its own for each parameter, empty at first.
 */
export const OPTIMIZERS = {
  adamw(state, parameter, gradient, rate, decay) {
    const [beta1, beta2] = BETAS;
    state.mean ??= new Float32Array(parameter.length);
    state.square ??= new Float32Array(parameter.length);
    state.step = (state.step ?? 0) + 1;
    const { mean, square, step } = state;
    const keep = 1 - rate * decay;
    const size = rate / (1 - beta1 ** step);
    const correction = Math.sqrt(1 - beta2 ** step);
    for (let i = 0; i < parameter.length; i += 1) {
      mean[i] += (1 - beta1) * (gradient[i] - mean[i]);
      square[i] = beta2 * square[i] + (1 - beta2) * gradient[i] * gradient[i];
      parameter[i] = keep * parameter[i] - (size * mean[i]) / (Math.sqrt(square[i]) / correction + ADAM_EPSILON);
    }
  },
  sgd(_state, parameter, gradient, rate, decay) {
    for (let i = 0; i < parameter.length; i += 1) parameter[i] -= rate * (gradient[i] + decay * parameter[i]);
  },
  momentum(state, parameter, gradient, rate, decay) {
    state.velocity ??= new Float32Array(parameter.length);
    const { velocity } = state;
    for (let i = 0; i < parameter.length; i += 1) {
      velocity[i] = MOMENTUM * velocity[i] + gradient[i] + decay * parameter[i];
      parameter[i] -= rate * velocity[i];
    }
  },
};

/** The std of Q, K and V in c_attn, whose columns are theirs, as torch's std(): over n - 1. */
export function stdsOf(weight, width) {
  return ROLES.map((_, part) => {
    let sum = 0;
    let square = 0;
    for (let row = 0; row < width; row += 1) {
      const first = row * 3 * width + part * width;
      for (let k = first; k < first + width; k += 1) sum += weight[k];
    }
    const mean = sum / width ** 2;
    for (let row = 0; row < width; row += 1) {
      const first = row * 3 * width + part * width;
      for (let k = first; k < first + width; k += 1) square += (weight[k] - mean) ** 2;
    }
    return Math.sqrt(square / (width ** 2 - 1));
  });
}

/**
 * One GPT in training.
 *
 * settings: {std, scaled, width, optimizer, rate, decay, seed}. A record is {step, loss, std}: the loss of
 * the batch of that update (before it; none at step 0), and std[role][layer] after it. `diverged` is the
 * number of the update at which the loss was first no number, or null; the run rests from then on.
 */
export class Run {
  constructor(settings, tokens, vocabulary, layers = LAYERS) {
    const { width, seed } = settings;
    this.settings = settings;
    this.tokens = tokens;
    this.sizes = { layers, width, heads: HEADS, context: CONTEXT, passages: PASSAGES, vocabulary };
    this.generator = new Generator(seed);
    this.parameters = drawn(this.sizes, settings, this.generator);
    this.states = Object.fromEntries(parameterShapes(this.sizes).map(([name, shape]) => [name, { decays: shape.length > 1 }]));
    this.workspace = new Workspace(this.sizes);
    this.step = 0;
    this.diverged = null;
  }

  /** @param {number | null} loss */
  record(loss = null) {
    const layers = Array.from({ length: this.sizes.layers }, (_, l) => stdsOf(this.parameters[`h.${l}.attn.c_attn.weight`], this.sizes.width));
    return { step: this.step, loss, std: ROLES.map((_, role) => layers.map((stds) => stds[role])) };
  }

  /** One update; returns its record, or null where the loss is no number. */
  *advance() {
    const { optimizer, rate, decay } = this.settings;
    const { inputs, targets } = batch(this.tokens, this.sizes, this.generator);
    const loss = yield* this.workspace.backward(this.parameters, inputs, targets);
    this.step += 1;
    if (!Number.isFinite(loss)) {
      this.diverged = this.step;
      return null;
    }
    for (const [name, parameter] of Object.entries(this.parameters)) {
      const state = this.states[name];
      // As GPT-2 is trained: biases and norms do not decay.
      OPTIMIZERS[optimizer](state, parameter, this.workspace.gradients[name], rate, state.decays ? decay : 0);
    }
    return this.record(loss);
  }
}

/**
 * Train where a page is not held up: in its worker, or, where there can be none, in its pauses.
 *
 * Returns a function that takes messages: {start: {runs: settings[], text, steps}} draws the networks;
 * {until: step} trains on to that update, a smaller one pauses. `post` gets {records: [run, record][],
 * diverged: (step | null)[]} after each update of all runs. `slice` is how many milliseconds are worked
 * before messages are looked at.
 */
export function serve(post, slice) {
  let runs = [];
  let step = 0;
  let until = 0;
  let job = null;
  let waiting = false;

  function* update() {
    const records = [];
    for (const [k, run] of runs.entries()) {
      if (run.diverged !== null) continue;
      const record = yield* run.advance();
      if (record) records.push([k, record]);
    }
    step += 1;
    post({ records, diverged: runs.map(({ diverged }) => diverged) });
  }

  function work() {
    waiting = false;
    const end = performance.now() + slice;
    while (performance.now() < end) {
      job ??= step < until && runs.some(({ diverged }) => diverged === null) ? update() : null;
      if (!job) return;
      if (job.next().done) job = null;
    }
    waiting = true;
    setTimeout(work);
  }

  return (message) => {
    if (message.start) {
      const { characters, tokens } = tokenized(message.start.text);
      runs = message.start.runs.map((settings) => new Run(settings, tokens, characters.length));
      [step, until, job] = [0, 0, null];
      post({ records: runs.map((run, k) => [k, run.record()]), diverged: runs.map(() => null) });
    }
    if (message.until !== undefined) until = message.until;
    if (!waiting) work();
  };
}

/** A whole training at once, for tests. */
export function trained(settings, text, steps) {
  const { characters, tokens } = tokenized(text);
  const run = new Run(settings, tokens, characters.length);
  const records = [run.record()];
  while (run.step < steps && run.diverged === null) {
    const record = finish(run.advance());
    if (record) records.push(record);
  }
  return { records, diverged: run.diverged };
}
