// Length and correlation of wide random networks: initscope.theory's length_map, correlation_map,
// criticality and phase_diagram in the browser.

import { gaussianNodes } from "../lib/gaussian.mjs";
import { seriesOf } from "../lib/hermite.mjs";

const SMALLEST_Q = 1e-12; // below it a derivative in q is that at 0, to rounding
const GRID = Float64Array.from({ length: 512 }, (_, i) => 10 ** (-10 + (20 * i) / 511));

/**
 * Moments of phi(x), x ~ N(0, q): second E[phi^2], derivative E[phi'^2], and slope d E[phi^2] / dq.
 *
 * @type {Record<string, (q: number) => { second: number, slope: number, derivative: number }>}
 */
const MOMENTS = {
  relu: (q) => ({ second: q / 2, slope: 0.5, derivative: 0.5 }),
  // Roberts, Yaida & Hanin (2022), section 5.3.4.
  gelu(q) {
    const root = Math.sqrt(1 + 2 * q);
    const angle = Math.asin(q / (1 + q));
    const bracket = angle + (2 * q) / ((1 + q) * root);
    const last = ((2 * q) / ((1 + q) * root)) * (1 / (1 + q) - q / (1 + 2 * q));
    return {
      second: q / 4 + (q / (2 * Math.PI)) * bracket,
      slope: 0.25 + (bracket + q / ((1 + q) * root) + last) / (2 * Math.PI),
      derivative: 0.25 + (angle + (q * (3 + 5 * q)) / ((1 + q) * root ** 3)) / (2 * Math.PI),
    };
  },
  tanh(variance) {
    const q = Math.max(variance, SMALLEST_Q);
    let [second, slope, derivative] = [0, 0, 0];
    gaussianNodes(Math.sqrt(q), (x, _, weight) => {
      const f = Math.tanh(x);
      const d = 1 / Math.cosh(x) ** 2;
      second += weight * f * f;
      slope += (weight * f * d * x) / q;
      derivative += weight * d * d;
    });
    return { second: second * Math.min(variance / SMALLEST_Q, 1), slope, derivative };
  },
  // Rasmussen & Williams (2006), eq. 4.29.
  erf: (q) => ({
    second: (2 / Math.PI) * Math.asin((2 * q) / (1 + 2 * q)),
    slope: 4 / Math.PI / ((1 + 2 * q) * Math.sqrt(1 + 4 * q)),
    derivative: 4 / Math.PI / Math.sqrt(1 + 4 * q),
  }),
};

export const ACTIVATIONS = Object.keys(MOMENTS);

export const moments = (activation, q) => MOMENTS[activation](q);

/** The variance one layer on: theory.length_map. */
export const lengthMap = (q, activation, weight, bias) => weight * moments(activation, q).second + bias;

const tables = new Map();

/** The moments of an activation on GRID. */
function tableOf(activation) {
  if (!tables.has(activation)) tables.set(activation, Array.from(GRID, (q) => moments(activation, q)));
  return tables.get(activation);
}

