// Training of small networks of linear layers with ReLU between them: forward, softmax
// cross-entropy, backward, SGD and Adam. What takes long is a generator that yields between matrix
// products, so that a page can train in slices of a few milliseconds.

import { crossEntropy, multiply } from "../lib/dense.mjs";
import { Generator, fillNormal, permutation, seedSequence } from "../lib/torch_random.mjs";

/** Training counts as learned from this test accuracy on. */
export const LEARNED = 0.9;

/** Std of the weights of a layer; "normal" is one std for all layers. */
export const SCHEMES = {
  normal: (_fanIn, _fanOut, std) => std,
  lecun: (fanIn) => Math.sqrt(1 / fanIn),
  xavier: (fanIn, fanOut) => Math.sqrt(2 / (fanIn + fanOut)),
  kaiming: (fanIn) => Math.sqrt(2 / fanIn),
};

/** Share of right answers; outputs that are not finite are no answer. */
export function accuracy(logits, labels, classes) {
  let right = 0;
  for (let row = 0; row < labels.length; row += 1) {
    const scores = logits.subarray(row * classes, (row + 1) * classes);
    if (scores.every(Number.isFinite) && scores.indexOf(Math.max(...scores)) === labels[row]) right += 1;
  }
  return right / labels.length;
}

/**
 * Where networks of the same widths compute, one after the other: activations, deltas and gradients
 * of at most `rows` examples. `Storage` is Float32Array, as in torch, or Float64Array.
 */
export class Workspace {
  constructor(widths, rows, Storage = Float32Array) {
    this.widths = widths;
    this.Storage = Storage;
    this.outputs = widths.slice(1).map((width) => new Storage(rows * width));
    this.deltas = widths.slice(1).map((width) => new Storage(rows * width));
    this.weightGradients = widths.slice(1).map((width, k) => new Storage(width * widths[k]));
    this.biasGradients = widths.slice(1).map((width) => new Storage(width));
  }

  get logits() {
    return this.outputs[this.outputs.length - 1];
  }

  /** Propagate `rows` examples through weights of shape (out, in) and biases, to the logits. */
  *forward(weights, biases, inputs, rows) {
    let below = inputs;
    for (let k = 0; k < weights.length; k += 1) {
      const [fanIn, fanOut] = [this.widths[k], this.widths[k + 1]];
      const output = this.outputs[k];
      multiply(output, rows, fanOut, fanIn, below, fanIn, 1, weights[k], 1, fanIn);
      const hidden = k + 1 < weights.length;
      for (let row = 0, i = 0; row < rows; row += 1) {
        for (let unit = 0; unit < fanOut; unit += 1, i += 1) {
          const z = output[i] + biases[k][unit];
          output[i] = hidden && z <= 0 ? 0 : z; // NaN stays NaN
        }
      }
      below = output;
      yield;
    }
  }

  /** The mean loss of the examples; the gradients of all weights and biases are left here. */
  *backward(weights, biases, inputs, labels) {
    const rows = labels.length;
    yield* this.forward(weights, biases, inputs, rows);
    const last = weights.length - 1;
    const loss = crossEntropy(this.logits, labels, this.widths[last + 1], this.deltas[last]);
    for (let k = last; k >= 0; k -= 1) {
      const [fanIn, fanOut] = [this.widths[k], this.widths[k + 1]];
      const delta = this.deltas[k];
      const below = k ? this.outputs[k - 1] : inputs;
      multiply(this.weightGradients[k], fanOut, fanIn, rows, delta, 1, fanOut, below, fanIn, 1);
      for (let unit = 0; unit < fanOut; unit += 1) {
        let sum = 0;
        for (let row = 0; row < rows; row += 1) sum += delta[row * fanOut + unit];
        this.biasGradients[k][unit] = sum;
      }
      if (k) {
        const under = this.deltas[k - 1];
        multiply(under, rows, fanIn, fanOut, delta, fanOut, 1, weights[k], fanIn, 1);
        for (let i = 0; i < rows * fanIn; i += 1) if (below[i] <= 0) under[i] = 0;
      }
      yield;
    }
    return this.Storage === Float32Array ? Math.fround(loss) : loss;
  }
}

