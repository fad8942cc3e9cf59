// A real random network: one vector through it forward, one gradient back.
//
// Every vector is kept as {v, e}, of value v 2^e with v of rms near 1: nothing overflows or
// underflows here, whatever the std. That number formats would is found from the result.

import { normalCdf, normalDensity } from "../lib/gaussian.mjs";
import { fillNormal, uniforms } from "../lib/random.mjs";
import { EPSILON, SLOPES, finiteWidth, keeping, propagate } from "./theory.mjs";

/** 2^e, cut where the numbers end: an activation is saturated or linear long before. */
const power2 = (e) => 2 ** Math.max(-800, Math.min(800, e));

function meanSquare(v) {
  let sum = 0;
  for (let i = 0; i < v.length; i += 1) sum += v[i] * v[i];
  return sum / v.length;
}

/** Bring v to an rms near 1; gives {v, e, log}, log the log10 of the mean square of its value. */
function normalize(v, e) {
  const square = meanSquare(v);
  if (square === 0) return { v, e: 0, log: -Infinity };
  const shift = Math.round(Math.log2(square) / 2);
  if (shift !== 0) {
    const factor = 2 ** -shift;
    for (let i = 0; i < v.length; i += 1) v[i] *= factor;
  }
  return { v, e: e + shift, log: Math.log10(square) + 2 * e * Math.log10(2) };
}

/** Sum of vectors {v, e}. */
function add(...terms) {
  const e = Math.max(...terms.map((term) => term.e));
  const v = new Float64Array(terms[0].v.length);
  for (const term of terms) {
    const factor = 2 ** (term.e - e);
    for (let i = 0; i < v.length; i += 1) v[i] += factor * term.v[i];
  }
  return normalize(v, e);
}

/** std W x, W of unit std stored by rows; four rows at a time share what is read of x. */
function multiply(W, { v: x, e }, std) {
  const n = x.length;
  const rows = W.length / n;
  const out = new Float64Array(rows);
  let i = 0;
  for (; i + 4 <= rows; i += 4) {
    const [p, q, r, s] = [i * n, (i + 1) * n, (i + 2) * n, (i + 3) * n];
    let a = 0, b = 0, c = 0, d = 0;
    for (let j = 0; j < n; j += 1) {
      const xj = x[j];
      a += W[p + j] * xj;
      b += W[q + j] * xj;
      c += W[r + j] * xj;
      d += W[s + j] * xj;
    }
    out[i] = std * a;
    out[i + 1] = std * b;
    out[i + 2] = std * c;
    out[i + 3] = std * d;
  }
  for (; i < rows; i += 1) {
    let a = 0;
    for (let j = 0; j < n; j += 1) a += W[i * n + j] * x[j];
    out[i] = std * a;
  }
  return { v: out, e };
}

/** std W' g, the transposed product. */
function multiplyTransposed(W, { v: g, e }, std) {
  const rows = g.length;
  const n = W.length / rows;
  const out = new Float64Array(n);
  let i = 0;
  for (; i + 4 <= rows; i += 4) {
    const [p, q, r, s] = [i * n, (i + 1) * n, (i + 2) * n, (i + 3) * n];
    const [a, b, c, d] = [std * g[i], std * g[i + 1], std * g[i + 2], std * g[i + 3]];
    for (let j = 0; j < n; j += 1) out[j] += a * W[p + j] + b * W[q + j] + c * W[r + j] + d * W[s + j];
  }
  for (; i < rows; i += 1) {
    const a = std * g[i];
    for (let j = 0; j < n; j += 1) out[j] += a * W[i * n + j];
  }
  return { v: out, e };
}