/** Halve the interval between `low` and `high` until its ends are neighbors; `up(x)`: the root is above. */
function bisect(low, high, up) {
  for (let k = 0; k < 100; k += 1) {
    const middle = (low + high) / 2;
    if (middle <= low || middle >= high) break;
    if (up(middle)) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** Between which entries of GRID repeated layers lead from a variance of 1 to a fixed point: their number. */
function bracket(activation, weight, bias, image) {
  const table = tableOf(activation);
  const rises = (i) => weight * table[i].second + bias > GRID[i];
  const above = GRID.findIndex((q) => q >= 1);
  if (image > 1) {
    for (let i = above; i < GRID.length; i += 1) if (!rises(i)) return i - 1;
    return Infinity; // out of all bounds
  }
  for (let i = above - 1; i >= 0; i -= 1) if (rises(i)) return i;
  return -1; // below the table
}

/** The variance that repeated layers lead to from 1, NaN where it grows without bound: theory.fixed_point. */
export function fixedPoint(activation, weight, bias) {
  if (activation === "relu") {
    if (Math.abs(weight / 2 - 1) < 1e-12) return bias === 0 ? 1 : NaN;
    return weight < 2 ? bias / (1 - weight / 2) : NaN;
  }
  const i = bracket(activation, weight, bias, lengthMap(1, activation, weight, bias));
  if (i === Infinity) return NaN;
  if (i < 0) {
    const [first] = tableOf(activation);
    return bias === 0 ? 0 : bias / (1 - (weight * first.second) / GRID[0]);
  }
  return Math.exp(bisect(Math.log(GRID[i]), Math.log(GRID[i + 1]), (u) => {
    const q = Math.exp(u);
    return lengthMap(q, activation, weight, bias) > q;
  }));
}

/** chi_1 over the diagram, [row][column] for variances of biases and of weights; NaN without a fixed point. */
export function diagram(activation, weights, biases) {
  const table = tableOf(activation);
  const between = (i, t, name) => (1 - t) * table[i][name] + t * table[i + 1][name];
  return biases.map((bias) => weights.map((weight) => {
    if (activation === "relu") return Number.isNaN(fixedPoint("relu", weight, bias)) ? NaN : weight / 2;
    const i = bracket(activation, weight, bias, lengthMap(1, activation, weight, bias));
    if (i === Infinity) return NaN;
    if (i < 0) return weight * table[0].derivative;
    // Colors: a straight line between two entries is good enough.
    const gap = (k) => weight * table[k].second + bias - GRID[k];
    const t = gap(i) / (gap(i) - gap(i + 1));
    return weight * between(i, t, "derivative");
  }));
}

/** The line on which chi_1 is 1, as points {q, weight, bias, stable}: theory.critical_line. */
export function criticalLine(activation, variances) {
  return variances.map((q) => {
    const { second, slope, derivative } = moments(activation, q);
    return { q, weight: 1 / derivative, bias: q - second / derivative, stable: slope / derivative <= 1 + 1e-9 };
  });
}

/** The variance of the weights at the edge of chaos with these biases, NaN if there is none: theory.critical_point. */
export function criticalWeight(activation, bias) {
  if (activation === "relu") return bias === 0 ? 2 : NaN;
  const at = (q) => criticalLine(activation, [q])[0];
  if (bias === 0) return at(0).weight;
  const line = tableOf(activation).map(({ second, derivative }, i) => GRID[i] - second / derivative - bias);
  const i = line.findIndex((offset, k) => offset <= 0 && line[k + 1] > 0);
  if (i < 0) return NaN;
  return at(bisect(GRID[i], GRID[i + 1], (q) => at(q).bias <= bias)).weight;
}

/**
 * E[phi(u1) phi(u2)] and E[phi'(u1) phi'(u2)] as a function of the correlation c, for u1 and u2 of variance q:
 * [value, slope]. By Price's theorem q times the second is the derivative of the first in c.
 */
export function correlated(activation, q) {
  const ends = moments(activation, q);
  const atOne = [ends.second, ends.derivative];
  if (activation === "relu") { // Cho & Saul (2009), eqs. 3 to 6
    return (c) => {
      const angle = Math.acos(c);
      return [(q * (Math.sqrt(1 - c * c) + c * (Math.PI - angle))) / (2 * Math.PI), (Math.PI - angle) / (2 * Math.PI)];
    };
  }
  if (activation === "erf") {
    return (c) => [
      (2 / Math.PI) * Math.asin((2 * q * c) / (1 + 2 * q)),
      4 / Math.PI / (1 + 2 * q) / Math.sqrt(1 - ((2 * q * c) / (1 + 2 * q)) ** 2),
    ];
  }
  if (activation === "gelu") { // by Stein's lemma, from E[Phi(u1) Phi(u2)] and E[density(u1) density(u2)]
    return (c) => {
      if (c === 1) return atOne;
      const p = q * c;
      const root = Math.sqrt((1 + q * (1 - c)) * (1 + q * (1 + c))); // of (1 + q)^2 - p^2
      const both = 1 / (2 * Math.PI * root);
      const share = Math.atan2(root, -p) / (2 * Math.PI);
      const bracketed = (q * q + p * p + q * q * q * (1 - c) * (1 + c)) / (1 + q);
      return [
        both * bracketed + p * share,
        (both * p * bracketed) / root ** 2 + (both * 2 * p * (1 - q)) / (1 + q) + share + p * both,
      ];
    };
  }
  const series = seriesOf(Math.tanh, q);
  return (c) => (c === 1 ? atOne : series(c));
}

const kept = (c) => Math.max(-1, Math.min(1, c)); // rounding may lead beyond

/** The correlation one layer on of two inputs of variance q: theory.correlation_map. */
export function correlationMap(activation, weight, bias, variance) {
  const q = Math.max(variance, SMALLEST_Q);
  const moment = correlated(activation, q);
  const image = weight * moments(activation, q).second + bias;
  return (c) => kept((weight * moment(c)[0] + bias) / image);
}

/** c* and chi there: theory.correlation_fixed_point, by Newton's method from 0. */
function solveCorrelation(activation, weight, bias, q) {
  if (Number.isNaN(q)) return [NaN, NaN];
  const chi = weight * moments(activation, q).derivative;
  if (!(chi > 1 + 1e-9) || q === 0 || (activation === "relu" && bias === 0)) return [1, chi];
  const moment = correlated(activation, q);
  let c = 0;
  let rate = 0;
  for (let k = 0; k < 60; k += 1) {
    const [value, slope] = moment(c);
    rate = weight * slope;
    const gap = (weight * value + bias) / q - c;
    const change = Math.max(gap / Math.max(1 - rate, 1e-12), -c);
    c = Math.min(c + change, 1);
    if (!(Math.abs(change) > 1e-10)) break;
  }
  return [c, rate];
}

/** Layers over which something that is multiplied by `factor` in each changes by a factor e. */
const scale = (factor) => (Math.abs(factor - 1) < 1e-10 ? Infinity : 1 / Math.abs(Math.log(Math.abs(factor))));

/** What is known of a point: {q, chi, c, correlation, length, gradient}, the last three depth scales. */
export function point(activation, weight, bias) {
  const unbiased = activation === "relu" && bias === 0; // its chi does not depend on q
  const q = unbiased ? 1 : fixedPoint(activation, weight, bias);
  const { slope, derivative } = moments(activation, q);
  const chi = activation === "relu" ? weight / 2 : weight * derivative;
  const [c, rate] = solveCorrelation(activation, weight, bias, q);
  // The map of correlations is divided by V(q), which is q at a fixed point above 0 alone.
  const slopeOfMap = (unbiased || q === 0) && weight > 0 ? 1 : rate;
  return {
    q: fixedPoint(activation, weight, bias), chi, c,
    correlation: scale(slopeOfMap), length: Number.isNaN(q) ? NaN : scale(weight * slope), gradient: scale(chi),
  };
}

/**
 * Variance and correlation of two inputs of mean square 1 at layers 0 to `depth`. Layer 1 is linear in
 * the inputs; from there on both maps are iterated.
 */
export function path(activation, weight, bias, correlation, depth) {
  const variance = [1, weight + bias];
  const c = [correlation, kept((weight * correlation + bias) / (weight + bias))];
  let [known, map] = [NaN, (value) => value];
  for (let l = 2; l <= depth; l += 1) {
    const q = variance[l - 1];
    // Close to the fixed point the map is the one before.
    if (!(Math.abs(q - known) <= 1e-15 * known)) [known, map] = [q, correlationMap(activation, weight, bias, q)];
    c.push(map(c[l - 1]));
    variance.push(lengthMap(q, activation, weight, bias));
  }
  return { variance: variance.slice(0, depth + 1), correlation: c.slice(0, depth + 1) };
}
