// Variance along the residual stream of a transformer before training: initscope.theory's transformer and
// transformer_gradient in the browser.
//
// What is followed is the covariance over channels between any two positions, a matrix stored by rows.

import { gaussianNodes } from "../lib/gaussian.mjs";
import { seriesOf } from "../lib/hermite.mjs";

/** Positions, T. */
export const LENGTH = 64;
/** Width of the MLP over that of the stream. */
const RATIO = 4;
const EPSILON = 1e-5; // of LayerNorm
const T = LENGTH;

// GPT-2's activation: the tanh form of GELU.
const INNER = Math.sqrt(2 / Math.PI);
const gelu = (x) => 0.5 * x * (1 + Math.tanh(INNER * (x + 0.044715 * x ** 3)));
function slopeOfGelu(x) {
  const saturated = Math.tanh(INNER * (x + 0.044715 * x ** 3));
  return 0.5 * (1 + saturated) + 0.5 * x * (1 - saturated ** 2) * INNER * (1 + 3 * 0.044715 * x * x);
}

/** The polynomial through a function's values at Chebyshev nodes between two ends, as a function. */
function interpolated(low, high, count, evaluate) {
  if (!(high - low > 1e-12 * high)) {
    const value = evaluate(high);
    return () => value;
  }
  const nodes = Array.from({ length: count }, (_, j) => Math.cos((Math.PI * (j + 0.5)) / count));
  const weights = nodes.map((_, j) => (-1) ** j * Math.sin((Math.PI * (j + 0.5)) / count));
  const values = nodes.map((t) => evaluate(low + ((high - low) * (t + 1)) / 2));
  return (x) => {
    const t = (2 * (x - low)) / (high - low) - 1;
    let [sum, total] = [0, 0];
    for (let j = 0; j < count; j += 1) {
      const distance = t - nodes[j];
      if (distance === 0) return values[j];
      total += weights[j] / distance;
      sum += (weights[j] / distance) * values[j];
    }
    return sum / total;
  };
}

/** E[phi(x)^2] or E[phi'(x)^2] for x ~ N(0, q) with q between two ends. */
function meanSquare(phi, low, high) {
  return interpolated(low, high, 14, (q) => {
    let sum = 0;
    gaussianNodes(Math.sqrt(q), (x, _, weight) => { sum += weight * phi(x) ** 2; });
    return sum;
  });
}

const index = Array.from({ length: T }, (_, t) => t * (T + 1)); // of the diagonal
const diagonal = (matrix) => index.map((at) => matrix[at]);
const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
const traceMean = (matrix) => mean(diagonal(matrix));
const identity = (value) => {
  const matrix = new Float64Array(T * T);
  for (const at of index) matrix[at] = value;
  return matrix;
};

/** The matrix with entry (t, u) multiplied by left[t] left[u]. */
function rescaled(matrix, left) {
  const out = new Float64Array(T * T);
  for (let t = 0, at = 0; t < T; t += 1) for (let u = 0; u < T; u += 1, at += 1) out[at] = matrix[at] * left[t] * left[u];
  return out;
}

const normalizer = (matrix) => diagonal(matrix).map((v) => 1 / Math.sqrt(v + EPSILON));

/** Sums over all entries up to (t, u), or from it on. */
function cumulated(matrix, backward = false) {
  const out = Float64Array.from(matrix);
  const at = backward ? (t, u) => (T - 1 - t) * T + (T - 1 - u) : (t, u) => t * T + u;
  for (let t = 0; t < T; t += 1) {
    for (let u = 1; u < T; u += 1) out[at(t, u)] += out[at(t, u - 1)];
  }
  for (let t = 1; t < T; t += 1) {
    for (let u = 0; u < T; u += 1) out[at(t, u)] += out[at(t - 1, u)];
  }
  return out;
}

