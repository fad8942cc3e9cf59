// Variance going forward and backward through a random network, in theory.
//
// As initscope.theory: `propagate`, `finite_width_interval`, and for residual branches and
// LayerNorm initscope.theory.propagation. Here all is in natural logarithms, so that no setting
// leaves the range of the numbers: a std of 1e3 gives a variance of 1e845 at layer 100.
//
// Settings: {activation, depth, width, std, bias_std, residual, layer_norm}.

import { digamma, gaussianNodes, normalCdf, normalDensity, trigamma } from "../lib/gaussian.mjs";
import { exactNoise } from "../lib/layer_noise.mjs";

export const LEAKY_SLOPE = 0.01;
/** Added by LayerNorm to the variance, as in torch. */
export const EPSILON = 1e-5;
/** Standard deviations on either side that hold 95% of a normal distribution. */
const DEVIATION = 1.959963984540054;

/** Slopes left and right of 0 of the activations that are homogeneous. */
export const SLOPES = { relu: [0, 1], leaky_relu: [LEAKY_SLOPE, 1], linear: [1, 1] };

const FUNCTIONS = {
  gelu: [(x) => x * normalCdf(x), (x) => normalCdf(x) + x * normalDensity(x)],
  tanh: [Math.tanh, (x) => 1 / Math.cosh(x) ** 2],
};
/** How the first two moments below go on for large variances q: as these powers of q. */
const POWERS = { gelu: [1, 0], tanh: [0, -0.5] };

/** ln(e^a + e^b + ...) */
export function logSum(...terms) {
  const largest = Math.max(...terms);
  if (largest === -Infinity) return -Infinity;
  return largest + Math.log(terms.reduce((sum, term) => sum + Math.exp(term - largest), 0));
}

// Moments of phi(x), x ~ N(0, q), as functions of ln q:
//   0 ln E[phi^2]                       1 ln E[phi'^2]
//   2 d ln E[phi^2] / d ln q            3 d ln E[phi'^2] / d ln q
//   4 E[phi^4] / E[phi^2]^2             5 E[phi'^4] / E[phi'^2]^2
//   6 E[phi^2 phi'^2] / (E[phi^2] E[phi'^2])
const COUNT = 7;

function integrate(activation, logQ) {
  const [phi, slope] = FUNCTIONS[activation];
  let [second, derivative, rate, derivativeRate, fourth, derivativeFourth, mixed] = Array(COUNT).fill(0);
  gaussianNodes(Math.exp(logQ / 2), (x, z, weight) => {
    const f = phi(x);
    const d = slope(x);
    second += weight * f * f;
    derivative += weight * d * d;
    rate += weight * f * d * x;
    derivativeRate += (weight * d * d * (z * z - 1)) / 2;
    fourth += weight * f ** 4;
    derivativeFourth += weight * d ** 4;
    mixed += weight * f * f * d * d;
  });
  return [
    Math.log(second), Math.log(derivative), rate / second, derivativeRate / derivative,
    fourth / second ** 2, derivativeFourth / derivative ** 2, mixed / (second * derivative),
  ];
}

// The moments are smooth in ln q: on pieces of length 1 a polynomial of degree 15 is exact.
const DEGREE = 15;
const CHEBYSHEV = Array.from({ length: DEGREE + 1 }, (_, j) => Math.cos((Math.PI * (j + 0.5)) / (DEGREE + 1)));
const BARYCENTRIC = CHEBYSHEV.map((_, j) => (-1) ** j * Math.sin((Math.PI * (j + 0.5)) / (DEGREE + 1)));
const [LOWEST, HIGHEST] = [-28, 30];
const pieces = new Map();

/** The moments above for Gaussian input of variance exp(logQ). */
export function moments(activation, logQ) {
  const slopes = SLOPES[activation];
  if (slopes) {
    const [second, fourth] = [2, 4].map((power) => (slopes[0] ** power + slopes[1] ** power) / 2);
    const ratio = fourth / second ** 2;
    return [logQ + Math.log(second), Math.log(second), 1, 0, 3 * ratio, ratio, ratio];
  }
  const inside = Math.min(HIGHEST - 1e-9, Math.max(LOWEST, logQ));
  const start = Math.floor(inside);
  const key = `${activation} ${start}`;
  if (!pieces.has(key)) pieces.set(key, CHEBYSHEV.map((t) => integrate(activation, start + (1 + t) / 2)));
  const piece = pieces.get(key);
  const t = 2 * (inside - start) - 1;
  const found = Array(COUNT).fill(0);
  let total = 0;
  for (let j = 0; j <= DEGREE; j += 1) {
    const distance = t - CHEBYSHEV[j];
    if (distance === 0) {
      total = 1;
      for (let i = 0; i < COUNT; i += 1) found[i] = piece[j][i];
      break;
    }
    const weight = BARYCENTRIC[j] / distance;
    total += weight;
    for (let i = 0; i < COUNT; i += 1) found[i] += weight * piece[j][i];
  }
  for (let i = 0; i < COUNT; i += 1) found[i] /= total;
  const [second, derivative] = logQ > inside ? POWERS[activation] : [1, 0];
  found[0] += second * (logQ - inside);
  found[1] += derivative * (logQ - inside);
  return found;
}