/** {u: phi of a vector, as {v, e}; slope: phi' of it, as numbers}. */
function activate(activation, { v, e }) {
  const n = v.length;
  const u = new Float64Array(n);
  const slope = new Float64Array(n);
  const slopes = SLOPES[activation];
  if (slopes) {
    const [left, right] = slopes;
    for (let i = 0; i < n; i += 1) {
      slope[i] = v[i] > 0 ? right : left; // torch: the slope at 0 is that on the left
      u[i] = slope[i] * v[i];
    }
    return { u: { v: u, e }, slope };
  }
  const scale = power2(e);
  if (activation === "gelu") {
    for (let i = 0; i < n; i += 1) {
      const x = v[i] * scale;
      const share = normalCdf(x);
      u[i] = v[i] * share;
      slope[i] = share + (Math.abs(x) < 40 ? x * normalDensity(x) : 0);
    }
    return { u: { v: u, e }, slope };
  }
  if (e < -60) return { u: { v: v.slice(), e }, slope: slope.fill(1) }; // tanh(x) = x to rounding
  for (let i = 0; i < n; i += 1) {
    const x = v[i] * scale;
    u[i] = Math.tanh(x);
    slope[i] = 1 / Math.cosh(x) ** 2;
  }
  return { u: { v: u, e: 0 }, slope };
}

/** LayerNorm of a vector: {y, s, sExponent}, y = (z - mean) / (s 2^sExponent). */
function layerNormalize({ v, e }) {
  const n = v.length;
  let mean = 0;
  for (let i = 0; i < n; i += 1) mean += v[i] / n;
  const centered = v.map((x) => x - mean);
  const variance = meanSquare(centered);
  // Where the values are small the epsilon sets the scale, else they do.
  const small = e <= 0;
  const s = Math.sqrt(small ? variance * 4 ** e + EPSILON : variance + EPSILON * 4 ** -e);
  const y = normalize(centered.map((x) => x / s), small ? e : 0);
  return { y, s, sExponent: small ? 0 : e };
}

/** Gradient at the input of LayerNorm from `g` at its output. */
function layerNormBackward({ v: g, e }, { y, s, sExponent }) {
  const n = g.length;
  const scale = power2(y.e);
  let [mean, along] = [0, 0];
  for (let i = 0; i < n; i += 1) {
    mean += g[i] / n;
    along += (g[i] * y.v[i] * scale) / n;
  }
  return { v: g.map((gi, i) => (gi - mean - y.v[i] * scale * along) / s), e: e - sExponent };
}

const sizesOf = ({ v, e }) => Float64Array.from(v, (x) => Math.log10(Math.abs(x)) + e * Math.log10(2));

/** The layers whose values are shown: first, middle, last. */
export function shownLayers(depth) {
  return [...new Set([1, Math.ceil(depth / 2), depth])];
}

/**
 * One pass forward and backward; see signal_theory.mjs for the network and the settings.
 *
 * draws: {weights(l), biases(l), input, gradient} with weights of unit std, std and bias_std being
 * applied here. A generator, which pauses after every layer, so that a page stays responsive.
 *
 * Returns {forward, backward, sizes}: log10 of the mean squares by layer 0 to L, and log10 |z| of
 * every unit in the shown layers.
 */
export function* pass(settings, draws) {
  const { activation, depth, std, bias_std: biasStd, residual, layer_norm: layerNorm } = settings;
  const forward = new Float64Array(depth + 1);
  const backward = new Float64Array(depth + 1);
  const kept = []; // by layer: the slopes before it, and its LayerNorm
  const shown = shownLayers(depth);
  const sizes = [];
  let z = normalize(Float64Array.from(draws.input), 0);
  forward[0] = z.log;
  for (let l = 1; l <= depth; l += 1) {
    /** @type {{ v: Float64Array, e: number }} */
    let u = z;
    if (l > 1 || residual) {
      const norm = layerNorm ? layerNormalize(z) : null;
      const active = activate(activation, norm ? norm.y : z);
      u = active.u;
      kept[l] = { norm, slope: active.slope };
    }
    /** @type {{ v: Float64Array, e: number }[]} */
    const terms = [multiply(draws.weights(l), u, std)];
    if (biasStd > 0) terms.push({ v: Float64Array.from(draws.biases(l), (b) => biasStd * b), e: 0 });
    if (residual) terms.push(z);
    z = add(...terms);
    forward[l] = z.log;
    if (shown.includes(l)) sizes.push(sizesOf(z));
    yield;
  }
  let g = normalize(Float64Array.from(draws.gradient), 0);
  backward[depth] = g.log;
  for (let l = depth; l > 0; l -= 1) {
    let back = multiplyTransposed(draws.weights(l), g, std);
    if (kept[l]) {
      const { norm, slope } = kept[l];
      for (let i = 0; i < slope.length; i += 1) back.v[i] *= slope[i];
      if (norm) back = layerNormBackward(normalize(back.v, back.e), norm);
    }
    g = residual ? add(back, g) : normalize(back.v, back.e);
    backward[l - 1] = g.log;
    yield;
  }
  return { forward, backward, sizes };
}

