// GPT-2 in plain JavaScript: the loss of a batch of text and its gradient, by hand.
//
// As transformers' GPT2LMHeadModel computes it: pre-LN blocks, learned positions, the tanh form of
// GELU, biases, an output tied to the token embedding. Everything is a Float32Array, row by row; a
// row is a token. What takes long is a generator that pauses after each block.

import { crossEntropy, multiply } from "../lib/dense.mjs";

const EPSILON = 1e-5; // of LayerNorm
const SLOPE = Math.sqrt(2 / Math.PI); // of the tanh form of GELU
const CUBIC = 0.044715;

/**
 * Name and shape of each parameter, in the order in which initialize_ draws them.
 *
 * @param {Record<string, number>} sizes
 * @returns {[string, number[]][]}
 */
export function parameterShapes({ layers, width, context, vocabulary }) {
  /** @returns {[string, number[]][]} */
  const block = (l) => Object.entries({
    "ln_1.weight": [width], "ln_1.bias": [width],
    "attn.c_attn.weight": [width, 3 * width], "attn.c_attn.bias": [3 * width],
    "attn.c_proj.weight": [width, width], "attn.c_proj.bias": [width],
    "ln_2.weight": [width], "ln_2.bias": [width],
    "mlp.c_fc.weight": [width, 4 * width], "mlp.c_fc.bias": [4 * width],
    "mlp.c_proj.weight": [4 * width, width], "mlp.c_proj.bias": [width],
  }).map(([name, shape]) => [`h.${l}.${name}`, shape]);
  return [
    ["wte.weight", [vocabulary, width]],
    ["wpe.weight", [context, width]],
    ...Array.from({ length: layers }, (_, l) => block(l)).flat(),
    ["ln_f.weight", [width]], ["ln_f.bias", [width]],
  ];
}

const size = (shape) => shape.reduce((product, length) => product * length, 1);

/**
 * Zeros for each parameter, by name: for the weights and for their gradients.
 *
 * @returns {Record<string, Float32Array>}
 */
export const zeros = (sizes) => Object.fromEntries(parameterShapes(sizes).map(([name, shape]) => [name, new Float32Array(size(shape))]));

function addBias(out, bias) {
  for (let i = 0; i < out.length;) for (let k = 0; k < bias.length; k += 1, i += 1) out[i] += bias[k];
}

function addTo(out, other) {
  for (let i = 0; i < out.length; i += 1) out[i] += other[i];
}

function columnSums(out, rows) {
  out.fill(0);
  for (let i = 0; i < rows.length;) for (let k = 0; k < out.length; k += 1, i += 1) out[k] += rows[i];
}

/** out = gain (x - mean) / std + bias; `normal` keeps the quotient, `inverse` one over each std. */
function layerNorm(out, normal, inverse, x, gain, bias) {
  const width = gain.length;
  for (let row = 0, first = 0; first < x.length; row += 1, first += width) {
    let mean = 0;
    for (let k = 0; k < width; k += 1) mean += x[first + k];
    mean /= width;
    let square = 0;
    for (let k = 0; k < width; k += 1) square += (x[first + k] - mean) ** 2;
    inverse[row] = 1 / Math.sqrt(square / width + EPSILON);
    for (let k = 0; k < width; k += 1) {
      normal[first + k] = (x[first + k] - mean) * inverse[row];
      out[first + k] = normal[first + k] * gain[k] + bias[k];
    }
  }
}

/** Add to `dx` what LayerNorm sends down of `dout`; the gradients of gain and bias. */
function layerNormBackward(dx, dGain, dBias, dout, normal, inverse, gain) {
  const width = gain.length;
  dGain.fill(0);
  dBias.fill(0);
  for (let row = 0, first = 0; first < dout.length; row += 1, first += width) {
    let mean = 0;
    let along = 0;
    for (let k = 0; k < width; k += 1) {
      const d = dout[first + k];
      const n = normal[first + k];
      dBias[k] += d;
      dGain[k] += d * n;
      mean += d * gain[k];
      along += d * gain[k] * n;
    }
    mean /= width;
    along /= width;
    for (let k = 0; k < width; k += 1) {
      dx[first + k] += inverse[row] * (dout[first + k] * gain[k] - mean - normal[first + k] * along);
    }
  }
}

/** GELU of each x; `tanh` keeps what its slope needs. */
function gelu(out, tanh, x) {
  for (let i = 0; i < x.length; i += 1) {
    const u = SLOPE * (x[i] + CUBIC * x[i] * x[i] * x[i]);
    tanh[i] = 1 - 2 / (Math.exp(2 * u) + 1); // three times as fast as Math.tanh
    out[i] = 0.5 * x[i] * (1 + tanh[i]);
  }
}