/**
 * Means of a softmax over t independent logits of variance v, for t from 1 to T, as functions of v up to `largest`:
 * squares E sum p^2, and jacobian E[sum p^2 - 2 sum p^3 + (sum p^2)^2], the trace of its squared Jacobian. With
 * L(x) = E exp(-x e^a), E sum p^n is t / (n - 1)! times the integral of x^(n-1) |L^(n)(x)| L(x)^(t-1), and
 * E sum p_j^2 p_k^2 over pairs t (t - 1) / 3! times that of x^3 L''(x)^2 L(x)^(t-2).
 */
function softmaxMoments(largest) {
  const step = 0.25; // of the trapezoidal rule in log x
  const rows = new Map();
  const at = (variance) => {
    if (rows.has(variance)) return rows.get(variance);
    const std = Math.sqrt(variance);
    const dz = Math.min(0.25, 0.25 / std);
    const weights = [];
    for (let z = -9; z <= 9; z += dz) weights.push([Math.exp(std * z), (dz * Math.exp((-z * z) / 2)) / Math.sqrt(2 * Math.PI)]);
    const found = { squares: new Float64Array(T), jacobian: new Float64Array(T) };
    for (let logX = -Math.log(T) - 25 - 3 * variance; logX < 6 + 9 * std; logX += step) {
      const x = Math.exp(logX);
      let [transform, second, third, fourth] = [0, 0, 0, 0];
      for (const [factor, weight] of weights) {
        const scaled = Math.min(x * factor, 800);
        const square = Math.exp(-scaled) * weight * scaled * scaled;
        transform += Math.exp(-scaled) * weight;
        second += square;
        third += square * scaled;
        fourth += square * scaled * scaled;
      }
      let [power, before] = [step, 0]; // L^(t-1) and L^(t-2), times the step
      for (let t = 0; t < T && power > 1e-300; t += 1) {
        const squares = (t + 1) * second * power;
        found.squares[t] += squares;
        found.jacobian[t] += squares - (t + 1) * (third - fourth / 6) * power + ((t + 1) * t * second * second * before) / 6;
        before = power;
        power *= transform;
      }
    }
    rows.set(variance, found);
    return found;
  };
  const table = (name) => index.map((_, t) => interpolated(0, largest, 14, (variance) => at(variance)[name][t]));
  return { squares: table("squares"), jacobian: table("jacobian") };
}

/** The part of the variance in which the positions up to each one differ, on average. */
function differences(matrix, sums) {
  let total = 0;
  return index.map((at, t) => {
    total += matrix[at];
    return Math.max(total - sums[at] / (t + 1), 0) / Math.max(t, 1);
  });
}

/** What softmax makes of the logits of inputs with this covariance: {different, squares, jacobian} by position. */
function softmaxOf(matrix, logitVariance, moments) {
  const different = differences(matrix, cumulated(matrix));
  const spread = index.map((at, t) => logitVariance * matrix[at] * different[t]);
  const of = (name) => spread.map((value, t) => moments[name][t](value));
  return { different, squares: of("squares"), jacobian: of("jacobian") };
}

const counts = Array.from({ length: T }, (_, t) => t + 1);
const shares = counts.map((t) => 1 / t);
const elementwise = (f, ...matrices) => Float64Array.from({ length: T * T }, (_, i) => f(...matrices.map((m) => m[i])));

/**
 * Covariance of causal attention averages of vectors with this covariance.
 *
 * @param {Float64Array} matrix
 * @param {any} softmax
 */
function attended(matrix, { different, squares }) {
  const average = rescaled(cumulated(matrix), shares);
  index.forEach((at, t) => { average[at] += (squares[t] - shares[t]) * different[t]; });
  return average;
}

/** The matrix with these values on the diagonal. */
function diagonalOf(values) {
  const matrix = new Float64Array(T * T);
  index.forEach((at, t) => { matrix[at] = values[t]; });
  return matrix;
}

/**
 * Covariance of P^T g for gradients g with this one, P the attention weights: attention_gradient.through_values.
 *
 * @param {Float64Array} gradient
 * @param {any} softmax
 */