/**
 * Logarithms of the variance of the pre-activations, and of the gradients with respect to them, at
 * layers 0 (the input, of mean square 1) to L (where the gradient has mean square 1), at infinite
 * width:
 *   plain      z_1 = W_1 x + b_1,  z_l = W_l phi(z_{l-1}) + b_l
 *   residual   z_0 = x,  z_l = z_{l-1} + W_l phi(z_{l-1}) + b_l
 * with phi(LayerNorm(z)) instead of phi(z) where there is LayerNorm.
 */
export function propagate({ activation, depth, width, std, bias_std: biasStd, residual, layer_norm: layerNorm }) {
  const weight = Math.log(width) + 2 * Math.log(std);
  const bias = 2 * Math.log(biasStd);
  const forward = new Float64Array(depth + 1);
  const factor = new Float64Array(depth + 1); // of the gradient, through the branch of layer l
  for (let l = 1; l <= depth; l += 1) {
    let [second, derivative] = [forward[l - 1], 0];
    if (l > 1 || residual) {
      const scale = layerNorm ? logSum(forward[l - 1], Math.log(EPSILON)) : 0;
      [second, derivative] = moments(activation, forward[l - 1] - scale);
      derivative -= scale;
    }
    forward[l] = logSum(weight + second, bias, residual ? forward[l - 1] : -Infinity);
    factor[l] = weight + derivative;
  }
  const backward = new Float64Array(depth + 1);
  for (let l = depth; l > 0; l -= 1) {
    backward[l - 1] = backward[l] + (residual ? logSum(0, factor[l]) : factor[l]);
  }
  return { forward, backward };
}

/**
 * Logarithms of the bounds in which 95% of single networks lie, {forward, backward}, each
 * {low, high} by layer. Null where they are not known: with residual branches or LayerNorm, and
 * where so few units take part that the first order in 1/n says nothing.
 */
export function finiteWidth(settings, { forward, backward } = propagate(settings)) {
  const { activation, depth, width, std, bias_std: biasStd, residual, layer_norm: layerNorm } = settings;
  if (residual || layerNorm) return null;
  const exact = exactNoise(activation, width);
  const weight = Math.log(width) + 2 * Math.log(std);
  /** @type {any[]} */
  const layers = Array.from({ length: depth + 1 }, () => null);
  const mean = new Float64Array(depth + 1);
  const variance = new Float64Array(depth + 1);
  for (let l = 1; l <= depth; l += 1) {
    const [second, , rate, derivativeRate, fourth, derivativeFourth, mixed] = moments(activation, forward[l]);
    const spread = (fourth - 1) / width;
    const [noiseMean, noise] = exact ?? [-spread / 2, spread];
    const share = l < depth && biasStd > 0 ? Math.exp(weight + second - forward[l + 1]) : 1;
    const derivativeSpread = (3 * derivativeFourth - 1) / width;
    // Under ReLU the derivative is 0 or 1 by the toss of a coin: the law is that going forward.
    const [derivativeMean, derivativeNoise] = exact ?? [-derivativeSpread / 2, derivativeSpread];
    layers[l] = { rate, derivativeRate, noise, share, derivativeMean, derivativeNoise, covariance: (mixed - 1) / width };
    if (l === depth) break;
    const step = 1e-3;
    const curvature = SLOPES[activation] ? 0
      : (moments(activation, forward[l] + step)[2] - moments(activation, forward[l] - step)[2]) / (2 * step);
    const logMean = rate * mean[l] + (curvature * variance[l]) / 2 + noiseMean;
    const logVariance = rate ** 2 * variance[l] + noise;
    mean[l + 1] = share * logMean + (share * (1 - share) * logVariance) / 2;
    variance[l + 1] = share ** 2 * logVariance;
  }
  if (layers.slice(1, depth).some(({ noise, derivativeNoise }) => noise > 0.5 || derivativeNoise > 0.5)) return null;
  const ownMean = digamma(width / 2) + Math.log(2 / width);
  const ownVariance = trigamma(width / 2);
  /** @type {[string, number][]} */
  const ends = [["low", -1], ["high", 1]];
  const bounds = (center, means, variances) => Object.fromEntries(ends.map(([name, sign]) => [
    name, center.map((value, l) => value + means[l] + sign * DEVIATION * Math.sqrt(variances[l])),
  ]));
  const backMean = new Float64Array(depth + 1);
  const backVariance = new Float64Array(depth + 1);
  for (let l = 0; l < depth; l += 1) [backMean[l], backVariance[l]] = backwardSpread(layers, mean, Math.max(l, 1), depth);
  backMean[0] += ownMean;
  backVariance[0] += ownVariance;
  return {
    forward: bounds(forward, mean.map((m, l) => (l ? m + ownMean : 0)), variance.map((v, l) => (l ? v + ownVariance : 0))),
    backward: bounds(backward, backMean, backVariance),
  };
}