/** Turn the gradient of GELU's output into that of its input, in place. */
function geluBackward(d, tanh, x) {
  for (let i = 0; i < x.length; i += 1) {
    const t = tanh[i];
    d[i] *= 0.5 * (1 + t) + 0.5 * x[i] * (1 - t * t) * SLOPE * (1 + 3 * CUBIC * x[i] * x[i]);
  }
}

/**
 * Causal attention of each head over each passage. `qkv` holds queries, keys and values side by side;
 * `weights`, of shape (passages, heads, context, context), keeps the attention paid.
 */
function attention(out, weights, qkv, { heads, width, context }) {
  const headWidth = width / heads;
  const scale = 1 / Math.sqrt(headWidth);
  const stride = 3 * width;
  const passages = out.length / (context * width);
  for (let passage = 0, w = 0; passage < passages; passage += 1) {
    const start = passage * context;
    for (let head = 0; head < heads; head += 1) {
      const offset = head * headWidth;
      for (let i = 0; i < context; i += 1, w += context) {
        const query = (start + i) * stride + offset;
        let largest = -Infinity;
        for (let j = 0; j <= i; j += 1) {
          const key = (start + j) * stride + width + offset;
          let dot = 0;
          for (let k = 0; k < headWidth; k += 1) dot += qkv[query + k] * qkv[key + k];
          weights[w + j] = dot * scale;
          if (weights[w + j] > largest) largest = weights[w + j];
        }
        let sum = 0;
        for (let j = 0; j <= i; j += 1) {
          weights[w + j] = Math.exp(weights[w + j] - largest);
          sum += weights[w + j];
        }
        const to = (start + i) * width + offset;
        for (let k = 0; k < headWidth; k += 1) out[to + k] = 0;
        for (let j = 0; j <= i; j += 1) {
          weights[w + j] /= sum;
          const value = (start + j) * stride + 2 * width + offset;
          for (let k = 0; k < headWidth; k += 1) out[to + k] += weights[w + j] * qkv[value + k];
        }
      }
    }
  }
}

/** The gradient of queries, keys and values from that of what attention puts out. */
function attentionBackward(dqkv, dout, weights, qkv, { heads, width, context }) {
  const headWidth = width / heads;
  const scale = 1 / Math.sqrt(headWidth);
  const stride = 3 * width;
  const passages = dout.length / (context * width);
  const paid = new Float64Array(context);
  dqkv.fill(0);
  for (let passage = 0, w = 0; passage < passages; passage += 1) {
    const start = passage * context;
    for (let head = 0; head < heads; head += 1) {
      const offset = head * headWidth;
      for (let i = 0; i < context; i += 1, w += context) {
        const from = (start + i) * width + offset;
        const query = (start + i) * stride + offset;
        let mean = 0;
        for (let j = 0; j <= i; j += 1) {
          const value = (start + j) * stride + 2 * width + offset;
          let dot = 0;
          for (let k = 0; k < headWidth; k += 1) {
            dot += dout[from + k] * qkv[value + k];
            dqkv[value + k] += weights[w + j] * dout[from + k];
          }
          paid[j] = dot;
          mean += weights[w + j] * dot;
        }
        for (let j = 0; j <= i; j += 1) {
          const key = (start + j) * stride + width + offset;
          const d = weights[w + j] * (paid[j] - mean) * scale;
          for (let k = 0; k < headWidth; k += 1) {
            dqkv[query + k] += d * qkv[key + k];
            dqkv[key + k] += d * qkv[query + k];
          }
        }
      }
    }
  }
}

/**
 * Where a GPT computes: the activations of one batch, which the way back needs.
 *
 * sizes: {layers, width, heads, context, vocabulary, passages}. `gradients` is like the
 * parameters, filled by `backward`.
 */
export class Workspace {
  constructor(sizes) {
    const { layers, width, heads, context, vocabulary, passages } = sizes;
    const tokens = passages * context;
    const rows = (columns) => new Float32Array(tokens * columns);
    const norm = () => ({ out: rows(width), normal: rows(width), inverse: rows(1) });
    this.sizes = sizes;
    this.tokens = tokens;
    this.stream = rows(width);
    this.blocks = Array.from({ length: layers }, () => ({
      norm1: norm(), qkv: rows(3 * width), attended: rows(width), norm2: norm(),
      weights: new Float32Array(passages * heads * context * context),
      inside: rows(4 * width), tanh: rows(4 * width), activated: rows(4 * width),
    }));
    this.last = norm();
    this.branch = rows(width);
    this.logits = rows(vocabulary);
    this.deltas = { logits: rows(vocabulary), stream: rows(width), narrow: rows(width), qkv: rows(3 * width), wide: rows(4 * width) };
    this.gradients = zeros(sizes);
  }

  /** out = x W + bias, W of shape (inputs, outputs). */
  linear(out, x, weight, bias) {
    const columns = bias.length;
    const inner = weight.length / columns;
    multiply(out, this.tokens, columns, inner, x, inner, 1, weight, columns, 1);
    addBias(out, bias);
  }

