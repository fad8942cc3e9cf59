// Special functions and Gaussian averages.

/** Density of the standard normal distribution. */
export function normalDensity(x) {
  return Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
}

const PER_UNIT = 64;
const REACH = 9; // beyond it the distribution function is 0 or 1 to rounding
const cdfTable = Float64Array.from({ length: 2 * REACH * PER_UNIT + 1 }, (_, k) => {
  const x = k / PER_UNIT - REACH;
  let term = Math.abs(x);
  let sum = term;
  for (let n = 3; term > 1e-18 * sum; n += 2) sum += term *= (x * x) / n;
  return 0.5 + Math.sign(x) * normalDensity(x) * sum;
});

/** Distribution function of the standard normal distribution, to 1e-12. */
export function normalCdf(x) {
  if (!(Math.abs(x) < REACH)) return Number.isNaN(x) ? NaN : Number(x > 0);
  const k = Math.round(x * PER_UNIT);
  const at = k / PER_UNIT;
  const d = x - at;
  // Taylor's series from the nearest entry; the derivatives are Hermite polynomials.
  const series = 1 + d * (-at / 2 + d * ((at * at - 1) / 6 + (d * at * (3 - at * at)) / 24));
  return cdfTable[k + REACH * PER_UNIT] + d * normalDensity(at) * series;
}

/** Derivative of the logarithm of the gamma function, for x > 0. */
export function digamma(x) {
  let sum = 0;
  let y = x;
  for (; y < 10; y += 1) sum -= 1 / y;
  const r = 1 / (y * y);
  return sum + Math.log(y) - 0.5 / y - r * (1 / 12 - r * (1 / 120 - r * (1 / 252 - r * (1 / 240 - r / 132))));
}

/** Second derivative of the logarithm of the gamma function, for x > 0. */
export function trigamma(x) {
  let sum = 0;
  let y = x;
  for (; y < 10; y += 1) sum += 1 / (y * y);
  const r = 1 / (y * y);
  return sum + 1 / y + r / 2 + (r / y) * (1 / 6 - r * (1 / 30 - r * (1 / 42 - r * (1 / 30 - (5 * r) / 66))));
}

/** Nodes in (-1, 1) and weights of the Gauss-Legendre rule with `count` points. */
export function gaussLegendre(count) {
  const nodes = [];
  const weights = [];
  for (let i = 0; i < count; i += 1) {
    let x = -Math.cos((Math.PI * (i + 0.75)) / (count + 0.5));
    let slope = 1;
    for (let step = 0; step < 100; step += 1) {
      let [before, value] = [1, x];
      for (let n = 2; n <= count; n += 1) [before, value] = [value, ((2 * n - 1) * x * value - (n - 1) * before) / n];
      slope = (count * (x * value - before)) / (x * x - 1);
      const move = value / slope;
      x -= move;
      if (Math.abs(move) < 1e-15) break;
    }
    nodes.push(x);
    weights.push(2 / ((1 - x * x) * slope * slope));
  }
  return { nodes, weights };
}

const RULE = gaussLegendre(16);
const GAUSSIAN_EDGES = [0, 1, 2, 3.25, 5, 8, 12];

/**
 * Call `visit(x, z, weight)` for nodes and weights of E f(x), x = std z, z standard normal.
 *
 * The line is cut at multiples of the Gaussian's std and at powers of 2 of x, where an activation
 * function varies, as initscope.theory does it.
 */
export function gaussianNodes(std, visit) {
  const last = GAUSSIAN_EDGES[GAUSSIAN_EDGES.length - 1];
  const edges = [...GAUSSIAN_EDGES];
  for (let x = 1 / std; x < last; x *= 2) edges.push(x);
  edges.sort((a, b) => a - b);
  for (let i = 0; i + 1 < edges.length; i += 1) {
    const half = (edges[i + 1] - edges[i]) / 2;
    if (half === 0) continue;
    for (let k = 0; k < RULE.nodes.length; k += 1) {
      const z = edges[i] + half * (1 + RULE.nodes[k]);
      const weight = half * RULE.weights[k] * normalDensity(z);
      visit(std * z, z, weight);
      visit(-std * z, -z, weight);
    }
  }
}