/** A pass with weights that are given: {weights, biases} by layer 1 to L, from 0. For tests. */
export function passWith(settings, { weights, biases = [], input, gradient }) {
  const steps = pass({ ...settings, std: 1, bias_std: Number(biases.length > 0) }, {
    weights: (l) => Float64Array.from(weights[l - 1].flat()),
    biases: (l) => biases[l - 1],
    input,
    gradient,
  });
  let step = steps.next();
  while (!step.done) step = steps.next();
  return step.value;
}

/** Numbers drawn from seeds, kept while there is room: they do not depend on the std. */
export class Store {
  constructor(bytes = 160e6) {
    this.room = bytes;
    this.kind = "";
    this.used = 0;
    this.kept = new Map();
    this.passes = new Map();
    /** @type {Float32Array | null} */
    this.scratch = null;
  }

  clear(kind) {
    this.kind = kind;
    this.used = 0;
    this.kept = new Map();
    this.passes = new Map();
    this.scratch = null;
  }

  /** `count` standard normal numbers; `what` 0: weights of a layer, 1: its biases or end vector. */
  normal(seed, network, layer, what, count) {
    const id = ((seed * 16 + network) * 128 + layer) * 2 + what;
    if (this.kept.has(id)) return this.kept.get(id);
    const fits = this.used + 4 * count <= this.room;
    // Without room the same numbers are drawn again each time, always into the same place.
    const out = fits || what ? new Float32Array(count) : (this.scratch ??= new Float32Array(count));
    fillNormal(out, uniforms(id));
    if (fits) {
      this.kept.set(id, out);
      this.used += 4 * count;
    }
    return out;
  }

  /** The draws of one network; input and output gradient have mean square 1. */
  network({ seed, width, depth }, network) {
    const unit = (layer) => {
      const v = Float64Array.from(this.normal(seed, network, layer, 1, width));
      const rms = Math.sqrt(meanSquare(v));
      return v.map((x) => x / rms);
    };
    return {
      weights: (l) => this.normal(seed, network, l, 0, width * width),
      biases: (l) => this.normal(seed, network, l, 1, width),
      input: unit(0),
      gradient: unit(depth + 1),
    };
  }
}

/** Whether a change of std only rescales every layer. */
function rescales(settings) {
  return SLOPES[settings.activation] && !settings.bias_std && !settings.residual && !settings.layer_norm;
}

/** A result at another std, 10^shift times as large, where that only rescales every layer. */
function rescaled({ forward, backward, sizes }, { depth }, shift) {
  const layers = shownLayers(depth);
  return {
    forward: forward.map((log, l) => log + 2 * l * shift),
    backward: backward.map((log, l) => log + 2 * (depth - l) * shift),
    sizes: sizes.map((logs, k) => logs.map((log) => log + layers[k] * shift)),
  };
}

/** Result of network number `network`, by one pass, or by rescaling one that was done. */
function* networkOf(settings, network, store) {
  if (!rescales(settings)) return yield* pass(settings, store.network(settings, network));
  const { activation, depth, width, std } = settings;
  const key = `${activation} ${depth} ${network}`;
  const unitStd = 1 / Math.sqrt(width);
  if (!store.passes.has(key)) {
    if (store.passes.size > 200) store.passes.clear();
    store.passes.set(key, yield* pass({ ...settings, std: unitStd }, store.network(settings, network)));
  }
  return rescaled(store.passes.get(key), settings, Math.log10(std / unitStd));
}