function throughValues(gradient, { squares }) {
  const excess = index.map((at, t) => gradient[at] * (squares[t] - shares[t]) * shares[t]);
  const taken = cumulated(diagonalOf(excess.map((value, t) => -value / Math.max(t, 1))), true);
  const own = cumulated(diagonalOf(excess), true);
  for (const at of index) taken[at] = own[at];
  return elementwise((found, change) => found + change, cumulated(rescaled(gradient, shares), true), taken);
}

/** Sums along one axis: over columns, or over rows. */
function along(matrix, rows, backward = false) {
  const out = Float64Array.from(matrix);
  const at = (t, u) => (backward ? T - 1 - t : t) * (rows ? T : 1) + (backward ? T - 1 - u : u) * (rows ? 1 : T);
  for (let t = 1; t < T; t += 1) for (let u = 0; u < T; u += 1) out[at(t, u)] += out[at(t - 1, u)];
  return out;
}

const transposed = (matrix) => Float64Array.from({ length: T * T }, (_, i) => matrix[(i % T) * T + Math.floor(i / T)]);

/** E tr(C_t C_t') of inputs with this covariance: attention_gradient.jacobian_traces. */
function jacobianTraces(inputs, { different, jacobian }, channels) {
  const both = cumulated(inputs);
  const rows = along(along(inputs, true).map((value) => value * value), false);
  const columns = transposed(rows); // the inputs' covariance is symmetric
  const squares = cumulated(inputs.map((value) => value * value));
  let total = 0;
  const own = index.map((at, t) => (total += inputs[at]) - both[at] * shares[t]);
  const traces = new Float64Array(T * T);
  for (let t = 0, at = 0; t < T; t += 1) {
    for (let u = 0; u < T; u += 1, at += 1) {
      const pair = shares[t] * shares[u];
      const sum = squares[at] + both[at] ** 2 * pair - rows[at] * shares[t] - columns[at] * shares[u];
      traces[at] = (channels ** 2 * sum + channels * (sum + own[t] * own[u])) * pair;
    }
  }
  index.forEach((at, t) => { traces[at] += channels ** 2 * (jacobian[t] - t * shares[t] ** 2) * different[t] ** 2; });
  return traces;
}

/** Covariance of what goes back through queries and keys: attention_gradient.through_logits. */
function throughLogits(gradient, inputs, softmax, channels) {
  const traces = jacobianTraces(inputs, softmax, channels);
  const received = rescaled(elementwise((g, y) => g * y, gradient, inputs), shares);
  const means = along(inputs, true).map((value, i) => value * shares[Math.floor(i / T)]);
  const ofMeans = rescaled(cumulated(inputs), shares);
  const product = elementwise((m, r) => m * r, means, along(received, false, true));
  const mixed = along(product, true, true);
  const keys = elementwise(
    (y, all, one, other, last) => y * all - one - other + last,
    inputs, cumulated(received, true), mixed, transposed(mixed), cumulated(elementwise((r, m) => r * m, received, ofMeans), true),
  );
  let sum = 0;
  for (let t = T - 1; t >= 0; t -= 1) {
    sum += received[index[t]] * counts[t] * (softmax.jacobian[t] - t * shares[t] ** 2) * softmax.different[t];
    keys[index[t]] += sum;
  }
  return elementwise((g, trace, key) => g * trace + channels ** 2 * key, gradient, traces, keys);
}

