// Random networks with two inputs.

import { normalCdf } from "../lib/gaussian.mjs";
import { fillNormal, uniforms } from "../lib/random.mjs";

export const NETWORKS = 4;

const FUNCTIONS = {
  relu: (x) => Math.max(x, 0),
  gelu: (x) => x * normalCdf(x),
  tanh: Math.tanh,
  erf: (x) => 2 * normalCdf(Math.SQRT2 * x) - 1,
};

/** Numbers drawn from seeds, kept as long as width and seed stay: they do not depend on the variances. */
export class Draws {
  constructor() {
    this.kind = "";
    this.kept = new Map();
  }

  /** Standard normal numbers for a layer of a network: its weights (`what` 0), or else a vector. */
  normal({ width, seed }, network, layer, what) {
    const kind = `${width} ${seed}`;
    if (kind !== this.kind) [this.kind, this.kept] = [kind, new Map()];
    const id = ((seed * 8 + network) * 64 + layer) * 4 + what;
    if (!this.kept.has(id)) this.kept.set(id, fillNormal(new Float32Array(what ? width : width * width), uniforms(id)));
    return this.kept.get(id);
  }
}

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
const scaled = (v, factor) => Float64Array.from(v, (value) => factor * value);
const unit = (v) => scaled(v, Math.sqrt(v.length / dot(v, v)));

/** Two inputs of mean square 1 and exactly this correlation. */
function inputs(settings, network, draws) {
  const first = unit(draws.normal(settings, network, 0, 1));
  const other = draws.normal(settings, network, 0, 2);
  const share = dot(first, other) / first.length;
  const across = unit(Float64Array.from(other, (value, i) => value - share * first[i]));
  const { correlation: c } = settings;
  return [first, first.map((value, i) => c * value + Math.sqrt(1 - c * c) * across[i])];
}

/** The correlation of the two signals of one network at layers 0 to `depth`; NaN where one of them is 0. */
export function correlations(settings, network, draws) {
  const { activation, sigma_w2: weight, sigma_b2: bias, depth, width } = settings;
  const phi = FUNCTIONS[activation];
  let signals = inputs(settings, network, draws);
  const cosine = (pair) => dot(pair[0], pair[1]) / Math.sqrt(dot(pair[0], pair[0]) * dot(pair[1], pair[1]));
  const found = [cosine(signals)];
  const std = Math.sqrt(weight / width);
  for (let l = 1; l <= depth; l += 1) {
    const W = draws.normal(settings, network, l, 0);
    const shift = draws.normal(settings, network, l, 1);
    const [a, b] = l === 1 ? signals : signals.map((z) => z.map(phi));
    const [p, r] = [new Float64Array(width), new Float64Array(width)];
    for (let i = 0; i < width; i += 1) {
      let [first, second] = [0, 0];
      for (let j = 0, at = i * width; j < width; j += 1, at += 1) {
        first += W[at] * a[j];
        second += W[at] * b[j];
      }
      const add = Math.sqrt(bias) * shift[i];
      p[i] = std * first + add;
      r[i] = std * second + add;
    }
    signals = [p, r];
    found.push(cosine(signals));
  }
  return found;
}