/**
 * What is known of a network at another std from a result, {settings, theory, result}: {result, exact}.
 *
 * Where a std only rescales, that is the result. Else it is an estimate: the network stays as far from
 * theory, in logarithms, as it was. It is there at once, a pass through a hundred wide layers is not.
 */
export function elsewhere({ settings: before, theory: was, result }, settings, theory) {
  if (before.std === settings.std) return { result, exact: true };
  if (rescales(settings)) return { result: rescaled(result, settings, Math.log10(settings.std / before.std)), exact: true };
  const moved = (way) => (log, l) => log + (theory[way][l] - was[way][l]) / Math.LN10;
  const layers = shownLayers(settings.depth);
  const forward = result.forward.map(moved("forward"));
  const sizes = result.sizes.map((logs, k) => {
    const shift = (theory.forward[layers[k]] - was.forward[layers[k]]) / (2 * Math.LN10);
    return logs.map((log) => log + shift);
  });
  return { result: { forward, backward: result.backward.map(moved("backward")), sizes }, exact: false };
}

/**
 * All that is shown for some settings, network after network: a generator whose values are
 * undefined, for a pause, or the networks so far, {networks, theory, band, kept, settings}.
 */
export function* simulate(settings, store) {
  const kind = `${settings.seed} ${settings.width}`;
  if (store.kind !== kind) store.clear(kind);
  const theory = propagate(settings);
  const band = finiteWidth(settings, theory);
  /** @type {any} */
  const found = { settings, theory, band, kept: null, networks: [] };
  yield;
  for (let network = 0; network < settings.draws; network += 1) {
    const result = yield* networkOf(settings, network, store);
    if (network === 0) found.kept = yield* kept(settings, store);
    found.networks.push(result);
    yield { ...found, networks: [...found.networks] };
  }
}

/** Which stds keep the variance; does not depend on the std, so that it is looked for once. */
function* kept(settings, store) {
  const names = ["activation", "depth", "width", "bias_std", "residual", "layer_norm"];
  const key = names.map((name) => settings[name]).join(" ");
  if (store.keptKey !== key) {
    yield;
    [store.keptKey, store.keeping] = [key, keeping(settings)];
  }
  return store.keeping;
}

/** Share of values per bin; `logs` are log10 of sizes, one array a network. */
export function histogram(logs, edges) {
  const counts = new Float64Array(edges.length - 1);
  const width = (edges.at(-1) - edges[0]) / counts.length;
  let total = 0;
  for (const values of logs) {
    total += values.length;
    for (const value of values) {
      const bin = Math.floor((value - edges[0]) / width);
      if (bin >= 0 && bin < counts.length) counts[bin] += 1;
    }
  }
  return counts.map((count) => count / (total || 1));
}

/**
 * Answer messages {id, settings} by {id, ...what simulate gives}, in slices of `slice` ms; a newer
 * message ends the work on the older one. `post` sends an answer; returns the receiver.
 */
export function serve(post, slice) {
  const store = new Store();
  let job = null;
  let timer = 0;
  function work() {
    timer = 0;
    const start = performance.now();
    let ready = null;
    while (job && performance.now() - start < slice) {
      const step = job.steps.next();
      if (step.value) ready = step.value;
      if (step.done) job.done = true;
      // The first network is shown at once, the others as they come; all, where they take no time.
      if (job.done || (ready?.networks.length === 1 && performance.now() - start > 4)) break;
    }
    if (ready) post({ id: job.id, ...ready });
    if (!job.done) timer = setTimeout(work, 0);
  }
  return ({ id, settings }) => {
    job = { id, steps: simulate(settings, store), done: false };
    if (!timer) timer = setTimeout(work, 0);
  };
}

/** Number formats by name, {smallest, largest}: the smallest normal and the largest number. */
export const NUMBER_FORMATS = {
  float32: { smallest: 2 ** -126, largest: (2 - 2 ** -23) * 2 ** 127 },
  bfloat16: { smallest: 2 ** -126, largest: (2 - 2 ** -7) * 2 ** 127 },
  float16: { smallest: 2 ** -14, largest: (2 - 2 ** -10) * 2 ** 15 },
};