/** What the MLP's activation makes of a covariance: {covariance, slopes}, E[phi phi] and E[phi' phi']. */
function activated(matrix, { second, derivative }) {
  const q = diagonal(matrix);
  const typical = Math.exp(mean(q.map(Math.log)));
  const series = seriesOf(gelu, typical);
  const roots = q.map(Math.sqrt);
  const scales = q.map((value) => Math.sqrt(second(value) / second(typical)));
  const covariance = new Float64Array(T * T);
  const slopes = new Float64Array(T * T);
  for (let t = 0; t < T; t += 1) {
    for (let u = 0; u < t; u += 1) {
      const c = Math.max(-1, Math.min(1, matrix[t * T + u] / (roots[t] * roots[u])));
      const [value, slope] = series(c);
      covariance[t * T + u] = covariance[u * T + t] = value * scales[t] * scales[u];
      slopes[t * T + u] = slopes[u * T + t] = slope;
    }
    covariance[index[t]] = second(q[t]);
    slopes[index[t]] = derivative(q[t]);
  }
  return { covariance, slopes };
}

/**
 * The stream and its gradient, for {n_layer, n_embd, std, scaled, norm}: {embeddings, branches, variance,
 * gradient}. A branch, of which a block has two, is {before, added}, the variance that meets it and what it adds;
 * `variance` is that of the stream after blocks 0 to L, and `gradient` that of the gradient there, relative to the
 * last; it is left out without `back`.
 *
 * @param {any} settings
 */
export function stream({ n_layer: depth, n_embd: channels, std, scaled, norm }, back = true) {
  const post = norm === "post";
  const weight = std * std;
  const out = scaled ? weight / (2 * depth) : weight;
  const logitVariance = (channels * weight) ** 2;
  const ofSoftmax = softmaxMoments(Math.max(logitVariance, 1e-12));
  // Hidden units: LayerNorm brings what enters to 1, or a little below where the stream is small.
  const smallest = (2 * weight) / (2 * weight + EPSILON);
  const [low, high] = [channels * weight * smallest * 0.999, channels * weight];
  const moments = { second: meanSquare(gelu, low, high), derivative: meanSquare(slopeOfGelu, low, high) };

  let covariance = identity(2 * weight);
  const embeddings = 2 * weight;
  const branches = [];
  const variance = [embeddings];
  const kept = []; // what the way back needs of each branch
  for (let branch = 0; branch < 2 * depth; branch += 1) {
    const scale = post ? null : normalizer(covariance);
    const inputs = scale ? rescaled(covariance, scale) : covariance;
    const attention = branch % 2 === 0;
    const units = attention ? null : activated(inputs.map((value) => channels * weight * value), moments);
    const softmax = attention ? softmaxOf(inputs, logitVariance, ofSoftmax) : null;
    const added = units ? units.covariance : attended(inputs, softmax);
    const factor = attention ? channels ** 2 * weight * out : RATIO * channels * out;
    const before = traceMean(covariance);
    covariance = covariance.map((value, i) => value + factor * added[i]);
    branches.push({ before, added: factor * traceMean(added) });
    const after = post ? normalizer(covariance) : null;
    if (after) covariance = rescaled(covariance, after);
    kept.push({ scale: scale ?? after ?? [], slopes: units?.slopes, inputs, softmax });
    if (!attention) variance.push(traceMean(covariance));
  }

  const gradients = [1];
  if (!back) return { embeddings, branches, variance, gradient: gradients };
  let gradient = identity(1);
  for (let branch = 2 * depth - 1; branch >= 0; branch -= 1) {
    const { scale, slopes, inputs, softmax } = kept[branch];
    if (post) gradient = rescaled(gradient, scale);
    let added;
    if (slopes) {
      const factor = RATIO * channels ** 2 * weight * out;
      added = gradient.map((value, i) => factor * slopes[i] * value);
    } else {
      const factor = channels ** 2 * weight * out;
      const logits = throughLogits(gradient, inputs, softmax, channels);
      added = elementwise((value, logit) => factor * (value + weight ** 2 * logit), throughValues(gradient, softmax), logits);
    }
    if (!post) added = rescaled(added, scale);
    gradient = gradient.map((value, i) => value + added[i]);
    if (branch % 2 === 0) gradients.unshift(traceMean(gradient));
  }
  return { embeddings, branches, variance, gradient: gradients };
}
