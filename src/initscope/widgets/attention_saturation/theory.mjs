// Softmax over random logits: initscope.theory.softmax in the browser, and rows of attention.

import { Generator, fillNormal } from "../lib/torch_random.mjs";

/** Rows over which a mean is taken. */
export const ROWS = 400;

/** The std of the logits at which softmax over so many keys freezes. */
export const criticalStd = (keys) => Math.sqrt(2 * Math.log(keys));

/** The limit of many keys of E Σp², NaN where there is none: between b_c/√3 and b_c. */
export function limit(keys, std) {
  const critical = criticalStd(keys);
  if (std > critical) return 1 - critical / std;
  return std <= critical / Math.sqrt(3) ? Math.exp(std * std) / keys : NaN;
}

// In y, exp(-exp(y)) is smooth on a scale of 1: in steps of 0.4 the trapezoidal rule is good to 1e-8.
const STEP = 0.4;
const transforms = new Map();

/**
 * x² L''(x) and ln L(x) at even steps of ln x, for L(x) = E exp(-x exp(std z)), z standard normal: the
 * same for all numbers of keys, so a change of these costs nothing.
 */
function transform(std) {
  if (transforms.has(std)) return transforms.get(std);
  const dz = Math.min(0.5, STEP / std);
  const exponentials = [];
  const weights = [];
  for (let z = -9; z < 12; z += dz) {
    exponentials.push(Math.exp(std * z));
    weights.push((dz * Math.exp((-z * z) / 2)) / Math.sqrt(2 * Math.PI));
  }
  const second = [];
  const logL = [];
  // Below, x² L'' < x² exp(2 std²) counts for nothing, and beyond, L to the power of 15 keys.
  for (let logX = -std * std - 20; !(logL[logL.length - 1] < -3); logX += STEP) {
    const x = Math.exp(logX);
    let lost = 0;
    let sum = 0;
    for (let i = 0; i < weights.length; i += 1) {
      const scaled = x * exponentials[i];
      const decay = scaled > 700 ? 0 : Math.exp(-scaled);
      lost += weights[i] * (1 - decay);
      if (decay > 0) sum += weights[i] * scaled * scaled * decay;
    }
    second.push(sum);
    logL.push(Math.log1p(-Math.min(lost, 1 - 1e-16)));
  }
  transforms.set(std, { second, logL });
  return transforms.get(std);
}

/** E Σp² of softmax over 16 keys or more with independent normal logits: theory.attention_participation. */
export function participation(keys, std) {
  const { second, logL } = transform(std);
  return second.reduce((sum, value, i) => sum + STEP * keys * value * Math.exp((keys - 1) * logL[i]), 0);
}

/** Standard normal numbers of so many rows: `torch.randn(ROWS, keys)` with a generator of this seed. */
export function drawRows(keys, seed) {
  return fillNormal(new Float32Array(ROWS * keys), 1, new Generator(seed));
}

/** The attention of each row with logits of this std: Σp² and the largest weight. */
export function attention(normals, keys, std) {
  const squares = new Float64Array(normals.length / keys);
  const largest = new Float64Array(squares.length);
  for (let row = 0; row < squares.length; row += 1) {
    const from = row * keys;
    let highest = -Infinity;
    for (let i = from; i < from + keys; i += 1) highest = Math.max(highest, normals[i]);
    let sum = 0;
    let ofSquares = 0;
    for (let i = from; i < from + keys; i += 1) {
      const weight = Math.exp(std * (normals[i] - highest));
      sum += weight;
      ofSquares += weight * weight;
    }
    squares[row] = ofSquares / (sum * sum);
    largest[row] = 1 / sum;
  }
  return { squares, largest };
}

/** The weights of the first row, largest first. */
export function firstRow(normals, keys, std) {
  const sorted = normals.slice(0, keys).sort().reverse();
  const weights = Float64Array.from(sorted, (z) => Math.exp(std * (z - sorted[0])));
  const sum = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / sum);
}

/** Mean, half a 95% interval of it, and median of what was found in the rows. */
export function summary(values) {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1);
  const sorted = values.slice().sort();
  const half = sorted.length / 2; // of an even number
  return {
    mean,
    error: 1.96 * Math.sqrt(variance / values.length),
    median: (sorted[half - 1] + sorted[half]) / 2,
  };
}