  /** The gradients of weight and bias, and in `dx` that of the input, from that of the output. */
  linearBackward(dx, name, parameters, x, dout) {
    const weight = parameters[`${name}.weight`];
    const bias = this.gradients[`${name}.bias`];
    const columns = bias.length;
    const inner = weight.length / columns;
    multiply(this.gradients[`${name}.weight`], inner, columns, this.tokens, x, 1, inner, dout, columns, 1);
    columnSums(bias, dout);
    multiply(dx, this.tokens, inner, columns, dout, columns, 1, weight, 1, columns);
  }

  /** From the tokens `inputs`, passage after passage, to the logits of the next. */
  *forward(parameters, inputs) {
    const { layers, width, context, vocabulary } = this.sizes;
    const { stream, tokens, branch, last } = this;
    const of = (name) => parameters[name];
    const [embedding, positions] = [of("wte.weight"), of("wpe.weight")];
    for (let row = 0; row < tokens; row += 1) {
      const [from, at, to] = [inputs[row] * width, (row % context) * width, row * width];
      for (let k = 0; k < width; k += 1) stream[to + k] = embedding[from + k] + positions[at + k];
    }
    for (let l = 0; l < layers; l += 1) {
      const b = this.blocks[l];
      const at = (name) => [of(`h.${l}.${name}.weight`), of(`h.${l}.${name}.bias`)];
      layerNorm(b.norm1.out, b.norm1.normal, b.norm1.inverse, stream, ...at("ln_1"));
      this.linear(b.qkv, b.norm1.out, ...at("attn.c_attn"));
      attention(b.attended, b.weights, b.qkv, this.sizes);
      this.linear(branch, b.attended, ...at("attn.c_proj"));
      addTo(stream, branch);
      layerNorm(b.norm2.out, b.norm2.normal, b.norm2.inverse, stream, ...at("ln_2"));
      this.linear(b.inside, b.norm2.out, ...at("mlp.c_fc"));
      gelu(b.activated, b.tanh, b.inside);
      this.linear(branch, b.activated, ...at("mlp.c_proj"));
      addTo(stream, branch);
      yield;
    }
    layerNorm(last.out, last.normal, last.inverse, stream, of("ln_f.weight"), of("ln_f.bias"));
    multiply(this.logits, tokens, vocabulary, width, last.out, width, 1, embedding, 1, width);
    yield;
  }

  /** The mean loss of the batch, in nats a token; the gradients of all parameters. */
  *backward(parameters, inputs, targets) {
    yield* this.forward(parameters, inputs);
    const { layers, width, context, vocabulary } = this.sizes;
    const { tokens, gradients, deltas, last } = this;
    const loss = crossEntropy(this.logits, targets, vocabulary, deltas.logits);
    const embedding = parameters["wte.weight"];
    const dEmbedding = gradients["wte.weight"];
    const dPositions = gradients["wpe.weight"];
    multiply(dEmbedding, vocabulary, width, tokens, deltas.logits, 1, vocabulary, last.out, width, 1);
    multiply(deltas.narrow, tokens, width, vocabulary, deltas.logits, vocabulary, 1, embedding, width, 1);
    deltas.stream.fill(0);
    const normBackward = (name, { normal, inverse }) => layerNormBackward(
      deltas.stream, gradients[`${name}.weight`], gradients[`${name}.bias`],
      deltas.narrow, normal, inverse, parameters[`${name}.weight`],
    );
    normBackward("ln_f", last);
    yield;
    for (let l = layers - 1; l >= 0; l -= 1) {
      const b = this.blocks[l];
      this.linearBackward(deltas.wide, `h.${l}.mlp.c_proj`, parameters, b.activated, deltas.stream);
      geluBackward(deltas.wide, b.tanh, b.inside);
      this.linearBackward(deltas.narrow, `h.${l}.mlp.c_fc`, parameters, b.norm2.out, deltas.wide);
      normBackward(`h.${l}.ln_2`, b.norm2);
      yield;
      this.linearBackward(deltas.narrow, `h.${l}.attn.c_proj`, parameters, b.attended, deltas.stream);
      attentionBackward(deltas.qkv, deltas.narrow, b.weights, b.qkv, this.sizes);
      this.linearBackward(deltas.narrow, `h.${l}.attn.c_attn`, parameters, b.norm1.out, deltas.qkv);
      normBackward(`h.${l}.ln_1`, b.norm1);
      yield;
    }
    dPositions.fill(0);
    for (let row = 0; row < tokens; row += 1) {
      const [to, at, from] = [inputs[row] * width, (row % context) * width, row * width];
      for (let k = 0; k < width; k += 1) {
        dEmbedding[to + k] += deltas.stream[from + k];
        dPositions[at + k] += deltas.stream[from + k];
      }
    }
    return loss;
  }
}