/** Mean and variance of ln |gradient|^2 at `layer`: as _backward_spread in initscope.theory. */
function backwardSpread(layers, means, layer, depth) {
  let [mean, variance, pull] = [0, 0, 0];
  for (let k = depth - 1; k > 0; k -= 1) {
    const { rate, derivativeRate, noise, share, derivativeMean, derivativeNoise, covariance } = layers[k];
    const onNoise = share * pull;
    variance += onNoise ** 2 * noise;
    pull = onNoise * rate;
    if (k >= layer) {
      pull += derivativeRate;
      variance += derivativeNoise + 2 * onNoise * covariance;
      mean += derivativeRate * means[k] + derivativeMean;
    }
  }
  return [mean, Math.max(variance, 0)];
}

/** Std that a scheme gives a layer with `width` inputs and outputs. */
export function schemeStd(scheme, width) {
  return Math.sqrt((scheme === "kaiming" ? 2 : 1) / width);
}

/** How far, in decades, a variance strays from 1 at the worst of the layers 1 to L. */
export function worstChange(settings) {
  const { forward, backward } = propagate(settings);
  let worst = 0;
  for (let l = 1; l <= settings.depth; l += 1) worst = Math.max(worst, Math.abs(forward[l]), Math.abs(backward[l]));
  return worst / Math.LN10;
}

export const STD_RANGE = [1e-4, 1e3];

/**
 * Which stds keep both variances within a factor of 10 at every layer, by theory: {best, change,
 * low, high}. `best` changes them least, by `change` decades; `low` and `high` are the ends of the
 * stretch around it, NaN where even `best` does not keep them.
 */
export function keeping(settings) {
  const change = (std) => worstChange({ ...settings, std });
  const [bottom, top] = STD_RANGE.map(Math.log);
  let [best, step] = [bottom, Math.LN10 / 20];
  let least = Infinity;
  const look = (from, to) => {
    for (let x = from; x <= to + step / 2; x += step) {
      const found = change(Math.exp(x));
      if (found < least) [best, least] = [x, found];
    }
  };
  look(bottom, top);
  for (let zoom = 0; zoom < 6; zoom += 1) {
    const reach = step;
    step /= 8;
    look(Math.max(bottom, best - reach), Math.min(top, best + reach));
  }
  const slopes = SLOPES[settings.activation];
  if (slopes && !settings.bias_std && !settings.residual && !settings.layer_norm) {
    // Every layer after the first multiplies both by the same factor: 1 at this std.
    best = -Math.log((settings.width * (slopes[0] ** 2 + slopes[1] ** 2)) / 2) / 2;
    least = change(Math.exp(best));
  }
  if (!(least <= 1)) return { best: Math.exp(best), change: least, low: NaN, high: NaN };
  const edge = (limit, direction) => {
    let inside = best;
    let outside = best;
    for (let stride = 0.002; outside === inside; stride *= 1.5) {
      const next = direction * Math.min(direction * (inside + direction * stride), direction * limit);
      if (change(Math.exp(next)) > 1) outside = next;
      else if (next === limit) return limit;
      else inside = outside = next;
    }
    for (let k = 0; k < 30; k += 1) {
      const middle = (inside + outside) / 2;
      if (change(Math.exp(middle)) <= 1) inside = middle;
      else outside = middle;
    }
    return inside;
  };
  return { best: Math.exp(best), change: least, low: Math.exp(edge(bottom, -1)), high: Math.exp(edge(top, 1)) };
}