const length = (values) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));

/**
 * Rules of an update, with torch's defaults: `rule(state, parameter, gradient, rate)` changes the
 * parameter in place. `state` is an object of its own for each parameter, empty at first.
 */
export const OPTIMIZERS = {
  sgd(_state, parameter, gradient, rate) {
    for (let i = 0; i < parameter.length; i += 1) parameter[i] -= rate * gradient[i];
  },
  momentum(state, parameter, gradient, rate) {
    state.velocity ??= new parameter.constructor(parameter.length);
    const { velocity } = state;
    for (let i = 0; i < parameter.length; i += 1) {
      velocity[i] = 0.9 * velocity[i] + gradient[i];
      parameter[i] -= rate * velocity[i];
    }
  },
  adam(state, parameter, gradient, rate) {
    state.mean ??= new parameter.constructor(parameter.length);
    state.square ??= new parameter.constructor(parameter.length);
    state.step = (state.step ?? 0) + 1;
    const { mean, square, step } = state;
    const size = rate / (1 - 0.9 ** step);
    const correction = Math.sqrt(1 - 0.999 ** step);
    for (let i = 0; i < parameter.length; i += 1) {
      mean[i] += 0.1 * (gradient[i] - mean[i]);
      square[i] = 0.999 * square[i] + 0.001 * gradient[i] * gradient[i];
      parameter[i] -= (size * mean[i]) / (Math.sqrt(square[i]) / correction + 1e-8);
    }
  },
};

/** Weights, biases and the state of the optimizer of one network. */
export class Network {
  constructor(weights, biases) {
    this.weights = weights;
    this.biases = biases;
    this.states = [...weights, ...biases].map(() => ({}));
  }

  /** Draw a network as `initialize_(MLP(widths), scheme, generator=...)` of initscope does. */
  static *drawn(widths, scheme, std, seed) {
    const generator = new Generator(seed);
    const weights = [];
    for (let k = 0; k + 1 < widths.length; k += 1) {
      const weight = new Float32Array(widths[k] * widths[k + 1]);
      weights.push(fillNormal(weight, SCHEMES[scheme](widths[k], widths[k + 1], std), generator));
      yield;
    }
    return new Network(weights, widths.slice(1).map((width) => new Float32Array(width)));
  }

  /** One update from the gradients that `workspace` holds. */
  update(workspace, optimizer, rate) {
    const gradients = [...workspace.weightGradients, ...workspace.biasGradients];
    [...this.weights, ...this.biases].forEach((parameter, k) => {
      OPTIMIZERS[optimizer](this.states[k], parameter, gradients[k], rate);
    });
  }
}

/** Order of the training examples in one epoch (from 0) of one seed, as in initscope's sweeps. */
export function exampleOrder(seed, epoch, n) {
  const [low, high] = seedSequence([seed, epoch]);
  return permutation(n, new Generator((low >>> 1) | (high << 31)));
}

/**
 * The split of one seed, standardized per feature with mean and std of the training rows.
 *
 * data: {rows, labels, splits}; splits[seed] = {train, test}, numbers of rows in their order.
 */
export function standardized({ rows, labels, splits }, seed) {
  const { train, test } = splits[seed];
  const features = rows[0].length;
  const mean = [...Array(features).keys()].map((f) => train.reduce((sum, r) => sum + rows[r][f], 0) / train.length);
  const std = mean.map((m, f) => Math.sqrt(train.reduce((sum, r) => sum + (rows[r][f] - m) ** 2, 0) / train.length));
  const inputs = (part) => Float32Array.from(part.flatMap((r) => rows[r].map((x, f) => (x - mean[f]) / std[f])));
  const labelsOf = (part) => Int32Array.from(part, (r) => labels[r]);
  return { inputs: inputs(train), labels: labelsOf(train), testInputs: inputs(test), testLabels: labelsOf(test) };
}

/**
 * Several networks that train side by side, one for each scheme and seed: for each seed the same
 * standard-normal draws, scaled, and the same batches.
 *
 * settings: {schemes, std, seeds (how many), depth, width, optimizer, learningRate, batchSize, epochs}
 *
 * `runs` holds {scheme, seed, diverged, records, batchLosses}: `diverged` is the number of updates
 * made when the loss was first not finite, or null; such a run rests from then on. A record is
 * {step, loss, testLoss, accuracy, gradientNorms}, on the whole training and test set, made before
 * the first update, after each of the first `EVERY_STEP_UNTIL`, and after each epoch.
 */
export class Training {
  static EVERY_STEP_UNTIL = 10;

  constructor(data, settings) {
    this.settings = settings;
    const { seeds, depth, width, batchSize, epochs } = settings;
    this.sets = Array.from({ length: seeds }, (_, seed) => standardized(data, seed));
    const [{ labels, inputs }] = this.sets;
    this.classes = 1 + Math.max(...data.labels);
    this.widths = [inputs.length / labels.length, ...Array(depth - 1).fill(width), this.classes];
    this.stepsPerEpoch = Math.floor(labels.length / batchSize);
    this.nSteps = epochs * this.stepsPerEpoch;
    this.step = 0;
    this.ready = false; // whether the networks are drawn and measured
    this.workspace = new Workspace(this.widths, labels.length);
    this.runs = settings.schemes.flatMap((scheme) => this.sets.map((set, seed) => (
      { scheme, seed, set, network: null, diverged: null, records: [], batchLosses: [] }
    )));
  }

  get alive() {
    return this.runs.filter((run) => run.diverged === null);
  }

  get finished() {
    return this.ready && (this.step === this.nSteps || this.alive.length === 0);
  }

  /** Draw and measure the networks. */
  *start() {
    for (const run of this.runs) {
      run.network = yield* Network.drawn(this.widths, run.scheme, this.settings.std, run.seed);
      yield* this.measure(run);
    }
    this.ready = true;
  }

  /** One update of every run that has not diverged; recorded if it is due, or if `record` says so. */
  *advance(record = false) {
    const { batchSize, optimizer, learningRate } = this.settings;
    const features = this.widths[0];
    const place = this.step % this.stepsPerEpoch;
    const due = record || this.step < Training.EVERY_STEP_UNTIL || place + 1 === this.stepsPerEpoch;
    for (const run of this.alive) {
      const { inputs, labels } = run.set;
      if (place === 0) run.order = exampleOrder(run.seed, this.step / this.stepsPerEpoch, labels.length);
      const batch = run.order.subarray(place * batchSize, (place + 1) * batchSize);
      const rows = new Float32Array(batchSize * features);
      batch.forEach((row, i) => rows.set(inputs.subarray(row * features, (row + 1) * features), i * features));
      const { weights, biases } = run.network;
      const loss = yield* this.workspace.backward(weights, biases, rows, batch.map((row) => labels[row]));
      run.batchLosses.push(loss);
      if (!Number.isFinite(loss)) {
        run.diverged = this.step;
      } else {
        run.network.update(this.workspace, optimizer, learningRate);
        if (due) yield* this.measure(run, this.step + 1);
      }
    }
    this.step += 1;
  }

  /** Whether the runs are recorded as they are now. */
  get measured() {
    return this.alive.every((run) => run.records.at(-1)?.step === this.step);
  }

  /** Record the runs as they are now. */
  *measureAll() {
    for (const run of this.alive) if (run.records.at(-1).step !== this.step) yield* this.measure(run, this.step);
  }

  *measure(run, step = 0) {
    const { workspace } = this;
    const { inputs, labels, testInputs, testLabels } = run.set;
    const { weights, biases } = run.network;
    yield* workspace.forward(weights, biases, testInputs, testLabels.length);
    const right = accuracy(workspace.logits, testLabels, this.classes);
    const testLoss = crossEntropy(workspace.logits, testLabels, this.classes, workspace.deltas.at(-1));
    const loss = yield* workspace.backward(weights, biases, inputs, labels);
    if (!Number.isFinite(loss) || !Number.isFinite(testLoss)) run.diverged = step;
    const gradientNorms = workspace.weightGradients.map(length);
    run.records.push({ step, loss, testLoss, accuracy: right, gradientNorms });
  }
}
